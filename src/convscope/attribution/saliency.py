"""Saliency: how fast the target changes with each pixel [simonyan2014deep].

::

    w = ∂S/∂x        M(y, x) = max over channels of |w(c, y, x)|

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop. S is the logit, not the
probability and not the loss, whose gradient mixes all classes. The derivative is by pixel values before normalisation,
so that channels are comparable. It says where a small change of the image would change the score, not what the score
consists of, and it is noisy where the network has many kinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question, per_pixel


@dataclass(frozen=True)
class Saliency(Attribution):
    """The gradient of the target: of the channels the largest |gradient|, (n, 1, h, w).

    Args:
        signed: give the gradient itself, (n, c, h, w).
    """

    name: ClassVar[str] = "saliency"
    sign: ClassVar[str] = (
        "score per unit of a pixel value; never negative unless signed, then positive where brighter raises"
    )
    form: ClassVar[str] = "size"

    signed: bool = False

    def explain(self, question: Question) -> Answer:
        """One pass."""
        explained = question.run()
        return Answer(reduced(per_pixel(explained.gradient(), question.network), self.signed), explained)


def reduced(gradient: Tensor, signed: bool) -> Tensor:
    """(n, c, h, w) as it is, or the largest magnitude among its channels, (n, 1, h, w)."""
    return gradient if signed else gradient.abs().amax(1, keepdim=True)
