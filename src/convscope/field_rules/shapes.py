"""Rules of operations that only move values: views, permutations, slices, padding."""

from __future__ import annotations

import math

import numpy as np

from convscope.field_rules.axes import Axis, Context, Field, along, listed, moved, remapped, rule, take
from convscope.geometry import Ints, Spans
from convscope.graph import Node, Ref


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "as_strided_", "flatten")
def _reshape(node: Node, context: Context) -> Field | None:
    """An axis stays where one dimension of the new shape holds all its steps through the elements in order."""
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]

    def reshape(axis: Axis) -> Axis:
        if axis.dimension is None:
            return axis
        step, count = axis.inner * math.prod(before[axis.dimension + 1 :]), len(axis.spans)
        for new in range(len(after)):
            behind = math.prod(after[new + 1 :])
            if count > 1 and step % behind == 0 and (behind * after[new]) % (step * count) == 0:
                return Axis(new, axis.spans, step // behind)
        return context.inside(axis)

    return along(context.folded_field(node.arguments["self"]), reshape)


@rule("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes")
def _permute(node: Node, context: Context) -> Field | None:
    ref = node.arguments["self"]
    count = len(context.shape(ref))
    order = list(range(count))
    if node.op == "permute":
        order = [d % count for d in node.arguments["dims"]]
    else:
        a, b = (node.arguments.get(name, default) % count for name, default in (("dim0", 0), ("dim1", -1)))
        order[a], order[b] = order[b], order[a]
    return moved(node, context, order.index)


@rule("expand", "broadcast_to")
def _expand(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    offset = len(after) - len(before)

    def mapping(dimension: int) -> int | None:
        return dimension + offset if before[dimension] == after[dimension + offset] else None

    return moved(node, context, mapping)


@rule("repeat")
def _repeat(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    offset = len(after) - len(before)

    def repeat(axis: Axis) -> Axis:
        if axis.dimension is None:
            return axis
        index = np.arange(after[axis.dimension + offset]) % before[axis.dimension]
        return Axis(axis.dimension + offset, take(axis.spans, index[:, None], axis.spans.stride, exact=True))

    return along(context.field(node.arguments["self"]), repeat)


def _pick(ref: Ref, context: Context, dimension: int, index: Ints, stride: float = 1.0) -> Field | None:
    """The field of some indices of one dimension."""

    def pick(axis: Axis) -> Axis:
        if axis.dimension != dimension:
            return axis
        axis = listed(axis, context.shape(ref))
        return Axis(dimension, take(axis.spans, index[:, None], axis.spans.stride * stride, exact=True))

    return along(context.folded_field(ref), pick)


@rule("slice")
def _slice(node: Node, context: Context) -> Field | None:
    ref, arguments = node.arguments["self"], node.arguments
    dimension = arguments["dim"] % len(context.shape(ref))
    index = np.arange(context.shape(ref)[dimension])[slice(arguments["start"], arguments["end"], arguments["step"])]
    return _pick(ref, context, dimension, index, arguments["step"])


@rule("select")
def _select(node: Node, context: Context) -> Field | None:
    ref = node.arguments["self"]
    dim = node.arguments["dim"] % len(context.shape(ref))
    field = _pick(ref, context, dim, np.array([node.arguments["index"] % context.shape(ref)[dim]]))
    return remapped(field, lambda dimension: None if dimension == dim else dimension - (dimension > dim))


@rule("flip")
def _flip(node: Node, context: Context) -> Field | None:
    shape = context.shape(node.arguments["self"])
    turned = {dimension % len(shape) for dimension in node.arguments["dims"]}

    def flip(axis: Axis) -> Axis:
        if axis.dimension not in turned:
            return axis
        spans = axis.spans
        return Axis(axis.dimension, Spans(spans.low[::-1], spans.high[::-1], spans.extent, -spans.stride))

    return along(context.field(node.arguments["self"]), flip)


@rule("roll")
def _roll(node: Node, context: Context) -> Field | None:
    count = len(context.shape(node.arguments["self"]))
    shifts = zip(node.arguments["dims"], node.arguments["shifts"], strict=bool(node.arguments["dims"]))
    by = {dimension % count: shift for dimension, shift in shifts}

    def roll(axis: Axis) -> Axis:
        if not by:  # over all elements in a row
            return context.inside(axis)
        if axis.dimension not in by:
            return axis
        low, high = (np.roll(ends, by[axis.dimension]) for ends in (axis.spans.low, axis.spans.high))
        return Axis(axis.dimension, Spans(low, high, axis.spans.extent, axis.spans.stride))

    return along(context.field(node.arguments["self"]), roll)


@rule("split", "split_with_sizes", "chunk", "unbind")
def _split(node: Node, context: Context) -> Field | None:
    """All parts get the field of the whole along the dimension that is cut; other dimensions are not touched."""
    ref = node.arguments["self"]
    dim = node.arguments["dim"] % len(context.shape(ref))
    moved = int(node.op == "unbind")

    def split(axis: Axis) -> Axis:
        if axis.dimension is None:
            return axis
        return (
            context.inside(axis) if axis.dimension == dim else axis.at(axis.dimension - moved * (axis.dimension > dim))
        )

    return along(context.folded_field(ref), split)


@rule("channel_shuffle")
def _channel_shuffle(node: Node, context: Context) -> Field | None:
    return along(context.folded_field(node.arguments["self"]), lambda a: context.inside(a) if a.dimension == 1 else a)


@rule("index", "index_select")
def _index(node: Node, context: Context) -> Field | None:
    """A choice of channels leaves the axes alone; any other choice is followed as a whole."""
    indices = node.arguments.get("indices", [None] * (node.arguments.get("dim") or 0) + [node.arguments.get("index")])
    chosen = [dimension for dimension, index in enumerate(indices) if index is not None]
    same = len(context.shape(node.arguments["self"])) == len(context.graph.shapes[node.outputs[0]])
    plain = len(chosen) == 1 and same and not any(index in context.fields for index in node.inputs[1:])

    def choose(axis: Axis) -> Axis:
        return axis if plain and axis.dimension not in chosen else context.inside(axis)

    return along(context.folded_field(node.arguments["self"]), choose)


@rule("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "reflection_pad1d", "replication_pad1d")
def _pad(node: Node, context: Context) -> Field | None:
    ref, pad = node.arguments["self"], node.arguments["pad" if "pad" in node.arguments else "padding"]
    count = len(context.shape(ref))

    def padded(axis: Axis) -> Axis:
        if axis.dimension is None or 2 * (count - 1 - axis.dimension) >= len(pad):
            return axis
        i = 2 * (count - 1 - axis.dimension)
        size = context.shape(ref)[axis.dimension]
        index = np.arange(-pad[i], size + pad[i + 1])
        if context.exact and node.op.startswith("reflection"):
            index = (size - 1) - abs((size - 1) - abs(index))
        elif context.exact and node.op.startswith("replication"):
            index = index.clip(0, size - 1)
        return Axis(axis.dimension, take(axis.spans, index[:, None], axis.spans.stride, context.exact))

    return along(context.field(ref), padded)
