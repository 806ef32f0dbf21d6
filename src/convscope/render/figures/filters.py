"""The filters of a layer as a figure [METHODS 3.1 and 3.2]: pictures, rows of tiles, or a matrix.

Filters that see the image in one channel or three are pictures; others are rows of tiles, one for each input channel;
those of one pixel are a matrix of norms.
"""

from __future__ import annotations

from convscope.filters import noise
from convscope.filters.weights import Weights
from convscope.preprocess import Preprocess
from convscope.render.figures import matrix, pictures, rows
from convscope.render.figures.charts import Noise
from convscope.render.figures.sheet import Sheet


def draw(title: str, weights: Weights, preprocess: Preprocess, start: int = 0) -> tuple[Sheet, int, Noise | None]:
    """The figure of a layer's filters, how many of its units are shown, from number `start` on, and their noise."""
    shape = weights.slices.shape
    kernel = shape[2], shape[3]
    judged = None
    if noise.can_measure(kernel):
        judged = Noise(noise.judge(weights.strongest(noise.SLICES).slices), kernel, min(shape[1], noise.SLICES))
    if weights.first and shape[1] in (1, 3):
        return *pictures.draw(title, weights, preprocess, judged, start), judged
    if max(kernel) > 1:
        return *rows.draw(title, weights, judged, start), judged
    return *matrix.draw(title, weights), judged
