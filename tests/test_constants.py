"""Values that do not depend on the image: computed again, or not to be had, and never wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.constants import constant
from convscope.graph import Graph
from convscope.recorder import record


def weight_of(module: nn.Module, shape: tuple[int, ...] = (1, 2, 6, 6)) -> tuple[Graph, Tensor | None]:
    graph = record(module.eval(), torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    return graph, constant(graph, graph.nodes[graph.layers()[0].node].arguments["weight"].value)


def test_a_parameter_is_itself() -> None:
    conv = nn.Conv2d(2, 3, 3)
    torch.testing.assert_close(weight_of(conv)[1], conv.weight.detach())


def test_a_standardised_weight_is_computed_again() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(images, centred / centred.std((1, 2, 3), keepdim=True))

    conv = Standardised(2, 3, 3)
    flat = conv.weight.detach().flatten(1)
    expected = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    torch.testing.assert_close(weight_of(conv)[1], expected.view_as(conv.weight))


def test_a_batch_norm_of_weights_leaves_its_running_statistics() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.rand(1, 3, 18))
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("var", torch.ones(3))

        def forward(self, images: Tensor) -> Tensor:
            kernel = F.batch_norm(self.kernel, self.mean, self.var, training=True, momentum=0.5)
            return F.conv2d(images, kernel.view(3, 2, 3, 3))

    module = Normed()
    graph, _ = weight_of(module)
    before = module.mean.clone()
    found = constant(graph, graph.nodes[graph.layers()[0].node].arguments["weight"].value)
    assert found is not None
    torch.testing.assert_close(module.mean, before, rtol=0, atol=0)


def test_what_was_written_in_place_is_not_made_up() -> None:
    class Written(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            kernel = torch.zeros(1, 2, 3, 3)
            kernel[:, 0] = 1
            return F.conv2d(images, kernel)

    assert weight_of(Written())[1] is None


def test_only_the_shape_of_the_image_counts() -> None:
    class Shaped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.conv2d(images, torch.ones_like(images[:1, :, :3, :3]) * 2)

    torch.testing.assert_close(weight_of(Shaped())[1], torch.full((1, 2, 3, 3), 2.0))
