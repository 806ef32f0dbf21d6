"""A dissection: two passes over the images, thresholds and then masks, and a section beside the atlas in the end.

>>> found = convscope.dissect(network, "diorama:objects/test", "atlas")
"""

from __future__ import annotations

import functools
import hashlib
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
from convscope.concepts import CATEGORIES, ConceptSet, only, open_concepts
from convscope.dissection import passes
from convscope.dissection.section import SECTION, Dissection
from convscope.dissection.sums import add_up, bootstrap
from convscope.dissection.tail import Tail
from convscope.dissection.task import Task
from convscope.errors import AtlasError
from convscope.network import Network
from convscope.scanner.batches import nothing_read
from convscope.scanner.plan import At, Plan
from convscope.scanner.progress import Advance, Report, counter
from convscope.scanner.worker import shard_bytes
from convscope.shards import ShardState, ShardStore

LITE = tuple(category for category in CATEGORIES if category != "material")  # which the Lite version compares with


def dissect(
    network: Network,
    concepts: ConceptSet | str | Path,
    path: str | Path,
    *,
    layers: Sequence[str] | None = None,
    at: At = "response",
    quantile: float = 0.005,
    lite: bool = False,
    limit: int | None = None,
    batch_size: int = 32,
    threads: int | None = None,
    progress: Report = lambda progress: None,
) -> Dissection:
    """Compare the units of `network` with `concepts` (Bau, Zhou et al., "Network dissection", CVPR 2017).

    A unit's mask are the pixels where its map, brought to the resolution of the labels, is above the unit's threshold.
    One that was interrupted goes on where it was. Nothing but the counts of pixels is kept on disk.

    Args:
        concepts: a set, or what `open_concepts` understands.
        path: an atlas of the network, which it becomes a section of, or any other folder: it is ``path/dissection``.
        layers: names of layers, of modules, or patterns; default all layers that have maps.
        at: read units at their "response" (after batch norm and rectifier) or at the raw "output" [METHODS 0.3].
        quantile: of all values of a unit, at all positions of all images, this share is above its threshold.
        lite: do as NetDissect-Lite does: a plain resize of the maps, of 1,000 quantiles entry int(1000 (1 - q) - 1)
            as the threshold, and no materials [METHODS 6.2].
        limit: use so many images, evenly spaced over the set.
        batch_size: images in one forward pass.
        threads: of PyTorch; default as it is set.
        progress: called after every batch.

    Raises:
        AddressError: `layers` names something that is not there, or has no map.
        AtlasError: there is another network's atlas or another dissection, or an unfinished one of another job.
        ImagesError: no image could be read.
        NetworkError: the network does not run on such images, or has no maps.
    """
    concepts = open_concepts(concepts) if isinstance(concepts, str | Path) else concepts
    task = Task.of(
        network,
        only(concepts, LITE) if lite else concepts,
        layers=layers, at=at, limit=limit, batch_size=batch_size,
        threads=torch.get_num_threads() if threads is None else threads,
        quantile=quantile, upsampling="plain" if lite else "anchored", threshold="lite" if lite else "exact",
    )  # fmt: skip
    check_atlas(Path(path), network)
    return carry_out(task, Path(path) / SECTION.folder, progress)


def carry_out(task: Task, target: Path, progress: Report) -> Dissection:
    """Do what is asked for, or go on with it, in the folder `target`; see `dissect`."""
    target = target.resolve()
    if target.exists():
        return _finished(target, task)
    partial = target.with_name(f"{target.name}.partial")
    with shards.explained(partial):
        partial.mkdir(parents=True, exist_ok=True)
        store = ShardStore(partial / "thresholds", dict(task.job), task.keys)
        with store.opened():  # and locked until the end
            tails = _first_pass(task, store, progress)
            limits, above = zip(*(tail.above(task.share) for tail in tails), strict=True)
            job = dict(task.job) | {"thresholds": _digest(limits)}
            masks = ShardStore(partial / "counts", job, [shards.key(key, job) for key in task.keys])
            with masks.opened():
                _second_pass(task, masks, limits, progress)
                _write(task, masks, partial / SECTION.folder, tails, limits, above)
        (partial / SECTION.folder).rename(target)
        shutil.rmtree(partial)
    return Dissection.open(target)


