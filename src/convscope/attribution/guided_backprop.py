"""Guided backpropagation: the gradient along paths on which every signal is positive [springenberg2015striving].

::

    R · 1[x > 0] · 1[R > 0]  at a ReLU,  max(R, 0) · max(σ'(x), 0)  at any other non-linearity σ

Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for simplicity: the all convolutional net", ICLR 2015 workshop.
Sharp, and hardly about the class: it stays nearly the same when the upper layers are given random weights (Adebayo et
al., "Sanity checks for saliency maps", NeurIPS 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convscope.attribution.base import Answer, Attribution, Question
from convscope.backward_rules import GUIDED


@dataclass(frozen=True)
class GuidedBackprop(Attribution):
    """The guided gradient, (n, c, h, w)."""

    name: ClassVar[str] = "guided_backprop"
    sign: ClassVar[str] = "positive where a larger input raises the score along positive paths"
    form: ClassVar[str] = "pattern"

    def explain(self, question: Question) -> Answer:
        """One pass."""
        explained = question.run(rule=GUIDED)
        return Answer(explained.gradient(), explained)
