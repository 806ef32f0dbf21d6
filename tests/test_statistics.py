"""Laws that hold for every statistic, and each statistic against its definition written out slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from datasketches import req_floats_sketch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor, nn

from convscope.panel import Bars, Table
from convscope.recorder import record
from convscope.statistics import Accumulator, Activations, Scan, Statistic, of, registered
from convscope.statistics.base import sampled_positions
from convscope.statistics.class_means import ClassMeans, ClassMeansAccumulator, means, selectivity
from convscope.statistics.histogram import HIGHEST, LOWEST, Histogram
from convscope.statistics.moments import Moments, summary
from convscope.statistics.reductions import by_torch, reduce
from convscope.statistics.saturation import Saturation, ends
from convscope.statistics.topk import NOBODY, TopK

UNITS, ROWS, COLUMNS = 3, 6, 5
STATISTICS = list(of(Scan(classes=(0, 1, 4), exact_quantiles=False)).values())
FLOATS = {"total", "squares", "sums"}  # sums, equal up to the order of the additions; all else is exact
MERGED = 1e-12  # relative difference of float64 sums that were joined in another order
BATCHED = 1e-6  # the same where the sums inside an image, in float32, were made in another order


def normal(count: int, *, seed: int = 0, units: int = UNITS, places: Sequence[int] = (ROWS, COLUMNS)) -> Tensor:
    return torch.randn(count, units, *places, generator=torch.Generator().manual_seed(seed))


def with_nans(values: Tensor) -> Tensor:
    """One unit of image 0 is all NaN, another has a single one, and image 2 has some in every unit."""
    values = values.clone()
    values[0, 0] = torch.nan
    values[0, 1, 0, 0] = torch.nan
    values[2, :, 1] = torch.nan
    return values


INPUTS = {
    "normal": normal(12),
    "rectified and quantised": (normal(12, seed=1) * 2).round().clamp(min=0),
    "all negative": -normal(12, seed=2).abs() - 1,
    "with NaN": with_nans(normal(12, seed=3)),
    "with infinities": normal(12, seed=4).masked_fill(normal(12, seed=5) > 2, torch.inf),
    "without positions": normal(12, seed=6, places=()),
    "positions in a row": normal(12, seed=7, places=(9,)),
    "larger than the sample": normal(12, seed=8, places=(20, 30)),
}


def activations(values: Tensor, ids: Tensor, channel: int = 1) -> Activations:
    """Of classes 0, 1 and 4 and one that is not known; below -1 and above 1 the response is saturated."""
    classes = torch.tensor([0, 4, 1, -1])[ids % 4]
    return Activations(values, channel, ids, "layer", classes, (-1.0, 1.0))


def fed(statistic: Statistic, values: Tensor, parts: Sequence[int], first: int = 0) -> Accumulator:
    """One accumulator that saw `values` in batches of the lengths `parts`; ids count from `first`."""
    accumulator = statistic.start(values.shape[1], tuple(values.shape[2:]))
    ids = torch.arange(first, first + len(values))
    start = 0
    for length in parts:
        batch = slice(start, start + length)
        accumulator.update(activations(values[batch], ids[batch]))
        start += length
    assert start == len(values)
    return accumulator


def assert_same(first: Accumulator, second: Accumulator, rounding: float = 0.0) -> None:
    """Equal states; sums may differ by `rounding` of themselves."""
    one, two = first.state(), second.state()
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        tolerance = rounding if name in FLOATS else 0
        torch.testing.assert_close(tensor, two[name], rtol=tolerance, atol=10 * tolerance, equal_nan=True, msg=name)


# --- laws ------------------------------------------------------------------------------------------------------------


def test_every_statistic_is_found() -> None:
    names = ["class_means", "histogram", "moments", "saturation", "topk"]
    assert list(registered()) == [statistic.name for statistic in STATISTICS] == names


def test_without_labels_there_are_no_class_means() -> None:
    assert "class_means" not in of(Scan())


@pytest.mark.parametrize("values", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda each: each.name)
class TestLaws:
    def test_merging_parts_in_order_is_one_pass(self, statistic: Statistic, values: Tensor) -> None:
        whole = fed(statistic, values, [5, 1, 6])
        merged = fed(statistic, values[:5], [5])
        merged.merge(fed(statistic, values[5:6], [1], first=5))
        merged.merge(fed(statistic, values[6:], [6], first=6))
        assert_same(merged, whole, MERGED)

    def test_the_batch_size_changes_rounding_at_most(self, statistic: Statistic, values: Tensor) -> None:
        assert_same(fed(statistic, values, [1] * 12), fed(statistic, values, [12]), BATCHED)

    def test_merging_is_associative(self, statistic: Statistic, values: Tensor) -> None:
        def parts() -> list[Accumulator]:
            return [fed(statistic, values[i : i + 4], [4], first=i) for i in (0, 4, 8)]

        left = parts()
        left[0].merge(left[1])
        left[0].merge(left[2])
        right = parts()
        right[1].merge(right[2])
        right[0].merge(right[1])
        assert_same(left[0], right[0], MERGED)

    def test_restoring_a_state_changes_nothing(self, statistic: Statistic, values: Tensor) -> None:
        went_on, restored = fed(statistic, values[:7], [7]), statistic.start(UNITS, tuple(values.shape[2:]))
        restored.restore(fed(statistic, values[:7], [7]).state())
        assert_same(restored, went_on)
        for accumulator in (went_on, restored):
            accumulator.update(activations(values[7:], torch.arange(7, 12)))
        assert_same(restored, went_on)

    def test_a_state_is_tensors_that_later_batches_leave_alone(self, statistic: Statistic, values: Tensor) -> None:
        accumulator = fed(statistic, values[:7], [7])
        state = accumulator.state()
        assert all(isinstance(tensor, Tensor) and tensor.device.type == "cpu" for tensor in state.values())
        before = {name: tensor.clone() for name, tensor in state.items()}
        restored = statistic.start(UNITS, tuple(values.shape[2:]))
        restored.restore(state)
        for each in (accumulator, restored):
            each.update(activations(values[7:], torch.arange(7, 12)))
            each.merge(fed(statistic, values[:3], [3], first=20))
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)

    def test_an_empty_accumulator_is_neutral(self, statistic: Statistic, values: Tensor) -> None:
        whole = fed(statistic, values, [12])
        empty, other = (statistic.start(UNITS, tuple(values.shape[2:])) for _ in range(2))
        empty.merge(fed(statistic, values, [12]))
        assert_same(empty, whole)
        whole.merge(other)
        assert_same(whole, empty)

    def test_activations_are_only_read(self, statistic: Statistic, values: Tensor) -> None:
        formats = [values.clone()]
        if values.dim() == 4:
            formats.append(values.clone(memory_format=torch.channels_last))
        for given_ in formats:
            fed(statistic, given_, [12])
            torch.testing.assert_close(given_, values, rtol=0, atol=0, equal_nan=True)

    def test_channels_may_come_last(self, statistic: Statistic, values: Tensor) -> None:
        last = statistic.start(UNITS, tuple(values.shape[2:]))
        last.update(activations(values.movedim(1, -1).contiguous(), torch.arange(12), channel=-1))
        assert_same(last, fed(statistic, values, [12]), BATCHED)

    def test_panels_say_something_of_every_unit(self, statistic: Statistic, values: Tensor) -> None:
        state = fed(statistic, values, [12]).state()
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        for unit in range(UNITS):
            assert repr(statistic.panels(state, unit)) == repr(statistic.panels(arrays, unit))  # NaN is not itself
            for panel in statistic.panels(arrays, unit):
                assert isinstance(panel, Table | Bars)


# --- top-k -----------------------------------------------------------------------------------------------------------


def ranking(values: Tensor, unit: int, k: int) -> list[tuple[float, int, int]]:
    """The definition: (maximum, id, first position) of the k best images, larger first, then lower id."""
    entries = []
    for image in range(len(values)):
        cells = values[image, unit].ravel().tolist()
        numbers = [cell for cell in cells if not math.isnan(cell)]
        if numbers:
            entries.append((max(numbers), image, cells.index(max(numbers))))
    return sorted(entries, key=lambda entry: (-entry[0], entry[1]))[:k]


def entries_of(accumulator: Accumulator, unit: int) -> list[tuple[float, int, int]]:
    state = accumulator.state()
    rows = zip(*(state[name][unit].tolist() for name in ("values", "ids", "positions")), strict=True)
    return [row for row in rows if row[1] != NOBODY]


def ladder(count: int, seed: int) -> Tensor:
    """Few different values, so that ties are everywhere."""
    return torch.randint(-2, 3, (count, UNITS, ROWS, COLUMNS), generator=torch.Generator().manual_seed(seed)).float()


RANKED = {
    "many ties": ladder(40, 0) * (normal(40, places=(1, 1)) > 0),
    "no ties": normal(40),
    "all the same": torch.full((40, UNITS, ROWS, COLUMNS), 0.25),
    "negative": -normal(40, seed=1).abs() - 0.5,
    "NaN maps": ladder(40, 2).masked_fill(normal(40, seed=3, places=(1, 1)) > 0.3, torch.nan),
    "NaN cells": ladder(40, 3).masked_fill(normal(40, seed=4) > 1, torch.nan),
    "-inf": ladder(40, 4).masked_fill(normal(40, seed=5, places=(1, 1)) > 0.5, -torch.inf),
    "inf": ladder(40, 5).masked_fill(normal(40, seed=6) > 2.5, torch.inf),
    "signed zeros": ladder(40, 6).clamp(max=0) * torch.tensor([-1.0, 1.0]).repeat(20)[:, None, None, None],
}


@pytest.mark.parametrize("values", RANKED.values(), ids=RANKED)
@pytest.mark.parametrize("k", [1, 7, 25, 60])
def test_topk_is_a_sort_of_all_maxima(values: Tensor, k: int) -> None:
    accumulator = fed(TopK(k=k), values, [1, 7, 16, 16])
    for unit in range(UNITS):
        assert entries_of(accumulator, unit) == ranking(values, unit, k)


@pytest.mark.parametrize("values", RANKED.values(), ids=RANKED)
def test_topk_does_not_depend_on_the_order_of_arrival(values: Tensor) -> None:
    ids = torch.tensor([*range(20, 40), *range(20)])
    accumulator = TopK().start(UNITS, (ROWS, COLUMNS))
    for start in (0, 20):
        batch = ids[start : start + 20]
        accumulator.update(Activations(values[batch], 1, batch, "layer"))
    for unit in range(UNITS):
        assert entries_of(accumulator, unit) == ranking(values, unit, 25)


def test_topk_keeps_ids_and_not_places_in_the_batch() -> None:
    values = ladder(10, 7)
    ids = torch.tensor([3, 4, 9, 100, 101, 2**40, 2**40 + 1, 2**50, 2**50 + 7, 2**62])
    accumulator = TopK(k=10).start(UNITS, (ROWS, COLUMNS))
    accumulator.update(Activations(values, 1, ids, "layer"))
    for unit in range(UNITS):
        expected = [(value, int(ids[image]), position) for value, image, position in ranking(values, unit, 10)]
        assert entries_of(accumulator, unit) == expected


def small_map(cells: Tensor, side: int) -> list[list[int]]:
    """The definition: maxima of blocks of a map, as 255ths of its maximum; what is negative or NaN is 0."""
    block = max(1, math.ceil(max(cells.shape) / side))
    rows, columns = (math.ceil(extent / block) for extent in cells.shape)
    clean = [[0.0 if math.isnan(cell) or cell < 0 else cell for cell in row] for row in cells.tolist()]
    peak = max(max(row) for row in clean) or 1.0
    return [
        [
            round(255 * max(max(row[x * block : (x + 1) * block]) for row in clean[y * block : (y + 1) * block]) / peak)
            for x in range(columns)
        ]
        for y in range(rows)
    ]


@pytest.mark.parametrize("side", [2, 3, 4, 28])
@pytest.mark.parametrize("name", ["many ties", "no ties", "negative", "NaN maps", "NaN cells"])
def test_maps_stay_with_their_entries_through_updates_and_merges(name: str, side: int) -> None:
    statistic, values = TopK(k=12, maps=5, side=side), RANKED[name]
    accumulator = fed(statistic, values[:13], [2, 4, 7])
    middle = fed(statistic, values[13:30], [8, 9], first=13)
    middle.merge(fed(statistic, values[30:], [10], first=30))
    accumulator.merge(middle)
    maps = accumulator.state()["maps"]
    for unit in range(UNITS):
        best = ranking(values, unit, 12)
        assert entries_of(accumulator, unit) == best
        for rank, (_, image, _) in enumerate(best[:5]):
            expected = torch.tensor(small_map(values[image, unit], side))
            assert (maps[unit, rank].int() - expected).abs().max() <= (0 if name != "no ties" else 1)
        assert not maps[unit, len(best) :].any()


def test_more_maps_than_places_keep_what_there_is() -> None:
    statistic, values = TopK(k=3, maps=9), RANKED["many ties"]
    accumulator = fed(statistic, values[:20], [10, 10])
    accumulator.merge(fed(statistic, values[20:], [20], first=20))
    maps = accumulator.state()["maps"]
    assert maps.shape == (UNITS, 3, ROWS, COLUMNS)
    for unit in range(UNITS):
        for rank, (_, image, _) in enumerate(ranking(values, unit, 3)):
            assert maps[unit, rank].tolist() == small_map(values[image, unit], 28)


def test_the_map_of_an_infinite_response_shows_where_it_is() -> None:
    values = torch.ones(1, 1, 2, 2)
    values[0, 0, 1, 0] = torch.inf
    state = fed(TopK(), values, [1]).state()
    assert state["maps"][0, 0].tolist() == [[0, 0], [255, 0]]
    assert state["positions"][0, 0] == 2


@given(
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9), elements=st.integers(-1, 2)),
    st.integers(1, 6),
    st.data(),
)
def test_topk_in_any_parts(values: np.ndarray, k: int, data: st.DataObject) -> None:
    images = torch.from_numpy(values).float()[:, None]  # (n, 1, h, w)
    cut = data.draw(st.integers(0, len(images)))
    parts = [fed(TopK(k=k), part, [1] * len(part), first) for part, first in ((images[:cut], 0), (images[cut:], cut))]
    parts[0].merge(parts[1])
    assert entries_of(parts[0], 0) == ranking(images, 0, k)


# --- moments ---------------------------------------------------------------------------------------------------------


def moments_of(values: Tensor) -> dict[str, np.ndarray]:
    """The definition, in float64 over all images and positions at once; values are (n, units, h, w)."""
    rows = values.movedim(1, 0).reshape(values.shape[1], -1).double().numpy()
    cells = [row[~np.isnan(row)] for row in rows]
    maxima = values.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax((2, 3))
    return {
        "mean": np.array([np.mean(cell) for cell in cells]),
        "std": np.array([np.std(cell) for cell in cells]),
        "minimum": np.array([cell.min() for cell in cells]),
        "maximum": np.array([cell.max() for cell in cells]),
        "nonpositive": np.array([np.mean(cell <= 0) for cell in cells]),
        "active_images": (maxima > 0).sum(0).numpy(),
        "count": np.array([len(cell) for cell in cells]),
        "nans": np.isnan(rows).sum(1),
    }


SPREAD = {
    "normal": (normal(30), 1e-6),
    "rectified": (normal(30, seed=1).clamp(min=0), 1e-6),
    "with NaN": (with_nans(normal(30, seed=2)), 1e-6),
    "large mean, small spread": (1e4 + 1e-2 * normal(30, seed=3), 1e-5),
    "larger still, with NaN": (with_nans(-1e6 + normal(30, seed=4)), 1e-5),
    "every image elsewhere": (normal(30, seed=5) * 1e-3 + 1e3 * normal(30, seed=6, places=(1, 1)), 1e-6),
    "constant": (torch.full((30, UNITS, ROWS, COLUMNS), 0.1), 1e-6),
    "signed zeros": (torch.tensor([-0.0, 0.0, 1.0]).repeat(30, UNITS, ROWS, 1), 1e-6),
    "huge": (normal(30, seed=7) * 1e25, 1e-6),
    "sum beyond float32": (normal(30, seed=8).abs() * 5e37, 1e-6),
    "tiny": (normal(30, seed=9) * 1e-15, 1e-6),
}


@pytest.mark.parametrize(("values", "tolerance"), SPREAD.values(), ids=SPREAD)
@pytest.mark.parametrize("parts", [[30], [1] * 30, [7, 23]], ids=str)
def test_moments_are_those_of_numpy_in_float64(values: Tensor, tolerance: float, parts: list[int]) -> None:
    found = summary(fed(Moments(), values, parts).state())
    expected = moments_of(values)
    assert found.keys() == expected.keys()
    for name in ("count", "nans", "active_images", "minimum", "maximum"):
        assert found[name] == expected[name].tolist(), name
    np.testing.assert_allclose(found["nonpositive"], expected["nonpositive"], rtol=1e-15)
    np.testing.assert_allclose(found["std"], expected["std"], rtol=tolerance, atol=1e-7 * abs(expected["mean"]).max())
    # The mean is as exact as its spread asks for, not only as its size does.
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-12, atol=tolerance * expected["std"].max())


def test_a_small_spread_about_a_large_mean_is_not_lost() -> None:
    values = 1e4 + 1e-2 * normal(30, seed=3, places=(30, 30))
    found, expected = summary(fed(Moments(), values, [10, 20]).state()), moments_of(values)
    np.testing.assert_allclose(found["std"], expected["std"], rtol=1e-5)
    assert found["std"][0] == pytest.approx(1e-2, rel=0.02)


def test_a_large_map_has_an_exact_share_of_zeros() -> None:
    values = normal(1, units=1, places=(300, 400)).clamp(min=0)
    assert summary(fed(Moments(), values, [1]).state())["nonpositive"] == [(values == 0).double().mean().item()]


def test_a_unit_without_values_has_no_moments() -> None:
    values = normal(4)
    values[:, 1] = torch.nan
    found = summary(fed(Moments(), values, [4]).state())
    assert found["nans"] == [0, 4 * ROWS * COLUMNS, 0]
    assert found["count"][1] == 0
    assert found["active_images"][1] == 0
    assert all(math.isnan(found[name][1]) for name in ("mean", "std", "minimum", "maximum", "nonpositive"))
    assert not any(math.isnan(column[unit]) for column in found.values() for unit in (0, 2))


def test_an_infinity_is_a_value_and_stays_in_its_unit() -> None:
    values = normal(4)
    values[1, 0, 2, 2] = torch.inf
    values[3, 1, 0, 0] = -torch.inf
    found = summary(fed(Moments(), values, [2, 2]).state())
    assert found["mean"][:2] == [math.inf, -math.inf]
    assert all(math.isnan(found["std"][unit]) for unit in (0, 1))
    assert found["std"][2] == pytest.approx(values[:, 2].double().std(correction=0).item())
    assert found["nans"] == [0, 0, 0]


# --- histogram -------------------------------------------------------------------------------------------------------

HISTOGRAM = Histogram()
ANY_FLOAT = st.floats(width=32, allow_nan=False)


def bin_of(value: float) -> int:
    return int(HISTOGRAM.bins(torch.tensor([value], dtype=torch.float32))[0])


@given(ANY_FLOAT, ANY_FLOAT)
@example(-math.inf, math.inf)
@example(-1e-45, 1e-45)
@example(-0.0, 0.0)
@example(-(2.0**LOWEST), 2.0**LOWEST)
@example(3.4028234663852886e38, math.inf)
def test_bins_keep_the_order_of_the_numbers(one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert 0 <= bin_of(low) <= bin_of(high) <= 2 * HISTOGRAM.magnitudes
    assert bin_of(-one) == 2 * HISTOGRAM.magnitudes - bin_of(one)


@given(st.floats(2.0**LOWEST, 2.0**HIGHEST, exclude_max=True, width=32), st.sampled_from([-1, 1]))
def test_a_value_lies_between_the_edges_of_its_bin(magnitude: float, sign: int) -> None:
    edges = HISTOGRAM.edges()
    value = sign * magnitude
    low, high = edges[bin_of(value)], edges[bin_of(value) + 1]
    assert (low <= value < high) if sign > 0 else (low < value <= high)
    assert high - low <= abs(value) / 2**HISTOGRAM.bits


@given(st.floats(-(2.0**LOWEST), 2.0**LOWEST, exclude_min=True, exclude_max=True, width=32))
def test_what_is_too_small_counts_as_zero(value: float) -> None:
    assert bin_of(value) == HISTOGRAM.magnitudes


def test_edges_rise_and_belong_to_the_bins() -> None:
    edges = HISTOGRAM.edges()
    assert len(edges) == 2 * HISTOGRAM.magnitudes + 2
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(edges, -edges[::-1])
    assert [bin_of(edge) for edge in edges[HISTOGRAM.magnitudes + 1 : -1]] == [
        *range(HISTOGRAM.magnitudes + 1, 2 * HISTOGRAM.magnitudes + 1)
    ]


@pytest.mark.parametrize("name", ["normal", "with NaN", "with infinities", "all negative", "without positions"])
def test_counts_are_those_of_a_loop_over_all_values(name: str) -> None:
    values = INPUTS[name]
    counts = fed(Histogram(positions=ROWS * COLUMNS), values, [5, 7]).state()["counts"]
    expected = torch.zeros_like(counts)
    for unit in range(UNITS):
        for value in values[:, unit].ravel().tolist():
            if not math.isnan(value):
                expected[unit, bin_of(value)] += 1
    assert torch.equal(counts, expected)


def test_a_large_map_counts_the_sampled_positions_and_no_others() -> None:
    values = INPUTS["larger than the sample"]
    counts = fed(HISTOGRAM, values, [4, 8]).state()["counts"]
    expected = torch.zeros_like(counts)
    places = sampled_positions(torch.arange(12), "layer", HISTOGRAM.positions, 600)
    for image in range(12):
        for place in places[image].tolist():
            for unit in range(UNITS):
                expected[unit, bin_of(values[image, unit].ravel()[place].item())] += 1
    assert torch.equal(counts, expected)
    assert counts.sum(1).tolist() == [12 * HISTOGRAM.positions] * UNITS


QUANTILES = [0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.995, 0.999, 1.0]


@pytest.mark.parametrize("name", ["normal", "rectified", "negative", "far from zero", "one value"])
def test_quantiles_are_those_of_numpy_to_a_bin(name: str) -> None:
    values = normal(2000, units=1, places=(4, 4), seed=11)
    shape = {
        "normal": values,
        "rectified": values.clamp(min=0),
        "negative": -values.abs(),
        "far from zero": values + 100,
        "one value": torch.full_like(values, 3.0),
    }[name]
    counts = fed(HISTOGRAM, shape, [2000]).state()["counts"][0].numpy()
    for q in QUANTILES:
        exact = float(np.quantile(shape.numpy().astype(np.float64), q, method="inverted_cdf"))
        found = HISTOGRAM.quantile(counts, q)
        width = np.diff(HISTOGRAM.edges())[bin_of(exact)]
        assert abs(found - exact) <= width, q


def test_quantiles_never_fall_and_end_in_bins_that_hold_something() -> None:
    counts = fed(HISTOGRAM, INPUTS["rectified and quantised"] + 1, [12]).state()["counts"][0].numpy()
    found = [HISTOGRAM.quantile(counts, q) for q in np.linspace(0, 1, 101)]
    assert found == sorted(found)
    assert 1 <= found[0] < 1.0625
    assert bin_of(np.nextafter(np.float32(found[-1]), np.float32(0))) == np.flatnonzero(counts)[-1]


def test_quantiles_of_nothing_and_wrong_shares() -> None:
    empty = np.zeros(2 * HISTOGRAM.magnitudes + 1, np.int64)
    assert math.isnan(HISTOGRAM.quantile(empty, 0.5))
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            HISTOGRAM.quantile(empty, q)


def test_quantiles_agree_with_the_sketch_of_datasketches() -> None:
    """REQ sketches keep the relative error of the rank small at the upper end, where units differ."""
    values = normal(5000, units=1, places=(4, 4), seed=12).abs() ** 3
    counts = fed(HISTOGRAM, values, [5000]).state()["counts"][0].numpy()
    sketch = req_floats_sketch(50, True)
    sketch.update(values.ravel().numpy())
    for q in (0.5, 0.9, 0.99, 0.995, 0.999):
        found = HISTOGRAM.quantile(counts, q)
        # A bin is up to 1/16 wide, and the sketch's rank is off by no more than its own bounds.
        low = sketch.get_quantile(sketch.get_rank_lower_bound(q, 3)) * (1 - 1 / 16)
        high = sketch.get_quantile(min(1.0, sketch.get_rank_upper_bound(q, 3))) * (1 + 1 / 16)
        assert low <= found <= high
        assert high / low < 1.5  # or the comparison would say nothing


NORMAL = normal(12, places=(4, 4))  # as many positions as are sampled, so that all are counted


@pytest.mark.parametrize(
    "values",
    [NORMAL, NORMAL.clamp(min=0), -NORMAL.abs(), NORMAL * 1e-5, NORMAL * 1e2 + 4e3,
     torch.zeros(12, UNITS, 2, 2), torch.full((12, UNITS, 2, 2), 7.0)],
    ids=["normal", "rectified", "negative", "small", "large", "zero", "one value"],
)  # fmt: skip
def test_bars_show_every_counted_value_over_rising_edges(values: Tensor) -> None:
    state = fed(HISTOGRAM, values, [12]).state()
    for unit in range(UNITS):
        (bars,) = HISTOGRAM.panels(state, unit)
        assert isinstance(bars, Bars)
        assert len(bars.edges) == len(bars.heights) + 1
        assert (np.diff(bars.edges) > 0).all()
        assert sum(bars.heights) == pytest.approx(int(state["counts"][unit].sum()), abs=0.01 * len(bars.heights))
        assert min(bars.heights) >= 0
        used = values[:, unit][values[:, unit].abs() >= 2.0**LOWEST]
        if len(used):
            assert bars.edges[0] <= used.min() + 1e-5 * abs(used.min())
            assert bars.edges[-1] >= used.max() - 1e-5 * abs(used.max())


def test_bars_of_zeros_and_large_values_put_the_zeros_into_the_first_bar() -> None:
    values = torch.zeros(10, 1, 2, 2)
    values[:3, :, 0, 0] = 8.0
    (bars,) = HISTOGRAM.panels(fed(HISTOGRAM, values, [10]).state(), 0)
    assert isinstance(bars, Bars)
    assert bars.edges[0] == 0
    assert bars.heights[0] == 37
    assert sum(bars.heights[1:-4]) == 0


# --- the sample of positions -----------------------------------------------------------------------------------------


def test_sampled_positions_depend_on_image_and_layer_alone() -> None:
    ids = torch.arange(64)
    together = sampled_positions(ids, "features.0", 16, 3025)
    assert torch.equal(together, torch.cat([sampled_positions(ids[i : i + 1], "features.0", 16, 3025) for i in ids]))
    assert torch.equal(together.flip(0), sampled_positions(ids.flip(0), "features.0", 16, 3025))
    other = sampled_positions(ids, "features.3", 16, 3025)
    assert (together == other).float().mean() < 0.01
    assert len({tuple(row.tolist()) for row in together}) == 64


def test_sampled_positions_do_not_change_between_versions() -> None:
    """An atlas that is half done must go on with the same sample; these numbers are part of the format."""
    assert sampled_positions(torch.tensor([0, 1, 12345]), "conv1", 4, 1000).tolist() == PINNED


@pytest.mark.parametrize("positions", [17, 49, 729, 3025])
def test_sampled_positions_are_uniform(positions: int) -> None:
    drawn = sampled_positions(torch.arange(20_000), "features.0", 16, positions)
    assert drawn.min() == 0
    assert drawn.max() == positions - 1
    for places in (drawn.ravel(), drawn[:, 0], drawn[:, 15]):
        counts = torch.bincount(places, minlength=positions).double()
        expected = len(places) / positions
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        freedom = positions - 1
        assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)


def test_draws_of_neighbouring_images_are_independent() -> None:
    drawn = sampled_positions(torch.arange(20_001), "features.0", 16, 8)
    pairs = torch.bincount(drawn[:-1].ravel() * 8 + drawn[1:].ravel(), minlength=64).double()
    expected = pairs.sum() / 64
    assert abs(float(((pairs - expected) ** 2 / expected).sum()) - 63) < 5 * math.sqrt(2 * 63)


PINNED = [[339, 377, 789, 390], [866, 221, 40, 783], [3, 267, 54, 818]]


def test_what_is_too_large_for_the_bins_is_infinite_and_not_less() -> None:
    counts = np.zeros(2 * HISTOGRAM.magnitudes + 1, np.int64)
    for value in (1e3, -3e7, 2e7, 5e30, 68640.0):
        counts[int(HISTOGRAM.bins(torch.tensor([value]))[0])] += 1
    assert HISTOGRAM.quantile(counts, 1.0) == np.inf
    assert HISTOGRAM.quantile(counts, 0.0) == -np.inf
    assert HISTOGRAM.quantile(counts, 0.6) == pytest.approx(68640, rel=1 / 16)
    (bars,) = HISTOGRAM.panels({"counts": counts[None]}, 0)
    assert isinstance(bars, Bars)
    assert sum(bars.heights) == 2
    assert "3 values beyond" in bars.note


# --- class means -----------------------------------------------------------------------------------------------------


def class_means_of(values: Tensor, classes: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
    """The definition: (units, classes), the mean over a class's images of the mean over positions."""
    spatial = values.flatten(2).double().mean(2).numpy()
    return np.stack([spatial[np.array(classes) == index].mean(0) for index in wanted], 1)


