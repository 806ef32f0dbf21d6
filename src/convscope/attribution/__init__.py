"""Attributions: what in an image a prediction, a unit or a position rests on; one method a file, found by being here.

>>> from convscope.attribution import Saliency
>>> found = Saliency()(network, images, "tabby")   # images (n, c, h, w), prepared
>>> found.values, found.scores, found.targets

A method is a frozen dataclass whose fields are its parameters. See docs/attribution.md for what each one computes.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from convscope.attribution.base import Answer, Attribution, AttributionMap, Question
from convscope.targets import Class

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")


def registered() -> dict[str, type[Attribution]]:
    """Every method by its name, in alphabetical order."""
    return {kind.name: kind for kind in sorted(_below(Attribution), key=lambda kind: kind.name)}


def _below(kind: Any) -> list[type[Attribution]]:
    """The subclasses of `kind` and theirs that have a name."""
    kinds = [each for below in kind.__subclasses__() for each in (below, *_below(below))]
    return [each for each in kinds if "name" in vars(each)]


def __getattr__(name: str) -> Any:
    """A method's class by its name."""
    for kind in registered().values():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *(kind.__name__ for kind in registered().values())]


__all__ = ["Answer", "Attribution", "AttributionMap", "Class", "Question", "registered"]
