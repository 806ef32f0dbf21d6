"""From a picture to a network's input, and back to something to look at: the preprocessing that belongs to weights.

Nothing about it is ever guessed: a wrong normalisation hardly changes an accuracy and spoils every picture. It is
written as JSON beside the weights::

    {"size": [227, 227], "resize": null, "crop": null, "interpolation": "bilinear",
     "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "channels": "RGB", "range": [0, 1]}
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convscope.errors import NetworkError, UnreadableImage, nearest

LARGEST = 1 << 28  # numbers in an input, or in what it is cut from: 1 GiB

Picture = Image.Image | NDArray[np.float32]  # a PIL image, or (c, h, w) numbers, 0 to 1 where it is a picture

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_PLANES = {"RGB": 3, "BGR": 3, "L": 1}
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601-2, as in Pillow)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes an input of (channels, height, width).

    Args:
        size: (height, width) of the network's input, px.
        mean: subtracted from each channel, in units of `range`.
        std: what each channel is divided by after that, in units of `range`.
        channels: "RGB", "BGR" or "L", or how many channels there are where the images are no pictures.
        range: the values of black and white before `mean` is subtracted: (0, 1) or (0, 255).
        resize: length of the shorter side before the crop, or (height, width); None: no resize before the crop.
        crop: (height, width) cut from the centre. Without `resize` and `crop` the whole picture is warped to `size`.
        interpolation: "nearest", or with antialiasing "bilinear", "bicubic" or "lanczos".
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str | int = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    @property
    def planes(self) -> int:
        """Number of input channels."""
        return self.channels if isinstance(self.channels, int) else _PLANES[self.channels]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the network's input."""
        return self.planes, *self.size

    def __call__(self, picture: Picture) -> Tensor:
        """The network's input for one picture: (channels, height, width), float32.

        Raises:
            UnreadableImage: the picture has another number of channels.
        """
        values = self._values(picture)
        low, high = self.range
        scaled = values * np.float32(high - low) + np.float32(low)
        normal = (scaled - _column(self.mean)) / _column(self.std)
        return torch.from_numpy(np.ascontiguousarray(normal, np.float32))

    def region(self, height: int, width: int) -> tuple[float, float, float, float]:
        """What of a picture of (height, width) the input shows: (y0, x0, y1, x1) in pixels of the picture.

        Each row and column of the input covers an equal part of it, as 0 to 1 covers the first pixel of the picture. It
        reaches beyond the picture where black is put around that.

        Raises:
            UnreadableImage: the picture would be too large once it is resized.
        """
        if self.resize is None and self.crop is None:
            return 0.0, 0.0, float(height), float(width)
        resized = (height, width) if self.resize is None else self._before_crop(width, height)[::-1]
        cuts = [(_margin(side, cut), cut) for side, cut in zip(resized, self.crop or self.size, strict=True)]
        (y0, y1), (x0, x1) = (
            (start * whole / side, (start + cut) * whole / side)
            for (start, cut), side, whole in zip(cuts, resized, (height, width), strict=True)
        )
        return y0, x0, y1, x1

    def display(self, image: Tensor) -> NDArray[np.uint8]:
        """The picture (h, w, 3) that a network input (channels, h, w) shows, as 8-bit RGB."""
        low, high = self.range
        numbers = image.detach().to("cpu", torch.float32).numpy()
        values = (numbers * _column(self.std) + _column(self.mean) - low) / (high - low)
        if isinstance(self.channels, int) and self.planes != 3:  # no picture: its mean over channels, as grey
            mean = values.mean(0, keepdims=True)
            values = (mean - mean.min()) / max(float(np.ptp(mean)), 1e-12)
        if self.channels == "BGR":
            values = values[::-1]
        values = np.broadcast_to(values, (3, *values.shape[1:]))
        return np.round(values.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)

    def _values(self, picture: Picture) -> NDArray[np.float32]:
        """(channels, height, width) in 0 to 1, at the network's size and in its order of channels."""
        planes = self._planes(picture)
        if len(planes) != self.planes:
            raise UnreadableImage(f"it has {len(planes)} channels, and the network takes {self.planes}")
        planes = [self._resized(plane) for plane in planes]
        values = np.stack([np.asarray(plane, np.float32) for plane in planes])
        if isinstance(picture, Image.Image):
            values /= np.float32(255)
        return values[::-1] if self.channels == "BGR" else values

    def _planes(self, picture: Picture) -> list[Image.Image]:
        if not isinstance(picture, Image.Image):
            return [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in self._coloured(picture)]
        if isinstance(self.channels, int):
            return list(picture.split())
        return list(picture.convert("L" if self.channels == "L" else "RGB").split())

    def _coloured(self, planes: NDArray[np.float32]) -> NDArray[Any]:
        """Grey for a network of colours, and colours for one of grey, as with files; else as they are."""
        if len(planes) == 1 and self.channels in ("RGB", "BGR"):
            return np.repeat(planes, 3, axis=0)
        if len(planes) == 3 and self.channels == "L":
            return np.tensordot(_LUMA, planes, 1)[None]
        return planes

    def _resized(self, plane: Image.Image) -> Image.Image:
        filter_ = _RESAMPLING[self.interpolation]
        if self.resize is not None:
            plane = plane.resize(self._before_crop(*plane.size), filter_)
        if self.resize is not None or self.crop is not None:
            plane = _centre(plane, self.crop or self.size)
        height, width = self.size
        return plane if plane.size == (width, height) else plane.resize((width, height), filter_)

    def _before_crop(self, across: int, down: int) -> tuple[int, int]:
        """(width, height) of a picture of so many pixels once it is resized, the way PIL writes sizes."""
        if not isinstance(self.resize, int):
            assert self.resize is not None
            return self.resize[1], self.resize[0]
        shorter = min(across, down)
        # The longer side is rounded down, as torchvision does. In whole numbers: 190 · (224 / 190) is less than 224.
        width, height = (self.resize * side // shorter for side in (across, down))
        if width * height * self.planes > LARGEST:
            raise UnreadableImage(
                f"it has {across}×{down} px; with a shorter side of {self.resize} px it would have "
                f"{width}×{height}, which is too large"
            )
        return width, height

    def to_json(self) -> dict[str, Any]:
        """Plain values, read again by `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], origin: str = "the preprocessing") -> Preprocess:
        """Read and check what JSON says.

        Raises:
            NetworkError: a key is unknown, missing, or has a value that makes no sense; it names `origin`.
        """
        return cls(**{key: _checked(key, value, origin) for key, value in _known(data, origin).items()})._sound(origin)

    def _sound(self, origin: str) -> Preprocess:
        for key in ("mean", "std"):
            count = len(getattr(self, key))
            if count not in (1, self.planes):
                raise NetworkError(f"{origin}: '{key}' has {count} values for {self.planes} channels")
        if any(value < 1e-30 for value in self.std) or self.range[0] >= self.range[1]:
            raise NetworkError(
                f"{origin}: 'std' must be positive and 'range' must rise, not {shown(self.std)}, {shown(self.range)}"
            )
        self._check_sizes(origin)
        self._check_scales(origin)
        return self

    def _check_sizes(self, origin: str) -> None:
        for key in ("size", "resize", "crop"):
            sides = getattr(self, key)
            height, width = sides if isinstance(sides, tuple) else (sides or 1,) * 2
            if height * width * self.planes > LARGEST:
                raise NetworkError(
                    f"{origin}: '{key}' is {sides}; with {self.planes} channels that are more than {LARGEST} numbers, "
                    "which is too large"
                )

    def _check_scales(self, origin: str) -> None:
        """Raise where inputs would be infinite, or pictures lost, in the float32 in which they are computed."""
        low, high = self.range
        mean, std = np.array(self.mean), np.array(self.std)
        largest = max(-low, high, np.abs(mean).max())
        finest = 1e-30 if isinstance(self.channels, int) else 2.0**-15  # 256 greys then are at least 32 roundings apart
        if max((np.abs(end - mean) / std).max() for end in self.range) > 1e30 or high - low < max(
            1e-30, finest * largest
        ):
            raise NetworkError(
                f"{origin}: 'range' {shown(list(self.range))}, 'mean' {shown(list(self.mean))} and 'std' "
                f"{shown(list(self.std))} are too far apart to compute with; give all in the same units"
            )


def shown(value: Any) -> str:
    """A value as a message says it, not longer than a few lines."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists
        return f"a {type(value).__name__} that is too large to write"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _column(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None, None]


def _centre(plane: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The centre of (height, width); a plane that is smaller gets black around it."""
    (width, height), (rows, columns) = plane.size, size
    x, y = _margin(width, columns), _margin(height, rows)
    return plane.crop((x, y, x + columns, y + rows))


def _margin(side: int, wanted: int) -> int:
    """Where a centred crop starts, as in torchvision: halves to even; the odd pixel of a border is right or below."""
    return round((side - wanted) / 2) if side > wanted else -((wanted - side) // 2)


def _known(data: dict[str, Any], origin: str) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Preprocess)]
    for key in data:
        if key not in names:
            raise NetworkError(
                f"{origin}: unknown key {shown(key)}{nearest(str(key), names)}; the keys are {', '.join(names)}"
            )
    if "size" not in data:
        raise NetworkError(f"{origin}: 'size' is missing; give the input's [height, width] in pixels")
    return data


def _checked(key: str, value: Any, origin: str) -> Any:
    try:
        return _READERS[key](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise NetworkError(f"{origin}: {key!r} is {shown(value)}; expected {_EXPECTED[key]}") from None


def _pair(value: Any) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return _count(height), _count(width)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 16:
        raise ValueError(value)
    return value


def _numbers(value: Any) -> tuple[float, ...]:
    numbers = value if isinstance(value, list | tuple) else [value]
    if not numbers or not all(_is_number(number) for number in numbers):
        raise ValueError(value)
    return tuple(float(number) for number in numbers)


def _is_number(value: Any) -> bool:
    """Text is no number, also where it reads like one; the bounds are those of float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _channels(value: Any) -> str | int:
    if isinstance(value, str):
        _PLANES[value]
        return value
    return _count(value)


def _range(value: Any) -> tuple[float, float]:
    low, high = _numbers(value)
    return low, high


def _interpolation(value: Any) -> str:
    _RESAMPLING[value]
    return str(value)


_READERS = {
    "size": _pair,
    "mean": _numbers,
    "std": _numbers,
    "channels": _channels,
    "range": _range,
    "resize": lambda value: value if value is None else _count(value) if isinstance(value, int) else _pair(value),
    "crop": lambda value: value if value is None else _pair(value),
    "interpolation": _interpolation,
}
_EXPECTED = {
    "size": "[height, width] in pixels",
    "mean": "a number for each channel",
    "std": "a number for each channel",
    "channels": '"RGB", "BGR", "L" or a number of channels',
    "range": "[black, white], as [0, 1] or [0, 255]",
    "resize": "a length in pixels for the shorter side, [height, width] or null",
    "crop": "[height, width] in pixels or null",
    "interpolation": '"nearest", "bilinear", "bicubic" or "lanczos"',
}
