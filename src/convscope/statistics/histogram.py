"""A histogram of every unit's response, in bins that follow the bits of a float, and quantiles from it.

The bins are the top bits of a float32: sign, exponent, and the first bits of the mantissa. They keep the order of the
numbers, have the same relative width everywhere (16 to an octave, at most 6 % each), and are counted in integers, so
that merging is exact and the order does not matter. A plain scan counts a sample of the positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.panel import Bars, Panel
from convscope.statistics import kernels
from convscope.statistics.base import Accumulator, Activations, Scan, Statistic

# Exponents: magnitudes below 2^-18 count as zero, and those from 2^24 (16.8 million) on as infinite.
LOWEST, HIGHEST = -18, 24


@dataclass(frozen=True)
class Histogram(Statistic):
    """Counts of the response in bins of equal relative width.

    Args:
        bits: of the mantissa; 2^bits bins an octave.
        positions: of each map that are counted, drawn by a hash of image and layer; all where a map has fewer, or None.
    """

    name: ClassVar[str] = "histogram"
    bits: int = 4
    positions: int | None = 16

    @classmethod
    def of(cls, scan: Scan) -> Histogram:
        """See `Statistic.of`."""
        return cls(positions=None) if scan.exact_quantiles else cls()

    @property
    def magnitudes(self) -> int:
        """Bins of either sign, the last one for what is too large."""
        return ((HIGHEST - LOWEST) << self.bits) + 1

    def start(self, units: int, places: tuple[int, ...]) -> HistogramAccumulator:
        """See `Statistic.start`."""
        return HistogramAccumulator(self, units)

    def bins(self, values: Tensor) -> Tensor:
        """The bin of each float32 value: 0 the most negative, `magnitudes` zero, 2·magnitudes the largest."""
        shift = 23 - self.bits
        base = ((127 + LOWEST) << self.bits) - 1
        magnitude = ((values.view(torch.int32) & 0x7FFF_FFFF) >> shift).sub_(base).clamp_(0, self.magnitudes)
        return torch.where(values < 0, -magnitude, magnitude).add_(self.magnitudes)

    def edges(self) -> NDArray[np.float64]:
        """(bins + 1,) bounds of the bins; the outermost are infinite."""
        steps = np.arange((HIGHEST - LOWEST) << self.bits)
        positive = 2.0 ** (LOWEST + (steps >> self.bits)) * (1 + (steps % (1 << self.bits)) / (1 << self.bits))
        positive = np.append(positive, [2.0**HIGHEST, np.inf])
        return np.concatenate([-positive[::-1], positive])

    def quantile(self, counts: NDArray[np.int64], q: float) -> float:
        """The value below which a share `q` of the counted values lies, linear inside a bin.

        NaN without counts, and infinite where the value is too large for the bins.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q is {q}; expected a share from 0 to 1")
        total = counts.sum()
        if total == 0:
            return float("nan")
        below = np.cumsum(counts)
        first, last = np.flatnonzero(counts)[[0, -1]]  # empty bins outside hold no quantile, also not those of 0 and 1
        i = int(np.searchsorted(below, q * total, side="left").clip(first, last))
        inside = (q * total - (below[i] - counts[i])) / max(1, counts[i])
        edges = self.edges()
        if i in (0, len(counts) - 1):
            return float(edges[0] if i == 0 else edges[-1])
        if i == self.magnitudes:  # the bin of zero holds zeros far more often than anything else
            return 0.0
        return float(edges[i] + inside * (edges[i + 1] - edges[i]))

    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """Bars of the counts, in 48 even bins between the smallest and the largest value."""
        counts = np.asarray(state["counts"][unit])
        beyond = int(counts[0] + counts[-1])
        edges, heights = _evenly(self.edges()[1:-1], counts[1:-1], self.magnitudes - 1)
        where = "all positions of each image"
        if self.positions is not None:
            where = f"{self.positions} positions of each image, drawn by a hash (all, where a map has fewer)"
        if beyond:
            where += f"; {beyond} values beyond ±2^{HIGHEST} are left out"
        return [Bars("Distribution of the response", tuple(edges), tuple(heights), "response", "values", where)]


def _evenly(
    edges: NDArray[np.float64], counts: NDArray[np.int64], zero: int, bins: int = 48
) -> tuple[list[float], list[float]]:
    """Counts in bins of equal width, each fine bin shared out among the coarse ones that it overlaps."""
    used = np.flatnonzero(counts)
    if not len(used):
        return [0.0, 1.0], [0.0]
    low, high = edges[used[0]], edges[used[-1] + 1]
    if used[0] == zero:
        low = 0.0
    if used[-1] == zero:
        high = 0.0
    if high <= low:
        high = low + 1.0
    even = np.linspace(low, high, bins + 1)
    # Rounded before the differences are taken: every height is a whole number, and their sum is right.
    cumulative = np.interp(even, edges, np.concatenate([[0], np.cumsum(counts)])).round()
    cumulative[0], cumulative[-1] = 0, counts.sum()
    # Six digits tell the edges apart: the range of even a single bin is 1/32 of its numbers.
    return [float(f"{x:.6g}") for x in even], np.diff(cumulative).tolist()


class HistogramAccumulator(Accumulator):
    """Counts of what was seen here (bins, units), and of what was taken in from states (units, bins).

    They are added up only when a state is asked for: to turn one into the other costs more than anything else does
    where shards are merged.
    """

    def __init__(self, config: Histogram, units: int) -> None:
        self.config = config
        self.shape = (2 * config.magnitudes + 1, units)
        self.seen: NDArray[np.int64] | None = None  # see `kernels.count_bins` for its order in memory
        self.taken: NDArray[np.int64] | None = None

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        if self.seen is None:
            self.seen = np.zeros(self.shape, np.int64)
        values, index = activations.sample(self.config.positions)
        kernels.count_bins(values, index, self.config.bits, LOWEST, self.seen)

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, HistogramAccumulator)
        self.taken = self._counts() + other._counts()
        self.seen = None

    def _counts(self) -> NDArray[np.int64]:
        if self.seen is None:
            return np.zeros(self.shape[::-1], np.int64) if self.taken is None else self.taken
        return self.seen.T if self.taken is None else self.taken + self.seen.T

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`: in 32 bits as long as they are enough, because it is most of a state's bytes."""
        counts = self._counts()
        small = counts.max(initial=0) <= np.iinfo(np.int32).max
        return {"counts": torch.from_numpy(np.array(counts, np.int32 if small else np.int64, order="C"))}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        self.seen, self.taken = None, state["counts"].numpy().astype(np.int64)
