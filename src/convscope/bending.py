"""Which operations of a recorded graph bend a signal number by number, be they rectifiers or written by hand.

A rule for non-linearities is right only if it reaches all of them. So this errs on the side of seeing one: a pointwise
operation that is not known to be linear bends, and so does one of two values, such as ``torch.maximum(x, 0.1 * x)`` or
``x * torch.sigmoid(x)``, if both are made number by number of the same value. A product of two maps, as in a gate, and
the larger of two maps are no such operations.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from convscope.graph import Graph, Node, Ref, is_nonlinearity, sources

# Pointwise and linear in what they are given, as long as one of it is a constant; then those that pass no gradient.
_PRODUCTS = {"mul", "div", "addcmul", "addcdiv", "lerp"}
_SUMS = {"add", "sub", "rsub", "neg", "positive", "clone", "_to_copy", "nan_to_num", "remainder", "fmod"}
_COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "sign", "sgn", "signbit", "heaviside"}
_FLAT = _COMPARISONS | {
    "round", "floor", "ceil", "trunc", "fix", "floor_divide", "logical_and", "logical_or", "logical_not", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor", "isnan", "isinf", "isfinite", "isposinf", "isneginf",
}  # fmt: skip
# Not linear either, but parts of norms and of attention more than rectifiers: their own gradient is left to them.
_CURVED = {
    "pow", "float_power", "square", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log2", "log10",
    "log1p",
}  # fmt: skip
_MIXING = {"glu", "softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp"}
# By the argument that chooses.
_SELECTIONS = {
    "where": "condition", "masked_fill": "mask", "masked_scatter": "mask", "index_put": "indices",
    "_index_put_impl": "indices",
}  # fmt: skip
_REDUCTIONS = {"amax", "amin", "max", "min"}
_CLAMPS = {"clamp": ("min", "max"), "clamp_min": ("min",), "clamp_max": ("max",)}
_UNTAGGED = {"_to_copy", "rsub", "masked_fill", "log_sigmoid_forward", "hardshrink", "softshrink"}


def bends(node: Node, graph: Graph) -> bool:
    """Whether it is a non-linearity of each number of its input, or the last step of one that is written by hand."""
    op, data = _op(node), _data(node, graph)
    if not data:
        return False
    if op in _CLAMPS:
        return _is_kinked(node, graph)
    if is_nonlinearity(node):
        return True
    if op in _SELECTIONS:
        chooses = node.arguments[_SELECTIONS[op]]
        masks = chooses if isinstance(chooses, list | tuple) else [chooses]
        return any(isinstance(mask, Ref) and _is_by_value(mask.value, graph) for mask in masks)
    if op in _REDUCTIONS:
        return _is_largest_of_stacked(node, graph)
    if not _is_pointwise(node) or op in _SUMS | _FLAT | _CURVED:
        return False
    if len(data) == 1:
        return op not in _PRODUCTS
    return is_of_one_number(node, graph) and (op not in _PRODUCTS or _is_bent(data, graph))


def curves(node: Node, graph: Graph) -> bool:
    """Whether it is not linear, and its own gradient is left to it."""
    op = _op(node)
    if bends(node, graph) or not _data(node, graph):
        return False
    if op in _PRODUCTS:
        return _is_power(node, graph)
    return op in _CURVED | _MIXING | set(_CLAMPS)


def is_of_one_number(node: Node, graph: Graph) -> bool:
    """Whether each number that it gives is made of one number of a single value."""
    return _is_one_number(_data(node, graph), graph)


def _is_one_number(values: set[int], graph: Graph) -> bool:
    return len(values) == 1 or (len(values) > 1 and _origin(values, graph) is not None)


def _op(node: Node) -> str:
    return node.op.removesuffix("_")


def _data(node: Node, graph: Graph) -> set[int]:
    """What it is given that depends on the image."""
    return set(sources(node)) & graph.dependent


def _is_pointwise(node: Node) -> bool:
    tagged = node.function is not None and torch.Tag.pointwise in node.function.tags
    return tagged or is_nonlinearity(node) or _op(node) in _UNTAGGED


def _is_kinked(node: Node, graph: Graph) -> bool:
    """Whether a clamp is a rectifier: at zero, or between two numbers. At another one it guards a division."""
    bounds = [bound for name in _CLAMPS[_op(node)] if (bound := node.arguments[name]) is not None]
    if any(isinstance(bound, Ref) for bound in bounds):
        return is_of_one_number(node, graph)
    return len(bounds) == 2 or 0 in bounds


def _is_largest_of_stacked(node: Node, graph: Graph) -> bool:
    """Whether it is the largest or smallest of maps that are stacked, number by number, all of one origin."""
    stack = graph.producers.get(node.inputs[0])
    if stack is None or stack.op != "stack":
        return False
    dims, count = node.arguments.get("dim"), len(graph.shapes[node.inputs[0]])
    reduced = {dim % count for dim in (dims if isinstance(dims, list | tuple) else [dims]) if dim is not None}
    return reduced == {stack.arguments["dim"] % count} and _is_one_number(_data(stack, graph), graph)


def _is_power(node: Node, graph: Graph) -> bool:
    """Whether it multiplies a value with itself, or divides a constant by it."""
    count = sum(value in graph.dependent for value in sources(node))
    if count > 1:
        return is_of_one_number(node, graph)
    divisor = node.arguments.get("other" if _op(node) == "div" else "tensor2") if "div" in node.op else None
    return isinstance(divisor, Ref) and divisor.value in graph.dependent


def _is_by_value(mask: int, graph: Graph) -> bool:
    """Whether a mask is made by comparing what depends on the image."""
    return mask in graph.dependent and any(_op(node) in _COMPARISONS for node in _past(mask, graph)[0])


def _is_bent(values: Iterable[int], graph: Graph) -> bool:
    """Whether one of several values of one origin is no polynomial of it."""
    origin = _origin(values, graph)
    nodes = [node for value in values for node in _past(value, graph, origin)[0]]
    return any(_op(node) not in _SUMS | _PRODUCTS for node in nodes)


def _origin(values: Iterable[int], graph: Graph) -> int | None:
    """A value of which all of several ones are made, number by number, and of nothing else; None if there is none."""
    reach = [{value}.union(*map(sources, _past(value, graph)[0])) for value in values]
    shared = set.intersection(*reach) & graph.dependent
    return next(
        (
            each
            for each in sorted(shared, reverse=True)
            if all(_past(value, graph, each)[1] == {each} for value in values)
        ),
        None,
    )


def _past(value: int, graph: Graph, origin: int | None = None) -> tuple[list[Node], set[int]]:
    """The nodes that make a value number by number, and of which values, back to the origin if there is one."""
    nodes: list[Node] = []
    ends: set[int] = set()
    seen, left = {value}, [value]
    while left:
        value = left.pop()
        node = graph.producers.get(value)
        if value == origin or node is None or not _is_pointwise(node):
            ends.add(value)
            continue
        nodes.append(node)
        new = _data(node, graph) - seen
        seen |= new
        left += new
    return nodes, ends
