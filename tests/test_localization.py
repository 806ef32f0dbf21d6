"""Boxes and their scores: planted maps with known answers, laws, and slow definitions written out here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.mixture import GaussianMixture
from torch import Tensor

from convscope.localization.boxes import LargestComponent, Released, components
from convscope.localization.graphcut import GraphCut, cut, links
from convscope.localization.scores import box_masks, energy, iou, mask_iou, pointing, sweep

SIDE = 12
MASKS = arrays(bool, st.tuples(st.integers(1, SIDE), st.integers(1, SIDE)), elements=st.booleans())
MAPS = arrays(np.int8, st.tuples(st.integers(1, SIDE), st.integers(1, SIDE)), elements=st.integers(-9, 9))


def planted(*blobs: tuple[int, int, int, int], height: int = 20, width: int = 30, value: float = 1.0) -> Tensor:
    """A map (1, height, width) that is `value` in boxes."""
    map_ = torch.zeros(1, height, width)
    for y0, x0, y1, x1 in blobs:
        map_[0, y0:y1, x0:x1] = value
    return map_


def flooded(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """The components of a mask, in the order of their first pixels, by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = set(), [start]
        left.discard(start)
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(part)
    return found


def tight(pixels: set[tuple[int, int]]) -> list[int]:
    ys, xs = zip(*pixels, strict=True)
    return [min(ys), min(xs), max(ys) + 1, max(xs) + 1]


# --- boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(3, 4, 9, 20), (0, 0, 20, 30), (19, 29, 20, 30)])
@pytest.mark.parametrize("background", [0.0, -5.0])
def test_a_rectangle_has_itself_as_its_box(box: tuple[int, int, int, int], background: float) -> None:
    map_ = planted(box) + background * (planted(box) == 0)
    assert [found.tolist() for found in LargestComponent().boxes(map_)] == [[list(box)]]


def test_the_larger_of_two_objects_is_taken_and_of_equal_ones_the_first() -> None:
    assert LargestComponent().boxes(planted((1, 1, 5, 5), (10, 10, 16, 20)))[0].tolist() == [[10, 10, 16, 20]]
    assert LargestComponent().boxes(planted((10, 1, 14, 5), (3, 20, 7, 24)))[0].tolist() == [[3, 20, 7, 24]]


def test_what_is_exactly_at_the_threshold_is_outside() -> None:
    map_ = planted((2, 2, 6, 6)) + planted((6, 2, 12, 6), value=0.25)
    assert LargestComponent(0.25).boxes(map_)[0].tolist() == [[2, 2, 6, 6]]
    assert LargestComponent(0.2).boxes(map_)[0].tolist() == [[2, 2, 12, 6]]


def test_pixels_that_touch_at_a_corner_belong_together() -> None:
    assert components(np.eye(4, dtype=bool)).tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("protocol", [LargestComponent(), Released()])
def test_nothing_positive_gives_the_whole_image_and_so_does_a_threshold_of_zero_on_positive_maps(protocol) -> None:
    assert protocol.boxes(torch.full((2, 9, 7), -1.0))[1].tolist() == [[0, 0, 9, 7]]
    assert protocol.boxes(torch.zeros(1, 9, 7))[0].tolist() == [[0, 0, 9, 7]]
    assert LargestComponent(0).boxes(torch.rand(1, 9, 7) + 0.1)[0].tolist() == [[0, 0, 9, 7]]


@given(MAPS, st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_the_largest_component_is_that_of_a_flood(map_: np.ndarray, tenths: int) -> None:
    found = LargestComponent(tenths / 10).boxes(torch.from_numpy(map_)[None])[0].tolist()
    parts = flooded(10.0 * map_ > tenths * float(map_.max())) if map_.max() > 0 else []
    assert found == [tight(max(parts, key=len)) if parts else [0, 0, *map_.shape]]


@given(MASKS)
@settings(max_examples=200, deadline=None)
def test_components_are_sorted_by_size_and_then_by_their_first_pixel(mask: np.ndarray) -> None:
    assert components(mask).tolist() == [tight(part) for part in sorted(flooded(mask), key=len, reverse=True)]


@pytest.mark.parametrize("protocol", [LargestComponent(), Released()])
def test_boxes_do_not_depend_on_the_scale_of_the_map_or_on_the_others(protocol) -> None:
    maps = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0)) ** 3
    apart = [protocol.boxes(map_[None] * 1024)[0].tolist() for map_ in maps]
    assert [boxes.tolist() for boxes in protocol.boxes(maps)] == apart


