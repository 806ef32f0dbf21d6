"""Values read in a forward pass: the same as a slow definition gives, whatever the network writes over them later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

from convscope.capture import run
from convscope.errors import CaptureError
from convscope.graph import Graph, LayerNode
from convscope.recorder import record
from odd_nets import ODD_NETS, Net, OddNet, conv

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)

_LAYERS = {"conv2d", "conv_transpose2d", "linear", "matmul"}
_FOLLOWERS = {
    "batch_norm", "relu", "threshold", "clamp", "clamp_min", "silu", "gelu", "hardswish", "hardtanh", "relu6",
    "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "mish",
}  # fmt: skip
_NOTHING = {"dropout", "feature_dropout"}  # in evaluation mode


class Watch(TorchFunctionMode):
    """The slow definition: at the level of Python, a copy of what each layer and what comes after it gave.

    ``chains[k]`` holds the output of the k-th layer that ran and of the batch norm and rectifier behind it.

    Args:
        edit: (k, i): put 0.7 in place of the i-th value of that chain, for all that comes after.
    """

    def __init__(self, edit: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.edit = edit
        self.chains: list[list[Tensor]] = []
        self.owners: dict[int, int] = {}
        self.alive: list[Tensor] = []  # so that no id is used twice

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.__name__.strip("_")
        owner = self.owners.get(id(args[0])) if args else None
        if name in _LAYERS:
            self.chains.append([])
            owner = len(self.chains) - 1
        if owner is not None and name in _LAYERS | _FOLLOWERS:
            self.keep(result, owner)
        elif owner is not None and name in _NOTHING:
            self.owners[id(result)] = owner
            self.alive.append(result)
        return result

    def keep(self, result: Tensor, owner: int) -> None:
        if (owner, len(self.chains[owner])) == self.edit:
            result.fill_(0.7)
        self.chains[owner].append(result.clone())
        self.owners[id(result)] = owner
        self.alive.append(result)


def watched(net: nn.Module, images: Tensor, edit: tuple[int, int] | None = None) -> tuple[Watch, list[Tensor]]:
    with torch.no_grad(), Watch(edit) as watch:
        result = net(images.clone())
    return watch, tree_leaves(result)


def kept(values: dict[int, Tensor], value: int) -> Callable[[Tensor], None]:
    def tap(tensor: Tensor) -> None:
        values[value] = tensor.clone()

    return tap


def read(net: nn.Module, images: Tensor, graph: Graph, at: str) -> dict[int, Tensor]:
    values: dict[int, Tensor] = {}
    wanted = [layer.value(at) for layer in graph.layers()]
    run(net, images, graph, {value: kept(values, value) for value in wanted})
    return values


def slow_value(watch: Watch, odd: OddNet, number: int, layer: LayerNode, at: str) -> Tensor:
    steps = len(odd.reads[str(layer.address)].split())
    return watch.chains[number][steps if at == "response" else 0]


def layer_value(net: nn.Module, images: Tensor, graph: Graph, value: int) -> Tensor:
    values: dict[int, Tensor] = {}
    run(net, images, graph, {value: kept(values, value)})
    return values[value]


# --- reading ---------------------------------------------------------------------------------------------------------


@every_odd_net
@pytest.mark.parametrize("at", ["output", "response"])
@pytest.mark.parametrize(
    ("recorded", "batch", "layout"), [(2, 2, torch.contiguous_format), (1, 5, torch.channels_last)]
)
def test_values_are_those_of_the_slow_definition(
    odd: OddNet, at: str, recorded: int, batch: int, layout: torch.memory_format
) -> None:
    net = odd.make()
    graph = record(net, odd.images(recorded))
    images = odd.images(batch, seed=1).to(memory_format=layout)
    watch, _ = watched(net, images)
    values = read(net, images, graph, at)
    assert len(watch.chains) == len(graph.layers())
    for number, layer in enumerate(graph.layers()):
        value = values[layer.value(at)]
        torch.testing.assert_close(value, slow_value(watch, odd, number, layer, at), msg=f"{layer.address} {at}")
        assert tuple(value.movedim(layer.channel, 1).shape) == (batch, *layer.shape)


@every_odd_net
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_pass_gives_what_the_network_gives(odd: OddNet, batch: int) -> None:
    """For every batch size and memory format, in evaluation mode, and with the gradients of the network."""
    net, images = odd.make(), odd.images(batch, seed=3)
    graph = record(net, odd.images(2))
    for given in (images, images.to(memory_format=torch.channels_last)):
        with torch.no_grad():
            plain = tree_leaves(net(given.clone()))
        found = tree_leaves(run(net.train(), given, graph, {}))
        torch.testing.assert_close(found, plain)
        assert all(module.training for module in net.modules())
        net.eval()


@every_odd_net
def test_gradients_pass_through_a_tapped_pass(odd: OddNet) -> None:
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    gradients = []
    for forward in (net, lambda x: run(net, x, graph, {layer.response: lambda _: None for layer in graph.layers()})):
        pixels = images.clone().requires_grad_()
        leaves = [leaf.square().sum() for leaf in tree_leaves(forward(pixels * 1))]
        gradients.append(torch.autograd.grad(sum(leaves), pixels)[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_value_that_is_only_looked_at_is_overwritten_later() -> None:
    """Why a tap has to clone: the tensor is lent. What a tap reads at once is right."""
    odd = ODD_NETS["inplace_relu"]
    net, images, lent, least = odd.make(), odd.images(2), [], []

    def tap(tensor: Tensor) -> None:
        lent.append(tensor)
        least.append(float(tensor.min()))

    graph = record(net, images)
    run(net, images, graph, {graph.layers()[0].output: tap})
    assert least[0] < 0
    assert float(lent[0].detach().min()) == 0


def test_two_calls_of_a_module_are_two_values() -> None:
    odd = ODD_NETS["called_twice"]
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    _, first, second, _ = (layer_value(net, images, graph, layer.output) for layer in graph.layers())
    torch.testing.assert_close(second, net.block[0](F.relu(first)))
    assert not torch.allclose(first, second)


def test_only_what_is_computed_can_be_tapped() -> None:
    odd = ODD_NETS["single_conv"]
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    with pytest.raises(CaptureError, match=f"value {graph.input} of the graph is not the result of a computation"):
        run(net, images, graph, {graph.input: lambda _: None})


# --- editing ---------------------------------------------------------------------------------------------------------


@every_odd_net
@pytest.mark.parametrize("at", ["output", "response"])
def test_an_edited_value_is_what_comes_after_sees(odd: OddNet, at: str) -> None:
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    plain, changed = tree_leaves(run(net, images, graph, {})), False
    for number, layer in enumerate(graph.layers()):
        steps = len(odd.reads[str(layer.address)].split()) if at == "response" else 0
        _, expected = watched(net, images, edit=(number, steps))
        with torch.no_grad():
            found = tree_leaves(run(net, images, graph, {layer.value(at): lambda value: torch.full_like(value, 0.7)}))
        torch.testing.assert_close(found, expected, msg=f"{layer.address} {at}")
        changed |= any(not torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    assert changed


def test_what_a_tap_returns_replaces_the_value_only_if_it_is_a_tensor() -> None:
    odd = ODD_NETS["inplace_relu"]
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    response = graph.layers()[0].response
    plain = net(images)
    assert torch.equal(run(net, images, graph, {response: lambda _: None}), plain)
    assert torch.equal(run(net, images, graph, {response: lambda tensor: tensor}), plain)
    one = [2 * layer_value(net, images, graph, response)]
    expected = net[2:](one[0])
    torch.testing.assert_close(run(net, images, graph, {response: lambda _: one[0]}), expected)


# --- stopping --------------------------------------------------------------------------------------------------------


@every_odd_net
def test_a_stopped_pass_reads_the_same(odd: OddNet) -> None:
    net, images = odd.make(), odd.images(2)
    graph = record(net, images)
    for layer in graph.layers():
        values: dict[int, Tensor] = {}
        assert run(net, images, graph, {layer.response: kept(values, layer.response)}, stop=True) is None
        torch.testing.assert_close(values[layer.response], layer_value(net, images, graph, layer.response))


class Trap(nn.Module):
    """Raises where it is armed."""

    armed = False

    def forward(self, x: Tensor) -> Tensor:
        if self.armed:
            raise ValueError("the trap")
        return x


def test_nothing_runs_after_the_last_tap() -> None:
    net = nn.Sequential(conv(3, 4), nn.ReLU(), Trap(), conv(4, 2), Trap())
    images = torch.randn(2, 3, 6, 6)
    graph = record(net, images)
    first, second = graph.layers()
    net[4].armed = True
    assert run(net, images, graph, {second.output: lambda _: None, first.response: lambda _: None}, stop=True) is None
    net[2].armed = True
    assert run(net, images, graph, {first.response: lambda _: None}, stop=True) is None
    with pytest.raises(ValueError, match="the trap"):
        run(net, images, graph, {second.output: lambda _: None}, stop=True)


def test_a_network_that_catches_exceptions_does_not_catch_the_stop() -> None:
    def careful(net: Any, x: Tensor) -> Tensor:
        try:
            return net.a(x)
        except Exception:
            return net.b(x)

    net = Net(careful, a=conv(3, 4), b=conv(3, 4))
    graph = record(net, torch.randn(1, 3, 6, 6))
    assert run(net, torch.randn(1, 3, 6, 6), graph, {graph.layers()[0].output: lambda _: None}, stop=True) is None


# --- passes that are not the recorded one ----------------------------------------------------------------------------


def strays(net: nn.Module, match: str) -> None:
    """A pass on black images must be told from the recorded one on white images."""
    graph = record(net, torch.ones(1, 3, 6, 6))
    run(net, torch.full((1, 3, 6, 6), 2.0), graph, {})
    with pytest.raises(CaptureError, match=match):
        run(net, torch.zeros(1, 3, 6, 6), graph, {})
    assert left() == (None, 0)


def test_other_operations_are_an_error() -> None:
    net = Net(lambda net, x: F.relu(net.a(x)) if x.any() else torch.tanh(net.a(x)), a=conv(3, 4))
    strays(net, r"was 'tanh', where the recorded pass ran 'relu' in ''")


def test_fewer_and_more_operations_are_an_error() -> None:
    strays(
        Net(lambda net, x: F.relu(net.a(x)) if x.any() else net.a(x), a=conv(3, 4)), "ran . operations, the recorded"
    )
    strays(Net(lambda net, x: net.a(x) if x.any() else F.relu(net.a(x)), a=conv(3, 4)), "ran nothing more")


@pytest.mark.parametrize("make", [lambda: conv(3, 3), lambda: nn.Linear(6, 6), lambda: nn.BatchNorm2d(3)])
def test_the_same_operations_with_other_weights_are_an_error(make: Callable[[], nn.Module]) -> None:
    net = Net(lambda net, x: net.a(x) if x.any() else net.b(x), a=make(), b=make())
    strays(net, r"with \['b.bias', 'b.weight'\], where the recorded pass ran the same with \['a.bias', 'a.")


def test_a_copy_of_the_network_runs_on_the_same_graph() -> None:
    """Names of parameters count, not the tensors: weights may be loaded, moved or shuffled after the recording."""
    odd = ODD_NETS["residual"]
    images = odd.images(2)
    graph, other = record(odd.make(), images), odd.make(seed=1)
    torch.testing.assert_close(run(other, images, graph, {}), other(images))


def test_the_images_are_left_as_they_were() -> None:
    odd = ODD_NETS["writes_its_input"]
    net, images = odd.make(), odd.images(2)
    before = images.clone()
    run(net, images, record(net, images), {})
    assert torch.equal(images, before)


# --- what is left ----------------------------------------------------------------------------------------------------


def left() -> tuple[Any, int]:
    return _get_current_dispatch_mode(), torch._C._len_torch_function_stack()


@every_odd_net
@pytest.mark.parametrize("trouble", ["tap", "network", "stop", "none"])
def test_nothing_is_left_behind(odd: OddNet, trouble: str) -> None:
    def raises(_: Tensor) -> None:
        raise ValueError("the trap")

    trap = Trap()
    net, images = nn.Sequential(odd.make(), trap), odd.images(2)
    graph = record(net, images)
    for i, module in enumerate(net.modules()):
        module.training = i % 2 == 0
    state = [(name, tensor.tolist()) for name, tensor in net.state_dict().items()]
    attributes = [(module.training, sorted(vars(module))) for module in net.modules()]
    hooks = [len(hook) for module in net.modules() for name, hook in vars(module).items() if name.endswith("hooks")]
    trap.armed = trouble == "network"
    taps = {graph.layers()[-1].response: raises if trouble == "tap" else lambda _: None}
    if trouble in {"tap", "network"}:
        with pytest.raises(ValueError, match="the trap"):
            run(net, images, graph, taps)
    else:
        run(net, images, graph, taps, stop=trouble == "stop")
    assert left() == (None, 0)
    assert [(name, tensor.tolist()) for name, tensor in net.state_dict().items()] == state
    assert [(module.training, sorted(vars(module)) if module is not trap else []) for module in net.modules()] == [
        (mode, names if module is not trap else [])
        for (mode, names), module in zip(attributes, net.modules(), strict=True)
    ]
    after = [len(hook) for module in net.modules() for name, hook in vars(module).items() if name.endswith("hooks")]
    assert after == hooks
