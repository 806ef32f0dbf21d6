"""Where the cells of a layer's map lie on the pixels of a label map [METHODS 0.3, 6.2].

A label map covers a whole picture, at any resolution; the network's input shows a part of the picture, and only the
pixels of that part are looked at. The map's values stand at the centres of the cells' convolutional fields, and between
them they are bilinear; beyond the outermost centres they are constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.geometry import Grid, Spans
from convscope.preprocess import Preprocess

_DIGITS = 9  # of a pixel's place: rounding errors must not lend a pixel on a centre a share of the next cell


@dataclass(frozen=True)
class Window:
    """The pixels of a label map that an input shows: `rows` and `columns`, and their places (n,) in input pixels."""

    rows: slice
    columns: slice
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    @classmethod
    def of(cls, preprocess: Preprocess, picture: tuple[int, int], labels: tuple[int, int]) -> Window:
        """Of a label map of the size `labels` over a picture of the size `picture`, both (height, width)."""
        region = preprocess.region(*picture)
        parts = [
            _part(region[axis] * labels[axis] / picture[axis], region[axis + 2] * labels[axis] / picture[axis],
                  labels[axis], preprocess.size[axis])
            for axis in (0, 1)
        ]  # fmt: skip
        (rows, y), (columns, x) = parts
        return cls(rows, columns, y, x)


def _part(low: float, high: float, length: int, size: int) -> tuple[slice, NDArray[np.float64]]:
    """The pixels whose middles lie in [low, high), which the input shows in `size` pixels, and their places in it."""
    first = max(0, math.ceil(round(low - 0.5, _DIGITS)))
    last = max(first, min(length, math.ceil(round(high - 0.5, _DIGITS))))
    middles = np.arange(first, last) + 0.5
    return slice(first, last), np.round((middles - low) * size / (high - low) - 0.5, _DIGITS)


@dataclass(frozen=True)
class Axis:
    """Along one side of a label map, the two values between which each pixel lies.

    Args:
        knots: how many values there are: cells with different centres.
        bounds: (intervals + 1,) the pixels bounds[i] to bounds[i + 1] - 1 lie between knots i and i + 1.
        shares: (pixels,) of the second one of the two, 0 to 1.
        fold: (knots, cells) makes the values of knots from those of cells; None where they are the same.
    """

    knots: int
    bounds: NDArray[np.int32]
    shares: NDArray[np.float64]
    fold: NDArray[np.float32] | None

    @classmethod
    def of(cls, spans: Spans, places: NDArray[np.float64], anchored: bool) -> Axis:
        """Of cells, for pixels at `places` (n,), ascending, in pixels of the input.

        Args:
            anchored: cells are at the centres of their fields, and not where they would be if they tiled the input.
        """
        centres = spans.centres() if anchored else spans.tiles()
        seeing = np.flatnonzero(~np.isnan(centres))
        if not len(seeing):
            raise ValueError("no cell has a centre")
        knots, knot, counts = np.unique(centres[seeing], return_inverse=True, return_counts=True)
        intervals = max(1, len(knots) - 1)
        before = np.clip(np.searchsorted(knots, places, side="right") - 1, 0, intervals - 1)
        after = np.minimum(before + 1, len(knots) - 1)
        gaps = np.where(after > before, knots[after] - knots[before], 1)
        shares = np.clip((places - knots[before]) / gaps, 0, 1) * (after > before)
        fold = None
        if len(knots) < len(centres) or (knot != seeing).any():
            fold = np.zeros((len(knots), len(centres)), np.float32)
            fold[knot, seeing] = 1 / counts[knot]
        return cls(len(knots), np.searchsorted(before, np.arange(intervals + 1)).astype(np.int32), shares, fold)


@dataclass(frozen=True)
class Placement:
    """Both sides of a layer's map on a window."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, grid: Grid, window: Window, anchored: bool) -> Placement:
        """Of a map whose cells lie as `grid` says; see `Axis.of`."""
        return cls(Axis.of(grid.rows, window.y, anchored), Axis.of(grid.columns, window.x, anchored))

    def fold(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (n, h, w, units) with one value for each centre: cells that share one are averaged."""
        if self.rows.fold is not None:
            maps = np.einsum("kh,nhwu->nkwu", self.rows.fold, maps)
        if self.columns.fold is not None:
            maps = np.einsum("kw,nhwu->nhku", self.columns.fold, maps)
        return np.ascontiguousarray(maps)
