"""Reach into a forward pass: read a value of the recorded graph, replace it, or stop there.

Values are met at the moment their operation has run, so an in-place operation later on cannot overwrite what was
already read, and a functional rectifier is reached like a module. Nothing is left on the network, also not after an
exception: there are no hooks. The pass must run the same operations as the recorded one; where it does not, the
values could belong to other layers, and it ends with an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from convscope.errors import CaptureError
from convscope.graph import Graph, Node, computes, operation
from convscope.recorder import PlainLinear, evaluating

Tap = Callable[[Tensor], Tensor | None]


def run(module: nn.Module, images: Tensor, graph: Graph, taps: Mapping[int, Tap], *, stop: bool = False) -> Any:
    """Run `module` in evaluation mode on `images`, and call each tap with its value as soon as it is there.

    Args:
        graph: what `convscope.recorder.record` gave for this module.
        taps: value of the graph -> function. A tensor that the function returns replaces the value; None leaves it.
            The tensor is only lent: keep a clone, or consume it at once.
        stop: end the pass after the last tap, and return None.

    Raises:
        CaptureError: the pass runs other operations than the recorded one.
    """
    mode = _Capture(module, graph, taps, stop)
    with evaluating(module):
        try:
            with PlainLinear(), mode:
                result = module(images.clone())  # some networks write into their input
        except _Stop:
            return None
    mode.check_end()
    return result


class _Stop(BaseException):
    """Unwinds a forward pass whose rest is not needed; no ``except Exception`` of the network holds it up."""


class _Capture(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base has no types
    def __init__(self, module: nn.Module, graph: Graph, taps: Mapping[int, Tap], stop: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.expected = [node for node in graph.nodes if node.ordinal is not None]
        self.parameters = [_parameters(graph, node) for node in self.expected]
        self.names = {parameter.data_ptr(): name for name, parameter in module.named_parameters()}
        self.taps: dict[int, list[tuple[int, Tap]]] = defaultdict(list)
        self.done = 0
        for value, tap in taps.items():
            node, slot, tap = _computing(graph, value, tap)
            assert node.ordinal is not None
            self.taps[node.ordinal].append((slot, tap))
        self.last = max(self.taps, default=-1) if stop else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not computes(func):
            return func(*args, **(kwargs or {}))
        ordinal = self.done
        self.done += 1
        self._check(ordinal, operation(func), args)
        result = func(*args, **(kwargs or {}))
        for slot, tap in self.taps.get(ordinal, ()):
            result = _tapped(result, slot, tap)
        if ordinal == self.last:
            raise _Stop
        return result

    def _check(self, ordinal: int, op: str, args: tuple[Any, ...]) -> None:
        """Raise unless the operation and its parameters are those of the recorded pass."""
        expected = self.expected[ordinal] if ordinal < len(self.expected) else None
        if expected is None or expected.op != op:
            raise self._strayed(ordinal, f"'{op}'", f"'{expected.op}' in '{expected.module[0]}'" if expected else "")
        tensors = (leaf for leaf in tree_flatten(args)[0] if isinstance(leaf, Tensor) and leaf.data_ptr())
        used = {self.names[tensor.data_ptr()] for tensor in tensors if tensor.data_ptr() in self.names}
        if self.parameters[ordinal] and not used <= self.parameters[ordinal]:
            raise self._strayed(
                ordinal, f"'{op}' with {sorted(used)}", f"the same with {sorted(self.parameters[ordinal])}"
            )

    def _strayed(self, ordinal: int, found: str, expected: str) -> CaptureError:
        where = expected or "nothing more"
        return CaptureError(
            f"operation {ordinal} of the forward pass was {found}, where the recorded pass ran {where}: "
            "the network does not run the same operations for every input, so its layers cannot be told apart"
        )

    def check_end(self) -> None:
        """Raise if the pass ran fewer operations than the recorded one."""
        if self.done != len(self.expected):
            raise CaptureError(
                f"the forward pass ran {self.done} operations, the recorded one {len(self.expected)}: the network "
                "does not run the same operations for every input, or runs them where they cannot be seen (compiled, "
                "scripted, or in other threads); give the plain module"
            )


def _parameters(graph: Graph, node: Node) -> set[str]:
    """Names of the parameters that a node uses, also through a view."""
    names = set()
    for value in node.inputs:
        while value in graph.producers and graph.producers[value].ordinal is None:
            value = graph.producers[value].inputs[0] if graph.producers[value].inputs else -1
        names |= {graph.names[value]} if value in graph.names else set()
    return names


def _computing(graph: Graph, value: int, tap: Tap) -> tuple[Node, int, Tap]:
    """The node that computes `value`, which of its outputs it is, and the tap on that output."""
    node = graph.producers.get(value)
    if node is not None and node.ordinal is None and node.op in {"view", "_unsafe_view"}:
        shape = graph.shapes[value][1:]  # a linear layer folds (n, ..., c) into rows: show the tap what it unfolds to
        tap, value = _reshaped(tap, shape), node.inputs[0]
        node = graph.producers.get(value)
    if node is None or node.ordinal is None:
        raise CaptureError(f"value {value} of the graph is not the result of a computation, so it cannot be tapped")
    return node, node.outputs.index(value), tap


def _reshaped(tap: Tap, shape: tuple[int, ...]) -> Tap:
    def reshaped(tensor: Tensor) -> Tensor | None:
        new = tap(tensor.reshape(-1, *shape))
        return new.reshape(tensor.shape) if isinstance(new, Tensor) else None

    return reshaped


def _tapped(result: Any, slot: int, tap: Tap) -> Any:
    """`result` after the tap saw its tensor number `slot`, with that tensor's content replaced if the tap gave one."""
    tensor = result if isinstance(result, Tensor) else [item for item in result if isinstance(item, Tensor)][slot]
    new = tap(tensor)
    if isinstance(new, Tensor) and new is not tensor:
        with torch.no_grad():  # into the same memory: an in-place operation returns the tensor that others hold
            tensor.copy_(new)
    return result
