"""Networks to operate on, which `load` finds as ``surgery_nets:NAME``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Functional(nn.Module):
    """Rectifiers, pools and the flattening are functions, so that the last maps are those of no module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.hidden = nn.Linear(8 * 16, 12)
        self.output = nn.Linear(12, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.first(images)), 2)
        maps = F.max_pool2d(torch.relu(self.second(maps)), 2)
        return self.output(F.relu(self.hidden(torch.flatten(maps, 1))))


class Branches(nn.Module):
    """A residual and two branches that are joined, before fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 3, padding=1)
        self.join = Join()
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(9 * 256, 3))

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        return self.head(self.join(stem + self.left(stem), self.right(stem)))


class Join(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other], 1)


class Dependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4 * 14 * 14, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.output(torch.flatten(maps if maps.sum() > 0 else -maps, 1))


def functional() -> nn.Module:
    return Functional()


def branches() -> nn.Module:
    return Branches()


def dependent() -> nn.Module:
    return Dependent()


def pooled() -> nn.Module:
    """It ends in a global pool and one linear layer already."""
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def flat() -> nn.Module:
    """It has no maps."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 3))
