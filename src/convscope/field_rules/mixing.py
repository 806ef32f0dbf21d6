"""Rules of operations that join values: point by point, end to end, by products, sums and norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from convscope.field_rules.axes import (
    NOTHING_HIGH,
    NOTHING_LOW,
    Axis,
    Context,
    Field,
    Shape,
    along,
    merge,
    rule,
    settled_where_shared,
)
from convscope.geometry import Ints
from convscope.graph import Node, Ref


@rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm")
def _batch_norm(node: Node, context: Context) -> Field | None:
    field = context.field(node.arguments["input"])
    if node.arguments.get("training") and context.exact:  # instance norm: every cell sees the statistics of its map
        return _seen_whole(field, range(2, len(context.shape(node.arguments["input"]))))
    return field


@rule("native_layer_norm", "native_group_norm")
def _statistics_norm(node: Node, context: Context) -> Field | None:
    field = context.field(node.arguments["input"])
    if not context.exact:
        return field
    count = len(context.shape(node.arguments["input"]))
    first = 1 if node.op == "native_group_norm" else count - len(node.arguments["normalized_shape"])
    return _seen_whole(field, range(first, count))


def _seen_whole(field: Field | None, dims: Iterable[int]) -> Field | None:
    """The field where every element sees what all indices of `dims` saw."""
    if field is None:
        return None
    dims = tuple(dims)
    return along(settled_where_shared(field), lambda axis: axis.hull(dims))


def pointwise(node: Node, context: Context, inputs: tuple[int, ...] | None = None) -> Field | None:
    """Elementwise operations, with broadcasting: the union of what the operands see."""
    shapes, after = context.graph.shapes, context.graph.shapes[node.outputs[0]]
    operands = []
    for value in dict.fromkeys(node.inputs if inputs is None else inputs):
        before = shapes[value]
        operands.append(along(context.field(Ref(value)), lambda axis, before=before: axis.widened(before, after)))  # type: ignore[misc]
    return merge(operands if context.exact else _without_gates(node.op, operands))


def _without_gates(op: str, operands: list[Field | None]) -> list[Field | None]:
    """The operands without the factors (and divisors) that are the same at every position, if another one is not."""
    first = {"mul": 0, "mul_": 0, "div": 1, "div_": 1}.get(op)
    if first is None or not any(_has_positions(field) for field in operands[: first or None]):
        return operands
    return [field for i, field in enumerate(operands) if i < first or _has_positions(field)]


def _has_positions(field: Field | None) -> bool:
    return field is not None and any(any(axis.strides) for axis in field)


@rule("cat")
def _cat(node: Node, context: Context) -> Field | None:
    refs = [ref for ref in node.arguments["tensors"] if math.prod(context.shape(ref))]
    dimension = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])
    return _end_to_end([context.field(ref) for ref in refs], [context.shape(ref) for ref in refs], dimension)


@rule("stack")
def _stack(node: Node, context: Context) -> Field | None:
    refs = node.arguments["tensors"]
    dim: int = node.arguments["dim"] % len(context.graph.shapes[node.outputs[0]])

    def pushed(axis: Axis) -> Axis:
        strides = (*axis.strides[:dim], 0.0, *axis.strides[dim:])
        return axis.changed(lambda ends: np.expand_dims(ends, dim), strides)

    shapes = [(*shape[:dim], 1, *shape[dim:]) for shape in map(context.shape, refs)]
    return _end_to_end([along(context.field(ref), pushed) for ref in refs], shapes, dim)


def _end_to_end(fields: Sequence[Field | None], shapes: Sequence[Shape], dimension: int) -> Field | None:
    """The field of tensors of some shapes that are joined along `dimension`; None is not from the image."""
    present = [field for field in fields if field is not None]
    if not present:
        return None
    # One axis is enough to say that an element sees nothing: the one that the dimension runs along.
    blank = int(any(columns.strides[dimension] for _, columns in present))
    rows, columns = (
        _joined([field and field[which] for field in fields], shapes, dimension, which == blank) for which in (0, 1)
    )
    return rows, columns


def _joined(axes: Sequence[Axis | None], shapes: Sequence[Shape], dimension: int, blank: bool) -> Axis:
    present = [axis for axis in axes if axis is not None]
    model = present[0]
    if all(axis.shape[dimension] == 1 and not axis.strides[dimension] for axis in present):
        same = all(np.array_equal(a.low, model.low) and np.array_equal(a.high, model.high) for a in present)
        if same and not (blank and len(present) < len(axes)):
            return model
    others = np.broadcast_shapes(*((*axis.shape[:dimension], 1, *axis.shape[dimension + 1 :]) for axis in present))
    ends: tuple[list[Ints], list[Ints]] = ([], [])
    for axis, shape in zip(axes, shapes, strict=True):
        wide = (*others[:dimension], shape[dimension], *others[dimension + 1 :])
        low, high = (
            (model.low.take([0], dimension), model.high.take([0], dimension)) if axis is None else (axis.low, axis.high)
        )
        if axis is None and blank:
            low, high = np.array(NOTHING_LOW), np.array(NOTHING_HIGH)
        ends[0].append(np.broadcast_to(low, wide))
        ends[1].append(np.broadcast_to(high, wide))
    strides = tuple(next(filter(None, each), 0.0) for each in zip(*(axis.strides for axis in present), strict=True))
    return Axis(np.concatenate(ends[0], dimension), np.concatenate(ends[1], dimension), model.extent, strides)


@rule("addmm", "mm", "bmm", "baddbmm", "linear")
def _matrix_product(node: Node, context: Context) -> Field | None:
    """Rows of the first factor and columns of the second stay; the dimension that is summed over is seen whole."""
    after = context.graph.shapes[node.outputs[0]]
    arguments, fields = node.arguments, []
    first = next(name for name in ("mat1", "batch1", "input", "self") if name in arguments)
    for name, ref in arguments.items():
        field = context.field(ref)
        if field is None:
            continue
        if name == first:
            field = _seen_whole(field, [-1])
        elif name in {"mat2", "batch2"}:
            field = _seen_whole(field, [-2])
        elif node.op == "linear" and name == "weight":
            field = along(field, lambda axis: context.inside(axis, len(axis.shape)))
        fields.append(_wide(field, context.shape(ref), after))
    return merge(fields)


def _wide(field: Field | None, before: Shape, after: Shape) -> Field | None:
    """The field, whose last two dimensions may be those of another matrix, as one of the shape `after`."""
    new = (1,) * (len(after) - len(before))
    return along(field, lambda axis: axis.changed(lambda e: e.reshape(new + e.shape), (0.0,) * len(new) + axis.strides))


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
      "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math")  # fmt: skip
def _attention(node: Node, context: Context) -> Field | None:
    """Every query sees itself, and all keys and values."""
    fields = [_seen_whole(context.field(node.arguments["query"]), [-1])]
    fields += [
        _seen_whole(context.field(node.arguments[name]), dims) for name, dims in (("key", [-1, -2]), ("value", [-2]))
    ]
    return merge(fields)


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "linalg_vector_norm", "norm",
      "var_mean", "std_mean")  # fmt: skip
def _reduction(node: Node, context: Context) -> Field | None:
    if isinstance(node.arguments.get("other"), Ref):  # torch.max(a, b) is elementwise
        return pointwise(node, context)
    before, dims = context.shape(node.arguments["self"]), node.arguments.get("dim")
    dims = list(range(len(before))) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    reduced = [dim % len(before) for dim in dims]
    field = _seen_whole(context.field(node.arguments["self"]), reduced)
    return field if node.arguments.get("keepdim") else along(field, lambda axis: axis.without(reduced))


@rule("_softmax", "_log_softmax", "sort", "topk", "glu", "_fft_r2c", "_fft_c2c", "_fft_c2r")
def _along_some_dimensions(node: Node, context: Context) -> Field | None:
    dims = node.arguments["dim"]
    return _seen_whole(context.field(node.arguments["self"]), [dims] if isinstance(dims, int) else dims)


@rule("cumsum", "cumprod", "logcumsumexp")
def _running(node: Node, context: Context) -> Field | None:
    dim = node.arguments["dim"]

    def running(axis: Axis) -> Axis:
        low, high = np.minimum.accumulate(axis.low, dim), np.maximum.accumulate(axis.high, dim)
        return Axis(low, high, axis.extent, axis.strides)

    field = context.field(node.arguments["self"])
    return along(None if field is None else settled_where_shared(field), running)
