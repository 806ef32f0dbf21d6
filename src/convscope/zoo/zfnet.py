"""ZFNet: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.

The sizes that the paper prints (110, 55, 26, 13, 6 for 224 px) come out with padding by 1 in the first convolution,
none in the second, and first pools that round up. There are no towers. The paper's contrast normalisation across maps,
behind the first two pools, is read as AlexNet's; its constants are not in the paper.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from convscope.zoo.heads import fully_connected
from convscope.zoo.layers import he, lrn, output_shape, scaled

WIDTHS = (96, 256, 384, 384, 256)
WIDE = (96, 256, 512, 1024, 512)  # the variant (b) of the paper
_CONVOLUTIONS = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, pad


def zfnet(
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] = (224, 224),
    width: float = 1.0,
    norm: str = "lrn",
    widths: tuple[int, ...] = WIDTHS,
) -> nn.Sequential:
    """ZFNet; 62,357,608 parameters, and 107,627,624 with the widths `WIDE`.

    Args:
        norm: "lrn" for the contrast normalisation, or "batch": batch norm before each rectifier.
        widths: of the five convolutions, before the factor `width`.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, batch = channels, norm == "batch"
    for number, (units, (kernel, stride, pad)) in enumerate(zip(widths, _CONVOLUTIONS, strict=True), 1):
        units = scaled(units, width)
        layers[f"conv{number}"] = nn.Conv2d(inputs, units, kernel, stride, pad, bias=not batch)
        if batch:
            layers[f"norm{number}"] = nn.BatchNorm2d(units)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        if number <= 2:
            layers[f"pool{number}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        if number <= 2 and not batch:
            layers[f"norm{number}"] = lrn()
        inputs = units
    layers["pool5"] = nn.MaxPool2d(3, 2)
    numbers = math.prod(output_shape(nn.Sequential(layers), (channels, *size)))
    return he(nn.Sequential(layers | fully_connected(numbers, classes, scaled(4096, width))))
