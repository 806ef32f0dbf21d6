"""LayerCAM: a map of the network, each cell weighted by its own positive gradient [jiang2021layercam].

::

    M(i, j) = max(Σ max(∂S/∂A(k, i, j), 0) · A(k, i, j), 0)

Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM: exploring hierarchical class activation maps for localization", IEEE
Transactions on Image Processing 2021. Not averaged over the map, so it is of use on early layers with fine maps too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from convscope.attribution.gradcam import WeightedMap


@dataclass(frozen=True)
class LayerCAM(WeightedMap):
    """The map's cells, weighted by their positive gradients, (n, 1, rows, columns)."""

    name: ClassVar[str] = "layercam"

    def weights(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """(n, k, h, w)."""
        return gradient.clamp(min=0)
