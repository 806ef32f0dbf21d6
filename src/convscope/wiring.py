"""Who feeds whom: for every layer the units from which each of its input channels comes.

Followed through what keeps channels apart: norms, non-linearities, pools, resampling, and everything that only moves
numbers, which is replayed on numbers that stand for sources. Where values add up, so do their sources; where a gate
multiplies, those of the map stay. What mixes channels and is no layer (a softmax, a product of two values, local
response normalisation) ends the way, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from convscope.constants import call, constant
from convscope.graph import Graph, LayerNode, Node, Ref, is_nonlinearity, sources
from convscope.receptive_field import ReceptiveFields
from convscope.source_sets import Marks, Source, SourceSets

IMAGE = -1  # in place of a layer: a channel of the network's input

_COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}
_MOVES = {
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "index",
    "index_select", "repeat", "roll", "flip", "channel_shuffle", "native_channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "stack", "im2col", "cat", "reshape", "_unsafe_view", "split", "split_with_sizes", "chunk",
}  # fmt: skip
_NORMS = {
    "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm",
    "native_layer_norm", "native_group_norm",
}  # fmt: skip
_REDUCTIONS = {
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "var_mean", "std_mean",
    "linalg_vector_norm", "norm", "cumsum", "cumprod",
}  # fmt: skip
_INPUTS = {"convolution": "input", "addmm": "mat1", "mm": "self", "linear": "input"}


@dataclass(frozen=True, eq=False)
class Wires:
    """What the input channels of a layer carry.

    Args:
        channels: of each input channel, or input feature of a linear layer, the number of its set, (c,).
        sets: each the sources in the order of layers and units, or the operation beyond which they are not known.
    """

    layer: LayerNode
    channels: Marks
    sets: tuple[tuple[Source, ...] | str, ...] = field(repr=False)

    def sources(self, channel: int) -> tuple[Source, ...]:
        """The units, or channels of the image, that an input channel comes from; none where that is not known."""
        found = self.sets[self.channels[channel]]
        return () if isinstance(found, str) else found

    def stopped(self, channel: int) -> str | None:
        """The operation that mixed channels on the way to an input channel, if one did."""
        found = self.sets[self.channels[channel]]
        return found if isinstance(found, str) else None


def wiring(graph: Graph, fields: ReceptiveFields) -> tuple[Wires, ...]:
    """The wires of every layer, in the order of `graph.layers()`.

    Args:
        fields: of the graph; they say which factor is a gate, and which dimensions are positions.
    """
    return _Follower(graph, fields).wires()


class _Follower:
    """Goes through the operations once; `marks` are those of the values so far."""

    def __init__(self, graph: Graph, fields: ReceptiveFields) -> None:
        self.graph, self.fields = graph, fields.convolutional
        self.sets = SourceSets()
        channels = graph.shapes[graph.input][1]
        self.marks: dict[int, Marks] = {graph.input: _along(self.sets.units(IMAGE, channels), 1, 4)}
        self.layers = {layer.node: index for index, layer in enumerate(graph.layers())}
        for node in graph.nodes:
            if node.index in self.layers:
                self._layer(node)
            elif any(value in self.marks for value in sources(node)):
                results = self._followed(node)
                self.marks |= dict(zip(node.outputs, map(_compressed, results), strict=True))

    def wires(self) -> tuple[Wires, ...]:
        """The result."""
        rows = [self._row(self.graph.nodes[layer.node]) for layer in self.graph.layers()]
        sets = tuple(each if isinstance(each, str) else tuple(sorted(each)) for each in self.sets.known)
        return tuple(Wires(layer, row, sets) for layer, row in zip(self.graph.layers(), rows, strict=True))

    def _row(self, node: Node) -> Marks:
        """The marks of the input channels of a layer, at all positions together."""
        value = node.arguments[_INPUTS[node.op]].value
        channel = 1 if node.op == "convolution" else len(self.graph.shapes[value]) - 1
        marks = self._united(self.marks[value], [dim for dim in range(self.marks[value].ndim) if dim != channel])
        return np.broadcast_to(marks.reshape(-1), self.graph.shapes[value][channel]).copy()

    def _layer(self, node: Node) -> None:
        index = self.layers[node.index]
        layer, dimensions = self.graph.layers()[index], len(self.graph.shapes[node.outputs[0]])
        self.marks[node.outputs[0]] = _along(self.sets.units(index, layer.units), layer.channel, dimensions)

    def _followed(self, node: Node) -> list[Marks]:
        """The marks of what a node gives."""
        op = node.op.removesuffix("_")
        if op == "written_through" and node.arguments["region"] is not None:
            return [self._written(node)]
        if op == "copy":
            return [self._pointwise(node, node.inputs[1:])]
        if node.op in _COPIES or (node.function is not None and _is_pointwise(node)):
            return [self._pointwise(node, self._without_gates(node))]
        if op in _NORMS or node.op in _NORMS:
            return [self._first(node) for _ in node.outputs]
        if (dims := self._gathered(node, op)) is not None:
            return self._reduced(node, dims)
        if op == "as_strided":
            same = self.graph.shapes[node.inputs[0]] == self.graph.shapes[node.outputs[0]]
            return [self._first(node)] if same else self._stopped(node)
        if node.function is not None and (node.function.is_view or op in _MOVES or node.op in _MOVES):
            moved = self._moved(node)
            if moved is not None:
                return moved
        return self._stopped(node)

    def _first(self, node: Node) -> Marks:
        return self.marks[next(value for value in sources(node) if value in self.marks)]

    def _stopped(self, node: Node) -> list[Marks]:
        """Nothing is known beyond this operation; what stopped earlier keeps its reason."""
        values = [value for value in sources(node) if value in self.marks]
        numbers = sorted({int(each) for value in values for each in np.unique(self.marks[value])})
        earlier = next((each for each in numbers if isinstance(self.sets.known[each], str)), None)
        number = self.sets.number(node.op) if earlier is None else earlier
        return [np.full((1,) * len(self.graph.shapes[value]), number, np.int64) for value in node.outputs]

    def _pointwise(self, node: Node, values: Iterable[int]) -> Marks:
        """The union of all operands, element by element."""
        dimensions = len(self.graph.shapes[node.outputs[0]])
        result = np.zeros((1,) * dimensions, np.int64)
        for value in dict.fromkeys(values):
            if value in self.marks:
                marks = self.marks[value]
                result = self._union(result, marks.reshape((1,) * (dimensions - marks.ndim) + marks.shape))
        return result

    def _union(self, one: Marks, other: Marks) -> Marks:
        if not one.any():
            return other
        return self.sets.joined(np.stack(np.broadcast_arrays(one, other), -1))

    def _without_gates(self, node: Node) -> tuple[int, ...]:
        """The operands without the factors and divisors that are the same at every position, if another one is not."""
        values = sources(node)
        if node.op.removesuffix("_") not in {"mul", "div"}:
            return values
        placed = [value for value in values if self._positions(value)]
        return tuple(placed) or values

    def _positions(self, value: int) -> list[int]:
        """The dimensions that run along the image."""
        if value not in self.fields:
            return []
        rows, columns = self.fields[value]
        return [dim for dim in range(len(rows.strides)) if rows.strides[dim] or columns.strides[dim]]

    def _gathered(self, node: Node, op: str) -> list[int] | None:
        """The dimensions along which a pool, a resampling or a reduction puts values together; None for others."""
        before = len(self.graph.shapes[node.inputs[0]])
        if "pool" in op:
            kernel = node.arguments.get("kernel_size")
            count = 3 if "3d" in op else 1 if "1d" in op else 2
            sizes = list(kernel) * count if kernel is not None and len(kernel) == 1 else kernel or [2] * count
            return [before - count + i for i in range(count) if sizes[i] > 1]
        if op.lstrip("_").startswith("upsample"):
            return [before - 2, before - 1]
        if op in _REDUCTIONS and not isinstance(node.arguments.get("other"), Ref):
            dims = node.arguments.get("dim")
            return [d % before for d in ([dims] if isinstance(dims, int) else dims or range(before))]
        return None

    def _reduced(self, node: Node, dims: list[int]) -> list[Marks]:
        """Over positions sources unite; over anything in which they differ else, they are mixed."""
        value = node.inputs[0]
        marks, places = self.marks[value], self._positions(value)
        if any(marks.shape[dim] > 1 and dim not in places for dim in dims):
            return self._stopped(node)
        united = self._united(marks, dims)
        if len(self.graph.shapes[node.outputs[0]]) < united.ndim:
            united = united.squeeze(tuple(dims))
        return [united] * len(node.outputs)

    def _united(self, marks: Marks, dims: Iterable[int]) -> Marks:
        """The union over some dimensions, which stay with 1."""
        varying = [dim for dim in dims if marks.shape[dim] > 1]
        if not varying:
            return marks
        kept = [dim for dim in range(marks.ndim) if dim not in varying]
        shape = [1 if dim in varying else extent for dim, extent in enumerate(marks.shape)]
        rows = marks.transpose([*kept, *varying]).reshape(*(marks.shape[dim] for dim in kept), -1)
        return self.sets.joined(rows).reshape(shape)

    def _moved(self, node: Node) -> list[Marks] | None:
        """What an operation makes of numbers that stand for sets; None where it goes by numbers of the image."""
        if node.op == "cat":
            return [self._cat(node)]
        chooses = node.op in {"index", "index_select"}

        def stand(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            if leaf.value in self.marks:
                return self._wide(leaf.value)
            if chooses:
                return constant(self.graph, leaf.value)
            return torch.zeros(self.graph.shapes[leaf.value], dtype=torch.float64)

        if chooses and not self._chooses_the_same(node):
            return None
        arguments = tree_map(stand, node.arguments)
        result = call(node, arguments)
        results = list(result) if isinstance(result, tuple | list) else [result]
        return [each.numpy().astype(np.int64) for each in results]

    def _chooses_the_same(self, node: Node) -> bool:
        """Whether an index is the same for every image, and can be had."""
        return not any(value in self.marks or constant(self.graph, value) is None for value in node.inputs[1:])

    def _wide(self, value: int) -> Tensor:
        """The marks of all elements, as floating-point numbers: not every operation takes whole ones."""
        marks = torch.from_numpy(self.marks[value]).double()
        return marks.expand(self.graph.shapes[value]).clone()

    def _cat(self, node: Node) -> Marks:
        dim = node.arguments["dim"] % len(self.graph.shapes[node.outputs[0]])
        values = [ref.value for ref in node.arguments["tensors"] if math.prod(self.graph.shapes[ref.value])]
        blank = np.zeros((1,) * len(self.graph.shapes[node.outputs[0]]), np.int64)
        marks = [self.marks.get(value, blank) for value in values]
        wide = np.broadcast_shapes(*((*each.shape[:dim], 1, *each.shape[dim + 1 :]) for each in marks))
        parts = [
            np.broadcast_to(each, (*wide[:dim], self.graph.shapes[value][dim], *wide[dim + 1 :]))
            for value, each in zip(values, marks, strict=True)
        ]
        return np.concatenate(parts, dim)

    def _written(self, node: Node) -> Marks:
        """A tensor of which a part was written through another one, or that is a part of one that was written."""
        before, written = (self._whole(value) for value in node.inputs)
        region, part = node.arguments["region"], node.outputs[0] if node.arguments["inward"] else node.inputs[1]
        shape = self.graph.shapes[part]
        counts = [1 if dim is None else shape[dim] for _, _, dim in region]
        places = tuple(slice(a, a + step * n, step) for (a, step, _), n in zip(region, counts, strict=True))
        kept = [dim for _, _, dim in region if dim is not None]
        if node.arguments["inward"]:
            inner = written[places].reshape([shape[dim] for dim in kept])
            return inner.transpose(np.argsort(kept)).reshape(shape)
        result = before.copy()
        gone = [dim for dim in range(len(shape)) if dim not in kept]
        result[places] = written.transpose([*kept, *gone]).reshape(counts)
        return result

    def _whole(self, value: int) -> Marks:
        blank = np.zeros((1,) * len(self.graph.shapes[value]), np.int64)
        return np.broadcast_to(self.marks.get(value, blank), self.graph.shapes[value])


def _is_pointwise(node: Node) -> bool:
    return torch.Tag.pointwise in node.function.tags or is_nonlinearity(node)


def _along(row: Marks, dimension: int, dimensions: int) -> Marks:
    shape = [1] * dimensions
    shape[dimension] = len(row)
    return row.reshape(shape)


def _compressed(marks: Marks) -> Marks:
    """With 1 along every dimension in which nothing varies."""
    for dim, extent in enumerate(marks.shape):
        if extent > 1 and (marks == (first := marks.take([0], dim))).all():
            marks = first
    return marks
