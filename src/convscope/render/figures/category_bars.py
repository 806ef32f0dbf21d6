"""What figures of detectors have in common: bars of the six categories on top of each other, and what they mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from convscope.render.categories import COLOURS
from convscope.render.figures.sheet import INK, NORMAL, SMALL, Sheet, styled, text_width

KEY = 40  # px: height of the key
ROW = 50  # px: from one lying bar to the next
_SQUARE, _TEXT = 22, 12  # px
_THICK = 0.64


@dataclass(frozen=True)
class Bar:
    """A bar that lies.

    Args:
        place: of its middle, in rows from the top.
        parts: by category, drawn in their order from the left.
        text: at its right end.
        ends: of the interval of the whole; None for one without.
    """

    place: float
    parts: Mapping[str, int]
    text: str
    ends: tuple[float, float] | None = None

    @property
    def reach(self) -> float:
        """How far to the right it is drawn."""
        return max(sum(self.parts.values()), *(self.ends or (0, 0)))


def key(sheet: Sheet, y: float, shown: Collection[str]) -> float:
    """The colours of categories, from the left at `y`; returns where something else can begin."""
    canvas = sheet.canvas(0, y, sheet.width, KEY)
    x = 0.0
    for category, colour in COLOURS.items():
        if category in shown:
            canvas.add_patch(Rectangle((x, (KEY - _SQUARE) / 2), _SQUARE, _SQUARE, facecolor=colour, linewidth=0))
            sheet.text(x + _SQUARE + 10, y + KEY / 2, category, va="center_baseline")
            x += _SQUARE + text_width(category, NORMAL) + 46
    return x


def standing(axes: Axes, place: float, parts: Mapping[str, int], width: float) -> None:
    """A bar from below, its parts in the order of the categories."""
    bottom = 0
    for category, colour in COLOURS.items():
        axes.bar(place, parts[category], width, bottom, color=colour, linewidth=0)
        bottom += parts[category]


def whisker(axes: Axes, place: float, ends: tuple[float, float], lies: bool = False) -> None:
    """An interval on a bar."""
    line, caps = (axes.hlines, axes.vlines) if lies else (axes.vlines, axes.hlines)
    line(place, *ends, color=INK, linewidth=0.6, zorder=4)
    caps(ends, place - 0.07, place + 0.07, color=INK, linewidth=0.6, zorder=4)


def lying(sheet: Sheet, place: tuple[float, float, float], title: str, bars: Sequence[Bar], highest: float) -> None:
    """A chart of lying bars.

    Args:
        place: left, top and width, px.
        highest: what the furthest `Bar.reach` may be; charts that have the same can be compared.
    """
    x, y, width = place
    rows = max(bar.place for bar in bars) + 1
    axes = sheet.chart(x, y, width, rows * ROW, "", "")
    sheet.text(x, y - 12, title, NORMAL, va="bottom", weight="bold")
    room = max(text_width(bar.text, SMALL) for bar in bars) + 2 * _TEXT
    end = highest / (1 - room / width)
    for bar in bars:
        left = 0
        for category, colour in COLOURS.items():
            axes.barh(bar.place, bar.parts[category], _THICK, left, color=colour, linewidth=0)
            left += bar.parts[category]
        if bar.ends is not None:
            whisker(axes, bar.place, bar.ends, lies=True)
        sheet.text(x + bar.reach / end * width + _TEXT, y + (bar.place + 0.5) * ROW, bar.text, SMALL,
                   va="center_baseline")  # fmt: skip
    with styled():
        axes.set(xlim=(0, end), ylim=(rows - 0.5, -0.5))
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.4)
        axes.set_axisbelow(True)


def above(cut: float) -> str:
    """A cut with two decimals, or as many more as it has."""
    return f"{cut:.2f}" if round(cut, 2) == cut else f"{cut:g}"
