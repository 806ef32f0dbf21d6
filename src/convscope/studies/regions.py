"""Regions that excite a unit most: the unit as if it were a detector [METHODS 4.2].

Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic segmentation",
CVPR 2014. Each region of each picture is warped to the network's input with a rim of context (16 px of 227), what lies
outside the picture being the mean colour; a unit at a position, or where it is largest in the region, scores it; of
regions in one picture that overlap (IoU above 0.1) the best stays; the best of all pictures are kept.

Proposals are not selective search, as in the paper, but a grid of windows at several scales: see `proposals`. Pictures
should be ones that the network was not trained on.

>>> found = regions(network, "photos", ["features.12:37", "features.12:40@6,6"])
>>> found.units[0].best[0].box, found.units[0].best[0].value
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convscope import capture
from convscope.address import Neuron, Unit
from convscope.errors import NetworkError, TargetError, UnreadableImage
from convscope.geometry import Box, Grid
from convscope.graph import Graph
from convscope.images import ImageSet, open_images
from convscope.localization.scores import iou
from convscope.network import Network
from convscope.preprocess import Picture, Preprocess
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.sanity.sample import evenly
from convscope.scanner.batches import nothing_read, read_ahead
from convscope.scanner.compute import failures_named
from convscope.scanner.plan import channels_last
from convscope.scanner.progress import Report, counter
from convscope.scored import UnitTarget
from convscope.targets import understand

Planes = NDArray[np.float32]  # (c, h, w), 0 to 1 where it is a picture
Boxes = NDArray[np.int64]  # (n, 4): y0, x0, y1, x1, half-open

SHOWN = 16
SCALES = (1.0, 0.7, 0.5, 0.35)  # of a window: the root of the share of the picture that it covers
ASPECTS = (1.0, 2.0, 0.5)  # width by height, beside the picture's own
OVERLAP = 0.1  # IoU above which the weaker of two regions goes [R-CNN's code]
CONTEXT = 16 / 227  # of the input, on each side


@dataclass(frozen=True)
class Region:
    """A region that excites a unit.

    Args:
        image: its id.
        box: (y0, x0, y1, x1) in pixels of the picture.
        value: the unit's response, at `cell` (row, column) of its map.
    """

    image: int
    box: tuple[int, int, int, int]
    value: float
    cell: tuple[int, int]


@dataclass(frozen=True, eq=False)
class UnitRegions:
    """The regions of one unit.

    Args:
        address: of the unit, or of a neuron: then it is read at that position only.
        grid: where the cells of its map lie on a warped region.
        maximum: of the unit over all cells of all regions, by which values are normalised.
        best: the largest value first; a region that does not excite the unit at all is none.
    """

    address: Unit | Neuron
    grid: Grid
    maximum: float
    best: tuple[Region, ...]

    def share(self, region: Region) -> float:
        """The normalised activation, at most 1."""
        return region.value / self.maximum if self.maximum > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What was found.

    Args:
        count: of pictures, and `looked_at` of regions in all of them.
        skipped: id, name and reason of the images that could not be read.
    """

    network: Network
    images: ImageSet
    units: tuple[UnitRegions, ...]
    count: int
    looked_at: int
    skipped: list[dict[str, Any]]

    def warped(self, region: Region) -> Tensor:
        """The network's input (c, h, w) for a region."""
        planes = _planes(self.images.read(region.image), self.network.preprocess)
        return warp(planes, np.array(region.box), self.network.preprocess)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return {
            "source": self.images.spec, "images": self.count, "regions": self.looked_at, "skipped": self.skipped,
            "units": [
                {
                    "unit": str(unit.address), "maximum": unit.maximum,
                    "best": [
                        {"image": self.images.names[each.image], "box": list(each.box), "value": each.value,
                         "share": unit.share(each), "cell": list(each.cell)}
                        for each in unit.best
                    ],
                }
                for unit in self.units
            ],
        }  # fmt: skip


