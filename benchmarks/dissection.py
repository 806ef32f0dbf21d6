"""Dissection against a loop over units, and against the forward passes it needs; ``python -m benchmarks.dissection``.

The tally alone: 1,376 units with maps of 13×13, label maps of 112×112 with 1,200 concepts, 4 images, the highest 0.5 %
of the values. The loop is the Lite version's way (METHODS 6.2): for every unit whose maximum is above its threshold a
resize of its map, a mask, and the counts of the labels in it. Both count the same. The whole: all convolutions of
AlexNet, images in memory, labels of five maps; both passes, counts of a control, bootstrap and all, over two bare
passes. Ratios of processor time with one thread, medians over rounds. It takes two minutes.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import convscope
from convscope.concepts import CATEGORIES, Concept, ConceptSet, Labels
from convscope.dissection import dissect, kernels
from convscope.dissection.placement import Placement, Window
from convscope.geometry import Grid, Spans
from convscope.images import Arrays
from convscope.preprocess import Preprocess

CONCEPTS, UNITS, SIDE, ROUNDS, IMAGES = 1200, 1376, 112, 3, 4


class Synthetic(ConceptSet):
    """Noise with blocks of random concepts, in five label maps of which 4/5 are empty."""

    spec = "synthetic"

    def __init__(self, images: int, size: int) -> None:
        rng = np.random.default_rng(0)
        self.images = Arrays(rng.random((images, 3, size, size), np.float32))
        self.concepts = [Concept(1 + i, str(i), CATEGORIES[i % 5]) for i in range(CONCEPTS)]
        self.given = [Labels(blocks(rng)) for _ in range(images)]

    def labels(self, index: int) -> Labels:
        return self.given[index]

    def state(self, start: int, stop: int) -> str:
        return ""


def blocks(rng: np.random.Generator) -> NDArray[np.int32]:
    """(5, 112, 112) blocks of 14 px."""
    numbers = rng.integers(1, 1 + CONCEPTS, (5, 8, 8)) * (rng.random((5, 8, 8)) < 0.2)
    return np.repeat(np.repeat(numbers, 14, 1), 14, 2).astype(np.int32)


def spent(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def by_loop(maps: torch.Tensor, limits: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """(units, 1 + concepts): pixels of the mask, and of each concept in it; of maps (units, h, w)."""
    table = np.zeros((len(maps), 1 + CONCEPTS), np.int64)
    for unit, (values, limit) in enumerate(zip(maps, limits, strict=True)):
        if values.max() <= limit:
            continue
        resized = torch.nn.functional.interpolate(values[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        mask = resized.numpy() > limit
        table[unit] += np.bincount(labels[:, mask].ravel(), minlength=1 + CONCEPTS)
        table[unit, 0] = mask.sum()
    return table


def by_kernel(maps: NDArray[np.float32], limits: Any, labels: NDArray[np.int32], place: Placement) -> NDArray[np.int64]:
    """The same of maps (h, w, units), with the numbering of the image's labels, which a dissection needs as well."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=1 + CONCEPTS)[1:]) + 1
    numbers = np.zeros(1 + CONCEPTS, np.int32)
    numbers[present] = np.arange(1, 1 + len(present))
    small = np.zeros((maps.shape[2], 1 + len(present)), np.int32)
    rows, columns = place.rows, place.columns
    kernels.tally(
        maps, limits, np.ascontiguousarray(numbers[labels].transpose(1, 2, 0)), rows.bounds, rows.shares,
        columns.bounds, columns.shares, small,
    )  # fmt: skip
    table = np.zeros((maps.shape[2], 1 + CONCEPTS), np.int64)
    table[:, [0, *present]] = small
    return table


def tally() -> None:
    rng = np.random.default_rng(0)
    # Smooth enough that high values are neighbours, as in networks.
    noise = torch.from_numpy(rng.normal(size=(IMAGES, UNITS, 15, 15)).astype(np.float32))
    maps = torch.nn.functional.avg_pool2d(noise, 3, 1).relu() ** 2
    limits = maps.permute(1, 0, 2, 3).reshape(UNITS, -1).quantile(0.995, 1).numpy()
    labels = [blocks(rng) for _ in range(IMAGES)]
    spans = Spans(np.arange(13), np.arange(13) + 1, 13)
    place = Placement.of(Grid(spans, spans), Window.of(Preprocess((13, 13)), (SIDE, SIDE), (SIDE, SIDE)), False)
    last = [np.ascontiguousarray(each) for each in maps.permute(0, 2, 3, 1).numpy()]

    def loop() -> list[NDArray[np.int64]]:
        return [by_loop(maps[i], limits, labels[i]) for i in range(IMAGES)]

    def ours() -> list[NDArray[np.int64]]:
        return [by_kernel(last[i], limits, labels[i], place) for i in range(IMAGES)]

    exact = [by_loop(maps[i].double(), limits, labels[i]) for i in range(IMAGES)]  # as the kernel computes it
    off = sum(int(np.abs(one - two).sum()) for one, two in zip(exact, ours(), strict=True))
    total = sum(int(table.sum()) for table in exact)
    slow, fast = ([spent(call) * 1000 / IMAGES for _ in range(ROUNDS)] for call in (loop, ours))
    report("loop over units, ms an image", slow)
    report("compiled, ms an image", fast)
    report("times faster", [one / two for one, two in zip(slow, fast, strict=True)])
    print(f"{'difference of all counts':40} {off} of {total}")


def whole(images: int = 192) -> None:
    network, concepts = convscope.load("alexnet"), Synthetic(images, 224)
    layers = ["conv*"]
    inputs = torch.from_numpy(concepts.images.images).to(memory_format=torch.channels_last)
    inputs = torch.nn.functional.interpolate(inputs, network.preprocess.size)
    module = network.module.eval().to(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            for part in inputs.split(32):
                module(part)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            dissect(network, concepts, folder, layers=layers, threads=1)

    bare(), ours()
    times = [(spent(ours), spent(bare)) for _ in range(2)]
    report("AlexNet whole, images a second", [images / one for one, _ in times])
    report("over two bare passes", [one / (2 * two) for one, two in times])
    print(f"{'memory at most, GB':40} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}")


def report(what: str, values: Sequence[float]) -> None:
    print(f"{what:40} {statistics.median(values):.3g}   ({min(values):.3g} to {max(values):.3g})")


if __name__ == "__main__":
    torch.set_num_threads(1)
    tally()
    whole()
