"""Sets of images: a folder, a CSV, arrays, or the embedded digits. An image's id is its rank in the set.

=====================  ================================================================================================
``photos/``            every image file below the folder, ranked by relative path; labels from ``labels.csv`` (columns
                       ``file`` and ``class_index`` or ``label``), or else from class subfolders
``list.csv``           the files that the CSV lists, with the same columns, relative to it
``images.npy``         (n, h, w) or (n, c, h, w); 8-bit, or floats from 0 (black) to 1 (white)
``images.npz``         the same under the key ``images``, with class indices under ``labels`` if there are any
``digits:test``        the handwritten digits that come with scikit-learn: ``train``, ``test`` or ``all``
=====================  ================================================================================================
"""

from __future__ import annotations

import csv
import functools
import hashlib
import operator
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convscope import digits
from convscope.errors import ImagesError, NetworkError, UnreadableImage, nearest
from convscope.network import Network
from convscope.preprocess import Picture

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}

Label = int | str | None  # a class index, a class name, or not known


class ImageSet(ABC):
    """Images in a fixed order, with names and perhaps labels.

    Attributes:
        spec: what the set was opened with.
        names: of each image: its relative path, or its rank in an array.
        labels: of each image, as they were given.
    """

    spec: str
    names: Sequence[str]
    labels: Sequence[Label]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, index: int) -> Picture:
        """The picture with this id.

        Raises:
            UnreadableImage: it cannot be decoded; the message says why, without the name.
        """

    @abstractmethod
    def signature(self, start: int, stop: int) -> str:
        """A hash that changes when any of the images start to stop-1, or its label, is replaced.

        It does not open files.
        """

    def class_indices(self, network: Network, outputs: int) -> tuple[NDArray[np.int64], str | None]:
        """The class index of every image, -1 where there is none, and a remark on labels that were left out or guessed.

        Args:
            outputs: scores that the network gives; 0 where its output is no score for each class, and labels are not
                compared with it.

        Raises:
            NetworkError: the network has another number of class names than outputs.
        """
        if outputs and network.classes is not None and len(network.classes) != outputs:
            raise NetworkError(
                f"{network.name}: {len(network.classes)} class names for {outputs} outputs; give a name for each, "
                "or none"
            )
        if all(label is None for label in self.labels):
            return np.full(len(self), -1), None
        if not outputs:
            return np.full(len(self), -1), "the network's output is no score for each class, so labels do not count"
        table, remark = _class_table(network, self.labels, outputs)
        found = [_class_index(label, table, outputs) for label in self.labels]
        unknown = [label for label, index in zip(self.labels, found, strict=True) if label is not None and index < 0]
        if unknown:
            example = unknown[0]
            hint = nearest(example, table) if isinstance(example, str) else ""
            remark = (
                f"{len(unknown)} of {len(self)} labels are not classes of the network, such as {example!r}{hint}; "
                "they do not count in the accuracy" + (f" ({remark})" if remark else "")
            )
        return np.array(found, np.int64), remark


def _class_table(network: Network, labels: Iterable[Label], outputs: int) -> tuple[dict[str, int], str | None]:
    """Class name -> index, and what there is to say about it. Names that stand for two classes are left out."""
    if network.classes is None:
        names = sorted({label for label in labels if isinstance(label, str)})
        if not names:
            return {}, None
        if len(names) != outputs:
            return {}, f"the network has {outputs} classes without names, and there are {len(names)} different labels"
        remark = "the network's classes have no names; the labels, sorted, were taken for them in this order"
        return {name: i for i, name in enumerate(names)}, remark
    counts = Counter(network.classes)
    names_once = {name: i for i, name in enumerate(network.classes) if counts[name] == 1}
    return {**(network.synonyms or {}), **names_once}, None


def _class_index(label: Label, table: dict[str, int], outputs: int) -> int:
    index = table.get(label) if isinstance(label, str) else label
    return index if index is not None and 0 <= index < outputs else -1


def open_images(spec: str | Path) -> ImageSet:
    """The set of images that `spec` names.

    Raises:
        ImagesError: there is no such set, it is empty, or its labels are written wrongly.
    """
    text = str(spec)
    path = Path(text)
    if text.startswith("digits:"):
        return Digits(text)
    if path.is_dir():
        return _folder(path, text)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _csv(path, text)
    if path.suffix.lower() in {".npy", ".npz"} and path.is_file():
        return Arrays.open(path)
    kinds = "a folder, a .csv, .npy or .npz file, or digits:train, digits:test, digits:all"
    if path.exists():
        raise ImagesError(f"{text}: not a set of images; expected {kinds}")
    raise ImagesError(f"{text}: there is no such folder or file; expected {kinds}")


