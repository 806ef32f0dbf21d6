"""What the values of a graph are that do not depend on the image, such as weights that are computed at every call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from convscope.graph import Graph, Node, Ref


@torch.no_grad()
def constant(graph: Graph, value: int) -> Tensor | None:
    """The tensor, computed again where the network computed it; None where that cannot be done.

    It cannot where the value depends on the image, and where it was written in place, as a whole, in part or through a
    view: what it held in between is not kept.
    """
    if value in graph.constants:
        return graph.constants[value].detach()
    node = graph.producers.get(value)
    if value in graph.dependent or node is None or node.function is None or node.function._schema.is_mutable:
        return None
    held = {each: _argument(graph, node, each) for each in node.inputs}
    if any(tensor is None for tensor in held.values()):
        return None
    result = call(node, tree_map(lambda leaf: held[leaf.value] if isinstance(leaf, Ref) else leaf, node.arguments))
    tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
    return tensors[node.outputs.index(value)]


def _argument(graph: Graph, node: Node, value: int) -> Tensor | None:
    if value in graph.dependent:  # and the result is not: only the shape counts
        return torch.zeros(graph.shapes[value])
    tensor = constant(graph, value)
    # A batch norm writes into its running statistics and does not say so.
    return tensor if tensor is None or node.function.is_view else tensor.clone()


def call(node: Node, arguments: dict[str, Any]) -> Any:
    """Run the operation of a node on other arguments, by the names of its schema."""
    schema = node.function._schema.arguments
    plain = [arguments[each.name] for each in schema if not each.kwarg_only]
    return node.function(*plain, **{each.name: arguments[each.name] for each in schema if each.kwarg_only})
