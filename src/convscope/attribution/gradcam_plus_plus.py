"""Grad-CAM++: a map of the network, its channels weighted by where they raise the score [chattopadhay2018grad].

With g = ∂S/∂A(k, i, j)::

    α(k, i, j) = g² / (2 g² + g³ Σ A(k)),  0 where g is        w(k) = Σ α(k, i, j) max(g, 0)
    M(i, j) = max(Σ w(k) A(k, i, j), 0)

Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++: generalized gradient-based visual explanations for deep
convolutional networks", WACV 2018. The derivatives are those of exp(S) for a score that is linear in the map; the
factor exp(S) is left out, since it scales all of the map. g² cancels, so that a small gradient is no division by zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convscope.attribution.gradcam import WeightedMap


@dataclass(frozen=True)
class GradCAMPlusPlus(WeightedMap):
    """The map's channels, weighted by their positive gradients, (n, 1, rows, columns).

    Args:
        normalize: let the α of the places of a channel where the gradient is positive sum to 1, as the authors' code.
    """

    name: ClassVar[str] = "gradcam++"

    normalize: bool = False

    def weights(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """(n, k, 1, 1)."""
        below = 2 + gradient * activations.sum((2, 3), keepdim=True)
        alpha = torch.where((gradient != 0) & (below != 0), 1 / below.where(below != 0, 1), 0)
        if self.normalize:
            total = (alpha * (gradient > 0)).sum((2, 3), keepdim=True)
            alpha = alpha / total.where(total != 0, 1)
        return (alpha * gradient.clamp(min=0)).sum((2, 3), keepdim=True)
