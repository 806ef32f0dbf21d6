"""What ablations were found to do: changes of accuracy and of evidence, of every class, beside those of random units.

>>> row = convscope.ablate(network, "diorama:objects/test", "conv5").rows[0]
>>> row.accuracy.change, row.accuracy.interval, row.evidence.changes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from convscope.annotation.words import label as plain
from convscope.concepts import Concept
from convscope.evaluation.intervals import mcnemar, paired
from convscope.images import ImageSet

Fill = Literal["zero", "mean"]
Measure = Literal["accuracy", "evidence"]
MEASURES: tuple[Measure, ...] = ("accuracy", "evidence")
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVEL = 0.05  # of false discoveries among the changes that count as significant


@dataclass(frozen=True, eq=False)
class Effect:
    """A change over all images, and over those of each of k classes.

    Args:
        change, interval, p: over all images: the mean, its 95 % interval, and the probability of one so far from 0 by
            chance.
        changes, intervals, ps: (k,), (k, 2), (k,) the same of each class; NaN where it has no images.
    """

    change: float
    interval: tuple[float, float]
    p: float
    changes: Floats
    intervals: Floats
    ps: Floats


@dataclass(frozen=True, eq=False)
class Ablated:
    """What setting some units of a layer does, over k classes.

    Args:
        name: the unit's address, or the concept.
        units: that were set together.
        label: what the dissection calls them; None without one, and where a unit's mask meets no concept.
        iou: with that concept, of several units the highest; NaN without a dissection.
        touched: images in which it changes anything: where all units have the value already nothing does.
        images: (k,) of each class.
        lost, gained: (k,) images of each class that are right only before, and only after.
        nats, squares: (k,) by how much the log-probability of the right class changes, and its square, summed over the
            images of each class.
    """

    name: str
    units: tuple[int, ...]
    label: Concept | None
    iou: float
    touched: int
    images: Counts
    lost: Counts
    gained: Counts
    nats: Floats
    squares: Floats

    @cached_property
    def accuracy(self) -> Effect:
        """Of the top-1 accuracy, as a share: intervals of Bonett and Price, p of McNemar's exact test."""
        lost, gained, images = (np.append(each, each.sum()) for each in (self.lost, self.gained, self.images))
        intervals = np.where(images[:, None] > 0, paired(lost, gained, images), np.nan)
        ps = np.array([mcnemar(*pair) for pair in zip(lost.tolist(), gained.tolist(), strict=True)])
        return _effect(_shares(gained - lost, images), intervals, np.where(images > 0, ps, np.nan))

    @cached_property
    def evidence(self) -> Effect:
        """Of the mean log-probability of the right class, nats: Student's intervals and p.

        It shows what a unit is for also where the network has so much to spare that no image is lost.
        """
        nats, squares, images = (np.append(each, each.sum()) for each in (self.nats, self.squares, self.images))
        with np.errstate(invalid="ignore", divide="ignore"):
            means, many = nats / images, images - 1
            errors = np.sqrt((squares / images - means**2).clip(0) / many)
            halves = student.ppf(0.975, many) * errors
            ps = np.where(errors > 0, 2 * student.sf(np.abs(means / errors), many), np.where(means == 0, 1.0, np.nan))
        return _effect(means, np.stack([means - halves, means + halves], -1), ps)

    def effect(self, measure: Measure) -> Effect:
        """By the name of the measure."""
        return self.accuracy if measure == "accuracy" else self.evidence

    def worst(self, measure: Measure = "accuracy") -> int | None:
        """The class that loses most, of equal ones that which loses most evidence; None where none does."""
        changes = self.effect(measure).changes
        order = np.lexsort((self.evidence.changes, changes))
        return int(order[0]) if changes[order[0]] < 0 else None


def _effect(changes: Floats, intervals: Floats, ps: Floats) -> Effect:
    """Of numbers of all classes, and after them of all images."""
    low, high = intervals[-1].tolist()
    return Effect(float(changes[-1]), (low, high), float(ps[-1]), changes[:-1], intervals[:-1], ps[:-1])


@dataclass(frozen=True, eq=False)
class Control:
    """What random units of the same layer do.

    Args:
        size: units that are set together.
        rows: sets of so many units each.
    """

    size: int
    rows: tuple[Ablated, ...]

    def change(self, measure: Measure) -> float:
        """The median change over all images."""
        return float(self._medians[measure][-1])

    def changes(self, measure: Measure) -> Floats:
        """(k,) the median change of each class."""
        return self._medians[measure][:-1]

    @cached_property
    def _medians(self) -> dict[Measure, Floats]:
        """(k + 1,) of each class and over all images: kept, because every row of an ablation asks for them."""
        effects = {measure: [row.effect(measure) for row in self.rows] for measure in MEASURES}
        return {
            measure: np.median([np.append(each.changes, each.change) for each in rows], 0)
            for measure, rows in effects.items()
        }


@dataclass(frozen=True)
class Matches:
    """Rows whose label is a class.

    Args:
        named: how many there are.
        hit: those that hurt just this class most.
        chance: how many would, were the labels dealt out among these rows at random.
    """

    named: int
    hit: int
    chance: float


