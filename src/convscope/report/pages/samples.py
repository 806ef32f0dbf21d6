"""Sample images: what the network says of each, its activations in every layer, and the units that answer unusually."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.atlas.samples import Response, Sample
from convscope.render.text import figure
from convscope.report.contents import Contents
from convscope.report.pages.layer import rounded
from convscope.report.selection import Shown
from convscope.report.sheets import Put, rows_of
from convscope.sprites import encoded

_UNUSUAL, _UNUSUAL_HERE = 18, 6
_WIDEST, _TILE = 1000, 96  # px on the screen, of a grid and of a map in it
_GAP = 1  # px between tiles [METHODS 1.4]
_FOR, _AGAINST = np.array((192, 57, 43)), np.array((44, 111, 166))  # RGB, as in figures


def context(contents: Contents, number: int) -> dict[str, Any]:
    """What the template of one sample says."""
    sample = contents.atlas.samples[number]
    return {
        "title": sample.name,
        "sample": sample,
        "number": number,
        "count": len(contents.atlas.samples),
        "unusual": [_said(each) for each in unusual(contents, sample)],
        "class_maps": _class_maps(sample, number),
        "layers": [_layer(contents, each, number) for each in contents.shown if sample.maps(each.layer.address).size],
    }


def _class_maps(sample: Sample, number: int) -> dict[str, Any] | None:
    """How the maps of the first classes were made, and the files that show them; None in an atlas without them."""
    about: dict[str, Any] | None = sample.atlas.run.get("class_maps")
    if about is None or "reason" in about:
        return about
    maps = zip(sample.prediction, sample.class_maps(), strict=False)
    return about | {"files": [(guess, _class_file(sample, number, rank)) for rank, (guess, _) in enumerate(maps)]}


def _class_file(sample: Sample, number: int, rank: int) -> str:
    suffix = Path(sample.atlas.run["pictures"]["files"][0]).suffix
    return f"samples/classes-{number:02}-{rank}{suffix}"


def write_class_maps(contents: Contents, put: Put) -> None:
    """Write every sample image under the maps of the classes that are predicted first, one scale an image."""
    for number, sample in enumerate(contents.atlas.samples):
        picture, maps = np.asarray(sample.picture()), sample.class_maps()
        for rank, values in enumerate(maps):
            name = _class_file(sample, number, rank)
            put(name, encoded(Image.fromarray(heated(picture, values, float(np.abs(maps).max()))), name))


def heated(picture: NDArray[np.uint8], values: NDArray[np.float32], largest: float) -> NDArray[np.uint8]:
    """A picture (h, w, 3) in pale grey under a map (h, w): red where it is positive, blue where it is negative.

    Args:
        largest: the magnitude that gets the full colour.
    """
    grey = 70 + 0.65 * picture.astype(np.float64).mean(2, keepdims=True)
    strength = np.clip(values / (largest or 1), -1, 1)[..., None]
    cover = 0.75 * np.abs(strength)
    mixed = grey * (1 - cover) + np.where(strength > 0, _FOR, _AGAINST) * cover
    shown: NDArray[np.uint8] = np.round(mixed).astype(np.uint8)
    return shown


def unusual(contents: Contents, sample: Sample) -> list[Response]:
    """The units with a page that respond most unusually, over all layers that are shown."""
    found = sample.unusual_everywhere(_UNUSUAL if contents.whole else None)
    return [each for each in found if contents.href("", each.layer, each.unit)][:_UNUSUAL]


def _layer(contents: Contents, shown: Shown, number: int) -> dict[str, Any]:
    samples, address = contents.atlas.samples, str(shown.layer.address)
    sample = samples[number]
    maps, zeros = sample.maps(address), sample.zeros(address)
    columns, rows = _arrangement(maps)
    together = rows_of(rows * (maps.shape[1] + _GAP))
    sheet, row = divmod(number, together)
    here = min(together, len(samples) - sheet * together)
    found = sample.unusual(address, _UNUSUAL_HERE if shown.whole else None)
    return {
        "address": address,
        "slug": shown.slug,
        "units": len(maps),
        "signed": sample.signed(address),
        "block": sample.block(address),
        "columns": columns,
        "width": shown.layer.grid.cells[1],
        "rows": rows,
        "cell": [side + _GAP for side in maps.shape[1:]],
        "sheet": _sheet(shown, sheet),
        "down": 100 * row / max(1, here - 1),
        "here": here,
        "zoom": max(1, min(_WIDEST // (columns * (maps.shape[2] + _GAP)), _TILE // max(maps.shape[1:]), 16)),
        "scale": sample.scale(address),
        "silent": 0 if sample.signed(address) else int((zeros >= 1).sum()),
        "unusual": [_said(each) for each in found if each.unit in contents.strips[shown.slug]][:_UNUSUAL_HERE],
    }


def _sheet(shown: Shown, number: int) -> str:
    return f"samples/{shown.slug}-{number:02}.png"


def _said(response: Response) -> dict[str, Any]:
    """A unit that responds unusually strongly, and in words how strongly."""
    place = "" if response.rank is None else f", its {_ordinal(response.rank + 1)} best image"
    share = "" if response.share is None else f" ({response.share:.0%} of its maximum)"
    return {
        "layer": response.layer,
        "unit": response.unit,
        "words": f": {figure(response.value)}{share}{place}",
    }


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def statistics(contents: Contents, number: int) -> dict[str, list[list[float | None]]]:
    """Of every map of a sample, by layer: its maximum, the share of it that is zero or less, where the maximum is."""
    sample = contents.atlas.samples[number]
    found = {}
    for each in contents.shown:
        address = str(each.layer.address)
        maxima, zeros = (rounded(values.astype(float)) for values in (sample.maxima(address), sample.zeros(address)))
        found[each.slug] = [maxima, zeros, sample.positions(address).tolist()]
    return found


def write_maps(contents: Contents, shown: Shown, put: Put) -> None:
    """Write the grids of one layer: those of the samples one below the other, on as many sheets as they need."""
    address = str(shown.layer.address)
    grids = [_grid(_brighter(sample.maps(address), sample.signed(address))) for sample in contents.atlas.samples]
    if not grids or not grids[0].size:
        return
    together = rows_of(len(grids[0]))
    for sheet, start in enumerate(range(0, len(grids), together)):
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(grids[start : start + together])).save(buffer, "PNG", compress_level=6)
        put(_sheet(shown, sheet), buffer.getvalue())


def _brighter(maps: NDArray[np.uint8], signed: bool) -> NDArray[np.uint8]:
    """The square root of each magnitude: on one scale for a whole layer, most maps would else be nearly black."""
    middle = 127.5 if signed else 0.0
    shares = (np.arange(256) - middle) / (255 - middle)
    table = middle + np.sign(shares) * np.sqrt(np.abs(shares)) * (255 - middle)
    brighter: NDArray[np.uint8] = np.round(table).astype(np.uint8)[maps]
    return brighter


def _arrangement(maps: NDArray[np.uint8]) -> tuple[int, int]:
    """Columns and rows of tiles in the grid, about twice as wide as it is high."""
    units, height, width = maps.shape
    columns = min(units, max(1, math.ceil(math.sqrt(2 * units * (height + _GAP) / (width + _GAP)))))
    return columns, math.ceil(units / columns)


def _grid(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The maps (units, h, w) as tiles in rows, with a gap of black below and to the right of each."""
    units, height, width = maps.shape
    columns, rows = _arrangement(maps)
    tiles = np.zeros((rows * columns, height + _GAP, width + _GAP), np.uint8)
    tiles[:units, :height, :width] = maps
    tiles = tiles.reshape(rows, columns, height + _GAP, width + _GAP).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * (height + _GAP), columns * (width + _GAP))
