"""What figures of filters have in common: how noisy they are, as a chart and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from convscope.filters import noise
from convscope.render.figures.sheet import BLUE, GREY, RED, SMALL, Sheet, styled
from convscope.render.text import percent

Place = tuple[float, float, float, float]  # of a chart: left, top, width and height, px

_NAMES = {"hf": "share of high frequencies", "variation": "variation"}


@dataclass(frozen=True, eq=False)
class Noise:
    """How noisy the filters of a layer are.

    Args:
        verdicts: what `convscope.filters.noise.judge` says.
        shape: of their kernels.
        slices: that were measured of each.
    """

    verdicts: dict[str, NDArray[Any]]
    shape: tuple[int, int]
    slices: int

    @property
    def noisy(self) -> NDArray[np.bool_]:
        """(units,): as fine as random weights, and no more regular."""
        noisy: NDArray[np.bool_] = self.verdicts["noisy"] & ~self.verdicts["regular"]
        return noisy

    @property
    def counts(self) -> dict[str, int]:
        """How many filters are noisy, how many of them fine but regular, and how many flat."""
        fine = self.verdicts["noisy"] & self.verdicts["regular"]
        return {"noisy": int(self.noisy.sum()), "fine": int(fine.sum()), "flat": int(self.verdicts["flat"].sum())}

    def colour(self, unit: int) -> str:
        """Of a unit's number: red where it is noisy."""
        return RED if self.noisy[unit] else GREY

    def chart(self, sheet: Sheet, place: Place) -> None:
        """Every unit as a point, in what the verdict looks at; random filters lie in the shaded corner."""
        name = noise.second(self.shape)
        axes = sheet.chart(*place, "correlation of neighbouring weights", _NAMES[name])
        x, y, alive = self.verdicts["autocorrelation"], self.verdicts[name], ~self.verdicts["flat"]
        points(axes, x[alive], y[alive], self.noisy[alive])
        right, low, _ = (float(limit[self.slices - 1]) for limit in noise.limits(self.shape, self.slices))
        left, top = min(axes.get_xlim()[0], right - 0.1), max(axes.get_ylim()[1], low * 1.1)
        axes.set(xlim=(left, max(axes.get_xlim()[1], right + 0.1)), ylim=(min(axes.get_ylim()[0], low * 0.9), top))
        axes.fill_between([left, right], low, top, color=RED, alpha=0.08, linewidth=0, zorder=0)
        with styled():
            axes.text(
                0, 1.01, "as in random weights", ha="left", va="bottom", size=SMALL, color=RED, transform=axes.transAxes
            )

    def caption(self) -> str:
        """What the verdict says, and how it was found."""
        units, counts = len(self.noisy), self.counts
        measure = "vary more" if noise.second(self.shape) == "variation" else "have more high frequencies"
        text = (
            f"Noise: {counts['noisy']} of {units} filters ({percent(counts['noisy'] / units)}) are as rough as random "
            "weights: neighbouring weights agree less than in the smoothest 5 % of 1,000 random filters of the same "
            f"size, and they {measure} than the lowest 5 %."
        )
        if counts["fine"]:
            text += f" {counts['fine']} more are as fine, but regular (low spectral entropy), as fine gratings are."
        return text + (f" {counts['flat']} are constant." if counts["flat"] else "")


def points(axes: Axes, x: NDArray[Any], y: NDArray[Any], noisy: NDArray[np.bool_]) -> None:
    """Filters as points; those as noisy as random ones as red rings."""
    size = 6 if len(x) < 200 else 3
    axes.scatter(x[~noisy], y[~noisy], s=size, color=BLUE, linewidths=0, alpha=0.8)
    axes.scatter(x[noisy], y[noisy], s=size, facecolors="none", edgecolors=RED, linewidths=0.5)
