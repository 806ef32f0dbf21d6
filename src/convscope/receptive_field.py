"""Where on the image a unit looks: receptive fields on any executed graph, exactly.

Two fields [METHODS 0.3]. The *exact* one holds every pixel that can change the unit, clipped to the image: an interval
for each row and column of the map, followed through the recorded operations. It is the bounding box of the support of
the gradient with all weights positive. The *convolutional* one leaves out gates (a global pool whose result only
multiplies, as in squeeze-and-excitation) and the statistics of normalisations, and goes on into the padding, so that
every cell has a field of the same size: the size, stride and start of Araujo et al., "Computing receptive fields of
convolutional neural networks", Distill 2019, with the union of the branches where they meet. Crops use the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from convscope.field_rules import RULES, Axis, Context, Field, Fields, along, merge, pointwise, settled_where_shared
from convscope.geometry import Grid, Spans
from convscope.graph import Graph, LayerNode, Node, is_nonlinearity, sources

_COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}

Kind = Literal["convolutional", "exact"]


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """The fields of all values of a graph.

    Args:
        bounds: layer values whose convolutional field is only known to lie inside the one given, and the operation
            that is to blame.
        exact_bounds: the same for the exact fields.
    """

    graph: Graph
    exact: dict[int, Field] = field(repr=False)
    convolutional: dict[int, Field] = field(repr=False)
    bounds: dict[int, str] = field(repr=False)
    exact_bounds: dict[int, str] = field(repr=False)

    def grid(self, layer: LayerNode, kind: Kind = "convolutional", at: str = "response") -> Grid:
        """Where the cells of a layer's map lie. A layer without positions has one cell."""
        value = layer.value(at)
        fields = self.exact if kind == "exact" else self.convolutional
        if value not in fields:
            raise ValueError(f"{layer.address} does not depend on the image")
        return _grid(fields[value], layer)[0]


def receptive_fields(graph: Graph) -> ReceptiveFields:
    """Follow the fields of every value through the graph; the input's pixels see themselves."""
    (exact, exact_bounds), (convolutional, bounds) = (_follow(graph, exact) for exact in (True, False))
    return ReceptiveFields(graph, exact, convolutional, bounds, exact_bounds)


def exact_fields(graph: Graph) -> dict[int, Field]:
    """The exact fields of all values that depend on the image; none of them is smaller than the truth."""
    return _follow(graph, True)[0]


def _follow(graph: Graph, exact: bool) -> tuple[dict[int, Field], dict[int, str]]:
    """The fields of all values, and which of them are bounds because of what."""
    fields: dict[int, Field] = {graph.input: _pixels(graph.shapes[graph.input])}
    bounds: dict[int, str] = {}
    context = Context(graph, fields, exact, [])
    for node in graph.nodes:
        if fields.keys().isdisjoint(sources(node)):
            continue
        results, known = _apply(node, context)
        blame = next((bounds[value] for value in sources(node) if value in bounds), None if known else node.op)
        for value, result in zip(node.outputs, results, strict=True):
            if result is not None:
                fields[value] = result
            if blame is not None:
                bounds[value] = blame
    for layer in graph.layers():
        for value in {layer.output, layer.response}:
            if value in fields and value not in bounds and not _grid(fields[value], layer)[1]:
                bounds[value] = _entangled(value, graph, fields)
    return fields, bounds


def _apply(node: Node, context: Context) -> tuple[Fields, bool]:
    """The fields of what `node` gives, and whether they are known, rather than boxes around what is not."""
    op = node.op.removesuffix("_") if node.op.removesuffix("_") in RULES else node.op
    context.loosened.clear()
    if op in RULES:
        result = RULES[op](node, context)
    elif _is_pointwise(node, context):
        result = pointwise(node, context)
    else:
        return [_everything(node, len(context.graph.shapes[value]), context) for value in node.outputs], False
    results = result if isinstance(result, list) else [result] * len(node.outputs)
    return results, not context.loosened


def _is_pointwise(node: Node, context: Context) -> bool:
    """Whether ATen itself says so, or it only copies."""
    return torch.Tag.pointwise in node.function.tags or is_nonlinearity(node) or node.op in _COPIES


def _everything(node: Node, dimensions: int, context: Context) -> Field | None:
    """All that any input of `node` sees, for every element of an output with so many dimensions."""
    inputs = [context.fields[value] for value in sources(node) if value in context.fields]
    return merge(along(field, lambda axis: axis.flattened(dimensions)) for field in inputs)


def _pixels(shape: tuple[int, ...]) -> Field:
    """The field of an image of the shape (n, c, h, w)."""
    rows = np.arange(shape[-2], dtype=np.int64).reshape(1, 1, -1, 1)
    columns = np.arange(shape[-1], dtype=np.int64).reshape(1, 1, 1, -1)
    return (
        Axis(rows, rows + 1, shape[-2], (0.0, 0.0, 1.0, 0.0)),
        Axis(columns, columns + 1, shape[-1], (0.0, 0.0, 0.0, 1.0)),
    )


# --- from what every element sees to rows and columns of a map -------------------------------------------------------


def _grid(field: Field, layer: LayerNode) -> tuple[Grid, bool]:
    """Where the cells of a layer's map lie, and whether all its units have just that field, rather than less."""
    images_and_channels = (0, layer.channel % len(field[0].shape))
    rows, columns = (
        axis.hull(images_and_channels).without(images_and_channels) for axis in settled_where_shared(field)
    )
    places = layer.shape[1:]
    if len(places) == 2:
        return _map(settled_where_shared((rows, columns)), places)
    known = rows.low.size == columns.low.size == 1
    # No map, as a row of tokens: each of them is given all that any one sees.
    one, other = (axis.collapse() for axis in (rows, columns))
    stride = 0.0 if places else float(columns.extent)
    return Grid(_spans(one, 1, float(rows.extent)), _spans(other, math.prod(places), stride)), known


def _map(field: Field, places: tuple[int, ...]) -> tuple[Grid, bool]:
    """The rows and columns of a map, and whether every cell sees all of its row's interval and its column's."""
    lines = field[0].hull([1]), field[1].hull([0])
    gone, blank = field[0].empty | field[1].empty, lines[0].empty | lines[1].empty
    known = not (gone ^ blank).any()
    for axis, line in zip(field, lines, strict=True):
        known &= bool(((axis.low == line.low) & (axis.high == line.high) | gone).all())
    rows, columns = (_spans(line, places[i], line.strides[i]) for i, line in enumerate(lines))
    return Grid(rows, columns), known


def _spans(axis: Axis, cells: int, stride: float) -> Spans:
    """The intervals of a row of cells; where they see nothing, empty ones at 0."""
    low, high = (np.broadcast_to(np.where(axis.empty, 0, ends).ravel(), cells).copy() for ends in (axis.low, axis.high))
    return Spans(low, high, axis.extent, stride)


def _entangled(value: int, graph: Graph, fields: dict[int, Field]) -> str:
    """The operation after which what a cell sees of the rows goes with its column, or the other way round."""
    node = graph.producers[value]
    for source in sources(node):
        if source in fields and _is_entangled(fields[source]):
            return _entangled(source, graph, fields)
    return node.op


def _is_entangled(field: Field) -> bool:
    rows, columns = field
    shared = [dim for dim in range(len(rows.shape)) if rows.shape[dim] > 1 < columns.shape[dim]]
    return any(rows.strides[dim] or columns.strides[dim] for dim in shared)
