"""Class maps of whole networks by their formulas, and those of pytorch-grad-cam beside them: a table of the docs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convscope
from convscope.attribution import GradCAM, GradCAMPlusPlus, LayerCAM
from spelled import RIGHT, WRONG, network

QUICK = {"DenseNet", "ResNet-18"}
PAGE = (Path(__file__).parents[1] / "docs" / "correctness.md").read_text()
# The module whose map is read.
MODULES = {
    "VGG-11": "features", "GoogLeNet": "inception5b", "ResNet-18": "layer4", "SqueezeNet": "features",
    "DenseNet": "features", "MobileNetV3": "features", "EfficientNet": "features",
}  # fmt: skip
METHODS = {"GradCAM": GradCAM, "GradCAMPlusPlus": GradCAMPlusPlus, "LayerCAM": LayerCAM}
# How its channels are weighed, by activations and gradients.
FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "GradCAM": lambda maps, slope: slope.mean((2, 3), keepdim=True),
    "GradCAMPlusPlus": lambda maps, slope: plus_plus(maps, slope, 0),
    "LayerCAM": lambda maps, slope: slope.clamp(min=0),
}

pytestmark = pytest.mark.usefixtures("one_thread", "torchvision")


def plus_plus(maps: Tensor, slope: Tensor, epsilon: float) -> Tensor:
    bottom = 2 * slope**2 + slope**3 * maps.sum((2, 3), keepdim=True) + epsilon
    alpha = torch.where((slope != 0) & (bottom != 0), slope**2 / bottom, 0)
    return (alpha * slope.clamp(min=0)).sum((2, 3), keepdim=True)


def differentiated(net: nn.Module, module: str, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """What a module gives, copied at once, and the gradient of the score by it."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[0].clone()

    with net.get_submodule(module).register_forward_hook(keep):
        score = net(image)[0, target]
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


def scaled(maps: Tensor) -> Tensor:
    maps = maps - maps.min()
    return maps / maps.max()


def resized(maps: Tensor, image: Tensor) -> Tensor:
    """(1, k, rows, columns), summed, rectified and enlarged as pytorch-grad-cam does, 0 to 1."""
    total = maps.sum(1, keepdim=True).clamp(min=0)
    return scaled(nn.functional.interpolate(total, size=image.shape[2:], mode="bilinear")[0, 0])


def by_grad_cam(method: str, net: nn.Module, module: str, image: Tensor, target: int) -> Tensor:
    library = pytest.importorskip("pytorch_grad_cam", reason="missing: the package grad-cam, an oracle")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with getattr(library, method)(net, [net.get_submodule(module)]) as found:
        return torch.from_numpy(found(image.clone(), [ClassifierOutputTarget(target)])[0])


def compared(name: str) -> Iterator[tuple[str, Tensor, Tensor, Tensor, Tensor]]:
    """By method: the truth, ours and theirs as they are drawn after a naive resize, and theirs by their formula."""
    net, image = network(name)
    net, image = net.float(), image.float()
    target = int(net(image).argmax())
    maps, slope = differentiated(copy.deepcopy(net), MODULES[name], image, target)
    preprocess = {"size": image.shape[2:], "channels": image.shape[1]}
    wrapped = convscope.wrap(copy.deepcopy(net), preprocess=preprocess)
    for method, kind in METHODS.items():
        truth = resized(FORMULAS[method](maps, slope) * maps, image)
        ours = scaled(kind(MODULES[name])(wrapped, image, target).on_image("naive")[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = by_grad_cam(method, net, MODULES[name], image, target)
        yield method, truth, ours, theirs, resized(plus_plus(maps, slope, 1e-6) * maps, image)


def row(name: str) -> str:
    cells = []
    for method, truth, ours, theirs, known in compared(name):
        cells.append(" ".join(RIGHT if near(found, truth) else WRONG for found in (ours, theirs)))
        if method == "GradCAMPlusPlus" and name != "DenseNet":
            assert near(theirs, known)  # it adds 1e-6 to the denominator
    return f"| {name} | `{MODULES[name]}` | {' | '.join(cells)} |"


def near(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) < 1e-3


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MODULES])
def test_the_table_in_the_docs(name: str) -> None:
    assert row(name) in PAGE
