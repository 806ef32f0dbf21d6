"""What a non-linearity does to the signal that flows back through it: deconvnet, guided backpropagation, and new ones.

>>> with Redirected(GUIDED) as mode:
...     result = capture.run(module, pixels, graph, mode.taps(graph, values))
>>> mode.check()

For a pointwise non-linearity σ with input x and signal R [METHODS 0.3, 7.0]::

    gradient     R · σ'(x)                 what PyTorch does
    deconvnet    max(R, 0)                 Zeiler and Fergus 2014
    guided       max(R, 0) · max(σ'(x), 0) Springenberg et al. 2015

The rule is a part of autograd's graph, put there while the network runs, whatever the spelling: ``nn.ReLU``,
``F.relu``, ``torch.relu``, ``x.relu_()``, in place, reused, through a view. Which non-linearities there are says the
recorded graph, so that one that was not reached is an error and not the plain gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convscope.bending import bends, curves, is_of_one_number
from convscope.capture import Tap
from convscope.errors import AttributionError
from convscope.graph import Graph, Node

Slope = Callable[[], Tensor]


@dataclass(frozen=True)
class Rule:
    """What passes down.

    Args:
        signal: gives it from the incoming signal R and a function that computes σ'(x), both of the shape of x.
        needs_slope: whether that function is called.
        identity: functions of PyTorch, by name, that pass the signal as it is, as if they were not there.
    """

    name: str
    signal: Callable[[Tensor, Slope], Tensor]
    needs_slope: bool
    identity: frozenset[str] = frozenset()


DECONVNET = Rule("deconvnet", lambda signal, _: signal.clamp(min=0), False, frozenset({"local_response_norm"}))
GUIDED = Rule("guided", lambda signal, slope: signal.clamp(min=0) * slope().clamp(min=0), True)

# Functions and methods of PyTorch that are non-linear in every number of their first argument alone.
_NAMES = {
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "silu", "gelu", "hardswish", "mish", "elu", "celu",
    "selu", "softplus", "softsign", "hardsigmoid", "sigmoid", "expit", "special_expit", "tanh", "threshold",
    "logsigmoid", "log_sigmoid", "tanhshrink", "hardshrink", "softshrink", "sin", "cos", "atan", "arctan",
}  # fmt: skip
_CLAMPS = {"clamp", "clamp_min", "clamp_max", "clip"}


class Redirected(TorchFunctionMode):
    """Inside it every non-linearity passes signals back by `rule`, also after the ``with``."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.running = ""  # "rule" or "identity", while a function runs that passes signals so
        self.calls = 0  # of such functions
        self.expected: list[Node] = []
        self.reached: set[int] = set()
        self.left: set[str] = set()  # what else is not linear
        self.identities: set[str] = set()

    def taps(self, graph: Graph, values: Iterable[int]) -> dict[int, Tap]:
        """Taps that notice which non-linearities on the way to `values` are reached, for `convscope.capture.run`."""
        nodes = graph.ancestors(values)
        self.expected = [node for node in nodes if bends(node, graph)]
        curved = [node for node in nodes if curves(node, graph)]
        return {node.outputs[0]: self._notice(node, graph) for node in self.expected + curved}

    def _notice(self, node: Node, graph: Graph) -> Tap:
        alone = is_of_one_number(node, graph)

        def tap(_: Tensor) -> None:
            if self.running == "rule" and alone:
                self.reached.add(node.index)
            elif not self.running:
                self.left.add(node.op.strip("_"))

        return tap

    def check(self) -> Counter[str]:
        """How many of each non-linearity were redirected.

        Raises:
            AttributionError: one was not.
        """
        missed = next((node for node in self.expected if node.index not in self.reached), None)
        if missed is not None:
            where = f"in {missed.module[0]!r}" if missed.module[0] else "in the network's own forward()"
            raise AttributionError(
                f"the non-linearity {missed.op!r} {where} is out of reach of the rule {self.rule.name!r}, so that the "
                "map would be wrong: it is written by hand, scripted, in a function of its own for autograd, or "
                "recomputed (checkpoint); write it as a module or function of PyTorch, such as nn.ReLU or F.silu"
            )
        return Counter(node.op.removesuffix("_") for node in self.expected)

    def notes(self) -> list[str]:
        """What must be known of a map that is made with the rule."""
        other = sorted({node.op.removesuffix("_") for node in self.expected} - {"relu"})
        left = sorted(self.left)
        return [
            *([f"there is no non-linearity on the way: {self.rule.name} is the gradient"] if not self.expected else []),
            *([f"for {', '.join(other)} the rule is this toolkit's extension of the one for ReLU"] if other else []),
            *(f"{name} passes the signal as it is" for name in sorted(self.identities)),
            *([f"{', '.join(left)} pass the signal by their gradient"] if left else []),
        ]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "").strip("_")  # F.threshold is called _threshold
        identity = name in self.rule.identity
        if not identity and name not in _NAMES and not (name in _CLAMPS and _is_rectifier(name, args, kwargs)):
            return func(*args, **kwargs)
        x = args[0] if args else kwargs.pop("input", None)
        # Where no gradient is recorded there is nothing to redirect; what recomputes it later would not be reached.
        if not isinstance(x, Tensor) or not x.requires_grad or not torch.is_grad_enabled():
            return func(x, *args[1:], **kwargs)
        if identity:
            self.identities.add(name)
        return _Redirect.apply(x, lambda value: func(value, *args[1:], **kwargs), self, identity)  # type: ignore[no-untyped-call]


class _Redirect(torch.autograd.Function):
    """A pointwise function whose backward pass is a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], mode: Redirected, identity: bool) -> Tensor:
        ctx.rule, ctx.function, ctx.identity = mode.rule, function, identity
        mode.running = "identity" if identity else "rule"
        mode.calls += 1
        try:
            # A copy: the network may write over x, here or later on. Not kept by autograd, which would let a checkpoint
            # exchange it for what it recomputes outside of the mode.
            ctx.x = x.detach().clone() if mode.rule.needs_slope and not identity else None
            result = function(x)  # the last operation: its result is looked at when the next one comes
        finally:
            mode.running = ""
        if result is x:
            ctx.mark_dirty(x)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.identity:
            return signal, None, None, None
        return ctx.rule.signal(signal, lambda: slope(ctx.function, ctx.x)), None, None, None


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """σ'(x) of a pointwise function, as PyTorch defines it at kinks (0 at the kink of a ReLU)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        result = function(leaf.clone())  # it may work in place
        return torch.autograd.grad(result.sum(), leaf)[0]


def _is_rectifier(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a clamp is at zero, or between two numbers."""
    names = ("max",) if name == "clamp_max" else ("min", "max")
    bounds = dict(zip(names, args[1:], strict=False)) | kwargs
    low, high = bounds.get("min"), bounds.get("max")
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return False
    return low == 0 or high == 0 or (low is not None and high is not None)
