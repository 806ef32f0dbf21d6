"""An export: images of the diorama with all their answers, in a folder of files that any program can read."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import convscope
from convscope.diorama.folder import new_folder
from convscope.diorama.names import CATEGORIES, TABLES
from convscope.diorama.places import PLACES
from convscope.diorama.scene import VERSION, Map, Scene, render
from convscope.diorama.splits import COUNTS, check, classes

FILES = {
    "images/00000.png": "an image, named by its number in the split; RGB, 8 bits",
    "masks/CATEGORY/00000.png": "its label map: the number of a concept at each pixel, 0 where there is none",
    "masks/instance/00000.png": "the number of a thing at each pixel, as in boxes.csv",
    "concepts.csv": "all concepts; a number belongs to one name of one category",
    "labels.csv": "the class of each image in its label set",
    "scenes.csv": "its place, a concept of the category scene that the whole image has",
    "boxes.csv": "each thing of which something is seen: its tight box in pixels, y1 and x1 just outside; whether the "
    "image is about it; the share of the image that it covers; the share of it that nearer things hide; its colour, "
    "and its material or texture if it has one",
    "captions.csv": "each image in a sentence or two",
    "questions.csv": "questions about each image that have one true answer",
}
COLUMNS = {
    "labels": ("file", "label"),
    "scenes": ("file", "label"),
    "boxes": (
        "file", "label", "number", "y0", "x0", "y1", "x1", "main", "area", "hidden", "colour", "material", "texture",
    ),
    "captions": ("file", "caption"),
    "questions": ("file", "type", "question", "answer"),
}  # fmt: skip
Concept = tuple[int, str, str]  # number, name, category


def export(
    label_set: str,
    split: str,
    folder: str | Path,
    *,
    limit: int | None = None,
    size: int = 96,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write images of a split, and all that is known of them, into `folder`; gives their number.

    `FILES` says what lies where, and so does ``world.json`` in the folder. ``convscope.open_images(folder)`` gives the
    same images and labels as ``diorama:LABELSET/SPLIT``.

    Args:
        limit: only so many, the first of the split.
        size: height and width of the images in pixels.
        progress: called with the images that are written, and all.

    Raises:
        ImagesError: there is no such label set, split or size, or something is at `folder` already.
        OSError: the disk is full, or the folder cannot be written; nothing is left of it then.
    """
    check(label_set, split)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1")
    count = min(limit or COUNTS[split], COUNTS[split])
    numbered = numbers()
    with new_folder(folder) as out, contextlib.ExitStack() as open_files:
        tables = {name: open_files.enter_context(_table(out, name, columns)) for name, columns in COLUMNS.items()}
        for kind in ("images", *(f"masks/{category}" for category in (*CATEGORIES, "instance"))):
            (out / kind).mkdir(parents=True)
        for index in range(count):
            scene = render(label_set, split, index, size)
            file = f"{index:05}.png"
            Image.fromarray(scene.image).save(out / "images" / file, compress_level=3)  # a third of the time of 6
            for category, values in _maps(scene, numbered):
                Image.fromarray(values).save(out / "masks" / category / file)
            for name, rows in _rows(scene).items():
                tables[name]([f"images/{file}", *row] for row in rows)
            progress(index + 1, count)
        with _table(out, "concepts", ("number", "name", "category")) as write:
            write(concepts())
        (out / "world.json").write_text(json.dumps(_about(label_set, split, size, count), indent=1) + "\n")
    return count


def concepts() -> Iterator[Concept]:
    """All concepts: number, name and category, numbered from 1."""
    names = {"scene": [place.name for place in PLACES]} | {category: TABLES[category][1:] for category in CATEGORIES}
    pairs = [(name, category) for category, each in names.items() for name in each]
    return ((number, *pair) for number, pair in enumerate(pairs, 1))


def numbers() -> dict[str, NDArray[Any]]:
    """By category: the number of the concept for each index of a label map; in 8 bits, or in 16 if there are many."""
    known = list(concepts())
    type_ = np.min_scalar_type(len(known))
    return {
        category: np.array([0, *(number for number, _, of in known if of == category)], type_)
        for category in CATEGORIES
    }


def _maps(scene: Scene, numbers: dict[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any] | Map]]:
    for category in CATEGORIES:
        yield category, numbers[category].take(scene.maps[category])
    yield "instance", scene.instances


def _rows(scene: Scene) -> dict[str, list[tuple[Any, ...]]]:
    """What the tables say of an image, without its name."""
    return {
        "labels": [(scene.label,)],
        "scenes": [(scene.category,)],
        "boxes": [
            (
                thing.kind, thing.number, *thing.box, int(thing.main), round(thing.area, 6), round(thing.hidden, 6),
                thing.colour, thing.material or "", thing.texture or "",
            )
            for thing in scene.things
        ],
        "captions": [(scene.caption,)],
        "questions": [(question.type, question.text, question.answer) for question in scene.questions],
    }  # fmt: skip


@contextlib.contextmanager
def _table(folder: Path, name: str, columns: Sequence[str]) -> Iterator[Callable[..., None]]:
    """A function that writes rows into a CSV."""
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerows


def _about(label_set: str, split: str, size: int, count: int) -> dict[str, Any]:
    return {
        "world": "the diorama of convscope",
        "version": VERSION,
        "convscope": convscope.__version__,
        "label_set": label_set,
        "split": split,
        "size": size,
        "images": count,
        "classes": classes(label_set, split),
        "files": FILES,
    }
