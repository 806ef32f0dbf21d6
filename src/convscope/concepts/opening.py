"""From what a user writes for CONCEPTS to the set that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convscope.concepts.ade20k import SEGMENTS, open_full, open_scene_parsing
from convscope.concepts.base import ConceptSet
from convscope.concepts.broden import open_broden
from convscope.concepts.categories import only
from convscope.concepts.coco import INSTANCES, open_coco
from convscope.concepts.colours import with_colours
from convscope.concepts.diorama import DioramaConcepts
from convscope.concepts.folder import open_folder
from convscope.concepts.indexed import open_indexed
from convscope.concepts.shuffle import shuffled
from convscope.errors import ImagesError
from convscope.images import Diorama, open_images

_EXPECTED = (
    "diorama:LABELSET/SPLIT; a folder with concepts.csv and masks (ours), index.csv and label.csv (Broden), "
    f"objectInfo150.txt (ADE20K's scene parsing), *{SEGMENTS} (all of ADE20K), {INSTANCES} (COCO), or classes.csv and "
    "index.csv; colours:IMAGES; shuffled:SEED:CONCEPTS; only:CATEGORY,...:CONCEPTS"
)


def open_concepts(spec: str | Path) -> ConceptSet:
    """The set of images with labels that `spec` names.

    Raises:
        ImagesError: there is no such set, or it is written wrongly.
    """
    if not str(spec):  # the current folder, were it a path
        raise ImagesError(f"no concept set is named, as behind only:CATEGORY: or shuffled:SEED:; expected {_EXPECTED}")
    path = Path(spec)
    text = str(path) if path.exists() else str(spec)
    kind, _, rest = text.partition(":")
    if not path.exists():
        if kind == "diorama":
            return DioramaConcepts(Diorama.open(text))
        if kind == "colours":
            return with_colours(open_concepts(rest) if _is_labelled(rest) else open_images(rest))
        if kind == "shuffled":
            seed, _, rest = rest.partition(":")
            if not (seed.isascii() and seed.isdigit()):
                raise ImagesError(f"{text}: a seed of {seed!r}; expected a number, as in shuffled:0:CONCEPTS")
            return shuffled(open_concepts(rest), int(seed))
        if kind == "only":
            categories, _, rest = rest.partition(":")
            return only(open_concepts(rest), categories.split(","))
        raise ImagesError(f"{text}: there is no such folder; expected {_EXPECTED}")
    opener = _opener(path)
    if opener is None:
        raise ImagesError(f"{text}: no concept set; expected {_EXPECTED}")
    return opener(path, text)


def _is_labelled(spec: str) -> bool:
    path = Path(spec)
    if path.exists():
        return _opener(path) is not None
    return spec.partition(":")[0] in {"diorama", "colours", "shuffled", "only"}


def _opener(root: Path) -> Callable[[Path, str], ConceptSet] | None:
    """What reads a folder, by the files that lie in it; None where it is no concept set."""
    if not root.is_dir():
        return None
    has = {each.name for each in root.iterdir()}
    if {"index.csv", "label.csv"} <= has:
        return open_broden
    if {"index.csv", "classes.csv"} <= has:
        return open_indexed
    if "objectInfo150.txt" in has:
        return open_scene_parsing
    if any(root.glob(INSTANCES)):
        return open_coco
    if _has_segments(root):
        return open_full
    return open_folder if "concepts.csv" in has else None


def _has_segments(root: Path) -> bool:
    """Whether there are label maps of ADE20K, somewhere below; its own folders may be called images, too."""
    if (root / "masks").is_dir():
        return False
    return any(True for _ in root.rglob(f"*{SEGMENTS}"))
