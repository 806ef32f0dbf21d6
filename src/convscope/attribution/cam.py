"""CAM: the parts that the cells of the last map have in a class's logit, where it is pooled as a whole [zhou2016cam].

::

    S = Σ w(k) F(k) + b,  F(k) = mean over i, j of f(k, i, j)        M(i, j) = Σ w(k) f(k, i, j)

Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning deep features for discriminative localization", CVPR 2016. So the
mean of the map and the bias are the logit, exactly: evidence has both, and the gap. M is signed, without the bias and
without a factor 1/hw. Where a network sums, the sum of the map takes the mean's place. Where it pools by maximum the
map is defined in the same way, but no pooling of it gives the logit. Maps of different classes can be compared; what is
added to the weights of all classes changes all maps and no probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question
from convscope.attribution.map_layer import MapLayer, described, map_of
from convscope.errors import AttributionError
from convscope.graph import Graph, LayerNode, Node, Ref, sources
from convscope.receptive_field import receptive_fields
from convscope.scored import FunctionTarget
from convscope.targets import base_of

_REDUCTIONS = {"mean": "mean", "sum": "sum", "amax": "maximum", "max": "maximum"}
_ADAPTIVE = {"adaptive_avg_pool2d": "mean", "_adaptive_avg_pool2d": "mean", "adaptive_max_pool2d": "maximum"}
_WINDOWS = {"avg_pool2d": "mean", "max_pool2d_with_indices": "maximum"}
_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean((2, 3)),
    "sum": lambda maps: maps.sum((2, 3)),
    "maximum": lambda maps: maps.amax((2, 3)),
}


@dataclass(frozen=True)
class CAM(Attribution):
    """The parts of a logit, (n, 1, rows, columns) on the grid of the map that is pooled."""

    name: ClassVar[str] = "cam"
    sign: ClassVar[str] = "part of the logit: with global average pooling the mean of the map and the bias make it up"

    def explain(self, question: Question) -> Answer:
        """One pass, differentiated by the pooled values: by these the logit is linear."""
        head = pooled_head(question, "CAM")
        explained = question.run(keep=(head.pooled, head.map.value))
        weights = explained.gradient(by=head.pooled).flatten(1)
        values = (weights[:, :, None, None] * head.map.activations(explained)).sum(1, keepdim=True)
        rest = explained.scores - (weights * explained.seen.values[head.pooled].detach().flatten(1)).sum(1)
        gap = _POOLS[head.how](values)[:, 0] + rest - explained.scores
        notes = head.map.notes
        if head.how == "maximum":
            notes += ("the network pools by maximum: the logit rests on the largest value of each channel alone, and "
                      "the map shows where else it would have found one",)  # fmt: skip
        return Answer(values, explained, {"bias": rest, f"{head.how} of the map + bias - score": gap}, notes,
                      grid=head.map.grid)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PooledHead:
    """A map that is pooled as a whole, and what is linear in the pooled values.

    Args:
        pooled: the value of the graph.
        how: "mean", "sum" or "maximum".
        linear: the layer between the pooled values and the target; None where they are the target themselves.
    """

    map: MapLayer
    pooled: int
    how: str
    linear: LayerNode | None


def pooled_head(question: Question, who: str) -> PooledHead:
    """What the targets are linear in.

    Args:
        who: needs it, for the message.

    Raises:
        AttributionError: a target is in nothing that is pooled from a map as a whole.
    """
    graph, ends = question.graph, set()
    for target in question.targets:
        if isinstance(target, FunctionTarget) or target.kind in {"probability", "logprob"}:
            raise AttributionError(
                f"{who} takes a logit apart, and the target is a {target.kind}; give the class by its index or name, "
                "or take GradCAM"
            )
        ends.add(_end(graph, target.ends(graph)[0]))
    if len(ends) > 1:
        raise AttributionError("the targets rest on different pooled maps; explain them in calls of their own")
    node, linear = ends.pop()
    head = None if node is None else _head(graph, node, linear)
    if head is None:
        before = f"{node.op!r} in {node.module[0] or 'its forward()'}" if node is not None else "the image itself"
        raise AttributionError(
            f"{who} needs a network that ends in global average or max pooling and at most one linear layer: what the "
            f"target is computed from is {before}, where a pooling of all of a map is expected. Take GradCAM, which "
            "explains any network, or give the network such a head: convscope convert --head gap"
        )
    return head


def head_of(graph: Graph, value: int) -> PooledHead | None:
    """What a value of the graph is linear in; None where that is no map pooled as a whole."""
    node, linear = _end(graph, value)
    return None if node is None else _head(graph, node, linear)


def _end(graph: Graph, value: int) -> tuple[Node | None, LayerNode | None]:
    """What computes the numbers of which a value is at most one linear layer away, and that layer."""
    node = _computation(graph, value)
    linear = None if node is None else _linear(graph, node)
    if node is not None and linear is not None:
        node = _computation(graph, next(source for source in node.inputs if source in graph.dependent))
    return node, linear


def _head(graph: Graph, node: Node, linear: LayerNode | None) -> PooledHead | None:
    found = _pooled(graph, node)
    return None if found is None else PooledHead(found[0], node.outputs[0], found[1], linear)


def _computation(graph: Graph, value: int) -> Node | None:
    """What computed a row of numbers for each image, whatever views and copies came after; None for the image."""
    node = graph.producers.get(value)
    while node is not None and node.ordinal is None and node.op != "written_through":
        node = graph.producers.get(sources(node)[0])
    return node


def _linear(graph: Graph, node: Node) -> LayerNode | None:
    """The layer that a node computes, if that is one number a unit."""
    layers = (layer for layer in graph.layers() if layer.node == node.index)
    return next((layer for layer in layers if all(size == 1 for size in layer.shape[1:])), None)


def _pooled(graph: Graph, node: Node) -> tuple[MapLayer, str] | None:
    """The map of which a node pools all cells of each channel, and how; None where it does not."""
    source = node.arguments.get("self")
    base = base_of(graph, source.value) if isinstance(source, Ref) else None
    if base is None or not isinstance(source, Ref):
        return None
    fields = receptive_fields(graph)
    layer = map_of(graph, fields, base)
    shape, whole = graph.shapes[source.value], graph.shapes[base]
    if layer is None or shape not in (whole, (*whole[:2], math.prod(whole[2:]))):
        return None
    how = _how(node, shape, layer.channel)
    return None if how is None else (described(layer, fields), how)


def _how(node: Node, shape: tuple[int, ...], channel: int) -> str | None:
    """How a node pools all cells of a map of this shape, (n, k, h, w), (n, h, w, k) or (n, k, h · w)."""
    arguments: dict[str, Any] = node.arguments
    if node.op in _REDUCTIONS:
        dims = arguments.get("dim")
        dims = {dim % len(shape) for dim in ([dims] if isinstance(dims, int) else dims or [])}
        places = set(range(1, len(shape))) - {channel % len(shape)}
        return _REDUCTIONS[node.op] if dims == places and (len(shape) == 4 or channel == 1) else None
    if channel != 1 or len(shape) != 4:
        return None
    if node.op in _ADAPTIVE:
        return _ADAPTIVE[node.op] if set(arguments["output_size"]) == {1} else None
    if node.op in _WINDOWS:
        whole = tuple(arguments["kernel_size"]) == shape[2:] and not any(arguments["padding"])
        plain = arguments.get("divisor_override") is None and set(arguments.get("dilation", [1])) == {1}
        return _WINDOWS[node.op] if whole and plain else None
    return None
