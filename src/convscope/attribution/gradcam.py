"""Grad-CAM: a map of the network, its channels weighted by their mean gradients [selvaraju2017grad].

::

    α(k) = mean over i, j of ∂S/∂A(k, i, j)        M(i, j) = max(Σ α(k) A(k, i, j), 0)

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: visual explanations from deep networks via gradient-based
localization", ICCV 2017. S is the logit. With global average pooling over h × w cells and a linear layer it is
max(CAM, 0) / (h · w). What speaks against the target is not in the map; evidence says how much that is.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question
from convscope.attribution.map_layer import map_layer


@dataclass(frozen=True)
class WeightedMap(Attribution):
    """The positive part of a weighted sum of the channels of a map, (n, 1, rows, columns) on the map's own grid.

    Args:
        layer: the map, as "features.12" or "layer4"; without it the last one on the way to the target.
    """

    sign: ClassVar[str] = "never negative; large where the map's channels that raise the score respond"
    form: ClassVar[str] = "size"

    layer: str | None = None

    def explain(self, question: Question) -> Answer:
        """One pass, differentiated by the map."""
        found = map_layer(question, self.layer)
        explained = question.run(keep=(found.value,))
        activations = found.activations(explained)
        gradient = found.first(explained.gradient(by=found.value))
        values, hidden, blank = rectified((self.weights(activations, gradient) * activations).sum(1, keepdim=True))
        return Answer(values, explained, {HIDDEN: hidden}, found.notes, blank, found.grid)

    @abstractmethod
    def weights(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """Of the activations (n, k, h, w), which they broadcast with."""


HIDDEN = "share of the map below zero, not shown"


def rectified(total: Tensor) -> tuple[Tensor, Tensor, tuple[str | None, ...]]:
    """The positive part of (n, 1, h, w), the negative share of all (n,), and why it is zero, where all is negative."""
    below, size = total.clamp(max=0).flatten(1).abs().sum(1), total.flatten(1).abs().sum(1)
    share = below / size.where(size > 0, 1)
    reason = "the weighted sum of the channels is negative everywhere: all cells speak against the target"
    return total.clamp(min=0), share, tuple(reason if part == 1 else None for part in share.tolist())


@dataclass(frozen=True)
class GradCAM(WeightedMap):
    """The map's channels, weighted by the mean gradient of each, (n, 1, rows, columns)."""

    name: ClassVar[str] = "gradcam"

    def weights(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """The mean gradient of each channel, (n, k, 1, 1)."""
        return gradient.mean((2, 3), keepdim=True)
