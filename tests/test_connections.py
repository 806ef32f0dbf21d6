"""The strongest connections of every unit, against a sort of all of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convscope
from convscope.atlas import Atlas
from convscope.atlas.connections import Connection
from convscope.graph import Graph, LayerNode
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.scanner.connections import connections
from convscope.wiring import wiring
from odd_nets import ODD_NETS, Net, conv

End = tuple[int, int]  # layer and unit


def stds_of(layers: tuple[LayerNode, ...], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(seed)
    return {str(layer.address): generator.integers(1, 4, layer.units) / 4 for layer in layers}  # with ties


def kernel(net: nn.Module, name: str, unit: int, channel: int) -> Tensor | None:
    """The weights from an input channel to a unit; None where they lie in different groups."""
    module = net.get_submodule("" if name == "." else name)
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.Linear):
        return weight[unit, channel].reshape(1)
    groups = module.groups
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    outputs, inputs = module.out_channels // groups, module.in_channels // groups
    if unit // outputs != channel // inputs:
        return None
    if isinstance(module, nn.ConvTranspose2d):
        return weight[channel, unit % outputs].reshape(-1)
    return weight[unit, channel % inputs].reshape(-1)


def brute(
    net: nn.Module, graph: Graph, stds: dict[str, np.ndarray[Any, Any]]
) -> dict[tuple[End, End], tuple[float, float]]:
    """Strength and weight of every connection, by its two ends: who feeds, and who is fed."""
    layers, wires = graph.layers(), wiring(graph, receptive_fields(graph))
    found: dict[tuple[End, End], tuple[float, float]] = {}
    for index, layer in enumerate(layers):
        for unit in range(layer.units):
            kernels: dict[End, list[Tensor]] = defaultdict(list)
            for channel in range(len(wires[index].channels)):
                part = kernel(net, layer.address.name, unit, channel)
                for source in wires[index].sources(channel) if part is not None else ():
                    assert part is not None
                    kernels[source].append(part)
            for (other, feeding), parts in kernels.items():
                if other >= 0:
                    whole = torch.cat(parts).detach().double()
                    strength = float(whole.norm()) * float(stds[str(layers[other].address)][feeding])
                    found[(other, feeding), (index, unit)] = strength, float(whole.sum())
    return found


def strongest(ends: list[tuple[float, End]]) -> list[End]:
    return [end for _, end in sorted(ends, key=lambda each: (-each[0], each[1]))[:8]]


FEW = sorted(set(ODD_NETS) - {"functional_layers", "weight_norm"})


@pytest.mark.parametrize("name", FEW)
def test_connections_are_those_of_a_sort_of_all(name: str) -> None:
    odd = ODD_NETS[name]
    check(odd.make(), odd.images(1))


def check(net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():  # few values, so that many connections are equally strong
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                module.weight.copy_((module.weight * 2).round().sign() / 2 + 0.25)
    graph = record(net, images)
    layers, stds = graph.layers(), stds_of(graph.layers())
    arrays = connections(graph, layers, wiring(graph, receptive_fields(graph)), stds)
    every = brute(net, graph, stds)
    for index, layer in enumerate(layers):
        for unit in range(layer.units):
            fed = [(value, a) for (a, b), (value, _) in every.items() if b == (index, unit)]
            feeds = [(value, b) for (a, b), (value, _) in every.items() if a == (index, unit)]
            assert ends(arrays, layer, unit, "inputs") == strongest(rounded(fed))
            assert ends(arrays, layer, unit, "outputs") == strongest(rounded(feeds))
            total = arrays[f"{layer.address}|total"][unit]
            assert float(total) == pytest.approx(sum(value for value, _ in fed), abs=1e-6)
            for i, end in enumerate(strongest(rounded(fed))):
                value, weight = every[end, (index, unit)]
                assert float(arrays[f"{layer.address}|input_strengths"][unit, i]) == pytest.approx(value, rel=1e-5)
                assert float(arrays[f"{layer.address}|input_weights"][unit, i]) == pytest.approx(weight, abs=1e-5)


def rounded(ends: list[tuple[float, End]]) -> list[tuple[float, End]]:
    """What is equal but for the order of a sum is equal."""
    return [(round(value, 9), end) for value, end in ends]


def ends(arrays: dict[str, Tensor], layer: LayerNode, unit: int, kind: str) -> list[End]:
    rows: list[list[int]] = arrays[f"{layer.address}|{kind}"][unit].tolist()
    return [(a, b) for a, b in rows if a >= 0]


def test_many_units_and_residual_sums() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        x = F.relu(x + net.b(F.relu(net.a(x))))
        return net.head(F.adaptive_avg_pool2d(torch.cat([x, x], 1), 2).flatten(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = Net(run, stem=conv(3, 12), a=conv(12, 12, groups=3), b=conv(12, 12, 1), head=nn.Linear(96, 20))
    check(net.eval(), torch.randn(1, 3, 9, 8, generator=torch.Generator().manual_seed(0)))


def test_weights_that_are_computed_at_every_call() -> None:
    odd = ODD_NETS["weight_norm"]
    net = odd.make()
    graph = record(net, odd.images(1))
    layers, stds = graph.layers(), stds_of(graph.layers())
    arrays = connections(graph, layers, wiring(graph, receptive_fields(graph)), stds)
    weight = net[2].weight  # type: ignore[index]
    strengths = weight[1].flatten(1).norm(dim=1).detach().numpy() * stds["0"]
    assert arrays["2|input_strengths"][1, :4].tolist() == pytest.approx(sorted(strengths.tolist(), reverse=True))


def test_functional_layers_have_connections() -> None:
    odd = ODD_NETS["functional_layers"]
    net = odd.make()
    graph = record(net, odd.images(1))
    layers, stds = graph.layers(), stds_of(graph.layers())
    arrays = connections(graph, layers, wiring(graph, receptive_fields(graph)), stds)
    matrix = net.matrix.detach().abs().numpy() * stds["./convolution~1"]
    assert arrays["./mm|inputs"][0, 0].tolist() == [1, int(matrix[0].argmax())]


def test_units_that_never_vary_feed_nobody() -> None:
    odd = ODD_NETS["residual"]
    graph = record(odd.make(), odd.images(1))
    stds = stds_of(graph.layers()) | {"stem": np.array([0.0, np.nan, 1.0, 0.0])}
    arrays = connections(graph, graph.layers(), wiring(graph, receptive_fields(graph)), stds)
    assert {tuple(end) for end in arrays["conv1|inputs"][0].tolist()} == {(0, 2), (-1, -1)}
    assert (arrays["stem|outputs"][1] == -1).all()
    assert np.isfinite(arrays["conv1|total"].numpy()).all()


def atlas_of(tmp_path: Path, layers: list[str] | None = None) -> Atlas:
    odd = ODD_NETS["residual"]
    network = convscope.wrap(odd.make(), preprocess={"size": [16, 20]}, name="residual")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 20), np.uint8)
    return convscope.scan(network, convscope.Arrays(pixels), tmp_path / "atlas", layers=layers)


def test_an_atlas_has_the_connections_of_its_units(tmp_path: Path) -> None:
    atlas = atlas_of(tmp_path)
    unit = atlas.layer("conv1")[1]
    weight = ODD_NETS["residual"].make().conv1.weight[1].detach().flatten(1)  # type: ignore[union-attr, operator]
    std = torch.tensor(atlas.layer("stem").summary["std"])
    strengths = weight.norm(dim=1) * std
    assert [each.unit for each in unit.inputs] == strengths.argsort(descending=True).tolist()
    first = unit.inputs[0]
    assert isinstance(first, Connection)
    assert first.layer == "stem"
    assert first.strength == pytest.approx(float(strengths.max()), rel=1e-5)
    assert first.weight == pytest.approx(float(weight[first.unit].sum()), rel=1e-5)
    assert sum(each.share for each in unit.inputs) == pytest.approx(1, rel=1e-5)
    assert {each.layer for each in atlas.layer("stem")[0].outputs} == {"conv1", "down"}
    assert {each.layer for each in atlas.layer("head")[0].inputs} == {"conv2", "down"}
    assert atlas.layer("head")[0].outputs == ()
    assert atlas.layer("stem")[0].inputs == ()
    back = next(each for each in atlas.layer("stem")[first.unit].outputs if (each.layer, each.unit) == ("conv1", 1))
    assert (back.strength, back.weight, back.share) == (first.strength, first.weight, first.share)


def test_layers_that_were_not_scanned_are_left_out(tmp_path: Path) -> None:
    atlas = atlas_of(tmp_path, ["stem", "conv1", "head"])
    assert {each.layer for each in atlas.layer("stem")[0].outputs} == {"conv1"}
    assert atlas.layer("head")[0].inputs == ()


def test_an_atlas_without_connections_says_nothing(tmp_path: Path) -> None:
    atlas = atlas_of(tmp_path)
    files = {name: file for name, file in atlas.run["files"].items() if name != "connections.safetensors"}
    older = Atlas(atlas.path, {**atlas.run, "files": files})
    assert older.layer("conv1")[1].inputs == ()
    assert older.layer("conv1")[1].outputs == ()
