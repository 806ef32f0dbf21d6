"""Images segmented by a unit: the images that excite it most, and where in each of them it answers [METHODS 5.4, 6.3].

>>> found = segments(network, "atlas", ["conv5:41"])
>>> found.units[0].images[0].mask

`unit_masks` says how masks are made, `best_images` of which images, and how their maps come about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from convscope.address import Unit
from convscope.atlas import Atlas
from convscope.dissection import DissectedUnit
from convscope.empirical_field import EmpiricalField, EmpiricalFields
from convscope.errors import AtlasError
from convscope.geometry import Grid
from convscope.images import ImageSet
from convscope.network import Network
from convscope.scanner.progress import Report
from convscope.studies import unit_masks
from convscope.studies.best_images import Maps, Picture, Source, computed, layer_of
from convscope.studies.unit_masks import Masks

Method = Literal["dissection", "field", "torch", "matlab"]
METHODS: tuple[Method, ...] = get_args(Method)
TOP = 10  # images of a unit
QUANTILE = 0.005  # of a unit's values are above its threshold, where no dissection has another one

Way = Callable[[Maps, Grid], Masks]


@dataclass(frozen=True, eq=False)
class Segment:
    """An image, and where a unit answers in it.

    Args:
        id: of the image in its set.
        value: the largest one of the unit's map.
        picture: (h, w, 3), the image as the network sees it.
        mask: (h, w).
    """

    id: int
    name: str
    value: float
    picture: Picture
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UnitSegments:
    """A unit and its best images, the best one first.

    Args:
        found: what it detects, where that is known.
        threshold: of its response; None for the toolkit's methods, which have none.
    """

    address: Unit
    found: DissectedUnit | None
    threshold: float | None
    images: tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class Segmented:
    """Units with their images.

    Args:
        source: the set that the images are of.
        quantile: this share of a unit's values is above its threshold, where it has one.
    """

    network: Network
    source: str
    method: Method
    quantile: float
    units: tuple[UnitSegments, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: labels, and of each image the share that is marked."""
        return {
            "source": self.source, "method": self.method,
            "units": [
                {
                    "unit": str(unit.address), "threshold": unit.threshold,
                    "label": None if unit.found is None or unit.found.label is None else asdict(unit.found.label),
                    "iou": None if unit.found is None else unit.found.iou,
                    "images": [
                        {"id": each.id, "name": each.name, "value": each.value, "marked": float(each.mask.mean())}
                        for each in unit.images
                    ],
                }
                for unit in self.units
            ],
        }  # fmt: skip


def segments(
    network: Network,
    atlas: Atlas | str | Path,
    units: str | Sequence[str] | None = None,
    *,
    method: Method = "dissection",
    top: int = TOP,
    best: int = 1,
    images: ImageSet | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Segmented:
    """The images that excite units most, segmented by what the units answer to.

    Args:
        atlas: of the network, whose lists of best images are taken; or a dissection alone, such as ATLAS/dissection,
            and then the images are those with its concepts, ranked in a pass over them.
        units: LAYER:UNIT, or LAYER for its `best` units by IoU; None for those of every layer of the dissection.
        method: "dissection": the unit's enlarged map is above its threshold; "field": its measured field (`convscope
            fields`) at every position above it; "torch", "matlab": as in the two versions of the public toolkit. See
            `unit_masks`.
        top: images of each unit, as far as the atlas lists them.
        images: the set, where it cannot be opened by its name.
        batch_size: images in a forward pass.
        progress: called after every batch.

    Raises:
        AddressError: there is no such unit, or its layer has no map.
        AtlasError: the folder has no thresholds or fields, or is of another network or other images.
        ImagesError: images cannot be read.
        NetworkError: the network does not run on them.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    for name, number in (("top", top), ("best", best), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    source = Source.of(atlas)
    chosen = source.units([units] if isinstance(units, str) else units, best)
    plan = source.plan(network, chosen, images, batch_size)
    ways = _ways(source, method, chosen)
    lists = source.lists(plan, chosen, top, progress)
    maps, pictures = computed(plan, lists, progress)
    made = []
    for unit, (threshold, mark) in ways.items():
        masks = mark(maps[unit], plan.grid(layer_of(plan, unit))) if lists[unit] else ()
        parts = zip(lists[unit], maps[unit], masks, strict=True)
        shown = (
            Segment(id, plan.images.names[id], float(values.max()), pictures[id], mask) for id, values, mask in parts
        )
        made.append(UnitSegments(unit, source.found(unit), threshold, tuple(shown)))
    return Segmented(network, plan.images.spec, method, source.job.get("quantile", QUANTILE), tuple(made))


def _ways(source: Source, method: Method, units: Sequence[Unit]) -> dict[Unit, tuple[float | None, Way]]:
    """Of each unit its threshold, where it has one, and how its maps become masks."""
    if method in ("torch", "matlab"):
        way = unit_masks.by_first if method == "torch" else unit_masks.by_own
        return dict.fromkeys(units, (None, way))
    if method == "field":
        fields = EmpiricalFields.open(source.home)
        return {unit: _by_field(fields, unit, _quantile(source, unit)) for unit in units}
    how: Literal["field", "naive"] = "field" if source.dissected().run["job"]["upsampling"] == "anchored" else "naive"
    return {unit: _by_threshold(_dissected(source, unit), how) for unit in units}


def _by_threshold(threshold: float, how: Literal["field", "naive"]) -> tuple[float, Way]:
    return threshold, lambda maps, grid: unit_masks.by_threshold(maps, grid, threshold, how)


def _by_field(fields: EmpiricalFields, unit: Unit, threshold: float) -> tuple[float, Way]:
    field = fields[str(unit)]
    assert isinstance(field, EmpiricalField)
    return threshold, lambda maps, grid: unit_masks.by_field(maps, grid, threshold, field.mask)


def _dissected(source: Source, unit: Unit) -> float:
    """The unit's threshold in the dissection."""
    found = source.found(unit)
    if found is None:
        raise AtlasError(
            f"{source.dissected().path}: layer {unit.layer} was not dissected, so its units have no threshold; dissect "
            "it, or name a method of the toolkit (torch, matlab)"
        )
    return found.threshold


def _quantile(source: Source, unit: Unit) -> float:
    """The same, or where it was not dissected the quantile of what the scan sampled."""
    if source.found(unit) is None and source.atlas is not None:
        return source.atlas.layer(unit.layer)[unit.index].quantile(1 - QUANTILE)
    return _dissected(source, unit)
