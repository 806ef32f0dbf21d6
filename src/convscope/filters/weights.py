"""The filters of a layer: the weights of a convolution or linear layer of a recorded graph.

Weights that the code computes itself, as a standardised convolution does, are computed again from the constants they
are made of; a batch norm that follows is not folded in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.constants import constant
from convscope.graph import Graph, LayerNode, Node
from convscope.preprocess import Preprocess

Floats = NDArray[np.float32]

LARGEST = 1 << 24  # numbers of a linear layer that sees the image, to be shown as pictures: 64 MiB
_COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}
# Operations after which a pixel is still a pixel and a channel the same channel.
_KEEPS_PIXELS = _COPIES | {"constant_pad_nd", "reflection_pad2d", "replication_pad2d", "slice"}
_FLATTENS = {"view", "_unsafe_view"}


@dataclass(frozen=True, eq=False)
class Weights:
    """All filters of a layer, one a unit.

    Args:
        slices: (units, m, kh, kw): one slice for each input channel that a unit sees; 1 × 1 where a linear layer does
            not see the image. Of a transposed convolution it is what the unit's input cells paint.
        channels: (units, m), which input channel each slice belongs to; with groups, units differ.
        first: whether the layer convolves the network's input itself, so that its weights live in pixel space.
    """

    slices: Floats
    channels: NDArray[np.int64]
    first: bool

    @property
    def norms(self) -> Floats:
        """(units, m): the Euclidean norm of every slice."""
        return norms(self.slices)

    def strongest(self, count: int) -> Weights:
        """Of each unit the `count` slices with the largest norm, by falling norm; of equal ones the first."""
        order = np.argsort(-np.nan_to_num(self.norms, nan=-1), axis=1, kind="stable")[:, :count]
        units = np.arange(len(order))[:, None]
        return Weights(self.slices[units, order], self.channels[units, order], self.first)


def norms(slices: Floats) -> Floats:
    """The Euclidean norm of slices (..., kh, kw), summed in double precision."""
    found: Floats = np.sqrt(np.square(slices, dtype=np.float64).sum((-2, -1))).astype(np.float32)
    return found


def weights(graph: Graph, layer: LayerNode) -> Weights | None:
    """The filters of a layer; None where they are no pictures (a kernel of three dimensions) or not to be had.

    A linear layer behind nothing but a flattening of the image has filters of the size of the image, unless these are
    more than 16 million numbers.
    """
    node = graph.nodes[layer.node]
    tensor = constant(graph, node.arguments[_weight_name(node)].value)
    if tensor is None:
        return None
    if node.op == "convolution":
        return _convolution(graph, node, tensor.detach().to("cpu", torch.float32).numpy())
    matrix = tensor if node.op == "linear" else tensor.T
    return _linear(graph, node, matrix.detach().to("cpu", torch.float32).numpy())


def in_pixels(found: Weights, preprocess: Preprocess) -> Weights:
    """Filters of a first layer as filters of colours: channels in RGB order, each divided by the preprocessing's
    standard deviation as METHODS 3.1 has it, so that they are comparable to the colours of an image.

    `channels` go on counting the network's own channels: those of a BGR network become 2, 1, 0.
    """
    std = np.asarray(preprocess.std, np.float32)
    std = np.broadcast_to(std, preprocess.planes) if len(std) == 1 else std
    slices, channels = found.slices / std[found.channels][:, :, None, None], found.channels
    if preprocess.channels == "BGR" and channels.shape[1] == 3:
        slices, channels = slices[:, ::-1], channels[:, ::-1]
    return Weights(np.ascontiguousarray(slices), np.ascontiguousarray(channels), found.first)


def _weight_name(node: Node) -> str:
    return "mat2" if node.op in {"addmm", "mm"} else "weight"


def _data_value(node: Node) -> int:
    name = {"addmm": "mat1", "mm": "self"}.get(node.op, "input")
    return int(node.arguments[name].value)


def _convolution(graph: Graph, node: Node, kernel: Floats) -> Weights | None:
    if kernel.ndim not in (3, 4):
        return None
    if kernel.ndim == 3:  # along one axis: drawn as a row
        kernel = kernel[:, :, None]
    groups = int(node.arguments["groups"])
    if node.arguments["transposed"]:  # (inputs, outputs / groups, kh, kw)
        parts = kernel.reshape(groups, -1, *kernel.shape[1:])
        kernel = parts.swapaxes(1, 2).reshape(-1, parts.shape[1], *kernel.shape[2:])
    units, seen = kernel.shape[:2]
    start = np.arange(units) // (units // groups) * seen
    channels = start[:, None] + np.arange(seen)
    return Weights(np.ascontiguousarray(kernel), channels, _is_image(graph, _data_value(node)))


def _linear(graph: Graph, node: Node, matrix: Floats) -> Weights:
    units, shape = len(matrix), graph.shapes[graph.input][1:]
    if matrix.size <= LARGEST and _is_flat_image(graph, _data_value(node)):
        return Weights(matrix.reshape(units, *shape), np.tile(np.arange(shape[0]), (units, 1)), first=True)
    channels = np.tile(np.arange(matrix.shape[1]), (units, 1))
    return Weights(np.ascontiguousarray(matrix)[:, :, None, None], channels, first=False)


def _is_image(graph: Graph, value: int) -> bool:
    """Whether a value is the network's input, copied, padded or cropped perhaps, with all its channels in order."""
    channels = graph.shapes[graph.input][1]
    while value != graph.input:
        node = graph.producers.get(value)
        if node is None or node.op not in _KEEPS_PIXELS or graph.shapes[value][1:2] != (channels,):
            return False
        value = node.inputs[0]
    return True


def _is_flat_image(graph: Graph, value: int) -> bool:
    """Whether a value is the whole input of each image as a row of numbers, in the order of its memory."""
    batch, *shape = graph.shapes[graph.input]
    if graph.shapes[value] != (batch, int(np.prod(shape))):
        return False
    while value != graph.input:
        node = graph.producers.get(value)
        if node is None or node.op not in _COPIES | _FLATTENS:
            return False
        value = node.inputs[0]
    return True
