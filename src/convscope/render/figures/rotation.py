"""Unique detectors of a layer as its axes are rotated, by category and at several cuts [METHODS 6.4]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from convscope.dissection import DissectedLayer
from convscope.dissection.section import CUT
from convscope.images.base import source
from convscope.render.categories import COLOURS
from convscope.render.figures.sheet import (
    BLUE,
    INK,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    styled,
    text_width,
)
from convscope.render.text import percent
from convscope.studies.detectors import CUTS, Detectors, count
from convscope.studies.rotation import Rotation

_TOP, _HEIGHT, _LEFT, _WIDE, _NARROW = 170, 480, 90, 1120, 640  # px
_APART = 1.6  # of the random directions from the last power, in steps of powers
_COLOURS = (INK, BLUE, RED)  # of cuts
_GRID = "#e6e6e6"

Columns = list[tuple[float, list[DissectedLayer]]]  # place, and the layer of each seed


def draw(found: Rotation) -> Sheet:
    """The figure."""
    run = found.dissection.run
    seeds = range(found.seeds)
    columns: Columns = [(10 * power, [found.rotated(power, seed) for seed in seeds]) for power in found.powers]
    columns.append((columns[-1][0] + _APART, [found.random(seed) for seed in seeds]))
    captions = _captions(found)
    end = _TOP + _HEIGHT + 130
    sheet = Sheet(end + caption_height(captions))
    title = f"{found.layer} of {run['network']} as its axes are rotated"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    counted = [[count(found.dissection, layer.address) for layer in layers] for _, layers in columns]
    _key(sheet, counted)
    counts = sheet.chart(_LEFT, _TOP, _WIDE, _HEIGHT, "power of the rotation", "")
    higher = sheet.chart(WIDTH - _NARROW, _TOP, _NARROW, _HEIGHT, "power of the rotation", "")
    sheet.text(0, _TOP - 56, "a   unique detectors", NORMAL)
    _title_of_cuts(sheet, WIDTH - _NARROW - 90, _TOP - 56)
    with styled():
        _bars(counts, [place for place, _ in columns], counted)
        _lines(higher, columns)
        _places(counts, columns, [*(f"{power:g}" for power in found.powers), "random\ndirections"])
        every_other = [f"{power:g}" if i % 2 == 0 else "" for i, power in enumerate(found.powers)]
        _places(higher, columns, [*every_other, "random"])
    sheet.paragraphs(0, end, WIDTH, captions)
    return sheet


def _key(sheet: Sheet, counted: Sequence[Sequence[Detectors]]) -> None:
    """What the colours are, of the categories that occur."""
    canvas, x = sheet.canvas(0, 58, WIDTH, 40), 0.0
    labels = [each.by_label for seeds in counted for each in seeds]
    for category, colour in COLOURS.items():
        if any(each[category][1] for each in labels):
            canvas.add_patch(Rectangle((x, 8), 24, 24, color=colour, linewidth=0))
            sheet.text(x + 34, 78, category, SMALL, va="center_baseline")
            x += 34 + text_width(category, SMALL) + 40
    canvas.add_line(Line2D([x, x + 44], [20, 20], color=INK, linewidth=0.8, linestyle=(0, (2, 1.5))))
    sheet.text(x + 56, 78, "with the labels of other images", SMALL, va="center_baseline")


def _title_of_cuts(sheet: Sheet, x: float, y: float) -> None:
    """What the second chart shows, with every cut in the colour of its line."""
    parts = [
        ("b   with an IoU above", INK),
        *((f"{cut:.2f}", colour) for cut, colour in zip(CUTS, _COLOURS, strict=True)),
    ]
    for text, colour in parts:
        sheet.text(x, y, text, NORMAL, color=colour)
        x += text_width(text, NORMAL) + 14


def _bars(axes: Axes, places: Sequence[float], counted: Sequence[Sequence[Detectors]]) -> None:
    """The different labels of detectors by category, their interval, and what chance alone gives."""
    below = np.zeros(len(places))
    for category, colour in COLOURS.items():
        heights = np.array([np.mean([each.by_label[category][1] for each in seeds]) for seeds in counted])
        axes.bar(places, heights, 0.72, below, color=colour, linewidth=0)
        below += heights
    for place, seeds in zip(places, counted, strict=True):
        counts = [each.counts for each in seeds]
        low, high = np.mean([each.unique_interval for each in counts], 0)
        axes.plot([place, place], [low, high], color=INK, linewidth=0.7)
        false = np.mean([each.false_unique for each in counts])
        axes.plot([place - 0.36, place + 0.36], [false, false], color=INK, linewidth=0.8, linestyle=(0, (2, 1.5)),
                  clip_on=False, zorder=3)  # fmt: skip
        if len(counts) > 1:
            shifts = np.linspace(-0.18, 0.18, len(counts))
            axes.scatter(place + shifts, [each.unique for each in counts], 4, "white", linewidths=0.4, edgecolors=INK,
                         zorder=3)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _lines(axes: Axes, columns: Columns) -> None:
    """The same at higher cuts, each with its interval."""
    places = np.array([place for place, _ in columns])
    powers, beside = places[:-1], places[-1:]
    for cut, colour in zip(CUTS, _COLOURS, strict=True):
        counts = [[layer.counts(cut) for layer in layers] for _, layers in columns]
        middle = np.array([np.mean([count.unique for count in each]) for each in counts])
        low, high = np.transpose([np.mean([count.unique_interval for count in each], 0) for each in counts])
        axes.fill_between(powers, low[:-1], high[:-1], color=colour, alpha=0.12, linewidth=0)
        axes.plot(powers, middle[:-1], color=colour, linewidth=1, marker="o", markersize=2.4)
        axes.plot(beside.repeat(2), [low[-1], high[-1]], color=colour, alpha=0.25, linewidth=4, solid_capstyle="butt")
        axes.plot(beside, middle[-1:], color=colour, marker="o", markersize=2.4)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _places(axes: Axes, columns: Columns, names: list[str]) -> None:
    """Powers, and the random directions beside them."""
    axes.set_xticks([place for place, _ in columns], names)
    axes.set_xlim(-0.6, columns[-1][0] + 0.8)
    axes.grid(axis="y", color=_GRID, linewidth=0.4)
    axes.set_axisbelow(True)


def _captions(found: Rotation) -> list[str]:
    run, units = found.dissection.run, len(found.rotated(0))
    drawn = "One rotation was" if found.seeds == 1 else f"{found.seeds} rotations were"
    shown = "" if found.seeds == 1 else ", dots: each rotation"
    return [
        f"The {units} responses of the layer at every position are multiplied by a power of Q, a rotation of chance: "
        "at 0 they are the units, at 1 directions of chance at right angles to each other; what the layer tells apart "
        f"stays the same. {drawn} drawn. At the right {units} independent directions of chance. Thresholds at the "
        f"highest {percent(run['job']['quantile'])} are found anew each time. {run['images']:,} images of "
        f"{source(run['job']['concepts'])}. (a) Different labels of units with an IoU above {CUT:g}, by the category "
        f"of the label; lines: 95 % interval by a bootstrap over images{shown}. (b) The same for higher cuts."
    ]
