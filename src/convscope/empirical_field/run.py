"""Measured fields of all units: occluders slide over the images that excite them; in the end a section of the atlas.

>>> fields = convscope.empirical_fields(network, "atlas")
>>> fields["conv5"].empirical
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import convscope
from convscope import shards
from convscope.atlas import Atlas
from convscope.empirical_field.discrepancy import cell, discrepancies, measure
from convscope.empirical_field.effective import central
from convscope.empirical_field.section import SECTION, EmpiricalFields
from convscope.empirical_field.task import Task
from convscope.errors import AtlasError
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.replay import Replay
from convscope.scanner.batches import nothing_read
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Advance, Report, counter
from convscope.scanner.worker import shard_bytes
from convscope.shards import ShardState, ShardStore


def empirical_fields(
    network: Network,
    atlas: Atlas | str | Path,
    images: ImageSet | str | Path | None = None,
    *,
    layers: Sequence[str] | None = None,
    top: int = 10,
    limit: int = 300,
    window: int | None = None,
    stride: int | None = None,
    threads: int | None = None,
    progress: Report = lambda progress: None,
) -> EmpiricalFields:
    """Measure what part of the image moves each unit (Zhou et al., "Object detectors emerge in deep scene CNNs", ICLR
    2015, section 3.2).

    Occluders of noise slide over the images that excite a unit most. How far they move the unit, at the place of its
    maximum, is averaged over these images, with the field's centre in the middle. All units of all layers share the
    occluded copies of an image, and of each only what differs is computed. One that was interrupted goes on where it
    was.

    Args:
        atlas: of the network; it says which images excite each unit, and where. The fields become a section of it.
        images: of the atlas; default those that its name says.
        layers: names of layers, of modules, or patterns; default all of the atlas that have maps.
        top: images of each unit.
        limit: images in all. Where the best of all units are more, those that most units have in their lists are taken,
            until each unit has as many as it should; it may have fewer in the end, which is said.
        window: side of the occluder, px; default 11 for images of 224 px, as in the paper, and in proportion.
        stride: from one occluder to the next, px; default a quarter of it, rounded up: 3 for 11, as in the paper.
        threads: of PyTorch; default as it is set.
        progress: called after every image.

    Raises:
        AddressError: `layers` names something that is not there, or has no map.
        AtlasError: the atlas is another network's, or has other fields already, or unfinished ones of another job.
        AttributionError: the occluder does not fit into the image.
        ImagesError: the images are not the atlas's, or none could be read.
    """
    atlas = atlas if isinstance(atlas, Atlas) else Atlas.open(atlas)
    if atlas.run["job"]["network"] != network.fingerprint:
        raise AtlasError(
            f"{atlas.path}: an atlas of {atlas.run['network']['name']} with other weights or preprocessing than those "
            f"of {network.name}; give the atlas of this network"
        )
    spec = atlas.run["job"]["images"]["spec"] if images is None else images
    task = Task.of(
        network, atlas, open_images(spec) if isinstance(spec, str | Path) else spec,
        layers=layers, top=top, limit=limit, window=window, stride=stride,
        threads=torch.get_num_threads() if threads is None else threads,
    )  # fmt: skip
    target = atlas.path.resolve() / SECTION.folder
    if target.exists():
        return _finished(atlas, task)
    store = ShardStore(target, dict(task.job), task.keys)
    with store.opened():  # and locked until the end
        _measure(task, store, progress)
        _write(task, store, store.folder / SECTION.folder)
        (store.folder / SECTION.folder).rename(target)
    shutil.rmtree(store.folder)
    return EmpiricalFields.open(atlas)


def _finished(atlas: Atlas, task: Task) -> EmpiricalFields:
    """The fields that are there, if they are those of this job."""
    there = EmpiricalFields.open(atlas)
    job = json.loads(json.dumps(dict(task.job)))
    if there.run["job"] != job or there.run["signature"] != shards.key(*task.keys):
        differing = shards.differences(there.run["job"], job) or "images have changed since"
        raise AtlasError(f"{there.path}: there are other fields already ({differing}); delete that folder")
    return there


def _measure(task: Task, store: ShardStore, progress: Report) -> None:
    """Every shard stays in a file of its own."""
    missing = store.missing()
    begun = len(task.ids) - sum(len(task.shard(index)) for index in missing)
    advance = counter(progress, "fields", len(task.ids), begun)
    replays: dict[int, Replay] = {}

    def make(plan: Plan, index: int, advance: Advance) -> ShardState:
        return measure(task, index, advance, replays)

    for index in missing:
        store.add(index, shard_bytes(task, index, task.keys[index], advance, make))


def _write(task: Task, store: ShardStore, folder: Path) -> None:
    """The section: arrays, and ``run.json`` as the last file."""

    def read() -> Iterator[ShardState]:
        return (ShardState.read(store.shard(index)) for index in range(len(task.keys)))

    skipped: list[dict[str, Any]] = [each for state in read() for each in state.meta["skipped"]]
    if len(skipped) == len(task.ids):
        raise nothing_read(task.images.spec, skipped)
    arrays: dict[str, NDArray[Any]] = {}
    for layer in range(len(task.layers)):
        maps, images = _maps(task, layer, read())
        gradient = np.sum([state.tensors[f"{layer}|gradient"].numpy() for state in read()], 0)
        gradient /= len(task.ids) - len(skipped)
        found = {"maps": maps, "images": images, "gradient": gradient.astype(np.float32)}
        arrays |= {f"{layer}|{name}": array for name, array in found.items()}
    SECTION.write(folder, _describe(task, skipped), arrays)


def _maps(task: Task, layer: int, states: Iterator[ShardState]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The mean maps of a layer's units (units, H, W), and over how many images.

    A pixel that fewer than half of a unit's images cover is NaN: beside others it would be a step in the map.
    """
    canvas, units = task.canvases[layer], task.layers[layer].units
    sums = np.zeros((units, *canvas.shape), np.float32)
    counts = np.zeros((units, *canvas.shape), np.int16)
    images = np.zeros(units, np.int32)
    for state in states:
        for number, moved in discrepancies(task, layer, state):
            unit = task.readings[layer].units[number]
            row, column = cell(task, layer, number)
            (rows, high), (columns, wide) = canvas.rows.placed(row), canvas.columns.placed(column)
            sums[unit] += rows @ moved @ columns.T
            counts[unit] += np.outer(high, wide)
            images[unit] += 1
    known = (2 * counts >= images[:, None, None]) & (counts > 0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=known, dtype=np.float32), images


def _describe(task: Task, skipped: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "convscope": convscope.__version__,
        "job": dict(task.job),
        "signature": shards.key(*task.keys),
        "network": task.network.name,
        "images": len(task.ids) - len(skipped),
        "skipped": list(skipped),
        "size": list(task.network.preprocess.size),
        "layers": [_layer(task, number) for number in range(len(task.layers))],
    }


def _layer(task: Task, number: int) -> dict[str, Any]:
    layer = task.layers[number]
    grid = task.grid(layer)
    row, column = central(layer)
    box = grid.box(row, column)
    return {
        "address": str(layer.address),
        "units": layer.units,
        "dead": task.dead[number],
        "field": [box.height, box.width],
        "centre": [float(grid.rows.centres()[row]), float(grid.columns.centres()[column])],
    }
