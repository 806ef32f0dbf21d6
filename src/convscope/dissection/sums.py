"""What all images together say: pixels of masks and concepts, and how far both would vary with other images.

The counts of every image lie in the shards' files, and are gone through twice: once to add them up, and once more, for
the few concepts of each unit that may be its label, to add them up as a bootstrap draws the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.concepts import CATEGORIES
from convscope.dissection import kernels
from convscope.dissection.passes import Table, table_of
from convscope.dissection.task import Task
from convscope.shards import ShardState

REPLICATES = 200
CANDIDATES = 8  # concepts of a unit that a replicate may choose its label from: those with the highest IoU

Ints = NDArray[np.int64]
Read = Callable[[], Iterator[ShardState]]  # the shards, in order


@dataclass(frozen=True)
class Sums:
    """Pixels over all images.

    Args:
        intersections: (units, concepts) of mask and concept.
        areas: (units, categories) of the mask, in images with any label of the category.
        covered: (concepts,) of the concept.
        pixels, images: (categories,) of the images with any label of the category.
    """

    intersections: Ints
    areas: Ints
    covered: Ints
    pixels: Ints
    images: Ints


def add_up(task: Task, read: Read, view: str) -> Sums:
    """The sums over all images."""
    totals = np.zeros((task.offsets[-1], 1 + len(task.concepts.concepts)), np.int64)
    areas = np.zeros((len(totals), len(CATEGORIES)), np.int64)
    images = np.zeros(len(CATEGORIES), np.int64)
    for shard in read():
        table = table_of(task, shard, view)
        present = _present(task, len(shard.tensors["ids"]), table)
        images += present.sum(0)
        kernels.add(*table, present, totals, areas)
    return Sums(totals[1:, 1:], areas[1:], totals[0, 1:], areas[0], images)


def _present(task: Task, images: int, table: Table) -> NDArray[np.bool_]:
    """(images, categories) whether an image has any label of the category."""
    rows, units, concepts, _ = table
    labels = (units == 0) & (concepts > 0)
    present = np.zeros((images, len(CATEGORIES)), np.bool_)
    present[rows[labels], task.categories[concepts[labels]]] = True
    return present


def overlap(intersections: Any, areas: Any, covered: Any) -> NDArray[np.float64]:
    """Intersection over union, one ratio of sums; 0 where both are empty."""
    union = areas + covered - intersections
    ratio: NDArray[np.float64] = intersections / np.maximum(union, 1)
    return ratio


def bootstrap(task: Task, read: Read, sums: Sums) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The candidates (units, k) of each unit as numbers of concepts, and their IoU (units, k, replicates).

    A replicate draws as many images as there are, with repetition, the same ones for all units; ties and images of a
    seed that is always the same.
    """
    categories = task.categories[1:]
    ratios = overlap(sums.intersections, sums.areas[:, categories], sums.covered)
    best = np.argsort(-ratios, axis=1, kind="stable")[:, :CANDIDATES].astype(np.int32)
    slots = np.full((1 + len(ratios), 1 + ratios.shape[1]), -1, np.int8)
    slots[np.arange(1, len(slots))[:, None], 1 + best] = np.arange(best.shape[1])
    count = sum(len(shard.tensors["ids"]) for shard in read())
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), REPLICATES).T.astype(np.int16)
    kept = np.zeros((len(slots), best.shape[1], REPLICATES), np.int64)
    areas = np.zeros((len(slots), len(CATEGORIES), REPLICATES), np.int64)
    covered = np.zeros((slots.shape[1], REPLICATES), np.int64)
    done = 0
    for shard in read():
        table, images = table_of(task, shard, "own"), len(shard.tensors["ids"])
        weights = np.ascontiguousarray(drawn[done : done + images])
        kernels.replicate(
            *table, _present(task, images, table), weights, slots, kept, areas, covered
        )  # fmt: skip
        done += images
    units = np.arange(len(best))[:, None]
    found = overlap(kept[1:], areas[1 + units, categories[best]], covered[1 + best])
    return 1 + best, found.astype(np.float32)
