"""What is to be explained, written the same way everywhere: a class, a unit, a position, or any function of the output.

================================  ==============================================================================
``None``                          the predicted class of each image
``7``, ``"7"``, ``"tabby"``       a class, by index or by name
``Class("tabby", "probability")`` a class, and which number of it: "logit" (default), "probability" or "logprob"
``"features.3:12"``               a unit: its response where it is largest on the image
``"features.3:12@4,5"``           a neuron: the unit's response at row 4, column 5 of its map
``lambda output: output[:, 3]``   a function from what the network returns to a number for each image, (n,)
``[7, "features.3:12", ...]``     one of these for each image
================================  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convscope.address import Layer, Neuron, Unit, parse
from convscope.errors import AddressError, TargetError, nearest
from convscope.graph import Graph
from convscope.network import Network
from convscope.scored import ClassTarget, Fixed, FunctionTarget, UnitTarget

OF = ("logit", "probability", "logprob")
# Operations at the end of a network -> what makes probabilities of logits, and what they give.
_ENDS = {
    "_softmax": ("softmax", "probability"),
    "_log_softmax": ("softmax", "logprob"),
    "sigmoid": ("sigmoid", "probability"),
}
_RESHAPES = {"view", "_unsafe_view", "squeeze", "unsqueeze"}  # they keep the order of the numbers


@dataclass(frozen=True)
class Class:
    """A class of the network as a target.

    Args:
        which: its index or name; None for the predicted one.
        of: the number that is explained: "logit", "probability" or "logprob".
    """

    which: int | str | None = None
    of: str = "logit"


Target = None | int | str | Class | Unit | Neuron | Callable[[Any], Tensor]
Targets = Target | Sequence[Target] | Tensor | NDArray[np.integer[Any]]


def understand(targets: Targets, network: Network, graph: Graph, count: int) -> tuple[Fixed, ...]:
    """What `targets` mean for `count` images.

    Raises:
        TargetError: there is no such class, they are not as many as the images, or are nothing to explain.
        AddressError: there is no such layer, unit or position.
    """
    if isinstance(targets, Tensor | np.ndarray | np.generic):
        targets = targets.tolist()
    if not isinstance(targets, list | tuple):
        return (_understood(targets, network, graph),) * count
    if len(targets) != count:
        raise TargetError(f"{len(targets)} targets are given for {count} images; give one, or one for each image")
    return tuple(_understood(target, network, graph) for target in targets)


def _understood(target: Any, network: Network, graph: Graph) -> Fixed:
    if isinstance(target, str) and ":" in target and _class_named(target, network) is None:
        target = _address(target)
    if isinstance(target, Unit | Neuron):
        return _unit(target, graph)
    if isinstance(target, Class):
        return _class(target, network, graph)
    if target is None or (isinstance(target, int | str) and not isinstance(target, bool)):
        return _class(Class(target), network, graph)
    if callable(target):
        return FunctionTarget(target)
    raise TargetError(
        f"{target!r} cannot be explained; give a class (index or name), a unit or neuron ('LAYER:UNIT' or "
        "'LAYER:UNIT@ROW,COLUMN'), a function of the output, or a list with one of them for each image"
    )


def _address(text: str) -> Unit | Neuron:
    address = parse(text)
    if isinstance(address, Layer):
        raise AddressError(f"{text!r} names a layer, where a unit is expected, as '{text}:0'")
    return address


# --- units -----------------------------------------------------------------------------------------------------------


def _unit(address: Unit | Neuron, graph: Graph) -> UnitTarget:
    unit = address.unit if isinstance(address, Neuron) else address
    layer = graph.layer(unit.layer)
    if layer.response not in graph.dependent:
        raise AddressError(f"{layer.address} does not depend on the image")
    if unit.index >= layer.units:
        raise AddressError(f"{address}: layer {layer.address} has {layer.units} units, 0 to {layer.units - 1}")
    if not isinstance(address, Neuron):
        return UnitTarget(layer, unit.index, None)
    places = layer.shape[1:]
    rows, columns = places if len(places) == 2 else (1, math.prod(places))
    if address.row >= rows or address.column >= columns:
        raise AddressError(f"{address}: the map of layer {layer.address} has {rows} rows and {columns} columns")
    return UnitTarget(layer, unit.index, address.row * columns + address.column)


# --- classes ---------------------------------------------------------------------------------------------------------


def _class(target: Class, network: Network, graph: Graph) -> ClassTarget:
    if target.of not in OF:
        raise TargetError(f"of={target.of!r} is no number of a class; expected one of {', '.join(OF)}")
    shape = graph.shapes[graph.outputs[0]]
    if len(shape) != 2 or shape[0] != graph.batch:
        raise TargetError(
            f"the network's first output has shape {shape} for {graph.batch} image(s), so it has no classes to "
            "explain; give a unit ('LAYER:UNIT') or a function of the output"
        )
    names = network.classes if network.classes is not None and len(network.classes) == shape[1] else None
    index = None if target.which is None else _index(target.which, shape[1], network)
    value, given, link = _class_scores(network, graph)
    if given == "output" and target.of != "logit":
        raise TargetError(f"the outputs of {network.name} are real values, so class {index} has no {target.of}")
    return ClassTarget(index, target.of, value, given, link, names)


def _index(which: int | str, classes: int, network: Network) -> int:
    index = _class_named(which, network) if isinstance(which, str) else which
    if index is None and isinstance(which, str) and which.isascii() and which.isdigit():
        index = int(which)
    if index is None:
        names = network.classes or ()
        hint = nearest(str(which), names) or ("" if names else "; its classes have no names, give an index")
        raise TargetError(f"{network.name} has no class {which!r}{hint}; a unit is written 'LAYER:UNIT'")
    if not 0 <= index < classes:
        raise TargetError(f"there is no class {which!r}: the network has {classes} classes, 0 to {classes - 1}")
    return index


def _class_named(name: str, network: Network) -> int | None:
    found = [index for index, known in enumerate(network.classes or ()) if known == name]
    if len(found) > 1:
        raise TargetError(f"{name!r} is the name of several classes; give one of the indices {found}")
    return found[0] if found else (network.synonyms or {}).get(name)


def _class_scores(network: Network, graph: Graph) -> tuple[int | None, str, str]:
    """The value that holds the scores of the classes (None for the output), what they are, and what makes
    probabilities of them.
    """
    link = "sigmoid" if network.output == "sigmoid" else "softmax"
    if network.output == "real":
        return None, "output", link
    end = base_of(graph, graph.outputs[0])
    node = None if end is None else graph.producers[end]
    if node is None or node.op not in _ENDS:
        return None, "logit", link
    dim = node.arguments.get("dim")  # a sigmoid has none
    if dim is not None and graph.shapes[node.outputs[0]][dim] != graph.shapes[graph.outputs[0]][1]:
        return None, "logit", link  # not over the classes
    link, given = _ENDS[node.op]
    before = node.inputs[0]
    return (None, given, link) if base_of(graph, before) is None else (before, "logit", link)


def base_of(graph: Graph, value: int) -> int | None:
    """The computed value that holds the same numbers in the same order; None where there is none."""
    node = graph.producers.get(value)
    while node is not None and node.ordinal is None and node.op in _RESHAPES:
        value = node.inputs[0]
        node = graph.producers.get(value)
    return value if node is not None and node.ordinal is not None else None
