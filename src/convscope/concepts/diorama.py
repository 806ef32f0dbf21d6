"""The embedded world as a concept set: ``diorama:objects/test``, in all six categories."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import Concept, ConceptSet, Labels
from convscope.diorama import export
from convscope.images import Diorama


@dataclass(frozen=True, eq=False)
class DioramaConcepts(ConceptSet):
    """Its concepts are numbered as in what ``convscope diorama export`` writes; the place is of the whole image."""

    images: Diorama

    @property
    def spec(self) -> str:  # type: ignore[override]
        """As it is written for images."""
        return self.images.spec

    @functools.cached_property
    def concepts(self) -> tuple[Concept, ...]:  # type: ignore[override]
        """All of both label sets, also those that no image of a split shows."""
        return tuple(Concept(*each) for each in export.concepts())

    @functools.cached_property
    def _numbers(self) -> dict[str, NDArray[np.int32]]:
        return {category: table.astype(np.int32) for category, table in export.numbers().items()}

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {concept.name: concept.number for concept in self.concepts if concept.category == "scene"}

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        scene = self.images.scene(index)
        maps = [numbers.take(scene.maps[category]) for category, numbers in self._numbers.items()]
        return Labels(np.stack(maps), (self._places[scene.category],))

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`: the labels are drawn with the images."""
        return ""
