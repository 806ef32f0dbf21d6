"""Chance that is the same in every process and on every machine: all draws come from ``random.Random.random``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of draws. Python promises that ``Random.random`` gives the same numbers for a seed in every version."""

    def __init__(self, *key: str | int) -> None:
        text = "/".join(map(str, key))
        self._next = random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")).random

    def __call__(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * self._next()

    def chance(self, share: float) -> bool:
        """True in this share of draws."""
        return self._next() < share

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._next() * (high - low + 1))

    def pick(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[int(self._next() * len(values))]

    def sign(self) -> float:
        """-1 or 1."""
        return 1.0 if self._next() < 0.5 else -1.0
