"""Rules of operations that only move values: views, permutations, slices, padding."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from convscope.field_rules.axes import (
    Axis,
    Context,
    Field,
    Fields,
    along,
    permuted,
    picked,
    reshaped,
    rule,
    take,
)
from convscope.graph import Graph, Node, Ref


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "flatten")
def _reshape(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    if not math.prod(before):
        return None
    return along(context.field(node.arguments["self"]), lambda axis: reshaped(axis, before, after))


@rule("as_strided_")
def _restride(node: Node, context: Context) -> Field | None:
    """PyTorch does this to the result of a global pool, which stays what it is."""
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    same = before == after and math.prod(after) == math.prod(after[:2])
    return along(context.field(node.arguments["self"]), lambda axis: axis if same else context.inside(axis, len(after)))


@rule("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes")
def _permute(node: Node, context: Context) -> Field | None:
    count = len(context.shape(node.arguments["self"]))
    order = list(range(count))
    if node.op == "permute":
        order = [d % count for d in node.arguments["dims"]]
    elif count > 1:
        a, b = (node.arguments.get(name, default) % count for name, default in (("dim0", 0), ("dim1", -1)))
        order[a], order[b] = order[b], order[a]
    return along(context.field(node.arguments["self"]), lambda axis: permuted(axis, order))


@rule("expand", "broadcast_to")
def _expand(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    return along(context.field(node.arguments["self"]), lambda axis: axis.widened(before, after))


@rule("repeat")
def _repeat(node: Node, context: Context) -> Field | None:
    before, times = context.shape(node.arguments["self"]), node.arguments["repeats"]
    lead = (1,) * (len(times) - len(before))

    def repeat(axis: Axis) -> Axis:
        axis = axis.widened(before, lead + before)
        tiles = [count if extent > 1 else 1 for count, extent in zip(times, axis.shape, strict=True)]
        strides = (
            stride if count == 1 or extent > 1 else 0.0
            for stride, count, extent in zip(axis.strides, times, axis.shape, strict=True)
        )
        return axis.changed(lambda ends: np.tile(ends, tiles), strides)

    return along(context.field(node.arguments["self"]), repeat)


@rule("slice")
def _slice(node: Node, context: Context) -> Field | None:
    ref, arguments = node.arguments["self"], node.arguments
    dimension = arguments["dim"] % len(context.shape(ref))
    index = np.arange(context.shape(ref)[dimension])[slice(arguments["start"], arguments["end"], arguments["step"])]
    return along(context.field(ref), lambda axis: picked(axis, dimension, index, arguments["step"]))


@rule("select")
def _select(node: Node, context: Context) -> Field | None:
    ref, dim = node.arguments["self"], node.arguments["dim"] % len(context.shape(node.arguments["self"]))
    index = np.array([node.arguments["index"] % context.shape(ref)[dim]])
    return along(context.field(ref), lambda axis: picked(axis, dim, index).without([dim]))


@rule("split", "split_with_sizes", "chunk", "unbind", "unsafe_split")
def _split(node: Node, context: Context) -> Fields | None:
    """Each part sees what it was cut out of."""
    ref = node.arguments["self"]
    dim = node.arguments["dim"] % len(context.shape(ref))
    field, parts, start = context.field(ref), [], 0
    for value in node.outputs:
        cells = 1 if node.op == "unbind" else context.graph.shapes[value][dim]
        index = np.arange(start, start + cells)
        start += cells
        part = along(field, lambda axis, index=index: picked(axis, dim, index))  # type: ignore[misc]
        parts.append(along(part, lambda axis: axis.without([dim])) if node.op == "unbind" else part)
    return parts


@rule("flip")
def _flip(node: Node, context: Context) -> Field | None:
    count = len(context.shape(node.arguments["self"]))
    turned = {dimension % count for dimension in node.arguments["dims"]}

    def flip(axis: Axis) -> Axis:
        strides = (-stride if dim in turned else stride for dim, stride in enumerate(axis.strides))
        return axis.changed(lambda ends: np.flip(ends, tuple(turned)), strides)

    return along(context.field(node.arguments["self"]), flip)


@rule("roll")
def _roll(node: Node, context: Context) -> Field | None:
    shape = context.shape(node.arguments["self"])
    dims, shifts = node.arguments["dims"], node.arguments["shifts"]

    def roll(axis: Axis) -> Axis:
        if dims:
            return axis.changed(lambda ends: np.roll(ends, shifts, dims), axis.strides)
        flat = (math.prod(shape),)  # over all elements in a row
        row = reshaped(axis, shape, flat)
        return reshaped(row.changed(lambda ends: np.roll(ends, shifts), row.strides), flat, shape)

    return along(context.field(node.arguments["self"]), roll)


@rule("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(node: Node, context: Context) -> Field | None:
    shape, groups = context.shape(node.arguments["self"]), node.arguments["groups"]
    order = np.arange(shape[1]).reshape(groups, -1).T.ravel()
    return along(context.field(node.arguments["self"]), lambda axis: picked(axis, 1, order))


@rule("index", "index_select")
def _index(node: Node, context: Context) -> Field | None:
    """A choice by indices that are known; by any other ones, the dimensions that they choose from are seen whole."""
    ref, given = node.arguments["self"], node.arguments.get("indices")
    if given is None:
        given = [None] * (node.arguments["dim"] % len(context.shape(ref))) + [node.arguments["index"]]
    chosen = [dimension for dimension, index in enumerate(given) if index is not None]
    indices = {dimension: _constant(given[dimension], context.graph) for dimension in chosen}
    known = {dimension: index.cpu().numpy() for dimension, index in indices.items() if index is not None}
    before, after = context.shape(ref), context.graph.shapes[node.outputs[0]]
    alone = chosen[0] if len(chosen) == 1 and len(after) == len(before) else None

    def choose(axis: Axis) -> Axis:
        if alone in known and known[alone].ndim == 1:
            return picked(axis, alone, np.arange(before[alone])[known[alone]])
        if len(known) == len(chosen):
            wide = [extent if dim in chosen else 1 for dim, extent in enumerate(before)]
            at = tuple(known.get(dim, slice(None)) for dim in range(len(before)))
            return axis.changed(lambda ends: (ends + np.zeros(wide, np.int64))[at], (0.0,) * len(after))
        if alone is None:
            return context.inside(axis, len(after))
        if axis.shape[alone] > 1:
            context.loosened.append(axis)
        return axis.hull([alone])

    return along(context.field(ref), choose)


def _constant(ref: Ref, graph: Graph) -> Tensor | None:
    """What a value is, if the network holds it and only copied it."""
    while ref.value not in graph.constants and ref.value in graph.producers:
        node = graph.producers[ref.value]
        if node.op not in {"lift_fresh", "_to_copy", "clone", "detach", "alias"}:
            return None
        ref = Ref(node.inputs[0])
    return graph.constants.get(ref.value)


@rule("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "reflection_pad1d", "replication_pad1d")
def _pad(node: Node, context: Context) -> Field | None:
    ref, pad = node.arguments["self"], node.arguments["pad" if "pad" in node.arguments else "padding"]
    shape = context.shape(ref)

    def padded(axis: Axis) -> Axis:
        for i in range(0, len(pad), 2):
            dimension = len(shape) - 1 - i // 2
            size = shape[dimension]
            index = np.arange(-pad[i], size + pad[i + 1])
            if context.exact and node.op.startswith("reflection"):
                index = (size - 1) - abs((size - 1) - abs(index))
            elif context.exact and node.op.startswith("replication"):
                index = index.clip(0, size - 1)
            if pad[i] or pad[i + 1]:
                axis = take(axis, dimension, index[:, None], 1.0, context.exact)
        return axis

    return along(context.field(ref), padded)
