"""How far annotators agree: Krippendorff's alpha for names (nominal data).

Written here, as no library that the project needs has it. It takes any number of annotators a unit, where Fleiss' kappa
wants the same number for all; with that it is 1 - (1 - kappa) (N - 1) / N for N answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """1 where all agree, 0 as by chance, below 0 where they agree less; NaN where nothing can be compared.

    Args:
        units: the answers about each unit; a unit with fewer than two answers says nothing and is left out.

    Source: K. Krippendorff, Content Analysis, 3rd edition (2013), chapter 12.
    """
    compared = [Counter(answers) for answers in units if len(answers) > 1]
    totals = sum(compared, Counter[Hashable]())
    answers = totals.total()
    differing = sum(_pairs(counts) / (counts.total() - 1) for counts in compared)
    expected = _pairs(totals) / (answers - 1) if answers else 0
    return 1 - differing / expected if expected else math.nan


def pairs_alike(units: Iterable[Sequence[Hashable]]) -> float:
    """Of all pairs of answers about the same unit, the share that is alike; NaN where there are none."""
    compared = [Counter(answers) for answers in units]
    pairs = sum(counts.total() * (counts.total() - 1) for counts in compared)
    return 1 - sum(map(_pairs, compared)) / pairs if pairs else math.nan


def _pairs(counts: Counter[Hashable]) -> int:
    """Ordered pairs of different answers."""
    return counts.total() ** 2 - sum(count**2 for count in counts.values())
