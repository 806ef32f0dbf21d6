"""What `convscope.explain` gives: images, what the network says of them, and maps of what that rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.attribution import Attribution, AttributionMap
from convscope.attribution.base import joined
from convscope.explanation.columns import Prediction
from convscope.explanation.methods import label
from convscope.explanation.randomization import ALIKE, Check

_SHOWN = 5  # predictions in a text


@dataclass(frozen=True, eq=False, repr=False)
class Cell:
    """What a method gave for one target of one image.

    Args:
        column: what the target is called, such as "top 1"; what it was is in the map.
        found: the map, of this image alone.
        refused: why there is none, and what helps.
        check: how it was compared with that of random weights; None where it was not.
        of: the class that it explains; None where that is something else.
    """

    method: Attribution
    column: str
    found: AttributionMap | None
    refused: str | None = None
    check: Check | None = None
    of: Prediction | None = None

    @property
    def label(self) -> str:
        """The method as it is written, such as ``occlusion:window=16,stride=4``."""
        return label(self.method)

    def __repr__(self) -> str:
        """A line."""
        if self.found is None:
            return f"{self.label}, {self.column}: no map: {self.refused}"
        said = f"{self.label}: {self.found.targets[0]}, {self.found.score[0]} {float(self.found.scores[0]):.4g}"
        return f"{said} (zero everywhere: {self.found.blank[0]})" if self.found.blank[0] else said

    def to_json(self) -> dict[str, Any]:
        """All but the values of the map; numbers that are none are null."""
        about = {"label": self.label, "column": self.column, "refused": self.refused}
        if self.found is None:
            return {"method": self.method.name} | about
        told = self.found.to_json()
        one = {name: told.pop(f"{name}s")[0] for name in ("target", "score")}
        one |= {"of": self.found.score[0], "blank": told["blank"][0], "values": list(self.found.values.shape[1:])}
        evidence = {name: number(numbers[0]) for name, numbers in told.pop("evidence").items()}
        return told | about | one | {"seed": self.found.seed, "evidence": evidence, "check": self._check()}

    def _check(self) -> dict[str, Any] | None:
        if self.check is None:
            return None
        about = {"layer": self.check.layer, "seed": self.check.seed, "reason": self.check.reason}
        return about | {"same_from": ALIKE}


@dataclass(frozen=True, eq=False, repr=False)
class Explained:
    """One image.

    Args:
        place: among all images that were asked for.
        picture: (h, w, 3) 8-bit RGB, what the network sees.
        predictions: the best classes, at most five; none where the output is no score of classes.
        truth: the class of its label, if it is known, and `rank` its place among all, 0 for the best.
        cells: for each method, in order, a cell for each column.
    """

    place: int
    name: str
    picture: NDArray[np.uint8]
    predictions: tuple[Prediction, ...]
    truth: Prediction | None
    rank: int | None
    cells: tuple[Cell, ...]

    def __getitem__(self, method: str) -> tuple[Cell, ...]:
        """The cells of a method, by its name or as it is written with its parameters."""
        found = tuple(cell for cell in self.cells if method in (cell.label, cell.method.name))
        if not found:
            names = dict.fromkeys(cell.label for cell in self.cells)
            raise KeyError(f"there is no method {method!r} here; there are {', '.join(names)}")
        return found

    def __repr__(self) -> str:
        """A line for the image, and one for each map."""
        return "\n  ".join([f"{self.name}: {said(self)}", *map(repr, self.cells)])

    def to_json(self) -> dict[str, Any]:
        """All but the values of the maps."""
        return {
            "name": self.name,
            "said": said(self),
            "predictions": [_prediction(each) for each in self.predictions],
            "truth": None if self.truth is None else _prediction(self.truth) | {"rank": self.rank},
            "maps": [cell.to_json() for cell in self.cells],
        }


@dataclass(frozen=True, eq=False)
class About:
    """What holds for all images of an explanation.

    Args:
        network: its name.
        outputs: what the outputs are: "softmax", "sigmoid" or "real"; None where they are no scores of classes.
        classes: how many outputs there are.
        fingerprint: of the network.
        images: what they were asked for by.
        methods: in order.
        columns: what the targets are called, in order.
        remarks: what must be known of the network and of the labels.
        channels: of the input, as the preprocessing says it.
    """

    network: str
    outputs: str | None
    classes: int | None
    fingerprint: str
    images: str
    methods: tuple[Attribution, ...]
    columns: tuple[str, ...]
    remarks: tuple[str, ...]
    channels: str | int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        network = {"name": self.network, "fingerprint": self.fingerprint, "outputs": self.outputs}
        return {
            "network": network | {"classes": self.classes},
            "images_from": self.images,
            "methods": [label(method) for method in self.methods],
            "columns": list(self.columns),
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Sequence[Explained]):
    """Explained images; `found[0]["cam"]` are the cells of a method, and ``found.map("cam")`` is one map of all images.

    Args:
        skipped: id, name and reason of images that could not be read or explained.
    """

    about: About
    images: tuple[Explained, ...]
    skipped: tuple[Mapping[str, Any], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        """An image, or an explanation of some of them."""
        if isinstance(index, slice):
            return Explanation(self.about, self.images[index])
        return self.images[index]

    def __iter__(self) -> Iterator[Explained]:
        return iter(self.images)

    def map(self, method: str, column: int = 0) -> AttributionMap:
        """The maps of all images that a method gave for a column.

        Raises:
            KeyError: there is no such method or column here.
        """
        cells = [image[method] for image in self.images]
        if not cells or not all(0 <= column < len(each) for each in cells):
            raise KeyError(f"there is no column {column}; there are {', '.join(self.about.columns)}")
        refused = next((each[column].refused for each in cells if each[column].refused), None)
        if refused is not None:
            raise KeyError(f"{method} gave no map: {refused}")
        return joined([each[column].found for each in cells if each[column].found is not None])  # type: ignore[misc]

    def __repr__(self) -> str:
        """A few lines: the images, and what was made of them."""
        methods = ", ".join(label(method) for method in self.about.methods)
        lines = [f"{self.about.network} on {len(self)} images, explained by {methods}"]
        lines += [f"  {image.name}: {said(image)}" for image in self.images[:_SHOWN]]
        lines += [f"  and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """All but the values of the maps."""
        images = [image.to_json() for image in self.images]
        return self.about.to_json() | {"images": images, "skipped": [dict(each) for each in self.skipped]}


def said(image: Explained, count: int = 3) -> str:
    """What the network says of an image, for people: "bird 100 %, person 39 %"; and its label."""
    best = ", ".join(f"{each} {each.said}" for each in image.predictions[:count])
    label = "" if image.truth is None else f" (labelled {image.truth})"
    return (best or "its outputs are no scores of classes") + label


def number(value: float) -> float | None:
    """A number as JSON has it."""
    return value if math.isfinite(value) else None


def _prediction(prediction: Prediction) -> dict[str, Any]:
    about = {"class": prediction.index, "name": prediction.name}
    return about | {prediction.kind: number(prediction.value)}
