"""The executed graph: layers, their addresses, where their units are read, and a network that is left as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convscope.address import Layer
from convscope.errors import AddressError, NetworkError
from convscope.graph import Graph, LayerNode, sources
from convscope.recorder import record
from odd_nets import ODD_NETS, Net, OddNet, conv

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)


def recorded(odd: OddNet, batch: int = 2) -> Graph:
    return record(odd.make(), odd.images(batch))


def path(graph: Graph, layer: LayerNode) -> str:
    """The operations from the output of a layer to its response."""
    value, found = layer.response, []
    while value != layer.output:
        node = graph.producers[value]
        found.append("batch_norm" if "batch_norm" in node.op else node.op.removesuffix("_"))
        value = node.inputs[0]
    return " ".join(reversed(found))


# --- layers ----------------------------------------------------------------------------------------------------------


@every_odd_net
def test_layers_and_responses_are_those_of_the_network(odd: OddNet) -> None:
    graph = recorded(odd)
    assert {str(layer.address): path(graph, layer) for layer in graph.layers()} == odd.reads
    assert [str(layer.address) for layer in graph.layers()] == list(odd.reads)  # in the order in which they ran
    for layer in graph.layers():
        rectifier = odd.reads[str(layer.address)].replace("batch_norm", "").strip()
        assert layer.nonlinearity == (rectifier or None)
        assert layer.value("response") == layer.response
        assert layer.value("output") == layer.output


@every_odd_net
@pytest.mark.parametrize("change", ["batch", "memory format", "training", "frozen"])
def test_layers_do_not_depend_on_how_the_network_is_run(odd: OddNet, change: str) -> None:
    net, images = odd.make(), odd.images(5 if change == "batch" else 1)
    if change == "memory format":
        images = images.to(memory_format=torch.channels_last)
    net.train(change == "training").requires_grad_(change != "frozen")
    expected = record(odd.make(), odd.images(1))
    assert described(record(net, images)) == described(expected)


def described(graph: Graph) -> list[Any]:
    return [
        (layer.address, layer.kind, layer.nonlinearity, layer.shape, layer.channel, layer.parameters, layer.flops)
        for layer in graph.layers()
    ]


@every_odd_net
def test_flops_are_those_that_pytorch_counts(odd: OddNet) -> None:
    net = odd.make()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(odd.images(2))
    assert sum(layer.flops for layer in record(net, odd.images(2)).layers()) == counter.get_total_flops() / 2


# One has no modules and is counted by hand below, the other computes its weights from more parameters than weights.
@pytest.mark.parametrize("name", sorted(ODD_NETS.keys() - {"functional_layers", "weight_norm"}))
def test_parameters_are_those_of_the_module(name: str) -> None:
    odd = ODD_NETS[name]
    net = odd.make()
    for layer in record(net, odd.images(1)).layers():
        module = net.get_submodule(layer.address.name.lstrip("."))
        own = sum(parameter.numel() for parameter in module.parameters())
        assert layer.parameters == own, layer.address


def test_counts_by_hand() -> None:
    def described(odd: str, name: str) -> tuple[str, tuple[int, ...], int, int]:
        layer = recorded(ODD_NETS[odd]).layer(Layer(name))
        return layer.kind, layer.shape, layer.parameters, layer.flops

    # A convolution: 3 · 3 · 3 weights and a bias for each of 4 units, on 16 · 20 positions, two operations a weight.
    assert described("fully_connected_head", "0") == ("conv2d", (4, 16, 20), 4 * 28, 2 * 16 * 20 * 4 * 27)
    assert described("fully_connected_head", "7") == ("linear", (6,), 6 * 101, 2 * 600)
    # In two groups each unit sees 3 of the 6 channels.
    assert described("grouped", "4") == ("conv2d (groups 2)", (4, 6, 7), 4 * 28, 2 * 6 * 7 * 4 * 27)
    # Transposed: each of the 6 · 7 cells of the input meets every weight of its channel, 4 · 3 · 4.
    assert described("transposed", "2") == ("conv_transpose2d", (4, 12, 14), 4 * 48 + 4, 2 * 6 * 7 * 4 * 48)
    # A linear layer on (n, h, w, c): its units are the last dimension, channels first in the shape.
    assert described("convnext", "up") == ("linear", (8, 6, 8), 8 * 5, 2 * 6 * 8 * 8 * 4)
    assert described("linear_on_a_permuted_map", "c") == ("linear", (4, 12, 14), 4 * 5, 2 * 12 * 14 * 20)
    assert described("tokens", "norm_to") == ("linear", (4, 20), 4 * 5, 2 * 20 * 16)
    functional = recorded(ODD_NETS["functional_layers"]).layers()
    assert [layer.parameters for layer in functional] == [4 * 27, 4 * 4, 2 * 4]


def test_units_and_channel_dimension() -> None:
    layer = recorded(ODD_NETS["convnext"]).layer(Layer("up"))
    assert (layer.units, layer.channel) == (8, -1)
    assert recorded(ODD_NETS["convnext"]).layer(Layer("depthwise")).channel == 1


def test_a_layer_has_every_name_of_its_module() -> None:
    graph = recorded(ODD_NETS["alias"])
    assert graph.aliases == {"second": "first"}
    assert graph.layer(Layer("second")) is graph.layer(Layer("first"))
    assert graph.layer(Layer("second", call=2)) is graph.layer(Layer("first", call=2))


def test_children_of_an_alias_have_both_names() -> None:
    body = nn.Sequential(conv(3, 3), nn.ReLU())
    graph = record(Net(lambda net, x: net.b(net.a(x)), a=body, b=body), torch.randn(1, 3, 6, 6))
    assert graph.layer(Layer("b.0", call=1)) is graph.layer(Layer("a.0", call=1))


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    graph = recorded(ODD_NETS["residual"])
    with pytest.raises(AddressError, match=r"no convolution or linear layer 'conv3'; did you mean 'conv[12]' or"):
        graph.layer(Layer("conv3"))
    with pytest.raises(AddressError, match="no convolution or linear layer 'stem~1'"):
        graph.layer(Layer("stem", call=1))


# --- dependence on the input -----------------------------------------------------------------------------------------


def test_only_the_shape_of_the_input_is_no_dependence() -> None:
    blanks = {
        "zeros_like": torch.zeros_like, "ones_like": torch.ones_like, "empty_like": torch.empty_like,
        "full_like": lambda x: torch.full_like(x, 2), "rand_like": torch.rand_like,
        "new_zeros": lambda x: x.new_zeros(3), "new_full": lambda x: x.new_full((2,), 1),
        "new_empty": lambda x: x.new_empty(2), "new_ones": lambda x: x.new_ones(2),
        "zero_": lambda x: x.clone().zero_(), "fill_": lambda x: x.clone().fill_(1),
        "copy_": lambda x: x.clone().copy_(torch.ones(())),
    }  # fmt: skip
    for name, blank in blanks.items():
        graph = record(Net(lambda _, x, blank=blank: blank(x)), torch.randn(1, 3, 4, 4))
        assert name in {node.op for node in graph.nodes}
        assert graph.outputs[0] not in graph.dependent, name


def test_what_is_copied_from_the_input_depends_on_it() -> None:
    graph = record(Net(lambda _, x: torch.zeros_like(x).copy_(x)), torch.randn(1, 3, 4, 4))
    assert sources(graph.nodes[-1]) == (graph.input,)
    assert graph.outputs[0] in graph.dependent
    written = record(Net(lambda net, x: _frame(x)), torch.randn(1, 3, 4, 4))
    assert written.outputs[0] in written.dependent


def _frame(x: Tensor) -> Tensor:
    frame = x.new_zeros(x.shape[0], x.shape[1], 6, 6)
    frame[:, :, 1:-1, 1:-1] = x
    return frame


def test_weights_made_in_the_forward_pass_are_weights_and_weights_from_the_image_are_not() -> None:
    def blur(_: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, x.new_ones(2, 3, 3, 3))

    def dynamic(_: Any, x: Tensor) -> Tensor:
        return F.conv2d(x, x[:2, :, :3, :3])

    assert len(record(Net(blur), torch.randn(2, 3, 6, 6)).layers()) == 1
    assert len(record(Net(dynamic), torch.randn(2, 3, 6, 6)).layers()) == 0


def test_a_product_with_the_weights_first_is_no_layer() -> None:
    def mixed(net: Any, x: Tensor) -> Tensor:
        return net.matrix @ x.mean((2, 3)).T

    graph = record(Net(mixed, matrix=nn.Parameter(torch.randn(4, 3))), torch.randn(2, 3, 6, 6))
    assert graph.layers() == ()


# --- errors, and what is left ----------------------------------------------------------------------------------------


def test_a_network_that_does_not_run_says_on_what() -> None:
    with pytest.raises(NetworkError, match=r"does not run on images of shape \(2, 5, 8, 8\): .*channels") as caught:
        record(ODD_NETS["residual"].make(), torch.randn(2, 5, 8, 8))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(NetworkError, match="the network gave a str without a tensor in it"):
        record(Net(lambda net, x: "cat"), torch.randn(1, 3, 4, 4))


def state(net: nn.Module) -> list[Any]:
    """All of a network that a tool could change."""
    return [
        [(name, id(kept), kept._version, kept.tolist()) for name, kept in net.state_dict(keep_vars=True).items()],
        [None if parameter.grad is None else parameter.grad.tolist() for parameter in net.parameters()],
        [parameter.requires_grad for parameter in net.parameters()],
        [(name, module.training, sorted(vars(module))) for name, module in net.named_modules()],
    ]


def hooks(net: nn.Module) -> list[Any]:
    """All hooks on all modules; only weight norm has one of its own."""
    names = [name for name in vars(nn.Module()) if "hooks" in name]
    assert "_forward_pre_hooks" in names
    assert "_forward_hooks_always_called" in names
    return [hook for module in net.modules() for name in names for hook in vars(module)[name].values()]


def mixed_modes(net: nn.Module) -> nn.Module:
    """Every other module in training mode, and gradients on some parameters."""
    for i, module in enumerate(net.modules()):
        module.training = i % 2 == 0
    for i, parameter in enumerate(net.parameters()):
        parameter.grad = torch.full_like(parameter, 3) if i % 2 else None
    return net


@every_odd_net
def test_the_network_and_the_images_are_left_as_they_were(odd: OddNet) -> None:
    net, images = mixed_modes(odd.make()), odd.images(2)
    before, hooked, pixels = state(net), hooks(net), images.clone()
    record(net, images)
    assert state(net) == before
    assert hooks(net) == hooked
    assert torch.equal(images, pixels)


@every_odd_net
def test_the_network_is_left_as_it_was_also_when_it_raises(odd: OddNet) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("broken on purpose")

    net = mixed_modes(nn.Sequential(odd.make(), Broken()))
    before, hooked = state(net), hooks(net)
    with pytest.raises(NetworkError, match="broken on purpose"):
        record(net, odd.images(2))
    assert state(net) == before
    assert hooks(net) == hooked
    record(net[0], odd.images(2))  # and nothing of the failed pass is in the way of the next


def test_hooks_of_the_user_stay_and_run() -> None:
    net, calls = ODD_NETS["residual"].make(), []
    net.stem.register_forward_hook(lambda *_: calls.append("after"))
    net.stem.register_forward_pre_hook(lambda *_: calls.append("before"))
    record(net, ODD_NETS["residual"].images(1))
    assert calls == ["before", "after"]
    assert len(hooks(net)) == 2


def test_a_recorded_graph_is_the_same_again() -> None:
    odd = ODD_NETS["residual"]
    net = odd.make()
    first, second = record(net, odd.images(2)), record(copy.deepcopy(net), odd.images(2))
    assert [(node.op, node.inputs, node.outputs) for node in first.nodes] == [
        (node.op, node.inputs, node.outputs) for node in second.nodes
    ]
    assert first.batch == 2
    assert set(first.names.values()) == set(dict(net.named_parameters())) | {
        name for name, _ in net.named_buffers() if "num_batches" not in name
    }
