"""What hiding a square of an image does, in the five columns of Zeiler and Fergus [METHODS 7.7].

A row an image: the image with a grey square, the activation of the strongest map of a layer, its projection, the
probability of a class, and the most probable class. The cells of the maps lie where the squares have their centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from convscope.attribution.occlusion import Occlusion
from convscope.attribution.zeiler_fergus import Columns
from convscope.filters import display
from convscope.geometry import Spans
from convscope.network import Network
from convscope.render.figures.sheet import GREY, LARGE, NORMAL, SMALL, WIDTH, Sheet, caption_height, shortened, styled
from convscope.render.text import figure as written
from convscope.render.text import percent

Picture = NDArray[np.uint8]

_TILE, _GAP = 316, 28  # px: a tile's width, and the room between two
_LEGEND = 5 * (_TILE + _GAP)  # px: where it begins
_TITLE, _HEAD, _LINE = 62, 44, 34  # px: above the rows, above a row's tiles, and from line to line
_SCALE = 18  # px: the height of a scale
_BELOW = 120  # px: below a row's tiles
_EMPTY = 240  # the grey where no square has its centre
_MAPS = colormaps["viridis"]

# Okabe and Ito 2008: they can be told apart whatever colours somebody sees. Grey is for all other classes.
_PALETTE = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0))
_OTHERS = (110, 110, 110)


@dataclass(frozen=True, eq=False)
class Row:
    """An image, and what was found for it.

    Args:
        name: of the image.
        labelled: whether the class that is followed is the label of the image; it is the predicted one otherwise, or
            the one that was asked for.
    """

    name: str
    columns: Columns
    labelled: bool

    @property
    def lowest(self) -> tuple[int, int, int, int]:
        """The window (y0, x0, y1, x1) that leaves the least probability, the first of equals."""
        probability = self.columns.probability
        row, column = divmod(int(probability.argmin()), probability.shape[1])
        return self.columns.windows.box(row, column).as_tuple()

    @property
    def classes(self) -> list[tuple[int, int]]:
        """Each most probable class with the number of windows that leave it so, most windows first."""
        classes, counts = np.unique(self.columns.label.numpy(), return_counts=True)
        order = np.lexsort((classes, -counts))
        return [(int(classes[i]), int(counts[i])) for i in order]


def draw(network: Network, rows: Sequence[Row], occlusion: Occlusion) -> Sheet:
    """The figure.

    Args:
        occlusion: with which the rows were found.
    """
    height, width = rows[0].columns.windows.image
    tall = round(_TILE * height / width)
    step = _HEAD + tall + _BELOW
    end = _TITLE + len(rows) * step
    caption = [_caption(rows, occlusion)]
    sheet = Sheet(end + caption_height(caption))
    sheet.text(0, 0, f"What hiding a square does to {network.name}", LARGE, weight="bold")
    for number, row in enumerate(rows):
        _row(sheet, _TITLE + number * step, tall, network, row, occlusion)
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet


def _row(sheet: Sheet, y: int, tall: int, network: Network, row: Row, occlusion: Occlusion) -> None:
    found = row.columns
    activation, probability, label = found.whole
    title = f"{row.name} – {'true ' if row.labelled else ''}{found.target}, probability {written(probability)}"
    sheet.text(0, y, shortened(title, WIDTH, NORMAL))
    top = y + _HEAD
    lefts = [number * (_TILE + _GAP) for number in range(5)]
    tiles = [
        _resized(hidden(network, row, occlusion), tall),
        _resized(placed(_shades(found.activation.numpy(), activation), found), tall, exact=True),
        _resized(_pattern(network, found), tall),
        _resized(placed(_shades(found.probability.numpy(), probability), found), tall, exact=True),
        _resized(placed(_named(row), found), tall, exact=True),
    ]
    for left, tile in zip(lefts, tiles, strict=True):
        axes = sheet.image(tile, left, top)
        with styled():
            axes.plot([-0.5, _TILE - 0.5, _TILE - 0.5, -0.5, -0.5], [-0.5, -0.5, tall - 0.5, tall - 0.5, -0.5],
                      color=GREY, linewidth=0.3, clip_on=False)  # fmt: skip
    below = top + tall + 10
    place = found.projection.targets[0].rpartition("@")[2]
    texts = ("(a) where it costs most", f"(b) unit {found.unit.index}", f"(c) unit {found.unit.index} at {place}",
             "(d) probability", "(e) most probable")  # fmt: skip
    for left, text in zip(lefts, texts, strict=True):
        sheet.text(left, below, shortened(text, _TILE, SMALL), SMALL)
    _scale(sheet, lefts[1], below + _LINE, found.activation.numpy(), activation)
    _scale(sheet, lefts[3], below + _LINE, found.probability.numpy(), probability)
    _legend(sheet, top, tall, network, row, label)


def hidden(network: Network, row: Row, occlusion: Occlusion) -> Picture:
    """The image (h, w, 3) under the window that leaves the least probability."""
    image, (y0, x0, y1, x1) = row.columns.image.clone(), row.lowest
    image[:, y0:y1, x0:x1] = occlusion.colour(network.preprocess).to(image)
    return network.preprocess.display(image)


def placed(cells: Picture, found: Columns) -> Picture:
    """Cells (rows, columns, 3) around the centres of their windows, (h, w, 3); grey beyond them."""
    rows, columns = _nearest(found.windows.rows), _nearest(found.windows.columns)
    picture = cells[rows][:, columns]
    picture[(rows < 0)[:, None] | (columns < 0)] = _EMPTY
    return picture


def _nearest(spans: Spans) -> NDArray[np.int64]:
    """Of each pixel of an axis the cell whose centre is nearest, -1 beyond half a step of the outermost ones."""
    centres = (spans.low + spans.high - 1) / 2
    pixels = np.arange(spans.extent)
    nearest = np.abs(pixels[:, None] - centres).argmin(1)
    reach = spans.stride / 2 if len(centres) > 1 else spans.extent
    inside = (pixels >= centres[0] - reach) & (pixels <= centres[-1] + reach)
    return np.where(inside, nearest, -1)


def _ends(values: NDArray[np.float64], whole: float) -> tuple[float, float]:
    """Of a scale: the values of the map and that of the whole image lie on it."""
    return min(float(values.min()), whole), max(float(values.max()), whole)


def _shades(values: NDArray[np.float64], whole: float) -> Picture:
    low, high = _ends(values, whole)
    return _coloured((values - low) / (high - low) if high > low else np.full_like(values, 0.5))


def _coloured(shares: NDArray[np.float64]) -> Picture:
    return display.to_bytes(_MAPS(shares)[..., :3])


def _scale(sheet: Sheet, x: int, y: float, values: NDArray[np.float64], whole: float) -> None:
    """From the smallest to the largest value, with a mark where that of the whole image is."""
    low, high = _ends(values, whole)
    shares = np.linspace(0, 1, _TILE) if high > low else np.full(_TILE, 0.5)
    axes = sheet.image(_coloured(np.tile(shares, (_SCALE, 1))), x, round(y))
    if high > low:
        place = (whole - low) / (high - low) * (_TILE - 1)
        with styled():
            axes.plot([place, place], [-6, _SCALE + 5], color="black", linewidth=0.8, clip_on=False)
    sheet.text(x, y + _SCALE + 10, written(low), SMALL)
    sheet.text(x + _TILE, y + _SCALE + 10, written(high), SMALL, ha="right")


def _named(row: Row) -> Picture:
    """The most probable class of each window, in its colour."""
    colours = {index: colour for (index, _), colour in zip(row.classes, _PALETTE, strict=False)}
    label = row.columns.label.tolist()
    return np.array([[colours.get(index, _OTHERS) for index in line] for line in label], np.uint8)


def _legend(sheet: Sheet, y: int, tall: int, network: Network, row: Row, whole: int) -> None:
    """The classes of the last column, and in how many windows each is the most probable one."""
    total = row.columns.label.numel()
    lines = [(colour, _class(network, index, whole), count)
             for (index, count), colour in zip(row.classes, _PALETTE, strict=False)]  # fmt: skip
    if others := row.classes[len(_PALETTE) :]:
        lines.append((_OTHERS, f"{len(others)} more", sum(count for _, count in others)))
    for colour, name, count in lines[: max(1, tall // _LINE)]:
        sheet.image(np.full((24, 24, 3), colour, np.uint8), _LEGEND, y)
        share = percent(count / total)
        sheet.text(_LEGEND + 34, y, f"{shortened(name, WIDTH - _LEGEND - 130, SMALL)}  {share}", SMALL)
        y += _LINE


def _class(network: Network, index: int, whole: int) -> str:
    name = network.classes[index] if network.classes is not None else f"class {index}"
    return f"{name} *" if index == whole else name


def _pattern(network: Network, found: Columns) -> Picture:
    """The projection (h, w, 3), zero in mid-grey."""
    values = found.projection.values[0].numpy()
    if len(values) not in (1, 3):
        values = values.mean(0, keepdims=True)
    ordered = values[::-1] if network.preprocess.channels == "BGR" else values
    return display.to_bytes(np.broadcast_to(display.sym(ordered), (3, *values.shape[1:])).transpose(1, 2, 0))


def _resized(picture: Picture, tall: int, exact: bool = False) -> Picture:
    """A picture as large as a tile: pixels as they are where it is `exact` or small, else smooth."""
    how = Image.Resampling.NEAREST if exact or 2 * picture.shape[1] <= _TILE else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((_TILE, tall), how))


def _caption(rows: Sequence[Row], occlusion: Occlusion) -> str:
    layer = rows[0].columns.unit.layer
    fill = "the mean colour" if occlusion.fill == "mean" else f"grey of {occlusion.fill}"
    return (
        f"A square of {occlusion.window} px, filled with {fill}, hides the image at "
        f"{rows[0].columns.label.numel()} places, {occlusion.stride} px apart, after Zeiler and Fergus (2014). (a) The "
        "square that leaves the class the least probability. (b) With the square's centre there: the activation, "
        f"summed over positions, of the unit of {layer} that is strongest on the whole image. (c) The pattern that "
        "excites this unit where it is strongest, at its row and column, by a deconvnet; zero is mid-grey. (d) The "
        "probability of the class: low, that is dark, where what is hidden matters. (e) The most probable class, and "
        "the share of the squares that leave it so; * is that of the whole image. Each scale ends at the smallest and "
        "the largest value; the mark is the whole image. No square has its centre in the grey border."
    )
