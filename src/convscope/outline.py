"""The executed graph as one draws it: layers, pools and joints, without the operations in between.

A layer is one node together with the batch norm and the non-linearity of its response. What only moves or rescales
numbers (views, copies, padding, a product with a constant) leaves none, nor does anything that the input does not
reach or that reaches neither an output nor a layer.

>>> outline(graph, graph.layers())["edges"]
[[0, 1], [1, 2], ...]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from convscope.graph import Graph, LayerNode, Node, is_nonlinearity, sources

_NORMS = {
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm",
    "native_layer_norm", "native_group_norm",
}  # fmt: skip
_REDUCTIONS = {"mean", "amax", "amin", "sum"}
_SUMS = {"add", "sub", "rsub"}
_PRODUCTS = {"mul", "div"}
_JOINTS = {"cat", "stack"}
# Operations that compute in ATen's eyes, and yet only move numbers or rescale them: drawn where they join what is
# drawn, and else not.
_MOVES = {
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "index",
    "index_select", "repeat", "roll", "flip", "channel_shuffle", "native_channel_shuffle", "written_through",
    *_SUMS, *_PRODUCTS, *_JOINTS,
}  # fmt: skip


@dataclass
class _Drawn:
    kind: str
    op: str
    name: str
    shape: tuple[int, ...]
    layer: LayerNode | None
    before: tuple[int, ...]  # what is drawn before it, in the order of its arguments
    ops: list[str] = field(default_factory=list)


def outline(graph: Graph, layers: Sequence[LayerNode]) -> dict[str, Any]:
    """The nodes and edges to draw, as plain values, in the order in which they ran.

    Args:
        layers: of the graph, those whose units are to be seen; a node's `layer` is its index here, or None.

    Returns:
        ``nodes``: each with ``id`` (its rank), ``kind`` (input, conv, linear, norm, activation, pool, add, multiply,
        concat, op or output), ``op``, ``name`` (address of the layer, or dotted name of the module), ``shape`` (of
        one image; channels first for a layer) and ``layer``; ``edges``: [from, to], for each node in the order of its
        arguments.
    """
    drawn = _Outline(graph).drawn
    kept = _kept(drawn)
    number = {old: new for new, old in enumerate(kept)}
    index = {layer.node: place for place, layer in enumerate(layers)}
    nodes = [
        {
            "id": number[old],
            "kind": drawn[old].kind,
            "op": drawn[old].op,
            "name": drawn[old].name,
            "shape": list(drawn[old].shape),
            "layer": None if (layer := drawn[old].layer) is None else index.get(layer.node),
        }
        for old in kept
    ]
    edges = [[number[before], number[old]] for old in kept for before in drawn[old].before]
    return {"nodes": nodes, "edges": edges}


class _Outline:
    """Goes through the operations once; `at` says by which drawn nodes a value is represented."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.at: dict[int, tuple[int, ...]] = {graph.input: (0,)}
        self.drawn = [_Drawn("input", "input", "input", graph.shapes[graph.input][1:], None, ())]
        self.merged = _merged(graph)
        self.whole = _leaves(graph)
        self.modules: dict[tuple[str, int], int] = {}
        for node in graph.nodes:
            self._visit(node)
        for value in dict.fromkeys(graph.outputs):
            if value in self.at:
                self._add(_Drawn("output", "output", "output", graph.shapes[value][1:], None, self.at[value]))

    def _visit(self, node: Node) -> None:
        values = [value for value in sources(node) if value in self.at]
        before = tuple(dict.fromkeys(place for value in values for place in self.at[value]))
        if node.op == "written_through":  # one write can come back through several views
            before = tuple(place for place in before if not any(self._wrote(other, place) for other in before))
        if not before or not node.outputs:  # a number that Python decides by, as in `if x.max() > 1`, draws nothing
            return
        layer = self.merged.get(node.index)
        kind = _kind(node, len(before))
        if layer is not None and layer.node == node.index:
            kind = "linear" if layer.kind == "linear" else "conv"
            before = (self._add(_Drawn(kind, layer.kind, str(layer.address), layer.shape, layer, before)),)
        elif layer is None and kind is not None:
            before = (self._unit(node, kind, before),)
        for value in node.outputs:
            self.at[value] = before

    def _wrote(self, place: int, other: int) -> bool:
        drawn = self.drawn[place]
        return drawn.op == "write" and other in drawn.before

    def _add(self, drawn: _Drawn) -> int:
        self.drawn.append(drawn)
        return len(self.drawn) - 1

    def _unit(self, node: Node, kind: str, before: tuple[int, ...]) -> int:
        """A node for one operation, or for all those of one call of a module that holds neither modules nor layers."""
        op, shape = node.op.removesuffix("_").lstrip("_"), self.graph.shapes[node.outputs[0]][1:]
        place = self.modules.get(node.module)
        if place is None:
            drawn = _Drawn(kind, _said(op), node.module[0], shape, None, before, [op])
            place = self._add(drawn)
            if node.module[0] in self.whole:
                self.modules[node.module] = place
            return place
        drawn = self.drawn[place]
        drawn.ops.append(op)
        drawn.before = tuple(dict.fromkeys(each for each in (*drawn.before, *before) if each != place))
        drawn.kind, drawn.op = _together(drawn.kind, drawn.ops)
        drawn.shape = shape
        return place


