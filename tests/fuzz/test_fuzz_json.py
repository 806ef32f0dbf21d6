"""Fuzzing of cards, the JSON beside weights: an error of convscope, or a card that does what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import JSON, NUMBERS, fuzz, json_files, outcome
from hypothesis import strategies as st
from PIL import Image

from convscope.card import OUTPUTS, Card
from convscope.errors import NetworkError, UnreadableImage
from convscope.preprocess import LARGEST, Preprocess

FULL = {
    "size": [7, 5], "mean": [0.5, 0.25, 0.75], "std": [0.25, 0.5, 1], "channels": "BGR", "range": [0, 255],
    "resize": [9, 8], "crop": [6, 6], "interpolation": "bicubic", "output": "sigmoid", "classes": ["cat", "dog"],
}  # fmt: skip
GOOD: list[dict[str, Any]] = [
    FULL,
    {"size": 8},
    {"size": [4, 6], "mean": 0.5, "std": 0.5, "channels": "L", "resize": 5, "interpolation": "nearest"},
    {"size": [3, 3], "channels": 5, "mean": [0, 1, 2, 3, 4], "crop": [9, 9], "range": [-1, 1], "output": "real"},
]
AFFORDABLE = 1 << 20  # numbers; a test need not make the largest inputs
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # what is less than half of it is 0 in float32


def check(card: Card, wanted: Any) -> None:
    """The card says what the JSON value `wanted` says, and its preprocessing is the arithmetic that it promises."""
    assert card.output == wanted.get("output", "softmax") in OUTPUTS
    if not isinstance(wanted.get("classes"), str):
        assert card.classes == (None if wanted.get("classes") is None else tuple(wanted["classes"]))
        assert all(name.encode() is not None for name in card.classes or ())
    plain = {name: value for name, value in wanted.items() if name not in ("output", "classes")}
    assert plain.keys() <= card.preprocess.to_json().keys()
    for name, value in plain.items():
        assert listed(getattr(card.preprocess, name)) in (listed(value), listed([value]), listed([value, value]))
    assert Preprocess.from_json(json.loads(json.dumps(card.preprocess.to_json()))) == card.preprocess
    works(card.preprocess)


def listed(value: Any) -> str:
    """So that tuples are lists, and whole numbers are floats, but True is not 1."""
    return repr([float(x) if type(x) is int else x for x in value] if isinstance(value, list | tuple) else [value])


def works(preprocess: Preprocess) -> None:
    """Black and white come out as the formula says, in the shape that was promised."""
    sizes = [preprocess.shape]
    sizes += [(preprocess.planes, *pair(size)) for size in (preprocess.resize, preprocess.crop) if size is not None]
    assert all(np.prod(size, dtype=object) <= LARGEST for size in sizes)
    if any(np.prod(size, dtype=object) > AFFORDABLE for size in sizes):
        return
    mean, std = (np.array(numbers, float) for numbers in (preprocess.mean, preprocess.std))
    for end, value in enumerate(preprocess.range):
        tensor = preprocess(flat(preprocess, end))
        assert tuple(tensor.shape) == preprocess.shape
        expected = (value - mean) / std
        rough = ((abs(value) + np.abs(preprocess.range).sum() + np.abs(mean)) * 1e-6 + SMALLEST) / std + SMALLEST
        numbers = tensor.numpy().reshape(preprocess.planes, -1).T
        assert np.isfinite(numbers).all()
        right = (np.abs(numbers - expected) <= rough).all(1)
        # A crop that is larger than the picture has black around it.
        assert right.any() if end and (preprocess.crop or preprocess.resize) else right.all()
        shown = preprocess.display(tensor)
        assert shown.shape == (*preprocess.size, 3)
        assert shown.dtype == np.uint8


def flat(preprocess: Preprocess, end: int) -> Any:
    """A black or a white picture; an array where the channels are no colours."""
    if isinstance(preprocess.channels, int):
        return np.full((preprocess.planes, 12, 11), end, np.float32)
    return Image.new("RGB", (11, 12), (255 * end,) * 3)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


@fuzz(good=st.sampled_from(GOOD), data=st.data())
def test_a_file_is_a_card_that_works_or_is_refused(tmp_path: Path, good: dict[str, Any], data: st.DataObject) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(data.draw(json_files(good), label="file"))
    card, refusal = outcome(lambda: Card.read(path), NetworkError)
    if refusal is not None:
        assert str(tmp_path) in refusal
        return
    pairs = json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: pairs)
    assert len({name for name, _ in pairs}) == len(pairs), "a key that is doubled has two values"
    check(card, json.loads(path.read_bytes()))


@fuzz(
    value=JSON.filter(lambda value: not isinstance(value, str))
    | st.dictionaries(st.sampled_from(sorted(FULL)), JSON | NUMBERS, max_size=9)
)
def test_any_value_is_a_card_that_works_or_is_refused(value: Any) -> None:
    card, refusal = outcome(lambda: Card.read(value), NetworkError)
    if refusal is None:
        check(card, value)


SCALES = st.sampled_from([0.0, 1e-45, 1e-38, 1e-30, 1e-20, 1e-6, 1.0, 255.0, 1e6, 1e20, 9e29]) | st.floats(0, 1e30)


@fuzz(
    mean=st.lists(SCALES, min_size=3, max_size=3),
    std=st.lists(SCALES, min_size=3, max_size=3),
    ends=st.tuples(SCALES, SCALES),
    channels=st.sampled_from(["RGB", "BGR", 3]),
)
def test_numbers_of_any_size_give_finite_inputs_or_are_refused(
    mean: list[float], std: list[float], ends: tuple[float, float], channels: Any
) -> None:
    try:
        card = Card.read({"size": [4, 4], "mean": mean, "std": std, "range": list(ends), "channels": channels})
    except NetworkError:
        return
    works(card.preprocess)


@fuzz(
    size=st.lists(st.integers(1, 1 << 17), min_size=2, max_size=2),
    resize=st.none() | st.integers(1, 1 << 17) | st.lists(st.integers(1, 1 << 17), min_size=2, max_size=2),
    channels=st.sampled_from(["RGB", "L", 1, 2, 1000, 65536]),
)
def test_sizes_that_would_take_all_memory_are_refused(size: list[int], resize: Any, channels: Any) -> None:
    try:
        card = Card.read({"size": size, "resize": resize, "channels": channels})
    except NetworkError:
        return
    works(card.preprocess)


@fuzz(resize=st.integers(1, 16000), shape=st.tuples(st.integers(1, 4), st.integers(1, 60000)))
def test_a_picture_that_would_become_too_large_is_unreadable(resize: int, shape: tuple[int, int]) -> None:
    """One pixel high and 60,000 wide, and the shorter side is to have 224: that would be 13 megapixels."""
    preprocess = Card.read({"size": [4, 4], "resize": resize, "channels": "L"}).preprocess
    longer = resize * max(shape) // min(shape)
    if resize * longer <= AFFORDABLE:
        assert preprocess(Image.new("L", shape, 255)).shape == (1, 4, 4)
    elif resize * longer > LARGEST:
        with pytest.raises(UnreadableImage, match="px"):
            preprocess(Image.new("L", shape, 255))
