"""Images segmented by units: masks against their definitions, pixel by pixel, and by the laws of METHODS 5.4."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from torch import nn

import convscope
from convscope.address import Layer, Unit
from convscope.cli import main
from convscope.concepts import Concept, Labels
from convscope.dissection import Dissection, dissect
from convscope.empirical_field import EmpiricalField, EmpiricalFields
from convscope.errors import AddressError, AtlasError
from convscope.geometry import Grid, Spans
from convscope.images import Arrays
from convscope.network import Network, wrap
from convscope.preprocess import Preprocess
from convscope.render.figures import segments as figure
from convscope.render.figures.sheet import GREY, INK
from convscope.scanner import scan
from convscope.studies import unit_masks
from convscope.studies.segments import segments
from dissecting import Planted, bilinear, planted

pytestmark = pytest.mark.usefixtures("one_thread")

Maps = NDArray[np.float32]


def grid(rows: int = 5, columns: int = 4, size: tuple[int, int] = (31, 26)) -> Grid:
    """Fields that reach beyond the image; the centres of rows lie between pixels."""
    low, left = np.arange(rows) * 6 - 2, np.arange(columns) * 7 - 3
    return Grid(Spans(low, low + 8, size[0], 6.0), Spans(left, left + 9, size[1], 7.0))


def drawn(images: int = 3, rows: int = 5, columns: int = 4) -> Maps:
    """Maps whose largest values fall from one to the next."""
    maps = np.random.default_rng(3).gamma(0.6, 1.0, (images, rows, columns))
    maps *= (np.arange(images, 0, -1) / maps.max((1, 2)))[:, None, None]
    return maps.astype(np.float32)


# --- against the definitions ------------------------------------------------------------------------------------------


def test_the_mask_of_a_dissection_is_the_map_between_the_centres_of_its_fields() -> None:
    place, maps = grid(), drawn()
    centres = ([6 * i + 1.5 for i in range(5)], [7 * j + 1.0 for j in range(4)])
    masks = unit_masks.by_threshold(maps, place, 0.7)
    for image, y, x in np.ndindex(3, 31, 26):
        assert masks[image, y, x] == (bilinear(maps[image], centres, y, x) > 0.7)
    assert 0 < masks.mean() < 0.5


def test_the_mask_of_a_field_is_the_union_of_its_stamps() -> None:
    place, maps = grid(), drawn()
    field = np.random.default_rng(0).random((11, 8)) < 0.3
    field[:2], field[:, 6:] = False, False
    masks = unit_masks.by_field(maps, place, 0.7, field)
    expected = np.zeros_like(masks)
    for image, row, column in np.ndindex(3, 5, 4):
        if maps[image, row, column] > 0.7:
            for v, u in np.argwhere(field):
                y, x = 6 * row + 2 + v - 5, 7 * column + 1 + u - 4  # a centre of 1.5 is put on pixel 2
                if 0 <= y < 31 and 0 <= x < 26:
                    expected[image, y, x] = True
    assert np.array_equal(masks, expected)
    assert 0 < masks.mean() < 0.5


def on_input(values: NDArray[np.float64], y: int, x: int) -> float:
    """The value of a square resized map at the middle of a pixel of an input of 31 by 26 px."""
    side = len(values)
    return float(values[math.floor((y + 0.5) / 31 * side), math.floor((x + 0.5) / 26 * side)])


def test_the_mask_of_the_toolkit_in_pytorch() -> None:
    maps = drawn()
    masks = unit_masks.by_first(maps, grid())
    for image in range(3):
        tiles = [[(i + 0.5) * 120 / count - 0.5 for i in range(count)] for count in (5, 4)]
        shares = maps[image].astype(float) / maps[0].max()
        resized = np.array([[bilinear(shares, (tiles[0], tiles[1]), y, x) for x in range(120)] for y in range(120)])
        for y, x in np.ndindex(31, 26):
            assert masks[image, y, x] == (on_input(resized, y, x) > 0.2)
    assert 0 < masks.mean() < 0.5


def keys(distance: float) -> float:
    """The kernel of cubic convolution [Keys 1981]."""
    d = abs(distance)
    return 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def cubic(count: int, side: int) -> NDArray[np.float64]:
    """(side, count): from cells to pixels; at borders the weights of the cells that are there make one."""
    weights = np.array([[keys((i + 0.5) * count / side - 0.5 - k) for k in range(count)] for i in range(side)])
    return weights / weights.sum(1, keepdims=True)


def test_the_mask_of_the_toolkit_in_matlab() -> None:
    maps = drawn() - np.float32(0.2)  # what is negative counts by its magnitude
    masks = unit_masks.by_own(maps, grid())
    for image in range(3):
        smooth = np.zeros((5, 4))
        for row, column in np.ndindex(5, 4):
            around = maps[image, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            smooth[row, column] = np.abs(around).astype(float).mean()
        resized = cubic(5, 224) @ (smooth / smooth.max()) @ cubic(4, 224).T
        unsure = np.abs(resized - 0.4) < 1e-5  # it is computed in float32
        for y, x in np.ndindex(31, 26):
            assert masks[image, y, x] == (on_input(resized, y, x) > 0.4) or on_input(unsure, y, x)
    assert 0 < masks.mean() < 0.9


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.3, 2.0])
def test_a_constant_map_is_marked_as_a_whole_or_not_at_all(value: float) -> None:
    maps = np.full((2, 5, 4), value, np.float32)
    everywhere = value > 0
    assert (unit_masks.by_threshold(maps, grid(), 1.0) == (value > 1)).all()
    assert (unit_masks.by_first(maps, grid()) == everywhere).all()
    assert (unit_masks.by_own(maps, grid()) == everywhere).all()
    field = np.ones((9, 9), np.bool_)  # larger than the way from cell to cell
    assert (unit_masks.by_field(maps, grid(), 1.0, field) == (value > 1)).all()


@pytest.mark.parametrize("field", [None, np.eye(5, dtype=np.bool_)])
def test_a_higher_threshold_marks_less_of_the_same(field: NDArray[np.bool_] | None) -> None:
    taus = [*np.quantile(drawn(), (0.1, 0.3, 0.5, 0.7, 0.9)), 3.1]
    masks = [
        unit_masks.by_threshold(drawn(), grid(), tau)
        if field is None
        else unit_masks.by_field(drawn(), grid(), tau, field)
        for tau in taus
    ]
    assert all((more >= less).all() for more, less in itertools.pairwise(masks))
    assert len({int(mask.sum()) for mask in masks}) == len(masks)
    assert not masks[-1].any()


def test_only_the_scale_of_each_image_marks_what_does_not_excite_the_unit() -> None:
    maps = drawn()
    maps[2] *= 0.1 / maps[2].max()
    for masks in (
        unit_masks.by_first(maps, grid()),
        unit_masks.by_threshold(maps, grid(), 0.2),
        unit_masks.by_field(maps, grid(), 0.2, np.ones((3, 3), np.bool_)),
    ):
        assert masks[:2].any((1, 2)).all()
        assert not masks[2].any()
    assert unit_masks.by_own(maps, grid()).any((1, 2)).all()


def test_cells_that_see_nothing_mark_nothing() -> None:
    spans = Spans(np.array([0, 4, 9]), np.array([4, 4, 12]), 12)
    maps = np.zeros((1, 3, 3), np.float32)
    maps[0, 1] = 1
    field = np.ones((3, 3), np.bool_)
    assert not unit_masks.by_field(maps, Grid(spans, spans), 0.5, field).any()
    assert not unit_masks.by_field(maps, grid(3, 3), 0.5, field & False).any()


# --- from an atlas, and from a dissection alone -----------------------------------------------------------------------


CONCEPTS = [("car", "object"), ("sky", "object")]


def world(images: int = 7, units: int = 2) -> tuple[Network, Planted]:
    """Units that are the channels of images in which there are blots of two concepts."""
    rng = np.random.default_rng(2)
    blots = np.repeat(np.repeat(rng.random((images, units, 4, 5)) < 0.15, 4, 2), 4, 3)
    channels = blots * rng.integers(1, 40, (images, units, 1, 1)) + rng.random((images, units, 16, 20)) / 2
    channels[3] = channels[5]  # equal maxima
    maps = np.where(blots[:, 0], 1, np.where(blots[:, 1], 2, 0))[:, None].astype(np.int32)
    return planted(channels, CONCEPTS, [Labels(each) for each in maps])


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network, Planted]:
    """An atlas with a dissection, its network and its images."""
    network, concepts = world()
    path = tmp_path_factory.mktemp("segments") / "atlas"
    scan(network, concepts.images, path)
    dissect(network, concepts, path, quantile=0.1)
    return path, network, concepts


@pytest.mark.parametrize("alone", [False, True])
def test_images_are_the_best_and_masks_are_where_the_unit_is_above_its_threshold(
    atlas: tuple[Path, Network, Planted], alone: bool
) -> None:
    path, network, concepts = atlas
    steps = []
    found = segments(
        network, path / "dissection" if alone else path, ["0:1", "0:0"], top=5, images=concepts.images,
        batch_size=2, progress=steps.append,
    )  # fmt: skip
    channels = concepts.images.images
    assert [str(unit.address) for unit in found.units] == ["0:1", "0:0"]
    for unit in found.units:
        index = unit.address.index
        values = channels[:, index]
        order = sorted(range(7), key=lambda image: (-values[image].max(), image))
        assert [each.id for each in unit.images] == order[:5]
        limit = np.sort(values.ravel())[::-1][math.floor(0.1 * values.size)]
        assert unit.threshold == limit
        assert unit.found is not None
        assert unit.found.label is not None
        assert unit.found.label.name == CONCEPTS[index][0]
        for each in unit.images:
            assert np.array_equal(each.mask, values[each.id] > limit)
            assert each.value == values[each.id].max()
            assert np.array_equal(
                each.picture, network.preprocess.display(network.preprocess(concepts.images.read(each.id)))
            )
    looked_at = {each.id for unit in found.units for each in unit.images}
    assert [step.total for step in steps if step.phase == "maps"][-1] == len(looked_at)
    assert {step.phase for step in steps} == ({"ranking", "maps"} if alone else {"maps"})


def test_units_of_several_layers_share_their_images(tmp_path: Path) -> None:
    """Without names they are the best of every layer; each mask is that of the unit alone."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2))
    for parameter in module.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).float()
    network = wrap(module.eval(), preprocess=Preprocess((24, 20)), output="real")
    rng = np.random.default_rng(0)
    images = Arrays((rng.integers(0, 3, (9, 3, 24, 20)) / 2).astype(np.float32))
    given = [Labels(np.repeat(np.repeat(rng.integers(0, 3, (1, 6, 5)), 4, 1), 4, 2).astype(np.int32)) for _ in range(9)]
    concepts = Planted(images, planted(images.images, CONCEPTS, given)[1].concepts, given)
    scan(network, images, tmp_path / "atlas")
    dissection = dissect(network, concepts, tmp_path / "atlas", quantile=0.05)
    both = segments(network, tmp_path / "atlas", best=2, top=3, images=images)
    best = [str(unit.address) for layer in dissection.layers for unit in sorted(layer, key=lambda unit: -unit.iou)[:2]]
    assert [str(unit.address) for unit in both.units] == best
    inputs = torch.from_numpy(images.images)
    with torch.no_grad():
        maps = {"0": module[:2](inputs).numpy(), "2": module(inputs).numpy()}
    places = {"0": ([2 * i for i in range(12)], [2 * i for i in range(10)]),
              "2": ([4 * j + 2 for j in range(5)], [4 * j + 2 for j in range(4)])}  # fmt: skip
    for unit in both.units:
        layer, index = str(unit.address.layer), unit.address.index
        assert unit.threshold is not None
        for each in unit.images:
            values = maps[layer][each.id, index]
            expected = [[bilinear(values, places[layer], y, x) > unit.threshold for x in range(20)] for y in range(24)]
            assert np.array_equal(each.mask, expected)
    alone = segments(network, tmp_path / "atlas", "2", best=2, top=3, images=images)
    assert [str(unit.address) for unit in alone.units] == best[2:]


