"""Surgery: the trunk is the network's own, bit by bit, and the class maps of the new head are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import convscope
from convscope.cli import main
from convscope.errors import NetworkError
from convscope.network import Network, after_surgery, load, untrained
from convscope.preprocess import Preprocess
from convscope.training import Recipe, train
from convscope.zoo.surgery import Surgery
from training_nets import plain

CARD = {"size": [16, 16], "mean": [0.5], "std": [0.25], "classes": ["cat", "dog", "owl"]}

pytestmark = pytest.mark.usefixtures("one_thread")


def network(name: str) -> Network:
    return load(f"surgery_nets:{name}", preprocess=CARD)


def maps_of(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return module.cam_relu(module.cam_conv(torch.relu(module.trunk(images))))


@pytest.mark.parametrize(
    ("name", "layer", "units"), [("functional", "second", 8), ("branches", "join", 9), ("branches", "stem", 4)]
)
@pytest.mark.parametrize("head", ["gap", "gmp"])
def test_the_trunk_is_the_networks_and_the_class_maps_are_exact(name: str, layer: str, units: int, head: str) -> None:
    whole = network(name)
    made = after_surgery(whole, head, None if layer != "stem" else layer)
    assert made.name == f"{head}:{layer}:surgery_nets:{name}"
    images, seen = whole.example(4), []
    handle = whole.module.get_submodule(layer).register_forward_hook(lambda *each: seen.append(each[2].clone()))
    with torch.no_grad():
        whole.module(images)
        trunk = made.module.trunk(images)
        maps = maps_of(made.module, images)
        scores = made.module(images)
    handle.remove()
    assert torch.equal(trunk, seen[0])
    assert trunk.shape[1] == units
    assert maps.shape[1] == 1024
    pooled = maps.mean((2, 3)) if head == "gap" else maps.amax((2, 3))
    output = made.module.output
    torch.testing.assert_close(scores, pooled @ output.weight.T + output.bias)


def test_nothing_of_the_old_head_is_left() -> None:
    made = after_surgery(network("functional"))
    names = {name.split(".")[1] for name, _ in made.module.named_parameters() if name.startswith("trunk.")}
    assert names == {"first", "second"}


def test_the_network_itself_stays_as_it_was() -> None:
    whole = network("branches")
    before, images = whole.fingerprint, whole.example(2)
    with torch.no_grad():
        scores = whole.module(images)
        after_surgery(whole)
        assert torch.equal(whole.module(images), scores)
    assert whole.fingerprint == before
    assert "head.2.weight" in whole.module.state_dict()


def test_it_learns_with_the_batch_norm_and_the_dropout_of_its_mode() -> None:
    made = after_surgery(network("branches"), layer="stem").module
    norm = made.trunk.get_submodule("stem.1")
    assert isinstance(norm, nn.BatchNorm2d)
    made.train()
    before = norm.running_mean.clone()
    made(torch.rand(4, 3, 16, 16))
    assert not torch.equal(norm.running_mean, before)
    made.eval()
    before = norm.running_mean.clone()
    made(torch.rand(4, 3, 16, 16))
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("pooled", None, "its class maps are exact as it is"),
        ("flat", None, "has no maps"),
        ("dependent", None, "torch.fx can trace"),
        ("functional", "hidden", "gives no maps"),
        ("functional", "secnd", "did you mean 'second'"),
    ],
)
def test_what_cannot_be_operated_on_is_told(name: str, layer: str | None, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        after_surgery(network(name), layer=layer)


def test_a_named_layer_is_operated_on_all_the_same() -> None:
    assert after_surgery(network("pooled"), layer="1").name == "gap:1:surgery_nets:pooled"


def test_a_wrapped_module_has_no_name() -> None:
    wrapped = convscope.wrap(nn.Conv2d(3, 4, 3), preprocess=Preprocess((16, 16)), name="mine")
    with pytest.raises(NetworkError, match="load it as module:factory"):
        after_surgery(wrapped)


@pytest.mark.parametrize("text", ["gap:features.29", "gap::alexnet", "gmp:"])
def test_half_a_surgery_is_named(text: str) -> None:
    with pytest.raises(NetworkError, match=r"expected g[am]p:LAYER:ARCH"):
        Surgery.read(text)
    assert Surgery.read("alexnet:head=gap") is None


def test_after_surgery_it_is_a_model_an_arch_and_a_start(tmp_path: Path) -> None:
    """The command writes weights, which load, and which a recipe trains on from."""
    card = tmp_path / "card.json"
    card.write_text(json.dumps(CARD))
    out = tmp_path / "cut.safetensors"
    words = ["convert", "surgery_nets:functional", "--preprocess", str(card), "-o", str(out), "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    about = json.loads(done.stdout)
    whole = network("functional")
    assert about["arch"] == "gap:second:surgery_nets:functional"
    assert about["parameters_before"] == sum(each.numel() for each in whole.module.parameters())
    trunk = (27 + 1) * 6 + (54 + 1) * 8
    assert about["parameters"] == trunk + (72 + 1) * 1024 + (1024 + 1) * 3
    loaded = load(out, arch=about["arch"])
    assert loaded.classes == ("cat", "dog", "owl")
    images = loaded.example(3)
    with torch.no_grad():
        assert torch.equal(loaded.module.trunk(images), network_maps(images, load_again(out, about["arch"])))
    words = CliRunner().invoke(main, words[:-1]).stdout
    assert f'arch = "{about["arch"]}"' in words
    assert f'weights = "{out}"' in words


def load_again(path: Path, arch: str) -> nn.Module:
    return load(path, arch=arch).module


def network_maps(images: torch.Tensor, module: nn.Module) -> torch.Tensor:
    first, second = module.trunk.first, module.trunk.second
    return second(torch.nn.functional.max_pool2d(torch.relu(first(images)), 2))


def test_the_trainer_goes_on_from_it(tmp_path: Path) -> None:
    arch = "gap:2:training_nets:small"
    values: dict[str, Any] = plain(
        tmp_path, epochs=1, network={"arch": arch}, optimizer={"kind": "sgd", "rate": 1e-3}, max_filter_rms=None
    )
    trained = train(Recipe.read(values, "cut"), tmp_path / "out")
    again = load(trained.last, arch=arch)
    assert again.classes == ("bright", "dark")
    start = untrained(arch, {**values["preprocessing"], "classes": ["bright", "dark"]}).module
    assert again.module.state_dict().keys() == start.state_dict().keys()


@pytest.mark.parametrize(("name", "layer"), [("alexnet", "features.11"), ("vgg11", "features.19")])
def test_of_torchvisions_networks_what_the_paper_took_off_is_taken(torchvision: Any, name: str, layer: str) -> None:
    whole = load(f"torchvision:{name}")
    made = after_surgery(whole)
    assert made.name == f"gap:{layer}:torchvision:{name}"
    with torch.no_grad():
        images = whole.example(1)
        assert torch.equal(made.module.trunk(images), whole.module.features[: int(layer.split(".")[1]) + 1](images))
        assert made.module(images).shape == (1, 1000)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "squeezenet1_0", "googlenet", "mobilenet_v3_small"])
def test_networks_that_have_such_a_head_are_told_from_those_that_have_none(torchvision: Any, name: str) -> None:
    if name == "mobilenet_v3_small":  # two linear layers behind the pool
        assert after_surgery(load(f"torchvision:{name}")).name == f"gap:features:torchvision:{name}"
        return
    with pytest.raises(NetworkError, match="exact as it is"):
        after_surgery(load(f"torchvision:{name}"))
