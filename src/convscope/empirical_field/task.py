"""What is computed for measured fields: layers, images, where units are read, occluders, and canvases."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.atlas import Atlas
from convscope.attribution.occlusion import Occlusion
from convscope.empirical_field.choice import Candidates, Readings, choose
from convscope.errors import AddressError, AtlasError, ImagesError
from convscope.geometry import Grid, Ints, Spans, interpolation
from convscope.images import ImageSet
from convscope.network import Network
from convscope.scanner.plan import Plan

Matrix = NDArray[np.float64]

_MOST = 1 << 31  # bytes of all maps
_WINDOW, _SIDE = 11, 224  # px: the paper's occluder, and its images; from one to the next it goes by 3 px


@dataclass(frozen=True, eq=False)
class Task(Plan):
    """A plan of a scan without statistics, and what is read of each image.

    Args:
        readings: of each layer.
        dead: units of each layer that no image excites.
    """

    readings: tuple[Readings, ...] = field(kw_only=True)
    dead: tuple[int, ...] = field(kw_only=True)

    @classmethod
    def of(
        cls,
        network: Network,
        atlas: Atlas,
        images: ImageSet,
        *,
        layers: Sequence[str] | None,
        top: int,
        limit: int,
        window: int | None,
        stride: int | None,
        threads: int,
    ) -> Task:
        """The arguments are those of `convscope.empirical_fields`."""
        for name, number in (("top", top), ("limit", limit)):
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        job = atlas.run["job"]
        if len(images) != job["images"]["count"]:
            raise ImagesError(
                f"{images.spec}: {len(images)} images, and the atlas is of {job['images']['count']}; give its images"
            )
        names = [str(layer.address) for layer in atlas.layers] if layers is None else layers
        plan = Plan.make(network, images, layers=names, at=job["at"], limit=None, batch_size=1, threads=threads)
        chosen = _with_maps(plan, layers is not None)
        candidates = [Candidates.of(atlas.layer(layer.address)) for layer in chosen]
        readings = choose(candidates, top, limit)
        ids = sorted({int(image) for each in readings for image in each.images})
        if not ids:
            raise AtlasError(f"{atlas.path}: no image excites any unit of these layers, so there is nothing to hide")
        width = window or default_window(min(network.preprocess.size))
        occluder = {"window": width, "stride": stride or math.ceil(width / 4)}
        kept = {name: value for name, value in plan.job.items() if name not in ("statistics", "samples", "projections")}
        kept |= {
            "layers": [str(layer.address) for layer in chosen],
            "readings": _digest(readings),
            "top": top,
            "limit": limit,
        }
        parts = {each.name: getattr(plan, each.name) for each in dataclasses.fields(plan)}
        parts |= {"layers": chosen, "statistics": {}, "ids": tuple(ids), "job": kept | occluder}
        task = cls(**parts, readings=readings, dead=tuple(each.dead for each in candidates))
        task._check_size(atlas)
        return task

    def _check_size(self, atlas: Atlas) -> None:
        """Raise if the occluder does not fit into the image, or the maps into memory."""
        size = sum(4 * layer.units * math.prod(canvas.shape) for layer, canvas in zip(
            self.layers, self.canvases, strict=True))  # fmt: skip
        if size > _MOST:
            raise AtlasError(
                f"{atlas.path}: the maps of {sum(layer.units for layer in self.layers):,} units would take "
                f"{size / 1e9:.1f} GB; name fewer layers (layers=, --layers)"
            )

    @property
    def window(self) -> int:
        """Side of the occluder, px."""
        return int(self.job["window"])

    @functools.cached_property
    def windows(self) -> Grid:
        """Where the occluders lie, rows by columns of them."""
        return Occlusion(self.window, int(self.job["stride"])).windows(*self.network.preprocess.size)

    @functools.cached_property
    def boxes(self) -> Ints:
        """The same as a list, (n, 4)."""
        rows, columns = self.windows.rows, self.windows.columns
        ends = [np.meshgrid(*each, indexing="ij") for each in ((rows.low, columns.low), (rows.high, columns.high))]
        return np.stack([each.ravel() for pair in ends for each in pair], 1)

    def fill(self, image: int) -> Tensor:
        """What hides parts of an image: uniform noise in the range of its pixels, as the network takes it, (c, w, w).

        It is the same at all places of an image, and another one for every image.
        """
        preprocess = self.network.preprocess
        noise = np.random.default_rng([0, image]).random((preprocess.planes, self.window, self.window))
        low, high = preprocess.range
        mean, std = (np.reshape(each, (-1, 1, 1)) for each in (preprocess.mean, preprocess.std))
        return torch.from_numpy((noise * (high - low) + low - mean) / std).float()

    @functools.cached_property
    def canvases(self) -> tuple[Canvas, ...]:
        """Of each layer."""
        return tuple(
            Canvas.of(self.grid(layer), self.grid(layer, "exact"), self.windows, int(self.job["stride"]))
            for layer in self.layers
        )


def default_window(side: int) -> int:
    """The paper's occluder for images of another size: an odd number of pixels, at least 3."""
    return max(3, 2 * round((_WINDOW * side / _SIDE - 1) / 2) + 1)


