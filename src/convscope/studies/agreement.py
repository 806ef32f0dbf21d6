"""How far two sources agree on what units are for: a dissection, people, and any other labels [METHODS 6.8].

A source gives a unit one label, or several, as people do. Then two sources agree on a unit by the share of pairs of
labels that are alike, and a source agrees with itself by the pairs of its own: people with dissection stands beside
people with people. Both stand beside what chance would make:

    kappa = (share - chance) / (1 - chance)

which is Cohen's where both give one label ("A coefficient of agreement for nominal scales", 1960), with the chance that
two labels are alike which are drawn from all of the layer.

>>> found = compare(open_labels("atlas"), open_labels("annotations.json"))
>>> found.row("conv5").category.share, found.row("conv5").category.kappa
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.address import parse_unit
from convscope.annotation import Annotations, read
from convscope.annotation.words import content, label
from convscope.concepts import CATEGORIES
from convscope.dissection import Dissection
from convscope.dissection.section import CUT
from convscope.errors import AddressError, AnnotationError, nearest
from convscope.rows import read_rows

Floats = NDArray[np.float64]

# The kinds that people choose from, and where a category of concepts is found among them. People's region (road, sky)
# is none of a concept's: those are objects there.
_KINDS = {"material": "texture", "colour": "element"}
_ORDER = (*CATEGORIES, "region", "element")
_DRAWS = 1000  # of the units, for an interval


@dataclass(frozen=True)
class Label:
    """What a source says of a unit.

    Args:
        category: as the source calls it; None where it does not say.
    """

    name: str
    category: str | None

    @property
    def kind(self) -> str | None:
        """The category as people would call it."""
        return self.category if self.category is None else _KINDS.get(self.category, self.category)


@dataclass(frozen=True)
class Labels:
    """A source.

    Args:
        name: of the source.
        units: what it says of each unit, by address; units without a label are not there.
        weights: fingerprint of the network; None where that is not known.
    """

    name: str
    units: Mapping[str, tuple[Label, ...]]
    weights: str | None = None

    @property
    def layers(self) -> list[str]:
        """Those of the labelled units, in the order of the source."""
        return list(dict.fromkeys(address.rpartition(":")[0] for address in self.units))

    @property
    def has_several(self) -> bool:
        """Whether a unit has more than one label, so that the source can be compared with itself."""
        return any(len(each) > 1 for each in self.units.values())


def open_labels(path: str | Path) -> Labels:
    """A source from where it lies: an atlas with a dissection, annotations, or a CSV with the columns unit and label.

    Raises:
        AnnotationError: the file is no such thing, or says what cannot be.
        AtlasError: the folder has no dissection.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json"):
        return of_dissection(Dissection.open(path), path.resolve().name)
    if path.suffix.lower() == ".csv" and (found := _of_csv(path)) is not None:
        return found
    return of_annotations(read([path]), path.stem)


def of_dissection(dissection: Dissection, name: str = "dissection") -> Labels:
    """The labels of all detectors: units with an IoU above 0.04."""
    units = {
        str(unit.address): (Label(unit.label.word, unit.label.category),)
        for unit in dissection.units
        if unit.label is not None and unit.iou > CUT
    }
    return Labels(name, units, dissection.run["job"]["network"])


def of_annotations(annotations: Annotations, name: str = "people") -> Labels:
    """All answers of people."""
    units = defaultdict[str, list[Label]](list)
    for row in annotations.rows:
        units[row.address].append(Label(row.description, row.category))
    return Labels(name, {address: tuple(each) for address, each in units.items()}, annotations.weights)


def _of_csv(path: Path) -> Labels | None:
    """Labels in the columns unit, label and, where there is one, category; None for another CSV."""
    units: dict[str, tuple[Label, ...]] = {}
    try:
        columns, rows = read_rows(path)
        if not {"unit", "label"} <= {*columns}:
            return None
        for line, row in rows:
            address = _address(row["unit"], line)
            if not row["label"].strip():
                continue
            if address in units:
                raise ValueError(f"line {line}: {address} stands twice")
            units[address] = (Label(row["label"].strip(), _category(row.get("category", ""), line)),)
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: not readable as labels of units ({error})") from error
    return Labels(path.stem, units)


