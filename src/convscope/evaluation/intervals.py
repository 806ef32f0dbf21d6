"""What chance can do: the interval of a share, and whether two networks differ on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class Errors:
    """How many of `images` are wrong."""

    wrong: int
    images: int

    @property
    def right(self) -> int:
        """The others."""
        return self.images - self.wrong

    @property
    def error(self) -> float:
        """The share."""
        return self.wrong / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """See `wilson`."""
        return wilson(self.wrong, self.images)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share: the shares that a normal test against `hits` of `count` does not reject.

    Unlike the usual ± it stays within 0 and 1, and says something also of no error at all. E. B. Wilson, "Probable
    inference, the law of succession, and statistical inference", JASA 1927.
    """
    low, high = binomtest(hits, count).proportion_ci(method="wilson")
    return float(low), float(high)


def mcnemar(first: int, second: int) -> float:
    """The probability of a difference as large as that by chance, if both networks are equally good: exact, two-sided.

    Only images that one of them has right say anything. The intervals of two networks may overlap where this is clear,
    as both find the same images hard. Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 1947.

    Args:
        first, second: images that only the one and only the other has right.
    """
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def paired(lost: Any, gained: Any, images: Any) -> NDArray[np.float64]:
    """The 95 % interval of a change of accuracy on the same images, (..., 2): low, high.

    Wald's after an image was added to each of both counts of flips, so that it says something also of no change at all.
    D. Bonett and R. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", Journal of Educational and Behavioral Statistics 2012.

    Args:
        lost, gained: images that are right only before, and only after, (...).
        images: how many there are, (...).
    """
    more, flipped, total = np.subtract(gained, lost), np.add(gained, lost) + 2, np.add(images, 2)
    half = norm.ppf(0.975) * np.sqrt(flipped - more**2 / total) / total
    ends: NDArray[np.float64] = np.stack([more / total - half, more / total + half], -1).clip(-1, 1)
    return ends
