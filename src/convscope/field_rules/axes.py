"""How a field is followed along the two axes of the image, and the tools that rules are made of.

For each image axis every element of a tensor has an interval of pixels. They are kept as two arrays that broadcast
against the tensor: those of the rows of a map are of shape (1, 1, h, 1), and a dimension is 1 wherever all its indices
see the same. So a view, a slice or a sum of the tensor is the same view, slice or union of the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convscope.geometry import Ints
from convscope.graph import Graph, Node, Ref

# An element that sees nothing, so that the union with anything else is the other.
NOTHING_LOW, NOTHING_HIGH = 1 << 40, -(1 << 40)

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Axis:
    """What each element of a tensor sees along one image axis.

    Args:
        low: first pixel, as many dimensions as the tensor.
        high: pixel after the last one; not above `low` for an element that sees nothing.
        extent: pixels of the image along this axis.
        strides: for each dimension the pixels from one index to the next; 0 where it does not run along the axis.
    """

    low: Ints
    high: Ints
    extent: int
    strides: tuple[float, ...]

    @property
    def shape(self) -> Shape:
        """Of the intervals: the extent of each dimension in which they vary, elsewhere 1."""
        return self.low.shape

    @property
    def empty(self) -> np.ndarray:
        """Which elements see nothing along this axis, (`shape`)."""
        return self.high <= self.low

    def changed(self, change: Callable[[Ints], Ints], strides: Iterable[float]) -> Axis:
        """The same change to both ends."""
        return Axis(change(self.low), change(self.high), self.extent, tuple(strides))

    def hull(self, dims: Iterable[int]) -> Axis:
        """Every element sees what any index of the dimensions `dims` saw."""
        gone = tuple({dim % len(self.shape) for dim in dims})
        strides = tuple(0.0 if dim in gone else stride for dim, stride in enumerate(self.strides))
        low = self.low.min(gone, keepdims=True, initial=NOTHING_LOW)
        high = self.high.max(gone, keepdims=True, initial=NOTHING_HIGH)
        return Axis(low, high, self.extent, strides)

    def collapse(self) -> Axis:
        """One interval for all elements."""
        return self.hull(range(len(self.shape)))

    def flattened(self, dimensions: int) -> Axis:
        """One interval for all elements of a tensor with so many dimensions."""
        one = self.collapse()
        return one.changed(lambda ends: ends.reshape((1,) * dimensions), (0.0,) * dimensions)

    def without(self, dims: Iterable[int]) -> Axis:
        """The axis of the tensor without the dimensions `dims`, in which it does not vary."""
        gone = tuple(dims)
        kept = (stride for dim, stride in enumerate(self.strides) if dim not in gone)
        return self.changed(lambda ends: ends.squeeze(gone), kept)

    def widened(self, before: Shape, after: Shape) -> Axis:
        """The axis of a tensor that is broadcast from one shape to the other."""
        new = len(after) - len(before)
        strides = [0.0] * new
        strides += [0.0 if a != b else s for a, b, s in zip(before, after[new:], self.strides, strict=True)]
        return self.changed(lambda ends: ends.reshape((1,) * new + ends.shape), strides)


Field = tuple[Axis, Axis]  # rows, columns
Fields = list[Field | None]  # of an operation whose outputs see different things


@dataclass(frozen=True)
class Context:
    """What a rule knows: the graph, the fields so far, and which of the two fields is wanted.

    Whether the field of the operation at hand is only known to lie inside the one given is noted in `loosened`.
    `exact` follows every path and only real pixels. Otherwise the *convolutional* field is followed: gates and the
    statistics of normalisations are left out, and padding is taken for picture, so that all cells are alike.
    """

    graph: Graph
    fields: dict[int, Field]
    exact: bool
    loosened: list[Axis]

    def inside(self, axis: Axis, dimensions: int) -> Axis:
        """One interval for all elements where that is not the field, but only holds it; the caller is told."""
        if axis.low.size > 1:
            self.loosened.append(axis)
        return axis.flattened(dimensions)

    def shape(self, ref: Ref) -> Shape:
        """Of a value in the recorded pass."""
        return self.graph.shapes[ref.value]

    def field(self, ref: object) -> Field | None:
        """Of a value; None where it does not depend on the image."""
        return self.fields.get(ref.value) if isinstance(ref, Ref) else None


Rule = Callable[[Node, Context], Field | Fields | None]
RULES: dict[str, Rule] = {}


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Register a rule for some operations."""

    def register(function: Rule) -> Rule:
        for operation in operations:
            RULES[operation] = function
        return function

    return register


def along(field: Field | None, change: Callable[[Axis], Axis]) -> Field | None:
    """The field after the same change along both axes."""
    return None if field is None else (change(field[0]), change(field[1]))


# --- what is moved ---------------------------------------------------------------------------------------------------


def permuted(axis: Axis, order: Sequence[int]) -> Axis:
    """The axis of the tensor with its dimensions in another order."""
    return axis.changed(lambda ends: ends.transpose(order), (axis.strides[dim] for dim in order))


def picked(axis: Axis, dimension: int, index: Ints, factor: float = 1.0) -> Axis:
    """The axis of some indices of one dimension, `factor` indices apart."""
    strides = list(axis.strides)
    strides[dimension] *= factor
    return axis.changed(lambda ends: ends.take(index, dimension) if ends.shape[dimension] > 1 else ends, strides)


