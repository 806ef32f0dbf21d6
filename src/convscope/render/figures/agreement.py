"""How far two sources agree on units: for each layer a small matrix of categories, and below it the shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle

from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    ending,
    line_height,
    shortened,
    text_width,
)
from convscope.studies.agreement import Comparison, Label, Measure, Row

_SIDE, _CELL, _GAP = 300, 56, 66  # px: the largest matrix, the largest cell, and the room between two matrices
_NUMBER = 4.4  # pt
_TITLE, _BELOW = 66, 150  # px: for a heading, and for what stands below a matrix
_ALIKE, _OTHER = (44, 111, 166), (192, 57, 43)  # a share of 1 where the categories are one kind, and elsewhere
_WRITTEN, _DARK = 0.005, 0.35  # shares: the smallest that is written, and from where on it is in white


def draw(comparisons: Sequence[Comparison]) -> Sheet:
    """The figure, one comparison below the other."""
    parts = [_Part(each) for each in comparisons]
    captions = [_CAPTION]
    height = sum(part.height for part in parts)
    sheet = Sheet(height + caption_height(captions))
    y = 0
    for part in parts:
        part.draw(sheet, y)
        y += part.height
    sheet.paragraphs(0, height, WIDTH, captions)
    return sheet


_CAPTION = (
    "Of the units of a layer that both have labelled, how many per cent have which two categories: blue where both are "
    "the same kind (material and texture are one for people, as are colours and simple elements), red elsewhere; the "
    "colour goes by the square root. Below, the share that agrees, and kappa: 0 is what chance would make, 1 that all "
    "agree. Names are alike in lower case and in the singular; “red car” and “car” have a word in common."
)


class _Part:
    """A comparison: its layers beside each other, in as many lines as they need."""

    def __init__(self, found: Comparison) -> None:
        self.found = found
        self.rows, self.columns = found.categories
        self.cell = max(24, min(_CELL, _SIDE // max(len(self.rows), len(self.columns), 1)))
        self.left = 40 + round(max([text_width(each, SMALL) for each in self.rows], default=0))
        self.names = 30 + round(max([text_width(each, SMALL) for each in self.columns], default=0))
        self.step = max(self.cell * len(self.columns), _SIDE - 40) + _GAP
        fit = max(1, (WIDTH - self.left + _GAP) // self.step)
        self.lines = [found.layers[i : i + fit] for i in range(0, len(found.layers), fit)]
        self.line = line_height(SMALL) + self.names + self.cell * len(self.rows) + _BELOW

    @property
    def height(self) -> int:
        """In px."""
        return _TITLE + round(self.line * len(self.lines)) + 20

    def draw(self, sheet: Sheet, y: float) -> None:
        """Draw it from y on."""
        found = self.found
        title = f"{found.first} (rows) and {found.second} (columns)"
        if found.first == found.second:
            title = f"{found.first}: those who label a unit, among themselves"
        sheet.text(0, y, shortened(title, WIDTH, LARGE), LARGE, weight="bold")
        for number, rows in enumerate(self.lines):
            top = y + _TITLE + number * self.line
            for place, row in enumerate(rows):
                self._layer(sheet, row, self.left + place * self.step, top, place == 0)

    def _layer(self, sheet: Sheet, row: Row, x: float, y: float, first: bool) -> None:
        counted = f", {row.both} units"
        room = 0.9 * (self.step - 20) - text_width(counted, SMALL)  # bold letters are wider
        sheet.text(x, y, ending(row.layer, room, SMALL) + counted, SMALL, weight="bold")
        top = y + line_height(SMALL) + self.names
        for place, name in enumerate(self.columns):
            middle = x + (place + 0.5) * self.cell
            sheet.text(middle, top - 10, name, SMALL, ha="center", va="bottom", rotation=90, color=GREY)
        for place, name in enumerate(self.rows if first else ()):
            middle = top + (place + 0.5) * self.cell
            sheet.text(x - 12, middle, name, SMALL, ha="right", va="center", color=GREY)
        if self.rows:  # else at least one of the two has no categories
            self._matrix(sheet, row, x, top)
        below = top + self.cell * len(self.rows) + 14
        for name, measure in (("category", row.category), ("word", row.word), ("name", row.name)):
            sheet.text(x, below, name, SMALL, color=GREY)
            sheet.text(x + 122, below, _written(measure), SMALL)
            below += line_height(SMALL)

    def _matrix(self, sheet: Sheet, row: Row, x: float, y: float) -> None:
        canvas = sheet.canvas(x, y, self.cell * len(self.columns), self.cell * len(self.rows))
        total = sum(row.confusions.values()) or 1.0
        for down, one in enumerate(self.rows):
            for right, other in enumerate(self.columns):
                share = row.confusions.get((one, other), 0.0) / total
                alike = Label("", one).kind == Label("", other).kind
                full = np.array(_ALIKE if alike else _OTHER)
                colour = (246 + (full - 246) * share**0.5) / 255
                place = (right * self.cell, down * self.cell)
                canvas.add_patch(Rectangle(place, self.cell - 2, self.cell - 2, color=colour, linewidth=0))
                if share >= _WRITTEN:
                    centre = (x + place[0] + self.cell / 2 - 1, y + place[1] + self.cell / 2 - 1)
                    ink = "white" if share > _DARK else INK
                    sheet.text(*centre, f"{100 * share:.0f}", _NUMBER, ha="center", va="center", color=ink)


def _written(measure: Measure) -> str:
    if not measure.units:
        return "–"
    kappa = "" if np.isnan(measure.kappa) else f"   κ {measure.kappa:.2f}".replace("-", "−")
    return f"{measure.share:.2f}{kappa}"
