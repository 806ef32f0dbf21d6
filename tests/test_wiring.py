"""Who feeds whom, against the gradient: a unit is a source of an input channel just where it can change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope.graph import Graph
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.wiring import IMAGE, Wires, wiring
from odd_nets import ODD_NETS, Net, OddNet, conv


def wired(net: nn.Module, images: Tensor) -> tuple[Graph, tuple[Wires, ...]]:
    graph = record(net, images)
    return graph, wiring(graph, receptive_fields(graph))


def units(layer: int, count: int) -> list[tuple[tuple[int, int], ...]]:
    return [((layer, unit),) for unit in range(count)]


def of(wires: Wires) -> list[tuple[tuple[int, int], ...]]:
    return [wires.sources(channel) for channel in range(len(wires.channels))]


# --- the oracle ------------------------------------------------------------------------------------------------------


def gradients(net: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Input and raw output of every convolution and linear layer as it runs; each output is a leaf of the gradient."""
    found: list[tuple[Tensor, Tensor]] = []

    def watched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            output = function(x.detach(), weight, *args, **kwargs).detach().requires_grad_()
            found.append((x, output))
            return output * 1  # so that what writes in place writes into a copy

        return run

    names = {"conv2d": F.conv2d, "conv_transpose2d": F.conv_transpose2d, "linear": F.linear}

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in names.values() or func is torch.conv2d:
                return watched(func)(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    with Watch():
        net(images)
    return found


GATES = {"squeeze_excite"}  # whose factors are left out
STOPPED = {  # nets with channels that mix without a layer, and the operation that does it
    "response_normalisation": {"avg_pool3d"}, "spatial_attention": {"mean", "max"},
}  # fmt: skip
PLAIN = sorted(set(ODD_NETS) - set(STOPPED) - GATES - {"functional_layers", "statistics_norms"})


def positive(odd: OddNet, seed: int) -> nn.Module:
    """The network without norms over the image, and with weights that average: all stays in (0, 1), and nothing cancels
    or is cut off.
    """
    net, generator = odd.make(), torch.Generator().manual_seed(seed)
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.LayerNorm):
            setattr(net, name, nn.Identity())
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in net.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_((0.2 + torch.rand(parameter.shape, generator=generator)) / (1.5 * fan))
    return net


def reached(odd: OddNet, graph: Graph, seed: int) -> set[tuple[int, int, int, int]]:
    """(layer, input channel, layer or IMAGE, unit) where the gradient is not zero."""
    image = torch.rand((1, *odd.shape), generator=torch.Generator().manual_seed(seed)).requires_grad_()
    pairs = gradients(positive(odd, seed), image.clone())
    assert len(pairs) == len(graph.layers())
    leaves, seen = [image, *(output for _, output in pairs)], set()
    for index, (x, _) in enumerate(pairs):
        channel = 1 if graph.layers()[index].channel == 1 else x.ndim - 1
        for c in range(x.shape[channel]):
            grads = torch.autograd.grad(x.select(channel, c).sum(), leaves, retain_graph=True, allow_unused=True)
            for leaf, grad in enumerate(grads):
                if grad is not None:
                    dim = 1 if leaf == 0 else graph.layers()[leaf - 1].channel
                    amount = grad.abs().movedim(dim, 0).flatten(1).sum(1)
                    seen |= {(index, c, leaf - 1, int(unit)) for unit in amount.nonzero().flatten()}
    return seen


@pytest.mark.parametrize("name", PLAIN)
def test_sources_are_where_the_gradient_is_not_zero(name: str) -> None:
    odd = ODD_NETS[name]
    graph, wires = wired(odd.make(), odd.images(1))
    seen = set().union(*(reached(odd, graph, seed) for seed in range(6)))  # a maximum passes only the largest on
    said = {
        (index, channel, *source)
        for index, each in enumerate(wires)
        for channel in range(len(each.channels))
        for source in each.sources(channel)
    }
    assert all(each.stopped(channel) is None for each in wires for channel in range(len(each.channels)))
    assert said == seen


# --- examples written out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NETS)
def test_every_odd_net(name: str) -> None:
    odd = ODD_NETS[name]
    graph, wires = wired(odd.make(), odd.images(2))
    assert [each.layer for each in wires] == list(graph.layers())
    for index, each in enumerate(wires):
        for channel in range(len(each.channels)):
            sources, stopped = each.sources(channel), each.stopped(channel)
            assert bool(sources) != bool(stopped)
            assert list(sources) == sorted(set(sources))
            assert all(layer < index for layer, _ in sources)
    stops = {each.stopped(c) for each in wires for c in range(len(each.channels))} - {None}
    assert stops == STOPPED.get(name, set())


def test_the_first_layer_sees_the_image() -> None:
    odd = ODD_NETS["residual"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[0]) == units(IMAGE, 3)


def test_a_sum_has_the_sources_of_its_terms() -> None:
    odd = ODD_NETS["residual"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[4]) == [((2, c), (3, c)) for c in range(4)]


def test_concatenation_and_channel_shuffle() -> None:
    odd = ODD_NETS["channel_shuffle"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[1]) == [((0, c),) for c in (0, 2, 1, 3)]
    assert of(wires[2]) == units(1, 2)
    # cat(c0, c1, b2, b3) shuffled to c0, b2, c1, b3 and chosen by 2, 0, 3, 1
    assert of(wires[3]) == [((2, 1),), ((2, 0),), ((1, 3),), ((1, 2),)]


def test_a_flattened_map_knows_its_channels() -> None:
    odd = ODD_NETS["fully_connected_head"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[2]) == [((1, feature // 20),) for feature in range(100)]


def test_a_gate_is_no_source() -> None:
    odd = ODD_NETS["squeeze_excite"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[3]) == units(0, 4)
    assert of(wires[1]) == units(0, 4)
    assert of(wires[2]) == units(1, 2)


def test_what_mixes_channels_ends_the_way() -> None:
    net = Net(lambda net, x: net.b(F.softmax(net.a(x), 1)), a=conv(3, 4), b=conv(4, 2))
    _, wires = wired(net.eval(), torch.randn(1, 3, 8, 8))
    assert [wires[1].stopped(c) for c in range(4)] == ["_softmax"] * 4
    assert of(wires[1]) == [()] * 4


def test_a_part_that_was_written() -> None:
    odd = ODD_NETS["writes_a_part"]
    _, wires = wired(odd.make(), odd.images(1))
    assert of(wires[2]) == [((0, c), (1, c)) for c in range(4)]


def test_a_chain_of_residual_blocks_gathers_its_sources() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        for block in net.blocks:
            x = F.relu(x + block(x))
        return net.head(x.mean((2, 3)))

    blocks = nn.ModuleList(nn.Sequential(conv(4, 4), nn.ReLU(), conv(4, 4)) for _ in range(3))
    net = Net(run, stem=conv(3, 4), blocks=blocks, head=nn.Linear(4, 2))
    _, wires = wired(net.eval(), torch.randn(1, 3, 8, 8))
    assert of(wires[7]) == [((0, c), (2, c), (4, c), (6, c)) for c in range(4)]
