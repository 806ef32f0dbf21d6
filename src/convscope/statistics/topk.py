"""The images that excite a unit most, one entry an image, with the place of the maximum [METHODS 4.1].

Order: larger maximum first, then lower image id; inside an image the first maximum in raster order. For the best few
the whole map of the response is kept too, small and in 8 bits, to show what in the image the unit answers to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.panel import Panel
from convscope.statistics import kernels
from convscope.statistics.base import Accumulator, Activations, Scan, Statistic

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

    @classmethod
    def of(cls, scan: Scan) -> TopK:
        """See `Statistic.of`."""
        return cls(k=scan.top)

    def start(self, units: int, places: tuple[int, ...]) -> TopKAccumulator:
        """See `Statistic.start`."""
        return TopKAccumulator(self, units, places)

    def block(self, places: tuple[int, ...]) -> int:
        """How many cells of a map, along each side, become one of the kept map."""
        return max(1, math.ceil(max(places) / self.side)) if len(places) == 2 else 1

    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """Nothing: pages show the images themselves."""
        return []


class TopKAccumulator(Accumulator):
    """Values, ids and positions (units, k), best first; maps (units, maps, h, w) in slots, put in order by `state`."""

    def __init__(self, config: TopK, units: int, places: tuple[int, ...]) -> None:
        self.config = config
        self.kept = min(config.maps, config.k)
        self.block = config.block(places)
        cells = [math.ceil(side / self.block) for side in places] if len(places) == 2 else [0, 0]
        self.values = np.full((units, config.k), -np.inf, np.float32)
        self.ids = np.full((units, config.k), NOBODY)
        self.positions = np.zeros((units, config.k), np.int64)
        self.maps = np.zeros((units, self.kept, *cells), np.uint8)
        self.slots = self._in_order()

    def _in_order(self) -> NDArray[np.int16]:
        """Slots (units, k) where every map stands at its rank."""
        ranks = np.arange(self.config.k, dtype=np.int16)
        return np.tile(np.where(ranks < self.kept, ranks, -1).astype(np.int16), (len(self.values), 1))

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        each = activations.per_image
        new = kernels.Newcomers(
            each.maximum.numpy(),
            activations.ids.numpy(),
            each.position.numpy(),
            (each.count > 0).numpy(),  # an image whose map is all NaN is no candidate
        )
        arrived = kernels.insert(self.values, self.ids, self.positions, self.slots, new)
        if self.maps.size:
            self._look(activations, arrived[:, : self.kept])

    def _look(self, activations: Activations, arrived: NDArray[np.int32]) -> None:
        """Fill in the maps of those who have come in; only these maps are ever read again."""
        units, ranks = np.nonzero(arrived >= 0)
        images = arrived[units, ranks].astype(np.int64)
        order = np.argsort(images, kind="stable")
        slots = self.slots[units, ranks].astype(np.int64)
        if len(order):
            kernels.shrink(activations.maps(), (images[order], units[order], slots[order]), self.block, self.maps)

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, TopKAccumulator)
        one, two = self._ordered(), other._ordered()
        both = {name: np.concatenate([one[name], two[name]], 1) for name in one}
        order = np.lexsort((both["ids"], -both["values"]))[:, : self.config.k]
        for name in ("values", "ids", "positions"):
            setattr(self, name, np.take_along_axis(both[name], order, 1))
        first = order[:, : self.kept]
        # Of either list only the first ones have maps; nobody else comes among the first ones of both.
        places = np.where(first < self.config.k, first, first - self.config.k + self.kept)
        units = np.arange(len(places))[:, None]
        self.maps = both["maps"][units, places.clip(max=2 * self.kept - 1)]
        self.slots = self._in_order()

    def _ordered(self) -> dict[str, NDArray[Any]]:
        """The state with every map at its rank; this accumulator may go on changing its own arrays."""
        slots = self.slots[:, : self.kept]
        maps = self.maps[np.arange(len(slots))[:, None], slots]
        return {"values": self.values, "ids": self.ids, "positions": self.positions, "maps": maps}

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._ordered().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        for name in ("values", "ids", "positions", "maps"):
            setattr(self, name, state[name].numpy().copy())
        self.slots = self._in_order()
