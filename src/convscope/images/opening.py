"""From what a user writes for IMAGES to the set that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convscope.errors import ImagesError
from convscope.images.arrays import Arrays, Digits
from convscope.images.base import ImageSet
from convscope.images.decoding import SUFFIXES
from convscope.images.diorama import Diorama
from convscope.images.files import files_below, from_csv, from_folder
from convscope.images.hub import Hub, is_saved
from convscope.images.tables import Parquet


def open_images(spec: str | Path) -> ImageSet:
    """The set of images that `spec` names.

    Raises:
        ImagesError: there is no such set, it is empty, or its labels are written wrongly.
    """
    path = Path(spec)
    text = str(path) if path.exists() else str(spec)  # "photos/" and "./photos" are the same set as "photos"
    if text.startswith("digits:"):
        return Digits(text)
    if text.startswith("diorama:"):
        return Diorama.open(text)
    if text.startswith("hub:"):
        return Hub.open(text)
    if path.is_dir():
        return _folder(path, text)
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".csv":
            return from_csv(path, text)
        if suffix == ".parquet":
            return Parquet.open([path], text)
        if suffix in {".npy", ".npz"}:
            return Arrays.open(path)
    kinds = (
        "a folder, a .csv, .npy, .npz or .parquet file, digits:train, digits:test, digits:all, "
        "diorama:LABELSET/SPLIT, or hub:NAME/SPLIT"
    )
    if path.exists():
        raise ImagesError(f"{text}: not a set of images; expected {kinds}")
    raise ImagesError(f"{text}: there is no such folder or file; expected {kinds}")


def _folder(path: Path, text: str) -> ImageSet:
    if is_saved(path):
        return Hub.saved(path, text)
    found = files_below(path, SUFFIXES | {".parquet"})
    tables = [name for name in found if name.lower().endswith(".parquet")]
    if tables == found and tables and not (path / "labels.csv").is_file():
        return Parquet.open([path / name for name in tables], text)
    images = from_folder(path, text, [name for name in found if name not in {*tables}])
    if not tables:
        return images
    note = f"{len(tables)} Parquet files lie beside the images and were not read, such as {tables[0]}"
    return replace(images, remark="; ".join(filter(None, (images.remark, note))))
