"""Pixel boxes, and where the cells of a feature map lie on the image.

One coordinate system everywhere: boxes are half-open ``(y0, x0, y1, x1)`` in pixels of the network's input, sizes are
``(height, width)``, and pixel 0 covers [0, 1). The centre of a cell is the middle of its interval minus one half, so
that the centre of a field of one pixel is the index of that pixel: ``start + (size - 1) / 2`` [METHODS 0.3].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
PLACES = ("field", "naive")


@dataclass(frozen=True)
class Box:
    """A half-open rectangle of pixels; it may reach beyond the image until it is clipped."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def height(self) -> int:
        """Rows covered, never negative."""
        return max(0, self.y1 - self.y0)

    @property
    def width(self) -> int:
        """Columns covered, never negative."""
        return max(0, self.x1 - self.x0)

    @property
    def centre(self) -> tuple[float, float]:
        """(row, column) of the middle, half pixels included."""
        return (self.y0 + self.y1 - 1) / 2, (self.x0 + self.x1 - 1) / 2

    def clip(self, height: int, width: int) -> Box:
        """The part inside an image of (height, width); empty where there is none."""
        y0, y1 = (min(max(y, 0), height) for y in (self.y0, self.y1))
        x0, x1 = (min(max(x, 0), width) for x in (self.x0, self.x1))
        return Box(y0, x0, max(y0, y1), max(x0, x1))

    def as_tuple(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1)."""
        return self.y0, self.x0, self.y1, self.x1


@dataclass(frozen=True)
class Steps:
    """The intervals of an axis where they are regular: cell i covers [start + i·stride, start + i·stride + size)."""

    start: int
    stride: float
    size: int


@dataclass(frozen=True, eq=False)
class Spans:
    """The half-open pixel interval of each cell along one axis of the image.

    Args:
        low: first pixel of each cell, (n,).
        high: pixel after the last one of each cell, (n,); not above `low` for a cell that sees nothing.
        extent: pixels of the image along this axis.
        stride: pixels from one cell to the next; what a single cell's neighbour would be away by.
    """

    low: Ints
    high: Ints
    extent: int
    stride: float = 1.0

    def __len__(self) -> int:
        return len(self.low)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Spans)
            and self.extent == other.extent
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    def clip(self) -> Spans:
        """The same intervals, cut off at the borders of the image."""
        low, high = np.clip(self.low, 0, self.extent), np.clip(self.high, 0, self.extent)
        return Spans(low, np.maximum(low, high), self.extent, self.stride)

    def centres(self) -> NDArray[np.float64]:
        """The middle of each cell in pixels, (n,); NaN for a cell that sees nothing."""
        return np.where(self.high > self.low, (self.low + self.high - 1) / 2, np.nan)

    def tiles(self) -> NDArray[np.float64]:
        """Where the centres would be if the cells tiled the axis, (n,): what a resize of the map takes them for."""
        return (np.arange(len(self)) + 0.5) * self.extent / len(self) - 0.5

    def steps(self) -> Steps | None:
        """Start, stride and size, where all cells are alike and evenly spaced; else None."""
        if not len(self):
            return None
        sizes, gaps = self.high - self.low, np.diff(self.low)
        if (sizes != sizes[0]).any() or (len(gaps) and (gaps != gaps[0]).any()):
            return None
        stride = float(gaps[0]) if len(gaps) else self.stride
        return Steps(int(self.low[0]), stride, int(sizes[0]))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers: three where the axis is regular, else both ends of every cell."""
        shape = {"cells": len(self), "extent": self.extent, "stride": self.stride}
        steps = self.steps()
        if steps is not None and (len(self) == 1 or steps.stride == self.stride):
            return shape | {"start": steps.start, "size": steps.size}
        return shape | {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spans:
        """The inverse of `to_json`."""
        if "low" in data:
            low, high = np.array(data["low"], np.int64), np.array(data["high"], np.int64)
        else:
            low = data["start"] + (np.arange(data["cells"]) * data["stride"]).astype(np.int64)
            high = low + data["size"]
        return cls(low, high, data["extent"], data["stride"])


@dataclass(frozen=True)
class Grid:
    """Where the cells of a map lie on the image: rows by columns of intervals."""

    rows: Spans
    columns: Spans

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) of the map."""
        return len(self.rows), len(self.columns)

    @property
    def image(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.rows.extent, self.columns.extent

    def box(self, row: int, column: int) -> Box:
        """The box of one cell; it reaches beyond the image where the field does."""
        return Box(
            int(self.rows.low[row]),
            int(self.columns.low[column]),
            int(self.rows.high[row]),
            int(self.columns.high[column]),
        )

    def crop(self, row: int, column: int) -> Box:
        """The box to cut out for a cell: its field, or all of an axis along which the field exceeds the image.

        A field as large as the image would otherwise be shown with more padding than picture.
        """
        box, (height, width) = self.box(row, column), self.image
        y0, y1 = (0, height) if box.height >= height else (box.y0, box.y1)
        x0, x1 = (0, width) if box.width >= width else (box.x0, box.x1)
        return Box(y0, x0, y1, x1)

    def placement(self, how: str = "field") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrices (height, rows) and (width, columns): `rows @ map @ columns.T` is the map in pixels of the image.

        It is bilinear between the centres of the cells, and constant beyond the outermost ones.

        Args:
            how: "field": a cell is at the centre of its field; "naive": as if the cells tiled the image, which is what
                a resize of the map does. For a network of stride 32 it is off by 15.5 pixels.

        Raises:
            ValueError: there is no such way, or no cell sees anything.
        """
        if how not in PLACES:
            raise ValueError(f"{how!r} is no way to place a map; expected one of {', '.join(PLACES)}")
        rows, columns = (
            interpolation(axis.centres() if how == "field" else axis.tiles(), axis.extent)
            for axis in (self.rows, self.columns)
        )
        return rows, columns

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, read again by `from_json`."""
        return {"rows": self.rows.to_json(), "columns": self.columns.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grid:
        """The inverse of `to_json`."""
        return cls(Spans.from_json(data["rows"]), Spans.from_json(data["columns"]))


def interpolation(centres: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The matrix (length, cells) that makes values of pixels from values of cells, linear between their centres.

    Beyond the outermost centres it is constant. Cells with one centre are averaged, those with none (NaN) left out.
    """
    seeing = np.flatnonzero(~np.isnan(centres))
    if not len(seeing):
        raise ValueError("no cell has a centre")
    knots, knot, counts = np.unique(centres[seeing], return_inverse=True, return_counts=True)
    pixels = np.clip(np.arange(length), knots[0], knots[-1])
    after = np.searchsorted(knots, pixels).clip(min(1, len(knots) - 1))
    before = (after - 1).clip(0)
    gaps = np.where(after > before, knots[after] - knots[before], 1)
    share = (pixels - knots[before]) / gaps
    weights = np.zeros((length, len(knots)))
    weights[np.arange(length), before] = 1 - share
    weights[np.arange(length), after] += share
    matrix = np.zeros((length, len(centres)))
    matrix[:, seeing] = weights[:, knot] / counts[knot]
    return matrix
