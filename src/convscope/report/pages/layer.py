"""The page of a layer: what it is, how its units spread, and every unit with what is sorted and filtered by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope.atlas import AtlasLayer
from convscope.concepts import Concept
from convscope.diagnosis import outstanding
from convscope.dissection import DissectedLayer
from convscope.empirical_field import FieldLayer
from convscope.geometry import Grid
from convscope.panel import Bars
from convscope.render.categories import COLOURS
from convscope.render.facts import layer_facts
from convscope.render.html import panel_json
from convscope.report.contents import Contents
from convscope.report.faults import faults
from convscope.report.selection import Shown


def facts(shown: Shown) -> dict[str, Any]:
    """The figures of a layer, for its own page and the first one; `exact` is the exact field where that differs."""
    return layer_facts(shown.layer) | {"exact": _exact(shown.layer)}


def _exact(layer: AtlasLayer) -> str | None:
    """What the position in the middle sees beyond its convolutional field: None where it is the same."""
    row, column = (cells // 2 for cells in layer.grid.cells)
    exact = layer.exact.box(row, column)
    if exact == Grid(layer.grid.rows.clip(), layer.grid.columns.clip()).box(row, column):
        return None
    return "whole image" if (exact.height, exact.width) == layer.grid.image else f"{exact.height} × {exact.width}"


def data(contents: Contents, shown: Shown) -> dict[str, Any]:
    """What the page's script needs: a column a measure, in the order of the shown units."""
    layer = shown.layer
    units = list(shown.units)
    columns = {name: np.array(layer.summary[name], float)[units] for name in ("maximum", "mean", "nonpositive",
                                                                             "selectivity")}  # fmt: skip
    ranking = np.empty(layer.units)
    ranking[outstanding(layer.summary)] = np.arange(layer.units)
    flags = {name: np.flatnonzero(found[units]).tolist() for name, found in faults(layer).items() if found[units].any()}
    return {
        "address": str(layer.address),
        "units": units,
        "columns": {name: rounded(column) for name, column in columns.items()}
        | {"standing": ranking[units].astype(int).tolist(), "favourite": favourites(layer)[units].tolist()}
        | _nearest(contents, shown),
        "flags": flags,
        "classes": {str(index): contents.called(index) for index in layer.atlas.classes},
        "panels": [panel_json(panel) for panel in spread(layer)],
    }


def _nearest(contents: Contents, shown: Shown) -> dict[str, Any]:
    """Of each shown unit the concept with the highest IoU, detected or not, and that IoU; nothing if not dissected."""
    dissected = _dissected(contents, shown)
    if dissected is None:
        return {}
    iou = dissected.iou[list(shown.units)]
    return {"nearest": (1 + iou.argmax(1)).tolist(), "iou": rounded(iou.max(1))}


def _dissected(contents: Contents, shown: Shown) -> DissectedLayer | None:
    layers = {} if contents.dissected is None else contents.dissected.layers
    return layers.get(str(shown.layer.address))


@dataclass(frozen=True)
class _Bar:
    """How many units detect a concept, and the IoU of the best of them."""

    concept: Concept
    count: int
    best: float


def detectors(contents: Contents, shown: Shown) -> dict[str, Any] | None:
    """How many units detect what, for the template: counts, and the concepts in the order of METHODS 6.3.

    None where the layer was not dissected.
    """
    layer = _dissected(contents, shown)
    if layer is None:
        return None
    assert contents.dissected is not None
    labels = contents.dissected.labels[str(shown.layer.address)][list(shown.units)]
    best = layer.iou[list(shown.units)].max(1)
    bars = [
        _Bar(contents.dissected.concept(number), int((labels == number).sum()), float(best[labels == number].max()))
        for number in np.unique(labels[labels > 0]).tolist()
    ]
    order = list(COLOURS)
    bars.sort(key=lambda bar: (order.index(bar.concept.category), -bar.count, -bar.best))
    return {"counts": layer.counts(), "bars": bars, "highest": max((bar.count for bar in bars), default=1)}


def measured(contents: Contents, shown: Shown) -> FieldLayer | None:
    """The measured fields of the layer's units; None where they were not measured."""
    layers = {} if contents.measured is None else contents.measured.layers
    return layers.get(str(shown.layer.address))


def favourites(layer: AtlasLayer) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(units,) the class with the largest mean response, or −1 where it is not known."""
    means = layer.class_means
    known = ~np.isnan(means).all(1) if means.shape[1] else np.zeros(layer.units, bool)
    best = np.full(layer.units, -1, np.int64)
    if known.any():
        best[known] = np.array(layer.atlas.classes)[np.nanargmax(means[known], 1)]
    return best


def spread(layer: AtlasLayer) -> list[Bars]:
    """How the layer's units spread over what is measured of each."""
    summary = layer.summary
    wanted = [
        ("nonpositive", "Share of zeros" if layer.sparsity is not None else "Share of responses ≤ 0", "share", (0, 1)),
        ("maximum", "Maximum response", "response", None),
        ("selectivity", "Class selectivity", "selectivity", (0, 1)),
    ]
    panels = []
    for name, title, axis, limits in wanted:
        values = np.array(summary[name], float)
        values = values[np.isfinite(values)]
        if len(values):
            panels.append(histogram(title, values, axis, limits or _limits(values)))
    return panels


def histogram(title: str, values: np.ndarray[Any, Any], axis: str, limits: tuple[float, float]) -> Bars:
    """How many units have which of the values, all finite, in 24 bins."""
    heights, edges = np.histogram(values, bins=24, range=limits)
    return Bars(title, tuple(edges.tolist()), tuple(heights.tolist()), axis, "units", log=False)


def _limits(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """From the smallest to the largest of the values, or around them where all are nearly the same."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    return (low, high) if high - low > 1e-6 * size else (low - (size or 1) / 2, high + (size or 1) / 2)


def rounded(column: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    """Four significant digits, as they are shown; None for what is not a number."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in column.tolist()]
