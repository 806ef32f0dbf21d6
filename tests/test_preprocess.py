"""Preprocessing equals its definition in plain Pillow and NumPy, comes back as a picture, and says what is wrong."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from convscope.errors import NetworkError, UnreadableImage
from convscope.preprocess import Preprocess

RNG = np.random.default_rng(0)
WIDE = Image.fromarray(RNG.integers(0, 256, (29, 41, 3), np.uint8))
TALL = Image.fromarray(RNG.integers(0, 256, (50, 23, 3), np.uint8))
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # the numbers are Pillow's


def resized(picture: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    return picture.resize((size[1], size[0]), FILTERS[interpolation])


def short_side(picture: Image.Image, length: int) -> tuple[int, int]:
    factor = Fraction(length, min(picture.size))
    return int(picture.height * factor), int(picture.width * factor)


def centre(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Pixel by pixel. Where a border is needed, the larger half of an odd one is at the right and below."""
    starts = []
    for have, want in zip(pixels.shape, size, strict=False):
        starts.append(round((have - want) / 2) if have > want else -((want - have) // 2))
    out = np.zeros((*size, *pixels.shape[2:]), pixels.dtype)
    for y, x in itertools.product(range(size[0]), range(size[1])):
        v, u = y + starts[0], x + starts[1]
        if 0 <= v < pixels.shape[0] and 0 <= u < pixels.shape[1]:
            out[y, x] = pixels[v, u]
    return out


def slowly(preprocess: Preprocess, picture: Image.Image) -> NDArray[np.float64]:
    """The definition: all channels at once, in Pillow's own order, and arithmetic in float64 channel by channel."""
    picture = picture.convert("L" if preprocess.channels == "L" else "RGB")
    if preprocess.resize is not None:
        target = preprocess.resize
        size = short_side(picture, target) if isinstance(target, int) else target
        picture = resized(picture, size, preprocess.interpolation)
    if preprocess.resize is not None or preprocess.crop is not None:
        picture = Image.fromarray(centre(np.asarray(picture), preprocess.crop or preprocess.size))
    picture = resized(picture, preprocess.size, preprocess.interpolation)
    pixels = np.asarray(picture, np.float64).reshape(*preprocess.size, -1)
    order = {"RGB": [0, 1, 2], "BGR": [2, 1, 0], "L": [0], 3: [0, 1, 2]}[preprocess.channels]
    low, high = preprocess.range
    out = np.empty((len(order), *preprocess.size))
    for channel, source in enumerate(order):
        value = low + pixels[:, :, source] / 255 * (high - low)
        mean, std = (numbers[channel % len(numbers)] for numbers in (preprocess.mean, preprocess.std))
        out[channel] = (value - mean) / std
    return out


WAYS = {
    "warp": {},
    "short side": {"resize": 20},
    "short side, crop": {"resize": 24, "crop": (18, 20)},
    "both sides, crop": {"resize": (31, 22), "crop": (16, 14)},
    "both sides": {"resize": (31, 22)},
    "crop": {"crop": (21, 13)},
    "crop with a border": {"crop": (60, 56)},
    "odd border": {"crop": (53, 46)},
}
NUMBERS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize("picture", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L", 3])
def test_equals_its_definition(channels: str | int, way: str, picture: Image.Image) -> None:
    numbers = {"mean": (0.4,), "std": (0.2,)} if channels == "L" else NUMBERS
    preprocess = Preprocess(size=(15, 18), channels=channels, **numbers, **WAYS[way])
    result = preprocess(picture)
    assert result.dtype == torch.float32
    assert tuple(result.shape) == preprocess.shape
    np.testing.assert_allclose(result.numpy(), slowly(preprocess, picture), atol=2e-6, rtol=0)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_equals_its_definition_for_every_range_and_filter(low: float, high: float, interpolation: str) -> None:
    preprocess = Preprocess(
        size=(11, 14), range=(low, high), mean=(104.0, 117.0, 123.0), std=(2.0,), interpolation=interpolation
    )
    np.testing.assert_allclose(preprocess(WIDE).numpy(), slowly(preprocess, WIDE), atol=1e-4, rtol=0)


def test_a_grey_picture_becomes_rgb_and_the_other_way_round() -> None:
    grey = Image.fromarray(RNG.integers(0, 256, (6, 6), np.uint8))
    three = Preprocess(size=(6, 6))(grey)
    assert torch.equal(three[0], three[1])
    assert torch.equal(three[0], three[2])
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601
    one = Preprocess(size=(29, 41), channels="L")(WIDE).numpy()
    np.testing.assert_allclose(one[0] * 255, np.asarray(WIDE) @ weights, atol=0.51)


def test_arrays_are_resized_in_floats_channel_by_channel() -> None:
    planes = RNG.random((5, 9, 13), np.float32)
    preprocess = Preprocess(size=(6, 7), channels=5, mean=tuple(range(5)), std=(2.0,))
    result = preprocess(planes)
    for channel, plane in enumerate(planes):
        expected = np.asarray(Image.fromarray(plane).resize((7, 6), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(result[channel].numpy(), (expected - channel) / 2, atol=1e-6)


def test_arrays_of_the_right_size_keep_their_values() -> None:
    planes = RNG.random((3, 4, 5), np.float32)
    assert np.array_equal(Preprocess(size=(4, 5))(planes).numpy(), planes)
    assert np.array_equal(Preprocess(size=(4, 5), channels="BGR")(planes).numpy(), planes[::-1])


@pytest.mark.parametrize(("length", "sides"), [(224, (190, 371)), (232, (50, 75)), (256, (375, 500)), (7, (3, 6))])
def test_the_longer_side_is_rounded_down_exactly(length: int, sides: tuple[int, int]) -> None:
    """190 · (224 / 190) is less than 224 in floats: the picture became one pixel too short."""
    height, width = length, length * sides[1] // sides[0]
    assert Preprocess(size=(1, 1), resize=length)._before_crop(sides[1], sides[0]) == (width, height)
    square = Image.new("L", (sides[0], sides[0]), 255)
    assert Preprocess(size=(length, length), channels="L", resize=length)(square).min() == 1


@pytest.mark.parametrize("sides", [(190, 190), (229, 371), (480, 320), (29, 41), (200, 100)])
@pytest.mark.parametrize("way", [(24, 21), (33, 33), (30, 40)], ids=str)
def test_equals_torchvision(torchvision: Any, sides: tuple[int, int], way: tuple[int, int]) -> None:
    """(short side, crop); the last crop is larger than the picture, which gets a black border."""
    length, crop = way
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*sides, 3), np.uint8))
    transforms = torchvision.transforms
    chain = transforms.Compose([
        transforms.Resize(length, antialias=True),
        transforms.CenterCrop((crop, crop + 1)),
        transforms.ToTensor(),
        transforms.Normalize(NUMBERS["mean"], NUMBERS["std"]),
    ])  # fmt: skip
    ours = Preprocess(size=(crop, crop + 1), resize=length, **NUMBERS)
    torch.testing.assert_close(ours(picture), chain(picture), atol=1e-6, rtol=1e-6)


# --- back to a picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["RGB", "BGR", 3])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_display_is_the_inverse(channels: str | int, bounds: tuple[float, float]) -> None:
    preprocess = Preprocess(size=(29, 41), channels=channels, range=bounds, **NUMBERS)
    shown = preprocess.display(preprocess(WIDE))
    assert shown.dtype == np.uint8
    assert shown.shape == (29, 41, 3)
    assert np.abs(shown.astype(int) - np.asarray(WIDE)).max() <= 1


def test_display_of_grey_has_three_equal_channels() -> None:
    grey = WIDE.convert("L")
    preprocess = Preprocess(size=(29, 41), channels="L", mean=(0.3,), std=(0.35,))
    shown = preprocess.display(preprocess(grey))
    for channel in range(3):
        assert np.abs(shown[:, :, channel].astype(int) - np.asarray(grey)).max() <= 1


def test_display_of_other_channels_is_their_mean_from_black_to_white() -> None:
    planes = RNG.normal(size=(4, 5, 6)).astype(np.float32)
    preprocess = Preprocess(size=(5, 6), channels=4, mean=(1.0, 2.0, 3.0, 4.0), std=(3.0,))
    mean = planes.astype(np.float64).mean(0)
    expected = (mean - mean.min()) / (mean.max() - mean.min()) * 255
    shown = preprocess.display(preprocess(planes))
    assert np.abs(shown - expected[:, :, None]).max() <= 0.51
    assert not Preprocess(size=(5, 6), channels=4).display(torch.ones(4, 5, 6)).any()  # no contrast: black, no NaN


def test_display_takes_tensors_as_networks_leave_them() -> None:
    preprocess = Preprocess(size=(2, 2))
    image = torch.full((3, 2, 2), 0.5)
    for given_ in (image.requires_grad_(), image.detach().to(torch.bfloat16), image.detach().double() + 7):
        assert preprocess.display(given_).flatten().tolist() == [255 if given_.max() > 1 else 128] * 12


# --- JSON ------------------------------------------------------------------------------------------------------------

PIXELS = st.integers(1, 1 << 12)
SIZES = st.tuples(PIXELS, PIXELS)
FINITE = st.floats(-1e3, 1e3)


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocess:
    channels = draw(st.sampled_from(["RGB", "BGR", "L"]) | st.integers(1, 5))
    planes = {"RGB": 3, "BGR": 3, "L": 1}.get(channels, channels)  # type: ignore[call-overload]
    count = draw(st.sampled_from([1, planes]))
    low = draw(FINITE)
    high = low + draw(st.floats(1, 1e3))
    return Preprocess(
        size=draw(SIZES),
        mean=tuple(draw(st.lists(FINITE, min_size=count, max_size=count))),
        std=tuple(draw(st.lists(st.floats(1e-3, 1e3), min_size=count, max_size=count))),
        channels=channels,
        range=(low, high),
        resize=draw(st.none() | PIXELS | SIZES),
        crop=draw(st.none() | SIZES),
        interpolation=draw(st.sampled_from(sorted(FILTERS))),
    )


@given(preprocessings())
def test_json_round_trip(preprocess: Preprocess) -> None:
    text = json.dumps(preprocess.to_json())
    assert Preprocess.from_json(json.loads(text)) == preprocess


def test_json_takes_one_number_for_a_square_and_for_all_channels() -> None:
    read = Preprocess.from_json({"size": 64, "mean": 0.5, "std": 2, "crop": 32})
    assert read == Preprocess(size=(64, 64), mean=(0.5,), std=(2.0,), crop=(32, 32))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", None), ("size", [64]), ("size", [64, 64, 3]), ("size", [64, 0]), ("size", [64.0, 64]),
        ("size", True), ("size", "64"), ("size", [1 << 17, 1]), ("size", {"height": 1, "width": 1}),
        ("mean", None), ("mean", []), ("mean", ["a"]), ("mean", "0.5"), ("mean", [0.1, 0.2]), ("mean", float("nan")),
        ("mean", True), ("mean", 10**400), ("mean", 1e200),
        ("std", [0.0]), ("std", [-1.0, 1.0, 1.0]), ("std", [float("inf")]), ("std", "x"), ("std", 1e-60),
        ("channels", "RGBA"), ("channels", 0), ("channels", 1.5), ("channels", ["RGB"]), ("channels", True),
        ("range", [0]), ("range", [1, 0]), ("range", [0, 0]), ("range", "01"), ("range", [0, 1, 2]),
        ("resize", -1), ("resize", "256"), ("resize", [256]), ("resize", True), ("resize", 2.5),
        ("crop", 0), ("crop", [1, 2, 3]), ("crop", False),
        ("interpolation", "cubic"), ("interpolation", 2), ("interpolation", ["nearest"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(key: str, value: Any) -> None:
    with pytest.raises(NetworkError) as caught:
        Preprocess.from_json({"size": [8, 8], key: value}, "here.json")
    assert str(caught.value).startswith("here.json: ")
    assert f"'{key}'" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "near"), [("meen", "mean"), ("interpolatoin", "interpolation"), ("chanels", "channels")]
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(NetworkError, match=f"unknown key '{key}'; did you mean '{near}'"):
        Preprocess.from_json({"size": [8, 8], key: 1})


def test_a_key_that_is_no_text_and_a_missing_size_are_named() -> None:
    with pytest.raises(NetworkError, match="unknown key 3"):
        Preprocess.from_json({3: 1, "size": [8, 8]})  # type: ignore[dict-item]
    with pytest.raises(NetworkError, match=r"'size' is missing; give the input's \[height, width\]"):
        Preprocess.from_json({})


# --- pictures that do not fit ----------------------------------------------------------------------------------------


def test_arrays_of_grey_and_of_colours_are_as_files_are() -> None:
    """Grey is widened for a network of colours, and colours become the luma that Pillow gives."""
    for channels, file in itertools.product(["RGB", "BGR", "L"], [WIDE, WIDE.convert("L")]):
        preprocess = Preprocess(size=(13, 17), mean=(0.2, 0.5, 0.7)[: 1 if channels == "L" else 3], channels=channels)
        values = np.asarray(file, np.float32).reshape(29, 41, -1).transpose(2, 0, 1) / 255
        torch.testing.assert_close(
            preprocess(values), preprocess(file), rtol=0, atol=1.5 / 255
        )  # files are rounded to 8 bits thrice


def test_many_channels_keep_their_numbers() -> None:
    board = RNG.integers(0, 2, (17, 9, 9)).astype(np.float32)
    preprocess = Preprocess(size=(9, 9), channels=17)
    assert np.array_equal(preprocess(board).numpy(), board)
    shown = preprocess.display(preprocess(board))
    assert (shown.shape, shown.dtype) == ((9, 9, 3), np.uint8)
    mean = board.mean(0)
    assert np.array_equal(shown[..., 0], np.round((mean - mean.min()) / np.ptp(mean) * 255))


def test_another_number_of_channels_is_unreadable() -> None:
    for channels, count in [("RGB", 2), ("L", 4), (4, 3), (3, 1), (1, 3), ("BGR", 4)]:
        preprocess = Preprocess(size=(4, 4), channels=channels)
        with pytest.raises(
            UnreadableImage, match=f"it has {count} channels, and the network takes {preprocess.planes}"
        ):
            preprocess(np.zeros((count, 4, 4), np.float32))
    with pytest.raises(UnreadableImage, match="it has 3 channels, and the network takes 5"):
        Preprocess(size=(4, 4), channels=5)(WIDE)
