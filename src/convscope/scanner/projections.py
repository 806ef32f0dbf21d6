"""Projections as a section of the atlas: what in its best patches excites a unit [zeiler2014visualizing].

Of every unit the strongest position of each of its nine best images is projected back to the pixels, by a deconvnet and
by guided backpropagation, and cropped as the patch is. Zero is mid-grey, and each tile has its own scale, `sym` of
METHODS 1.3 with the contrast stretched, so that tiles say nothing of how strongly a unit answers.

The images are read once more, a few at a time, each one once. Tiles wait on disk until all are there, and a file says
which images are done, so that a kill loses at most the few in work.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from convscope import shards, sprites
from convscope.address import Neuron, Unit
from convscope.backward_rules import DECONVNET, GUIDED
from convscope.diagnosis import outstanding
from convscope.errors import ConvscopeError, NotFiniteError, UnreadableImage
from convscope.filters import display
from convscope.geometry import Box
from convscope.graph import LayerNode
from convscope.preprocess import Preprocess
from convscope.projections import Projection, project_by
from convscope.scanner.batches import Batch, batches
from convscope.scanner.compute import part
from convscope.scanner.plan import Plan
from convscope.scanner.worker import threads
from convscope.shards import ShardState
from convscope.sprites import Likes
from convscope.statistics.moments import summary
from convscope.statistics.topk import NOBODY

_PASSES = 2  # FLOPs of all projections, in those of the pass over the images; they take about as long as the scan
_LEAST = 5e10  # FLOPs that are always allowed: a few seconds
_TOGETHER = 64  # images
_GREY = 128
_STRETCH = 99.5  # per cent of a tile's magnitudes that are not clipped [METHODS 7.1]
_BY = (DECONVNET, GUIDED)  # as `RULES` calls them
_TOO_FEW = (
    "it would take longer than the scan of so few images; convscope scan --projections N projects N units a layer"
)
_AT_OUTPUT = "units were read at the raw output of their layer, and a projection starts at the response"


def sees_patches(layer: LayerNode) -> bool:
    """Whether the layer has a map of more than one cell: others see the image as a whole."""
    return len(layer.shape) == 3 and layer.shape[1:] != (1, 1)


@dataclass(eq=False)
class _Layer:
    """A layer that is projected.

    Args:
        units: ascending; a row of tiles each.
        values: (units of the layer, ranks) their responses.
    """

    node: LayerNode
    likes: Likes
    units: NDArray[np.int64]
    values: NDArray[np.float64]

    def wishes(self) -> Iterator[tuple[int, int, int]]:
        """Image, row and rank of what is to be projected: there is nothing to start from where a response is 0."""
        ids, values = self.likes.ids[self.units], self.values[self.units]
        for row, rank in np.argwhere((ids != NOBODY) & (values > 0) & np.isfinite(values)):
            yield int(ids[row, rank]), int(row), int(rank)

    def neuron(self, row: int, rank: int) -> Neuron:
        """The strongest position of a unit in one of its best images."""
        unit = int(self.units[row])
        return Neuron(Unit(self.node.address, unit), *self._cell(unit, rank))

    def crop(self, row: int, rank: int) -> Box:
        """The part of the image that its patch shows."""
        return self.likes.crop(int(self.likes.positions[self.units[row], rank]))

    def _cell(self, unit: int, rank: int) -> tuple[int, int]:
        row, column = divmod(int(self.likes.positions[unit, rank]), self.likes.grid.cells[1])
        return row, column


Wish = tuple[int, int, int]  # layer, row, rank


@dataclass(eq=False)
class Projecting:
    """The work to be done.

    Args:
        reasons: why a layer cannot be projected, by its place in `layers`.
    """

    plan: Plan
    folder: Path
    layers: list[_Layer]
    wanted: dict[int, list[Wish]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, layer in enumerate(self.layers):
            for image, row, rank in layer.wishes():
                self.wanted[image].append((number, row, rank))

    @property
    def images(self) -> list[int]:
        """The ids of the images that are read, ascending."""
        return sorted(self.wanted)

    def write(self, advance: Callable[[int], None]) -> dict[str, Any]:
        """Write the sheets; what goes into ``run.json`` comes back."""
        if self.plan.at == "output" or not all(len(layer.units) for layer in self.layers):
            reason = _AT_OUTPUT if self.plan.at == "output" else _TOO_FEW
            return {layer.likes.slug: {"reason": reason} for layer in self.layers}
        if not all(sprites.is_reserved(self._tiles(layer), self._shape(layer)) for layer in self.layers):
            self._begin()
        tiles = [open_memmap(self._tiles(layer), "r+") for layer in self.layers]
        self._project(tiles, advance)
        if self.layers:
            (self.folder / "projections").mkdir(exist_ok=True)
        return {
            layer.likes.slug: {"reason": self.reasons[number]} if number in self.reasons else self._sheets(layer, array)
            for number, (layer, array) in enumerate(zip(self.layers, tiles, strict=True))
        }

    def _tiles(self, layer: _Layer) -> Path:
        return self.folder / f"tiles-projections-{layer.likes.slug}.npy"

    def _shape(self, layer: _Layer) -> tuple[int, ...]:
        return len(layer.units), len(_BY) * layer.likes.ids.shape[1], *layer.likes.tile, 3

    def _begin(self) -> None:
        """Make room for all tiles, all of them mid-grey."""
        for path in self.folder.glob("projected-*"):
            path.unlink()
        for layer in self.layers:
            sprites.reserve(self._tiles(layer), self._shape(layer), np.full(3, _GREY, np.uint8))

    def _sheets(self, layer: _Layer, tiles: NDArray[np.uint8]) -> dict[str, Any]:
        about = sprites.write_strips(self.folder, f"projections/{layer.likes.slug}", tiles)
        return about | {"units": layer.units.tolist()}

    def _project(self, tiles: Sequence[np.memmap[Any, Any]], advance: Callable[[int], None]) -> None:
        """Cut all tiles, those of a few images at a time; a note beside them says that they are there."""
        images, done = self.images, 0
        while (note := self._note(done)).exists():
            self.reasons |= {int(number): reason for number, reason in json.loads(note.read_bytes()).items()}
            advance(len(images[done * _TOGETHER : (done + 1) * _TOGETHER]))
            done += 1
        left = batches(self.plan.images, self.plan.network.preprocess, images[done * _TOGETHER :], _TOGETHER)
        with threads(int(self.plan.job["threads"])):
            for number, batch in enumerate(left, done):
                self._cut(batch, tiles)
                for array in tiles:
                    array.flush()
                shards.write(self._note(number), json.dumps(self.reasons).encode())
                advance(len(batch.ids))

    def _note(self, number: int) -> Path:
        return self.folder / f"projected-{number:04}.json"

    def _cut(self, batch: Batch, tiles: Sequence[np.memmap[Any, Any]]) -> None:
        """Cut the tiles of some images."""
        for skip in batch.skipped:  # it was readable in the scan a moment ago
            raise UnreadableImage(f"{skip['name']}: changed during the scan, now {skip['reason']}")
        wishes = [(row, wish) for row, image in enumerate(batch.ids.tolist()) for wish in self.wanted[image]]
        for (number, row, rank), found in self._found(batch, wishes):
            layer, preprocess = self.layers[number], self.plan.network.preprocess
            for side, each in enumerate(found):
                column = side * layer.likes.ids.shape[1] + rank
                tiles[number][row, column] = tile(each, layer.crop(row, rank), layer.likes.tile, preprocess)

    def _found(self, batch: Batch, wishes: Iterable[tuple[int, Wish]]) -> Iterator[tuple[Wish, Sequence[Projection]]]:
        """The projections of wishes by each rule, each on a row of the batch; a layer that cannot be projected is left
        out, and the reason is kept.
        """
        wishes = [(row, wish) for row, wish in wishes if wish[0] not in self.reasons]
        neurons = [(row, self.layers[number].neuron(unit, rank)) for row, (number, unit, rank) in wishes]
        try:
            found = project_by(self.plan.network, batch.inputs, neurons, _BY)
        except ConvscopeError as error:
            numbers = sorted({number for _, (number, _, _) in wishes})
            if len(numbers) == 1:
                self.reasons[numbers[0]] = _said(error, batch)
                return
            for number in numbers:
                yield from self._found(batch, [each for each in wishes if each[1][0] == number])
        else:
            yield from zip([wish for _, wish in wishes], zip(*found, strict=True), strict=True)


def _said(error: ConvscopeError, batch: Batch) -> str:
    if isinstance(error, NotFiniteError):
        return f"{error.what} of image {int(batch.ids[error.image])} is not finite"
    return str(error)


def tile(found: Projection, crop: Box, size: tuple[int, int], preprocess: Preprocess) -> NDArray[np.uint8]:
    """What of a projection lies in a crop, (height, width, 3) in 8 bits where 0 is mid-grey.

    Args:
        size: (height, width), to which the crop is shrunk where it is larger.
    """
    planes = _within(found, crop)
    if len(planes) not in (1, 3):  # no picture: its mean over channels, as the images of such networks are shown
        planes = planes.mean(0, keepdims=True)
    if preprocess.channels == "BGR":
        planes = planes[::-1]
    if planes.shape[1:] != size:
        resized = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC) for plane in planes]
        planes = np.stack([np.asarray(plane) for plane in resized])
    return np.broadcast_to(display.to_bytes(display.sym(_stretched(planes))).transpose(1, 2, 0), (*size, 3))


def _stretched(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clipped where the largest magnitudes are, so that a few pixels do not make all others pale."""
    limit = np.percentile(np.abs(planes), _STRETCH) or np.inf  # hardly a pixel is not zero
    return planes.clip(-limit, limit)


