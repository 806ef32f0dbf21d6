"""Any images with the eleven basic colours as concepts, beside what else is labelled in them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.concepts.base import Concept, ConceptSet, Derived, Labels
from convscope.concepts.colour_names import names_of_pixels
from convscope.diorama.colours import COLOURS
from convscope.errors import ImagesError, UnreadableImage
from convscope.images import ImageSet
from convscope.preprocess import Picture


@dataclass(frozen=True, eq=False)
class Unlabelled(ConceptSet):
    """Images without labels, for colours to be added."""

    images: ImageSet
    concepts: tuple[Concept, ...] = ()

    @property
    def spec(self) -> str:  # type: ignore[override]
        """That of the images."""
        return self.images.spec

    def labels(self, index: int) -> Labels:
        """None."""
        return Labels(np.zeros((0, 1, 1), np.int32))

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`."""
        return ""


@dataclass(frozen=True, eq=False)
class Coloured(Derived):
    """A set with one more label map: the colour of the picture at the middle of each pixel of the other maps.

    Where an image has no other label map, there is a colour for each pixel of the picture.
    """

    @property
    def spec(self) -> str:  # type: ignore[override]
        """See `ConceptSet`."""
        return f"colours:{self.base.spec}"

    @functools.cached_property
    def concepts(self) -> tuple[Concept, ...]:  # type: ignore[override]
        """Those of the set, and behind them the colours."""
        start = len(self.base.concepts) + 1
        return (*self.base.concepts, *(Concept(start + i, name, "colour") for i, name in enumerate(COLOURS)))

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        labels, picture = self.base.labels(index), _rgb(self.images.read(index))
        if len(labels.maps):
            picture = picture[np.ix_(*map(_middles, picture.shape[:2], labels.maps.shape[1:]))]
        colours = (names_of_pixels(picture) + len(self.base.concepts) + 1).astype(np.int32)[None]
        return Labels(np.concatenate([labels.maps, colours]) if len(labels.maps) else colours, labels.whole)


def with_colours(concepts: ConceptSet | ImageSet) -> Coloured:
    """The set with the colours of its pictures, or images with nothing but these.

    Raises:
        ImagesError: it has colours already.
    """
    base = Unlabelled(concepts) if isinstance(concepts, ImageSet) else concepts
    if any(concept.category == "colour" for concept in base.concepts):
        raise ImagesError(f"{base.spec}: colours are labelled in it already; take it as it is")
    return Coloured(base)


def _middles(pixels: int, cells: int) -> NDArray[np.intp]:
    """The pixel at the middle of each of the cells that share a row or column of a picture."""
    return ((2 * np.arange(cells) + 1) * pixels) // (2 * cells)


def _rgb(picture: Picture) -> NDArray[np.uint8]:
    """(h, w, 3)."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if len(picture) not in (1, 3):
        raise UnreadableImage(f"it has {len(picture)} channels and no colours; expected 1 or 3")
    values = np.round(picture.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return np.broadcast_to(values, (*values.shape[:2], 3))
