"""Score-CAM: a map of the network, its channels weighted by the score of what they leave of the image [wang2020score].

With the channel k of the map placed on the image and scaled to 0 to 1, H(k)::

    w = softmax over k of S(x ⊙ H(k))        M(i, j) = max(Σ w(k) A(k, i, j), 0)

Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, "Score-CAM: score-weighted visual explanations for convolutional neural
networks", CVPR workshops 2020. The paper subtracts the score of a baseline image, which the softmax cancels. No
gradient is needed. What is masked becomes zero after normalisation, the mean colour. Channels that are the same
everywhere mask nothing and are left out. If all masked images score the same, the map is the mean of the channels,
whatever the target: evidence has the range of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question, placed
from convscope.attribution.gradcam import HIDDEN, rectified
from convscope.attribution.map_layer import map_layer
from convscope.geometry import Grid
from convscope.scored import Fixed

_ROUNDING = 1e-5  # of a mask's largest value: what varies by less is the same everywhere


@dataclass(frozen=True)
class ScoreCAM(Attribution):
    """The map's channels, weighted by what they leave of the score, (n, 1, rows, columns).

    Args:
        layer: the map, as "features.12" or "layer4"; without it the last one on the way to the target.
        place: how channels are placed on the image: "field", by the fields of their cells, or "naive", a resize as in
            the paper.
    """

    name: ClassVar[str] = "scorecam"
    sign: ClassVar[str] = "never negative; large where channels respond that preserve the score as masks"
    form: ClassVar[str] = "size"
    costly: ClassVar[bool] = True

    layer: str | None = None
    place: str = "field"

    def explain(self, question: Question) -> Answer:
        """A pass for each channel and image."""
        found = map_layer(question, self.layer)
        with torch.no_grad():
            explained = question.run(keep=(found.value,))
            activations = found.activations(explained)
            rows = zip(question.images, activations, explained.targets, strict=True)
            weighed = [self._weights(question, image, maps, found.grid, target) for image, maps, target in rows]
        weights = torch.stack([weights for weights, _ in weighed])[:, :, None, None]
        values, hidden, blank = rectified((weights * activations).sum(1, keepdim=True))
        evidence = {HIDDEN: hidden, "range of the masked scores": torch.stack([spread for _, spread in weighed])}
        return Answer(values, explained, evidence, found.notes, blank, found.grid)

    def _weights(
        self, question: Question, image: Tensor, maps: Tensor, grid: Grid, target: Fixed
    ) -> tuple[Tensor, Tensor]:
        """Of the channels of a map (k, rows, columns): the weights (k,), and the range of their scores ()."""
        scores = torch.full(maps.shape[:1], -torch.inf, dtype=maps.dtype, device=maps.device)
        size = question.passes()
        for start in range(0, len(maps), size):
            masks = placed(maps[start : start + size], grid, self.place)
            low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
            used = (high - low > _ROUNDING * masks.abs().amax((1, 2), keepdim=True)).flatten().nonzero()[:, 0]
            if len(used):
                masked = image * ((masks - low) / (high - low))[used, None]
                scores[start + used] = question.run(masked, [target] * len(used)).scores.to(scores)
        known = scores[scores.isfinite()]
        if not len(known):
            return torch.zeros_like(scores), scores.new_zeros(())
        return scores.softmax(0), known.max() - known.min()
