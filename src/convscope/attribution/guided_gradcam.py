"""Guided Grad-CAM: guided backpropagation where Grad-CAM is large [selvaraju2017grad].

::

    M(c, y, x) = guided backpropagation(c, y, x) · Grad-CAM placed on the image(y, x)

Selvaraju et al., "Grad-CAM", ICCV 2017. The fine structure is that of guided backpropagation, and what was said of it
holds here: it hardly depends on the class. The place is Grad-CAM's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convscope.attribution.base import Answer, Attribution, Question, placed
from convscope.attribution.gradcam import GradCAM
from convscope.backward_rules import GUIDED


@dataclass(frozen=True)
class GuidedGradCAM(Attribution):
    """The product of the two, (n, c, h, w).

    Args:
        layer: the map of Grad-CAM, as "features.12" or "layer4"; without it the last one on the way to the target.
        place: how it is placed on the image: "field", by the fields of its cells, or "naive", a resize as in the paper.
    """

    name: ClassVar[str] = "guided_gradcam"
    sign: ClassVar[str] = "positive where a larger input raises the score along positive paths"
    form: ClassVar[str] = "pattern"

    layer: str | None = None
    place: str = "field"

    def explain(self, question: Question) -> Answer:
        """Two passes."""
        coarse = GradCAM(self.layer).explain(question)
        assert coarse.grid is not None
        guided = question.run(targets=coarse.explained.targets, rule=GUIDED)
        values = placed(coarse.values, coarse.grid, self.place) * guided.gradient()
        return Answer(values, guided, coarse.evidence, coarse.notes, coarse.blank)
