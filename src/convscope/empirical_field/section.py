"""Measured fields as they lie in an atlas: of every unit where hiding the image moves it, and how large that is.

>>> fields = EmpiricalFields.open("atlas")
>>> fields["conv5:41"].size, fields["conv5:41"].mask
>>> fields["conv5"].theoretical, fields["conv5"].effective, fields["conv5"].empirical
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.address import Layer, Unit, parse
from convscope.atlas import Atlas
from convscope.atlas.section import Section, find
from convscope.empirical_field import sizes
from convscope.empirical_field.sizes import THRESHOLD, THRESHOLDS, Mask
from convscope.errors import AddressError

SECTION = Section("fields", "convscope-fields", 1, "fields.safetensors", "measured fields", "convscope fields")


@dataclass(frozen=True, eq=False)
class EmpiricalField:
    """The field of one unit, measured by hiding parts of the images that excite it most.

    Args:
        discrepancies: (H, W) float32, NaN where fewer than half of the images cover the pixel; see `map`.
        window: side of the occluder, px.
        images: over so many the map is a mean; 0 for a unit that no image excites.
    """

    address: Unit
    discrepancies: NDArray[np.float32]
    window: int
    images: int

    @property
    def map(self) -> NDArray[np.float32]:
        """(H, W) how far the unit moves when an occluder has its centre there; the middle pixel is the field's centre.

        It is in pixels of the network's input and in units of the response, and 0 where it was not measured.
        """
        return np.nan_to_num(self.discrepancies)

    @functools.cached_property
    def mask(self) -> Mask:
        """(H, W) where the map is above half of its peak, see `above`."""
        return self.above(THRESHOLD)

    def above(self, threshold: float) -> Mask:
        """(H, W) the largest region above a share of the peak, after the median of the outer ring is subtracted."""
        return sizes.above(self.discrepancies, threshold)

    def trimmed(self, threshold: float = THRESHOLD) -> Mask:
        """`above` less the occluder's reach: the pixels that only occluders cover whose centres are there."""
        return sizes.trimmed(self.above(threshold), self.window)

    @property
    def size(self) -> float:
        """Side of a square of the mask's area less the occluder's own share, px; NaN without a mask: no image excites
        the unit, or hiding parts does not move it.
        """
        return sizes.side(self.mask, self.window)

    def curve(self) -> dict[float, float]:
        """The size at every tenth of the peak, px; NaN without a mask."""
        return {threshold: sizes.side(self.above(threshold), self.window) for threshold in THRESHOLDS}


class Spread(NamedTuple):
    """Mean and standard deviation over units; NaN where there are none."""

    mean: float
    std: float


