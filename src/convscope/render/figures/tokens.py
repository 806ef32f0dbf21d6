"""The concepts that most units of a layer detect, a column a network [METHODS 6.3, token ranking]."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Rectangle

from convscope.dissection import DissectedLayer
from convscope.render.categories import COLOURS
from convscope.render.figures.category_bars import KEY, above, key
from convscope.render.figures.concepts import header
from convscope.render.figures.sheet import (
    GREY,
    LARGE,
    NORMAL,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    text_width,
)
from convscope.studies.detector_labels import Bar, ranking

SHOWN = 24  # concepts of a network, about
_COLUMNS = 4  # networks beside each other, at most
_TOP, _HEAD, _LINE, _BETWEEN, _GAP = 92 + KEY, 84, 38, 40, 50  # px
_BAR, _NUMBER = 26, 60  # px: height of a bar, and room for its number


def draw(networks: Sequence[tuple[str, DissectedLayer]], cut: float, images: str) -> Sheet:
    """The figure.

    Args:
        networks: names, and a layer of each.
        images: what the units were compared with, in words.
    """
    rankings = [ranking(layer, cut) for _, layer in networks]
    rows = -(-len(networks) // _COLUMNS)
    columns = -(-len(networks) // rows)
    width = (WIDTH - (columns - 1) * _GAP) / columns
    heights = [max(map(_height, rankings[row * columns : (row + 1) * columns])) for row in range(rows)]
    end = _TOP + sum(heights)
    sheet = Sheet(end + caption_height([_CAPTION]))
    title = f"Concepts by the number of units that detect them, {images}, IoU > {above(cut)}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    key(sheet, 62, {bar.concept.category for bars in rankings for bar in _shown(bars)})
    highest = max((len(bar.units) for bars in rankings for bar in bars), default=1)
    names = max((text_width(_name(bar, width), SMALL) for bars in rankings for bar in _shown(bars)), default=0)
    for number, ((name, layer), bars) in enumerate(zip(networks, rankings, strict=True)):
        down, right = divmod(number, columns)
        x, y = right * (width + _GAP), _TOP + sum(heights[:down])
        which = f", {layer.address}"
        called = shortened(name, 0.9 * width - text_width(which, NORMAL), NORMAL)  # bold letters are wider
        sheet.text(x, y, called + which, weight="bold")
        sheet.text(x, y + 36, shortened(header(layer, bars), width, SMALL), SMALL, color=GREY)
        _column(sheet, bars, (x, y + _HEAD, width), names + 14, highest)
    sheet.paragraphs(0, end, WIDTH, [_CAPTION])
    return sheet


_CAPTION = "The number of units whose best concept it is; of equal numbers that with the best detector is first."


def _height(bars: Sequence[Bar]) -> int:
    """Of a ranking with its head and what is left free below it, px."""
    lines = len(_shown(bars)) + (len(bars) > len(_shown(bars)))
    return _HEAD + max(1, lines) * _LINE + _BETWEEN


def _shown(bars: Sequence[Bar]) -> Sequence[Bar]:
    """Those that are drawn; where one more would be left out, a line about it would be as long."""
    return bars if len(bars) <= SHOWN + 1 else bars[:SHOWN]


def _name(bar: Bar, width: float) -> str:
    return shortened(bar.concept.name, width / 2, SMALL)


def _column(sheet: Sheet, bars: Sequence[Bar], place: tuple[float, float, float], room: float, highest: int) -> None:
    """The ranking of a network, with `room` for names left of the bars, px."""
    x, y, width = place
    shown = _shown(bars)
    canvas = sheet.canvas(x, y, width, _LINE * max(1, len(shown)))
    for row, bar in enumerate(shown):
        length = len(bar.units) / highest * (width - room - _NUMBER)
        canvas.add_patch(Rectangle((room, row * _LINE + (_LINE - _BAR) / 2), length, _BAR,
                                   facecolor=COLOURS[bar.concept.category], linewidth=0))  # fmt: skip
        middle = y + (row + 0.5) * _LINE
        sheet.text(x + room - 14, middle, _name(bar, width), SMALL, ha="right", va="center_baseline")
        sheet.text(x + room + length + 10, middle, str(len(bar.units)), SMALL, va="center_baseline")
    if left := bars[len(shown) :]:
        most = "one unit" if len(left[0].units) == 1 else f"{len(left[0].units)} units or fewer"
        middle = y + (len(shown) + 0.5) * _LINE
        sheet.text(x, middle, f"and {len(left)} more with {most}", SMALL, color=GREY, va="center_baseline")
    elif not bars:
        sheet.text(x, y + _LINE / 2, "no unit detects anything", SMALL, color=GREY, va="center_baseline")
