"""A row of the table: what a network, or an ensemble of them, gave for the images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.evaluation.calibration import Calibration
from convscope.evaluation.intervals import Errors
from convscope.scanner.tally import Tally, rank


@dataclass(eq=False)
class Row:
    """What was counted of one network, or of an ensemble.

    Args:
        crops: of a picture, whose probabilities are averaged.
        parameters: of all its networks together.
        classes: names of the outputs; None where they are not known.
        outputs: how many there are.
        members: names of the networks of an ensemble.
        remarks: what must be known beside.
        broken: ids of the images for which an output was NaN or infinite; they count as wrong.
    """

    name: str
    crops: int
    parameters: int
    classes: tuple[str, ...] | None
    outputs: int
    members: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)
    calibration: Calibration = field(default_factory=Calibration)
    broken: list[int] = field(default_factory=list)
    _hits: list[Tensor] = field(default_factory=list)

    def add(self, logs: Tensor, true: Tensor, ids: Tensor) -> None:
        """Take in the logarithms of probabilities (n, classes) for images `ids` (n,) of classes `true` (n,)."""
        sound = ~torch.isnan(logs).any(1)
        self.tally.judge(logs, true, ids)
        self.calibration.add(logs[sound], true[sound])
        self.broken += ids[~sound].tolist()
        self._hits.append(rank(logs, true) == 0)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """(images,) whether each is predicted rightly, in the order of the set."""
        hits: NDArray[np.bool_] = torch.cat(self._hits).numpy()
        return hits

    @property
    def top1(self) -> Errors:
        """Images whose class is not the one with the best probability."""
        return Errors(self.tally.labelled - self.tally.top1, self.tally.labelled)

    @property
    def top5(self) -> Errors | None:
        """Images whose class is not among the best five; None with five classes or fewer, where it always is."""
        return Errors(self.tally.labelled - self.tally.top5, self.tally.labelled) if self.outputs > 5 else None

    @functools.cached_property
    def by_class(self) -> dict[int, tuple[Errors, Errors | None]]:
        """Top-1 and top-5 errors of every class that occurs, by its index."""
        return {
            each["class"]: (
                Errors(each["images"] - each["top1"], each["images"]),
                Errors(each["images"] - each["top5"], each["images"]) if self.outputs > 5 else None,
            )
            for each in self.tally.results()["classes"]
        }

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """True class, predicted one, or -1 where an output was NaN, and how many images, for all that occur."""
        return [(true, given, count) for true, given, count in self.tally.results()["confusions"]]

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain values.

        Args:
            names: of all images of the set.
        """
        return {
            "name": self.name,
            "members": list(self.members),
            "crops": self.crops,
            "parameters": self.parameters,
            "outputs": self.outputs,
            **_written("top1", self.top1),
            **_written("top5", self.top5),
            "calibration": self.calibration.to_json(),
            "classes": [self._class(index) for index in self.by_class],
            "confusions": [list(each) for each in self.confusions],
            "not_finite": [names[image] for image in self.broken],
            "remarks": list(self.remarks),
        }

    def _class(self, index: int) -> dict[str, Any]:
        top1, top5 = self.by_class[index]
        about = {"class": index, "name": None if self.classes is None else self.classes[index], "images": top1.images}
        return about | _written("top1", top1) | _written("top5", top5)


def _written(name: str, errors: Errors | None) -> dict[str, Any]:
    return {
        f"{name}_right": None if errors is None else errors.right,
        f"{name}_error": None if errors is None else errors.error,
        f"{name}_interval": None if errors is None else list(errors.interval),
    }
