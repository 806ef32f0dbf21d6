"""Projections and class maps in an atlas: each is that of its neuron or class alone, cropped as the patch is."""

from __future__ import annotations

import json
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
from convscope.address import Neuron, Unit
from convscope.atlas import Atlas
from convscope.atlas.run import sealed
from convscope.attribution import CAM, Deconvnet, GradCAM, GuidedBackprop
from convscope.cli import main
from convscope.diagnosis import outstanding
from convscope.errors import AddressError, AtlasError
from convscope.geometry import Box
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.projections import Projection
from convscope.recorder import record
from convscope.render.figures import tour
from convscope.scanner import projections, scan
from running import contents

pytestmark = pytest.mark.usefixtures("one_thread")

Pixels = NDArray[np.uint8]
IMAGES = 14


def layers(head: nn.Module | None = None) -> nn.Sequential:
    """Two convolutions with a pool between, whose fields reach beyond the image, for images of 20 × 16 px."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
            *([nn.AdaptiveAvgPool2d(1), nn.Flatten()] if head is None else [nn.Flatten()]),
            nn.Linear(5, 4) if head is None else head,
        ).eval()  # fmt: skip


def network_of(module: nn.Module, **options: Any) -> Network:
    preprocess = Preprocess((20, 16), mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25))
    return convscope.wrap(module, preprocess=preprocess, **options)


def noise(count: int = IMAGES) -> Arrays:
    return Arrays(np.random.default_rng(0).integers(0, 256, (count, 3, 20, 16), np.uint8))


def scanned(module: nn.Module, path: Path, **options: Any) -> tuple[Network, Atlas]:
    network = network_of(module)
    return network, scan(network, noise(), path, **{"batch_size": 4, "samples": 3} | options)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Atlas]:
    return scanned(layers(), tmp_path_factory.mktemp("small") / "atlas")


def inputs(network: Network, image: int) -> Tensor:
    return network.preprocess(noise().read(image))[None]


def drawn(values: NDArray[Any], box: Box) -> Pixels:
    """The definition: a map (c, h, w) of the whole image, cut pixel by pixel and zero beyond, in greys around zero."""
    planes = np.zeros((len(values), box.height, box.width))
    for y in range(max(0, box.y0), min(values.shape[1], box.y1)):
        for x in range(max(0, box.x0), min(values.shape[2], box.x1)):
            planes[:, y - box.y0, x - box.x0] = values[:, y, x]
    sizes = np.sort(np.abs(planes).ravel())
    place = 0.995 * (len(sizes) - 1)
    largest = np.interp(place, np.arange(len(sizes)), sizes) or sizes[-1] or 1
    return np.round(255 * (0.5 + np.clip(planes / largest, -1, 1) / 2)).astype(np.uint8).transpose(1, 2, 0)


def test_every_projection_is_that_of_its_neuron_alone(small: tuple[Network, Atlas]) -> None:
    """`Deconvnet` and `GuidedBackprop` of one neuron on one image, cut to the patch: no batch, no other neuron."""
    network, atlas = small
    methods = {"deconvnet": Deconvnet(), "guided": GuidedBackprop()}
    seen = 0
    for address in ("0", "3"):
        layer = atlas.layer(address)
        assert layer.projections is not None
        assert layer.projections["units"] == list(range(layer.units))
        for unit in layer:
            for top in unit.best(9):
                neuron = Neuron(Unit(layer.address, unit.index), top.row, top.column)
                for rule, method in methods.items():
                    whole = method(network, inputs(network, top.id), neuron).values[0].numpy()
                    found = np.asarray(unit.projection(top.rank, rule))
                    expected = drawn(whole, top.box) if top.value > 0 else np.full_like(found, 128)
                    assert found.shape == (*unit.patch(top.rank).size[::-1], 3)
                    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
                    seen += int(np.ptp(found) > 0)
    assert seen > 100


def test_a_tile_that_is_smaller_than_the_crop_is_a_smooth_picture_of_it() -> None:
    values = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 40, 30)).astype(np.float32))
    found, crop = Projection(values, (2, 3, 42, 33), 1.0), Box(-10, -20, 50, 50)
    planes = np.zeros((3, 60, 70), np.float32)
    planes[:, 12:52, 23:53] = values.numpy()
    smaller = [np.asarray(Image.fromarray(plane).resize((35, 30), Image.Resampling.BICUBIC)) for plane in planes]
    expected = drawn(np.stack(smaller), Box(0, 0, 30, 35))
    preprocess = Preprocess((60, 60))
    assert np.array_equal(projections.tile(found, crop, (30, 35), preprocess), expected)
    bgr = projections.tile(found, crop, (30, 35), Preprocess((60, 60), channels="BGR"))
    assert np.array_equal(bgr, expected[..., ::-1])


@pytest.mark.parametrize("crop", [Box(60, 60, 65, 65), Box(5, 5, 5, 9)], ids=["beyond", "empty"])
def test_a_crop_without_anything_in_it_is_plain(crop: Box) -> None:
    found = Projection(torch.ones(1, 40, 30), (0, 0, 40, 30), 1.0)
    tile = projections.tile(found, crop, (5, 5), Preprocess((80, 80), channels="L"))
    assert (tile == 128).all()
    assert tile.shape == (5, 5, 3)


# --- which units, and how many ----------------------------------------------------------------------------------------


def test_some_units_are_those_that_stand_out_most(tmp_path: Path, small: tuple[Network, Atlas]) -> None:
    _, atlas = scanned(layers(), tmp_path / "atlas", projections=2)
    for address in ("0", "3"):
        layer, all_of_it = atlas.layer(address), small[1].layer(address)
        assert layer.projections is not None
        chosen = layer.projections["units"]
        assert chosen == sorted(outstanding(layer.summary)[:2])
        for unit in chosen:
            assert layer[unit].projection(3).tobytes() == all_of_it[unit].projection(3).tobytes()
        other = next(unit for unit in range(layer.units) if unit not in chosen)
        assert not layer[other].is_projected
        with pytest.raises(AtlasError, match=r"has no projections of unit .*projections= for more"):
            layer[other].projection(0)


def test_a_smaller_report_has_the_projections_of_its_units(small: tuple[Network, Atlas], tmp_path: Path) -> None:
    _, atlas = small
    report = convscope.write_report(atlas, tmp_path / "report", units=2).parent
    for layer in (atlas.layer("0"), atlas.layer("3")):
        script = (report / "layers" / layer.record["slug"] / "geometry.js").read_text()
        kept = json.loads(script.partition("(")[2].rstrip(");\n"))["projections"]
        assert kept["units"] == sorted(outstanding(layer.summary)[:2])
        with Image.open(report / kept["sheets"][0]) as sheet:
            for row, unit in enumerate(kept["units"]):
                for column in (0, 4, 9, 17):
                    y, x = row * kept["cell"][0], column * kept["cell"][1]
                    tile = sheet.crop((x, y, x + kept["tile"][1], y + kept["tile"][0])).convert("RGB")
                    rule = kept["rules"][column // 9]
                    assert tile.tobytes() == layer[unit].projection(column % 9, rule).tobytes()


def test_no_projections_where_none_are_wanted(tmp_path: Path) -> None:
    _, atlas = scanned(layers(), tmp_path / "atlas", projections=0)
    assert atlas.run["projections"] == {}
    assert not (atlas.path / "projections").exists()
    convscope.write_report(atlas, tmp_path / "report")
    with pytest.raises(AtlasError, match="no projections: scan again"):
        tour.draw(atlas)


def test_the_work_of_all_projections_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the definition: units of each layer · images · two rules · FLOPs below, on the part that a unit sees."""
    monkeypatch.setattr(projections, "_LEAST", 0.0)
    flops, below = [2 * 4 * 27 * 320, 2 * 5 * 36 * 80], [0, 0]
    fields = [3 * 3, 8 * 8]
    below = [sum(flops[: i + 1]) * fields[i] / (20 * 16) for i in range(2)]
    for passes in (0.0, 0.05, 0.2, 0.5, 1.0):
        monkeypatch.setattr(projections, "_PASSES", passes)
        network, atlas = scanned(layers(), tmp_path / f"atlas{passes}", samples=0)
        about = [atlas.layer(each).projections or {} for each in ("0", "3")]
        assert all(passes or "take longer than the scan" in each["reason"] for each in about)
        counts = [len(each.get("units", ())) for each in about]
        room = passes * IMAGES * sum(layer.flops for layer in record(network.module, network.example()).layers())
        many = max(counts)
        assert counts == [min(many, 4), min(many, 5)]
        cost = [2 * 9 * sum(min(each, units) * work for units, work in zip((4, 5), below, strict=True))
                for each in (many, many + 1)]  # fmt: skip
        assert cost[0] <= room
        assert many == 5 or cost[1] > room


