"""Deconvnet: the pattern that gave an activation, projected back to the pixels [zeiler2014visualizing].

Going down from one activation, all others of its layer zero: unpool by the switches of the forward pass, rectify the
signal itself, filter with the transposed weights; no biases. At a non-linearity σ with input x and signal R::

    gradient  R · σ'(x)        deconvnet  max(R, 0)        guided  max(R, 0) · max(σ'(x), 0)

Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014. Where pooling windows overlap, values
that meet at one switch add. Local response normalisation passes the signal as it is, a batch norm by its scale. The
image comes in through the switches and the first activation only, so that much of the picture is a property of the
filters: look at it beside a network with random weights before you read anything into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question
from convscope.backward_rules import DECONVNET
from convscope.gradients import Pass
from convscope.scored import UnitTarget


@dataclass(frozen=True)
class Deconvnet(Attribution):
    """Projection of one activation, or of a class from a signal of one, (n, c, h, w)."""

    name: ClassVar[str] = "deconvnet"
    sign: ClassVar[str] = "reconstructed pattern in the units of the input; zero is mid-grey"
    form: ClassVar[str] = "pattern"

    def explain(self, question: Question) -> Answer:
        """One pass, from the activation's own value."""
        explained = question.run(rule=DECONVNET)
        start = _start(explained)
        blank = tuple(
            None if value > 0 else _SILENT.format(target)
            for value, target in zip(start, explained.targets, strict=True)
        )
        return Answer(explained.gradient(start), explained, {"signal at the start": start}, blank=blank)


_SILENT = "the response of {} is not above zero, so there is nothing to project"


def _start(explained: Pass) -> Tensor:
    """(n,): what an activation is projected with."""
    is_unit = torch.tensor([isinstance(target, UnitTarget) for target in explained.targets]).to(explained.scores.device)
    return torch.where(is_unit, explained.scores.clamp(min=0), torch.ones_like(explained.scores))
