"""What a layer answers to one image, a tile a unit [METHODS 3.3]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.filters import display
from convscope.render.figures.sheet import GREY, LARGE, NORMAL, SMALL, WIDTH, Sheet, caption_height, shortened, tiled
from convscope.render.text import figure as written
from convscope.render.text import percent

_SIDE, _BETWEEN = 430, 110  # px: the input's larger side, and the room between it and the tiles
_ROOM = WIDTH - _SIDE - _BETWEEN
_TALLEST, _LARGEST, _CELL = 2300, 150, 30  # px: of all tiles, of one, and of one position


@dataclass(frozen=True, eq=False)
class Response:
    """What a layer answered.

    Args:
        maps: (units, h, w).
        nonlinearity: behind which it was read, as in ``relu``; None where it is not rectified.
    """

    maps: NDArray[np.float32]
    nonlinearity: str | None

    @property
    def rectified(self) -> bool:
        """Whether zero is silence: nothing came out negative behind a non-linearity."""
        gates = {"sigmoid", "hardsigmoid", "softplus"}  # what lets nothing negative through, and is never silent
        return self.nonlinearity is not None and self.nonlinearity not in gates and not (self.maps < 0).any()

    def shades(self, each: bool) -> NDArray[np.float64]:
        """Greys of the tiles: each on its own scale, or all on one."""
        normalise = display.pos if self.rectified else display.sym
        return normalise(self.maps, each=int(each))

    @property
    def largest(self) -> float:
        """What is white where all are on one scale."""
        finite = self.maps[np.isfinite(self.maps)]
        return float((finite if self.rectified else np.abs(finite)).max(initial=0))

    @property
    def maxima(self) -> NDArray[np.float32]:
        """(units,)."""
        maxima: NDArray[np.float32] = self.maps.max((1, 2), initial=-np.inf)
        return maxima

    @property
    def zeros(self) -> float:
        """Share of the values that are not above zero."""
        return float((self.maps <= 0).mean())

    @property
    def silent(self) -> int:
        """Units that are nowhere above zero."""
        return int((self.maxima <= 0).sum())


def draw(title: str, picture: Image.Image, name: str, response: Response, each: bool) -> tuple[Sheet, int]:
    """The figure, and how many units it shows.

    Args:
        picture: what the network saw, and `name` what it is called.
        each: give every tile its own scale, instead of one for the whole figure.
    """
    chosen, columns, factor = _layout(response.maps)
    shades = response.shades(each)[chosen]
    gap = 4 if factor * response.maps.shape[2] > 20 else 2
    tiles = display.magnify(display.to_bytes(shades), factor)
    grid = tiled(tiles, columns, gap, 255 if response.rectified else 128)  # tiles that are white must end somewhere
    shown = _input(picture)
    caption = [_caption(response, each, len(chosen))]
    top = 62
    end = top + max(len(grid), shown.shape[0] + 200) + 30
    sheet = Sheet(end + caption_height(caption))
    sheet.text(0, 0, title, LARGE, weight="bold")
    sheet.image(shown, 0, top)
    below = top + shown.shape[0] + 14
    sheet.text(0, below, shortened(name, _SIDE, SMALL), SMALL, color=GREY)
    _ramp(sheet, below + 80, response, each)
    left = _SIDE + _BETWEEN
    sheet.image(grid, left, top)
    _number_rows(sheet, left - 12, top, len(grid), chosen[::columns])
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet, len(chosen)


def _layout(maps: NDArray[np.float32]) -> tuple[NDArray[np.int64], int, int]:
    """The units to show, how many columns, and pixels a cell: as large as the page allows.

    Where not even the smallest tiles fit, the units with the largest maxima are shown, in their order.
    """
    count, height, width = maps.shape
    for factor in range(min(_CELL, max(1, _LARGEST // max(height, width))), 0, -1):
        columns = min(count, (_ROOM + 4) // (width * factor + 4))
        square = min(columns, math.ceil(math.sqrt(count * (height + 1) / (width + 1))))
        if square and math.ceil(count / square) * (height * factor + 4) > _TALLEST // 3:  # wide rather than tall
            square = columns
        if square and math.ceil(count / square) * (height * factor + 4) <= min(_TALLEST, _ROOM):
            return np.arange(count), square, factor
    columns = max(1, (_ROOM + 4) // (width + 4))
    most = columns * max(1, _TALLEST // (height + 4))
    peaks = np.nan_to_num(maps.max((1, 2)), nan=-np.inf)
    return np.sort(np.argsort(-peaks, kind="stable")[:most]), min(columns, count), 1


def _input(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture as large as its place: pixels as squares where it is small, else smooth."""
    larger = max(picture.size)
    if larger * 2 <= _SIDE:
        factor = _SIDE // larger
        squares: NDArray[np.uint8] = display.magnify(np.asarray(picture.convert("RGB"))[None], factor)[0]
        return squares
    width, height = (max(1, round(side * _SIDE / larger)) for side in picture.size)
    smooth: NDArray[np.uint8] = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    return smooth


def _ramp(sheet: Sheet, y: int, response: Response, each: bool) -> None:
    """What black and white mean."""
    sheet.image(np.linspace(0, 255, _SIDE).round().astype(np.uint8)[None].repeat(26, 0), 0, y)
    largest = "largest of its tile" if each else written(response.largest)
    low = "0" if response.rectified else "" if each else f"−{largest}"
    sheet.text(0, y + 34, low, SMALL)
    sheet.text(_SIDE, y + 34, largest, SMALL, ha="right")
    if not response.rectified:
        sheet.text(_SIDE / 2, y + 34, "0", SMALL, ha="center")
    sheet.text(0, y - 8, "response", NORMAL, va="bottom")


def _number_rows(sheet: Sheet, x: int, y: int, height: int, firsts: NDArray[np.int64]) -> None:
    """The number of the first unit of every row, left of it; not of every row where they are narrow."""
    for row in range(0, len(firsts), math.ceil(30 / (height / len(firsts)))):
        middle = y + (row + 0.5) * height / len(firsts)
        sheet.text(x, middle, str(firsts[row]), SMALL, ha="right", va="center_baseline", color=GREY)


def _caption(response: Response, each: bool, shown: int) -> str:
    units, height, width = response.maps.shape
    some = f"All {units} units" if shown == units else f"The {shown} of {units} units with the largest maxima"
    size = "of one value" if height * width == 1 else f"of {height} × {width} positions"
    text = f"{some}, a tile {size} each; the first of each row is numbered. "
    behind = f"after {response.nonlinearity}" if response.nonlinearity else "not rectified"
    if response.rectified:
        scale = "Each tile has its own scale" if each else "All tiles have one scale"
        white = "its own maximum" if each else written(response.largest)
        text += f"Response {behind}. {scale}: 0 is black and {white} is white. "
        text += f"{percent(response.zeros)} of all values are zero, and {response.silent} units are silent."
    else:
        scale = "Each tile has its own scale" if each else "All tiles have one scale"
        white = "its own largest magnitude" if each else written(response.largest)
        text += f"Response {behind}. {scale}: 0 is mid-grey and {white} is white, as far below 0 is black."
    broken = int((~np.isfinite(response.maps)).any((1, 2)).sum())
    return text + (f" {broken} units gave numbers that are none." if broken else "")
