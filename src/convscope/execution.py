"""Run single operations of a recorded graph again: for one image exactly as recorded, or for several at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from convscope.constants import call
from convscope.graph import Graph, Node, Ref, Region
from convscope.touched import is_pointwise, is_view, touched


def is_repeatable(node: Node, graph: Graph) -> bool:
    """Whether a node does the same to another image: not where numbers leave the graph, or memory is addressed."""
    if graph.dependent.isdisjoint(node.inputs):
        return True
    if node.function is None:
        return node.arguments["region"] is not None
    if node.op == "index":
        return graph.dependent.isdisjoint(node.inputs[1:])  # that could be a mask
    if "as_strided" in node.op:
        before, after = graph.shapes[node.inputs[0]], graph.shapes[node.outputs[0]]
        return before == after and math.prod(after) == math.prod(after[:2])  # as a global pool does to its result
    return not {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(node.function.tags)


def alone(node: Node, graph: Graph, tensors: Mapping[int, Tensor]) -> list[Tensor]:
    """What a node gives for one image, exactly as recorded; it may write into `tensors`, its inputs by value."""
    if node.function is None:
        before, written = (tensors[value] for value in node.inputs)
        if node.arguments["inward"]:
            return [_part(written, node.arguments["region"], graph.shapes[node.outputs[0]])]
        _part(before, node.arguments["region"], graph.shapes[node.inputs[1]]).copy_(written)
        return [before]
    arguments = mapped(node, tensors)
    if is_view(node):
        return [arguments["self"].reshape(graph.shapes[node.outputs[0]])]
    results = tensors_in(call(node, arguments))
    # The recorder notes a tensor that was written among the results, where the operation does not return it.
    others = [tensors[value] for value in written_by(node)][: len(node.outputs) - len(results)]
    return results + [tensor for tensor in others if not any(tensor is result for result in results)]


def _part(whole: Tensor, region: Region, shape: tuple[int, ...]) -> Tensor:
    """The part of a tensor at `region` as a view of the shape `shape`."""
    counts = [1 if inner is None else shape[inner] for _, _, inner in region]
    places = [slice(start, start + step * n, step) for (start, step, _), n in zip(region, counts, strict=True)]
    part = whole[tuple(places)][tuple(0 if inner is None else slice(None) for _, _, inner in region)]
    kept = [inner for _, _, inner in region if inner is not None]
    part = part.permute([kept.index(dim) for dim in sorted(kept)])
    for dim in range(len(shape)):
        part = part if dim in kept else part.unsqueeze(dim)
    return part


def runs_together(node: Node, graph: Graph) -> bool:
    """Whether a node can run on several images at once, each tensor with one after the other in its first dimension."""
    dims = touched(node, graph) if node.function is not None else None
    if dims is None or 0 in dims:
        return False
    shape = graph.shapes[node.outputs[0]]
    constants = [graph.shapes[value] for value in node.inputs if value not in graph.dependent]
    if node.op == "cat":
        return not constants
    return not is_pointwise(node) or all(len(each) < len(shape) or each[0] == 1 for each in constants)


def together(node: Node, graph: Graph, tensors: Mapping[int, Tensor], count: int) -> list[Tensor]:
    """What a node that `runs_together` gives for `count` images; it may write into `tensors`."""
    arguments, shape = mapped(node, tensors), graph.shapes[node.outputs[0]]
    if is_view(node):
        return [arguments["self"].reshape(count * shape[0], *shape[1:])]
    if node.op == "expand":
        arguments["size"] = [count * shape[0], *shape[1:]]
    return tensors_in(call(node, arguments))


def one_by_one(node: Node, graph: Graph, tensors: Mapping[int, Tensor], count: int) -> list[Tensor]:
    """What any node gives for `count` images; those among `tensors` that depend on the image hold so many."""
    results, written = [], written_by(node)
    for i in range(count):
        own = {value: _image(tensors, value, i, graph) for value in node.inputs}
        own |= {value: own[value].clone() for value in written}
        results.append(alone(node, graph, own))
    parts = zip(zip(*results, strict=True), node.outputs, strict=True)
    return [torch.cat(each) if graph.shapes[value] else torch.stack(each) for each, value in parts]


def _image(tensors: Mapping[int, Tensor], value: int, number: int, graph: Graph) -> Tensor:
    if value not in graph.dependent:
        return tensors[value]
    shape = graph.shapes[value]
    return tensors[value][number * shape[0] : (number + 1) * shape[0]] if shape else tensors[value][number]


def written_by(node: Node) -> set[int]:
    """The values in whose memory a node writes."""
    if node.function is None:
        return set(node.inputs[:1])
    schema = node.function._schema.arguments
    names = [each.name for each in schema if each.alias_info is not None and each.alias_info.is_write]
    if node.arguments.get("training"):  # a batch norm, which does not say so
        names += ["running_mean", "running_var"]
    leaves = tree_flatten([node.arguments[name] for name in names])[0]
    return {leaf.value for leaf in leaves if isinstance(leaf, Ref)}


def mapped(node: Node, tensors: Mapping[int, Tensor]) -> dict[str, Any]:
    """The arguments of a node with tensors in the place of values."""
    found: dict[str, Any] = tree_map(
        lambda leaf: tensors[leaf.value] if isinstance(leaf, Ref) else leaf, node.arguments
    )
    return found


def tensors_in(result: Any) -> list[Tensor]:
    """The tensors of a result, in order."""
    return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
