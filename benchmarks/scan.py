"""What a scan costs over the bare forward passes of the same job, how loading overlaps, and its peak memory.

``python -m benchmarks.scan [--full]``; about four minutes. The ratios are of processor time with one thread, medians
over rounds in which both take turns in one process, because the machine is shared and noisy; the overlap is of wall
time with all cores. Both sides of a ratio run in the memory settings of the command line (`convscope.scanner.memory`);
what those settings gain stands beside.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import convscope
from convscope.recorder import evaluating
from convscope.scanner import compute
from convscope.scanner.batches import Batch, batches
from convscope.scanner.memory import keep_freed_memory
from convscope.scanner.plan import Plan, channels_last
from convscope.scanner.tally import Tally
from convscope.shards import ShardStore
from convscope.statistics import kernels

NETWORKS = {"torchvision:alexnet": 1.10, "torchvision:resnet18": 1.10, "torchvision:squeezenet1_0": 1.25}
BATCH = 32
PARTS = {
    "_sums": "mean and variance",
    "_highest": "maximum and its position",
    "_lowest": "minimum and share <= 0",
    "_insert": "lists of the best",
    "_shrink": "maps of the nine best",
    "_count_bins": "sampled histogram",
}


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def spent(call: Callable[[], object], clock: Callable[[], float] = cpu) -> float:
    start = clock()
    call()
    return clock() - start


def prepared(network: convscope.Network, count: int) -> list[Batch]:
    """Batches of noise that is smooth enough for maps to have hills, ready for the network."""
    generator = torch.Generator().manual_seed(0)
    height, width = network.preprocess.size
    made = []
    for first in range(0, count, BATCH):
        coarse = torch.rand(BATCH, 3, 14, 14, generator=generator)
        inputs = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") * 2 - 1
        ids = torch.arange(first, first + BATCH)
        made.append(Batch(ids, channels_last(inputs), [b""] * BATCH, []))
    return made


def plan_of(network: convscope.Network, images: Any, threads: int) -> Plan:
    return Plan.make(network, images, layers=None, at="response", limit=None, batch_size=BATCH, threads=threads)


def bare(network: convscope.Network, made: list[Batch]) -> None:
    with evaluating(network.module), torch.no_grad():
        for batch in made:
            network.module(batch.inputs)


def scanned(plan: Plan, made: list[Batch]) -> None:
    accumulators, tally = compute.start(plan), Tally()
    for batch in made:
        compute.feed(plan, batch, accumulators, tally)


def kept(plan: Plan, made: list[Batch]) -> tuple[float, int]:
    """Processor time to write and fold a shard's state, a shard on average over eight; and its bytes."""
    accumulators, tally = compute.start(plan), Tally()
    for batch in made:
        compute.feed(plan, batch, accumulators, tally)
    with tempfile.TemporaryDirectory() as folder:
        store = ShardStore(Path(folder) / "atlas", plan.job, [f"k{i}" for i in range(8)])

        def keep() -> None:
            for index in range(8):
                store.add(index, compute.to_state(accumulators, tally).to_bytes())
                store.fold(lambda first, second: compute.merge(plan, first, second))

        with store.opened():
            seconds = spent(keep)
    return seconds / 8, len(compute.to_state(accumulators, tally).to_bytes())


def ratios(rounds: int, images: int) -> None:
    torch.set_num_threads(1)
    for name, goal in NETWORKS.items():
        network = convscope.load(name)
        plan = plan_of(network, convscope.Arrays(np.zeros((images, 3, 2, 2), np.uint8)), threads=1)
        made = prepared(network, images)
        first = spent(lambda: scanned(plan, made[:1]))  # noqa: B023 — called at once
        found = []
        for _ in range(rounds):
            forward = spent(lambda: bare(network, made))  # noqa: B023
            found.append(spent(lambda: scanned(plan, made)) / forward)  # noqa: B023
        parts = cost_of_parts(plan, made)
        keeping, size = kept(plan, made)
        shares = ", ".join(f"{PARTS[part]} {parts[part] / forward:.3f}" for part in PARTS)
        print(f"{name}: everything {statistics.median(found):.2f} of the bare forward passes (goal {goal:.2f} without "
              f"minimum, share <= 0, positions and maps; rounds {', '.join(f'{r:.2f}' for r in found)}); "
              f"{1000 * forward / images:.1f} ms an image bare; first batch with compiled code {first:.1f} s\n"
              f"    of it: {shares}\n"
              f"    beside it: states written and folded, {size / 1e6:.0f} MB a shard of {images} images, "
              f"{keeping / forward:.3f}", flush=True)  # fmt: skip