# --- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Files(ImageSet):
    """Image files below a folder."""

    spec: str
    root: Path = field(repr=False)
    names: Sequence[str] = field(repr=False)
    labels: Sequence[Label] = field(repr=False)

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        return decode(self.root / self.names[index])

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`: names, labels, sizes and times of change."""
        digest = hashlib.sha256()
        for name, label in zip(self.names[start:stop], self.labels[start:stop], strict=True):
            text = f"{name}\0{label!r}\0{_state(self.root / name)}\0"
            digest.update(text.encode("utf-8", "surrogateescape"))  # names of files need not be UTF-8
        return digest.hexdigest()


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where it cannot be known."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def decode(path: Path) -> Image.Image:
    """An image file as grey or RGB with 8 bits, turned the way its EXIF orientation says, transparency on white.

    Raises:
        UnreadableImage: it is missing, damaged, animated, or of a kind whose colours are not known.
    """
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            # In an MPO, as many telephones write, the first frame is the photograph and the others belong to it.
            if frames > 1 and image.format != "MPO":
                raise UnreadableImage(f"it has {frames} frames; a still picture is expected")
            image.load()
            return _eight_bit(ImageOps.exif_transpose(image))
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage("there is no such file") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise UnreadableImage("the file is empty" if empty else "its content is no picture that Pillow knows") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"it is too large ({error})") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything, and one of them must not end a scan
        reason = getattr(error, "strerror", None) or error  # without the path, which says nothing elsewhere
        raise UnreadableImage(f"it cannot be decoded ({type(error).__name__}: {reason})") from None


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in {"I;16", "I;16B", "I;16L", "I;16N"}:
        return Image.fromarray(np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise UnreadableImage(f"its pixels are of mode {image.mode!r}, whose white is not known")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _folder(root: Path, spec: str) -> Files:
    names = sorted(_image_files(root), key=lambda name: PurePosixPath(name).parts)
    table = root / "labels.csv"
    labels: dict[str, Label] = {}
    if table.is_file():
        labels = _labels(table)
        names = sorted({*names, *labels}, key=lambda name: PurePosixPath(name).parts)
    elif _has_class_folders(names):
        labels = {name: PurePosixPath(name).parts[0] for name in names}
    if not names:
        raise ImagesError(f"{spec}: no image files in it; expected names that end in {', '.join(sorted(SUFFIXES))}")
    return Files(spec, root, names, [labels.get(name) for name in names])


def _image_files(root: Path) -> list[str]:
    found = []
    for folder, subfolders, files in os.walk(root, onerror=_refuse, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and not _loops(Path(folder, name))]
        relative = Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would be missing without a word."""
    raise ImagesError(f"{error.filename}: the folder cannot be listed ({error.strerror})")


def _loops(folder: Path) -> bool:
    """Whether it is a link to one of the folders that it lies in."""
    return folder.is_symlink() and folder.resolve() in {each.resolve() for each in folder.parents}


def _has_class_folders(names: list[str]) -> bool:
    parts = [PurePosixPath(name).parts for name in names]
    return all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) > 1


def _csv(path: Path, spec: str) -> Files:
    labels = _labels(path)
    if not labels:
        raise ImagesError(f"{spec}: it lists no images")
    names = sorted(labels, key=lambda name: PurePosixPath(name).parts)
    return Files(spec, path.parent, names, [labels[name] for name in names])


def _labels(path: Path) -> dict[str, Label]:
    """What a CSV with columns file and class_index or label says."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if "file" not in columns or not {"class_index", "label"} & set(columns):
                raise ImagesError(
                    f"{path}: expected columns 'file' and 'class_index' or 'label', found "
                    f"{', '.join(columns) or 'none'}"
                )
            labels: dict[str, Label] = {}
            for row in reader:
                name = PurePosixPath(row["file"] or "").as_posix()
                if name in {"", "."} or name in labels:
                    raise ImagesError(f"{path}, line {reader.line_num}: file {name!r} is empty or listed twice")
                labels[name] = _label(row, path, reader.line_num)
            return labels
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImagesError(f"{path}: not readable as CSV ({error})") from error


def _label(row: dict[str, Any], path: Path, line: int) -> Label:
    index = row.get("class_index")
    if index is None or index == "":
        return row.get("label") or None
    try:
        return int(index)
    except ValueError:
        raise ImagesError(f"{path}, line {line}: class_index {index!r} is not a whole number") from None


# --- arrays ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Arrays(ImageSet):
    """Images in memory: (n, h, w) or (n, c, h, w), 8-bit or floats from 0 to 1 (any floats where they are no pictures).

    A row that is not finite cannot be read.
    """

    images: NDArray[Any] = field(repr=False)
    labels: Sequence[Label] = field(default=(), repr=False)
    spec: str = "arrays"

    def __post_init__(self) -> None:
        _check_array(self.images, self.spec)
        labels = [_array_label(label, self.spec) for label in self.labels] or [None] * len(self.images)
        if len(labels) != len(self.images):
            raise ImagesError(f"{self.spec}: {len(labels)} labels for {len(self.images)} images")
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """The rank of each image, as text of equal length."""
        digits_ = len(str(len(self.images) - 1))
        return [f"{i:0{digits_}}" for i in range(len(self.images))]

    @classmethod
    def open(cls, path: Path) -> Arrays:
        """Read ``.npy``, or ``images`` and ``labels`` of ``.npz``; nothing that is pickled."""
        try:
            images, labels = _npy(path) if path.suffix.lower() == ".npy" else _npz(path)
        except ImagesError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything: zlib.error, TokenError, ...
            raise ImagesError(f"{path}: not readable as an array ({type(error).__name__}: {error})") from error
        return cls(images, labels, str(path))

    def read(self, index: int) -> Picture:
        """See `ImageSet.read`."""
        image = self.images[index]
        image = image[None] if image.ndim == 2 else image
        if image.dtype == np.uint8:
            return np.asarray(image, np.float32) / np.float32(255)
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise UnreadableImage("it has values that are not finite")
        if len(values) in (1, 3) and (values.min() < 0 or values.max() > 1):
            raise UnreadableImage(
                f"its floats go from {values.min():g} to {values.max():g}, where 0 (black) to 1 (white) is expected"
            )
        return values

    def signature(self, start: int, stop: int) -> str:
        """See `ImageSet.signature`: the values themselves, as they are at hand."""
        digest = hashlib.sha256(f"{self.images.dtype} {self.images.shape[1:]} {self.labels[start:stop]}".encode())
        for image in self.images[start:stop]:  # one by one: the array may be larger than the memory
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
    if label is None or isinstance(label, str):
        return label if label is None else str(label)
    try:
        return operator.index(label)
    except TypeError:
        raise ImagesError(f"{spec}: label {label!r} is not a class index (a whole number) or a name") from None


def _check_array(images: NDArray[Any], spec: str) -> None:
    if not isinstance(images, np.ndarray):
        raise ImagesError(f"{spec}: images are a {type(images).__name__}; expected a NumPy array")
    if images.dtype.kind not in "fu" or (images.dtype.kind == "u" and images.dtype != np.uint8):
        raise ImagesError(f"{spec}: images of type {images.dtype}; expected uint8, or floats from 0 to 1")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ImagesError(
            f"{spec}: shape {images.shape}; expected (images, height, width) or with channels after images"
        )
    # Few columns, many rows and many channels: no such images, except tiny ones such as the board of a game.
    if images.ndim == 4 and images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4) and images.shape[2] > 4:
        raise ImagesError(
            f"{spec}: shape {images.shape} looks like channels last; expected (images, channels, height, width), "
            "as numpy.transpose(images, (0, 3, 1, 2)) gives"
        )


class Digits(Arrays):
    """The handwritten digits that come with scikit-learn, 8×8 px: see `convscope.digits`."""

    def __init__(self, spec: str) -> None:
        part = spec.partition(":")[2]
        if part not in digits.PARTS:
            raise ImagesError(f"{spec}: there is no such part of the digits{nearest(part, digits.PARTS)}; expected "
                              f"one of {', '.join(digits.PARTS)}")  # fmt: skip
        images, labels = digits.read(part)
        super().__init__(images, labels.tolist(), spec)
