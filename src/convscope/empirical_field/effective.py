"""The effective receptive field: how much each pixel moves the central cell of a layer [luo2016understanding].

Luo, Li, Urtasun, Zemel, "Understanding the effective receptive field in deep convolutional neural networks", NIPS 2016:
a gradient of 1 at the central position and 0 elsewhere, taken back to the image. The magnitude is averaged over images
and summed over channels; signed gradients would average to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convscope import gradients
from convscope.graph import Graph, LayerNode
from convscope.network import Network


def central(layer: LayerNode) -> tuple[int, int]:
    """Row and column of the central cell of a layer's map."""
    _, height, width = layer.shape
    return height // 2, width // 2


def gradient_sums(network: Network, graph: Graph, layers: Sequence[LayerNode], at: str, images: Tensor) -> list[Tensor]:
    """Of each layer the magnitude of the gradient of its central cell, summed over units, at each pixel (h, w) float64;
    the sum over images (n, c, h, w) and their channels.
    """
    values = dict.fromkeys(layer.value(at) for layer in layers)
    with gradients.untouched(network):
        forward = gradients.run(network, graph, images, (), keep=tuple(values))
        return [_summed(forward, layer, at) for layer in layers]


def _summed(forward: gradients.Pass, layer: LayerNode, at: str) -> Tensor:
    value = layer.value(at)
    seed = torch.zeros_like(forward.seen.values[value])
    row, column = central(layer)
    seed.movedim(layer.channel, 1)[:, :, row, column] = 1
    return forward.pulled(value, seed).double().abs().sum((0, 1)).cpu()
