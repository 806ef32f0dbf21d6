"""A network's outputs as probabilities: some networks end in a softmax themselves, and must not get a second one."""

from __future__ import annotations

from torch import Tensor

from convscope.graph import Graph


def last_operation(graph: Graph) -> str:
    """The operation that gave the first output, views and copies left out."""
    node = graph.producers.get(graph.outputs[0])
    while node is not None and node.ordinal is None and node.inputs:
        node = graph.producers.get(node.inputs[0])
    return node.op.removesuffix("_") if node is not None else ""


def probabilities(raw: Tensor, output: str, last: str) -> Tensor:
    """Outputs (n, classes) as probabilities or scores; a network that ends in these gives them itself."""
    if output == "softmax" and last != "_softmax":
        return raw.softmax(1)
    if output == "sigmoid" and last != "sigmoid":
        return raw.sigmoid()
    return raw


def log_probabilities(raw: Tensor, last: str) -> Tensor:
    """The logarithms (n, classes), float64, of the probabilities of a network that tells one class from the others.

    NaN where an output is not a number or is infinite. No probability is lost by being too small for a number.

    Args:
        raw: outputs (n, classes).
        last: what `last_operation` says.
    """
    return raw.double().log() if last == "_softmax" else raw.double().log_softmax(1)
