"""Where on the image a unit looks: receptive fields on any executed graph, exactly.

Two fields [METHODS 0.3]. The *exact* one holds every pixel that can change the unit, clipped to the image: an interval
for each row and column of the map, followed through the recorded operations. It is the bounding box of the support of
the gradient with all weights positive. The *convolutional* one leaves out gates (a global pool whose result only
multiplies, as in squeeze-and-excitation) and the statistics of normalisations, and goes on into the padding, so that
every cell has a field of the same size: the size, stride and start of Araujo et al., "Computing receptive fields of
convolutional neural networks", Distill 2019, with the union of the branches where they meet. Crops use the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from convscope.field_rules import RULES, Axis, Context, Field, merge, pointwise
from convscope.geometry import Grid, Spans
from convscope.graph import Graph, LayerNode, Node, is_nonlinearity, sources

_COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}

Kind = Literal["convolutional", "exact"]


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """The fields of all values of a graph.

    Args:
        bounds: layer values whose field is only known to lie inside the one given, and the operation that is to blame.
    """

    graph: Graph
    exact: dict[int, Field] = field(repr=False)
    convolutional: dict[int, Field] = field(repr=False)
    bounds: dict[int, str] = field(repr=False)

    def grid(self, layer: LayerNode, kind: Kind = "convolutional", at: str = "response") -> Grid:
        """Where the cells of a layer's map lie. A layer without positions has one cell."""
        value = layer.value(at)
        fields = self.exact if kind == "exact" else self.convolutional
        # Positions of (n, c, h, w) are dimensions 2 and 3, of (n, h, w, c) 1 and 2.
        first = 2 if layer.channel == 1 else 1
        places = layer.shape[1:]
        if value not in fields:
            raise ValueError(f"{layer.address} does not depend on the image")
        if len(places) == 2:
            rows, columns = (_spans(axis, first + i, places[i]) for i, axis in enumerate(fields[value]))
        else:
            rows, columns = (axis.collapse().spans for axis in fields[value])
            if places:  # positions that are not a map, as tokens: each sees the whole
                columns = _repeated(columns, int(np.prod(places)))
        return Grid(_seen(rows), _seen(columns))


def receptive_fields(graph: Graph) -> ReceptiveFields:
    """Follow the fields of every value through the graph; the input's pixels see themselves."""
    bounds: dict[int, str] = {}
    exact, convolutional = (_follow(graph, exact, bounds) for exact in (True, False))
    return ReceptiveFields(graph, exact, convolutional, bounds)


def _follow(graph: Graph, exact: bool, bounds: dict[int, str]) -> dict[int, Field]:
    height, width = graph.shapes[graph.input][-2:]
    fields: dict[int, Field] = {graph.input: (Axis(2, _pixels(height)), Axis(3, _pixels(width)))}
    context = Context(graph, fields, exact, [])
    for node in graph.nodes:
        if fields.keys().isdisjoint(sources(node)):
            continue
        result, known = _apply(node, context)
        blame = next((bounds[value] for value in sources(node) if value in bounds), None if known else node.op)
        for value in node.outputs:
            if result is not None:
                fields[value] = result
            if blame is not None:
                bounds[value] = blame
    return fields


def _apply(node: Node, context: Context) -> tuple[Field | None, bool]:
    """The field after `node`, and whether it is known, rather than a box around what is not."""
    op = node.op.removesuffix("_") if node.op.removesuffix("_") in RULES else node.op
    context.loosened.clear()
    if op in RULES:
        result = RULES[op](node, context)
        return result, not context.loosened
    if _is_pointwise(node, context):
        result = pointwise(node, context)
        return result, not context.loosened
    whole = [(rows.collapse(), columns.collapse()) for rows, columns in _inputs(node, context)]
    return merge(whole, context), False


def _is_pointwise(node: Node, context: Context) -> bool:
    """Whether ATen itself says so, or it only copies."""
    return torch.Tag.pointwise in node.function.tags or is_nonlinearity(node) or node.op in _COPIES


def _inputs(node: Node, context: Context) -> list[Field]:
    return [context.fields[value] for value in sources(node) if value in context.fields]


def _pixels(extent: int) -> Spans:
    index = np.arange(extent, dtype=np.int64)
    return Spans(index, index + 1, extent)


def _spans(axis: Axis, dimension: int, cells: int) -> Spans:
    """The intervals of the map's `dimension`; every cell sees all where the axis does not run along it."""
    return axis.spans if axis.dimension == dimension else _repeated(axis.collapse().spans, cells)


def _repeated(spans: Spans, cells: int) -> Spans:
    return Spans(spans.low.repeat(cells), spans.high.repeat(cells), spans.extent, 0.0)


def _seen(spans: Spans) -> Spans:
    """Cells that see nothing become empty intervals at 0."""
    nothing = spans.high <= spans.low
    low, high = np.where(nothing, 0, spans.low), np.where(nothing, 0, spans.high)
    return Spans(low, high, spans.extent, spans.stride)
