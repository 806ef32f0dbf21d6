"""From the maps of a unit to masks of images: where it answers, in three ways [METHODS 5.4, 6.3].

=============  =======================================================================================================
`by_threshold` Bau, Zhou et al., "Network dissection", CVPR 2017: the enlarged map is above the unit's threshold
`by_first`     the public toolkit of B. Zhou in PyTorch: above 0.2 of the largest value in the unit's best image
`by_own`       the same in MATLAB: above 0.4 of the largest value in the image itself
=============  =======================================================================================================

The first two are empty where an image does not excite the unit; the last one always marks something.
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
