"""Maps of one number a pixel from our methods, and from the same methods as Captum and pytorch-grad-cam have them.

What has a value for each channel becomes one number in the same way for all: parts of a score are summed, of gradients
and signals the largest magnitude is taken. Parameters of others are their defaults, except those that ours must share
to be the same method: windows, steps, baselines, samples and noise.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.attribution import (
    CAM,
    RISE,
    Attribution,
    AttributionMap,
    GradCAM,
    GradCAMPlusPlus,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    SmoothGrad,
    registered,
)
from convscope.network import Network
from convscope.zoo.library import import_torchvision

# What differs from the defaults, which are for images of 224 px: the windows, and how many passes RISE takes.
SIZED: dict[str, Attribution] = {"occlusion": Occlusion(16, 4), "rise": RISE(masks=1000, tolerance=0)}
SUMMED = {"gradient_times_input", "integrated_gradients"}  # parts of a score
LAYER = "relu5"  # of the networks of the diorama: the map that ours reads by itself


@dataclass(frozen=True, eq=False)
class Entry:
    """A method of a toolkit.

    Args:
        method: its name with us.
        maps: of prepared images (n, 3, h, w) and a class for each, (n, h, w).
    """

    method: str
    toolkit: str
    maps: Callable[[Network, Tensor, list[int]], Tensor]


def ours() -> list[Entry]:
    """Every registered method."""
    methods = {name: SIZED.get(name) or kind() for name, kind in registered().items()}
    return [
        Entry(name, "convscope", lambda network, images, classes, method=method: flat(method(network, images, classes)))
        for name, method in methods.items()
    ]


def resized() -> list[Entry]:
    """Our maps of the network's cells, put on the image by a plain resize: what the geometry alone is worth."""
    return [
        Entry(
            name,
            "plain resize",
            lambda network, images, classes, method=method: method(network, images, classes).on_image("naive"),
        )
        for name, method in (
            ("cam", CAM()),
            ("gradcam", GradCAM()),
            ("gradcam++", GradCAMPlusPlus()),
            ("layercam", LayerCAM()),
        )
    ]


def flat(found: AttributionMap) -> Tensor:
    """One number a pixel, (n, h, w), above zero where it speaks for the target.

    RISE says how a pixel compares with others: most say nothing, so that their median takes the place of zero.
    """
    if found.values.shape[1] > 1:
        return summed(found.values) if found.method.name in SUMMED else strongest(found.values)
    maps = found.on_image()
    if found.method.name == "rise":
        maps = maps - maps.flatten(1).median(1).values[:, None, None]
    return maps


def summed(values: Tensor) -> Tensor:
    """The sum over the channels of (n, c, h, w)."""
    return values.sum(1)


def strongest(values: Tensor) -> Tensor:
    """The largest magnitude among the channels of (n, c, h, w)."""
    return values.abs().amax(1)


# --- the others ------------------------------------------------------------------------------------------------------


