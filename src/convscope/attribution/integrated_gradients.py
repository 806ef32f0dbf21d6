"""Integrated gradients: the parts of pixels in the rise of the score from a baseline [sundararajan2017axiomatic].

::

    M = (x - b) · ∫ ∂S/∂x (b + α (x - b)) dα  for α from 0 to 1,        Σ M = S(x) - S(b)

Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks", ICML 2017. The sum is complete up to the error of
the quadrature, which is given as evidence. A pixel that is as in the baseline has no part: with a black baseline black
things seem not to matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question
from convscope.errors import AttributionError

_TOLERATED = 0.05  # of the difference, as in the paper


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Gradients integrated on the way from a baseline to the image, (n, c, h, w).

    Args:
        steps: points at which the gradient is taken.
        baseline: a picture without what is to be explained: "black", "white", or "zero", the mean colour.
        quadrature: "gausslegendre" or "midpoint".
    """

    name: ClassVar[str] = "integrated_gradients"
    sign: ClassVar[str] = "part of the score's difference from the baseline's; positive raises it"

    steps: int = 50
    baseline: str = "black"
    quadrature: str = "gausslegendre"

    def explain(self, question: Question) -> Answer:
        """`steps` passes and two to know what the sum should be."""
        images, start = question.images, self._baseline(question)
        explained = question.run()
        total = torch.zeros_like(images)
        for place, weight in zip(*self._points(), strict=True):
            here = question.run(start + place * (images - start), explained.targets)
            total += weight * here.gradient()
        values = total * (images - start)
        difference = explained.scores - question.run(start, explained.targets).scores
        gap = values.double().flatten(1).sum(1) - difference.double()
        notes: tuple[str, ...] = ()
        if bool((gap.abs() > _TOLERATED * difference.abs()).any()):
            notes = ("the sum of a map misses the score's difference by more than 5 %: take more steps",)
        return Answer(values, explained, {"difference": difference, "completeness gap": gap}, notes)

    def _points(self) -> tuple[list[float], list[float]]:
        """Places on the way, 0 to 1, and their weights, which sum to 1."""
        if self.steps < 1:
            raise AttributionError(f"steps={self.steps}: at least one step is needed")
        if self.quadrature == "midpoint":
            return [(i + 0.5) / self.steps for i in range(self.steps)], [1 / self.steps] * self.steps
        if self.quadrature == "gausslegendre":
            places, weights = np.polynomial.legendre.leggauss(self.steps)
            return ((places + 1) / 2).tolist(), (weights / 2).tolist()
        raise AttributionError(f"quadrature={self.quadrature!r}: expected 'gausslegendre' or 'midpoint'")

    def _baseline(self, question: Question) -> Tensor:
        """(n, c, h, w), every pixel the same."""
        if self.baseline == "zero":
            return torch.zeros_like(question.images)
        preprocess, ends = question.network.preprocess, ("black", "white")
        if self.baseline not in ends:
            raise AttributionError(f"baseline={self.baseline!r}: expected 'black', 'white' or 'zero'")
        level = preprocess.range[ends.index(self.baseline)]
        normal = [(level - m) / s for m, s in zip(*np.broadcast_arrays(preprocess.mean, preprocess.std), strict=True)]
        return question.images.new_tensor(normal).reshape(-1, 1, 1).expand_as(question.images)
