"""Unique detectors of several networks side by side, at several cuts, counted in both ways [METHODS 6.2, 6.6]."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.render.figures.category_bars import KEY, ROW, Bar, above, key, lying
from convscope.render.figures.sheet import GREY, LARGE, NORMAL, WIDTH, Sheet, caption_height, shortened, text_width
from convscope.studies.detectors import Detectors

_TOP, _TITLE, _GAP, _AXIS = 74 + KEY, 56, 50, 70  # px: above all, above a chart, beside one, and below it
_NAMES = 440  # px: room for names at most
_ONCE, _EVERY = "each unit once", "in every category"


def draw(networks: Sequence[tuple[str, Sequence[Detectors]]], images: str) -> Sheet:
    """The figure: above every unit once, below within each category; a column a cut.

    Args:
        networks: names, and the detectors of a layer at each cut.
        images: what the units were compared with, in words.
    """
    layers = {found[0].counts.layer for _, found in networks}
    names = [name if len(layers) == 1 else f"{name}, {found[0].counts.layer}" for name, found in networks]
    left = max(min(_NAMES, max(text_width(name, NORMAL) for name in names)), text_width(_EVERY, NORMAL)) + 24
    height = len(names) * ROW
    second = _TOP + _TITLE + height + _AXIS
    end = second + _TITLE + height + _AXIS
    sheet = Sheet(round(end) + caption_height([_CAPTION]))
    title = f"Unique detectors{f' of {layers.pop()}' if len(layers) == 1 else ''}, {images}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    every = [each for _, found in networks for each in found]
    ways = [
        (_TOP, _ONCE, [[_by_label(*each) for each in enumerate(column)] for column in _columns(networks)]),
        (second, _EVERY, [[_by_category(*each) for each in enumerate(column)]
                                       for column in _columns(networks)]),
    ]  # fmt: skip
    key(sheet, 62, {category for each in every for category, (_, n) in each.counts.by_category.items() if n})
    for y, way, columns in ways:
        for row, name in enumerate(names):
            middle = y + _TITLE + (row + 0.5) * ROW
            sheet.text(left - 20, middle, shortened(name, left - 24, NORMAL), ha="right", va="center_baseline")
        width = (WIDTH - left - (len(columns) - 1) * _GAP) / len(columns)
        highest = max(1.0, *(bar.reach for bars in columns for bar in bars))
        for number, bars in enumerate(columns):
            cut = networks[0][1][number].counts.cut
            lying(sheet, (left + number * (width + _GAP), y + _TITLE, width), f"IoU > {above(cut)}", bars, highest)
        sheet.text(0, y + _TITLE - 12, way, color=GREY, va="bottom")
    sheet.paragraphs(0, end, WIDTH, [_CAPTION])
    return sheet


_CAPTION = (
    "Different labels of detectors, by category, at several cuts. Above, a unit counts once, for the concept that fits "
    "it best; the line is the 95 % interval when images are drawn anew, which lies high where many units are near the "
    "cut. Below, as in the released statistics of network dissection, a unit counts in every category whose best "
    "concept passes the cut."
)


def _columns(networks: Sequence[tuple[str, Sequence[Detectors]]]) -> list[list[Detectors]]:
    """By cut those of every network."""
    return [list(column) for column in zip(*(found for _, found in networks), strict=True)]


def _by_label(row: int, found: Detectors) -> Bar:
    counts = found.counts
    parts = {category: unique for category, (_, unique) in found.by_label.items()}
    return Bar(row, parts, f"{counts.unique} in {counts.detectors} of {counts.units} units", counts.unique_interval)


def _by_category(row: int, found: Detectors) -> Bar:
    parts = {category: unique for category, (_, unique) in found.counts.by_category.items()}
    return Bar(row, parts, f"{found.counts.unique_in_categories}")
