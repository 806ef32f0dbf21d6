"""The concepts of files: which number in them stands for which concept."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import CATEGORIES, Concept
from convscope.errors import ImagesError, nearest
from convscope.rows import read_rows, whole

LARGEST = 65535  # number that a file can hold
_UNKNOWN = -1


@dataclass(frozen=True)
class Entry:
    """What a line of a file says of a concept; a category None says that the number is no label."""

    line: int
    number: int
    name: str
    category: str | None


@dataclass(frozen=True, eq=False)
class Numbering:
    """Concepts, numbered without gaps in the order of their numbers in the files.

    Args:
        path: where they are listed.
        concepts: by number.
        table: the number of the concept (65536,) for each number in the files; 0 is no label, -1 nothing known.
    """

    path: Path
    concepts: tuple[Concept, ...]
    table: NDArray[np.int32] = field(repr=False)

    @classmethod
    def of(cls, path: Path, entries: Iterable[Entry], zero: str = "0 is no label, number from 1") -> Numbering:
        """Of all lines of a file.

        Args:
            zero: why there can be no 0; empty where there can.

        Raises:
            ImagesError: a number or a name is there twice, is missing or out of range, or there are none.
        """
        numbers: dict[int, Entry] = {}
        names: dict[tuple[str, str | None], Entry] = {}
        for entry in entries:
            where = f"{path}, line {entry.line}"
            if not (0 if not zero else 1) <= entry.number <= LARGEST:
                reason = f"; {zero}" if zero and entry.number == 0 else ""
                raise ImagesError(f"{where}: the number {entry.number}; expected {int(bool(zero))} to 65535{reason}")
            if not entry.name:
                raise ImagesError(f"{where}: the concept has no name; give it one")
            if entry.number in numbers:
                raise ImagesError(
                    f"{where}: the number {entry.number} is that of line {numbers[entry.number].line} already "
                    f"({numbers[entry.number].name!r}); give each concept its own"
                )
            twin = names.setdefault((entry.name, entry.category), entry)
            if twin is not entry and entry.category:
                raise ImagesError(
                    f"{where}: {entry.name!r} is the {entry.category} of line {twin.line} already; give the two "
                    "different names, or one number"
                )
            numbers[entry.number] = entry
        table = np.full(LARGEST + 1, _UNKNOWN, np.int32)
        table[[number for number, entry in numbers.items() if entry.category is None]] = 0
        if zero:
            table[0] = 0
        known = [(entry, entry.category) for _, entry in sorted(numbers.items()) if entry.category is not None]
        if not known:
            raise ImagesError(f"{path}: it lists no concepts")
        concepts = [Concept(number, entry.name, category) for number, (entry, category) in enumerate(known, 1)]
        table[[entry.number for entry, _ in known]] = [concept.number for concept in concepts]
        return cls(path, tuple(concepts), table)

    def concepts_in(self, numbers: NDArray[Any], file: str) -> NDArray[np.int32]:
        """The numbers of the concepts, for those in a file.

        Raises:
            ImagesError: one of them is not known.
        """
        found: NDArray[np.int32] = self.table[numbers]
        if found.size and found.min() == _UNKNOWN:
            y, x = np.argwhere(found == _UNKNOWN)[0]
            raise ImagesError(
                f"{file}: the number {numbers[y, x]} (row {y}, column {x}) is not in {self.path.name}; add its "
                "concept there, or correct the file"
            )
        return found

    def number_of(self, number: int, where: str) -> int:
        """The same for one number.

        Raises:
            ImagesError: it is not known.
        """
        found = int(self.table[number]) if 0 <= number <= LARGEST else _UNKNOWN
        if found == _UNKNOWN:
            raise ImagesError(f"{where}: the number {number} is not in {self.path.name}; add its concept there")
        return found

    def named(self, name: str, category: str, where: str) -> int:
        """The number of the concept with this name.

        Raises:
            ImagesError: the category has none.
        """
        found = self._numbers.get((name, category))
        if found is None:
            names = [concept.name for concept in self.concepts if concept.category == category]
            raise ImagesError(
                f"{where}: {self.path.name} has no {category} {name!r}{nearest(name, names)}; add it there, or "
                "correct the name"
            )
        return found

    @functools.cached_property
    def _numbers(self) -> dict[tuple[str, str], int]:
        return {(concept.name, concept.category): concept.number for concept in self.concepts}


def category_of(text: str, where: str) -> str:
    """A category as it is written in a file.

    Raises:
        ImagesError: there is none of this name.
    """
    name = text.strip().lower().replace("color", "colour")
    if name not in CATEGORIES:
        raise ImagesError(f"{where}: the category {text!r}; expected {', '.join(CATEGORIES)}")
    return name


def number_in(text: str, where: str) -> int:
    """A whole number as it is written in a file.

    Raises:
        ImagesError: it is none.
    """
    try:
        return whole(text)
    except ValueError:
        raise ImagesError(f"{where}: {text!r} is not a whole number") from None


def rows_of(path: Path, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row of a CSV by column, with the number of its line.

    Raises:
        ImagesError: it is not there, is written wrongly, or lacks one of the columns.
    """
    try:
        columns, rows = read_rows(path)
        missing = [name for name in needed if name not in columns]
        if missing:
            raise ImagesError(
                f"{path}: the column {missing[0]!r} is missing; expected {', '.join(needed)}, found "
                f"{', '.join(columns) or 'none'}"
            )
        yield from rows
    except (OSError, ValueError) as error:
        raise ImagesError(f"{path}: not readable as CSV ({error})") from error


def listed(path: Path) -> Numbering:
    """The concepts of a ``concepts.csv`` with the columns number, name and category.

    Raises:
        ImagesError: it is written wrongly.
    """
    return Numbering.of(
        path,
        (
            Entry(
                line,
                number_in(row["number"], f"{path}, line {line}"),
                row["name"].strip(),
                category_of(row["category"], f"{path}, line {line}"),
            )
            for line, row in rows_of(path, "number", "name", "category")
        ),
    )