def theirs() -> list[Entry]:
    """What Captum and pytorch-grad-cam have of our methods.

    Raises:
        ImportError: one of them is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_torchvision()  # also where its compiled part does not load
        import captum
        import pytorch_grad_cam
    names = f"Captum {captum.__version__}", "pytorch-grad-cam"
    found = [Entry(method, names[0], _quietly(maps)) for method, maps in _captum().items()]
    kinds = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "layercam": "LayerCAM", "scorecam": "ScoreCAM"}
    for method, kind in kinds.items():
        found.append(Entry(method, names[1], _quietly(_class_map(getattr(pytorch_grad_cam, kind)))))
    guided = pytorch_grad_cam.GuidedBackpropReLUModel
    return [*found, Entry("guided_backprop", names[1], _quietly(_guided(guided)))]


_Theirs = Callable[[nn.Module, Tensor, list[int]], Tensor]


def _captum() -> dict[str, _Theirs]:
    from captum import attr

    noise, path, window = SmoothGrad(), IntegratedGradients(), SIZED["occlusion"]
    assert isinstance(window, Occlusion)
    assert path.baseline == "black"
    hidden = {"sliding_window_shapes": (3, window.window, window.window), "strides": (3, window.stride, window.stride)}

    def smooth(net: nn.Module, image: Tensor, classes: list[int]) -> Tensor:
        deviation = noise.level * float(image.max() - image.min())
        options = {"nt_type": "smoothgrad", "nt_samples": noise.samples, "stdevs": deviation}
        found: Tensor = attr.NoiseTunnel(attr.Saliency(net)).attribute(image, target=classes, **options)
        return found

    def class_map(net: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
        found = attr.LayerGradCam(net, getattr(net, LAYER)).attribute(images, classes)
        placed: Tensor = attr.LayerAttribution.interpolate(found, tuple(images.shape[2:]), "bilinear")
        return placed[:, 0]

    return {
        "saliency": lambda net, x, c: strongest(attr.Saliency(net).attribute(x, c)),
        "gradient_times_input": lambda net, x, c: summed(attr.InputXGradient(net).attribute(x, c)),
        "smoothgrad": _one_by_one(lambda net, x, c: strongest(smooth(net, x, c))),
        "integrated_gradients": lambda net, x, c: summed(
            attr.IntegratedGradients(net).attribute(x, baselines=_black(x), target=c, n_steps=path.steps)
        ),
        "deconvnet": lambda net, x, c: strongest(attr.Deconvolution(net).attribute(x, c)),
        "guided_backprop": lambda net, x, c: strongest(attr.GuidedBackprop(net).attribute(x, c)),
        "gradcam": class_map,
        "guided_gradcam": lambda net, x, c: strongest(attr.GuidedGradCam(net, getattr(net, LAYER)).attribute(x, c)),
        "occlusion": _one_by_one(
            lambda net, x, c: attr.Occlusion(net).attribute(x, target=c, perturbations_per_eval=32, **hidden)[:, 0]
        ),
    }


def _black(images: Tensor) -> float:
    """Black as the networks of the diorama take it."""
    return (0 - 0.5) / 0.25


def _class_map(kind: Any) -> _Theirs:
    def maps(net: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with kind(model=net, target_layers=[getattr(net, LAYER)]) as method:
            return torch.from_numpy(method(images, [ClassifierOutputTarget(index) for index in classes]))

    return _one_by_one(maps) if kind.__name__ == "ScoreCAM" else maps  # which keeps all masked images of a batch


def _guided(kind: Any) -> _Theirs:
    def maps(net: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
        found = kind(model=net, device="cpu")(images, target_category=classes[0])
        return strongest(torch.from_numpy(found).permute(2, 0, 1)[None])

    return _one_by_one(maps)


def _one_by_one(maps: _Theirs) -> _Theirs:
    return lambda net, images, classes: torch.cat(
        [maps(net, image[None], [index]) for image, index in zip(images, classes, strict=True)]
    )


def _quietly(maps: _Theirs) -> Callable[[Network, Tensor, list[int]], Tensor]:
    """In batches of 16, without warnings and progress bars, on a copy of the network: not all leave it as it was."""

    def run(network: Network, images: Tensor, classes: list[int]) -> Tensor:
        net = copy.deepcopy(network.module).eval()
        with warnings.catch_warnings(), _no_progress():
            warnings.simplefilter("ignore")
            parts = [
                maps(net, images[start : start + 16].clone(), classes[start : start + 16]).detach()
                for start in range(0, len(images), 16)
            ]
        return torch.cat(parts).float()

    return run


@contextmanager
def _no_progress() -> Iterator[None]:
    bar = sys.modules["pytorch_grad_cam.score_cam"].tqdm  # type: ignore[attr-defined]
    before, bar.tqdm = bar.tqdm, lambda steps: steps
    try:
        yield
    finally:
        bar.tqdm = before
