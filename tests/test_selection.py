"""Which layers a scan takes: by name, module or pattern."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convscope
from convscope.errors import AddressError, NetworkError
from convscope.network import Network
from convscope.recorder import record
from convscope.scanner import scan, select
from odd_nets import ODD_NETS, conv


def chosen(net: str | nn.Module, wanted: Sequence[str] | None) -> list[str]:
    module, shape = (net, (3, 32, 32)) if isinstance(net, nn.Module) else (ODD_NETS[net].make(), ODD_NETS[net].shape)
    return [str(layer.address) for layer in select(record(module, torch.rand(1, *shape)), wanted)]


@pytest.mark.parametrize(
    ("net", "wanted", "expected"),
    [
        ("inception", None, ["a", "b.0", "b.2", "c.0", "d.1", "e"]),
        ("inception", ["e", "a"], ["a", "e"]),  # in the order of the network
        ("inception", ["b"], ["b.0", "b.2"]),
        ("inception", ["b", "b.0"], ["b.0", "b.2"]),
        ("inception", ["?.0"], ["b.0", "c.0"]),
        ("inception", ["*"], ["a", "b.0", "b.2", "c.0", "d.1", "e"]),
        ("inception", "d.1", ["d.1"]),
        ("inception", ["."], ["a", "b.0", "b.2", "c.0", "d.1", "e"]),
        ("alias", ["second"], ["first"]),
        ("alias", ["second~1"], ["first~1"]),
        ("alias", ["first*"], ["first", "first~1", "first~2"]),
        ("called_twice", ["block.0~1"], ["block.0~1"]),
        ("called_twice", ["block"], ["block.0", "block.0~1"]),
        ("functional_layers", ["./mm"], ["./mm"]),
        ("functional_layers", ["."], ["./convolution", "./convolution~1", "./mm"]),
        ("single_conv", ["."], ["."]),
    ],
)
def test_layers_are_chosen_by_name_module_or_pattern(net: str, wanted: Sequence[str], expected: list[str]) -> None:
    assert chosen(net, wanted) == expected


class TwoFunctions(nn.Module):
    """A module without children that convolves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.conv2d(x, self.weight), self.weight)


def test_a_module_that_calls_functions_itself_is_chosen_whole() -> None:
    module = nn.Sequential(conv(3, 3), TwoFunctions())
    assert chosen(module, ["1"]) == ["1/convolution", "1/convolution~1"]


@pytest.mark.parametrize(
    ("net", "wanted", "hint"),
    [
        ("inception", "b.1", "'b.0'"),
        ("residual", "con1", "'conv1'"),
        ("residual", "steam", "'stem'"),
        ("called_twice", "block.0~7", "'block.0~1'"),
        ("residual", "zzzzzz", ""),
    ],
)
def test_a_misspelt_layer_offers_the_nearest(net: str, wanted: str, hint: str) -> None:
    with pytest.raises(AddressError) as caught:
        chosen(net, ["*", wanted])
    assert repr(wanted) in str(caught.value)
    assert hint in str(caught.value)
    assert ("did you mean" in str(caught.value)) == bool(hint)


def test_no_layers_at_all(tmp_path: Path, tiny_network: Network, image_folder: Path) -> None:
    images = convscope.open_images(image_folder)
    with pytest.raises(ValueError, match="layers is empty"):
        scan(tiny_network, images, tmp_path / "atlas", layers=[])
    pool = convscope.wrap(nn.AvgPool2d(2), preprocess={"size": [8, 8]})
    with pytest.raises(NetworkError, match="no convolution or linear layer"):
        scan(pool, images, tmp_path / "atlas")
    assert not list(tmp_path.glob("atlas*"))


@pytest.mark.parametrize("name", ["two words", "a/b", "a:3", "a@b", "conv~1"])
def test_a_name_that_no_address_can_write_is_refused_before_the_scan(
    tmp_path: Path, image_folder: Path, name: str
) -> None:
    module = nn.Sequential()
    module.add_module(name, conv(3, 2))
    module.add_module("fine", conv(2, 2))
    network = convscope.wrap(module, preprocess={"size": [8, 8]})
    images = convscope.open_images(image_folder)
    with pytest.raises(NetworkError, match=f"{name!r} cannot be addressed"):
        scan(network, images, tmp_path / "atlas")
    assert len(scan(network, images, tmp_path / "atlas", layers=["fine"]).layers) == 1
