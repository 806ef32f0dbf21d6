"""Training on from a checkpoint: what fits is taken over to the bit, what does not begins anew, and both are said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import convscope
from convscope import zoo
from convscope.checkpoint import start_from
from convscope.cli import main
from convscope.errors import NetworkError, TrainingError
from convscope.training import Recipe, Trained, train
from training_nets import plain, recipe, small

pytestmark = pytest.mark.usefixtures("one_thread")

STILL = {"kind": "sgd", "rate": 1e-30}  # no step of it changes a float32
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def network(folder: Path, weights: str | None, arch: str = "training_nets:small", **more: Any) -> dict[str, Any]:
    return {"arch": arch} | ({} if weights is None else {"weights": weights}) | more


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Trained:
    folder = tmp_path_factory.mktemp("first")
    return train(recipe(folder), folder / "out")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in load_file(path).items() if not name.endswith(BUFFERS)}


def test_it_starts_from_these_weights(first: Trained, tmp_path: Path) -> None:
    again = recipe(tmp_path, network=network(tmp_path, str(first.last)), optimizer=STILL, max_filter_rms=None)
    second = train(again, tmp_path / "out")
    assert second.log["fresh"] == []
    assert second.log["job"]["recipe"]["network"]["weights"] == str(first.last)
    before, after = weights(first.last), weights(second.last)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_weights_there_is_nothing_to_say(first: Trained) -> None:
    assert first.log["fresh"] is None


def test_a_head_for_other_classes_begins_anew(first: Trained, tmp_path: Path) -> None:
    module = small()
    module[6] = nn.Linear(16, 5)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fresh = start_from(module, first.last)
    assert fresh == ("6.weight", "6.bias")
    there = load_file(first.last)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name] if name in fresh else there[name]), name


def test_names_behind_a_prefix_are_found(first: Trained, tmp_path: Path) -> None:
    there = load_file(first.last)
    save_file({f"model.{name}": tensor for name, tensor in there.items()}, tmp_path / "wrapped.safetensors")
    module = small()
    assert start_from(module, tmp_path / "wrapped.safetensors") == ()
    assert torch.equal(module[0].weight, there["0.weight"])


def test_embedded_networks_are_starts(tmp_path: Path) -> None:
    module = zoo.lenet5(classes=4)
    embedded = zoo.EMBEDDED["digits:lenet5"].weights
    assert start_from(module, embedded) == ("output.weight", "output.bias")
    assert torch.equal(module.c1.weight, convscope.load("digits:lenet5").module.c1.weight)
    values = recipe(
        tmp_path,
        epochs=1,
        network={"arch": "lenet5", "weights": "digits:lenet5", "classes": [str(k) for k in range(10)]},
        images={"train": "digits:test", "val": "digits:test"},
        preprocessing={"size": [32, 32], "channels": "L", "mean": [0.3], "std": [0.35]},
        optimizer=STILL,
        augmentation={},
        max_filter_rms=None,
    )
    trained = train(values, tmp_path / "out")
    assert trained.log["fresh"] == []
    assert trained.top1 > 0.98  # at once


def test_a_path_is_looked_for_beside_the_recipe(first: Trained, tmp_path: Path) -> None:
    (tmp_path / "start.safetensors").write_bytes(first.last.read_bytes())
    values = plain(tmp_path, network=network(tmp_path, "start.safetensors"))
    found = Recipe.read(values, "tiny", folder=tmp_path)
    assert found.net.weights == str(tmp_path / "start.safetensors")


def test_what_does_not_fit_at_all_is_refused(first: Trained, tmp_path: Path) -> None:
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(NetworkError, match=r"none of its weights fits the architecture by name and shape; it has 0\.w"):
        train(recipe(tmp_path, network=network(tmp_path, str(tmp_path / "other.safetensors"))), tmp_path / "out")
    with pytest.raises(NetworkError, match="there is no such file"):
        train(recipe(tmp_path, network=network(tmp_path, "nowhere.safetensors")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_weights_are_another_training(first: Trained, tmp_path: Path) -> None:
    (tmp_path / "start.safetensors").write_bytes(first.last.read_bytes())
    values = recipe(tmp_path, network=network(tmp_path, str(tmp_path / "start.safetensors")))
    train(values, tmp_path / "out")
    changed = {name: tensor + 1 if name == "0.weight" else tensor for name, tensor in load_file(first.last).items()}
    save_file(changed, tmp_path / "start.safetensors")
    with pytest.raises(TrainingError, match=r"there is another training \(another value of 'network'"):
        train(values, tmp_path / "out")


def test_the_command_says_what_is_new(first: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    lines = [
        "epochs = 1\nbatch_size = 8\n[network]\narch = 'lenet5'\nweights = 'digits:lenet5'\nclasses = ['a', 'b']",
        "[preprocessing]\nsize = [32, 32]\nchannels = 'L'\nmean = [0.3]\nstd = [0.35]",
        "[optimizer]\nkind = 'sgd'\nrate = 0.01",
        f"[images]\ntrain = '{first.folder.parent / 'train.csv'}'\nval = '{first.folder.parent / 'train.csv'}'",
    ]
    folder = first.folder.parent
    rows = ["file,label"]
    for k in range(6):
        Image.new("L", (32, 32), 40 * k).save(folder / f"{k}.png")
        rows.append(f"{k}.png,{'ab'[k % 2]}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "tune.toml").write_text("\n".join(lines))
    words = ["train", str(tmp_path / "tune.toml"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "started from digits:lenet5; random were output.weight, output.bias" in done.stdout
    about = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert about["fresh"] == ["output.weight", "output.bias"]
