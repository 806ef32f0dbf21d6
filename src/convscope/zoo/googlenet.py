"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2015, as in the paper and as in torchvision.

The paper's has biases, local response normalisation in the stem (Caffe's constants), and 5×5 filters in the third
branch of its inception modules. Torchvision's has batch norm everywhere, 3×3 filters in the third branch, a last pool
of 2×2, and its names, so that weights go both ways. Their fields and maps differ, and are not to be compared.

The auxiliary classifiers of the paper, which are only for training, are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convscope.zoo.heads import cam_head
from convscope.zoo.layers import caffe_lrn, he, scaled

# Channels of the branches: 1×1; 1×1 and 3×3; 1×1 and 5×5; 1×1 behind the pool.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """Four branches side by side, joined in the order 1×1, 3×3, 5×5, pool."""

    def __init__(self, inputs: int, widths: Sequence[int], batch: bool, kernel: int) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = widths
        self.branch1 = _conv(inputs, one, 1, batch)
        self.branch2 = nn.Sequential(_conv(inputs, reduce3, 1, batch), _conv(reduce3, three, 3, batch))
        self.branch3 = nn.Sequential(_conv(inputs, reduce5, 1, batch), _conv(reduce5, five, kernel, batch))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(inputs, pool, 1, batch))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, channels of all branches, h, w)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def googlenet(
    classes: int = 1000, channels: int = 3, width: float = 1.0, head: str = "fc", norm: str = "lrn"
) -> nn.Sequential:
    """GoogLeNet of the paper; 6,998,552 parameters.

    Args:
        head: "fc" is the paper's, an average and one linear layer; "gap" and "gmp" are those of the CAM paper behind
            module 4e, with maps of 14×14 for 224 px and 12,179,752 parameters.
        norm: "lrn", or "batch": batch norm before each rectifier.
    """
    layers, outputs = _trunk(channels, width, norm, kernel=5)
    if head == "fc":
        return he(nn.Sequential(layers | _head(outputs, classes, 0.4)))
    for name in ("maxpool4", "inception5a", "inception5b"):
        del layers[name]
    outputs = sum(scaled(each, width) for each in _joined("4e"))
    return he(nn.Sequential(layers | cam_head(outputs, classes, head, width)))


def googlenet_torchvision(classes: int = 1000, channels: int = 3, width: float = 1.0) -> nn.Sequential:
    """GoogLeNet of torchvision without auxiliary classifiers; 6,624,904 parameters.

    Its trained weights want inputs with mean and standard deviation 0.5, as ``transform_input=True`` makes them there.
    """
    layers, outputs = _trunk(channels, width, "batch", kernel=3)
    layers["maxpool4"] = nn.MaxPool2d(2, ceil_mode=True)
    return he(nn.Sequential(layers | _head(outputs, classes, 0.2)))


def _trunk(channels: int, width: float, norm: str, kernel: int) -> tuple[OrderedDict[str, nn.Module], int]:
    """Stem and inception modules, and the number of channels that they give."""
    batch = norm == "batch"
    first, third = scaled(64, width), scaled(192, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = _conv(channels, first, 7, batch, stride=2)
    layers["maxpool1"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    if not batch:
        layers["norm1"] = caffe_lrn()
    layers["conv2"] = _conv(first, first, 1, batch)
    layers["conv3"] = _conv(first, third, 3, batch)
    if not batch:
        layers["norm2"] = caffe_lrn()
    layers["maxpool2"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    inputs = third
    for name, widths in _MODULES.items():
        if name in ("4a", "5a"):
            layers[f"maxpool{int(name[0]) - 1}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        layers[f"inception{name}"] = Inception(inputs, [scaled(each, width) for each in widths], batch, kernel)
        inputs = sum(scaled(each, width) for each in _joined(name))
    return layers, inputs


def _joined(name: str) -> tuple[int, int, int, int]:
    """The channels that the branches of a module give."""
    one, _, three, _, five, pool = _MODULES[name]
    return one, three, five, pool


def _conv(inputs: int, units: int, kernel: int, batch: bool, stride: int = 1) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(inputs, units, kernel, stride, kernel // 2, bias=not batch)
    if batch:
        layers["bn"] = nn.BatchNorm2d(units, eps=1e-3)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def _head(inputs: int, classes: int, dropout: float) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(dropout),
        fc=nn.Linear(inputs, classes),
    )
