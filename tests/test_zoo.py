"""The networks that come by name: their sizes, their names for things, and what their weights achieve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from convscope import zoo
from convscope.evaluation import evaluate
from convscope.images import open_images
from convscope.network import load
from convscope.training import Recipe
from convscope.training.embedded import TESTED, make


def parameters(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_lenet5_has_its_published_size() -> None:
    """Layer by layer: weights of every filter and a bias a filter."""
    by_hand = (25 + 1) * 6 + (25 * 6 + 1) * 16 + (25 * 16 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    assert parameters(zoo.lenet5()) == by_hand == 61_706


def test_squeezenet_has_its_published_size() -> None:
    module = zoo.squeezenet1_0()
    assert parameters(module) == 1_248_424
    assert len(module.state_dict()) == 52


CLASSES = {"lenet5": 10, "squeezenet1_0": 1000, "dioramanet": 24, "dioramanet-fc": 24}


@pytest.mark.parametrize("name", CLASSES)
def test_an_architecture_takes_the_input_that_it_says_and_other_classes_and_channels(name: str) -> None:
    entry = zoo.ARCHITECTURES[name]
    for module, planes, classes in [
        (entry.factory(), entry.preprocess.planes, CLASSES[name]),
        (entry.factory(classes=7, channels=5), 5, 7),  # type: ignore[call-arg]
    ]:
        with torch.no_grad():
            assert module(torch.zeros(2, planes, *entry.preprocess.size)).shape == (2, classes)


@pytest.mark.parametrize("size", [(224, 224), (227, 227), (97, 130), (107, 103)], ids=str)
def test_squeezenet_is_torchvisions(torchvision: Any, size: tuple[int, int]) -> None:
    """The odd sizes make every pool round up on some axis: at 224 and 227 px the last one has nothing to round."""
    theirs, ours = torchvision.models.squeezenet1_0(weights=None).eval(), zoo.squeezenet1_0().eval()
    assert list(shapes(ours).items()) == list(shapes(theirs).items())
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.real
def test_squeezenet_has_the_names_of_the_real_weights(shared_data: Path) -> None:
    with safe_open(shared_data / "weights" / "squeezenet1_0.safetensors", "pt") as file:
        real = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 — not a dict
    assert shapes(zoo.squeezenet1_0()) == real


REAL_LOGITS = {  # ../shared/data/README.md
    "images/ILSVRC2012_val_00000363.jpg": {133: 27.8045, 142: 17.2732, 8: 16.2942},
    "images/ILSVRC2012_val_00000580.jpg": {454: 17.9201, 509: 16.4749, 886: 15.7346},
    "images/ILSVRC2012_val_00001699.jpg": {547: 35.9009, 705: 32.5831, 829: 26.7131},
}


@pytest.mark.real
def test_squeezenet_gives_its_known_logits(shared_data: Path) -> None:
    """A wrong normalisation hardly changes the accuracy; only logits show it."""
    network = load(shared_data / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")
    assert network.classes is not None
    assert network.classes[133] == "bittern"
    assert network.synonyms is not None
    assert network.synonyms["n02011460"] == 133
    images = open_images(shared_data / "imagenet_val227")
    assert list(images.names[:3]) == list(REAL_LOGITS)
    batch = torch.stack([network.preprocess(images.read(i)) for i in range(3)])
    with torch.no_grad():
        scores = network.module(batch)
    for row, expected in zip(scores, REAL_LOGITS.values(), strict=True):
        top = row.topk(3)
        assert top.indices.tolist() == list(expected)
        np.testing.assert_allclose(top.values, list(expected.values()), atol=1e-3, rtol=0)


# --- the embedded networks -------------------------------------------------------------------------------------------

# What each must reach on the test split, and which layer has its last feature maps.
FLOORS = {"digits:lenet5": 0.98, "diorama:objects": 0.9, "diorama:objects-fc": 0.9, "diorama:scenes": 0.9}


def share_right(name: str, limit: int | None = None) -> float:
    network, images = load(name), open_images(TESTED[name])
    truth, remark = images.class_indices(network, len(network.classes or ()))
    assert remark is None
    count, right = min(limit or len(images), len(images)), 0
    with torch.no_grad():
        for start in range(0, count, 50):
            chosen = range(start, min(start + 50, count))
            scores = network.module(torch.stack([network.preprocess(images.read(i)) for i in chosen]))
            right += int((scores.argmax(1).numpy() == truth[chosen]).sum())
    return right / count


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_embedded_weights_are_whole(name: str) -> None:
    entry = zoo.EMBEDDED[name]
    assert entry.arch in zoo.ARCHITECTURES
    network = load(name)
    assert all(torch.isfinite(tensor).all() for tensor in network.module.state_dict().values())
    assert network.classes is not None
    with safe_open(entry.weights, "pt") as file:
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118 — not a dict
    assert kinds <= {torch.float16, torch.int64}


def test_embedded_weights_take_little_room() -> None:
    assert sum(entry.weights.stat().st_size for entry in zoo.EMBEDDED.values()) <= 8e6


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_embedded_networks_know_images_that_they_have_never_seen(name: str) -> None:
    assert share_right(name, 480) >= FLOORS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo.EMBEDDED if name.startswith("diorama")])
def test_embedded_networks_know_2000_images_that_they_have_never_seen(name: str) -> None:
    assert share_right(name) >= FLOORS[name]


@pytest.mark.slow
def test_the_quickest_recipe_reaches_the_accuracy_that_it_states(tmp_path: Path) -> None:
    """So do its weights, rounded to 16 bits."""
    file = make("digits:lenet5", tmp_path)
    network = load(file, arch="lenet5")
    assert network.classes == load("digits:lenet5").classes
    errors = evaluate(network, "digits:test").rows[0].top1
    expected = Recipe.open("digits-lenet5").course.expected
    assert expected is not None
    assert 1 - errors.error >= expected
    log = json.loads((tmp_path / "digits-lenet5" / "training.json").read_text())
    assert log["last"]["top1"] >= expected
    assert [each["epoch"] for each in log["checkpoints"]] == [1, 2, 5, 10, 20, 30, 40, 60]


@pytest.mark.parametrize("channels", ["L", "RGB", 5])
def test_an_architecture_has_the_channels_and_classes_that_its_card_says(channels: str | int, tmp_path: Path) -> None:
    card = {"size": [32, 32], "channels": channels, "classes": ["cat", "dog", "owl"]}
    network = load("lenet5", preprocess=card)
    planes = network.preprocess.planes
    assert planes == {"L": 1, "RGB": 3}.get(channels, channels)
    with torch.no_grad():
        assert network.module(network.example()).shape == (1, 3)
    save_file(network.module.state_dict(), tmp_path / "mine.safetensors")
    again = load(tmp_path / "mine.safetensors", arch="lenet5", preprocess=card)
    assert torch.equal(again.module.c1.weight, network.module.c1.weight)
