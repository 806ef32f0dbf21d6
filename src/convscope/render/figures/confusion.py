"""Which classes a network takes for which: a row a true class, a column a predicted one, as shares of the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from convscope.atlas import Atlas
from convscope.errors import AtlasError
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
_ROOM, _LEAST = 340, 230  # px: room for the names of rows at most, and at least
_TITLE = 80
_RIGHT, _WRONG = (44, 111, 166), (192, 57, 43)  # what shares of 1 are drawn in


def draw(atlas: Atlas) -> Sheet:
    """The figure.

    Raises:
        AtlasError: its images have no labels.
    """
    results = atlas.run["results"]
    if not results["labelled"]:
        raise AtlasError(f"{atlas.path}: its images have no labels, so that nothing can be said of confusions")
    counts, classes = matrix(results["confusions"])
    names = [_name(atlas, index) for index in classes]
    cell = max(1, min(_CELL, _SIDE // len(classes)))
    side = cell * len(classes)
    right, count = results["top1_right"], results["labelled"]
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    caption = (
        f"{right} of {count} images are recognised: top-1 {right / count:.1%} (95 % interval {low:.1%} to {high:.1%}). "
        "A row holds the images of a class, a column those that the network takes for it; the stronger the colour, the "
        "larger the share of the row: blue is right, red is wrong."
    )
    size = min(SMALL + 1, cell / 7)
    names = [shortened(name, _ROOM - 20, size) for name in names] if cell >= _NAMED else []
    longest = max([text_width(name, size) for name in names], default=0)
    left, top = max(round(longest) + 20, _LEAST), _TITLE + round(longest) + 40
    sheet = Sheet(top + side + 40 + caption_height([caption]))
    sheet.text(0, 0, f"Confusions of {atlas.run['network']['name']} on {atlas.source}", LARGE, weight="bold")
    axes = sheet.image(_picture(counts, cell), left, top)
    sheet.text(left - 12, top - 12, "true ↓  predicted →", SMALL + 1, ha="right", va="bottom", color=GREY)
    if names:
        _write(sheet, (left, top), names, counts, cell, size)
        with styled():
            for edge in np.arange(0, side + 1, cell) - 0.5:
                axes.plot([edge, edge], [-0.5, side - 0.5], color="white", linewidth=0.3)
                axes.plot([-0.5, side - 0.5], [edge, edge], color="white", linewidth=0.3)
    sheet.paragraph(0, top + side + 40, WIDTH, caption)
    return sheet


def matrix(confusions: Sequence[tuple[int, int, int]]) -> tuple[NDArray[np.int64], list[int]]:
    """How many images of a true class (row) had which prediction (column), and the class index of each row.

    Classes that occur neither as label nor as prediction are left out.
    """
    classes = sorted({index for true, given, _ in confusions for index in (true, given)})
    place = {index: k for k, index in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for true, given, count in confusions:
        counts[place[true], place[given]] += count
    return counts, classes


def _name(atlas: Atlas, index: int) -> str:
    classes = atlas.run["network"]["classes"]
    return str(index) if classes is None else str(classes[index])


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
