"""Boxes from maps, by named protocols: each is a frozen dataclass, and its `boxes` makes them [METHODS 8.5].

>>> LargestComponent(0.2).boxes(found.on_image())[0]   # of the first map: (1, 4), y0, x0, y1, x1

Boxes are half-open, in pixels of the map. Components are 8-connected: pixels that touch at a corner belong together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Boxes = NDArray[np.int64]  # (k, 4): y0, x0, y1, x1
Map = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_EIGHT = np.ones((3, 3), np.uint8)


class BoxProtocol(ABC):
    """A way from a map to boxes."""

    def boxes(self, maps: Tensor, images: Tensor | None = None) -> list[Boxes]:
        """The boxes (k, 4) of each of the maps, at least one and the largest first.

        Args:
            maps: (n, h, w), large where the object is.
            images: (n, 3, h, w) colours; only `GraphCut` looks at them.

        Raises:
            ValueError: the maps are of another shape, or not finite.
        """
        values = checked(maps)
        colours = [None] * len(values) if images is None else list(images.detach().cpu().numpy())
        return [self.of_one(map_, colour) for map_, colour in zip(values, colours, strict=True)]

    @abstractmethod
    def of_one(self, map_: Map, image: Map | None) -> Boxes:
        """The same of one map (h, w) and its image (3, h, w)."""


@dataclass(frozen=True)
class LargestComponent(BoxProtocol):
    """One box: around the largest connected component of the pixels above a share of the map's maximum.

    Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning deep features for discriminative localization", CVPR 2016. Of
    components with as many pixels it is the one that comes first, row by row. Where nothing is positive it is the whole
    image. The maximum counts from zero, so a map whose zero means nothing, as that of `RISE`, needs another threshold.

    Args:
        threshold: the share.
    """

    threshold: float = 0.2

    def of_one(self, map_: Map, image: Map | None) -> Boxes:
        """See `BoxProtocol.boxes`."""
        top = map_.max()
        if top <= 0:
            return whole(map_)
        box: Boxes = largest(map_ > self.threshold * top)[None]
        return box


@dataclass(frozen=True)
class Released(BoxProtocol):
    """The boxes of the generator that was released with CAM: a few, from a loose one to tight ones.

    For each threshold, what is left of the thresholded map after its rim is taken away gives the boxes of its
    components, and of their holes. They are pooled; of two of which the intersection is more than half of the larger
    one the smaller is dropped. It differs from the release (`bboxgenerator/dt_box.cpp` of github.com/zhoubolei/CAM):
    every such pair is looked at, where there a box that is removed lets the next one pass, and a map without a positive
    value gives the whole image. Negative values count as zero; the release was given magnitudes of CAM, summed over ten
    crops.

    Args:
        thresholds: in grey levels, of which the maximum of the map is 255.
        rim: pixels are left whose distance from the nearest that is below the threshold is more than rim / 255 of the
            largest such distance.
        margin: pixels at the right and the lower border of the image that no box covers.
    """

    thresholds: tuple[int, ...] = (20, 100, 110)
    rim: int = 10
    margin: int = 5

    def of_one(self, map_: Map, image: Map | None) -> Boxes:
        """See `BoxProtocol.boxes`."""
        top = map_.max()
        if top <= 0:
            return whole(map_)
        grey = np.rint(np.clip(map_, 0, None) * (255 / top))
        found = np.concatenate([_outlines(_core(grey > threshold, self.rim)) for threshold in self.thresholds])
        found[:, 2:] = np.minimum(found[:, 2:], np.array(map_.shape) - self.margin)
        found = found[(found[:, 2:] > found[:, :2]).all(1)]
        return _merged(found) if len(found) else whole(map_)


def checked(maps: Tensor) -> Map:
    """Maps (n, h, w) as numbers.

    Raises:
        ValueError: they are of another shape, or not finite.
    """
    if maps.dim() != 3 or not maps[0:1].numel():
        raise ValueError(f"maps have shape {tuple(maps.shape)}; (n, height, width) is expected")
    values: Map = maps.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise ValueError("a map is not finite (NaN or infinity), so it has no boxes")
    return values


def whole(map_: NDArray[Any]) -> Boxes:
    """The box of a whole map, (1, 4)."""
    return np.array([[0, 0, *map_.shape]])


def components(mask: Mask) -> Boxes:
    """The boxes (k, 4) of the connected components of a mask, those with most pixels first, then row by row."""
    labels, _ = ndimage.label(mask, _EIGHT)
    sizes = np.bincount(labels.ravel())[1:]
    return _boxes(labels)[np.argsort(-sizes, kind="stable")]


def largest(mask: Mask) -> Boxes:
    """The first of `components`, (4,); all of a mask in which nothing is set."""
    labels, count = ndimage.label(mask, _EIGHT)
    if not count:
        return np.array([0, 0, *mask.shape])
    most = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    return around(labels == most)


def around(mask: Mask) -> Boxes:
    """The tight box (4,) of what is set in a mask, which is something."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _boxes(labels: NDArray[np.integer[Any]]) -> Boxes:
    """The tight boxes (k, 4) of the labels 1 to k."""
    found: Sequence[tuple[slice, slice]] = ndimage.find_objects(labels)
    return np.array([(y.start, x.start, y.stop, x.stop) for y, x in found], np.int64).reshape(-1, 4)


def _core(mask: Mask, rim: int) -> Mask:
    """What is left of a mask without its rim."""
    if mask.all():
        return mask
    distances = ndimage.distance_transform_edt(mask)
    core: Mask = np.floor(distances * (255 / max(distances.max(), 1)) + 0.5) > rim
    return core


def _outlines(mask: Mask) -> Boxes:
    """The boxes (k, 4) around the outlines in a mask: of its components, and of what is set around their holes."""
    holes = _boxes(ndimage.label(~mask)[0])
    inside = (holes[:, :2] > 0).all(1) & (holes[:, 2:] < mask.shape).all(1)
    found: Boxes = np.concatenate([components(mask), holes[inside] + np.array([-1, -1, 1, 1])])
    return found


def _merged(boxes: Boxes) -> Boxes:
    """The largest first, without those that share more than half of the area of a larger one."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for i in np.argsort(-areas, kind="stable"):
        low, high = np.maximum(boxes[kept, :2], boxes[i, :2]), np.minimum(boxes[kept, 2:], boxes[i, 2:])
        if (2 * np.clip(high - low, 0, None).prod(1) <= areas[kept]).all():
            kept.append(int(i))
    return boxes[kept]