def regions(
    network: Network,
    images: ImageSet | str | Path,
    units: Sequence[str | Unit | Neuron],
    *,
    top: int = SHOWN,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Retrieved:
    """The regions that excite units most.

    Args:
        images: a set, or what `open_images` understands.
        units: "LAYER:UNIT", where it is largest in a region, or "LAYER:UNIT@ROW,COLUMN", as in the paper.
        top: regions that are kept of each.
        limit: use so many images, evenly spaced over the set.
        batch_size: regions in a forward pass.
        progress: called after every picture.

    Raises:
        AddressError: there is no such layer, unit or position.
        TargetError: something else than a unit is given, or its layer has no map.
        ImagesError: no image could be read.
        NetworkError: the network does not run on them, or gives numbers that are none.
    """
    images = open_images(images) if isinstance(images, str | Path) else images
    graph = record(network.module, channels_last(network.example()))
    asked = [_Asked.of(unit, network, graph, top) for unit in units]
    ids = evenly(range(len(images)), limit or len(images))
    advance = counter(progress, "regions", len(ids))
    skipped: list[dict[str, Any]] = []
    looked_at = 0
    card = network.preprocess

    def make(picture: Picture) -> tuple[Boxes, list[Tensor]]:
        planes = _planes(picture, card)
        boxes = proposals(*planes.shape[1:])
        return boxes, [warp(planes, box, card) for box in boxes]

    for made, missing in read_ahead(images, ids, 1, make, lambda made, missing: (made, missing)):
        skipped += missing
        for image, (boxes, inputs) in made.items():
            looked_at += len(boxes)
            _look(network, graph, asked, image, images.names[image], boxes, inputs, batch_size)
        advance(1)
    if len(skipped) == len(ids):
        raise nothing_read(images.spec, skipped)
    return Retrieved(network, images, tuple(each.done() for each in asked), len(ids) - len(skipped), looked_at, skipped)


# --- regions and their pictures --------------------------------------------------------------------------------------


def proposals(height: int, width: int) -> Boxes:
    """Windows on a picture (n, 4), all of them inside it, and each one once.

    At each scale s they cover s² of the picture, in its own form, twice as wide and twice as high (cut off at its
    sides), half a window apart, and the last ones at its border.
    """
    found: dict[tuple[int, int, int, int], None] = {}
    for scale in SCALES:
        for aspect in ASPECTS:
            high, wide = (
                min(side, max(1, round(scale * side * stretch)))
                for side, stretch in ((height, aspect**-0.5), (width, aspect**0.5))
            )
            places = ((y, x) for y in _starts(height, high) for x in _starts(width, wide))
            found |= {(y, x, y + high, x + wide): None for y, x in places}
    return np.array(list(found), np.int64)


def _starts(side: int, window: int) -> list[int]:
    """Of windows along a side: evenly spaced, at most half a window apart, the first and the last at the ends."""
    steps = math.ceil(2 * (side - window) / window)
    return [round(i * (side - window) / steps) for i in range(steps + 1)] if steps else [0]


def warp(planes: Planes, box: NDArray[np.int64], card: Preprocess) -> Tensor:
    """The network's input (c, h, w) for a box of a picture, with its rim; the form of the box is not kept."""
    (y0, x0, y1, x1), (height, width) = box.tolist(), planes.shape[1:]
    rim_y, rim_x = (round(side * CONTEXT / (1 - 2 * CONTEXT)) for side in (y1 - y0, x1 - x0))
    outer = Box(y0 - rim_y, x0 - rim_x, y1 + rim_y, x1 + rim_x)
    inner = outer.clip(height, width)
    filled = np.empty((len(planes), outer.height, outer.width), np.float32)
    filled[:] = _mean(card, len(planes))[:, None, None]
    rows = slice(inner.y0 - outer.y0, inner.y1 - outer.y0)
    columns = slice(inner.x0 - outer.x0, inner.x1 - outer.x0)
    filled[:, rows, columns] = planes[:, inner.y0 : inner.y1, inner.x0 : inner.x1]
    return replace(card, resize=None, crop=None)(filled)


def _planes(picture: Picture, card: Preprocess) -> Planes:
    """A picture as numbers, with the channels that the network takes.

    Raises:
        UnreadableImage: it has another number of channels.
    """
    if isinstance(picture, Image.Image):
        if isinstance(card.channels, str):
            picture = picture.convert("L" if card.channels == "L" else "RGB")
        array = np.asarray(picture, np.float32) / np.float32(255)
        return np.ascontiguousarray(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1))
    if len(picture) != card.planes and {len(picture), card.planes} != {1, 3}:
        raise UnreadableImage(f"it has {len(picture)} channels, and the network takes {card.planes}")
    return picture


