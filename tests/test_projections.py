"""Projections of many neurons: the same as a full backward pass for each, cut to what the neuron sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.flop_counter import FlopCounterMode

from convscope import cones, gradients
from convscope.address import Neuron, Unit, parse
from convscope.attribution import Deconvnet, GuidedBackprop
from convscope.backward_rules import DECONVNET, GUIDED, Rule
from convscope.errors import AddressError, AttributionError, NotFiniteError
from convscope.graph import LayerNode
from convscope.network import Network
from convscope.projections import Projection, project
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.targets import understand
from explaining import classifier, images_of, network_of, odd_network, state
from odd_nets import ODD_NETS, Net, OddNet, conv

pytestmark = pytest.mark.usefixtures("one_thread")

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
every_rule = pytest.mark.parametrize("rule", [None, DECONVNET, GUIDED], ids=["gradient", "deconvnet", "guided"])

Neurons = list[tuple[int, Neuron]]


def some_of(layer: LayerNode, images: int) -> Neurons:
    """Neurons in the corners, at a border and in the middle of a layer, on one image after the other."""
    places = layer.shape[1:]
    height, width = places if len(places) == 2 else (1, math.prod(places))
    cells = [(0, 0), (height - 1, width - 1), (height // 2, width // 2), (height // 2, 0), (0, width - 1)]
    return [
        (i % images, Neuron(Unit(layer.address, i % layer.units), y, x))
        for i, (y, x) in enumerate(dict.fromkeys(cells))
    ]


def some_of_all(network: Network, images: Tensor) -> Neurons:
    return [each for layer in record(network.module, images[:1]).layers() for each in some_of(layer, len(images))]


def neuron(text: str) -> Neuron:
    found = parse(text)
    assert isinstance(found, Neuron)
    return found


def by_full_passes(network: Network, images: Tensor, neurons: Neurons, rule: Rule | None) -> tuple[Tensor, Tensor]:
    """The definition: maps (n, c, h, w) of passes in which each neuron has the whole image for itself, and starts."""
    rows = [row for row, _ in neurons]
    with gradients.untouched(network):
        graph = record(network.module, images[:1])
        targets = understand([each for _, each in neurons], network, graph, len(neurons))
        passed = gradients.run(network, graph, images[rows], targets, rule)
        starts = passed.scores.clamp(min=0)
        return passed.gradient(starts), starts


def check(network: Network, images: Tensor, neurons: Neurons, rule: Rule | None = None) -> list[Projection]:
    """The projections, after they were found to be the full passes."""
    found = project(network, images, neurons, rule)
    for each, truth, start in zip(found, *by_full_passes(network, images, neurons, rule), strict=True):
        y0, x0, y1, x1 = each.box
        placed = torch.zeros_like(truth, dtype=torch.float32)
        placed[:, y0:y1, x0:x1] = each.values
        torch.testing.assert_close(placed, truth.float(), rtol=0, atol=1e-6 * float(truth.abs().max()))
        assert each.start == pytest.approx(float(start), rel=1e-9)
        assert each.values.dtype == torch.float32
    return found


def trunk(*, pool: nn.Module | None = None) -> nn.Sequential:
    """Layers whose neurons see a small part of an image of 40 px."""
    pool = pool or nn.MaxPool2d(3, 2)
    return classifier(conv(3, 5, 5, stride=2), nn.ReLU(), pool, conv(5, 6), nn.ReLU(inplace=True), conv(6, 4))


TRUNK = (3, 40, 44)


# --- the same as full passes -----------------------------------------------------------------------------------------


@every_odd_net
@every_rule
def test_it_is_the_full_pass(odd: OddNet, rule: Rule | None) -> None:
    network, images = odd_network(odd), odd.images(2).double()
    network.module.double()
    found = check(network, images, some_of_all(network, images), rule)
    assert all((each.whole is None) == (odd.name != "decides_by_a_number") for each in found)


@every_rule
def test_every_position(rule: Rule | None) -> None:
    """So with windows at every distance from the borders, in batches that they share."""
    network, images = network_of(trunk(), TRUNK), images_of(2, *TRUNK)
    layers = record(network.module, images[:1]).layers()
    places = [(layer, y, x) for layer in layers[1:] for y in range(layer.shape[1]) for x in range(layer.shape[2])]
    check(
        network, images, [(i % 2, Neuron(Unit(layer.address, i % 4), y, x)) for i, (layer, y, x) in enumerate(places)]
    )


def test_it_is_what_the_methods_for_one_image_give() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(1, *TRUNK)
    each = neuron("3:2@4,5")
    deconvnet, guided = Deconvnet()(network, images, each), GuidedBackprop()(network, images, each)
    assert float(deconvnet.scores) > 0
    for rule, truth in ((DECONVNET, deconvnet.values[0]), (GUIDED, guided.values[0] * float(guided.scores))):
        (found,) = project(network, images, [(0, each)], rule)
        y0, x0, y1, x1 = found.box
        torch.testing.assert_close(found.values, truth[:, y0:y1, x0:x1], rtol=0, atol=1e-6 * float(truth.abs().max()))
        assert found.start == pytest.approx(float(deconvnet.scores))


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2), nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(2, 2, ceil_mode=True)])
def test_ties(pool: nn.Module) -> None:
    """Where all numbers of a window are the same, the same one passes the signal on."""
    network, images = network_of(trunk(pool=pool), TRUNK), images_of(2, *TRUNK)
    images[0], images[1, :, 10:30] = 1, 0.5
    check(network, images, some_of_all(network, images))


@pytest.mark.parametrize(
    "function",
    [F.softsign, F.tanhshrink, F.logsigmoid, F.relu6, lambda x: F.local_response_norm(x, 3), F.selu],
)
@every_rule
def test_functions_of_several_operations(function: Callable[[Tensor], Tensor], rule: Rule | None) -> None:
    """A rule is for the function, and a local response normalisation is passed as a whole by a deconvnet."""
    net = Net(lambda net, x: net.b(function(net.a(x))), a=conv(3, 4), b=conv(4, 3, 5)).double()
    network, images = network_of(net, (3, 18, 20)), images_of(2, 3, 18, 20)
    found = check(network, images, some_of_all(network, images), rule)
    assert all(each.whole is None for each in found)


def test_memory_formats() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(2, *TRUNK)
    neurons = some_of_all(network, images)
    before = project(network, images, neurons, GUIDED)
    network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    after = project(network, images.contiguous(memory_format=torch.channels_last), neurons, GUIDED)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(
            one.values, other.values, rtol=0, atol=1e-6 * max(1e-9, float(one.values.abs().max()))
        )


@pytest.mark.parametrize("seed", range(10))
def test_a_strided_convolution_in_phases(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs, height, width, rows, columns = torch.randint(1, 6, (6,), generator=generator).tolist()
    stride = torch.randint(1, 5, (2,), generator=generator).tolist()
    weight = torch.randn(outputs, inputs, height, width, generator=generator, dtype=torch.float64)
    signal = torch.randn(2, outputs, rows, columns, generator=generator, dtype=torch.float64)
    phases = cones._phases(weight, stride)
    fine = F.conv2d(signal, phases, padding=[size - 1 for size in phases.shape[2:]])
    truth = F.conv_transpose2d(signal, weight, stride=stride)
    found = cones._interleaved(fine, stride)[..., : truth.shape[2], : truth.shape[3]]
    torch.testing.assert_close(found, truth)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers and images mixed, with one neuron several times, in batches of three."""
    network, images = network_of(trunk(), TRUNK), images_of(3, *TRUNK)
    neurons = some_of_all(network, images) * 2
    neurons = [neurons[int(i)] for i in torch.randperm(len(neurons), generator=torch.Generator().manual_seed(0))]
    at_once = project(network, images, neurons, GUIDED)
    monkeypatch.setattr(cones, "_MOST", 3)
    for each, one in zip(neurons, project(network, images, neurons, GUIDED), strict=True):
        (alone,) = project(network, images, [each], GUIDED)
        assert one.box == alone.box
        assert one.start == alone.start
        torch.testing.assert_close(one.values, alone.values, rtol=0, atol=1e-6 * max(1e-9, float(alone.values.max())))
    assert [each.box for each in at_once] == [each.box for each in check(network, images, neurons, GUIDED)]


