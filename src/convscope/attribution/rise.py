"""RISE: the mean score of an image of which random parts are hidden, by what is visible [petsiuk2018rise].

::

    M(y, x) = Σ S(x ⊙ m(i)) m(i)(y, x) / Σ m(i)(y, x)

Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018. A mask m(i) is
a grid of `cells` × `cells` zeros and ones, enlarged bilinearly to one cell more than the image holds, of which a part
of the image's size is cut out at a random offset of less than a cell. The paper divides by its expectation, N · p, in
place of the sum of the masks. In the limit that is the same; with the sum a network that always says the same has a
constant map, not one with the noise of the masks. What is hidden becomes zero after normalisation, the mean colour.
No gradient is needed. For the paper's maps the target is `Class(..., "probability")`.

It stops when the map has settled: after each 500 masks, if the standard errors of the pixels (root of the mean square)
are at most `tolerance` times the standard deviation of the map over the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from convscope.attribution.base import Answer, Attribution, Question
from convscope.errors import AttributionError
from convscope.geometry import interpolation
from convscope.scored import Fixed

_CHECKED = 500  # masks, before it is looked whether the map has settled


@dataclass(frozen=True)
class RISE(Attribution):
    """The mean score when a pixel is visible, (n, 1, h, w), with its standard error.

    Args:
        masks: at most so many; the same ones for every image.
        cells: of the grid along each side.
        visible: probability that a cell is.
        tolerance: of the noise; 0 takes all masks.
        seed: of the masks.
    """

    name: ClassVar[str] = "rise"
    sign: ClassVar[str] = "mean score while the pixel is visible: compare it with other pixels, not with zero"
    form: ClassVar[str] = "level"
    costly: ClassVar[bool] = True

    masks: int = 4000
    cells: int = 7
    visible: float = 0.5
    tolerance: float = 0.1
    seed: int = 0

    def explain(self, question: Question) -> Answer:
        """A pass for each mask and image."""
        if self.masks < 2 or self.cells < 1 or not 0 < self.visible <= 1 or self.tolerance < 0:
            raise AttributionError(
                f"{self}: masks must be 2 or more, cells 1 or more, visible above 0 and at most 1, tolerance 0 or more"
            )
        with torch.no_grad():
            explained = question.run()
            rows = zip(question.images, explained.targets, explained.scores, strict=True)
            sums = [self._sums(question, image, target, score) for image, target, score in rows]
        values = torch.stack([each.mean for each in sums])
        errors = torch.stack([each.error for each in sums])
        evidence = {
            "masks": torch.tensor([each.count for each in sums]),
            "standard error": torch.stack([_size(each.error) for each in sums]),
            "standard error / deviation of the map": torch.stack([each.noise for each in sums]),
        }
        notes: tuple[str, ...] = ()
        if self.tolerance and any(float(each.noise) > self.tolerance for each in sums):
            notes = ("a map has not settled: take more masks",)
        return Answer(values[:, None], explained, evidence, notes, error=errors[:, None])

    def _sums(self, question: Question, image: Tensor, target: Fixed, score: Tensor) -> _Sums:
        sums = _Sums(image, score)
        for masks in self.draw(image, question.passes()):
            sums.add(question.run(image * masks[:, None], [target] * len(masks)).scores, masks)
            if sums.count % _CHECKED == 0 and float(sums.noise) <= self.tolerance and self.tolerance:
                break
        if not bool((sums.first[0] > 0).all()):
            raise AttributionError(f"some pixels are hidden by all of the {sums.count} masks: take more masks")
        return sums

    def draw(self, image: Tensor, size: int) -> Iterator[Tensor]:
        """The masks (size or fewer, h, w) of an image, a batch at a time; which they are does not depend on `size`."""
        cells, offsets = (np.random.default_rng([self.seed, stream]) for stream in range(2))
        sides = [_enlarged(self.cells, length).to(image) for length in image.shape[1:]]
        for start in range(0, self.masks, _CHECKED):
            left = min(_CHECKED, self.masks - start)
            for count in [min(size, left - done) for done in range(0, left, size)]:
                grid = torch.from_numpy(cells.random((count, self.cells, self.cells)) < self.visible).to(image)
                rows, columns = (
                    side[torch.from_numpy((share * len(side)).astype(np.int64))]
                    for side, share in zip(sides, offsets.random((count, 2)).T, strict=True)
                )
                yield rows @ grid @ columns.transpose(1, 2)


def _enlarged(cells: int, length: int) -> Tensor:
    """From the cells of a grid to `length` pixels, for each offset of the cut: (offsets, length, cells)."""
    size = math.ceil(length / cells)
    long = (cells + 1) * size
    whole = torch.from_numpy(interpolation((np.arange(cells) + 0.5) * long / cells - 0.5, long))
    return whole.unfold(0, length, 1).transpose(1, 2)[:size]


class _Sums:
    """Sums over the masks, from which the map and its standard error come.

    Args:
        score: () of the image itself: sums are of differences from it, which are small, and zero where nothing changes.
    """

    def __init__(self, image: Tensor, score: Tensor) -> None:
        self.count = 0
        self.shape = image.shape[1:]
        self.score = score.double()
        self.first = torch.zeros(2, math.prod(self.shape), dtype=torch.float64, device=image.device)  # of m, S m
        self.second = torch.zeros(3, *self.first.shape[1:]).to(self.first)  # of m², S m², S² m²

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """Scores (b,) of images under masks (b, h, w)."""
        self.count += len(masks)
        differences, masks = scores.double() - self.score, masks.flatten(1)
        powers = torch.stack([torch.ones_like(differences), differences, differences**2]).to(masks)
        self.first += powers[:2] @ masks
        self.second += powers @ masks**2

    @property
    def mean(self) -> Tensor:
        """The mean score while a pixel is visible, (h, w)."""
        return (self.first[1] / self.first[0] + self.score).reshape(self.shape)

    @property
    def error(self) -> Tensor:
        """Its standard error, (h, w), that of a quotient of means."""
        mean = self.first[1] / self.first[0]
        squares: Tensor = self.second[2] - 2 * mean * self.second[1] + mean**2 * self.second[0]
        return (squares.clamp(min=0).sqrt() / self.first[0]).reshape(self.shape)

    @property
    def noise(self) -> Tensor:
        """The size of the standard error, as a share of the deviation of the map over its pixels; 0 if both are."""
        error, deviation = _size(self.error), self.mean.std(correction=0)
        return error / deviation if deviation > 0 else error


def _size(error: Tensor) -> Tensor:
    return error.square().mean().sqrt()
