"""The slow definition of backward rules: a recorded graph run again, forward and backward, one operation at a time.

Each ATen operation is differentiated alone, on copies, and a rectifier passes down what METHODS 0.3 and 7.0 say. There
is no function mode, no hook and no autograd graph of the network in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from convscope.graph import Graph, Node, Ref, Region
from convscope.recorder import record

NONLINEARITIES = {
    "relu", "threshold", "clamp", "clamp_min", "silu", "gelu", "hardswish", "hardtanh", "relu6", "leaky_relu",
    "_prelu_kernel", "elu", "sigmoid", "tanh", "mish", "softplus", "hardsigmoid", "celu", "selu",
}  # fmt: skip

# (signal, slope) -> what passes down
RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": lambda signal, slope: signal * slope,
    "deconvnet": lambda signal, slope: torch.where(signal > 0, signal, 0.0),
    "guided": lambda signal, slope: torch.where((signal > 0) & (slope > 0), signal * slope, 0.0),
}


def slow_gradient(
    net: nn.Module, images: Tensor, start: Callable[[Graph, dict[int, Tensor]], tuple[int, Tensor]], rule: str
) -> Tensor:
    """What arrives at the images.

    Args:
        start: gives the value at which the signal starts, and the signal.
    """
    graph = record(net, images)
    values = slow_values(graph, images)
    signals = slow_signals(graph, values, dict([start(graph, values)]), rule)
    return signals.get(graph.input, torch.zeros_like(images))


def slow_signals(graph: Graph, values: dict[int, Tensor], start: dict[int, Tensor], rule: str) -> dict[int, Tensor]:
    """What arrives at each value of a graph, for which there is something."""
    signals = dict(start)
    for node in reversed(graph.nodes):
        arriving = [signals.get(output) for output in node.outputs]
        if any(each is not None for each in arriving):
            for source, passed in _passed(node, graph, values, arriving, rule).items():
                signals[source] = signals[source] + passed if source in signals else passed
    return signals


def slow_values(graph: Graph, images: Tensor) -> dict[int, Tensor]:
    """All values of a graph, for as many images as it was recorded with."""
    values = {graph.input: images.clone()} | {value: tensor.detach() for value, tensor in graph.constants.items()}
    with torch.no_grad():
        for node in graph.nodes:
            values.update(zip(node.outputs, _run(node, values), strict=True))
    return values


def _run(node: Node, values: dict[int, Tensor]) -> list[Tensor]:
    """What a node gives for copies of its inputs."""
    if node.function is None:
        before, written = (values[node.arguments[name].value] for name in ("self", "written"))
        return [_written(before, written, node.arguments["region"], node.arguments["inward"])]
    arguments = tree_map(lambda leaf: values[leaf.value].clone() if isinstance(leaf, Ref) else leaf, node.arguments)
    result = node.function(**arguments)
    return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]


def _written(before: Tensor, written: Tensor, region: Region, inward: bool) -> Tensor:
    """The content of a tensor, part of which or all around which was written."""
    whole, part = (written, before) if inward else (before.clone(), written)
    lengths = [1 if inner is None else part.shape[inner] for _, _, inner in region]
    index = tuple(
        slice(start, start + step * length, step) for (start, step, _), length in zip(region, lengths, strict=True)
    )
    order = [dim for dim in range(whole.ndim) if region[dim][2] is not None]
    order.sort(key=lambda dim: region[dim][2] or 0)
    inside = whole[index].permute(*order, *(dim for dim in range(whole.ndim) if dim not in order))
    if inward:
        return inside.reshape(part.shape)
    inside.copy_(part.reshape(inside.shape))
    return whole


def _passed(
    node: Node, graph: Graph, values: dict[int, Tensor], arriving: list[Tensor | None], rule: str
) -> dict[int, Tensor]:
    """What a node passes to those of its inputs that depend on the image."""
    inputs = [value for value in set(node.inputs) & graph.dependent if values[value].is_floating_point()]
    leaves = {value: values[value].clone().requires_grad_() for value in inputs}
    with torch.enable_grad():
        results = _run(node, values | {value: leaf * 1 for value, leaf in leaves.items()})
    pairs = [
        (result, signal)
        for result, signal in zip(results, arriving, strict=True)
        if signal is not None and result.requires_grad
    ]
    if not pairs:
        return {}
    outputs, signals = zip(*pairs, strict=True)
    op: Any = node.op.removesuffix("_")
    if op in NONLINEARITIES and ("clamp" not in op or _is_rectifier(node.arguments)):
        source = node.inputs[0]
        slope = torch.autograd.grad(outputs[0].sum(), leaves[source])[0]
        return {source: RULES[rule](signals[0], slope)}
    found = torch.autograd.grad(outputs, list(leaves.values()), signals, allow_unused=True)
    return {value: gradient for value, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _is_rectifier(clamp: dict[str, Any]) -> bool:
    """Whether a clamp is at zero, or between two numbers."""
    bounds = [bound for bound in (clamp["min"], clamp.get("max")) if bound is not None]
    return 0 in bounds or (len(bounds) == 2 and not any(isinstance(bound, Ref) for bound in bounds))
