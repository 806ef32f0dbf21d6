"""Methods of attribution by name: what users write for them, and which ones suit a network."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from convscope.attribution import Attribution, registered
from convscope.errors import AttributionError, nearest
from convscope.network import Network
from convscope.targets import Targets

Methods = str | Attribution | Sequence[str | Attribution]

_SEVENTH = 7  # of an image's shorter side is a window of occlusion: 32 px of 224, as in the paper


def read_methods(methods: Methods, network: Network, seed: int | None = None) -> tuple[Attribution, ...]:
    """The methods that are named, in their order; those that are given as such stay as they are.

    Args:
        methods: such as ``"cam, occlusion:window=16,stride=4"``, or a sequence of such names and of methods.
        seed: for those that draw random numbers and do not say their own.

    Raises:
        AttributionError: there is no such method or parameter, one has a value that it cannot have, or stands twice.
    """
    listed = [methods] if isinstance(methods, str | Attribution) else list(methods)
    found = [method for each in listed for method in _read(each, network, seed)]
    if not found:
        raise AttributionError(f"no method is named; known are {', '.join(registered())}")
    twice = [label(method) for method in found if found.count(method) > 1]
    if twice:
        raise AttributionError(f"the method {twice[0]} stands twice")
    return tuple(found)


def label(method: Attribution) -> str:
    """A method as it is written: its name, and the parameters that are not as usual."""
    fields = dataclasses.fields(method)
    given = [
        f"{each.name}={getattr(method, each.name)}" for each in fields if getattr(method, each.name) != each.default
    ]
    return f"{method.name}:{','.join(given)}" if given else method.name


def suited(network: Network, images: Tensor, targets: Targets) -> tuple[Attribution, ...]:
    """Methods for images (n, c, h, w) of which no more is known: two that show places, and two that show pixels.

    The class map is CAM's where the network has one for the target, and else Grad-CAM's.
    """
    cam, others = read_methods("cam", network), "gradcam, occlusion, saliency, guided_backprop"
    try:
        cam[0](network, images, targets)
    except AttributionError:
        return read_methods(others, network)
    return cam + read_methods(others, network)[1:]


def _read(method: str | Attribution, network: Network, seed: int | None) -> list[Attribution]:
    if not isinstance(method, str):
        return [method]
    return [_method(text, network, seed) for text in _apart(method)]


def _apart(text: str) -> Iterable[str]:
    """The methods in ``a,b:x=1,y=2,c``: what is a value alone belongs to the method before it."""
    found: list[str] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        if found and "=" in part and ":" not in part.partition("=")[0]:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _method(text: str, network: Network, seed: int | None) -> Attribution:
    name, colon, options = text.partition(":")
    kinds = {_plain(each): kind for kind in registered().values() for each in (kind.name, kind.__name__)}
    kind = kinds.get(_plain(name))
    if kind is None:
        known = registered()
        raise AttributionError(f"there is no method {name!r}{nearest(name, known)}; known are {', '.join(known)}")
    given = _options(options, kind, text) if colon else {}
    return kind(**_usual(kind, given, network, seed) | given)


def _plain(name: str) -> str:
    """GuidedBackprop, guided_backprop and guided-backprop are the same."""
    return name.strip().lower().replace("_", "").replace("-", "")


def _usual(kind: type[Attribution], given: dict[str, Any], network: Network, seed: int | None) -> dict[str, Any]:
    """Parameters that depend on the image's size, and the seed."""
    names = {each.name for each in dataclasses.fields(kind)}
    found: dict[str, Any] = {"seed": seed} if seed is not None and "seed" in names else {}
    if kind.name == "occlusion":
        window = given.get("window", max(1, round(min(network.preprocess.size) / _SEVENTH)))
        found |= {"window": window, "stride": max(1, round(window / 4))}
    return found


def _options(text: str, kind: type[Attribution], origin: str) -> dict[str, Any]:
    types_ = typing.get_type_hints(kind)
    known = {each.name: types_[each.name] for each in dataclasses.fields(kind)}
    listed = f"its parameters are {', '.join(known)}" if known else "it has no parameters"
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals:
            raise AttributionError(f"{origin}: {part!r} is no parameter, which is written name=value; {listed}")
        if name not in known:
            raise AttributionError(f"{origin}: {kind.name} has no parameter {name!r}{nearest(name, known)}; {listed}")
        if name in found:
            raise AttributionError(f"{origin}: the parameter {name!r} stands twice")
        found[name] = _value(value, known[name], f"{origin}: {name}")
    return found


def _value(text: str, kind: Any, origin: str) -> Any:
    """What the text says as one of the kinds that a parameter can be of; numbers before text."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for each in sorted(kinds, key=lambda each: each is str):
        if each in _READERS:
            try:
                return _READERS[each](text)
            except (ValueError, KeyError):
                continue
    wanted = " or ".join(_WORDS[each] for each in kinds if each in _WORDS)
    raise AttributionError(f"{origin} is {text!r}; expected {wanted}")


_READERS: dict[Any, Any] = {bool: {"true": True, "false": False}.__getitem__, int: int, float: float, str: str}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