def labelled(values: Tensor, classes: Sequence[int]) -> ClassMeansAccumulator:
    accumulator = ClassMeans(tuple(sorted({index for index in classes if index >= 0}))).start(values.shape[1], (6, 5))
    for i in range(0, len(values), 5):
        batch = slice(i, i + 5)
        ids = torch.arange(len(values))[batch]
        accumulator.update(Activations(values[batch], 1, ids, "layer", torch.tensor(classes)[batch]))
    return accumulator


def test_class_means_and_selectivity_are_those_of_their_definitions() -> None:
    values, classes = normal(20, seed=11).clamp(min=0), [7, 2, -1, 9] * 5
    state = labelled(values, classes).state()
    expected = class_means_of(values, classes, (2, 7, 9))
    np.testing.assert_allclose(means(state), expected, rtol=1e-6)
    assert state["images"].tolist() == [5, 5, 5]
    for unit, value in enumerate(selectivity(state)):
        best = expected[unit].argmax()
        others = np.delete(expected[unit], best).mean()
        assert value == pytest.approx((expected[unit, best] - others) / (expected[unit, best] + others))


def test_a_unit_of_one_class_is_selective_and_one_of_all_is_not() -> None:
    values = torch.zeros(6, 3, 6, 5)
    values[2:4, 0] = 1.0
    values[:, 1] = 2.0
    chosen = selectivity(labelled(values, [0, 0, 1, 1, 2, 2]).state())
    assert chosen.tolist() == [1.0, 0.0, 0.0]  # the last one is dead


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -1.0])
def test_selectivity_is_not_known_where_a_class_mean_is_negative_or_not_finite(broken: float) -> None:
    values = torch.ones(4, 2, 6, 5)
    values[1::2, 0] = broken
    chosen = selectivity(labelled(values, [0, 1, 0, 1]).state())
    assert np.isnan(chosen[0])
    assert chosen[1] == 0.0


