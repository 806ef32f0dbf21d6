"""Noisy filters: four measures of how random a filter looks, and a verdict against random numbers [METHODS 3.5].

Each is measured on every slice (one input channel of one filter, its mean removed) and averaged over the slices of a
filter that are not flat, so that a unit gets one value and one verdict. Random filters of the same size are averaged
over as many slices: with more slices their averages spread less, and the limits come closer together. Slices that are
alike, as the colours of a grey filter, are not independent, so that the limits are then a little too close.

Trained filters can be fine without being noise: a Gabor of high frequency has its power in a few places, and a low
entropy. In kernels of up to nine numbers there is no spectrum to speak of, and the variation decides in its stead.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PAD = 32  # samples of the spectrum along each axis, and the largest kernel that is measured
CUT = 0.25  # cycles per pixel, where high frequencies begin
DRAWS, SEED = 1000, 0  # random filters to compare with
SLICES = 32  # of a filter that are measured: the strongest ones, which in random weights are like all others
FLAT = 1e-6  # of a slice's norm: what deviates less from its mean is rounding
MEASURES = ("hf", "autocorrelation", "variation", "entropy")
_TOGETHER = 1 << 22  # numbers of spectra computed at once


def can_measure(shape: tuple[int, ...]) -> bool:
    """Whether kernels of this shape (kh, kw) have neighbours to compare, and fit into the spectrum."""
    return max(shape) > 1 and max(shape) <= PAD


def measure(slices: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """The four `MEASURES` of every slice (..., kh, kw), each (...); a flat slice has 0 everywhere.

    ``hf``: share of the power above 0.25 cycles a pixel, of the spectrum zero-padded to 32 × 32 and without its mean.
    ``autocorrelation``: with the neighbour, averaged over both directions, -1 to 1 or slightly beyond.
    ``variation``: sum of the absolute differences of neighbours by number of pixels and standard deviation.
    ``entropy``: of the power spectrum, bits.
    """
    lead, shape = slices.shape[:-2], slices.shape[-2:]
    flat = slices.reshape(-1, *shape)
    found = {name: np.zeros(len(flat)) for name in MEASURES}
    step = max(1, _TOGETHER // (PAD * PAD))
    for start in range(0, len(flat), step):
        values, alive = _standardised(flat[start : start + step])
        where = start + np.flatnonzero(alive)
        for name, measured in _measured(values[alive]):
            found[name][where] = measured
    return {name: column.reshape(lead) for name, column in found.items()}


def flat(slices: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the slices (..., kh, kw) are constant, or hold numbers that are none."""
    return np.logical_not(_standardised(slices)[1])


def judge(slices: NDArray[np.float32]) -> dict[str, NDArray[np.float32] | NDArray[np.bool_]]:
    """The `MEASURES` of every filter (units, m, kh, kw), averaged over its slices, each (units,), and three verdicts.

    ``noisy``: the autocorrelation is below the 95th percentile of 1,000 random filters and the share of high
    frequencies (in kernels of up to nine numbers the variation) above their 5th; 90 to 95 % of random filters pass
    both. ``regular``: the entropy is below the 5th percentile, in kernels with a spectrum; a filter that is noisy and
    regular is a fine pattern, such as a Gabor of high frequency, and no noise. ``flat``: every slice is constant.
    """
    alive = ~flat(slices)
    counts = alive.sum(1)
    found = {name: _average(column, alive) for name, column in measure(slices).items()}
    correlation, other, entropy = limits(slices.shape[-2:], slices.shape[1])
    rank = np.maximum(counts, 1) - 1
    noisy = (found["autocorrelation"] < correlation[rank]) & (found[second(slices.shape[-2:])] > other[rank])
    regular = (found["entropy"] < entropy[rank]) & (second(slices.shape[-2:]) == "hf")
    verdicts = {"noisy": noisy & (counts > 0), "regular": regular & (counts > 0), "flat": counts == 0}
    return {name: column.astype(np.float32) for name, column in found.items()} | verdicts


