"""A picture cut into regions of similar colour, by a graph of its pixels.

Felzenszwalb and Huttenlocher, "Efficient graph-based image segmentation", IJCV 2004, written here, for it is short: two
regions become one across an edge that is not larger than the largest edge within either of them plus scale / size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from convscope.compiling import compiled

_SMOOTH = 0.8  # px, as in the paper
_SCALE = 50.0  # of 255 greys, the first that is tried
_LEAST = 8  # a region has at least the share of a picture in `most` regions, divided by this

Numbers = NDArray[np.float64]
Ints = NDArray[np.int64]


def superpixels(picture: NDArray[np.uint8], most: int = 40) -> Ints:
    """The number of each pixel's region, (h, w), from 0 in the order of their first pixels.

    Args:
        picture: (h, w, 3).
        most: regions; the scale is doubled until there are no more.
    """
    height, width = picture.shape[:2]
    smooth = gaussian_filter(picture.astype(np.float64), (_SMOOTH, _SMOOTH, 0))
    one, other, weights = _edges(smooth)
    least, scale = max(1, height * width // (most * _LEAST)), _SCALE
    while True:
        parents = _merged(one, other, weights, height * width, scale, least)
        _, first, numbers = np.unique(parents, return_index=True, return_inverse=True)
        if len(first) <= most:
            ranks = np.empty(len(first), np.int64)
            ranks[np.argsort(first)] = np.arange(len(first))
            return ranks[numbers].reshape(height, width)
        scale *= 2


def _edges(picture: Numbers) -> tuple[Ints, Ints, Numbers]:
    """Pairs of neighbours, also across corners, by how different they are, the most alike first."""
    height, width = picture.shape[:2]
    numbers = np.arange(height * width, dtype=np.int64).reshape(height, width)
    ends: list[tuple[Any, Any]] = [
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ]
    one, other = (np.concatenate([numbers[pair[i]].ravel() for pair in ends]) for i in (0, 1))
    colours = picture.reshape(height * width, -1)
    weights = np.sqrt(np.square(colours[one] - colours[other]).sum(1))
    order = np.argsort(weights, kind="stable")
    return one[order], other[order], weights[order]


@compiled
def _merged(one: Any, other: Any, weights: Any, pixels: int, scale: float, least: int) -> Any:
    parents, sizes, bounds = np.arange(pixels), np.ones(pixels, np.int64), np.full(pixels, scale)
    for small in (False, True):  # by the rule; then those that are too small
        for i in range(len(weights)):
            a, b = one[i], other[i]
            while parents[a] != a:
                parents[a] = parents[parents[a]]
                a = parents[a]
            while parents[b] != b:
                parents[b] = parents[parents[b]]
                b = parents[b]
            if a == b:
                continue
            alike = weights[i] <= min(bounds[a], bounds[b])
            if sizes[a] < least or sizes[b] < least if small else alike:
                parents[b] = a
                sizes[a] += sizes[b]
                bounds[a] = weights[i] + scale / sizes[a]
    for i in range(pixels):
        a = i
        while parents[a] != a:
            a = parents[a]
        parents[i] = a
    return parents
