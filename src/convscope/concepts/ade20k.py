"""ADE20K: the scene parsing benchmark with 150 classes, and the full data set with objects and parts.

The benchmark::

    images/training/ADE_train_00000001.jpg
    annotations/training/ADE_train_00000001.png      0 is no label, then 1 to 150
    objectInfo150.txt                                Idx, ..., Name, with tabs between them
    sceneCategories.txt                              ADE_train_00000001 airport_terminal (may be missing)

The full one, below the folder in any subfolders::

    ADE_train_00000001.jpg
    ADE_train_00000001_seg.png                       number = red // 10 · 256 + green; blue tells instances apart
    ADE_train_00000001_parts_1.png                   likewise; parts of parts in _parts_2.png and so on
    concepts.csv                                     number, name, category: not part of it, and to be written
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from convscope.concepts.base import Concept
from convscope.concepts.folder import images_in, pair
from convscope.concepts.masks import Masks, Numbers, PlainFiles, read_colours, read_index
from convscope.concepts.numbering import Entry, Numbering, listed, number_in
from convscope.errors import ImagesError
from convscope.images import ImageSet
from convscope.images.files import files_below

SEGMENTS = "_seg.png"


def open_scene_parsing(root: Path, spec: str) -> Masks:
    """The benchmark; a class is named by the first of its synonyms.

    Raises:
        ImagesError: it is written wrongly, or an image has no annotation.
    """
    numbering = Numbering.of(root / "objectInfo150.txt", _objects(root / "objectInfo150.txt"))
    images = images_in(root)
    files, remark = pair(root, images, ["annotations"], [False] * len(images))
    numbering, whole = _with_scenes(root / "sceneCategories.txt", images, numbering)
    return Masks(spec, images, root, numbering, files, whole, read_index, remark)


def open_full(root: Path, spec: str) -> Masks:
    """The full data set.

    Raises:
        ImagesError: there is no ``concepts.csv``, it is written wrongly, or an image has no picture.
    """
    if not (root / "concepts.csv").is_file():
        raise ImagesError(
            f"{root / 'concepts.csv'}: it is missing, and the files of ADE20K do not name their numbers; write one "
            "with the columns number, name, category, from the list of objects in its index file (from number 1)"
        )
    numbering = listed(root / "concepts.csv")
    pngs = files_below(root, {".png"})
    stems = [name.removesuffix(SEGMENTS) for name in pngs if name.endswith(SEGMENTS)]
    names = [f"{stem}.jpg" for stem in stems]
    missing = next((name for name in names if not (root / name).is_file()), None)
    if missing is not None:
        raise ImagesError(f"{root / missing}: the picture of a label map is missing; add it, or take the map out")
    parts: dict[str, list[str]] = {}
    for name in pngs:
        stem, mark, _ = name.rpartition("_parts_")
        if mark:
            parts.setdefault(stem, []).append(name)
    files = [(f"{stem}{SEGMENTS}", *parts.get(stem, ())) for stem in stems]
    images = PlainFiles(spec, root, names, [None] * len(names))
    return Masks(spec, images, root, numbering, files, [()] * len(names), _decode)


def _decode(path: Path) -> Numbers:
    values = read_colours(path)
    numbers: Numbers = values[..., 0] // 10 * 256 + values[..., 1]
    return numbers


def _objects(path: Path) -> Iterator[Entry]:
    lines = _lines(path)
    columns = lines[0].split("\t") if lines else []
    if columns[:1] != ["Idx"] or columns[-1] != "Name":
        raise ImagesError(f"{path}: expected columns from Idx to Name with tabs between them in the first line")
    for line, text in enumerate(lines[1:], 2):
        cells = text.split("\t")
        if text:
            name = cells[-1].partition(",")[0].strip()
            yield Entry(line, number_in(cells[0], f"{path}, line {line}"), name, "object")


def _with_scenes(path: Path, images: ImageSet, numbering: Numbering) -> tuple[Numbering, list[tuple[int, ...]]]:
    """The scene of each image, as more concepts; no scenes where the file is missing."""
    if not path.is_file():
        return numbering, [()] * len(images)
    scenes: dict[str, str] = {}
    for line, text in enumerate(_lines(path), 1):
        stem, _, scene = text.strip().partition(" ")
        if stem and not scene:
            raise ImagesError(f"{path}, line {line}: {text!r}; expected the name of an image, a space and its scene")
        scenes[stem] = scene.strip()
    found = [scenes.get(PurePosixPath(name).stem) for name in images.names]
    start = len(numbering.concepts)
    named = {name: start + i for i, name in enumerate(sorted({scene for scene in found if scene}), 1)}
    added = tuple(Concept(number, name, "scene") for name, number in named.items())
    whole: list[tuple[int, ...]] = [(named[scene],) if scene else () for scene in found]
    return Numbering(numbering.path, (*numbering.concepts, *added), numbering.table), whole


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ImagesError(f"{path}: not readable as text ({error})") from error