def _mean(card: Preprocess, channels: int) -> NDArray[np.float32]:
    """The mean colour, (channels,), as the pictures are: 0 to 1, and in the order of RGB."""
    low, high = card.range
    mean = (np.array(card.mean, np.float32) - low) / (high - low)
    mean = mean[::-1] if card.channels == "BGR" else mean
    return mean if len(mean) == channels else np.full(channels, mean.mean(), np.float32)


# --- scores ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Asked:
    """A unit, and the best regions so far."""

    target: UnitTarget
    address: Unit | Neuron
    grid: Grid
    top: int
    best: list[Region] = field(default_factory=list)
    maximum: float = -math.inf
    seen: list[Tensor] = field(default_factory=list)  # the responses (n, rows, columns) to the regions of a picture

    @classmethod
    def of(cls, unit: str | Unit | Neuron, network: Network, graph: Graph, top: int) -> _Asked:
        [target] = understand(unit, network, graph, 1)
        if not isinstance(target, UnitTarget) or len(target.layer.shape) != 3:
            raise TargetError(f"{unit} is no unit with a map on the image; expected LAYER:UNIT of a convolution")
        own = Unit(target.layer.address, target.unit)
        address = own if target.place is None else Neuron(own, *divmod(target.place, target.columns))
        return cls(target, address, receptive_fields(graph).grid(target.layer), top)

    def see(self, tensor: Tensor) -> None:
        """The layer's response to some of the regions."""
        own = tensor.movedim(self.target.layer.channel, 1)[:, self.target.unit]
        self.seen.append(own.to("cpu", torch.float32, copy=True))

    def judge(self, image: int, boxes: Boxes) -> None:
        """Take the best of the regions that it has seen, which are those of a picture."""
        maps = torch.cat(self.seen)
        self.seen.clear()
        values, places = maps.flatten(1).max(1)
        self.maximum = max(self.maximum, float(values.max()))
        if self.target.place is not None:
            places = torch.full_like(places, self.target.place)
            values = maps.flatten(1)[:, self.target.place]
        for i in suppressed(boxes, values.numpy()):
            if not values[i] > 0:  # and so are all that follow
                break
            y0, x0, y1, x1 = boxes[i].tolist()
            cell = divmod(int(places[i]), maps.shape[2])
            self.best.append(Region(image, (y0, x0, y1, x1), float(values[i]), cell))
        self.best = sorted(self.best, key=lambda region: (-region.value, region.image))[: self.top]

    def done(self) -> UnitRegions:
        return UnitRegions(self.address, self.grid, self.maximum, tuple(self.best))


def _look(
    network: Network,
    graph: Graph,
    asked: Sequence[_Asked],
    image: int,
    name: str,
    boxes: Boxes,
    inputs: Sequence[Tensor],
    size: int,
) -> None:
    """Run the regions of a picture called `name`, and let each unit judge them."""
    layers: dict[int, list[_Asked]] = {}
    for each in asked:
        layers.setdefault(each.target.layer.response, []).append(each)
    taps = {value: _tap(those) for value, those in layers.items()}
    for start in range(0, len(inputs), size):
        batch = channels_last(torch.stack(list(inputs[start : start + size]))).to(network.device)
        with torch.no_grad(), failures_named(torch.tensor([image])):
            capture.run(network.module, batch, graph, taps, stop=True)
    for each in asked:
        if not all(bool(torch.isfinite(maps).all()) for maps in each.seen):
            raise NetworkError(
                f"{network.name}: the response of {each.address} is not finite (NaN or infinity) for a region of "
                f"{name}; look at the network's weights and its input"
            )
        each.judge(image, boxes)


def _tap(asked: Sequence[_Asked]) -> capture.Tap:
    def show(tensor: Tensor) -> None:
        for each in asked:
            each.see(tensor)

    return show


def suppressed(boxes: Boxes, values: NDArray[Any], overlap: float = OVERLAP) -> list[int]:
    """The boxes (n, 4) that stay where of two that overlap the weaker goes: the best first, the first of equals."""
    left = np.argsort(-values, kind="stable")
    kept = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[iou(boxes[best], boxes[left]) <= overlap]
    return kept
