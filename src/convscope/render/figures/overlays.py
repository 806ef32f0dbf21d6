"""Pictures with a map or a region on them, as large as a figure shows them."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from convscope.render.figures.sheet import BLUE, RED

Picture = NDArray[np.uint8]  # (h, w, 3)

_DIM = 0.25  # of the brightness is left outside a region
_STRONGEST = 0.75  # how much the colour of the largest value covers


def enlarged(picture: Picture, side: int) -> Picture:
    """With its larger side `side` px: its pixels as squares where it is small, else smooth."""
    larger = max(picture.shape[:2])
    height, width = (max(1, round(length * side / larger)) for length in picture.shape[:2])
    smooth = Image.Resampling.LANCZOS if larger > side // 4 else Image.Resampling.NEAREST
    shown: Picture = np.asarray(Image.fromarray(picture).resize((width, height), smooth))
    return shown


def lit(picture: Picture, region: NDArray[np.bool_]) -> Picture:
    """The picture, dark outside a region (h, w)."""
    return np.where(region[..., None], picture, np.round(picture * _DIM).astype(np.uint8))


def heated(picture: Picture, values: NDArray[np.float32], largest: float) -> Picture:
    """The picture in pale grey, under a map (h, w): red where it is positive, blue where it is negative.

    Args:
        largest: magnitude that gets the full colour.
    """
    grey = 70 + 0.65 * picture.astype(np.float64).mean(2, keepdims=True)
    strength = np.clip(values / largest if largest > 0 else np.zeros_like(values), -1, 1)[..., None]
    colour = np.where(strength > 0, np.array(to_rgb(RED)), np.array(to_rgb(BLUE))) * 255
    cover = _STRONGEST * np.abs(strength)
    mixed: Picture = np.round(grey * (1 - cover) + colour * cover).astype(np.uint8)
    return mixed
