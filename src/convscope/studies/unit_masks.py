"""From the maps of a unit to masks of images: where it answers, in four ways [METHODS 5.4, 6.3].

=============  =======================================================================================================
`by_field`     Zhou et al., "Object detectors emerge in deep scene CNNs", ICLR 2015: every position above the unit's
               threshold is stamped with the unit's field as data show it
`by_threshold` Bau, Zhou et al., "Network dissection", CVPR 2017: the enlarged map is above the unit's threshold
`by_first`     the public toolkit of B. Zhou in PyTorch: above 0.2 of the largest value in the unit's best image
`by_own`       the same in MATLAB: above 0.4 of the largest value in the image itself
=============  =======================================================================================================

The first three are empty where an image does not excite the unit; the last one always marks something.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from convscope.geometry import Grid

FIRST, OWN = 0.2, 0.4  # of the largest value
_TORCH, _MATLAB = 120, 224  # px: the side of the masks in the toolkit's two versions

Maps = NDArray[np.float32]  # (n, rows, columns): a unit's maps of n images
Masks = NDArray[np.bool_]  # (n, h, w) in pixels of the network's input


def by_field(maps: Maps, grid: Grid, threshold: float, field: NDArray[np.bool_]) -> Masks:
    """The union of the field over all positions above the threshold.

    Args:
        field: (H, W), the unit's field; its middle pixel [H // 2, W // 2] goes to the centre of a cell's field, and
            where that lies between two pixels to the second one.
    """
    masks = np.zeros((len(maps), *grid.image), np.bool_)
    rows, columns = np.nonzero(field)
    if not len(rows):
        return masks
    top, left = rows.min(), columns.min()
    shape = field[top : rows.max() + 1, left : columns.max() + 1]
    ys, xs = (
        np.floor(axis.centres() + 0.5) + first - side // 2
        for axis, first, side in ((grid.rows, top, field.shape[0]), (grid.columns, left, field.shape[1]))
    )
    for image, row, column in np.argwhere(maps > threshold).tolist():
        if np.isfinite(ys[row]) and np.isfinite(xs[column]):  # a cell that sees nothing has no centre
            _stamp(masks[image], shape, int(ys[row]), int(xs[column]))
    return masks


def _stamp(mask: NDArray[np.bool_], shape: NDArray[np.bool_], y: int, x: int) -> None:
    """Mark a shape whose upper left corner is at (y, x), as far as it is inside."""
    (height, width), (tall, wide) = mask.shape, shape.shape
    y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + tall, height), min(x + wide, width)
    if y0 < y1 and x0 < x1:
        mask[y0:y1, x0:x1] |= shape[y0 - y : y1 - y, x0 - x : x1 - x]


def by_threshold(maps: Maps, grid: Grid, threshold: float, how: Literal["field", "naive"] = "field") -> Masks:
    """Where the map is above the threshold, bilinear between its cells.

    Args:
        how: see `Grid.placement`; "field" as a dissection has it, "naive" as its Lite version.
    """
    rows, columns = grid.placement(how)
    masks: Masks = rows @ maps.astype(np.float64) @ columns.T > threshold
    return masks


def by_first(maps: Maps, grid: Grid) -> Masks:
    """Above `FIRST` of the first map's largest value, once all are resized to 120 × 120 px as if they tiled the image.

    Nothing is marked where the first map, which is the best one, is nowhere above zero.
    """
    resized = functional.interpolate(
        torch.from_numpy(maps)[:, None].double(), (_TORCH, _TORCH), mode="bilinear", align_corners=False
    )
    largest = float(maps[0].max())
    masks = (resized[:, 0] > FIRST * largest).numpy() & (largest > 0)
    return _on_input(masks, grid)


def by_own(maps: Maps, grid: Grid) -> Masks:
    """Above `OWN` of the map's own largest value, for the magnitude of the map, smoothed over 3 × 3 cells.

    At borders the mean is that of the cells that are there. The map is resized to 224 × 224 px by cubic convolution.
    Nothing is marked in a map that is zero.
    """
    magnitudes = functional.avg_pool2d(torch.from_numpy(np.abs(maps)), 3, 1, 1, count_include_pad=False).numpy()
    masks = np.zeros((len(maps), _MATLAB, _MATLAB), np.bool_)
    for mask, each in zip(masks, magnitudes, strict=True):
        if each.max() > 0:
            resized = Image.fromarray(each / each.max()).resize((_MATLAB, _MATLAB), Image.Resampling.BICUBIC)
            mask[:] = np.asarray(resized) > OWN
    return _on_input(masks, grid)


def _on_input(masks: Masks, grid: Grid) -> Masks:
    """Masks of another size at that of the input, each pixel as the one there that has its middle."""
    rows, columns = (
        (np.arange(side) * 2 + 1) * few // (2 * side) for side, few in zip(grid.image, masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns]
