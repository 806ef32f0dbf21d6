"""A reliability diagram: of the images of which a network is so sure, how many are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convscope.evaluation import Calibration
from convscope.evaluation.calibration import BINS
from convscope.evaluation.intervals import wilson
from convscope.render.figures.sheet import BLUE, GREY, Sheet, styled
from convscope.render.text import figure

_SIDE, _GAP, _BARS = 480, 40, 130  # px: the diagram, and below it the images by confidence


@dataclass(frozen=True)
class Reliability:
    """The diagram, and what is said of it."""

    calibration: Calibration

    @property
    def height(self) -> int:
        """In px, with the numbers below the axis."""
        return _SIDE + _GAP + _BARS + 70

    @property
    def caption(self) -> str:
        """What it shows."""
        error, nll = self.calibration.expected_error, self.calibration.nll
        return (
            "At the right, how far its confidence can be believed: images in bins of the probability of the predicted "
            "class, the share of them that is right with its 95 % interval, and below how many there are. On the "
            f"diagonal confidence and accuracy agree; expected calibration error {figure(error)}, negative "
            f"log-likelihood {figure(nll)} nats."
        )

    def draw(self, sheet: Sheet, x: int, y: int) -> None:
        """Draw it with its upper left corner at (x, y)."""
        there = np.flatnonzero(self.calibration.images)
        images, right = self.calibration.images[there], self.calibration.right[there]
        confidence, accuracy = self.calibration.confidences[there] / images, right / images
        ends = np.array([wilson(int(one), int(count)) for one, count in zip(right, images, strict=True)]).reshape(-1, 2)
        axes = sheet.chart(x, y, _SIDE, _SIDE, "", "accuracy")
        bars = sheet.chart(x, y + _SIDE + _GAP, _SIDE, _BARS, "confidence", "images")
        with styled():
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.5, linestyle=(0, (4, 3)))
            axes.vlines(confidence, ends[:, 0], ends[:, 1], color=BLUE, linewidth=0.6)
            axes.scatter(confidence, accuracy, s=5, color=BLUE, linewidths=0, zorder=3)
            axes.set(xlim=(0, 1), ylim=(0, 1.01), xticklabels=[])
            bars.bar((there + 0.5) / BINS, images, width=0.9 / BINS, color=BLUE)
            bars.set(xlim=(0, 1))
            bars.locator_params(axis="y", nbins=3, integer=True)
