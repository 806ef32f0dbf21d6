"""Surfaces: eight textures and six materials, as fields that lighten and darken a colour.

A field is a tile of an image's size at twice its resolution, values in levels of `raster`; its scale follows the size
of the image, so that an image looks the same at any size.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.random import RandomState  # old, and therefore frozen: its numbers are the same in every version
from numpy.typing import NDArray

TEXTURES = ("striped", "dotted", "chequered", "zigzag", "wavy", "scaly", "woven", "speckled")
MATERIALS = ("wood", "metal", "brick", "glass", "fabric", "stone")
# The first is no pattern at all, the second the faint unevenness of any surface.
FIELDS = ("plain", "uneven", *TEXTURES, *MATERIALS)


def field(name: str) -> int:
    """The index of a field in the bank."""
    return FIELDS.index(name)


@functools.lru_cache(maxsize=4)
def bank(size: int) -> NDArray[np.int8]:
    """All fields (fields, 2·size, 2·size) for images of `size` pixels."""
    n = 2 * size
    y, x = np.mgrid[:n, :n] / n
    noise = _noise(n)
    made = [_FIELDS[name](x, y, noise) if name in _FIELDS else np.zeros((n, n)) for name in FIELDS]
    return np.stack([np.clip(np.round(each), -31, 31).astype(np.int8) for each in made])


def _noise(n: int) -> NDArray[np.float64]:
    """Smooth noise, the same picture at any size: values about -1 to 1."""
    random = RandomState(7)
    total = np.zeros((n, n))
    for cells, weight in ((6, 0.5), (14, 0.35), (40, 0.3)):
        knots = random.standard_normal((cells + 1, cells + 1))
        at = np.linspace(0, cells, n, endpoint=False)
        low, t = at.astype(int), at % 1
        t = t * t * (3 - 2 * t)
        rows = knots[low] * (1 - t)[:, None] + knots[low + 1] * t[:, None]
        total += weight * (rows[:, low] * (1 - t) + rows[:, low + 1] * t)
    return total


Grid = NDArray[np.float64]


def _wave(v: Grid) -> Grid:
    wave: Grid = np.clip(3 * np.sin(2 * np.pi * v), -1, 1)
    return wave


def _uneven(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 2.6 * noise


def _striped(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 15 * _wave((x + 0.6 * y) * 17)


def _dotted(x: Grid, y: Grid, noise: Grid) -> Grid:
    row = np.floor(y * 20)
    dx, dy = (x * 20 + 0.5 * (row % 2)) % 1 - 0.5, (y * 20) % 1 - 0.5
    dots: Grid = 19 * np.clip((0.34 - np.hypot(dx, dy)) * 9, -0.2, 1)
    return dots


def _chequered(x: Grid, y: Grid, noise: Grid) -> Grid:
    squares: Grid = 13 * np.sign(np.sin(2 * np.pi * x * 12) * np.sin(2 * np.pi * y * 12))
    return squares


def _zigzag(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 15 * _wave(y * 15 + 0.9 * np.abs((x * 12) % 1 - 0.5))


def _wavy(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 14 * _wave(y * 15 + 0.28 * np.sin(2 * np.pi * x * 8))


def _scaly(x: Grid, y: Grid, noise: Grid) -> Grid:
    row = np.floor(y * 22)
    dx = (x * 15 + 0.5 * (row % 2)) % 1 - 0.5
    return 12 - 30 * np.clip((np.hypot(dx, (y * 22) % 1 * 0.6) - 0.42) * 7, 0, 1)


def _woven(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 8 * _wave(x * 10) + 8 * _wave(y * 10)


def _speckled(x: Grid, y: Grid, noise: Grid) -> Grid:
    grains = RandomState(3).random_sample((56, 56))
    cells = grains[(y * 56).astype(int), (x * 56).astype(int)]
    return np.where(cells < 0.16, -20.0, np.where(cells > 0.86, 16.0, 0.0))


def _wood(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 8 * np.sin(2 * np.pi * (y * 24 + 1.1 * noise + 1.2 * np.sin(3 * x))) + 3 * noise


def _metal(x: Grid, y: Grid, noise: Grid) -> Grid:
    band = np.abs((x * 5 + y * 3.4) % 1 - 0.5) * 2
    sheen: Grid = 26 * np.clip(0.42 - band, 0, 1) / 0.42 - 9 * band
    return sheen


def _brick(x: Grid, y: Grid, noise: Grid) -> Grid:
    row = np.floor(y * 26)
    joint = ((y * 26) % 1 < 0.2) | ((x * 13 + 0.5 * (row % 2)) % 1 < 0.1)
    return np.where(joint, 20.0, -5 + 3 * noise)


def _glass(x: Grid, y: Grid, noise: Grid) -> Grid:
    v = (x + y) * 7 % 1
    return np.where((v > 0.55) & (v < 0.72) | (v > 0.78) & (v < 0.83), 18.0, 0.0)


def _fabric(x: Grid, y: Grid, noise: Grid) -> Grid:
    return 7 * _wave((x + y) * 30) * _wave((x - y) * 30) + 2 * noise


def _stone(x: Grid, y: Grid, noise: Grid) -> Grid:
    crack = np.abs(np.sin(2 * np.pi * (3.4 * noise + x * 3))) < 0.16
    return 7 * noise - np.where(crack, 13.0, 0.0)


_FIELDS = {
    "uneven": _uneven, "striped": _striped, "dotted": _dotted, "chequered": _chequered, "zigzag": _zigzag,
        "wavy": _wavy, "scaly": _scaly,
    "woven": _woven, "speckled": _speckled, "wood": _wood, "metal": _metal, "brick": _brick, "glass": _glass,
    "fabric": _fabric, "stone": _stone,
}  # fmt: skip
