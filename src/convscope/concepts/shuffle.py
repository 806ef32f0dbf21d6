"""A concept set whose label maps are dealt out anew: what is still found in it is found by chance."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import Concept, ConceptSet, Derived, Labels
from convscope.errors import ImagesError


@dataclass(frozen=True, eq=False)
class Shuffled(Derived):
    """Each image has the labels of another one, and each labels are those of one image.

    Where pictures differ in size, so do labels: they are stretched over the picture that they are given to.
    """

    seed: int

    @property
    def spec(self) -> str:  # type: ignore[override]
        """See `ConceptSet`."""
        return f"shuffled:{self.seed}:{self.base.spec}"

    @property
    def concepts(self) -> Sequence[Concept]:  # type: ignore[override]
        """Those of the set itself."""
        return self.base.concepts

    @functools.cached_property
    def sources(self) -> NDArray[np.intp]:
        """The image that each image has its labels from, never itself."""
        order = np.random.default_rng(self.seed).permutation(len(self.images))
        sources = np.empty_like(order)
        sources[order] = np.roll(order, 1)
        return sources

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        return self.base.labels(int(self.sources[index]))

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`: the labels come with the state of the images that they are of."""
        digest = hashlib.sha256()
        for source in map(int, self.sources[start:stop]):
            text = f"{source}\0{self.images.signature(source, source + 1)}\0{self.base.state(source, source + 1)}\0"
            digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def shuffled(concepts: ConceptSet, seed: int = 0) -> Shuffled:
    """The set with the labels of each image given to another.

    Raises:
        ImagesError: it has one image only.
    """
    if len(concepts) < 2:
        raise ImagesError(f"{concepts.spec}: labels of one image cannot be given to another; take a larger set")
    return Shuffled(concepts, seed)