def _address(cell: str, line: int) -> str:
    try:
        return str(parse_unit(cell.strip()))
    except AddressError as error:
        raise ValueError(f"line {line}: {error}") from error


def _category(cell: str, line: int) -> str | None:
    name = cell.strip()
    if name and name not in _ORDER:
        raise ValueError(f"line {line}: category {name!r} is none of {', '.join(_ORDER)}{nearest(name, _ORDER)}")
    return name or None


# --- how far they agree ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """How often labels are alike.

    Args:
        units: that can be compared.
        share: mean over these of the share of pairs of labels that are alike; NaN without units.
        interval: of the share, 95 %, by 1,000 draws of the units.
        chance: the share that labels drawn from all of these units would make.
    """

    units: int
    share: float
    interval: tuple[float, float]
    chance: float

    @property
    def kappa(self) -> float:
        """1 where all agree, 0 as by chance; NaN where chance alone makes all agree."""
        return (self.share - self.chance) / (1 - self.chance) if self.chance < 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where there is none."""
        values = {"units": self.units, "share": self.share, "chance": self.chance, "kappa": self.kappa}
        ends = None if math.isnan(self.share) else list(self.interval)
        return {name: None if math.isnan(value) else value for name, value in values.items()} | {"interval": ends}


@dataclass(frozen=True, eq=False)
class Row:
    """A layer, or all of them.

    Args:
        first, second: units that each of the two has labelled; `both`: those that both have.
        name: the same label, in lower case and in the singular.
        word: a word in common: “red car” and “car”.
        category: the same kind; material and texture are one for people, as are colours and simple elements.
        confusions: of the units with two categories, how many have which (first, second): each counts one, shared out
            among its pairs of labels.
    """

    layer: str
    first: int
    second: int
    both: int
    name: Measure
    word: Measure
    category: Measure
    confusions: Mapping[tuple[str, str], float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts = {"layer": self.layer, "first": self.first, "second": self.second, "both": self.both}
        measures = {name: getattr(self, name).to_json() for name in ("name", "word", "category")}
        return counts | measures | {"confusions": [[*pair, count] for pair, count in sorted(self.confusions.items())]}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sources, or one with itself.

    Args:
        rows: the layers in which both have labels, and ALL last.
    """

    first: str
    second: str
    rows: tuple[Row, ...]

    @property
    def layers(self) -> tuple[Row, ...]:
        """The rows without the last."""
        return self.rows[:-1]

    @cached_property
    def categories(self) -> tuple[list[str], list[str]]:
        """Those of the first and of the second source that occur, in the order of the figures."""
        pairs = self.rows[-1].confusions
        first, second = ([each for each in _ORDER if any(pair[end] == each for pair in pairs)] for end in (0, 1))
        return first, second

    def row(self, layer: str) -> Row:
        """The row of a layer.

        Raises:
            AnnotationError: the two have no unit of it in common.
        """
        found = {row.layer: row for row in self.rows}
        if layer not in found:
            raise AnnotationError(
                f"{self.first} and {self.second} both label no unit of {layer!r}{nearest(layer, found)}"
            )
        return found[layer]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"first": self.first, "second": self.second, "rows": [row.to_json() for row in self.rows]}


ALL = "all layers"


def compare(first: Labels, second: Labels | None = None) -> Comparison:
    """Two sources of labels; one alone is compared with itself, by units that have several labels.

    Raises:
        AnnotationError: there is nothing to compare, or they are about different networks.
    """
    other = first if second is None else second
    if first.weights and other.weights and first.weights != other.weights:
        raise AnnotationError(
            f"{first.name} and {other.name} are about different networks, which have other weights; give labels of the "
            "same network"
        )
    shared = [
        unit for unit in first.units if unit in other.units and (second is not None or len(first.units[unit]) > 1)
    ]
    if not shared:
        raise AnnotationError(_nothing(first, second))
    layers = list(dict.fromkeys(unit.rpartition(":")[0] for unit in shared))
    pairs = {unit: _pairs(first.units[unit], None if second is None else second.units[unit]) for unit in shared}
    rows = [_row(layer, first, other, pairs) for layer in [*layers, ALL]]
    return Comparison(first.name, other.name, tuple(rows))


def _nothing(first: Labels, second: Labels | None) -> str:
    if second is None:
        return f"{first.name} has one label a unit, so it can be compared with another source only; give two"
    mine, others = (", ".join(each.layers[:6]) or "none" for each in (first, second))
    return f"{first.name} and {second.name} have no unit in common: one labels units of {mine}, the other of {others}"


Pairs = list[tuple[Label, Label]]


def _pairs(one: Sequence[Label], other: Sequence[Label] | None) -> Pairs:
    """All pairs of labels of a unit; of a source with itself those of different people, in both orders."""
    if other is not None:
        return [(a, b) for a in one for b in other]
    return [(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j]


def _row(layer: str, first: Labels, second: Labels, pairs: Mapping[str, Pairs]) -> Row:
    def inside(units: Iterable[str]) -> list[str]:
        return [unit for unit in units if layer in (ALL, unit.rpartition(":")[0])]

    mine = [pairs[unit] for unit in inside(pairs)]
    kinds = [[(a, b) for a, b in each if a.kind and b.kind] for each in mine]
    confusions: dict[tuple[str, str], float] = defaultdict(float)
    for each in kinds:
        for a, b in each:
            confusions[str(a.category), str(b.category)] += 1 / len(each)
    return Row(
        layer,
        len(inside(first.units)),
        len(inside(second.units)),
        len(mine),
        _measure(mine, lambda each: frozenset([label(each.name)])),
        _measure(mine, lambda each: content(each.name)),
        _measure(kinds, lambda each: frozenset([str(each.kind)])),
        dict(confusions),
    )


def _measure(units: Sequence[Pairs], said: Callable[[Label], frozenset[str]]) -> Measure:
    """Two labels are alike that have something in common of what is `said`."""
    units = [each for each in units if each]
    if not units:
        return Measure(0, math.nan, (math.nan, math.nan), math.nan)
    known: dict[Label, frozenset[str]] = {each: said(each) for pairs in units for pair in pairs for each in pair}
    shares = np.array([np.mean([not known[a].isdisjoint(known[b]) for a, b in pairs]) for pairs in units])
    drawn = np.random.default_rng(0).integers(0, len(units), (_DRAWS, len(units)))
    low, high = np.percentile(shares[drawn].mean(1), (2.5, 97.5)).tolist()
    return Measure(len(units), float(shares.mean()), (low, high), _chance(units, known))


def _chance(units: Sequence[Pairs], known: Mapping[Label, frozenset[str]]) -> float:
    """How often two labels are alike, each drawn from those that its source gives to these units."""
    drawn: list[dict[frozenset[str], float]] = [defaultdict(float), defaultdict(float)]
    for pairs in units:
        for pair in pairs:
            for counts, each in zip(drawn, pair, strict=True):
                counts[known[each]] += 1 / len(pairs)
    words = {word: place for place, word in enumerate({word for counts in drawn for said in counts for word in said})}
    has = [np.zeros((len(counts), len(words)), np.float32) for counts in drawn]
    for rows, counts in zip(has, drawn, strict=True):
        for row, said in enumerate(counts):
            rows[row, [words[word] for word in said]] = 1
    first, second = (np.array(list(counts.values())) / len(units) for counts in drawn)
    return float(first @ (has[0] @ has[1].T > 0) @ second)