def second(shape: tuple[int, ...]) -> str:
    """The measure that decides beside the autocorrelation."""
    return "variation" if shape[0] * shape[1] <= 9 else "hf"


@functools.lru_cache(maxsize=64)
def limits(shape: tuple[int, int], slices: int) -> tuple[Floats, Floats, Floats]:
    """For averages over 1, 2, ... `slices` random slices, each (slices,): the 95th percentile of their autocorrelation,
    the 5th of the measure that decides beside it, and the 5th of their entropy.
    """
    # Slice by slice, so that the first ones are the same however many there are.
    random = np.random.default_rng(SEED).standard_normal((slices, DRAWS, *shape)).astype(np.float32)
    counts = np.arange(1, slices + 1)[:, None]
    averages = {name: np.cumsum(column, axis=0) / counts for name, column in measure(random).items()}
    wanted = (("autocorrelation", 0.95), (second(shape), 0.05), ("entropy", 0.05))
    correlation, other, entropy = (np.quantile(averages[name], share, axis=1) for name, share in wanted)
    return correlation, other, entropy


def _average(column: Floats, alive: NDArray[np.bool_]) -> Floats:
    total: Floats = (column * alive).sum(1) / np.maximum(alive.sum(1), 1)
    return total


def _standardised(slices: NDArray[np.float32]) -> tuple[Floats, NDArray[np.bool_]]:
    """Slices with mean 0 and standard deviation 1, and which of them are not flat."""
    values = slices.astype(np.float64)
    finite = np.isfinite(values).all((-2, -1), keepdims=True)
    values = np.where(finite, values, 0)
    largest = np.abs(values).max((-2, -1), keepdims=True, initial=0)
    values = values / np.where(largest > 0, largest, 1)  # squares of tiny weights would vanish
    power = np.square(values).mean((-2, -1), keepdims=True)
    values = values - values.mean((-2, -1), keepdims=True)
    spread = np.sqrt(np.square(values).mean((-2, -1), keepdims=True))
    alive = spread > FLAT * np.sqrt(power)
    standardised: Floats = np.where(alive, values / np.where(alive, spread, 1), 0)
    return standardised, np.squeeze(alive, (-2, -1))


def _measured(values: Floats) -> Iterator[tuple[str, Floats]]:
    """The measures of standardised slices (n, kh, kw)."""
    pixels = values.shape[1] * values.shape[2]
    steps = [(values[:, 1:], values[:, :-1]), (values[:, :, 1:], values[:, :, :-1])]
    steps = [pair for pair in steps if pair[0].shape[1] and pair[0].shape[2]]
    yield "autocorrelation", sum(((a * b).mean((1, 2)) for a, b in steps), np.zeros(len(values))) / len(steps)
    yield "variation", sum((np.abs(a - b).sum((1, 2)) for a, b in steps), np.zeros(len(values))) / pixels
    shares = _spectrum(values)
    high, twice = _frequencies()
    yield "hf", (shares * twice * high).sum((1, 2))
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    yield "entropy", -(shares * logs * twice).sum((1, 2))


def _spectrum(values: Floats) -> Floats:
    """(n, 32, 17): the share of the power in every cell of half the spectrum; the other half is its mirror."""
    power = np.square(np.abs(np.fft.rfft2(values, s=(PAD, PAD))))
    power[:, 0, 0] = 0  # the mean was removed; what is left is rounding
    total: Floats = power / (power * _frequencies()[1]).sum((1, 2), keepdims=True)
    return total


@functools.cache
def _frequencies() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(32, 17): which cells of half a spectrum are high, and how often each occurs in the whole."""
    radius = np.hypot(np.fft.fftfreq(PAD)[:, None], np.fft.rfftfreq(PAD)[None])
    twice = np.full((1, PAD // 2 + 1), 2.0)
    twice[:, [0, -1]] = 1
    return radius > CUT, twice