@dataclass(frozen=True, eq=False)
class Canvas:
    """How values of occluders become a map around a cell of a layer, along both axes."""

    rows: Line
    columns: Line

    @classmethod
    def of(cls, cells: Grid, exact: Grid, windows: Grid, stride: int) -> Canvas:
        """A canvas that holds all that can be seen from any cell.

        Args:
            cells: whose centres become the middle of the canvas.
            exact: beyond which nothing changes a cell.
        """
        pairs = (cells.rows, exact.rows, windows.rows), (cells.columns, exact.columns, windows.columns)
        return cls(*(Line.of(*each, stride) for each in pairs))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rows.length, self.columns.length


@dataclass(frozen=True, eq=False)
class Line:
    """One axis of a canvas: an odd number of pixels, in the middle of which is the centre of a cell.

    Args:
        first, last: of each cell the first occluder that can change it, and the one after the last.
    """

    centres: NDArray[np.float64]
    windows: Spans
    length: int
    first: Ints
    last: Ints

    @classmethod
    def of(cls, cells: Spans, exact: Spans, windows: Spans, stride: int) -> Line:
        """See `Canvas.of`."""
        centres = cells.centres()
        reach = np.nanmax(np.maximum(centres - exact.low, exact.high - 1 - centres))
        half = min(math.ceil(reach + (windows.high[0] - windows.low[0] - 1) / 2 + stride), windows.extent - 1)
        touched = (windows.low < exact.high[:, None]) & (windows.high > exact.low[:, None])
        some = touched.any(1)
        last = np.where(some, len(windows) - touched[:, ::-1].argmax(1), 0)
        return cls(centres, windows, 2 * half + 1, np.where(some, touched.argmax(1), 0), last)

    @functools.cached_property
    def _made(self) -> dict[int, tuple[Matrix, NDArray[np.bool_]]]:
        return {}

    def placed(self, cell: int) -> tuple[Matrix, NDArray[np.bool_]]:
        """The matrix (length, occluders) from values of occluders to pixels, linear between their centres, and which
        pixels lie between the outermost of these (length,).

        The matrix has only the occluders that can change the cell; for the others the value is zero.
        """
        if cell not in self._made:
            places = self.windows.centres() - self.centres[cell] + self.length // 2
            pixels = np.arange(self.length)
            known = (pixels >= places[0]) & (pixels <= places[-1])
            matrix = interpolation(places, self.length)[:, self.first[cell] : self.last[cell]]
            self._made[cell] = matrix * known[:, None], known
        return self._made[cell]


def _with_maps(plan: Plan, named: bool) -> tuple[Any, ...]:
    """The layers that have maps.

    Raises:
        AddressError: a layer that was named has none, or no layer has one.
    """
    chosen = tuple(layer for layer in plan.layers if len(layer.shape) == 3)
    if not chosen or (named and len(chosen) < len(plan.layers)):
        flat = next(layer for layer in plan.layers if layer not in chosen)
        raise AddressError(
            f"layer {flat.address} has no map of rows and columns, so its units see the whole image from everywhere; "
            "name others (layers=, --layers)"
        )
    return chosen


def _digest(readings: Sequence[Readings]) -> str:
    """Of all that is read, and what the atlas says of it."""
    digest = hashlib.sha256()
    for each in readings:
        for array in (each.images, each.units, each.positions, each.values):
            digest.update(array.tobytes())
    return digest.hexdigest()
