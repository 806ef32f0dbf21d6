"""Fuzzing of CSV files: tables of classes, labels of files and of rows, and lists of images.

What is accepted is compared with a reader written out here, letter by letter.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import ANY_TEXT, damaged, fuzz
from hypothesis import strategies as st
from PIL import Image

from convscope.card import read_classes
from convscope.errors import ImagesError, NetworkError, UnreadableImage
from convscope.images import open_images
from convscope.images.labels import labels_of_files, labels_of_rows

CELLS = st.sampled_from(
    ["", " ", "0", "1", "2", " 3", "-1", "+2", "1_0", "٣", "007", "1.0", "1e3", "9" * 5000, "x" * 140_000, "a.png",
     "./a.png", "sub//b.png", "..", ".", "/", "a\0", 'the "best"', "two\nlines", "a,b", "é", "\r", "None", "nan"]
) | ANY_TEXT.filter(lambda text: text.isprintable()) | st.text('a,"\n\r 1;', max_size=6)  # fmt: skip
COLUMNS = st.sampled_from(["file", "label", "class_index", "index", "name", "wnid", "", "File", "more"])
CLASSES = b'index,name,wnid\n0,cat,n1\n2,dog,n2\n1,"tench, Tinca",\n'
LABELS = b"file,class_index,label\na.png,3,\nsub/b.png,,dog\nc.png,0,cat\n"


@st.composite
def tables(draw: st.DrawFn, good: bytes) -> bytes:
    """The bytes of a CSV file: the good one with damage, or one of any cells, written well or badly."""
    kind = draw(st.sampled_from(["damaged", "cells", "cells", "joined", "bytes"]))
    if kind == "damaged":
        return draw(damaged(good))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    header = (
        good.splitlines()[0].decode().split(",") if draw(st.integers(0, 3)) else draw(st.lists(COLUMNS, max_size=4))
    )
    numbers = st.sampled_from("0123")
    rows = [header, *draw(st.lists(st.lists(CELLS | numbers | numbers, max_size=4), max_size=4))]
    if kind == "joined":
        return "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    text = io.StringIO()
    csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"]))).writerows(rows)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.getvalue().encode()


class Wrong(Exception):  # noqa: N818 — what the slow reader says of a file that must be refused
    """The file is written wrongly."""


def slow_rows(data: bytes) -> list[dict[str, str]]:
    """RFC 4180, with any line ending, letter by letter."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise Wrong from None
    rows: list[list[str]] = []
    row: list[str] = []
    cell: list[str] = []
    state = "start"
    for letter in [*text, "\n"] if not text.endswith(("\n", "\r")) else text:
        if state == "quoted":
            state = "quote" if letter == '"' else state
            cell += [letter] * (letter != '"')
        elif letter == '"' and state == "quote":
            state, cell = "quoted", [*cell, '"']
        elif letter == '"' and state == "start":
            state = "quoted"
        elif letter == ",":
            row, cell, state = [*row, "".join(cell)], [], "start"
        elif letter in "\r\n":
            if row or cell or state == "quote":
                rows.append([*row, "".join(cell)])
            row, cell, state = [], [], "start"
        elif state == "quote":
            raise Wrong
        else:
            state = "plain"
            cell.append(letter)
    if state == "quoted" or any(len(cell) > 131_072 for row in rows for cell in row):
        raise Wrong
    header, *others = rows or [[]]
    named = [name for name in header if name]
    if len({*named}) < len(named) or any(any(row[len(header) :]) for row in others):
        raise Wrong
    return [{name: "".join(row[i : i + 1]) for i, name in enumerate(header)} for row in [header, *others]]


def slow_number(text: str) -> int:
    digits = text.strip().removeprefix("-") if text.strip()[:1] == "-" else text.strip().removeprefix("+")
    if not digits or not {*digits} <= {*"0123456789"} or len(digits) > 4300:
        raise Wrong
    value = 0
    for digit in digits:
        value = 10 * value + "0123456789".index(digit)
    return -value if text.strip()[0] == "-" else value


