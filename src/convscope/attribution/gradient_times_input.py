"""Gradient × input: the parts that the pixels have in a score, were the network linear [shrikumar2016not].

::

    M(c, y, x) = x(c, y, x) · ∂S/∂x(c, y, x)

Shrikumar, Greenside, Shcherbina, Kundaje, "Not just a black box", 2016. For a network of ReLUs without biases the sum
over all pixels is the score (Euler); with biases the difference is what they add, and is given as evidence. A pixel
that is zero after normalisation, of the mean colour, has no part however important it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convscope.attribution.base import Answer, Attribution, Question


@dataclass(frozen=True)
class GradientTimesInput(Attribution):
    """Input times gradient, (n, c, h, w)."""

    name: ClassVar[str] = "gradient_times_input"
    sign: ClassVar[str] = "part of the score; positive where the pixel's difference from zero (the mean) raises it"

    def explain(self, question: Question) -> Answer:
        """One pass."""
        explained = question.run()
        values = question.images * explained.gradient()
        rest = explained.scores - values.flatten(1).sum(1)
        return Answer(values, explained, {"score that is not in the map": rest})
