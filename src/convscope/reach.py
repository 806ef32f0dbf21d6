"""How far windows of the image reach on the maps of a network, and which of them are best computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convscope.crops import Places
from convscope.field_rules import Axis, Field
from convscope.geometry import Ints

MOST = 0.75  # of a map: where the boxes are that large, all of it is computed
_A_BATCH = 0.6  # what a batch costs beside its windows, in forward passes


@dataclass(frozen=True, eq=False)
class Reach:
    """Where each of n windows can change a map of `size` (height, width): half-open boxes, (n,) each."""

    top: Ints
    left: Ints
    bottom: Ints
    right: Ints
    size: tuple[int, int]

    @property
    def share(self) -> float:
        """Of the map, what is computed for the window that reaches farthest."""
        area = int((self.bottom - self.top).max()) * int((self.right - self.left).max())
        return min(1.0, area / max(1, self.size[0] * self.size[1]))

    def places(self, numbers: Ints) -> Places:
        """Boxes of one size that hold those of some windows, inside the map."""
        height = max(1, int((self.bottom - self.top)[numbers].max()))
        width = max(1, int((self.right - self.left)[numbers].max()))
        top, left = (np.minimum(start[numbers], size - extent) for start, size, extent in (
            (self.top, self.size[0], height), (self.left, self.size[1], width)))  # fmt: skip
        return Places(top, left, height, width)


def reach(fields: Sequence[Field], size: tuple[int, int], boxes: Ints) -> Reach:
    """Where windows of the image can change any of some maps of one size.

    Args:
        fields: of each map, whose last two dimensions are its rows and columns.
        boxes: of the windows, (n, 4).
    """
    found = []
    for rows, columns in fields:
        top, bottom = _reached(_line(rows, -2, size[0]), boxes[:, 0], boxes[:, 2])
        left, right = _reached(_line(columns, -1, size[1]), boxes[:, 1], boxes[:, 3])
        found.append((top, left, bottom, right))
    (top, left), (bottom, right) = np.min([each[:2] for each in found], 0), np.max([each[2:] for each in found], 0)
    return Reach(top, left, bottom, right, size)


def _line(axis: Axis, dimension: int, cells: int) -> tuple[Ints, Ints]:
    """First pixel and the one after the last that any element sees at each index of a dimension, (cells,)."""
    count = len(axis.shape)
    hull = axis.hull(dim for dim in range(count) if dim != count + dimension)
    return np.broadcast_to(hull.low.ravel(), cells), np.broadcast_to(hull.high.ravel(), cells)


def _reached(line: tuple[Ints, Ints], start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """The first cell that sees any of the pixels from `start` to `stop`, and the one after the last; (n,) each."""
    spans, number = np.unique(np.stack([start, stop], 1), axis=0, return_inverse=True)
    sees = (line[0] < spans[:, 1:]) & (line[1] > spans[:, :1])
    some = sees.any(1)
    first, last = np.where(some, sees.argmax(1), 0), np.where(some, sees.shape[1] - sees[:, ::-1].argmax(1), 0)
    return first[number.ravel()], last[number.ravel()]


def batches(reaches: Sequence[Reach], costs: Sequence[int], most: int) -> list[Ints]:
    """The numbers of the windows in batches of at most `most`, each of windows that reach about equally far.

    All boxes of a batch get one size on every map. The windows are put in an order by their sizes, and cut where it
    costs least: a batch has its cost as well.

    Args:
        reaches: of the windows on the maps that take most of the time.
        costs: of one cell of each map.
    """
    heights, widths = (
        np.stack(each) for each in zip(*((r.bottom - r.top, r.right - r.left) for r in reaches), strict=True)
    )
    order = np.lexsort([size for pair in zip(widths, heights, strict=True) for size in pair])  # the deepest map first
    heights, widths = heights[:, order], widths[:, order]
    cells, cost = np.array([r.size[0] * r.size[1] for r in reaches])[:, None], np.array(costs, float)[:, None]
    fixed = _A_BATCH * float((cells * cost).sum())
    best, cut = np.zeros(len(order) + 1), np.zeros(len(order) + 1, np.int64)
    for stop in range(1, len(order) + 1):
        # A batch that ends here, and begins one, two, ... windows before.
        last = slice(max(0, stop - most), stop)
        height, width = (np.maximum.accumulate(each[:, last][:, ::-1], 1) for each in (heights, widths))
        area = np.where(height * width < MOST * cells, height * width, cells)
        total = (area * cost).sum(0) * np.arange(1, area.shape[1] + 1) + fixed + best[last][::-1]
        cut[stop] = stop - 1 - total.argmin()
        best[stop] = total.min()
    found, stop = [], len(order)
    while stop:
        found.append(order[cut[stop] : stop])
        stop = cut[stop]
    return found[::-1]