def reshaped(axis: Axis, before: Shape, after: Shape) -> Axis:
    """The axis of a tensor that is viewed with another shape."""
    if before == after:
        return axis
    wide, shape, strides = list(axis.shape), [], []
    for old, new in _factors(before, after):
        varies = any(axis.shape[dim] > 1 for dim in old)
        for dim in old if varies else ():
            wide[dim] = before[dim]
        shape += [after[dim] if varies else 1 for dim in new]
        strides += _strides(axis, before, after, old, new)
    result = axis.changed(lambda ends: np.broadcast_to(ends, wide).reshape(shape), strides)
    for dim, extent in enumerate(shape):
        if extent > 1 and all((ends == ends.take([0], dim)).all() for ends in (result.low, result.high)):
            result = picked(result, dim, np.zeros(1, np.int64), 0.0)
    return result


def _factors(before: Shape, after: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """The smallest runs of old dimensions, each with the run of new ones that holds the same elements."""
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        while (a := math.prod(before[d] for d in old)) != (b := math.prod(after[d] for d in new)):
            if a < b:
                old.append(i + len(old))
            else:
                new.append(j + len(new))
        i, j = i + len(old), j + len(new)
        yield old, new


def _strides(axis: Axis, before: Shape, after: Shape, old: list[int], new: list[int]) -> list[float]:
    """Of the new dimensions: from element to element as in the innermost old one that runs along the axis."""
    if len(old) == len(new) == 1:
        return [axis.strides[old[0]]]
    runs = [dim for dim in old if axis.strides[dim] and axis.shape[dim] > 1]
    if not runs:
        return [0.0] * len(new)
    step = axis.strides[runs[-1]] / math.prod(before[runs[-1] + 1 : old[-1] + 1])
    return [step * math.prod(after[dim + 1 : new[-1] + 1]) if after[dim] > 1 else 0.0 for dim in new]


# --- what is seen through windows ------------------------------------------------------------------------------------


def windows(outputs: int, size: int, stride: int, padding: int, dilation: int = 1) -> Ints:
    """(outputs, size) indices that sliding windows cover; those outside the input are padding."""
    return np.arange(outputs)[:, None] * stride - padding + np.arange(size)[None] * dilation


def gathered(
    axis: Axis, dimension: int, taps: Ints, exact: bool, missing: np.ndarray | None = None
) -> tuple[Ints, Ints]:
    """Both ends at `taps` (n, k) of one dimension, which becomes two; those outside are padding.

    Args:
        missing: further taps that see nothing.
    """
    count = axis.shape[dimension]
    inside = (taps >= 0) & (taps < count) & (True if missing is None else ~missing)
    index = np.clip(taps, 0, count - 1)
    low, high = axis.low.take(index, dimension), axis.high.take(index, dimension)
    behind = (1,) * (len(axis.shape) - dimension - 1)
    if exact or missing is not None or not axis.strides[dimension]:
        seen = inside.reshape(*taps.shape, *behind)
        return np.where(seen, low, NOTHING_LOW), np.where(seen, high, NOTHING_HIGH)
    shift = ((taps - index) * axis.strides[dimension]).reshape(*taps.shape, *behind)
    # Go on beyond the border as if the picture did.
    return low + np.floor(shift).astype(np.int64), high + np.ceil(shift).astype(np.int64)


def take(axis: Axis, dimension: int, taps: Ints, factor: float, exact: bool, missing: np.ndarray | None = None) -> Axis:
    """The union over each row of `taps` (n, k), indices of one dimension, `factor` indices from row to row."""
    if axis.shape[dimension] == 1 and not axis.strides[dimension]:  # all indices see the same
        return axis
    low, high = gathered(axis, dimension, taps, exact, missing)
    strides = list(axis.strides)
    strides[dimension] *= factor
    return Axis(low.min(dimension + 1), high.max(dimension + 1), axis.extent, tuple(strides))


# --- what is joined --------------------------------------------------------------------------------------------------


def settled(field: Field) -> Field:
    """The field in which an element that sees nothing along one axis sees nothing along the other either."""
    rows, columns = field
    gone = rows.empty | columns.empty
    if not gone.any():
        return field
    rows, columns = (
        Axis(np.where(gone, NOTHING_LOW, axis.low), np.where(gone, NOTHING_HIGH, axis.high), axis.extent, axis.strides)
        for axis in field
    )
    return rows, columns


def settled_where_shared(field: Field) -> Field:
    """The same, but only where it matters to a union along a dimension: where both axes vary in it."""
    shared = any(a > 1 < b for a, b in zip(field[0].shape, field[1].shape, strict=True))
    return settled(field) if shared else field


def _union(first: Axis, second: Axis) -> Axis:
    low, high = np.minimum(first.low, second.low), np.maximum(first.high, second.high)
    strides = (a or b for a, b in zip(first.strides, second.strides, strict=True))
    return Axis(low, high, first.extent, tuple(strides))


def merge(fields: Iterable[Field | None]) -> Field | None:
    """The union of the fields that are there, element by element."""
    result: Field | None = None
    for field in fields:
        if field is None or result is None:
            result = field or result
            continue
        if not all(np.array_equal(a.empty, b.empty) for a, b in zip(result, field, strict=True)):
            result, field = settled(result), settled(field)
        result = _union(result[0], field[0]), _union(result[1], field[1])
    return result
