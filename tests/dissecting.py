"""Concept sets in memory, and dissection as its definition says it: image by image and pixel by pixel, in float64."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convscope.concepts import Concept, ConceptSet, Labels
from convscope.images import Arrays
from convscope.network import Network, wrap
from convscope.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Planted(ConceptSet):
    """Images in an array with labels that a test has made."""

    images: Arrays
    concepts: Sequence[Concept]
    given: Sequence[Labels]
    spec: str = "planted"

    def labels(self, index: int) -> Labels:
        return self.given[index]

    def state(self, start: int, stop: int) -> str:
        return str([(each.maps.tobytes(), each.whole) for each in self.given[start:stop]])


def planted(
    channels: NDArray[Any], concepts: Sequence[tuple[str, str]], given: Sequence[Labels]
) -> tuple[Network, Planted]:
    """A network whose unit k gives channel k of the image as it is, and the set of these images (n, c, h, w)."""
    count, (height, width) = channels.shape[1], channels.shape[2:]
    layer = nn.Conv2d(count, count, 1, bias=False)
    layer.weight.data = torch.eye(count)[:, :, None, None]
    preprocess = Preprocess((height, width), channels=count)
    known = [Concept(1 + i, *each) for i, each in enumerate(concepts)]
    images = Arrays(channels.astype(np.float32))
    return wrap(nn.Sequential(layer), preprocess=preprocess, output="real"), Planted(images, known, given)


Image = tuple[NDArray[Any], Labels]  # maps (units, h, w) of all units of a layer, and the labels
Counts = list[dict[tuple[int, int], int]]  # of each image by (unit, concept); unit -1 is everything, concept 0 any


def thresholds(images: Sequence[Image], share: float) -> list[float]:
    """Of each unit the smallest of its values with no more than that share of them above it."""
    found = []
    for unit in range(len(images[0][0])):
        values = sorted((float(value) for maps, _ in images for value in maps[unit].ravel()), reverse=True)
        found.append(values[math.floor(share * len(values) + 1e-9)])
    return found


def count(
    images: Sequence[Image],
    limits: Sequence[float],
    place: Callable[[int, int], tuple[float, float]],
    centres: tuple[Sequence[float], Sequence[float]],
    shown: Callable[[int, int], bool] = lambda row, column: True,
) -> Counts:
    """Of each image the pixels of every mask, and those of every concept in it.

    Args:
        place: where a pixel of the label map is on the input.
        centres: of the rows and columns of the maps on the input.
        shown: whether the input shows a pixel of the label map.
    """
    found: Counts = []
    for maps, labels in images:
        table: dict[tuple[int, int], int] = defaultdict(int)
        for row in range(labels.maps.shape[1]):
            for column in range(labels.maps.shape[2]):
                if not shown(row, column):
                    continue
                there = {int(each[row, column]) for each in labels.maps} - {0} | set(labels.whole)
                y, x = place(row, column)
                masks = [unit for unit in range(len(maps)) if bilinear(maps[unit], centres, y, x) > limits[unit]]
                for unit in [-1, *masks]:
                    for concept in [0, *there]:
                        table[unit, concept] += 1
        found.append(dict(table))
    return found


def bilinear(values: NDArray[Any], centres: tuple[Sequence[float], Sequence[float]], y: float, x: float) -> float:
    """A map (h, w) at a place on the input; constant beyond the outermost centres."""
    row, below, down = between(centres[0], y)
    column, beside, right = between(centres[1], x)
    top = float(values[row, column]) * (1 - right) + float(values[row, beside]) * right
    bottom = float(values[below, column]) * (1 - right) + float(values[below, beside]) * right
    return top * (1 - down) + bottom * down


def between(centres: Sequence[float], place: float) -> tuple[int, int, float]:
    """The two cells around a place, and the share of the second one."""
    if place <= centres[0]:
        return 0, 0, 0.0
    for i in range(len(centres) - 1):
        if place <= centres[i + 1]:
            return i, i + 1, (place - centres[i]) / (centres[i + 1] - centres[i])
    return len(centres) - 1, len(centres) - 1, 0.0


def ratio(
    tables: Counts, unit: int, concept: int, categories: Mapping[int, str], times: Sequence[int] | None = None
) -> float:
    """The IoU of a unit and a concept: a ratio of sums over the images with any label of the concept's category.

    Args:
        times: how often each image counts.
    """
    both = union = 0
    for table, weight in zip(tables, times if times is not None else [1] * len(tables), strict=True):
        there = {categories[each] for whose, each in table if whose == -1 and each != 0}
        if categories[concept] in there:
            together = table.get((unit, concept), 0)
            both += weight * together
            union += weight * (table.get((unit, 0), 0) + table.get((-1, concept), 0) - together)
    return both / union if union else 0.0
