"""Rules of operations that write into memory which other tensors share.

Where the memory of one tensor lies in that of the other is what the recorder noted: a `Region`.
"""

from __future__ import annotations

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
    permuted,
    picked,
    rule,
)
from convscope.field_rules.mixing import pointwise
from convscope.graph import Node, Ref, Region


@rule("copy_")
def _copy(node: Node, context: Context) -> Field | None:
    """What was there before is gone."""
    return pointwise(node, context, node.inputs[1:])


@rule("written_through")
def _written_through(node: Node, context: Context) -> Field | None:
    """A tensor of which a part was written through another one, or that is a part of one that was written."""
    before, written = (context.field(Ref(value)) for value in node.inputs)
    shape, region = context.graph.shapes[node.outputs[0]], node.arguments["region"]
    if region is None:
        return merge((before, along(written, lambda axis: context.inside(axis, len(shape)))))
    if node.arguments["inward"]:
        return along(written, lambda axis: _cut(axis, region, shape))
    part = context.graph.shapes[node.inputs[1]]
    return _placed(before, along(written, lambda axis: _aligned(axis, region)), _places(region, part), shape)


def _places(region: Region, part: Shape) -> list[slice]:
    """The indices of each dimension of the whole."""
    counts = (1 if dim is None else part[dim] for _, _, dim in region)
    return [slice(start, start + step * n, step) for (start, step, _), n in zip(region, counts, strict=True)]


def _aligned(axis: Axis, region: Region) -> Axis:
    """The axis of the part, with a dimension for each one of the whole."""
    kept = [dim for _, _, dim in region if dim is not None]
    gone = [dim for dim in range(len(axis.shape)) if dim not in kept]
    axis = permuted(axis, [*kept, *gone]).without(range(len(kept), len(kept) + len(gone)))
    new = [dim for dim, (_, _, inner) in enumerate(region) if inner is None]
    strides = iter(axis.strides)
    return axis.changed(
        lambda ends: np.expand_dims(ends, new), [0.0 if inner is None else next(strides) for _, _, inner in region]
    )


def _cut(axis: Axis, region: Region, shape: Shape) -> Axis:
    """The axis of the part of shape `shape`."""
    for dimension, place in enumerate(_places(region, shape)):
        axis = picked(axis, dimension, np.arange(place.start, place.stop, place.step), place.step)
    kept = [dimension for dimension, (_, _, inner) in enumerate(region) if inner is not None]
    gone = [dimension for dimension, (_, _, inner) in enumerate(region) if inner is None]
    axis = permuted(axis, [*kept, *gone]).without(range(len(kept), len(region)))
    inner = [dim for _, _, dim in region if dim is not None]
    new = [dim for dim in range(len(shape)) if dim not in inner]
    axis = permuted(axis, np.argsort(inner).tolist())
    strides = iter(axis.strides)
    return axis.changed(
        lambda ends: np.expand_dims(ends, new), [0.0 if dim in new else next(strides) for dim in range(len(shape))]
    )


def _placed(before: Field | None, written: Field | None, places: list[slice], shape: Shape) -> Field | None:
    """The field of a tensor of which the part at `places` was written; None is what is not from the image."""
    partial = {dim for dim, place in enumerate(places) if len(range(place.start, place.stop, place.step)) != shape[dim]}
    if not partial or before is written is None:
        return written
    rows, columns = before or written or (None, None)
    assert rows is not None
    assert columns is not None
    if before is None:
        # One axis is enough to say that an element sees nothing: the one that a dimension runs along.
        of_columns = {dim for dim in partial if columns.strides[dim] and not rows.strides[dim]}
        return (
            _overwritten(_blank(rows), rows, partial - of_columns, places, shape),
            _overwritten(_blank(columns), columns, of_columns, places, shape),
        )
    if written is None:
        return _overwritten(rows, _blank(rows), partial, places, shape), columns
    one, other = (_overwritten(*axes, partial, places, shape) for axes in zip(before, written, strict=True))
    return one, other


def _blank(axis: Axis) -> Axis:
    """An axis along which nothing is seen."""
    one = (1,) * len(axis.shape)
    return Axis(np.full(one, NOTHING_LOW), np.full(one, NOTHING_HIGH), axis.extent, (0.0,) * len(one))


def _overwritten(old: Axis, new: Axis, partial: set[int], places: list[slice], shape: Shape) -> Axis:
    """`old` with `new` at the places of the dimensions `partial`, and everywhere in the other ones."""
    if not partial:
        return new
    same = np.array_equal(old.low, new.low) and np.array_equal(old.high, new.high)
    if same and all(old.shape[dim] == 1 for dim in partial):
        return old
    wide = [
        shape[dim] if dim in partial else max(extents)
        for dim, extents in enumerate(zip(old.shape, new.shape, strict=True))
    ]
    at = tuple(place if dim in partial else slice(None) for dim, place in enumerate(places))
    low, high = (np.broadcast_to(ends, wide).copy() for ends in (old.low, old.high))
    low[at], high[at] = new.low, new.high
    strides = (a or b for a, b in zip(old.strides, new.strides, strict=True))
    return Axis(low, high, old.extent, tuple(strides))