def cost_of_parts(plan: Plan, made: list[Batch]) -> dict[str, float]:
    """Processor time of each compiled loop, of as many passes as there are batches."""
    seconds: dict[str, float] = defaultdict(float)
    originals = {part: getattr(kernels, part) for part in ("_insert", "_shrink", "_count_bins", "_reduce")}

    def timed(part: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            seconds[part] += spent(lambda: originals[part](*arguments))

        return call

    def reduce(rows: Any, *_: Any) -> None:
        """The loops of the reduction one by one, on the same blocks."""
        originals["_reduce"](rows, *_)
        maximum, position, minimum, nonpositive = _[0], _[1], _[2], _[5]
        shift, offset, square = (np.zeros(rows.shape[2], np.float32) for _ in range(3))
        for i in range(len(rows)):
            seconds["_highest"] += spent(lambda: kernels._highest(rows[i], 0, maximum[i], position[i]))  # noqa: B023
            seconds["_lowest"] += spent(lambda: kernels._lowest(rows[i], minimum[i], nonpositive[i].copy()))  # noqa: B023
            seconds["_sums"] += spent(lambda: kernels._sums(rows[i], shift, offset, square))  # noqa: B023

    try:
        for part in ("_insert", "_shrink", "_count_bins"):
            setattr(kernels, part, timed(part))
        kernels._reduce = reduce
        scanned(plan, made)
    finally:
        for part, original in originals.items():
            setattr(kernels, part, original)
    return seconds


def overlap(images: int) -> None:
    """Images a second from JPEG files on disk, over the slower of loading alone and computing alone."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), images)
        image_set = convscope.open_images(folder)
        for name in ("torchvision:resnet18", "torchvision:squeezenet1_0"):
            network = convscope.load(name)
            plan = plan_of(network, image_set, torch.get_num_threads())
            made = prepared(network, images)
            wall = time.perf_counter
            ids = range(images)

            def load() -> None:
                for _ in batches(image_set, network.preprocess, ids, BATCH):  # noqa: B023
                    pass

            def both() -> None:
                for index in range(-(-images // int(plan.job["shard_size"]))):  # noqa: B023
                    compute.compute(plan, index, lambda _: None)  # noqa: B023

            scanned(plan, made[:1])
            loading, computing = spent(load, wall), spent(lambda: scanned(plan, made), wall)  # noqa: B023
            together, busy = spent(both, wall), spent(load) + spent(lambda: scanned(plan, made))  # noqa: B023
            bound = max(loading, computing) / max(loading, computing, busy / torch.get_num_threads())
            print(f"{name}: loading alone {images / loading:.0f} images/s, computing alone {images / computing:.0f}, "
                  f"both {images / together:.0f}: {max(loading, computing) / together:.2f} of the slower (goal 0.90; "
                  f"the cores allow {bound:.2f})", flush=True)  # fmt: skip


def write_photos(folder: Path, count: int) -> None:
    """JPEG files of 500×375 px with as much detail as photographs have; every 64th is the same."""
    generator = np.random.default_rng(0)
    for i in range(min(count, 64)):
        coarse = Image.fromarray(generator.integers(0, 256, (75, 100, 3), np.uint8)).resize((500, 375))
        coarse.save(folder / f"{i:05}.jpg", quality=90)
    for i in range(64, count):
        shutil.copyfile(folder / f"{i % 64:05}.jpg", folder / f"{i:05}.jpg")


def peak(images: int) -> None:
    """Print the peak memory of a process that scans so many images, in MB."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photos").mkdir()
        write_photos(Path(folder, "photos"), images)
        network = convscope.load("torchvision:squeezenet1_0")
        convscope.scan(network, Path(folder) / "photos", Path(folder) / "atlas")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peaks(counts: tuple[int, ...]) -> None:
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.scan", "--peak", str(count)]
        seconds = time.perf_counter()
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds = time.perf_counter() - seconds
        print(f"peak memory of a scan of {count} images with SqueezeNet: {float(text):.0f} MB ({seconds:.0f} s)",
              flush=True)  # fmt: skip


def memory_settings() -> None:
    """What keeping freed memory gains for the bare forward passes themselves."""
    torch.set_num_threads(1)
    network = convscope.load("torchvision:squeezenet1_0")
    made = prepared(network, 4 * BATCH)
    bare(network, made[:1])
    before = spent(lambda: bare(network, made))
    kept = keep_freed_memory()
    bare(network, made[:1])
    after = spent(lambda: bare(network, made))
    what = "" if kept else " (not possible here)"
    print(f"bare forward passes of SqueezeNet with freed memory kept: {after / before:.2f} of those without{what}",
          flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.peak)
        return
    threads = torch.get_num_threads()
    memory_settings()
    ratios(rounds=5 if arguments.full else 1, images=256)
    torch.set_num_threads(threads)
    overlap(images=512 if arguments.full else 128)
    peaks((300, 3000))


if __name__ == "__main__":
    main()
