"""What the demo, a report and the recording of a graph cost; ``python -m benchmarks.spine``, some seconds.

What a scan costs is in ``benchmarks.scan``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import convscope
from convscope.recorder import evaluating, record


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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


def recording() -> None:
    network = convscope.load("squeezenet1_0", preprocess={"size": [224, 224]})
    image = network.example()
    with evaluating(network.module), torch.no_grad():
        network.module(image)
        forward = seconds(lambda: network.module(image))
    graph = seconds(lambda: record(network.module, image))
    print(f"recording the graph of SqueezeNet, over one image's forward pass: {graph / forward:.1f}")


if __name__ == "__main__":
    demo()
    recording()
