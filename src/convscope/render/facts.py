"""What every view says of a layer and of its units: the same in the report, on a served page and in a notebook."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convscope import diagnosis
from convscope.atlas import AtlasLayer
from convscope.diagnosis import MEANING
from convscope.geometry import Spans
from convscope.render.text import field_of_view


def layer_facts(layer: AtlasLayer) -> dict[str, Any]:
    """What a layer is, and what its units are like on the whole."""
    record, summary = layer.record, layer.summary
    return {
        "address": str(layer.address),
        "slug": record["slug"],
        "kind": record["kind"],
        "units": layer.units,
        "shape": " × ".join(map(str, layer.shape)),
        "parameters": record["parameters"],
        "flops": record["flops"],
        "nonlinearity": record["nonlinearity"],
        "field": field_of_view(layer.grid, layer.shape),
        "bound": record["bound"],
        "dead": int(layer.flags["dead"].sum()) if "dead" in layer.flags else None,
        "flags": {name: int(units.sum()) for name, units in layer.flags.items() if units.any()},
        "zeros": _mean(summary["nonpositive"]),
        "sparsity": layer.sparsity,
        "selectivity": None if np.isnan(summary["selectivity"]).all() else _mean(summary["selectivity"]),
    }


def unit_flags(layer: AtlasLayer, unit: int) -> list[str]:
    """What is the matter with a unit, if anything."""
    return [name for name, units in layer.flags.items() if units[unit]]


def outstanding(layer: AtlasLayer, count: int) -> list[int]:
    """The units whose best image stands out most from their usual response, by (maximum − mean) / standard deviation.

    At most `count`, in the order of their indices.
    """
    return sorted(diagnosis.outstanding(layer.summary)[:count])


def attention(layers: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many units have each kind of trouble that some have; without death, which has a figure of its own.

    Args:
        layers: what `layer_facts` says of each.
    """
    counts = {name: sum(each["flags"].get(name, 0) for each in layers) for name in MEANING if name != "dead"}
    return [(name, count) for name, count in counts.items() if count]


def dead(layers: list[dict[str, Any]]) -> int | None:
    """How many units are dead; None where no layer is rectified, so that it cannot be told of any.

    Args:
        layers: what `layer_facts` says of each.
    """
    known = [each["dead"] for each in layers if each["dead"] is not None]
    return sum(known) if known else None


def lattice(spans: Spans) -> tuple[float, float]:
    """Where the first cell begins and how far apart the cells are, px, were they tiles around their fields' centres.

    They are 0 px apart where several see the same, as after circular padding: no place on the image is that of a cell.
    """
    centres = (spans.low + spans.high) / 2
    if len(centres) == 1:
        return 0.0, float(spans.extent)
    pitch = float(centres[-1] - centres[0]) / (len(centres) - 1)
    return float(centres[0]) - pitch / 2, pitch


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan
