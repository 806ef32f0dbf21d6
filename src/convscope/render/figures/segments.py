"""Images segmented by units, a row a unit, with what the unit detects [METHODS 5.4, 6.3]."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from convscope.dissection.section import CUT
from convscope.images.base import source
from convscope.render.categories import COLOURS
from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    text_width,
)
from convscope.render.overlays import enlarged, lit
from convscope.studies.segments import Segmented, UnitSegments
from convscope.studies.unit_masks import FIRST, OWN

_TITLE, _LINE, _APART, _GAP = 74, 40, 26, 9  # px: above the rows, of a row's title, between rows, between images
_MOST = 12  # images beside each other
_DIM = {"dissection": 0.2, "field": 0.2, "torch": 0.0, "matlab": 0.2}  # of the brightness is left outside a mask


def draw(found: Segmented) -> Sheet:
    """The figure."""
    columns = min(_MOST, max([1, *(len(unit.images) for unit in found.units)]))
    side = min((WIDTH - (columns - 1) * _GAP) // columns, WIDTH // 6)
    height, width = found.network.preprocess.size
    tall = round(side * height / max(height, width))
    lines = [max(1, -(-len(unit.images) // columns)) for unit in found.units]
    steps = [_LINE + many * (tall + _GAP) + _APART for many in lines]
    caption = [_caption(found)]
    end = _TITLE + sum(steps)
    sheet = Sheet(end + caption_height(caption))
    title = f"What units of {found.network.name} answer to in {source(found.source)}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    y = _TITLE
    for unit, step in zip(found.units, steps, strict=True):
        _heading(sheet, unit, y)
        if not unit.images:
            sheet.text(0, y + _LINE, "no image is listed for it", color=GREY)
        for place, each in enumerate(unit.images):
            down, right = divmod(place, columns)
            picture = enlarged(lit(each.picture, each.mask, _DIM[found.method]), side)
            sheet.image(picture, right * (side + _GAP), y + _LINE + down * (tall + _GAP))
        y += step
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet


def _heading(sheet: Sheet, unit: UnitSegments, y: int) -> None:
    """The unit, and beside it what it detects, grey where that is below the cut."""
    name = f"{unit.address.layer}, unit {unit.address.index}"
    sheet.text(0, y, name, weight="bold")
    if unit.found is None:
        return
    detects, label = unit.found.iou > CUT, unit.found.label
    x = 1.15 * text_width(name, NORMAL) + 28  # bold letters are wider
    if label is None:
        sheet.text(x, y, "its mask meets no concept", color=GREY)
        return
    mark = Rectangle((0, 2), 22, 22, facecolor=COLOURS[label.category] if detects else GREY, linewidth=0)
    sheet.canvas(x, y, 24, 26).add_patch(mark)
    text = f"{label.name} ({label.category}), IoU {unit.found.iou:.2f}, cap {unit.found.cap:.2f}"
    sheet.text(x + 34, y, shortened(text, WIDTH - x - 34, NORMAL), color=INK if detects else GREY)


def _caption(found: Segmented) -> str:
    highest = f"above its threshold, which {100 * found.quantile:g} % of its values are above"
    how = {
        "dissection": f"Lit is where the unit's map, bilinear between the centres of the cells' fields, is {highest}",
        "field": f"Lit is the unit's field, as measured by hiding parts of images, wherever its map is {highest}",
        "torch": f"Lit is where the unit's map, enlarged, is above {FIRST:g} of the largest value in the first image",
        "matlab": f"Lit is where the unit's map, smoothed and enlarged, is above {OWN:g} of its own largest value, so "
        "that something is lit in every image",
    }[found.method]
    text = f"The images with the largest response of each unit, the largest first. {how}."
    if any(unit.found for unit in found.units):
        text += (
            " Behind the unit: the concept that its mask overlaps most in the dissection, with the IoU over all its "
            f"images, grey up to {CUT:g}, and the highest IoU that a mask of this size can have with that concept."
        )
    return text
