"""How a field is followed along the two axes of the image, and the tools that rules are made of.

A field is followed along the two image axes apart. For each axis a tensor has one of its dimensions that runs along
it, with a table of intervals (`Spans`), one for each index; or no such dimension, and then one interval holds for
every cell. A rule says how the intervals and the dimension change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from convscope.geometry import Ints, Spans
from convscope.graph import Graph, Node, Ref

# A cell that sees nothing, so that the union with anything else is the other.
NOTHING_LOW, NOTHING_HIGH = 1 << 40, -(1 << 40)


@dataclass(frozen=True)
class Axis:
    """How a tensor lies along one image axis: the dimension that runs along it, if any, and its intervals.

    Where several dimensions were folded into one, as a linear layer does with (n, h, w, c), the interval of index i
    is ``spans[i // inner % len(spans)]``.
    """

    dimension: int | None
    spans: Spans
    inner: int = 1

    def collapse(self) -> Axis:
        """One interval for every cell: all that any cell saw."""
        low, high = self.spans.low.min(keepdims=True), self.spans.high.max(keepdims=True)
        return Axis(None, Spans(low, high, self.spans.extent, float(self.spans.extent)))

    def at(self, dimension: int | None) -> Axis:
        """The same intervals along another dimension; none means that it is gone."""
        return self.collapse() if dimension is None else Axis(dimension, self.spans, self.inner)


Field = tuple[Axis, Axis]  # rows, columns


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

    def inside(self, axis: Axis) -> Axis:
        """One interval for every cell where that is not the field, but only holds it; the caller is told."""
        if len(axis.spans) > 1:
            self.loosened.append(axis)
        return axis.collapse()

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Of a value in the recorded pass."""
        return self.graph.shapes[ref.value]

    def field(self, ref: object) -> Field | None:
        """Of a value, an interval for each index of the dimension; None where it does not depend on the image."""
        field = self.folded_field(ref)
        if field is None or not isinstance(ref, Ref):
            return None
        rows, columns = (listed(axis, self.shape(ref)) for axis in field)
        return rows, columns

    def folded_field(self, ref: object) -> Field | None:
        """Of a value, also where an axis is folded into a dimension together with others."""
        return self.fields.get(ref.value) if isinstance(ref, Ref) else None


def listed(axis: Axis, shape: tuple[int, ...]) -> Axis:
    """`axis` with an interval for each index, also where it is folded into a dimension together with others."""
    spans = axis.spans
    if axis.dimension is None or (axis.inner == 1 and len(spans) == shape[axis.dimension]):
        return axis
    index = np.arange(shape[axis.dimension]) // axis.inner % len(spans)
    return Axis(axis.dimension, Spans(spans.low[index], spans.high[index], spans.extent, spans.stride))


Rule = Callable[[Node, Context], Field | None]
RULES: dict[str, Rule] = {}


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Register a rule for some operations."""

    def register(function: Rule) -> Rule:
        for operation in operations:
            RULES[operation] = function
        return function

    return register


def take(spans: Spans, taps: Ints, stride: float, exact: bool) -> Spans:
    """The union over each row of `taps` (n, k), indices of cells; those outside are padding."""
    count = len(spans)
    inside = (taps >= 0) & (taps < count)
    index = np.clip(taps, 0, count - 1)
    low, high = spans.low[index], spans.high[index]
    if exact:
        low, high = np.where(inside, low, NOTHING_LOW), np.where(inside, high, NOTHING_HIGH)
    else:  # go on beyond the border as if the picture did
        shift = (taps - index) * spans.stride
        low, high = low + np.floor(shift).astype(np.int64), high + np.ceil(shift).astype(np.int64)
    return Spans(low.min(1), high.max(1), spans.extent, stride)


def union(first: Axis, second: Axis, context: Context) -> Axis:
    """What either sees, cell by cell."""
    if first.dimension is None:
        first, second = second, first
    layouts = [(axis.dimension, axis.inner, len(axis.spans)) for axis in (first, second)]
    if second.dimension is not None and layouts[0] != layouts[1]:
        first, second = context.inside(first), context.inside(second)
    a, b = first.spans, second.spans
    if ((a.high <= a.low) != (b.high <= b.low)).any():
        # Where one sees nothing along this axis it sees nothing along the other, which is followed apart.
        context.loosened.append(first)
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return Axis(first.dimension, Spans(low, high, a.extent, a.stride), first.inner)


def merge(fields: Iterable[Field | None], context: Context) -> Field | None:
    """The union of the fields that are there."""
    result: Field | None = None
    for field in fields:
        if field is not None:
            pairs = zip(result, field, strict=True) if result is not None else ()
            rows, columns = [union(one, other, context) for one, other in pairs] or field
            result = rows, columns
    return result


def along(field: Field | None, change: Callable[[Axis], Axis]) -> Field | None:
    """The field after the same change along both axes."""
    return None if field is None else (change(field[0]), change(field[1]))


def moved(node: Node, context: Context, mapping: Callable[[int], int | None]) -> Field | None:
    """The field of `self` where each dimension becomes another one, or is seen whole by every cell."""
    return remapped(context.folded_field(node.arguments["self"]), mapping)


def remapped(field: Field | None, mapping: Callable[[int], int | None]) -> Field | None:
    """The field where each dimension becomes another one, or is seen whole by every cell."""
    return along(field, lambda axis: axis if axis.dimension is None else axis.at(mapping(axis.dimension)))


def windows(outputs: int, size: int, stride: int, padding: int, dilation: int = 1) -> Ints:
    """(outputs, size) indices that sliding windows cover; those outside the input are padding."""
    return np.arange(outputs)[:, None] * stride - padding + np.arange(size)[None] * dilation
