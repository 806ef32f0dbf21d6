"""The table of docs/correctness.md: whoever explains a network rightly, whatever its rectifiers are written like."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from explaining import state
from odd_nets import conv
from slow_gradients import slow_gradient
from spelled import ARCHITECTURES, RULES, TOOLS, network, plain, row, spelled, truth, verdicts

PAGE = (Path(__file__).parents[1] / "docs" / "correctness.md").read_text()
QUICK = ["NIN", "DenseNet", "MobileNetV3"]

pytestmark = pytest.mark.usefixtures("one_thread", "torchvision")


def cells(name: str, rule: str) -> list[list[str]]:
    """Of the row in the docs: for each spelling, the verdicts in the order of the tools."""
    section = PAGE.partition(f"| {rule}:")[2].partition("\n\n")[0]
    (found,) = (line for line in section.splitlines() if line.startswith(f"| {name} |"))
    return [cell.split() for cell in found.strip("| ").split(" | ")[2:]]


@pytest.mark.parametrize("rule", TOOLS)
@pytest.mark.parametrize("name", QUICK)
def test_maps_are_right_or_refused_in_every_spelling(name: str, rule: str) -> None:
    found = list(verdicts(name, rule, ["convscope"]))
    assert found == [cell[0] for cell in cells(name, rule)]
    assert set(found) <= {"✓", "!", "–"}
    assert found.count("✓") >= 5


@pytest.fixture
def oracles() -> None:
    for package in ("captum", "pytorch_grad_cam"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(package, reason=f"missing: the package {package}, an oracle")


@pytest.mark.slow
@pytest.mark.usefixtures("oracles")
@pytest.mark.parametrize("rule", TOOLS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_in_the_docs(name: str, rule: str) -> None:
    assert row(name, rule) in PAGE


@pytest.mark.parametrize("rule", TOOLS)
def test_the_sums_in_the_docs_are_those_of_the_table(rule: str) -> None:
    table = [cells(name, rule) for name in ARCHITECTURES]
    assert all(cell[0] in "✓!–" for row in table for cell in row)
    for number, tool in enumerate(TOOLS[rule]):
        counts = Counter(cell[number] for row in table for cell in row if len(cell) > 1)
        assert f"| {rule} | {tool} | {counts['✓']} | {counts['∇']} | {counts['✗']} | {counts['!']} |" in PAGE


@pytest.mark.usefixtures("oracles")
def test_what_is_left_on_the_network() -> None:
    layers = [conv(3, 4), nn.ReLU(inplace=True), conv(4, 5), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(5, 2)).eval()
    for tool, run in TOOLS["guided"].items():
        module = copy.deepcopy(net)
        before, rectifiers = state(module), (module[1], module[3])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run("guided", module, torch.randn(1, 3, 6, 8), 1)
        if tool != "pytorch-grad-cam":
            assert state(module) == before
            assert (module[1], module[3]) == rectifiers
        else:
            assert module[1] is module[3] not in rectifiers
            assert module[0].weight.grad is not None


@pytest.mark.parametrize("rule", RULES)
def test_what_is_called_right_is_that_of_the_slow_definition(rule: str) -> None:
    """Which has nothing of the rewriting; of the network with the most kinds of non-linearities."""
    net, image = network("MobileNetV3")
    found = truth(net, image, 3, rule)
    slow = slow_gradient(net, image, lambda graph, values: (graph.outputs[0], one_hot(values[graph.outputs[0]])), rule)
    torch.testing.assert_close(found, slow)
    written = spelled(net, "`torch.`")
    assert written is not None
    torch.testing.assert_close(plain(written, image, 3), plain(net, image, 3))


def one_hot(scores: torch.Tensor) -> torch.Tensor:
    return torch.eye(scores.shape[1], dtype=scores.dtype)[3:4]
