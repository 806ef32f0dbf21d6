"""Image files: a folder or a CSV that lists them, their labels, and their decoding."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from convscope.errors import ImagesError, UnreadableImage
from convscope.images.base import ImageSet, Label
from convscope.preprocess import Picture

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}


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


def from_folder(root: Path, spec: str) -> Files:
    """Every image file below `root`, and what its ``labels.csv`` lists; else labels from class subfolders.

    Raises:
        ImagesError: there is none, a folder cannot be listed, or ``labels.csv`` is written wrongly.
    """
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
        subfolders[:] = [name for name in subfolders if _is_of_the_set(Path(folder, name))]
        relative = Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def _is_of_the_set(folder: Path) -> bool:
    """Not hidden, no link back, and nothing that convscope itself has put there: an atlas's pictures are no images."""
    ours = ("run.json", "job.json", "convscope-report.json")
    return not (folder.name.startswith(".") or _loops(folder) or any((folder / name).exists() for name in ours))


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would be missing without a word."""
    raise ImagesError(f"{error.filename}: the folder cannot be listed ({error.strerror})")


def _loops(folder: Path) -> bool:
    """Whether it is a link to one of the folders that it lies in."""
    return folder.is_symlink() and folder.resolve() in {each.resolve() for each in folder.parents}


def _has_class_folders(names: list[str]) -> bool:
    parts = [PurePosixPath(name).parts for name in names]
    return all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) > 1


def from_csv(path: Path, spec: str) -> Files:
    """The files that a CSV lists, relative to it.

    Raises:
        ImagesError: it is written wrongly, or lists nothing.
    """
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
