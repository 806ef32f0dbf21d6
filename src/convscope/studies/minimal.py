"""The minimal image: the regions of an image that suffice for its prediction [METHODS 5.7].

Zhou, Khosla, Lapedriza, Oliva, Torralba, "Object detectors emerge in deep scene CNNs", ICLR 2015, section 3.1. The
image is cut into regions; in each step the one goes whose removal lowers the score of the predicted class least, all
scores being computed anew; just before the class is no longer predicted it ends. Greedy is not optimal: a smaller set
may do.

Regions are removed in the gradient domain, so that no edges appear that nobody painted: gradients at removed pixels are
zero, and the image with these gradients is found by a Poisson equation. `removal="fill"` puts the mean colour there
instead, the kept side of the border fading over 3 px.

>>> found = minimal(network, image)
>>> found.image, found.mask, found.area
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from convscope import gradients
from convscope.attribution.base import checked
from convscope.errors import AttributionError
from convscope.network import Network, logits
from convscope.recorder import record
from convscope.scanner.progress import Report, counter
from convscope.scanner.scores import last_operation, log_probabilities, probabilities
from convscope.studies.superpixels import superpixels
from convscope.targets import Target, understand

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Removal = Literal["gradient", "fill"]

_FEATHER = 3  # px
_TOGETHER = 32  # images in a forward pass


@dataclass(frozen=True, eq=False)
class Minimal:
    """What suffices for a prediction.

    Args:
        target: as "class 7 (tabby)".
        regions: number of each pixel's region, (h, w).
        removed: the regions that went, in this order.
        probabilities: of the class: of the image and after each removal; where nothing is needed, of the image and of
            an empty one.
        mask: the pixels that are left, (h, w).
        image: the minimal image, the network's input (c, h, w).
        removal: how regions were removed.
        notes: what else must be known.
    """

    target: str
    regions: Ints
    removed: tuple[int, ...]
    probabilities: tuple[float, ...]
    mask: Mask
    image: Tensor
    removal: Removal
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Of all regions."""
        return int(self.regions.max()) + 1

    @property
    def area(self) -> float:
        """The share of the image that is left."""
        return float(self.mask.mean())

    def to_json(self) -> dict[str, Any]:
        """All but the maps, as plain numbers and text."""
        return {
            "target": self.target, "regions": self.count, "removed": list(self.removed),
            "kept": sorted({*range(self.count)} - {*self.removed}), "probabilities": list(self.probabilities),
            "area": self.area, "removal": self.removal, "notes": list(self.notes),
        }  # fmt: skip


def minimal(
    network: Network,
    image: Tensor,
    target: Target = None,
    regions: Ints | None = None,
    removal: Removal = "gradient",
    progress: Report = lambda progress: None,
) -> Minimal:
    """The regions that suffice for a prediction.

    Args:
        image: (1, c, h, w), as the network's preprocessing makes it.
        target: a class that is predicted; with several at once any of those. Default: the one with the best score.
        regions: numbers (h, w) from 0, such as those of objects; default: `superpixels` of the image.
        removal: "gradient" or "fill".
        progress: called for every region that goes; often not all do.

    Raises:
        AttributionError: the class is not predicted, the outputs are no classes, or the regions do not fit the image.
        TargetError: there is no such class.
    """
    images = checked(network, image)
    if removal not in ("gradient", "fill"):
        raise AttributionError(f"removal is {removal!r}; expected 'gradient' or 'fill'")
    if len(images) != 1:
        raise AttributionError(f"expected one image (1, c, h, w), not {len(images)}; find their minimal images in turn")
    if regions is None:
        regions = superpixels(network.preprocess.display(images[0]))
    regions = _numbered(regions, tuple(images.shape[2:]))
    with gradients.untouched(network), torch.no_grad():
        judge = _Judge.of(network, images, target)
        return _found(judge, images[0], regions, removal, progress)


def _found(judge: _Judge, image: Tensor, regions: Ints, removal: Removal, progress: Report) -> Minimal:
    left, removed, notes = list(range(int(regions.max()) + 1)), [], []
    advance = counter(progress, "removing", len(left))
    scores = [judge.whole]
    [empty] = judge.scores([without(image, np.zeros(regions.shape, np.bool_), removal)])
    if judge.predicted[0]:
        notes.append("an image of which nothing is left is predicted as this class too: nothing of the image is needed")
        left, removed, scores = [], left, [*scores, empty]
    while left:
        masks = [np.isin(regions, [other for other in left if other != each]) for each in left]
        found = judge.scores([without(image, mask, removal) for mask in masks])
        best = int(np.argmax(found))  # the first of equals
        if not judge.predicted[best]:
            break
        removed.append(left.pop(best))
        scores.append(found[best])
        advance(1)
    mask = np.isin(regions, left)
    return Minimal(
        judge.name, regions, tuple(removed), tuple(judge.probability(score) for score in scores), mask,
        without(image, mask, removal).cpu(), removal, tuple(notes),
    )  # fmt: skip


