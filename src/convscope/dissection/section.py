"""A dissection as it lies in its folder: what every unit detects, and how many detectors each layer has.

>>> found = Dissection.open("atlas")
>>> unit = found["conv5:41"]
>>> unit.label.name, unit.iou, unit.cap, unit.interval
>>> found["conv5"].counts().unique
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.address import Layer, Unit, parse
from convscope.atlas.section import Section, find
from convscope.concepts import Concept
from convscope.dissection.sums import overlap
from convscope.errors import AddressError

SECTION = Section("dissection", "convscope-dissection", 1, "counts.safetensors", "dissection", "convscope dissect")
CUT = 0.04
_LEVEL = (2.5, 97.5)  # percentiles of the bootstrap

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Covered:
    """How much of the images a concept covers.

    Args:
        share: of the pixels of all images with any label of its category; NaN where there are none.
        cap: q / share, at most 1: a unit whose mask is that share q of the pixels reaches no higher IoU.
    """

    concept: Concept
    share: float
    cap: float


@dataclass(frozen=True)
class Match:
    """How well a concept fits a unit.

    Args:
        covered: the concept, and how much of the images it covers.
        interval: of the IoU, 95 %, by a bootstrap over images.
    """

    covered: Covered
    iou: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DissectedUnit:
    """What a unit detects.

    Args:
        label: the concept with the highest IoU, of equal ones that with the lowest number; None where its mask meets
            no concept.
        iou: with that concept, over all images.
        cap: of that concept, see `Covered`.
        interval: of the IoU with that concept, 95 %, by a bootstrap over images.
        threshold: its mask is where its map is above it.
        error: the threshold may be this part of itself above the exact one.
    """

    address: Unit
    label: Concept | None
    iou: float
    cap: float
    interval: tuple[float, float]
    threshold: float
    error: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        label = None if self.label is None else asdict(self.label)
        return asdict(self) | {"address": str(self.address), "label": label, "threshold": _finite(self.threshold)}


@dataclass(frozen=True)
class Counts:
    """Detectors of a layer.

    Args:
        cut: a unit detects its label where the IoU is above it.
        detectors: units that detect their label.
        unique: different labels among these: the measure of the paper.
        detectors_interval, unique_interval: 95 %, by a bootstrap over images. Each replicate takes each unit's best
            concept anew, so that it counts a little more than all images do.
        false_detectors, false_unique: the same with every image given another image's labels.
        by_category: the released statistics' way: detectors and different labels within each category, where a unit
            counts in every category whose best concept is above the cut.
    """

    layer: str
    units: int
    cut: float
    detectors: int
    unique: int
    detectors_interval: tuple[float, float]
    unique_interval: tuple[float, float]
    false_detectors: int
    false_unique: int
    by_category: Mapping[str, tuple[int, int]]

    @property
    def unique_in_categories(self) -> int:
        """The sum over categories of the different labels, which the released statistics call unique of all."""
        return sum(unique for _, unique in self.by_category.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"unique_in_categories": self.unique_in_categories}


class DissectedLayer:
    """The units of a layer.

    Args:
        first: the place of its first unit among all of the dissection.
    """

    def __init__(self, whole: Dissection, address: str, first: int, units: int) -> None:
        self.address, self._whole = address, whole
        self._part = slice(first, first + units)

    def __len__(self) -> int:
        return self._part.stop - self._part.start

    def __repr__(self) -> str:
        return f"DissectedLayer({self.address!r}, {len(self)} units)"

    def __iter__(self) -> Iterator[DissectedUnit]:
        return iter(self.units)

    def __getitem__(self, unit: int) -> DissectedUnit:
        if not 0 <= unit < len(self):
            raise AddressError(f"{self.address} has units 0 to {len(self) - 1}, not {unit}")
        return self.units[unit]

    @functools.cached_property
    def iou(self) -> Floats:
        """(units, concepts) of every pair."""
        return self._iou("")

    @functools.cached_property
    def control(self) -> Floats:
        """(units, concepts) of every pair, with every image given another image's labels."""
        return self._iou("control.")

    @functools.cached_property
    def units(self) -> tuple[DissectedUnit, ...]:
        """All of them, in order."""
        return tuple(self._unit(unit) for unit in range(len(self)))

    def matches(self, unit: int) -> tuple[Match, ...]:
        """The concepts that fit a unit best, best first: at most 8, and none that its mask does not meet."""
        candidates = self._whole.arrays["candidates"][self._part][unit].tolist()
        found = [(self._whole.concepts[number - 1], float(self.iou[unit, number - 1])) for number in candidates]
        low, high = self._intervals[:, unit].tolist()
        intervals = zip(low, high, strict=True)
        return tuple(Match(*each, interval) for each, interval in zip(found, intervals, strict=True) if each[1] > 0)

    @functools.cached_property
    def _intervals(self) -> Floats:
        """(2, units, candidates) of the IoU with each of the concepts that fit best."""
        values: Floats = self._whole.arrays["replicates"][self._part].astype(np.float64)
        return np.percentile(values, _LEVEL, axis=2)

    def counts(self, cut: float = CUT) -> Counts:
        """The detectors with an IoU above `cut`."""
        passing, labels = _best(self.iou, cut)
        false, others = _best(self.control, cut)
        drawn = self.drawn(cut)
        unique = np.array([len(np.unique(each[each > 0])) for each in drawn])
        return Counts(
            self.address, len(self), cut, int(passing.sum()), len(np.unique(labels)), interval((drawn > 0).sum(1)),
            interval(unique), int(false.sum()), len(np.unique(others)), self._by_category(cut),
        )  # fmt: skip

    def labels(self, cut: float = CUT) -> NDArray[np.int64]:
        """(units,) the number of the concept that each unit detects, 0 where it detects none."""
        return np.where(self.iou.max(1) > cut, 1 + self.iou.argmax(1), 0)

    def drawn(self, cut: float = CUT) -> NDArray[np.int64]:
        """(replicates, units) the same in each draw of the bootstrap."""
        arrays = self._whole.arrays
        values, candidates = arrays["replicates"][self._part], arrays["candidates"][self._part]
        best = np.take_along_axis(candidates, values.argmax(1), 1)
        return np.where(values.max(1) > cut, best, 0).T.astype(np.int64)

    def _iou(self, view: str) -> Floats:
        arrays, categories = self._whole.arrays, self._whole.category_of
        return overlap(
            arrays[f"{view}intersections"][self._part],
            arrays[f"{view}areas"][self._part][:, categories],
            arrays[f"{view}covered"],
        )

    def _unit(self, unit: int) -> DissectedUnit:
        arrays, place = self._whole.arrays, self._part.start + unit
        best = int(self.iou[unit].argmax())
        iou = float(self.iou[unit, best])
        coverage = self._whole.concepts[best]
        low, high = self._intervals[:, unit, 0].tolist()
        return DissectedUnit(
            Unit(_layer(self.address), unit), coverage.concept if iou > 0 else None, iou, coverage.cap,
            (low, high), float(arrays["thresholds"][place]), float(arrays["errors"][place]),
        )  # fmt: skip

    def _by_category(self, cut: float) -> dict[str, tuple[int, int]]:
        found = {}
        for place, category in enumerate(self._whole.run["categories"]):
            columns = np.flatnonzero(self._whole.category_of == place)
            passing, labels = _best(self.iou[:, columns], cut) if len(columns) else (np.zeros(0), np.zeros(0))
            found[category] = int(passing.sum()), len(np.unique(labels))
        return found


