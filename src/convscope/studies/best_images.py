"""The images that excite units most, and the units' maps of them, from an atlas or from a dissection alone.

An atlas lists each unit's best images. A dissection has none, but names a set of images with concepts, and these are
ranked in one pass. The maps are computed anew, in one pass over the images that any of the units likes best, whichever
layers these are of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import capture
from convscope.address import Layer, Unit, parse
from convscope.atlas import Atlas
from convscope.concepts import open_concepts
from convscope.dissection import DissectedLayer, DissectedUnit, Dissection
from convscope.dissection.section import SECTION
from convscope.errors import AddressError, AtlasError, ImagesError
from convscope.graph import LayerNode
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.scanner.batches import Batch, batches, nothing_read
from convscope.scanner.compute import forward
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Report, counter
from convscope.statistics import Activations
from convscope.statistics.topk import NOBODY, TopK

Maps = NDArray[np.float32]  # (n, rows, columns)
Picture = NDArray[np.uint8]  # (h, w, 3)
Lists = Mapping[Unit, Sequence[int]]  # ids of images, the best one first


@dataclass(frozen=True, eq=False)
class Source:
    """A folder with an atlas, with or without a dissection, or with a dissection alone."""

    path: Path
    atlas: Atlas | None
    dissection: Dissection | None

    @classmethod
    def of(cls, atlas: Atlas | str | Path) -> Source:
        """The folder of an atlas, or of a dissection; ATLAS/dissection is the dissection alone.

        Raises:
            AtlasError: there is neither, or one is of the units' responses and the other of raw outputs.
        """
        path = atlas.path if isinstance(atlas, Atlas) else Path(atlas)
        itself = path.name == SECTION.folder
        dissection = Dissection.open(path) if itself or (path / SECTION.folder).is_dir() else None
        if dissection is not None and (itself or not (path / "run.json").exists()):
            return cls(path, None, dissection)
        atlas = atlas if isinstance(atlas, Atlas) else Atlas.open(path)
        if dissection is not None and (ats := [each.run["job"]["at"] for each in (atlas, dissection)])[0] != ats[1]:
            # A batch norm with a negative factor turns the order of images around.
            raise AtlasError(
                f"{path}: units were scanned at their {ats[0]} and dissected at their {ats[1]} (--at); give "
                f"{dissection.path}, and its images are ranked anew"
            )
        return cls(path, atlas, dissection)

    @property
    def home(self) -> Path:
        """Where the sections of the atlas lie."""
        return self.path.parent if self.path.name == SECTION.folder else self.path

    @property
    def job(self) -> Mapping[str, Any]:
        """Of the dissection, as its thresholds are those of its values; else of the atlas."""
        run = self.atlas.run if self.dissection is None and self.atlas is not None else self.dissected().run
        job: Mapping[str, Any] = run["job"]
        return job

    def dissected(self) -> Dissection:
        """The dissection.

        Raises:
            AtlasError: there is none.
        """
        if self.dissection is None:
            raise AtlasError(
                f"{self.path}: it has no dissection, which gives units thresholds and labels; make one with 'convscope "
                "dissect', or name units and a method of the toolkit (torch, matlab)"
            )
        return self.dissection

    def units(self, wanted: Sequence[str] | None, best: int) -> list[Unit]:
        """The units that are asked for, each one once; see `convscope.studies.segments.segments`."""
        layers = self.dissected().layers if wanted is None else ()
        found = [unit for layer in layers for unit in _best(layer, best)]
        for text in wanted or ():
            address = parse(text)
            if isinstance(address, Layer):
                layer = self.dissected()[text]
                assert isinstance(layer, DissectedLayer)
                found += _best(layer, best)
            elif isinstance(address, Unit):
                found.append(address)
            else:
                raise AddressError(f"{text!r} names a neuron; a unit is expected, or a layer for its best units")
        return list(dict.fromkeys(found))

    def found(self, address: Unit) -> DissectedUnit | None:
        """What a unit detects; None where that was not looked at."""
        if self.dissection is None or str(address.layer) not in {layer.address for layer in self.dissection.layers}:
            return None
        unit = self.dissection[str(address)]
        assert isinstance(unit, DissectedUnit)
        return unit

    def plan(self, network: Network, units: Sequence[Unit], images: ImageSet | None, batch_size: int) -> Plan:
        """How the maps of the units are computed: at the values, and of the images, that the folder is about.

        Args:
            images: the set, where it cannot be opened by its name.

        Raises:
            AddressError: there is no such unit, or its layer has no map.
            AtlasError: the folder is of another network, or the set has another number of images now.
        """
        about = (self.atlas or self.dissected()).run["job"]["images"]
        if images is None:
            images = open_images(about["spec"]) if self.atlas else open_concepts(self.job["concepts"]).images
        if len(images) != about["count"]:
            raise self._changed(images)
        plan = Plan.make(
            network, images, layers=[str(unit.layer) for unit in units], at=self.job["at"], limit=about["used"],
            batch_size=batch_size, threads=torch.get_num_threads(),
        )  # fmt: skip
        if self.job["network"] != plan.job["network"]:
            raise AtlasError(
                f"{self.path}: it is of a network with other weights or preprocessing than those of {network.name}; "
                "give that network"
            )
        for unit in units:
            _check(unit, layer_of(plan, unit))
        return plan

    def lists(self, plan: Plan, units: Sequence[Unit], top: int, progress: Report) -> Lists:
        """The ids of the best images of each unit, `top` of them or as many as there are."""
        if self.atlas is None:
            return _ranked(plan, units, top, progress)
        found = {}
        for unit in units:
            best = self.atlas.layer(unit.layer)[unit.index].best(top)
            if any(plan.images.names[each.id] != each.name for each in best):
                raise self._changed(plan.images)
            found[unit] = [each.id for each in best]
        return found

    def _changed(self, images: ImageSet) -> AtlasError:
        return AtlasError(f"{self.path}: it is of other images than there are in {images.spec} now; make it again")


def layer_of(plan: Plan, unit: Unit) -> LayerNode:
    """The layer of a unit."""
    return plan.graph.layer(unit.layer)


def _best(layer: DissectedLayer, count: int) -> list[Unit]:
    """The units with the highest IoU, of equal ones the first."""
    return [unit.address for unit in sorted(layer, key=lambda unit: -unit.iou)[:count]]


def _check(unit: Unit, layer: LayerNode) -> None:
    if len(layer.shape) != 3:
        raise AddressError(f"layer {unit.layer} has no map of rows and columns, so its units have no place on an image")
    if unit.index >= layer.units:
        raise AddressError(f"layer {unit.layer} has units 0 to {layer.units - 1}, not {unit.index}")


# --- passes over images ----------------------------------------------------------------------------------------------


def _ranked(plan: Plan, units: Sequence[Unit], top: int, progress: Report) -> Lists:
    """The images with the largest values of each unit, in the order of a scan, from one pass over all of the plan's."""
    tops = {layer.address: TopK(k=top, maps=0).start(layer.units, layer.shape[1:]) for layer in plan.layers}
    advance, skipped = counter(progress, "ranking", len(plan.ids)), []
    for batch in batches(plan.images, plan.network.preprocess, plan.ids, plan.batch_size):
        skipped += batch.skipped
        if len(batch.ids):
            _run(plan, batch, lambda layer, values: tops[layer.address].update(values))
        advance(len(batch.ids) + len(batch.skipped))
    if len(skipped) == len(plan.ids):
        raise nothing_read(plan.images.spec, skipped)
    found = {}
    for unit in units:
        ids = tops[layer_of(plan, unit).address].ids[unit.index]
        found[unit] = ids[ids != NOBODY].tolist()
    return found


