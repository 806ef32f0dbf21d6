"""Positions at which a sigmoid-like non-linearity is saturated: where its slope is below 1e-3 [METHODS 0.3].

The slope follows from the response itself: y (1 - y) for a sigmoid, 1 - y² for tanh; a hard one is flat at its ends. A
rectifier with a ceiling (ReLU6) counts at the ceiling alone, since its zeros have names of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.graph import Node
from convscope.panel import Panel
from convscope.statistics.base import Accumulator, Activations, Statistic

_SLOPE = 1e-3
_SIGMOID = (1 - math.sqrt(1 - 4 * _SLOPE)) / 2
_TANH = math.sqrt(1 - _SLOPE)


def ends(node: Node | None) -> tuple[float, float] | None:
    """The responses at or below and at or above which the non-linearity `node` is saturated; None for any other."""
    op = node.op.removesuffix("_") if node is not None else ""
    if op == "sigmoid":
        return _SIGMOID, 1 - _SIGMOID
    if op == "tanh":
        return -_TANH, _TANH
    if op == "hardsigmoid":
        return 0.0, 1.0
    if op in {"hardtanh", "clamp"} and node is not None:
        low, high = (node.arguments.get(f"{end}_val", node.arguments.get(end)) for end in ("min", "max"))
        if high is not None:
            return -math.inf if not low else float(low), float(high)
    return None


@dataclass(frozen=True)
class Saturation(Statistic):
    """How many positions are saturated."""

    name: ClassVar[str] = "saturation"

    def start(self, units: int, places: tuple[int, ...]) -> SaturationAccumulator:
        """See `Statistic.start`."""
        return SaturationAccumulator(units)

    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """Nothing: the share stands among the moments."""
        return []


class SaturationAccumulator(Accumulator):
    """Counts (units,)."""

    def __init__(self, units: int) -> None:
        self.positions = np.zeros(units, np.int64)

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        if activations.saturation is not None:
            low, high = activations.saturation
            outside = (activations.rows <= low) | (activations.rows >= high)
            self.positions += outside.sum((0, 1)).cpu().numpy()

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, SaturationAccumulator)
        self.positions += other.positions

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        return {"positions": torch.from_numpy(self.positions.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        self.positions = state["positions"].numpy().copy()
