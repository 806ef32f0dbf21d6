"""ResNet: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, with torchvision's names.

In blocks with a bottleneck the 3×3 filters have the stride, as in torchvision ("v1.5"); in the paper the first 1×1 ones
have it. Where a block changes the shape its shortcut is a projection with batch norm (option B). The networks end in an
average and one linear layer, so that class maps are exact as they are.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from convscope.zoo.layers import he, scaled

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_WIDTHS = (64, 128, 256, 512)


class Basic(nn.Module):
    """Two 3×3 convolutions, added to their input and rectified."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        rectified: Tensor = self.relu(y + self.downsample(x))
        return rectified


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution with four times the channels, added to their input and rectified."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 4·width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        rectified: Tensor = self.relu(y + self.downsample(x))
        return rectified


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The projection beside a block that changes the shape; empty where the input itself is added."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def resnet(
    depth: int, classes: int = 1000, channels: int = 3, width: float = 1.0, stem: str = "paper"
) -> nn.Sequential:
    """ResNet with 18, 34, 50, 101 or 152 layers.

    11,689,512, 21,797,672, 25,557,032, 44,549,160 and 60,192,808 parameters.

    Args:
        stem: "paper" divides the size by 4, with 7×7 filters of stride 2 and a pool; "small" keeps it, for images of
            some 32 px: 3×3 filters of stride 1 and no pool, as in the paper's networks for CIFAR-10.
    """
    block = Basic if depth < 50 else Bottleneck
    inputs = scaled(_WIDTHS[0], width)
    kernel, stride = (7, 2) if stem == "paper" else (3, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(channels, inputs, kernel, stride, kernel // 2, bias=False)
    layers["bn1"] = nn.BatchNorm2d(inputs)
    layers["relu"] = nn.ReLU(inplace=True)
    if stem == "paper":
        layers["maxpool"] = nn.MaxPool2d(3, 2, 1)
    for stage, (units, count) in enumerate(zip(_WIDTHS, _BLOCKS[depth], strict=True), 1):
        units = scaled(units, width)
        blocks = []
        for number in range(count):
            blocks.append(block(inputs, units, 2 if number == 0 and stage > 1 else 1))
            inputs = units * block.expansion
        layers[f"layer{stage}"] = nn.Sequential(*blocks)
    layers |= OrderedDict(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(inputs, classes))
    return he(nn.Sequential(layers))
