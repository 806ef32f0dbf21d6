"""Dissection against a loop over units, and against the forward passes it needs; ``python -m benchmarks.dissection``.

The tally alone: 1,376 units with maps of 13×13, label maps of 112×112 with 1,200 concepts, 4 images, the highest 0.5 %
of the values. The loop is the Lite version's way (METHODS 6.2): for every unit whose maximum is above its threshold a
resize of its map, a mask, and the counts of the labels in it. Both count the same. The whole: all convolutions of
AlexNet, images in memory, labels of five maps; both passes, counts of a control, bootstrap and all, over two bare
passes of the whole network, and of what comes before the last convolution's rectifier, which is all that it needs.
Ratios of processor time with one thread, medians over rounds. It takes two minutes.
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
from convscope.dissection.passes import masks
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


def by_loop(maps: torch.Tensor, limits: NDArray[Any], labels: NDArray[np.int32], table: NDArray[np.int64]) -> None:
    """Add to (units, 1 + concepts) the pixels of the mask, and of each concept in it; of maps (units, h, w)."""
    for unit, (values, limit) in enumerate(zip(maps, limits, strict=True)):
        if values.max() <= limit:
            continue
        resized = torch.nn.functional.interpolate(values[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        mask = resized.numpy() > limit
        counts = np.bincount(labels[:, mask].ravel(), minlength=1 + CONCEPTS)
        counts[0] = mask.sum()
        table[unit] += counts


def by_kernel(
    maps: NDArray[np.float32], limits: Any, labels: NDArray[np.int32], place: Placement, table: NDArray[np.int64]
) -> None:
    """The same of maps (h, w, units), with the numbering of the image's labels, which a dissection needs as well."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=1 + CONCEPTS)[1:]) + 1
    numbers = np.zeros(1 + CONCEPTS, np.int32)
    numbers[present] = np.arange(1, 1 + len(present))
    small = np.zeros((maps.shape[2], 1 + len(present)), np.int32)
    kernels.count(*masks(place, maps, limits), np.ascontiguousarray(numbers[labels].reshape(len(labels), -1).T), small)
    table[:, [0, *present]] += small


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

    def loop(maps: torch.Tensor, table: NDArray[np.int64]) -> None:
        for i in range(IMAGES):
            by_loop(maps[i], limits, labels[i], table)

    def ours(table: NDArray[np.int64]) -> None:
        for i in range(IMAGES):
            by_kernel(last[i], limits, labels[i], place, table)

    one, other = (np.zeros((UNITS, 1 + CONCEPTS), np.int64) for _ in range(2))
    loop(maps.double(), one)  # as the kernel computes it
    ours(other)
    off, total = int(np.abs(one - other).sum()), int(one.sum())
    slow, fast = [], []
    for _ in range(ROUNDS):
        slow.append(spent(lambda: loop(maps, one)) * 1000 / IMAGES)
        fast.append(spent(lambda: [ours(other) for _ in range(20)]) * 1000 / (20 * IMAGES))
    report("loop over units, ms an image", slow)
    report("compiled, ms an image", fast)
    report("times faster", [one / two for one, two in zip(slow, fast, strict=True)])
    print(f"{'difference of all counts':40} {off} of {total}")


def whole(images: int = 384) -> None:
    network, concepts = convscope.load("alexnet"), Synthetic(images, 224)
    inputs = torch.from_numpy(concepts.images.images).to(memory_format=torch.channels_last)
    inputs = torch.nn.functional.interpolate(inputs, network.preprocess.size)
    module = network.module.eval().to(memory_format=torch.channels_last)
    names = [name for name, _ in module.named_children()]
    needed = module[: names.index("relu5") + 1]

    def bare(module: torch.nn.Module) -> None:
        with torch.inference_mode():
            for part in inputs.split(32):
                module(part)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            dissect(network, concepts, folder, layers=["conv*"], threads=1)

    bare(module)
    before = peak()
    ours()
    after = peak()
    times = [[spent(lambda: bare(module)), spent(ours), spent(lambda: bare(needed))] for _ in range(ROUNDS)]
    report("AlexNet whole, images a second", [images / mine for _, mine, _ in times])
    report("over two bare passes", [mine / (2 * every) for every, mine, _ in times])
    report("over two bare passes that end at conv5", [mine / (2 * convolutions) for _, mine, convolutions in times])
    print(f"{'memory at most, MB more than those take':40} {after - before:.0f}")


def peak() -> float:
    """The most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(what: str, values: Sequence[float]) -> None:
    print(f"{what:40} {statistics.median(values):.3g}   ({min(values):.3g} to {max(values):.3g})")


if __name__ == "__main__":
    torch.set_num_threads(1)
    tally()
    whole()
