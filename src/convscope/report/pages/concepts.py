"""Concepts: which units of all layers detect each one, best first; and the labels of units that other pages show."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope.dissection import Covered
from convscope.dissection.section import CUT
from convscope.render.categories import COLOURS
from convscope.report.contents import Contents
from convscope.report.dissected import ratio
from convscope.report.selection import Shown

_ORDER = list(COLOURS)  # of categories
_LAYERS = 4  # that are named


@dataclass(frozen=True)
class _Found:
    """What is found of a concept in the layers that are shown.

    Args:
        units: with an IoU above the cut: layer (its place among those shown), unit and IoU, the best first.
        detectors: how many units of each layer detect it, by the address of the layer.
        best: the highest IoU of any unit.
    """

    about: Covered
    units: list[tuple[int, int, float]]
    detectors: dict[str, int]
    best: float

    @property
    def count(self) -> int:
        """How many units detect it."""
        return sum(self.detectors.values())

    @property
    def layers(self) -> dict[str, int]:
        """The layers with most detectors, in the order of the network, and how many those are."""
        most = sorted(self.detectors, key=lambda address: -self.detectors[address])[:_LAYERS]
        return {address: count for address, count in self.detectors.items() if address in most}


def context(contents: Contents) -> dict[str, Any]:
    """What the template says."""
    found = sorted(_all(contents), key=_frequent)
    listed = [each for each in found if each.units]
    return {
        "title": "Concepts",
        "listed": listed,
        "detected": sum(each.count > 0 for each in listed),
        "detectors": sum(each.count for each in listed),
        "units": sum(len(layer) for layer in _layers(contents).values()),
        "others": _others([each for each in found if not each.units]),
        "categories": [name for name in _ORDER if any(each.about.concept.category == name for each in listed)],
        "layers": list(_layers(contents)),
        "cut": CUT,
    }


def _others(found: list[_Found]) -> dict[str, dict[str, Any]]:
    """The concepts that nothing detects, by category: those in the images, by their best IoU, and names of others."""
    listed = {}
    for category in _ORDER:
        some = [each for each in found if each.about.concept.category == category]
        seen = sorted((each for each in some if each.about.share > 0), key=lambda each: -each.best)
        absent = [each.about.concept.name for each in some if not each.about.share > 0]
        if some:
            listed[category] = {"seen": seen, "absent": absent}
    return listed


def data(contents: Contents) -> dict[str, Any]:
    """What the page's script needs: of each concept the units, best first, as [layer, unit, IoU]."""
    return {
        str(each.about.concept.number): [[layer, unit, round(iou, 4)] for layer, unit, iou in each.units]
        for each in _all(contents)
        if each.units
    }


def entries(contents: Contents) -> list[list[str]]:
    """What can be searched for: every concept that occurs in the images; see `search`."""
    found = [each for each in sorted(_all(contents), key=_frequent) if each.about.share > 0]
    return [
        ["concept", each.about.concept.name, _remark(each),
         f"concepts.html#{f'c{each.about.concept.number}' if each.units else 'others'}"]
        for each in found
    ]  # fmt: skip


def _remark(found: _Found) -> str:
    if not found.count:
        return f"{found.about.concept.category}: no unit detects it, best IoU {ratio(found.best)}"
    units = f"{found.count:,} unit{'s' if found.count > 1 else ''}"
    more = ", …" if len(found.detectors) > len(found.layers) else ""
    return f"{found.about.concept.category}: {units} of {', '.join(found.layers)}{more}"


def labels(contents: Contents, shown: Shown) -> dict[str, Any]:
    """What scripts must know of a layer: the concept that each unit detects, 0 where none; nothing where unknown."""
    known = {} if contents.dissected is None else contents.dissected.labels
    address = str(shown.layer.address)
    return {"labels": known[address].tolist()} if address in known else {}


def known(contents: Contents) -> dict[str, Any]:
    """Names and categories of all concepts, by number, and the colours of the categories."""
    if contents.dissected is None:
        return {}
    concepts = [each.concept for each in contents.dissected.found.concepts]
    return {"concepts": [None, *([each.name, each.category] for each in concepts)], "colours": COLOURS}


def _layers(contents: Contents) -> dict[str, Any]:
    """The dissected layers among those shown, by address."""
    layers = {} if contents.dissected is None else contents.dissected.layers
    return {address: layers[address] for address in contents.numbers if address in layers}


@functools.lru_cache(maxsize=1)
def _all(contents: Contents) -> list[_Found]:
    """Every concept, by number, with the units that have a page."""
    if contents.dissected is None:
        return []
    units: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    detectors: dict[int, dict[str, int]] = defaultdict(dict)
    best = np.zeros(len(contents.dissected.found.concepts))
    for address, layer in _layers(contents).items():
        chosen = contents.by_address[address].units
        iou = layer.iou[list(chosen)]
        best = np.maximum(best, iou.max(0))
        for row, concept in np.argwhere(iou > CUT).tolist():
            units[concept].append((contents.numbers[address], chosen[row], float(iou[row, concept])))
        numbers, counts = np.unique(contents.dissected.labels[address][list(chosen)], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            detectors[number - 1][address] = count
    return [
        _Found(about, sorted(units[i], key=lambda unit: (-unit[2], unit)), detectors[i], float(best[i]))
        for i, about in enumerate(contents.dissected.found.concepts)
    ]


def _frequent(found: _Found) -> tuple[Any, ...]:
    """The order of a list: those that most units detect first, of equal ones that with the best unit."""
    return -found.count, -found.best, found.about.concept.number
