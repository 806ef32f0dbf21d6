"""A concept set with the concepts of some categories only."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import CATEGORIES, Concept, ConceptSet, Derived, Labels
from convscope.errors import ImagesError


@dataclass(frozen=True, eq=False)
class Chosen(Derived):
    """All images of a set with what is left of their labels; the concepts are numbered anew, in the same order."""

    categories: tuple[str, ...]

    @property
    def spec(self) -> str:  # type: ignore[override]
        """See `ConceptSet`."""
        return f"only:{','.join(self.categories)}:{self.base.spec}"

    @functools.cached_property
    def concepts(self) -> tuple[Concept, ...]:  # type: ignore[override]
        """Those of the categories."""
        left = [each for each in self.base.concepts if each.category in self.categories]
        return tuple(Concept(number, each.name, each.category) for number, each in enumerate(left, 1))

    @functools.cached_property
    def _table(self) -> NDArray[np.int32]:
        """The number of a concept here for its number in the set itself; 0 where it is left out."""
        left = np.array([False, *(each.category in self.categories for each in self.base.concepts)])
        return np.where(left, np.cumsum(left), 0).astype(np.int32)

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        labels = self.base.labels(index)
        whole = (int(self._table[number]) for number in labels.whole)
        return Labels(self._table[labels.maps], tuple(number for number in whole if number))


def only(concepts: ConceptSet, categories: Sequence[str]) -> ConceptSet:
    """The set with the concepts of these categories; itself, if it has no others.

    Raises:
        ImagesError: there is no such category, or the set has none of its concepts.
    """
    for each in categories:
        if each not in CATEGORIES:
            raise ImagesError(f"only: there is no category {each!r}; expected some of {', '.join(CATEGORIES)}")
    there = {concept.category for concept in concepts.concepts}
    if there <= set(categories):
        return concepts
    if not there & set(categories):
        raise ImagesError(f"{concepts.spec}: it has no {' and no '.join(categories)}, but {', '.join(sorted(there))}")
    return Chosen(concepts, tuple(each for each in CATEGORIES if each in categories))
