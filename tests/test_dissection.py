"""Dissection: against its definition, pixel by pixel, on planted detectors, and by the laws of METHODS 6.2."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import nn

import convscope
from convscope.cli import main
from convscope.concepts import CATEGORIES, Concept, Labels, open_concepts
from convscope.dissection import Dissection, dissect, passes
from convscope.dissection.placement import Axis, Placement, Window
from convscope.dissection.sums import REPLICATES
from convscope.dissection.tail import Tail
from convscope.errors import AddressError, AtlasError, ImagesError
from convscope.geometry import Grid, Spans
from convscope.images import Arrays
from convscope.network import Network, wrap
from convscope.preprocess import Preprocess
from convscope.scanner import Progress
from dissecting import Planted, bilinear, count, planted, ratio, thresholds

pytestmark = pytest.mark.usefixtures("one_thread")

CONCEPTS = [
    ("car", "object"), ("tree", "object"), ("wheel", "part"), ("street", "scene"), ("red", "colour"), ("sky", "object"),
]  # fmt: skip
NUMBERED = [Concept(1 + i, *each) for i, each in enumerate(CONCEPTS)]
CATEGORY = {each.number: each.category for each in NUMBERED}


# --- against the definition -------------------------------------------------------------------------------------------


class Nets:
    """A network of whole numbers, so that all sums are exact, and where its cells' centres are."""

    size = (24, 20)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2))
        for parameter in module.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).float()
        self.module = module.eval()
        # Cell i of the first layer sees pixels 2i-1 to 2i+1; cell j of the second one cells 2j to 2j+2 of the first.
        self.centres = {"0": ([2 * i for i in range(12)], [2 * i for i in range(10)]),
                        "2": ([4 * j + 2 for j in range(5)], [4 * j + 2 for j in range(4)])}  # fmt: skip

    def network(self, **preprocess: Any) -> Network:
        return wrap(self.module, preprocess=Preprocess(self.size, **preprocess), output="real")

    def maps(self, inputs: NDArray[Any], layer: str) -> NDArray[Any]:
        with torch.no_grad():
            last = self.module[:2] if layer == "0" else self.module
            return last(torch.from_numpy(inputs).float()).numpy()


