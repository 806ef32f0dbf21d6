"""The two passes over the images: what a shard's images say of the thresholds, and of the masks above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope import capture
from convscope.dissection import kernels
from convscope.dissection.labels import Labelled, Local, labelled
from convscope.dissection.placement import Placement
from convscope.dissection.tail import Tail
from convscope.dissection.task import Sizes, Task
from convscope.scanner.batches import batches
from convscope.scanner.compute import forward
from convscope.scanner.progress import Advance
from convscope.shards import ShardState
from convscope.statistics.kernels import in_parts

VIEWS = ("own", "control")
# (n,) each: of one count, row of the image, unit, concept or 0, and pixels.
Table = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


# --- the first pass --------------------------------------------------------------------------------------------------


def thresholds(task: Task, index: int, advance: Advance, so_far: ShardState | None) -> ShardState:
    """The largest values of every unit among a shard's images.

    Args:
        so_far: of the shards before it: what is below that need not be kept.
    """
    tails = [
        Tail(layer.units, task.wanted(layer), None if so_far is None else _tensors(so_far, i)["floors"].numpy())
        for i, layer in enumerate(task.layers)
    ]
    skipped = 0
    for batch in batches(task.images, task.network.preprocess, task.shard(index), task.batch_size, digests=False):
        skipped += len(batch.skipped)
        if len(batch.ids):
            forward(task, batch, [_taker(task, i, batch.ids, tail) for i, tail in enumerate(tails)], stop=True)
        advance(len(batch.ids) + len(batch.skipped))
    return _state(tails, skipped)


def merge(task: Task, first: ShardState | None, second: ShardState) -> ShardState:
    """Fold a shard into what came before it."""
    if first is None:
        return second
    tails, others = (tails_of(task, state) for state in (first, second))
    for tail, other in zip(tails, others, strict=True):
        tail.merge(other)
    return _state(tails, first.meta["skipped"] + second.meta["skipped"])


def tails_of(task: Task, state: ShardState) -> list[Tail]:
    """The largest values of each layer's units."""
    return [Tail.restored(_tensors(state, i), task.wanted(layer)) for i, layer in enumerate(task.layers)]


def _taker(task: Task, layer: int, ids: Tensor, tail: Tail) -> capture.Tap:
    def consume(values: Tensor) -> None:
        rows = task.activations(layer, values, ids).rows
        tail.update(rows.cpu().numpy().reshape(-1, task.layers[layer].units))

    return consume


def _tensors(state: ShardState, layer: int) -> dict[str, Tensor]:
    prefix = f"{layer}|"
    return {name.removeprefix(prefix): each for name, each in state.tensors.items() if name.startswith(prefix)}


def _state(tails: Sequence[Tail], skipped: int) -> ShardState:
    tensors = {f"{i}|{name}": tensor for i, tail in enumerate(tails) for name, tensor in tail.state().items()}
    return ShardState(tensors, {"skipped": skipped})


# --- the second pass -------------------------------------------------------------------------------------------------


def counts(task: Task, index: int, advance: Advance, limits: Sequence[NDArray[np.float32]]) -> ShardState:
    """Of every image of a shard the pixels of each unit's mask, and those of each concept among them.

    Only what is not zero is kept. Unit 0 is everything: its counts are the pixels of the image, and of each concept.

    Args:
        limits: of each layer the thresholds (units,).
    """
    found: dict[str, list[NDArray[np.int32]]] = {f"{view}|{name}": [] for view in VIEWS for name in ("pairs", "counts")}
    ids: list[int] = []
    skipped = []
    for each in labelled(task, task.shard(index)):
        skipped += each.batch.skipped
        ids += each.batch.ids.tolist()
        if len(each.batch.ids):
            for view, tables in _tables(task, each, limits).items():
                for labels, table in zip(getattr(each, view), tables, strict=True):
                    pairs, pixels = _sparse(task, labels, table)
                    found[f"{view}|pairs"].append(pairs)
                    found[f"{view}|counts"].append(pixels)
        advance(len(each.batch.ids) + len(each.batch.skipped))
    tensors = {"ids": torch.tensor(ids, dtype=torch.int64)}
    for name, parts in found.items():
        tensors[name] = torch.from_numpy(np.concatenate([np.empty(0, np.int32), *parts]))
    for view in VIEWS:
        tensors[f"{view}|lengths"] = torch.tensor([len(each) for each in found[f"{view}|pairs"]], dtype=torch.int64)
    return ShardState(tensors, {"skipped": skipped})