def test_the_box_is_the_exact_field() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(2, *TRUNK)
    graph = record(network.module, images[:1])
    neurons = some_of_all(network, images)
    for (_, each), found in zip(neurons, project(network, images, neurons), strict=True):
        grid = receptive_fields(graph).grid(graph.layer(each.unit.layer), "exact")
        assert found.box == grid.box(each.row, each.column).as_tuple()
        assert found.values.shape == (3, found.box[2] - found.box[0], found.box[3] - found.box[1])


def test_only_the_cones_are_computed() -> None:
    """In multiplications: below those of the full passes by about what the windows are smaller than the maps."""
    net = classifier(conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU(), conv(8, 8))
    network, images = network_of(net, (3, 64, 64)), images_of(1, 3, 64, 64)
    neurons: Neurons = [(0, neuron(f"4:{unit}@32,{20 + unit}")) for unit in range(8)]
    with FlopCounterMode(display=False) as ours:
        project(network, images, neurons)
    with FlopCounterMode(display=False) as forward:
        net(images)
    # Recording, the look at the rule, the values; and windows of 1, 3 and 5 of 64 cells a side.
    assert ours.get_total_flops() < 3.2 * forward.get_total_flops()


# --- what is left behind ---------------------------------------------------------------------------------------------


@every_rule
def test_the_network_is_left_as_it_was(rule: Rule | None) -> None:
    for name in ("inplace_relu", "writes_its_input", "statistics_norms", "weight_norm", "decides_by_a_number"):
        odd = ODD_NETS[name]
        network, images = odd_network(odd), odd.images(2)
        neurons = some_of_all(network, images)
        for i, module in enumerate(network.module.modules()):
            module.training = i % 2 == 0
        for parameter in network.module.parameters():
            parameter.grad = torch.ones_like(parameter)
        before, pixels, random = state(network.module), images.clone(), torch.get_rng_state()
        project(network, images, neurons, rule)
        assert state(network.module) == before
        assert torch.equal(images, pixels)
        assert images.grad is None
        assert torch.equal(torch.get_rng_state(), random)
        assert _get_current_dispatch_mode() is None
        assert torch._C._len_torch_function_stack() == 0
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_no_gradients_are_recorded(mode: Callable[[], Any]) -> None:
    network, images = network_of(trunk(), TRUNK), images_of(2, *TRUNK)
    neurons = some_of_all(network, images)
    truth = project(network, images, neurons, GUIDED)
    with mode():
        found = project(network, images.clone(), neurons, GUIDED)
    assert all(torch.equal(one.values, other.values) for one, other in zip(found, truth, strict=True))


