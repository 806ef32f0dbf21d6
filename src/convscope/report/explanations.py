"""Write explanations: the comparison sheet, the maps as arrays, and all evidence as JSON, image by image."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import convscope
from convscope.errors import AttributionError
from convscope.explanation.result import About, Cell, Explained
from convscope.render.figures.explanation import OVERVIEW, draw, draw_overview
from convscope.report.writer import replace_folder

MARK = "explanation.json"  # by which a later run knows that it may replace the folder
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # which file managers leave in every folder that they show


class Explanations(Protocol):
    """Explained images, all at once or one after the other; what holds for all is known after the first one."""

    @property
    def about(self) -> About: ...  # noqa: D102

    @property
    def skipped(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Explained]: ...


def write_explanations(found: Explanations, folder: str | Path) -> dict[str, Any]:
    """Write a sheet, maps and JSON into `folder`, and return the JSON; with several images a folder for each.

    An explanation that is there already is replaced once the new one is whole.

    Raises:
        AttributionError: `folder` holds something else.
        OSError: the disk is full, or `folder` cannot be written; what is there already stays as it is.
    """
    check_folder(folder)
    target = Path(folder).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
        temporary = Path(place) / "explanation"
        temporary.mkdir()
        told = _write(found, temporary)
        replace_folder(target, temporary, Path(place) / "old")
    return told


def check_folder(folder: str | Path) -> None:
    """Raise unless an explanation may be written into `folder`: it is new, empty, or holds an explanation alone.

    Raises:
        AttributionError: there is something else, which would be lost.
    """
    target = Path(folder).resolve()
    if target == Path.cwd() or target in Path.cwd().parents:
        raise AttributionError(f"{folder}: an explanation cannot replace this folder; give it one of its own")
    if target.exists() and not target.is_dir():
        raise AttributionError(f"{folder}: there is a file of this name; give another folder")
    there = {path.name for path in target.iterdir()} - _LITTER if target.is_dir() else set()
    others = sorted(there - _own(target / MARK))
    if others:
        some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise AttributionError(f"{folder}: there is something else than an explanation ({some}); give another folder")


def _own(mark: Path) -> set[str]:
    """What an explanation has put into its folder; nothing where there is none."""
    try:
        return set(json.loads(mark.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _write(found: Explanations, folder: Path) -> dict[str, Any]:
    several = len(found) > 1
    first: list[Explained] = []
    images: list[dict[str, Any]] = []
    for image in found:
        name = _folder_name(image, len(found)) if several else "."
        told = {"folder": name} | write_image(image, found.about, folder / name)
        if several:  # so that a folder says what is in it wherever it goes
            _put(folder / name / "explanation.json", found.about.to_json() | {"images": [told | {"folder": "."}]})
        images.append(told)
        if len(first) < OVERVIEW:
            first.append(image)
    if several:
        draw_overview(first, found.about, len(images)).save(folder / "explanation.png")
    files = sorted({path.name for path in folder.iterdir()} | {MARK})
    told = {"convscope": convscope.__version__} | found.about.to_json()
    told |= {"images": images, "skipped": [dict(each) for each in found.skipped], "files": files}
    _put(folder / MARK, told)
    return told


def write_image(image: Explained, about: About, folder: Path) -> dict[str, Any]:
    """The sheet and the maps of one image, into a folder; returns its JSON, which names the files of each map."""
    folder.mkdir(exist_ok=True)
    draw(image, about).save(folder / "explanation.png")
    told = image.to_json()
    for place, (cell, each) in enumerate(zip(image.cells, told["maps"], strict=True)):
        column = place % len(about.columns)
        each["files"] = {} if cell.found is None else _maps(cell, _file_name(cell, about, column), folder)
    return told


def _maps(cell: Cell, name: str, folder: Path) -> dict[str, str]:
    """A map on its own cells, (h, w) or (c, h, w); on the image, (h, w), if these are no pixels; and its error."""
    assert cell.found is not None
    arrays = {"": cell.found.values[0].numpy()}
    if cell.found.grid.cells != cell.found.grid.image:
        arrays["-on-image"] = cell.found.on_image().numpy()
    if cell.found.error is not None:
        arrays["-error"] = cell.found.error[0].numpy()
    for suffix, values in arrays.items():
        np.save(folder / f"{name}{suffix}.npy", values[0] if len(values) == 1 else values)
    names = {"": "values", "-on-image": "on_image", "-error": "error"}
    return {names[suffix]: f"{name}{suffix}.npy" for suffix in arrays}


def _file_name(cell: Cell, about: About, column: int) -> str:
    """The method as it is written, and the number of the column, as two may have one name, if there are several."""
    name = re.sub(r"[^\w.+=,-]", "-", cell.label)
    return name if len(about.columns) == 1 else f"{name}-{column + 1}"


def _folder_name(image: Explained, count: int) -> str:
    """Its place among all, and its name without what a file system might not take."""
    name = re.sub(r"[^\w.-]+", "-", Path(image.name).stem).strip(".-")[-60:]
    return f"{image.place:0{len(str(count - 1))}}-{name}".rstrip("-")


def _put(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1, allow_nan=False), encoding="utf-8")
