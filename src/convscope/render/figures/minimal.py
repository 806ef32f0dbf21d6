"""A minimal image: the regions of an image, those that suffice, what the network then sees, and how it went."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from convscope.render.figures.sheet import BLUE, GREY, LARGE, NORMAL, WIDTH, Sheet, caption_height, shortened, styled
from convscope.render.overlays import enlarged, lit
from convscope.render.text import figure as written
from convscope.render.text import percent
from convscope.studies.minimal import Minimal

_GAP, _TOP, _CHART = 30, 120, 560  # px
_SIDE = (WIDTH - _CHART - 3 * _GAP) // 3
_REMOVED = {
    "gradient": "Where regions are removed the gradient is zero, and the image is found from its gradients (Poisson).",
    "fill": "Where regions are removed is the mean colour, and what is left fades over 3 px.",
}


def draw(found: Minimal, picture: NDArray[np.uint8], left: NDArray[np.uint8], name: str, network: str) -> Sheet:
    """The figure.

    Args:
        picture: (h, w, 3), what the network saw of the image called `name`.
        left: the minimal image, in the same way.
    """
    panels = (
        (f"a   {found.count} regions of {name}", _bordered(enlarged(picture, _SIDE), found.regions)),
        (f"b   {percent(found.area)} of it is left", enlarged(lit(picture, found.mask), _SIDE)),
        ("c   the minimal image", enlarged(left, _SIDE)),
    )
    tall = panels[0][1].shape[0]
    end = _TOP + tall + 110
    caption = _caption(found)
    sheet = Sheet(end + caption_height([caption]))
    sheet.text(0, 0, shortened(f"What suffices for {found.target} of {network}", WIDTH, LARGE), LARGE, weight="bold")
    for place, (title, shown) in enumerate(panels):
        x = place * (_SIDE + _GAP)
        sheet.text(x, _TOP - 46, shortened(title, _SIDE, NORMAL))
        sheet.image(shown, x, _TOP)
    _curve(sheet, found, tall)
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _bordered(picture: NDArray[np.uint8], regions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A picture with the borders of regions, which have fewer pixels."""
    rows, columns = (np.arange(side) * few // side for side, few in zip(picture.shape, regions.shape, strict=False))
    large = regions[rows][:, columns]
    border = np.zeros(large.shape, np.bool_)
    border[:-1] |= large[:-1] != large[1:]
    border[:, :-1] |= large[:, :-1] != large[:, 1:]
    return np.where(border[..., None], np.uint8(255), picture)


def _curve(sheet: Sheet, found: Minimal, tall: int) -> None:
    left = 3 * (_SIDE + _GAP)
    sheet.text(left, _TOP - 46, "d   the way there")
    axes = sheet.chart(left + 100, _TOP, _CHART - 100, tall, "regions removed", "probability of the class")
    steps = [0, len(found.removed)] if len(found.probabilities) == 2 else range(len(found.probabilities))
    with styled():
        axes.plot(list(steps), found.probabilities, color=BLUE, linewidth=1, marker="o", markersize=1.6)
        axes.axvline(found.count, color=GREY, linewidth=0.5, linestyle=":")
        axes.set(xlim=(0, found.count * 1.02), ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _caption(found: Minimal) -> str:
    first, last = (written(found.probabilities[i]) for i in (0, -1))
    text = f"In each step the region goes whose removal lowers the score least; {len(found.removed)} of {found.count} "
    text += "could go before another class is predicted. The probability goes from "
    text += f"{first} to {last}. {_REMOVED[found.removal]} Greedy is not optimal: fewer regions may do."
    return " ".join([text, *(f"{note[:1].upper()}{note[1:]}." for note in found.notes)])
