"""Comparisons: what is trained and judged is what the file says, and the table says what evaluate says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import convscope
from convscope.cli import main
from convscope.errors import TrainingError
from convscope.network import load
from convscope.studies.comparison import Comparison, Result, cell, compare, known, markdown
from convscope.training import Recipe, train
from training_nets import pictures, plain

pytestmark = pytest.mark.usefixtures("one_thread")


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two tiny networks, one with three seeds, and an ensemble of all."""
    recipe = plain(folder, epochs=2, network={"classes": ["bright", "dark"]}, checkpoints={"epochs": []})
    pictures(folder / "test.npz", 30, 2)
    found = {
        "title": "Tiny ones",
        "test": str(folder / "test.npz"),
        "recipe": recipe,
        "networks": [
            {"name": "small", "arch": "training_nets:small", "seeds": [0, 1, 5]},
            {"name": "Small, too", "arch": "training_nets:small"},
        ],
        "ensembles": [{"name": "all four", "of": ["small", "Small, too"]}],
    }
    return {key: value for key, value in {**found, **changes}.items() if value is not None}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("compared")
    return compare(Comparison.read(values(folder), "tiny"), folder / "out"), folder


def test_every_network_is_trained_by_the_recipe_with_its_seed(result: tuple[Result, Path]) -> None:
    found, folder = result
    assert [row.name for row in found.rows] == ["small", "Small, too", "all four"]
    recipe = plain(folder, epochs=2, seed=5, checkpoints={"epochs": []})
    recipe["network"] = {"arch": "training_nets:small", "classes": ["bright", "dark"]}
    alone = train(Recipe.read(recipe, "alone"), folder / "alone")
    there = folder / "out" / "small-5" / alone.last.name
    assert there.read_bytes() == alone.last.read_bytes()
    assert found.rows[0].validation[2] == alone.top1
    assert (folder / "out" / "small-too-0" / alone.last.name).read_bytes() == (
        folder / "out" / "small-0" / alone.last.name
    ).read_bytes()


def test_rows_say_what_evaluate_says(result: tuple[Result, Path]) -> None:
    found, folder = result
    networks = [
        load(folder / "out" / slug / "epoch-002.safetensors", arch="training_nets:small")
        for slug in ("small-0", "small-1", "small-5", "small-too-0")
    ]
    judged = convscope.evaluate(networks, str(folder / "test.npz"), ensemble=True)
    errors = [row.top1.error for row in judged.rows]
    assert found.rows[0].errors("top1") == errors[:3]
    assert found.rows[1].errors("top1") == errors[3:4]
    assert found.rows[2].errors("top1") == errors[4:]
    assert found.rows[2].parameters == 4 * found.rows[0].parameters
    assert found.rows[0].errors("top5") == []  # of two classes
    assert found.images == 30


def test_the_table_has_means_ranges_and_intervals(result: tuple[Result, Path]) -> None:
    found, _ = result
    errors = [100 * each for each in found.rows[0].errors("top1")]
    assert cell(found.rows[0], "top1") == f"{sum(errors) / 3:.1f} (3 seeds: {min(errors):.1f}–{max(errors):.1f})"
    low, high = found.rows[1].results[0].top1.interval
    assert cell(found.rows[1], "top1").endswith(f" ({100 * low:.1f}–{100 * high:.1f})")
    lines = markdown(found.rows).splitlines()
    assert lines[0] == "| network | parameters | top-1 error | top-5 error |"
    assert lines[4].startswith("| all four | ")
    assert lines[4].endswith(" | – |")


def test_it_is_written_down_and_not_trained_again(result: tuple[Result, Path]) -> None:
    found, folder = result
    assert json.loads((folder / "out" / "comparison.json").read_text()) == json.loads(json.dumps(found.to_json()))
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.safetensors")}
    again = compare(Comparison.read(values(folder), "tiny"), folder / "out")
    assert again.to_json() == found.to_json()
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.safetensors")} == times


SLIPS: dict[str, tuple[dict[str, Any], str]] = {
    "no networks": ({"networks": []}, r"there is no table \[\[networks\]\]"),
    "networks no list": ({"networks": {"name": "a"}}, r"'networks' is no list of tables; write \[\[networks\]\]"),
    "no title": ({"title": None}, "'title' is missing"),
    "unknown key": ({"tests": "x"}, "unknown key 'tests'; did you mean 'test'"),
    "same name": ({"networks": [{"name": "a", "arch": "lenet5"}] * 2, "ensembles": []}, "two rows are called 'a'"),
    "no such member": ({"ensembles": [{"name": "e", "of": ["smal"]}]}, "no network 'smal'; did you mean 'small'"),
    "one member": ({"ensembles": [{"name": "e", "of": ["Small, too"]}]}, "an ensemble takes two"),
    "no recipe": ({"recipe": None}, r"expected a table \[recipe\]"),
    "recipe with an arch": ({"recipe": {"network": {"arch": "lenet5"}}}, r"without the arch of \[network\]"),
    "slip in the recipe": ({"recipe": {"epochs": 0}}, r"comparison: small: the table \[images\] is missing"),
    "seeds twice": ({"networks": [{"name": "a", "arch": "lenet5", "seeds": [1, 1]}]}, "'seeds' is .*different seeds"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_named(tmp_path: Path, slip: str) -> None:
    changes, message = SLIPS[slip]
    data = {key: value for key, value in (values(tmp_path) | changes).items() if value is not None}
    with pytest.raises(TrainingError, match=message):
        Comparison.read(data, "tiny")


def test_two_networks_in_one_folder_are_refused(tmp_path: Path) -> None:
    data = values(tmp_path, ensembles=[])
    data["networks"] = [{"name": "a b", "arch": "training_nets:small"}, {"name": "A-B", "arch": "training_nets:small"}]
    with pytest.raises(TrainingError, match="two networks would be trained in one folder"):
        Comparison.read(data, "tiny")


def test_those_that_come_with_convscope_are_whole() -> None:
    assert known() == ["heads", "seeds"]
    for name in known():
        found = Comparison.open(name)
        assert found.test == "diorama:objects/test:112"
        for recipes in found.recipes.values():
            assert all(recipe.pictures.train == "diorama:objects/train:112" for recipe in recipes)
    with pytest.raises(TrainingError, match="did you mean 'heads'"):
        Comparison.open("head")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    pictures(tmp_path / "train.npz", 16, 0)
    pictures(tmp_path / "test.npz", 12, 1)
    (tmp_path / "own.toml").write_text(
        """
        title = "Own"
        test = "test.npz"
        [recipe]
        epochs = 1
        batch_size = 8
        [recipe.images]
        train = "train.npz"
        val = "test.npz"
        [recipe.preprocessing]
        size = [8, 8]
        [recipe.optimizer]
        kind = "sgd"
        rate = 0.01
        [[networks]]
        name = "small"
        arch = "training_nets:small"
        """
    )
    words = ["compare", str(tmp_path / "own.toml"), "-o", str(tmp_path / "out"), "--device", "cpu", "--threads", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "Own: " in done.stdout
    assert "small" in done.stdout
    about = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert about["rows"][0]["results"][0]["images"] == 12
    table = CliRunner().invoke(main, [*words, "--markdown"]).stdout
    assert table.startswith("| network | parameters |")