@pytest.mark.parametrize("maps", [torch.zeros(3, 3), torch.full((1, 3, 3), torch.nan), torch.zeros(1, 0, 3)])
def test_what_is_no_map_is_refused(maps: Tensor) -> None:
    with pytest.raises(ValueError, match="map"):
        LargestComponent().boxes(maps)


def released_slowly(grey: np.ndarray, thresholds: tuple[int, ...]) -> list[list[int]]:
    """The released generator with OpenCV, as it was written, up to the margin and the box that slips through."""
    cv2 = pytest.importorskip("cv2")
    boxes = []
    for threshold in thresholds:
        mask = (grey > threshold).astype(np.uint8)
        if mask.any() and not mask.all():
            zeros = np.argwhere(mask == 0)
            far = np.array([[np.sqrt(((zeros - (y, x)) ** 2).sum(1).min()) for x in range(grey.shape[1])]
                            for y in range(grey.shape[0])])  # fmt: skip
            mask = ((far * 255 / far.max() + 0.5).astype(int) > 10).astype(np.uint8)
        for contour in cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]:
            x, y, width, height = cv2.boundingRect(contour)
            boxes.append([y, x, y + height, x + width])
    return boxes


@pytest.mark.parametrize("seed", range(12))
def test_the_released_generator_finds_the_outlines_that_opencv_finds(seed: int) -> None:
    grey = np.random.default_rng(seed).random((5, 6)).repeat(5, 0).repeat(4, 1)
    grey = np.rint(255 * grey / grey.max())
    expected = {tuple(box) for box in released_slowly(grey, (20, 100, 110))}
    found = {tuple(box) for box in Released(margin=0).boxes(torch.from_numpy(grey)[None])[0].tolist()}
    assert found <= expected
    areas = {box: (box[2] - box[0]) * (box[3] - box[1]) for box in expected}
    assert max(areas.values()) == max(areas[box] for box in found)
    for box in expected - found:  # each that is missing shares more than half of a larger one that is there
        larger = [other for other in found if areas[other] >= areas[box]]
        assert any(2 * shared_area(box, other) > areas[other] for other in larger)
    for box in found:
        assert not any(2 * shared_area(box, other) > max(areas[box], areas[other]) for other in found - {box})


def shared_area(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    height, width = (min(one[end], other[end]) - max(one[end - 2], other[end - 2]) for end in (2, 3))
    return max(height, 0) * max(width, 0)


def test_the_released_generator_gives_a_loose_and_a_tight_box() -> None:
    map_ = torch.zeros(1, 60, 80)
    map_[0, 5:50, 6:70] = 0.2  # 51 of 255
    map_[0, 20:40, 20:40] = 1.0
    loose, tight_ = Released(rim=0).boxes(map_)[0].tolist()
    assert (loose, tight_) == ([5, 6, 50, 70], [20, 20, 40, 40])


def test_no_released_box_reaches_the_right_or_lower_margin() -> None:
    assert Released().boxes(torch.ones(1, 40, 50))[0].tolist() == [[0, 0, 35, 45]]


# --- scores ----------------------------------------------------------------------------------------------------------


def test_overlaps_of_boxes_with_known_ones() -> None:
    one = [[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [2, 3, 5, 9], [1, 1, 1, 5]]
    other = [[0, 0, 4, 4], [0, 4, 4, 8], [0, 0, 4, 8], [2, 6, 5, 12], [0, 0, 9, 9]]
    assert iou(one, other).tolist() == [1, 0, 0.5, pytest.approx(3 / 9), 0]


BOX = st.tuples(*[st.integers(0, 8)] * 4).map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1,
                                                         max(b[1], b[3]) + 1))  # fmt: skip


