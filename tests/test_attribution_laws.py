"""What every method of attribution has to keep to, on every odd network: one that is added is found by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from convscope.attribution import Attribution, AttributionMap, registered
from convscope.errors import AttributionError, NetworkError
from convscope.network import Network
from convscope.recorder import record
from explaining import classifier, images_of, network_of, odd_network, state
from odd_nets import ODD_NETS, Net, OddNet, conv

# Parameters with which a method is quick; its defaults are for pictures.
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 3},
    "integrated_gradients": {"steps": 3},
    "rise": {"masks": 8, "cells": 2, "visible": 0.8},
    "occlusion": {"window": 3, "stride": 2},
}
METHODS = {name: kind(**QUICK.get(name, {})) for name, kind in registered().items()}
# The odd nets whose last layer is a linear one on a map that is pooled as a whole. CAM is refused elsewhere, by name.
POOLED = {"pooled_head", "dict_output", "residual", "functional_layers", "convnext"}
WITHOUT_GRADIENT = {"rise", "scorecam", "occlusion"}

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)

pytestmark = pytest.mark.usefixtures("one_thread")


def methods_for(odd: OddNet) -> dict[str, Attribution]:
    return {name: method for name, method in METHODS.items() if name != "cam" or odd.name in POOLED}


def pooled(*layers: nn.Module, units: int, classes: int) -> list[nn.Module]:
    """With a head that every method can explain."""
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, classes)]


def last_unit(network: Network, odd: OddNet) -> str:
    return f"{record(network.module, odd.images(1)).layers()[-1].address}:0"


def assert_alike(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@every_odd_net
def test_a_map_is_the_same_alone_and_in_a_batch_and_again(odd: OddNet) -> None:
    network, images = odd_network(odd), odd.images(3)
    unit = last_unit(network, odd)
    network.module.double()  # a small difference of large numbers depends on the order of sums
    images = images.double()
    for method in methods_for(odd).values():
        together, again = (method(network, images, unit) for _ in range(2))
        assert torch.equal(together.values, again.values)
        alone = method(network, images[1:2], unit)
        assert_alike(alone.values[0], together.values[1])
        assert alone.targets[0] == together.targets[1]


@every_odd_net
def test_a_map_is_complete(odd: OddNet) -> None:
    network, images = odd_network(odd), odd.images(2)
    unit = last_unit(network, odd)
    for name, method in methods_for(odd).items():
        found = method(network, images, unit)
        assert found.method is method
        assert found.values.dtype == torch.float32
        assert found.values.device.type == "cpu"
        assert found.values.shape[:1] == (2,)
        assert found.values.shape[1] in (1, odd.shape[0])
        assert found.values.shape[2:] == found.grid.cells
        assert found.grid.image == odd.shape[1:]
        if found.values.shape[1] == 1:
            on_image = found.on_image()
            assert on_image.shape == (2, *odd.shape[1:])
            assert bool((on_image <= found.values.amax((2, 3), keepdim=True)[:, 0] + 1e-5).all())
            assert bool((on_image >= found.values.amin((2, 3), keepdim=True)[:, 0] - 1e-5).all())
        if found.error is not None:
            assert found.error.shape == found.values.shape
            assert bool((found.error >= 0).all())
        assert found.score == ("response",) * 2
        assert found.scores.dtype == torch.float64
        assert [reason is not None for reason in found.blank] == [not row.any() for row in found.values]
        assert all(numbers.shape == (2,) and numbers.dtype == torch.float64 for numbers in found.evidence.values())
        told = json.loads(json.dumps(found.to_json()))
        assert told["method"] == name
        assert told["parameters"] == vars(method)


@every_odd_net
def test_the_network_is_left_as_it_was(odd: OddNet) -> None:
    network, images = odd_network(odd), odd.images(2)
    unit = last_unit(network, odd)
    for i, module in enumerate(network.module.modules()):
        module.training = i % 2 == 0
    for parameter in network.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, pixels, random = state(network.module), images.clone(), torch.get_rng_state()
    for method in methods_for(odd).values():
        method(network, images, unit)
        assert state(network.module) == before
        assert torch.equal(images, pixels)
        assert images.grad is None
        assert torch.equal(torch.get_rng_state(), random)
        assert nothing_is_left()


def nothing_is_left() -> bool:
    return (
        _get_current_dispatch_mode() is None and torch._C._len_torch_function_stack() == 0 and torch.is_grad_enabled()
    )


class Trap(nn.Module):
    """Raises at its n-th call, or in the backward pass of it."""

    def __init__(self, call: int, backward: bool) -> None:
        super().__init__()
        self.left, self.backward = [call], backward

    def forward(self, x: Tensor) -> Tensor:
        self.left[0] -= 1
        x = x * 1
        if self.left[0] == 0 and not self.backward:
            raise ValueError("the trap")
        if self.left[0] == 0 and x.requires_grad:
            x.register_hook(self.spring)
        return x

    def spring(self, _: Tensor) -> None:
        raise ValueError("the trap")


@every_method
@pytest.mark.parametrize("backward", [False, True])
def test_the_network_is_left_as_it_was_where_something_raises(method: Attribution, backward: bool) -> None:
    """In the recording (call 1), in the pass on the images (2), or in a later one if there is one (3)."""
    sprung = 0
    for call in (1, 2, 3):
        trap = Trap(call, backward)
        layers = [conv(3, 4), nn.ReLU(inplace=True), conv(4, 2), nn.BatchNorm2d(2), nn.ReLU(), trap]
        module = nn.Sequential(*pooled(*layers, units=2, classes=2))
        network, images = network_of(module, (3, 8, 10)), torch.randn(2, 3, 8, 10)
        module.train()
        before, random = state(module), torch.get_rng_state()
        try:
            method(network, images, "8:0")
        except (NetworkError, ValueError) as error:
            sprung += "the trap" in str(error)
        assert state(module) == before
        assert torch.equal(torch.get_rng_state(), random)
        assert nothing_is_left()
    assert sprung or (backward and method.name in {"cam", *WITHOUT_GRADIENT})  # which never come there


@every_method
def test_it_works_whatever_the_user_has_switched_off(method: Attribution) -> None:
    network = network_of(classifier(*pooled(conv(3, 4), nn.ReLU(), units=4, classes=3)), (3, 8, 10))
    images = images_of(2, 3, 8, 10)
    plain = method(network, images)
    with torch.no_grad():
        assert torch.equal(method(network, images).values, plain.values)
    with torch.inference_mode():
        assert torch.equal(method(network, images).values, plain.values)
        assert torch.equal(method(network, images * 1).values, plain.values)
    assert torch.equal(method(network, images.clone().requires_grad_()).values, plain.values)
    assert_alike(method(network, images.to(memory_format=torch.channels_last)).values, plain.values)


@every_method
def test_buffers_and_random_numbers_of_the_network_are_as_before(method: Attribution) -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        net.calls += 1
        net.last = net.last + 1
        return net.head((torch.relu(net.stem(x)) + torch.rand(())).mean((2, 3)))

    module = Net(run, stem=conv(3, 4), head=nn.Linear(4, 2))
    module.register_buffer("calls", torch.zeros(()))
    module.register_buffer("last", torch.zeros(()))
    network, images, random = network_of(module, (3, 8, 10)), torch.randn(2, 3, 8, 10), torch.get_rng_state()
    last = module.last
    one, other = (method(network, images, "head:0") for _ in range(2))
    assert torch.equal(one.values, other.values)
    assert module.last is last
    assert (float(module.calls), float(module.last)) == (0, 0)
    assert torch.equal(torch.get_rng_state(), random)


@every_method
def test_more_images_than_are_explained_at_once(method: Attribution, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(classifier(*pooled(conv(3, 4), nn.ReLU(), units=4, classes=3)), (3, 4, 5))
    images, targets = images_of(5, 3, 4, 5), [0, 1, "4:1" if method.name == "cam" else "0:2", 2, "4:0"]
    whole = method(network, images, targets)
    monkeypatch.setattr("convscope.attribution.base.BATCH", 2)
    parts = method(network, images, targets)
    assert_alike(parts.values, whole.values)
    assert parts.targets == whole.targets
    assert parts.to_json()["blank"] == whole.to_json()["blank"]
    assert parts.score == ("logit", "logit", "response", "logit", "response")


def broken(number: float) -> Callable[[Any, Tensor], Tensor]:
    return lambda net, x: net.head(torch.relu(net.stem(x) * number).mean((2, 3)))


@every_method
@pytest.mark.parametrize("mix", ["statistics", "mean", "numbers"])
def test_images_that_influence_each_other_are_explained_alone(method: Attribution, mix: str) -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.norm(net.stem(x)) if mix == "statistics" else net.stem(x)
        x = x - 0.5 * x.mean(0, keepdim=True) if mix == "mean" else x
        x = torch.relu(x + torch.rand(len(x), 1, 1, 1) if mix == "numbers" else x)
        return net.head(x.mean((2, 3)))

    module = Net(run, stem=conv(3, 4), norm=nn.BatchNorm2d(4, track_running_stats=False), head=nn.Linear(4, 2))
    network, images = network_of(module, (3, 8, 10)), torch.randn(3, 3, 8, 10)
    together = method(network, images, "head:0")
    assert any("not the same alone and in a batch" in note for note in together.notes)
    for row in range(3):
        alone = method(network, images[row : row + 1], "head:0")
        assert_alike(alone.values[0], together.values[row])
        assert not any("alone" in note for note in alone.notes)


@every_method
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_an_error(method: Attribution, number: float) -> None:
    children = {"stem": conv(3, 2), "head": nn.Linear(2, 3)}
    images = torch.randn(3, 3, 4, 5)
    for target in (None, 1):
        with pytest.raises(AttributionError, match=r"the score of image 0 is not finite"):
            method(network_of(Net(broken(number), **children), (3, 4, 5)), images, target)
    images[1, 2, 0, 0] = number
    with pytest.raises(AttributionError, match=r"the input of image 1 is not finite"):
        method(network_of(Net(broken(1), **children), (3, 4, 5)), images)


@every_method
def test_the_image_that_is_no_number_is_named_among_all(method: Attribution, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.attribution.base.BATCH", 2)
    images = torch.rand(5, 1, 3, 4)
    images[3] *= -1
    module = Net(
        lambda net, x: net.head((net.stem(x) * x.sum((1, 2, 3), keepdim=True).sqrt()).mean((2, 3))),
        stem=conv(1, 2),
        head=nn.Linear(2, 1),
    )
    network = network_of(module, (1, 3, 4))
    with pytest.raises(AttributionError, match="of image 3 is not finite"):
        method(network, images, 0)


@every_method
def test_a_target_without_gradient_has_a_reason(method: Attribution) -> None:
    """A unit that is silent everywhere, and a class that ignores the image."""
    module = classifier(*pooled(conv(3, 4), nn.ReLU(), units=4, classes=2))
    with torch.no_grad():
        module[0].bias[1] = -1e3
        module[4].weight[0] = 0
    network, images = network_of(module, (3, 4, 5)), images_of(2, 3, 4, 5)
    ignorant: AttributionMap = method(network, images, 0)
    numbers = {"rise": "standard error", "scorecam": "range of the masked scores"}
    if method.name in numbers:  # their maps of a score that never changes are not zero, and they say so
        assert not ignorant.evidence[numbers[method.name]].any()
        return
    assert not ignorant.values.any()
    assert all("is zero everywhere" in str(reason) for reason in ignorant.blank)
    if method.name != "cam":  # which explains no unit below the head
        silent: AttributionMap = method(network, images, "0:1")
        assert not silent.values.any()
        assert all("0:1@0,0" in str(reason) for reason in silent.blank)