# --- networks that cannot be gone through operation by operation -----------------------------------------------------


class _Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return 3 * signal


def of_its_own(net: Any, x: Tensor) -> Tensor:
    return net.b(_Tripled.apply(F.relu(net.a(x))))


def in_part_without_gradient(net: Any, x: Tensor) -> Tensor:
    y = F.relu(net.a(x))
    with torch.no_grad():
        z = y.clone()
    return net.b(y + z)


def at_random(net: Any, x: Tensor) -> Tensor:
    return net.b(F.dropout(F.relu(net.a(x)), 0.5, training=True))


def by_its_maximum(net: Any, x: Tensor) -> Tensor:
    return net.b(F.relu(net.a(x)) / x.max().item())


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (of_its_own, "clone without a gradient, or with one of its own"),
        (in_part_without_gradient, "clone without a gradient"),
        (at_random, "random numbers"),
        (by_its_maximum, "looks at numbers"),
    ],
)
def test_full_passes_where_they_are_needed(run: Callable[[Any, Tensor], Tensor], why: str) -> None:
    network = network_of(Net(run, a=conv(3, 4), b=conv(4, 2)).double(), (3, 10, 12))
    images = images_of(1, 3, 10, 12)
    before, behind = record(network.module, images).layers()
    for each in some_of(behind, 1):  # alone, for the random numbers
        (found,) = check(network, images, [each])
        assert found.whole is not None
        assert why in found.whole
    assert all(found.whole is None for found in check(network, images, some_of(before, 1)))


