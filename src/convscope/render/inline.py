"""Pictures inside HTML: strips of patches, and images with the response as a veil, as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from convscope.atlas import AtlasLayer
from convscope.render.facts import lattice
from convscope.statistics.topk import TopK

_FORMAT = "WEBP" if features.check("webp") else "PNG"  # WebP is a third of the size; all wheels of Pillow have it
_SHARP = 32  # px; smaller pictures are enlarged without a blur, so that each of their pixels is seen
_SIDES = (96, 80, 64, 48, 40, 32, 24, 16, 12, 8)  # px of a picture's longer side that are tried
_GAP = 1 / 16  # of the side, clear, between two pictures
_VEIL = 170  # of 255, how dark it is where there is no response


@dataclass(frozen=True)
class Inline:
    """A picture in a page: its address, and its (width, height) in units of the longer side of one of its patches."""

    uri: str
    width: float
    height: float


def uri(picture: Image.Image, *, exact: bool = False) -> str:
    """The picture as an address; `exact` keeps every pixel's value."""
    buffer = io.BytesIO()
    picture.save(buffer, _FORMAT, lossless=exact, quality=78, method=4)
    return f"data:image/{_FORMAT.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strips(rows: Sequence[Sequence[Image.Image]], budget: int, largest: int = _SIDES[0]) -> list[Inline | None]:
    """Every row of patches as one picture, as large as the sum of all addresses stays within `budget` characters.

    Args:
        largest: px of a patch's longer side, at most.

    Returns:
        For each row its strip, None for an empty one. With the smallest patches the budget may be exceeded.
    """
    made: list[Inline | None] = []
    for side in (side for side in _SIDES if side <= largest):
        made = [_strip(row, side) if row else None for row in rows]
        if sum(len(strip.uri) for strip in made if strip is not None) <= budget:
            break
    return made


def _strip(patches: Sequence[Image.Image], side: int) -> Inline:
    scaled = [_scaled(patch, side) for patch in patches]
    gap = max(1, round(side * _GAP))
    height = max(patch.height for patch in scaled)
    canvas = Image.new("RGBA", (sum(patch.width + gap for patch in scaled) - gap, height))
    x = 0
    for patch in scaled:
        canvas.paste(patch, (x, (height - patch.height) // 2))
        x += patch.width + gap
    longest = max(*scaled[0].size, 1)
    exact = max(max(patch.size) for patch in patches) <= _SHARP
    return Inline(uri(canvas, exact=exact), canvas.width / longest, canvas.height / longest)


def _scaled(patch: Image.Image, side: int) -> Image.Image:
    """Small ones are enlarged pixel by pixel, and large ones reduced."""
    longest = max(patch.size)
    if longest == 0:  # a cell that sees nothing
        return Image.new("RGB", (side, side))
    if longest <= side:
        times = side // longest if longest <= _SHARP else 1
        return patch.resize((patch.width * times, patch.height * times), Image.Resampling.NEAREST)
    size = [max(1, round(length * side / longest)) for length in patch.size]
    return patch.resize((size[0], size[1]), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Veil:
    """The response over an image: clear where it is strong. In pixels of the network's input."""

    uri: str
    x: float
    y: float
    width: float
    height: float


def veil(layer: AtlasLayer, shares: NDArray[np.float32]) -> Veil | None:
    """The response (h, w), as shares of its maximum, where it lies on the image.

    Cells lie around the centres of their fields, and beyond the outermost ones the border value goes on. None where the
    response is nowhere above zero, and where cells have no place.
    """
    if not shares.size or not shares.any():
        return None
    topk = layer.atlas.statistics["topk"]
    assert isinstance(topk, TopK)
    block = topk.block(layer.shape[1:])
    (top, down), (left, right) = (lattice(spans) for spans in (layer.grid.rows, layer.grid.columns))
    down, right = down * block, right * block
    if down <= 0 or right <= 0:
        return None
    y, x = max(1, math.ceil(top / down)), max(1, math.ceil(left / right))
    wide = np.pad(shares, ((y, y), (x, x)), "edge")
    dark = (_VEIL * (1 - np.sqrt(wide))).astype(np.uint8)
    picture = Image.fromarray(np.stack([np.zeros_like(dark), dark], 2), "LA")
    return Veil(
        uri(picture.convert("RGBA"), exact=True), left - x * right, top - y * down, dark.shape[1] * right,
        dark.shape[0] * down,
    )  # fmt: skip
