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
from torch.nn import functional as F

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
        positions, maps = self._carried(order)
        units, ranks = torch.nonzero(slots >= 0, as_tuple=True)
        self._look(activations, units, ranks, slots[units, ranks], positions, maps)
        self.values, self.ids = values.gather(1, order), ids.gather(1, order)
        self.positions, self.maps = positions, maps

    def _carried(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and maps in the new order, as far as they were there before."""
        before = order.clamp(max=self.config.k - 1)
        # What is among the first now was among them before, or is new: nothing ever rises.
        first = before[:, : self.kept].clamp(max=self.kept - 1)
        return self.positions.gather(1, before), _gather_maps(self.maps, first)

    def _look(
        self, activations: Activations, units: Tensor, ranks: Tensor, images: Tensor, positions: Tensor, maps: Tensor
    ) -> None:
        """Fill in positions and maps of the new entries; only these maps are ever read again."""
        chunk = max(1, (1 << 22) // activations.positions)  # 16 MB of float32 at a time
        for part in (slice(start, start + chunk) for start in range(0, len(units), chunk)):
            unit, rank, image = units[part], ranks[part], images[part]
            rows = activations.rows[image, :, unit]
            positions[unit, rank] = rows.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax(1)
            first = rank < self.kept
            if self.maps.numel():
                maps[unit[first], rank[first]] = self._small(rows[first])

    def _small(self, rows: Tensor) -> Tensor:
        """Maps (m, positions) as 8-bit shares of their own maximum, blocks reduced to their maximum."""
        maps = rows.nan_to_num(0.0, neginf=0.0).reshape(-1, 1, *self.places)
        if self.block > 1:
            maps = F.max_pool2d(maps, self.block, ceil_mode=True)
        maps = maps[:, 0].clamp(min=0)
        peak = maps.amax((1, 2), keepdim=True)
        return (maps / peak.clamp(min=1e-30) * 255).round().to(torch.uint8)

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, TopKAccumulator)
        values, ids = torch.cat([self.values, other.values], 1), torch.cat([self.ids, other.ids], 1)
        order = best(values, ids, self.config.k)
        self.values, self.ids = values.gather(1, order), ids.gather(1, order)
        self.positions = torch.cat([self.positions, other.positions], 1).gather(1, order)
        first = order[:, : self.kept]
        index = torch.where(first < self.config.k, first, first - self.config.k + self.kept)
        self.maps = _gather_maps(torch.cat([self.maps, other.maps], 1), index.clamp(max=2 * self.kept - 1))

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        tensors = {"values": self.values, "ids": self.ids, "positions": self.positions, "maps": self.maps}
        return {name: tensor.cpu() for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        device = self.values.device
        self.values, self.ids = state["values"].to(device), state["ids"].to(device)
        self.positions, self.maps = state["positions"].to(device), state["maps"].to(device)


def best(values: Tensor, ids: Tensor, k: int) -> Tensor:
    """(units, k) places of the k best of each row, by (−value, id)."""
    by_id = ids.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return by_id.gather(1, by_value)[:, :k]


def _gather_maps(maps: Tensor, index: Tensor) -> Tensor:
    return maps.gather(1, index[:, :, None, None].expand(-1, -1, *maps.shape[2:]))
