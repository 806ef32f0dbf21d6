"""Pictures with a map or a region on them, as large as they are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.filters import display

Picture = NDArray[np.uint8]  # (h, w, 3)

_WARM = np.array([(255, 224, 90), (247, 120, 30), (205, 20, 30)], float)  # from nothing to full
_COLD = np.array([(130, 215, 235), (50, 130, 205), (25, 50, 160)], float)
_VEIL = 0.88  # how much of the image full colour hides
_GREYS = 70, 235  # of the image below colours: black and white would hide them
_DIM = 0.25  # of the brightness is left outside a region


def enlarged(picture: Picture, side: int) -> Picture:
    """A picture (h, w, 3) whose larger side becomes `side` px; where it is small its pixels are seen as squares."""
    height, width = picture.shape[:2]
    larger = max(height, width)
    size = max(1, round(width * side / larger)), max(1, round(height * side / larger))
    if larger * 2 <= side:
        squares = display.magnify(picture[None], -(-side // larger))[0]
        return np.asarray(Image.fromarray(squares).resize(size, Image.Resampling.BOX))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def lit(picture: Picture, region: NDArray[np.bool_], dim: float = _DIM) -> Picture:
    """The picture, dark outside a region (h, w), where `dim` of its brightness is left."""
    return np.where(region[..., None], picture, np.round(picture * dim).astype(np.uint8))


def greyed(picture: Picture) -> NDArray[np.float64]:
    """The picture in greys on which colours are seen, (h, w, 3)."""
    low, high = _GREYS
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float64) / 255
    return np.repeat((low + (high - low) * grey)[..., None], 3, 2)


def veiled(values: NDArray[np.float64], below: NDArray[np.float64]) -> Picture:
    """Values (h, w) in -1 to 1 as a veil over a picture (h, w, 3): the larger, the less of it is seen."""
    strength = np.clip(np.abs(values), 0, 1)
    places = np.linspace(0, 1, len(_WARM))
    warm, cold = (np.stack([np.interp(strength, places, ramp[:, i]) for i in range(3)], -1) for ramp in (_WARM, _COLD))
    colour = np.where((values >= 0)[..., None], warm, cold)
    share = (_VEIL * strength**0.75)[..., None]
    return np.round(colour * share + below * (1 - share)).clip(0, 255).astype(np.uint8)
