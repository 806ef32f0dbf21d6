"""From what a user writes for IMAGES to the set that it names."""

from __future__ import annotations

from pathlib import Path

from convscope.errors import ImagesError
from convscope.images.arrays import Arrays, Digits
from convscope.images.base import ImageSet
from convscope.images.files import from_csv, from_folder


def open_images(spec: str | Path) -> ImageSet:
    """The set of images that `spec` names.

    Raises:
        ImagesError: there is no such set, it is empty, or its labels are written wrongly.
    """
    path = Path(spec)
    text = str(path) if path.exists() else str(spec)  # "photos/" and "./photos" are the same set as "photos"
    if text.startswith("digits:"):
        return Digits(text)
    if path.is_dir():
        return from_folder(path, text)
    if path.suffix.lower() == ".csv" and path.is_file():
        return from_csv(path, text)
    if path.suffix.lower() in {".npy", ".npz"} and path.is_file():
        return Arrays.open(path)
    kinds = "a folder, a .csv, .npy or .npz file, or digits:train, digits:test, digits:all"
    if path.exists():
        raise ImagesError(f"{text}: not a set of images; expected {kinds}")
    raise ImagesError(f"{text}: there is no such folder or file; expected {kinds}")
