"""Maps of attribution as pictures: over the image or beside it, in the colours that suit what their numbers are.

============  =========================================================================================================
parts         red raises the score, blue lowers it, and zero is the image itself in grey; numbers of single pixels
              are on white
size          a map of a layer: red over the image; numbers of single pixels: white on black
pattern       a picture around mid-grey
level         from the lowest value, the image itself, to the highest one, red
============  =========================================================================================================

Every map has its own scale: full colour is its largest magnitude, or the 99.5th percentile where each pixel has a
number of its own, so that a few of them do not hide the others [METHODS 1.3].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.attribution import AttributionMap
from convscope.explanation.result import Cell
from convscope.filters import display
from convscope.render.overlays import Picture, enlarged, greyed, veiled
from convscope.render.text import figure as written

_CLIPPED = 99.5  # percentile
MEANING = {
    "parts": "red raises the score, blue lowers it, and zero is the image in grey.",
    "pixel parts": "parts of single pixels, summed over channels; red raises the score, blue lowers it, zero is white.",
    "size": "red where the map is large, and zero is the image in grey.",
    "pixel size": "white where a pixel matters most.",
    "pattern": "patterns around mid-grey, which is zero.",
    "level": "from the lowest score while a pixel is visible, the image in grey, to the highest one, red.",
}


@dataclass(frozen=True)
class View:
    """A map as it is looked at.

    Args:
        kind: a key of `MEANING`.
        values: (h, w), or (h, w, 3) of a pattern; -1 to 1, where 1 is full colour.
        scale: what full colour is, such as "±4.1".
    """

    kind: str
    values: NDArray[np.float64]
    scale: str


def view(found: AttributionMap, channels: str | int) -> View:
    """The map of one image.

    Args:
        channels: of the network's input, as its preprocessing says it.
    """
    values = found.values[0].numpy().astype(np.float64)
    planes, form = len(values), found.method.form
    if form == "size" and planes > 1:  # signed gradients
        form = "pattern"
    if form == "pattern" and planes in (1, 3):
        largest = _largest(values, clipped=True)
        ordered = values[::-1] if channels == "BGR" else values
        pattern = np.broadcast_to(ordered, (3, *values.shape[1:])).transpose(1, 2, 0)
        return View("pattern", _share(pattern, largest), f"±{written(largest)}")
    if planes > 1:  # of every pixel a number, or a pattern of more channels than there are colours
        total = values.sum(0)
        largest = _largest(total, clipped=True)
        return View("pixel parts", _share(total, largest), f"±{written(largest)}")
    if form == "size" and found.grid.cells == found.grid.image:
        largest = _largest(values, clipped=True)
        return View("pixel size", _share(values[0], largest), written(largest))
    placed = found.on_image()[0].numpy().astype(np.float64)
    if form == "level":
        low, high = float(placed.min()), float(placed.max())
        return View("level", display.minmax(placed), f"{written(low)} to {written(high)}")
    largest = _largest(placed)
    return View(form, _share(placed, largest), f"{'±' if form == 'parts' else ''}{written(largest)}")


def drawn(view: View, picture: Picture, side: int) -> Picture:
    """The map as a picture whose larger side is `side` px, over the image (h, w, 3) that it explains or beside it."""
    below = enlarged(picture, side)
    height, width = below.shape[:2]
    if view.kind == "pattern":
        return enlarged(display.to_bytes(0.5 + view.values / 2), side)
    if view.kind == "pixel size":
        grey = display.to_bytes(np.maximum(view.values, 0))
        return enlarged(grey[..., None].repeat(3, 2), side)
    if view.kind == "pixel parts":
        return enlarged(veiled(view.values, np.full((*view.values.shape, 3), 250.0)), side)
    values = Image.fromarray(view.values.astype(np.float32))
    smooth = np.asarray(values.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    return veiled(smooth, greyed(below))


def target(cell: Cell) -> tuple[str, str]:
    """What a map explains, and its score; of a class its name, and the probability beside the logit."""
    assert cell.found is not None
    kind = cell.found.score[0]
    score = f"{'value' if kind == 'output' else kind} {written(float(cell.found.scores[0]))}"
    if cell.of is None:
        return cell.found.targets[0], score
    return str(cell.of), f"{score}, {cell.of.said}" if kind == "logit" else score


def correlation(number: float | None) -> str:
    """A correlation with two digits, if there is one."""
    return "–" if number is None or np.isnan(number) else f"{number:.2f}".replace("-", "−")


def _largest(values: NDArray[np.float64], clipped: bool = False) -> float:
    """What full colour is; the largest magnitude also where the percentile is zero."""
    magnitudes = np.abs(values)
    percentile = float(np.percentile(magnitudes, _CLIPPED)) if clipped else 0.0
    return percentile or float(magnitudes.max())


def _share(values: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    return np.clip(values / largest, -1, 1) if largest else np.zeros_like(values)
