"""Projections of neurons against batched full backward passes; ``python -m benchmarks.projections [NAME] [--full]``.

Guided backpropagation and deconvnets of 32 units an image at their strongest positions: of conv5 of the paper's
AlexNet, of layer4 of ResNet-18 and of conv5_3 of VGG-16, with random weights. The other side are passes to the layer
and back for a batch of neurons, each with a copy of its image, without any recording; they count for their best batch
size and memory format, and run on fewer neurons, for each of which they cost the same. Ratios are of processor time
with one thread, medians over rounds in which all take turns in one process. It takes some minutes; with ``--full``, on
all of 72 images, some more.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import convscope
from convscope import gradients
from convscope.address import Neuron, Unit, parse_layer
from convscope.backward_rules import DECONVNET, GUIDED, Redirected, Rule
from convscope.cones import Cones
from convscope.network import Network
from convscope.projections import Projection, project
from convscope.recorder import evaluating, record

UNITS, ALONE = 32, 24  # of an image; images with one unit each
Neurons = list[tuple[int, Neuron]]


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        trunk: of the module, up to the response of the layer.
        images: as many as our side runs on.
        fewer: neurons that the other side runs on.
        aim: times as fast as the other side, with all units of an image.
    """

    spec: str
    layer: str
    trunk: Callable[[Any], Callable[[Tensor], Tensor]]
    images: int
    fewer: int
    rounds: int
    aim: float | None = None


def _resnet(module: Any) -> Callable[[Tensor], Tensor]:
    last = module.layer4[1]
    stem = nn.Sequential(module.conv1, module.bn1, module.relu, module.maxpool)
    body = nn.Sequential(stem, module.layer1, module.layer2, module.layer3, module.layer4[0])
    return nn.Sequential(body, last.conv1, last.bn1, last.relu, last.conv2, last.bn2)


CASES = {
    "alexnet": Case("alexnet", "conv5", lambda module: module[: list(dict(module.named_children())).index("pool5")],
                    8, 64, 3, 3.5),
    "resnet18": Case("torchvision:resnet18", "layer4.1.conv2", _resnet, 2, 16, 2),
    "vgg16": Case("torchvision:vgg16", "features.28", lambda module: module.features[:30], 1, 4, 1),
}  # fmt: skip


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base has no types
    """Counts multiplications."""

    found = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.found += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result) / 2
        return result