def test_methods_of_the_toolkit_need_no_dissection(tmp_path: Path) -> None:
    network, concepts = world()
    scan(network, concepts.images, tmp_path / "atlas")
    for method, make in (("torch", unit_masks.by_first), ("matlab", unit_masks.by_own)):
        found = segments(network, tmp_path / "atlas", "0:1", method=method, images=concepts.images)
        unit = found.units[0]
        assert unit.found is unit.threshold is None
        assert len(unit.images) == 7
        pixels = np.arange(20), np.arange(16)
        place = Grid(Spans(pixels[1], pixels[1] + 1, 16), Spans(pixels[0], pixels[0] + 1, 20))
        maps = np.stack([concepts.images.images[each.id, 1] for each in unit.images])
        assert np.array_equal([each.mask for each in unit.images], make(maps, place))
    for method, remedy in (("dissection", "convscope dissect"), ("field", "convscope fields")):
        with pytest.raises(AtlasError, match=remedy):
            segments(network, tmp_path / "atlas", "0:1", method=method, images=concepts.images)
    with pytest.raises(AtlasError, match="convscope dissect"):
        segments(network, tmp_path / "atlas", images=concepts.images)


def boxes(tmp_path: Path, pictures: NDArray[Any], above: int = 0) -> tuple[Network, Arrays]:
    """A unit that adds up 5 × 5 pixels, 3 px apart, its atlas, and a dissection with so many of its values above T."""
    layer = nn.Conv2d(1, 1, 5, 3, 1, bias=False)
    nn.init.ones_(layer.weight)
    network = wrap(nn.Sequential(layer), preprocess=Preprocess((32, 35), channels="L"), output="real")
    images = Arrays(pictures.astype(np.float32))
    scan(network, images, tmp_path / "atlas", exact_quantiles=True)
    if above:
        known, given = [Concept(1, "white", "colour")], [Labels(picture.astype(np.int32)) for picture in pictures]
        quantile = above / (len(pictures) * 10 * 11)
        dissect(network, Planted(images, known, given), tmp_path / "atlas", quantile=quantile)
    return network, images


