"""Label maps in PNG files, one or several an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.concepts.base import Concept, ConceptSet, Labels, Maps
from convscope.concepts.numbering import Numbering
from convscope.errors import ImagesError, is_passing
from convscope.images import Files, ImageSet
from convscope.images.files import file_state

Numbers = NDArray[Any]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}
_ORIENTATION = 274  # tag of EXIF; from 5 on the picture lies on its side


class PlainFiles(Files):
    """Images that only the list of a concept set names, so they cannot be opened without it."""

    reopens = False


@dataclass(frozen=True, eq=False)
class Masks(ConceptSet):
    """Images with label maps as files.

    Args:
        root: the folder that everything is relative to.
        numbering: the concepts, and what the numbers in the files stand for.
        files: the label maps of each image.
        whole: the concepts that all of an image has, for each image.
        decode: from a file to its numbers (h, w).
    """

    spec: str
    images: ImageSet
    root: Path = field(repr=False)
    numbering: Numbering = field(repr=False)
    files: Sequence[tuple[str, ...]] = field(repr=False)
    whole: Sequence[tuple[int, ...]] = field(repr=False)
    decode: Callable[[Path], Numbers] = field(repr=False)
    remark: str | None = field(default=None, repr=False)

    @property
    def concepts(self) -> tuple[Concept, ...]:  # type: ignore[override]
        """As the files list them."""
        return self.numbering.concepts

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        maps = [self._map(file) for file in self.files[index]]
        self._check(index, [each.shape for each in maps])
        stacked: Maps = np.stack(maps) if maps else np.zeros((0, 1, 1), np.int32)
        return Labels(stacked, self.whole[index])

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`: names, sizes and times of change."""
        return "\0".join(
            f"{file}\0{file_state(self.root / file)}"
            for files in self.files[start:stop]
            for file in files
        ) + repr(self.whole[start:stop])  # fmt: skip

    def _map(self, file: str) -> NDArray[np.int32]:
        return self.numbering.concepts_in(self.decode(self.root / file), str(self.root / file))

    def _check(self, index: int, shapes: Sequence[tuple[int, ...]]) -> None:
        files, picture = self.files[index], picture_size(self.images, index)
        for file, shape in zip(files, shapes, strict=True):
            if shape != shapes[0]:
                raise ImagesError(
                    f"{self.root / file}: it has {_size(shape)} and {files[0]} {_size(shapes[0])} (height × width); "
                    "make the label maps of an image the same size"
                )
            # Either side may be rounded when a label map is made smaller than its picture.
            if picture and abs(shape[0] * picture[1] - shape[1] * picture[0]) > max(picture):
                raise ImagesError(
                    f"{self.root / file}: its {_size(shape)} (height × width) do not fit {self.images.names[index]}, "
                    f"which has {_size(picture)}; a label map shows all of its picture, turned as its EXIF "
                    "orientation says"
                )


def picture_size(images: ImageSet, index: int) -> tuple[int, int] | None:
    """Height and width of a picture as it is shown; None where it is no image file, or cannot be read."""
    if not isinstance(images, Files):
        return None
    try:
        with Image.open(images.root / images.paths[index]) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return image.size if turned else image.size[::-1]
    except Exception as error:  # it is skipped when it is to be read, and listed with the reason
        if is_passing(error):
            raise
        return None


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} × {shape[1]} px"


def read_index(path: Path) -> Numbers:
    """The numbers of a grey PNG of 8 or 16 bits (h, w).

    Raises:
        ImagesError: it is missing, damaged, or of another kind.
    """
    return _read(path, (0,), (8, 16), "one grey channel of 8 or 16 bits whose values are the numbers")


def read_colours(path: Path) -> Numbers:
    """The values of an RGB PNG of 8 bits (h, w, 3), for numbers that are packed into its channels.

    Raises:
        ImagesError: it is missing, damaged, or of another kind.
    """
    return _read(path, (2,), (8,), "RGB with 8 bits a channel, in which the numbers are packed").astype(np.int32)


def _read(path: Path, kinds: Sequence[int], depths: Sequence[int], expected: str) -> Numbers:
    try:
        with path.open("rb") as file:
            header = file.read(26)
        if len(header) < 26 or not header.startswith(_SIGNATURE):
            raise ImagesError(f"{path}: the label map is no PNG; expected {expected}")
        depth, kind = header[24], header[25]
        if kind not in kinds or depth not in depths:
            remedy = (
                " (where the indices of a palette are the numbers, write them with "
                "Image.fromarray(numpy.array(Image.open(file))).save(file))"
            )
            raise ImagesError(
                f"{path}: it is a PNG of the kind {_KINDS.get(kind, kind)} with {depth} bits; expected {expected}"
                f"{remedy if kind == 3 else ''}"
            )
        with Image.open(path, formats=["PNG"]) as image:
            return np.asarray(image)
    except FileNotFoundError:
        raise ImagesError(f"{path}: this label map is missing; add it, or take its image out of the set") from None
    except ImagesError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if is_passing(error):
            raise
        raise ImagesError(f"{path}: the label map cannot be decoded ({type(error).__name__}: {error})") from None
