"""Images in arrays, and the embedded digits."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope import digits
from convscope.errors import ImagesError, UnreadableImage, nearest
from convscope.images.base import ImageSet, Label
from convscope.images.files import file_state
from convscope.images.labels import labels_of_rows
from convscope.preprocess import Picture


@dataclass(frozen=True, eq=False)
class Arrays(ImageSet):
    """Images in an array of shape (n, h, w) or (n, c, h, w).

    With one channel or three they are pictures: 8-bit, bool, or floats from 0 (black) to 1 (white). With any other
    number of channels they are no pictures, such as the board of a game or the bands of a satellite: their numbers, of
    whatever type, are taken as they are. An image with a number that is not finite cannot be read.

    Args:
        file: where the array was read from; None for one in memory, which no other process can open again.
    """

    images: NDArray[Any] = field(repr=False)
    labels: Sequence[Label] = field(default=(), repr=False)
    spec: str = "arrays"
    file: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_array(self.images, self.spec)
        labels = [_array_label(label, self.spec) for label in self.labels] or [None] * len(self.images)
        if len(labels) != len(self.images):
            raise ImagesError(f"{self.spec}: {len(labels)} labels for {len(self.images)} images")
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def reopens(self) -> bool:  # type: ignore[override]
        """See `ImageSet`."""
        return self.file is not None

    @functools.cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """The rank of each image, as text of equal length."""
        digits_ = len(str(len(self.images) - 1))
        return [f"{i:0{digits_}}" for i in range(len(self.images))]

    @classmethod
    def open(cls, path: Path) -> Arrays:
        """Read ``.npy``, or ``images`` and ``labels`` of ``.npz``; nothing that is pickled.

        Labels may also stand in ``NAME.labels.csv`` beside it: a row for each image, in their order.
        """
        try:
            images, labels = _npy(path) if path.suffix.lower() == ".npy" else _npz(path)
        except ImagesError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything: zlib.error, TokenError, ...
            raise ImagesError(f"{path}: not readable as an array ({type(error).__name__}: {error})") from error
        beside = path.with_suffix(".labels.csv")
        if not len(labels) and beside.is_file():
            labels = labels_of_rows(beside)
        return cls(images, labels, str(path), path)

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        image = self.images[index]
        image = image[None] if image.ndim == 2 else image
        picture = _are_pictures(self.images)
        if picture and image.dtype == np.uint8:
            return np.asarray(image, np.float32) / np.float32(255)
        with np.errstate(over="ignore"):  # what is too large for 32 bits becomes infinite
            values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise UnreadableImage("it has values that are not finite")
        if picture and (values.min() < 0 or values.max() > 1):
            raise UnreadableImage(
                f"its floats go from {values.min():g} to {values.max():g}, where 0 (black) to 1 (white) is expected"
            )
        return values

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`: size and time of change of the file, or else the values, as they are at hand."""
        digest = hashlib.sha256(f"{self.images.dtype} {self.images.shape[1:]} {self.labels[start:stop]}".encode())
        if self.file is not None:
            digest.update(f"{start} {stop} {file_state(self.file)}".encode())
            return digest.hexdigest()
        for image in self.images[start:stop]:
            digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()


def _npy(path: Path) -> tuple[NDArray[Any], Sequence[Label]]:
    return np.lib.format.open_memmap(path, mode="r"), ()  # refuses what is pickled


def _npz(path: Path) -> tuple[NDArray[Any], Sequence[Label]]:
    # NumPy leaves a damaged file open that it has opened itself.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        if "images" not in data:
            raise ImagesError(f"{path}: expected a key 'images', found {', '.join(data.files) or 'none'}")
        return data["images"], data["labels"].tolist() if "labels" in data else ()


def _array_label(label: Any, spec: str) -> Label:
    if label is None:
        return None
    if isinstance(label, str):
        if not label.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in label):
            raise ImagesError(f"{spec}: label {label!r} has half of a surrogate pair, which no file can hold")
        return str(label)
    try:
        return operator.index(label)
    except TypeError:
        raise ImagesError(f"{spec}: label {label!r} is not a class index (a whole number) or a name") from None


def _check_array(images: NDArray[Any], spec: str) -> None:
    if not isinstance(images, np.ndarray):
        raise ImagesError(f"{spec}: images are a {type(images).__name__}; expected a NumPy array")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ImagesError(
            f"{spec}: shape {images.shape}; expected (images, height, width) or with channels after images"
        )
    kinds = "fub" if _are_pictures(images) else "fuib"
    if images.dtype.kind not in kinds or (_are_pictures(images) and images.dtype.kind == "u" and images.itemsize > 1):
        raise ImagesError(
            f"{spec}: images of type {images.dtype}; expected uint8 (to 255, which is white), bool, or floats from 0 "
            "(black) to 1 (white), so divide by the number that is white"
        )
    # Few columns, many rows and many channels: no such images, except tiny ones such as the board of a game.
    if images.ndim == 4 and images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4) and images.shape[2] > 4:
        raise ImagesError(
            f"{spec}: shape {images.shape} looks like channels last; expected (images, channels, height, width), "
            "as numpy.transpose(images, (0, 3, 1, 2)) gives"
        )


def _are_pictures(images: NDArray[Any]) -> bool:
    return images.ndim == 3 or images.shape[1] in (1, 3)


class Digits(Arrays):
    """The handwritten digits that come with scikit-learn, 8×8 px: see `convscope.digits`."""

    reopens = True

    def __init__(self, spec: str) -> None:
        part = spec.partition(":")[2]
        if part not in digits.PARTS:
            raise ImagesError(f"{spec}: there is no such part of the digits{nearest(part, digits.PARTS)}; expected "
                              f"one of {', '.join(digits.PARTS)}")  # fmt: skip
        images, labels = digits.read(part)
        super().__init__(images, labels.tolist(), spec)
