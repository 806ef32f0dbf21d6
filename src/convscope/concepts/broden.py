"""Broden, and data sets in its format: the labels that Network Dissection was made with.

::

    index.csv        image, split, ih, iw, sh, sw, and a column for each category (color, object, part, material, scene,
                     texture): numbers of labels that all of the image has, or names of PNG files, with ; between them
    label.csv        number, name, category (as in object(120);part(3): the images that have it), ...
    c_CATEGORY.csv   number, coverage, ...: the share of all pixels, in images
    images/          the images, and the PNG files: a label is red + 256 · green

Columns and files as in the loader of D. Bau and others, "Network dissection", 2017, that is published with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from convscope.concepts.base import CATEGORIES
from convscope.concepts.masks import Masks, Numbers, PlainFiles, read_colours
from convscope.concepts.numbering import Entry, Numbering, category_of, number_in, rows_of
from convscope.errors import ImagesError


def open_broden(root: Path, spec: str) -> Masks:
    """The set in a folder with ``index.csv`` and ``label.csv``; all its images, whatever their split.

    Raises:
        ImagesError: it is written wrongly.
    """
    numbering = Numbering.of(root / "label.csv", _labels(root))
    index = root / "index.csv"
    names, files, whole = [], [], []
    for line, row in rows_of(index, "image"):
        where, cells = f"{index}, line {line}", _cells(row)
        if not row["image"] or not cells:
            raise ImagesError(f"{where}: the image has no name or no labels; write both, or take it out")
        names.append(f"images/{row['image']}")
        numbers = {numbering.number_of(int(cell), where) for cell in cells if cell.isdigit()}
        whole.append(tuple(sorted(numbers - {0})))
        files.append(tuple(f"images/{cell}" for cell in cells if not cell.isdigit()))
    if not names:
        raise ImagesError(f"{index}: it lists no images")
    images = PlainFiles(spec, root, names, [None] * len(names))
    return Masks(spec, images, root, numbering, files, whole, _decode)


def _decode(path: Path) -> Numbers:
    values = read_colours(path)
    numbers: Numbers = values[..., 0] + 256 * values[..., 1]
    return numbers


def _cells(row: dict[str, str]) -> list[str]:
    """What stands in the columns of the categories, in their order."""
    columns = [row.get("color", "") if category == "colour" else row.get(category, "") for category in CATEGORIES]
    return [cell.strip() for column in columns for cell in column.split(";") if cell.strip()]


def _labels(root: Path) -> Iterator[Entry]:
    path = root / "label.csv"
    coverage = {category: _coverage(root, category) for category in CATEGORIES}
    for line, row in rows_of(path, "number", "name", "category"):
        where = f"{path}, line {line}"
        number = number_in(row["number"], where)
        if number == 0:  # written as "-" in some copies
            continue
        counts = _counts(row["category"], where)
        # The images that have it decide where nothing is said of its coverage.
        primary = max(counts, key=lambda each: (coverage[each].get(number, 0.0), counts[each]))
        yield Entry(line, number, row["name"].strip(), primary)


def _counts(text: str, where: str) -> dict[str, int]:
    """The number of images by category, as in ``object(120);part(3)``."""
    found = [re.fullmatch(r"\s*(\w+)\((\d+)\)\s*", each) for each in text.split(";")]
    if not all(found):
        raise ImagesError(f"{where}: the category {text!r}; expected one or more like object(120), with ; between them")
    return {category_of(match[1], where): int(match[2]) for match in found if match}


def _coverage(root: Path, category: str) -> dict[int, float]:
    """The coverage of each label in a category; nothing where its file is missing."""
    path = root / f"c_{category.replace('colour', 'color')}.csv"
    if not path.is_file():
        return {}
    rows = rows_of(path, "number", "coverage")
    return {number_in(row["number"], f"{path}, line {line}"): _share(row, path, line) for line, row in rows}


def _share(row: dict[str, str], path: Path, line: int) -> float:
    try:
        return float(row["coverage"] or 0)
    except ValueError:
        raise ImagesError(f"{path}, line {line}: the coverage {row['coverage']!r} is no number") from None
