"""Small scans for the tests of workers, parts, clusters and failures: a network that other processes can load."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import convscope
from convscope.images import ImageSet
from convscope.network import Network
from slow_scan import noisy_photos

OPTIONS: dict[str, Any] = {"batch_size": 1, "threads": 1}  # 40 photos in 5 shards of 8
FAULT = "CONVSCOPE_TEST_FAULT"  # a file: while it is there, `faulty` does what it says


class Tiny(nn.Module):
    """Two classes, from RGB pictures of 8×8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(images)).mean((2, 3)))


def fault() -> str:
    """What shall go wrong now."""
    path = Path(os.environ.get(FAULT, "/nowhere"))
    return path.read_text() if path.exists() else ""


class Faulty(Tiny):
    """The same, which fails in the way that a file says at pictures that begin brightly: 15 and 38 of `photos`."""

    def forward(self, images: Tensor) -> Tensor:
        if (images[:, 0, 0, 0] > 0.77).any():
            fail(fault())
        return super().forward(images)


def fail(what: str) -> None:
    if what == "raises":
        raise ValueError("a picture\nthat I cannot stand")
    if what == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    if what == "cpu memory":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")
    if what == "device":
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    if what == "threads":
        raise ValueError(f"{torch.get_num_threads()} threads")
    if what == "killed" and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "slow":
        time.sleep(1)


def tiny() -> nn.Module:
    return Tiny()


def faulty() -> nn.Module:
    return Faulty()


def network(name: str = "tiny") -> Network:
    """One of the networks above, as other processes can load it."""
    return convscope.load(f"running:{name}", preprocess={"size": [8, 8]})


def photos(folder: Path) -> ImageSet:
    """40 pictures of noise."""
    return convscope.open_images(folder if folder.exists() else noisy_photos(folder))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder but the one that says when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "written.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
