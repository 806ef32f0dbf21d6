"""Rules of operations that join values: point by point, end to end, by products, sums and norms."""

from __future__ import annotations

import functools
import math

import numpy as np

from convscope.field_rules.axes import (
    NOTHING_HIGH,
    NOTHING_LOW,
    Axis,
    Context,
    Field,
    along,
    listed,
    merge,
    moved,
    remapped,
    rule,
    union,
)
from convscope.geometry import Ints, Spans
from convscope.graph import Node, Ref


@rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm")
def _batch_norm(node: Node, context: Context) -> Field | None:
    field = context.folded_field(node.arguments["input"])
    if node.arguments.get("training") and context.exact:  # instance norm: every cell sees the statistics of all
        return along(field, Axis.collapse)
    return field


@rule("native_layer_norm", "native_group_norm")
def _statistics_norm(node: Node, context: Context) -> Field | None:
    field = context.folded_field(node.arguments["input"])
    if not context.exact:
        return field
    if node.op == "native_group_norm":
        return along(field, Axis.collapse)
    first = len(context.graph.shapes[node.outputs[0]]) - len(node.arguments["normalized_shape"])
    return remapped(field, lambda dimension: dimension if dimension < first else None)


def pointwise(node: Node, context: Context, inputs: tuple[int, ...] | None = None) -> Field | None:
    """Elementwise operations, with broadcasting: the union of what the operands see."""
    after = context.graph.shapes[node.outputs[0]]
    operands = []
    for value in dict.fromkeys(node.inputs if inputs is None else inputs):
        field, before = context.folded_field(Ref(value)), context.graph.shapes[value]
        offset = len(after) - len(before)

        def broadcast(axis: Axis, before: tuple[int, ...] = before, offset: int = offset) -> Axis:
            if axis.dimension is None:
                return axis
            grows = before[axis.dimension] == 1 != after[axis.dimension + offset]
            return axis.collapse() if grows else axis.at(axis.dimension + offset)

        operands.append(along(field, broadcast))
    if node.op.removesuffix("_") == "mul" and not context.exact:
        operands = _without_gates(operands)
    return merge(operands, context)


def _without_gates(operands: list[Field | None]) -> list[Field | None]:
    """The operands of a product without those that are the same at every position, if another one is not."""
    spatial = [f for f in operands if f is not None and any(axis.dimension is not None for axis in f)]
    return list(spatial) if spatial else operands


@rule("cat")
def _cat(node: Node, context: Context) -> Field | None:
    refs = [ref for ref in node.arguments["tensors"] if math.prod(context.shape(ref))]
    dimension = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])
    fields = [context.folded_field(ref) for ref in refs]
    present = [field for field in fields if field is not None]
    stacked = any(axis.dimension == dimension for field in present for axis in field)

    def joined(which: int) -> Axis:
        axes = [field[which] for field in present]
        layouts = {axis.dimension for axis in axes}
        if dimension in layouts and layouts <= {dimension, None}:
            parts = [(field and field[which], context.shape(ref)) for ref, field in zip(refs, fields, strict=True)]
            return _end_to_end(parts, dimension)
        merged = functools.reduce(functools.partial(union, context=context), axes)
        if stacked and any(axis.spans != merged.spans for axis in axes):
            context.loosened.append(merged)  # one table of columns has to do for all rows
        return merged

    return (joined(0), joined(1)) if present else None


def _end_to_end(parts: list[tuple[Axis | None, tuple[int, ...]]], dimension: int) -> Axis:
    """The axes of tensors of some shapes that are joined along `dimension`; None is one that is not from the image."""
    ends: list[tuple[Ints, Ints]] = []
    for axis, shape in parts:
        cells = shape[dimension]
        if axis is None:
            ends.append((np.full(cells, NOTHING_LOW), np.full(cells, NOTHING_HIGH)))
        else:
            spans = (listed(axis, shape) if axis.dimension == dimension else axis.collapse()).spans
            ends.append((spans.low.repeat(cells // len(spans)), spans.high.repeat(cells // len(spans))))
    low, high = (np.concatenate(each) for each in zip(*ends, strict=True))
    model = next(axis.spans for axis, _ in parts if axis is not None and axis.dimension == dimension)
    return Axis(dimension, Spans(low, high, model.extent, model.stride))


@rule("stack")
def _stack(node: Node, context: Context) -> Field | None:
    dim: int = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])

    def pushed(dimension: int) -> int:
        return dimension + (dimension >= dim)

    fields = (context.folded_field(ref) for ref in node.arguments["tensors"])
    return merge((remapped(field, pushed) for field in fields), context)


@rule("addmm", "mm", "bmm", "baddbmm", "linear")
def _matrix_product(node: Node, context: Context) -> Field | None:
    """Rows of the first factor and columns of the second stay; the dimension that is summed over is seen whole."""
    fields = []
    for name, summed in (("self", None), ("mat1", -1), ("batch1", -1), ("input", -1), ("mat2", -2), ("batch2", -2)):
        ref = node.arguments.get(name)
        field = context.folded_field(ref)
        if field is None or not isinstance(ref, Ref):
            continue
        if name == "self" and node.op in {"mm", "bmm"}:
            summed = -1
        gone = None if summed is None else len(context.shape(ref)) + summed

        def mapping(dimension: int, gone: int | None = gone) -> int | None:
            return None if dimension == gone else dimension

        fields.append(remapped(field, mapping))
    return merge(fields, context)


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "linalg_vector_norm", "norm")
def _reduction(node: Node, context: Context) -> Field | None:
    source: Ref = node.arguments["self"]
    field, before = context.folded_field(source), context.shape(source)
    other = context.folded_field(node.arguments.get("other"))
    if isinstance(node.arguments.get("other"), Ref):  # torch.max(a, b) is elementwise
        return pointwise(node, context) if field is not None or other is not None else None
    dims = node.arguments.get("dim")
    dims = list(range(len(before))) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    reduced = {d % len(before) for d in dims}
    keep = bool(node.arguments.get("keepdim"))

    def mapping(dimension: int) -> int | None:
        if dimension in reduced:
            return None
        return dimension if keep else dimension - sum(d < dimension for d in reduced)

    return remapped(field, mapping)


@rule("_softmax", "_log_softmax", "sort", "topk", "glu")
def _along_one_dimension(node: Node, context: Context) -> Field | None:
    dim = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])
    return moved(node, context, lambda dimension: None if dimension == dim else dimension)


@rule("cumsum", "cumprod", "logcumsumexp")
def _running(node: Node, context: Context) -> Field | None:
    dim = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])

    def running(axis: Axis) -> Axis:
        if axis.dimension != dim:
            return axis
        low, high = np.minimum.accumulate(axis.spans.low), np.maximum.accumulate(axis.spans.high)
        return Axis(dim, Spans(low, high, axis.spans.extent, axis.spans.stride))

    return along(context.field(node.arguments["self"]), running)


@rule("copy_")
def _copy(node: Node, context: Context) -> Field | None:
    """What was there before is gone."""
    return pointwise(node, context, node.inputs[1:])


@rule("written_through")
def _written_through(node: Node, context: Context) -> Field | None:
    """A tensor of which a part was written through another one: what either sees."""
    before, written = (context.graph.shapes[value] for value in node.inputs)

    def placed(axis: Axis) -> Axis:
        where = axis.dimension
        whole = len(before) == len(written) and where is not None and before[where] == written[where]
        return axis if whole else context.inside(axis)

    return merge((context.field(Ref(node.inputs[0])), along(context.field(Ref(node.inputs[1])), placed)), context)
