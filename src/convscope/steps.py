"""What passes signals back through a recorded graph as one: an operation, or a function that a rule is for.

Under a rule of `backward_rules` a function of PyTorch is passed as a whole, be it one operation of the graph, as a
rectifier, or several, as a local response normalisation. Which operations belong to it is seen in a pass of the network
in which autograd would record the rule.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from convscope import capture, gradients
from convscope.backward_rules import Redirected, Rule
from convscope.execution import is_repeatable, tensors_in
from convscope.graph import Graph, Node, operation, sources
from convscope.network import Network
from convscope.replay import Replay
from convscope.touched import COPIES, is_pointwise

# Operations whose gradient does not depend on the numbers that they are given.
LINEAR = COPIES | {
    "add", "sub", "neg", "cat", "stack", "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "slice", "select",
    "split", "split_with_sizes", "chunk", "transpose", "permute", "expand", "constant_pad_nd", "avg_pool2d", "mean",
    "sum",
}  # fmt: skip
_BATCH_NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"}


@dataclass(frozen=True)
class Step:
    """Operations that pass signals back as one.

    Args:
        nodes: in the order in which they ran.
        how: "gradient"; "slope", the same where they work on every number by itself; "rule", of these; or "identity",
            as if they were not there.
        inputs: the values that depend on the image and that they are a function of.
    """

    nodes: tuple[Node, ...]
    how: str
    inputs: tuple[int, ...]

    @property
    def output(self) -> int:
        """The value that they give, where it is one."""
        return self.nodes[-1].outputs[0]


def steps(network: Network, replay: Replay, image: Tensor, rule: Rule | None) -> tuple[list[Step], str | None]:
    """All that leads from an image (1, c, h, w) to the values of a replay, and why a signal cannot go back so, if not.

    Raises:
        AttributionError: the rule cannot be applied to the network.
    """
    look = _Look(rule)
    look.run(network, replay, image)
    found = [_step(part, how, replay) for part, how in _parts(replay.varying, look.functions)]
    return found, _unlike(network, replay) or look.hidden or _not_by_number(found, replay.graph)


def _parts(nodes: Sequence[Node], functions: dict[int, tuple[int, str]]) -> list[tuple[tuple[Node, ...], str]]:
    """The nodes, those of a call of a function that the rule is for as one part."""
    calls: dict[int, int] = {}
    for call in dict.fromkeys(call for call, _ in functions.values()):
        inside = [index for index, (other, _) in functions.items() if other == call]
        calls |= dict.fromkeys(range(min(inside), max(inside) + 1), call)  # views too
    groups = itertools.groupby(nodes, lambda node: calls.get(node.index, -1 - node.index))
    parts = [tuple(group) for _, group in groups]
    return [(part, functions[part[-1].index][1] if part[-1].index in calls else "gradient") for part in parts]


def _step(nodes: tuple[Node, ...], how: str, replay: Replay) -> Step:
    graph, last = replay.graph, nodes[-1]
    made = {value for node in nodes for value in node.outputs}
    used = dict.fromkeys(value for node in nodes for value in sources(node))
    inputs = tuple(value for value in used if value in graph.dependent and value not in made)
    by_number = is_pointwise(last) or (last.op in _BATCH_NORMS and last.index in replay.rules)
    alike = len(inputs) == 1 and graph.shapes[inputs[0]] == graph.shapes[last.outputs[0]]
    if how == "gradient" and by_number and alike and last.op.removesuffix("_") not in LINEAR:
        how = "slope"
    return Step(nodes, how, inputs)


def _unlike(network: Network, replay: Replay) -> str | None:
    """What another pass of the network does that the graph does not."""
    last = max((node.index for node in replay.nodes), default=-1)
    for node in replay.graph.nodes[: last + 1]:
        if not is_repeatable(node, replay.graph):
            return f"the network looks at numbers ({node.op})"
        if node.function is not None and torch.Tag.nondeterministic_seeded in node.function.tags:
            return f"the network draws random numbers ({node.op})"
    if any(module._backward_hooks or module._backward_pre_hooks for module in network.module.modules()):
        return "the network has hooks for its backward pass"
    return None


def _not_by_number(found: Sequence[Step], graph: Graph) -> str | None:
    for step in found:
        shapes = [graph.shapes[value] for value in step.inputs]
        if step.how in ("rule", "identity") and shapes != [graph.shapes[step.output]]:
            return f"{step.nodes[-1].op} is no function of one value, number by number"
    return None


class _Look(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base has no types
    """Watches a pass of which autograd keeps a record.

    After it `functions` has, for each node inside a function that the rule is for, the number of its call, and "rule"
    or "identity"; and `hidden` what autograd does not see as the operations that it is.
    """

    def __init__(self, rule: Rule | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mode = None if rule is None else Redirected(rule)
        self.functions: dict[int, tuple[int, str]] = {}
        self.hidden: str | None = None

    def run(self, network: Network, replay: Replay, image: Tensor) -> None:
        graph, mode = replay.graph, self.mode
        taps = {} if mode is None else mode.taps(graph, replay.values)
        nodes = [node for node in replay.varying if node.ordinal is not None]
        every = {node.outputs[0]: self._tap(node, taps.get(node.outputs[0])) for node in nodes}
        with mode or contextlib.nullcontext(), self:
            gradients.result_of(network, graph, image.detach().clone().requires_grad_(), every, stop=True)
        if mode is not None:
            mode.check()

    def _tap(self, node: Node, other: capture.Tap | None) -> capture.Tap:
        def tap(tensor: Tensor) -> None:
            if other is not None:
                other(tensor)
            if self.mode is not None and self.mode.running:
                self.functions[node.index] = self.mode.calls, self.mode.running

        return tap

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        running = self.mode is not None and self.mode.running
        if not running and not torch.is_grad_enabled() and self.hidden is None:
            leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
            if any(leaf.requires_grad for leaf in leaves) and any(x.is_floating_point() for x in tensors_in(result)):
                self.hidden = f"the network runs {operation(func)} without a gradient, or with one of its own"
        return result
