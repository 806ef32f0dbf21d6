"""What hiding parts of an image does to a class, to the label and to the strongest map [zeiler2014visualizing].

The occlusion figure of Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, as numbers:
the image, the activation of the strongest map of a layer, its projection, the probability of a class, and the most
likely label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from convscope import gradients
from convscope.address import Unit, parse_layer
from convscope.attribution.base import AttributionMap
from convscope.attribution.deconvnet import Deconvnet
from convscope.attribution.occlusion import Occlusion, occluded, scores_of
from convscope.errors import AttributionError
from convscope.geometry import Grid
from convscope.graph import Graph, LayerNode
from convscope.network import Network
from convscope.recorder import record
from convscope.replay import Replay, Values
from convscope.scored import ClassTarget
from convscope.targets import Class, understand

GREY = Occlusion(window=50, stride=8)


@dataclass(frozen=True, eq=False)
class Columns:
    """The five columns of the figure for one image; the maps have a cell for each window.

    Args:
        image: (c, h, w), as the network takes it.
        windows: where the cells lie.
        unit: the map of the layer with the largest sum over positions on the whole image.
        activation: that sum where a window hides the image, (rows, columns).
        projection: of the unit's strongest position, by a deconvnet.
        target: the class.
        probability: of that class, (rows, columns); low where what is hidden matters.
        label: the most likely class, (rows, columns) int64.
        whole: activation, probability and label of the whole image.
    """

    image: Tensor
    windows: Grid
    unit: Unit
    activation: Tensor
    projection: AttributionMap
    target: str
    probability: Tensor
    label: Tensor
    whole: tuple[float, float, int]


def zeiler_fergus(
    network: Network,
    image: Tensor,
    which: int | str | None = None,
    layer: str | None = None,
    occlusion: Occlusion = GREY,
) -> Columns:
    """What hiding parts of an image (c, h, w) does to a class, to the label and to the strongest map of a layer.

    Args:
        which: the class, by index or name; the true one, for a figure like theirs. Default: the predicted one.
        layer: whose strongest map is taken. Default: the last convolution.
        occlusion: windows and fill; they do not give theirs.

    Raises:
        TargetError: there is no such class, or it has no probability.
        AddressError: there is no such layer.
        AttributionError: the windows do not fit the image, or the layer has no maps.
    """
    images = image[None].to(network.device)
    windows, colour = occlusion.windows(*image.shape[1:]), occlusion.colour(network.preprocess)
    with gradients.untouched(network), torch.no_grad():
        graph = record(network.module, images)
        node = _with_maps(graph, layer)
        target = understand(Class(which, "probability"), network, graph, 1)[0]
        passed = gradients.run(network, graph, images, [target], keep=[node.response])
        target = passed.targets[0]
        assert isinstance(target, ClassTarget)
        unit = int(passed.seen.values[node.response][0].sum((1, 2)).argmax())
        (classes,) = target.ends(graph)

        def measure(values: Values) -> Tensor:
            labels = values[classes].flatten(1).argmax(1)
            sums = values[node.response][:, unit].double().sum((1, 2))
            return torch.stack([sums, scores_of(values, target, passed, graph).double(), labels.double()], 1)

        replay = Replay(network.module, graph, dict.fromkeys([classes, node.response]))
        found = occluded(replay, images[0], windows, colour, measure).cpu()
        seen = dict(passed.seen.values)
        if target.value is None:
            seen[classes] = tree_flatten(passed.seen.output)[0][0]
        activation, probability, label = measure(seen)[0].tolist()
    projection = Deconvnet()(network, images, Unit(node.address, unit))
    whole = activation, probability, int(label)
    return Columns(
        image, windows, Unit(node.address, unit), found[..., 0], projection, str(target), found[..., 1],
        found[..., 2].long(), whole,
    )  # fmt: skip


def _with_maps(graph: Graph, name: str | None) -> LayerNode:
    """The layer of that name, or the last convolution."""
    if name is None:
        maps = [each for each in graph.layers() if len(each.shape) == 3 and each.response in graph.dependent]
        if not maps:
            raise AttributionError("the network has no convolution, so there are no maps to look at")
        return maps[-1]
    node = graph.layer(parse_layer(name))
    if len(node.shape) != 3:
        raise AttributionError(f"layer {name} has no maps, its responses are of shape {node.shape}; give a convolution")
    return node
