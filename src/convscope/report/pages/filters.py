"""The page of a layer's filters: the weights of every unit as pictures, how noisy they are, and how coloured."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.atlas.filters import Filters
from convscope.filters.colour import spectrum
from convscope.filters.display import minmax, sym, to_bytes
from convscope.filters.noise import PAD
from convscope.panel import Panel, Scatter
from convscope.render.html import panel_json
from convscope.report.faults import noisy
from convscope.report.pages.layer import histogram, rounded
from convscope.report.selection import Shown
from convscope.report.sheets import Put, rows_of

_MEASURES = ("autocorrelation", "hf", "variation", "entropy")


def sheets(shown: Shown) -> dict[str, list[int]]:
    """The kinds of pictures of a layer's filters, and the height and width of a unit's row in each, in pixels."""
    filters = shown.layer.filters
    if filters is None:
        return {}
    _, count, height, width = filters.slices.shape
    kinds = {"own": [height, width if _coloured(filters) else count * width + count - 1]}
    if filters.first:
        kinds["shared"] = kinds["own"]
    if min(height, width) >= 3:
        kinds["frequencies"] = [max(PAD, height), max(PAD, width)]
    return kinds


def context(shown: Shown) -> dict[str, Any]:
    """What the template and its script say."""
    filters = shown.layer.filters
    assert filters is not None
    units, found, panels = list(shown.units), noisy(shown.layer), _panels(shown, filters)
    columns = {name: rounded(filters.noise[name][units].astype(float)) for name in _MEASURES if filters.noise}
    if filters.colour:
        columns["ratio"] = rounded(filters.colour["ratio"][units].astype(float))
    return {
        "title": f"{shown.layer.address}, filters",
        "kernel": " × ".join(map(str, filters.slices.shape[2:])),
        "first": filters.first,
        "coloured": bool(filters.colour),
        "slices": filters.slices.shape[1],
        "noisy": None if found is None else int(found.sum()),
        "flat": int(filters.noise["flat"].sum()) if filters.noise else None,
        "frequencies": "frequencies" in sheets(shown),
        "panels": len(panels),
        "data": {
            "units": units,
            "sheets": {kind: [*size, rows_of(size[0])] for kind, size in sheets(shown).items()},
            "coloured": _coloured(filters),
            "channels": filters.channels[units].tolist() if not filters.first else [],
            "columns": columns,
            "noisy": [] if found is None else np.flatnonzero(found[units]).tolist(),
            "flat": np.flatnonzero(filters.noise["flat"][units]).tolist() if filters.noise else [],
            "panels": [panel_json(panel) for panel in panels],
        },
    }


def write_sheets(shown: Shown, put: Put) -> None:
    """Write the pictures: a row a unit, one pixel a weight, in sheets that browsers can show."""
    filters = shown.layer.filters
    if filters is None:
        return
    weights = filters.slices[list(shown.units)]
    for kind, (height, _) in sheets(shown).items():
        shades, rows = _shades(kind, weights), rows_of(height)
        for sheet, start in enumerate(range(0, len(shades), rows)):
            picture = _rows(shades[start : start + rows], _coloured(filters) and kind != "frequencies")
            _save(f"filters/{shown.slug}-{kind}-{sheet:03}.png", to_bytes(picture), put)


def _shades(kind: str, weights: NDArray[np.float32]) -> NDArray[Any]:
    """(units, m, h, w) in [0, 1]: each filter by itself, all on one scale where zero is grey, or their frequencies."""
    if kind == "frequencies":
        return minmax(spectrum(weights), each=1)[:, None]
    return sym(weights) if kind == "shared" else minmax(weights, each=1)


def _panels(shown: Shown, filters: Filters) -> list[Panel]:
    panels: list[Panel] = []
    units = list(shown.units)
    if filters.colour:
        panels.append(
            Scatter(
                "Grey and coloured filters",
                tuple(filters.colour["frequency"][units].tolist()),
                tuple(filters.colour["ratio"][units].tolist()),
                tuple(f"{shown.layer.address}:{unit}" for unit in units),
                "dominant frequency, cycles per pixel",
                "colour ratio",
            )
        )
    if not filters.noise:
        return panels
    # A correlation of neighbours, each with its own mean, can lie slightly beyond -1 and 1.
    values = filters.noise["autocorrelation"].astype(float).clip(-1, 1)
    return [*panels, histogram("Smoothness", values, "autocorrelation of neighbouring weights", (-1, 1))]


def _coloured(filters: Filters) -> bool:
    return filters.first and filters.slices.shape[1] == 3


def _rows(shades: NDArray[Any], coloured: bool) -> NDArray[Any]:
    """Filters (units, m, kh, kw) below each other: in colour, or their slices beside each other with a gap of black."""
    units, count, height, width = shades.shape
    if coloured:
        return shades.transpose(0, 2, 3, 1).reshape(units * height, width, 3)
    padded = np.zeros((units, count, height, width + 1))
    padded[..., :width] = shades
    return padded.transpose(0, 2, 1, 3).reshape(units * height, count * (width + 1))[:, :-1]


def _save(name: str, pixels: NDArray[np.uint8], put: Put) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    put(name, buffer.getvalue())
