"""One unit of an atlas as a figure: its best patches, the images that they come from, its response and its numbers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from convscope.atlas import AtlasUnit, TopImage
from convscope.geometry import Box
from convscope.panel import Bars
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    LARGE,
    NORMAL,
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
from convscope.render.text import percent

SHOWN = 9
_CELL, _GAP, _LINE = 318, 14, 30  # px: a picture's larger side, between pictures, for the text below one
_BLOCK = 3 * (_CELL + _GAP) - _GAP
_RIGHT = WIDTH - _BLOCK
_TOP = 118
_CHART = 400
_STEP = line_height(NORMAL) * 1.15  # from one number to the next


def draw(unit: AtlasUnit) -> tuple[Sheet, int]:
    """The figure, and how many images it shows.

    Of a unit that sees all of every image there is no patch beside the image.
    """
    best = [top for top in unit.best(SHOWN) if top.id in unit.layer.atlas.pictures]
    patches = not best or not all(_sees_all(unit, top) for top in best)
    below = _TOP + max(1, -(-len(best) // 3)) * (_CELL + _LINE + _GAP) + 40
    charts = (0, below), (_RIGHT, below)
    end = below + 46 + _CHART + 110
    if not patches:  # the right half is free
        charts = (_RIGHT, _TOP - 48), (_RIGHT, _TOP + _CHART + 90)
        end = max(below, _TOP + _CHART + 90 + round((len(numbers(unit)) + 2) * _STEP))
    caption = [_caption(unit, best, patches)]
    sheet = Sheet(end + caption_height(caption))
    sheet.text(0, 0, f"{unit.address} of {unit.layer.atlas.run['network']['name']}", LARGE, weight="bold")
    if not best:
        sheet.text(0, _TOP, "no image is kept for this unit", color=GREY)
    sheet.text(0, _TOP - 48, "a   what its field holds" if patches else "a   the images that excite it most")
    _patches(sheet, unit, best, patches)
    if patches:
        sheet.text(_RIGHT, _TOP - 48, "b   the images, with its field")
        for index, top in enumerate(best):
            _whole(sheet, unit, top, *_corner(index, _RIGHT))
    (x, y), (right, second) = charts
    sheet.text(x, y, f"{'c' if patches else 'b'}   distribution of its response")
    _distribution(sheet, unit, x, y + 46)
    sheet.text(right, second, f"{'d' if patches else 'c'}   in numbers")
    _numbers(sheet, unit, right, second + 52)
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet, len(best)


def _sees_all(unit: AtlasUnit, top: TopImage) -> bool:
    whole = Box(0, 0, *unit.layer.grid.image)
    return top.box.clip(whole.height, whole.width) == whole


def _corner(index: int, left: int) -> tuple[int, int]:
    """The upper left corner of picture number `index` of a block."""
    return left + index % 3 * (_CELL + _GAP), _TOP + index // 3 * (_CELL + _LINE + _GAP)


def _patches(sheet: Sheet, unit: AtlasUnit, best: list[TopImage], patches: bool) -> None:
    for index, top in enumerate(best):
        x, y = _corner(index, 0)
        _place(sheet, unit.patch(top.rank) if patches else unit.layer.atlas.picture(top.id), x, y)
        value = written(top.value)
        sheet.text(x, y + _CELL + 5, value, SMALL)
        if not patches:
            room = _CELL - text_width(value, SMALL) - 16
            label = shortened(top.label or top.name, room, SMALL)
            sheet.text(x + _CELL, y + _CELL + 5, label, SMALL, color=GREY, ha="right")


def _place(sheet: Sheet, picture: Image.Image, x: int, y: int) -> tuple[Axes, float]:
    """A picture in the middle of its cell, as large as fits; with how many px one of its own became."""
    larger = max(picture.size)
    scale = _CELL / larger
    size = [max(1, round(side * scale)) for side in picture.size]
    smooth = Image.Resampling.LANCZOS if larger > _CELL // 4 else Image.Resampling.NEAREST
    shown: NDArray[np.uint8] = np.asarray(picture.resize((size[0], size[1]), smooth))
    return sheet.image(shown, x + (_CELL - size[0]) // 2, y + (_CELL - size[1]) // 2), scale


def _whole(sheet: Sheet, unit: AtlasUnit, top: TopImage, x: int, y: int) -> None:
    picture = unit.layer.atlas.picture(top.id)
    axes, scale = _place(sheet, picture, x, y)
    if not _sees_all(unit, top):
        box = top.box.clip(picture.height, picture.width)
        for colour, width in (("black", 1.6), ("white", 0.8)):  # seen on any picture
            place = (box.x0 * scale - 0.5, box.y0 * scale - 0.5)
            frame = Rectangle(place, box.width * scale, box.height * scale, fill=False, ec=colour, lw=width)
            axes.add_patch(frame)
    sheet.text(x, y + _CELL + 5, shortened(top.label or top.name, _CELL, SMALL), SMALL, color=GREY)


def _distribution(sheet: Sheet, unit: AtlasUnit, x: int, y: int) -> None:
    bars = next(panel for panel in unit.panels() if isinstance(panel, Bars) and panel.x == "response")
    edges, heights = np.array(bars.edges), np.array(bars.heights)
    wide = heights.max(initial=0) > 50  # fewer can be told apart without a logarithm
    axes = sheet.chart(x + 110, y, _BLOCK - 110, _CHART, "response", "values, log" if wide else "values")
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=BLUE, linewidth=0)
    with styled():
        if wide:
            axes.set_yscale("log")
            axes.set_ylim(0.7, heights.max() * 1.5)
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if not wide:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(edges[0], edges[-1])


def _numbers(sheet: Sheet, unit: AtlasUnit, x: int, y: float) -> None:
    for name, value in numbers(unit):
        sheet.text(x, y, name)
        right = shortened(value, _BLOCK - text_width(name, NORMAL) - 40, NORMAL)
        sheet.text(WIDTH, y, right, ha="right")
        y += _STEP


def numbers(unit: AtlasUnit) -> list[tuple[str, str]]:
    """What the figure says of the unit, as names and values for people."""
    layer, summary = unit.layer, unit.summary
    fields = [spans.high - spans.low for spans in (layer.grid.rows, layer.grid.columns)]
    found = [
        ("response", f"after {layer.record['nonlinearity']}" if layer.record["nonlinearity"] else "not rectified"),
        ("field of view", " × ".join(str(int(sizes.max())) for sizes in fields) + " px"),
        ("mean ± standard deviation", f"{written(summary['mean'])} ± {written(summary['std'])}"),
        ("smallest, largest", f"{written(summary['minimum'])}, {written(summary['maximum'])}"),
        ("99th percentile", written(unit.quantile(0.99))),
        ("positions at or below zero", percent(summary["nonpositive"])),
    ]
    if not np.isnan(summary["selectivity"]):
        found.append(("class selectivity", written(summary["selectivity"])))
        found.append(("favourite class", _favourite(unit)))
    flags = [name for name, units in layer.flags.items() if units[unit.index]]
    return [*found, ("needs attention", ", ".join(flags))] if flags else found


def _favourite(unit: AtlasUnit) -> str:
    """The class with the largest mean response."""
    means = unit.layer.class_means[unit.index]
    if np.isnan(means).all():
        return "–"
    index = unit.layer.atlas.classes[int(np.nanargmax(means))]
    names = unit.layer.atlas.run["network"]["classes"]
    return str(names[index]) if names is not None and index < len(names) else f"class {index}"


def _caption(unit: AtlasUnit, best: list[TopImage], patches: bool) -> str:
    run = unit.layer.atlas.run
    text = f"{unit.address}, of {run['results']['images']} images of {unit.layer.atlas.source}. "
    if best and patches:
        text += f"(a) The {len(best)} patches that excite it most, best first, with its responses; what lies outside "
        text += "the image is grey. (b) Their images as the network sees them; the frame is the field of the strongest "
        text += "position. (c) "
    elif best:
        text += f"Its field is the whole image. (a) The {len(best)} images that excite it most, best first, as the "
        text += "network sees them, with its responses. (b) "
    bars = next(panel for panel in unit.panels() if isinstance(panel, Bars) and panel.x == "response")
    return text + f"{bars.note[:1].upper()}{bars.note[1:]}."
