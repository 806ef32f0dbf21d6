"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015.

Configurations A, B, D and E of the paper, with torchvision's names, so that weights go both ways; with ``norm=batch``
they are those of its ``vgg11_bn`` and so on. All convolutions are 3×3 with padding, all pools 2×2 without overlap.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from convscope.zoo.heads import cam_head
from convscope.zoo.layers import conv_relu, he, output_shape, scaled

_WIDTHS = (64, 128, 256, 512, 512)
_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(
    depth: int,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] = (224, 224),
    width: float = 1.0,
    head: str = "fc",
    norm: str = "none",
) -> nn.Sequential:
    """VGG with 11, 13, 16 or 19 layers.

    132,863,336, 133,047,848, 138,357,544 and 143,667,240 parameters. Before the head "gap" or "gmp" there is no pool;
    VGG-16 has 20,459,304 with it.

    Args:
        norm: "none" as in the paper, or "batch": batch norm before each rectifier.
    """
    layers: list[nn.Module] = []
    inputs = channels
    for block, (units, count) in enumerate(zip(_WIDTHS, _BLOCKS[depth], strict=True), 1):
        for _ in range(count):
            layers += conv_relu(inputs, inputs := scaled(units, width), 3, padding=1, norm=norm)
        if block < len(_WIDTHS) or head == "fc":
            layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers)
    if head != "fc":
        return he(nn.Sequential(OrderedDict(features=features) | cam_head(inputs, classes, head, width)))
    _, height, across = output_shape(features, (channels, *size))
    cells = min(height, 7), min(across, 7)
    units = scaled(4096, width)
    classifier = nn.Sequential(
        nn.Linear(inputs * math.prod(cells), units),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(units, units),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(units, classes),
    )
    pool = nn.AdaptiveAvgPool2d(cells)
    return he(nn.Sequential(OrderedDict(features=features, avgpool=pool, flatten=nn.Flatten(), classifier=classifier)))
