"""Filters of deeper layers as rows of tiles, one for each input channel [METHODS 3.2]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.filters import display
from convscope.filters.weights import Weights
from convscope.render.figures.charts import Noise
from convscope.render.figures.sheet import GREY, LARGE, SMALL, WIDTH, Sheet, caption_height, text_width

ALL, ALL_FIRST = 32, 48  # input channels of which every slice is shown, of more the strongest; planes of a board more
_STRONGEST = 12
_TALLEST = 1900  # px of rows
_CHART = 700, 420  # px
_LARGE, _SMALL = 56, 27  # px a tile
_TINY = 4.0  # pt, of the channels' numbers


@dataclass(frozen=True)
class _Layout:
    """Where the tiles are: blocks of rows beside each other, all px.

    Args:
        label: room for a unit's number, left of its row.
        header: room above the rows, and above every row where each has its own channels.
    """

    factor: int
    tile: tuple[int, int]
    slices: int
    label: int
    header: tuple[int, int]

    @property
    def row(self) -> tuple[int, int]:
        """Height and width of a unit's row with the room around it."""
        return self.header[1] + self.tile[0] + 14, self.label + self.slices * (self.tile[1] + 4) + 44

    @property
    def blocks(self) -> int:
        """How many are beside each other."""
        return max(1, (WIDTH + 44) // self.row[1])

    @property
    def most(self) -> int:
        """Rows in a block."""
        return max(1, _TALLEST // self.row[0])


def draw(title: str, weights: Weights, judged: Noise | None, start: int) -> tuple[Sheet, int]:
    """The figure, and how many units it shows."""
    units, seen = weights.slices.shape[:2]
    alike = bool((weights.channels == weights.channels[0]).all()) and seen <= _all(weights)
    layout = _layout(weights, alike)
    count = min(units - start, layout.blocks * layout.most)
    in_block = -(-count // layout.blocks)
    captions = [_caption(weights, start, count), *([judged.caption()] if judged else [])]
    top = 60 + layout.header[0]
    bottom = top + in_block * layout.row[0] + 40
    beside = WIDTH - _CHART[0] - 200 if judged else WIDTH
    sheet = Sheet(bottom + max(caption_height(captions, beside), _CHART[1] + 80 if judged else 0))
    sheet.text(0, 0, title, LARGE, weight="bold")
    slices = _shown(weights, layout.slices)
    for index in range(count):
        block, row = divmod(index, in_block)
        x, y = block * layout.row[1], top + row * layout.row[0]
        if alike and row == 0:
            _header(sheet, layout, x + layout.label, y, list(range(layout.slices)))
        _row(sheet, layout, (x, y), start + index, slices, judged, not alike)
    if judged:
        judged.chart(sheet, (110, bottom, *_CHART))
    sheet.paragraphs(WIDTH - beside, bottom, beside, captions)
    return sheet, count


def _all(weights: Weights) -> int:
    """Up to how many input channels all are shown: those of the input itself each mean something of their own."""
    return ALL_FIRST if weights.first else ALL


def _layout(weights: Weights, alike: bool) -> _Layout:
    """As large as all units fit; where they do not fit even in small, as large as is easy to read."""
    units, seen, height, width = weights.slices.shape
    slices = seen if seen <= _all(weights) else _STRONGEST
    label = round(text_width(str(units), SMALL)) + 24
    widest = ((WIDTH - label) // slices - 4) // width
    factors = range(min(_LARGE // max(height, width), widest), min(_SMALL // max(height, width), widest) - 1, -1)
    layouts = [
        _Layout(factor, (height * factor, width * factor), slices, label, (26, 0) if alike else (0, 20))
        for factor in (max(1, factor) for factor in factors)
    ]
    return next((layout for layout in layouts if layout.blocks * layout.most >= units), layouts[len(layouts) // 2])


def _shown(weights: Weights, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Tiles (units, count, h, w), on the scale of the whole filter also where only some are shown, and the channels."""
    tiles = display.to_bytes(display.minmax(weights.slices, each=1))
    if count == weights.slices.shape[1]:
        return tiles, weights.channels
    order = np.argsort(-np.nan_to_num(weights.norms, nan=-1), axis=1, kind="stable")[:, :count]
    units = np.arange(len(order))[:, None]
    return tiles[units, order], weights.channels[units, order]


def _row(
    sheet: Sheet, layout: _Layout, place: tuple[int, int], unit: int,
    shown: tuple[NDArray[np.uint8], NDArray[np.int64]], judged: Noise | None, numbered: bool,
) -> None:  # fmt: skip
    tiles, channels = shown
    x, y = place[0] + layout.label, place[1] + layout.header[1]
    if numbered:
        _header(sheet, layout, x, y, channels[unit].tolist())
    colour = judged.colour(unit) if judged else GREY
    middle = y + layout.tile[0] / 2
    sheet.text(x - 16, middle, str(unit), SMALL, ha="right", va="center_baseline", color=colour)
    picture = display.grid(display.magnify(tiles[unit], layout.factor), layout.slices, 4, 255)
    sheet.image(picture, x, y)
    sheet.bracket(x - 7, y - 3, layout.tile[0] + 6, 1)
    sheet.bracket(x + picture.shape[1] + 7, y - 3, layout.tile[0] + 6, -1)


def _header(sheet: Sheet, layout: _Layout, x: float, y: float, channels: list[int]) -> None:
    """The channels' numbers above their tiles; not all of them where the tiles are narrower."""
    widest = text_width(str(max(channels)), _TINY)
    step = max(1, -(-round(widest + 6) // (layout.tile[1] + 4)))
    for index, channel in enumerate(channels):
        if index % step == 0:
            middle = x + index * (layout.tile[1] + 4) + layout.tile[1] / 2
            sheet.text(middle, y - 4, str(channel), _TINY, ha="center", va="bottom", color=GREY)


def _caption(weights: Weights, start: int, count: int) -> str:
    units, seen, height, width = weights.slices.shape
    some = f"Units {start} to {start + count - 1} of {units}" if count < units else f"All {units} units"
    which = f"all {seen} input channels" if seen > 1 else "the one input channel"
    if seen > _all(weights):
        which = f"the {_STRONGEST} of {seen} input channels with the largest norm"
    return (
        f"{some}, a row each; {height} × {width} weights for {which}, whose numbers stand above. Every filter has its "
        "own scale, from its smallest weight (black) to its largest (white) over all channels. Such filters cannot be "
        "read as images; they show smoothness, and filters that are dead or noisy (red numbers)."
    )