def test_a_layer_that_sees_the_image_as_a_whole_is_not_projected(small: tuple[Network, Atlas]) -> None:
    assert small[1].layer("7").projections is None
    with pytest.raises(AtlasError, match="has no projections"):
        small[1].layer("7")[0].projection(0)
    with pytest.raises(AtlasError, match="'gradient' is no kind"):
        small[1].layer("3")[0].projection(0, "gradient")


# --- networks that cannot be projected --------------------------------------------------------------------------------


class ByHand(nn.Module):
    """A rectifier that nobody can tell from any other product."""

    def forward(self, values: Tensor) -> Tensor:
        return values * (values > 0)


def test_a_network_that_cannot_be_projected_is_scanned_all_the_same(tmp_path: Path) -> None:
    """What lies below the rectifier is projected, and what lies above it says why it is not."""
    module = layers()
    module[1] = ByHand()
    _, atlas = scanned(module, tmp_path / "atlas")
    assert "units" in (atlas.layer("0").projections or {})
    reason = (atlas.layer("3").projections or {})["reason"]
    assert "1" in reason
    atlas.verify()
    page = (convscope.write_report(atlas, tmp_path / "report").parent / "layers" / "001-3" / "unit.html").read_text()
    assert "not projected back to the pixels" in page
    assert 'id="deconvnet"' not in page
    assert list(tour.draw(atlas)[1]) == ["0"]
    with pytest.raises(AtlasError, match="no projections: "):
        tour.draw(atlas, ["3"])
    with pytest.raises(AtlasError, match=f"{atlas.layer('3')[0].address}: "):
        atlas.layer("3")[0].projection(0)


def test_what_is_not_a_number_is_said(tmp_path: Path) -> None:
    module = layers()
    with torch.no_grad():
        module[3].weight[2] = torch.nan  # type: ignore[index,union-attr]
    _, atlas = scanned(module, tmp_path / "atlas")
    assert "is not finite" in (atlas.layer("3").projections or {})["reason"]
    assert "units" in (atlas.layer("0").projections or {})


def test_units_that_were_read_at_the_raw_output_are_not_projected(tmp_path: Path) -> None:
    _, atlas = scanned(layers(), tmp_path / "atlas", at="output")
    assert "raw output" in (atlas.layer("0").projections or {})["reason"]


# --- laws of scanning -------------------------------------------------------------------------------------------------


class Stop(Exception):  # noqa: N818 — the test's own
    pass


def test_projecting_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "_TOGETHER", 3)
    done: list[int] = []
    _, alone = scanned(layers(), tmp_path / "alone", progress=lambda step: note(step, done))
    assert done[-1] > 9
    project = projections.project_by
    calls: list[int] = []
    monkeypatch.setattr(projections, "project_by", lambda *given: calls.append(1) or project(*given))
    for stop in (3, 9):
        with pytest.raises(Stop):
            scanned(layers(), tmp_path / "atlas", progress=lambda step, stop=stop: note(step, [], stop))
    calls.clear()
    scanned(layers(), tmp_path / "atlas")
    assert len(calls) == -(-(done[-1] - 9) // 3)  # the images that were done are not projected again
    assert contents(tmp_path / "atlas") == contents(alone.path)
    assert not list(alone.path.glob("projected-*"))


def note(step: Any, done: list[int], stop: int | None = None) -> None:
    if step.phase == "projecting":
        done.append(step.done)
        if stop is not None and step.done >= stop:
            raise Stop


def test_how_many_images_are_projected_together_changes_no_byte(
    tmp_path: Path, small: tuple[Network, Atlas], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "_TOGETHER", 4)
    _, atlas = scanned(layers(), tmp_path / "atlas")
    assert contents(atlas.path) == contents(small[1].path)


# --- class maps -------------------------------------------------------------------------------------------------------


def test_class_maps_are_those_of_the_first_classes(small: tuple[Network, Atlas]) -> None:
    network, atlas = small
    assert atlas.run["class_maps"]["method"] == "cam"
    for sample in atlas.samples:
        found = sample.class_maps()
        assert found.shape == (3, 20, 16)
        for values, guess in zip(found, sample.prediction, strict=False):
            expected = CAM()(network, inputs(network, sample.id), guess.class_index).on_image()[0]
            np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_network_without_a_pooled_map_has_grad_cam(tmp_path: Path) -> None:
    network, atlas = scanned(layers(nn.Linear(5 * 80, 2)), tmp_path / "atlas")
    assert atlas.run["class_maps"]["method"] == "gradcam"
    sample = atlas.samples[1]
    assert sample.class_maps().shape == (2, 20, 16)  # it has two classes
    expected = GradCAM()(network, inputs(network, sample.id), sample.prediction[1].class_index).on_image()[0]
    np.testing.assert_allclose(sample.class_maps()[1], expected, atol=1e-5)
    page = (convscope.write_report(atlas, tmp_path / "report").parent / "images" / "01.html").read_text()
    assert "Grad-CAM" in page


def test_a_network_without_maps_says_why_there_are_none(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 16, 4)).eval()
    _, atlas = scanned(module, tmp_path / "atlas")
    assert "there is no map" in atlas.run["class_maps"]["reason"]
    page = (convscope.write_report(atlas, tmp_path / "report").parent / "images" / "00.html").read_text()
    assert "There are no class maps: there is no map" in page


