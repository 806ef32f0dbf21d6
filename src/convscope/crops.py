"""Crops of a map in which a window differs: cut out of the unchanged map and of the window at once.

Maps are kept by positions, (n, h, w, ...): the numbers of a row of cells then lie side by side, and are copied as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.compiling import compiled
from convscope.geometry import Ints


@dataclass(frozen=True, eq=False)
class Places:
    """Where windows of one size lie on a map: their first rows and columns, (n,) each, which may be negative."""

    top: Ints
    left: Ints
    height: int
    width: int

    def seen(self, stride: Sequence[int], padding: Sequence[int], reach: Sequence[int]) -> Places:
        """Where windows look that reach over so many cells, `stride` apart, `padding` cells before the map at first."""
        top, left = self.top * stride[0] - padding[0], self.left * stride[1] - padding[1]
        sizes = zip((self.height, self.width), stride, reach, strict=True)
        return Places(top, left, *((size - 1) * step + cells for size, step, cells in sizes))

    def cells(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Row (n, height, 1) and column (n, 1, width) of every cell."""
        top, left = (torch.from_numpy(each).to(device)[:, None, None] for each in (self.top, self.left))
        rows = top + torch.arange(self.height, device=device)[None, :, None]
        return rows, left + torch.arange(self.width, device=device)[None, None, :]

    def same(self, other: Places) -> bool:
        """Whether all windows lie in the same places."""
        sizes = (self.height, self.width) == (other.height, other.width)
        return sizes and np.array_equal(self.top, other.top) and np.array_equal(self.left, other.left)


@dataclass(frozen=True, eq=False)
class Patches:
    """A value that differs from a base inside windows only.

    Args:
        rows: what is inside, by positions (n, h, w, ...).
    """

    places: Places
    rows: Tensor

    def taken(self, numbers: Ints) -> Patches:
        """The patches of these numbers, any of which may come several times."""
        places = Places(self.places.top[numbers], self.places.left[numbers], self.places.height, self.places.width)
        return Patches(places, self.rows[torch.from_numpy(numbers)])

    @property
    def maps(self) -> Tensor:
        """What is inside, (n, ..., h, w)."""
        return maps(self.rows)


def by_position(maps: Tensor) -> Tensor:
    """(n, ..., h, w) as (n, h, w, ...), one after the other in memory."""
    return maps.movedim((-2, -1), (1, 2)).contiguous()


def maps(rows: Tensor) -> Tensor:
    """(n, h, w, ...) as (n, ..., h, w); the memory stays, and is that of ``channels_last``."""
    return rows.movedim((1, 2), (-2, -1))


def cut(base: Tensor, patches: Patches | None, places: Places, fill: float = 0.0) -> Tensor:
    """Crops of the maps that are the base with the patches in it, by positions (n, height, width, ...).

    Args:
        base: by positions (1, h, w, ...).
        patches: one for each place; None where there is nothing but the base.
        fill: what lies outside the map.
    """
    shape = (len(places.top), places.height, places.width, *base.shape[3:])
    out = base.new_empty(shape)
    if not out.numel():
        return out
    by_loop = base.device.type == "cpu" and base.dtype in (torch.float32, torch.float64)
    (_cut_by_loop if by_loop else _cut_by_index)(base, patches, places, fill, out)
    return out


def _cut_by_loop(base: Tensor, patches: Patches | None, places: Places, fill: float, out: Tensor) -> None:
    height, width = base.shape[1:3]
    channels = base[0, 0, 0].numel()
    inside = patches or Patches(Places(places.top, places.left, 0, 0), base[:0])
    if inside.rows.shape[0] == 0:  # nothing to copy from, but an array of the right type
        rows = np.empty((0, 0, 0), base.numpy().dtype)
    else:
        rows = inside.rows.contiguous().numpy().reshape(len(places.top), inside.places.height, -1)
    _copy(
        base.contiguous().numpy().reshape(height, -1), width, channels,
        rows, inside.places.top, inside.places.left, inside.places.height, inside.places.width,
        places.top, places.left, fill, out.numpy().reshape(len(places.top), places.height, -1),
    )  # fmt: skip


@compiled
def _copy(
    base: Any, width: int, channels: int,
    rows: Any, inner_top: Any, inner_left: Any, inner_height: int, inner_width: int,
    top: Any, left: Any, fill: float, out: Any,
) -> None:  # fmt: skip
    cells = out.shape[2] // channels
    for i in range(out.shape[0]):
        # In columns of the crop: the map, and in it the patch.
        first, last = min(max(0, -left[i]), cells), max(0, min(cells, width - left[i]))
        start = min(max(inner_left[i] - left[i], first), last)
        stop = max(min(inner_left[i] + inner_width - left[i], last), start)
        for r in range(out.shape[1]):
            y, row = top[i] + r, out[i, r]
            if y < 0 or y >= base.shape[0] or first >= last:
                row[:] = fill
                continue
            inner = y - inner_top[i]
            a, b = start, stop
            if inner < 0 or inner >= inner_height:
                b = a
            row[: first * channels] = fill
            row[last * channels :] = fill
            row[first * channels : a * channels] = base[y, (left[i] + first) * channels : (left[i] + a) * channels]
            row[b * channels : last * channels] = base[y, (left[i] + b) * channels : (left[i] + last) * channels]
            if a < b:
                shift = left[i] - inner_left[i]
                row[a * channels : b * channels] = rows[i, inner, (shift + a) * channels : (shift + b) * channels]


def _cut_by_index(base: Tensor, patches: Patches | None, places: Places, fill: float, out: Tensor) -> None:
    """The same by indices, on any device."""
    rows, columns = places.cells(base.device)
    y, x = rows.clamp(0, base.shape[1] - 1), columns.clamp(0, base.shape[2] - 1)
    out.copy_(base[0, y, x])
    outside = (rows != y) | (columns != x)
    out[outside] = fill
    if patches is None:
        return
    inner = patches.places
    first_row, first_column = Places(inner.top, inner.left, 1, 1).cells(base.device)
    y, x = rows - first_row, columns - first_column
    inside = (y >= 0) & (y < inner.height) & (x >= 0) & (x < inner.width) & ~outside
    image, y, x = (each.expand(inside.shape)[inside] for each in (_numbers(len(y), base.device), y, x))
    out[inside] = patches.rows[image, y, x]


def _numbers(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device)[:, None, None]
