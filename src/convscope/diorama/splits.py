"""The label sets and their splits. A split's name is a part of every draw of chance, so no two splits share a seed."""

from __future__ import annotations

from convscope.diorama.kinds import NOVEL, TRAINED
from convscope.diorama.places import PLACES
from convscope.errors import ImagesError, nearest

LABEL_SETS = ("objects", "scenes")
COUNTS = {"train": 12_000, "val": 2_000, "test": 2_000, "novel": 1_200, "style": 1_200}
SPLITS = tuple(COUNTS)


def classes(label_set: str, split: str) -> tuple[str, ...]:
    """The names of the classes, in their order."""
    if label_set == "scenes":
        return tuple(place.name for place in PLACES)
    return tuple(kind.name for kind in (NOVEL if split == "novel" else TRAINED))


def check(label_set: str, split: str) -> None:
    """Whether there is such a split.

    Raises:
        ImagesError: there is none.
    """
    for what, name, names in (("label set", label_set, LABEL_SETS), ("split", split, SPLITS)):
        if name not in names:
            raise ImagesError(
                f"diorama: there is no {what} {name!r}{nearest(name, names)}; expected one of {', '.join(names)}"
            )
