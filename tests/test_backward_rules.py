"""Backward rules: right for every spelling of a non-linearity, or an error that names the one out of reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from convscope import gradients
from convscope.attribution import Attribution, Deconvnet, GuidedBackprop, Saliency
from convscope.backward_rules import Rule
from convscope.errors import AttributionError
from convscope.graph import Graph
from convscope.recorder import record
from convscope.targets import understand
from explaining import images_of, network_of, odd_network
from odd_nets import ODD_NETS, Net, OddNet, conv
from slow_gradients import slow_gradient

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
RULES: dict[str, Attribution] = {
    "gradient": Saliency(signed=True),
    "deconvnet": Deconvnet(),
    "guided": GuidedBackprop(),
}

# In a deconvnet, local response normalisation passes signals on: see below.
CASES = [(rule, name) for rule in RULES for name in ODD_NETS if (rule, name) != ("deconvnet", "response_normalisation")]

pytestmark = pytest.mark.usefixtures("one_thread")


def strongest(number: int, rule: str) -> Callable[[Graph, dict[int, Tensor]], tuple[int, Tensor]]:
    """The signal that starts at unit 0 of a layer where it is largest: 1, or for deconvnet what it gives there."""

    def start(graph: Graph, values: dict[int, Tensor]) -> tuple[int, Tensor]:
        layer = graph.layers()[number]
        responses = values[layer.response].movedim(layer.channel, 1)
        signal = torch.zeros_like(responses)
        for image, response in enumerate(responses[:, 0]):
            best = max(range(response.numel()), key=lambda place: (response.flatten()[place].item(), -place))
            place = torch.unravel_index(torch.tensor(best), response.shape) if response.ndim else ()
            value = response[place].item()
            signal[(image, 0, *place)] = max(value, 0) if rule == "deconvnet" else 1
        return layer.response, signal.movedim(1, layer.channel)

    return start


# --- against the slow definition -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_maps_are_those_of_the_slow_definition(rule: str, name: str) -> None:
    """Of the first and the last layer."""
    odd = ODD_NETS[name]
    network, images = odd_network(odd), odd.images(2).double()
    network.module.double()
    layers = record(network.module, images).layers()
    for number in {0, len(layers) - 1}:
        found = RULES[rule](network, images, f"{layers[number].address}:0")
        slow = slow_gradient(network.module, images, strongest(number, rule), rule)
        torch.testing.assert_close(found.values.double(), slow, rtol=1e-5, atol=1e-6)


@every_odd_net
def test_a_rule_that_is_the_gradient_gives_the_gradient(odd: OddNet) -> None:
    """So nothing but the rule is different."""
    network, images = odd_network(odd), odd.images(2)
    graph = record(network.module, images)
    targets = understand(f"{graph.layers()[-1].address}:0", network, graph, 2)
    rule = Rule("plain", lambda signal, slope: signal * slope(), True)
    with gradients.untouched(network):
        plain = gradients.run(network, graph, images, targets)
        ruled = gradients.run(network, graph, images, targets, rule)
        torch.testing.assert_close(ruled.gradient(), plain.gradient())
    assert ruled.redirected.total() >= sum(bool(path) for path in odd.reads.values()) - (
        "batch_norm" in odd.reads.values()
    )


# --- spellings -------------------------------------------------------------------------------------------------------

# By what is written: the function, and its derivative by hand.
SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {}


def spelled(slope: Callable[[Tensor], Tensor], **ways: Callable[[Tensor], Tensor]) -> None:
    SPELLINGS.update({name: (way, slope) for name, way in ways.items()})


def inside(low: float, high: float) -> Callable[[Tensor], Tensor]:
    return lambda x: ((x > low) & (x < high)).to(x)


def normal_slope(x: Tensor) -> Tensor:
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * density


spelled(
    inside(0, math.inf),
    relu_module=nn.ReLU(), relu_module_inplace=nn.ReLU(inplace=True), relu_f=F.relu, relu_f_=F.relu_,
    relu_f_inplace=lambda x: F.relu(x, inplace=True), relu_f_keyword=lambda x: F.relu(input=x), relu_torch=torch.relu,
    relu_torch_=torch.relu_, relu_method=lambda x: x.relu(), relu_method_=lambda x: x.relu_(),
    threshold=nn.Threshold(0, 0), threshold_f=lambda x: F.threshold(x, 0, 0, inplace=True),
    clamp=lambda x: x.clamp(min=0), clamp_keyword=lambda x: torch.clamp(input=x, min=0.0),
    clamp_=lambda x: x.clamp_(0), clip=lambda x: torch.clip(x, 0), clamp_min=lambda x: x.clamp_min(0),
    clamp_min_=lambda x: torch.clamp_min_(x, 0), half=lambda x: x[:, :1].relu(),
    operator=torch.ops.aten.relu,
)  # fmt: skip
spelled(inside(-math.inf, 0), clamp_max=lambda x: x.clamp_max(0), clamp_below=lambda x: x.clamp(max=0.0))
spelled(
    inside(0, 6),
    relu6_module=nn.ReLU6(), relu6_inplace=nn.ReLU6(inplace=True), relu6_f=F.relu6, hardtanh=nn.Hardtanh(0, 6),
    hardtanh_=lambda x: F.hardtanh_(x, 0, 6), clamp_6=lambda x: x.clamp(0, 6),
)  # fmt: skip
spelled(inside(-1, 1), hardtanh_module=nn.Hardtanh(), clamp_1=lambda x: x.clamp(-1, 1))
spelled(
    lambda x: torch.where(x > 0, 1, 0.1).to(x),
    leaky=nn.LeakyReLU(0.1), leaky_inplace=nn.LeakyReLU(0.1, inplace=True), leaky_f=lambda x: F.leaky_relu(x, 0.1),
    leaky_=lambda x: F.leaky_relu_(x, 0.1), prelu=nn.PReLU(init=0.1),
    prelu_f=lambda x: torch.prelu(x, torch.tensor([0.1], dtype=x.dtype)), rrelu=nn.RReLU(0.1, 0.1).eval(),
)  # fmt: skip
spelled(
    lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid())),
    silu=nn.SiLU(),
    silu_inplace=nn.SiLU(inplace=True),
    silu_f=F.silu,
)
spelled(normal_slope, gelu=nn.GELU(), gelu_f=F.gelu)
spelled(
    lambda x: torch.where(x <= -3, 0, torch.where(x >= 3, 1, (2 * x + 3) / 6)),
    hardswish=nn.Hardswish(), hardswish_inplace=nn.Hardswish(inplace=True), hardswish_f=F.hardswish,
)  # fmt: skip
spelled(
    lambda x: x.sigmoid() * (1 - x.sigmoid()),
    sigmoid=nn.Sigmoid(), sigmoid_f=torch.sigmoid, sigmoid_=lambda x: x.sigmoid_(), expit=torch.special.expit,
)  # fmt: skip
spelled(lambda x: 1 - x.tanh() ** 2, tanh=nn.Tanh(), tanh_f=torch.tanh, tanh_=lambda x: x.tanh_())
spelled(lambda x: x.sigmoid(), softplus=nn.Softplus())
spelled(lambda x: 1 - x.sigmoid(), logsigmoid=nn.LogSigmoid())
spelled(
    lambda x: torch.where(x > 0, torch.ones_like(x), x.exp()), elu=nn.ELU(), elu_=nn.ELU(inplace=True), celu=nn.CELU()
)
spelled(lambda x: 1 / (1 + x.abs()) ** 2, softsign=nn.Softsign(), softsign_f=F.softsign)
spelled(lambda x: x.tanh() ** 2, tanhshrink=nn.Tanhshrink())
spelled(lambda x: (x.abs() > 0.5).to(x), hardshrink=nn.Hardshrink(), softshrink=nn.Softshrink())
spelled(lambda x: x.cos(), sin=torch.sin)
spelled(lambda x: 1 / (1 + x**2), atan=torch.arctan)
spelled(lambda x: inside(-3, 3)(x) / 6, hardsigmoid=nn.Hardsigmoid())

# Numbers at no kink, and a signal of either sign for each.
NUMBERS = torch.tensor([-7, -2.5, -0.7, -0.3, 0.3, 0.7, 1.7, 2.5, 5, 7.5], dtype=torch.float64)


def one_function(function: Callable[[Tensor], Tensor]) -> tuple[Any, Tensor, Tensor]:
    """A network of one function between a copy and the signal, the image, and the signal."""
    x = torch.cat([NUMBERS, NUMBERS]).reshape(1, 1, 1, -1)
    signal = torch.cat([torch.full_like(NUMBERS, 3), torch.full_like(NUMBERS, -2)]).reshape(1, 1, 1, -1)
    module = (
        Net(lambda net, x: (net.f(x + 0) * signal).sum((2, 3)), f=function)
        if isinstance(function, nn.Module)
        else Net(lambda net, x: (function(x + 0) * signal).sum((2, 3)))
    )
    return network_of(module.double(), (1, 1, 20)), x, signal


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_rules_for_every_spelling(spelling: str) -> None:
    function, slope = SPELLINGS[spelling]
    network, x, signal = one_function(function)
    derivative = slope(x)
    expected = {
        "gradient": signal * derivative,
        "deconvnet": signal.clamp(min=0),
        "guided": signal.clamp(min=0) * derivative.clamp(min=0),
    }
    for rule, method in RULES.items():
        found = method(network, x, 0)
        torch.testing.assert_close(found.values, expected[rule].float(), msg=rule)


def test_the_table_of_the_three_rules() -> None:
    """METHODS 7.0, number by number: x of either sign, a signal of either sign."""
    x = torch.tensor([2.0, -3.0, 5.0, -7.0]).reshape(1, 1, 1, 4)
    module = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        module[2].weight.copy_(torch.tensor([[1.0, 1.0, -1.0, -1.0]]))
    network = network_of(module, (1, 1, 4))
    expected = {"gradient": [1, 0, -1, 0], "deconvnet": [1, 1, 0, 0], "guided": [1, 0, 0, 0]}
    for rule, method in RULES.items():
        assert method(network, x).values.flatten().tolist() == expected[rule]


def test_what_is_written_over_later_is_no_matter() -> None:
    """The input of a non-linearity is changed after it, which plain autograd allows for a ReLU."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        y = F.relu(x)
        x.fill_(7)
        return net.b(y)

    def plain(net: Any, x: Tensor) -> Tensor:
        return net.b(F.relu(net.a(x)))

    children = {"a": conv(3, 4), "b": conv(4, 2)}
    images = torch.randn(2, 3, 6, 6)
    for method in RULES.values():
        one, other = (method(network_of(Net(way, **children), (3, 6, 6)), images, "b:0") for way in (run, plain))
        torch.testing.assert_close(one.values, other.values)


