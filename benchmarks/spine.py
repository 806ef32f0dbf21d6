"""What a scan costs over the bare forward passes, and what the demo and a report cost.

``python -m benchmarks.spine [--full]``; about a minute, five with ``--full``. Ratios are medians over rounds that take
turns in one process, because the machine is shared and noisy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import convscope
from convscope.recorder import evaluating, record
from convscope.scanner import Progress


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bare(network: convscope.Network, batches: list[torch.Tensor]) -> None:
    with evaluating(network.module), torch.no_grad():
        for batch in batches:
            network.module(batch)


def scan_over_bare(rounds: int, images: int, batch: int = 32) -> None:
    """One pass with every statistic of every layer over the same images already in memory."""
    network = convscope.load("squeezenet1_0", preprocess={"size": [224, 224]})
    pixels = np.random.default_rng(0).random((images, 3, 224, 224), np.float32)
    inputs = torch.from_numpy(pixels).to(memory_format=torch.channels_last).split(batch)
    image_set = convscope.Arrays(pixels)
    ratios = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            forward = seconds(lambda: bare(network, list(inputs)))
            pictures = [0.0]

            def progress(step: Progress, pictures: list[float] = pictures) -> None:
                if step.phase == "scanning":
                    pictures[0] = time.perf_counter()

            start = time.perf_counter()
            convscope.scan(network, image_set, Path(folder) / "atlas", batch_size=batch, progress=progress)
            ratios.append((pictures[0] - start) / forward)
    print(f"scan of SqueezeNet at 224 px, {images} images, over the bare forward passes: "
          f"{statistics.median(ratios):.2f} (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")  # fmt: skip
    graph = seconds(lambda: record(network.module, network.example()))
    print(f"recording the graph, over one image's forward pass: {graph / (forward / images):.1f}")


def demo() -> None:
    """The work of `make demo` without its set-up; and the size of the report."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        network, images = convscope.load("digits:lenet5"), convscope.open_images("digits:test")
        scan = seconds(lambda: convscope.scan(network, images, place / "atlas"))
        atlas = convscope.Atlas.open(place / "atlas")
        report = seconds(lambda: convscope.write_report(atlas, place / "report"))
        units = sum(layer.units for layer in atlas.layers)
        size = sum(file.stat().st_size for file in (place / "report").rglob("*") if "plotly" not in file.name)
        print(f"demo: scan {scan:.1f} s, report {report:.1f} s for {units} units ({1000 * report / units:.1f} ms and "
              f"{size / units / 1024:.1f} KB a unit, Plotly once beside)")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    demo()
    scan_over_bare(rounds=5 if full else 2, images=512 if full else 256)
