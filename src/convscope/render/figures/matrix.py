"""Layers of one pixel as a matrix of norms: how strongly every unit weighs every input channel [METHODS 3.2]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convscope.filters import display
from convscope.filters.weights import Weights
from convscope.render.figures.sheet import LARGE, WIDTH, Sheet, caption_height, colours, styled
from convscope.render.text import figure as written

_LARGEST = 1500  # px a side
_LEFT, _BAR = 120, 40  # px: room for numbers, and the width of the scale


def draw(title: str, weights: Weights) -> tuple[Sheet, int]:
    """The figure, which shows all units."""
    norms, blocks = _blocks(_full(weights))
    factor = max(1, min(40, *(_LARGEST // side for side in norms.shape)))
    largest = float(norms.max(initial=0))
    picture = display.magnify(display.to_bytes(1 - display.pos(norms))[None], factor)[0]
    caption = _caption(weights, blocks, largest)
    height, width = picture.shape
    sheet = Sheet(90 + max(height, 300) + 110 + caption_height([caption]))
    sheet.text(0, 0, title, LARGE, weight="bold")
    _axes(sheet, picture, (len(weights.slices), int(weights.channels.max()) + 1))
    ramp = np.linspace(0, 255, 300).round().astype(np.uint8)[:, None].repeat(_BAR, 1)
    x = _LEFT + width + 90
    sheet.image(ramp, x, 90)
    sheet.text(x + _BAR + 14, 90, written(largest), va="center")
    sheet.text(x + _BAR + 14, 390, "0", va="center")
    sheet.text(x, 50, "norm")
    sheet.paragraph(0, 90 + max(height, 300) + 110, WIDTH, caption)
    return sheet, len(weights.slices)


def _full(weights: Weights) -> NDArray[np.float64]:
    """(units, channels): norms at their true channels, 0 where a unit of a group does not look."""
    matrix = np.zeros((len(weights.slices), int(weights.channels.max()) + 1))
    np.put_along_axis(matrix, weights.channels, np.nan_to_num(weights.norms).astype(np.float64), 1)
    return matrix


def _blocks(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """A matrix that fits on a page: means of blocks of so many rows and columns."""
    rows, columns = (-(-side // _LARGEST) for side in matrix.shape)
    if (rows, columns) != (1, 1):
        starts = [np.arange(0, side, step) for side, step in zip(matrix.shape, (rows, columns), strict=True)]
        sums = np.add.reduceat(np.add.reduceat(matrix, starts[0], 0), starts[1], 1)
        sizes = [np.diff(np.append(start, side)) for start, side in zip(starts, matrix.shape, strict=True)]
        matrix = sums / np.multiply.outer(*sizes)
    return matrix, (rows, columns)


def _axes(sheet: Sheet, picture: NDArray[np.uint8], shape: tuple[int, int]) -> None:
    height, width = picture.shape
    axes = sheet.chart(_LEFT, 90, width, height, "input channel", "unit")
    edges = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    with styled():
        axes.imshow(colours(picture), interpolation="none", aspect="auto", extent=edges)
        axes.locator_params(integer=True)
        for spine in axes.spines.values():
            spine.set_visible(True)


def _caption(weights: Weights, blocks: tuple[int, int], largest: float) -> str:
    units, seen = weights.slices.shape[:2]
    text = (
        f"How strongly each of {units} units weighs each of its {seen} inputs: the norm of the weights between them, "
        f"from 0 (white) to {written(largest)} (black)."
    )
    if blocks != (1, 1):
        text += f" Each pixel is the mean over {blocks[0]} units and {blocks[1]} channels."
    return text + " A row that is white is a dead unit, a column that is white an input that nobody uses."
