"""What people say that units respond to: semantic types by layer, and the objects that units detect [METHODS 5.6]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convscope.annotation.record import CATEGORIES, Category
from convscope.annotation.summary import NONE, Row, Summary
from convscope.render.figures.sheet import (
    GREY,
    LARGE,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    line_height,
    shortened,
    styled,
    text_width,
)
from convscope.render.text import figure as written

Series = Sequence[tuple[str, Summary]]

LABELS = 40  # bars of a histogram at most
_TOP, _PANEL, _LEFT, _GAP = 130, 300, 100, 40  # px
_UPRIGHT, _SLANTED = 110, 210  # px between two rows of panels, as names of layers need it
_BARS, _NAMES = 330, 330  # px: the height of a histogram, and of what its bars are called
_STYLES = (("-", "o", True), ("--", "o", False), (":", "s", True), ("-.", "s", False))  # line, marker, filled
_LAYERS = 9  # names of layers below a panel


def draw(series: Series, layer: str | None = None) -> Sheet:
    """The figure: a panel a category with a line for each series, and below a histogram for each.

    Args:
        series: names, and what was found; four at most.
        layer: whose detectors are counted; by default the last one of each series.
    """
    rows = [found.rows[-1] if layer is None else found.row(layer) for _, found in series]
    layers = list(dict.fromkeys(row.layer for _, found in series for row in found.rows))
    step = _PANEL + (_SLANTED if _are_slanted(layers) else _UPRIGHT)
    below = _TOP + 2 * step + 30
    end = below + len(series) * (_BARS + _NAMES + 70)
    captions = [_caption(series)]
    sheet = Sheet(end + caption_height(captions))
    sheet.text(0, 0, "What people say that units respond to", LARGE, weight="bold")
    _key(sheet, [name for name, _ in series])
    _panels(sheet, [found for _, found in series], layers, step)
    highest = max([1, *(units for row in rows for _, units in row.detectors)])
    for number, ((name, _), row) in enumerate(zip(series, rows, strict=True)):
        _histogram(sheet, name, row, below + number * (_BARS + _NAMES + 70), (number, highest))
    sheet.paragraphs(0, end, WIDTH, captions)
    return sheet


def _key(sheet: Sheet, names: Sequence[str]) -> None:
    """What the lines of the series look like."""
    canvas = sheet.canvas(0, 62, WIDTH, 40)
    x, room = 8.0, WIDTH / len(names) - 130
    for name, (line, marker, filled) in zip(names, _STYLES, strict=False):
        canvas.add_line(Line2D([x, x + 40, x + 80], [20] * 3, **_look(GREY, line, marker, filled)))
        text = shortened(name, room, SMALL)
        sheet.text(x + 96, 82, text, SMALL, va="center")
        x += 96 + text_width(text, SMALL) + 60


def _look(colour: str, line: str, marker: str, filled: bool) -> dict[str, Any]:
    return {"color": colour, "linestyle": line, "linewidth": 1, "marker": marker, "markersize": 2.4,
            "markerfacecolor": colour if filled else "white", "markeredgewidth": 0.7}  # fmt: skip


def _panels(sheet: Sheet, series: Sequence[Summary], layers: Sequence[str], step: int) -> None:
    highest = max(row.shares[category.name] for found in series for row in found.rows for category in CATEGORIES)
    width = (WIDTH - _LEFT - 2 * _GAP) // 3
    for number, category in enumerate(CATEGORIES):
        down, right = divmod(number, 3)
        x, y = _LEFT + right * (width + _GAP), _TOP + down * step + 34
        axes = sheet.chart(x, y, width, _PANEL, "", "" if right else "share of units")
        with styled():
            axes.set_title(category.title, loc="left", size=6.5, weight="bold", pad=3)
            axes.set(ylim=(0, highest * 1.08), xlim=(-0.3, len(layers) - 0.7))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            axes.grid(axis="y", color="#e6e6e6", linewidth=0.4)
            axes.set_axisbelow(True)
            if right:
                axes.tick_params(labelleft=False)
            _name(axes, layers)
        _lines(axes, series, layers, category)


def _lines(axes: Axes, series: Sequence[Summary], layers: Sequence[str], category: Category) -> None:
    for found, look in zip(series, _STYLES, strict=False):
        xs = [layers.index(row.layer) for row in found.rows]
        ys = [row.shares[category.name] for row in found.rows]
        axes.plot(xs, ys, clip_on=False, **_look(category.colour, *look))


def _named(layers: Sequence[str]) -> tuple[list[int], list[str]]:
    """Which layers are named below a panel, and how; of many only some, evenly spaced."""
    spaced = np.linspace(0, len(layers) - 1, min(_LAYERS, len(layers))).round().astype(int)
    places = np.unique(spaced).tolist()
    return places, [shortened(layers[place], 190, SMALL) for place in places]


def _are_slanted(layers: Sequence[str]) -> bool:
    """Whether the names are too long to stand beside each other."""
    return sum(text_width(name, SMALL) + 14 for name in _named(layers)[1]) > (WIDTH - _LEFT) / 3


def _name(axes: Axes, layers: Sequence[str]) -> None:
    axes.set_xticks(*_named(layers))
    if _are_slanted(layers):
        for text in axes.get_xticklabels():
            text.set(rotation=40, ha="right", rotation_mode="anchor")


def _histogram(sheet: Sheet, name: str, row: Row, y: float, scale: tuple[int, int]) -> None:
    """Units by the object that they detect.

    Args:
        scale: the number of the series, and the largest count in any.
    """
    number, highest = scale
    labels = row.detectors[:LABELS]
    title = f"{name}, {row.layer}: {row.object_detectors} of {row.units} units detect {len(row.detectors)} objects"
    sheet.text(0, y, shortened(title, WIDTH, 6.5), weight="bold")
    if not labels:
        sheet.text(_LEFT, y + 60, "no unit detects an object so precisely", color=GREY)
        return
    axes = sheet.chart(_LEFT, y + 56, WIDTH - _LEFT, _BARS, "", "units")
    colour = next(category.colour for category in CATEGORIES if category.name == "object")
    filled = _STYLES[number][2]
    names = [shortened(word, 290, SMALL) for word, _ in labels]
    with styled():
        axes.bar(range(len(labels)), [units for _, units in labels], 0.72, color=colour if filled else "white",
                 edgecolor=colour, linewidth=0.7)  # fmt: skip
        axes.set_xticks(range(len(labels)), names, rotation=55, ha="right", rotation_mode="anchor")
        axes.set(xlim=(-0.7, max(LABELS // 2, len(labels)) - 0.3), ylim=(0, highest * 1.05))
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.4)
        axes.set_axisbelow(True)
    left = row.detectors[LABELS:]
    if left:
        most = left[0][1]
        units = "one unit" if most == 1 else f"{most} units or fewer"
        sheet.text(WIDTH, y + 56 + line_height(SMALL) / 2, f"and {len(left)} more objects with {units} each", SMALL,
                   color=GREY, ha="right")  # fmt: skip


def _caption(series: Series) -> str:
    shares, detectors = series[0][1].least
    text = (
        "Above: the share of a layer's units that people put into each category; those who annotated a unit share it."
    )
    none = max(row.shares[NONE] for _, found in series for row in found.rows)
    if none:
        text += f" Answers less precise than {shares:g} count in none, up to {written(none)} of a layer."
    text += (
        f" Below: units by the object that they detect: most of the answers with a precision of {detectors:g} or more "
        "say object, and the word is that of most of these, in the singular."
    )
    for name, found in series:
        rows = found.annotations.rows
        agreement = "" if found.alpha != found.alpha else f", alpha of the categories {found.alpha:.2f}"
        text += f" {name}: {len(rows):,} answers of {len({row.annotator for row in rows})} people{agreement}."
    return text
