"""An empty board of Go on a sheet: lines, stars and names of the points, to be drawn upon in cells."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from convscope.render.figures.sheet import DPI, GREY, LARGE, NORMAL, SMALL, Sheet

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # of the columns; no I, which looks like J and 1
SIZES = range(5, len(LETTERS) + 1)
TITLE = 60  # px: room for the title above the board
PAPER, OWN, OPPONENT = "#f4ead5", "#222222", "#ffffff"
_LINE = "#a08c68"

Colour = str | tuple[float, float, float]


class Goban:
    """An empty board on a sheet, with a title above it, to be drawn upon in cells."""

    def __init__(self, sheet: Sheet, place: tuple[int, int], side: int, size: int, title: str) -> None:
        self.sheet, self.size, self.cell = sheet, size, side / (size + 1.4)
        self.left, self.top = place[0], place[1] + TITLE
        sheet.text(self.left, place[1], title, NORMAL, weight="bold")
        self.canvas = sheet.canvas(self.left, self.top, side, side)
        self._points()
        self._grid()
        self._coordinates()

    def _points(self) -> None:
        start, side = 1.2 * self.cell, self.size * self.cell
        self.canvas.add_patch(Rectangle((start, 0), side, side, facecolor=PAPER, linewidth=0))

    def _grid(self) -> None:
        (left, top), (right, bottom) = self.at(0), self.at(self.size**2 - 1)
        for line in range(self.size):
            x, y = self.at(line * (self.size + 1))
            for xs, ys in (([left, right], [y, y]), ([x, x], [top, bottom])):
                self.canvas.plot(xs, ys, color=_LINE, linewidth=0.35, zorder=2)
        for point in stars(self.size):
            self.disc(point, 0.09, _LINE)

    def _coordinates(self) -> None:
        size = min(SMALL, 0.52 * self.cell * 72 / DPI)
        for line in range(self.size):
            x, y = self.at(line * (self.size + 1))
            row, below = self.left + 0.95 * self.cell, self.top + (self.size + 0.25) * self.cell
            self.sheet.text(row, self.top + y, str(self.size - line), size, ha="right", va="center", color=GREY)
            self.sheet.text(self.left + x, below, LETTERS[line], size, ha="center", color=GREY)

    def at(self, point: int) -> tuple[float, float]:
        """The middle of a point, in pixels of the canvas."""
        row, column = divmod(point, self.size)
        return (column + 1.7) * self.cell, (row + 0.5) * self.cell

    def field(self, point: int, colour: str, share: float) -> None:
        """Colour the square around a point, the more the larger the share, from 0 to 1."""
        x, y = self.at(point)
        corner = x - self.cell / 2, y - self.cell / 2
        square = Rectangle(corner, self.cell, self.cell, facecolor=mixed(colour, share), linewidth=0, zorder=1)
        self.canvas.add_patch(square)

    def disc(self, point: int, radius: float, colour: Colour, edge: str | None = None) -> None:
        """A disc of a radius in cells."""
        line = 0.4 if edge else 0
        self.canvas.add_patch(Circle(self.at(point), radius * self.cell, fc=colour, ec=edge, linewidth=line, zorder=3))

    def stones(self, stones: NDArray[np.int8], radius: float) -> None:
        """All stones: those of the player to move are dark."""
        for point in np.flatnonzero(stones):
            self.disc(int(point), radius, OWN if stones.flat[point] > 0 else OPPONENT, OWN)

    def number(self, point: int, number: int, colour: str) -> None:
        """A bold number in the middle of a point."""
        x, y = self.at(point)
        place, size = (self.left + x, self.top + y), min(LARGE, 0.6 * self.cell * 72 / DPI)
        self.sheet.text(*place, str(number), size, ha="center", va="center_baseline", weight="bold", color=colour)


def mixed(colour: str, share: float) -> tuple[float, float, float]:
    """A colour that covers the board by a share, from 0 to 1."""
    paper, ink = np.array(to_rgb(PAPER)), np.array(to_rgb(colour))
    red, green, blue = (paper * (1 - share) + ink * share).tolist()
    return red, green, blue


def name(point: int, size: int) -> str:
    """Of a point: the letter of its column, and its row counted from below."""
    row, column = divmod(point, size)
    return f"{LETTERS[column]}{size - row}"


def stars(size: int) -> list[int]:
    """The numbers of the points that have a dot on a board of this size."""
    edge, middle = (3 if size >= 13 else 2), size // 2
    lines = [edge, size - 1 - edge] if size >= 7 else []
    points = [(row, column) for row in lines for column in lines]
    if size % 2:
        points.append((middle, middle))
        if size >= 19:
            points += [(row, middle) for row in lines] + [(middle, column) for column in lines]
    return sorted(row * size + column for row, column in points)
