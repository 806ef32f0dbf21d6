"""What a statistic is, and what it is fed with."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.errors import CaptureError
from convscope.panel import Panel
from convscope.statistics.reductions import PerImage, reduce


class Activations:
    """What one layer gave for a batch, with the reductions that several statistics need, computed once.

    Args:
        values: (n, c, ...) or (n, ..., c), as the layer gave them; they are only read.
        channel: the dimension of the channel, 1 or -1.
        ids: (n,) ids of the images, int64, ascending.
        layer: the layer's address, which seeds the sample of positions.
        classes: (n,) class indices of the images, int64, -1 where they are not known.
        saturation: the layer's response is saturated at or below the first and at or above the second number; None
            where it has no such ends.
    """

    def __init__(
        self,
        values: Tensor,
        channel: int,
        ids: Tensor,
        layer: str,
        classes: Tensor | None = None,
        saturation: tuple[float, float] | None = None,
    ) -> None:
        count = values.shape[0]
        if count != len(ids):
            raise CaptureError(
                f"layer {layer} gave {count} results for {len(ids)} images, so they cannot be told apart; name the "
                "others alone (layers=, --layers)"
            )
        units = values.shape[channel]
        last = values.movedim(channel, -1)
        self.places = tuple(last.shape[1:-1])
        # (n, positions, c): the memory order of channels_last, so that this is a view when the network runs in it.
        self.rows = last.reshape(count, -1, units).float().contiguous()
        self.ids = ids
        self.layer = layer
        self.classes = torch.full_like(ids, -1) if classes is None else classes
        self.saturation = saturation

    @property
    def positions(self) -> int:
        """Positions of the map."""
        return int(self.rows.shape[1])

    @functools.cached_property
    def per_image(self) -> PerImage:
        """The reductions over positions."""
        return reduce(self.rows)

    def maps(self) -> NDArray[np.float32]:
        """(n, h, w, c): the values as maps; where they have no two dimensions, h is 1."""
        return torch.unflatten(self.rows, 1, (self.places[0] if len(self.places) == 2 else 1, -1)).cpu().numpy()

    def sample(self, positions: int | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Values (n, m, c), and which of them (n, k) are the sample: of `positions` places of each map, drawn by a hash
        of image and layer; all, where a map has no more or None is asked for.
        """
        if positions is None or self.positions <= positions:
            everywhere = np.arange(self.positions, dtype=np.int64)
            return self.rows.cpu().numpy(), np.broadcast_to(everywhere, (len(self.ids), self.positions))
        index = sampled_positions(self.ids, self.layer, positions, self.positions)
        if self.rows.device.type == "cpu":
            return self.rows.numpy(), index.numpy()
        picked = torch.gather(self.rows, 1, index.to(self.rows.device)[:, :, None].expand(-1, -1, self.rows.shape[2]))
        return picked.cpu().numpy(), np.broadcast_to(np.arange(positions, dtype=np.int64), index.shape)


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
class Scan:
    """What a scan lets its statistics know beforehand.

    Args:
        classes: indices of the classes that occur among the labels, ascending.
        exact_quantiles: count all positions for the quantiles, and no sample of them.
        top: images kept of each unit.
    """

    classes: tuple[int, ...] = ()
    exact_quantiles: bool = False
    top: int = 25


@dataclass(frozen=True)
class Statistic(ABC):
    """The configuration of a statistic."""

    name: ClassVar[str]

    @classmethod
    def of(cls, scan: Scan) -> Self | None:
        """The configuration for a scan; None if there is nothing to count in it."""
        return cls()

    @abstractmethod
    def start(self, units: int, places: tuple[int, ...]) -> Accumulator:
        """An empty accumulator for a layer of `units` units with maps of shape `places`."""

    @abstractmethod
    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """What the state says of one unit, to be shown.

        Args:
            state: as tensors or NumPy arrays.
            names: of the network's classes, where they are known.
        """
