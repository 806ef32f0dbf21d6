"""One person's answer to the three tasks about one unit, and a set of such answers [METHODS 5.5]."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convscope.errors import AnnotationError, nearest


@dataclass(frozen=True)
class Category:
    """A semantic type.

    Args:
        name: as in files.
        title: as people read it, with examples.
        colour: of charts, as METHODS 6.3 has it for the nearest category of dissection.
    """

    name: str
    title: str
    examples: str
    colour: str


# In the order of the published codes, which count from 1.
CATEGORIES = (
    Category("scene", "scene", "kitchen, corridor, street, beach", "#55B05B"),
    Category("object", "object", "bed, car, building, tree", "#4B4CBF"),
    Category("region", "region or surface", "road, grass, wall, floor, sky", "#D4CF24"),
    Category("part", "object part", "leg, head, wheel, roof", "#50BDAC"),
    Category("texture", "texture or material", "striped, rugged, wooden, plastic", "#F0883B"),
    Category("element", "simple element or colour", "vertical line, curved line, colour blue", "#D92E2B"),
)
NAMES = tuple(category.name for category in CATEGORIES)


@dataclass(frozen=True)
class Annotation:
    """What one annotator says of one unit.

    Args:
        layer, unit: its address.
        description: the common theme of its images, in a few words.
        category: of the description, one of `NAMES`.
        precision: the share of the images that fit the description.
        n: images that were shown; None where only the precision is known.
        rejected: those that do not fit, by their place from 0, ascending.
        seconds: that it took; None where that is not known.

    Raises:
        ValueError: something is not as said here.
    """

    layer: str
    unit: int
    annotator: str
    description: str
    category: str
    precision: float
    n: int | None = None
    rejected: tuple[int, ...] = ()
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.category not in NAMES:
            raise ValueError(f"category {self.category!r} is none of {', '.join(NAMES)}{nearest(self.category, NAMES)}")
        for name in ("layer", "annotator", "description"):
            if not getattr(self, name).strip():
                raise ValueError(f"the {name} is empty")
        if self.unit < 0:
            raise ValueError(f"unit {self.unit} is negative; units count from 0")
        if not 0 <= self.precision <= 1:
            raise ValueError(f"precision {self.precision:g} is no share from 0 to 1")
        if self.seconds is not None and not self.seconds >= 0:
            raise ValueError(f"seconds are {self.seconds}; expected a time of at least 0")

    @classmethod
    def of(cls, *, n: int, rejected: Iterable[int], **about: Any) -> Annotation:
        """The answer of somebody who rejected some of `n` images: the precision is (n - rejected) / n.

        Raises:
            ValueError: an index is out of range or stands twice, or as for the class.
        """
        marks = tuple(sorted(rejected))
        if n < 1:
            raise ValueError(f"n is {n}; at least one image must have been shown")
        for mark in marks:
            if not 0 <= mark < n:
                raise ValueError(f"rejected image {mark} is out of range: {n} were shown, 0 to {n - 1}")
        if len(set(marks)) < len(marks):
            raise ValueError(f"rejected {list(marks)} has an image twice")
        return cls(**about, precision=(n - len(marks)) / n, n=n, rejected=marks)

    @property
    def address(self) -> str:
        """Of the unit."""
        return f"{self.layer}:{self.unit}"

    def to_json(self) -> dict[str, Any]:
        """The record of METHODS 5.5; with the precision alone where the images are not known."""
        about = {name: getattr(self, name) for name in ("layer", "unit", "annotator", "description", "category")}
        shown = {"precision": self.precision} if self.n is None else {"rejected": list(self.rejected), "n": self.n}
        return about | shown | ({} if self.seconds is None else {"seconds": self.seconds})


@dataclass(frozen=True)
class Annotations:
    """What people said of the units of one network.

    Args:
        layers: how many units each layer has, in the order of the network; empty where that is not known.
        network: its name, and `weights` its fingerprint; None where they are not known.

    Raises:
        AnnotationError: a unit is not there, or somebody has annotated it twice.
    """

    rows: tuple[Annotation, ...]
    layers: Mapping[str, int] = field(default_factory=dict)
    network: str | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        said: set[tuple[str, str]] = set()
        for row in self.rows:
            self._check_unit(row)
            if (row.address, row.annotator) in said:
                raise AnnotationError(
                    f"{row.annotator!r} has annotated {row.address} twice; give each file once, and each person a name"
                )
            said.add((row.address, row.annotator))

    def _check_unit(self, row: Annotation) -> None:
        if not self.layers:
            return
        if row.layer not in self.layers:
            raise AnnotationError(
                f"{row.address}, annotated by {row.annotator!r}: there is no layer {row.layer!r}"
                f"{nearest(row.layer, self.layers)}"
            )
        last = self.layers[row.layer] - 1
        if row.unit > last:
            raise AnnotationError(f"{row.address}, annotated by {row.annotator!r}: {row.layer} has units 0 to {last}")

    @property
    def annotated(self) -> tuple[str, ...]:
        """The layers of which something is said, in the order of the network, or else as they occur."""
        there = dict.fromkeys(row.layer for row in self.rows)
        return tuple(layer for layer in self.layers or there if layer in there)

    def of(self, layer: str) -> list[Annotation]:
        """What is said of the units of a layer."""
        return [row for row in self.rows if row.layer == layer]
