"""The data of unit pages: lists of the best images, maps, statistics, classes and connections of each unit."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.atlas import AtlasLayer, AtlasUnit
from convscope.geometry import Grid, Spans
from convscope.render.facts import lattice
from convscope.render.html import panel_json
from convscope.render.text import figure, percent
from convscope.report.contents import Contents
from convscope.report.faults import faults
from convscope.report.measured import about, picture
from convscope.report.pages.layer import facts, measured, rounded
from convscope.report.selection import Shown
from convscope.statistics.topk import NOBODY, TopK

CHUNK = 128  # units in one script of data
_FAVOURITE, _LEAST = 5, 3  # classes
_MATCHES = 5  # concepts


def geometry(shown: Shown) -> dict[str, Any]:
    """What all units of a layer share: how maps and boxes lie on the image, and the two fields of the middle cell."""
    layer = shown.layer
    maps = layer.state("topk")["maps"]
    topk = layer.atlas.statistics["topk"]
    assert isinstance(topk, TopK)
    block = topk.block(layer.shape[1:])
    origin, pitch = zip(*(lattice(spans) for spans in (layer.grid.rows, layer.grid.columns)), strict=True)
    middle = tuple(cells // 2 for cells in layer.grid.cells)
    # Where every cell sees the same, as after circular padding, a map has no place on the image.
    cells = list(maps.shape[2:]) if min(pitch) > 0 else [0, 0]
    return {
        "ranks": maps.shape[1],
        "map": {
            "cells": cells,
            "origin": origin,
            "pitch": [step * block for step in pitch],
        },
        "crops": [_crops(layer.grid, axis) for axis in (0, 1)],
        "columns": layer.grid.cells[1],
        "fields": {
            "field": layer.grid.box(*middle).as_tuple(),
            "exact": None if facts(shown)["exact"] is None else layer.exact.box(*middle).as_tuple(),
        },
        "unit_chunk": CHUNK,
        "images": layer.atlas.run["results"]["images"],
    }


def masks(contents: Contents, shown: Shown) -> dict[str, Any] | None:
    """How the pages draw what of an image is above a unit's threshold; None where the layer was not dissected.

    Returns:
        ``centres`` of the kept map's cells along both axes, px, and of how many cells along a side each is the largest
        (``block``); or the ``reason`` why nothing is drawn.
    """
    dissected, layer = contents.dissected, shown.layer
    if dissected is None or str(layer.address) not in dissected.layers:
        return None
    if dissected.run["job"]["at"] != layer.atlas.run["job"]["at"]:
        return {"reason": "the dissection read units elsewhere than the scan (--at), so the maps are others"}
    topk = layer.atlas.statistics["topk"]
    assert isinstance(topk, TopK)
    block = topk.block(layer.shape[1:])
    plain = dissected.run["job"]["upsampling"] == "plain"
    centres = [_centres(spans, block, plain) for spans in (layer.grid.rows, layer.grid.columns)]
    if not all((np.diff(axis) > 0).all() for axis in centres):
        return {"reason": "the positions of the map have no places of their own on the image"}
    return {"centres": [axis.round(3).tolist() for axis in centres], "block": block}


def _centres(spans: Spans, block: int, plain: bool) -> NDArray[np.float64]:
    """Where the values of a map stand, px, `block` cells together: at centres of fields, or as a resize has them."""
    centres = spans.tiles() if plain else spans.centres()
    if block > 1:  # the last block may have fewer cells, and lies as one that has all of them
        missing = np.arange(1, 1 + -len(centres) % block)
        centres = np.concatenate([centres, centres[-1] + missing * (centres[-1] - centres[-2])])
    together: NDArray[np.float64] = centres.reshape(-1, block).mean(1)
    return together


def chunks(contents: Contents, shown: Shown) -> Iterator[tuple[str, list[str]]]:
    """The data of the shown units, cut into scripts: all but their maps packed together, and the maps of each unit."""
    for start in range(0, len(shown.units), CHUNK):
        units = [shown.layer[index] for index in shown.units[start : start + CHUNK]]
        text = json.dumps([_unit(contents, unit) for unit in units], separators=(",", ":"))
        yield _packed(text.encode()), [_maps(unit) for unit in units]


def _packed(data: bytes) -> str:
    """Deflated, as text; `DecompressionStream` and `atob` of a browser undo it."""
    return base64.b64encode(zlib.compress(data)).decode() if data else ""


def _maps(unit: AtlasUnit) -> str:
    """The response to the first few best images, a byte a cell."""
    state = unit.layer.state("topk")
    there = int((state["ids"][unit.index] != NOBODY).sum())
    return _packed(np.ascontiguousarray(state["maps"][unit.index, :there]).tobytes())


def _unit(contents: Contents, unit: AtlasUnit) -> dict[str, Any]:
    state = unit.layer.state("topk")
    there = int((state["ids"][unit.index] != NOBODY).sum())
    positions = state["positions"][unit.index, :there].tolist()
    values = state["values"][unit.index, :there].tolist()
    known = values and 0 < values[0] < math.inf
    shares = [round(value / values[0], 3) if known and math.isfinite(value) else None for value in values]
    ids = state["ids"][unit.index, :there].tolist()
    return {
        "top": [list(each) for each in zip(ids, map(figure, values), positions, shares, strict=True)],
        "facts": _facts(unit),
        "flags": [name for name, units in faults(unit.layer).items() if units[unit.index]],
        "panels": [panel_json(panel) for panel in _panels(unit)],
        "classes": _classes(contents, unit),
        "inputs": _connections(contents, unit.inputs),
        "outputs": _connections(contents, unit.outputs),
        **_detects(contents, unit),
        **_field(contents, unit),
    }


def fields(contents: Contents, shown: Shown) -> dict[str, Any] | None:
    """What all pictures of the layer's measured fields share; None where they were not measured."""
    found = measured(contents, shown)
    return None if found is None else about(found, _box(shown.layer))


