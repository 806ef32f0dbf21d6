"""Detectors counted, layer by layer and network by network, at any cut, in both ways of counting [METHODS 6.2, 6.3].

>>> series = [("trained", Dissection.open("objects")), ("random", Dissection.open("random"))]
>>> check_comparable(series)  # or an error that says why not
()
>>> [count(found, "conv5").by_label["object"] for _, found in series]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.concepts import CATEGORIES
from convscope.dissection import Counts, DissectedLayer, Dissection
from convscope.dissection.section import CUT, interval
from convscope.errors import AddressError, AtlasError
from convscope.images.base import source

CUTS = (0.04, 0.10, 0.15)

Series = Sequence[tuple[str, Dissection]]  # names, and what was found


@dataclass(frozen=True)
class Detectors:
    """Detectors of a layer, counted in both ways.

    Args:
        counts: of all categories together, and by category in the released statistics' way.
        by_label: by category the units whose label is of it, and the different labels among these. Every unit counts
            once, so that they add up to those of `counts`.
        intervals: by category of these different labels, 95 %, by a bootstrap over images.
    """

    counts: Counts
    by_label: Mapping[str, tuple[int, int]]
    intervals: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        intervals = {category: list(ends) for category, ends in self.intervals.items()}
        return self.counts.to_json() | {"by_label": dict(self.by_label), "by_label_unique_intervals": intervals}


def count(found: Dissection, layer: str | None = None, cut: float = CUT) -> Detectors:
    """Count the detectors of a layer; by default of the last one.

    Raises:
        AddressError: it was not dissected, or is a unit.
    """
    chosen = layer_of(found, layer)
    by_label = _by_label(found, chosen.labels(cut))
    drawn = np.array([_by_label(found, labels) for labels in chosen.drawn(cut)])
    return Detectors(
        chosen.counts(cut),
        dict(zip(CATEGORIES, by_label, strict=True)),
        {category: interval(drawn[:, place, 1]) for place, category in enumerate(CATEGORIES)},
    )


def layer_of(found: Dissection, layer: str | None = None) -> DissectedLayer:
    """A layer by its address; by default the last one.

    Raises:
        AddressError: it was not dissected, or is a unit.
    """
    chosen = found.layers[-1] if layer is None else found[layer]
    if not isinstance(chosen, DissectedLayer):
        raise AddressError(f"{layer} is a unit; give a layer, as {str(layer).partition(':')[0]}")
    return chosen


def images_of(found: Dissection) -> str:
    """What its units were compared with, in words."""
    return f"{found.run['images']:,} images of {source(found.run['job']['concepts'])}"


def _by_label(found: Dissection, labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Units, and different labels, by category of the label; 0 is no label."""
    units = np.bincount(labels, minlength=1 + len(found.category_of))[1:]
    places = range(len(CATEGORIES))
    return [(int(units[found.category_of == each].sum()), int((units[found.category_of == each] > 0).sum()))
            for each in places]  # fmt: skip


def check_comparable(series: Series) -> tuple[str, ...]:
    """See that dissections differ in nothing but the network; returns what must be known beside.

    Raises:
        AtlasError: they have other concepts, images, quantiles or readings; the message names both and what differs.
    """
    (name, first), *others = series
    notes = []
    for other, found in others:
        if differing := _differences(first, found):
            raise AtlasError(
                f"{name} ({first.path}) and {other} ({found.path}) cannot be compared: {'; '.join(differing)}; dissect "
                "both alike"
            )
        if not _same_pixels(first, found):
            notes.append(f"{name} and {other} see other parts of the same images, as their inputs cut them out")
    return tuple(notes)


_ALIKE = {"quantile": "quantiles", "threshold": "thresholds", "upsampling": "upsamplings", "at": "readings of units"}


def _differences(one: Dissection, other: Dissection) -> list[str]:
    """What makes the counts of two dissections mean different things."""
    jobs = one.run["job"], other.run["job"]
    found = [f"their {what} are {jobs[0][key]} and {jobs[1][key]}"
             for key, what in _ALIKE.items() if jobs[0][key] != jobs[1][key]]  # fmt: skip
    if one.run["concepts"] != other.run["concepts"]:
        return [*found, f"their concepts are {_concepts(one)} and {_concepts(other)}"]
    # A set may have moved: the same pixels of every concept are those of the same images.
    if _images(one) != _images(other) and not _same_pixels(one, other):
        found.append(f"their images are {_images(one)} and {_images(other)}")
    # Another crop has other pixels of a category, too: only with other labels is a concept smaller in as many.
    elif _same(one, other, "pixels", "images") and not _same_pixels(one, other):
        found.append("the labels of their images are not the same")
    return found


def _same_pixels(one: Dissection, other: Dissection) -> bool:
    """Whether every concept has the same pixels in both, and every category the same images."""
    return _same(one, other, "covered", "pixels", "images")


def _same(one: Dissection, other: Dissection, *arrays: str) -> bool:
    return all(np.array_equal(one.arrays[key], other.arrays[key]) for key in arrays)


def _concepts(found: Dissection) -> str:
    return f"{len(found.run['concepts'])} of {found.run['job']['concepts']}"


def _images(found: Dissection) -> str:
    return f"{found.run['images']} of {found.run['job']['concepts']}"
