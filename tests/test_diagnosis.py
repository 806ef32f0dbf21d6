"""Units that need attention, planted one by one, and what an atlas says of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convscope
from convscope.diagnosis import MEANING, diagnose, sparsity

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 40


class Planted(nn.Module):
    """Units of known behaviour on images that are grey: image i is all of the grey i / 40."""

    def __init__(self, nonlinearity: nn.Module, weights: list[float], biases: list[float]) -> None:
        super().__init__()
        self.conv, self.nonlinearity = nn.Conv2d(1, len(weights), 1), nonlinearity
        self.conv.weight.data = torch.tensor(weights)[:, None, None, None]
        self.conv.bias.data = torch.tensor(biases)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.conv(x)).mean((1, 2, 3))[:, None].expand(-1, 3)  # of three classes


def scanned(folder: Path, module: nn.Module, labels: list[Any] | None = None) -> Any:
    greys = np.arange(COUNT, dtype=np.float32) / COUNT
    images = convscope.Arrays(np.tile(greys[:, None, None], (1, 4, 4)), labels or [])
    network = convscope.wrap(module, preprocess={"size": [4, 4], "channels": "L"}, classes=["dark", "light", "never"])
    return convscope.scan(network, images, folder / "atlas")["conv"]


def flagged(layer: Any) -> dict[str, list[int]]:
    return {name: np.flatnonzero(units).tolist() for name, units in layer.flags.items()}


def test_planted_units_are_found_and_no_others(tmp_path: Path) -> None:
    # dead; always on; silent (answers, but by a millionth); usual: half of the images; answers to one image of 40
    module = Planted(nn.ReLU(), [1.0, 1.0, 1e-6, 2.0, 40.0], [-2.0, 1.0, 0.0, -1.0, -38.5])
    layer = scanned(tmp_path, module)
    found = flagged(layer)
    assert found == {"NaN": [], "dead": [0], "nearly dead": [], "silent": [2], "always on": [1], "saturated": []}
    assert found.keys() == MEANING.keys()
    zeros = [1.0, 0.0, 1 / COUNT, 0.525, 39 / COUNT]
    assert layer.summary["nonpositive"] == pytest.approx(zeros)
    assert layer.sparsity == pytest.approx(np.mean(zeros))


def test_nearly_dead_is_fewer_than_one_image_of_a_thousand() -> None:
    summary = {
        "nans": [0, 0, 0], "saturated": [0, 0, 0], "minimum": [0, 0, 0], "maximum": [1, 1, 0],
        "active_images": [1, 2, 0], "nonpositive": [0.9, 0.9, 1.0],
    }  # fmt: skip
    assert diagnose("relu", summary, 1500)["nearly dead"].tolist() == [True, False, False]
    assert diagnose("relu", summary, 999)["nearly dead"].tolist() == [False, False, False]


def test_a_saturated_unit_is_found_at_either_end(tmp_path: Path) -> None:
    layer = scanned(tmp_path, Planted(nn.Sigmoid(), [1.0, 1.0, 1.0], [20.0, -20.0, 0.0]))
    assert flagged(layer) == {"NaN": [], "saturated": [0, 1]}  # a sigmoid is never silent, and so never always on
    assert layer.sparsity is None
    assert layer.summary["saturated"] == [1.0, 1.0, 0.0]


def test_what_is_not_rectified_is_neither_dead_nor_always_on(tmp_path: Path) -> None:
    layer = scanned(tmp_path, Planted(nn.Identity(), [1.0, 1.0], [-2.0, 1.0]))
    assert flagged(layer) == {"NaN": [], "saturated": []}
    assert layer.sparsity is None
    assert sparsity("relu", {"minimum": [-0.1], "nonpositive": [0.5]}) is None  # a leaky one


def test_a_unit_with_nan_is_named_and_is_not_dead(tmp_path: Path) -> None:
    layer = scanned(tmp_path, Planted(nn.ReLU(), [1.0, 1.0], [0.0, float("nan")]))
    found = flagged(layer)
    assert found["NaN"] == [1]
    assert found["dead"] == []


def test_class_means_of_a_scan_are_those_of_the_labels(tmp_path: Path) -> None:
    labels = ["dark"] * 10 + [None] * 20 + ["light"] * 10
    layer = scanned(tmp_path, Planted(nn.ReLU(), [1.0, -1.0, 0.0], [0.0, 1.0, 1.0]), labels)
    atlas = layer.atlas
    assert atlas.classes == (0, 1)
    greys = np.arange(COUNT) / COUNT
    dark, light = greys[:10].mean(), greys[30:].mean()
    np.testing.assert_allclose(layer.class_means, [[dark, light], [1 - dark, 1 - light], [1, 1]], rtol=1e-6)
    expected = [(light - dark) / (light + dark), (light - dark) / (2 - light - dark), 0.0]
    assert layer.summary["selectivity"] == pytest.approx(expected)
    tables = [panel for panel in layer[0].panels() if panel.title == "Mean response by class"]
    assert [name for name, _ in tables[0].rows] == ["light", "dark", "class selectivity"]


def test_without_labels_there_is_no_selectivity(tmp_path: Path) -> None:
    layer = scanned(tmp_path, Planted(nn.ReLU(), [1.0], [0.0]))
    assert np.isnan(layer.summary["selectivity"]).all()
    assert layer.class_means.shape == (1, 0)
    assert layer.atlas.classes == ()