def table_of(task: Task, state: ShardState, view: str) -> Table:
    """The counts of a shard's images."""
    pairs, pixels, lengths = (state.tensors[f"{view}|{name}"].numpy() for name in ("pairs", "counts", "lengths"))
    units, concepts = np.divmod(pairs, _width(task))
    rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return rows, units, concepts, pixels


def _width(task: Task) -> int:
    """How many counts a unit can have: pixels of the mask, and those of each concept in it."""
    return 1 + len(task.concepts.concepts)


def _tables(task: Task, each: Labelled, limits: Sequence[NDArray[np.float32]]) -> Mapping[str, list[NDArray[np.int32]]]:
    """For both views and every image (units, 1 + numbers): the pixels of the mask, and those of each number in it."""
    tables = {
        view: [np.zeros((task.offsets[-1], 1 + len(labels.concepts)), np.int32) for labels in getattr(each, view)]
        for view in VIEWS
    }

    def tap(layer: int) -> capture.Tap:
        units = slice(task.offsets[layer], task.offsets[layer + 1])

        def consume(values: Tensor) -> None:
            maps = task.activations(layer, values, each.batch.ids).maps()

            def work(first: int, last: int) -> None:
                for image in range(first, last):
                    views = [(getattr(each, view)[image], tables[view][image][units]) for view in VIEWS]
                    tally(task, layer, maps[image], limits[layer], views)

            in_parts(len(maps), work, maps.size)

        return consume

    forward(task, each.batch, [tap(layer) for layer in range(len(task.layers))], stop=True)
    for view in VIEWS:
        for labels, table in zip(getattr(each, view), tables[view], strict=True):
            table[:, labels.whole] = table[:, :1]
            table[0] = labels.covered
    return tables


def tally(
    task: Task, layer: int, maps: NDArray[np.float32], limits: NDArray[np.float32],
    views: Sequence[tuple[Local, NDArray[np.int32]]],
) -> None:  # fmt: skip
    """Count the masks of one image's maps (h, w, units) of a layer in several labels, each into its table.

    A mask is found once for all label maps of the same size.
    """
    found: dict[Sizes, tuple[NDArray[np.int64], NDArray[np.int32]]] = {}
    for labels, table in views:
        if labels.covered[0]:
            if labels.sizes not in found:
                found[labels.sizes] = masks(task.placement(layer, labels.sizes), maps, limits)
            kernels.count(*found[labels.sizes], labels.maps, table)


def masks(
    place: Placement, maps: NDArray[np.float32], limits: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The pixels of the masks of one image's maps (h, w, units); see `kernels.masks`."""
    rows, columns = place.rows, place.columns
    folded = place.fold(maps[None])[0]
    starts, pixels = kernels.masks(folded, limits, rows.bounds, rows.shares, columns.bounds, columns.shares)
    return starts, pixels


def _sparse(task: Task, labels: Local, table: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What is not zero in an image's table: unit and concept as one number, and pixels."""
    places = np.flatnonzero(table != 0)  # many times faster than np.nonzero(table)
    units, numbers = np.divmod(places, table.shape[1])
    concepts = np.concatenate([[0], labels.concepts])[numbers]
    return (units * _width(task) + concepts).astype(np.int32), table.ravel()[places]
