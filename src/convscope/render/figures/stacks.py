"""Networks as stacks of their layers, side by side: one box a layer, its colour the kind of layer [METHODS 2.10].

The image enters at the top. Branches stand beside each other, and a layer is as high in all networks, so that depths
can be compared; pools and norms, which add nothing to the depth, are half as high.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from convscope.errors import ConvscopeError
from convscope.graph import Graph, LayerNode
from convscope.outline import outline
from convscope.render.figures.sheet import (
    BLUE,
    DPI,
    GREY,
    INK,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    line_height,
    shortened,
    styled,
    text_width,
)

Node = dict[str, Any]  # of an outline

MOST = 10  # networks in a figure

_COLOURS = {
    "convolution": (BLUE, "white"),
    "convolution 1×1": ("#a9cbe6", INK),
    "fully connected": (RED, "white"),
    "pool": ("#d4d4d4", INK),
    "norm": ("#efd08a", INK),
}  # what a box and its text are drawn in
_HEIGHTS = {"convolution": 1.0, "convolution 1×1": 1.0, "fully connected": 1.0, "pool": 0.5, "norm": 0.5}  # layers
_TALLEST, _LAYER, _GAP = 2300, 46, 3  # px: the tallest stack, a layer at most, and what is left free of it
_COLUMN = 500  # px: width of a stack at most
_SIDE, _ARCS = 88, 44  # px: room for the sizes of maps left of the boxes, and for shortcuts right of them
_LEAST, _TINY = 3.6, 4.4  # pt: the smallest text in a box, and the sizes of maps


@dataclass(frozen=True)
class Stacked:
    """A network to draw: its name, some lines about it, and its graph."""

    name: str
    about: Sequence[str]
    graph: Graph


@dataclass
class Box:
    """A layer, a pool or a norm; heights are in layers, counted from the image on.

    Args:
        texts: what can stand in it, the longest first.
        size: of its maps; empty where it gives none.
        reach: where the next one begins that takes what it gives.
        alone: whether only one takes it.
        lane, lanes: its place among the branches beside it, and how many there are.
    """

    kind: str
    texts: list[str]
    size: str
    top: float
    end: float
    reach: float
    alone: bool
    before: set[int]
    lane: int = 0
    lanes: int = 1


@dataclass
class Stack:
    """The boxes of a network from the top on, and from where to where shortcuts lead past them."""

    boxes: list[Box]
    shortcuts: list[tuple[float, float]]
    height: float = field(init=False)

    def __post_init__(self) -> None:
        self.height = max((box.end for box in self.boxes), default=0.0)


def draw(networks: Sequence[Stacked]) -> Sheet:
    """The figure.

    Raises:
        ConvscopeError: there are more networks than fit.
    """
    if len(networks) > MOST:
        raise ConvscopeError(f"{len(networks)} networks do not fit beside each other; give at most {MOST}")
    stacks = [stack(each.graph) for each in networks]
    tallest = max(each.height for each in stacks)
    layer = max(2.0, min(_LAYER, _TALLEST // tallest))
    small = line_height(SMALL)
    top = line_height(LARGE) + small * max(len(each.about) for each in networks) + 30
    bottom = top + tallest * layer + 40
    caption = (
        "Each box is a layer; the image enters at the top. Lines at the side are shortcuts, numbers there the height × "
        "width of the maps."
    )
    sheet = Sheet(round(bottom + 60 + caption_height([caption])))
    column = min(WIDTH // len(networks), _COLUMN + _SIDE + _ARCS)
    for number, (network, each) in enumerate(zip(networks, stacks, strict=True)):
        left = number * column
        room = column - _SIDE - _ARCS
        size = NORMAL if column > 300 else SMALL
        sheet.text(left + _SIDE, 0, shortened(network.name, column - _SIDE - 10, size), size, weight="bold")
        for row, line in enumerate(network.about):
            sheet.text(left + _SIDE, line_height(LARGE) + row * small, line, SMALL, color=GREY)
        canvas = sheet.canvas(left, top, column, tallest * layer + 1)
        _draw(canvas, each, layer, room)
    _key(sheet, bottom, {box.kind for each in stacks for box in each.boxes})
    sheet.paragraph(0, bottom + 60, WIDTH, caption)
    return sheet


# --- where the boxes stand -------------------------------------------------------------------------------------------


def stack(graph: Graph) -> Stack:
    """The boxes of a network."""
    layers = graph.layers()
    drawn = outline(graph, layers)
    nodes, before, after = drawn["nodes"], defaultdict(list), defaultdict(list)
    for source, target in drawn["edges"]:
        before[target].append(source)
        after[source].append(target)
    ends: dict[int, float] = {}
    boxes: dict[int, Box] = {}
    stands: dict[int, set[int]] = {}  # the boxes by which what a node gives is represented; none behind a joint
    shortcuts = []
    for node in nodes:
        place, sources = node["id"], before[node["id"]]
        top = max((ends[each] for each in sources), default=0.0)
        known = set().union(*(stands[each] for each in sources)) if sources else set()
        for each in known:
            boxes[each].reach = max(boxes[each].reach, top)
        kind = _kind(node, graph, layers, [nodes[each] for each in sources])
        ends[place] = top + (_HEIGHTS[kind] if kind else 0.0)
        stands[place] = known if len(sources) == 1 else set()
        if kind is not None:
            texts, size = _texts(node, graph, layers), "×".join(map(str, node["shape"][1:]))
            boxes[place] = Box(kind, texts, size, top, ends[place], ends[place], len(after[place]) == 1, known)
            stands[place] = {place}
        elif node["kind"] == "add":
            shortcuts += [(ends[each], top) for each in sources if ends[each] < top and len(after[each]) > 1]
    _spread(boxes)
    return Stack(list(boxes.values()), shortcuts)


def _spread(boxes: dict[int, Box]) -> None:
    """Give each box a lane of its own among those that stand beside it, below the one that it comes from."""
    group: list[int] = []
    reach = 0.0
    for place in sorted(boxes, key=lambda each: (boxes[each].top, each)):
        box = boxes[place]
        if box.top >= reach:
            _count([boxes[each] for each in group])
            group = []
        taken = {boxes[each].lane for each in group if boxes[each].end > box.top}
        wanted = [boxes[each].lane for each in sorted(box.before & set(group))]
        box.lane = next(lane for lane in [*wanted, *range(len(boxes))] if lane not in taken)
        group.append(place)
        reach = max(reach, box.reach)
    _count([boxes[each] for each in group])


def _count(group: Sequence[Box]) -> None:
    for box in group:
        box.lanes = max(each.lane for each in group) + 1


def _kind(node: Node, graph: Graph, layers: Sequence[LayerNode], before: Sequence[Node]) -> str | None:
    """What a node is drawn as; None for what has no box, as an addition, or a pool that leaves all as it is."""
    if node["kind"] == "conv":
        return "convolution 1×1" if set(_kernel(graph, layers[node["layer"]])) == {1} else "convolution"
    if node["kind"] == "pool" and "adaptive" in node["op"] and node["shape"] == before[0]["shape"]:
        return None
    return {"linear": "fully connected", "pool": "pool", "norm": "norm"}.get(node["kind"])


def _kernel(graph: Graph, layer: LayerNode) -> tuple[int, ...]:
    return graph.shapes[graph.nodes[layer.node].arguments["weight"].value][2:]


def _texts(node: Node, graph: Graph, layers: Sequence[LayerNode]) -> list[str]:
    """What can stand in a box, the longest first: kernel, units, and the stride where it is not 1."""
    if node["kind"] == "linear":
        return [f"fc, {node['shape'][0]}", "fc"]
    if node["kind"] == "conv":
        layer = layers[node["layer"]]
        stride = graph.nodes[layer.node].arguments["stride"][0]
        kernel, units = "×".join(map(str, _kernel(graph, layer))), f", {layer.units}"
        step = f", /{stride}" if stride > 1 else ""
        return [f"{kernel} conv{units}{step}", f"{kernel}{units}{step}", kernel]
    kind = "max" if "max" in node["op"] else "average"
    return [f"{kind} pool", kind] if node["kind"] == "pool" else [node["op"].replace("_", " "), "norm"]


# --- how they are drawn ----------------------------------------------------------------------------------------------


def _draw(canvas: Axes, stack: Stack, layer: float, room: float) -> None:
    """A stack on its canvas, with boxes in `room` px and layers of `layer` px."""
    last, free = "", 0.0
    for box in sorted(stack.boxes, key=lambda box: (box.top, box.lane)):
        _box(canvas, box, layer, room)
        middle = (box.top + box.end) / 2 * layer
        if box.size not in ("", last) and middle >= free:
            _write(canvas, _SIDE - 10, middle, box.size, _TINY, ha="right", color=GREY)
            last, free = box.size, middle + line_height(_TINY)
    for start, end in stack.shortcuts:
        _arc(canvas, _SIDE + room + 4, start * layer + 1, end * layer - 1)


def _box(canvas: Axes, box: Box, layer: float, room: float) -> None:
    lane, gap = room / box.lanes, min(_GAP, layer / 4)
    left, top = _SIDE + box.lane * lane, box.top * layer
    width, height = lane - (gap if box.lanes > 1 else 0), (box.end - box.top) * layer - gap
    colour, ink = _COLOURS[box.kind]
    canvas.add_patch(_rounded(left, top, width, height, colour))
    if box.reach > box.end and box.alone:  # a branch that waits for the others
        canvas.plot([left + width / 2] * 2, [top + height, box.reach * layer], color=GREY, linewidth=0.5)
    size = min(SMALL, 0.85 * height * 72 / DPI)
    text = next((each for each in box.texts if text_width(each, size) < width - 6), None)
    if size >= _LEAST and text is not None:
        _write(canvas, left + width / 2, top + height / 2, text, size, ha="center", color=ink)


def _rounded(left: float, top: float, width: float, height: float, colour: str) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={min(6, height / 3):.2f}"
    return FancyBboxPatch((left, top), width, height, boxstyle=style, facecolor=colour, linewidth=0)


def _arc(canvas: Axes, x: float, start: float, end: float) -> None:
    """A shortcut at the side of the boxes."""
    side = x + min(_ARCS - 8, 10 + (end - start) / 5) * 4 / 3
    points = [(x, start), (side, start), (side, end), (x, end)]
    path = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    canvas.add_patch(PathPatch(path, facecolor="none", edgecolor=GREY, linewidth=0.6))


def _write(canvas: Axes, x: float, y: float, text: str, size: float, **style: Any) -> None:
    with styled():
        canvas.text(x, y, text, va="center_baseline", size=size, **style)


def _key(sheet: Sheet, y: float, kinds: Collection[str]) -> None:
    """What the colours mean."""
    canvas, x = sheet.canvas(0, y, WIDTH, 40), 0.0
    for kind, (colour, _) in _COLOURS.items():
        if kind in kinds:
            canvas.add_patch(_rounded(x, 4, 44, 26, colour))
            sheet.text(x + 56, y + 17, kind, SMALL, va="center")
            x += 56 + text_width(kind, SMALL) + 50
