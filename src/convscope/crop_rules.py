"""Operations on crops of maps: for each one that can, how it gives some places of its output.

A rule asks for the crops that it needs, with as much around them as the operation looks at and with its padding in
them, and runs the recorded operation on them without padding. So a crop at the border of the map and one in the
middle are alike, and every number is computed as in the whole map.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from convscope.constants import call
from convscope.crops import Places
from convscope.graph import Graph, Node, Ref
from convscope.touched import is_pointwise, is_view, pairs, touched


class Crops(Protocol):
    """Where rules get their inputs."""

    def tensor(self, value: int) -> Tensor:
        """A value that does not depend on the image, such as weights."""

    def crop(self, value: int, places: Places, *, fill: float = 0.0, shape: tuple[int, ...] = ()) -> Tensor:
        """A map in some places, (n, ..., height, width), with `fill` beyond its borders."""

    def to_write(self, value: int, places: Places) -> Tensor:
        """The same in memory that may be written into."""


Rule = Callable[[Node, Crops, Places], Any]


def rule_for(node: Node, graph: Graph, read: Collection[int]) -> Rule | None:
    """The rule of a node that depends on the image, or None: it has to run in full.

    Args:
        read: the values that are needed.
    """
    if node.function is None or not any(value in read for value in node.outputs):
        return None
    dims = touched(node, graph)
    before = [graph.shapes[value] for value in node.inputs if value in graph.dependent]
    after = [graph.shapes[value] for value in node.outputs if value in read]
    count = len(before[0])
    if dims is None or 0 in dims or any(len(shape) < 3 or shape[0] != 1 for shape in before + after):
        return None
    if is_local(node, graph):
        return _local(graph) if all(shape[-2:] == before[0][-2:] for shape in after) else None
    if node.op == "convolution":
        return _convolution if count == 4 and not node.arguments["transposed"] else None
    if count == 4 and dims <= {2, 3} and node.op in _SPATIAL:
        return None if any(value in read for value in node.outputs[1:]) else _SPATIAL[node.op](graph)
    return None


def is_local(node: Node, graph: Graph) -> bool:
    """Whether a node that depends on the image works position by position: a cell looks at no cell beside it."""
    dims = touched(node, graph)
    count = len(next(graph.shapes[value] for value in node.inputs if value in graph.dependent))
    return dims is not None and dims.isdisjoint({count - 2, count - 1}) and node.op != "expand"


def _local(graph: Graph) -> Rule:
    def local(node: Node, crops: Crops, places: Places) -> Any:
        written = "self" if node.function._schema.is_mutable else None
        joins = is_pointwise(node) or node.op == "cat"  # so that a constant can be a map as well
        shape = graph.shapes[node.outputs[0]]

        def cropped(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            if leaf.value in graph.dependent:
                return crops.crop(leaf.value, places)
            constant = crops.tensor(leaf.value)
            if not joins or not constant.numel() or all(extent == 1 for extent in constant.shape[-2:]):
                return constant
            return crops.crop(leaf.value, places, shape=shape)

        arguments = tree_map(cropped, node.arguments)
        if written is not None:
            arguments[written] = crops.to_write(node.arguments[written].value, places)
        if is_view(node):
            return arguments["self"].reshape(-1, *shape[1:-2], places.height, places.width)
        return call(node, arguments)

    return local


def _convolution(node: Node, crops: Crops, places: Places) -> Any:
    arguments = node.arguments
    weight = crops.tensor(arguments["weight"].value)
    reach = [1 + dilation * (size - 1) for dilation, size in zip(arguments["dilation"], weight.shape[2:], strict=True)]
    seen = places.seen(arguments["stride"], arguments["padding"], reach)
    bias = arguments["bias"] and crops.tensor(arguments["bias"].value)
    given = {"input": crops.crop(arguments["input"].value, seen), "weight": weight, "bias": bias, "padding": [0, 0]}
    return call(node, arguments | given)


def _max_pool(_: Graph) -> Rule:
    def max_pool(node: Node, crops: Crops, places: Places) -> Any:
        arguments = node.arguments
        kernel, stride, padding, dilation = _window(node)
        reach = [1 + d * (size - 1) for d, size in zip(dilation, kernel, strict=True)]
        seen = crops.crop(arguments["self"].value, places.seen(stride, padding, reach), fill=float("-inf"))
        return call(node, arguments | {"self": seen, "stride": stride, "padding": [0, 0], "ceil_mode": False})

    return max_pool


def _avg_pool(graph: Graph) -> Rule:
    divisors: dict[int, Tensor] = {}

    def avg_pool(node: Node, crops: Crops, places: Places) -> Any:
        arguments = node.arguments
        kernel, stride, padding, _ = _window(node)
        seen = crops.crop(arguments["self"].value, places.seen(stride, padding, kernel))
        summing = {"stride": stride, "ceil_mode": False, "divisor_override": 1}
        sums = call(node, arguments | summing | {"self": seen, "padding": [0, 0]})
        if node.index not in divisors:  # by how much the operation divides at each place is its own affair
            ones = torch.ones(graph.shapes[arguments["self"].value][-2:], dtype=seen.dtype)[None, None]
            counts = call(node, arguments | {"self": ones, "divisor_override": 1})
            divisors[node.index] = counts / call(node, arguments | {"self": ones})
        rows, columns = places.cells()
        return sums / divisors[node.index][0, 0].to(sums)[rows, columns][:, None]

    return avg_pool


def _window(node: Node) -> tuple[list[int], ...]:
    kernel = pairs(node.arguments["kernel_size"])
    stride = pairs(node.arguments["stride"]) or kernel
    return kernel, stride, pairs(node.arguments["padding"]), pairs(node.arguments.get("dilation", 1))


def _pad(_: Graph) -> Rule:
    def pad(node: Node, crops: Crops, places: Places) -> Any:
        before = [*node.arguments["pad"], 0, 0][:4]
        seen = places.seen([1, 1], [before[2], before[0]], [1, 1])
        padded = crops.crop(node.arguments["self"].value, seen, fill=node.arguments["value"])
        return padded.clone()  # where it is only padded behind, the crop can be the input's own memory

    return pad


def _slice(graph: Graph) -> Rule:
    def slice_(node: Node, crops: Crops, places: Places) -> Any:
        arguments, shape = node.arguments, graph.shapes[node.inputs[0]]
        dim = arguments["dim"] % 4 - 2
        start, _, step = slice(arguments["start"], arguments["end"], arguments["step"]).indices(shape[2 + dim])
        stride, padding = [1, 1], [0, 0]
        stride[dim], padding[dim] = step, -start
        seen = crops.crop(node.inputs[0], places.seen(stride, padding, [1, 1]))
        return seen[..., :: stride[0], :: stride[1]]

    return slice_


_SPATIAL: dict[str, Callable[[Graph], Rule]] = {
    "max_pool2d_with_indices": _max_pool, "avg_pool2d": _avg_pool, "constant_pad_nd": _pad, "slice": _slice,
}  # fmt: skip