def world(pictures: tuple[int, int], labels: tuple[int, int], images: int = 7) -> tuple[NDArray[Any], list[Labels]]:
    """Pictures (n, 3, h, w) of a few greys, and labels: two maps in which concepts repeat, some with a scene."""
    rng = np.random.default_rng(5)
    given = []
    for image in range(images):
        maps = np.repeat(
            np.repeat(rng.choice([0, 0, 1, 2, 3, 6], (2, *(-(-side // 3) for side in labels))), 3, 1), 3, 2
        )
        maps = maps[:, : labels[0], : labels[1]].astype(np.int32)
        if image == 2:
            maps[:] = 0  # nothing but a scene
        if image == 4:
            maps[maps == 3] = 0  # no part
        given.append(Labels(maps, ((4, 5), (), (4,))[image % 3]))
    return rng.integers(0, 3, (images, 3, *pictures)) / 2, given


@pytest.mark.parametrize("cropped", [False, True])
def test_every_count_is_that_of_the_definition(cropped: bool, tmp_path: Path) -> None:
    nets = Nets()
    margin = 3 if cropped else 0
    pictures, given = world((24 + 2 * margin, 20 + 2 * margin), (12 + margin, 10 + margin))
    concepts = Planted(Arrays(pictures.astype(np.float32)), NUMBERED, given)
    network = nets.network(**({"crop": nets.size} if cropped else {}))
    found = dissect(network, concepts, tmp_path / "there", quantile=0.05, batch_size=3)
    assert [layer.address for layer in found.layers] == ["0", "2"]
    inputs = pictures[:, :, margin : margin + 24, margin : margin + 20]
    for layer in found.layers:
        images = list(zip(nets.maps(inputs, layer.address), given, strict=True))
        limits = thresholds(images, 0.05)
        assert [unit.threshold for unit in layer] == limits
        assert not any(unit.error for unit in layer)
        # A pixel of the labels is two of the picture wide.
        tables = count(
            images, limits, lambda row, column: (2 * row + 0.5 - margin, 2 * column + 0.5 - margin),
            nets.centres[layer.address],
            lambda row, column: all(0 <= 2 * at + 1 - margin < side for at, side in ((row, 24), (column, 20))),
        )  # fmt: skip
        for unit, concept in itertools.product(range(len(layer)), CATEGORY):
            assert layer.iou[unit, concept - 1] == pytest.approx(ratio(tables, unit, concept, CATEGORY), abs=1e-15)
        assert (layer.iou > 0).sum() > 10
        check_bootstrap(found, layer, tables)
        check_counts(layer)


def check_bootstrap(found: Dissection, layer: Any, tables: Any) -> None:
    """Every replicate is the IoU with images drawn again."""
    part = found.layers.index(layer)
    first = sum(len(each) for each in found.layers[:part])
    drawn = np.random.default_rng(0).multinomial(len(tables), [1 / len(tables)] * len(tables), REPLICATES)
    for unit, place, replicate in itertools.product(range(len(layer)), range(2), range(0, REPLICATES, 37)):
        concept = int(found.arrays["candidates"][first + unit, place])
        there = found.arrays["replicates"][first + unit, place, replicate]
        assert there == pytest.approx(ratio(tables, unit, concept, CATEGORY, drawn[replicate]), rel=1e-6)
        assert layer.iou[unit, concept - 1] == sorted(layer.iou[unit])[-1 - place]


def check_counts(layer: Any) -> None:
    """Detectors, and the released statistics' way to count them, read off the ratios one by one."""
    for cut in (0.04, 0.15, 0.3):
        counts = layer.counts(cut)
        best = {unit: max(CATEGORY, key=lambda c: (layer.iou[unit, c - 1], -c)) for unit in range(len(layer))}
        passing = {unit: c for unit, c in best.items() if layer.iou[unit, c - 1] > cut}
        assert (counts.detectors, counts.unique) == (len(passing), len(set(passing.values())))
        for category in CATEGORIES:
            mine = [c for c in CATEGORY if CATEGORY[c] == category]
            inside = {u: max(mine, key=lambda c: layer.iou[u, c - 1]) for u in range(len(layer)) if mine}
            labels = [c for u, c in inside.items() if layer.iou[u, c - 1] > cut]
            assert counts.by_category[category] == (len(labels), len(set(labels)))
        assert counts.unique_in_categories == sum(unique for _, unique in counts.by_category.values())


def test_a_single_image_has_no_control(tmp_path: Path) -> None:
    maps = np.zeros((1, 1, 8, 8), np.int32)
    maps[:, :, :4, :4] = 1
    found = dissect(*planted(maps, [("thing", "object")], [Labels(maps[0])]), tmp_path, quantile=0.25)
    assert found.layers[0].iou == 1
    assert found.layers[0].control == 0
    assert (found.counts["0"].detectors, found.counts["0"].false_detectors) == (1, 0)


def test_the_control_has_every_image_with_the_labels_of_another(tmp_path: Path) -> None:
    """Stretched over it: the label maps of some images are half as large, and those of one image may meet either."""
    nets = Nets()
    pictures, given = world((24, 20), (24, 20))
    given = [Labels(each.maps[:, :: 1 + i % 2, :: 1 + i % 2], each.whole) for i, each in enumerate(given)]
    concepts = Planted(Arrays(pictures.astype(np.float32)), NUMBERED, given)
    found = dissect(nets.network(), concepts, tmp_path / "there", layers=["2"], quantile=0.05)
    ring = np.random.default_rng(0).permutation(7).tolist()
    other = {image: ring[(place + 1) % 7] for place, image in enumerate(ring)}
    assert all(image != stranger for image, stranger in other.items())
    maps = nets.maps(pictures, "2")
    limits = thresholds(list(zip(maps, given, strict=True)), 0.05)
    tables = []
    for image, stranger in sorted(other.items()):
        step = 1 + stranger % 2  # a pixel of the smaller ones is two of the picture wide
        tables += count(
            [(maps[image], given[stranger])], limits,
            lambda row, column, step=step: (step * row + step / 2 - 0.5, step * column + step / 2 - 0.5),
            nets.centres["2"],
        )  # fmt: skip
    assert len({(image % 2, stranger % 2) for image, stranger in other.items()}) > 2
    expected = [[ratio(tables, unit, concept, CATEGORY) for concept in CATEGORY] for unit in range(5)]
    np.testing.assert_allclose(found.layers[0].control, expected, atol=1e-15)
    counts = found.layers[0].counts(0.1)
    assert counts.false_detectors == sum(max(row) > 0.1 for row in expected)
    assert counts.false_unique == len({int(np.argmax(row)) for row in expected if max(row) > 0.1})


def test_the_lite_version_is_reproduced(tmp_path: Path) -> None:
    """Its counting, written from METHODS 6.2: a resize of each map, its entry of 1,000 quantiles, a loop over units.

    Concept 3 is a material, which it does not have.
    """
    nets = Nets()
    pictures, given = world((24, 20), (12, 10))
    known = [*NUMBERED[:2], Concept(3, "wood", "material"), *NUMBERED[3:]]
    concepts = Planted(Arrays(pictures.astype(np.float32)), known, given)
    found = dissect(nets.network(), concepts, tmp_path / "there", layers=["2"], quantile=0.05, lite=True)
    left = {each.number: each.category for each in known if each.category != "material"}
    assert [(each.concept.name, each.concept.category) for each in found.concepts] == [CONCEPTS[i - 1] for i in left]
    assert found.run["job"]["concepts"] == "only:object,part,scene,texture,colour:planted"
    maps = torch.from_numpy(nets.maps(pictures, "2"))
    share = 1 - int(1000 * (1 - 0.05) - 1) / 999
    both, areas, covered = np.zeros((5, 7)), np.zeros((5, 7)), np.zeros(7)
    for unit in range(5):
        values = np.sort(maps[:, unit].numpy().ravel())[::-1]
        limit = values[int(share * len(values))]
        for image, labels in enumerate(given):
            present = {left[c] for c in [*np.unique(labels.maps).tolist(), *labels.whole] if c in left}
            if maps[image, unit].max() <= limit:  # it skips these
                continue
            resized = nn.functional.interpolate(maps[image, unit][None, None].double(), (12, 10), mode="bilinear")[0, 0]
            mask = resized.numpy() > limit
            for concept in left:
                here = (labels.maps == concept).any(0) | (concept in labels.whole)
                both[unit, concept] += (mask & here).sum()
                areas[unit, concept] += mask.sum() * (left[concept] in present)
    for labels in given:
        for concept in left:
            covered[concept] += ((labels.maps == concept).any(0) | (concept in labels.whole)).sum()
    np.testing.assert_allclose(found.layers[0].iou, (both / np.maximum(areas + covered - both, 1))[:, list(left)])


# --- planted detectors ------------------------------------------------------------------------------------------------


def wired(numbers: Sequence[int], channels: Sequence[int], inputs: int, side: int) -> Network:
    """Units of layer 2 that are 1 where their channel of the input is their number, and 0 elsewhere.

    The sum of relu(x - n + 1), relu(x - n - 1) and -2 relu(x - n) is 1 at x = n, and 0 at all other whole numbers.
    """
    count = len(numbers)
    first, second = nn.Conv2d(inputs, 3 * count, 1), nn.Conv2d(3 * count, count, 1, groups=count, bias=False)
    first.weight.data.zero_()
    first.weight.data[range(3 * count), np.repeat(channels, 3)] = 1
    first.bias.data = torch.tensor([1.0 - n - step for n in numbers for step in range(3)])  # type: ignore[union-attr]
    second.weight.data = torch.tensor([1.0, -2.0, 1.0]).repeat(count, 1)[:, :, None, None]
    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    return wrap(module, preprocess=Preprocess((side, side), channels=inputs), output="real")


def test_every_concept_of_the_diorama_is_recovered_by_its_detector(tmp_path: Path) -> None:
    """As many values are above a threshold as the largest concept has pixels: every mask is its concept, to the pixel.

    No two concepts cover the same pixels in these images, as far as there are labels of the category of one of them.
    """
    source = open_concepts("diorama:objects/val:48")
    given = [source.labels(image) for image in range(40)]
    drawings = [np.concatenate([each.maps, np.full((1, 48, 48), each.whole[0])]) for each in given]
    channels = {
        int(number): channel for each in drawings for channel in range(6) for number in np.unique(each[channel])
    }
    wanted = sorted(channels.keys() - {0})
    assert {source.concepts[number - 1].category for number in wanted} == set(CATEGORIES)
    network = wired(wanted, [channels[number] for number in wanted], 6, 48)
    concepts = Planted(Arrays(np.stack(drawings).astype(np.float32)), source.concepts, given)
    largest = max(np.bincount(np.ravel(drawings))[1:]) / (40 * 48 * 48)
    found = dissect(network, concepts, tmp_path / "there", layers=["2"], quantile=largest)
    assert [unit.label.number for unit in found.layers[0]] == wanted
    assert {(unit.iou, unit.threshold) for unit in found.layers[0]} == {(1.0, 0.0)}
    assert found.counts["2"].unique == found.counts["2"].detectors == len(wanted) > 200


def test_a_detector_of_two_objects_has_the_larger_one_as_its_label(tmp_path: Path) -> None:
    """Objects lie beside one another, so that the IoU with one of them is its share of both."""
    source = open_concepts("diorama:objects/val:48")
    given = [Labels(source.labels(image).maps[:1]) for image in range(24)]
    drawings = np.stack([each.maps for each in given])
    sizes = np.bincount(drawings.ravel())
    pairs = list(itertools.pairwise(int(number) for number in np.flatnonzero(sizes[1:]) + 1))
    masks = np.stack([np.isin(drawings[:, 0], pair) for pair in pairs], 1)
    network, concepts = planted(masks, [(each.name, each.category) for each in source.concepts], given)
    found = dissect(network, concepts, tmp_path / "there", quantile=float(masks.mean((0, 2, 3)).max()))
    for unit, (one, other) in zip(found.layers[0], pairs, strict=True):
        assert unit.label.number == (one if sizes[one] > sizes[other] else other)
        assert unit.iou == max(sizes[one], sizes[other]) / (sizes[one] + sizes[other])


def test_of_concepts_that_cover_the_same_the_first_is_the_label(tmp_path: Path) -> None:
    """Whatever their categories, and in the bootstrap as well; where one covers a pixel less, it is the other."""
    masks = drawn(units=1)
    both = [Labels(np.concatenate([3 * each, 2 * each]).astype(np.int32)) for each in masks]  # wheel and tree
    found = dissect(*planted(masks, CONCEPTS, both), tmp_path / "same", quantile=float(masks.mean()))
    assert (found.layers[0][0].label, found.layers[0][0].iou) == (NUMBERED[1], 1)
    assert found.layers[0].counts().unique_interval == (1, 1)
    both[0].maps[1, *np.argwhere(masks[0, 0])[0]] = 0  # one pixel of the tree
    found = dissect(*planted(masks, CONCEPTS, both), tmp_path / "less", quantile=float(masks.mean()))
    assert (found.layers[0][0].label, found.layers[0][0].iou) == (NUMBERED[2], 1)


def test_of_what_is_larger_than_the_quantile_only_the_top_is_seen(tmp_path: Path) -> None:
    """IoU is then the share that the quantile allows, which is the cap; and small objects have 1 all the same."""
    source = open_concepts("diorama:objects/val:48")
    given = [Labels(source.labels(image).maps[:1]) for image in range(24)]
    drawings = np.stack([each.maps[0] for each in given])
    wanted = [int(number) for number in np.unique(drawings) if number]
    masks = np.stack([drawings == number for number in wanted], 1)
    ramp = 1 + np.random.default_rng(0).permutation(drawings.size).reshape(-1, 1, 48, 48) / drawings.size
    network, concepts = planted(masks * ramp, [(each.name, each.category) for each in source.concepts], given)
    found = dissect(network, concepts, tmp_path / "there", quantile=0.02)
    allowed, sizes = int(0.02 * drawings.size), masks.sum((0, 2, 3))
    assert (sizes > allowed).sum() > 5
    pixels = 48 * 48 * (drawings > 0).any((1, 2)).sum()
    for unit, number, size in zip(found.layers[0], wanted, sizes.tolist(), strict=True):
        assert (unit.label.number, unit.iou) == (number, min(1, allowed / size))
        assert found.concepts[number - 1].share == size / pixels
        assert unit.cap == pytest.approx(min(1, 0.02 * pixels / size))
    large = {number for number, size in zip(wanted, sizes, strict=True) if size / pixels >= 0.02 / 0.3}
    assert len(large) > 2
    assert {each.concept.number for each in found.unreachable(0.3)} == large


# --- the laws of METHODS 6.2 ------------------------------------------------------------------------------------------


def simple(masks: NDArray[Any], extra: NDArray[Any] | None = None) -> tuple[Network, Planted]:
    """Units that are the masks (n, c, h, w) of the first concepts, and others after them."""
    maps = masks.astype(np.int32) * (1 + np.arange(masks.shape[1]))[:, None, None]
    channels = masks if extra is None else np.concatenate([masks, extra], 1)
    return planted(channels, CONCEPTS, [Labels(each) for each in maps])


def drawn(images: int = 6, units: int = 3, side: int = 16) -> NDArray[Any]:
    return np.random.default_rng(1).random((images, units, side, side)) < 0.1


def test_a_unit_that_is_a_concept_has_iou_one(tmp_path: Path) -> None:
    masks = drawn(units=1)
    network, concepts = simple(masks, np.zeros((6, 3, 16, 16)))
    found = dissect(network, concepts, tmp_path / "there", quantile=float(masks.mean()))
    assert found.layers[0][0].iou == 1
    assert found.layers[0][0].label == NUMBERED[0]


def test_images_without_any_label_of_the_category_change_nothing(tmp_path: Path) -> None:
    """The values of these images are drawn again from those of the others, so that the thresholds stay."""
    values = np.random.default_rng(2).random((6, 4, 16, 16))
    maps = np.repeat(np.arange(3), 2)[:, None, None, None] * drawn(units=1).astype(np.int32)
    given = [Labels(each.astype(np.int32)) for each in maps]
    one = dissect(*planted(values, CONCEPTS, given), tmp_path / "one", quantile=0.1)
    more = given + [Labels(np.full((1, 16, 16), 3, np.int32))] * 6  # only a part
    two = dissect(*planted(np.concatenate([values, values]), CONCEPTS, more), tmp_path / "two", quantile=0.1)
    objects = [i for i, each in enumerate(NUMBERED) if each.category == "object"]
    assert (one.layers[0].iou[:, objects] == two.layers[0].iou[:, objects]).all()
    assert (one.layers[0].iou[:, objects] > 0).any()


def test_a_rising_transform_changes_nothing(tmp_path: Path) -> None:
    masks = drawn()
    values = np.random.default_rng(2).normal(size=(6, 4, 16, 16)).astype(np.float32)
    one = dissect(*simple(masks, values), tmp_path / "one", quantile=0.1)
    two = dissect(*simple(masks, np.exp(values / 2) - 7), tmp_path / "two", quantile=0.1)
    assert (one.layers[0].iou == two.layers[0].iou).all()


def test_a_constant_unit_has_an_empty_mask_and_no_label(tmp_path: Path) -> None:
    masks = drawn()
    constant = np.concatenate([np.full((6, 1, 16, 16), value) for value in (0.0, -2.0, 3.0)], 1)
    found = dissect(*simple(masks, constant), tmp_path / "there", quantile=0.1)
    for unit in found.layers[0].units[3:]:
        assert unit.iou == 0
        assert unit.label is None
    assert not found.arrays["areas"][3:].any()


def test_two_disjoint_concepts_are_never_both_above_one_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    maps = rng.integers(1, 4, (6, 1, 16, 16)).astype(np.int32)
    maps[maps == 3] = 6
    values = np.concatenate([maps == 1, maps == 2, maps < 6, rng.random((6, 9, 16, 16))], 1)
    network, concepts = planted(values, CONCEPTS, [Labels(each) for each in maps])
    for i, quantile in enumerate((0.2, 0.5, 0.7)):
        found = dissect(network, concepts, tmp_path / str(i), quantile=quantile)
        assert ((found.layers[0].iou[:, [0, 1, 5]] > 0.5).sum(1) <= 1).all()


@pytest.mark.parametrize("start", [-5, -1, 0, 4])
def test_a_ramp_is_a_ramp_between_the_centres(start: int) -> None:
    low = start + 4 * np.arange(9)
    spans = Spans(low, low + 7, 40, 4.0)
    places = np.arange(80) / 2 - 0.25  # labels twice as fine as the input
    axis, centres = Axis.of(spans, places, True), spans.centres()
    values = np.full(80, np.nan)
    for i in range(axis.knots - 1):
        part = slice(axis.bounds[i], axis.bounds[i + 1])
        values[part] = centres[i] + axis.shares[part] * (centres[i + 1] - centres[i])
    np.testing.assert_allclose(values, np.clip(places, centres[0], centres[-1]), atol=1e-12)


@pytest.mark.parametrize("anchored", [True, False])
def test_a_map_lies_as_on_the_overlays(anchored: bool) -> None:
    """Where labels have the size of the input, values are those of `Grid.placement`, also where centres are shared."""
    low = np.array([-3, 1, 1, 6, 9])
    grid = Grid(Spans(low, low + 5, 14), Spans(np.zeros(3, np.int64), np.full(3, 12), 12))
    window = Window.of(Preprocess((14, 12)), (14, 12), (14, 12))
    place = Placement.of(grid, window, anchored)
    maps = np.random.default_rng(0).random((1, 5, 3, 1)).astype(np.float32)
    folded = place.fold(maps)[0, :, :, 0]
    rows, columns = grid.placement("field" if anchored else "naive")
    expected = rows @ maps[0, :, :, 0] @ columns.T
    knots = [np.unique(axis.centres() if anchored else axis.tiles()).tolist() for axis in (grid.rows, grid.columns)]
    assert folded.shape == (place.rows.knots, place.columns.knots) == tuple(map(len, knots))
    for y, x in itertools.product(range(14), range(12)):
        assert bilinear(folded, (knots[0], knots[1]), y, x) == pytest.approx(expected[y, x], abs=1e-6)


# --- thresholds -------------------------------------------------------------------------------------------------------


def kinds() -> NDArray[np.float32]:
    """Values (20000, 7): normal, mostly zero, zero, negative, repeated, with NaN, with infinities."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20000, 7))
    values[:, 1] = np.maximum(values[:, 1] - 2.8, 0)
    values[:, 2] *= np.where(rng.random(20000) < 0.5, 0.0, -0.0)
    values[:, 3] = -np.abs(values[:, 3])
    values[:, 4] = values[:, 4].round(1)
    values[rng.random(20000) < 0.3, 5] = np.nan
    values[::5, 6] = np.inf
    values[1::5, 6] = -np.inf
    return values.astype(np.float32)


def fed(parts: list[NDArray[np.float32]], wanted: int, **options: Any) -> Tail:
    tail = Tail(7, wanted, **options)
    for part in parts:
        tail.update(part)
    return tail


@pytest.mark.parametrize("share", [0.005, 0.07, 0.6])
def test_thresholds_are_those_of_all_values_sorted(share: float) -> None:
    values = kinds()
    expected = []
    for column in values.T:
        known = np.sort(column[~np.isnan(column)])[::-1]
        expected.append(known[int(share * len(known) + 1e-6)])
    above = [(column > limit).sum() for column, limit in zip(values.T, expected, strict=True)]
    first = fed(np.split(values[:8000], 4), 12001)
    second = fed(np.split(values[8000:], 3), 12001, floors=first.floors)
    for tail in (fed([values], 12001), fed(np.split(values, 10), 12001)):
        assert tail.above(share)[0].tolist() == expected
    first.merge(second)
    again = Tail.restored(first.state(), 12001)
    for tail in (first, again):
        assert tail.above(share)[0].tolist() == expected
        assert tail.above(share)[1].tolist() == above
        assert not tail.errors().any()


def test_rounded_thresholds_say_how_far_they_are_off_and_count_exactly() -> None:
    values = kinds()
    exact = fed(np.split(values, 10), 1401).above(0.07)[0]
    tail = fed(np.split(values, 10), 1401, room=300)
    rounded, above = tail.above(0.07)
    assert above.tolist() == [(column > limit).sum() for column, limit in zip(values.T, rounded, strict=True)]
    finite = np.isfinite(exact)
    assert (rounded >= exact).all()
    off = np.abs(rounded[finite] - exact[finite])
    assert (off <= np.abs(exact[finite]) * 1.001 * tail.errors()[finite]).all()
    assert (tail.errors()[[0, 3, 5]] > 0).all()
    assert not tail.errors()[[1, 2, 4, 6]].any()


# --- shards, and how it ends ------------------------------------------------------------------------------------------


def some_world(images: int = 21) -> tuple[Network, Planted]:
    pictures, given = world((24, 20), (24, 20), images)
    return Nets().network(), Planted(Arrays(pictures.astype(np.float32)), NUMBERED, given)


def contents(found: Dissection) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in found.path.iterdir()}


def test_shards_together_are_one_pass(tmp_path: Path) -> None:
    network, concepts = some_world()
    one = dissect(network, concepts, tmp_path / "one", batch_size=21)
    many = dissect(network, concepts, tmp_path / "many", batch_size=1)  # three shards
    assert one.arrays.keys() == many.arrays.keys()
    for name, array in one.arrays.items():
        assert np.array_equal(array, many.arrays[name]), name


def stopping(at: int) -> Callable[[Progress], None]:
    calls = iter(range(1000))

    def report(progress: Progress) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("at", [0, 3, 12, 20, 23, 37, 40])
def test_what_was_killed_goes_on_and_ends_the_same(at: int, tmp_path: Path) -> None:
    network, concepts = some_world()
    whole = dissect(network, concepts, tmp_path / "whole", batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        dissect(network, concepts, tmp_path / "cut", batch_size=1, progress=stopping(at))
    steps: list[Progress] = []
    again = dissect(network, concepts, tmp_path / "cut", batch_size=1, progress=steps.append)
    assert contents(again) == contents(whole)
    assert len(steps) == 42 - at // 21 * 21 - at % 21 // 8 * 8  # finished shards of eight are not computed again
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["dissection"]


def test_what_was_killed_while_it_folded_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, concepts = some_world()
    whole = dissect(network, concepts, tmp_path / "whole", batch_size=1)
    folds, merge = iter(range(10)), passes.merge

    def merged(*states: Any) -> Any:
        if next(folds) == 2:
            raise KeyboardInterrupt
        return merge(*states)

    monkeypatch.setattr(passes, "merge", merged)
    with pytest.raises(KeyboardInterrupt):
        dissect(network, concepts, tmp_path / "cut", batch_size=1)
    assert contents(dissect(network, concepts, tmp_path / "cut", batch_size=1)) == contents(whole)


def test_another_job_is_refused_and_the_same_one_is_read(tmp_path: Path) -> None:
    network, concepts = some_world(5)
    found = dissect(network, concepts, tmp_path / "there", layers=["2"])
    before = contents(found)
    assert contents(dissect(network, concepts, tmp_path / "there", layers=["2"])) == before
    assert contents(Dissection.open(tmp_path / "there")) == before
    with pytest.raises(AtlasError, match=r"another dissection already .*quantile"):
        dissect(network, concepts, tmp_path / "there", layers=["2"], quantile=0.02)
    changed = replace(concepts, given=[*concepts.given[1:], concepts.given[0]])
    with pytest.raises(AtlasError, match="labels have changed"):
        dissect(network, changed, tmp_path / "there", layers=["2"])


def test_an_atlas_grows_a_section_and_one_of_another_network_does_not(tmp_path: Path) -> None:
    network, concepts = some_world(5)
    convscope.scan(network, concepts.images, tmp_path / "atlas", samples=0)
    found = dissect(network, concepts, tmp_path / "atlas")
    assert found.path == tmp_path / "atlas" / "dissection"
    convscope.Atlas.open(tmp_path / "atlas").verify()
    other = wrap(nn.Sequential(nn.Conv2d(3, 2, 3)), preprocess=Preprocess((24, 20)), output="real")
    with pytest.raises(AtlasError, match="an atlas of Sequential with other weights"):
        dissect(other, concepts, tmp_path / "atlas")


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    found = dissect(*some_world(5), tmp_path / "there")
    data = bytearray((found.path / "counts.safetensors").read_bytes())
    data[-1] ^= 1
    (found.path / "counts.safetensors").write_bytes(data)
    with pytest.raises(AtlasError, match="damaged"):
        Dissection.open(found.path).counts  # noqa: B018
    run = json.loads((found.path / "run.json").read_text())
    (found.path / "run.json").write_text(json.dumps(run | {"share": 0.1}))
    with pytest.raises(AtlasError, match="damaged"):
        Dissection.open(found.path)
    with pytest.raises(AtlasError, match="no dissection"):
        Dissection.open(tmp_path)


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    network, concepts = some_world(6)
    pictures = np.array(concepts.images.images)
    pictures[2] = np.nan
    found = dissect(network, replace(concepts, images=Arrays(pictures)), tmp_path / "some")
    assert [each["id"] for each in found.run["skipped"]] == [2]
    left = [0, 1, 3, 4, 5]
    fewer = replace(concepts, images=Arrays(pictures[left]), given=[concepts.given[i] for i in left])
    alone = dissect(network, fewer, tmp_path / "left")
    for name in ("thresholds", "seen", "intersections", "areas", "covered", "replicates"):
        assert np.array_equal(found.arrays[name], alone.arrays[name]), name
    with pytest.raises(ImagesError, match="none of 6 images"):
        dissect(network, replace(concepts, images=Arrays(np.full_like(pictures, np.nan))), tmp_path / "none")


def test_layers_without_maps_are_refused_by_name(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 22 * 18, 4))
    network = wrap(module, preprocess=Preprocess((24, 20)), output="real")
    concepts = some_world(4)[1]
    assert [layer.address for layer in dissect(network, concepts, tmp_path / "there").layers] == ["0"]
    with pytest.raises(AddressError, match="layer 2 has no map"):
        dissect(network, concepts, tmp_path / "linear", layers=["2"])
    with pytest.raises(AddressError, match="units 0 to 1"):
        Dissection.open(tmp_path / "there")["0:2"]
    with pytest.raises(AddressError, match="no layer or unit"):
        Dissection.open(tmp_path / "there")["7"]


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    network, concepts = some_world(4)
    with pytest.raises(ValueError, match=r"quantile is 1\.5"):
        dissect(network, concepts, tmp_path, quantile=1.5)


def test_the_command_says_the_same_as_the_folder(tmp_path: Path) -> None:
    arguments = ["dissect", "diorama:objects", "diorama:objects/val:96", "-o", str(tmp_path), "--limit", "6"]
    arguments += ["--layers", "conv4,conv5", "--quantile", "0.01"]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    found = Dissection.open(tmp_path)
    assert [layer["layer"] for layer in said["layers"]] == ["conv4", "conv5"]
    assert [unit["iou"] for unit in said["units"]] == [unit.iou for unit in found.units]
    assert [each["concept"]["number"] for each in said["unreachable"]] == [
        e.concept.number for e in found.unreachable()
    ]
    assert said["images"] == 6
    assert "another dissection already" in CliRunner().invoke(main, [*arguments, "--lite"]).output
    table = CliRunner().invoke(main, arguments)
    assert f"{found.counts['conv5'].detectors}" in table.stdout
    assert "too large to be detected" in table.stdout
    assert CliRunner().invoke(main, [*arguments, "--quantile", "0.02"]).exit_code == 1


def test_commands_say_what_must_be_known_of_the_concepts(tmp_path: Path) -> None:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "concepts.csv").write_text("number,name,category\n1,thing,object\n2,bit,part\n")
    grey = PIL.Image.new("L", (32, 32), 1)
    for name, category in (("a", "object"), ("b", "part")):
        (tmp_path / "set" / "masks" / category).mkdir(parents=True)
        grey.save(tmp_path / "set" / "images" / f"{name}.png")
        grey.save(tmp_path / "set" / "masks" / category / f"{name}.png")
    for command, layer in (("dissect", "--layers"), ("rotation", "--layer")):
        words = [command, "digits:lenet5", str(tmp_path / "set"), layer, "c1", "-o", str(tmp_path / "out")]
        done = CliRunner().invoke(main, words)
        assert "note: 1 of 2 images have no label map in masks/object, such as images/b.png" in done.stderr
        assert "such as images/b.png" in json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)["remark"]
