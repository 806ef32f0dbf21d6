"""The largest values of every unit, from which its threshold is read: exact, in bounded memory, and mergeable.

Of a unit only those values are kept that can still be among the largest; equal ones are counted together. Values are
numbers of 32 bits that are ordered as the floats are. Where a unit has more different ones than there is room for, the
last bits are given up: the threshold is then the upper end of a bin of numbers, and `Tail.errors` says how far it may
be from the exact one (about one part in a thousand); how many values lie above it is exact in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.compiling import compiled

ROOM = 1 << 14  # different values of a unit
_BUFFER = (1 << 13) + 16  # a power of two would put the next places of all units into a few lines of the cache
_NONE = np.iinfo(np.int32).min  # below the key of every float
_INFINITE = 0x7F80_0000

Keys = NDArray[np.int32]


class Tail:
    """The largest values of each of `units` units.

    Args:
        wanted: so many of each unit, at least.
        floors: (units,) keys: what is not above them is known not to be among the largest.
        room: different values of a unit at most, before they are rounded.
    """

    def __init__(self, units: int, wanted: int, floors: Keys | None = None, room: int = ROOM) -> None:
        self.wanted, self.room = wanted, room
        self.keys: list[Keys] = [np.empty(0, np.int32)] * units  # falling
        self.counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * units
        self.shifts = np.zeros(units, np.int32)  # bits that are given up
        self.seen = np.zeros(units, np.int64)
        self.floors = np.full(units, _NONE, np.int32) if floors is None else np.array(floors)
        self._buffer, self._fill = np.empty((units, 0), np.int32), np.zeros(units, np.int64)

    def update(self, rows: NDArray[np.float32]) -> None:
        """Take in values (m, units); NaN is no value."""
        if not self._buffer.size:
            self._buffer = np.empty((len(self.keys), _BUFFER), np.int32)
        done = 0
        while done < len(rows):
            done = _offer(rows.view(np.int32), done, self.floors, self._buffer, self._fill, self.seen)
            if done < len(rows):
                self._settle()

    def _settle(self) -> None:
        for unit in np.flatnonzero(self._fill).tolist():
            largest = np.sort(self._buffer[unit, : self._fill[unit]])[-self.wanted :]
            self._take(unit, *np.unique(largest, return_counts=True), int(self.shifts[unit]))
        self._fill[:] = 0

    def _take(self, unit: int, keys: Keys, counts: NDArray[np.int64], shift: int) -> None:
        """Take in keys and how often each occurs, with so many bits given up already."""
        keys, counts = np.concatenate([self.keys[unit], keys]), np.concatenate([self.counts[unit], counts])
        shift = max(shift, int(self.shifts[unit]))
        while True:
            found, place = np.unique(-(keys >> shift).astype(np.int64), return_inverse=True)  # the largest first
            sums = np.bincount(place, counts).astype(np.int64)
            last = int(np.searchsorted(np.cumsum(sums), self.wanted)) + 1
            if min(last, len(found)) <= self.room:
                break
            shift += 1
        self.keys[unit] = (-found[:last] << shift).astype(np.int32)
        self.counts[unit], self.shifts[unit] = sums[:last], shift
        if last <= len(found):
            self.floors[unit] = max(self.floors[unit], self.keys[unit][-1] | ((1 << shift) - 1))

    def merge(self, other: Tail) -> None:
        """Take in what another one saw."""
        self._settle()
        other._settle()
        for unit in range(len(self.keys)):
            self._take(unit, other.keys[unit], other.counts[unit], int(other.shifts[unit]))
        self.floors = np.maximum(self.floors, other.floors)
        self.seen = self.seen + other.seen

    def above(self, share: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Thresholds (units,), and how many values (units,) are above them.

        The threshold is the smallest value with no more than `share` of all values above it; NaN for a unit without
        any value.
        """
        self._settle()
        thresholds = np.full(len(self.keys), np.nan, np.float32)
        above = np.zeros(len(self.keys), np.int64)
        for unit, (keys, counts) in enumerate(zip(self.keys, self.counts, strict=True)):
            if len(keys):
                until = np.cumsum(counts)
                place = int(np.searchsorted(until, allowed(share, int(self.seen[unit])) + 1))
                thresholds[unit] = _value(int(keys[place]) | ((1 << int(self.shifts[unit])) - 1))
                above[unit] = until[place] - counts[place]
        return thresholds, above

    def errors(self) -> NDArray[np.float64]:
        """(units,) By which part of itself a threshold may be above the exact one; 0 where it is exact."""
        self._settle()
        return np.where(self.shifts > 0, 2.0 ** (self.shifts - 23), 0.0)

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        self._settle()
        bounds = np.cumsum([0, *map(len, self.keys)])
        arrays: dict[str, NDArray[Any]] = {
            "keys": np.concatenate(self.keys), "counts": np.concatenate(self.counts), "bounds": bounds,
            "shifts": self.shifts, "seen": self.seen, "floors": self.floors,
        }  # fmt: skip
        return {name: torch.tensor(array) for name, array in arrays.items()}

    @classmethod
    def restored(cls, state: Mapping[str, Any], wanted: int) -> Tail:
        """The inverse of `state`."""
        arrays: dict[str, NDArray[Any]] = {name: np.asarray(tensor) for name, tensor in state.items()}
        tail = cls(len(arrays["seen"]), wanted, np.array(arrays["floors"], np.int32))
        for unit, (first, last) in enumerate(zip(arrays["bounds"][:-1], arrays["bounds"][1:], strict=True)):
            tail.keys[unit], tail.counts[unit] = arrays["keys"][first:last], arrays["counts"][first:last]
        tail.shifts, tail.seen = np.array(arrays["shifts"]), np.array(arrays["seen"])
        return tail


def allowed(share: float, values: int) -> int:
    """How many of `values` may be above a threshold; 0.07 of 100 are 7, though 0.07 is a little less in binary."""
    return math.floor(round(share * values, 6))


def _value(key: int) -> np.float32:
    """The float of a key; a bin reaches no higher than infinity."""
    bits = min(key, _INFINITE)
    return np.int32(bits if bits >= 0 else bits ^ 0x7FFF_FFFF).view(np.float32)


@compiled
def _offer(rows: Any, first: int, floors: Any, buffer: Any, fill: Any, seen: Any) -> Any:
    """Put keys above their floor into the buffer; the number of rows done, before a unit's buffer would overflow."""
    room = buffer.shape[1]
    full = False
    for p in range(first, rows.shape[0]):
        if full:
            return p
        for u in range(rows.shape[1]):
            bits = rows[p, u]
            if (bits & 0x7FFF_FFFF) > 0x7F80_0000:  # NaN
                continue
            seen[u] += 1
            key = bits if bits >= 0 else (bits ^ 0x7FFF_FFFF) + (bits == -0x8000_0000)  # -0 is 0
            if key > floors[u]:
                buffer[u, fill[u]] = key
                fill[u] += 1
                full = full or fill[u] == room
    return rows.shape[0]