# --- what is left of an image ----------------------------------------------------------------------------------------


def without(image: Tensor, mask: Mask, removal: Removal = "gradient") -> Tensor:
    """The image (c, h, w) with nothing but the pixels of a mask (h, w), in units of the network's input."""
    if mask.all():
        return image
    pixels = image.to("cpu", torch.float64).numpy()
    left = _filled(pixels, mask) if removal == "fill" or not mask.any() else _poisson(pixels, mask)
    return torch.from_numpy(left).to(image)


def _filled(pixels: NDArray[np.float64], mask: Mask) -> NDArray[np.float64]:
    """The mean colour, which is zero, outside the mask; inside it the image fades in from the border."""
    inside: NDArray[np.float64] = np.minimum(distance_transform_edt(mask) / (_FEATHER + 1), 1)
    return pixels * inside


def _poisson(pixels: NDArray[np.float64], mask: Mask) -> NDArray[np.float64]:
    """The image (c, h, w) whose gradients are nearest to those inside the mask, and zero outside it.

    Its Laplacian is their divergence, no gradient crosses the frame, and the mean over the mask is that of the image.
    """
    divergence = np.zeros_like(pixels)
    for axis in (1, 2):
        fewer, more = _ends(axis)
        steps = np.diff(pixels, axis=axis) * (mask[None][fewer] & mask[None][more])
        divergence[fewer] += steps
        divergence[more] -= steps
    rows, columns = (2 * np.cos(np.pi * np.arange(side) / side) - 2 for side in mask.shape)
    waves = rows[:, None] + columns
    waves[0, 0] = 1  # the mean is free
    found: NDArray[np.float64] = idctn(dctn(divergence, axes=(1, 2)) / waves, axes=(1, 2))
    found += (pixels[:, mask].mean(1) - found[:, mask].mean(1))[:, None, None]
    return found


def _ends(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All but the last and all but the first along an axis of three."""
    every = [slice(None)] * 3
    fewer, more = list(every), list(every)
    fewer[axis], more[axis] = slice(None, -1), slice(1, None)
    return tuple(fewer), tuple(more)


def _numbered(regions: Ints, size: tuple[int, ...]) -> Ints:
    """The regions, numbered from 0 without gaps."""
    if regions.shape != size or not np.issubdtype(regions.dtype, np.integer):
        raise AttributionError(
            f"expected regions as whole numbers {size}, one for each pixel, not {regions.dtype} {regions.shape}"
        )
    numbered: Ints = np.unique(regions, return_inverse=True)[1].reshape(size)
    return numbered


# --- how well it is predicted ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Judge:
    """Scores of one class: the logarithm of its probability, or the probability where several classes can be true.

    Args:
        name: of the class.
        last: the operation that gives the output.
        predicted: of each image that was last scored, whether the class is predicted.
    """

    network: Network
    index: int
    name: str
    last: str
    whole: float = 0.0
    predicted: Sequence[bool] = ()

    @classmethod
    def of(cls, network: Network, images: Tensor, target: Target) -> _Judge:
        if network.output == "real":
            raise AttributionError(f"{network.name} gives real values, so no class is predicted that could be lost")
        graph = record(network.module, images)
        [asked] = understand(target, network, graph, 1)
        explained = gradients.run(network, graph, images, [asked]).targets[0]
        index = getattr(explained, "index", None)
        if index is None:
            raise AttributionError(f"{explained} is no class; a minimal image is one whose class is still predicted")
        made = cls(network, index, str(explained), last_operation(graph))
        [made.whole] = made.scores([images[0]])
        if not made.predicted[0]:
            raise AttributionError(
                f"{network.name} does not predict {made.name} for the image; give a class that it does"
            )
        return made

    def scores(self, images: Sequence[Tensor]) -> list[float]:
        """(n,) of images (c, h, w)."""
        found, predicted = [], []
        for start in range(0, len(images), _TOGETHER):
            raw = logits(self.network.module(torch.stack(list(images[start : start + _TOGETHER])))).cpu()
            if self.network.output == "sigmoid":
                scores = probabilities(raw.double(), "sigmoid", self.last)
                predicted += (scores[:, self.index] >= 0.5).tolist()
            else:
                scores = log_probabilities(raw, self.last)
                predicted += (scores.argmax(1) == self.index).tolist()
            found += scores[:, self.index].tolist()
        self.predicted = predicted
        return found

    def probability(self, score: float) -> float:
        return score if self.network.output == "sigmoid" else float(np.exp(score))
