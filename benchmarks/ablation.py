"""What ablating all units of a layer costs beside running the whole network again for each of them.

``python -m benchmarks.ablation``; a minute of one thread. Times are the smallest of several, of whole passes and of
runs of the rest in turn, so that a busy machine hits both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

import convscope
from convscope.address import parse_layer
from convscope.network import Network
from convscope.recorder import record
from convscope.rest import Rest

CASES = {
    "diorama:objects": ("conv1", "conv2", "conv3", "conv4", "conv5"),
    "alexnet:width=0.5": ("conv1", "conv3", "conv5"),
    "resnet18": ("layer2.0.conv1", "layer4.1.conv2"),
}
IMAGES, REPEATS = 16, 5


def smallest(*runs: Callable[[], object]) -> list[float]:
    """Seconds of each, in turn."""
    took = [[float("inf")] for _ in runs]
    for _ in range(REPEATS):
        for times, run in zip(took, runs, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [min(times) for times in took]


def measured(network: Network, name: str) -> str:
    """A row of the table: units, seconds of a run of the rest, and how much less all of them take."""
    graph = record(network.module, network.example())
    layer = graph.layer(parse_layer(name))
    rest = Rest(network.module, graph, layer)
    images = torch.randn(IMAGES, *network.preprocess.shape).contiguous(memory_format=torch.channels_last)
    entered, many = rest.enter(images), min(rest.batch, 4 * IMAGES)
    numbers, fill = torch.arange(many) % IMAGES, torch.zeros(layer.units)
    masks = torch.nn.functional.one_hot(torch.arange(many) % layer.units, layer.units).bool()
    with torch.inference_mode():
        whole, way, run = smallest(
            lambda: network.module(images),
            lambda: rest.enter(images),
            lambda: rest.leave(entered, numbers, masks, fill),
        )
    whole, way, run = whole / IMAGES, way / IMAGES, run / many
    all_units = (1 + layer.units) * whole / (way + (1 + layer.units) * run)
    return f"{network.name:18} {name:16} {layer.units:5} {1000 * whole:8.2f} {run / whole:9.3f} {all_units:9.1f}"


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'network':18} {'layer':16} units  ms whole  rest/whole  times less")
    for spec, layers in CASES.items():
        network = convscope.load(spec)
        for name in layers:
            print(measured(network, name))


if __name__ == "__main__":
    main()
