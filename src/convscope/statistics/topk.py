"""The images that excite a unit most, one entry an image, with the place of the maximum [METHODS 4.1].

Order: larger maximum first, then lower image id; inside an image the first maximum in raster order. For the best few
the whole map of the response is kept too, small and in 8 bits, to show what in the image the unit answers to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.panel import Panel
from convscope.statistics.base import Accumulator, Activations, Statistic

NOBODY = torch.iinfo(torch.int64).max  # the id of a place in the list that is still free; it sorts last


@dataclass(frozen=True)
class TopK(Statistic):
    """The k images with the largest maximum.

    Args:
        k: images kept.
        maps: of these the first ones whose map is kept.
        side: cells of a kept map along its longer side, at most; larger maps keep the maximum of each block.
    """

    name: ClassVar[str] = "topk"
    k: int = 25
    maps: int = 9
    side: int = 28

    def start(self, units: int, places: tuple[int, ...], device: torch.device) -> TopKAccumulator:
        """See `Statistic.start`."""
        return TopKAccumulator(self, units, places, device)

    def block(self, places: tuple[int, ...]) -> int:
        """How many cells of a map, along each side, become one of the kept map."""
        return max(1, math.ceil(max(places) / self.side)) if len(places) == 2 else 1

    def panels(self, state: Mapping[str, Any], unit: int) -> list[Panel]:
        """Nothing: pages show the images themselves."""
        return []


class TopKAccumulator(Accumulator):
    """Values, ids and positions (units, k), best first; maps (units, maps, h, w)."""

    def __init__(self, config: TopK, units: int, places: tuple[int, ...], device: torch.device) -> None:
        self.config, self.places = config, places
        self.kept = min(config.maps, config.k)
        self.block = config.block(places)
        cells = [math.ceil(side / self.block) for side in places] if len(places) == 2 else [0, 0]
        self.values = torch.full((units, config.k), -torch.inf, device=device)
        self.ids = torch.full((units, config.k), NOBODY, device=device)
        self.positions = torch.zeros((units, config.k), dtype=torch.int64, device=device)
        self.maps = torch.zeros((units, self.kept, *cells), dtype=torch.uint8, device=device)

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        each = activations.per_image
        seen = (each.count > 0).T  # an image whose map is all NaN is no candidate
        values = torch.cat([self.values, each.maximum.T], 1)
        ids = torch.cat([self.ids, torch.where(seen, activations.ids, NOBODY)], 1)
        order = best(values, ids, self.config.k)
        slots = order - self.config.k  # place in the batch; negative for what was there before
        self._carry(order, slots >= 0)
        units, ranks = torch.nonzero(slots >= 0, as_tuple=True)
        self._look(activations, units, ranks, slots[units, ranks])
        self.values, self.ids = values.gather(1, order), ids.gather(1, order)

    def _carry(self, order: Tensor, new: Tensor) -> None:
        """Put positions and maps into the new order, as far as they were there before."""
        before = order.clamp(max=self.config.k - 1)
        self.positions = self.positions.gather(1, before)
        moved = new[:, : self.kept].any(1).nonzero()[:, 0]  # in a long scan these are few, and maps are large
        # What is among the first now was among them before, or is new: nothing ever rises.
        first = before[moved, : self.kept].clamp(max=self.kept - 1)
        self.maps[moved] = _rows_of_maps(self.maps, moved[:, None] * self.kept + first)

    def _look(self, activations: Activations, units: Tensor, ranks: Tensor, images: Tensor) -> None:
        """Fill in positions and maps of the new entries; only these maps are ever read again."""
        self.positions[units, ranks] = activations.first_maxima(images, units)
        if not self.maps.numel():
            return
        kept = ranks < self.kept
        flat = self.maps.flatten(0, 1).flatten(1)
        for image in torch.unique(images[kept]).tolist():
            here = kept & (images == image)
            # All units are reduced, and then the new ones picked: picking them from whole maps takes longer.
            small = activations.lines[image]
            if activations.per_image.nans[image].any():
                small = small.nan_to_num(0.0)
            for axis in (0, 1):
                small = _blocks(small, axis, self.block)
            maps = _shares(small.flatten(0, 1).index_select(1, units[here]))
            flat.index_copy_(0, units[here] * self.kept + ranks[here], maps)

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, TopKAccumulator)
        values, ids = torch.cat([self.values, other.values], 1), torch.cat([self.ids, other.ids], 1)
        order = best(values, ids, self.config.k)
        self.values, self.ids = values.gather(1, order), ids.gather(1, order)
        self.positions = torch.cat([self.positions, other.positions], 1).gather(1, order)
        first = order[:, : self.kept]
        index = torch.where(first < self.config.k, first, first - self.config.k + self.kept)
        both = torch.arange(len(index), device=index.device)[:, None] * 2 * self.kept + index.clamp(
            max=2 * self.kept - 1
        )
        self.maps = _rows_of_maps(torch.cat([self.maps, other.maps], 1), both)

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        tensors = {"values": self.values, "ids": self.ids, "positions": self.positions, "maps": self.maps}
        return {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        device = self.values.device
        for name in ("values", "ids", "positions", "maps"):
            setattr(self, name, state[name].to(device, copy=True))  # maps are changed in place


def best(values: Tensor, ids: Tensor, k: int) -> Tensor:
    """(units, k) places of the k best of each row, by (−value, id)."""
    by_id = ids.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return by_id.gather(1, by_value)[:, :k]


def _rows_of_maps(maps: Tensor, index: Tensor) -> Tensor:
    """(units, ranks, h, w): the maps with these places in (units · ranks, h, w)."""
    flat = maps.flatten(0, 1).flatten(1)
    return flat.index_select(0, index.flatten()).view(*index.shape, *maps.shape[2:])


def _blocks(values: Tensor, axis: int, size: int) -> Tensor:
    """The maximum of each `size` neighbours along an axis, and of what is left over at its end.

    For each axis alone: that is several times faster than a max-pool.
    """
    if size == 1:
        return values
    whole = values.shape[axis] // size * size
    parts = [torch.unflatten(values.narrow(axis, 0, whole), axis, (-1, size)).amax(axis + 1)]
    if whole < values.shape[axis]:
        parts.append(values.narrow(axis, whole, values.shape[axis] - whole).amax(axis, keepdim=True))
    return torch.cat(parts, axis)


def _shares(maps: Tensor) -> Tensor:
    """Maps (positions, m) as (m, positions), 8-bit shares of their own maximum; what is negative or NaN is 0."""
    maps = maps.nan_to_num(0.0, neginf=0.0).clamp(min=0)
    return (maps / maps.amax(0).clamp(min=1e-30) * 255).round().to(torch.uint8).T.contiguous()
