"""How large a field is: of a map of discrepancies by a threshold, and of a map of gradients by its mass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

THRESHOLD = 0.5  # of the peak
THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
MASS = 0.9545  # of the gradient: what a Gaussian has within two standard deviations

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def above(values: Floats, threshold: float) -> Mask:
    """Where a map (h, w) is above a share of its peak: the largest connected region, (h, w).

    What stands at the outer ring of the canvas is taken for nothing: the median of it is subtracted first. NaN is where
    nothing was measured.
    """
    known = ~np.isnan(values)
    edge = known.copy()
    edge[1:-1, 1:-1] = False
    raised = np.where(known, values - (np.median(values[edge]) if edge.any() else 0.0), 0.0)
    peak = raised.max(initial=0.0)
    return largest(raised > threshold * peak) if peak > 0 else np.zeros(values.shape, bool)


def largest(mask: Mask) -> Mask:
    """The largest region of a mask whose pixels are connected by their sides, the first of equals."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def side(mask: Mask, window: int) -> float:
    """The side of a square of the mask's area less what the occluder itself adds, px; NaN of an empty mask.

    A unit that sees one pixel has a mask as large as the occluder, and so the size 1. Blurs add as variances do, so
    areas are subtracted; where any hidden pixel silences the unit, sides add, and the size is too large.
    """
    area = int(mask.sum())
    return math.sqrt(max(area - window**2 + 1, 1)) if area else math.nan


def trimmed(mask: Mask, window: int) -> Mask:
    """The pixels of which every occluder that covers them has its centre in the mask: what the unit must have seen."""
    return np.asarray(ndimage.binary_erosion(mask, np.ones((window, window), bool)))


def disc(gradient: Floats, centre: tuple[float, float]) -> float:
    """The side of a square as large as the smallest disc around the centre that has `MASS` of a map.

    It is NaN of zeros, and of gradients that are not finite.
    """
    distance = _distances(gradient.shape, centre).ravel()
    order = np.argsort(distance, kind="stable")
    share = np.cumsum(gradient.ravel()[order], dtype=np.float64)
    if not 0 < share[-1] < math.inf:
        return math.nan
    radius = distance[order][np.searchsorted(share, MASS * share[-1])]
    return math.sqrt(np.count_nonzero(distance <= radius))


def sigma(gradient: Floats, centre: tuple[float, float]) -> float:
    """The standard deviation along one axis of the Gaussian with the second moment of a map, px; NaN as for `disc`."""
    total = gradient.sum(dtype=np.float64)
    if not 0 < total < math.inf:
        return math.nan
    return math.sqrt(float((gradient * _distances(gradient.shape, centre)).sum() / total) / 2)


def _distances(shape: tuple[int, ...], centre: tuple[float, float]) -> NDArray[np.float64]:
    """Of every pixel, squared."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2, np.float64)
