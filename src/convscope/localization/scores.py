"""How right maps and boxes are: pointing game, energy, overlap, and the sweep over thresholds [METHODS 8.8].

Maps are (n, h, w), masks (n, h, w) of truth values, boxes (n, 4) half-open, y0, x0, y1, x1; all scores are (n,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from convscope.localization.boxes import Boxes, checked, largest

HALF = 0.5  # the least IoU of a box that is right
PUBLISHED_TOLERANCE = 15  # px, of the pointing game on images of about 500 px
THRESHOLDS = np.arange(100) / 100  # of the sweep

Scores = NDArray[np.float64]


def iou(one: ArrayLike, other: ArrayLike) -> Scores:
    """The area of the intersection of boxes over that of their union, (..., 4) and (..., 4) -> (...).

    The shapes broadcast: ``iou(boxes[:, None], truths)`` compares each with each. An empty box overlaps nothing.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    return _over(shared, _area(one) + _area(other) - shared)


def mask_iou(one: Tensor, other: Tensor) -> Scores:
    """The same of masks, (n,); two empty ones overlap in nothing."""
    one, other = one.cpu().bool().flatten(1), other.cpu().bool().flatten(1)
    return _over((one & other).sum(1).double().numpy(), (one | other).sum(1).double().numpy())


def pointing(maps: Tensor, masks: Tensor, tolerance: float = 0) -> NDArray[np.bool_]:
    """Whether the maximum of each map lies in its mask, or not farther than `tolerance` px from it.

    Of equal maxima the first counts, row by row; a map that is the same everywhere points nowhere. Zhang, Lin, Brandt,
    Shen, Sclaroff, "Top-down neural attention by excitation backprop", ECCV 2016, allow 15 px (`PUBLISHED_TOLERANCE`).
    """
    values, insides = _pairs(maps, masks)
    return np.array(
        [
            map_.max() > map_.min() and bool(_distances(inside).flat[map_.argmax()] <= tolerance)
            for map_, inside in zip(values, insides, strict=True)
        ]
    )


def energy(maps: Tensor, masks: Tensor) -> Scores:
    """The share of the positive part of each map that lies in its mask; 0 for a map without a positive part.

    Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, "Score-CAM", CVPR Workshops 2020 (energy-based pointing game).
    """
    values, insides = _pairs(maps, masks)
    positive = np.clip(values, 0, None)
    return _over((positive * insides).sum((1, 2)), positive.sum((1, 2)))


def box_masks(boxes: ArrayLike, height: int, width: int) -> NDArray[np.bool_]:
    """Masks (n, height, width) of the pixels whose middle is in boxes (n, 4), whose corners may lie between pixels."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    y0, x0, y1, x1 = np.asarray(boxes).T[:, :, None, None]
    masks: NDArray[np.bool_] = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    return masks


def sweep(maps: Tensor, thresholds: NDArray[np.float64] = THRESHOLDS) -> Boxes:
    """The boxes (n, thresholds, 4) of the largest component above each threshold of the maps, scaled from 0 to 1.

    Choe, Oh, Lee, Chun, Akata, Shim, "Evaluating weakly supervised object localization methods right", CVPR 2020:
    MaxBoxAcc is the share of images whose box is right, at the threshold at which most are. It does not depend on how a
    map is calibrated, and it is told the class.
    """
    values = checked(maps)
    low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    scaled = (values - low) / np.where(high > low, high - low, 1)
    return np.array([[largest(map_ > threshold) for threshold in thresholds] for map_ in scaled])


def _area(boxes: NDArray[np.float64]) -> Scores:
    area: Scores = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(-1)
    return area


def _over(part: NDArray[Any], all_: NDArray[Any]) -> Scores:
    """A share, and 0 of nothing."""
    share: Scores = part / np.where(all_ > 0, all_, 1)
    return share


def _pairs(maps: Tensor, masks: Tensor) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values, insides = checked(maps), masks.cpu().bool().numpy()
    if values.shape != insides.shape:
        raise ValueError(f"maps of shape {values.shape} and masks of shape {insides.shape}; both must be (n, h, w)")
    return values, insides


def _distances(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel is from the mask, px; infinite where nothing is in it."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~mask)
    return distances