def spent(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def full_passes(trunk: Any, images: Tensor, neurons: Neurons, rule: Rule, size: int) -> Tensor:
    """(n, c, h, w)."""
    found: list[Tensor] = []
    for first in range(0, len(neurons), size):
        some = neurons[first : first + size]
        pixels = images[[row for row, _ in some]].requires_grad_()
        with torch.enable_grad(), Redirected(rule):
            maps = trunk(pixels)
            places = [(n, each.unit.index, each.row, each.column) for n, (_, each) in enumerate(some)]
            scores = maps[tuple(torch.tensor(places).T)]
        found += torch.autograd.grad(scores, pixels, scores.detach().clamp(min=0))
    return torch.cat(found)


def strongest(trunk: Any, images: Tensor, layer: str, units: int) -> Neurons:
    """Of so many units of a layer, spread over all of them, on each image."""
    found: Neurons = []
    for row, maps in enumerate(torch.cat([trunk(image[None]) for image in images])):
        for unit in range(0, len(maps), len(maps) // units)[:units]:
            place = divmod(int(maps[unit].argmax()), maps.shape[2])
            found.append((row, Neuron(Unit(parse_layer(layer), unit), *place)))
    return found


def pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth noise."""
    coarse = torch.randn(count, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=(height, width), mode="bilinear")


def apart(found: list[Projection], truth: Tensor) -> list[float]:
    """How far each projection is from the whole map, as a share of its maximum."""
    shares = []
    for each, whole in zip(found, truth, strict=True):
        y0, x0, y1, x1 = each.box
        rest = whole.clone()
        rest[:, y0:y1, x0:x1] -= each.values
        if each.start > 0:
            shares.append(float(rest.abs().max() / whole.abs().max()))
    return shares


def multiplications(network: Network, trunk: Any, images: Tensor, neurons: Neurons, rule: Rule) -> tuple[float, float]:
    """Of a full pass, and of the least that is needed: each neuron's own cone, and its share of a forward pass."""
    with Counted() as full:
        full_passes(trunk, images, neurons[:1], rule, 1)
    mine = [each for row, each in neurons if row == 0]
    with gradients.untouched(network):
        graph = record(network.module, images[:1])
        response = graph.layer(mine[0].unit.layer).response
        cones = Cones(network, graph, [response], images[:1], rule)
        with Counted() as forward:
            values = cones.values_of(images[:1])
        with Counted() as down:
            for each in mine:
                cones.down(values, response, [(0, each.unit.index, each.row, each.column)], torch.ones(1))
    return full.found, (forward.found + down.found) / len(mine)


def measure(name: str, rule: Rule, all_images: bool = False) -> dict[str, float]:
    """Print and return how many times as fast ours is, with 32 units an image and with one, and the largest error."""
    case = CASES[name]
    network = convscope.load(case.spec)
    trunk = case.trunk(network.module)
    pixels = pictures(72 if all_images else ALONE, *network.preprocess.size)
    images = pixels if all_images else pixels[: case.images]
    times: dict[str, list[float]] = defaultdict(list)
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    with evaluating(network.module), torch.no_grad():
        neurons = strongest(trunk, images, case.layer, UNITS)
        alone = strongest(trunk, pixels, case.layer, 1)
        step = max(1, len(neurons) // case.fewer)
        some = neurons if all_images else neurons[::step]
        errors: list[float] = []
        for part in (some[i : i + 64] for i in range(0, len(some), 64)):
            errors += apart(project(network, images, part, rule), full_passes(trunk, images, part, rule, 8))
        least = multiplications(network, trunk, images, neurons, rule)
        for _ in range(case.rounds):
            times["ours"].append(spent(lambda: project(network, images, neurons, rule)) / len(neurons))
            times["ours, one an image"].append(spent(lambda: project(network, pixels, alone, rule)) / len(alone))
            for size, (layout, memory) in itertools.product((8, 32), formats.items()):
                network.module.to(memory_format=memory)  # type: ignore[call-overload]
                copies, few = images.contiguous(memory_format=memory), neurons[::step]
                seconds = spent(lambda: full_passes(trunk, copies, few, rule, size))  # noqa: B023
                times[f"full {size} {layout}"].append(seconds / len(few))
            network.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    typical = {key: statistics.median(each) for key, each in times.items()}
    best = min((key for key in typical if key.startswith("full")), key=typical.__getitem__)
    many, one = typical[best] / typical["ours"], typical[best] / typical["ours, one an image"]
    print(f"{name} {case.layer}, {rule.name}, {len(images)} images x {UNITS} units")
    print("  milliseconds each: " + ", ".join(f"{key} {1e3 * seconds:.1f}" for key, seconds in typical.items()))
    print(f"  {many:.2f} times as fast as {best}" + (f" (aim: {case.aim})" if case.aim else "")
          + f"; with one unit an image {one:.2f}")  # fmt: skip
    print(f"  million multiplications each: {least[0] / 1e6:.0f} in full, {least[1] / 1e6:.0f} at least: "
          f"{least[0] / least[1]:.1f} times fewer")  # fmt: skip
    print(f"  error of {len(errors)} projections: {max(errors):.1e} of its maximum at most, "
          f"{statistics.median(errors):.1e} in the median")  # fmt: skip
    return {"many": many, "one": one, "error": max(errors)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = [each for each in sys.argv[1:] if each != "--full"]
    for chosen in names or CASES:
        for rule in (GUIDED, DECONVNET):
            measure(chosen, rule, "--full" in sys.argv)
