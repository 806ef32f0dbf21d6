"""How networks became deeper as their errors fell: the winners of ILSVRC by year [METHODS 2.10]."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.patches import Rectangle

from convscope.render.figures.sheet import BLUE, GREY, INK, LARGE, NORMAL, RED, WIDTH, Sheet, caption_height

_TITLE, _FOOT = 90, 100  # px: rooms for the title, and for names below the bars
_LAYER, _PER_POINT = 4, 16  # px: a layer with its gap, and a percentage point of error
_BAR = 150  # px: width
_LABEL = 50  # px: room for the number above a column
_LEFT = 60  # px: room for what the columns are


@dataclass(frozen=True)
class Entry:
    """A network of the challenge on ImageNet.

    Args:
        error: the share of test images whose class is not among the five best guesses, per cent.
        depth: layers with weights on the longest path; None for what was no deep network.
    """

    year: int
    name: str
    error: float
    depth: int | None


HISTORY = (
    Entry(2010, "", 28.2, None),
    Entry(2011, "", 25.8, None),
    Entry(2012, "AlexNet", 16.4, 8),
    Entry(2013, "", 11.7, 8),
    Entry(2014, "VGG", 7.3, 19),
    Entry(2014, "GoogLeNet", 6.7, 22),
    Entry(2015, "ResNet", 3.57, 152),
)


def draw() -> Sheet:
    """The figure: a line for each layer above, the error below."""
    caption = (
        "Above: layers with weights on the longest path, a line for each. Below: share of the test images of the "
        "ImageNet challenge (ILSVRC) whose class was not among the five best guesses."
    )
    high = max(entry.depth or 0 for entry in HISTORY) * _LAYER
    low = round(max(entry.error for entry in HISTORY) * _PER_POINT)
    first = _LABEL + high  # where the upper columns stand
    second = first + 40 + _LABEL + low
    sheet = Sheet(_TITLE + second + _FOOT + caption_height([caption]))
    sheet.text(0, 0, "Deeper networks, fewer errors", LARGE, weight="bold")
    canvas = sheet.canvas(0, _TITLE, WIDTH, second + 2)
    for base in (first, second):
        canvas.add_patch(Rectangle((_LEFT, base), WIDTH - _LEFT, 1.5, facecolor=GREY, linewidth=0))
    sheet.text(0, _TITLE + first, "layers", NORMAL, rotation=90, va="bottom", color=RED)
    sheet.text(0, _TITLE + second, "top-5 error, %", NORMAL, rotation=90, va="bottom", color=BLUE)
    step = (WIDTH - _LEFT) / len(HISTORY)
    for number, entry in enumerate(HISTORY):
        middle = _LEFT + (number + 0.5) * step
        left, layers, error = middle - _BAR / 2, entry.depth or 0, entry.error * _PER_POINT
        for layer in range(layers):
            canvas.add_patch(
                Rectangle((left, first - (layer + 1) * _LAYER), _BAR, _LAYER - 1, facecolor=RED, linewidth=0)
            )
        canvas.add_patch(Rectangle((left, second - error), _BAR, error, facecolor=BLUE, linewidth=0))
        _write(sheet, middle, _TITLE + first - layers * _LAYER - 8, str(layers) if layers else "shallow", bool(layers))
        _write(sheet, middle, _TITLE + second - error - 8, f"{entry.error:g}", True)
        sheet.text(middle, _TITLE + second + 14, str(entry.year), NORMAL, ha="center", color=GREY)
        sheet.text(middle, _TITLE + second + 48, entry.name, NORMAL, ha="center", color=INK, weight="bold")
    sheet.paragraph(0, _TITLE + second + _FOOT, WIDTH, caption)
    return sheet


def _write(sheet: Sheet, x: float, y: float, text: str, strong: bool) -> None:
    """A number above a column."""
    weight, colour = ("bold", INK) if strong else ("normal", GREY)
    sheet.text(x, y, text, NORMAL, ha="center", va="bottom", weight=weight, color=colour)
