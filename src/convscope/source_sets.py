"""Sets of units that an element of a tensor comes from, each known by a number, so that arrays can hold them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Source = tuple[int, int]  # index of a layer, and unit
Marks = NDArray[np.int64]  # of a value, numbers of sets; 1 along dimensions in which they do not vary


class SourceSets:
    """Sets of sources by number; 0 is the empty one, and a string, the name of an operation, what is not known."""

    def __init__(self) -> None:
        self.known: list[frozenset[Source] | str] = [frozenset()]
        self.numbers: dict[frozenset[Source] | str, int] = {frozenset(): 0}

    def number(self, sources: frozenset[Source] | str) -> int:
        """The number of a set."""
        if sources not in self.numbers:
            self.numbers[sources] = len(self.known)
            self.known.append(sources)
        return self.numbers[sources]

    def union(self, numbers: Iterable[int]) -> int:
        """The number of the union; what is not known makes all of it unknown."""
        members = [self.known[each] for each in numbers]
        stopped = next((each for each in members if isinstance(each, str)), None)
        return self.number(stopped or frozenset().union(*(each for each in members if not isinstance(each, str))))

    def units(self, layer: int, count: int) -> Marks:
        """A set for each unit of a layer, (units,)."""
        return np.array([self.number(frozenset({(layer, unit)})) for unit in range(count)], np.int64)

    def joined(self, rows: Marks) -> Marks:
        """The union over the last dimension, which is gone."""
        flat = rows.reshape(-1, rows.shape[-1])
        distinct, place = np.unique(flat, axis=0, return_inverse=True)
        unions = np.array([self.union(np.unique(row).tolist()) for row in distinct], np.int64)
        return unions[place.reshape(-1)].reshape(rows.shape[:-1])
