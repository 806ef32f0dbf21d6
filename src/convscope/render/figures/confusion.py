"""Which classes a network takes for which: a row a true class, a column a predicted one, as shares of the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.atlas import Atlas
from convscope.errors import AtlasError
from convscope.evaluation.intervals import wilson
from convscope.render.figures.reliability import Reliability
from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    styled,
    text_width,
)

_SIDE, _CELL = 1600, 66  # px: the largest matrix, and the largest cell
_NAMED = 20  # px: in smaller cells neither names nor counts can be read
_ROOM, _LEAST = 340, 280  # px: room for the names of rows at most, and at least
_TITLE = 80
_NARROW, _GAP = 1050, 170  # px: the largest matrix that has something beside it, and the room between them
_RIGHT, _WRONG = (44, 111, 166), (192, 57, 43)  # what shares of 1 are drawn in

Confusions = Sequence[tuple[int, int, int]]


def draw_atlas(atlas: Atlas) -> Sheet:
    """The figure of what a scan has counted.

    Raises:
        AtlasError: its images have no labels.
    """
    results, network = atlas.run["results"], atlas.run["network"]
    if not results["labelled"]:
        raise AtlasError(f"{atlas.path}: its images have no labels, so that nothing can be said of confusions")
    return draw(results["confusions"], network["classes"], f"Confusions of {network['name']} on {atlas.source}")


def draw(confusions: Confusions, classes: Sequence[str] | None, title: str, beside: Reliability | None = None) -> Sheet:
    """The figure.

    Args:
        confusions: true class, predicted one or -1 for none, and how many images.
        classes: names; None where they are not known.
        beside: what is drawn to the right of a smaller matrix.
    """
    counts, indices = matrix(confusions)
    cell = max(1, min(_CELL, (_SIDE if beside is None else _NARROW) // len(indices)))
    side = cell * len(indices)
    captions = [_caption(int(counts.trace()), int(counts.sum()))] + ([] if beside is None else [beside.caption])
    size = min(SMALL + 1, cell / 7)
    names = [shortened(_name(classes, index), _ROOM - 20, size) for index in indices] if cell >= _NAMED else []
    longest = max([text_width(name, size) for name in names], default=0)
    left, top = max(round(longest) + 20, _LEAST), _TITLE + round(longest) + 40
    bottom = top + max(side, 0 if beside is None else beside.height) + 40
    sheet = Sheet(bottom + caption_height(captions))
    sheet.text(0, 0, title, LARGE, weight="bold")
    axes = sheet.image(_picture(counts, cell), left, top)
    sheet.text(left - 12, top - 12, "true ↓  predicted →", SMALL + 1, ha="right", va="bottom", color=GREY)
    if names:
        _write(sheet, (left, top), names, counts, cell, size)
        with styled():
            for edge in np.arange(0, side + 1, cell) - 0.5:
                axes.plot([edge, edge], [-0.5, side - 0.5], color="white", linewidth=0.3)
                axes.plot([-0.5, side - 0.5], [edge, edge], color="white", linewidth=0.3)
    if beside is not None:
        beside.draw(sheet, left + side + _GAP, top)
    sheet.paragraphs(0, bottom, WIDTH, captions)
    return sheet


def _caption(right: int, count: int) -> str:
    low, high = wilson(right, count)
    return (
        f"{right} of {count} images are recognised: top-1 {right / count:.1%} (95 % interval {low:.1%} to {high:.1%}). "
        "A row holds the images of a class, a column those that the network takes for it; the stronger the colour, the "
        "larger the share of the row: blue is right, red is wrong."
    )


def matrix(confusions: Confusions) -> tuple[NDArray[np.int64], list[int]]:
    """How many images of a true class (row) had which prediction (column), and the class index of each row.

    Classes that occur neither as label nor as prediction are left out.
    """
    classes = sorted({index for true, given, _ in confusions for index in (true, given)})
    place = {index: k for k, index in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for true, given, count in confusions:
        counts[place[true], place[given]] += count
    return counts, classes


def _name(classes: Sequence[str] | None, index: int) -> str:
    if index < 0:
        return "none (NaN)"
    return str(index) if classes is None else classes[index]


def _picture(counts: NDArray[np.int64], cell: int) -> NDArray[np.uint8]:
    """(n·cell, n·cell, 3): the square root of the share, so that a single image of a hundred can be seen."""
    share = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))[..., None]
    full = np.where(np.eye(len(counts), dtype=bool)[..., None], _RIGHT, _WRONG)
    picture: NDArray[np.uint8] = np.round(246 + (full - 246) * share).astype(np.uint8)
    return picture.repeat(cell, 0).repeat(cell, 1)


def _write(
    sheet: Sheet, corner: tuple[int, int], names: Sequence[str], counts: NDArray[np.int64], cell: int, size: float
) -> None:
    """The names of rows and columns, and the counts in the cells."""
    left, top = corner
    for k, name in enumerate(names):
        middle = (k + 0.5) * cell
        sheet.text(left - 12, top + middle, name, size, ha="right", va="center")
        sheet.text(left + middle, top - 12, name, size, ha="center", va="bottom", rotation=90)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row, column in np.argwhere(counts):
        colour = "white" if share[row, column] > 0.3 else INK
        x, y = left + (column + 0.5) * cell, top + (row + 0.5) * cell
        sheet.text(x, y, str(counts[row, column]), size, ha="center", va="center", color=colour)
