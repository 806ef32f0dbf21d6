"""The scan: one pass over the images, every statistic of every unit of every layer at once, and an atlas in the end.

>>> atlas = convscope.scan(network, images, "atlas")
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from convscope import shards, sprites
from convscope.atlas import STATISTICS, Atlas
from convscope.errors import AtlasError, ImagesError
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.scanner import manifest
from convscope.scanner.compute import compute, merge, part
from convscope.scanner.plan import At, Plan
from convscope.scanner.tally import Tally
from convscope.shards import ShardState, ShardStore
from convscope.statistics.topk import NOBODY


@dataclass(frozen=True)
class Progress:
    """What a scan says about itself while it runs: `done` of `total` images in this phase, `begun` of them before."""

    phase: str
    done: int
    total: int
    begun: int = 0


Report = Callable[[Progress], None]


def scan(
    network: Network,
    images: ImageSet | str | Path,
    path: str | Path,
    *,
    layers: Sequence[str] | None = None,
    at: At = "response",
    limit: int | None = None,
    batch_size: int = 32,
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
        progress: called after every batch.

    Raises:
        AddressError: `layers` names something that is not there.
        AtlasError: there is something else at `path`, or an unfinished scan of another job.
        ImagesError: no image could be read.
        NetworkError: the network does not run on such images, or has no layers.
    """
    path = Path(path)
    images = open_images(images) if isinstance(images, str | Path) else images
    plan = Plan.make(network, images, layers=layers, at=at, limit=limit, batch_size=batch_size)
    if path.exists() and not _is_empty(path):
        return _finished(path, plan)
    if path.resolve() == Path.cwd():
        raise AtlasError(f"{path}: an atlas cannot replace the folder in which the command runs; give it a name")
    store = ShardStore(path, plan.job, plan.keys)
    with store.opened():
        if not _is_complete(store.folder, plan):
            _compute(plan, store, progress)
        store.clear()
        store.folder.rename(store.target)
    return Atlas.open(path)


def _compute(plan: Plan, store: ShardStore, progress: Report) -> None:
    """Everything that is still missing in the folder."""
    if store.done < len(plan.keys):  # what else is there is of images that have changed since
        sprites.clear(store.folder)
        (store.folder / "run.json").unlink(missing_ok=True)
    missing = store.missing()
    begun = done = len(plan.ids) - sum(len(plan.shard(index)) for index in missing)

    def advance(images: int) -> None:
        nonlocal done
        done += images
        progress(Progress("scanning", done, len(plan.ids), begun))

    for index in missing:
        store.add(index, compute(plan, index, advance))
        store.fold(lambda first, second: merge(plan, first, second))
    store.fold(lambda first, second: merge(plan, first, second))
    assert store.state is not None
    _finish(plan, store.folder, store.state, progress)


def _is_complete(folder: Path, plan: Plan) -> bool:
    """Whether an earlier scan ended after ``run.json``, the last file, was written."""
    path = folder / "run.json"
    if not path.exists():
        return False
    try:
        run = json.loads(path.read_bytes())
    except ValueError:  # it is written again
        return False
    return manifest.same_job(run, plan) and run["images"]["signature"] == manifest.signature(plan)


def _is_empty(path: Path) -> bool:
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
        reasons = "; ".join(f"{skip['name']}: {skip['reason']}" for skip in tally.skipped[:3])
        raise ImagesError(f"{plan.images.spec}: none of {len(tally.skipped)} images could be read ({reasons})")
    shards.write(folder / STATISTICS, save(state.tensors))
    ranks = int(plan.job["statistics"]["topk"]["maps"])
    likes = [
        sprites.likes_of(plan.slug(layer), plan.grid(layer), part(state, str(layer.address), "topk"), ranks)
        for layer in plan.layers
    ]
    total = len({int(image) for like in likes for image in like.ids.ravel()} - {NOBODY})
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(Progress("pictures", done, total))

    pictures, strips = sprites.write_pictures(folder, plan.images, plan.network.preprocess, likes, advance)
    run = manifest.describe(plan, state, pictures, strips)
    sprites.clear_tiles(folder)
    run["files"] = manifest.files(folder)
    shards.write(folder / "run.json", json.dumps(run, indent=1).encode())
