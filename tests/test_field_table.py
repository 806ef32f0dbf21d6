"""The published geometry of torchvision's networks [METHODS 2.11], found without arithmetic on images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from convscope.geometry import Spans
from convscope.receptive_field import receptive_fields
from convscope.recorder import record

Row = tuple[int, float, int, float]  # field, jump, start, centre of cell 0


def row(features: nn.Module, channels: int) -> Row:
    """Of what `features` gives: a convolution of one pixel behind it has the same field."""
    probe = nn.Sequential(features, nn.Conv2d(channels, 1, 1, device="meta"))
    graph = record(probe, torch.empty(1, 3, 96, 96, device="meta"))
    grid = receptive_fields(graph).grid(graph.layers()[-1])
    assert grid.rows == grid.columns
    steps = grid.rows.steps()
    assert steps is not None
    assert isinstance(grid.rows, Spans)
    return steps.size, steps.stride, steps.start, grid.box(0, 0).centre[0]


TABLE = {
    ("alexnet", "features.0", 64): (11, 4, -2, 3),
    ("alexnet", "features.10", 256): (163, 16, -66, 15),
    ("alexnet", "features.12", 256): (195, 32, -66, 31),
    ("vgg16", "features.28", 512): (196, 16, -90, 7.5),
    ("vgg16", "features.30", 512): (212, 32, -90, 15.5),
    ("vgg19", "features.34", 512): (252, 16, -118, 7.5),
    ("vgg19", "features.36", 512): (268, 32, -118, 15.5),
    ("resnet18", "layer4", 512): (435, 32, -217, 0),
    ("resnet34", "layer4", 512): (899, 32, -449, 0),
    ("resnet50", "layer4", 2048): (427, 32, -213, 0),
    ("resnet101", "layer4", 2048): (971, 32, -485, 0),
    ("resnet152", "layer4", 2048): (1451, 32, -725, 0),
}


@pytest.mark.parametrize(("place", "expected"), TABLE.items(), ids=[f"{name}-{at}" for name, at, _ in TABLE])
def test_rows_of_the_table(place: tuple[str, str, int], expected: Row, torchvision: Any) -> None:
    name, at, channels = place
    with torch.device("meta"):  # shapes only: no weights are made, and nothing is computed
        net = torchvision.models.get_model(name, weights=None)
    parts, last = [], False
    children = net.features.named_children() if at.startswith("features.") else net.named_children()
    for child, module in children:
        if not last:
            parts.append(module)
        last = last or child == at.removeprefix("features.")
    assert last
    assert row(nn.Sequential(*parts), channels) == expected
