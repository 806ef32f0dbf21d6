"""The true boxes of images: of the diorama, where they are known, or of a CSV with a row a box.

::

    file,label,y0,x0,y1,x1
    images/00000.png,car,32,17,64,54

Boxes are half-open, in pixels of the picture. ``convscope diorama export`` writes such a file, with more columns.
Of an image those boxes count that have its label, in the column ``label`` or ``class_index``; without these, all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.errors import ImagesError, nearest
from convscope.images import ImageSet
from convscope.images.diorama import Diorama
from convscope.rows import read_rows

CORNERS = ("y0", "x0", "y1", "x1")
Corners = tuple[float, float, float, float]


class Truth(ABC):
    """The true boxes of some images of a set.

    Attributes:
        ids: of the images that have any, ascending.
        remark: what must be known of the others.
    """

    ids: Sequence[int]
    remark: str | None = None

    @abstractmethod
    def boxes(self, image: int, height: int, width: int) -> NDArray[np.float64]:
        """The boxes (m, 4) of the class of one image, whose picture is (height, width).

        Raises:
            ImagesError: one reaches beyond the picture.
        """


def true_boxes(images: ImageSet, path: str | Path | None) -> Truth:
    """Those of a CSV, or without one those of the diorama.

    Raises:
        ImagesError: they are not known, or the CSV is written wrongly.
    """
    if path is not None:
        return Listed.read(Path(path), images)
    if not isinstance(images, Diorama):
        raise ImagesError(
            f"{images.spec}: the true boxes of its images are not known; give a CSV with the columns file, label, "
            f"{', '.join(CORNERS)} (--boxes)"
        )
    if images.label_set != "objects":
        raise ImagesError(f"{images.spec}: its classes are places, which have no boxes; take diorama:objects/test")
    return Drawn(images)


@dataclass(frozen=True, eq=False)
class Drawn(Truth):
    """The visible part of each thing of an image of the diorama that is of its class."""

    images: Diorama

    @property
    def ids(self) -> Sequence[int]:  # type: ignore[override]
        """All."""
        return range(len(self.images))

    def boxes(self, image: int, height: int, width: int) -> NDArray[np.float64]:
        """See `Truth.boxes`."""
        scene = self.images.scene(image)
        return np.array([thing.box for thing in scene.things if thing.kind == scene.label], np.float64)


@dataclass(frozen=True)
class _Row:
    """A box of the file.

    Args:
        label, index: what it says of the class; empty where nothing.
    """

    line: int
    corners: Corners
    label: str
    index: str

    def said(self, by_index: bool) -> str:
        """What it says of the class in one of both columns, or in the other where that is empty."""
        return (self.index or self.label) if by_index else (self.label or self.index)


@dataclass(frozen=True, eq=False)
class Listed(Truth):
    """The boxes of a file, by image."""

    path: Path
    images: ImageSet
    rows: Mapping[int, Sequence[_Row]]
    remark: str | None

    @property
    def ids(self) -> Sequence[int]:  # type: ignore[override]
        """See `Truth`."""
        return sorted(self.rows)

    @classmethod
    def read(cls, path: Path, images: ImageSet) -> Listed:
        """What a CSV says of a set of images.

        Raises:
            ImagesError: it is written wrongly, names an image that is not in the set, or has no box of any class.
        """
        ids = {PurePosixPath(name).as_posix(): i for i, name in enumerate(images.names)}
        rows: dict[int, list[_Row]] = {}
        others: list[_Row] = []
        listed = _rows(path)
        by_index = _is_by_index([row for _, row in listed], images)
        for name, row in listed:
            image = ids.get(PurePosixPath(name).as_posix())
            if image is None:
                raise ImagesError(
                    f"{path}, line {row.line}: {images.spec} has no image {name!r}{nearest(name, ids)}; the "
                    "column file has paths as in the set of images"
                )
            if row.said(by_index) in ("", str(images.labels[image])):
                rows.setdefault(image, []).append(row)
            else:
                others.append(row)
        if not rows:
            raise ImagesError(f"{path}: {_no_box_of_a_class(images, others)}")
        return cls(path, images, rows, _left_out(path, images, rows))

    def boxes(self, image: int, height: int, width: int) -> NDArray[np.float64]:
        """See `Truth.boxes`."""
        for row in self.rows[image]:
            if row.corners[2] > height or row.corners[3] > width:
                raise ImagesError(
                    f"{self.path}, line {row.line}: the box {_written(row.corners)} reaches beyond "
                    f"{self.images.names[image]}, which has {height} × {width} px (height × width); boxes are in "
                    "pixels of the picture, turned as its EXIF orientation says"
                )
        return np.array([row.corners for row in self.rows[image]])


def _left_out(path: Path, images: ImageSet, rows: Mapping[int, Any]) -> str | None:
    missing = [name for i, name in enumerate(images.names) if i not in rows]
    if not missing:
        return None
    return (
        f"{len(missing)} of {len(images)} images have no box of their class in {path.name}, such as {missing[0]}; "
        "they are left out"
    )


def _no_box_of_a_class(images: ImageSet, others: Sequence[_Row]) -> str:
    if not others:
        return "it lists no boxes"
    known = next((label for label in images.labels if label is not None), None)
    return (
        f"no image has a box of its class: labels of boxes are written as {others[0].said(False)!r}, and those "
        f"of {images.spec} as {str(known)!r}; write them alike, or leave out the columns label and class_index"
    )


def _is_by_index(rows: Sequence[_Row], images: ImageSet) -> bool:
    """Whether the images' labels are written as the boxes' class_index, and not as their label.

    One column counts for all: where names of classes are numbers, one class's name can be another one's index.
    """
    written = {str(label) for label in images.labels}
    return not any(row.label in written for row in rows) and any(row.index in written for row in rows)


def _rows(path: Path) -> list[tuple[str, _Row]]:
    """The file and the box of each row.

    Raises:
        ImagesError: it is written wrongly; the message names the line.
    """
    try:
        columns, rows = read_rows(path)
        missing = [name for name in ("file", *CORNERS) if name not in columns]
        if missing:
            raise ImagesError(
                f"{path}: the columns {', '.join(missing)} are missing; expected file, {', '.join(CORNERS)}, and label "
                f"or class_index, found {', '.join(columns) or 'none'}"
            )
        return [(row["file"], _row(row, path, line)) for line, row in rows]
    except (OSError, ValueError) as error:
        raise ImagesError(f"{path}: not readable as CSV ({error})") from error


def _row(row: Mapping[str, str], path: Path, line: int) -> _Row:
    y0, x0, y1, x1 = corners = tuple(_number(row[name], name, path, line) for name in CORNERS)
    if y0 >= y1 or x0 >= x1:
        raise ImagesError(
            f"{path}, line {line}: the box {_written(corners)} is empty or inverted; y1 and x1 lie just outside, so "
            "they are greater than y0 and x0"
        )
    if y0 < 0 or x0 < 0:
        raise ImagesError(
            f"{path}, line {line}: the box {_written(corners)} reaches beyond the picture; it begins at 0"
        )
    return _Row(line, (y0, x0, y1, x1), row.get("label", "").strip(), row.get("class_index", "").strip())


def _number(text: str, name: str, path: Path, line: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ImagesError(f"{path}, line {line}: {name} is {text!r}; expected a number of pixels")
    return number


def _written(corners: Sequence[float]) -> str:
    return "(" + ", ".join(f"{name} {corner:g}" for name, corner in zip(CORNERS, corners, strict=True)) + ")"
