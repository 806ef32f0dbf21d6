"""Deletion and insertion: how a score falls and rises as the pixels of a map go and come [petsiuk2018rise].

>>> found = RISE()(network, images, 7)
>>> deletion(network, images, found.on_image(), 7).area     # (n,): small where the map finds what matters

Petsiuk, Das, Saenko, "RISE", BMVC 2018. Pixels go in the order of the map, the largest first, and of equals the first
in the image. Deletion starts at the image and replaces pixels by zero after normalisation, the mean colour; insertion
starts at a blurred image (a Gaussian of 11 × 11 px, σ = 5) and restores pixels. What is scored stays what it was on
the image itself. The curves judge a map by images of a kind that the network was not trained on: their weakness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convscope.attribution.base import BATCH, Question
from convscope.errors import AttributionError
from convscope.gradients import untouched
from convscope.network import Network
from convscope.recorder import record
from convscope.scored import Fixed
from convscope.targets import Class, Targets, understand

PREDICTED = Class(None, "probability")  # of the image itself


@dataclass(frozen=True, eq=False)
class Curve:
    """How the scores of n images change.

    Args:
        pixels: (points,) how many have been replaced.
        scores: (n, points) float64.
        targets: (n,) what was scored.
    """

    pixels: Tensor
    scores: Tensor
    targets: tuple[str, ...]

    @property
    def area(self) -> Tensor:
        """Under each curve, (n,): the mean score by trapezoids, each step counting as one."""
        ends = (self.scores[:, 0] + self.scores[:, -1]) / 2
        return (self.scores.sum(1) - ends) / (self.scores.shape[1] - 1)


def deletion(
    network: Network,
    images: Tensor,
    maps: Tensor,
    target: Targets = PREDICTED,
    step: int | None = None,
) -> Curve:
    """Scores as pixels are deleted; a good map has a small area.

    Args:
        images: (n, c, h, w), as the network's preprocessing makes them.
        maps: (n, h, w), as `AttributionMap.on_image` gives them.
        target: as in `convscope.targets`; without it the probability of the class that is predicted for the image.
        step: pixels that go at once; without it as many as a row has.

    Raises:
        AttributionError: the maps do not belong to the images, or there is no such step.
    """
    return _curve(network, images, maps, target, step, images, torch.zeros_like(images))


def insertion(
    network: Network,
    images: Tensor,
    maps: Tensor,
    target: Targets = PREDICTED,
    step: int | None = None,
) -> Curve:
    """Scores as pixels come back into the blurred image; a good map has a large area. Arguments as for `deletion`."""
    return _curve(network, images, maps, target, step, blurred(images), images)


def blurred(images: Tensor) -> Tensor:
    """Images (n, c, h, w) under a Gaussian of 11 × 11 px, σ = 5; beyond the border lies the mean colour."""
    places = torch.arange(-5.0, 6.0, dtype=images.dtype, device=images.device)
    line = (-(places**2) / (2 * 5**2)).exp()
    line = (line / line.sum()).expand(images.shape[1], 1, 1, -1)
    rows = F.conv2d(images, line.transpose(2, 3), padding=(5, 0), groups=images.shape[1])
    return F.conv2d(rows, line, padding=(0, 5), groups=images.shape[1])


def _curve(
    network: Network, images: Tensor, maps: Tensor, target: Targets, step: int | None, start: Tensor, end: Tensor
) -> Curve:
    count, _, height, width = images.shape
    if maps.shape != (count, height, width):
        raise AttributionError(
            f"maps of shape {tuple(maps.shape)} do not belong to {count} images of {height} × {width}"
        )
    step = width if step is None else step
    if step < 1:
        raise AttributionError(f"step={step}: at least one pixel has to go at once")
    with untouched(network), torch.no_grad():
        images, start, end = (each.to(network.device) for each in (images, start, end))
        graph = record(network.module, images[:1])
        question = Question(network, graph, images, understand(target, network, graph, count))
        fixed: list[Fixed] = []
        scores = []
        for row in range(count):
            explained = question.run(images[row : row + 1], question.targets[row : row + 1])
            fixed += explained.targets
            scores.append(_scores(question, start[row], end[row], _ranks(maps[row]).to(images.device), step, fixed[-1]))
    points = math.ceil(height * width / step) + 1
    pixels = (torch.arange(points) * step).clamp(max=height * width)
    return Curve(pixels, torch.stack(scores).double().cpu(), tuple(map(str, fixed)))


def _ranks(values: Tensor) -> Tensor:
    """When each pixel goes, (h, w): 0 for the largest."""
    order = values.flatten().argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.reshape(values.shape)


def _scores(question: Question, start: Tensor, end: Tensor, ranks: Tensor, step: int, target: Fixed) -> Tensor:
    """(points,): of `start` with the pixels of `end` from one rank on."""
    counts = torch.arange(math.ceil(ranks.numel() / step) + 1, device=ranks.device) * step
    return torch.cat([
        question.run(torch.where(ranks < part[:, None, None, None], end, start), [target] * len(part)).scores
        for part in (counts[i : i + BATCH] for i in range(0, len(counts), BATCH))
    ])  # fmt: skip
