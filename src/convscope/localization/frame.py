"""Where the input of a network lies on the picture that it was made of, and boxes from the one to the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convscope.localization.boxes import Boxes
from convscope.preprocess import Preprocess


@dataclass(frozen=True)
class Frame:
    """A picture of (height, width), and the part of it that an input shows.

    Args:
        region: (y0, x0, y1, x1) in pixels of the picture; see `Preprocess.region`.
        size: (height, width) of the input.
    """

    height: int
    width: int
    region: tuple[float, float, float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, preprocess: Preprocess, height: int, width: int) -> Frame:
        """That of a picture of (height, width)."""
        return cls(height, width, preprocess.region(height, width), preprocess.size)

    def to_picture(self, boxes: ArrayLike) -> Boxes:
        """Boxes (..., 4) in pixels of the input as the nearest whole ones in the picture, of at least one pixel."""
        start, scale = self._axes()
        found = np.rint(np.asarray(boxes) * scale + start).astype(np.int64)
        sides = np.array([self.height, self.width])
        low = np.clip(found[..., :2], 0, sides - 1)
        return np.concatenate([low, np.clip(found[..., 2:], low + 1, sides)], -1)

    def to_input(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes (..., 4) in pixels of the picture, in pixels of the input, with corners between these."""
        start, scale = self._axes()
        found: NDArray[np.float64] = (np.asarray(boxes, np.float64) - start) / scale
        return found

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Start and pixels of the picture for one of the input, for the four numbers of a box."""
        start, end = np.array(self.region).reshape(2, 2)
        return np.tile(start, 2), np.tile((end - start) / self.size, 2)
