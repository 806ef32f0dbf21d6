"""How much of a set each concept covers: that bounds what dissection can find of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import CATEGORIES, Concept, ConceptSet, Labels


@dataclass(frozen=True, eq=False)
class Coverage:
    """Counts over some images of a set; counts of different images of one set can be added.

    Args:
        concepts: all of the set.
        images: the images (n,) that have each concept.
        area: the sum over images (n,) of the share of the pixels that have it, so in images.
        carrying: for each category, the images that have any concept of it.
    """

    concepts: Sequence[Concept]
    images: NDArray[np.int64]
    area: NDArray[np.float64]
    carrying: Mapping[str, int]

    def __add__(self, other: Coverage) -> Coverage:
        both = {category: self.carrying[category] + other.carrying[category] for category in CATEGORIES}
        return Coverage(self.concepts, self.images + other.images, self.area + other.area, both)

    @property
    def share(self) -> NDArray[np.float64]:
        """The share (n,) that each concept has of the pixels of the images that carry its category; 0 without any."""
        carrying = np.array([self.carrying[concept.category] for concept in self.concepts], np.float64)
        return self.area / np.maximum(carrying, 1)


def coverage(concepts: ConceptSet, ids: Sequence[int] | None = None) -> Coverage:
    """Count over all images, or those with the ids; each image's labels are read once, and none are kept.

    Raises:
        ImagesError, UnreadableImage: as `ConceptSet.labels`.
    """
    count = len(concepts.concepts)
    images, area = np.zeros(count, np.int64), np.zeros(count)
    carrying = dict.fromkeys(CATEGORIES, 0)
    categories = np.array([CATEGORIES.index(concept.category) for concept in concepts.concepts], np.intp)
    for index in range(len(concepts)) if ids is None else ids:
        share = shares(concepts.labels(index), count)
        area += share
        images += share > 0
        for category in np.unique(categories[share > 0]):
            carrying[CATEGORIES[category]] += 1
    return Coverage(concepts.concepts, images, area, carrying)


def shares(labels: Labels, count: int) -> NDArray[np.float64]:
    """The share (n,) of an image's pixels that has each of `count` concepts; a pixel counts once for each."""
    found = np.zeros(count + 1)
    maps = labels.maps.reshape(len(labels.maps), -1)
    for place, numbers in enumerate(maps):
        new = np.ones(numbers.shape, bool)
        for other in maps[:place]:
            new &= numbers != other
        found += np.bincount(numbers[new], minlength=count + 1) / numbers.size
    found[list(labels.whole)] = 1
    return found[1:]