def slow_label(row: dict[str, str]) -> Any:
    return slow_number(row["class_index"]) if row.get("class_index") else row.get("label") or None


def slow_labels(data: bytes, needed: str = "") -> list[dict[str, str]]:
    header, *rows = slow_rows(data)
    if (needed and needed not in header) or not {"class_index", "label"} & header.keys():
        raise Wrong
    return rows


def slow_files(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in slow_labels(data, "file"):
        parts = [part for part in row["file"].split("/") if part not in ("", ".")]
        root = row["file"][: len(row["file"]) - len(row["file"].lstrip("/"))]
        name = {0: "", 2: "//"}.get(len(root), "/") + "/".join(parts)
        if name in ("", *found):
            raise Wrong
        found[name] = slow_label(row)
    return found


def slow_classes(data: bytes) -> tuple[tuple[str, ...], dict[str, int]]:
    header, *rows = slow_rows(data)
    if not {"index", "name"} <= header.keys():
        raise Wrong
    by_index = {slow_number(row["index"]): row for row in rows}
    if not rows or [*sorted(by_index)] != [*range(len(rows))] or not all(row["name"] for row in rows):
        raise Wrong
    ids = {row["wnid"]: index for index, row in sorted(by_index.items()) if row.get("wnid")}
    return tuple(by_index[index]["name"] for index in sorted(by_index)), ids


def same(read: Callable[[], Any], slow: Callable[[], Any], *errors: type[Exception]) -> None:
    """Both give the same, or both refuse."""
    try:
        expected = slow()
    except Wrong:
        with pytest.raises(errors):
            read()
    else:
        assert read() == expected


@fuzz(data=tables(CLASSES))
def test_classes_are_those_of_the_file_or_it_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "classes.csv").write_bytes(data)
    same(lambda: read_classes("classes.csv", tmp_path, "card"), lambda: slow_classes(data), NetworkError)


@fuzz(data=tables(LABELS))
def test_labels_of_files_are_those_of_the_file_or_it_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    same(lambda: labels_of_files(path), lambda: slow_files(data), ImagesError)


@fuzz(data=tables(LABELS))
def test_labels_of_rows_are_those_of_the_file_or_it_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.labels.csv"
    path.write_bytes(data)
    same(lambda: labels_of_rows(path), lambda: [slow_label(row) for row in slow_labels(data)], ImagesError)


@fuzz(data=tables(LABELS))
def test_labels_beside_an_array_are_one_an_image_or_refused(tmp_path: Path, data: bytes) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "a.labels.csv").write_bytes(data)
    try:
        expected = [slow_label(row) for row in slow_labels(data)]
    except Wrong:
        expected = []
    try:
        images = open_images(tmp_path / "a.npy")
    except ImagesError:
        assert len(expected) != 3
    else:
        assert list(images.labels) == (expected or [None] * 3)


@fuzz(data=tables(LABELS), kind=st.sampled_from(["list.csv", "labels.csv"]))
def test_listed_images_are_read_or_skipped_by_name(tmp_path: Path, data: bytes, kind: str) -> None:
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if not (tmp_path / name).exists():
            Image.new("L", (3, 2), 7).save(tmp_path / name)
    (tmp_path / kind).write_bytes(data)
    try:
        images = open_images(tmp_path / kind if kind == "list.csv" else tmp_path)
    except ImagesError:
        with pytest.raises(Wrong):
            assert slow_files(data) or kind == "labels.csv" or (_ for _ in ()).throw(Wrong)
        return
    finally:
        (tmp_path / kind).unlink()
    labels = slow_files(data)
    assert {*images.names} == {*labels} | ({"a.png", "sub/b.png"} if kind == "labels.csv" else set())
    assert list(images.names) == sorted(images.names, key=lambda name: name.split("/")) or any("/" in n for n in labels)
    assert len(images.signature(0, len(images))) == 64
    for i, name in enumerate(images.names):
        assert images.labels[i] == labels.get(name)
        try:
            picture = images.read(i)
        except UnreadableImage:
            assert name not in ("a.png", "sub/b.png")
        else:
            assert np.asarray(picture).tolist() == [[7] * 3] * 2