class Dissection:
    """A dissection on disk; its arrays are read, and their checksum compared, when they are first needed."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, run
        sizes = [layer["units"] for layer in run["layers"]]
        firsts = np.cumsum([0, *sizes]).tolist()
        self.layers = tuple(
            DissectedLayer(self, layer["address"], first, layer["units"])
            for layer, first in zip(run["layers"], firsts, strict=False)
        )

    @classmethod
    def open(cls, path: str | Path) -> Dissection:
        """Open the dissection at `path`, or that of the atlas at `path`.

        Raises:
            AtlasError: there is none, or it is damaged; the message says which.
        """
        path = Path(path)
        path = path / SECTION.folder if (path / SECTION.folder).is_dir() else path
        return cls(path, SECTION.read(path))

    def __repr__(self) -> str:
        return f"Dissection({str(self.path)!r}: {self.run['network']}, {len(self.layers)} layers)"

    @functools.cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, over the units of all layers in order.

        Raises:
            AtlasError: they are not what was written.
        """
        return SECTION.arrays(self.path, self.run)

    @functools.cached_property
    def category_of(self) -> NDArray[np.int64]:
        """(concepts,) the place of each concept's category."""
        return np.array([self.run["categories"].index(category) for _, category in self.run["concepts"]])

    @functools.cached_property
    def concepts(self) -> tuple[Covered, ...]:
        """All concepts by number, with how much they cover."""
        pixels = self.arrays["pixels"][self.category_of]
        with np.errstate(invalid="ignore"):
            shares = self.arrays["covered"] / pixels
        return tuple(
            Covered(Concept(1 + i, name, category), share, min(1.0, self.run["share"] / share) if share > 0 else 1.0)
            for i, ((name, category), share) in enumerate(zip(self.run["concepts"], shares.tolist(), strict=True))
        )

    def unreachable(self, cut: float = CUT) -> tuple[Covered, ...]:
        """The concepts that cover so much that no unit can detect them."""
        return tuple(each for each in self.concepts if each.cap <= cut)

    @property
    def units(self) -> Iterator[DissectedUnit]:
        """Every unit of every layer, in order."""
        return (unit for layer in self.layers for unit in layer)

    @property
    def counts(self) -> dict[str, Counts]:
        """The detectors of every layer by address, at the cut of the paper."""
        return {layer.address: layer.counts() for layer in self.layers}

    def __getitem__(self, address: str) -> DissectedLayer | DissectedUnit:
        """A layer or a unit by its address.

        Raises:
            AddressError: it was not dissected, or names a neuron.
        """
        return find(self.path, {each.address: each for each in self.layers}, address)

    def to_json(self) -> dict[str, Any]:
        """Plain values: counts of layers, labels of units, and the concepts that no unit can detect."""
        return {
            "dissection": str(self.path),
            "network": self.run["network"],
            "concepts": self.run["job"]["concepts"],
            "images": self.run["images"],
            "skipped": self.run["skipped"],
            "remark": self.run["remark"],
            "quantile": self.run["job"]["quantile"],
            "layers": [counts.to_json() for counts in self.counts.values()],
            "units": [unit.to_json() for unit in self.units],
            "unreachable": [asdict(each) for each in self.unreachable()],
        }


def _best(iou: Floats, cut: float) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which units have an IoU above the cut, and the labels of those."""
    passing = iou.max(1) > cut
    return passing, iou.argmax(1)[passing]


def interval(values: NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % interval that draws of a number give."""
    low, high = np.percentile(values, _LEVEL).tolist()
    return low, high


def _layer(address: str) -> Layer:
    parsed = parse(address)
    assert isinstance(parsed, Layer)
    return parsed


def _finite(number: float) -> float | None:
    """A number that JSON has."""
    return number if np.isfinite(number) else None
