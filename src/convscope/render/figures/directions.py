"""The best images of units beside those of random directions, and how coherent they are [METHODS 4.3]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from convscope.images.base import source
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
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
from convscope.render.overlays import Picture, enlarged
from convscope.render.text import figure as written
from convscope.scanner.batches import batches
from convscope.studies.directions import TOP, Directions, Floats, Group, mean

ROWS = 4  # of each group
_TOP, _BETWEEN, _GAP, _NAME, _UNDER, _HEAD = 70, 60, 6, 34, 20, 56  # px
_HALF = (WIDTH - _BETWEEN) // 2
_SIDE = (_HALF - (TOP - 1) * _GAP) // TOP
_CHART, _LEFT = 330, 110
_TITLES = ("units", "random directions v", "the same with all entries positive, |v|", "images of chance")
_LOOKS = ((INK, "-"), (BLUE, "-"), (RED, "-"), (GREY, (0, (3, 2))))


def draw(found: Directions) -> Sheet:
    """The figure."""
    rows = [_spread(group) for group in found.groups]
    pictures = _pictures(found, sorted({int(i) for part, group in zip(rows, found.groups, strict=True)
                                        for i in group.ids[part].ravel()}))  # fmt: skip
    tall = max(len(each) for each in pictures.values())
    block = _HEAD + max(map(len, rows)) * (_NAME + tall + _UNDER) + 30
    end = _TOP + 2 * block + _CHART + 165
    caption = _caption(found)
    sheet = Sheet(end + caption_height([caption]))
    title = f"Best images of units and of random directions: {found.layer} of {found.plan.network.name}"
    sheet.text(0, 0, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
    for place, (group, part) in enumerate(zip(found.groups, rows, strict=True)):
        x, y = place % 2 * (_HALF + _BETWEEN), _TOP + place // 2 * block
        sheet.text(x, y, f"{'abcd'[place]}   {_TITLES[place]}", NORMAL)
        quiet = f", {group.silent.sum():,} silent" if group.silent.any() else ""
        counted = f"{len(group):,} × {TOP}{quiet}, {group.different:,} different images"
        sheet.text(x + _HALF, y, counted, SMALL, color=GREY, ha="right")
        for row, which in enumerate(part):
            _row(sheet, found, (group, which), (x, y + _HEAD + row * (_NAME + tall + _UNDER)), pictures)
    _charts(sheet, found, _TOP + 2 * block)
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _spread(group: Group) -> list[int]:
    """Some directions, evenly spread over all that are not silent from the most coherent to the least."""
    order = np.lexsort((np.nan_to_num(-group.cosine), np.nan_to_num(-group.purity)))
    order = order[~group.silent[order]]
    many = min(ROWS, len(order))
    return [int(order[int((rank + 0.5) * len(order) / many)]) for rank in range(many)]


def _pictures(found: Directions, ids: Sequence[int]) -> dict[int, Picture]:
    """What the network saw of some images, as large as they are shown."""
    preprocess = found.plan.network.preprocess
    return {
        image: enlarged(preprocess.display(inputs), _SIDE)
        for batch in batches(found.plan.images, preprocess, ids, found.plan.batch_size)
        for image, inputs in zip(batch.ids.tolist(), batch.inputs, strict=True)
    }


def _row(
    sheet: Sheet, found: Directions, chosen: tuple[Group, int], place: tuple[int, int], pictures: dict[int, Picture]
) -> None:
    """A direction's best images: where it answers, and below a line under those with the most frequent label."""
    (group, which), (x, y) = chosen, place
    ids = group.ids[which].tolist()
    label, count = found.most_frequent(ids)
    name = {"unit": f"{found.layer}:{which}", "chance": "drawn"}.get(group.name, f"{group.name} {which}")
    sheet.text(x, y, name, SMALL)
    said = "" if label is None else f"{count} of {TOP}: {label if isinstance(label, str) else f'class {label}'}"
    sheet.text(
        x + _HALF, y, shortened(said, _HALF - text_width(name, SMALL) - 40, SMALL), SMALL, color=GREY, ha="right"
    )
    centres = _centres(found)
    for column, image in enumerate(ids):
        picture = pictures[image]
        left = x + column * (_SIDE + _GAP)
        axes = sheet.image(picture, left, y + _NAME)
        if group.name != "chance" and centres is not None:
            _ring(
                axes, centres[group.positions[which, column]], picture.shape[1] / found.plan.network.preprocess.size[1]
            )
        if label is not None and found.label(image) == label:
            line = sheet.canvas(left, y + _NAME + picture.shape[0] + 3, _SIDE, 6)
            line.add_line(Line2D([0, picture.shape[1]], [3, 3], color=BLUE, linewidth=1.2, solid_capstyle="butt"))


