"""How a thing in a network is named, in code, on the command line and in a URL.

===========================  ===========================================================
``layer4.1.conv2``           a layer: PyTorch's dotted module name
``layer1.0.relu~1``          the second call of a module that is used more than once
``features.3/relu``          a functional value, named by its producer and the operation
``layer4.1.conv2:37``        a unit: one channel of a layer
``layer4.1.conv2:37@3,5``    a neuron: a unit at row 3, column 5 of its map
===========================  ===========================================================

The network itself, where it is a single layer without a name, is written ``.``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from convscope.errors import AddressError

ROOT = "."

# PyTorch forbids dots inside a module's own name and nothing else. Half a surrogate pair cannot be written to any file.
_NAME = r"[^\s:@~/\ud800-\udfff]+"
_NUMBER = r"0*[0-9]{1,18}"  # what fits into 64 bits
_PATTERN = re.compile(
    rf"(?P<name>{_NAME})(?:/(?P<operation>{_NAME}))?"
    r"(?:~(?P<call>[1-9][0-9]{0,17}))?"
    rf"(?::(?P<unit>{_NUMBER})(?:@(?P<row>{_NUMBER}),(?P<column>{_NUMBER}))?)?"
)
_FORM = "expected LAYER, LAYER:UNIT or LAYER:UNIT@ROW,COLUMN, for example 'layer4.1.conv2:37@3,5'"


@dataclass(frozen=True)
class Layer:
    """A value of the network: what a module, or an operation inside it, gave at one of its calls."""

    name: str
    operation: str | None = None
    call: int = 0

    def __str__(self) -> str:
        operation = f"/{self.operation}" if self.operation else ""
        return f"{self.name}{operation}" + (f"~{self.call}" if self.call else "")


@dataclass(frozen=True)
class Unit:
    """One channel of a layer."""

    layer: Layer
    index: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.index}"


@dataclass(frozen=True)
class Neuron:
    """A unit at one position of its map."""

    unit: Unit
    row: int
    column: int

    def __str__(self) -> str:
        return f"{self.unit}@{self.row},{self.column}"


Address = Layer | Unit | Neuron


def parse(text: str) -> Address:
    """The address that `text` writes; ``str`` of the result is the canonical form again.

    Raises:
        AddressError: `text` is not written like an address.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise AddressError(f"{text!r} is not an address: {_FORM}")
    layer = Layer(match["name"], match["operation"], int(match["call"] or 0))
    if match["unit"] is None:
        return layer
    unit = Unit(layer, int(match["unit"]))
    if match["row"] is None:
        return unit
    return Neuron(unit, int(match["row"]), int(match["column"]))


def parse_layer(text: str) -> Layer:
    """The layer that `text` writes; a unit or neuron is refused by name."""
    address = parse(text)
    if not isinstance(address, Layer):
        raise AddressError(f"{text!r} names a {type(address).__name__.lower()}, where a layer is expected")
    return address


def parse_unit(text: str) -> Unit:
    """The unit that `text` writes; a layer or neuron is refused by name."""
    address = parse(text)
    if not isinstance(address, Unit):
        raise AddressError(f"{text!r} names a {type(address).__name__.lower()}, where a unit is expected: {_FORM}")
    return address


def matching(pattern: str, layers: Iterable[Layer]) -> set[str]:
    """The addresses that `pattern` names, matches as ``layer4.*`` does, or has inside as a module."""
    module, mark, _ = pattern.partition("~")
    known = {str(layer): layer.name for layer in layers}
    found = {text for text in known if text == pattern or fnmatch.fnmatchcase(text, pattern)}
    if not mark:
        found |= {text for text, inside in known.items() if module == ROOT or inside.startswith(module + ".")}
    if found or mark:
        return found
    return {text for text, inside in known.items() if inside == module}  # a module that calls functions itself
