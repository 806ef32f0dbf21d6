"""Mean response of every unit to every class, and how selective the units are.

Class selectivity is (m1 - m) / (m1 + m), where m1 is the largest class mean of the spatial mean response and m the mean
of the other class means (Morcos et al., "On the importance of single directions for generalization", ICLR 2018): 0 for
a unit that answers to all classes alike, 1 for one that answers to a single class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.panel import Panel, Table
from convscope.statistics.base import Accumulator, Activations, Scan, Statistic

_SHOWN = 5  # favourite classes in the table


@dataclass(frozen=True)
class ClassMeans(Statistic):
    """Sums of the spatial mean response over the images of each class.

    Args:
        classes: indices of the classes that occur among the labels, ascending.
    """

    name: ClassVar[str] = "class_means"
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON gives a list

    @classmethod
    def of(cls, scan: Scan) -> ClassMeans | None:
        """See `Statistic.of`: nothing where no image has a label."""
        return cls(scan.classes) if scan.classes else None

    def start(self, units: int, places: tuple[int, ...]) -> ClassMeansAccumulator:
        """See `Statistic.start`."""
        return ClassMeansAccumulator(self, units)

    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """A table of the favourite classes and the least favourite one."""
        here = {"sums": state["sums"][unit : unit + 1], "images": state["images"]}
        row = means(here)[0]
        order = np.argsort(-row, kind="stable")[: np.count_nonzero(~np.isnan(row))].tolist()  # NaN comes last
        rows = [(self._called(i, names), float(row[i])) for i in order[:_SHOWN]]
        rows += [(f"least: {self._called(i, names)}", float(row[i])) for i in order[_SHOWN:][-1:]]
        if not rows:
            return []
        chosen = float(selectivity(here)[0])
        shown = "–" if np.isnan(chosen) else chosen  # not defined where a mean is below zero
        return [Table("Mean response by class", (*rows, ("class selectivity", shown)))]

    def _called(self, place: int, names: Sequence[str] | None) -> str:
        index = self.classes[place]
        return names[index] if names is not None and index < len(names) else f"class {index}"


class ClassMeansAccumulator(Accumulator):
    """Sums (classes, units): in memory the other way round than in `state`."""

    def __init__(self, config: ClassMeans, units: int) -> None:
        self.classes = np.array(config.classes)
        self.sums = np.zeros((len(self.classes), units))
        self.images = np.zeros(len(self.classes), np.int64)

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        each = activations.per_image
        # A map that is all NaN makes its class's sum NaN: its mean is not known, and nothing is made up for it.
        spatial = (each.total / each.count).numpy()
        for image, index in enumerate(activations.classes.tolist()):
            if index >= 0:
                place = int(np.searchsorted(self.classes, index))
                self.sums[place] += spatial[image]
                self.images[place] += 1

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, ClassMeansAccumulator)
        self.sums = self.sums + other.sums
        self.images = self.images + other.images

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        return {"sums": torch.from_numpy(self.sums.T.copy()), "images": torch.from_numpy(self.images.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        self.sums = state["sums"].numpy().T.copy()
        self.images = state["images"].numpy().copy()


def means(state: Mapping[str, Any]) -> NDArray[np.float64]:
    """(units, classes): mean response of each unit to each class; NaN where no image of a class could be read."""
    sums, images = np.asarray(state["sums"]), np.asarray(state["images"])
    return np.where(images > 0, sums / np.maximum(images, 1), np.nan)


def selectivity(state: Mapping[str, Any]) -> NDArray[np.float64]:
    """(units,) class selectivity, 0 to 1; NaN with less than two classes, or where a mean is negative or not finite."""
    known = means(state)[:, np.asarray(state["images"]) > 0]
    units, classes = known.shape
    bad: NDArray[np.bool_] = np.asarray(~np.isfinite(known).all(1) | (known < 0).any(1))
    if classes < 2:
        return np.full(units, np.nan)
    clean = np.where(bad[:, None], 0.0, known)
    highest = clean.max(1)
    others = (clean.sum(1) - highest) / (classes - 1)
    both = highest + others
    value = np.divide(highest - others, both, out=np.zeros(units), where=both > 0)
    return np.where(bad, np.nan, value)
