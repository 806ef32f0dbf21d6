"""Attributions against Captum: equal where it is right, and where it is silently wrong ours are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import convscope
from convscope.attribution import (
    Deconvnet,
    GradCAM,
    GradientTimesInput,
    GuidedBackprop,
    GuidedGradCAM,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
)
from convscope.errors import AttributionError
from convscope.network import Network
from explaining import classifier, images_of, network_of
from odd_nets import ODD_NETS, Net, conv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def captum() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("captum.attr", reason="missing: the package captum, an oracle")


def quiet(function: Callable[[], Tensor]) -> Tensor:
    with warnings.catch_warnings():  # it warns of what it does to the network
        warnings.simplefilter("ignore")
        return function().detach()


def modules(kind: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """All rectifiers are modules, each used once, none in place: what Captum is made for."""
    return classifier(
        conv(3, 4), nn.BatchNorm2d(4), kind(), nn.MaxPool2d(3, 2), conv(4, 5, groups=1), kind(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(30, 8), kind(), nn.Linear(8, 3),
    )  # fmt: skip


SHAPE = (3, 9, 14)


def oracles(captum: Any, module: nn.Module, images: Tensor, targets: Any, std: Tensor) -> dict[str, tuple[Any, Tensor]]:
    """By name our method, and what Captum gives; for inputs of which black is `images - images`'s baseline, zero."""
    lines = {"gausslegendre": "gausslegendre", "riemann_middle": "midpoint"}
    found: dict[str, tuple[Any, Callable[[], Tensor]]] = {
        "saliency": (
            Saliency(signed=True),
            lambda: captum.Saliency(module).attribute(images, targets, abs=False) / std,
        ),
        "input times gradient": (
            GradientTimesInput(),
            lambda: captum.InputXGradient(module).attribute(images, targets),
        ),
        "guided": (GuidedBackprop(), lambda: captum.GuidedBackprop(module).attribute(images, targets)),
        "deconvnet": (Deconvnet(), lambda: captum.Deconvolution(module).attribute(images, targets)),
    }
    for theirs, ours in lines.items():
        found[theirs] = (
            IntegratedGradients(steps=7, quadrature=ours, baseline="zero"),
            lambda theirs=theirs: captum.IntegratedGradients(module).attribute(
                images, target=targets, n_steps=7, method=theirs, baselines=0
            ),
        )
    return {name: (method, quiet(theirs)) for name, (method, theirs) in found.items()}


def test_methods_are_those_of_captum_where_all_rectifiers_are_modules(captum: Any) -> None:
    module, images = modules(), images_of(3, *SHAPE)
    for name, (method, theirs) in oracles(captum, module, images, [2, 0, 1], torch.ones(1)).items():
        found = method(network_of(module, SHAPE), images, [2, 0, 1])
        torch.testing.assert_close(found.values, theirs.float(), msg=name)
        assert theirs.any()


@pytest.mark.parametrize("kind", [nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Tanh, nn.ReLU6])
def test_gradients_are_those_of_captum_for_other_non_linearities(captum: Any, kind: type[nn.Module]) -> None:
    """Which has no deconvnet or guided rule for them."""
    module, images = modules(kind), images_of(2, *SHAPE)
    for name, (method, theirs) in oracles(captum, module, images, 1, torch.ones(1)).items():
        if name not in {"guided", "deconvnet"}:
            torch.testing.assert_close(method(network_of(module, SHAPE), images, 1).values, theirs.float(), msg=name)


def test_occlusion_is_that_of_captum_where_the_stride_divides(captum: Any) -> None:
    """Elsewhere the last window of Captum is smaller."""
    module, images = modules(), images_of(2, 3, 10, 14)
    network = network_of(classifier(*module[:7], nn.Flatten(), nn.Linear(30, 3)), (3, 10, 14))
    occlusion = captum.Occlusion(network.module)
    for window, stride in ((4, 2), (2, 2), (10, 1)):
        theirs = quiet(lambda w=window, s=stride: occlusion.attribute(images, (3, w, w), (3, s, s), target=2))
        assert bool((theirs == theirs[:, :1]).all())
        found = Occlusion(window, stride)(network, images, 2)
        torch.testing.assert_close(found.values, theirs[:, :1].float())


def test_class_maps_are_those_of_captum(captum: Any) -> None:
    """Its Grad-CAM with the rectifier that it leaves out by itself; its guided one under the naive resize."""
    module, images = modules(), images_of(3, *SHAPE)
    network = network_of(module, SHAPE)
    found = GradCAM("4")(network, images, 1)
    theirs = quiet(lambda: captum.LayerGradCam(module, module[5]).attribute(images, 1, relu_attributions=True))
    assert theirs.flatten(1).any(1).tolist() == [False, True, True]
    torch.testing.assert_close(found.values, theirs.float())
    guided = quiet(lambda: captum.GuidedGradCam(module, module[5]).attribute(images, 1, interpolate_mode="bilinear"))
    torch.testing.assert_close(GuidedGradCAM("4", place="naive")(network, images, 1).values, guided.float())


