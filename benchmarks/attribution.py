"""What explaining costs, and when RISE has settled, in ratios; ``python -m benchmarks.attribution``, some minutes.

``--full`` takes more masks and images, VGG-16, and SqueezeNet with real weights and images where ``--data`` has them
(an hour). Costs are ratios of processor time with one thread, medians over rounds in which all take turns in one
process, because the machine is shared and noisy; both sides run in the memory settings of the command line. Occlusion
needs the package captum (see ``benchmarks.occlusion``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

import convscope
from benchmarks import occlusion, projections
from benchmarks.occlusion import bare, spent
from convscope.attribution import RISE, Class
from convscope.backward_rules import GUIDED
from convscope.images import ImageSet
from convscope.network import Network
from convscope.recorder import evaluating
from convscope.scanner.memory import keep_freed_memory

DATA = Path("../shared/data")
SIZES, IMAGES = (4, 8, 16, 32), 64  # of the batches of bare passes, and how many images these run on


def costs_of_rise(name: str, masks: int, rounds: int) -> None:
    """RISE against bare passes on as many masked images, at their best batch size."""
    network, image = _network(name)
    method, target = RISE(masks, tolerance=0), Class(0, "probability")
    masked = image * next(iter(RISE(IMAGES).draw(image[0], IMAGES)))[:, None]
    times: dict[int, list[float]] = defaultdict(list)  # 0 is RISE
    with evaluating(network.module), torch.no_grad():
        bare(network.module, masked, SIZES[0])
        for _ in range(rounds):
            times[0].append(spent(lambda: method(network, image, target)))
            for size in SIZES:
                seconds = spent(lambda size=size: bare(network.module, masked, size))  # type: ignore[misc]
                times[size].append(seconds * masks / IMAGES)
    typical = {size: statistics.median(each) for size, each in times.items()}
    best = min(SIZES, key=typical.__getitem__)
    low, high = (kind(of / by for of, by in zip(times[0], times[best], strict=True)) for kind in (min, max))
    print(f"  {name}: {masks} masks take {typical[0] / typical[best]:.2f} ({low:.2f} to {high:.2f}) times the bare "
          f"passes in batches of {best} (aim: 1.10)")  # fmt: skip


def memory_of_rise(name: str, masks: int) -> None:
    """The peak of a process that runs RISE, above that of one that runs the bare passes."""
    with_rise, without = (_peak(name, number) for number in (masks, 0))
    print(f"  {name}: {masks} masks take {with_rise - without:.0f} MB more than the bare passes' {without:.0f} MB "
          "(aim: less than 200)")  # fmt: skip


def _peak(name: str, masks: int) -> float:
    """Of a process of its own, in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident, (name, masks))


def _resident(name: str, masks: int) -> float:
    """With no masks: of bare passes on images that are there already."""
    torch.set_num_threads(1)
    network, image = _network(name)
    if masks:
        RISE(masks, tolerance=0)(network, image, Class(0, "probability"))
    else:
        with evaluating(network.module), torch.no_grad():
            bare(network.module, image.expand(32, -1, -1, -1).contiguous(memory_format=torch.channels_last), 8)
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins with that of the process that started this one
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def settling_of_rise(network: Network, images: ImageSet, count: int, masks: int) -> None:
    """Where RISE stops by itself, against maps of so many other masks."""
    found, taken, noises = [], [], []
    for number in torch.linspace(0, len(images) - 1, count).long().tolist():
        image = network.preprocess(images.read(number))[None]
        stopped = RISE()(network, image, target := Class(None, "probability"))
        other = RISE(masks, tolerance=0, seed=1)(network, image, target)
        found.append(spearman(stopped.values.flatten(), other.values.flatten()))
        taken.append(int(stopped.evidence["masks"]))
        noises.append(float(stopped.evidence["standard error / deviation of the map"]))
    print(f"  {network.name}: after {statistics.median(taken):.0f} masks ({min(taken)} to {max(taken)}) the rank "
          f"correlation with {masks} others is {statistics.median(found):.3f} (median of {count} images, "
          f"{min(found):.3f} to {max(found):.3f}; aim: 0.95 with 2000 or fewer); standard error / deviation "
          f"{statistics.median(noises):.2f}")  # fmt: skip


def spearman(one: Tensor, other: Tensor) -> float:
    """The correlation of ranks."""
    ranks = torch.stack([each.argsort().argsort().double() for each in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def _network(name: str) -> tuple[Network, Tensor]:
    """A network of torchvision with random weights, and an image (1, 3, 224, 224), with channels last."""
    network = convscope.load(f"torchvision:{name}")
    network.module.to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return network, image.contiguous(memory_format=torch.channels_last)


def main(full: bool, data: Path) -> None:
    print("occlusion, 625 windows of 32 px on an image of 224 px")
    for name in ("alexnet", "resnet18", "vgg16") if full else ("alexnet", "resnet18"):
        occlusion.measure(name, *occlusion.NETWORKS[name])
    print("RISE")
    for name in ("alexnet", "resnet18"):
        costs_of_rise(name, 4000 if full else 1000, 3 if full else 1)
        memory_of_rise(name, 4000 if full else 500)
    diorama = convscope.load("diorama:objects")
    settling_of_rise(diorama, convscope.open_images("diorama:objects/test"), *((20, 8000) if full else (4, 4000)))
    weights = data / "weights" / "squeezenet1_0.safetensors"
    if full and weights.is_file():
        squeezenet = convscope.load(str(weights), arch="squeezenet1_0")
        settling_of_rise(squeezenet, convscope.open_images(data / "imagenet_val227"), 20, 8000)
    else:
        print(f"  SqueezeNet: skipped, {f'there is no {weights}' if full else 'it is part of --full'}")
    print("projections of units of conv5")
    projections.measure("alexnet", GUIDED, full)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more masks and images, an hour")
    parser.add_argument("--data", type=Path, default=DATA, help="real weights and images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    main(given.full, given.data)
