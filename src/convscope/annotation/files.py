"""Annotations in files: JSON, as the task pages save it, and CSV, also as published.

A JSON file is ``{"kind", "version", "network", "weights", "layers", "annotations"}``: `layers` are pairs of a name and
a number of units in the order of the network, and `annotations` the records of METHODS 5.5. A CSV has the columns
layer, unit, annotator, description, category (by name, or by its published code from 1) and either precision, or n and
rejected (numbers apart by spaces); it does not know the network.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope.annotation.record import NAMES, Annotation, Annotations
from convscope.errors import AnnotationError
from convscope.rows import read_rows, whole

KIND, VERSION = "convscope-annotations", 1
COLUMNS = ("layer", "unit", "annotator", "description", "category", "precision", "n", "rejected", "seconds")
SUFFIXES = (".json", ".csv")
_NEEDED = {"layer": str, "unit": int, "annotator": str, "description": str, "category": str}


def read(paths: Sequence[str | Path]) -> Annotations:
    """All annotations of several files, which must be of one network.

    Raises:
        AnnotationError: a file cannot be read, or what it says cannot be: the message says where.
    """
    files = [_read(Path(path)) for path in paths]
    weights = {found.weights: path for path, found in zip(paths, files, strict=True) if found.weights is not None}
    if len(weights) > 1:
        one, other, *_ = weights.values()
        raise AnnotationError(f"{one} and {other} are about different networks; summarize each by itself")
    layers: dict[str, int] = {}
    for path, found in zip(paths, files, strict=True):
        for name, units in found.layers.items():
            if layers.setdefault(name, units) != units:
                raise AnnotationError(
                    f"{path}: layer {name} has {units} units here, and {layers[name]} in another file"
                )
    network = next((found.network for found in files if found.network is not None), None)
    rows = tuple(row for found in files for row in found.rows)
    whole_network = all(found.layers for found in files)
    return Annotations(rows, layers if whole_network else {}, network, next(iter(weights), None))


def text(annotations: Annotations, suffix: str) -> str:
    """The content of a file with this suffix, which `read` reads again."""
    if suffix == ".csv":
        return _csv(annotations)
    about = {"kind": KIND, "version": VERSION, "network": annotations.network, "weights": annotations.weights}
    layers = [[name, units] for name, units in annotations.layers.items()]
    rows = [row.to_json() for row in annotations.rows]
    return json.dumps(about | {"layers": layers, "annotations": rows}, indent=1, ensure_ascii=False) + "\n"


def _csv(annotations: Annotations) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for row in annotations.rows:
        marks = {"rejected": " ".join(map(str, row.rejected)), "precision": f"{row.precision:.6g}"}
        writer.writerow(row.to_json() | marks)
    return buffer.getvalue()


def _read(path: Path) -> Annotations:
    readers: dict[str, Callable[[Path], Annotations]] = {".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise AnnotationError(f"{path}: not a file of annotations; expected {' or '.join(readers)}")
    try:
        return readers[path.suffix.lower()](path)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise AnnotationError(f"{path}: not readable as annotations ({reason})") from error
    except AnnotationError as error:
        raise AnnotationError(f"{path}: {error}") from error


def _read_json(path: Path) -> Annotations:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"it says no kind {KIND!r}: save it from a task page, or with `annotations import`")
    if content.get("version") != VERSION:
        raise ValueError(f"version {content.get('version')!r}, and this convscope reads {VERSION}")
    records, layers = content.get("annotations"), content.get("layers", [])
    if not isinstance(records, list):
        raise ValueError("'annotations' is no list")
    if not (isinstance(layers, list) and all(map(_is_layer, layers))):
        raise ValueError("'layers' are not pairs of a name and a number of units")
    rows = [_placed(f"annotation {number}", _from_json, record) for number, record in enumerate(records, 1)]
    named = {name: value if isinstance(value := content.get(name), str) else None for name in ("network", "weights")}
    return Annotations(tuple(rows), dict(layers), **named)


def _is_layer(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and _is(pair[1], int)


def _from_json(record: Any) -> Annotation:
    if not isinstance(record, dict):
        raise ValueError("it is no object")
    for name, kind in _NEEDED.items():
        if not _is(record.get(name), kind):
            raise ValueError(f"{name} is {record.get(name)!r}; expected {'text' if kind is str else 'a whole number'}")
    about: dict[str, Any] = {name: record[name] for name in _NEEDED}
    if (seconds := record.get("seconds")) is not None and not _is(seconds, (int, float)):
        raise ValueError(f"seconds is {seconds!r}; expected a number")
    about["seconds"] = seconds
    if "rejected" not in record and _is(record.get("precision"), (int, float)):
        return Annotation(**about, precision=float(record["precision"]))
    marks, n = record.get("rejected"), record.get("n", "")
    if not (isinstance(marks, list) and all(_is(mark, int) for mark in marks) and _is(n, int)):
        raise ValueError("expected 'rejected', a list of whole numbers, and 'n', how many images were shown")
    return Annotation.of(**about, n=n, rejected=marks)


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value of a JSON file is of a kind; true and false are no numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _read_csv(path: Path) -> Annotations:
    columns, rows = read_rows(path)
    missing = [name for name in _NEEDED if name not in columns]
    if missing or not ("precision" in columns or {"n", "rejected"} <= {*columns}):
        raise ValueError(
            f"expected the columns {', '.join(_NEEDED)} and precision, or n and rejected; "
            f"found {', '.join(columns) or 'none'}"
        )
    return Annotations(tuple(_placed(f"line {line}", _from_cells, cells) for line, cells in rows))


def _from_cells(cells: Mapping[str, str]) -> Annotation:
    about: dict[str, Any] = {name: cells[name].strip() for name in _NEEDED}
    about |= {"unit": whole(cells["unit"]), "category": _category(about["category"])}
    about["seconds"] = float(cells["seconds"]) if cells.get("seconds") else None
    if cells.get("n"):
        marks = [whole(mark) for mark in cells.get("rejected", "").split()]
        return Annotation.of(**about, n=whole(cells["n"]), rejected=marks)
    return Annotation(**about, precision=float(cells["precision"]))


def _category(cell: str) -> str:
    """The name of a category, which may be given by its published code."""
    codes = {str(code): name for code, name in enumerate(NAMES, 1)}
    return codes.get(cell, cell)


def _placed(where: str, make: Callable[[Any], Annotation], record: Any) -> Annotation:
    try:
        return make(record)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
