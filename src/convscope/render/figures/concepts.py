"""Which concepts the units of a layer detect: a bar a concept, as high as units detect it [METHODS 6.3]."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from convscope.dissection import DissectedLayer
from convscope.render.categories import COLOURS
from convscope.render.figures.category_bars import KEY, above, key
from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    styled,
    text_width,
)
from convscope.studies.detector_labels import Bar, histogram

_TOP, _LEFT = 84 + 44 + KEY, 90  # px
_BARS, _BETWEEN = 340, 44  # px: height of a row of bars, and the gap to the next
_ROW, _LEAST = 46, 20  # bars in a row: at most, and as many have room at least
_SLOPE, _LONGEST = 55, 400  # degrees, and px: of a name


def draw(layer: DissectedLayer, cut: float, network: str, images: str) -> Sheet:
    """The figure.

    Args:
        network, images: what was compared with what, in words.
    """
    bars = histogram(layer, cut)
    rows = _rows(bars)
    names = max((text_width(_name(bar), SMALL) for bar in bars), default=0) * math.sin(math.radians(_SLOPE)) + 40
    step = round(_BARS + names + _BETWEEN)
    end = _TOP + (len(rows) * step - _BETWEEN if bars else 0) + 20
    caption = _caption(bars, cut)
    sheet = Sheet(end + caption_height([caption]))
    sheet.text(0, 0, f"{header(layer, bars)} with IoU ≥ {above(cut)}", LARGE, weight="bold")
    sheet.text(0, 50, shortened(f"{layer.address} of {network}, {images}", WIDTH, NORMAL), color=GREY)
    key(sheet, 98, {bar.concept.category for bar in bars})
    highest = max((len(bar.units) for bar in bars), default=1)
    for number, row in enumerate(rows):
        _row(sheet, row, _TOP + number * step, highest, max(map(len, rows)))
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def header(layer: DissectedLayer, bars: Sequence[Bar]) -> str:
    """As the report of the paper's authors begins."""
    units = sum(len(bar.units) for bar in bars)
    return f"{units}/{len(layer)} units covering {len(bars)} concept{'' if len(bars) == 1 else 's'}"


def _rows(bars: Sequence[Bar]) -> list[Sequence[Bar]]:
    """Rows of about the same length."""
    rows = math.ceil(len(bars) / _ROW)
    return [bars[len(bars) * row // rows : len(bars) * (row + 1) // rows] for row in range(rows)]


def _name(bar: Bar) -> str:
    return shortened(bar.concept.name, _LONGEST, SMALL)


def _row(sheet: Sheet, bars: Sequence[Bar], y: float, highest: int, longest: int) -> None:
    axes = sheet.chart(_LEFT, y, WIDTH - _LEFT, _BARS, "", "units")
    counts = [len(bar.units) for bar in bars]
    axes.bar(range(len(bars)), counts, 0.76, color=[COLOURS[bar.concept.category] for bar in bars], linewidth=0)
    with styled():
        for place, units in enumerate(counts):
            axes.annotate(str(units), (place, units), (0, 1.5), textcoords="offset points", ha="center", size=SMALL,
                          color=INK)  # fmt: skip
        axes.set_xticks(range(len(bars)), [_name(bar) for bar in bars], rotation=_SLOPE, ha="right",
                        rotation_mode="anchor")  # fmt: skip
        axes.set(xlim=(-0.7, max(_LEAST, longest) - 0.3), ylim=(0, highest * 1.1))
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.4)
        axes.set_axisbelow(True)


def _caption(bars: Sequence[Bar], cut: float) -> str:
    if not bars:
        return f"No unit has an IoU above {above(cut)} with any concept."
    best = max(bars, key=lambda bar: bar.iou)
    return (
        "A bar a concept, as high as there are units whose best concept it is. Within a category the concepts of most "
        f"units are first, and of these those with the best detector. The best of all is unit {best.units[0]}, "
        f"{best.concept.name}, with an IoU of {best.iou:.2f}."
    )
