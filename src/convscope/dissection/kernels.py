"""Compiled loops: the pixels where a unit's map, brought to the labels' resolution, is above its threshold.

A bilinear value is a mean of the four around it, so that it exceeds a threshold only where one of them does. So only
pixels beside a value above the threshold are computed. With half a per cent of the values above it, they are few.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.compiling import compiled


@compiled
def masks(maps: Any, thresholds: Any, bounds_y: Any, shares_y: Any, bounds_x: Any, shares_x: Any) -> Any:
    """The pixels of every unit's mask.

    Args:
        maps: (h, w, units) float32, one image's.
        thresholds: (units,) float32; NaN is above all.
        bounds_y, shares_y, bounds_x, shares_x: see `placement.Axis`.

    Returns:
        starts (units + 1,) and pixels: those of unit u are pixels[starts[u] : starts[u + 1]], their places in raster
        order, which are in no order themselves.
    """
    width, units = maps.shape[1:]
    intervals_y, intervals_x = len(bounds_y) - 1, len(bounds_x) - 1
    hot, cells = _above(maps, thresholds)
    visited = np.full((intervals_y, intervals_x), -1, np.int32)
    starts, pixels = np.zeros(units + 1, np.int64), np.empty(1 << 12, np.int32)
    fill = 0
    for u in range(units):
        for k in range(hot[u], hot[u + 1]):
            row, column = cells[k] // width, cells[k] % width
            for i in range(max(row - 1, 0), min(row, intervals_y - 1) + 1):
                for j in range(max(column - 1, 0), min(column, intervals_x - 1) + 1):
                    if visited[i, j] != u:
                        visited[i, j] = u
                        room = (bounds_y[i + 1] - bounds_y[i]) * (bounds_x[j + 1] - bounds_x[j])
                        if fill + room > len(pixels):
                            pixels = _larger(pixels, fill + room)
                        fill = _block(
                            maps, thresholds[u], bounds_y, shares_y, bounds_x, shares_x, pixels, fill, u, i, j
                        )
        starts[u + 1] = fill
    return starts, pixels[:fill]


@compiled
def count(starts: Any, pixels: Any, labels: Any, table: Any) -> None:
    """Count the pixels of every unit's mask, and those of each label among them.

    Args:
        starts, pixels: see `masks`.
        labels: (pixels, m) numbers from 1; 0 is none.
        table: (units, 1 + numbers) int32, changed: column 0 is the mask's pixels, and column i those with label i.
    """
    for u in range(len(starts) - 1):
        counts = table[u]
        counts[0] += starts[u + 1] - starts[u]
        for k in range(starts[u], starts[u + 1]):
            row = labels[pixels[k]]
            for m in range(len(row)):
                if row[m] > 0:
                    counts[row[m]] += 1


@compiled
def _above(maps: Any, thresholds: Any) -> Any:
    """The cells above the threshold: those of unit u are cells[starts[u] : starts[u + 1]], in raster order."""
    height, width, units = maps.shape
    rows = maps.reshape(height * width, units)
    counts = np.zeros(units, np.int32)
    for p in range(rows.shape[0]):
        row = rows[p]
        for u in range(units):
            counts[u] += np.int32(row[u] > thresholds[u])
    starts = np.zeros(units + 1, np.int32)
    for u in range(units):
        starts[u + 1] = starts[u] + counts[u]
    cells = np.empty(starts[units], np.int32)
    place = starts[:-1].copy()
    for p in range(rows.shape[0]):
        row = rows[p]
        for u in range(units):
            if row[u] > thresholds[u]:
                cells[place[u]] = p
                place[u] += 1
    return starts, cells


@compiled
def _larger(pixels: Any, needed: Any) -> Any:
    """The same numbers in an array that has room for twice as many as are needed."""
    larger = np.empty(2 * needed, np.int32)
    larger[: len(pixels)] = pixels
    return larger


@compiled
def _block(
    maps: Any, threshold: Any, bounds_y: Any, shares_y: Any, bounds_x: Any, shares_x: Any, pixels: Any, fill: Any,
    u: Any, i: Any, j: Any,
) -> Any:  # fmt: skip
    """Write the pixels between four neighbouring values that are in the mask behind the first `fill`; their number."""
    below, beside = min(i + 1, maps.shape[0] - 1), min(j + 1, maps.shape[1] - 1)
    a, b = np.float64(maps[i, j, u]), np.float64(maps[i, beside, u])
    c, d = np.float64(maps[below, j, u]), np.float64(maps[below, beside, u])
    for x in range(bounds_x[j], bounds_x[j + 1]):
        top = a + shares_x[x] * (b - a)
        bottom = c + shares_x[x] * (d - c)
        for y in range(bounds_y[i], bounds_y[i + 1]):
            if top + shares_y[y] * (bottom - top) > threshold:
                pixels[fill] = y * len(shares_x) + x
                fill += 1
    return fill


@compiled
def add(rows: Any, units: Any, concepts: Any, counts: Any, present: Any, totals: Any, areas: Any) -> None:
    """Add up the counts of images.

    Args:
        rows, units, concepts, counts: (n,) each, of one count: the image's row, unit, concept (0: the mask), pixels.
        present: (images, categories) bool, of what an image has labels.
        totals: (units, 1 + concepts) int64, changed.
        areas: (units, categories) int64, changed: the mask's pixels in images with labels of the category.
    """
    for k in range(len(rows)):
        totals[units[k], concepts[k]] += counts[k]
        if concepts[k] == 0:
            for category in range(present.shape[1]):
                areas[units[k], category] += counts[k] * present[rows[k], category]


@compiled
def replicate(
    rows: Any, units: Any, concepts: Any, counts: Any, present: Any, weights: Any, slots: Any, kept: Any, areas: Any,
    covered: Any,
) -> None:  # fmt: skip
    """Add up the counts of images as often as each replicate of a bootstrap has drawn them.

    Args:
        rows, units, concepts, counts, present: see `add`; unit 0 is everything.
        weights: (images, replicates) how often each image was drawn.
        slots: (units, 1 + concepts) the place of a concept among the unit's candidates; -1 for all others.
        kept: (units, candidates, replicates) int64, changed: pixels of mask and concept.
        areas: (units, categories, replicates) int64, changed.
        covered: (1 + concepts, replicates) int64, changed: pixels of the concept.
    """
    for k in range(len(rows)):
        weight, unit, concept, count = weights[rows[k]], units[k], concepts[k], np.int64(counts[k])
        if unit == 0:
            for r in range(len(weight)):
                covered[concept, r] += count * weight[r]
        if concept == 0:
            for category in range(present.shape[1]):
                if present[rows[k], category]:
                    for r in range(len(weight)):
                        areas[unit, category, r] += count * weight[r]
        elif slots[unit, concept] >= 0:
            place = slots[unit, concept]
            for r in range(len(weight)):
                kept[unit, place, r] += count * weight[r]
