"""What the pages of a report say, as plain values for their templates and scripts."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from convscope.atlas import Atlas, AtlasLayer, AtlasUnit
from convscope.diagnosis import MEANING
from convscope.geometry import Spans
from convscope.render.html import panel_json
from convscope.render.text import field_of_view, figure
from convscope.statistics.topk import TopK

_SHOWN = 12  # units of a layer on the first page


def index(atlas: Atlas) -> dict[str, Any]:
    """The first page: figures of the network, and every layer with some of its units."""
    layers = [layer(each)["layer"] | {"shown": _shown(each)} for each in atlas.layers]
    return {
        "title": atlas.run["network"]["name"],
        "layers": layers,
        "units": sum(each["units"] for each in layers),
        "dead": None if all(each["dead"] is None for each in layers) else sum(each["dead"] or 0 for each in layers),
        "attention": _attention(layers),
        "meaning": MEANING,
        "widest": max(each["flops"] for each in layers),
    }


def _attention(layers: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many units have each kind of trouble that some have; without death, which has a figure of its own."""
    counts = {name: sum(each["flags"].get(name, 0) for each in layers) for name in MEANING if name != "dead"}
    return [(name, count) for name, count in counts.items() if count]


def layer(layer: AtlasLayer) -> dict[str, Any]:
    """A layer's page: what it is, and where each unit's strip lies."""
    record, summary = layer.record, layer.summary
    units = [_card(layer, index) for index in range(layer.units)]
    about = {
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
        "flags": _counts(layer),
        "zeros": _mean(summary["nonpositive"]),
        "sparsity": layer.sparsity,
        "selectivity": None if np.isnan(summary["selectivity"]).all() else _mean(summary["selectivity"]),
        "strip": strip(layer),
    }
    return {"title": str(layer.address), "layer": about, "cards": units}


def strip(layer: AtlasLayer) -> dict[str, Any]:
    """How to show the strips of a layer from its sheets."""
    strips = layer.atlas.run["strips"][layer.record["slug"]]
    ranks = layer.atlas.run["job"]["statistics"]["topk"]["maps"]
    height, width = strips["cell"]
    return {"ranks": ranks, "ratio": f"{ranks * width} / {height}", "tile": f"{width} / {height}",
            "sharp": max(strips["tile"]) <= 24}  # fmt: skip


def _flags(layer: AtlasLayer, unit: int) -> list[str]:
    """What is the matter with a unit, if anything."""
    return [name for name, units in layer.flags.items() if units[unit]]


def _counts(layer: AtlasLayer) -> dict[str, int]:
    """How many units of the layer have something the matter with them, by what it is."""
    return {name: int(units.sum()) for name, units in layer.flags.items() if units.any()}


def _card(layer: AtlasLayer, unit: int) -> dict[str, Any]:
    summary = layer.summary
    return _place(layer, unit) | {
        "index": unit,
        "maximum": summary["maximum"][unit],
        "active": 1 - summary["nonpositive"][unit],
        "selectivity": summary["selectivity"][unit],
        "flags": _flags(layer, unit),
    }


def _place(layer: AtlasLayer, unit: int) -> dict[str, Any]:
    """The sheet that holds a unit's strip, and how far down it lies, as CSS wants it."""
    strips = layer.atlas.run["strips"][layer.record["slug"]]
    sheet, row = divmod(unit, strips["rows"])
    rows = min(strips["rows"], layer.units - sheet * strips["rows"])
    return {"sheet": strips["files"][sheet], "down": f"{100 * row / max(1, rows - 1):.4f}%"}


def _shown(layer: AtlasLayer) -> list[dict[str, Any]]:
    """The units whose best image stands out most from their usual response: (maximum − mean) / standard deviation."""
    summary = layer.summary
    columns = (np.array(summary[name], float) for name in ("maximum", "mean", "std"))
    maximum, mean, std = columns
    outstanding = np.where(std > 0, (maximum - mean) / np.where(std > 0, std, 1), -np.inf)
    order = np.argsort(-np.nan_to_num(outstanding, nan=-np.inf), kind="stable")[:_SHOWN]
    return [_card(layer, int(unit)) for unit in sorted(order)]


def units(layer: AtlasLayer) -> dict[str, Any]:
    """The data of all unit pages of a layer."""
    pictures = layer.atlas.run["pictures"]
    shown = [_unit(unit) for unit in layer]
    used = sorted({top[0] for unit in shown for top in unit["top"]})
    places = {image: layer.atlas.pictures[image] for image in used}
    origin, pitch = zip(*(_lattice(spans) for spans in (layer.grid.rows, layer.grid.columns)), strict=True)
    maps = layer.state("topk")["maps"]
    topk = layer.atlas.statistics["topk"]
    assert isinstance(topk, TopK)
    block = topk.block(layer.shape[1:])
    return {
        "address": str(layer.address),
        "ranks": maps.shape[1],
        "map": {"cells": list(maps.shape[2:]), "origin": origin, "pitch": [step * block for step in pitch]},
        "size": pictures["size"],
        "padding": pictures["padding"],
        "sheets": pictures["files"],
        "pictures": {
            image: {"name": about["name"], "label": about["label"], "place": about["place"]}
            for image, about in places.items()
        },
        "meaning": MEANING,
        "units": shown,
    }


def _unit(unit: AtlasUnit) -> dict[str, Any]:
    ranks = unit.layer.state("topk")["maps"].shape[1]
    maps = unit.layer.state("topk")["maps"][unit.index]
    return {
        "top": [[top.id, figure(top.value), *top.box.as_tuple(), top.row, top.column] for top in unit.best(ranks)],
        "maps": base64.b64encode(np.ascontiguousarray(maps).tobytes()).decode(),
        "flags": _flags(unit.layer, unit.index),
        "panels": [panel_json(panel) for panel in unit.panels()],
    }


def _lattice(spans: Spans) -> tuple[float, float]:
    """Where the first cell begins and how far apart the cells are, px, were they tiles around their fields' centres."""
    centres = (spans.low + spans.high) / 2
    if len(centres) == 1:
        return 0.0, float(spans.extent)
    pitch = float(centres[-1] - centres[0]) / (len(centres) - 1)
    return float(centres[0]) - pitch / 2, pitch


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan
