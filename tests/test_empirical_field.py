"""Measured fields: against their definition, occluder by occluder, on planted supports, and the laws of METHODS 5."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import convscope
from convscope.address import parse_unit
from convscope.atlas import Atlas
from convscope.cli import main
from convscope.cli.fields import _row
from convscope.empirical_field import EmpiricalField, EmpiricalFields, empirical_fields, sizes, task
from convscope.empirical_field.choice import Candidates, Readings, choose
from convscope.empirical_field.task import Task, default_window
from convscope.errors import AddressError, AtlasError, AttributionError, ImagesError
from convscope.images import Arrays
from convscope.network import Network, wrap
from convscope.preprocess import Preprocess
from convscope.render.figures.fields import _fitting, _shades, draw
from convscope.render.figures.sheet import NORMAL, text_width
from convscope.scanner import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


# --- against the definition -------------------------------------------------------------------------------------------


def noise(count: int, size: tuple[int, int], channels: int = 3, seed: int = 1) -> Arrays:
    return Arrays(np.random.default_rng(seed).random((count, channels, *size), np.float32))


def plain(module: nn.Module, size: tuple[int, int], channels: int = 3, **preprocess: Any) -> Network:
    return wrap(module.eval(), preprocess=Preprocess(size, channels=channels, **preprocess), output="real")


def scanned(network: Network, images: Arrays, folder: Path, **options: Any) -> Atlas:
    return convscope.scan(network, images, folder, samples=0, projections=0, **options)


def two_layers() -> tuple[nn.Sequential, dict[str, tuple[nn.Module, Sequence[float], Sequence[float], int]]]:
    """A network, and of its layers the part that gives the response, the centres of rows and columns, and the field."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU())
    module[3].bias.data += 1  # all units are alive
    # Cell i of the first layer sees pixels 2i-1 to 2i+1; a cell of the pool two of these, and j of the last one the
    # cells j to j+2 of the pool: pixels 4j-1 to 4j+11-1.
    first = [2.0 * i for i in range(12)], [2.0 * i for i in range(10)]
    last = [4.0 * j + 5 for j in range(4)], [4.0 * j + 5 for j in range(3)]
    return module, {"0": (module[:2], *first, 3), "3": (module, *last, 13)}


@torch.no_grad()
def by_definition(
    network: Network, response: nn.Module, images: Arrays, unit: int, centres: tuple[Sequence[float], Sequence[float]],
    window: int, stride: int, top: int, half: tuple[int, int],
) -> NDArray[np.float64]:  # fmt: skip
    """The mean of calibrated maps (H, W) of a unit, NaN where few images say any: a full pass for every occluder."""
    inputs = torch.stack([network.preprocess(images.read(i)) for i in range(len(images))])
    maps = response(inputs)[:, unit]
    best = sorted(range(len(images)), key=lambda i: (-float(maps[i].max()), i))[:top]
    sums, counts = np.zeros((2 * half[0] + 1, 2 * half[1] + 1)), np.zeros((2 * half[0] + 1, 2 * half[1] + 1))
    for image in best:
        row, column = divmod(int(maps[image].argmax()), maps.shape[2])
        fill = filling(network, image, window)
        height, width = inputs.shape[2:]
        tops, lefts = ([*range(0, side - window, stride), side - window] for side in (height, width))
        values = np.zeros((len(tops), len(lefts)))
        for i, y in enumerate(tops):
            for j, x in enumerate(lefts):
                copy = inputs[image : image + 1].clone()
                copy[0, :, y : y + window, x : x + window] = fill
                values[i, j] = abs(float(response(copy)[0, unit, row, column]) - float(maps[image, row, column]))
        ys, xs = ([start + (window - 1) / 2 for start in starts] for starts in (tops, lefts))
        for v in range(len(sums)):
            for h in range(sums.shape[1]):
                y, x = centres[0][row] + v - half[0], centres[1][column] + h - half[1]
                if ys[0] <= y <= ys[-1] and xs[0] <= x <= xs[-1]:
                    sums[v, h] += bilinear(values, ys, xs, y, x)
                    counts[v, h] += 1
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=2 * counts >= top)


def filling(network: Network, image: int, window: int) -> Tensor:
    """Uniform noise in the range of the pixels, as the network takes it."""
    preprocess = network.preprocess
    planes, (low, high) = preprocess.shape[0], preprocess.range
    raw = np.random.default_rng([0, image]).random((planes, window, window))
    mean, std = (each if len(each) == planes else each * planes for each in (preprocess.mean, preprocess.std))
    rows = [(low + (high - low) * raw[c] - mean[c]) / std[c] for c in range(planes)]
    return torch.from_numpy(np.stack(rows)).float()


def bilinear(values: NDArray[Any], ys: Sequence[float], xs: Sequence[float], y: float, x: float) -> float:
    i = max(k for k in range(len(ys) - 1) if ys[k] <= y)
    j = max(k for k in range(len(xs) - 1) if xs[k] <= x)
    down, right = (y - ys[i]) / (ys[i + 1] - ys[i]), (x - xs[j]) / (xs[j + 1] - xs[j])
    return float(
        values[i, j] * (1 - down) * (1 - right) + values[i + 1, j] * down * (1 - right)
        + values[i, j + 1] * (1 - down) * right + values[i + 1, j + 1] * down * right
    )  # fmt: skip


@pytest.mark.parametrize(("window", "stride"), [(5, 2), (3, 3), (4, 1)])
def test_a_map_is_what_a_pass_for_every_occluder_gives(window: int, stride: int, tmp_path: Path) -> None:
    """The second grid leaves pixels at the far border, which a last occluder hides."""
    module, layers = two_layers()
    network = plain(module, (24, 20), mean=(0.4, 0.5, 0.6), std=(0.5, 0.2, 1), range=(0, 2))
    images = noise(5, (24, 20))
    scanned(network, images, tmp_path / "atlas", batch_size=2)
    found = empirical_fields(network, tmp_path / "atlas", images, top=3, window=window, stride=stride)
    assert [layer.address for layer in found.layers] == ["0", "3"]
    for layer in found.layers:
        response, rows, columns, theoretical = layers[layer.address]
        assert layer.theoretical == theoretical
        for field in layer:
            height, width = field.map.shape
            assert height % 2 == width % 2 == 1
            half = height // 2, width // 2
            truth = by_definition(
                network, response, images, field.address.index, (rows, columns), window, stride, 3, half
            )
            assert field.images == 3
            np.testing.assert_allclose(field.discrepancies, truth, rtol=0, atol=1e-5 * np.nanmax(truth))
            check_support(field, theoretical, window, stride)


def check_support(field: EmpiricalField, theoretical: int, window: int, stride: int) -> None:
    """Beyond the reach of occluders that touch the field, and the next one, to which it is linear, all is zero."""
    height, width = field.map.shape
    y, x = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
    reach = (theoretical + window) / 2 + stride
    assert field.map.any()
    assert not field.map[y >= reach].any()
    assert not field.map[:, x >= reach].any()


def test_a_linear_unit_moves_by_what_the_occluder_takes_and_adds(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(2, 1, 5, bias=False))
    network, images = plain(module, (15, 15), 2), noise(1, (15, 15), 2)
    atlas = scanned(network, images, tmp_path / "atlas")
    found = empirical_fields(network, atlas, images, window=3, stride=1)["0:0"]
    top, weights = atlas["0:0"].top[0], module[0].weight.detach().numpy()[0].astype(float)
    pixels, fill = images.images[0].astype(float), filling(network, 0, 3).numpy()
    middle = found.map.shape[0] // 2
    for y in range(13):
        for x in range(13):
            moved = 0.0
            for v in range(3):
                for h in range(3):
                    i, j = y + v - top.row, x + h - top.column  # on the weights
                    if 0 <= i < 5 and 0 <= j < 5:
                        moved += (weights[:, i, j] * (pixels[:, y + v, x + h] - fill[:, v, h])).sum()
            place = middle + y + 1 - (top.row + 2), middle + x + 1 - (top.column + 2)
            if min(place) >= 0 and max(place) < len(found.map):
                assert found.map[place] == pytest.approx(abs(moved), abs=1e-6)


