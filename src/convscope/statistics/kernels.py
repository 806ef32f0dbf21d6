"""Compiled loops over activations on a CPU: one pass over memory where PyTorch's reductions take one each.

A block of positions is read from memory once, and every reduction then finds it in the cache. Each loop is written so
that LLVM makes vector instructions of it: the channels are the lanes, there are few arrays in a loop, and no branch.
Every image is reduced by itself, so that its numbers depend neither on its batch nor on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.compiling import compiled

_BLOCK = 4096  # numbers that are looked at again and again: 16 KB, half of a usual first-level cache
_WORTH_A_THREAD = 1 << 16
_ROWS = 64  # positions at most whose float32 sums are joined before they go into float64


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="convscope-kernels")


if hasattr(os, "register_at_fork"):  # a child of fork has the pool, and none of its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parts(count: int, work: Callable[[int, int], None], size: int) -> None:
    """Call `work(first, last)` on equal parts of `count` things, on as many threads as PyTorch uses.

    Args:
        size: numbers that are looked at in all; a few are not worth a thread.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1 or size < _WORTH_A_THREAD:
        work(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    for _ in _pool(threads).map(work, bounds[:-1], bounds[1:]):
        pass  # and raise what was raised


def reduce(rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Maximum, its first position, minimum, sum, squared differences from the mean and count of values <= 0.

    Args:
        rows: (n, positions, c). Where an image has a NaN or an infinity in a channel, `total` or `squares` is not
            finite, and nothing else of that channel means anything.

    Returns:
        (n, c) each: `total` and `squares` float64, the extremes float32, `position` and `nonpositive` int32.
    """
    shape = (rows.shape[0], rows.shape[2])
    found: dict[str, NDArray[Any]] = {
        "maximum": np.full(shape, -np.inf, np.float32),
        "position": np.zeros(shape, np.int32),
        "minimum": np.full(shape, np.inf, np.float32),
        "total": np.zeros(shape),
        "squares": np.zeros(shape),
        "nonpositive": np.zeros(shape, np.int32),
    }

    def work(first: int, last: int) -> None:
        _reduce(rows[first:last], *(array[first:last] for array in found.values()))

    in_parts(len(rows), work, rows.size)
    return found


@compiled
def _reduce(rows, maximum, position, minimum, total, squares, nonpositive):  # type: ignore[no-untyped-def]
    images, positions, channels = rows.shape
    step = max(1, min(_ROWS, _BLOCK // channels))
    shift = np.empty(channels, np.float32)
    offset, square = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(images):
        _roughly_the_mean(rows[i], shift)
        for first in range(0, positions, step):
            block = rows[i, first : first + step]
            _highest(block, first, maximum[i], position[i])
            _lowest(block, minimum[i], nonpositive[i])
            _sums(block, shift, offset, square)
            _flush(offset, square, total[i], squares[i])
        for c in range(channels):
            spread = squares[i, c] - total[i, c] * total[i, c] / positions
            squares[i, c] = 0.0 if spread < 0 else spread  # and not max(), which would hide a NaN
            total[i, c] += np.float64(shift[c]) * positions


@compiled
def _roughly_the_mean(image, shift):  # type: ignore[no-untyped-def]
    """The mean of a few positions: with it taken off, the sum of squares does not cancel against that of the values."""
    count = min(8, image.shape[0])
    shift[:] = 0
    for k in range(count):
        row = image[k * image.shape[0] // count]
        for c in range(row.shape[0]):
            shift[c] += row[c] / np.float32(count)


@compiled
def _highest(block, first, maximum, position):  # type: ignore[no-untyped-def]
    whole = block.shape[0] // 4 * 4
    for p in range(0, whole, 4):  # four at a time: what is kept is read and written once for all
        for c in range(block.shape[1]):
            highest, place = maximum[c], position[c]
            for r in range(4):
                value = block[p + r, c]
                # Places rise, so the larger of old and new place is the new one just where a larger value is met.
                place = max(place, np.int32(np.int32(first + p + r) * np.int32(value > highest)))
                highest = np.fmax(highest, value)
            maximum[c], position[c] = highest, place
    for p in range(whole, block.shape[0]):
        for c in range(block.shape[1]):
            value = block[p, c]
            position[c] = max(position[c], np.int32(np.int32(first + p) * np.int32(value > maximum[c])))
            maximum[c] = np.fmax(maximum[c], value)


@compiled
def _lowest(block, minimum, nonpositive):  # type: ignore[no-untyped-def]
    for p in range(block.shape[0]):
        for c in range(block.shape[1]):
            value = block[p, c]
            minimum[c] = np.fmin(minimum[c], value)
            nonpositive[c] += np.int32(value <= np.float32(0))


@compiled
def _sums(block, shift, offset, square):  # type: ignore[no-untyped-def]
    whole = block.shape[0] // 4 * 4
    for p in range(0, whole, 4):
        for c in range(block.shape[1]):
            one, two = block[p, c] - shift[c], block[p + 1, c] - shift[c]
            three, four = block[p + 2, c] - shift[c], block[p + 3, c] - shift[c]
            offset[c] += (one + two) + (three + four)
            square[c] += (one * one + two * two) + (three * three + four * four)
    for p in range(whole, block.shape[0]):
        for c in range(block.shape[1]):
            value = block[p, c] - shift[c]
            offset[c] += value
            square[c] += value * value


@compiled
def _flush(offset, square, total, squares):  # type: ignore[no-untyped-def]
    for c in range(offset.shape[0]):
        total[c] += offset[c]
        squares[c] += square[c]
        offset[c] = 0
        square[c] = 0


@dataclass(frozen=True)
class Newcomers:
    """The images of a batch as candidates of lists: (n, units) each, but ids (n,). What is not `seen` is none."""

    maxima: NDArray[np.float32]
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    seen: NDArray[np.bool_]


def insert(
    values: NDArray[np.float32],
    ids: NDArray[np.int64],
    positions: NDArray[np.int64],
    slots: NDArray[np.int16],
    new: Newcomers,
) -> NDArray[np.int32]:
    """Put a batch into lists (units, k) that are ordered by (-value, id), in place.

    Args:
        slots: of the places in which the maps of the first ones are kept, a number for each; who leaves the first ones
            leaves its slot to the one that came in. -1 for all others.

    Returns:
        (units, k) place in the batch of the image whose map is now wanted there; -1 where nothing is new.
    """
    arrived = np.full(values.shape, -1, np.int32)

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        _insert(
            values[part], ids[part], positions[part], slots[part], arrived[part],
            new.maxima[:, part], new.ids, new.positions[:, part], new.seen[:, part],
        )  # fmt: skip

    in_parts(len(values), work, new.maxima.size)
    return arrived


@compiled
def _insert(values, ids, positions, slots, arrived, maxima, images, places, seen):  # type: ignore[no-untyped-def]
    units, k = values.shape
    for i in range(maxima.shape[0]):
        for u in range(units):
            value, image = maxima[i, u], images[i]
            if not seen[i, u] or value < values[u, k - 1] or (value == values[u, k - 1] and image > ids[u, k - 1]):
                continue
            rank = k - 1
            while rank > 0 and (
                value > values[u, rank - 1] or (value == values[u, rank - 1] and image < ids[u, rank - 1])
            ):
                rank -= 1
            free = np.int16(-1)  # the slot of the last one that has one, if the newcomer pushes it out
            for j in range(k - 1, rank - 1, -1):
                if slots[u, j] >= 0:
                    free = slots[u, j]
                    break
            for j in range(k - 1, rank, -1):
                values[u, j], ids[u, j], positions[u, j] = values[u, j - 1], ids[u, j - 1], positions[u, j - 1]
                arrived[u, j] = arrived[u, j - 1]
            values[u, rank], ids[u, rank], positions[u, rank] = value, image, places[i, u]
            arrived[u, rank] = i
            if free >= 0:
                last = rank
                while last + 1 < k and slots[u, last + 1] >= 0:
                    last += 1
                for j in range(last, rank, -1):
                    slots[u, j] = slots[u, j - 1]
                slots[u, rank] = free


def shrink(
    batch: NDArray[np.float32],
    wanted: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    block: int,
    maps: NDArray[np.uint8],
) -> None:
    """Write some maps of a batch as 8-bit shares of their own maximum; what is negative or NaN is 0.

    Args:
        batch: (n, h, w, c).
        wanted: (m,) places in the batch, ascending, channels, and slots to write to.
        block: cells along each side of which the maximum is kept; those at the end may be smaller.
        maps: (c, slots, ceil(h / block), ceil(w / block)).
    """
    images, units, slots = wanted
    bounds = np.searchsorted(images, np.arange(len(batch) + 1))

    def work(first: int, last: int) -> None:
        for image in range(first, last):
            start, stop = bounds[image], bounds[image + 1]
            if start < stop:
                _shrink(batch[image], units[start:stop], slots[start:stop], block, maps)

    in_parts(len(batch), work, batch.size)


@compiled
def _shrink(image, units, slots, block, maps):  # type: ignore[no-untyped-def]
    count, rows, columns = len(units), maps.shape[2], maps.shape[3]
    best = np.zeros((rows, columns, count), np.float32)
    # A few channels are picked out of each line; of many, all are reduced first, because that runs in vectors.
    many = 4 * count > image.shape[2]
    whole = np.zeros(image.shape[2] if many else 0, np.float32)
    for row in range(rows):
        for column in range(columns):
            cell = whole if many else best[row, column]
            whole[:] = 0
            for y in range(row * block, min(image.shape[0], row * block + block)):
                for x in range(column * block, min(image.shape[1], column * block + block)):
                    if many:
                        _rise(cell, image[y, x])
                    else:
                        for u in range(count):
                            cell[u] = np.fmax(cell[u], image[y, x, units[u]])
            if many:
                for u in range(count):
                    best[row, column, u] = whole[units[u]]
    for u in range(count):
        highest = np.float32(0)
        for y in range(rows):
            for x in range(columns):
                highest = max(highest, best[y, x, u])
        for y in range(rows):
            for x in range(columns):
                maps[units[u], slots[u], y, x] = _share(best[y, x, u], highest)


@compiled
def _rise(cell, line):  # type: ignore[no-untyped-def]
    for c in range(line.shape[0]):
        cell[c] = np.fmax(cell[c], line[c])


@compiled
def _share(value, highest):  # type: ignore[no-untyped-def]
    if highest == 0:
        return np.uint8(0)
    if highest == np.inf:
        return np.uint8(255 if value == np.inf else 0)
    return np.uint8(np.rint(np.float64(value) / np.float64(highest) * 255))


def count_bins(
    rows: NDArray[np.float32], index: NDArray[np.int64], bits: int, lowest: int, counts: NDArray[np.int64]
) -> None:
    """Add the values at some positions of each image to histograms, in place.

    Args:
        rows: (n, positions, c).
        index: (n, m) the positions that count.
        bits, lowest: of the mantissa, and the lowest exponent; see `convscope.statistics.histogram`.
        counts: (bins, c): neighbouring channels mostly fall into neighbouring cells of memory.
    """
    shift = 23 - bits
    base = ((127 + lowest) << bits) - 1
    numbers = rows.view(np.int32)

    def work(first: int, last: int) -> None:
        _count_bins(numbers[:, :, first:last], index, shift, base, counts[:, first:last])

    in_parts(rows.shape[2], work, index.size * rows.shape[2])


@compiled
def _count_bins(numbers, index, shift, base, counts):  # type: ignore[no-untyped-def]
    middle = counts.shape[0] // 2
    for i in range(numbers.shape[0]):
        for k in range(index.shape[1]):
            row = numbers[i, index[i, k]]
            for c in range(row.shape[0]):
                size = row[c] & 0x7FFF_FFFF
                if size > 0x7F80_0000:  # NaN
                    continue
                step = min(max((size >> shift) - base, 0), middle)
                counts[middle - step if row[c] < 0 else middle + step, c] += 1
