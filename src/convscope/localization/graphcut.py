"""Boxes of a colour segmentation that starts from a map, as gradient maps were made into boxes [METHODS 8.7].

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop: the most and the least salient
pixels are seeds of object and background; a mixture of Gaussians learns the colours of each; of all segmentations that
keep the seeds the one with the least energy is taken, exactly, as a minimal cut (Boykov, Jolly, ICCV 2001)::

    E(s) = Σ over pixels: -log p(colour | s)  +  Σ over neighbours that s separates: γ exp(-β |difference|²) / distance

with β = 1 / (2 mean |difference|²) over neighbours, and γ = 50 (Rother, Kolmogorov, Blake, "GrabCut", 2004): the paper
does not give its weights, and its code is not known. Its quantiles are quoted from memory. It averages the maps of ten
crops, which is left to whoever makes the map.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from sklearn.mixture import GaussianMixture

from convscope.localization.boxes import Boxes, BoxProtocol, Map, Mask, largest

_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # of eight those that come later, row by row
_STEP = 0.01  # nats: energies are rounded to it, because cuts are computed in whole numbers
_MOST = 200.0  # nats: colours that are less likely than that are all the same
_SURE = 1 << 20  # steps: more than all that a single pixel can cost
_NOISE = 1.0  # least variance of colours, in squared steps of 8 bits
_SAMPLE = 2000  # pixels from which colours are learned


@dataclass(frozen=True)
class GraphCut(BoxProtocol):
    """One box: around the largest connected component of the object, as the colours divide the image.

    Without seeds of the object, in a map that is the same nearly everywhere, it is the whole image.

    Args:
        foreground: pixels above this quantile of the map are the object's.
        background: pixels at or below this one are not.
        gaussians: in the mixture of each.
        gamma: what it costs to separate two neighbours of the same colour, in nats.
    """

    foreground: float = 0.95
    background: float = 0.30
    gaussians: int = 5
    gamma: float = 50.0

    def of_one(self, map_: Map, image: Map | None) -> Boxes:
        """See `BoxProtocol.boxes`; the image is (3, h, w), 0 to 255."""
        if image is None or image.shape[1:] != map_.shape:
            raise ValueError("GraphCut divides the image by its colours: give the images, as large as the maps")
        box: Boxes = largest(self.segment(map_, image))[None]
        return box

    def segment(self, map_: Map, image: Map) -> Mask:
        """The object in an image (3, h, w), as (h, w); all of it where the map has no seeds of an object."""
        high, low = np.quantile(map_, (self.foreground, self.background))
        seeds = np.stack([map_ <= low, map_ > high])  # background, object
        if not seeds[1].any():
            return np.ones_like(seeds[1])
        colours = np.moveaxis(image, 0, -1).astype(np.float64)
        costs = np.stack([-_likelihood(colours, seed, self.gaussians) for seed in seeds])
        return cut(costs, seeds, *links(colours, self.gamma))


def links(colours: NDArray[Any], gamma: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The pairs of neighbours (2, m), as ranks row by row, and what it costs to separate them (m,), in nats."""
    pairs, distances = _pairs(*colours.shape[:2])
    flat = colours.reshape(-1, colours.shape[2])
    squares = ((flat[pairs[0]] - flat[pairs[1]]) ** 2).sum(1)
    beta = 1 / (2 * squares.mean()) if squares.any() else 0.0
    return pairs, gamma * np.exp(-beta * squares) / distances


def cut(costs: NDArray[Any], seeds: NDArray[Any], pairs: NDArray[np.int64], weights: NDArray[Any]) -> Mask:
    """The object (h, w) of the segmentation with the least energy; of several the one with the smallest object.

    Args:
        costs: (2, h, w) of each pixel as background and as object, in nats.
        seeds: (2, h, w) pixels that are surely one and surely the other.
        pairs, weights: see `links`.
    """
    shape, count = costs.shape[1:], costs[0].size
    source, sink = count, count + 1
    relative = np.rint(np.clip(costs - costs.min(0), 0, _MOST) / _STEP)
    relative[seeds[::-1]] = _SURE  # what is surely object is dear as background
    relative[seeds] = 0
    as_background, as_object = relative.reshape(2, -1)
    pixels, capacity = np.arange(count), np.rint(weights / _STEP)
    start = np.concatenate([pairs[0], pairs[1], np.full(count, source), pixels])
    end = np.concatenate([pairs[1], pairs[0], pixels, np.full(count, sink)])
    capacities = np.concatenate([capacity, capacity, as_background, as_object]).astype(np.int32)
    graph = csr_matrix((capacities, (start, end)), (count + 2, count + 2))
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    object_: Mask = np.zeros(count + 2, bool)
    object_[reached] = True
    return object_[:count].reshape(shape)


@functools.lru_cache(maxsize=8)
def _pairs(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All pairs of neighbours (2, m), as ranks row by row, and their distances (m,)."""
    ranks = np.arange(height * width).reshape(height, width)
    pairs, distances = [], []
    for down, right in _NEIGHBOURS:
        first = ranks[: height - down, max(0, -right) : width - max(0, right)].ravel()
        pairs.append(np.stack([first, first + down * width + right]))
        distances.append(np.full(len(first), np.hypot(down, right)))
    return np.concatenate(pairs, 1), np.concatenate(distances)


def _likelihood(colours: NDArray[Any], seed: Mask, gaussians: int) -> NDArray[np.float64]:
    """The logarithm (h, w) of the density of each colour, as learned from the pixels of a seed."""
    known = colours[seed]
    known = known[np.linspace(0, len(known) - 1, min(len(known), _SAMPLE)).astype(int)]
    count = min(gaussians, len(np.unique(known, axis=0)))
    if len(known) == 1:
        known = known.repeat(2, 0)
    mixture = GaussianMixture(count, reg_covar=_NOISE, random_state=0).fit(known)
    density: NDArray[np.float64] = mixture.score_samples(colours.reshape(-1, colours.shape[2]))
    return density.reshape(seed.shape)
