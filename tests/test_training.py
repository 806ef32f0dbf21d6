"""Trainings: what they leave, that a kill changes nothing, and how they fail."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import convscope
from convscope import shards
from convscope.cli import main
from convscope.errors import ImagesError, NetworkError, TrainingError
from convscope.network import untrained
from convscope.training import Trained, examples, train
from convscope.training.loop import derived
from training_nets import pictures, plain, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
TESTS = Path(__file__).parent


class Broken(Exception):  # noqa: N818 — the test's own
    pass


def raising(at: int) -> Callable[[Any], None]:
    """A callback that fails at its call number `at`, from 1."""
    calls = iter(range(1, 10_000))

    def call(_: Any) -> None:
        if next(calls) == at:
            raise Broken

    return call


def contents(folder: Path) -> dict[str, Any]:
    """Every file; of the log all but its times."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir()}
    log = json.loads(found["training.json"])
    for each in [log, *log["epochs"]]:
        assert each.pop("seconds") >= 0
    return {**found, "training.json": log}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The training that nobody interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    return train(recipe(folder), folder / "out", threads=1)


def folder_of(straight: Trained) -> Path:
    return straight.folder.parent


# --- what it leaves --------------------------------------------------------------------------------------------------


def test_it_leaves_checkpoints_with_cards_and_a_log(straight: Trained) -> None:
    names = ["best", "epoch-001", "epoch-002", "epoch-004", "step-000007"]
    files = {f"{name}.{suffix}" for name in names for suffix in ("json", "safetensors")}
    assert {path.name for path in straight.folder.iterdir()} == files | {"training.json"}
    log = straight.log
    assert log == json.loads((straight.folder / "training.json").read_text())
    assert log["finished"] is True
    assert [(each["file"], each["step"], each["epoch"]) for each in log["checkpoints"]] == [
        ("epoch-001.safetensors", 5, 1), ("step-000007.safetensors", 7, None), ("epoch-002.safetensors", 10, 2),
        ("epoch-004.safetensors", 20, 4)]  # fmt: skip
    assert [line["epoch"] for line in log["epochs"]] == [1, 2, 3, 4]
    assert log["last"] == {"file": "epoch-004.safetensors", "epoch": 4, "top1": log["epochs"][3]["val_top1"]}
    best = max(line["val_top1"] for line in log["epochs"])
    first = next(line["epoch"] for line in log["epochs"] if line["val_top1"] == best)
    assert log["best"] == {"file": "best.safetensors", "epoch": first, "top1": best}
    assert straight.top1 == log["last"]["top1"]
    rates = [line["rate"] for line in log["epochs"]]  # of the last step of each: the first epoch is the warm-up
    assert rates == pytest.approx([0.1, *(0.05 * (1 + math.cos(math.pi * done / 15)) for done in (4, 9, 14))])
    assert sum(line["seconds"] for line in log["epochs"]) == pytest.approx(log["seconds"], abs=1e-6)


def plain_accuracy(file: Path, images: Path) -> tuple[float, float]:
    """Accuracy and loss of a loaded checkpoint, image by image."""
    network, data = convscope.load(file, arch="training_nets:small"), convscope.open_images(images)
    assert network.classes is not None
    right, loss = 0, 0.0
    with torch.no_grad():
        for i in range(len(data)):
            scores = network.module(network.preprocess(data.read(i))[None])
            truth = network.classes.index(str(data.labels[i]))
            right += int(scores.argmax()) == truth
            loss += -float(scores.log_softmax(1)[0, truth])
    return right / len(data), loss / len(data)


def test_a_checkpoint_is_a_model_with_the_accuracy_of_the_log(straight: Trained) -> None:
    files = {1: "epoch-001", 2: "epoch-002", 4: "epoch-004", straight.log["best"]["epoch"]: "best"}
    for epoch, name in files.items():
        line = straight.log["epochs"][epoch - 1]
        top1, loss = plain_accuracy(straight.folder / f"{name}.safetensors", folder_of(straight) / "val.npz")
        assert top1 == line["val_top1"]
        assert loss == pytest.approx(line["val_loss"], rel=1e-5)
    assert convscope.load(straight.last, arch="training_nets:small").classes == ("bright", "dark")


