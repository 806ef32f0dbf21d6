"""How good the embedded networks are on images that they have never seen, what they weigh, and how long the demo takes.

``python -m benchmarks.embedded``; two minutes. The demo is timed as a ratio to the bare forward passes of the same
images with the same threads, and in seconds, of which 90 are promised on two idle cores.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

import convscope
from convscope import zoo
from convscope.images import ImageSet
from convscope.network import Network
from convscope.scanner.batches import batches
from convscope.training.embedded import TESTED

FLOOR, BEHIND, WEIGHT = 0.9, 0.08, 8e6  # share right; how far the fully connected one may be behind; bytes in all
SECONDS = 90


def forward(network: Network, images: ImageSet) -> tuple[float, float]:
    """Seconds to read and prepare the images, and seconds of the passes."""
    started, passes = time.perf_counter(), 0.0
    with torch.no_grad():
        for batch in batches(images, network.preprocess, range(len(images)), 32):
            before = time.perf_counter()
            network.module(batch.inputs)
            passes += time.perf_counter() - before
    return time.perf_counter() - started - passes, passes


def demo(folder: Path) -> tuple[float, float]:
    """Seconds of the scan and of the report that ``make demo`` writes."""
    started = time.perf_counter()
    network, images = convscope.load("diorama:objects"), convscope.open_images("diorama:objects/test")
    atlas = convscope.scan(network, images, folder / "atlas")
    scanned = time.perf_counter()
    convscope.write_report(atlas, folder / "report")
    return scanned - started, time.perf_counter() - scanned


def main() -> None:
    """Print all figures; ends with an error where a promise is broken."""
    broken, right = [], {}
    for name, entry in zoo.EMBEDDED.items():
        errors, size = convscope.evaluate(convscope.load(name), TESTED[name]).rows[0].top1, entry.weights.stat().st_size
        low, high = (1 - each for each in reversed(errors.interval))
        right[name] = 1 - errors.error
        print(f"{name}: {right[name]:.2%} right of {errors.images} ({low:.1%} to {high:.1%}), {size / 1e6:.2f} MB")
        broken += [f"{name}: {right[name]:.1%}"] if right[name] < FLOOR and not name.endswith("-fc") else []
    if right["diorama:objects"] - right["diorama:objects-fc"] > BEHIND:
        broken.append("diorama:objects-fc is too far behind")
    weight = sum(entry.weights.stat().st_size for entry in zoo.EMBEDDED.values())
    broken += [f"{weight / 1e6:.1f} MB of weights"] if weight > WEIGHT else []
    images = convscope.open_images("diorama:objects/test")
    reading, passes = forward(convscope.load("diorama:objects"), images)
    with tempfile.TemporaryDirectory() as folder:
        scan, report = demo(Path(folder))
        size = sum(file.stat().st_size for file in (Path(folder) / "report").rglob("*") if file.is_file())
    print(
        f"demo: scan {scan:.0f} s, report {report:.0f} s and {size / 1e6:.0f} MB; drawing the images {reading:.0f} s, "
        f"bare forward passes {passes:.0f} s; the demo is {(scan + report) / (reading + passes):.1f} of both"
    )
    broken += [f"the demo took {scan + report:.0f} s"] if scan + report > SECONDS else []
    if broken:
        raise SystemExit("not kept: " + "; ".join(broken))


if __name__ == "__main__":
    main()