def computed(plan: Plan, lists: Lists, progress: Report) -> tuple[dict[Unit, Maps], dict[int, Picture]]:
    """The map of every unit of every image of its list, and these images as the network sees them, by id.

    Raises:
        ImagesError: one of them cannot be read.
    """
    units: dict[Layer, list[Unit]] = defaultdict(list)
    for unit in lists:
        units[layer_of(plan, unit).address].append(unit)
    found: dict[Unit, dict[int, NDArray[np.float32]]] = {unit: {} for unit in lists}
    pictures: dict[int, Picture] = {}

    def keep(layer: LayerNode, values: Activations) -> None:
        maps = values.maps()
        for row, image in enumerate(values.ids.tolist()):
            for unit in units[layer.address]:
                if image in lists[unit]:
                    found[unit][image] = maps[row, :, :, unit.index].copy()

    wanted = sorted({image for ids in lists.values() for image in ids})
    advance = counter(progress, "maps", len(wanted))
    for batch in batches(plan.images, plan.network.preprocess, wanted, plan.batch_size):
        if batch.skipped:
            raise ImagesError("{name}: {reason}".format(**batch.skipped[0]))
        _run(plan, batch, keep)
        pictures |= zip(batch.ids.tolist(), map(plan.network.preprocess.display, batch.inputs), strict=True)
        advance(len(batch.ids))
    return {unit: _stacked(found[unit], ids, layer_of(plan, unit)) for unit, ids in lists.items()}, pictures


def _stacked(maps: Mapping[int, NDArray[np.float32]], ids: Sequence[int], layer: LayerNode) -> Maps:
    return np.stack([maps[image] for image in ids]) if ids else np.zeros((0, *layer.shape[1:]), np.float32)


def _run(plan: Plan, batch: Batch, take: Callable[[LayerNode, Activations], None]) -> None:
    """One forward pass; `take` meets what each of the plan's layers gave."""

    def tap(layer: LayerNode) -> capture.Tap:
        def consume(values: Tensor) -> None:
            take(layer, Activations(values, layer.channel, batch.ids, str(layer.address)))

        return consume

    forward(plan, batch, [tap(layer) for layer in plan.layers], stop=True)
