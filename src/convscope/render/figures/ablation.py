"""Which classes an ablation hurts: a row a unit or concept, a column a class, and beside them the change of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from convscope.images.base import source
from convscope.render.categories import COLOURS
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    INK,
    LARGE,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    ending,
    shortened,
    styled,
    text_width,
)
from convscope.render.text import percent
from convscope.studies.ablation_effects import Ablated, Ablation, Measure

ROWS, COLUMNS = 32, 32  # shown at most
_CELL = 44  # px, the height of a row
_LEFT, _BARS, _GAP = 420, 330, 50  # px: room for names of rows, and for the change of all classes
_TOP, _ROOM, _FOOT = 90, 260, 60  # px: above the names of columns, for them, and below the rows
_LOST, _GAINED = (192, 57, 43), (44, 111, 166)
_NUMBER, _WHOLE = 4.2, 3.0  # pt; two decimals are written of smaller numbers
_DARK, _WRITTEN = 0.62, 0.3  # of the colour scale: numbers are white from here on, and written from here on
_SMALL = 0.1  # nats; where all is less, thousandths are written
_SCALE = (270, 26)  # px

Floats = NDArray[np.float64]


def draw(found: Ablation, measure: Measure = "accuracy") -> Sheet:
    """The figure, of the rows that do most damage."""
    rows = found.ordered(measure)[:ROWS]
    columns = _columns(found, rows, measure)
    values = np.stack([row.effect(measure).changes[columns] for row in rows])
    middle = np.stack([found.control(row).changes(measure)[columns] for row in rows])
    values, middle, unit = _in_units(measure, values, middle)
    largest = float(np.nanmax(np.abs(values))) or 1.0
    names = [shortened(found.classes[index], _ROOM - 20, SMALL) for index in columns]
    top = _TOP + round(max(text_width(name, SMALL) for name in names)) + 30
    width = (WIDTH - _LEFT - _GAP - _BARS) // len(columns)
    bottom = top + _CELL * (len(rows) + 2) + _FOOT
    captions = _captions(found, rows, columns, measure)
    sheet = Sheet(bottom + caption_height(captions))
    sheet.text(0, 0, shortened(_title(found), WIDTH, LARGE), LARGE, weight="bold")
    for place, name in enumerate(names):
        x = _LEFT + (place + 0.5) * width
        sheet.text(x, top - 12, name, SMALL, ha="center", va="bottom", rotation=90)
    for place, row in enumerate(rows):
        _name(sheet, row, top + _CELL * place)
    _matrix(sheet, (top, width), values, largest)
    _outlines(sheet, (top, width), [(found.class_of(row.label), columns) for row in rows])
    _control(sheet, (top + _CELL * (len(rows) + 1), width), np.median(middle, 0), largest)
    _bars(sheet, found, rows, top, measure)
    _scale(sheet, top - 100, largest, unit)
    sheet.paragraphs(0, bottom, WIDTH, captions)
    return sheet


def _columns(found: Ablation, rows: Sequence[Ablated], measure: Measure) -> list[int]:
    """The classes that have images: those that the rows hurt most come first, in the order of the rows."""
    there = np.flatnonzero(rows[0].images)
    smallest = np.min([row.effect(measure).changes[there] for row in rows], 0)
    shown = set(there[np.argsort(smallest, kind="stable")[:COLUMNS]].tolist())
    worst = [row.worst(measure) for row in rows]
    return [each for each in dict.fromkeys([*worst, *sorted(shown)]) if each in shown and each is not None]


def _in_units(measure: Measure, *numbers: Floats) -> tuple[Any, ...]:
    """Numbers as they are written, and what they are: changes of accuracy in points, of evidence in nats or less."""
    if measure == "accuracy":
        return *(100 * each for each in numbers), "points"
    small = np.abs(np.nan_to_num(numbers[0])).max() < _SMALL
    return *((1000 if small else 1) * each for each in numbers), "mnat" if small else "nats"


def _title(found: Ablation) -> str:
    what = "set to their mean" if found.fill == "mean" else "set to zero"
    return f"Units of {found.layer} of {found.network} {what}, on {source(found.images.spec)}"


def _name(sheet: Sheet, row: Ablated, y: float) -> None:
    """What a row is, at the left: a dot in the colour of its category, its label, and which units they are."""
    middle = y + _CELL / 2
    single = len(row.units) == 1
    what = (
        row.name if row.label is None or row.name != row.label.name else f"{len(row.units)} unit" + "s" * (not single)
    )
    called = "" if row.label is None else row.label.name
    room = 170 if called else _LEFT - 14
    sheet.text(0, middle, ending(what, room, SMALL), SMALL, va="center", color=GREY if called else INK)
    if row.label is None:
        return
    canvas = sheet.canvas(185, y, 20, _CELL)
    canvas.add_patch(Rectangle((2, _CELL / 2 - 8), 16, 16, color=COLOURS[row.label.category], linewidth=0))
    sheet.text(214, middle, shortened(called, 130, SMALL), SMALL, va="center")
    sheet.text(_LEFT - 14, middle, f"{row.iou:.2f}".removeprefix("0"), SMALL, ha="right", va="center", color=GREY)


def _shade(values: Floats, largest: float) -> Floats:
    """From -1 to 1: the square root, so that small changes can be seen beside large ones; NaN stays."""
    return np.sign(values) * np.sqrt(np.abs(values) / largest)


def _colours(shades: Floats) -> NDArray[np.uint8]:
    """(..., 3): white is no change, red a loss, blue a gain, and grey where there is nothing."""
    full = np.where((shades < 0)[..., None], _LOST, _GAINED)
    painted = 255 + (full - 255) * np.abs(np.nan_to_num(shades))[..., None]
    return np.where(np.isnan(shades)[..., None], 225, painted).round().astype(np.uint8)


def _matrix(sheet: Sheet, corner: tuple[int, int], values: Floats, largest: float) -> None:
    """The cells, those that stand out with their number."""
    top, width = corner
    shades = _shade(values, largest)
    picture = _colours(shades).repeat(_CELL, 0).repeat(width, 1)
    picture[_CELL - 1 :: _CELL] = picture[:, width - 1 :: width] = 238
    sheet.image(picture, _LEFT, top)
    for row, column in np.argwhere(np.abs(np.nan_to_num(shades)) >= _WRITTEN):
        x, y = _LEFT + (column + 0.5) * width, top + (row + 0.5) * _CELL
        colour = "white" if abs(shades[row, column]) > _DARK else INK
        text = _written(values[row, column], largest)
        sheet.text(x, y, text, _NUMBER, ha="center", va="center", color=colour)


def _written(value: float, largest: float) -> str:
    """A change as it fits into a cell: whole numbers, or two digits of small ones."""
    text = f"{value:.0f}" if largest >= 10 else f"{value:.1f}" if largest >= _WHOLE else f"{value:.2f}"
    return text.replace("-0.", "-.").replace("-", "−")


def _outlines(sheet: Sheet, corner: tuple[int, int], named: Sequence[tuple[int | None, Sequence[int]]]) -> None:
    """A frame around the class that a row is labelled as."""
    (top, width), rows = corner, len(named)
    canvas = sheet.canvas(_LEFT, top, WIDTH - _LEFT, rows * _CELL)
    for row, (index, columns) in enumerate(named):
        if index in columns:
            place = (columns.index(index) * width, row * _CELL)
            canvas.add_patch(Rectangle(place, width - 1, _CELL - 1, fill=False, edgecolor=INK, linewidth=0.7))


def _control(sheet: Sheet, corner: tuple[int, int], values: Floats, largest: float) -> None:
    """What random units do, in a row of its own."""
    sheet.text(0, corner[0] + _CELL / 2, "random units (median)", SMALL, va="center", color=GREY)
    _matrix(sheet, corner, values[None], largest)


def _bars(sheet: Sheet, found: Ablation, rows: Sequence[Ablated], top: int, measure: Measure) -> None:
    """The change over all images with its interval, and what random units make of it."""
    effects = [row.effect(measure) for row in rows]
    ends, changes, random, unit = _in_units(
        measure,
        np.array([each.interval for each in effects]),
        np.array([each.change for each in effects]),
        np.array([found.control(row).change(measure) for row in rows]),
    )
    places = np.arange(len(rows))
    axes = sheet.chart(WIDTH - _BARS, top, _BARS - 30, _CELL * len(rows), f"all images, {unit}", "")
    with styled():
        axes.axvline(0, color=GREY, linewidth=0.5)
        axes.barh(places, changes, 0.56, color=np.where(changes < 0, RED, BLUE).tolist())
        axes.hlines(places, ends[:, 0], ends[:, 1], color=INK, linewidth=0.5)
        axes.scatter(random, places, marker="|", s=22, color=INK, linewidths=1.0, zorder=3)
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
        axes.locator_params(axis="x", nbins=4)
        axes.spines["left"].set_visible(False)


def _scale(sheet: Sheet, y: int, largest: float, unit: str) -> None:
    """What the colours mean, above the bars."""
    width, height = _SCALE
    x = WIDTH - _BARS + (_BARS - 30 - width) // 2
    sheet.image(_colours(np.linspace(-1, 1, width))[None].repeat(height, 0), x, y)
    sheet.text(x + width / 2, y - 8, f"change, {unit}", SMALL, ha="center", va="bottom")
    for place, text in ((0, _written(-largest, largest)), (0.5, "0"), (1, _written(largest, largest))):
        sheet.text(x + place * width, y + height + 6, text, SMALL, ha="center")


def _captions(found: Ablation, rows: Sequence[Ablated], columns: Sequence[int], measure: Measure) -> list[str]:
    what = (
        "the accuracy (top-1) of each class"
        if measure == "accuracy"
        else "the evidence for each class, the mean log-probability of the right class"
    )
    shown = "" if len(rows) == len(found.rows) else f" The {len(rows)} of {len(found.rows)} that do most damage."
    shown += "" if len(columns) == np.count_nonzero(rows[0].images) else f" {len(columns)} of the classes."
    together = "units of one concept together" if any(len(row.units) > 1 for row in rows) else "one unit"
    many = int(found.significant(measure).sum())
    texts = [
        f"How setting {together} changes {what}: red is lost, blue won; the colour goes by the square root. "
        f"{found.count} images, of which the whole network has {percent(found.accuracy)} right.{shown} At the right "
        "the change over all images with its 95 % interval; the upright mark is the median of random units of the "
        f"layer, as many at a time. {many} of {found.tested(measure):,} changes of classes are more than chance (false "
        "discovery rate 0.05)."
    ]
    matches = found.matches(measure)
    if matches.named:
        texts.append(
            "The colour before a name is its category, the number the IoU of the label; a frame marks the class of "
            f"that name. Of {matches.named} labelled as a class, {matches.hit} hurt this class most; labels dealt out "
            f"at random would make {matches.chance:.1f}."
        )
    return texts
