"""CIFAR-10 as arrays that convscope reads, from a file of JPEG pictures one behind the other.

    python examples/cifar10/unpack.py cifar10_small.npz examples/cifar10
    convscope compare examples/cifar10/cifar10.toml -o cifar10

The file holds, for ``train`` and ``test``, ``jpeg_`` (all bytes), ``offsets_`` (where each picture begins, and the end)
and ``y_`` (class indices), and ``classes`` (their names).
"""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def unpack(file: Path, folder: Path) -> None:
    """Write ``train.npz`` and ``test.npz``: images (n, 3, 32, 32) of 8 bits, and the names of their classes."""
    data = np.load(file)
    for part in ("train", "test"):
        stored, offsets = data[f"jpeg_{part}"], data[f"offsets_{part}"]
        pictures = [stored[start:stop].tobytes() for start, stop in itertools.pairwise(offsets)]
        images = np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in pictures])
        labels = data["classes"][data[f"y_{part}"]]
        np.savez(folder / f"{part}.npz", images=images.transpose(0, 3, 1, 2), labels=labels)
        print(f"{folder / part}.npz: {len(images)} images")


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
