"""What else the preprocessing could be: each alternative is one mistake that people make, taken back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convscope.preprocess import Picture, Preprocess
from convscope.sanity.sample import inverted

_SIDES = (32, 64, 128, 224)  # what networks are mostly trained at
_OTHER_SIZE = (1.5, 8.0)  # nearer is no mistake, as many networks do best at a little more than in training
_SAME = 1e-3

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Alternative:
    """Another preprocessing.

    Args:
        cause: the mistake that would have been made with the declared one, as in "the channels are in another order".
        inverted: whether black and white are exchanged before.
    """

    cause: str
    preprocess: Preprocess
    inverted: bool = False

    def __call__(self, picture: Picture) -> Tensor:
        """The network's input for one picture."""
        return self.preprocess(inverted(picture) if self.inverted else picture)

    def changes(self, declared: Preprocess) -> dict[str, Any]:
        """The keys of the preprocessing's JSON that differ from what is declared, with the values here."""
        mine, theirs = self.preprocess.to_json(), declared.to_json()
        return {key: value for key, value in mine.items() if value != theirs[key]}

    def remedy(self, declared: Preprocess) -> str:
        """What to do if it is the right one."""
        if self.inverted:
            return "invert the images"
        entries = ", ".join(f'"{key}": {json.dumps(value)}' for key, value in self.changes(declared).items())
        return f"write {entries} into the preprocessing"


def alternatives(declared: Preprocess) -> list[Alternative]:
    """The alternatives to what is declared, the likeliest mistakes first; none where images are no pictures."""
    if isinstance(declared.channels, int):
        return []
    found: list[Alternative] = []
    for way in (*_channels(declared), *_normalisations(declared), *_sizes(declared)):
        others = [declared, *(each.preprocess for each in found if not each.inverted)]
        if way.inverted or not any(_alike(way.preprocess, other) for other in others):
            found.append(way)
    return found


def with_std(declared: Preprocess) -> Alternative:
    """The std that people forget."""
    std = IMAGENET_STD if declared.planes == 3 else (0.25,)
    return Alternative("'std' is missing", dataclasses.replace(declared, std=std))


def _channels(declared: Preprocess) -> Iterator[Alternative]:
    if declared.channels == "L":
        yield Alternative("black and white are exchanged", declared, inverted=True)
        return
    other = "BGR" if declared.channels == "RGB" else "RGB"
    cause = f"the weights expect the channels in the order {other}"
    yield Alternative(cause, dataclasses.replace(declared, channels=other))


def _normalisations(declared: Preprocess) -> Iterator[Alternative]:
    ways: list[tuple[str, dict[str, Any]]] = []
    if declared.planes == 3:  # with the order of channels that belongs to it
        imagenet = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "range": (0.0, 1.0), "channels": "RGB"}
        caffe = {"mean": (103.939, 116.779, 123.68), "std": (1.0,), "range": (0.0, 255.0), "channels": "BGR"}
        ways += [
            ("the weights expect RGB with ImageNet's mean and standard deviation", imagenet),
            ("the weights expect Caffe's BGR from 0 to 255 less the mean", caffe),
        ]
    else:
        mnist = {"mean": (0.1307,), "std": (0.3081,), "range": (0.0, 1.0)}
        ways += [("the weights expect MNIST's mean and standard deviation", mnist)]
    ways += [
        ("the weights expect values from 0 to 1, not normalised", {"mean": (0.0,), "std": (1.0,), "range": (0.0, 1.0)}),
        ("the weights expect values from -1 to 1", {"mean": (0.5,), "std": (0.5,), "range": (0.0, 1.0)}),
        ("the weights expect values from 0 to 255", {"mean": (0.0,), "std": (1.0,), "range": (0.0, 255.0)}),
    ]
    for cause, keys in ways:
        yield Alternative(cause, dataclasses.replace(declared, **keys))


def _alike(one: Preprocess, other: Preprocess) -> bool:
    """Whether they are the same but for the way in which they are written."""
    if (one.channels, one.size) != (other.channels, other.size):
        return False
    pairs = zip(_black_and_white(one), _black_and_white(other), strict=True)
    return all(abs(a - b) <= _SAME * max(1, abs(b)) for a, b in pairs)


def _black_and_white(preprocess: Preprocess) -> list[float]:
    """What black and white become, in each channel."""
    mean, std = (list(each) * (preprocess.planes // len(each)) for each in (preprocess.mean, preprocess.std))
    return [(value - m) / s for m, s in zip(mean, std, strict=True) for value in preprocess.range]


def _sizes(declared: Preprocess) -> Iterator[Alternative]:
    side = min(declared.size)
    for wanted in _SIDES:
        if _OTHER_SIZE[0] <= max(wanted / side, side / wanted) <= _OTHER_SIZE[1]:
            yield Alternative(f"the weights expect images of about {wanted} px", _scaled(declared, wanted, side))


def _scaled(declared: Preprocess, wanted: int, side: int) -> Preprocess:
    def pair(lengths: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(lengths[0] * wanted / side)), max(1, round(lengths[1] * wanted / side))

    resize, crop = declared.resize, declared.crop
    if resize is not None and crop in (None, declared.size):  # the same part of the picture; else the crop is scaled
        resize = max(1, round(resize * wanted / side)) if isinstance(resize, int) else pair(resize)
        crop = None if crop is None else pair(crop)
    return dataclasses.replace(declared, size=pair(declared.size), resize=resize, crop=crop)
