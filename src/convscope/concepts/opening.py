"""From what a user writes for CONCEPTS to the set that it names."""

from __future__ import annotations

from pathlib import Path

from convscope.concepts.base import ConceptSet
from convscope.concepts.diorama import DioramaConcepts
from convscope.errors import ImagesError
from convscope.images import Diorama


def open_concepts(spec: str | Path) -> ConceptSet:
    """The set of images with labels that `spec` names.

    Raises:
        ImagesError: there is no such set, or it is written wrongly.
    """
    text = str(spec)
    if text.startswith("diorama:"):
        return DioramaConcepts(Diorama.open(text))
    raise ImagesError(f"{text}: no concept set; expected diorama:LABELSET/SPLIT")
