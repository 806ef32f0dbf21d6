"""Every method of attribution on every odd network against its formula, on passes of the slow definition.

The deconvnet and guided backpropagation are in `test_backward_rules`, replayed passes in `test_replay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import Tensor

from convscope.attribution import (
    CAM,
    RISE,
    Attribution,
    GradCAM,
    GradCAMPlusPlus,
    GradientTimesInput,
    GuidedBackprop,
    GuidedGradCAM,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
)
from convscope.graph import LayerNode
from convscope.recorder import record
from explaining import odd_network
from odd_nets import ODD_NETS, OddNet
from slow_gradients import slow_signals, slow_values
from test_attribution_laws import POOLED

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Slow:
    """A neuron of a network's last layer, unit 1 or 0 in the middle of its map, run one operation at a time."""

    odd: OddNet

    def __post_init__(self) -> None:
        self.network = odd_network(self.odd)
        self.network.module.double()
        self.image = self.odd.images(1, seed=2).double()
        self.graph = record(self.network.module, self.image)
        self.layers = self.graph.layers()
        self.layer = self.layers[-1]
        self.place = tuple(size // 2 for size in self.layer.shape[1:])
        self.unit = min(1, self.layer.units - 1)
        at = f"@{','.join(map(str, self.place))}" if self.place else ""
        self.target = f"{self.layer.address}:{self.unit}{at}"

    def score(self, image: Tensor) -> Tensor:
        return self.read(self.layer, slow_values(self.graph, image))[(0, self.unit, *self.place)]

    def read(self, layer: LayerNode, values: dict[int, Tensor]) -> Tensor:
        return values[layer.response].movedim(layer.channel, 1)

    def signals(self, values: dict[int, Tensor]) -> dict[int, Tensor]:
        start = torch.zeros_like(self.read(self.layer, values))
        start[(0, self.unit, *self.place)] = 1
        return slow_signals(self.graph, values, {self.layer.response: start.movedim(1, self.layer.channel)}, "gradient")

    def gradient(self, image: Tensor) -> Tensor:
        return self.signals(slow_values(self.graph, image)).get(self.graph.input, torch.zeros_like(image))

    @cached_property
    def maps(self) -> tuple[str, Tensor, Tensor] | None:
        """The first layer that is a map and not the last layer itself: its name, activations and gradients."""
        values = slow_values(self.graph, self.image)
        signals = self.signals(values)
        for layer in self.layers[:-1]:
            if len(layer.shape) == 3 and layer.response in signals:
                return str(layer.address), self.read(layer, values), self.read(layer, signals)
        return None

    def values(self, method: Attribution) -> Tensor:
        return method(self.network, self.image, self.target).values


def close(found: Tensor, expected: Tensor, message: str) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6 * scale + 1e-12, msg=message)


@every_odd_net
def test_methods_that_differentiate(odd: OddNet) -> None:
    slow = Slow(odd)
    image, gradient = slow.image, slow.gradient(slow.image)
    close(slow.values(Saliency()), gradient.abs().amax(1, keepdim=True), "saliency")
    close(slow.values(SmoothGrad(samples=2, level=0)), gradient.abs().amax(1, keepdim=True), "smoothgrad")
    close(slow.values(GradientTimesInput()), gradient * image, "gradient times input")
    found = IntegratedGradients(2, "zero", "midpoint")(slow.network, image, slow.target)
    expected = image * (slow.gradient(image / 4) + slow.gradient(image * 3 / 4)) / 2
    close(found.values, expected, "integrated gradients")
    difference = slow.score(image) - slow.score(torch.zeros_like(image))
    torch.testing.assert_close(found.evidence["difference"][0], difference)
    torch.testing.assert_close(found.evidence["completeness gap"][0], expected.sum() - difference)


@every_odd_net
def test_methods_that_weigh_a_map_by_gradients(odd: OddNet) -> None:
    slow = Slow(odd)
    if slow.maps is None:
        return
    layer, maps, gradient = slow.maps
    close(
        slow.values(GradCAM(layer)),
        (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).clamp(min=0),
        "gradcam",
    )
    close(slow.values(LayerCAM(layer)), (gradient.clamp(min=0) * maps).sum(1, keepdim=True).clamp(min=0), "layercam")
    bottom = 2 * gradient**2 + gradient**3 * maps.sum((2, 3), keepdim=True)
    alpha = torch.where((gradient != 0) & (bottom != 0), gradient**2 / bottom, 0)
    weights = (alpha * gradient.clamp(min=0)).sum((2, 3), keepdim=True)
    close(slow.values(GradCAMPlusPlus(layer)), (weights * maps).sum(1, keepdim=True).clamp(min=0), "gradcam plus plus")
    coarse, fine = GradCAM(layer)(slow.network, slow.image, slow.target), slow.values(GuidedBackprop())
    close(slow.values(GuidedGradCAM(layer)), (coarse.on_image()[:, None] * fine).double(), "guided gradcam")


@every_odd_net
def test_methods_that_hide_parts_of_the_image(odd: OddNet) -> None:
    slow = Slow(odd)
    method = RISE(masks=4, cells=2, visible=0.7, tolerance=0)
    masks = torch.cat(list(method.draw(slow.image[0], 3)))  # so few are averaged as they are
    scores = torch.stack([slow.score(slow.image * mask) for mask in masks])
    close(slow.values(method)[0, 0], torch.einsum("m,mhw->hw", scores, masks) / masks.sum(0), "rise")
    height, width = odd.shape[1:]
    drops, counts = (torch.zeros(height, width).double() for _ in range(2))
    whole = slow.score(slow.image)
    for y in sorted({*range(0, height - 4, 5), height - 5}):
        for x in sorted({*range(0, width - 4, 5), width - 5}):
            hidden = slow.image.clone()
            hidden[..., y : y + 5, x : x + 5] = 0
            drops[y : y + 5, x : x + 5] += whole - slow.score(hidden)
            counts[y : y + 5, x : x + 5] += 1
    close(slow.values(Occlusion(window=5, stride=5))[0, 0], drops / counts, "occlusion")


@every_odd_net
def test_methods_that_hide_by_maps(odd: OddNet) -> None:
    slow = Slow(odd)
    if slow.maps is None:
        return
    layer, maps, _ = slow.maps
    found = ScoreCAM(layer)(slow.network, slow.image, slow.target)
    rows, columns = (torch.from_numpy(matrix) for matrix in found.grid.placement())
    masks = rows @ maps[0] @ columns.T
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    varies = ((high - low) > 1e-9)[:, 0, 0]
    masks = ((masks - low) / (high - low))[varies]
    scores = torch.stack([slow.score(slow.image * mask) for mask in masks])
    close(found.values[0, 0], torch.einsum("m,mhw->hw", scores.softmax(0), maps[0, varies]).clamp(min=0), "scorecam")


@pytest.mark.parametrize("name", sorted(POOLED))
def test_class_maps(name: str) -> None:
    """Their mean is the logit without the bias; of a network that pools by maximum they have its weights."""
    slow = Slow(ODD_NETS[name])
    found = CAM()(slow.network, slow.image, slow.target)
    values = slow_values(slow.graph, slow.image)
    if name in {"dict_output", "functional_layers"}:
        layer = slow.layers[-2]
        weights = slow.read(layer, slow.signals(values)).sum((2, 3), keepdim=True)
        close(found.values, (weights * slow.read(layer, values)).sum(1, keepdim=True), "cam")
        return
    mean = found.values.double().mean()
    torch.testing.assert_close(mean + found.evidence["bias"][0], slow.score(slow.image), rtol=1e-5, atol=1e-6)
