"""What a figure is drawn on: pictures pixel by pixel, text and charts at exact places, and the file that it becomes.

Everything is placed in pixels of 300 dpi from the upper left corner, so that a weight is a square of whole pixels and
nothing is resampled. The same figure gives the same bytes: there are no dates in it, and Matplotlib brings the font.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from convscope.filters import display
from convscope.shards import write

DPI = 300
WIDTH, BORDER = 2070, 24  # px; 175 mm are both columns of a page
SMALL, NORMAL, LARGE = 5.5, 6.5, 8.0  # pt
INK, GREY, RED, BLUE = "#1a1a1a", "#6b6b6b", "#c0392b", "#2c6fa6"
SUFFIXES = (".png", ".pdf", ".svg")

_UNKNOWN = "Glyph .* missing"  # a name in a script that the font lacks gets boxes
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": NORMAL,
    "text.parse_math": False, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY,
    "axes.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False, "axes.labelsize": NORMAL,
    "axes.labelpad": 2, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "xtick.major.width": 0.5, "ytick.major.width": 0.5,
    "xtick.major.size": 2, "ytick.major.size": 2, "xtick.major.pad": 1.5, "ytick.major.pad": 1.5,
    "legend.frameon": False, "legend.fontsize": SMALL, "axes.unicode_minus": True,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "convscope", "savefig.dpi": DPI,
}  # fmt: skip
_METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None}, ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
}  # fmt: skip


class Sheet:
    """A white sheet with room for `WIDTH` by `height` px, and a narrow border."""

    def __init__(self, height: int) -> None:
        self.width, self.height = WIDTH + 2 * BORDER, height + 2 * BORDER
        with styled():  # a little more than whole pixels, because a little less is a pixel less
            self.figure = Figure(
                figsize=((self.width + 1e-3) / DPI, (self.height + 1e-3) / DPI), dpi=DPI, facecolor="white"
            )

    def image(self, picture: NDArray[np.uint8], x: int, y: int) -> Axes:
        """A picture (h, w) or (h, w, 3), one pixel a pixel; what is drawn on the axes is in its pixels."""
        axes = self._axes(x, y, picture.shape[1], picture.shape[0])
        axes.set_axis_off()
        axes.imshow(colours(picture), interpolation="none", aspect="auto")
        return axes

    def text(self, x: float, y: float, text: str, size: float = NORMAL, **style: Any) -> None:
        """Text whose upper left corner, unless `style` says otherwise, is at (x, y)."""
        place = {"ha": "left", "va": "top"} | style
        with styled():
            self.figure.text(*self._at(x, y), clean(text), size=size, **place)

    def paragraph(self, x: float, y: float, width: float, text: str, size: float = NORMAL, **style: Any) -> float:
        """Text broken into lines of at most `width` px; returns where the next one can begin."""
        for line in lines(text, width, size):
            self.text(x, y, line, size, **style)
            y += line_height(size)
        return y

    def paragraphs(self, x: float, y: float, width: float, texts: Sequence[str], size: float = NORMAL) -> None:
        """Paragraphs below each other, as high as `caption_height`."""
        for text in texts:
            y = self.paragraph(x, y, width, text, size) + line_height(size) / 3

    def bracket(self, x: float, y: float, height: float, side: int) -> None:
        """A thin square bracket: open to the right with side 1, to the left with -1."""
        corners = [(x + 8 * side, y), (x, y), (x, y + height), (x + 8 * side, y + height)]
        xs, ys = zip(*(self._at(*corner) for corner in corners), strict=True)
        line = Line2D(xs, ys)
        line.set(color=GREY, linewidth=0.5, transform=self.figure.transFigure)
        self.figure.add_artist(line)

    def chart(self, x: float, y: float, width: float, height: float, across: str, up: str) -> Axes:
        """Axes for a chart, with the names of their quantities."""
        axes = self._axes(x, y, width, height)
        with styled():
            axes.set_xlabel(across)
            axes.set_ylabel(up)
        return axes

    def canvas(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes for shapes, in pixels from the upper left corner."""
        axes = self._axes(x, y, width, height)
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0))
        return axes

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        left, bottom = self._at(x, y + height)
        with styled():
            return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """A place in shares of the figure from its lower left corner, as Matplotlib counts."""
        return (x + BORDER) / self.width, 1 - (y + BORDER) / self.height

    def save(self, path: Path) -> None:
        """Write the figure, in the format of the path's suffix.

        Raises:
            OSError: the system refuses.
        """
        suffix, buffer = path.suffix.lower(), io.BytesIO()
        with styled():
            self.figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=_METADATA[suffix])
        write(path, buffer.getvalue())


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib as these figures want it, and as the user has it afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", _UNKNOWN)
        matplotlib.rcdefaults()
        for name, value in _STYLE.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]  # it knows its names, and a dict of them does not
        yield


def colours(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h, w) or (h, w, 1 or 3) in RGB: a map of greys of Matplotlib's is not exact."""
    grey = picture[..., None] if picture.ndim == 2 else picture
    return np.broadcast_to(grey, (*grey.shape[:2], 3))


def tiled(tiles: NDArray[np.uint8], columns: int, gap: int, background: int) -> NDArray[np.uint8]:
    """A grid of tiles with gaps of a grey; where the last row ends the paper begins."""
    picture: NDArray[np.uint8] = display.grid(tiles, columns, gap, background)
    height, width = tiles.shape[1:3]
    used = len(tiles) % columns
    if used and len(tiles) > columns:
        picture[len(picture) - height :, used * (width + gap) - gap :] = 255
    return picture


def clean(text: str) -> str:
    """Text without what cannot be drawn or would break a line: names of files hold anything."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """How wide a line of text is, px."""
    font = FontProperties(family="DejaVu Sans", size=size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _UNKNOWN)
        return float(text_to_path.get_text_width_height_descent(clean(text), font, ismath=False)[0]) * DPI / 72


def line_height(size: float) -> float:
    """From one line to the next, px."""
    return 1.4 * size * DPI / 72


def lines(text: str, width: float, size: float) -> list[str]:
    """Text broken between words into lines of at most `width` px."""
    width *= 0.98  # letters are placed on whole pixels when they are drawn
    found: list[str] = []
    for word in text.split():
        longer = f"{found[-1]} {word}" if found else word
        if found and text_width(longer, size) <= width:
            found[-1] = longer
        else:
            found.append(word)
    return found


def shortened(text: str, width: float, size: float) -> str:
    """Text that fits into `width` px, with an ellipsis where its end is left out."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def ending(text: str, width: float, size: float) -> str:
    """The same with the end left in: addresses of layers and units differ there."""
    return shortened(text[::-1], width, size)[::-1]


def caption_height(captions: Sequence[str], width: float = WIDTH, size: float = NORMAL) -> int:
    """The height of paragraphs below each other, px."""
    many = sum(len(lines(text, width, size)) for text in captions) + (len(captions) - 1) / 3
    return round(many * line_height(size))