def functional(module: nn.Sequential) -> nn.Module:
    """The same function, with its rectifiers as functions."""

    def run(net: Any, x: Tensor) -> Tensor:
        for layer in net.net:
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x

    return Net(run, net=module)


@pytest.mark.parametrize("rule", ["GuidedBackprop", "Deconvolution"])
def test_captum_gives_the_gradient_in_silence_for_functions_and_we_the_rule(captum: Any, rule: str) -> None:
    module, images = modules(), images_of(2, *SHAPE)
    written = functional(module)
    method = GuidedBackprop() if rule == "GuidedBackprop" else Deconvnet()
    right = quiet(lambda: getattr(captum, rule)(module).attribute(images, 1))
    theirs = quiet(lambda: getattr(captum, rule)(written).attribute(images, 1))
    gradient = quiet(lambda: captum.Saliency(written).attribute(images, 1, abs=False))
    torch.testing.assert_close(theirs, gradient)
    assert not torch.allclose(theirs, right)
    torch.testing.assert_close(method(network_of(written, SHAPE), images, 1).values, right.float())


@pytest.mark.parametrize(
    "name", ["fully_connected_head", "pooled_head", "adaptive_head", "residual", "functional_layers"]
)
def test_gradients_of_odd_networks_are_those_of_captum(captum: Any, name: str) -> None:
    odd = ODD_NETS[name]
    module, images = odd.make().double(), odd.images(2).double()
    for which, (method, theirs) in oracles(captum, module, images, 1, torch.ones(1)).items():
        if which not in {"guided", "deconvnet"}:
            found = method(network_of(module, odd.shape), images, 1)
            torch.testing.assert_close(found.values, theirs.float(), msg=which)


def test_smoothgrad_is_that_of_captum_within_its_noise(captum: Any) -> None:
    """Whose standard deviation is in units of the input, and whose noise is its own."""
    module, images = modules(nn.Softplus), images_of(1, *SHAPE)
    found = SmoothGrad(samples=400, level=0.2, signed=True)(network_of(module, SHAPE), images, 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        deviation = 0.2 * float(images.max() - images.min())
        tunnel = captum.NoiseTunnel(captum.Saliency(module))
        theirs = quiet(
            lambda: tunnel.attribute(
                images,
                target=1,
                abs=False,
                nt_type="smoothgrad",
                nt_samples=400,
                nt_samples_batch_size=100,
                stdevs=deviation,
            )
        )
    differences = (found.values - theirs.float()).abs().mean()
    expected = 2**0.5 * found.evidence["mean standard error of the gradient"] * (2 / torch.pi) ** 0.5
    assert float(differences) == pytest.approx(float(expected), rel=0.3)


def test_guided_backpropagation_is_that_of_grad_cam_too(torchvision: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("pytorch_grad_cam", reason="missing: the package grad-cam, an oracle")
    module, images = modules(), images_of(1, *SHAPE)
    found = GuidedBackprop()(network_of(module, SHAPE), images, 2).values[0]
    theirs = library.GuidedBackpropReLUModel(model=module, device="cpu")(images, target_category=2)
    torch.testing.assert_close(found, torch.from_numpy(theirs).permute(2, 0, 1).float())


# --- a real network on a real picture --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet(shared_data: Path) -> Network:
    return convscope.load(shared_data / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")


@pytest.fixture(scope="module")
def picture(shared_data: Path, squeezenet: Network) -> Tensor:
    path = min((shared_data / "imagenet_samples" / "images").glob("*.jpg"))
    with Image.open(path) as image:
        return squeezenet.preprocess(image)[None]


@pytest.mark.real
def test_squeezenet_on_a_picture_against_captum(captum: Any, squeezenet: Network, picture: Tensor) -> None:
    """Its rectifiers are modules, in place, each used once: Captum needs them out of place.

    Both get the same memory format: where a rectifier's input is next to zero, its sign is one of rounding.
    """
    module = squeezenet.module
    index = int(module(picture).argmax())
    std = torch.tensor(squeezenet.preprocess.std).reshape(3, 1, 1)
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    theirs = oracles(captum, module, picture.contiguous(memory_format=torch.channels_last), index, std)
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    for name, (method, expected) in theirs.items():
        found = method(squeezenet, picture)
        assert found.targets[0].startswith(f"class {index} (")
        assert not found.notes or "5 %" in found.notes[0]
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.real
def test_integrated_gradients_of_squeezenet_are_nearly_complete(squeezenet: Network, picture: Tensor) -> None:
    found = IntegratedGradients()(squeezenet, picture)
    assert found.notes == ()
    assert abs(float(found.evidence["completeness gap"] / found.evidence["difference"])) < 0.05


@pytest.mark.real
def test_units_of_squeezenet_are_projected(squeezenet: Network, picture: Tensor) -> None:
    found = Deconvnet()(squeezenet, picture, "features.3.squeeze:0")
    assert found.blank == (None,) or found.scores.item() <= 0
    with pytest.raises(AttributionError, match="not finite"):
        Deconvnet()(squeezenet, picture * float("nan"))
