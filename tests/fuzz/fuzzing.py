"""How the fuzzing tests run, and the damage that they do to bytes, texts and JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convscope.address import Layer, Neuron, Unit
from convscope.errors import ConvscopeError

QUICK, THOROUGH = 50, 2000

WORDS = st.text("abcxyzABC019_-é", min_size=1, max_size=5)
NAMES = st.just(".") | st.lists(WORDS, min_size=1, max_size=4).map(".".join)
COUNTS = st.integers(0, 10**6)
LAYERS = st.builds(Layer, NAMES, st.none() | WORDS, COUNTS)
UNITS = st.builds(Unit, LAYERS, COUNTS)
ADDRESSES = LAYERS | UNITS | st.builds(Neuron, UNITS, COUNTS, COUNTS)

ANY_TEXT = st.text(st.characters(), max_size=30)  # lone surrogates as well, which no file of text can hold
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 3, 255, 1 << 16, (1 << 16) + 1, 1 << 31, 1 << 63, 10**30, 10**400, 0.5, -0.0, 1e-45, 1e-30, 1e29,
     1e300, float("nan"), float("inf"), -float("inf"), True, False]
)  # fmt: skip
TEXTS = st.sampled_from(["", ".", "..", "../x", "/dev/zero", "a\0b", "\ud800", "RGB", "BGR", "L", "x" * 5000, "٣", "é"])
PLAIN = st.none() | NUMBERS | st.integers(-9, 99) | st.floats(-2, 2) | TEXTS | ANY_TEXT
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4), max_leaves=8
)
DEPTHS = st.integers(1, 40) | st.integers(700, 1100) | st.just(100_000)  # about Python's limit, and far beyond


def fuzz(
    quick: int = QUICK, thorough: int = THOROUGH, **strategies: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make tests, a quick and a thorough slow one, of a check that takes what the strategies draw, and fixtures."""

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        def test(examples: int, **fixtures: Any) -> None:
            @settings(
                max_examples=examples,
                derandomize=True,
                deadline=None,  # the machine may be busy
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.data_too_large,
                    HealthCheck.large_base_example,
                ],
            )
            @given(**strategies)
            def run(**drawn: Any) -> None:
                check(**fixtures, **drawn)

            run()

        names = ["examples", *(name for name in inspect.signature(check).parameters if name not in strategies)]
        test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )
        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        both = [quick, pytest.param(thorough, marks=pytest.mark.slow)]
        return pytest.mark.parametrize("examples", both)(test)

    return decorate


def outcome(read: Callable[[], Any], refusal: type[ConvscopeError]) -> tuple[Any, str | None]:
    """What `read` gives, and None; or None, and the message with which it is refused. Anything else is a failure."""
    try:
        return read(), None
    except refusal as error:
        message = str(error)
    assert len(message.encode()) < 20_000, "it can be shown, and read"
    return None, message


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some of them changed, lost, added, doubled, or all replaced."""
    for _ in range(draw(st.integers(1, 3))):
        i, j = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        j = min(j, i + draw(st.sampled_from([1, 8, len(data)])))
        new = draw(st.binary(max_size=9) | st.sampled_from([b"\0" * 64, b"\xff" * 8, b"[" * 3000, b'"', b"\n", b"\r"]))
        kind = draw(st.sampled_from(["flip", "overwrite", "insert", "lose", "cut", "double", "replace"]))
        if kind == "flip" and i < len(data):
            data = data[:i] + bytes([data[i] ^ 1 << draw(st.integers(0, 7))]) + data[i + 1 :]
        elif kind == "overwrite":
            data = data[:i] + new + data[i + len(new) :]
        elif kind == "insert":
            data = data[:i] + new + data[i:]
        elif kind == "lose":
            data = data[:i] + data[j:]
        elif kind == "cut":
            data = data[:i]
        elif kind == "double":
            data = data[:j] + data[i:]
        elif kind == "replace":
            data = new
    return data


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """The JSON value with some of the values in it replaced, lost, added or renamed."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        holders = [holder for holder in _holders(value) if holder]
        if not holders:
            return draw(JSON)
        holder = draw(st.sampled_from(range(len(holders))).map(holders.__getitem__))
        key = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        kind = draw(st.sampled_from(["replace", "replace", "replace", "lose", "add", "rename"]))
        if kind == "replace":
            holder[key] = draw(JSON)
        elif kind == "lose" or (kind == "rename" and isinstance(holder, list)):
            del holder[key]
        elif kind == "rename":
            holder[draw(ANY_TEXT)] = holder.pop(key)
        elif isinstance(holder, list):
            holder.insert(key, draw(JSON))
        else:
            holder[draw(ANY_TEXT)] = draw(JSON)
    return value


def _holders(value: Any) -> list[Any]:
    """Every list and dictionary in a JSON value, itself included."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, dict | list) else []
    return here + [holder for each in inside for holder in _holders(each)]


@st.composite
def json_files(draw: st.DrawFn, good: Any) -> bytes:
    """The bytes of a JSON file: the good value altered, any other value, a text with damage, or one nested deeply."""
    kind = draw(st.sampled_from(["altered"] * 5 + ["any", "damaged", "deep", "doubled", "mark"]))
    if kind == "altered":
        return json.dumps(draw(altered(good)), ensure_ascii=True).encode()
    if kind == "any":
        return json.dumps(draw(JSON)).encode()
    text = json.dumps(good).encode()
    if kind == "damaged":
        return draw(damaged(text))
    key = draw(st.sampled_from(sorted(good))) if isinstance(good, dict) and good else "size"
    if kind == "deep":
        depth = draw(DEPTHS)
        opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
        return b'{"%s": %s1%s, %s' % (key.encode(), opening * depth, closing * depth, text[1:])
    if kind == "doubled":
        return text[:-1] + b', "%s": %s}' % (key.encode(), json.dumps(draw(JSON)).encode())
    return b"\xef\xbb\xbf" + text