def test_one_class_alone_has_no_selectivity() -> None:
    assert np.isnan(selectivity(labelled(torch.ones(4, 2, 6, 5), [3] * 4).state())).all()


def test_the_table_of_classes_has_names_where_they_are_known() -> None:
    values = torch.arange(8.0)[:, None, None, None].expand(8, 1, 6, 5)
    accumulator = labelled(values, list(range(8)))
    state = accumulator.state()
    statistic = ClassMeans(tuple(range(8)))
    (table,) = statistic.panels(state, 0, [f"name {i}" for i in range(8)])
    assert isinstance(table, Table)
    best = [f"name {i}" for i in (7, 6, 5, 4, 3)]
    assert [name for name, _ in table.rows] == [*best, "least: name 0", "class selectivity"]
    (table,) = statistic.panels(state, 0)
    assert table.rows[0] == ("class 7", 7.0)


# --- saturation ------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """A convolution and one non-linearity."""

    def __init__(self, nonlinearity: Any) -> None:
        super().__init__()
        self.conv, self.nonlinearity = nn.Conv2d(1, 1, 1), nonlinearity

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(self.conv(x))


FLAT = {
    "sigmoid": (torch.sigmoid, True, True),
    "tanh": (torch.tanh, True, True),
    "hardsigmoid": (nn.Hardsigmoid(), True, True),
    "hardtanh": (nn.Hardtanh(-2, 3), True, True),
    "ReLU6, at its ceiling alone": (nn.ReLU6(), False, True),
    "clamp from 0 to 1": (lambda x: torch.clamp(x, 0, 1), False, True),
    "ReLU": (nn.ReLU(), False, False),
    "clamp from 0": (lambda x: torch.clamp(x, min=0), False, False),
    "SiLU": (nn.SiLU(), False, False),
}


