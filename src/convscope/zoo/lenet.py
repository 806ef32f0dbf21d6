"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

The modern reading: C3 sees all maps of S2, the pools average without weights of their own, and the output is linear
instead of radial basis functions. Tanh and average pooling are as in the paper, rectifiers and max pooling are not.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from convscope.zoo.layers import output_shape


def lenet5(classes: int = 10, channels: int = 1, size: tuple[int, int] = (32, 32)) -> nn.Sequential:
    """LeNet-5; 61,706 parameters with one channel, ten classes and images of 32 px, of which C5 leaves one position."""
    maps = OrderedDict[str, nn.Module](
        c1=nn.Conv2d(channels, 6, 5),
        tanh1=nn.Tanh(),
        s2=nn.AvgPool2d(2),
        c3=nn.Conv2d(6, 16, 5),
        tanh3=nn.Tanh(),
        s4=nn.AvgPool2d(2),
        c5=nn.Conv2d(16, 120, 5),
        tanh5=nn.Tanh(),
    )
    inputs = math.prod(output_shape(nn.Sequential(maps), (channels, *size)))
    head = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(), f6=nn.Linear(inputs, 84), tanh6=nn.Tanh(), output=nn.Linear(84, classes)
    )
    return nn.Sequential(maps | head)