class FieldLayer:
    """The fields of a layer's units: iterate over it for them."""

    def __init__(self, whole: EmpiricalFields, number: int, record: Mapping[str, Any]) -> None:
        self._whole, self._number, self._record = whole, number, record
        self.address: str = record["address"]

    def __len__(self) -> int:
        return int(self._record["units"])

    def __repr__(self) -> str:
        return f"FieldLayer({self.address!r}, {len(self)} units)"

    def __iter__(self) -> Iterator[EmpiricalField]:
        return iter(self.units)

    def __getitem__(self, unit: int) -> EmpiricalField:
        if not 0 <= unit < len(self):
            raise AddressError(f"{self.address} has units 0 to {len(self) - 1}, not {unit}")
        return self.units[unit]

    @functools.cached_property
    def units(self) -> tuple[EmpiricalField, ...]:
        """All of them, in order."""
        layer = parse(self.address)
        assert isinstance(layer, Layer)
        window, images = self._whole.run["job"]["window"], self._array("images").tolist()
        return tuple(
            EmpiricalField(Unit(layer, index), each, window, images[index])
            for index, each in enumerate(self._array("maps"))
        )

    @functools.cached_property
    def measured(self) -> tuple[EmpiricalField, ...]:
        """The units that have a field: some image excites them, and hiding parts of it moves them."""
        return tuple(field for field in self if field.mask.any())

    @property
    def theoretical(self) -> float:
        """Side of the field that the architecture gives, px: the convolutional one, which may exceed the image."""
        height, width = self._record["field"]
        return math.sqrt(height * width)

    @property
    def gradient(self) -> NDArray[np.float32]:
        """(h, w) mean magnitude of the gradient of the layer's central cell by each pixel of the image."""
        return self._array("gradient")

    @property
    def centre(self) -> tuple[float, float]:
        """The centre of the central cell's field on the image, y and x."""
        y, x = self._record["centre"]
        return y, x

    @functools.cached_property
    def effective(self) -> float:
        """Side of a square as large as the smallest centred disc with 95.45 % of the gradient, px."""
        return sizes.disc(self.gradient, self.centre)

    @functools.cached_property
    def sigma(self) -> float:
        """Standard deviation of the Gaussian with the gradient's second moment, px."""
        return sizes.sigma(self.gradient, self.centre)

    @functools.cached_property
    def empirical(self) -> Spread:
        """Size of the units' measured fields, px."""
        found = [field.size for field in self.measured]
        return Spread(float(np.mean(found)), float(np.std(found))) if found else Spread(math.nan, math.nan)

    @functools.cached_property
    def curve(self) -> dict[float, float]:
        """Mean size of the units' measured fields at every tenth of the peak, px."""
        curves = [field.curve() for field in self.measured]
        return {each: float(np.mean([curve[each] for curve in curves])) if curves else math.nan for each in THRESHOLDS}

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many units are dead, how many others have fewer images than were asked for, and how many of those that
        have images are not moved by hiding parts of them.
        """
        images = self._array("images")
        dead = int(self._record["dead"])
        fewer = int((images < self._whole.run["job"]["top"]).sum()) - dead
        return {"dead": dead, "fewer": fewer, "unmoved": int((images > 0).sum()) - len(self.measured)}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "layer": self.address, "units": len(self), "theoretical": self.theoretical,
            "effective": _finite(self.effective), "sigma": _finite(self.sigma),
            "empirical": {name: _finite(value) for name, value in self.empirical._asdict().items()},
            "curve": {str(threshold): _finite(size) for threshold, size in self.curve.items()},
            "left_out": dict(self.left_out),
            "sizes": [_finite(field.size) for field in self],
        }  # fmt: skip

    def _array(self, name: str) -> NDArray[Any]:
        return self._whole.arrays[f"{self._number}|{name}"]


class EmpiricalFields:
    """Measured fields on disk; the arrays are read, and their checksum compared, when they are first needed."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, run
        self.layers = tuple(FieldLayer(self, number, record) for number, record in enumerate(run["layers"]))

    @classmethod
    def open(cls, atlas: str | Path | Atlas) -> EmpiricalFields:
        """Open the fields in an atlas.

        Raises:
            AtlasError: there are none, or they are damaged; the message says which.
        """
        path = (atlas.path if isinstance(atlas, Atlas) else Path(atlas)) / SECTION.folder
        return cls(path, SECTION.read(path))

    def __repr__(self) -> str:
        return f"EmpiricalFields({str(self.path)!r}: {self.run['network']}, {len(self.layers)} layers)"

    @functools.cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays, named ``layer|array``, layers by number.

        Raises:
            AtlasError: they are not what was written.
        """
        return SECTION.arrays(self.path, self.run)

    def __getitem__(self, address: str) -> FieldLayer | EmpiricalField:
        """A layer or a unit by its address.

        Raises:
            AddressError: it was not measured, or names a neuron.
        """
        return find(self.path, {each.address: each for each in self.layers}, address)

    def to_json(self) -> dict[str, Any]:
        """Plain values: sizes of layers and units, and what was left out."""
        job = self.run["job"]
        return {
            "fields": str(self.path),
            "network": self.run["network"],
            "images": self.run["images"],
            "skipped": self.run["skipped"],
            "window": job["window"],
            "stride": job["stride"],
            "layers": [layer.to_json() for layer in self.layers],
        }


def _finite(number: float) -> float | None:
    """A number that JSON has."""
    return number if math.isfinite(number) else None
