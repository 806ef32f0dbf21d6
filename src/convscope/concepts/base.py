"""What a concept set is: images, the concepts that somebody has labelled in them, and where each one is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.images import ImageSet

CATEGORIES = ("object", "part", "scene", "material", "texture", "colour")

Maps = NDArray[np.int32]  # (m, h, w): numbers of concepts, 0 where nothing is labelled


@dataclass(frozen=True)
class Concept:
    """Something that a unit may detect.

    Args:
        number: from 1, without gaps; its place in `ConceptSet.concepts` is one less.
        name: unique in its category: a cushion may be an object, and another concept is the cushion that is a part.
        category: one of `CATEGORIES`; of a concept that a source gives in several, the one with the largest coverage.
    """

    number: int
    name: str
    category: str

    @property
    def word(self) -> str:
        """The name as people say it: Broden calls the scene street `street-s`, and the colour red `red-c`."""
        return self.name.removesuffix({"scene": "-s", "colour": "-c"}.get(self.category, ""))


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one image.

    Args:
        maps: label maps (m, h, w), of any size whose aspect is that of the picture, and m may be 0; a pixel has a
            concept for each map where its number is not 0, and the order of the maps means nothing.
        whole: numbers of the concepts that every pixel of the image has, ascending.
    """

    maps: Maps
    whole: tuple[int, ...] = ()

    def present(self) -> NDArray[np.intp]:
        """The numbers of the concepts that any pixel has, ascending."""
        counts = np.bincount(self.maps.ravel())
        found = np.union1d(np.flatnonzero(counts), np.array(self.whole, np.intp))
        return found[found > 0]


class ConceptSet(ABC):
    """Images with labels. What `open_concepts` gives for its `spec` is the same set, also in another process.

    Attributes:
        spec: what it was opened with.
        images: the pictures; an image's id is its rank here, too.
        concepts: all of them, by number.
        remark: what a user must know about how the set was read.
    """

    spec: str
    images: ImageSet
    concepts: Sequence[Concept]
    remark: str | None = None

    def __len__(self) -> int:
        return len(self.images)

    @abstractmethod
    def labels(self, index: int) -> Labels:
        """The labels of the image with this id.

        Raises:
            ImagesError: a label map cannot be used; the message names the file and the remedy.
            UnreadableImage: the labels are computed from the picture, and that cannot be read.
        """

    @abstractmethod
    def state(self, start: int, stop: int) -> str:
        """A text that changes when the labels of any of the images start to stop-1 do; files are not opened for it."""

    def signature(self, start: int, stop: int) -> str:
        """A hash that changes when any of the images start to stop-1, or its labels, or a concept is replaced."""
        text = [self.images.signature(start, stop), self.state(start, stop)]
        text += [f"{concept.number}\0{concept.name}\0{concept.category}" for concept in self.concepts]
        return hashlib.sha256("\0".join(text).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, eq=False)
class Derived(ConceptSet):
    """The images of another set, `base`, with other labels."""

    base: ConceptSet

    @property
    def images(self) -> ImageSet:  # type: ignore[override]
        """Those of the base."""
        return self.base.images

    @property
    def remark(self) -> str | None:  # type: ignore[override]
        """That of the base."""
        return self.base.remark

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`."""
        return self.base.state(start, stop)