@dataclass(frozen=True, eq=False)
class Ablation:
    """What ablations of a layer do to the classes of the network.

    Args:
        classes: (k,) names of the outputs, or their numbers.
        fill: what units are set to: "zero" or "mean".
        right: (k,) images of each class that the whole network has right.
        rows: those who do most damage first: by accuracy, then by evidence.
        controls: random units, for each size of a row.
        runs: of the rest of the network that were made, of `pairs` of an image and a set.
        rest: the share of the network's multiplications that such a run takes.
        skipped: id, name and reason of every image that could not be read.
        remark: what must be known about the labels.
    """

    network: str
    images: ImageSet
    layer: str
    fill: Fill
    classes: tuple[str, ...]
    right: Counts
    rows: tuple[Ablated, ...]
    controls: tuple[Control, ...]
    runs: int
    pairs: int
    rest: float
    skipped: list[dict[str, Any]]
    remark: str | None

    @property
    def count(self) -> int:
        """Images that were read."""
        return int(self.rows[0].images.sum())

    @property
    def accuracy(self) -> float:
        """Of the whole network."""
        return float(self.right.sum() / self.count)

    def ordered(self, measure: Measure) -> list[Ablated]:
        """The rows by another measure, those who do most damage first."""
        return sorted(self.rows, key=lambda row: row.effect(measure).change)

    def control(self, row: Ablated) -> Control:
        """The one of a row's size."""
        return next(each for each in self.controls if each.size == len(row.units))

    def significant(self, measure: Measure = "accuracy") -> Bools:
        """(rows, k) which changes are no chance: 5 % of these at most are expected to be false.

        Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", JRSS B 1995, over all rows and classes.
        """
        ps = self._ps(measure)
        known, found = ~np.isnan(ps), np.zeros(ps.shape, bool)
        found[known] = false_discovery_control(ps[known]) <= LEVEL
        return found

    def tested(self, measure: Measure = "accuracy") -> int:
        """Among how many changes these are: a class without images has none."""
        return int(np.count_nonzero(~np.isnan(self._ps(measure))))

    def _ps(self, measure: Measure) -> Floats:
        return np.stack([row.effect(measure).ps for row in self.rows])

    def class_of(self, concept: Concept | None) -> int | None:
        """The class that is called like a concept."""
        names = [plain(name.partition(",")[0]) for name in self.classes]
        return names.index(plain(concept.word)) if concept is not None and plain(concept.word) in names else None

    def matches(self, measure: Measure = "accuracy") -> Matches:
        """How many rows that are labelled like a class hurt just this class most."""
        pairs = [(named, row.worst(measure)) for row in self.rows if (named := self.class_of(row.label)) is not None]
        labels, worst = ([pair[end] for pair in pairs] for end in (0, 1))
        chance = sum(labels.count(each) for each in worst if each is not None) / len(pairs) if pairs else 0.0
        return Matches(len(pairs), sum(one == other for one, other in pairs), chance)

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where a class has no images."""
        marks = {measure: self.significant(measure) for measure in MEASURES}
        return {
            "network": self.network, "source": self.images.spec, "layer": self.layer, "fill": self.fill,
            "images": self.count, "skipped": len(self.skipped), "skipped_files": self.skipped, "remark": self.remark,
            "accuracy": self.accuracy, "classes": list(self.classes),
            "class_images": self.rows[0].images.tolist(), "class_right": self.right.tolist(),
            "runs": self.runs, "pairs": self.pairs, "rest": self.rest,
            "matches": {measure: vars(self.matches(measure)) for measure in MEASURES},
            "rows": [
                self._row(row, {measure: marks[measure][place] for measure in MEASURES})
                for place, row in enumerate(self.rows)
            ],
        }  # fmt: skip

    def _row(self, row: Ablated, marks: Mapping[Measure, Bools]) -> dict[str, Any]:
        label = None if row.label is None else {"name": row.label.name, "category": row.label.category}
        about = {"name": row.name, "units": list(row.units), "label": label, "iou": _plain(row.iou)}
        about |= {"touched": row.touched, "lost": row.lost.tolist(), "gained": row.gained.tolist()}
        return about | {measure: self._measured(row, measure, marks[measure]) for measure in MEASURES}

    def _measured(self, row: Ablated, measure: Measure, marks: Bools) -> dict[str, Any]:
        effect, control, worst = row.effect(measure), self.control(row), row.worst(measure)
        return {
            "change": effect.change, "interval": _plain(effect.interval), "p": _plain(effect.p),
            "control": control.change(measure), "worst": None if worst is None else self.classes[worst],
            "classes": {
                "change": _plain(effect.changes), "interval": _plain(effect.intervals), "p": _plain(effect.ps),
                "control": _plain(control.changes(measure)), "significant": marks.tolist(),
            },
        }  # fmt: skip


def _shares(numbers: NDArray[Any], images: Counts) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(numbers / np.where(images, images, np.nan), np.float64)


def _plain(numbers: Any) -> Any:
    """A number, or an array as lists, with None where there is none."""
    if isinstance(numbers, float):
        return None if np.isnan(numbers) else numbers
    return [_plain(each) for each in (numbers.tolist() if isinstance(numbers, np.ndarray) else numbers)]