# --- out of reach ----------------------------------------------------------------------------------------------------


class HandMadeRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return signal * (ctx.saved_tensors[0] > 0)


def _in_place_by_mask(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


OUT_OF_REACH: dict[str, Callable[[Tensor], Tensor]] = {
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max": lambda x: torch.max(x, torch.tensor(0.0)),
    "maximum with a part": lambda x: torch.maximum(x, 0.1 * x),
    "minimum with a part": lambda x: -torch.fmin(-x, x * -0.1 + 0),
    "the largest of a stack": lambda x: torch.stack([torch.zeros_like(x), x], -1).amax(-1),
    "the largest of a stack of parts": lambda x: torch.stack([x, 0.1 * x]).max(0).values,
    "clamp at a tensor": lambda x: x.clamp(min=torch.tensor(0.0)),
    "clamp at a part": lambda x: torch.clamp_min(x, 0.1 * x),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "times a mask": lambda x: x * (x > 0),
    "times a mask of numbers": lambda x: (x > 0).float() * x,
    "times two masks": lambda x: x * ((x > 0) & (x < 6)),
    "addcmul": lambda x: torch.addcmul(torch.zeros_like(x), x, (x > 0).to(x)),
    "lerp": lambda x: torch.lerp(torch.zeros_like(x), x, (x > 0).to(x)),
    "masked_scatter": lambda x: torch.zeros_like(x).masked_scatter(x > 0, x[x > 0]),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "index_put": _in_place_by_mask,
    "abs": lambda x: (x + x.abs()) / 2,
    "autograd.Function": HandMadeRelu.apply,
    "x · sigmoid(x)": lambda x: x * torch.sigmoid(x),
    "x / (1 + exp(-x))": lambda x: x / (1 + torch.exp(-x)),
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu by tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "mish": lambda x: x * F.softplus(x).tanh(),
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "an operator": torch.ops.aten.relu.default,
    "checkpoint, reentrant": lambda x: checkpoint(torch.relu, x, use_reentrant=True),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("way", OUT_OF_REACH)
@pytest.mark.parametrize("method", [Deconvnet(), GuidedBackprop()], ids=lambda method: method.name)
def test_a_non_linearity_out_of_reach_is_named(way: str, method: Attribution) -> None:
    module = Net(
        lambda net, x: net.b(net.block(net.a(net.first(x)))),
        first=conv(3, 3),
        a=conv(3, 4),
        b=conv(4, 2),
        block=Net(lambda _, x: OUT_OF_REACH[way](x)),
    )
    network, images = network_of(module, (3, 6, 6)), torch.randn(2, 3, 6, 6)
    with pytest.raises(AttributionError, match=r"the non-linearity '\w+' in 'block' is out of reach of the rule"):
        method(network, images, "b:0")
    assert method(network, images, "first:0").values.any()  # it is not on the way


@pytest.mark.parametrize("way", [way for way in OUT_OF_REACH if "checkpoint" not in way])
def test_the_gradient_needs_no_rule(way: str) -> None:
    module = Net(lambda net, x: net.b(OUT_OF_REACH[way](net.a(x))).flatten(1), a=conv(3, 4), b=conv(4, 2))
    images = torch.randn(2, 3, 6, 6)
    pixels = images.clone().requires_grad_()
    expected = torch.autograd.grad(module(pixels)[:, 5].sum(), pixels)[0]
    found = Saliency(signed=True)(network_of(module, (3, 6, 6)), images, 5)
    torch.testing.assert_close(found.values, expected)


@pytest.mark.parametrize("method", RULES.values(), ids=RULES)
def test_a_checkpoint_is_right_or_an_error(method: Attribution) -> None:
    """It runs the network's function again in the backward pass, outside of the rule."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.b(checkpoint(lambda x: F.silu(net.a(x)), x, use_reentrant=False))

    children = {"a": conv(3, 4), "b": conv(4, 2)}
    images = torch.randn(2, 3, 6, 6)
    plain = method(network_of(Net(lambda net, x: net.b(F.silu(net.a(x))), **children), (3, 6, 6)), images, "b:0")
    try:
        found = method(network_of(Net(run, **children), (3, 6, 6)), images, "b:0")
    except AttributionError:
        return
    torch.testing.assert_close(found.values, plain.values)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_function_is_out_of_reach() -> None:
    rectify = torch.jit.script(_rectified)
    network = network_of(Net(lambda net, x: net.b(rectify(net.a(x))), a=conv(3, 4), b=conv(4, 2)), (3, 6, 6))
    with pytest.raises(AttributionError, match="non-linearity 'relu' in the network's own forward"):
        GuidedBackprop()(network, torch.randn(1, 3, 6, 6), "b:0")


def _rectified(x: Tensor) -> Tensor:
    return torch.relu(x)


def test_gates_and_maxima_of_two_maps_are_no_rectifiers() -> None:
    """x · sigmoid(y), max(x, y) and halves that gate each other are products and choices: only the sigmoid is bent."""
    ways: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, y: x * y.sigmoid(),
        torch.maximum,
        lambda x, y: torch.stack([x, y, 2 * x]).amax(0),
        lambda x, y: x * (x + y).sigmoid(),
        lambda x, y: x.clamp(min=y),
        lambda x, y: x.clamp(min=-0.5) * x.square().mean((2, 3), keepdim=True).clamp(min=1e-6) + y,
        lambda x, y: torch.cat([x[:, :2] * x[:, 2:].sigmoid(), y], 1),
    ]
    for way in ways:
        net = classifier_of(way).double()
        network, images = network_of(net, (3, 6, 6)), images_of(2, 3, 6, 6)
        for rule in ("deconvnet", "guided"):
            found = RULES[rule](network, images, "c:0")
            slow = slow_gradient(net, images, strongest(2, rule), rule)
            torch.testing.assert_close(found.values.double(), slow, rtol=1e-5, atol=1e-6)


def classifier_of(way: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    return Net(lambda net, x: net.c(way(net.a(x), net.b(x))[:, :4]), a=conv(3, 4), b=conv(3, 4), c=conv(4, 2))


# --- normalisation and what is said ----------------------------------------------------------------------------------


def test_local_response_normalisation_passes_signals_in_a_deconvnet_alone() -> None:
    module = nn.Sequential(nn.LocalResponseNorm(3, alpha=1.0), nn.Flatten(), nn.Linear(48, 1))
    network, images = network_of(module.double(), (3, 4, 4)), images_of(1, 3, 4, 4)
    found = Deconvnet()(network, images, 0)
    torch.testing.assert_close(found.values.flatten(), module[2].weight.flatten().float())
    assert "local_response_norm passes the signal as it is" in found.notes
    gradient = Saliency(signed=True)(network, images, 0).values
    guided = GuidedBackprop()(network, images, 0)
    torch.testing.assert_close(guided.values, gradient)
    assert "mul, pow pass the signal by their gradient" in guided.notes
    assert not torch.allclose(gradient, found.values)


def test_what_a_rule_did_is_said() -> None:
    images = torch.randn(1, 3, 12, 14)
    many = GuidedBackprop()(odd_network(ODD_NETS["many_nonlinearities"]), images, "18:0")
    assert any("silu" in note and "toolkit's extension" in note for note in many.notes)
    plain = GuidedBackprop()(odd_network(ODD_NETS["inplace_relu"]), images, "4:0")
    assert plain.notes == ()
    linear = GuidedBackprop()(network_of(conv(3, 2), (3, 12, 14)), images, ".:0")
    assert linear.notes == ("there is no non-linearity on the way: guided is the gradient",)
