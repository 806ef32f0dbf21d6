"""Fuzzing of addresses, and of the patterns that choose layers: an error that names the thing, or the thing itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import ADDRESSES, ANY_TEXT, fuzz, outcome
from hypothesis import strategies as st
from torch import nn

import convscope
from convscope.address import ROOT, Address, Layer, Neuron, Unit, parse
from convscope.atlas import Atlas, AtlasLayer, AtlasUnit
from convscope.errors import AddressError, NetworkError
from convscope.graph import Graph
from convscope.recorder import record
from convscope.scanner import select

pytestmark = pytest.mark.usefixtures("one_thread")

HARD = st.sampled_from(
    ["", ".", "..", "conv", "conv:0", "conv:3", "conv:4", "conv:" + "9" * 5000, "a~" + "9" * 5000, "conv@1,2",
     "conv:0@1,2", "conv:١", "conv: 1", "conv:0\n", "\ud800", "conv:\0", "0", "0.*", "2.[0]", "2", "conv~1", "/", "~",
     "*~*"]
)  # fmt: skip
NEAR = st.text(".:@~/,*?[]!^-&|\\ \n\tconvlast.0123459٣", max_size=12)
WRITTEN = ADDRESSES.map(str) | HARD | NEAR | ANY_TEXT | st.lists(HARD | NEAR, max_size=3).map("".join)


def module(*names: str) -> nn.Module:
    """A 1×1 convolution under each name, one after the other, and the mean over the map."""
    whole = nn.Sequential()
    for i, name in enumerate(names):
        whole.add_module(name, nn.Conv2d(3 if i == 0 else 4, 4, 1))
    whole.add_module("pool", nn.AdaptiveAvgPool2d(1))
    whole.add_module("flat", nn.Flatten())
    return whole.eval()


@pytest.fixture(scope="module")
def graph() -> Graph:
    block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    return record(nn.Sequential(module("conv"), nn.Unflatten(1, (4, 1, 1)), block), torch.zeros(1, 3, 4, 4))


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return scanned(module("conv", "last"), tmp_path_factory.mktemp("atlas") / "atlas")


def scanned(whole: nn.Module, path: Path) -> Atlas:
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).numpy()
    network = convscope.wrap(whole, preprocess={"size": [4, 4]}, name="tiny")
    return convscope.scan(network, convscope.Arrays(images), path)


@fuzz(text=WRITTEN)
def test_a_text_is_an_address_that_writes_itself_or_is_refused(text: str) -> None:
    address, refusal = outcome(lambda: parse(text), AddressError)
    if refusal is not None:
        assert "expected LAYER" in refusal
        return
    written = str(address)
    assert parse(written) == address
    assert written.encode().decode() == written
    if written != text:  # only zeros before a number are no part of it
        assert len(written) < len(text)
        assert "0" in text


@fuzz(address=ADDRESSES)
def test_a_valid_address_is_accepted(address: Address) -> None:
    assert parse(str(address)) == address


@fuzz(text=WRITTEN)
def test_an_atlas_has_what_is_asked_for_or_says_that_it_has_not(atlas: Atlas, text: str) -> None:
    known = {str(thing.address): thing for layer in atlas.layers for thing in (layer, *layer)}
    try:
        found = atlas[text]
    except AddressError:
        assert text not in known
        return
    assert isinstance(found, AtlasLayer | AtlasUnit)
    assert found.address == parse(text)
    assert str(found.address) in known


@fuzz(patterns=st.lists(WRITTEN, min_size=1, max_size=2))
def test_a_pattern_chooses_layers_or_is_refused_by_name(graph: Graph, patterns: list[str]) -> None:
    every = [str(layer.address) for layer in graph.layers()]
    found, refusal = outcome(lambda: [str(layer.address) for layer in select(graph, patterns)], AddressError)
    if refusal is not None:
        assert any(repr(pattern) in refusal for pattern in patterns)
        assert not {*patterns} <= {*every}
        return
    assert found == [name for name in every if name in found]  # in the order of the network, each once
    assert found
    for pattern in patterns:
        if pattern in every:
            assert pattern in found
        if "*" not in pattern and "?" not in pattern and "[" not in pattern and pattern != ROOT:
            assert any(name == pattern or name.startswith(f"{pattern}.") for name in found)


HOSTILE = st.text(st.characters(exclude_characters="."), min_size=1, max_size=6).filter(
    lambda name: not hasattr(nn.Sequential, name) and name not in {"pool", "flat"}
) | st.sampled_from(
    ["a|topk", "<script>", "</script>", "..", "a\\b", "%2e", "#x", "\ud800", "\0", "ａ", "{{1}}", "[a]", "*"]
)


@fuzz(  # a scan and a report for each
    quick=8,
    thorough=200,
    names=st.lists(HOSTILE.filter(lambda name: "." not in name), min_size=1, max_size=2, unique=True),
)
def test_whatever_a_module_is_called_it_is_scanned_under_its_name_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    found, refusal = outcome(lambda: scanned(module(*names), folder / "atlas"), NetworkError)
    if refusal is not None:
        assert any(repr(name) in refusal for name in names)
        assert any(parsed(name) != Layer(name) for name in names)
        return
    assert [layer.address.name for layer in found.layers] == names
    for layer in found.layers:
        here = found[f"{layer.address}:3"]
        assert isinstance(here, AtlasUnit)
        assert here.layer is layer
        assert set(layer.state("topk")) == {"values", "ids", "positions", "maps"}
        assert [top.name for top in here.top]
    convscope.write_report(found, folder / "report")


def parsed(text: str) -> Any:
    try:
        return parse(text)
    except AddressError:
        return None


def test_the_check_would_notice(atlas: Atlas) -> None:
    """The helpers above tell a unit from a neuron, and a wrong one from a right one."""
    assert parsed("conv:0") == Unit(Layer("conv"), 0) != parsed("conv:1")
    assert isinstance(parsed("conv:0@1,2"), Neuron)
    assert parsed("a b") is None
