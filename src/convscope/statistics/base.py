"""What a statistic is, and what it is fed with."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.errors import CaptureError
from convscope.panel import Panel


@dataclass(frozen=True)
class PerImage:
    """What one image does to each unit: (n, c) each, NaN left out.

    Args:
        count: positions that are not NaN.
        total: their sum, float64.
        squares: sum of their squared differences from the mean of this image, float64.
        nonpositive: how many are <= 0.
    """

    maximum: Tensor
    minimum: Tensor
    count: Tensor
    total: Tensor
    squares: Tensor
    nonpositive: Tensor
    nans: Tensor


class Activations:
    """What one layer gave for a batch, with the reductions that several statistics need, computed once.

    Args:
        values: (n, c, ...) or (n, ..., c), as the layer gave them; they are only read.
        channel: the dimension of the channel, 1 or -1.
        ids: (n,) ids of the images, int64, ascending.
        layer: the layer's address, which seeds the sample of positions.
    """

    def __init__(self, values: Tensor, channel: int, ids: Tensor, layer: str) -> None:
        count = values.shape[0]
        if count != len(ids):
            raise CaptureError(
                f"layer {layer} gave {count} results for {len(ids)} images, so they cannot be told apart; leave it out"
            )
        units = values.shape[channel]
        last = values.movedim(channel, -1)
        self.places = tuple(last.shape[1:-1])
        # (n, positions, c): the memory order of channels_last, so that this is a view when the network runs in it.
        self.rows = last.reshape(count, -1, units).float()
        self.ids = ids.to(values.device)
        self.layer = layer

    @property
    def positions(self) -> int:
        """Positions of the map."""
        return int(self.rows.shape[1])

    @functools.cached_property
    def lines(self) -> Tensor:
        """(n, h, w, c): the maps as lines of positions; where they have no two dimensions, h is 1."""
        return torch.unflatten(self.rows, 1, (self.places[0] if len(self.places) == 2 else 1, -1))

    @functools.cached_property
    def line_maxima(self) -> Tensor:
        """(n, h, c): the maximum of each line, NaN left out."""
        maxima = self.lines.amax(2)
        if torch.isnan(maxima).any():  # amax passes every NaN on
            maxima = self.lines.masked_fill(torch.isnan(self.lines), -torch.inf).amax(2)
        return maxima

    def first_maxima(self, images: Tensor, units: Tensor) -> Tensor:
        """(m,): where the maximum of each pair of image (by its place in the batch) and unit stands first, in order.

        The line first and then the place in it: that reads one line of the map and not all of it.
        """
        line = self.line_maxima[images, :, units].argmax(1)
        values = self.lines[images, line, :, units].nan_to_num(-torch.inf, torch.inf, -torch.inf)
        return line * self.lines.shape[2] + values.argmax(1)

    @functools.cached_property
    def per_image(self) -> PerImage:
        """The reductions over positions."""
        mean = self.rows.sum(1) / self.positions
        if not torch.isfinite(mean).all():  # a sum passes every NaN and infinity on, so the batch is clean otherwise
            return _careful(self.rows)
        offset, squares, nonpositive = _centred(self.rows, mean)
        if not torch.isfinite(squares).all():  # finite numbers whose squares are too large for float32
            return _careful(self.rows)
        # The mean is rounded to float32, which is coarse where it is large against the spread; what is left over
        # corrects it (Chan, Golub and LeVeque 1983, "corrected two-pass algorithm").
        total = mean.double() * self.positions + offset
        squares = (squares - offset.square() / self.positions).clamp(min=0)
        count = torch.full_like(nonpositive, self.positions)
        maximum, minimum = self.line_maxima.amax(1), self.rows.amin(1)
        return PerImage(maximum, minimum, count, total, squares, nonpositive, torch.zeros_like(count))

    def sample(self, positions: int) -> Tensor:
        """(n, m, c): the values at `positions` places of each map, drawn by a hash of image and layer; all if few."""
        if self.positions <= positions:
            return self.rows
        index = sampled_positions(self.ids, self.layer, positions, self.positions)
        return torch.gather(self.rows, 1, index[:, :, None].expand(-1, -1, self.rows.shape[2]))


def _centred(rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (n, c) of the differences from `mean` and of their squares, and how many values are <= 0.

    Image by image, to stay in the cache.
    """
    offset = torch.empty(mean.shape, dtype=torch.float64, device=rows.device)
    squares = torch.empty_like(offset)
    nonpositive = torch.empty(mean.shape, dtype=torch.int64, device=rows.device)
    scratch = torch.empty(rows.shape[1:], device=rows.device)
    for i, image in enumerate(rows):
        torch.sub(image, mean[i], out=scratch)
        offset[i] = scratch.sum(0)
        squares[i] = scratch.square_().sum(0)
        torch.le(image, 0, out=scratch)  # as 0.0 and 1.0: integer sums are several times slower
        nonpositive[i] = scratch.sum(0)
    return offset, squares, nonpositive


def _careful(rows: Tensor) -> PerImage:
    """The same in float64 and without NaN; image by image, because that takes several times the memory."""
    each = [_careful_image(image) for image in rows]
    return PerImage(*(torch.stack(column) for column in zip(*each, strict=True)))


def _careful_image(image: Tensor) -> tuple[Tensor, ...]:
    """The fields of `PerImage` for (positions, c), each (c,)."""
    nan = torch.isnan(image)
    count = (~nan).sum(0)
    total = image.masked_fill(nan, 0.0).sum(0, dtype=torch.float64)
    centred = (image - total / count.clamp(min=1)).masked_fill(nan, 0.0)
    return (
        image.masked_fill(nan, -torch.inf).amax(0),
        image.masked_fill(nan, torch.inf).amin(0),
        count,
        total,
        centred.square().sum(0),
        (image <= 0).sum(0),
        nan.sum(0),
    )


def sampled_positions(ids: Tensor, layer: str, count: int, positions: int) -> Tensor:
    """(n, count) positions below `positions` for each image id, with repetition, the same wherever it is computed."""
    seed = int.from_bytes(hashlib.blake2b(layer.encode(), digest_size=8).digest(), "little", signed=True)
    draw = torch.arange(1, count + 1, device=ids.device)
    mixed = _splitmix(ids[:, None] * count + draw + seed)
    return (mixed >> 1 & 0x7FFF_FFFF) % positions


def _splitmix(value: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), on int64 that wraps around."""
    value = value * -7046029254386353131  # 0x9E3779B97F4A7C15
    value = (value ^ _shifted(value, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    value = (value ^ _shifted(value, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills with zeros, which int64 does not have."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


class Accumulator(ABC):
    """The state of a statistic for all units of one layer."""

    @abstractmethod
    def update(self, activations: Activations) -> None:
        """Take in a batch."""

    @abstractmethod
    def merge(self, other: Accumulator) -> None:
        """Take in what another accumulator of the same statistic saw of other images."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors on the CPU."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""


@dataclass(frozen=True)
class Statistic(ABC):
    """The configuration of a statistic."""

    name: ClassVar[str]

    @abstractmethod
    def start(self, units: int, places: tuple[int, ...], device: torch.device) -> Accumulator:
        """An empty accumulator for a layer of `units` units with maps of shape `places`."""

    @abstractmethod
    def panels(self, state: Mapping[str, Any], unit: int) -> list[Panel]:
        """What the state says of one unit, to be shown; arrays in `state` may be tensors or NumPy."""
