"""NIN: Lin, Chen and Yan, "Network in network", 2014, with the geometry of its network for ImageNet in Caffe.

Behind each convolution stand two of one pixel, which the paper calls cascaded cross-channel parametric pooling (cccp).
The last has one map a class, rectified like all others, and the logit of a class is the mean of its map: the map is the
class activation map, and it is nowhere negative. There is no fully connected layer.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from convscope.zoo.layers import he, scaled

_BLOCKS = ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (1024, 3, 1, 1))  # channels, kernel, stride, pad


def nin(classes: int = 1000, channels: int = 3, width: float = 1.0, norm: str = "none") -> nn.Sequential:
    """NIN; 7,595,176 parameters. The class maps are 6×6 for 224 px and for 227 px.

    Args:
        norm: "none" as in the paper, or "batch": batch norm before each rectifier.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = channels
    for block, (units, kernel, stride, pad) in enumerate(_BLOCKS, 1):
        units = scaled(units, width)
        last = classes if block == len(_BLOCKS) else units
        layers |= _convolution(f"conv{block}", inputs, units, (kernel, stride, pad), norm)
        layers |= _convolution(f"cccp{2 * block - 1}", units, units, (1, 1, 0), norm)
        layers |= _convolution(f"cccp{2 * block}", units, last, (1, 1, 0), norm)
        if block < len(_BLOCKS):
            layers[f"pool{block}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        if block == len(_BLOCKS) - 1:
            layers["dropout"] = nn.Dropout(0.5)
        inputs = last
    layers |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    return he(nn.Sequential(layers))


def _convolution(
    name: str, inputs: int, units: int, geometry: tuple[int, int, int], norm: str
) -> OrderedDict[str, nn.Module]:
    batch = norm == "batch"
    layers: OrderedDict[str, nn.Module] = OrderedDict({name: nn.Conv2d(inputs, units, *geometry, bias=not batch)})
    if batch:
        layers[f"{name}_norm"] = nn.BatchNorm2d(units)
    layers[f"{name}_relu"] = nn.ReLU(inplace=True)
    return layers
