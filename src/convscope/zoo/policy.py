"""AlphaGo's policy network: Silver et al., "Mastering the game of Go with deep neural networks and tree search", 2016.

A network without pictures: 48 planes describe a board, relative to the player who is to move, and every position of the
board is a class. All maps are as large as the board; the last layer has one filter of one point, and a bias of its own
for each position.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from convscope.errors import NetworkError
from convscope.zoo.layers import conv_relu, he, scaled

_LAYERS, _FILTERS = 13, 192


class BoardBias(nn.Module):
    """A bias for each position of the board."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(positions))

    def forward(self, x: Tensor) -> Tensor:
        """One map (n, 1, h, w) to scores (n, h·w), rows first."""
        return x.flatten(1) + self.bias


def alphago_policy(
    classes: int | None = None, channels: int = 48, size: tuple[int, int] = (19, 19), width: float = 1.0
) -> nn.Sequential:
    """The network that was trained on moves of people; 3,882,793 parameters with the 192 filters of the match version.

    Args:
        classes: as many as the board has positions, or None.
        width: a factor on the filters; the paper also has 128, 256 and 384.

    Raises:
        NetworkError: there are more or fewer classes than positions.
    """
    positions = math.prod(size)
    if classes not in (None, positions):
        raise NetworkError(
            f"alphago-policy: its classes are the {positions} positions of a board of {size[0]} × {size[1]}, and "
            f"{classes} are named"
        )
    filters, inputs = scaled(_FILTERS, width), channels
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, _LAYERS):
        kernel = 5 if number == 1 else 3
        layers[f"conv{number}"], layers[f"relu{number}"] = conv_relu(inputs, filters, kernel, padding=kernel // 2)
        inputs = filters
    layers[f"conv{_LAYERS}"] = nn.Conv2d(filters, 1, 1, bias=False)
    layers["board"] = BoardBias(positions)
    return he(nn.Sequential(layers))
