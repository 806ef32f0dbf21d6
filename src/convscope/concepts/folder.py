"""A folder of images with masks, as ``convscope diorama export`` writes it, and others of the same shape.

::

    images/a.jpg           any images, also in subfolders
    masks/a.png            the label map of each; or several, masks/CATEGORY/a.png
    concepts.csv           number, name, category
    scenes.csv             file, label: concepts that all of an image has; likewise textures.csv and so on
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from convscope.concepts.base import CATEGORIES
from convscope.concepts.masks import Masks, read_index
from convscope.concepts.numbering import Numbering, listed, rows_of
from convscope.errors import ImagesError, nearest
from convscope.images import ImageSet, open_images
from convscope.images.files import files_below


def open_folder(root: Path, spec: str) -> Masks:
    """The set in a folder with ``concepts.csv``.

    Raises:
        ImagesError: it is written wrongly, an image lies elsewhere, or one has no labels at all.
    """
    numbering = listed(root / "concepts.csv")
    images = images_in(root)
    whole = _whole(root, images, numbering)
    subfolders = [f"masks/{each}" for each in CATEGORIES if (root / "masks" / each).is_dir()]
    files, remark = pair(root, images, subfolders or ["masks"], [bool(each) for each in whole])
    return Masks(spec, images, root, numbering, files, whole, read_index, remark)


def images_in(root: Path) -> ImageSet:
    """The images below ``images/``, with the labels of ``labels.csv`` if it is there.

    Raises:
        ImagesError: there are none, or others lie beside it.
    """
    if not (root / "images").is_dir():
        raise ImagesError(f"{root}: the folder images is missing; put the images there, beside their label maps")
    images = open_images(root)
    outside = next((name for name in images.names if not name.startswith("images/")), None)
    if outside is not None:
        raise ImagesError(f"{root / outside}: an image outside of the folder images; move it there, or elsewhere")
    return images


def pair(
    root: Path, images: ImageSet, folders: Sequence[str], labelled: Sequence[bool]
) -> tuple[list[tuple[str, ...]], str | None]:
    """The label maps of each image, one of each of the folders that has it, and what is to be said of the others.

    Args:
        labelled: for each image, whether it may be without any, since all of it has a label.

    Raises:
        ImagesError: an image has none.
    """
    present = {f"{folder}/{name}" for folder in folders for name in _pngs(root / folder)}
    files = []
    for name, free in zip(images.names, labelled, strict=True):
        mask = PurePosixPath(name).relative_to("images").with_suffix(".png").as_posix()
        found = tuple(f"{folder}/{mask}" for folder in folders if f"{folder}/{mask}" in present)
        if not found and not free:
            raise ImagesError(
                f"{root / folders[0] / mask}: the label map of {name} is missing; add it, or take the image out"
            )
        files.append(found)
    return files, "; ".join(_remarks(images.names, folders, files, present)) or None


def _pngs(folder: Path) -> list[str]:
    return files_below(folder, {".png"}) if folder.is_dir() else []


def _remarks(
    names: Sequence[str], folders: Sequence[str], files: Sequence[tuple[str, ...]], present: set[str]
) -> list[str]:
    used = {file for each in files for file in each}
    remarks = []
    for folder in folders:
        lacking = [
            name
            for name, each in zip(names, files, strict=True)
            if not any(file.startswith(f"{folder}/") for file in each)
        ]
        if lacking:
            remarks.append(f"{len(lacking)} of {len(files)} images have no label map in {folder}, such as {lacking[0]}")
    unused = sorted(present - used)
    if unused:
        remarks.append(f"{len(unused)} label maps belong to no image, such as {unused[0]}")
    return remarks


def _whole(root: Path, images: ImageSet, numbering: Numbering) -> list[tuple[int, ...]]:
    """The concepts that all of each image has."""
    ids = {name: i for i, name in enumerate(images.names)}
    found: list[set[int]] = [set() for _ in ids]
    for category in CATEGORIES:
        path = root / f"{category}s.csv"
        for line, row in rows_of(path, "file", "label") if path.is_file() else ():
            where, name = f"{path}, line {line}", PurePosixPath(row["file"]).as_posix()
            if name not in ids:
                raise ImagesError(f"{where}: there is no image {name!r}{nearest(name, ids)}; correct the file's name")
            found[ids[name]].add(numbering.named(row["label"].strip(), category, where))
    return [tuple(sorted(each)) for each in found]
