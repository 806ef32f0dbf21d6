"""RISE: the mean score of an image of which random parts are hidden, by what is visible [petsiuk2018rise].

::

    M(y, x) = E[S(x ⊙ m) m(y, x)] / E[m(y, x)]

Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018. A mask m is a
grid of `cells` × `cells` zeros and ones, enlarged bilinearly to one cell more than the image holds, of which a part of
the image's size is cut out at a random offset of less than a cell. What is hidden becomes zero after normalisation,
the mean colour. No gradient is needed. For the paper's maps the target is `Class(..., "probability")`.

The paper estimates the expectation by Σ S m / (N · p). Most of its noise is chance in the masks, and that is known: of
a score L that is linear in the mask, E[L m] follows from the covariance of the masks. So here S is split by least
squares into L and a rest r, and only the rest is averaged ("control variates")::

    M(y, x) ≈ E[L m(y, x)] / p + Σ r m(y, x) / Σ m(y, x)

In the limit that is the same map, with several times fewer masks for the same error; a network that always says the
same has a constant map. L is linear in the principal components of the masks, the product of (cells + 3) along each
axis: more than 99 % of their variance with 7 cells.

It stops when the map has settled: after each 500 masks, if the standard errors of the pixels (root of the mean square)
are at most `tolerance` times the standard deviation of the map over the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
        bases = [_Basis(self.cells, length) for length in question.images.shape[2:]]
        with torch.no_grad():
            explained = question.run()
            rows = zip(question.images, explained.targets, explained.scores, strict=True)
            found = [self._map(question, bases, *row) for row in rows]
        values = torch.stack([each.mean for each in found])
        errors = torch.stack([each.error for each in found])
        evidence = {
            "masks": torch.tensor([each.count for each in found]),
            "standard error": torch.stack([_size(each.error) for each in found]),
            "standard error / deviation of the map": torch.stack([each.noise for each in found]),
        }
        notes: tuple[str, ...] = ()
        if self.tolerance and any(float(each.noise) > self.tolerance for each in found):
            notes = ("a map has not settled: take more masks",)
        return Answer(values[:, None], explained, evidence, notes, error=errors[:, None])

    def _map(self, question: Question, bases: Sequence[_Basis], image: Tensor, target: Fixed, score: Tensor) -> _Map:
        size, scores = question.passes(), _Scores(bases, self.visible, score)
        for masks in self.draw(image, size):
            scores.add(question.run(image * masks[:, None], [target] * len(masks)).scores, masks)
            if scores.count < self.masks and self._unsettled(scores):
                continue
            found = self._averaged(scores, image, size)
            if float(found.noise) <= self.tolerance:
                break
        if not bool(found.error.isfinite().all()):
            raise AttributionError(f"some pixels are hidden by all of the {found.count} masks: take more masks")
        return found

    def _unsettled(self, scores: _Scores) -> bool:
        """Whether it is plain, without the map itself, that more masks are needed."""
        return not self.tolerance or scores.count % _CHECKED != 0 or scores.split().noise > self.tolerance

    def _averaged(self, scores: _Scores, image: Tensor, size: int) -> _Map:
        """The map after the masks so far, which are drawn a second time."""
        split, sums, done = scores.split(), _Sums(image), 0
        for masks in self.draw(image, size):
            if done == scores.count:
                break
            sums.add(split.rest[done : done + len(masks)].to(image.device), masks)
            done += len(masks)
        return _Map(done, split.map.to(image.device) + sums.mean, sums.error * split.inflation)

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


class _Basis:
    """The principal components of the masks along an axis: profiles (length, k), and their variances (k,) if cells
    have a variance of 1.
    """

    def __init__(self, cells: int, length: int) -> None:
        profiles = _enlarged(cells, length)
        covariance = torch.einsum("oic,ojc->ij", profiles, profiles) / len(profiles)
        variances, vectors = torch.linalg.eigh(covariance)
        self.variances, self.profiles = variances[-(cells + 3) :], vectors[:, -(cells + 3) :]
        self.power = float(covariance.diagonal().mean())


class _Scores:
    """The scores under the masks, and where these lie among the principal components.

    Args:
        bases: for rows and columns.
        score: () of the image itself: what is split is the difference from it, zero where nothing changes.
    """

    def __init__(self, bases: Sequence[_Basis], visible: float, score: Tensor) -> None:
        self.bases, self.visible, self.score = bases, visible, score
        self.count = 0
        self.scores: list[Tensor] = []
        self.places: list[Tensor] = []  # of the masks among the components

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """Scores (b,) of images under masks (b, h, w)."""
        rows, columns = (each.profiles.to(masks) for each in self.bases)
        self.count += len(masks)
        self.scores.append((scores.double() - self.score.double()).cpu())
        self.places.append((rows.T @ (masks - self.visible) @ columns).flatten(1).double().cpu())

    def split(self) -> _Split:
        """By least squares; of the components those that vary most, one for ten masks at most."""
        rows, columns = self.bases
        deviations = torch.outer(rows.variances, columns.variances).clamp(min=0).sqrt().flatten()
        used = deviations.argsort(descending=True)[: self.count // 10]
        used = used[deviations[used] > 1e-3 * deviations.max()]  # in small images some are none
        places = torch.cat(self.places)[:, used] / deviations[used]
        places = torch.cat([torch.ones(len(places), 1).to(places), places], 1)
        scores = torch.cat(self.scores)
        weights = torch.linalg.pinv(places.T @ places, hermitian=True) @ (places.T @ scores)
        rest = scores - places @ weights
        products = torch.zeros_like(deviations)
        products[used] = weights[1:] * deviations[used] * (1 - self.visible)
        part = rows.profiles @ products.reshape(len(rows.variances), -1) @ columns.profiles.T
        inflation = self.count / max(1, self.count - len(weights))
        power = 1 + (1 / self.visible - 1) * rows.power * columns.power  # E[m²] / p², mean over pixels
        error = inflation * math.sqrt(power / self.count) * rest.square().mean().sqrt()
        return _Split(part + weights[0] + self.score.double().cpu(), rest, inflation, _ratio(error, part))


@dataclass(frozen=True, eq=False)
class _Split:
    """Scores as a part that is linear in the masks, and a rest.

    Args:
        map: (h, w) of the linear part.
        rest: (count,) of the scores.
        inflation: of standard errors by the weights that were fitted.
        noise: roughly the standard error as a share of the deviation of the map.
    """

    map: Tensor
    rest: Tensor
    inflation: float
    noise: float


@dataclass(frozen=True, eq=False)
class _Map:
    """A map (h, w) from so many masks, and its standard error."""

    count: int
    mean: Tensor
    error: Tensor

    @property
    def noise(self) -> Tensor:
        """The size of the standard error, as a share of the deviation of the map over its pixels; 0 if both are."""
        return torch.as_tensor(_ratio(_size(self.error), self.mean))


class _Sums:
    """Sums over the masks, from which a mean while a pixel is visible and its standard error come."""

    def __init__(self, image: Tensor) -> None:
        self.shape = image.shape[1:]
        self.first = torch.zeros(2, math.prod(self.shape), dtype=torch.float64, device=image.device)  # of m, r m
        self.second = torch.zeros(3, *self.first.shape[1:]).to(self.first)  # of m², r m², r² m²

    def add(self, numbers: Tensor, masks: Tensor) -> None:
        """Numbers (b,) that belong to masks (b, h, w)."""
        masks = masks.flatten(1)
        powers = torch.stack([torch.ones_like(numbers), numbers, numbers**2]).to(masks)
        self.first += powers[:2] @ masks
        self.second += powers @ masks**2

    @property
    def mean(self) -> Tensor:
        """(h, w)."""
        return (self.first[1] / self.first[0]).reshape(self.shape)

    @property
    def error(self) -> Tensor:
        """The standard error of the mean, (h, w), that of a quotient of means."""
        mean = self.first[1] / self.first[0]
        squares: Tensor = self.second[2] - 2 * mean * self.second[1] + mean**2 * self.second[0]
        return (squares.clamp(min=0).sqrt() / self.first[0]).reshape(self.shape)


def _size(error: Tensor) -> Tensor:
    return error.square().mean().sqrt()


def _ratio(error: Tensor, values: Tensor) -> float:
    deviation = values.std(correction=0)
    return float(error / deviation if deviation > 0 else error)