def test_hooks_take_a_full_pass() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(1, *TRUNK)
    handle = network.module[2].register_full_backward_hook(lambda _, inputs, __: (2 * inputs[0],))
    (found,) = check(network, images, [(0, neuron("3:0@4,4"))])
    handle.remove()
    (plain,) = project(network, images, [(0, neuron("3:0@4,4"))])
    assert found.whole == "the network has hooks for its backward pass"
    torch.testing.assert_close(found.values, 2 * plain.values)


# --- nothing to show, and mistakes -----------------------------------------------------------------------------------


@every_rule
def test_an_inactive_unit(rule: Rule | None) -> None:
    net = trunk()
    with torch.no_grad():
        net[3].bias[1] = -1e3
    network, images = network_of(net, TRUNK), images_of(1, *TRUNK)
    silent, loud = project(network, images, [(0, neuron("3:1@4,4")), (0, neuron("3:0@4,4"))], rule)
    assert silent.start == 0
    assert not silent.values.any()
    assert silent.values.shape == loud.values.shape


def test_what_is_not_finite_is_named() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(3, *TRUNK)
    neurons: Neurons = [(2, neuron("3:0@4,4")), (1, neuron("3:0@4,4"))]
    images[1, 0, 3, 3] = math.nan
    with pytest.raises(NotFiniteError, match="the input of image 1 is not finite"):
        project(network, images, neurons)
    images[1] = 1e200
    with torch.no_grad():
        network.module[0].weight.fill_(1e200)
    with pytest.raises(NotFiniteError, match="the score of image 1 is not finite"):
        project(network, images, neurons[1:])


def test_the_gradient_is_checked() -> None:
    """Of the square root at zero it is infinite."""
    net = Net(lambda net, x: net.b(torch.sqrt(F.relu(net.a(x)))), a=conv(1, 1, 1, bias=False), b=conv(1, 1, 1)).double()
    with torch.no_grad():
        net.b.weight.fill_(1)
        net.b.bias.fill_(1)
    with pytest.raises(NotFiniteError, match="the gradient of image 1 is not finite"):
        project(network_of(net, (1, 4, 4)), torch.zeros(2, 1, 4, 4).double(), [(1, neuron("b:0@1,1"))])


def test_a_neuron_that_no_gradient_connects_with_the_image() -> None:
    net = Net(lambda net, x: net.b(F.relu(net.a(x)).detach()), a=conv(3, 4), b=conv(4, 2)).double()
    with pytest.raises(AttributionError, match="not connected with the image"):
        project(network_of(net, (3, 8, 9)), images_of(1, 3, 8, 9), [(0, neuron("b:0@1,1"))])


def test_mistakes_are_named() -> None:
    network, images = network_of(trunk(), TRUNK), images_of(2, *TRUNK)
    assert project(network, images, []) == []
    with pytest.raises(AttributionError, match="images 0 to 2, and there are 2"):
        project(network, images, [(0, neuron("3:0@0,0")), (2, neuron("3:0@0,0"))])
    with pytest.raises(AddressError, match="no convolution or linear layer '7'"):
        project(network, images, [(0, neuron("7:0@0,0"))])
    with pytest.raises(AddressError, match="the map of layer 3 has 9 rows and 10 columns"):
        project(network, images, [(0, neuron("3:0@9,0"))])
