"""Occlusion of one image against Captum and against the bare forward passes; ``python -m benchmarks.occlusion [NAME]``.

Windows of 32 px, 8 px apart, on an image of 224 px: 625 of them, the logits of all classes, the recording of the graph
included. Ratios are of processor time with one thread, medians over rounds in which all take turns in one process,
because the machine is shared and noisy. Weights are random, all run in ``channels_last``. Each of the others counts for
its best batch size; they run on fewer windows, for each of which they cost the same. It needs the package captum, and
about three minutes of processor time.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import convscope
from convscope.attribution.occlusion import Occlusion, occluded
from convscope.geometry import Grid
from convscope.network import Network
from convscope.recorder import evaluating, record
from convscope.replay import Replay

# Rounds, sizes of batches, and the aim against Captum.
NETWORKS = {"alexnet": (3, (4, 8, 16, 32), 2.5), "resnet18": (2, (4, 8, 16, 32), 2.2), "vgg16": (1, (4, 16), None)}
WINDOWS, FEWER, IMAGES = 625, 81, 32  # of ours, of Captum (24 px apart), and of the bare passes


def spent(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def ours(network: Network, image: Tensor, windows: Grid) -> Tensor:
    """(25, 25, classes)."""
    graph = record(network.module, image[None])
    replay = Replay(network.module, graph)
    return occluded(replay, image, windows, torch.zeros(3, 1, 1), lambda values: values[graph.outputs[0]])


def by_captum(method: Any, image: Tensor, size: int) -> Tensor:
    options = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 24, 24), "baselines": 0}
    found: Tensor = method.attribute(image[None], target=0, perturbations_per_eval=size, **options)
    return found


def bare(module: nn.Module, images: Tensor, size: int) -> Tensor:
    return torch.cat([module(part) for part in images.split(size)])


def check(network: Network, image: Tensor, windows: Grid, captum: Any) -> None:
    """Logits against the passes on images with a window, and the map against Captum's."""
    logits = ours(network, image, windows).flatten(0, 1)
    numbers = np.arange(0, WINDOWS, 24)
    changed = image.repeat(len(numbers), 1, 1, 1)
    for each, number in zip(changed, numbers, strict=True):
        y0, x0, y1, x1 = windows.box(*divmod(int(number), 25)).as_tuple()
        each[:, y0:y1, x0:x1] = 0
    truth = bare(network.module, changed.contiguous(memory_format=torch.channels_last), 16)
    off, largest = float((logits[torch.from_numpy(numbers)] - truth).abs().max()), float(truth.abs().max())
    moved = float((truth - bare(network.module, image[None], 1)).abs().amax(1).median())
    mine = Occlusion(32, 24)(network, image[None], 0).values[0, 0]
    theirs = by_captum(captum, image, 16)[0, 0]
    apart = float((mine - theirs).abs().max() / theirs.abs().max())
    print(f"  logits up to {largest:.3g} differ by {off:.1e} at most, where a window moves them by {moved:.1e}; "
          f"the map differs from Captum's by {apart:.1e} of its maximum")  # fmt: skip
    assert off < 1e-4 * min(1, largest)


def measure(name: str, rounds: int, sizes: tuple[int, ...], aim: float | None) -> None:
    network = convscope.load(f"torchvision:{name}")
    network.module.to(memory_format=torch.channels_last)
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(1))
    windows = Occlusion(32, 8).windows(224, 224)
    captum = importlib.import_module("captum.attr").Occlusion(network.module)
    batch = torch.randn(IMAGES, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    times: dict[str, list[float]] = defaultdict(list)
    print(name)
    with evaluating(network.module), torch.no_grad():
        check(network, image, windows, captum)  # and everything is warm
        for _ in range(rounds):
            times["ours"].append(spent(lambda: ours(network, image, windows)))
            for size in sizes[1:]:
                seconds = spent(lambda size=size: bare(network.module, batch, size))  # type: ignore[misc]
                times[f"bare {size}"].append(seconds * WINDOWS / IMAGES)
            for size in sizes:
                seconds = spent(lambda size=size: by_captum(captum, image, size))  # type: ignore[misc]
                times[f"Captum {size}"].append(seconds * (WINDOWS + 1) / (FEWER + 1))  # and one of the whole image
    typical = {key: statistics.median(each) for key, each in times.items()}
    print("  seconds: " + ", ".join(f"{key} {seconds:.2f}" for key, seconds in typical.items()))
    for other, wanted in (("Captum", aim), ("bare", None)):
        best = min((key for key in typical if key.startswith(other)), key=typical.__getitem__)
        ratio = typical[best] / typical["ours"]
        print(f"  {ratio:.2f} times as fast as {best}" + (f" (aim: {wanted})" if wanted else ""))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for chosen in sys.argv[1:] or NETWORKS:
        measure(chosen, *NETWORKS[chosen])