def check_atlas(path: Path, network: Network) -> None:
    """See that the folder is not that of another network's atlas.

    Raises:
        AtlasError: it is.
    """
    if not (path / "run.json").exists():
        return
    there = Atlas.open(path)
    if there.run["job"]["network"] != network.fingerprint:
        raise AtlasError(
            f"{path}: an atlas of {there.run['network']['name']} with other weights or preprocessing than those of "
            f"{network.name}; give the atlas of this network, or another place"
        )


def _finished(target: Path, task: Task) -> Dissection:
    """The dissection that is there, if it is that of this job."""
    there = Dissection.open(target)
    job = json.loads(json.dumps(dict(task.job)))
    if there.run["job"] != job or there.run["signature"] != shards.key(*task.keys):
        differing = shards.differences(there.run["job"], job) or "images or labels have changed since"
        raise AtlasError(
            f"{target}: there is another dissection already ({differing}); give another place, or delete it"
        )
    return there


def _first_pass(task: Task, store: ShardStore, progress: Report) -> list[Tail]:
    merge = functools.partial(passes.merge, task)
    store.fold(merge)
    advance = _counter(task, store, progress, "thresholds")

    def make(plan: Plan, index: int, advance: Advance) -> ShardState:
        return passes.thresholds(task, index, advance, store.state)

    for index in store.missing():
        store.add(index, shard_bytes(task, index, task.keys[index], advance, make))
        store.fold(merge)
    assert store.state is not None
    return passes.tails_of(task, store.state)


def _second_pass(task: Task, store: ShardStore, limits: Sequence[NDArray[np.float32]], progress: Report) -> None:
    """Every shard's counts stay in a file of their own; they are never folded."""
    advance = _counter(task, store, progress, "masks")

    def make(plan: Plan, index: int, advance: Advance) -> ShardState:
        return passes.counts(task, index, advance, limits)

    for index in store.missing():
        data = shard_bytes(task, index, task.keys[index], advance, make)
        store.add(index, data)


def _counter(task: Task, store: ShardStore, progress: Report, phase: str) -> Advance:
    begun = len(task.ids) - sum(len(task.shard(index)) for index in store.missing())
    return counter(progress, phase, len(task.ids), begun)


def _digest(limits: Sequence[NDArray[np.float32]]) -> str:
    return hashlib.sha256(np.concatenate(limits).tobytes()).hexdigest()


def _write(
    task: Task,
    store: ShardStore,
    folder: Path,
    tails: Sequence[Tail],
    limits: Sequence[NDArray[np.float32]],
    above: Sequence[NDArray[np.int64]],
) -> None:
    """The section: arrays, and ``run.json`` as the last file."""

    def read() -> Iterator[ShardState]:
        return (ShardState.read(store.shard(index)) for index in range(len(task.keys)))

    skipped: list[dict[str, Any]] = [each for shard in read() for each in shard.meta["skipped"]]
    if len(skipped) == len(task.ids):
        raise nothing_read(task.concepts.spec, skipped)
    own, control = (add_up(task, read, view) for view in passes.VIEWS)
    candidates, replicates = bootstrap(task, read, own)
    arrays: dict[str, NDArray[Any]] = {
        "thresholds": np.concatenate(limits),
        "above": np.concatenate(above),
        "seen": np.concatenate([tail.seen for tail in tails]),
        "errors": np.concatenate([tail.errors() for tail in tails]),
        "candidates": candidates,
        "replicates": replicates,
    }
    arrays |= vars(own) | {f"control.{name}": array for name, array in vars(control).items()}
    SECTION.write(folder, _describe(task, skipped), arrays)


def _describe(task: Task, skipped: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "convscope": convscope.__version__,
        "job": dict(task.job),
        "signature": shards.key(*task.keys),
        "network": task.network.name,
        "images": len(task.ids) - len(skipped),
        "skipped": list(skipped),
        "remark": task.concepts.remark,
        "share": task.share,
        "layers": [{"address": str(layer.address), "units": layer.units} for layer in task.layers],
        "categories": list(CATEGORIES),
        "concepts": [[concept.name, concept.category] for concept in task.concepts.concepts],
    }
