"""The scan: one pass over the images, every statistic of every unit of every layer at once, and an atlas in the end.

>>> atlas = convscope.scan(network, images, "atlas")
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from convscope import sanity, shards, sprites
from convscope.atlas import Atlas
from convscope.atlas.run import STATISTICS, WRITTEN, sealed
from convscope.errors import AtlasError
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.scanner import class_maps, manifest, projections, samples
from convscope.scanner.batches import nothing_read
from convscope.scanner.compute import merge, part
from convscope.scanner.connections import write_connections
from convscope.scanner.executors import Engine, engine
from convscope.scanner.filters import write_filters
from convscope.scanner.plan import At, Plan
from convscope.scanner.progress import Report, counter
from convscope.scanner.tally import Tally
from convscope.scanner.worker import threads
from convscope.shards import ShardState, ShardStore
from convscope.statistics.topk import NOBODY


def scan(
    network: Network,
    images: ImageSet | str | Path,
    path: str | Path,
    *,
    layers: Sequence[str] | None = None,
    at: At = "response",
    limit: int | None = None,
    batch_size: int = 32,
    exact_quantiles: bool = False,
    samples: int = 8,
    projections: int | None = None,
    top: int = 25,
    threads: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Report = lambda progress: None,
) -> Atlas:
    """Scan `images` with `network` into an atlas at `path`; a scan that was interrupted goes on where it was.

    Args:
        images: a set, or what `open_images` understands.
        layers: names of layers, of modules (all layers inside), or patterns such as ``features.*.squeeze``; default
            all convolution and linear layers.
        at: read units at their "response" (after batch norm and rectifier) or at the raw "output" [METHODS 0.3].
        limit: use so many images, evenly spaced over the set.
        batch_size: images in one forward pass.
        exact_quantiles: count all positions of every map for the distribution, and no sample of them; a third slower.
        samples: of so many images the maps of every unit and the prediction are kept, as `Atlas.samples`.
        projections: of so many units of each layer, those whose best image stands out most, the nine best patches are
            projected back to the pixels; default all, or as many as take about as long as the scan itself.
        top: images kept of each unit, those that excite it most.
        threads: of PyTorch in every process that computes; default those of this process, divided among the workers,
            or 1 with an `executor`. Another number rounds differently; the same one gives the same bytes with any
            number of workers.
        workers: processes that compute; with 1 it is this one. A script must then call `scan` under
            ``if __name__ == "__main__":``.
        executor: computes instead of a pool of `workers`: any `concurrent.futures.Executor`, such as Dask's
            ``client.get_executor()``.
        progress: called after every batch, or every shard of other processes.

    Raises:
        AddressError: `layers` names something that is not there.
        AtlasError: there is something else at `path`, or an unfinished scan of another job.
        ImagesError: no image could be read.
        NetworkError: the network does not run on such images, has no layers, or cannot be had by other processes.
        WorkerError: a worker died, or a cluster does not answer.
    """
    options = {
        "layers": layers,
        "at": at,
        "limit": limit,
        "batch_size": batch_size,
        "exact_quantiles": exact_quantiles,
        "samples": samples,
        "projections": projections,
        "top": top,
        "threads": threads,
    }
    plan, compute = prepare(network, images, options, workers, executor)
    return assemble(plan, Path(path), compute, progress)


def prepare(
    network: Network,
    images: ImageSet | str | Path,
    options: Mapping[str, Any],
    workers: int,
    executor: Executor | None,
) -> tuple[Plan, Engine]:
    """The plan, and what computes its shards; the arguments are those of `scan`."""
    if workers < 1 or (workers > 1 and executor is not None):
        raise ValueError(f"workers is {workers}; expected at least 1, and 1 with an executor")
    threads = max(1, torch.get_num_threads() // workers) if executor is None else 1
    options = {**options, "threads": threads if options["threads"] is None else options["threads"]}
    images = open_images(images) if isinstance(images, str | Path) else images
    plan = Plan.make(network, images, **options)
    return plan, engine(plan, options, workers, executor)


def assemble(plan: Plan, path: Path, compute: Engine, progress: Report) -> Atlas:
    """The atlas of `plan` at `path`, of the shards that `compute` gives."""
    if path.exists() and not is_empty(path):
        return _finished(path, plan)
    if path.resolve() == Path.cwd():
        raise AtlasError(f"{path}: an atlas cannot replace the folder in which the command runs; give it a name")
    store = ShardStore(path, plan.job, plan.keys)
    with store.opened():
        if not _is_complete(store.folder, plan):
            _fill(plan, store, compute, progress)
        store.clear()
        store.folder.rename(store.target)
    return Atlas.open(path)


def _fill(plan: Plan, store: ShardStore, compute: Engine, progress: Report) -> None:
    """Everything that is still missing in the folder."""
    if store.done < len(plan.keys):  # what else is there is of images that have changed since
        sprites.clear(store.folder)
        (store.folder / "run.json").unlink(missing_ok=True)
    missing = store.missing()
    begun = len(plan.ids) - sum(len(plan.shard(index)) for index in missing)
    with closing(compute(missing, counter(progress, "scanning", len(plan.ids), begun))) as results:
        for index, data in results:
            store.add(index, data)
            store.fold(lambda first, second: merge(plan, first, second))
    store.fold(lambda first, second: merge(plan, first, second))
    assert store.state is not None
    _finish(plan, store.folder, store.state, progress)


def _is_complete(folder: Path, plan: Plan) -> bool:
    """Whether an earlier scan ended after ``run.json``, the last file, was written, and all is as it was then."""
    if not (folder / "run.json").exists():
        return False
    try:
        there = Atlas.open(folder)
        there.verify()
    except AtlasError:  # all is written again
        sprites.clear(folder)
        return False
    return manifest.same_job(there.run, plan) and there.run["images"]["signature"] == manifest.signature(plan)


def is_empty(path: Path) -> bool:
    """Whether there is a folder without anything in it."""
    return path.is_dir() and not any(path.iterdir())


def _finished(path: Path, plan: Plan) -> Atlas:
    """The atlas at `path`, if it is that of this job."""
    there = Atlas.open(path)
    if not manifest.same_job(there.run, plan):
        differing = shards.differences(there.run["job"], json.loads(json.dumps(plan.job)))
        raise AtlasError(
            f"{path}: there is an atlas of another job already ({differing}); give another place, or delete it"
        )
    if there.run["images"]["signature"] != manifest.signature(plan):
        raise AtlasError(
            f"{path}: there is an atlas of this job, whose images have changed since; give another place, or delete it"
        )
    there.verify()
    return there


def _finish(plan: Plan, folder: Path, state: ShardState, progress: Report) -> None:
    """Write pictures and ``run.json``; the folder then is an atlas but for its name."""
    tally = Tally.from_json(state.meta["tally"])
    if not tally.read:
        shutil.rmtree(folder)  # nothing in it is worth keeping, and it would stand in the way of a better try
        raise nothing_read(plan.images.spec, tally.skipped)
    shards.write(folder / STATISTICS, save(state.tensors))
    write_filters(plan, folder)
    write_connections(plan, folder, state)
    ranks = int(plan.job["statistics"]["topk"]["maps"])
    lists = [part(state, str(layer.address), "topk") for layer in plan.layers]
    likes = [
        sprites.likes_of(plan.slug(layer), plan.grid(layer), topk, ranks)
        for layer, topk in zip(plan.layers, lists, strict=True)
    ]
    chosen = samples.choose(plan, tally)
    best = sprites.best_images([topk["ids"].numpy() for topk in lists], plan.network.preprocess.size)
    keep = {*best, *chosen}
    total = len({int(image) for like in likes for image in like.ids.ravel()} - {NOBODY} | keep)
    advance = counter(progress, "pictures", total)
    pictures, strips = sprites.write_pictures(folder, plan.images, plan.network.preprocess, likes, keep, advance)
    run = manifest.describe(plan, state, pictures, strips)
    projecting = projections.prepare(plan, folder, state, likes)
    run["projections"] = projecting.write(counter(progress, "projecting", len(projecting.images)))
    run["samples"] = samples.write(plan, folder, state, chosen)
    run["class_maps"] = class_maps.write(plan, folder, run["samples"]["images"])
    run["results"]["warnings"] = _warnings(plan, tally)
    sprites.clear_tiles(folder)
    run["files"] = manifest.files(folder)
    shards.write(folder / WRITTEN, json.dumps({"date": datetime.now(UTC).date().isoformat()}).encode())
    shards.write(folder / "run.json", sealed(run))


def _warnings(plan: Plan, tally: Tally) -> list[dict[str, Any]]:
    """What speaks against the preprocessing or the labels."""
    accuracy = (tally.top1, tally.labelled) if tally.labelled else None
    with threads(int(plan.job["threads"])):
        found = sanity.check(plan.network, plan.images, plan.ids, graph=plan.graph, truth=plan.truth, accuracy=accuracy)
    return [finding.to_json() for finding in found]
