"""Objects that a network has found, and has not: the predicted box in red, the true ones in green, a row a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from convscope.images.base import source
from convscope.localization.localizer import Centre
from convscope.localization.result import Localization, Row
from convscope.preprocess import Picture
from convscope.render.figures.sheet import GREY, INK, LARGE, SMALL, WIDTH, Sheet, caption_height, shortened, text_width
from convscope.sanity.sample import evenly

EACH = 4  # images that are right, and as many that are not
_GAP, _BETWEEN, _LINE, _HEAD = 14, 60, 66, 44  # px: between pictures, between both halves, below a row, above it
_CELL = (WIDTH - _BETWEEN - 2 * (EACH - 1) * _GAP) // (2 * EACH)
_TOP = 130
_TRUE, _FOUND = "#3ddc4a", "#ff3b30"  # seen on any picture, with a dark rim


def draw(found: Localization) -> tuple[Sheet, list[int]]:
    """The figure, and which of the images it shows, by their place among those that were looked at.

    They are evenly spaced over those that the first method has right, and over those that it has wrong.
    """
    first = found.rows[0]
    right, wrong = (evenly(np.flatnonzero(first.right[:, 0] == each).tolist(), EACH) for each in (True, False))
    captions = [_caption(found)]
    step = _HEAD + _CELL + _LINE
    sheet = Sheet(_TOP + len(found.rows) * step + caption_height(captions))
    sheet.text(0, 0, f"{found.network} on {source(found.images.spec)}", LARGE, weight="bold")
    sheet.text(0, 62, f"{first.name} is right in {first.top1.right} of {len(found.ids)} images, as in")
    sheet.text(_left(EACH), 62, f"and wrong in {first.top1.wrong}, as in")
    places = [*enumerate(right), *enumerate(wrong, EACH)]
    pictures = {i: _colours(found.images.read(found.ids[i])) for _, i in places}
    for number, row in enumerate(found.rows):
        top = _TOP + number * step
        sheet.text(0, top, row.name)
        for column, i in places:
            _place(sheet, found, row, i, pictures[i], (_left(column), top + _HEAD))
    sheet.paragraphs(0, _TOP + len(found.rows) * step, WIDTH, captions)
    return sheet, [*right, *wrong]


def _left(column: int) -> int:
    """Where a column of pictures begins."""
    half, place = divmod(column, EACH)
    return half * (EACH * (_CELL + _GAP) - _GAP + _BETWEEN) + place * (_CELL + _GAP)


def _place(
    sheet: Sheet, found: Localization, row: Row, i: int, picture: NDArray[np.uint8], corner: tuple[int, int]
) -> None:
    """One picture with its boxes, the overlap and the class below it."""
    height, width = picture.shape[:2]
    scale = _CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown: NDArray[np.uint8] = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    x, y = corner
    axes = sheet.image(shown, x + (_CELL - size[0]) // 2, y + (_CELL - size[1]) // 2)
    for box in found.truths[i].tolist():
        _frame(axes, box, scale, _TRUE)
    _frame(axes, row.boxes[i, 0].tolist(), scale, _FOUND)
    overlap = f"{row.overlaps[i, 0]:.2f}"
    sheet.text(x, y + _CELL + 5, overlap, SMALL, color=INK if row.right[i, 0] else _FOUND)
    room = _CELL - text_width(overlap, SMALL) - 16
    known = found.ranked[i, 0] == found.true[i]
    name = found.label(int(found.true[i])) if known else f"as {found.label(int(found.ranked[i, 0]))}"
    sheet.text(
        x + _CELL, y + _CELL + 5, shortened(name, room, SMALL), SMALL, color=GREY if known else _FOUND, ha="right"
    )


def _frame(axes: Axes, box: Sequence[float], scale: float, colour: str) -> None:
    y0, x0, y1, x1 = (side * scale for side in box)
    for edge, width in (("black", 1.8), (colour, 1.0)):
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=edge, lw=width))


def _colours(picture: Picture) -> NDArray[np.uint8]:
    """A picture as (h, w, 3); of one that is neither grey nor coloured the mean over its channels."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    planes = picture if len(picture) == 3 else np.repeat(picture.mean(0, keepdims=True), 3, 0)
    colours: NDArray[np.uint8] = np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return colours


def _caption(found: Localization) -> str:
    centre = any(row.name.startswith(f"{Centre.name}/") for row in found.rows)
    return (
        "Green: the true boxes. Red: the first prediction, a box of the class that the network thinks best. Below: "
        "its overlap with the nearest true box (IoU), which must be 0.5 at least, and the class; or what the network "
        "takes the image for. It was trained with labels only, and has never seen a box."
        + (" The row of the centre asks neither the network nor the image." if centre else "")
    )
