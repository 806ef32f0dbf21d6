"""Filters that see the image, as pictures [METHODS 3.1]: each on its own scale, all on one, and their frequencies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from convscope.filters import colour, display
from convscope.filters.weights import Weights, in_pixels
from convscope.preprocess import Preprocess
from convscope.render.figures.charts import Noise, Place, points
from convscope.render.figures.sheet import GREY, LARGE, SMALL, WIDTH, Sheet, caption_height, tiled
from convscope.render.text import figure as written

_MARGIN, _BETWEEN, _TITLE = 70, 80, 44  # px: left of a grid for its numbers, between two panels, above a panel
_PANEL = (WIDTH - _BETWEEN) // 2
_ROOM = _PANEL - _MARGIN
_LARGEST = 190  # px a tile


def draw(title: str, weights: Weights, preprocess: Preprocess, judged: Noise | None, start: int) -> tuple[Sheet, int]:
    """The figure, and how many units it shows."""
    shown = in_pixels(weights, preprocess)
    columns, count = _layout(len(shown.slices) - start, *shown.slices.shape[2:])
    filters = shown.slices[start : start + count]
    tiles = np.moveaxis(filters, 1, -1)
    spectra = 1 - colour.spectrum(filters)[..., None].astype(np.float64) / colour.DEEPEST
    own, common = _grid(display.minmax(tiles, each=1), columns, 0), _grid(display.sym(tiles), columns, 128)
    amplitudes = _grid(spectra, columns, 255)
    chart = min(600, max(420, len(amplitudes) - 70))
    captions = [_caption(shown, preprocess, start, count), *([judged.caption()] if judged else [])]
    second = 60 + _TITLE + len(own) + 50
    end = second + _TITLE + max(len(amplitudes), chart + 80) + 30
    sheet = Sheet(end + caption_height(captions))
    sheet.text(0, 0, title, LARGE, weight="bold")
    right = _PANEL + _BETWEEN
    panels = (
        (0, 60, "a   each filter on its own scale", own),
        (right, 60, "b   all filters on one scale, zero is mid-grey", common),
        (0, second, "c   amplitude by frequency", amplitudes),
    )
    for x, y, name, picture in panels:
        sheet.text(x + _MARGIN, y, name)
        sheet.image(picture, x + _MARGIN, y + _TITLE)
        _number_rows(sheet, x + _MARGIN - 12, y + _TITLE, len(picture), (start, count, columns))
    place = (right + _MARGIN + 60, second + _TITLE, _ROOM - 70, chart)
    sheet.text(right + _MARGIN, second, f"d   {_chart(sheet, place, filters, judged, start)}")
    sheet.paragraphs(0, end, WIDTH, captions)
    return sheet, count


def _layout(count: int, height: int, width: int) -> tuple[int, int]:
    """Columns of a grid of tiles (height, width), and how many tiles fit into a panel."""
    columns = min(math.ceil(math.sqrt(count)), max(1, (_ROOM + 2) // (max(width, 32) + 2)))
    return columns, min(count, columns * max(1, (_ROOM + 2) // (max(height, 32) + 2)))


def _grid(shades: NDArray[np.float64], columns: int, background: int) -> NDArray[np.uint8]:
    """Tiles (n, h, w, 1 or 3) as large as a panel allows, with a gap of a few pixels in the colour `background`."""
    gap = 12 if columns <= 5 else 4 if columns <= 12 else 2
    side = min((_ROOM + gap) // columns - gap, _LARGEST)
    tiles = display.magnify(display.to_bytes(shades), max(1, side // max(shades.shape[1:3])))
    return tiled(tiles, columns, gap, background)


def _number_rows(sheet: Sheet, x: float, y: float, height: int, numbers: tuple[int, int, int]) -> None:
    """The number of the first filter of every row, left of it; not of every row where they are narrow."""
    start, count, columns = numbers
    many = math.ceil(count / columns)
    for row in range(0, many, math.ceil(30 / (height / many))):
        middle = y + (row + 0.5) * height / many
        sheet.text(x, middle, str(start + row * columns), SMALL, ha="right", va="center_baseline", color=GREY)


def _chart(sheet: Sheet, place: Place, filters: NDArray[np.float32], judged: Noise | None, start: int) -> str:
    """Every filter as a point: colour by frequency where there are colours, else noise; returns what it is called."""
    units = slice(start, start + len(filters))
    if filters.shape[1] == 3:
        axes = sheet.chart(*place, "dominant spatial frequency, cycles per pixel", "colour ratio")
        axes.set(xlim=(-0.015, 0.515), ylim=(-0.03, 1.03))
        noisy = judged.noisy[units] if judged else np.zeros(len(filters), np.bool_)
        points(axes, colour.dominant_frequency(filters), colour.colour_ratio(filters), noisy)
        return "colour and frequency of each filter"
    if judged:
        judged.chart(sheet, (place[0], place[1] + 30, place[2], place[3] - 30))
        return "how smooth each filter is"
    axes = sheet.chart(*place, "unit", "norm of its filter")
    norms = np.sqrt(np.square(filters, dtype=np.float64).sum((1, 2, 3)))
    points(axes, np.arange(units.start, units.stop), norms, np.zeros(len(filters), np.bool_))
    return "strength of each filter"


def _caption(shown: Weights, preprocess: Preprocess, start: int, count: int) -> str:
    units, channels, height, width = shown.slices.shape
    some = f"Filters {start} to {start + count - 1} of {units}" if count < units else f"All {units} filters"
    text = f"{some}, {height} × {width} px{' in RGB' if channels == 3 else ''}; the first of each row is numbered."
    if any(value != 1 for value in preprocess.std):
        text += " Weights are divided by the standard deviation of the preprocessing."
    largest = written(float(np.nanmax(np.abs(shown.slices[start : start + count]))))
    text += f" (b) Black is −{largest}, white {largest}. (c) Zero frequency in the middle, ½ cycle per pixel at the "
    text += "edges; white is the filter's largest amplitude, black a thousandth of it, on a log scale."
    if channels == 3:
        text += " (d) 0 is a grey filter, 1 pure colour; red rings are noisy."
    return text