@pytest.mark.parametrize(("nonlinearity", "below", "above"), FLAT.values(), ids=FLAT)
def test_saturation_is_where_the_slope_is_below_a_thousandth(nonlinearity: Any, below: bool, above: bool) -> None:
    graph = record(Layer(nonlinearity), torch.rand(1, 1, 4, 4))
    bounds = ends(graph.producers[graph.layers()[0].response])
    x = torch.linspace(-12, 12, 2401, dtype=torch.float64, requires_grad=True)
    y = nonlinearity(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    flat = (slope.abs() < 1e-3) & ((x < 0) & torch.tensor(below) | (x > 0) & torch.tensor(above))
    accumulator = Saturation().start(1, (2401,))
    values = y.detach().float()[None, None]
    accumulator.update(Activations(values, 1, torch.arange(1), "layer", saturation=bounds))
    # The ends themselves are flat on one side.
    assert abs(int(accumulator.state()["positions"][0]) - int(flat.sum())) <= 2


# --- compiled reductions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_reductions_are_those_of_pytorch(values: Tensor, threads: int) -> None:
    rows = values.movedim(1, -1).reshape(len(values), -1, values.shape[1]).contiguous()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compiled = vars(reduce(rows))
    finally:
        torch.set_num_threads(before)
    clean = torch.isfinite(rows).all(1).all(1)
    plain = vars(by_torch(rows[clean]))
    for name, column in compiled.items():
        exact = name not in {"total", "squares"}
        torch.testing.assert_close(
            column[clean], plain[name], rtol=0 if exact else 1e-6, atol=0 if exact else 1e-4, msg=name
        )


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=70), elements=st.integers(-3, 3)
    ),
)
@settings(max_examples=60, deadline=None)
def test_compiled_extremes_of_any_shape_are_those_of_numpy(rows: np.ndarray) -> None:
    found = vars(reduce(torch.from_numpy(rows)))
    assert (found["maximum"].numpy() == rows.max(1)).all()
    assert (found["minimum"].numpy() == rows.min(1)).all()
    assert (found["position"].numpy() == rows.argmax(1)).all()
    assert (found["nonpositive"].numpy() == (rows <= 0).sum(1)).all()
    np.testing.assert_allclose(found["total"].numpy(), rows.sum(1, dtype=np.float64), atol=1e-3)
    np.testing.assert_allclose(found["squares"].numpy(), rows.shape[1] * rows.var(1, dtype=np.float64), atol=1e-2)