def test_atlases_without_projections_and_class_maps_are_read(tmp_path: Path) -> None:
    """Those of earlier versions."""
    _, atlas = scanned(layers(), tmp_path / "atlas")
    run = json.loads((atlas.path / "run.json").read_bytes())
    for name in ("projections", "class_maps", "checksum"):
        del run[name]
    run["files"] = {name: file for name, file in run["files"].items() if not name.startswith(("proj", "class"))}
    (atlas.path / "run.json").write_bytes(sealed(run))
    old = Atlas.open(atlas.path)
    assert old.layer("3").projections is None
    assert old.samples[0].class_maps().shape == (0, 20, 16)
    report = convscope.write_report(old, tmp_path / "report").parent
    assert "Where the first classes" not in (report / "images" / "00.html").read_text()
    with pytest.raises(AtlasError, match="no projections: scan again"):
        tour.draw(old)


# --- the tour ---------------------------------------------------------------------------------------------------------


def test_the_tour_shows_projections_and_patches_side_by_side(small: tuple[Network, Atlas], tmp_path: Path) -> None:
    _, atlas = small
    sheet, shown = tour.draw(atlas, units=3)
    assert shown == {name: outstanding(atlas.layer(name).summary)[:3] for name in ("0", "3")}
    sheet.save(tmp_path / "tour.png")
    picture = np.asarray(Image.open(tmp_path / "tour.png").convert("RGB"))
    unit = atlas.layer("3")[shown["3"][1]]
    block = tour.both(unit)
    assert any(_at(picture, block, y) for y in range(len(picture) - len(block)))
    for rank in range(9):  # every tile is where it belongs, its pixels squares
        for left, tile in ((0, unit.projection(rank)), (tour._BLOCK + tour._MIDDLE, unit.patch(rank))):
            y, x = (79 * place for place in divmod(rank, 3))
            square = tile.resize((76, 76), Image.Resampling.NEAREST)
            assert np.array_equal(block[y : y + 76, left + x : left + x + 76], np.asarray(square))


def _at(picture: Pixels, block: Pixels, y: int) -> bool:
    x = 24 + tour._UNIT + tour._BETWEEN  # the second of the row
    return np.array_equal(picture[y : y + len(block), x : x + block.shape[1]], block)


def test_the_tour_takes_layers_by_name(small: tuple[Network, Atlas]) -> None:
    assert list(tour.draw(small[1], ["3"], 1)[1]) == ["3"]
    with pytest.raises(AddressError, match="no layer 'x'"):
        tour.draw(small[1], ["x"])


def test_the_command_draws_the_tour_and_says_what_is_on_it(small: tuple[Network, Atlas], tmp_path: Path) -> None:
    def run(*words: object, code: int = 0) -> Any:
        done = CliRunner().invoke(main, ["figure", "tour", str(small[1].path), *map(str, words)])
        assert done.exit_code == code, done.output
        return done

    about = json.loads(run("-o", tmp_path / "t.pdf", "--layers", "3", "--units", 2, "--json").stdout)
    assert about["figure"] == str(tmp_path / "t.pdf")
    assert about["units"] == {"3": outstanding(small[1].layer("3").summary)[:2]}
    assert (tmp_path / "t.pdf").read_bytes()[:4] == b"%PDF"
    run("-o", tmp_path / "t.svg")
    assert "3:0" in (tmp_path / "t.svg").read_text()
    assert "no layer 'x'" in run("-o", tmp_path / "t.png", "--layers", "x", code=1).stderr
    assert "--layers names no layer" in run("-o", tmp_path / "t.png", "--layers", ",", code=2).stderr


def test_a_scan_takes_gradients_and_leaves_none(tmp_path: Path) -> None:
    module = layers()
    with torch.no_grad():
        scanned(module, tmp_path / "atlas")
        assert not torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in module.parameters())
