"""Addresses: what is written is read again, and what is not an address is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.address import Address, Layer, Neuron, Unit, parse, parse_layer, parse_unit
from convscope.errors import AddressError, nearest

WORDS = st.text("abcxyzABC019_-é", min_size=1, max_size=5)
NAMES = st.just(".") | st.lists(WORDS, min_size=1, max_size=4).map(".".join)
COUNTS = st.integers(0, 10**6)
LAYERS = st.builds(Layer, NAMES, st.none() | WORDS, COUNTS)
UNITS = st.builds(Unit, LAYERS, COUNTS)
NEURONS = st.builds(Neuron, UNITS, COUNTS, COUNTS)


@given(LAYERS | UNITS | NEURONS)
def test_an_address_is_read_as_it_is_written(address: Address) -> None:
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("layer4.1.conv2", Layer("layer4.1.conv2")),
        ("layer1.0.relu~1", Layer("layer1.0.relu", call=1)),
        ("features.3/relu", Layer("features.3", "relu")),
        ("./mm~12", Layer(".", "mm", 12)),
        (".", Layer(".")),
        ("layer4.1.conv2:37", Unit(Layer("layer4.1.conv2"), 37)),
        (".:0", Unit(Layer("."), 0)),
        ("layer4.1.conv2:37@3,5", Neuron(Unit(Layer("layer4.1.conv2"), 37), 3, 5)),
        ("a/b~1:2@3,4", Neuron(Unit(Layer("a", "b", 1), 2), 3, 4)),
    ],
)
def test_the_written_forms(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":3", "a:", "a:-1", "a:1@", "a:1@2", "a:1@2,", "a:1@2,3,4", "a@1,2", "a b", "a:x", "a~0", "a~", "a/", "/b",
     "a:1:2", "a~1~2", "a/b/c", "a:1\n", "a:1.5", "a:1@2, 3", "a~01", "a:\u0663"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(AddressError, match="LAYER:UNIT@ROW,COLUMN") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_leading_zeros_are_no_second_name_of_a_unit() -> None:
    assert str(parse("a:007@01,002")) == "a:7@1,2"


def test_a_layer_or_unit_can_be_demanded() -> None:
    assert parse_layer("a.b~1") == Layer("a.b", call=1)
    assert parse_unit("a.b:3") == Unit(Layer("a.b"), 3)
    with pytest.raises(AddressError, match="'a:3' names a unit, where a layer is expected"):
        parse_layer("a:3")
    with pytest.raises(AddressError, match="'a:3@1,1' names a neuron, where a layer is expected"):
        parse_layer("a:3@1,1")
    with pytest.raises(AddressError, match="'a' names a layer, where a unit is expected"):
        parse_unit("a")
    with pytest.raises(AddressError, match="'a:3@1,1' names a neuron, where a unit is expected"):
        parse_unit("a:3@1,1")


def test_addresses_are_keys() -> None:
    assert {parse("a:1"): 1}[Unit(Layer("a"), 1)] == 1
    assert parse("a") != parse("a~1")


def test_the_nearest_names_are_offered() -> None:
    assert nearest("layer1.conv", ["layer1.conv1", "layer1.conv2", "fc"]) == (
        "; did you mean 'layer1.conv2' or 'layer1.conv1'?"
    )
    assert nearest("head", ["stem", "body"]) == ""
