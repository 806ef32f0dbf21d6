"""Tiny networks, images and recipes for the tests of the trainer, which other processes can have as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convscope.training import Recipe

CLASSES = ["bright", "dark"]


def small() -> nn.Module:
    """With everything that a kill could lose: the counts of a batch norm, and the chance of a dropout."""
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, 2)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head)


def three() -> nn.Module:
    """Another number of outputs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


def large() -> nn.Module:
    """For larger images."""
    return nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten(), nn.Linear(4, 2))


def frozen() -> nn.Module:
    return small().requires_grad_(False)


class Hungry(nn.Module):
    """It fails where it learns, but not where it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = small()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return self.inside(images)


def hungry() -> nn.Module:
    return Hungry()


def pictures(path: Path, count: int, seed: int) -> Path:
    """So many pictures of 8×8 px in an ``.npz``, bright and dark, and noisy enough that it takes a while."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = generator.random((count, 3, 8, 8)) * 0.9 + (1 - labels[:, None, None, None]) * 0.1
    np.savez(path, images=images.astype(np.float32), labels=np.array(CLASSES)[labels])
    return path


def plain(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe of four epochs with five steps each, as plain values; each change replaces a table or a key."""
    train, val = folder / "train.npz", folder / "val.npz"
    for path, count, seed in [(train, 38, 0), (val, 21, 1)]:
        if not path.exists():
            pictures(path, count, seed)
    recipe = {
        "epochs": 4,
        "batch_size": 8,
        "label_smoothing": 0.1,
        "max_filter_rms": 0.3,
        "network": {"arch": "training_nets:small"},
        "images": {"train": str(train), "val": str(val)},
        "preprocessing": {"size": [8, 8], "mean": [0.5], "std": [0.25]},
        "optimizer": {"kind": "sgd", "rate": 0.1, "nesterov": True, "decay": 1e-3},
        "schedule": {"kind": "cosine", "warmup": 1},
        "augmentation": {"flip": True, "shift": 1, "turn": 10, "brightness": 0.1, "colour": 0.1},
        "checkpoints": {"epochs": [1, 2], "steps": [7]},
    }
    return {key: value for key, value in {**recipe, **changes}.items() if value is not None}


def recipe(folder: Path, **changes: Any) -> Recipe:
    return Recipe.read(plain(folder, **changes), "tiny")
