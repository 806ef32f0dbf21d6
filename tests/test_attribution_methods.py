"""Each method of attribution against what can be worked out: linear networks, hand-computed ones, laws [METHODS 7]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convscope
from convscope.attribution import (
    Class,
    Deconvnet,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)
from convscope.errors import AttributionError
from convscope.network import Network
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from explaining import classifier, images_of, network_of, odd_network
from odd_nets import ODD_NETS, Net, OddNet, conv

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
SIGNED = Saliency(signed=True)

pytestmark = pytest.mark.usefixtures("one_thread")


def linear(std: tuple[float, ...] = (1.0,)) -> tuple[Network, Tensor]:
    """Three classes, linear in the pixels of (3, 4, 5), and their weights (3 classes, 3, 4, 5)."""
    module = classifier(nn.Flatten(), nn.Linear(60, 3))
    network = convscope.wrap(module, preprocess={"size": [4, 5], "std": std, "mean": [0.5]})
    return network, module[1].weight.detach().reshape(3, 3, 4, 5)


def relus(bias: bool = True) -> nn.Sequential:
    """Piecewise linear."""
    return classifier(
        conv(3, 4, bias=bias), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5, bias=bias), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(60, 3, bias=bias),
    )  # fmt: skip


def smooth() -> nn.Sequential:
    return classifier(conv(3, 4), nn.Softplus(), conv(4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3))


def quadratic() -> tuple[Network, Tensor, Tensor]:
    """One class with the score x'Ax + b'x."""
    a = torch.randn(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b = torch.arange(12.0, dtype=torch.float64)
    module = Net(lambda net, x: ((x.flatten(1) @ a) * x.flatten(1) + x.flatten(1) * b).sum(1, keepdim=True))
    return network_of(module, (3, 2, 2)), a, b


# --- saliency (7.3) --------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_linear_network_is_its_weights() -> None:
    network, weights = linear()
    images = images_of(4, 3, 4, 5)
    for target in range(3):
        torch.testing.assert_close(
            SIGNED(network, images, target).values, weights[target].expand(4, -1, -1, -1).float()
        )
        expected = weights[target].abs().amax(0).expand(4, 1, -1, -1)
        torch.testing.assert_close(Saliency()(network, images, target).values, expected.float())


def test_the_gradient_is_by_pixel_values_in_all_channels() -> None:
    """The same network on the same picture, with weights that take channels of another scale."""
    plain, weights = linear()
    std = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64).reshape(3, 1, 1)
    scaled, _ = linear(tuple(std.flatten().tolist()))
    with torch.no_grad():
        scaled.module[1].weight.copy_((weights * std).reshape(3, 60))
    images = images_of(2, 3, 4, 5)
    for method in (Saliency(), SIGNED, SmoothGrad(samples=2)):
        one, other = method(plain, images, 1), method(scaled, images / std, 1)
        torch.testing.assert_close(other.values, one.values)


@pytest.mark.parametrize("make", [relus, smooth])
def test_the_gradient_is_that_of_finite_differences(make: Any) -> None:
    module = make()
    size = (6, 8)
    network, images = network_of(module, (3, *size)), images_of(1, 3, *size)
    for of, score in (
        ("logit", lambda z: z),
        ("probability", lambda z: z.softmax(1)),
        ("logprob", lambda z: z.log_softmax(1)),
    ):
        gradient = SIGNED(network, images, Class(1, of)).values
        for place in torch.randperm(144, generator=torch.Generator().manual_seed(0))[:20].tolist():
            step = torch.zeros(144, dtype=torch.float64)
            step[place] = 1e-6
            step = step.reshape(1, 3, *size)
            with torch.no_grad():
                rise = (score(module(images + step)) - score(module(images - step)))[0, 1] / 2e-6
            assert float(gradient.flatten()[place]) == pytest.approx(float(rise), rel=1e-4, abs=1e-6)


def test_scaling_the_input_and_the_biases_leaves_the_gradient_of_relus() -> None:
    module, images = relus(), images_of(2, 3, 6, 8)
    before = SIGNED(network_of(module, (3, 6, 8)), images, 0).values
    with torch.no_grad():
        for layer in module:
            if hasattr(layer, "bias"):
                layer.bias.mul_(3)
    torch.testing.assert_close(SIGNED(network_of(module, (3, 6, 8)), images * 3, 0).values, before)


def test_what_is_added_to_all_logits_changes_the_logit_alone() -> None:
    module, images = relus(), images_of(2, 3, 6, 8)
    plain, shifted, tilted = (
        network_of(Net(lambda net, x, add=add: net.body(x) + add(x), body=module), (3, 6, 8))
        for add in (lambda _: 0, lambda _: 5, lambda x: x.pow(2).sum((1, 2, 3))[:, None])
    )
    for of in ("logit", "logprob", "probability"):
        expected = SIGNED(plain, images, Class(1, of)).values
        torch.testing.assert_close(SIGNED(shifted, images, Class(1, of)).values, expected)
        alike = torch.allclose(SIGNED(tilted, images, Class(1, of)).values, expected, atol=1e-6)
        assert alike == (of != "logit")


# --- gradient × input (7.4) ------------------------------------------------------------------------------------------


def test_gradient_times_input_sums_to_the_score_without_biases() -> None:
    network, images = network_of(relus(bias=False), (3, 6, 8)), images_of(3, 3, 6, 8)
    found = GradientTimesInput()(network, images, [0, 1, 2])
    torch.testing.assert_close(found.values.double().flatten(1).sum(1), found.scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.evidence["score that is not in the map"], torch.zeros(3).double())


def test_what_it_misses_are_the_biases() -> None:
    module, images = relus(), images_of(2, 3, 6, 8)
    found = GradientTimesInput()(network_of(module, (3, 6, 8)), images, 1)
    missing = found.evidence["score that is not in the map"]
    torch.testing.assert_close(missing, found.scores - found.values.double().flatten(1).sum(1), rtol=1e-4, atol=1e-5)
    leaves = [layer.bias for layer in module if hasattr(layer, "bias")]
    for row in range(2):
        gradients = torch.autograd.grad(module(images[row : row + 1])[0, 1], leaves)
        biases = sum(float((leaf.detach() * gradient).sum()) for leaf, gradient in zip(leaves, gradients, strict=True))
        assert float(missing[row]) == pytest.approx(biases, rel=1e-5)


def test_for_a_linear_network_it_is_integrated_gradients_from_zero() -> None:
    network, weights = linear()
    images = images_of(2, 3, 4, 5)
    found = GradientTimesInput()(network, images, 2).values
    torch.testing.assert_close(found, (images * weights[2]).float())
    for quadrature in ("midpoint", "gausslegendre"):
        integrated = IntegratedGradients(steps=1, baseline="zero", quadrature=quadrature)(network, images, 2)
        torch.testing.assert_close(integrated.values, found)


# --- integrated gradients (7.6) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quadrature", ["midpoint", "gausslegendre"])
@pytest.mark.parametrize("target", [None, Class(1, "probability"), Class(0, "logprob"), "2:1@2,3"])
def test_integrated_gradients_are_complete(quadrature: str, target: Any) -> None:
    network, images = network_of(smooth(), (3, 6, 8)), images_of(2, 3, 6, 8)
    found = IntegratedGradients(steps=200, quadrature=quadrature)(network, images, target)
    black = SIGNED(network, torch.zeros_like(images), list(found_targets(found, target)))
    difference = found.scores - black.scores
    torch.testing.assert_close(found.evidence["difference"], difference)
    exact = 1e-10 if quadrature == "gausslegendre" else 1e-4
    assert float(found.evidence["completeness gap"].abs().max()) < exact
    torch.testing.assert_close(found.values.double().flatten(1).sum(1), difference, rtol=1e-4, atol=1e-5)
    assert found.notes == ()


def found_targets(found: Any, target: Any) -> list[Any]:
    """The same for other images: not the class predicted there, but here."""
    if target is not None:
        return [target] * len(found)
    return [int(text.split()[1]) for text in found.targets]


def test_the_midpoint_rule_is_exact_for_quadratic_functions() -> None:
    network, a, b = quadratic()
    images = images_of(2, 3, 2, 2)
    x = images.flatten(1)
    expected = x * ((x @ (a + a.T)) / 2 + b)
    for steps in (1, 2, 7):
        found = IntegratedGradients(steps=steps, baseline="zero", quadrature="midpoint")(network, images, 0)
        torch.testing.assert_close(found.values.flatten(1), expected.float())
        assert float(found.evidence["completeness gap"].abs().max()) < 1e-10


def test_a_gap_is_told() -> None:
    network = network_of(Net(lambda net, x: x.sum((2, 3)).pow(9)[:, :1]), (1, 2, 2))
    found = IntegratedGradients(steps=1)(network, torch.ones(1, 1, 2, 2), 0)
    assert found.notes == ("the sum of a map misses the score's difference by more than 5 %: take more steps",)
    total = 4.0**9
    assert float(found.evidence["completeness gap"]) == pytest.approx(9 * total / 2**8 - total)


def test_pixels_without_influence_get_nothing_and_equal_ones_the_same() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        pair = x[:, 0, 0, 0] * x[:, 0, 0, 1]  # symmetric in two pixels
        return (torch.tanh(pair) + x[:, 0, 1, 1] ** 3)[:, None]

    image = torch.tensor([[[[0.7, 0.7], [5.0, 0.3]]]], dtype=torch.float64)
    values = IntegratedGradients(baseline="zero")(network_of(Net(run), (1, 2, 2)), image, 0).values[0, 0]
    assert values[0, 0] == values[0, 1] != 0
    assert values[1, 0] == 0


def test_two_ways_to_compute_a_function_have_the_same_integrated_gradients() -> None:
    """Two linear layers, or their product; a ReLU, or two of half the size."""
    one = classifier(
        nn.Flatten(), nn.Linear(12, 5, bias=False), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)
    )
    other = classifier(nn.Flatten(), nn.Linear(12, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        other[1].weight.copy_(one[2].weight @ one[1].weight)
        other[3].load_state_dict(one[4].state_dict())
    halves = Net(
        lambda net, x: net.net[3](F.relu(net.net[1](x.flatten(1)) / 2) + F.relu(net.net[1](x.flatten(1)) / 2)),
        net=other,
    )
    images = images_of(2, 3, 2, 2)
    first = IntegratedGradients()(network_of(one, (3, 2, 2)), images, 1).values
    for module in (other, halves):
        torch.testing.assert_close(IntegratedGradients()(network_of(module, (3, 2, 2)), images, 1).values, first)


def test_baselines_are_pictures() -> None:
    """Black is not zero in a normalised network: an image that is the baseline gets nothing."""
    module = classifier(nn.Flatten(), nn.Linear(60, 3), nn.Tanh())
    network = convscope.wrap(
        module, preprocess={"size": [4, 5], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.5, 1.0], "range": [0, 1]}
    )
    pictures = {"black": np.zeros((3, 4, 5), np.float32), "white": np.ones((3, 4, 5), np.float32)}
    inputs = {name: network.preprocess(picture)[None].double() for name, picture in pictures.items()}
    inputs["zero"] = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    for baseline in inputs:
        for name, image in inputs.items():
            found = IntegratedGradients(baseline=baseline)(network, image, 0)
            assert bool(found.values.abs().max() < 1e-6) == (name == baseline)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps=0"),
        ({"baseline": "grey"}, "baseline='grey'"),
        ({"quadrature": "left"}, "quadrature='left'"),
    ],
)
def test_wrong_parameters_of_integrated_gradients(options: dict[str, Any], match: str) -> None:
    with pytest.raises(AttributionError, match=match):
        IntegratedGradients(**options)(linear()[0], images_of(1, 3, 4, 5))


# --- SmoothGrad (7.5) ------------------------------------------------------------------------------------------------


def test_smoothgrad_without_noise_or_on_a_linear_network_is_the_gradient() -> None:
    images = images_of(2, 3, 6, 8)
    network = network_of(relus(), (3, 6, 8))
    for signed in (False, True):
        plain = Saliency(signed=signed)(network, images, 1).values
        torch.testing.assert_close(SmoothGrad(samples=3, level=0, signed=signed)(network, images, 1).values, plain)
    network, _ = linear()
    images = images_of(2, 3, 4, 5)
    for level in (0.1, 3.0):
        torch.testing.assert_close(
            SmoothGrad(samples=3, level=level)(network, images, 0).values, Saliency()(network, images, 0).values
        )


def test_smoothgrad_averages_gradients_before_channels_are_reduced() -> None:
    """For S = |x|³/3 per pixel the gradient is x·|x|; noise e makes it a mean over (x + e)·|x + e|."""
    network = network_of(Net(lambda net, x: (x.abs() ** 3 / 3).sum((1, 2, 3))[:, None]), (2, 3, 4))
    image = images_of(1, 2, 3, 4)
    spread = 0.5 * (image.max() - image.min())
    generator = torch.Generator().manual_seed(7)
    noisy = [image[0] + spread * torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(5)]
    gradients = torch.stack([x * x.abs() for x in noisy])
    expected = {
        "mean": gradients.mean(0),
        "squares": (gradients**2).mean(0),
        "variance": gradients.var(0, correction=0),
    }
    for combine, values in expected.items():
        method = SmoothGrad(samples=5, level=0.5, combine=combine, seed=7)
        torch.testing.assert_close(method(network, image, 0).values[0], values.abs().amax(0, keepdim=True).float())
    error = SmoothGrad(samples=5, level=0.5, seed=7)(network, image, 0).evidence["mean standard error of the gradient"]
    assert float(error) == pytest.approx(float((gradients.std(0) / 5**0.5).mean()))


def test_the_seed_makes_the_noise_and_more_samples_less_of_it() -> None:
    network, images = network_of(smooth(), (3, 6, 8)), images_of(1, 3, 6, 8)
    one, again, other = (SmoothGrad(samples=2, seed=seed)(network, images, 0) for seed in (0, 0, 1))
    assert torch.equal(one.values, again.values)
    assert not torch.equal(one.values, other.values)
    assert (one.seed, other.seed) == (0, 1)

    def variance(samples: int) -> float:
        found = [SmoothGrad(samples=samples, seed=seed, signed=True)(network, images, 0).values for seed in range(30)]
        return float(torch.stack(found).var(0).mean())

    assert variance(1) / variance(8) == pytest.approx(8, rel=0.3)


def test_what_is_explained_is_the_same_in_all_copies() -> None:
    """So much noise that other classes win in some copies, and other positions."""
    module = classifier(conv(3, 4), nn.Flatten(), nn.Linear(80, 3))
    network, images = network_of(module, (3, 4, 5)), images_of(3, 3, 4, 5)
    for target in (None, "0:1"):
        plain = Saliency()(network, images, target)
        found = SmoothGrad(samples=3, level=5)(network, images, target)
        assert found.targets == plain.targets
        torch.testing.assert_close(found.values, plain.values)  # it is linear
        integrated = IntegratedGradients(baseline="white")(network, images, target)
        assert integrated.targets == plain.targets
        assert float(integrated.evidence["completeness gap"].abs().max()) < 1e-9


@pytest.mark.parametrize("options", [{"samples": 0}, {"level": -0.1}, {"combine": "median"}])
def test_wrong_parameters_of_smoothgrad(options: dict[str, Any]) -> None:
    with pytest.raises(AttributionError, match="samples must be 1 or more, level 0 or more, combine one of"):
        SmoothGrad(**options)(linear()[0], images_of(1, 3, 4, 5))


# --- deconvnet (7.1) and guided backpropagation (7.2) ----------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (4, 2, 0), (11, 4, 2)])
def test_one_layer_is_projected_by_its_transpose(size: int, stride: int, padding: int) -> None:
    """With the right size, and without the bias: both 110 and 111 px give a map of 55 by stride 2."""
    module = classifier(nn.Conv2d(3, 4, size, stride=stride, padding=padding), nn.ReLU())
    for height in (15, 16, 17):
        image = images_of(1, 3, height, 18)
        found = Deconvnet()(network_of(module, (3, height, 18)), image, "0:2")
        response = module(image).detach()[:, 2:3]
        one_hot = torch.where(response == response.max(), response, 0)
        extra = [(n + 2 * padding - size) % stride for n in (height, 18)]
        expected = F.conv_transpose2d(
            one_hot, module[0].weight[2:3], stride=stride, padding=padding, output_padding=tuple(extra)
        )
        torch.testing.assert_close(found.values, expected.detach().float())
        assert float(found.evidence["signal at the start"]) == pytest.approx(float(response.max()))


def test_values_that_meet_at_a_switch_add() -> None:
    """Overlapping windows 3/2: the middle is the largest of all four. max_unpool2d would keep one of them."""
    module = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        module[3].weight.copy_(torch.tensor([[1.0, 2.0, 4.0, 8.0]]))
    image = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    image[0, 0, 2, 2] = 9
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 2, 2] = 15
    for method in (Deconvnet(), GuidedBackprop(), SIGNED):
        assert torch.equal(method(network_of(module, (1, 5, 5)), image, 0).values, expected)
    _, switches = F.max_pool2d(image, 3, 2, return_indices=True)
    overwritten = F.max_unpool2d(torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]]), switches, 3, 2, output_size=(5, 5))
    assert float(overwritten[0, 0, 2, 2]) != 15


def test_windows_that_do_not_overlap_are_unpooled_by_their_switches() -> None:
    module = nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 1))
    image = images_of(1, 1, 4, 6).float()
    signal = module[3].weight.detach().reshape(1, 1, 2, 3)
    _, switches = F.max_pool2d(image, 2, return_indices=True)
    found = Deconvnet()(network_of(module, (1, 4, 6)), image, 0).values
    torch.testing.assert_close(found, F.max_unpool2d(signal.clamp(min=0), switches, 2))


def test_all_positive_networks_have_one_map() -> None:
    module = classifier(
        conv(3, 4), nn.ReLU(), nn.MaxPool2d(3, 2), conv(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(30, 2)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    network, images = network_of(module, (3, 6, 8)), images_of(2, 3, 6, 8).abs()
    gradient = SIGNED(network, images, 1).values
    assert bool((gradient > 0).any())
    for method in (Deconvnet(), GuidedBackprop()):
        torch.testing.assert_close(method(network, images, 1).values, gradient)


@every_odd_net
def test_a_projection_lies_in_the_receptive_field(odd: OddNet) -> None:
    network, images = odd_network(odd), odd.images(2)
    graph = record(network.module, images)
    layer = graph.layers()[0]
    fields = receptive_fields(graph)
    if len(layer.shape) != 3 or layer.response in fields.exact_bounds:
        return
    for unit in range(layer.units):
        found = Deconvnet()(network, images, f"{layer.address}:{unit}")
        for row, target in enumerate(found.targets):
            place = [int(number) for number in target.rpartition("@")[2].split(",")]
            box = fields.grid(layer, "exact").box(*place).clip(*odd.shape[1:])
            outside = found.values[row].clone()
            outside[:, box.y0 : box.y1, box.x0 : box.x1] = 0
            assert not outside.any()


def test_the_image_comes_in_through_switches_and_the_first_activation_only() -> None:
    """A small change of the image that changes no switch scales the projection as it does the activation."""
    module = classifier(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU())
    with torch.no_grad():
        module[3].bias.fill_(3)
    network, images = network_of(module, (3, 6, 8)), images_of(1, 3, 6, 8)
    one, other = (
        Deconvnet()(network, images + change, "3:1@1,2") for change in (0, 1e-5 * images_of(1, 3, 6, 8, seed=1))
    )
    ratio = other.evidence["signal at the start"] / one.evidence["signal at the start"]
    assert float(ratio) != 1
    torch.testing.assert_close(other.values, one.values * ratio.float())


def test_the_reconstruction_is_linear_in_the_activation() -> None:
    module = classifier(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU())
    images = images_of(1, 3, 6, 8)
    one = Deconvnet()(network_of(module, (3, 6, 8)), images, "2:1")
    with torch.no_grad():
        module[2].bias[1] += 2 - one.scores.item()
    other = Deconvnet()(network_of(module, (3, 6, 8)), images, "2:1")
    assert float(other.scores) == pytest.approx(2)
    torch.testing.assert_close(other.values, one.values * float(2 / one.scores))


def test_a_silent_unit_has_nothing_to_project_and_says_so() -> None:
    module = classifier(conv(3, 4), nn.ReLU())
    with torch.no_grad():
        module[0].bias.fill_(-100)
    found = Deconvnet()(network_of(module, (3, 6, 8)), images_of(2, 3, 6, 8), "0:1")
    assert not found.values.any()
    assert found.blank == ("the response of 0:1@0,0 is not above zero, so there is nothing to project",) * 2


def test_guided_paths_that_are_all_negative_give_nothing() -> None:
    module = classifier(conv(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        module[3].weight[0] = -module[3].weight[0].abs()
    network, images = network_of(module, (3, 6, 8)), images_of(1, 3, 6, 8)
    for method in (GuidedBackprop(), Deconvnet()):
        found = method(network, images, 0)
        assert not found.values.any()
        assert found.blank == (
            "the signal is zero everywhere: no path to the image is left on which it stays positive",
        )
    assert SIGNED(network, images, 0).values.any()


def test_guided_masks_by_both_conditions_at_each_rectifier() -> None:
    """Recomputed by hand for conv, ReLU, conv, ReLU, linear."""
    module = classifier(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(240, 2))
    images = images_of(2, 3, 6, 8)
    with torch.no_grad():
        first = module[0](images)
        second = module[2](first.relu())
        signal = module[5].weight[1].reshape(1, 5, 6, 8) * (second > 0)
        signal = F.conv_transpose2d(signal.clamp(min=0), module[2].weight, padding=1) * (first > 0)
        signal = F.conv_transpose2d(signal.clamp(min=0), module[0].weight, padding=1)
    found = GuidedBackprop()(network_of(module, (3, 6, 8)), images, 1)
    torch.testing.assert_close(found.values, signal.float())
