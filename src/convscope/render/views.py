"""The views of notebooks: a network, an atlas, a layer, a unit or an explanation as one piece of HTML.

Each carries its own style and pictures, holds no script and no address of another place, and takes the colours of the
page around it, so that it is light in a light notebook and dark in a dark one.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import jinja2
from PIL import Image

import convscope
from convscope.atlas import Atlas, AtlasLayer, AtlasUnit, TopImage
from convscope.diagnosis import MEANING
from convscope.errors import NetworkError
from convscope.explanation.randomization import ALIKE, RANKS
from convscope.explanation.result import About, Cell, Explained, Explanation
from convscope.graph import LayerNode
from convscope.network import Network
from convscope.panel import Bars, Panel, Scatter
from convscope.preprocess import Preprocess
from convscope.receptive_field import ReceptiveFields, receptive_fields
from convscope.recorder import record
from convscope.render import charts, inline, maps, overlays, text
from convscope.render.environment import environment
from convscope.render.facts import attention, dead, layer_facts, outstanding, unit_flags

_PATCHES = 12  # units of a layer in the view of an atlas
_UNITS = 64  # of a layer, in its own view
_ROWS = 200  # layers in the view of a network or an atlas
_BUDGET = 200_000  # characters of pictures in the view of an atlas or a layer
_EXPLAINED = 8  # images of an explanation
_MAP_SIDES, _MAP_PIXELS = (256, 224, 192, 160, 128, 96), 2_000_000  # px of a map's larger side, and of all together
_OUTPUTS = {
    "softmax": "one class is true",
    "sigmoid": "several classes can be true at once",
    "real": "its outputs are real values",
}
_UNIT_BUDGET = 45_000  # the same for the patches of a unit, and again for its images


def network(network: Network) -> str:
    """A network: where it is from, what it takes and gives, and its layers; one forward pass records these."""
    failure, layers = None, []
    try:
        graph = record(network.module, network.example())
    except NetworkError as error:
        failure = str(error)
    else:
        fields = receptive_fields(graph)
        layers = [_layer_node(layer, fields) for layer in graph.layers()]
    return _page(
        "network.html",
        network=network,
        origin=_origin(network),
        prepared=_prepared(network.preprocess),
        parameters=sum(tensor.numel() for tensor in network.module.parameters()),
        flops=sum(layer["flops"] for layer in layers),
        widest=max((layer["flops"] for layer in layers), default=0) or 1,
        failure=failure,
        count=len(layers),
        layers=layers[:_ROWS],
    )


def _layer_node(layer: LayerNode, fields: ReceptiveFields) -> dict[str, Any]:
    return {
        "address": str(layer.address),
        "kind": layer.kind,
        "shape": " × ".join(map(str, layer.shape)),
        "parameters": layer.parameters,
        "flops": layer.flops,
        "field": text.field_of_view(fields.grid(layer), layer.shape),
        "bound": fields.bounds.get(layer.response),
        "nonlinearity": layer.nonlinearity,
    }


def _origin(network: Network) -> str | None:
    """What to give `load` for the same network; None for a wrapped module."""
    if network.spec is None:
        return None
    given = [repr(network.spec["spec"])]
    given += [f"{name}={network.spec[name]!r}" for name in ("arch", "preprocess") if network.spec.get(name) is not None]
    return f"convscope.load({', '.join(given)})"


def _prepared(preprocess: Preprocess) -> list[tuple[str, str]]:
    """How a picture becomes an input, in the order in which it happens."""
    sizes = (preprocess.resize, preprocess.crop, preprocess.size)
    resize, crop, size = (_pixels(each) for each in sizes)
    if preprocess.resize is None and preprocess.crop is None:
        steps = [f"warped to {size}"]
    else:
        shorter = "shorter side to " if isinstance(preprocess.resize, int) else "resized to "
        steps = [shorter + resize] if resize else []
        steps.append(f"{crop or size} cut from the centre")
        if crop and crop != size:
            steps.append(f"resized to {size}")
    channels = preprocess.channels
    low, high = preprocess.range
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocess.mean, preprocess.std))
    return [
        (
            "input",
            f"{' × '.join(map(str, preprocess.shape))}" + (f" ({channels})" if isinstance(channels, str) else ""),
        ),
        ("prepared", f"{', '.join(steps)} ({preprocess.interpolation})"),
        ("values", f"{low:g} to {high:g}, minus mean {mean}, divided by {std}"),
    ]


def _pixels(size: int | tuple[int, int] | None) -> str:
    if size is None:
        return ""
    return f"{size} px" if isinstance(size, int) else f"{size[0]} × {size[1]} px"


def atlas(atlas: Atlas) -> str:
    """An atlas: what was scanned, what needs attention, and what some units of every layer like best."""
    shown = [(layer, _drawn(layer)) for layer in atlas.layers[:_ROWS]]
    rows = inline.strips([[layer[unit].tile(0) for unit in units] for layer, units in shown], _BUDGET, 64)
    facts = [layer_facts(layer) for layer in atlas.layers]
    return _page(
        "atlas.html",
        atlas=atlas,
        run=atlas.run,
        layers=[
            about | {"strip": strip, "shown": units}
            for about, strip, (_, units) in zip(facts, rows, shown, strict=False)
        ],
        count=len(facts),
        units=sum(layer.units for layer in atlas.layers),
        dead=dead(facts),
        attention=attention(facts),
    )


def _drawn(layer: AtlasLayer) -> list[int]:
    """The units of a layer that an atlas shows; one that gave only NaN has nothing to show."""
    return [unit for unit in outstanding(layer, _PATCHES) if layer[unit].best(1)]


def layer(layer: AtlasLayer) -> str:
    """A layer: its statistics, and the strips of the units that stand out most."""
    chosen = outstanding(layer, _UNITS)
    kept = layer.state("topk")["maps"].shape[1]
    tiles = [[layer[unit].tile(rank) for rank in range(len(layer[unit].best(kept)))] for unit in chosen]
    summary = layer.summary
    cards = [
        {
            "index": unit,
            "flags": unit_flags(layer, unit),
            "maximum": summary["maximum"][unit],
            "active": 1 - summary["nonpositive"][unit],
            "strip": strip,
        }
        for unit, strip in zip(chosen, inline.strips(tiles, _BUDGET, 48), strict=True)
    ]
    labelled = layer.atlas.run["results"]["labelled"]
    return _page(
        "layer.html", layer=layer_facts(layer), run=layer.atlas.run, labelled=labelled, cards=cards, ranks=kept
    )


def unit(unit: AtlasUnit) -> str:
    """A unit: its best patches, where they lie, how its responses are distributed, and the classes it likes."""
    layer = unit.layer
    best = unit.best(layer.state("topk")["maps"].shape[1])
    tops = [top for top in best if top.id in layer.atlas.pictures]
    patches = inline.strips([[unit.patch(top.rank)] for top in tops], _UNIT_BUDGET)
    images = inline.strips([[layer.atlas.picture(top.id)] for top in tops], _UNIT_BUDGET)
    return _page(
        "unit.html",
        unit=unit,
        layer=layer_facts(layer),
        run=layer.atlas.run,
        flags=unit_flags(layer, unit.index),
        size=layer.atlas.run["pictures"]["size"],
        tops=[
            {"top": top, "short": _short(top.name), "patch": patch, "image": image, "frame": _frame(layer, top),
             "veil": inline.veil(layer, unit.map(top.rank))}
            for top, patch, image in zip(tops, patches, images, strict=True)
        ],
        panels=[_panel(panel) for panel in unit.panels()],
    )  # fmt: skip


def explanation(explanation: Explanation) -> str:
    """Explained images: what the network says of each, and what every method makes of that."""
    shown = explanation.images[:_EXPLAINED]
    side = next(side for side in _MAP_SIDES if sum(len(image.cells) + 1 for image in shown) * side**2 <= _MAP_PIXELS)
    about = explanation.about
    return _page(
        "explanation.html",
        explanation=explanation,
        outputs=_OUTPUTS.get(str(about.outputs), "its outputs are no scores of classes"),
        images=[
            {"image": image, "uri": inline.uri(Image.fromarray(overlays.enlarged(image.picture, side))),
             "groups": _groups(image, about, side)}
            for image in shown
        ],
        kinds=_kinds(shown, about),
        checked=any(cell.check is not None for image in shown for cell in image.cells),
        same=ALIKE,
    )  # fmt: skip


def _groups(image: Explained, about: About, side: int) -> list[list[dict[str, Any]]]:
    """The maps, those of a method together where there are several; what a method refuses is said once."""
    size = len(about.columns) if len(about.columns) > 1 else len(image.cells)
    cells = [_cell(cell, image, about, side) for cell in image.cells]
    groups = [cells[start : start + size] for start in range(0, len(cells), size)]
    return [group[:1] if all(cell.get("refused") for cell in group) else group for group in groups]


def _cell(cell: Cell, image: Explained, about: About, side: int) -> dict[str, Any]:
    """A map with what is said above and below it."""
    if cell.found is None:
        return {"label": cell.label, "target": "", "score": "", "nothing": f"no map: {cell.refused}", "refused": True}
    target, score = maps.target(cell)
    told = {"label": cell.label, "target": target, "score": score, "notes": "\n".join(cell.found.notes)}
    if cell.found.blank[0] is not None:
        return told | {"nothing": f"zero everywhere: {cell.found.blank[0]}"}
    view = maps.view(cell.found, about.channels)
    check = float(cell.found.evidence[RANKS][0]) if RANKS in cell.found.evidence else None
    return told | {
        "nothing": None,
        "uri": inline.uri(Image.fromarray(maps.drawn(view, image.picture, side)), exact=False),
        "scale": view.scale,
        "check": None if check is None else maps.correlation(check),
        "same": check is not None and check >= ALIKE,
    }


def _kinds(shown: Sequence[Explained], about: About) -> list[tuple[str, str]]:
    """The methods by what the colours of their maps mean."""
    found: dict[str, dict[str, None]] = {}
    for cell in (cell for image in shown for cell in image.cells):
        if cell.found is not None and cell.found.blank[0] is None:
            found.setdefault(maps.view(cell.found, about.channels).kind, {})[cell.label] = None
    return [(", ".join(labels), maps.MEANING[kind]) for kind, labels in found.items()]


def _frame(layer: AtlasLayer, top: TopImage) -> dict[str, int]:
    """The part of a field that lies on the image, so that every side of it can be drawn."""
    box = top.box.clip(*layer.grid.image)
    return {"x": box.x0, "y": box.y0, "width": box.width, "height": box.height}


def _short(name: str) -> str:
    """The end of a file's name, which tells it from others, as long as a caption."""
    stem = PurePosixPath(name).stem
    return stem if len(stem) <= 15 else f"…{stem[-14:]}"


def _panel(panel: Panel) -> dict[str, Any]:
    if isinstance(panel, Bars):
        return {"kind": "bars"} | charts.bars(panel)
    if isinstance(panel, Scatter):  # points have no room here, their numbers do
        points = zip(panel.names, panel.xs, panel.ys, strict=True)
        rows = tuple((name, f"{text.figure(x)}, {text.figure(y)}") for name, x, y in points)
        return {"kind": "table", "title": f"{panel.title} ({panel.x}, {panel.y})", "rows": rows}
    return {"kind": "table", "title": panel.title, "rows": panel.rows}


def _page(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(**context)


def _environment() -> jinja2.Environment:
    pages = environment("convscope.render")
    style = importlib.resources.files("convscope.render") / "templates" / "notebook.css"
    pages.globals.update(style=style.read_text(encoding="utf-8"), meaning=MEANING, convscope=convscope.__version__)
    return pages
