"""From numbers to greys and from tiles to a grid [METHODS 1.3 and 1.4]: weights and small maps are never interpolated.

>>> picture = to_bytes(grid(magnify(minmax(filters, each=1), 8)))
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
Shades = NDArray[np.float64]


def minmax(values: Numbers, each: int = 0) -> Shades:
    """``(v - min) / (max - min)`` in [0, 1]; a constant array is 0.

    Args:
        each: how many leading dimensions count things with a scale of their own; 0: one scale for the whole array.
    """
    finite, axes = _finite(values, each)
    low = finite.min(axes, keepdims=True, initial=math.inf)
    return _share(finite - low, finite.max(axes, keepdims=True, initial=-math.inf) - low)


def sym(values: Numbers, each: int = 0) -> Shades:
    """``0.5 + v / (2 max |v|)`` in [0, 1], where 0 stays mid-grey; zeros are 0.5. For `each` see `minmax`."""
    finite, axes = _finite(values, each)
    return 0.5 + _share(finite, np.abs(finite).max(axes, keepdims=True, initial=0)) / 2


def pos(values: Numbers, each: int = 0) -> Shades:
    """``max(v, 0) / max(v)`` in [0, 1], where 0 is black; what is nowhere positive is 0. For `each` see `minmax`."""
    finite, axes = _finite(values, each)
    positive = np.maximum(finite, 0)
    return _share(positive, positive.max(axes, keepdims=True, initial=0))


def _finite(values: Numbers, each: int) -> tuple[Shades, tuple[int, ...]]:
    """The numbers in double precision, NaN as 0 and infinite ones as the largest float32, and the dimensions of a
    thing.
    """
    largest = float(np.finfo(np.float32).max)
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=largest, neginf=-largest)
    return finite, tuple(range(each, finite.ndim))


def _share(part: Shades, whole: Shades) -> Shades:
    return np.divide(part, whole, out=np.zeros_like(part), where=np.broadcast_to(whole > 0, part.shape))


def to_bytes(shades: Shades) -> NDArray[np.uint8]:
    """8 bits: ``round(255 v)``."""
    return np.round(np.clip(shades, 0, 1) * 255).astype(np.uint8)


def magnify(tiles: NDArray[Any], factor: int) -> NDArray[Any]:
    """Tiles (n, h, w) or (n, h, w, 3), each pixel a square of `factor` pixels."""
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2)


def grid(tiles: NDArray[Any], columns: int | None = None, gap: int = 1, background: float = 0.0) -> NDArray[Any]:
    """Tiles (n, h, w) or (n, h, w, 3) in row-major order, as one picture of the same kind of numbers.

    Args:
        columns: of the grid; default ``ceil(sqrt(n))``.
        gap: pixels of `background` between tiles, and none around them.
    """
    count, height, width, *colours = tiles.shape
    if not count:
        return np.full((0, 0, *colours), background, tiles.dtype)
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + gap) - gap, min(columns, count) * (width + gap) - gap)
    picture = np.full((*size, *colours), background, tiles.dtype)
    for index, tile in enumerate(tiles):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        picture[y : y + height, x : x + width] = tile
    return picture
