"""The three tasks about units for people, as pages that open from disk and save what was answered [METHODS 5.5].

A page holds everything: its pictures are ``data:`` addresses, and what was answered stays in the browser until it is
saved as JSON, which `convscope.annotation.read` reads.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from convscope.annotation.files import KIND, VERSION
from convscope.annotation.record import CATEGORIES
from convscope.atlas import AtlasUnit, TopImage
from convscope.errors import AnnotationError
from convscope.render.environment import environment
from convscope.render.inline import uri
from convscope.shards import write

SHOWN = 60  # images of a unit, as published
MOST = 2000  # units in all
_SIDE, _SHARP = 112, 32  # px: a picture's longer side at most; smaller ones are enlarged without a blur
_UNITS, _CHARACTERS = 20, 6_000_000  # of one page, at most


@dataclass(frozen=True)
class Tasks:
    """What was written.

    Args:
        files: the pages.
        units: that are asked about, and `images` the least and the largest number that is shown of one.
        silent: units left out, since no picture that excites them is kept.
    """

    files: tuple[Path, ...]
    units: int
    images: tuple[int, int]
    silent: tuple[str, ...]


def write_tasks(
    units: Sequence[AtlasUnit], path: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Tasks:
    """Write the tasks about `units` of one atlas to `path`, or to PATH-01, PATH-02, ... where they are too many.

    A page asks about 20 units at most and is about 6 MB large at most. Each unit is shown by the 60 images that excite
    it most, or as many as the atlas keeps.

    Raises:
        AnnotationError: there are more than 2,000 units, or none that anything excites.
        OSError: the place cannot be written.
    """
    if len(units) > MOST:
        raise AnnotationError(f"{len(units):,} units are too many for people ({MOST:,} at most); choose some of them")
    pages: list[list[dict[str, Any]]] = [[]]
    silent, counts, room = [], [], _CHARACTERS
    for done, unit in enumerate(units, 1):
        task = _task(unit)
        if task["images"]:
            size = sum(len(image["uri"]) for image in task["images"])
            if pages[-1] and (len(pages[-1]) == _UNITS or size > room):
                pages.append([])
                room = _CHARACTERS
            pages[-1].append(task)
            counts.append(len(task["images"]))
            room -= size
        else:
            silent.append(str(unit.address))
        progress(done, len(units))
    if not counts:
        raise AnnotationError("none of the units that were chosen is excited by any image whose picture was kept")
    files = _names(path, len(pages))
    for number, (file, tasks) in enumerate(zip(files, pages, strict=True), 1):
        write(file, _page(units[0].layer.atlas.run, tasks, number, len(pages)).encode())
    return Tasks(tuple(files), len(counts), (min(counts), max(counts)), tuple(silent))


def _names(path: Path, count: int) -> list[Path]:
    digits = max(2, len(str(count)))
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number:0{digits}}{path.suffix}") for number in range(1, count + 1)]


def _task(unit: AtlasUnit) -> dict[str, Any]:
    """What a page must know of a unit: its images, best first, each with the place where the unit responds most."""
    kept = unit.layer.atlas.pictures
    best = [top for top in unit.best(SHOWN) if top.id in kept and _excites(unit, top)]
    return {"layer": str(unit.layer.address), "unit": unit.index, "images": [_image(unit, top) for top in best]}


def _excites(unit: AtlasUnit, top: TopImage) -> bool:
    """Behind a rectifier zero is silence, and an image with it is among the best by its number alone."""
    return top.value > 0 or unit.layer.sparsity is None


def _image(unit: AtlasUnit, top: TopImage) -> dict[str, Any]:
    patch = unit.patch(top.rank)
    longest = max(patch.size)
    if longest > _SIDE:
        height, width = (max(1, round(side * _SIDE / longest)) for side in (patch.height, patch.width))
        about: dict[str, Any] = {"uri": uri(patch.resize((width, height), Image.Resampling.LANCZOS))}
    else:
        about = {"uri": uri(patch, exact=longest <= _SHARP)}
    return about | ({"spot": _spot(unit, top)} if _is_large(unit, top) else {})


def _is_large(unit: AtlasUnit, top: TopImage) -> bool:
    """Whether a patch shows so much that people must be told where to look."""
    height, width = unit.layer.grid.image
    return len(unit.layer.shape) == 3 and 2 * top.box.height > height and 2 * top.box.width > width


def _spot(unit: AtlasUnit, top: TopImage) -> list[float]:
    """Where in the patch the centre of the strongest field lies, as shares of its width and height."""
    grid, box = unit.layer.grid, top.box
    centres = grid.columns.centres()[top.column] + 0.5, grid.rows.centres()[top.row] + 0.5  # of pixels to their edges
    shares = (centres[0] - box.x0) / box.width, (centres[1] - box.y0) / box.height
    return [round(float(min(max(share, 0.0), 1.0)), 3) for share in shares]


def _page(run: Mapping[str, Any], tasks: list[dict[str, Any]], number: int, count: int) -> str:
    about = {
        "kind": KIND,
        "version": VERSION,
        "network": run["network"]["name"],
        "weights": run["network"]["fingerprint"],
        "layers": [[layer["address"], layer["units"]] for layer in run["layers"]],
    }
    plain = json.dumps({"about": about, "tasks": tasks}, separators=(",", ":")).replace("<", "\\u003c")
    key = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return (
        environment("convscope.render")
        .get_template("tasks.html")
        .render(
            network=run["network"]["name"],
            number=number,
            count=count,
            categories=CATEGORIES,
            style=_static("tasks.css"),
            script=_static("tasks.js"),
            data=plain,
            key=key,
            sharp=max(run["pictures"]["size"]) <= _SHARP,
        )
    )


@functools.cache
def _static(name: str) -> str:
    return (importlib.resources.files("convscope.render") / "templates" / name).read_text()
