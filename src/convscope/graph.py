"""The executed graph of a network: every operation of one real forward pass, and who feeds whom.

`convscope.recorder.record` makes it. It consists of ATen operations, the few that every spelling of an operation ends
in, and of *values*: what a tensor held at one moment, so that an in-place operation gives its tensor a new one.

>>> graph = record(module, images)
>>> [str(layer.address) for layer in graph.layers()]
['features.0', 'features.3.squeeze', ...]
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from convscope.address import ROOT, Layer
from convscope.errors import AddressError, nearest

# Operations that move or copy numbers and never change one. Whether they occur can depend on the batch size and the
# memory format (a flatten is a view or a copy), so they do not count when a later pass is matched with the recorded
# one.
_COPIES = {"clone", "_to_copy", "copy_", "contiguous", "as_strided_", "empty", "detach", "_unsafe_view", "lift_fresh"}
# Operations that take the shape of `self`, or its memory, and not its numbers.
_OVERWRITES = {
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided",
    "zero_", "fill_", "copy_", "normal_", "uniform_", "bernoulli_", "random_",
}  # fmt: skip
_CONVOLUTIONS = {"convolution"}
_MATRIX_PRODUCTS = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "linear": ("input", "weight")}
_BATCH_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"}
_NONLINEARITIES = {
    "relu", "hardtanh", "relu6", "leaky_relu", "_prelu_kernel", "rrelu_with_noise", "silu", "gelu", "hardswish", "mish",
    "elu", "celu", "selu", "softplus", "hardsigmoid", "sigmoid", "tanh", "threshold", "clamp_min", "clamp",
}  # fmt: skip


# Where a view lies in a tensor: of each dimension the first index, the step, and the dimension of the view that runs
# along it, if one does.
Region = tuple[tuple[int, int, int | None], ...]


@dataclass(frozen=True)
class Ref:
    """Stands for a value among the arguments of a node."""

    value: int


@dataclass(frozen=True, eq=False)
class Node:
    """One executed operation.

    Args:
        op: name of the ATen operation without overload, as in ``relu_``.
        function: the ATen operation itself; None for ``written_through``, a tensor whose memory another one wrote;
            its arguments hold the `Region` of one in the other, where there is one, and whether the other is the whole.
        arguments: by the names of its schema, each tensor replaced by a `Ref`.
        outputs: the values it gave.
        module: dotted name of the innermost module that ran it, and the number of that module's call.
        ordinal: its rank among the operations that compute something; None for views and copies.
    """

    index: int
    op: str
    function: Any = field(repr=False)
    arguments: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    module: tuple[str, int]
    ordinal: int | None


@dataclass(frozen=True)
class LayerNode:
    """A convolution or linear layer of the graph, and the value at which its units are read.

    Args:
        output: the raw output of the operation.
        response: the value after the batch norm and the rectifier that follow directly and alone [METHODS 0.3].
        nonlinearity: operation that gave the response, as in ``relu``; None where it is not rectified.
        shape: of the response for one image, channels first: (c,), (c, h, w) or (c, ...).
        channel: dimension of the channel in output and response: 1, or -1 for a linear layer.
    """

    address: Layer
    kind: str
    node: int
    output: int
    response: int
    nonlinearity: str | None
    shape: tuple[int, ...]
    channel: int
    parameters: int
    flops: int

    @property
    def units(self) -> int:
        """Channels of the layer."""
        return self.shape[0]

    def value(self, at: str) -> int:
        """The value to read: ``at`` is ``response`` or ``output``."""
        return self.response if at == "response" else self.output


@dataclass(frozen=True, eq=False)
class Graph:
    """The operations of one forward pass, in the order in which they ran.

    Args:
        shapes: of every value, in the recorded pass (of `batch` images).
        constants: tensors that did not come from the input: parameters, buffers, and what the code makes itself.
        names: parameter or buffer names of constants.
    """

    nodes: tuple[Node, ...]
    shapes: tuple[tuple[int, ...], ...]
    input: int
    outputs: tuple[int, ...]
    constants: dict[int, Tensor] = field(repr=False)
    names: dict[int, str]
    aliases: dict[str, str]

    @property
    def batch(self) -> int:
        """Images in the recorded pass."""
        return self.shapes[self.input][0]

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The node that gave each computed value."""
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Node]]:
        """The nodes that use each value."""
        users: dict[int, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users[value].append(node)
        return users

    @cached_property
    def dependent(self) -> frozenset[int]:
        """The values whose numbers depend on the input; one that only has its shape does not."""
        found = {self.input}
        for node in self.nodes:
            if not found.isdisjoint(sources(node)):
                found.update(node.outputs)
        return frozenset(found)

    def ancestors(self, values: Iterable[int]) -> list[Node]:
        """The operations on the way from the image to `values`, in the order in which they ran."""
        wanted, found = set(values) & self.dependent, []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.outputs):
                found.append(node)
                wanted.update(self.dependent.intersection(sources(node)))
        return found[::-1]

    def layers(self) -> tuple[LayerNode, ...]:
        """All convolution and linear layers, in the order in which they ran; a layer called twice occurs twice."""
        return self._layers

    @cached_property
    def _layers(self) -> tuple[LayerNode, ...]:
        nodes = [node for node in self.nodes if self._weights(node) is not None]
        addresses = _addresses(nodes)
        return tuple(self._layer(node, addresses[node.index]) for node in nodes)

    @cached_property
    def depth(self) -> int:
        """Layers with weights on the longest path from the input to the first output [METHODS 2.10]."""
        weighted = {layer.node for layer in self._layers}
        longest = {self.input: 0}
        for node in self.nodes:
            before = [longest[value] for value in sources(node) if value in longest]
            if before:
                longest |= dict.fromkeys(node.outputs, max(before) + (node.index in weighted))
        return longest.get(self.outputs[0], 0)

    def layer(self, address: Layer) -> LayerNode:
        """The convolution or linear layer at `address`; a second name of the same module is understood.

        Raises:
            AddressError: there is none; the message offers the nearest names.
        """
        name = self.aliases.get(address.name, address.name)
        by_name = {layer.address: layer for layer in self._layers}
        found = by_name.get(Layer(name, address.operation, address.call))
        if found is None:
            hint = nearest(str(address), [str(known) for known in by_name])
            raise AddressError(f"the network has no convolution or linear layer {str(address)!r}{hint}")
        return found

    def _weights(self, node: Node) -> int | None:
        """The value of the weights, if `node` is a convolution or a product of the input with weights."""
        if node.op in _CONVOLUTIONS:
            data, weights = node.arguments["input"], node.arguments["weight"]
        elif node.op in _MATRIX_PRODUCTS:
            data, weights = (node.arguments[name] for name in _MATRIX_PRODUCTS[node.op])
        else:
            return None
        return weights.value if data.value in self.dependent and weights.value not in self.dependent else None

    def _layer(self, node: Node, address: Layer) -> LayerNode:
        weights = self._weights(node)
        assert weights is not None
        convolution = node.op in _CONVOLUTIONS
        channel = 1 if convolution else -1
        output = node.outputs[0] if convolution else self._unfolded(node.outputs[0])
        response, nonlinearity = self._response(output)
        shape = list(self.shapes[response])
        units = shape.pop(channel)
        bias = node.arguments.get("bias" if node.op != "addmm" else "self")
        parameters = sum(math.prod(self.shapes[ref.value]) for ref in (Ref(weights), bias) if isinstance(ref, Ref))
        return LayerNode(
            address, _kind(node), node.index, output, response, nonlinearity,
            (units, *shape[1:]), channel, parameters, self._flops(node, weights),
        )  # fmt: skip

    def _unfolded(self, value: int) -> int:
        """The value after the view that unfolds the leading dimensions which a linear layer on (n, ..., c) folds."""
        users = self.consumers.get(value, [])
        if len(users) == 1 and users[0].op in {"view", "_unsafe_view"}:
            after = users[0].outputs[0]
            if self.shapes[value][0] != self.batch == self.shapes[after][0]:
                return after
        return value

    def _response(self, value: int) -> tuple[int, str | None]:
        user = self._only_consumer(value)
        if user is not None and user.op in _BATCH_NORMS:
            value = user.outputs[0]
            user = self._only_consumer(value)
        if user is not None and is_nonlinearity(user):
            return user.outputs[0], user.op.removesuffix("_")
        return value, None

    def _only_consumer(self, value: int) -> Node | None:
        users = self.consumers.get(value, [])
        return users[0] if len(users) == 1 and value not in self.outputs else None

    def _flops(self, node: Node, weights: int) -> int:
        """Floating-point operations for one image: two for each multiplication with its addition."""
        shape, out = self.shapes[weights], self.shapes[node.outputs[0]]
        if node.op not in _CONVOLUTIONS:
            return 2 * math.prod(shape) * (math.prod(out[:-1]) // self.batch)
        # Each cell of the output (of the input, when transposed) meets every weight of its channel once.
        cells = self.shapes[node.arguments["input"].value] if node.arguments["transposed"] else out
        return 2 * math.prod(shape) * (math.prod(cells[2:]))


def sources(node: Node) -> tuple[int, ...]:
    """The inputs of a node whose numbers count: an operation like ``zeros_like`` looks at the shape of one alone."""
    if node.op not in _OVERWRITES:
        return node.inputs
    others = {name: argument for name, argument in node.arguments.items() if name != "self"}
    return tuple(leaf.value for leaf in tree_flatten(others)[0] if isinstance(leaf, Ref))


def is_nonlinearity(node: Node) -> bool:
    """Whether a node applies a rectifier or another non-linearity to every number by itself."""
    op = node.op.removesuffix("_")
    if op not in _NONLINEARITIES:
        return False
    if op in {"clamp_min", "clamp"}:  # a clamp at zero is a rectifier, any other one is not
        return bool(node.arguments["min"] == 0)
    return True


def _kind(node: Node) -> str:
    if node.op not in _CONVOLUTIONS:
        return "linear"
    dimensions = len(node.arguments["stride"])
    kind = f"conv{'_transpose' if node.arguments['transposed'] else ''}{dimensions}d"
    return f"{kind} (groups {node.arguments['groups']})" if node.arguments["groups"] > 1 else kind


def _addresses(nodes: list[Node]) -> dict[int, Layer]:
    """Each layer's address: its module's name, and the operation too where that module runs several."""
    per_call: dict[tuple[str, int], int] = defaultdict(int)
    for node in nodes:
        per_call[node.module] += 1
    functional = {module[0] for module, count in per_call.items() if count > 1}
    functional |= {node.module[0] for node in nodes if node.module[0] == ""} if len(nodes) > 1 else set()
    calls: dict[tuple[str, str | None], int] = defaultdict(int)
    found = {}
    for node in nodes:
        name = node.module[0]
        key = (name or ROOT, node.op if name in functional else None)
        found[node.index] = Layer(*key, calls[key])
        calls[key] += 1
    return found


def operation(func: Any) -> str:
    """The name of an ATen operation, without its overload."""
    return str(func._schema.name).removeprefix("aten::")


def computes(func: Any) -> bool:
    """Whether an ATen operation computes something, rather than giving a view or a copy."""
    return not func.is_view and operation(func) not in _COPIES
