"""How fast the networks of the zoo are: bare forward passes, in channels_last and in bfloat16 beside the plain ones.

``python -m benchmarks.zoo [--batch N]``; four minutes. The same images, one thread, and processor time, so that other
work on the machine matters less; medians of interleaved passes. GFLOPs count a multiplication and an addition as two.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import convscope
from convscope import zoo
from convscope.recorder import record

PASSES, SECONDS = 3, 4.0  # passes of each kind, and when a network has had enough time


def seconds(module: torch.nn.Module, images: torch.Tensor, half: bool) -> float:
    """Processor time of one pass."""
    start = time.process_time()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        module(images)
    return time.process_time() - start


def measured(name: str, batch: int) -> tuple[float, dict[str, float]]:
    """GFLOPs of an image, and images a second of each kind of pass."""
    network = convscope.load(name)
    graph = record(network.module, network.example())
    images = network.example(batch)
    last = images.contiguous(memory_format=torch.channels_last)
    taken: dict[str, list[float]] = {"plain": [], "channels_last": [], "bfloat16": []}
    started = time.process_time()
    for number in range(PASSES + 1):
        network.module.to(memory_format=torch.contiguous_format)
        plain = seconds(network.module, images, half=False)
        network.module.to(memory_format=torch.channels_last)
        row = plain, seconds(network.module, last, half=False), seconds(network.module, last, half=True)
        if number:  # the first warms up
            for times, each in zip(taken.values(), row, strict=True):
                times.append(each)
            if time.process_time() - started > SECONDS:
                break
    flops = sum(layer.flops for layer in graph.layers()) / 1e9
    return flops, {kind: batch / statistics.median(times) for kind, times in taken.items()}


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    batch = parser.parse_args().batch
    torch.set_num_threads(1)
    print(f"{'network':24}{'GFLOPs':>8}{'images/s':>10}{'channels_last':>15}{'bfloat16':>10}{'GFLOP/s':>9}")
    for name in zoo.ARCHITECTURES:
        flops, rates = measured(name, batch)
        plain, last, half = rates.values()
        print(
            f"{name:24}{flops:8.2f}{plain:10.1f}{last / plain:14.2f}×{half / plain:9.2f}×{flops * last:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
