"""Measured fields of AlexNet against full passes over the same occluded copies; ``python -m benchmarks.fields``.

Occluders of 11 px, 3 px apart, on images of 224 px: 5,184 copies of each image, and the responses of the units that are
read on it; up to conv3, and of all convolutions. With the defaults a unit is read on 10 of 300 images, so that each
image is read by a thirtieth of the units; the dearest case, all units on each image, is measured too. Full passes are
of batches that share all units, end at the last layer, and are measured on some of the copies. One unit at a time is
what it would cost without sharing: ten images of each unit. Ratios are of processor time with one thread, medians over
rounds in which all take turns, because the machine is shared and noisy. Weights are random, all run in
``channels_last``. It takes two minutes.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import convscope
from convscope.attribution.occlusion import Occlusion
from convscope.graph import Graph, LayerNode
from convscope.recorder import evaluating, record
from convscope.replay import Replay

ROUNDS, SIDE, WINDOW, STRIDE = 3, 224, 11, 3
TOP, IMAGES, COPIES = 10, 300, 96  # images of a unit, images in all, and copies that full passes are measured on
AIMS = {3: 10, 5: 4}  # layers -> full passes over ours


def spent(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def boxes_of() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    grid = Occlusion(WINDOW, STRIDE).windows(SIDE, SIDE)
    rows, columns = np.meshgrid(grid.rows.low, grid.columns.low, indexing="ij")
    corners = np.stack([rows.ravel(), columns.ravel()], 1)
    return np.concatenate([corners, corners + WINDOW], 1)


def cells_of(layer: LayerNode, share: float, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """Some units of a layer, each at a place of its own."""
    units, height, width = layer.shape
    some = rng.permutation(units)[: round(units * share)]
    return layer.response, (some * height + rng.integers(0, height, len(some))) * width + rng.integers(
        0, width, len(some)
    )


def ours(replay: Replay, image: Tensor, boxes: np.ndarray, noise: Tensor, cells: list) -> list[Tensor]:
    """For each layer (5184, readings)."""
    found = [torch.empty(len(boxes), len(each)) for _, each in cells]
    for numbers, values in replay.readings(image, boxes, noise, cells):
        for whole, each in zip(found, values, strict=True):
            whole[torch.from_numpy(numbers)] = each
    return found


def full(prefix: nn.Sequential, copies: Tensor, size: int) -> Tensor:
    return torch.cat([prefix(part) for part in copies.split(size)])


def measure(module: nn.Sequential, graph: Graph, count: int, aim: float) -> None:
    rng = np.random.default_rng(0)
    layers = graph.layers()[:count]
    ends = [i + 1 for i, each in enumerate(module.children()) if isinstance(each, nn.ReLU)]
    prefix = module[: ends[count - 1]]
    boxes, image = boxes_of(), torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3, WINDOW, WINDOW, generator=torch.Generator().manual_seed(2))
    some = rng.permutation(len(boxes))[:COPIES]
    copies = image.repeat(COPIES, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    for copy, (y0, x0, y1, x1) in zip(copies, boxes[some], strict=True):
        copy[:, y0:y1, x0:x1] = noise
    replay = Replay(module, graph, [layer.response for layer in layers])
    usual = [cells_of(layer, TOP / IMAGES, rng) for layer in layers]
    every = [cells_of(layer, 1, rng) for layer in layers]
    truth = full(prefix, copies, 32).flatten(1)[:, every[-1][1]]
    off = float((ours(replay, image, boxes, noise, every)[-1][some] - truth).abs().max())
    moved = float((truth - prefix(image[None]).flatten()[every[-1][1]]).abs().amax(1).median())
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        times["ours"].append(spent(lambda: ours(replay, image, boxes, noise, usual)))
        times["all units on one image"].append(spent(lambda: ours(replay, image, boxes, noise, every)))
        for size in (16, 32, 48):
            seconds = spent(lambda size=size: full(prefix, copies, size))  # type: ignore[misc]
            times[f"full {size}"].append(seconds * len(boxes) / COPIES)
    typical = {key: statistics.median(each) for key, each in times.items()}
    best = min((key for key in typical if key.startswith("full")), key=typical.__getitem__)
    units = sum(layer.units for layer in layers)
    alone = units * TOP * typical[best] / (IMAGES * typical["ours"])
    print(f"conv1 to conv{count}, {units} units; responses differ by {off:.0e}, where a copy moves some by {moved:.0e}")
    print("  seconds an image: " + ", ".join(f"{key} {seconds:.2f}" for key, seconds in typical.items()))
    print(f"  {typical[best] / typical['ours']:.1f} times less than full passes that all units share (aim: {aim}),")
    print(f"  {typical[best] / typical['all units on one image']:.1f} times where all units are read on each image,")
    print(f"  {alone:.0f} times less than one unit at a time")
    assert off < 1e-3 * moved


def main() -> None:
    module = convscope.load("torchvision:alexnet").module.features.to(memory_format=torch.channels_last)
    example = torch.zeros(1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    with evaluating(module), torch.no_grad():
        graph = record(module, example)
        for count, aim in AIMS.items():
            measure(module, graph, count, aim)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