def test_a_shifted_image_has_the_same_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the jump, with the place of the maximum one cell on, and what hides it the same."""
    torch.manual_seed(5)
    module = nn.Sequential(nn.Conv2d(1, 3, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 3, 2), nn.ReLU())  # jumps of 4 px
    network = plain(module, (40, 40), 1)
    inner = np.random.default_rng(2).random((11, 11), np.float32)  # all else is flat
    pictures = np.full((2, 1, 40, 40), 0.5, np.float32)
    pictures[0, 0, 13:24, 13:24] = pictures[1, 0, 17:28, 13:24] = inner
    monkeypatch.setattr(Task, "fill", lambda task, image: filling(network, 0, task.window))
    maps = []
    for image in range(2):
        images = Arrays(pictures[image : image + 1])
        atlas = scanned(network, images, tmp_path / f"{image}")
        best = atlas["2:0"].top[0]
        maps.append((best.row, best.column, empirical_fields(network, atlas, images, window=5, stride=2)["2:0"].map))
    (row, column, one), (below, beside, other) = maps
    assert (below, beside) == (row + 1, column)
    inside = slice(len(one) // 2 - 7, len(one) // 2 + 8)
    np.testing.assert_allclose(one[inside, inside], other[inside, inside], rtol=1e-5, atol=1e-6 * one.max())
    assert (one[inside, inside] > 0.01 * one.max()).sum() > 50


# --- planted supports -------------------------------------------------------------------------------------------------


def test_one_pixel_is_as_large_as_the_occluder_and_has_the_size_one(tmp_path: Path) -> None:
    layer = nn.Conv2d(3, 2, 1, bias=False)
    layer.weight.data.abs_()
    network = plain(nn.Sequential(layer), (25, 25))
    images = noise(2, (25, 25))
    images.images[:] *= 0.9
    images.images[:, :, 12, 12] = 1
    atlas = scanned(network, images, tmp_path / "atlas")
    for field in empirical_fields(network, atlas, images, window=11, stride=1)["0"]:
        support = field.map > 0
        middle = support.shape[0] // 2
        assert support.sum() == 11 * 11
        assert support[middle - 5 : middle + 6, middle - 5 : middle + 6].all()
        assert field.size == 1
        assert field.trimmed(0).sum() == 1
        assert field.trimmed(0)[middle, middle]


@pytest.mark.parametrize("box", [(0, 0, 21, 21), (5, 5, 16, 16), (3, 2, 18, 9), (9, 1, 14, 20)])
def test_a_known_support_is_found(box: tuple[int, int, int, int], tmp_path: Path) -> None:
    """With an IoU of at least 0.9: of a unit that is silent unless all of a box is bright at half of the peak, as masks
    are made; of one that adds up what is there, and is hardly moved by what hides its corner, at a twentieth.
    """
    y0, x0, y1, x1 = box
    layer = nn.Conv2d(1, 2, 21)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, 0, y0:y1, x0:x1] = 1
        layer.bias[:] = torch.tensor([0.005 - (y1 - y0) * (x1 - x0), 0])
    images = noise(8, (41, 41), 1)
    images.images[:, :, 10 + y0 : 10 + y1, 10 + x0 : 10 + x1] = 1
    network = plain(nn.Sequential(layer, nn.ReLU()), (41, 41), 1)
    atlas = scanned(network, images, tmp_path / "atlas")
    fields = empirical_fields(network, atlas, images, top=8, window=5, stride=1)["0"]
    truth = np.zeros(fields[0].map.shape, bool)
    corner = len(truth) // 2 - 10
    truth[corner + y0 : corner + y1, corner + x0 : corner + x1] = True
    for field, threshold in zip(fields, (0.5, 0.05), strict=True):
        mask = field.trimmed(threshold)
        assert (mask & truth).sum() / (mask | truth).sum() >= 0.9


@pytest.mark.parametrize("window", [3, 7])
def test_the_size_of_a_smooth_field_is_that_of_its_half_height(window: int, tmp_path: Path) -> None:
    """Weights of a Gaussian at the only place there is, so that no image is chosen for its match: what is hidden and
    the noise are independent, and the occluder's share is gone.
    """
    y, x = np.ogrid[-20:21, -20:21]
    layer = nn.Conv2d(1, 1, 41)
    layer.weight.data = torch.from_numpy(np.exp(-(y**2 + x**2) / (2 * 4**2))).float()[None, None]
    layer.bias.data.fill_(9)
    network, images = plain(nn.Sequential(layer), (41, 41), 1), noise(100, (41, 41), 1)
    atlas = scanned(network, images, tmp_path / "atlas", top=100)
    field = empirical_fields(network, atlas, images, top=100, window=window, stride=2)["0:0"]
    # An area of πr² where exp(-r² / 2σ²) is above 1/2.
    assert field.images == 100
    assert field.size == pytest.approx(4 * math.sqrt(2 * math.log(2) * math.pi), rel=0.15)
    assert field.size < math.sqrt(field.mask.sum())


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_mask_is_the_largest_part_above_the_ring() -> None:
    values = np.full((21, 31), 2.0)
    values[5:9, 5:11] = 6
    values[12:20, 20:29] = 5  # larger
    values[12, 20] = 10
    values[0, 0] = values[20, 30] = 9  # the ring's median is what the rest of it is
    values[:, 30] = np.nan
    mask = sizes.above(values, 0.3)
    assert mask.sum() == 72
    assert mask[12:20, 20:29].all()
    assert sizes.above(values, 0.4).sum() == 24
    assert not sizes.above(np.zeros((5, 5)), 0.5).any()
    assert not sizes.above(np.full((5, 5), np.nan), 0.5).any()
    assert math.isnan(sizes.side(np.zeros((5, 5), bool), 3))


@pytest.mark.parametrize("centre", [(20, 20), (20.5, 20.5), (3, 17.5)])
def test_a_disc_holds_the_mass_and_a_smaller_one_does_not(centre: tuple[float, float]) -> None:
    values = np.random.default_rng(3).random((41, 41)) ** 4
    area = round(sizes.disc(values, centre) ** 2)
    distances = sorted({(y - centre[0]) ** 2 + (x - centre[1]) ** 2 for y in range(41) for x in range(41)})
    for radius in distances:
        inside = [(y, x) for y in range(41) for x in range(41) if (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius]
        if sum(values[place] for place in inside) >= 0.9545 * values.sum():
            assert area == len(inside)
            return


@pytest.mark.parametrize("layers", [1, 2, 5, 8])
def test_the_effective_field_of_equal_weights_is_the_trinomial(layers: int, tmp_path: Path) -> None:
    """Its standard deviation is √(2n/3), its sum that of the weights, and its support the theoretical field."""
    module = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(layers)))
    for parameter in module.parameters():
        parameter.data.fill_(1)
    network, images = plain(module, (41, 41), 1), noise(3, (41, 41), 1)
    atlas = scanned(network, images, tmp_path / "atlas")
    found = empirical_fields(network, atlas, images, layers=[str(layers - 1)], window=3, stride=3).layers[0]
    line = np.ones(1)
    for _ in range(layers):
        line = np.convolve(line, np.ones(3))
    truth = np.zeros((41, 41))
    truth[20 - layers : 21 + layers, 20 - layers : 21 + layers] = np.outer(line, line)
    assert found.centre == (20, 20)
    np.testing.assert_allclose(found.gradient, truth, rtol=1e-6)
    assert found.sigma == pytest.approx(math.sqrt(2 * layers / 3), rel=1e-6)
    assert found.gradient.sum() == pytest.approx(9**layers, rel=1e-6)
    assert found.theoretical == 2 * layers + 1


def test_the_effective_field_is_the_mean_magnitude_over_images_and_channels(tmp_path: Path) -> None:
    module, layers = two_layers()
    network, images = plain(module, (24, 20)), noise(11, (24, 20))  # two shards
    atlas = scanned(network, images, tmp_path / "atlas")
    found = empirical_fields(network, atlas, images, top=11, window=5, stride=5)
    for layer in found.layers:
        response = layers[layer.address][0]
        inputs = torch.stack([network.preprocess(images.read(i)) for i in range(11)]).requires_grad_()
        maps = response(inputs)
        maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
        np.testing.assert_allclose(layer.gradient, inputs.grad.abs().sum(1).mean(0), rtol=1e-4, atol=1e-7)


# --- which images -----------------------------------------------------------------------------------------------------


def some_candidates(units: int, seed: int) -> Candidates:
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.permutation(30)[:12] for _ in range(units)])
    usable = np.arange(12) < rng.integers(0, 13, (units, 1))
    return Candidates(ids, rng.integers(0, 9, ids.shape), rng.random(ids.shape, np.float32), usable)


def images_of(found: Sequence[Readings]) -> set[int]:
    return {int(image) for each in found for image in each.images}


@pytest.mark.parametrize(("top", "limit"), [(1, 30), (4, 30), (12, 30), (4, 12), (4, 6), (4, 1)])
def test_every_unit_has_the_best_of_the_images_that_are_used(top: int, limit: int) -> None:
    layers = [some_candidates(20, 0), some_candidates(30, 1)]
    found = choose(layers, top, limit)
    assert 0 < len(images_of(found)) <= limit
    for layer, readings in zip(layers, found, strict=True):
        assert (np.diff(readings.images) >= 0).all()
        for unit in range(len(layer.ids)):
            usable = [rank for rank in range(12) if layer.usable[unit, rank]]
            used = usable if limit == 30 else [rank for rank in usable if layer.ids[unit, rank] in images_of(found)]
            mine = np.flatnonzero(readings.units == unit)
            assert sorted(readings.images[mine]) == sorted(layer.ids[unit, used[:top]])
            for number in mine:
                rank = list(layer.ids[unit]).index(readings.images[number])
                assert readings.positions[number] == layer.positions[unit, rank]
                assert readings.values[number] == layer.values[unit, rank]


def test_the_images_that_most_units_want_come_first() -> None:
    layers = [some_candidates(20, 0), some_candidates(30, 1)]
    wanted = np.bincount(np.concatenate([each.ids[each.usable] for each in layers]))
    assert images_of(choose(layers, 4, 1)) == {int(wanted.argmax())}
    counts = [sum(len(each.images) for each in choose(layers, 4, limit)) for limit in range(1, 31)]
    assert counts == sorted(counts)
    # Far fewer images than those that are the best of some unit give nearly every unit its four.
    enough = sum(np.minimum(each.usable.sum(1), 4).sum() for each in layers)
    assert counts[29] == enough
    assert counts[14] > 0.9 * enough


def test_an_occluder_in_proportion_to_the_image() -> None:
    assert [default_window(side) for side in (224, 227, 96, 64, 32, 28, 299, 448)] == [11, 11, 5, 3, 3, 3, 15, 21]


# --- a section of an atlas --------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> tuple[Network, Atlas, Arrays]:
    """With a unit that nothing excites."""
    module, _ = two_layers()
    module[0].bias.data[2] = -99
    network, images = plain(module, (24, 20)), noise(21, (24, 20))  # three shards of eight
    return network, scanned(network, images, tmp_path / "atlas"), images


OPTIONS: dict[str, Any] = {"top": 25, "window": 5, "stride": 4}


def contents(found: EmpiricalFields) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in found.path.iterdir()}


def stopping(at: int) -> Callable[[Progress], None]:
    calls = iter(range(1000))

    def report(progress: Progress) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("at", [0, 9, 17])
def test_what_was_killed_goes_on_and_ends_the_same(
    at: int, world: tuple[Network, Atlas, Arrays], tmp_path: Path
) -> None:
    network, atlas, images = world
    other = scanned(network, images, tmp_path / "other")
    whole = empirical_fields(network, other, images, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        empirical_fields(network, atlas, images, progress=stopping(at), **OPTIONS)
    with pytest.raises(AtlasError, match="no measured fields"):
        EmpiricalFields.open(atlas)
    steps: list[Progress] = []
    again = empirical_fields(network, atlas, images, progress=steps.append, **OPTIONS)
    assert contents(again) == contents(whole)
    assert len(steps) == 21 - at // 8 * 8
    assert sorted(path.name for path in atlas.path.iterdir() if "fields" in path.name) == ["fields"]
    atlas.verify()


def test_what_is_there_is_read_and_another_job_is_refused(world: tuple[Network, Atlas, Arrays]) -> None:
    network, atlas, images = world
    found = empirical_fields(network, atlas.path, images, layers=["0"], **OPTIONS)
    steps: list[Progress] = []
    again = empirical_fields(network, atlas, images, layers=["0"], progress=steps.append, **OPTIONS)
    assert contents(again) == contents(found)
    assert not steps
    with pytest.raises(AtlasError, match=r"other fields already .*stride: 4 there, 2 here"):
        empirical_fields(network, atlas, images, layers=["0"], **OPTIONS | {"stride": 2})
    other, _ = two_layers()
    with pytest.raises(AtlasError, match="an atlas of Sequential with other weights"):
        empirical_fields(plain(other, (24, 20)), atlas, images, **OPTIONS)


def test_what_was_left_out_is_said(world: tuple[Network, Atlas, Arrays]) -> None:
    network, atlas, images = world
    found = empirical_fields(network, atlas, images, limit=10, **OPTIONS)
    assert found.run["images"] <= 10
    counts = [field.images for field in found["0"]]
    assert found["0"].left_out == {"dead": 1, "fewer": 3, "unmoved": 0}
    assert counts[2] == 0 < counts[1] <= 10
    dead = found["0:2"]
    assert math.isnan(dead.size)
    assert not dead.map.any()
    assert not dead.mask.any()
    sizes_ = [field.size for field in found["0"] if field.images]
    assert found["0"].empirical == pytest.approx((np.mean(sizes_), np.std(sizes_)))
    assert found["0"].curve[0.5] == pytest.approx(np.mean(sizes_))
    assert list(found["0"].curve) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    plain_values = json.loads(json.dumps(found.to_json()))
    assert plain_values["layers"][0]["sizes"][2] is None


def test_what_is_damaged_is_refused(world: tuple[Network, Atlas, Arrays]) -> None:
    network, atlas, images = world
    found = empirical_fields(network, atlas, images, **OPTIONS)
    path = found.path / "fields.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AtlasError, match="damaged"):
        EmpiricalFields.open(atlas)["0:1"].map  # noqa: B018
    run = json.loads((found.path / "run.json").read_text())
    (found.path / "run.json").write_text(json.dumps(run | {"network": "another"}))
    with pytest.raises(AtlasError, match="damaged"):
        EmpiricalFields.open(atlas)
    with pytest.raises(AddressError, match="no layer or unit '1:7'"):
        found["1:7"]


@pytest.mark.parametrize("text", [None, "{", '{"format": "convscope-fields", "version": 99}'])
def test_fields_that_cannot_be_opened_are_to_be_deleted(text: str | None, world: tuple[Network, Atlas, Arrays]) -> None:
    """As 'convscope fields' itself does not go over what is there."""
    network, atlas, images = world
    with pytest.raises(AtlasError, match="; run 'convscope fields'"):
        EmpiricalFields.open(atlas)
    path = empirical_fields(network, atlas, images, **OPTIONS).path / "run.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(AtlasError, match="; delete the folder and run 'convscope fields'"):
        empirical_fields(network, atlas, images, **OPTIONS)


def test_a_unit_that_nothing_moves_is_in_no_mean(tmp_path: Path) -> None:
    """It is always on, as where all weights of a filter were pruned: it has images, and no size."""
    module, _ = two_layers()
    module[0].weight.data[1], module[0].bias.data[1] = 0, 1
    network, images = plain(module, (24, 20)), noise(4, (24, 20))
    layer = empirical_fields(network, scanned(network, images, tmp_path / "atlas"), images, **OPTIONS).layers[0]
    assert layer[1].images == 4
    assert math.isnan(layer[1].size)
    assert [field.address.index for field in layer.measured] == [0, 2, 3]
    assert layer.left_out["unmoved"] == 1
    others = [layer[unit].size for unit in (0, 2, 3)]
    assert layer.empirical == pytest.approx((np.mean(others), np.std(others)))
    assert layer.curve[0.5] == pytest.approx(np.mean(others))


def test_a_layer_without_any_field(tmp_path: Path) -> None:
    """As one occluder hides all: there is no size to be written, and no figure to be drawn."""
    network, images = plain(two_layers()[0], (24, 24)), noise(2, (24, 24))
    found = empirical_fields(network, scanned(network, images, tmp_path / "atlas"), images, window=24)
    for layer in found.layers:
        assert math.isnan(layer.empirical.mean)
        assert layer.left_out["unmoved"] == len(layer)
        assert _row(layer)[5:7] == ("–", "–")
    with pytest.raises(AtlasError, match="no unit of these layers has a field"):
        draw(found)


@pytest.mark.parametrize("value", [0, math.nan, math.inf])
def test_gradients_of_which_nothing_can_be_said(value: float) -> None:
    gradient = np.zeros((5, 5), np.float32)
    gradient[2, 3] = value
    assert math.isnan(sizes.disc(gradient, (2, 2)))
    assert math.isnan(sizes.sigma(gradient, (2, 2)))


def test_a_damaged_shard_is_refused(world: tuple[Network, Atlas, Arrays]) -> None:
    network, atlas, images = world
    with pytest.raises(KeyboardInterrupt):
        empirical_fields(network, atlas, images, progress=stopping(12), **OPTIONS)
    (shard,) = (atlas.path / "fields.partial").glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(AtlasError, match="damaged"):
        empirical_fields(network, atlas, images, **OPTIONS)


def test_images_that_are_not_the_atlas_s_are_refused(world: tuple[Network, Atlas, Arrays]) -> None:
    network, atlas, images = world
    with pytest.raises(ImagesError, match="does not excite the network as the atlas says"):
        empirical_fields(network, atlas, Arrays(images.images[::-1].copy()), **OPTIONS)
    with pytest.raises(ImagesError, match="20 images, and the atlas is of 21"):
        empirical_fields(network, atlas, Arrays(images.images[1:]), **OPTIONS)


def test_what_cannot_be_measured_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network, images = plain(module, (12, 12)), noise(3, (12, 12))
    atlas = scanned(network, images, tmp_path / "atlas")
    with pytest.raises(AddressError, match="layer 4 has no map"):
        empirical_fields(network, atlas, images, layers=["4"])
    with pytest.raises(AttributionError, match="a window of 13 px does not lie inside"):
        empirical_fields(network, atlas, images, window=13)
    monkeypatch.setattr(task, "_MOST", 4 * 4 * 7 * 7 - 1)  # a field of 3 px, an occluder of 3 px, and a ring
    with pytest.raises(AtlasError, match=r"the maps of 4 units would take 0.0 GB; name fewer layers"):
        empirical_fields(network, atlas, images)
    monkeypatch.setattr(task, "_MOST", 4 * 4 * 7 * 7)
    with pytest.raises(ValueError, match="top is 0"):
        empirical_fields(network, atlas, images, top=0)
    assert [layer.address for layer in empirical_fields(network, atlas, images, window=3).layers] == ["0"]


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of digits, of some images and layers."""
    path = tmp_path_factory.mktemp("fields")
    network, images = convscope.load("digits:lenet5"), convscope.open_images("digits:test")
    convscope.scan(network, images, path / "atlas", limit=40, samples=0, projections=0)
    return path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_and_the_figure(folder: Path) -> None:
    atlas = str(folder / "atlas")
    options = ("--layers", "c1,c3", "--top", "4", "--limit", "12", "--stride", "2", "--threads", "1")
    found = json.loads(run("fields", "digits:lenet5", atlas, *options, "--json"))
    fields = EmpiricalFields.open(atlas)
    assert [layer["layer"] for layer in found["layers"]] == ["c1", "c3"]
    assert [layer["theoretical"] for layer in found["layers"]] == [5, 14]
    assert (found["window"], found["stride"], found["images"]) == (3, 2, fields.run["images"])
    assert found["layers"][0]["sizes"] == [field.size for field in fields["c1"]]
    text = run("fields", "digits:lenet5", atlas, *options)
    assert re.search(r"^c3 +16 +14\.0 +\d+\.\d +\d+\.\d +\d+\.\d +\d+\.\d +0 +\d+", text, re.MULTILINE)
    shown = json.loads(run("figure", "fields", atlas, "-o", str(folder / "fields.png"), "--json"))
    for address, units in shown["units"].items():
        found_sizes = [fields[address][unit].size for unit in units]
        assert found_sizes == sorted(found_sizes)
        assert min(field.size for field in fields[address]) == found_sizes[0]
        assert max(field.size for field in fields[address]) == found_sizes[-1]
    with Image.open(folder / "fields.png") as picture:
        assert picture.width == 2118
    one = json.loads(run("figure", "fields", atlas, "-o", str(folder / "c3.svg"), "--layers", "c3", "--json"))
    assert list(one["units"]) == ["c3"]
    refused = CliRunner().invoke(main, ["figure", "fields", atlas, "-o", str(folder / "no.png"), "--layers", "c4"])
    assert refused.exit_code == 1
    assert "no layer 'c4'" in refused.output


def test_long_names_of_layers_keep_their_end() -> None:
    """They stand beside tiles, and below the chart."""
    assert _fitting("conv5", 180) == "conv5"
    name = "features.3.expand3x3"
    short = _fitting(name, 180)
    assert text_width(short, NORMAL) <= 180 < text_width(name, NORMAL)
    assert name.endswith(short.removeprefix("…"))
    assert short.startswith("…")


def test_a_tile_shows_the_map_around_its_middle() -> None:
    """Of a field of one cell, whose canvas ends at once: black around it; where nothing was measured, grey."""
    values = np.zeros((9, 9), np.float32)
    values[4, 4] = 1
    field = EmpiricalField(parse_unit("conv:0"), values, 3, 1)
    tile = _shades(field, 15).astype(int)
    assert tile.shape == (150, 150, 3)
    bright = np.argwhere(tile.sum(2) > 600)
    assert np.allclose(bright.mean(0), 74.5)
    assert tile[0, 0].sum() < 20
    values[0] = np.nan
    assert (_shades(field, 15)[:8] == 225).all()
    assert (_shades(field, 9)[-10:].astype(int).sum(2) < 20).all()