@given(BOX, BOX)
@settings(max_examples=200, deadline=None)
def test_overlap_counts_pixels_and_does_not_change_when_x_and_y_are_swapped(one, other) -> None:
    first, second = ({(y, x) for y in range(b[0], b[2]) for x in range(b[1], b[3])} for b in (one, other))
    expected = len(first & second) / len(first | second)
    turned = [[box[1], box[0], box[3], box[2]] for box in (one, other)]
    assert iou(one, other) == pytest.approx(expected)
    assert iou(*turned) == pytest.approx(expected)
    masks = torch.from_numpy(box_masks(np.array([one, other]), 9, 9))
    assert mask_iou(masks[:1], masks[1:]).tolist() == [pytest.approx(expected)]


def test_masks_without_a_pixel_overlap_in_nothing() -> None:
    assert mask_iou(torch.zeros(1, 3, 3, dtype=torch.bool), torch.zeros(1, 3, 3, dtype=torch.bool)).tolist() == [0]


def test_pointing_with_and_without_a_tolerance() -> None:
    maps, mask = torch.zeros(1, 40, 40), planted((10, 10, 20, 20), height=40, width=40).bool()
    for y, x in ((10, 19), (20, 15), (23, 23), (0, 39)):
        map_ = maps.clone()
        map_[0, y, x] = 1
        away = min(((y - a) ** 2 + (x - b) ** 2) ** 0.5 for a in range(10, 20) for b in range(10, 20))
        for tolerance in (0, 1, 4, 5, 6, 15):
            assert pointing(map_, mask, tolerance).tolist() == [away <= tolerance]


def test_a_constant_map_points_nowhere_and_nothing_is_near_an_empty_mask() -> None:
    assert pointing(torch.ones(1, 5, 5), torch.ones(1, 5, 5, dtype=torch.bool)).tolist() == [False]
    assert pointing(torch.rand(1, 5, 5), torch.zeros(1, 5, 5, dtype=torch.bool), 99).tolist() == [False]


def test_energy_is_the_share_of_what_is_positive() -> None:
    map_ = planted((0, 0, 10, 30), value=2) - planted((10, 0, 20, 30), value=7)
    mask = planted((5, 0, 15, 30)).bool()
    assert energy(map_, mask).tolist() == [0.5]
    assert energy(-planted((0, 0, 1, 1)), mask).tolist() == [0]


@given(MAPS)
@settings(max_examples=100, deadline=None)
def test_energy_in_a_mask_and_outside_it_is_all_of_it(map_: np.ndarray) -> None:
    maps, mask = torch.from_numpy(map_)[None], torch.from_numpy(map_ % 3 == 0)[None]
    total = energy(maps, mask) + energy(maps, ~mask)
    assert total.tolist() == [pytest.approx(float(map_.max() > 0))]


def test_maps_and_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="masks"):
        energy(torch.zeros(1, 3, 3), torch.zeros(1, 4, 4, dtype=torch.bool))


@given(MAPS)
@settings(max_examples=60, deadline=None)
def test_the_sweep_takes_the_largest_component_at_every_threshold(map_: np.ndarray) -> None:
    thresholds = np.array([0.0, 0.25, 0.5, 0.75])
    found = sweep(torch.from_numpy(map_)[None], thresholds)[0].tolist()
    low, high = float(map_.min()), float(map_.max())
    for box, threshold in zip(found, thresholds, strict=True):
        parts = flooded(map_ - low > threshold * (high - low)) if high > low else []
        assert box == (tight(max(parts, key=len)) if parts else [0, 0, *map_.shape])


