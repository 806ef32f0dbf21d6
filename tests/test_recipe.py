"""Recipes: what they say is what they mean, and every slip is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from convscope import zoo
from convscope.errors import TrainingError
from convscope.images import open_images
from convscope.network import load
from convscope.training import Recipe
from convscope.training.optimizers import AdamW
from convscope.training.recipe import known
from convscope.training.schedules import Constant, Cosine
from training_nets import plain

TOML = """
epochs = 3
batch_size = 4
[network]
arch = "lenet5"
[images]
train = "digits:train"
val = "digits:test"
[optimizer]
kind = "adamw"
rate = 1
"""


def test_the_shortest_recipe_has_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(TOML)
    recipe = Recipe.open(tmp_path / "short.toml")
    assert recipe.name == "short"
    assert recipe.preprocess == zoo.ARCHITECTURES["lenet5"].preprocess
    assert recipe.checkpoints.epochs == (1, 2, 5, 10, 20, 30, 40, 64)
    assert recipe.optimizer == AdamW(rate=1.0)
    assert recipe.schedule == Constant()
    assert (recipe.course.seed, recipe.course.label_smoothing, recipe.course.expected) == (0, 0.0, None)


def test_what_is_read_can_be_written_and_read_again(tmp_path: Path) -> None:
    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(each) for key, each in value.items() if each is not None}
        return value

    for recipe in [Recipe.open(name) for name in known()] + [Recipe.read(plain(tmp_path), "tiny")]:
        again = Recipe.read(without_none(recipe.to_json()), recipe.name)
        assert again == recipe


def test_paths_are_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "own.toml").write_text(TOML.replace("digits:train", "photos"))
    pictures = Recipe.open(tmp_path / "own.toml").pictures
    assert (pictures.train, pictures.val) == (str(tmp_path / "photos"), "digits:test")


def test_the_recipe_in_the_docs_is_one() -> None:
    page = Path(__file__).parents[1] / "docs" / "training.md"
    found = re.search(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    recipe = Recipe.read(tomllib.loads(found[1]), "docs")
    assert recipe.schedule == Cosine(warmup=1.0)
    assert recipe.augmentation.shift == 4


def test_other_epochs_and_seeds() -> None:
    recipe = Recipe.open("digits-lenet5")
    assert recipe.but(seed=3).course.seed == 3
    assert recipe.but(seed=3).course.expected == 0.98
    assert recipe.but(epochs=3).course.expected is None  # that is the accuracy of the whole course
    assert recipe.but(epochs=60) == recipe.but() == recipe


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_every_embedded_network_has_its_recipe(name: str) -> None:
    entry = zoo.EMBEDDED[name]
    recipe, network = Recipe.open(entry.weights.stem), load(name)
    assert entry.weights.stem in known()
    assert recipe.net.arch == entry.arch
    assert recipe.preprocess == network.preprocess
    assert recipe.course.expected is not None
    assert tuple(recipe.net.classes or open_images(recipe.pictures.train).classes or ()) == network.classes


SLIPS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"epoch": 3}, "r: unknown key 'epoch'; did you mean 'epochs'?; known are epochs, batch_size"),
    "missing key": ({"epochs": None}, "r: 'epochs' is missing; expected a number of epochs"),
    "missing table": ({"network": None}, "r: the table [network] is missing"),
    "no table": ({"network": "lenet5"}, "r: [network]: expected a table of keys, found 'lenet5'"),
    "zero epochs": ({"epochs": 0}, "r: 'epochs' is 0; expected a number of epochs"),
    "half epochs": ({"epochs": 1.5}, "r: 'epochs' is 1.5; expected a number of epochs"),
    "true epochs": ({"epochs": True}, "r: 'epochs' is True"),
    "certain": ({"label_smoothing": 1.0}, "r: 'label_smoothing' is 1.0; expected a share from 0 to below 1"),
    "radius": ({"max_filter_rms": 0}, "r: 'max_filter_rms' is 0; expected a radius above 0"),
    "precision": ({"precision": "float16"}, "'precision' is 'float16'; expected one of \"float32\", \"bfloat16\""),
    "optimizer": ({"optimizer": {"kind": "adam", "rate": 1}}, "[optimizer]: 'kind' is 'adam'; expected one of \"sgd\", "
                  "\"adamw\"; did you mean 'adamw'?"),
    "no kind": ({"optimizer": {"rate": 1}}, "[optimizer]: 'kind' is None; expected one of"),
    "no rate": ({"optimizer": {"kind": "sgd"}}, "[optimizer]: 'rate' is missing; expected a learning rate above 0"),
    "endless rate": ({"optimizer": {"kind": "sgd", "rate": float("inf")}}, "[optimizer]: 'rate' is inf"),
    "negative rate": ({"optimizer": {"kind": "sgd", "rate": -1}}, "[optimizer]: 'rate' is -1"),
    "momentum of Adam": ({"optimizer": {"kind": "adamw", "rate": 1, "momentum": 0.9}}, "unknown key 'momentum'"),
    "betas": ({"optimizer": {"kind": "adamw", "rate": 1, "betas": [0.9]}}, "'betas' is [0.9]; expected two numbers"),
    "schedule": ({"schedule": {"kind": "cosin"}}, "[schedule]: 'kind' is 'cosin'"),
    "step": ({"schedule": {"kind": "step"}}, "[schedule]: 'after' is missing; expected the epochs after which"),
    "wave": ({"schedule": {"kind": "cosine", "final": 2}}, "[schedule]: 'final' is 2; expected a factor from 0 to 1"),
    "augmentation": ({"augmentation": {"shft": 2}}, "[augmentation]: unknown key 'shft'; did you mean 'shift'?"),
    "half a pixel": ({"augmentation": {"shift": 0.5}}, "[augmentation]: 'shift' is 0.5; expected a number of pixels"),
    "switch": ({"augmentation": {"flip": 1}}, "[augmentation]: 'flip' is 1; expected true or false"),
    "checkpoints": ({"checkpoints": {"epochs": [0]}}, "[checkpoints]: 'epochs' is [0]; expected a list of epochs"),
    "preprocessing": ({"preprocessing": {"sice": [8, 8]}}, "[preprocessing]: unknown key 'sice'; did you mean 'size'"),
    "no preprocessing": ({"preprocessing": None}, "the table [preprocessing] is missing, and nothing says how images"),
    "classes twice": ({"network": {"arch": "lenet5", "classes": ["a", "a"]}}, "'classes' is ['a', 'a']; expected a"),
    "no image": ({"images": {"train": "digits:train"}}, "[images]: 'val' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_named(tmp_path: Path, slip: str) -> None:
    changes, message = SLIPS[slip]
    with pytest.raises(TrainingError, match=re.escape(message)):
        Recipe.read({**plain(tmp_path, **changes), **{k: v for k, v in changes.items() if v is not None}}, "tiny", "r")


def test_a_recipe_that_is_not_there_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"digits-lenet: there is no such recipe; did you mean 'digits-lenet5'\?"):
        Recipe.open("digits-lenet")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(TrainingError, match=r"bad.toml: not readable as TOML \(.*line 1"):
        Recipe.open(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingError, match=r"bad.toml: not readable as TOML"):
        Recipe.open(tmp_path / "bad.toml")
    with pytest.raises(TrainingError, match="there is no such recipe"):
        Recipe.open(tmp_path)
