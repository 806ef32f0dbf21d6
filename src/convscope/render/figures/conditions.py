"""Detectors by training condition: different labels, and units, of one layer [METHODS 6.5]."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.render.figures.category_bars import KEY, ROW, Bar, above, key, lying
from convscope.render.figures.sheet import LARGE, NORMAL, WIDTH, Sheet, caption_height, shortened, text_width
from convscope.studies.conditions import Condition
from convscope.studies.detectors import Detectors

_TOP, _TITLE, _GAP, _AXIS = 74 + KEY, 56, 60, 70  # px: above all, above a chart, beside one, and below it
_NAMES = 500  # px: room for names at most
_APART = 0.35  # rows between conditions where some have several networks


def draw(conditions: Sequence[Condition], images: str) -> Sheet:
    """The figure: at the left unique detectors, at the right all; a bar a network, in the order given.

    Args:
        images: what the units were compared with, in words.
    """
    every = [each.detectors for condition in conditions for each in condition.networks]
    layers = {each.counts.layer for each in every}
    places = _places(conditions)
    left = min(_NAMES, max(text_width(condition.name, NORMAL) for condition in conditions)) + 24
    end = round(_TOP + _TITLE + (places[-1][-1] + 1) * ROW + _AXIS)
    caption = _caption(layers)
    sheet = Sheet(end + caption_height([caption]))
    of = f" of {next(iter(layers))}" if len(layers) == 1 else ""
    title = f"Detectors{of} by condition, {images}, IoU > {above(every[0].counts.cut)}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    key(sheet, 62, {category for each in every for category, (n, _) in each.by_label.items() if n})
    y = _TOP + _TITLE
    for condition, rows in zip(conditions, places, strict=True):
        middle = y + ((rows[0] + rows[-1]) / 2 + 0.5) * ROW
        sheet.text(left - 20, middle, shortened(condition.name, left - 24, NORMAL), ha="right", va="center_baseline")
    width = (WIDTH - left - _GAP) / 2
    flat = [place for rows in places for place in rows]
    for number, (what, make) in enumerate((("unique detectors", _unique), ("detectors", _detectors))):
        bars = [make(place, each) for place, each in zip(flat, every, strict=True)]
        highest = max(1.0, *(bar.reach for bar in bars))
        lying(sheet, (left + number * (width + _GAP), y, width), what, bars, highest)
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _places(conditions: Sequence[Condition]) -> list[list[float]]:
    """Of every network of every condition, in rows from the top."""
    apart = _APART if any(len(condition.networks) > 1 for condition in conditions) else 0.0
    places: list[list[float]] = []
    first = 0.0
    for condition in conditions:
        places.append([first + row for row in range(len(condition.networks))])
        first += len(condition.networks) + apart
    return places


def _unique(place: float, found: Detectors) -> Bar:
    parts = {category: unique for category, (_, unique) in found.by_label.items()}
    return Bar(place, parts, f"{found.counts.unique}", found.counts.unique_interval)


def _detectors(place: float, found: Detectors) -> Bar:
    parts = {category: units for category, (units, _) in found.by_label.items()}
    counts = found.counts
    return Bar(place, parts, f"{counts.detectors} of {counts.units}", counts.detectors_interval)


def _caption(layers: set[str]) -> str:
    text = (
        "Right, units whose IoU with their label is above the cut, and left, the different labels among these, by the "
        "category of the label; the line is the 95 % interval when images are drawn anew, which lies high where many "
        "units are near the cut. A bar a network."
    )
    return text if len(layers) == 1 else text + f" Layers: {', '.join(sorted(layers))}."
