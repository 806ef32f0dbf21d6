"""Noisy filters: the measures by their slow definitions, and the verdict on planted filters [METHODS 3.5]."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convscope.filters import noise


def slow(slice_: np.ndarray) -> dict[str, float]:
    """The measures of one slice, written out."""
    values = slice_.astype(np.float64) - slice_.astype(np.float64).mean()
    height, width = values.shape
    energy = (values**2).sum() / values.size
    rows = [values[y, x] * values[y + 1, x] for y in range(height - 1) for x in range(width)]
    columns = [values[y, x] * values[y, x + 1] for y in range(height) for x in range(width - 1)]
    directions = [sum(pairs) / len(pairs) / energy for pairs in (rows, columns) if pairs]
    steps = [abs(values[y, x] - values[y + 1, x]) for y in range(height - 1) for x in range(width)]
    steps += [abs(values[y, x] - values[y, x + 1]) for y in range(height) for x in range(width - 1)]
    power = np.abs(np.fft.fft2(values, s=(32, 32))) ** 2
    high = total = 0.0
    for u in range(32):
        for v in range(32):
            if (u, v) != (0, 0):
                total += power[u, v]
                high += power[u, v] * (math.hypot(min(u, 32 - u), min(v, 32 - v)) / 32 > 0.25)
    shares = np.delete(power.ravel(), 0) / total
    return {
        "hf": high / total,
        "autocorrelation": sum(directions) / len(directions),
        "variation": sum(steps) / (values.size * math.sqrt(energy)),
        "entropy": -sum(p * math.log2(p) for p in shares if p > 0),
    }


def blob(size: int, width: float) -> np.ndarray:
    x = np.arange(size) - (size - 1) / 2
    return np.exp(-(x[:, None] ** 2 + x**2) / (2 * width**2)).astype(np.float32)


def checkerboard(size: int) -> np.ndarray:
    return ((-1.0) ** np.add.outer(np.arange(size), np.arange(size))).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3), (5, 4), (1, 7), (7, 1), (2, 2), (11, 11)])
def test_measures_equal_their_definitions(shape):
    slices = np.random.default_rng(0).normal(3, 1, (2, 3, *shape)).astype(np.float32)
    found = noise.measure(slices)
    for unit in range(2):
        for channel in range(3):
            for name, expected in slow(slices[unit, channel]).items():
                assert found[name][unit, channel] == pytest.approx(expected, rel=1e-6, abs=1e-9), name


def test_planted_slices():
    found = noise.measure(np.stack([checkerboard(7), blob(7, 2)]))
    assert found["autocorrelation"][0] == pytest.approx(-1)
    assert found["hf"][0] > 0.95
    assert found["autocorrelation"][1] > 0.5
    assert found["hf"][1] < 0.2
    assert noise.measure(checkerboard(8))["autocorrelation"] == pytest.approx(-1)


@pytest.mark.parametrize("factor", [-1, 1e-30, 1e30, 7])
def test_measures_do_not_see_the_scale(factor):
    slices = np.random.default_rng(0).normal(size=(4, 5, 5)).astype(np.float32)
    before, after = noise.measure(slices), noise.measure((slices * np.float32(factor)).astype(np.float32))
    for name in noise.MEASURES:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1, -0.3, 1e-30])
def test_constant_filters_are_flat_and_not_noisy(value):
    found = noise.judge(np.full((2, 3, 7, 7), value, np.float32))
    assert found["flat"].all()
    assert not found["noisy"].any()
    assert all((found[name] == 0).all() for name in noise.MEASURES)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_do_not_spread(bad):
    filters = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype(np.float32)
    filters[0, 0, 0, 0] = bad
    found = noise.judge(filters)
    assert all(np.isfinite(found[name]).all() for name in noise.MEASURES)
    assert found["hf"][0] == pytest.approx(slow(filters[0, 1])["hf"], rel=1e-5)


def test_flat_slices_do_not_count():
    """A filter of which most slices were pruned is judged by the others, against noise of as many slices."""
    filters = np.random.default_rng(3).normal(size=(400, 2, 5, 5)).astype(np.float32)
    padded = np.zeros((400, 20, 5, 5), np.float32)
    padded[:, [4, 11]] = filters
    alone, among = noise.judge(filters), noise.judge(padded)
    for name, column in alone.items():
        np.testing.assert_allclose(among[name], column, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("size", [2, 3, 5, 7, 11])
@pytest.mark.parametrize("slices", [1, 3, 20])
def test_random_filters_are_called_noisy(size, slices):
    """Each of two limits leaves out one in twenty, often the same one: 90 to 95 % pass both."""
    filters = np.random.default_rng(7).normal(size=(600, slices, size, size)).astype(np.float32)
    assert 0.86 < noise.judge(filters)["noisy"].mean() < 0.97


def test_limits_are_the_percentiles_of_random_averages():
    correlation, other, entropy = noise.limits((5, 5), 3)
    draws = np.random.default_rng(11).normal(size=(4000, 3, 5, 5)).astype(np.float32)
    found = noise.judge(draws)
    assert np.mean(found["autocorrelation"] < correlation[2]) == pytest.approx(0.95, abs=0.03)
    assert np.mean(found["hf"] > other[2]) == pytest.approx(0.95, abs=0.03)
    assert np.mean(found["entropy"] > entropy[2]) == pytest.approx(0.95, abs=0.03)
    np.testing.assert_array_equal(found["regular"], found["entropy"] < np.float32(entropy[2]))
    np.testing.assert_array_equal(noise.limits((5, 5), 2)[0], correlation[:2])


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_smooth_filters_are_not_noisy(size):
    turned = [np.rot90(blob(size + 4, size / 3)[:size, :size], turns) for turns in range(4)]
    filters = np.stack(turned)[:, None].repeat(3, 1).astype(np.float32)
    assert not noise.judge(filters)["noisy"].any()


def test_smooth_filters_with_a_little_noise_are_not_noisy():
    rng = np.random.default_rng(0)
    smooth = np.stack([blob(7, 2)] * 16)[None].repeat(50, 0)
    filters = (smooth + rng.normal(0, 0.1, smooth.shape)).astype(np.float32)
    assert not noise.judge(filters)["noisy"].any()


def test_a_fine_grating_has_less_entropy_than_noise():
    x = np.arange(11)
    grating = np.cos(0.7 * np.pi * np.add.outer(x, x)).astype(np.float32)
    random = np.random.default_rng(0).normal(size=(200, 11, 11)).astype(np.float32)
    found = noise.measure(grating)
    assert found["hf"] > 0.9
    assert found["entropy"] < noise.measure(random)["entropy"].min()
    judged = noise.judge(grating[None, None])
    assert judged["noisy"].all()
    assert judged["regular"].all()
    assert not noise.judge(checkerboard(3)[None, None])["regular"].any()  # no spectrum to speak of


def test_what_can_be_measured():
    assert [noise.can_measure(shape) for shape in [(1, 1), (1, 2), (3, 3), (32, 32), (33, 1)]] == [
        False, True, True, True, False,
    ]  # fmt: skip
