"""Driving scenes and the like: ``classes.csv`` (index, name) from 0, ``index.csv`` (image, label), and index PNGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from convscope.concepts.masks import Masks, PlainFiles, read_index
from convscope.concepts.numbering import Entry, Numbering, category_of, number_in, rows_of
from convscope.errors import ImagesError

UNLABELLED = {"void", "unlabelled", "unlabeled", "ignore"}  # names of classes that are no concepts


def open_indexed(root: Path, spec: str) -> Masks:
    """The set in a folder with ``classes.csv`` and ``index.csv``; a class is an object, or has a column category.

    Raises:
        ImagesError: it is written wrongly, or lists an image twice or none.
    """
    numbering = Numbering.of(root / "classes.csv", _classes(root / "classes.csv"), zero="")
    pairs: dict[str, str] = {}
    for line, row in rows_of(root / "index.csv", "image", "label"):
        image = PurePosixPath(row["image"]).as_posix()
        if image in pairs or not row["image"] or not row["label"]:
            raise ImagesError(f"{root / 'index.csv'}, line {line}: {image!r} is listed twice, or a cell is empty")
        pairs[image] = row["label"]
    if not pairs:
        raise ImagesError(f"{root / 'index.csv'}: it lists no images")
    images = PlainFiles(spec, root, list(pairs), [None] * len(pairs))
    return Masks(
        spec, images, root, numbering, [(file,) for file in pairs.values()], [()] * len(pairs), read_index,
    )  # fmt: skip


def _classes(path: Path) -> Iterator[Entry]:
    for line, row in rows_of(path, "index", "name"):
        where, name = f"{path}, line {line}", row["name"].strip()
        category = None if name.lower() in UNLABELLED else category_of(row.get("category") or "object", where)
        yield Entry(line, number_in(row["index"], where), name, category)
