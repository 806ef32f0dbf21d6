"""What stands behind the last feature maps: fully connected layers, or the surgery of the CAM paper.

Zhou et al., "Learning deep features for discriminative localization", 2016, take the fully connected layers off and
put a convolution, a global pool and one linear layer there, so that the class maps are exact: AlexNet-GAP, VGGnet-GAP,
GoogLeNet-GAP, and GoogLeNet-GMP with the largest instead of the mean response. The convolution is as in the paper; in
the networks that its authors released it has two groups, and so half the weights.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from convscope.zoo.layers import scaled

UNITS = 1024


def cam_head(inputs: int, classes: int, pool: str, width: float) -> OrderedDict[str, nn.Module]:
    """From maps (n, inputs, h, w) to (n, classes): conv 3×3 of 1024 · width units, ReLU, global pool, linear.

    Args:
        pool: "gap" for the mean of each map, "gmp" for its maximum.
    """
    units = scaled(UNITS, width)
    return OrderedDict(
        cam_conv=nn.Conv2d(inputs, units, 3, padding=1),
        cam_relu=nn.ReLU(inplace=True),
        cam_pool=nn.AdaptiveMaxPool2d(1) if pool == "gmp" else nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        output=nn.Linear(units, classes),
    )


def fully_connected(inputs: int, classes: int, units: int) -> OrderedDict[str, nn.Module]:
    """From maps with `inputs` numbers an image to (n, classes): fc6, fc7 and fc8 of AlexNet and ZFNet."""
    return OrderedDict(
        flatten=nn.Flatten(),
        fc6=nn.Linear(inputs, units),
        relu6=nn.ReLU(inplace=True),
        dropout6=nn.Dropout(0.5),
        fc7=nn.Linear(units, units),
        relu7=nn.ReLU(inplace=True),
        dropout7=nn.Dropout(0.5),
        fc8=nn.Linear(units, classes),
    )
