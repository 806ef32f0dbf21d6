"""The first page: the network drawn to scale, its figures, and every layer with some of its units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from convscope.render import facts as common
from convscope.render.categories import COLOURS
from convscope.render.drawing import draw
from convscope.render.text import field_of_view
from convscope.report.contents import Contents
from convscope.report.pages import attention
from convscope.report.pages.layer import facts
from convscope.report.selection import Shown

_TILES = 12  # units of a layer


def context(contents: Contents) -> dict[str, Any]:
    """What the template says."""
    layers = [facts(each) | {"tiles": tiles(contents, each)} for each in contents.shown]
    return {
        "title": contents.atlas.run["network"]["name"],
        "drawings": {"wide": drawing(contents, 1240), "narrow": drawing(contents, 358)},
        "layers": layers,
        "units": sum(each.layer.units for each in contents.shown),
        "dead": common.dead(layers),
        "attention": attention.counts(contents),
        "widest": max((each["flops"] for each in layers), default=1),
        "samples": contents.atlas.samples,
        "detecting": detecting(contents),
        "seeing": seeing(contents),
    }


def seeing(contents: Contents) -> dict[str, Any] | None:
    """How large the fields of the layers are: of theory, by the gradient, and as measured; None without these."""
    if contents.measured is None:
        return None
    layers = [(contents.by_address[address], found) for address, found in contents.measured.layers.items()
              if address in contents.by_address and not math.isnan(found.empirical.mean)]  # fmt: skip
    return {"layers": layers, "widest": max((found.theoretical for _, found in layers), default=1)}


def detecting(contents: Contents) -> dict[str, Any] | None:
    """What the layers detect, each with its unique detectors by category; None without a dissection."""
    if contents.dissected is None:
        return None
    layers = [_detecting(contents, address) for address in contents.by_address if address in contents.dissected.layers]
    widest = max((each["counts"].unique_interval[1] for each in layers), default=1)
    present = {name for each in layers for name in each["unique"]}
    return {"layers": layers, "widest": widest or 1, "categories": [name for name in COLOURS if name in present]}


def _detecting(contents: Contents, address: str) -> dict[str, Any]:
    """The counts of a layer, how many different concepts of each category it detects, and its best unit."""
    assert contents.dissected is not None
    layer, labels = contents.dissected.layers[address], contents.dissected.labels[address]
    concepts = [contents.dissected.concept(number) for number in np.unique(labels[labels > 0]).tolist()]
    unique = {name: sum(each.category == name for each in concepts) for name in COLOURS}
    best = layer.iou.max(1)
    shown = list(contents.by_address[address].units)
    return {
        "address": address,
        "slug": contents.by_address[address].slug,
        "counts": layer.counts(),
        "unique": {name: count for name, count in unique.items() if count},
        "mean": float(best.mean()),
        "best": layer[shown[int(best[shown].argmax())]],
    }


def drawing(contents: Contents, width: int) -> Markup:
    """The executed graph, in which the blocks of shown layers are links, for a place of this width, px."""
    atlas = contents.atlas
    links = [contents.href("", str(layer.address)) for layer in atlas.layers]
    fields = [field_of_view(layer.grid, layer.shape)["size"] for layer in atlas.layers]
    sizes = [field if field == "whole image" else f"{field} px" for field in fields]
    return Markup(draw(atlas.graph, links, sizes, width))


def tiles(contents: Contents, shown: Shown) -> list[int]:
    """The units of a layer whose best image stands out most, ascending."""
    return [unit for unit in common.outstanding(shown.layer, _TILES) if unit in contents.strips[shown.slug]]