def white(places: list[set[tuple[int, int]]]) -> NDArray[Any]:
    """Images that are white where these cells of the unit see them."""
    pictures = np.zeros((len(places), 1, 32, 35))
    for picture, cells in zip(pictures, places, strict=True):
        for row, column in cells:
            picture[0, 3 * row - 1 : 3 * row + 4, 3 * column - 1 : 3 * column + 4] = 1
    return pictures


@pytest.fixture
def box_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """That box as the measured field of every atlas."""
    moved = np.zeros((11, 9), np.float32)
    moved[3:8, 2:7] = 1
    field = EmpiricalField(Unit(Layer("0"), 0), moved, 3, 9)
    monkeypatch.setattr(EmpiricalFields, "open", classmethod(lambda cls, path: {"0:0": field}))


@pytest.mark.usefixtures("box_field")
def test_fields_at_known_places_give_their_union(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    places = [{(int(row), int(column)) for row, column in rng.integers(1, (10, 11), (3, 2))} for _ in range(9)]
    pictures = white(places)
    network, images = boxes(tmp_path, pictures, sum(map(len, places)))
    with torch.no_grad():  # no cell between them sees white alone
        assert (network.module(torch.from_numpy(images.images)) == 25).sum() == sum(map(len, places))
    found = segments(network, tmp_path / "atlas", "0:0", method="field", images=images)
    assert len(found.units[0].images) == 9
    for each in found.units[0].images:
        assert np.array_equal(each.mask, pictures[each.id, 0] == 1)
        assert each.mask.any()


def test_fields_that_were_measured_are_read_from_the_atlas(tmp_path: Path) -> None:
    """They are those boxes, as far as occluders can tell."""
    rng = np.random.default_rng(4)
    places = [(int(row), int(column)) for row, column in rng.integers(2, 8, (9, 2))]
    pictures = white([{place} for place in places])
    network, images = boxes(tmp_path, pictures, len(places))
    field = convscope.empirical_fields(network, tmp_path / "atlas", images, window=3, stride=1)["0:0"].mask
    found = segments(network, tmp_path / "atlas", "0:0", method="field", images=images)
    height, width = field.shape
    for each in found.units[0].images:
        y, x = (3 * place + 1 for place in places[each.id])  # the centre of its cell
        around = each.mask[y - height // 2 : y + height // 2 + 1, x - width // 2 : x + width // 2 + 1]
        assert np.array_equal(around, field)
        truth = pictures[each.id, 0] == 1
        assert (each.mask & truth).sum() > 0.8 * (each.mask | truth).sum()


@pytest.mark.usefixtures("box_field")
def test_without_a_dissection_the_threshold_of_a_field_is_a_quantile_of_the_scan(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).random((20, 1, 32, 35)) ** 12  # few large values
    network, images = boxes(tmp_path, pictures)
    with torch.no_grad():
        values = network.module(torch.from_numpy(images.images)).numpy()
    found = segments(network, tmp_path / "atlas", "0:0", method="field", images=images)
    limit = found.units[0].threshold
    assert limit is not None
    assert limit == pytest.approx(np.quantile(values, 0.995), rel=1 / 16)  # the width of a bin
    assert limit != pytest.approx(np.quantile(values, 0.98), rel=1 / 16)
    marked = {each.id for each in found.units[0].images if each.mask.any()}
    assert marked == {each.id for each in found.units[0].images if values[each.id].max() > limit}


def test_an_atlas_of_other_values_than_the_dissection_is_refused(tmp_path: Path) -> None:
    """Its order of images need not be that of the maps that are shown."""
    network, concepts = world()
    scan(network, concepts.images, tmp_path / "atlas", at="output")
    dissect(network, concepts, tmp_path / "atlas", quantile=0.05)
    with pytest.raises(AtlasError, match=r"scanned at their output and dissected at their response .*dissection, and"):
        segments(network, tmp_path / "atlas", "0:1", method="torch", images=concepts.images)
    found = segments(network, tmp_path / "atlas" / "dissection", "0:1", images=concepts.images)
    values = [each.value for each in found.units[0].images]
    assert len(values) > 1
    assert values == sorted(values, reverse=True)


def test_what_does_not_belong_together_is_refused(atlas: tuple[Path, Network, Planted]) -> None:
    path, network, concepts = atlas
    other = wrap(nn.Sequential(nn.Conv2d(2, 2, 1)), preprocess=network.preprocess, output="real")
    with pytest.raises(AtlasError, match="other weights or preprocessing"):
        segments(other, path, "0:0", images=concepts.images)
    with pytest.raises(AtlasError, match="other images"):
        segments(network, path, "0:0", images=Arrays(concepts.images.images[:5]))
    for unit, message in (
        ("0:2", "units 0 to 1"), ("0:0@1,1", "neuron"), ("1", "no layer or unit"), ("7:0", "no convolution"),
    ):  # fmt: skip
        with pytest.raises(AddressError, match=message):
            segments(network, path, unit, images=concepts.images)
    with pytest.raises(ValueError, match="expected one of dissection, field, torch, matlab"):
        segments(network, path, "0:0", method="lite", images=concepts.images)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top is 0"):
        segments(network, path, "0:0", top=0, images=concepts.images)


def test_a_layer_without_a_map_has_no_place_on_an_image(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 4))
    network = wrap(module, preprocess=Preprocess((8, 8)), output="real")
    images = Arrays(np.random.default_rng(0).random((9, 3, 8, 8), np.float32))
    scan(network, images, tmp_path / "atlas")
    with pytest.raises(AddressError, match="layer 2 has no map"):
        segments(network, tmp_path / "atlas", "2:0", method="torch", images=images)


# --- the figure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dissection", "torch", "matlab"])
def test_tiles_are_the_images_dark_outside_the_masks(
    atlas: tuple[Path, Network, Planted], method: Any, tmp_path: Path
) -> None:
    path, network, concepts = atlas
    found = segments(network, path, ["0:1", "0:0"], method=method, images=concepts.images, top=12)
    sheet = figure.draw(found)
    tiles = [axes.images[0].get_array() for axes in sheet.figure.axes if axes.images]
    assert len(tiles) == 14
    for tile, each in zip(tiles, [each for unit in found.units for each in unit.images], strict=True):
        dim = {"torch": 0.0}.get(method, 0.2)
        for y, x in np.random.default_rng(0).integers(0, (16, 20), (40, 2)):
            middle = tile[int((y + 0.5) * tile.shape[0] / 16), int((x + 0.5) * tile.shape[1] / 20)]
            expected = each.picture[y, x] * (1.0 if each.mask[y, x] else dim)
            assert np.abs(middle - expected).max() <= 1
    sheet.save(tmp_path / "a.svg")
    written = (tmp_path / "a.svg").read_text()
    assert "0, unit 1" in written
    assert f"car (object), IoU {found.units[1].found.iou:.2f}" in written  # type: ignore[union-attr]


@pytest.mark.parametrize("detects", [False, True])
def test_labels_up_to_the_cut_are_grey(atlas: tuple[Path, Network, Planted], detects: bool) -> None:
    path, network, concepts = atlas
    made = segments(network, path, "0:0", images=concepts.images)
    found = made.units[0].found
    assert found is not None
    unit = replace(made.units[0], found=replace(found, iou=0.0401 if detects else 0.04))
    drawn = figure.draw(replace(made, units=(unit,))).figure
    label = next(text for text in drawn.texts if "IoU 0.04" in text.get_text())
    mark = next(patch for axes in drawn.axes for patch in axes.patches)
    assert label.get_color() == (INK if detects else GREY)
    assert to_hex(mark.get_facecolor()) == ("#4b4cbf" if detects else GREY)


def test_the_command_draws_the_best_units_of_each_layer(tmp_path: Path) -> None:
    words = ["dissect", "diorama:objects", "diorama:objects/val:96", "-o", str(tmp_path), "--limit", "6"]
    done = CliRunner().invoke(main, [*words, "--layers", "conv4,conv5", "--quantile", "0.01"])
    assert done.exit_code == 0, done.output
    words = ["figure", "segments", "diorama:objects", str(tmp_path), "--top", "3", "-o", str(tmp_path / "a.png")]
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    found = Dissection.open(tmp_path)
    best = [max(layer, key=lambda unit: unit.iou) for layer in found.layers]
    assert [each["unit"] for each in said["units"]] == [str(unit.address) for unit in best]
    assert [each["iou"] for each in said["units"]] == [unit.iou for unit in best]
    made = segments(convscope.load("diorama:objects"), tmp_path, top=3)
    assert [[each["marked"] for each in unit["images"]] for unit in said["units"]] == [
        [each.mask.mean() for each in unit.images] for unit in made.units
    ]
    assert (tmp_path / "a.png").stat().st_size > 10_000
    done = CliRunner().invoke(main, [*words, "conv3:0"])
    assert done.exit_code == 1
    assert "conv3 was not dissected" in done.stderr
