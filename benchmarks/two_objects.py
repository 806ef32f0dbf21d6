"""Two objects in one image: does the map of each class lie on its own? ``python -m benchmarks.two_objects [-o PNG]``.

Images of the label set ``scenes``, which the network has not seen in training, with two kinds of objects that it knows
and puts first and second (Petsiuk et al. 2018 show a sheep and a cow). Each method explains both classes. A map points
at its own object if its maximum lies nearer to what is seen of it than to what is seen of the other; of what it has on
the two objects, a share lies on its own. A map that does not depend on the class points at one of the two for both,
and has half of both on its own. The first 200 such images, and for methods that need many passes the first 20; three
minutes on two cores.
``-o`` draws the first four images instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, median_filter
from torch import Tensor

import convscope
from benchmarks.toolkits import ours
from benchmarks.truth import FEWER, mean, share
from convscope.filters import display
from convscope.images.diorama import Diorama
from convscope.localization.scores import energy, pointing
from convscope.network import Network
from convscope.recorder import evaluating
from convscope.render.figures.sheet import BLUE, LARGE, RED, SMALL, WIDTH, Sheet, caption_height

NETWORK, IMAGES, FEW = "diorama:objects", 200, 20
SHOWN = 4  # in the figure, and of each:
COLUMNS = {"cam": "CAM", "occlusion": "Occlusion", "guided_backprop": "Guided backpropagation"}
HEAD = (
    "| method | images | each points at its own | maximum on its own | on the other | share of both on its own |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True, eq=False)
class Pair:
    """An image with two objects.

    Args:
        picture: (h, w, 3).
        image: (3, h, w), prepared.
        classes: the first and the second of the network.
        masks: (2, h, w), what is seen of each.
    """

    picture: NDArray[np.uint8]
    image: Tensor
    classes: tuple[int, int]
    masks: NDArray[np.bool_]


def pairs(network: Network, images: Diorama) -> Iterator[Pair]:
    """Of a set, those of whose kinds the network puts two first and second."""
    names = network.classes or ()
    with evaluating(network.module), torch.no_grad():
        for index in range(len(images)):
            scene = images.scene(index)
            kinds = {thing.kind for thing in scene.things}
            if len(kinds & set(names)) < 2:
                continue
            image = network.preprocess(images.read(index))
            first, second = network.module(image[None])[0].topk(2).indices.tolist()
            if {names[first], names[second]} <= kinds:
                masks = [
                    np.any([thing.mask for thing in scene.things if thing.kind == names[each]], 0)
                    for each in (first, second)
                ]
                yield Pair(scene.image, image, (first, second), np.stack(masks))


@dataclass(frozen=True, eq=False)
class Found:
    """Of n images and both their classes, (n, 2) each.

    Args:
        nearer: whether the maximum lies nearer to the object of the class than to the other.
        own: whether it lies in the object of the class.
        other: whether it lies in the other object.
        share: of what is positive in the two objects, in its own; NaN where nothing is.
    """

    nearer: NDArray[np.bool_]
    own: NDArray[np.bool_]
    other: NDArray[np.bool_]
    share: NDArray[np.float64]


def look(maps: Tensor, masks: Tensor) -> Found:
    """What maps (n, 2, h, w) of both classes say of both objects, whose masks are (n, 2, h, w)."""
    flat, own, other = (each.flatten(0, 1) for each in (maps, masks, masks.flip(1)))
    here, there = energy(flat, own), energy(flat, other)
    with np.errstate(invalid="ignore"):
        part = here / (here + there)
    nearer = away(flat, own) < away(flat, other)
    return Found(*(each.reshape(-1, 2) for each in (nearer, pointing(flat, own), pointing(flat, other), part)))


def away(maps: Tensor, masks: Tensor) -> NDArray[np.float64]:
    """How far the maximum of each map (n, h, w) is from its mask, (n,), px."""
    distances = [distance_transform_edt(~mask) for mask in masks.numpy()]
    return np.array([each.flat[int(map_.argmax())] for each, map_ in zip(distances, maps, strict=True)])


def row(name: str, found: Found) -> str:
    part = np.nanmean(found.share, 1)
    cells = [f"`{name}`", str(len(part)), share(found.nearer.all(1).astype(float)), mean(found.own.mean(1)),
             mean(found.other.mean(1)), mean(part[~np.isnan(part)])]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    network, images = convscope.load(NETWORK), Diorama.open("diorama:scenes/test")
    chosen = list(islice(pairs(network, images), IMAGES))
    print(HEAD, flush=True)
    for entry in ours():
        few = chosen[:FEW] if entry.method in FEWER else chosen
        prepared = torch.stack([pair.image for pair in few]).repeat_interleave(2, 0)
        maps = entry.maps(network, prepared, [index for pair in few for index in pair.classes])
        print(row(entry.method, look(maps.unflatten(0, (-1, 2)), masks_of(few))), flush=True)


def masks_of(chosen: Sequence[Pair]) -> Tensor:
    """(n, 2, h, w)."""
    return torch.from_numpy(np.stack([pair.masks for pair in chosen]))


# --- the figure ------------------------------------------------------------------------------------------------------

_ZOOM, _GAP, _TOP, _BELOW = 3, 9, 130, 46  # px; a tile is an image of 96 px, enlarged
_COLOURS = (RED, BLUE)


def draw() -> Sheet:
    """A row for each of the first images: the image, and of each method the maps of both classes."""
    network, methods = convscope.load(NETWORK), {entry.method: entry for entry in ours()}
    chosen = list(islice(pairs(network, Diorama.open("diorama:scenes/test")), SHOWN))
    side = chosen[0].picture.shape[0] * _ZOOM
    caption = (
        f"The first {SHOWN} images of diorama:scenes/test of whose kinds {NETWORK} puts two first (red) and second "
        "(blue). Outlines: what is seen of them. Colour: the positive part of the map of the class below it; full "
        "colour is the largest value of each map."
    )
    bottom = _TOP + SHOWN * (side + _BELOW)
    sheet = Sheet(bottom + caption_height([caption]))
    sheet.text(0, 0, "Two objects in one image, and the maps of both classes", LARGE, weight="bold")
    for k, title in enumerate(COLUMNS.values()):
        sheet.text((1 + 2 * k) * (side + _GAP), _TOP - 46, title)
    for number, pair in enumerate(chosen):
        y = _TOP + number * (side + _BELOW)
        _tile(sheet, pair, pair.picture, 0, y)
        for k, name in enumerate(COLUMNS):
            maps = methods[name].maps(network, torch.stack([pair.image] * 2), list(pair.classes))
            for each, colour in enumerate(_COLOURS):
                x = (1 + 2 * k + each) * (side + _GAP)
                _tile(sheet, pair, tinted(pair.picture, display.pos(maps[each].numpy()), colour), x, y)
                sheet.text(x, y + side + 6, (network.classes or ())[pair.classes[each]], SMALL, color=colour)
    sheet.paragraphs(0, bottom, WIDTH, [caption])
    return sheet


def _tile(sheet: Sheet, pair: Pair, picture: NDArray[np.uint8], x: int, y: int) -> None:
    """An image (h, w, 3) with the outlines of both objects."""
    axes = sheet.image(display.magnify(picture[None], _ZOOM)[0], x, y)
    for mask, colour in zip(pair.masks, _COLOURS, strict=True):
        axes.contour(display.magnify(mask[None].astype(float), _ZOOM)[0], [0.5], colors=colour, linewidths=0.7)


def tinted(picture: NDArray[np.uint8], shares: NDArray[np.float64], colour: str) -> NDArray[np.uint8]:
    """An image in a few light greys and without its grain, over which a colour lies by shares (h, w)."""
    grey = median_filter(picture.mean(2), 5)[..., None]
    paper = 4 * np.round((255 - 0.35 * (255 - grey)) / 4)
    ink = 255 * np.array(to_rgb(colour))
    share = np.round(48 * shares)[..., None] / 48
    tint: NDArray[np.uint8] = np.round(paper + (ink - paper) * share).astype(np.uint8)
    return tint


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, help="draw the figure, and nothing else")
    output = parser.parse_args().output
    if output is None:
        main()
    else:
        draw().save(output)
        with Image.open(output) as drawn:  # a palette takes a third of the bytes
            drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(output, optimize=True)
