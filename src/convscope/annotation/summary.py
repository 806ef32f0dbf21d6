"""What annotations say in all: precision, semantic types by layer, object detectors, agreement [METHODS 5.6]."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from convscope.annotation.agreement import alpha, pairs_alike
from convscope.annotation.record import NAMES, Annotation, Annotations
from convscope.annotation.words import label
from convscope.errors import AnnotationError, nearest

DETECTOR = 0.75  # precision from which an answer counts for the histogram of detectors
NONE = "none"


@dataclass(frozen=True)
class Row:
    """A layer.

    Args:
        precision: mean over the answers.
        shares: of the units, by category, and "none" for answers below the cut: they add up to 1.
        alpha: Krippendorff's, of the categories; `same_category` and `same_label` the shares of pairs of annotators who
            give the same one. NaN where nobody annotated a unit that another one did.
        detectors: the units that detect objects, by label, most frequent first, then by alphabet.
    """

    layer: str
    units: int
    annotations: int
    annotators: int
    precision: float
    shares: dict[str, float]
    alpha: float
    same_category: float
    same_label: float
    detectors: tuple[tuple[str, int], ...]

    @property
    def object_detectors(self) -> int:
        """How many units detect objects."""
        return sum(units for _, units in self.detectors)

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where there is none."""
        values = {name: None if value != value else value for name, value in vars(self).items()}
        return values | {"detectors": dict(self.detectors), "object_detectors": self.object_detectors}


@dataclass(frozen=True)
class Summary:
    """All layers, in the order of the network.

    Args:
        least: the precision from which an answer counts for shares and for detectors.
        alpha: of the categories, over the units of all layers.
    """

    annotations: Annotations
    rows: tuple[Row, ...]
    least: tuple[float, float]
    alpha: float

    def row(self, layer: str) -> Row:
        """The row of a layer.

        Raises:
            AnnotationError: nobody said anything of it.
        """
        found = {row.layer: row for row in self.rows}
        if layer not in found:
            raise AnnotationError(f"nobody has annotated a layer {layer!r}{nearest(layer, found)}")
        return found[layer]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = self.annotations.rows
        return {
            "network": self.annotations.network,
            "annotations": len(rows),
            "annotators": len({row.annotator for row in rows}),
            "least_precision": {"shares": self.least[0], "detectors": self.least[1]},
            "precision": _mean(row.precision for row in rows),
            "alpha": None if math.isnan(self.alpha) else self.alpha,
            "layers": [row.to_json() for row in self.rows],
        }


def summarize(annotations: Annotations, least: float | None = None) -> Summary:
    """Sum up what people said.

    Args:
        least: the precision from which an answer counts; by default all count for the shares, and 0.75 for detectors.

    Raises:
        AnnotationError: there are no annotations.
    """
    if not annotations.rows:
        raise AnnotationError("there are no annotations in it")
    cuts = (0.0, DETECTOR) if least is None else (least, least)
    rows = tuple(_row(layer, annotations.of(layer), *cuts) for layer in annotations.annotated)
    return Summary(annotations, rows, cuts, alpha(_answers(annotations.rows, "category")))


def _row(layer: str, rows: Sequence[Annotation], shares_from: float, detectors_from: float) -> Row:
    categories, labels = _answers(rows, "category"), _answers(rows, "label")
    return Row(
        layer,
        len(categories),
        len(rows),
        len({row.annotator for row in rows}),
        _mean(row.precision for row in rows),
        shares(rows, shares_from),
        alpha(categories),
        pairs_alike(categories),
        pairs_alike(labels),
        detectors(rows, detectors_from),
    )


def shares(rows: Sequence[Annotation], least: float) -> dict[str, float]:
    """The share of the units in each category, and in "none"; those who annotated a unit share it equally."""
    each = Counter(row.unit for row in rows)
    found = defaultdict[str, list[float]](list)
    for row in rows:
        found[row.category if row.precision >= least else NONE].append(1 / each[row.unit])
    return {name: math.fsum(found[name]) / len(each) for name in (*NAMES, NONE)}


def detectors(rows: Sequence[Annotation], least: float) -> tuple[tuple[str, int], ...]:
    """Units by the label of the object that they detect: most frequent first, then by alphabet.

    Of each unit the category counts that most give whose answers are precise enough (of two the one whose answers are
    more precise in sum), and in it likewise the label.
    """
    units = defaultdict[int, list[Annotation]](list)
    for row in rows:
        if row.precision >= least:
            units[row.unit].append(row)
    counts: Counter[str] = Counter()
    for answers in units.values():
        category = _most((row.category, row.precision) for row in answers)
        if category == "object":
            counts[_most((label(row.description), row.precision) for row in answers if row.category == category)] += 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _most(votes: Iterable[tuple[str, float]]) -> str:
    """Who has most votes; of several the one with the larger sum of weights, then the first by alphabet."""
    weights = defaultdict[str, list[float]](list)
    for name, weight in votes:
        weights[name].append(weight)
    return min(weights, key=lambda name: (-len(weights[name]), -math.fsum(weights[name]), name))


def _answers(rows: Sequence[Annotation], what: str) -> list[list[str]]:
    """The categories or labels that were given to each unit."""
    units = defaultdict[str, list[str]](list)
    for row in rows:
        units[row.address].append(row.category if what == "category" else label(row.description))
    return list(units.values())


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
