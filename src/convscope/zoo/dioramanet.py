"""The network of the diorama: a small AlexNet for images of 96 px, with one of two heads.

The trunk is AlexNet's (Krizhevsky et al. 2012): five convolutions with kernels of 7, 5, 3, 3, 3, and overlapping pools
behind the first two; batch norm (Ioffe and Szegedy 2015) takes the place of local response normalisation. The head is
global average pooling and one linear layer, so that class maps are exact (Zhou et al., "Learning deep features for
discriminative localization", 2016), or AlexNet's: a pool and three fully connected layers.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import nn

from convscope.zoo.layers import output_shape

WIDTHS = (48, 96, 128, 128, 128)


def dioramanet(classes: int = 24, channels: int = 3) -> nn.Sequential:
    """With a GAP head, for images of (channels, 96, 96) or larger; 531,912 parameters with 24 classes."""
    head = OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), output=nn.Linear(WIDTHS[-1], classes))
    return nn.Sequential(_trunk(channels) | head)


def dioramanet_fc(classes: int = 24, channels: int = 3, size: tuple[int, int] = (96, 96)) -> nn.Sequential:
    """With fully connected layers; 1,915,080 parameters with 24 classes and images of 96 px."""
    pool = nn.MaxPool2d(3, 2)
    with torch.device("meta"):  # the head draws its weights first: a recipe gives what it gave before
        maps = nn.Sequential(_trunk(channels) | OrderedDict(pool5=pool))
    head = OrderedDict(
        pool5=pool,
        flatten=nn.Flatten(),
        fc6=nn.Linear(math.prod(output_shape(maps, (channels, *size))), 384),
        relu6=nn.ReLU(),
        dropout6=nn.Dropout(0.5),
        fc7=nn.Linear(384, 384),
        relu7=nn.ReLU(),
        dropout7=nn.Dropout(0.5),
        output=nn.Linear(384, classes),
    )
    return nn.Sequential(_trunk(channels) | head)


def _trunk(channels: int) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (width, kernel) in enumerate(zip(WIDTHS, (7, 5, 3, 3, 3), strict=True), 1):
        stride = 2 if number == 1 else 1
        layers[f"conv{number}"] = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        if number <= 2:
            layers[f"pool{number}"] = nn.MaxPool2d(3, 2)
        channels = width
    return layers
