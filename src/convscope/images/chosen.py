"""Images from several places, one after the other: files, single images of sets, and whole sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convscope.errors import ImagesError
from convscope.images.base import ImageSet, Label, source
from convscope.images.decoding import SUFFIXES
from convscope.images.files import Files
from convscope.images.opening import open_images
from convscope.preprocess import Picture

Part = tuple[ImageSet, Sequence[int], Sequence[str]]  # a set, ids in it, and what these images are called


@dataclass(frozen=True, eq=False)
class Chosen(ImageSet):
    """Images of other sets, in the order in which they were named; `places` says where each one is."""

    spec: str
    places: Sequence[tuple[ImageSet, int]] = field(repr=False)
    names: Sequence[str] = field(repr=False)
    labels: Sequence[Label] = field(repr=False)
    classes: Sequence[str] | None = field(default=None, repr=False)
    remark: str | None = field(default=None, repr=False)
    reopens: bool = False

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        images, place = self.places[index]
        return images.read(place)

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`."""
        digest = hashlib.sha256()
        for images, place in self.places[start:stop]:
            digest.update(images.signature(place, place + 1).encode())
        return digest.hexdigest()


def choose(specs: Sequence[str | Path]) -> ImageSet:
    """The images that are named: each spec is an image file, IMAGES@NUMBER, or a set that `open_images` understands.

    Raises:
        ImagesError: nothing is named, or one names no image.
    """
    if not specs:
        raise ImagesError("no image is named; give an image file, a set of images, or one of a set as digits:test@3")
    parts = [_part(spec) for spec in specs]
    if len(parts) == 1 and parts[0][2] is parts[0][0].names:
        return parts[0][0]
    sets = [images for images, _, _ in parts]
    places = [(images, place) for images, ids, _ in parts for place in ids]
    names = [name for *_, called in parts for name in called]
    same = all(images.classes == sets[0].classes for images in sets)
    remark = "; ".join(dict.fromkeys(images.remark for images in sets if images.remark)) or None
    return Chosen(
        str(specs[0]) if len(specs) == 1 else f"{specs[0]} and {len(specs) - 1} more", places, names,
        [images.labels[place] for images, place in places], sets[0].classes if same else None, remark,
    )  # fmt: skip


def numbered(spec: str) -> tuple[ImageSet, int] | None:
    """The set and the number in IMAGES@NUMBER; None where it is written otherwise, or is a file.

    Raises:
        ImagesError: there is no such set, or no such image in it.
    """
    name, mark, number = spec.rpartition("@")
    if not mark or not number.isdecimal() or Path(spec).exists():
        return None
    images = open_images(name)
    if int(number) >= len(images):
        raise ImagesError(f"{name} has images 0 to {len(images) - 1}, not {number}")
    return images, int(number)


def _part(spec: str | Path) -> Part:
    path = Path(spec)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return Files(path.name, path.parent, [path.name], [None]), [0], [path.name]
    found = numbered(str(spec))
    if found is not None:  # called as it was named: the name of an array's image is a number
        return found[0], [found[1]], [f"{source(found[0].spec)}@{found[1]}"]
    images = open_images(spec)
    return images, range(len(images)), images.names
