"""Colour and fineness of a first layer's filters [METHODS 3.6], and what a filter looks like in frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convscope.filters.noise import PAD

Floats = NDArray[np.float32]

DEEPEST = -3.0  # of a frequency picture: 1/1,000 of its largest amplitude, -60 dB


def colour_ratio(filters: Floats) -> Floats:
    """How coloured filters (units, 3, kh, kw) are, (units,): ``1 - |grey part|² / |W|²``, 0 grey to 1 pure colour.

    The grey part is the projection of every pixel's RGB vector on (1, 1, 1). A filter of zeros has 0.
    """
    values = _scaled(filters)
    grey, whole = np.square(values.sum(1)).sum((1, 2)) / 3, np.square(values).sum((1, 2, 3))
    ratio: Floats = np.clip(1 - np.divide(grey, whole, out=np.ones_like(whole), where=whole > 0), 0, 1)
    return ratio.astype(np.float32)


def dominant_frequency(filters: Floats) -> Floats:
    """The spatial frequency at which filters (units, m, kh, kw) have most power, (units,), in cycles per pixel.

    Power is summed over the slices and over rings of 1/32 cycles per pixel, of the spectrum zero-padded to 32 × 32 (or
    to the kernel, where that is larger); the mean of every slice is removed first. Flat filters have 0.
    """
    values = _scaled(filters)
    values = values - values.mean((2, 3), keepdims=True)
    size = tuple(max(PAD, side) for side in values.shape[2:])
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None])
    rings = np.round(radius * PAD).astype(int).ravel()
    found = np.zeros(len(values), np.float32)
    for unit, slices in enumerate(values):
        if np.abs(slices).max(initial=0) > 1e-6:  # of the filter's largest weight: less is rounding
            power = np.square(np.abs(np.fft.fft2(slices, s=size))).sum(0)
            found[unit] = np.bincount(rings, power.ravel()).argmax() / PAD
    return found


def spectrum(filters: Floats) -> Floats:
    """Frequency pictures (units, 32, 32) of filters (units, m, kh, kw): log10 of the amplitude |DFT|, zero-padded to
    32 × 32, the zero frequency in the middle at [16, 16].

    Amplitudes are the root of the power summed over the slices, as shares of the filter's largest; they end at 1/1,000
    (-3), which is also where a filter of zeros is. A kernel larger than 32 is padded to its own size instead.
    """
    values = _scaled(filters)
    size = tuple(max(PAD, side) for side in values.shape[2:])
    power = np.zeros((len(values), *size))
    for channel in range(values.shape[1]):
        power += np.square(np.abs(np.fft.fft2(values[:, channel], s=size)))
    amplitude = np.sqrt(np.fft.fftshift(power, axes=(1, 2)))
    largest = amplitude.max((1, 2), keepdims=True, initial=0)
    share = amplitude / np.where(largest > 0, largest, 1)
    logs: Floats = np.log10(np.maximum(share, 10**DEEPEST)).astype(np.float32)
    return logs


def _scaled(filters: Floats) -> NDArray[np.float64]:
    """In double precision, with 1 as the largest weight of each filter; one with numbers that are none is zeros."""
    values = filters.astype(np.float64)
    values = np.where(np.isfinite(values).all((1, 2, 3), keepdims=True), values, 0)
    largest = np.abs(values).max((1, 2, 3), keepdims=True, initial=0)
    scaled: NDArray[np.float64] = values / np.where(largest > 0, largest, 1)
    return scaled