def _field(contents: Contents, unit: AtlasUnit) -> dict[str, Any]:
    """The measured field; nothing where it was not measured."""
    layers = {} if contents.measured is None else contents.measured.layers
    found = layers.get(str(unit.layer.address))
    return {} if found is None else {"field": picture(found[unit.index], _box(unit.layer))}


def _box(layer: AtlasLayer) -> tuple[int, int]:
    """Height and width of the field that the architecture gives."""
    box = layer.grid.box(*(cells // 2 for cells in layer.grid.cells))
    return box.height, box.width


def _detects(contents: Contents, unit: AtlasUnit) -> dict[str, Any]:
    """What it detects: the concepts that fit it best, its threshold, and where that is in each of its maps.

    Maps are kept as 8-bit shares of their own maximum, so that the threshold is another one in each of them.
    """
    layers = {} if contents.dissected is None else contents.dissected.layers
    layer = layers.get(str(unit.layer.address))
    if layer is None:
        return {}
    threshold = layer[unit.index].threshold
    state = unit.layer.state("topk")
    values = state["values"][unit.index, : state["maps"].shape[1]].tolist()
    matches = [
        [each.covered.concept.number, *rounded(np.array([each.iou, *each.interval, each.covered.cap]))]
        for each in layer.matches(unit.index)[:_MATCHES]
    ]
    levels = [round(255 * threshold / value, 3) if 0 < value < math.inf else 255 for value in values]
    return {
        "detects": {
            "matches": matches,
            "threshold": figure(threshold),
            # What is negative was not kept, so that a lower threshold has no place in the map.
            "levels": levels if 0 <= threshold < math.inf else None,
        }
    }


def _facts(unit: AtlasUnit) -> list[str]:
    """What the head of the page says, in its order: maximum, mean, zeros, images with a response, class selectivity."""
    summary = unit.summary
    texts = [figure(summary["maximum"]), figure(summary["mean"]), percent(summary["nonpositive"]),
             figure(int(summary["active_images"]))]  # fmt: skip
    return texts if math.isnan(summary["selectivity"]) else [*texts, figure(summary["selectivity"])]


def _panels(unit: AtlasUnit) -> list[Any]:
    """Those of every statistic but the classes, which the page shows in its own way, with links."""
    atlas = unit.layer.atlas
    return [
        panel
        for name, statistic in atlas.statistics.items()
        if name != "class_means"
        for panel in statistic.panels(unit.layer.state(name), unit.index, None)
    ]


def _classes(contents: Contents, unit: AtlasUnit) -> dict[str, Any] | None:
    """The classes that the unit likes most and least, with its mean response to each."""
    means = unit.layer.class_means[unit.index]
    order = [int(i) for i in np.argsort(-means, kind="stable")[: np.count_nonzero(~np.isnan(means))]]
    if not order:
        return None
    classes = unit.layer.atlas.classes
    best = order[:_FAVOURITE]
    least = [i for i in order[-_LEAST:] if i not in best]
    return {
        name: [
            [classes[i], contents.called(classes[i]), mean]
            for i, mean in zip(chosen, rounded(means[chosen]), strict=True)
        ]
        for name, chosen in (("best", best), ("least", least))
    }


def _connections(contents: Contents, found: tuple[Any, ...]) -> list[list[Any]]:
    """Layer (its number among the shown ones, or its address), unit, signed weight and strength of each."""
    return [
        [contents.numbers.get(each.layer, each.layer), each.unit, *rounded(np.array([each.weight, each.strength]))]
        for each in found
    ]


def _crops(grid: Grid, axis: int) -> list[list[int]]:
    """From where to where a patch is cut along one axis, for every row (axis 0) or column (axis 1) of the map."""
    cells = grid.cells[axis]
    boxes = [grid.crop(*((i, 0) if axis == 0 else (0, i))).as_tuple() for i in range(cells)]
    return [[box[axis], box[axis + 2]] for box in boxes]
