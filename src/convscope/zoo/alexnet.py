"""AlexNet: with two towers, with one, and as AlexNet*-GAP.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012: conv2, conv4
and conv5 have two groups, because each of the paper's two towers (two GPUs) sees its own maps there; the first half of
the channels of a layer is the first tower. The responses of conv1 and conv2 are normalised over channels and then
pooled. The input is 227 px: with the 224 of the text the sizes of the paper do not come out.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014: one tower, without normalisation;
it is torchvision's ``alexnet``, with its names.

Zhou et al., "Learning deep features for discriminative localization", 2016: AlexNet*-GAP has two more convolutions, and
pools before it normalises, with Caffe's constants.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from convscope.zoo.heads import cam_head, fully_connected
from convscope.zoo.layers import caffe_lrn, conv_relu, he, lrn, output_shape, scaled

_WIDTHS = (96, 256, 384, 384, 256)
_CONVOLUTIONS = ((11, 4, 0, 1), (5, 1, 2, 2), (3, 1, 1, 1), (3, 1, 1, 2), (3, 1, 1, 2))  # kernel, stride, pad, groups
_ONE_TOWER = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))  # channels first


def alexnet(
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] = (227, 227),
    width: float = 1.0,
    head: str = "fc",
    norm: str = "lrn",
) -> nn.Sequential:
    """AlexNet of the paper; 60,965,224 parameters, and 5,719,400 with the head "gap" or "gmp".

    Args:
        norm: "lrn" as in the paper, or "batch": batch norm before each rectifier.
    """
    widths = [scaled(each, width) for each in _WIDTHS]
    layers = _trunk(channels, widths, norm)
    if head != "fc":
        return he(nn.Sequential(layers | cam_head(widths[-1], classes, head, width)))
    layers["pool5"] = nn.MaxPool2d(3, 2)
    inputs = math.prod(output_shape(nn.Sequential(layers), (channels, *size)))
    return he(nn.Sequential(layers | fully_connected(inputs, classes, scaled(4096, width))))


def alexnet_star_gap(classes: int = 1000, channels: int = 3, width: float = 1.0, norm: str = "lrn") -> nn.Sequential:
    """AlexNet*-GAP as it was released; 5,133,800 parameters. Its last maps are 11×11 for 227 px."""
    widths = [scaled(each, width) for each in (*_WIDTHS[:4], 384)]
    units = scaled(512, width)
    layers = _trunk(channels, widths, norm, caffe=True)
    layers |= OrderedDict(
        pool5=nn.MaxPool2d(3, 1),
        conv6=nn.Conv2d(widths[-1], units, 3, padding=1, groups=2),
        relu6=nn.ReLU(inplace=True),
        conv7=nn.Conv2d(units, units, 3, padding=1, groups=2),
        relu7=nn.ReLU(inplace=True),
        pool7=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout7=nn.Dropout(0.5),
        output=nn.Linear(units, classes),
    )
    return he(nn.Sequential(layers))


def alexnet_one(
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] = (224, 224),
    width: float = 1.0,
    head: str = "fc",
    norm: str = "none",
) -> nn.Sequential:
    """AlexNet with one tower; 61,100,840 parameters, and 5,855,016 with the head "gap" or "gmp".

    Args:
        norm: "none", or "batch": batch norm before each rectifier, and the layers have other numbers.
    """
    layers: list[nn.Module] = []
    inputs = channels
    for number, (units, kernel, stride, pad) in enumerate(_ONE_TOWER, 1):
        layers += conv_relu(inputs, inputs := scaled(units, width), kernel, stride, pad, norm)
        if number in (1, 2) or (number == 5 and head == "fc"):
            layers.append(nn.MaxPool2d(3, 2))
    features = nn.Sequential(*layers)
    if head != "fc":
        return he(nn.Sequential(OrderedDict(features=features) | cam_head(inputs, classes, head, width)))
    _, height, across = output_shape(features, (channels, *size))
    cells = min(height, 6), min(across, 6)
    units = scaled(4096, width)
    classifier = nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(inputs * math.prod(cells), units),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(units, units),
        nn.ReLU(inplace=True),
        nn.Linear(units, classes),
    )
    pool = nn.AdaptiveAvgPool2d(cells)
    return he(nn.Sequential(OrderedDict(features=features, avgpool=pool, flatten=nn.Flatten(), classifier=classifier)))


def _trunk(channels: int, widths: list[int], norm: str, caffe: bool = False) -> OrderedDict[str, nn.Module]:
    """The five convolutions, and the pools behind the first two."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (units, (kernel, stride, pad, groups)) in enumerate(zip(widths, _CONVOLUTIONS, strict=True), 1):
        batch = norm == "batch"
        layers[f"conv{number}"] = nn.Conv2d(channels, units, kernel, stride, pad, groups=groups, bias=not batch)
        if batch:
            layers[f"norm{number}"] = nn.BatchNorm2d(units)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        if number <= 2:
            layers |= _pooled(number, norm, caffe)
        channels = units
    return layers


def _pooled(number: int, norm: str, caffe: bool) -> dict[str, nn.Module]:
    """A pool, and the normalisation before it in the paper, behind it in Caffe's networks."""
    pool: dict[str, nn.Module] = {f"pool{number}": nn.MaxPool2d(3, 2)}
    if norm == "batch":
        return pool
    return pool | {f"norm{number}": caffe_lrn()} if caffe else {f"norm{number}": lrn()} | pool
