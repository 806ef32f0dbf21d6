"""The picture files of a report: those of the atlas as they are, or, for some of its units, sheets of these alone.

Strips lie in sheets of rows, a row a unit; pictures in sheets of cells. What a page must know to find a strip or a
picture is the same in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from convscope.atlas import Atlas
from convscope.atlas.run import RULES
from convscope.report.selection import Shown
from convscope.sprites import encoded

Put = Callable[[str, bytes], None]

SHARP = 64  # px of a patch: its pixels are shown as squares where it has no more along a side
_TALLEST = 16_384  # px, of a sheet: browsers show taller ones blurred, or not at all


def rows_of(height: int) -> int:
    """How many rows of this height, px, are on a sheet that is made for a page."""
    return max(1, _TALLEST // height)


def write_strips(atlas: Atlas, shown: Shown, put: Put) -> list[str]:
    """Write the strips of a layer's units; the names of the sheets, in which the k-th shown unit has the k-th row."""
    return _write_rows(atlas, atlas.run["strips"][shown.slug], shown.units, shown.layer.units, put)


def write_projections(atlas: Atlas, shown: Shown, put: Put) -> dict[str, Any] | None:
    """Write the projections of a layer's units; what a page must know to find them, None where there are none."""
    about = shown.layer.projections
    if about is None or "reason" in about:
        return None
    row_of = {unit: row for row, unit in enumerate(about["units"])}
    units = [unit for unit in shown.units if unit in row_of]
    files = _write_rows(atlas, about, [row_of[unit] for unit in units], len(row_of), put)
    box = shown.layer.grid.crop(*(cells // 2 for cells in shown.layer.grid.cells))
    return {
        "sheets": files,
        "units": units,
        "kept": len(row_of),
        "rules": RULES,
        "rows": about["rows"],
        "cell": about["cell"],
        "tile": about["tile"],
        "sharp": max(box.height, box.width) <= SHARP,
    }


def _write_rows(atlas: Atlas, strips: Mapping[str, Any], chosen: Sequence[int], count: int, put: Put) -> list[str]:
    """Write some of the `count` rows of the atlas's strips, or copy the sheets where all are chosen."""
    if len(chosen) == count:
        for name in strips["files"]:
            put(name, atlas.file(name))
        return list(strips["files"])
    rows, (height, _) = strips["rows"], strips["cell"]
    files = []
    for start in range(0, len(chosen), rows):
        some = chosen[start : start + rows]
        name = strips["files"][start // rows]
        sheet = Image.new("RGB", (atlas.sheet(strips["files"][0]).width, height * len(some)))
        for row, each in enumerate(some):
            whole, top = atlas.sheet(strips["files"][each // rows]), each % rows * height
            sheet.paste(whole.crop((0, top, whole.width, top + height)), (0, row * height))
        put(name, encoded(sheet, name))
        files.append(name)
    return files


def write_pictures(atlas: Atlas, wanted: Sequence[int] | None, put: Put) -> tuple[list[str], dict[int, list[int]]]:
    """Write the pictures of `wanted` images (None: all); the sheets, and of each image its sheet and pixel (y, x)."""
    pictures = atlas.run["pictures"]
    kept = atlas.pictures
    if wanted is None or len(ids := sorted(set(wanted) & kept.keys())) == len(kept):
        for name in pictures["files"]:
            put(name, atlas.file(name))
        return list(pictures["files"]), {image: list(about["place"]) for image, about in kept.items()}
    # Cells as they lie now: whole blocks of a JPEG, into which each picture goes on so that its edge does not ring.
    step = 1 if pictures["files"][0].endswith(".png") else 8
    height, width = (math.ceil(side / step) * step for side in pictures["size"])
    columns, files, places = 6, list[str](), dict[int, list[int]]()
    for start in range(0, len(ids), columns * columns):
        chosen = ids[start : start + columns * columns]
        name = str(PurePosixPath(pictures["files"][0]).with_stem(f"{len(files):04}"))
        sheet = Image.new("RGB", (columns * width, math.ceil(len(chosen) / columns) * height))
        for i, image in enumerate(chosen):
            y, x = i // columns * height, i % columns * width
            was, top, left = kept[image]["place"]
            cell = (left, top, left + width, top + height)
            sheet.paste(atlas.sheet(pictures["files"][was]).crop(cell), (x, y))
            places[image] = [len(files), y, x]
        put(name, encoded(sheet, name))
        files.append(name)
    return files, places


def about_pictures(atlas: Atlas, files: Sequence[str], places: dict[int, list[int]]) -> dict[str, Any]:
    """What pages must know of the images in the lists of the best: names, labels, and where their pictures are."""
    labels = sorted({about["label"] for about in atlas.images.values() if about["label"] is not None})
    number = {label: i for i, label in enumerate(labels)}
    return {
        "size": atlas.run["pictures"]["size"],
        "padding": atlas.run["pictures"]["padding"],
        "sheets": list(files),
        "labels": labels,
        "images": {
            image: [about["name"], number.get(about["label"], -1), *places.get(image, ())]
            for image, about in sorted(atlas.images.items())
        },
    }