def test_an_outlier_does_not_spoil_the_spread() -> None:
    rows = torch.randn(1, 3000, 4, generator=torch.Generator().manual_seed(0))
    rows[0, 0] = 1e6
    squares = reduce(rows).squares.numpy()
    np.testing.assert_allclose(squares, 3000 * rows.double().numpy().var(1), rtol=1e-5)


def test_many_images_on_several_threads_are_the_same_as_on_one() -> None:
    rows = torch.randn(16, 400, 32, generator=torch.Generator().manual_seed(0))  # enough to be worth a thread
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(vars(reduce(rows)))
    finally:
        torch.set_num_threads(before)
    for name, column in found[0].items():
        assert torch.equal(column, found[1][name]), name


# --- exact quantiles -------------------------------------------------------------------------------------------------


def test_exact_quantiles_count_every_position() -> None:
    values = normal(12, seed=12, places=(20, 30))
    exact = of(Scan(exact_quantiles=True))["histogram"]
    assert isinstance(exact, Histogram)
    counts = fed(exact, values, [5, 7]).state()["counts"].numpy()
    assert (counts.sum(1) == 12 * 600).all()
    for unit in range(UNITS):
        cells = np.sort(values[:, unit].ravel().numpy())
        for q in (0.005, 0.25, 0.5, 0.995):
            low, high = np.quantile(cells, [max(q - 1e-3, 0), min(q + 1e-3, 1)])
            found = exact.quantile(counts[unit], q)
            assert low - 0.07 * abs(low) <= found <= high + 0.07 * abs(high)


def test_a_batch_of_very_many_images_keeps_their_maps() -> None:
    """More than 16 bits can count."""
    values = torch.zeros(40_000, 1, 2, 2)
    values[39_999, 0, 1, 0] = 2.0
    state = fed(TopK(k=3), values, [40_000]).state()
    assert state["ids"][0].tolist() == [39_999, 0, 1]
    assert state["maps"][0, 0].tolist() == [[0, 0], [255, 0]]
