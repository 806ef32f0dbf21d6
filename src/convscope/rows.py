"""The rows of a CSV file, read strictly: what a lenient reader passes over is a label that is lost or wrong.

An unquoted comma in a class name makes one cell too many, and a column that stands twice has two values.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def read_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns, and each row by column with the number of its last line; a cell that is missing is empty.

    Raises:
        OSError: the file is not there, or cannot be read.
        ValueError: it is not in UTF-8, or is written wrongly; also while the rows are read.
    """
    if not path.is_file():  # a device would never end
        raise FileNotFoundError("there is no such file")
    rows = _cells(path)
    columns = next(rows, (0, []))[1]
    doubled = [name for name, count in Counter(columns).items() if count > 1 and name]
    if doubled:
        raise ValueError(f"the column {doubled[0]!r} stands twice")
    return columns, _by_column(columns, rows)


def whole(text: str) -> int:
    """A whole number in the digits 0 to 9; Python itself would also read ``1_000`` and the digits of other scripts."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line and the cells of each row that is not empty."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error


def _by_column(columns: list[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    for line, cells in rows:
        if any(cells[len(columns) :]):
            raise ValueError(f"line {line} has {len(cells)} cells for {len(columns)} columns; quote those with a comma")
        missing = [""] * (len(columns) - len(cells))
        yield line, dict(zip(columns, [*cells, *missing], strict=False))
