"""The regions that excite units most, as the network saw them, with the field and the activation [METHODS 4.2]."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from convscope.geometry import Box
from convscope.images.base import source
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    LARGE,
    NORMAL,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    styled,
)
from convscope.render.overlays import enlarged
from convscope.render.text import figure as written
from convscope.studies.regions import ASPECTS, OVERLAP, SCALES, SHOWN, Region, Retrieved, UnitRegions

UNITS = 6  # rows of regions, at most
_COLUMNS, _GAP, _TOP, _TITLE = 8, 14, 70, 44  # px
_SIDE = (WIDTH - (_COLUMNS - 1) * _GAP) // _COLUMNS


def draw(found: Retrieved) -> Sheet:
    """The figure of the first `UNITS` units."""
    units = found.units[:UNITS]
    height, width = found.network.preprocess.size
    tall = round(_SIDE * height / max(height, width)) + _GAP
    heights = [_TITLE + max(1, math.ceil(len(unit.best) / _COLUMNS)) * tall + 24 for unit in units]
    end = _TOP + sum(heights)
    caption = _caption(found)
    sheet = Sheet(end + caption_height([caption]))
    title = f"Regions of {source(found.images.spec)} that excite units of {found.network.name}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    y = _TOP
    for unit, rows in zip(units, heights, strict=True):
        sheet.text(0, y, shortened(str(unit.address), WIDTH // 2, NORMAL))
        sheet.text(WIDTH, y, f"largest response {written(unit.maximum)}", SMALL, ha="right", color=GREY)
        if not unit.best:
            sheet.text(0, y + _TITLE, "no region excites it", color=GREY)
        for place, region in enumerate(unit.best[:SHOWN]):
            row, column = divmod(place, _COLUMNS)
            _region(sheet, found, unit, region, column * (_SIDE + _GAP), y + _TITLE + row * tall)
        y += rows
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _region(sheet: Sheet, found: Retrieved, unit: UnitRegions, region: Region, x: int, y: int) -> None:
    picture = found.network.preprocess.display(found.warped(region))
    axes = sheet.image(enlarged(picture, _SIDE), x, y)
    scale = _SIDE / max(picture.shape[:2])
    field = unit.grid.box(*region.cell).clip(*unit.grid.image)
    if field != Box(0, 0, *unit.grid.image):
        _frame(axes, field, scale)
    with styled():
        label = f"{unit.share(region):.2f}"
        axes.text(5, 5, label, size=SMALL, va="top", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})


def _frame(axes: Axes, box: Box, scale: float) -> None:
    for colour, width in ((BLUE, 2.0), ("white", 1.2)):  # seen on any picture
        place = (box.x0 * scale - 0.5, box.y0 * scale - 0.5)
        axes.add_patch(Rectangle(place, box.width * scale, box.height * scale, fill=False, ec=colour, lw=width))


def _caption(found: Retrieved) -> str:
    more = f" ({len(found.units) - UNITS} more units are not drawn)" if len(found.units) > UNITS else ""
    text = f"The regions with the largest responses, the largest first{more}, of {found.looked_at} in {found.count} "
    text += (
        "pictures, warped to the network's input with a rim of 7 % for context. The frame is the field of the unit's "
    )
    text += "cell; the number is the response, as a share of the largest of the unit in any region. Of regions in one "
    text += f"picture with an IoU above {OVERLAP:g} the best is shown. Proposals are a grid: windows of "
    scales = ", ".join(f"{scale:g}" for scale in SCALES)
    return text + f"{scales} of the picture, in {len(ASPECTS)} forms, half a window apart."