def _kind(node: Node, count: int) -> str | None:
    """What to draw for an operation that joins `count` drawn nodes; None for nothing."""
    op = node.op.removesuffix("_")
    if op in _NORMS or node.op in _NORMS:
        return "norm"
    if is_nonlinearity(node):
        return "activation"
    if "pool" in op or (op in _REDUCTIONS and node.arguments.get("dim")):
        return "pool"
    if count > 1 and (kind := _joint(op)) is not None:
        return kind
    if op in _MOVES or node.ordinal is None:
        return "op" if count > 1 else None
    return "op"


def _joint(op: str) -> str | None:
    for kind, ops in (("add", _SUMS), ("multiply", _PRODUCTS), ("concat", _JOINTS)):
        if op in ops:
            return kind
    return None


def _said(op: str) -> str:
    """An operation in the words of people."""
    return {"written_through": "write", "max_pool2d_with_indices": "max_pool2d", "native_layer_norm": "layer_norm",
            "native_group_norm": "group_norm"}.get(op, "batch_norm" if "batch_norm" in op else op)  # fmt: skip


def _together(kind: str, ops: list[str]) -> tuple[str, str]:
    """Kind and name of several operations that are drawn as one."""
    if "pow" in ops and any(op.startswith("avg_pool") for op in ops):  # what F.local_response_norm consists of
        return "norm", "local_response_norm"
    norm = next((op for op in ops if "norm" in op), None)
    return (kind, _said(ops[-1])) if len(ops) == 1 else ("norm", _said(norm)) if norm else ("op", _said(ops[-1]))


def _merged(graph: Graph) -> dict[int, LayerNode]:
    """The operations that are drawn as a layer: its own, and those from there to its response."""
    found: dict[int, LayerNode] = {}
    for layer in graph.layers():
        found[layer.node] = layer
        value = layer.response
        while (node := graph.producers.get(value)) is not None and node.index not in found:
            found[node.index] = layer
            value = next(each for each in sources(node) if each in graph.dependent)
    return found


def _leaves(graph: Graph) -> set[str]:
    """The modules without modules inside, as far as these ran, and without layers."""
    names = {node.module[0] for node in graph.nodes}
    parents = {name[:at] for name in names for at in range(len(name)) if name[at] == "."} | {""}
    layers = {graph.nodes[layer.node].module[0] for layer in graph.layers()}
    return names - parents - layers


def _kept(drawn: Sequence[_Drawn]) -> list[int]:
    """The drawn nodes from which an output or a layer is reached."""
    after: dict[int, list[int]] = defaultdict(list)
    for place, each in enumerate(drawn):
        for before in each.before:
            after[before].append(place)
    kept: set[int] = {0}
    for place in reversed(range(len(drawn))):
        if drawn[place].kind == "output" or drawn[place].layer or not kept.isdisjoint(after[place]):
            kept.add(place)
    return sorted(kept)