# --- GraphCut --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_the_segmentation_with_the_least_energy_of_all(seed: int) -> None:
    random, (height, width) = np.random.default_rng(seed), (3, 4)
    costs = random.integers(0, 400, (2, height, width)) / 100
    seeds = np.zeros((2, height, width), bool)
    seeds[0, 0, 0] = seeds[1, 2, 3] = True
    pairs, weights = links(random.integers(0, 255, (height, width, 3)), 2.0)
    weights = np.rint(100 * weights) / 100

    def energy_of(object_: np.ndarray) -> float:
        if (object_.reshape(3, 4) & seeds[0]).any() or (~object_.reshape(3, 4) & seeds[1]).any():
            return np.inf
        unary = np.where(object_, costs[1].ravel(), costs[0].ravel()).sum()
        return float(unary + weights[object_[pairs[0]] != object_[pairs[1]]].sum())

    all_ = [np.array([number >> bit & 1 for bit in range(12)], bool) for number in range(1 << 12)]
    least = min(map(energy_of, all_))
    assert energy_of(cut(costs, seeds, pairs, weights).ravel()) == pytest.approx(least)


def test_neighbours_are_linked_by_the_formula() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (3, 5, 3)).astype(float)
    pairs, weights = links(colours, 50)
    near = {
        (y * 5 + x, b * 5 + a): (((colours[y, x] - colours[b, a]) ** 2).sum(), ((y - b) ** 2 + (x - a) ** 2) ** 0.5)
        for y in range(3)
        for x in range(5)
        for b in range(3)
        for a in range(5)
        if (b, a) > (y, x) and max(abs(y - b), abs(x - a)) == 1
    }
    beta = 1 / (2 * np.mean([square for square, _ in near.values()]))
    expected = {pair: 50 * np.exp(-beta * square) / far for pair, (square, far) in near.items()}
    found = dict(zip(map(tuple, pairs.T.tolist()), weights.tolist(), strict=True))
    assert found == pytest.approx(expected)


def two_colours() -> tuple[Tensor, Tensor]:
    """A red object on blue, with a red island, and a map that has its maximum in the object."""
    image = torch.zeros(1, 3, 40, 50)
    image[:, 2] = 200
    for rows, columns in ((slice(10, 25), slice(12, 40)), (slice(28, 31), slice(20, 24))):
        image[:, 0, rows, columns], image[:, 2, rows, columns] = 220, 20
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    return 100 - (y - 17)[None].abs() - (x - 25)[None].abs(), image


def test_two_colours_are_divided_where_they_meet() -> None:
    map_, image = two_colours()
    assert GraphCut().boxes(map_, image)[0].tolist() == [[10, 12, 25, 40]]
    assert GraphCut().segment(map_[0].numpy(), image[0].numpy()).sum() == 15 * 28 + 3 * 4


def test_without_links_each_pixel_goes_where_its_colour_is_likelier() -> None:
    map_ = two_colours()[0]
    image = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0)) * 255
    high, low = np.quantile(map_[0], (0.95, 0.3))
    colours, seeds = image[0].movedim(0, -1).double().numpy(), [map_[0].numpy() <= low, map_[0].numpy() > high]
    one, other = (
        GaussianMixture(5, reg_covar=1.0, random_state=0).fit(colours[seed]).score_samples(colours.reshape(-1, 3))
        for seed in seeds
    )
    expected = ((other > one + 0.01).reshape(40, 50) | seeds[1]) & ~seeds[0]
    found = GraphCut(gamma=0).segment(map_[0].numpy(), image[0].numpy())
    assert (found != expected).mean() < 0.005  # energies are rounded to 0.01


def test_a_map_without_seeds_gives_the_whole_image_and_one_without_the_image_an_error() -> None:
    assert GraphCut().boxes(torch.ones(1, 8, 9), torch.rand(1, 3, 8, 9))[0].tolist() == [[0, 0, 8, 9]]
    with pytest.raises(ValueError, match="give the images"):
        GraphCut().boxes(torch.rand(1, 8, 9))


def test_flat_images_and_single_seeds_are_divided_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    map_ = torch.zeros(1, 3, 3)
    map_[0, 1, 1] = 1
    assert GraphCut().boxes(map_, torch.full((1, 3, 3, 3), 7.0))[0].shape == (1, 4)
    assert not recwarn
