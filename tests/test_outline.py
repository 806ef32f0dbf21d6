"""The outline of a graph: what is drawn of a network, in which order, and what feeds what."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convscope.outline import outline
from convscope.recorder import record
from convscope.zoo import lenet5
from convscope.zoo.library import import_torchvision
from odd_nets import ODD_NETS

ODD = {
    "decides_by_a_number": "input > a > b > output",
    "single_conv": "input > . > output",
    "fully_connected_head": "input > 0 > pool > 3 > pool > 7 > 9 > output",
    "writes_its_input": "input > a > b > output",
    "padded_by_hand": "input > a > b > c > output",
    "weight_norm": "input > 0 > 2 > output",
    "asymmetric_padding": "input > a > b > output",
    "dropouts": "input > a > b > c > pool > head > output",
    "response_normalisation": "input > a > norm > b > norm > c > output",
    "statistics_norms": "input > 0 > norm > activation > 3 > norm > activation > 6 > output",
    "pixel_shuffle": "input > a > op > b > op > c > output",
    "tokens": "input > embed > norm > norm_to > back > output",
}
BRANCHES = {
    "residual": [("conv2", "add"), ("down", "add"), ("stem", "conv1"), ("stem", "down"), ("add", "activation")],
    "inception": [("input", "a"), ("input", "pool"), ("pool", "d.1"), ("b.2", "concat"), ("d.1", "concat")],
    "squeeze_excite": [("stem", "pool"), ("stem", "multiply"), ("up", "multiply"), ("multiply", "last")],
    "channel_shuffle": [("b", "c"), ("b", "concat"), ("c", "concat"), ("concat", "d")],
    "maxout": [("a", "op"), ("b", "op"), ("op", "d"), ("input", "c"), ("op", "output")],
    "writes_through_a_view": [("a", "activation"), ("a", "op"), ("activation", "op"), ("op", "b")],
    "writes_a_part": [("a", "add"), ("b", "add"), ("a", "op"), ("add", "op"), ("op", "c")],
    "convnext": [("stem", "depthwise"), ("depthwise", "norm"), ("down", "add"), ("stem", "add"), ("add", "pool")],
    "output_and_relu": [("stem", "activation"), ("stem", "output"), ("activation", "output")],
}


def drawn(name: str) -> dict[str, Any]:
    odd = ODD_NETS[name]
    graph = record(odd.make(), odd.images(2))
    return outline(graph, graph.layers())


def said(node: dict[str, Any]) -> str:
    return str(node["kind"] if node["layer"] is None else node["name"])


@pytest.mark.parametrize("name", ODD)
def test_a_chain_is_a_chain(name: str) -> None:
    found = drawn(name)
    assert " > ".join(map(said, found["nodes"])) == ODD[name]
    assert found["edges"] == [[i, i + 1] for i in range(len(found["nodes"]) - 1)]


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_and_where_they_meet(name: str) -> None:
    found = drawn(name)
    names = [said(node) for node in found["nodes"]]
    edges = {(names[a], names[b]) for a, b in found["edges"]}
    assert set(BRANCHES[name]) <= edges


@pytest.mark.parametrize("name", ODD_NETS)
def test_every_odd_net(name: str) -> None:
    odd = ODD_NETS[name]
    graph = record(odd.make(), odd.images(3))
    found = outline(graph, graph.layers())
    nodes = found["nodes"]
    assert [node["id"] for node in nodes] == list(range(len(nodes)))
    assert all(a < b for a, b in found["edges"])
    assert len({tuple(edge) for edge in found["edges"]}) == len(found["edges"])
    assert nodes[0]["kind"] == "input"
    assert nodes[0]["shape"] == list(odd.shape)
    layers = [node for node in nodes if node["kind"] in ("conv", "linear")]
    assert [node["name"] for node in layers] == list(odd.reads)
    assert [node["layer"] for node in layers] == list(range(len(layers)))
    assert [tuple(node["shape"]) for node in layers] == [layer.shape for layer in graph.layers()]
    entered = {b for _, b in found["edges"]}
    left = {a for a, _ in found["edges"]}
    for node in nodes[1:]:
        assert node["id"] in entered
        assert node["id"] in left or node["kind"] in ("output", "conv", "linear")
    assert json.loads(json.dumps(found)) == found


def test_layers_that_were_not_chosen_are_drawn_without_an_index() -> None:
    odd = ODD_NETS["residual"]
    graph = record(odd.make(), odd.images(1))
    chosen = [graph.layers()[1], graph.layers()[4]]
    layers = {node["name"]: node["layer"] for node in outline(graph, chosen)["nodes"] if node["kind"] != "add"}
    assert layers["conv1"] == 0
    assert layers["head"] == 1
    assert layers["stem"] is layers["conv2"] is None


def test_side_computations_vanish() -> None:
    class Sides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.table = nn.Conv2d(3, 4, 3), nn.Parameter(torch.randn(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scale = F.softmax(self.table @ self.table, 0).sum(0)[:, None, None]  # of parameters alone
            y = self.conv(x)
            F.softmax(y, 1).square()  # nobody looks at it
            return y * scale

    graph = record(Sides().eval(), torch.randn(1, 3, 8, 8))
    assert [node["kind"] for node in outline(graph, graph.layers())["nodes"]] == ["input", "conv", "output"]


def test_shapes_and_names_of_lenet() -> None:
    graph = record(lenet5().eval(), torch.randn(2, 1, 32, 32))
    nodes = outline(graph, graph.layers())["nodes"]
    assert [(node["name"], node["kind"], node["op"], node["shape"]) for node in nodes] == [
        ("input", "input", "input", [1, 32, 32]),
        ("c1", "conv", "conv2d", [6, 28, 28]),
        ("s2", "pool", "avg_pool2d", [6, 14, 14]),
        ("c3", "conv", "conv2d", [16, 10, 10]),
        ("s4", "pool", "avg_pool2d", [16, 5, 5]),
        ("c5", "conv", "conv2d", [120, 1, 1]),
        ("f6", "linear", "linear", [84]),
        ("output", "linear", "linear", [10]),
        ("output", "output", "output", [10]),
    ]


ZOO = {  # torchvision networks: convolutional and linear layers, and joints of each kind
    "resnet50": {"add": 16, "pool": 2},
    "googlenet": {"concat": 9, "pool": 14},
    "densenet121": {"concat": 58, "pool": 5},
    "mobilenet_v3_large": {"add": 10, "multiply": 8},
    "shufflenet_v2_x1_0": {"concat": 16},
    "squeezenet1_1": {"concat": 8, "pool": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_networks_of_torchvision(name: str) -> None:
    models = import_torchvision().models
    with torch.random.fork_rng(devices=[]):
        options = {"init_weights": False} if name == "googlenet" else {}  # it warns of its slow way to draw them
        graph = record(models.get_model(name, weights=None, **options).eval(), torch.randn(1, 3, 224, 224))
    kinds = [node["kind"] for node in outline(graph, graph.layers())["nodes"]]
    assert kinds.count("conv") + kinds.count("linear") == len(graph.layers())
    assert {kind: kinds.count(kind) for kind in ZOO[name]} == ZOO[name]
    assert "op" not in kinds
