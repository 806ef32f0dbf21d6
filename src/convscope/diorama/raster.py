"""From items to pixels: one pass of polygons that writes item numbers at twice the size, then look-ups.

Paint costs more than polygons, so the pass is done once and every picture and every label map is read from it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState  # old, and therefore frozen: its numbers are the same in every version
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convscope.diorama.shapes import Polygon
from convscope.diorama.stage import LEVELS, Item
from convscope.diorama.textures import bank

Index = NDArray[np.uint8]
GRAIN = (1.0, 2.0, 3.5, 5.0)  # standard deviations of the noise of a camera, in levels of 255


def flat(polygon: Polygon, scale: float) -> list[float]:
    """The corners as Pillow takes them."""
    return (polygon * scale - 0.5).ravel().tolist()


def line_width(size: int) -> int:
    """How wide, at twice the size, the line around a part is."""
    return max(1, round(size / 110))


def draw(items: Sequence[Item], size: int) -> Index:
    """The number of the topmost item at every pixel (2·size, 2·size).

    Raises:
        ValueError: there are more than 256 items.
    """
    if len(items) > 256:
        raise ValueError(f"{len(items)} items, and an index of 8 bits tells 256 apart; draw fewer")
    image = Image.new("L", (2 * size, 2 * size))
    polygon, line = ImageDraw.Draw(image).polygon, line_width(size)
    for number, item in enumerate(items):
        for points in item.polygons:
            corners = flat(points, 2 * size)
            if item.edge:  # its line is the item before it
                polygon(corners, fill=number, outline=number - 1, width=line)
            else:
                polygon(corners, fill=number)
    return np.asarray(image)


@functools.lru_cache(maxsize=4)
def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    n = 2 * size
    at = ((np.arange(n) + 0.5) / n).astype(np.float32)
    return at[None, :], at[:, None], np.arange(n * n, dtype=np.int32).reshape(n, n)


@functools.lru_cache(maxsize=16)
def _grain(size: int, strength: int) -> NDArray[np.int16]:
    return np.round(RandomState(11).standard_normal((size + 64, size + 64, 1)) * GRAIN[strength]).astype(np.int16)


def _seen_through(windows: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.int32]:
    """Where each pixel is looked up in the field of its item, so that the pattern moves and grows with the item."""
    n = at.shape[0]
    steps = (np.arange(n) + 0.5) / n
    zoom, x, y = (each.take(at) for each in windows.T)
    column, row = (np.floor(each * n).astype(np.int32) for each in (steps / zoom + x, steps[:, None] / zoom + y))
    column, row = column % (2 * n), row % (2 * n)
    where: NDArray[np.int32] = np.minimum(row, 2 * n - 1 - row) * n  # beyond its edges a field goes on mirrored
    where += np.minimum(column, 2 * n - 1 - column)
    return where


def paint(
    items: Sequence[Item], index: Index, grain: tuple[int, int, int], patterns: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """The picture (size, size, 3); `patterns` as in `compose.Plan`."""
    n = index.shape[0]
    at = index.astype(np.intp)
    x, y, where = _grid(n // 2)
    if patterns is not None:
        where = _seen_through(patterns, at)
    slopes = np.array([item.slope for item in items], np.float32)
    fields = np.array([item.surface for item in items], np.int32) * (n * n)
    level = slopes[:, 0].take(at) * x
    level += slopes[:, 1].take(at) * y
    level += slopes[:, 2].take(at)
    level += bank(n // 2).reshape(-1).take(fields.take(at) + where)
    np.clip(level, 0, LEVELS - 1, out=level)
    at *= LEVELS
    at += level.astype(np.uint8)
    pixels = _table(items).take(at)
    image = Image.frombuffer("RGBX", (n, n), pixels, "raw", "RGBX", 0, 1).reduce(2)
    rgb = np.asarray(image)[..., :3].astype(np.int16)
    rgb += _grain(n // 2, grain[2])[grain[0] : grain[0] + n // 2, grain[1] : grain[1] + n // 2]
    return np.clip(rgb, 0, 255, out=rgb).astype(np.uint8)


def _table(items: Sequence[Item]) -> NDArray[np.uint32]:
    """The colour of every item at every level, as 32 bits."""
    ramps = np.array([(item.dark, item.middle, item.bright) for item in items], np.float32)[:, :, None]
    half = LEVELS // 2
    t = (np.arange(half, dtype=np.float32) / half)[None, :, None]
    lower = ramps[:, 0] * (1 - t) + ramps[:, 1] * t
    upper = ramps[:, 1] * (1 - t) + ramps[:, 2] * t
    table = np.full((len(items), LEVELS, 4), 255, np.uint8)
    table[..., :3] = np.concatenate([lower, upper], 1)
    return table.reshape(-1).view(np.uint32)
