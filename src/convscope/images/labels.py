"""Labels in CSV files: by the name of a file, or one a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from convscope.errors import ImagesError
from convscope.images.base import Label
from convscope.rows import read_rows, whole


def labels_of_files(path: Path) -> dict[str, Label]:
    """What a CSV with the columns ``file`` and ``class_index`` or ``label`` says.

    Raises:
        ImagesError: it is written wrongly; the message names it, and the line.
    """
    labels: dict[str, Label] = {}
    for line, row in _rows(path, "file"):
        name = PurePosixPath(row["file"]).as_posix()
        if name in {"", "."} or name in labels:
            raise ImagesError(f"{path}, line {line}: file {name!r} is empty or listed twice")
        labels[name] = _label(row, path, line)
    return labels


def labels_of_rows(path: Path) -> list[Label]:
    """What a CSV with the column ``class_index`` or ``label`` says of one image after the other.

    Raises:
        ImagesError: it is written wrongly; the message names it, and the line.
    """
    return [_label(row, path, line) for line, row in _rows(path)]


def _rows(path: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with the number of its line."""
    try:
        columns, rows = read_rows(path)
        if not {*needed} <= {*columns} or not {"class_index", "label"} & {*columns}:
            wanted = "columns " + " and ".join(map(repr, needed)) + " and" if needed else "a column"
            raise ImagesError(
                f"{path}: expected {wanted} 'class_index' or 'label', found {', '.join(columns) or 'none'}"
            )
        yield from rows
    except (OSError, ValueError) as error:
        raise ImagesError(f"{path}: not readable as CSV ({error})") from error


def _label(row: dict[str, str], path: Path, line: int) -> Label:
    index = row.get("class_index")
    if index is None or index == "":
        return row.get("label") or None
    try:
        return whole(index)
    except ValueError:
        raise ImagesError(f"{path}, line {line}: class_index {index!r} is not a whole number") from None
