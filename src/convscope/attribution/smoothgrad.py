"""SmoothGrad: the gradient, averaged over noisy copies of the image [smilkov2017smoothgrad].

::

    M = 1/n Σ ∂S/∂x (x + e),  e ~ N(0, σ²),  σ = level · (max(x) - min(x))

Smilkov, Thorat, Kim, Viégas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017. The signed gradients are
averaged, and the channels are reduced after that, so that noise cancels. What is explained stays the same in all
copies: the class predicted for the image itself, the position of a unit's maximum on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from convscope.attribution.base import Answer, Attribution, Question, per_pixel
from convscope.attribution.saliency import reduced
from convscope.errors import AttributionError

_COMBINED = ("mean", "squares", "variance")


@dataclass(frozen=True)
class SmoothGrad(Attribution):
    """The mean gradient over noisy copies: of the channels the largest magnitude, (n, 1, h, w).

    Args:
        samples: noisy copies of each image.
        level: standard deviation of the noise, as a share of the span of the image's values.
        combine: "mean" of the gradients, mean of their "squares" (SmoothGrad²), or their "variance" (VarGrad).
        signed: give each channel, (n, c, h, w).
        seed: of the noise, which is the same for every image.
    """

    name: ClassVar[str] = "smoothgrad"
    sign: ClassVar[str] = (
        "score per unit of a pixel value; never negative unless signed, then positive where brighter raises"
    )
    form: ClassVar[str] = "size"

    samples: int = 50
    level: float = 0.15
    combine: str = "mean"
    signed: bool = False
    seed: int = 0

    def explain(self, question: Question) -> Answer:
        """A pass for each sample."""
        if self.samples < 1 or self.level < 0 or self.combine not in _COMBINED:
            raise AttributionError(f"{self}: samples must be 1 or more, level 0 or more, combine one of {_COMBINED}")
        images, generator = question.images, torch.Generator().manual_seed(self.seed)
        explained = question.run()
        spread = self.level * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        total, squares = (torch.zeros_like(images, dtype=torch.float64) for _ in range(2))
        for _ in range(self.samples):
            noise = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64).to(images)
            noisy = question.run(images + spread * noise, explained.targets)
            gradient = per_pixel(noisy.gradient(), question.network).double()
            total += gradient
            squares += gradient**2
        mean, square = total / self.samples, squares / self.samples
        variance = (square - mean**2).clamp(min=0)
        values = {"mean": mean, "squares": square, "variance": variance}[self.combine]
        error = (variance / max(1, self.samples - 1)).sqrt().flatten(1).mean(1)
        return Answer(reduced(values, self.signed), explained, {"mean standard error of the gradient": error})