def test_the_weights_are_those_of_a_plain_loop(straight: Trained) -> None:
    """The loop written out, with PyTorch's own schedule, loss and optimizer, and the same chance."""
    made = recipe(folder_of(straight))
    card = made.preprocess.to_json() | {"classes": ["bright", "dark"]}
    module = untrained("training_nets:small", card, 0).module.train()
    data = np.load(folder_of(straight) / "train.npz")
    inputs = torch.stack([made.preprocess(image) for image in data["images"]])
    truth = torch.from_numpy((data["labels"] == "dark").astype(np.int64))
    matrices = [each for each in module.parameters() if each.dim() > 1]
    others = [each for each in module.parameters() if each.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": 1e-3}, {"params": others}], 0.1, momentum=0.9, nesterov=True
    )
    for epoch in range(4):
        chance = torch.Generator().manual_seed(derived(0, "order", epoch))
        for step, ids in enumerate(torch.randperm(38, generator=chance).split(8)):
            chance = torch.Generator().manual_seed(derived(0, "augmentation", epoch, step))
            images = made.augmentation(inputs[ids], made.preprocess, chance)
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(derived(0, "network", epoch, step))
                scores = module(images)
            optimizer.zero_grad()
            torch.autograd.backward(slow_smoothed(scores, truth[ids], 0.1))
            done = epoch * 5 + step
            rate = (done + 1) / 5 if done < 5 else (1 + math.cos(math.pi * (done - 5) / 15)) / 2
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * rate
            optimizer.step()
            with torch.no_grad():
                for kernel in module[0].weight:  # type: ignore[index, union-attr]
                    kernel *= min(1.0, 0.3 / float(kernel.square().mean().sqrt()))
    for name, tensor in load_file(straight.last).items():
        torch.testing.assert_close(module.state_dict()[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


def slow_smoothed(scores: Tensor, truth: Tensor, share: float) -> Tensor:
    """Cross entropy with targets of which a share is spread evenly over all classes."""
    targets = F.one_hot(truth, scores.shape[1]) * (1 - share) + share / scores.shape[1]
    return -(targets * scores.log_softmax(1)).sum(1).mean()


def test_the_best_is_the_earliest_of_equals(tmp_path: Path) -> None:
    names = network("training_nets:three", classes=["bright", "dark", "other"])
    made = recipe(tmp_path, optimizer={"kind": "adamw", "rate": 1e-12}, checkpoints={"epochs": []}, **names)
    trained = train(made, tmp_path / "out")
    assert len({line["val_top1"] for line in trained.log["epochs"]}) == 1
    assert (trained.log["best"]["epoch"], trained.log["last"]["epoch"]) == (1, 4)
    assert [each["file"] for each in trained.log["checkpoints"]] == ["epoch-004.safetensors"]  # the last always is kept


def test_filters_stay_within_their_radius(straight: Trained) -> None:
    sizes = load_file(straight.last)["0.weight"].square().flatten(1).mean(1).sqrt()
    assert (sizes <= 0.3 * (1 + 1e-6)).all()


def test_the_seed_is_a_seed_and_the_users_chance_stays_his(straight: Trained, tmp_path: Path) -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    made = recipe(folder_of(straight), epochs=1)
    weights = [load_file(train(made.but(seed=seed), tmp_path / str(seed), threads=2).last) for seed in (1, 2)]
    assert not torch.equal(weights[0]["0.weight"], weights[1]["0.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    starts = [untrained("training_nets:small", {"size": [8, 8]}, seed).module.state_dict() for seed in (1, 1, 2)]
    assert torch.equal(starts[0]["0.weight"], starts[1]["0.weight"])
    assert not torch.equal(starts[0]["0.weight"], starts[2]["0.weight"])


def test_images_that_do_not_fit_into_memory_give_the_same_weights(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "KEPT", 0)
    train(recipe(folder_of(straight)), tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(straight.folder)


def test_half_precision_learns_as_well(straight: Trained, tmp_path: Path) -> None:
    half = train(recipe(folder_of(straight), precision="bfloat16"), tmp_path / "out", threads=1)
    one, other = load_file(straight.last), load_file(half.last)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert all(tensor.dtype == one[name].dtype for name, tensor in other.items())  # weights are float32
    torch.testing.assert_close(one["0.weight"], other["0.weight"], atol=0.1, rtol=0)


def test_a_folder_of_the_users_own(tmp_path: Path) -> None:
    """PNG files in class subfolders, one of which is damaged: it is left out, and named in the log."""
    for split in ("train", "val"):
        for i, label in enumerate(["cat", "dog"] * 5):
            path = tmp_path / split / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (20 * i, 200 * (label == "dog"), 0)).save(path)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"no picture")
    made = recipe(tmp_path, images={"train": str(tmp_path / "train"), "val": str(tmp_path / "val")}, batch_size=3)
    trained = train(made, tmp_path / "out")
    assert [(each["set"], each["name"]) for each in trained.log["skipped"]] == [("train", "cat/0.png")]
    assert trained.log["epochs"][0]["val_images"] == 10
    assert convscope.load(trained.last, arch="training_nets:small").classes == ("cat", "dog")


def test_a_batch_of_one_image_is_left_out(tmp_path: Path) -> None:
    """No batch norm can learn from it; by the next epoch's order another image is the last."""
    pictures(tmp_path / "train.npz", 17, 0)
    trained = train(recipe(tmp_path, epochs=2), tmp_path / "out")
    assert [line["step"] for line in trained.log["epochs"]] == [3, 6]
    assert {line["top1"] * 16 % 1 for line in trained.log["epochs"]} == {0.0}  # of the 16 images of two batches


# --- killed, and continued -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save_every", [0.0, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize("at", [1, 5, 6, 13, 20])  # of 20 steps in 4 epochs
def test_interrupted_it_ends_the_same(straight: Trained, tmp_path: Path, at: int, save_every: float) -> None:
    made, steps = recipe(folder_of(straight)), raising(at)

    def progress(step: Any) -> None:
        if step.phase == "training":
            steps(step)

    with pytest.raises(Broken):
        train(made, tmp_path / "out", threads=1, progress=progress, save_every=save_every)
    log = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (log["finished"], len(log["epochs"])) == (False, (at - 1) // 5)
    train(made, tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(straight.folder)


def test_interrupted_between_any_two_files_it_ends_the_same(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault comes before the file is in place; a run that is interrupted again and again gets to its end."""
    made, real, at = recipe(folder_of(straight)), shards.write, 0
    for at in range(1, 100):
        fault = raising(at)

        def write(path: Path, data: bytes, fault: Callable[[Any], None] = fault) -> None:
            path.with_name(path.name + ".tmp").write_bytes(data[: len(data) // 2])
            fault(path)
            real(path, data)

        monkeypatch.setattr(shards, "write", write)
        try:
            train(made, tmp_path / str(at), threads=1)
        except Broken:
            monkeypatch.setattr(shards, "write", real)
            train(made, tmp_path / str(at), threads=1)
            assert contents(tmp_path / str(at)) == contents(straight.folder)
        else:
            break
    assert at > 15  # checkpoints, cards, states, logs


KILLED = """
import os, signal, sys
from pathlib import Path
from training_nets import recipe
from convscope.training import train

def progress(step):
    if step.phase == "training" and step.done >= {images}:
        os.kill(os.getpid(), signal.SIGKILL)

train(recipe(Path(sys.argv[1])), sys.argv[2], threads=1, progress=progress, save_every={save_every})
"""


@pytest.mark.parametrize(
    ("images", "save_every"),
    [(60, 0), pytest.param(40, 1e9, marks=pytest.mark.slow), pytest.param(100, 1e9, marks=pytest.mark.slow)],
)
def test_killed_it_ends_the_same(straight: Trained, tmp_path: Path, images: int, save_every: float) -> None:
    source = KILLED.format(images=images, save_every=save_every)
    words = [sys.executable, "-c", source, str(folder_of(straight)), str(tmp_path / "out")]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "out" / "state.safetensors").exists()
    train(recipe(folder_of(straight)), tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(straight.folder)


def test_a_finished_training_is_not_trained_again(straight: Trained) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.folder.iterdir()}
    again = train(recipe(folder_of(straight)), straight.folder, progress=raising(1))  # with the threads of before
    assert again.log == straight.log
    assert {path: path.stat().st_mtime_ns for path in straight.folder.iterdir()} == before


# --- how it fails ----------------------------------------------------------------------------------------------------


def fails(kind: type[Exception], message: str, folder: Path, **changes: Any) -> None:
    """A training fails with this message, before it has left anything."""
    with pytest.raises(kind, match=message):
        train(recipe(folder, **changes), folder / "out", threads=1)
    assert not (folder / "out").exists()


def network(arch: str, **keys: Any) -> dict[str, Any]:
    return {"network": {"arch": arch, **keys}}


def test_networks_and_classes_that_do_not_fit(tmp_path: Path) -> None:
    names = ["bright", "dull"]
    fails(TrainingError, "three: it has 3 outputs for 2 classes; give", tmp_path, **network("training_nets:three"))
    fails(ImagesError, r"train.npz: \d+ of 38 labels are no class of the network, such as 'dark'.* has 2", tmp_path,
          **network("training_nets:small", classes=names))  # fmt: skip
    fails(NetworkError, "no architecture 'lenet'; did you mean 'lenet5'", tmp_path, **network("lenet"))
    fails(NetworkError, "trained weights|weights come from the checkpoint", tmp_path, **network("timm:resnet18@a1"))
    fails(TrainingError, "it has no weights to learn", tmp_path, **network("training_nets:frozen"))
    fails(NetworkError, r"large: it fails on inputs of \(3, 8, 8\).*\[preprocessing\]", tmp_path,
          **network("training_nets:large"))  # fmt: skip
    fails(NetworkError, "lenet5: images of 8 × 8 px are too small", tmp_path, **network("lenet5"))


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    fails(ImagesError, "nothing: there is no such folder or file", tmp_path,
          images={"train": str(tmp_path / "nothing"), "val": "digits:test"})  # fmt: skip
    np.save(tmp_path / "bare.npy", np.zeros((4, 3, 8, 8), np.float32))
    bare = {"train": str(tmp_path / "bare.npy"), "val": str(tmp_path / "bare.npy")}
    fails(TrainingError, "bare.npy: its labels name 0 classes", tmp_path, images=bare)
    names = network("training_nets:small", classes=["a", "b"])
    fails(ImagesError, "bare.npy: 4 of 4 images have no label, such as 0; give them", tmp_path, images=bare, **names)
    other = {"train": str(tmp_path / "train.npz"), "val": "digits:test"}
    fails(ImagesError, "digits:test: 3.. of 359 labels are no class of the network, such as ", tmp_path, images=other)


def test_images_of_which_none_can_be_read(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "a.png").write_bytes(b"no picture")
    bad = str(tmp_path / "bad")
    with pytest.raises(ImagesError, match=r"bad: none of 2 images could be read \(cat/a.png: "):
        train(recipe(tmp_path, images={"train": bad, "val": bad}), tmp_path / "out")


def test_a_loss_that_is_no_number_is_told_with_its_step_and_keeps_what_was_there(tmp_path: Path) -> None:
    changes = {"optimizer": {"kind": "sgd", "rate": 1e30}, "max_filter_rms": None, "schedule": None}
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d, in epoch 1 of 4.*lower rate.*1e\+30"):
        train(recipe(tmp_path, **changes), tmp_path / "out")
    assert not json.loads((tmp_path / "out" / "training.json").read_text())["epochs"]


def test_memory_that_runs_out(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"out of memory \(CUDA out of memory.*smaller batch_size"):
        train(recipe(tmp_path, **network("training_nets:hungry")), tmp_path / "out")


def test_a_full_disk_keeps_what_is_done(straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shards.write

    def write(path: Path, data: bytes) -> None:
        if path.name == "epoch-002.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(shards, "write", write)
    with pytest.raises(TrainingError, match=r"epoch-002.*No space left on device; make room. What is done is kept"):
        train(recipe(folder_of(straight)), tmp_path / "out", threads=1)
    monkeypatch.setattr(shards, "write", real)
    train(recipe(folder_of(straight)), tmp_path / "out", threads=1)
    assert contents(tmp_path / "out") == contents(straight.folder)


def test_a_folder_of_something_else_or_of_another_training(straight: Trained, tmp_path: Path) -> None:
    before = contents(straight.folder)
    made = recipe(folder_of(straight))
    with pytest.raises(
        TrainingError, match=r"there is another training \(.*seed: 0 there, 5 here\); give another folder"
    ):
        train(made.but(seed=5), straight.folder)
    with pytest.raises(TrainingError, match=r"another training \(threads: 1 there, 2 here\)"):
        train(made, straight.folder, threads=2)
    assert contents(straight.folder) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="there is something that is no training"):
        train(made, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(TrainingError, match=r"notes.txt"):
        train(made, tmp_path / "notes.txt")


def test_images_that_have_changed_are_another_training(tmp_path: Path) -> None:
    train(recipe(tmp_path, epochs=1), tmp_path / "out")
    data = dict(np.load(tmp_path / "train.npz"))
    data["images"][0] = 0.5
    np.savez(tmp_path / "train.npz", **data)
    with pytest.raises(TrainingError, match=r"there is another training.*'files'"):
        train(recipe(tmp_path, epochs=1), tmp_path / "out")


def test_damaged_files_are_named_with_the_remedy(straight: Trained, tmp_path: Path) -> None:
    made, out = recipe(folder_of(straight)), tmp_path / "out"
    with pytest.raises(Broken):
        train(made, out, threads=1, tell=raising(2))
    state = bytearray((out / "state.safetensors").read_bytes())
    state[-1] ^= 1
    (out / "state.safetensors").write_bytes(state)
    with pytest.raises(TrainingError, match=r"state.safetensors: damaged; delete it, and the same command trains from"):
        train(made, out, threads=1)
    (out / "state.safetensors").unlink()
    train(made, out, threads=1)
    assert contents(out) == contents(straight.folder)
    (out / "best.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"best.safetensors is missing; delete the folder and train again"):
        train(made, out, threads=1)
    (out / "training.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"training.json: damaged \(keys are missing"):
        train(made, out, threads=1)


def test_two_at_once_in_one_folder(tmp_path: Path) -> None:
    made = recipe(tmp_path)

    def inside(_: Any) -> None:
        with pytest.raises(TrainingError, match="out: another training is at work in it; wait for its end"):
            train(made, tmp_path / "out")

    train(made.but(epochs=1), tmp_path / "out", tell=inside)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, words = CliRunner().invoke, ["train", "digits-lenet5", "--device", "cpu"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    short = [*words, "--epochs", "2", "--seed", "3", "--threads", "1"]
    done = run(main, [*short, "--json"])
    assert done.exit_code == 0, done.output
    assert "epoch 2 of 2: loss" in done.stderr
    assert "training: 2876 of 2876" in done.stderr
    result = json.loads(done.stdout)
    assert {"folder", "epochs", "top1", "seconds", "checkpoints", "last", "best"} <= result.keys()
    assert (result["folder"], result["epochs"]) == ("digits-lenet5", 2)
    assert result["checkpoints"] == ["digits-lenet5/epoch-001.safetensors", "digits-lenet5/epoch-002.safetensors"]
    assert result["top1"] == result["top1_right"] / 359 > 0.5
    assert f"last: top-1 {result['top1']:.1%} of 359 validation images" in run(main, short).stdout
    other = run(main, words)
    assert other.exit_code == 1
    assert other.stderr.startswith("convscope: digits-lenet5: there is another training (")
    assert len(other.stderr.splitlines()) == 1
    assert "did you mean 'digits-lenet5'?" in run(main, ["train", "digits-lenet"]).stderr


def test_the_command_warns_where_the_accuracy_is_not_what_the_recipe_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    values = plain(tmp_path, epochs=1, expected=1.0)
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    (tmp_path / "tiny.toml").write_text("\n".join(lines))
    words = ["train", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "warning: the recipe expects a top-1 of 100.0% or more" in done.stderr
