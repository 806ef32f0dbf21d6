"""The figure of Zeiler and Fergus: what it shows is what hiding does, where it does it [METHODS 7.7]."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

import convscope
from convscope.attribution.occlusion import Occlusion
from convscope.attribution.zeiler_fergus import zeiler_fergus
from convscope.cli import main
from convscope.network import Network
from convscope.render.figures import columns

QUICK = Occlusion(8, 4)
pytestmark = pytest.mark.usefixtures("one_thread")


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def planted() -> Network:
    """Red in the upper left quarter makes a dog of a cat; unit 1 counts it, and unit 0 is silent."""

    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            red = self.conv(x).relu()[:, 1, :8, :8].mean((1, 2))
            return torch.stack([red * 0 + 1, 4 * red, -red], 1)

    module = Corner()
    with torch.no_grad():
        module.conv.weight.copy_(torch.tensor([[-1.0, -1, -1], [1, 0, 0]])[..., None, None])
    return convscope.wrap(module, preprocess={"size": [16, 20]}, classes=["cat", "dog", "owl"], name="corner")


def found(network: Network, red: float) -> columns.Row:
    image = torch.full((3, 16, 20), 0.2)
    image[0, :8, :8] = red
    return columns.Row("a", zeiler_fergus(network, image, "dog", occlusion=QUICK), True)


def test_the_square_lies_where_the_class_loses_most() -> None:
    network = planted()
    row = found(network, 1.0)
    assert row.lowest == (0, 0, 8, 8)
    assert str(row.columns.unit) == "conv:1"
    seen, plain = columns.hidden(network, row, QUICK), network.preprocess.display(row.columns.image)
    assert not seen[:8, :8].any()  # without a mean colour it is black
    assert np.array_equal(np.delete(seen, np.s_[:8], 0), np.delete(plain, np.s_[:8], 0))
    assert np.array_equal(seen[:8, 8:], plain[:8, 8:])


def test_classes_are_counted_over_the_windows() -> None:
    """Those that hide at least five eighths of the corner leave less than a quarter of its mean: a cat."""
    row = found(planted(), 0.6)
    shares = np.array([[max(0, 8 - y) * max(0, 8 - x) / 64 for x in (0, 4, 8, 12)] for y in (0, 4, 8)])
    cats = int((4 * 0.6 * (1 - shares) < 1).sum())
    assert 0 < cats < 12
    assert row.classes == [(1, 12 - cats), (0, cats)]


def test_cells_lie_around_the_centres_of_their_windows() -> None:
    row = found(planted(), 1.0)
    cells = np.arange(12 * 3, dtype=np.uint8).reshape(3, 4, 3)
    picture = columns.placed(cells, row.columns)
    assert picture.shape == (16, 20, 3)
    for (i, y), (j, x) in [((0, 3), (0, 3)), ((1, 8), (2, 11)), ((2, 12), (3, 16))]:  # centres at 3.5, 7.5, 11.5, 15.5
        assert np.array_equal(picture[y, x], cells[i, j])
    border = (picture == columns._EMPTY).all(2)
    assert border[1].all()
    assert border[:, 1].all()
    assert not border[2:14, 2:18].any()
    assert border[14:].all()


def test_numbers_of_the_command_are_those_of_hiding(tmp_path: Path) -> None:
    words = ["figure", "columns", "digits:lenet5", "digits:test@3", "digits:test@5", "--window", "8", "--stride", "8"]
    about = json.loads(run(*words, "--layer", "c3", "-o", tmp_path / "a.png", "--json").stdout)
    network, digits = convscope.load("digits:lenet5"), convscope.open_images("digits:test")
    assert (about["window"], about["stride"], len(about["rows"])) == (8, 8, 2)
    row = about["rows"][0]
    image = network.preprocess(digits.read(3))
    size = image.shape[-1]
    starts = [*range(0, size - 8, 8), size - 8]
    places = [(y, x) for y in starts for x in starts]
    changed = image.repeat(len(places), 1, 1, 1)
    for each, (y, x) in zip(changed, places, strict=True):
        each[:, y : y + 8, x : x + 8] = 0
    with torch.no_grad():
        true = int(digits.labels[3])  # type: ignore[arg-type]
        probabilities, whole = network.module(changed).softmax(1), network.module(image[None]).softmax(1)[0, true]
    worst = int(probabilities[:, true].argmin())
    assert row["labelled"]
    assert row["target"].startswith(f"class {true}")
    assert row["probability"]["whole"] == pytest.approx(float(whole), rel=1e-4)
    assert row["probability"]["smallest"] == pytest.approx(float(probabilities[worst, true]), rel=1e-3)
    assert tuple(row["lowest"][:2]) == places[worst]
    assert row["unit"].startswith("c3:")
    counts = np.bincount(probabilities.argmax(1).numpy(), minlength=10)
    assert {each["class"]: each["windows"] for each in row["classes"]} == {
        k: int(count) for k, count in enumerate(counts) if count
    }
    assert Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())).width > 2000


def test_a_class_that_is_asked_for_is_followed(tmp_path: Path) -> None:
    words = ["figure", "columns", "digits:lenet5", "digits:test@3", "--window", "8", "--stride", "8"]
    run(*words, "--target", "7", "-o", tmp_path / "a.svg")
    written = (tmp_path / "a.svg").read_text()
    assert "class 7" in written
    assert "true class" not in written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits:test@3", "--target", "bird"], "no class 'bird'"),
        (["digits:test@3", "--window", "99"], "a window of 99 px"),
        (["digits:test@3", "--layer", "c9"], "no convolution or linear layer 'c9'"),
        (["nowhere.png"], "no such folder or file"),
    ],
)
def test_a_fault_is_one_clear_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = run("figure", "columns", "digits:lenet5", *words, "-o", tmp_path / "x.png", code=1)
    assert message in done.stderr
    assert not list(tmp_path.iterdir())