def _within(found: Projection, crop: Box) -> NDArray[np.float32]:
    """What of a projection lies in a crop, (c, height, width); 0 where it sees nothing."""
    planes = np.zeros((len(found.values), max(1, crop.height), max(1, crop.width)), np.float32)
    y0, x0, *end = found.box
    top, left = max(y0, crop.y0), max(x0, crop.x0)
    bottom, right = (min(sides) for sides in zip(end, (crop.y1, crop.x1), strict=True))
    if top < bottom and left < right:
        values = found.values[:, top - y0 : bottom - y0, left - x0 : right - x0]
        planes[:, top - crop.y0 : bottom - crop.y0, left - crop.x0 : right - crop.x0] = values.numpy()
    return planes


def prepare(plan: Plan, folder: Path, state: ShardState, likes: Sequence[Likes]) -> Projecting:
    """What is to be projected: of every layer that sees patches the units whose best image stands out most.

    Args:
        state: of the whole scan.
        likes: of every layer of the plan.
    """
    many = _units(plan, [layer for layer in plan.layers if sees_patches(layer)], len(plan.ids))
    layers = []
    for node, like in zip(plan.layers, likes, strict=True):
        if sees_patches(node) and plan.job["projections"] != 0:
            values = part(state, str(node.address), "topk")["values"].numpy()[:, : like.ids.shape[1]]
            units = sorted(outstanding(summary(part(state, str(node.address), "moments")))[:many])
            layers.append(_Layer(node, like, np.array(units, np.int64), values))
    return Projecting(plan, folder, layers)


def _units(plan: Plan, layers: Sequence[LayerNode], images: int) -> int:
    """How many units of each layer are projected, at most: as many as are wanted, or as the work allows."""
    most = max((layer.units for layer in layers), default=0)
    wanted = plan.job["projections"]
    if wanted is not None:
        return min(int(wanted), most)
    room = max(_LEAST, _PASSES * images * sum(layer.flops for layer in plan.graph.layers()))
    ranks = min(images, int(plan.job["statistics"]["topk"]["maps"]))
    works = [(layer.units, len(_BY) * ranks * _work(plan, layer)) for layer in layers]
    low, high = 0, most  # the largest number that fits, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        fits = sum(min(units, middle) * work for units, work in works) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _work(plan: Plan, layer: LayerNode) -> float:
    """FLOPs of one projection, about: of the layers below, on the part of the image that a unit sees, gates too."""
    grid = plan.grid(layer, "exact")
    below = {node.index for node in plan.graph.ancestors([layer.response])}
    box = grid.crop(*(cells // 2 for cells in grid.cells))
    share = min(1.0, box.height * box.width / (grid.image[0] * grid.image[1]))
    return share * sum(each.flops for each in plan.graph.layers() if each.node in below)
