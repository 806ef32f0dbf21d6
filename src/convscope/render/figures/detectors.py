"""Unique detectors of every layer by category, a panel a network [METHODS 6.3, the curve over layers]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from convscope.render.figures.category_bars import KEY, above, key, standing, whisker
from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    ending,
    shortened,
    styled,
    text_width,
)
from convscope.studies.detectors import Detectors

_TOP, _PANEL, _LEFT, _GAP = 70 + KEY, 420, 90, 60  # px
_TITLE, _BELOW, _SLANTED = 60, 90, 220  # px: above a panel, and below it as names of layers need it
_NUMBERED = 8  # layers of a network that has numbers on its bars, and half the sheet
_NAMED = 27  # names of layers below a panel
_LEAST, _BAR = 5, 0.6  # layers that a panel has room for, and the part of that room that a bar takes


@dataclass(frozen=True)
class Panel:
    """A network.

    Args:
        layers: their detectors.
        random: those of the same layers with random weights, in one drawing or several.
    """

    name: str
    layers: Sequence[Detectors]
    random: Sequence[Sequence[Detectors]] = ()


def draw(panels: Sequence[Panel], images: str) -> Sheet:
    """The figure.

    Args:
        images: what the units were compared with, in words.
    """
    columns = 1 if max(len(panel.layers) for panel in panels) > _NUMBERED or len(panels) == 1 else 2
    width = (WIDTH - _LEFT - (columns - 1) * (_GAP + _LEFT)) / columns
    slanted = any(_are_slanted(panel, width) for panel in panels)
    step = _TITLE + _PANEL + (_SLANTED if slanted else _BELOW)
    end = _TOP + step * -(-len(panels) // columns) + 20
    caption = _caption(panels, not slanted)
    sheet = Sheet(end + caption_height([caption]))
    cut = panels[0].layers[0].counts.cut
    sheet.text(
        0, 0, shortened(f"Unique detectors by layer, {images}, IoU > {above(cut)}", WIDTH, LARGE), LARGE, weight="bold"
    )
    _key(sheet, panels)
    highest = max(_highest(panel) for panel in panels)
    for number, panel in enumerate(panels):
        down, right = divmod(number, columns)
        x, y = _LEFT + right * (width + _GAP + _LEFT), _TOP + down * step + _TITLE
        axes = sheet.chart(x, y, width, _PANEL, "", "unique detectors")
        _draw(axes, panel, highest, slanted)
        sheet.text(x, y - 14, shortened(panel.name, width, NORMAL), weight="bold", va="bottom")
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _key(sheet: Sheet, panels: Sequence[Panel]) -> None:
    shown = {category for panel in panels for layer in panel.layers for category, n in layer.by_label.items() if n[1]}
    x = key(sheet, 62, shown) + 30
    canvas = sheet.canvas(0, 62, WIDTH, KEY)
    signs: list[tuple[str, dict[str, Any]]] = [
        ("with the labels of other images", {"linestyle": (0, (1.5, 1.2)), "color": INK, "linewidth": 0.9})
    ]
    if any(panel.random for panel in panels):
        signs.append(("random weights", {"marker": "o", "markersize": 2.6, "color": GREY, "linewidth": 0}))
    for text, look in signs:
        ends = [x, x + 44] if "linestyle" in look else [x + 32]
        canvas.add_line(Line2D(ends, [KEY / 2] * len(ends), **look))
        sheet.text(x + 56, 62 + KEY / 2, text, va="center_baseline")
        x += 56 + text_width(text, NORMAL) + 46


def _highest(panel: Panel) -> float:
    """Of all that is drawn in a panel."""
    there = [*panel.layers, *(layer for twin in panel.random for layer in twin)]
    return max(
        1.0, *(max(each.counts.unique, *each.counts.unique_interval, each.counts.false_unique) for each in there)
    )


def _draw(axes: Axes, panel: Panel, highest: float, slanted: bool) -> None:
    many = len(panel.layers)
    places = np.arange(many)
    false = [layer.counts.false_unique for layer in panel.layers]
    with styled():
        for place, layer in enumerate(panel.layers):
            standing(axes, place, {category: unique for category, (_, unique) in layer.by_label.items()}, _BAR)
            whisker(axes, place, layer.counts.unique_interval)
            if many <= _NUMBERED:
                top = max(layer.counts.unique, layer.counts.unique_interval[1])
                axes.annotate(str(layer.counts.unique), (place, top), (0, 2), textcoords="offset points", ha="center",
                              size=SMALL, color=INK)  # fmt: skip
        for twin in panel.random:
            axes.plot(places + _BAR / 2 + 0.1, [layer.counts.unique for layer in twin], "o", color=GREY, markersize=2,
                      markeredgewidth=0)  # fmt: skip
        axes.plot(np.repeat(places, 2) + np.tile([-0.45, 0.45], many), np.repeat(false, 2), color=INK, linewidth=0.9,
                  linestyle=(0, (1.5, 1.2)), clip_on=False, zorder=5)  # fmt: skip
        axes.set(xlim=(-0.6, max(_LEAST, many) - 0.4), ylim=(0, highest * 1.12))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.4)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", length=0, pad=3)
        _name(axes, panel, slanted)


def _named(panel: Panel) -> list[int]:
    """The layers that are named below a panel; of many only some, evenly spaced."""
    spaced = np.linspace(0, len(panel.layers) - 1, min(_NAMED, len(panel.layers)))
    return sorted({*spaced.round().astype(int).tolist()})


def _are_slanted(panel: Panel, width: float) -> bool:
    """Whether the names of layers are too long to stand beside each other."""
    names = [panel.layers[place].counts.layer for place in _named(panel)]
    return max(text_width(name, SMALL) for name in names) + 14 > width / len(names)


def _name(axes: Axes, panel: Panel, slanted: bool) -> None:
    places = _named(panel)
    counts = [panel.layers[place].counts for place in places]
    names = [ending(each.layer, 230, SMALL) for each in counts]
    if slanted:
        axes.set_xticks(places, names, rotation=55, ha="right", rotation_mode="anchor")
        return
    axes.set_xticks(places, names)
    for place, each in zip(places, counts, strict=True):
        axes.annotate(f"{each.detectors} of {each.units}", (place, 0), (0, -12), textcoords="offset points",
                      ha="center", va="top", size=SMALL, color=GREY, annotation_clip=False)  # fmt: skip


def _caption(panels: Sequence[Panel], counted: bool) -> str:
    text = (
        "Different labels of the units whose IoU with their label is above the cut, by the category of the label; the "
        "line is the 95 % interval when images are drawn anew, which lies high where many units are near the cut. "
        "Dotted: as many labels are found when each image has the labels of another one."
    )
    draws = {len(panel.random) for panel in panels} - {0}
    if draws:
        many = max(draws)
        text += " Grey: the same layers with random weights" + (f", {many} drawings of them." if many > 1 else ".")
    if counted:
        text += " Below each layer how many of its units are detectors."
    return text