def _centres(found: Directions) -> NDArray[np.float64] | None:
    """(positions, 2) where the fields of the cells have their centres, x and y in pixels of the input; None: no map."""
    (layer,) = found.plan.layers
    if len(layer.shape) != 3:
        return None
    grid = found.plan.grid(layer)
    y, x = np.meshgrid(grid.rows.centres(), grid.columns.centres(), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


def _ring(axes: Axes, centre: NDArray[np.float64], scale: float) -> None:
    place = (centre + 0.5) * scale - 0.5
    for colour, width in (("black", 1.4), ("white", 0.7)):
        axes.plot(
            *place, marker="o", markersize=6, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=width
        )


def _charts(sheet: Sheet, found: Directions, y: int) -> None:
    """How many directions are how coherent."""
    measures = [
        (
            "e   directions whose images are at least so pure",
            "purity: share of the most frequent label",
            [group.purity for group in found.groups],
        ),
        (
            "f   directions whose images are at least so alike",
            "mean cosine of the scores of pairs of images",
            [group.cosine for group in found.groups],
        ),
    ]
    for place, (title, across, values) in enumerate(measures):
        x = place * (_HALF + _BETWEEN)
        sheet.text(x, y, title)
        values = [each[~np.isnan(each)] for each in values]
        if not any(map(len, values)):
            sheet.text(x, y + 60, "not known for these images and this network", color=GREY)
            continue
        axes = sheet.chart(x + _LEFT, y + 60, _HALF - _LEFT, _CHART, across, "")
        with styled():
            _curves(axes, values)


def _curves(axes: Axes, values: Sequence[Floats]) -> None:
    """Of each group the share of directions that are at least so coherent."""
    low, high = np.concatenate(values).min(), np.concatenate(values).max()
    for each, name, (colour, line) in zip(values, ("units", "v", "|v|", "chance"), _LOOKS, strict=True):
        if not len(each):
            continue
        middle, error = mean(each)
        said = f"{round(middle, 2) + 0.0:.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")  # no minus before 0
        steps = np.sort(each)
        xs, ys = np.append(steps, high), np.append(1 - np.arange(len(steps)) / len(steps), 0)
        axes.step(np.append(low, xs), np.append(1, ys), where="pre", color=colour, linestyle=line, linewidth=1,
                  label=f"{name} {said}")  # fmt: skip
    axes.set(xlim=(low, high) if low < high else (low - 0.5, high + 0.5), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(color="#e6e6e6", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.legend(loc="upper right", borderaxespad=0.2, handlelength=1.6)


def _caption(found: Directions) -> str:
    used = len(found.plan.ids) - len(found.skipped)
    ring = "a ring where the map is highest, " if _centres(found) is not None else ""
    silent = ""
    if any(group.silent.any() for group in found.groups):
        silent = f" Silent ones, for which no {TOP} images have more than the least of all, are left out."
    return (
        f"The {TOP} of {written(used)} images of {source(found.plan.images.spec)} with the largest values, {ring}a "
        f"line under those with the most frequent label. {ROWS} rows of each kind, evenly spread from the most "
        "coherent to the least. v is normally distributed and has length 1; |v| has no entry against a unit. (e, f) "
        "Means and their standard errors; scores are those of the network, less their mean over all images." + silent
    )
