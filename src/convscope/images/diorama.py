"""The embedded world as a set of images: ``diorama:objects/test``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convscope import diorama
from convscope.errors import ImagesError
from convscope.images.base import ImageSet, Label
from convscope.preprocess import Picture

SIZE = 96  # pixels, where none is written


@dataclass(frozen=True, eq=False)
class Diorama(ImageSet):
    """``diorama:LABELSET/SPLIT`` or ``diorama:LABELSET/SPLIT:SIZE``, drawn when it is read.

    Args:
        size: height and width of the images in pixels.
    """

    label_set: str
    split: str
    size: int
    spec: str

    @classmethod
    def open(cls, spec: str) -> Diorama:
        """The set that `spec` names.

        Raises:
            ImagesError: there is no such label set, split or size.
        """
        label_set, slash, rest = spec.partition(":")[2].partition("/")
        split, colon, size = rest.partition(":")
        if not slash:
            raise ImagesError(f"{spec}: expected diorama:LABELSET/SPLIT, such as diorama:objects/test")
        diorama.check(label_set, split)
        if colon and not (size.isascii() and size.isdigit()):
            raise ImagesError(f"{spec}: a size of {size!r}; expected pixels, such as diorama:objects/test:128")
        made = cls(label_set, split, int(size) if colon else SIZE, spec)
        made.scene(0)  # refuses a size that cannot be drawn
        return made

    def __len__(self) -> int:
        return diorama.COUNTS[self.split]

    @functools.cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """The number of each image, as text of equal length."""
        return [f"{i:05}" for i in range(len(self))]

    @property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """See `ImageSet`."""
        return diorama.classes(self.label_set, self.split)

    @functools.cached_property
    def labels(self) -> Sequence[Label]:  # type: ignore[override]
        """The class of each image."""
        classes = self.classes
        return [classes[diorama.class_of(self.label_set, self.split, 0, i)] for i in range(len(self))]

    def scene(self, index: int) -> diorama.Scene:
        """The image with its answers."""
        return diorama.render(self.label_set, self.split, index, self.size)

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        return np.ascontiguousarray(self.scene(index).image.transpose(2, 0, 1), np.float32) / np.float32(255)

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`."""
        return hashlib.sha256(
            f"{diorama.VERSION} {self.label_set}/{self.split}:{self.size} {start} {stop}".encode()
        ).hexdigest()
