"""Figures for papers: their pixels are the weights and responses, their text is text, their bytes do not change."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

import convscope
from convscope.atlas import Atlas
from convscope.cli import main
from convscope.filters import display
from convscope.filters.weights import Weights, weights
from convscope.images import Arrays
from convscope.preprocess import Preprocess
from convscope.recorder import record
from convscope.render.figures import activations, filters, matrix, rows, sheet
from convscope.render.figures import unit as units
from convscope.scanner import scan
from odd_nets import ODD_NETS

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def pixels(drawn: sheet.Sheet, tmp_path: Path) -> np.ndarray[Any, Any]:
    """(h, w, 3), the border cut off."""
    drawn.save(tmp_path / "figure.png")
    border = sheet.BORDER
    with Image.open(tmp_path / "figure.png") as file:
        return np.asarray(file.convert("RGB"))[border:-border, border:-border]


def contains(picture: np.ndarray[Any, Any], part: np.ndarray[Any, Any]) -> bool:
    """Whether `part` (h, w, 3) stands somewhere in the picture, pixel by pixel."""
    height, width = part.shape[:2]
    room = picture[: len(picture) - height + 1, : picture.shape[1] - width + 1]
    ys, xs = np.nonzero((room == part[0, 0]).all(-1))
    for y, x in np.random.default_rng(0).integers(0, (height, width), (30, 2)):  # most places fail at once
        fits = (picture[ys + y, xs + x] == part[y, x]).all(-1)
        ys, xs = ys[fits], xs[fits]
    return any((picture[y : y + height, x : x + width] == part).all() for y, x in zip(ys, xs, strict=True))


def colours(grey: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))


def random_weights(*shape: int, first: bool = False) -> Weights:
    slices = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Weights(slices, np.tile(np.arange(shape[1]), (shape[0], 1)), first)


# --- the sheet -------------------------------------------------------------------------------------------------------


def test_pictures_are_placed_pixel_by_pixel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (83, 131, 3), np.uint8)
    grey = np.random.default_rng(1).integers(0, 256, (50, 60), np.uint8)
    drawn = sheet.Sheet(321)
    drawn.image(picture, 37, 101)
    drawn.image(grey, 501, 2)
    shown = pixels(drawn, tmp_path)
    assert shown.shape == (321, sheet.WIDTH, 3)
    np.testing.assert_array_equal(shown[101:184, 37:168], picture)
    np.testing.assert_array_equal(shown[2:52, 501:561], colours(grey))
    with Image.open(tmp_path / "figure.png") as file:
        assert file.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_text_is_broken_where_it_is_too_wide() -> None:
    text = "as far as the width of a column allows " * 8
    for width in (200, 500, 2000):
        broken = sheet.lines(text, width, 7)
        assert " ".join(broken).split() == text.split()
        assert all(sheet.text_width(line, 7) <= width for line in broken)
    assert sheet.shortened("short", 500, 7) == "short"
    cut = sheet.shortened(text, 300, 7)
    assert cut.endswith("…")
    assert sheet.text_width(cut, 7) <= 300


@pytest.mark.parametrize("text", ["$x_1$ costs $5", "a\nb\tc", "half \ud800 a pair", "文字 🙂", "100 %"])
def test_any_name_can_be_written(tmp_path: Path, text: str) -> None:
    drawn = sheet.Sheet(100)
    drawn.text(0, 0, text)
    for suffix in sheet.SUFFIXES:
        drawn.save(tmp_path / f"figure{suffix}")


@pytest.mark.parametrize("suffix", sheet.SUFFIXES)
def test_the_same_figure_has_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        drawn, _, _ = filters.draw("layer", random_weights(5, 3, 7, 7, first=True), Preprocess((8, 8)))
        drawn.save(tmp_path / f"{name}{suffix}")
    data = (tmp_path / f"one{suffix}").read_bytes()
    assert data == (tmp_path / f"two{suffix}").read_bytes()
    assert not re.search(rb"20[2-9]\d-\d\d-\d\d|CreationDate|ModDate", data)


def test_vector_figures_have_text_as_text(tmp_path: Path) -> None:
    drawn = sheet.Sheet(100)
    drawn.text(0, 0, "layer4.1.conv2 of a network")
    drawn.save(tmp_path / "figure.svg")
    assert "layer4.1.conv2 of a network" in (tmp_path / "figure.svg").read_text()
    drawn.save(tmp_path / "figure.pdf")
    data = (tmp_path / "figure.pdf").read_bytes()
    assert b"/Type42" in data or b"/TrueType" in data or b"/CIDFontType2" in data
    assert b"/Type3" not in data


def test_matplotlib_is_left_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    filters.draw("layer", random_weights(5, 3, 7, 7, first=True), Preprocess((8, 8)))
    assert dict(matplotlib.rcParams) == before


# --- filters ---------------------------------------------------------------------------------------------------------


def test_first_filters_are_shown_on_both_scales(tmp_path: Path) -> None:
    found = random_weights(4, 3, 7, 7, first=True)
    drawn, shown, _ = filters.draw("layer", found, Preprocess((8, 8), channels="BGR"))
    assert shown == 4
    picture = pixels(drawn, tmp_path)
    tiles = np.moveaxis(found.slices[:, ::-1], 1, -1)
    factor = 190 // 7
    for scaled in (display.minmax(tiles, each=1), display.sym(tiles)):
        for tile in display.magnify(display.to_bytes(scaled), factor):
            assert contains(picture, tile)
    assert not contains(picture, display.magnify(display.to_bytes(display.minmax(tiles))[:1], factor)[0])


def test_a_deeper_layer_is_a_row_of_all_its_slices(tmp_path: Path) -> None:
    found = random_weights(3, 4, 5, 5)
    found.slices[1, [0, 1, 3]] = 0  # a single slice that is not zero
    drawn, shown, judged = filters.draw("layer", found, Preprocess((8, 8)))
    assert shown == 3
    assert judged is not None
    picture = pixels(drawn, tmp_path)
    for unit in range(3):
        low, high = found.slices[unit].min(), found.slices[unit].max()
        tiles = np.round((found.slices[unit].astype(float) - low) / (high - low) * 255).astype(np.uint8)
        strip = display.grid(display.magnify(tiles, rows._LARGE // 5), 4, 4, 255)
        assert contains(picture, colours(strip))
    others = np.delete(tiles := display.minmax(found.slices, each=1)[1], 2, 0)
    zero = -found.slices[1].min() / (found.slices[1].max() - found.slices[1].min())
    np.testing.assert_allclose(others, zero)
    assert np.ptp(tiles[2]) == 1


def test_of_many_input_channels_the_strongest_are_shown_on_the_scale_of_all(tmp_path: Path) -> None:
    found = random_weights(2, 40, 3, 3)
    picture = pixels(filters.draw("layer", found, Preprocess((8, 8)))[0], tmp_path)
    tiles = display.to_bytes(display.minmax(found.slices, each=1))
    for unit in range(2):
        norms = [float(np.linalg.norm(each.astype(float))) for each in found.slices[unit]]
        order = sorted(range(40), key=lambda i: -norms[i])[:12]
        strip = display.grid(display.magnify(tiles[unit, order], rows._LARGE // 3), 12, 4, 255)
        assert contains(picture, colours(strip))


def test_one_pixel_is_a_matrix_of_norms(tmp_path: Path) -> None:
    found = random_weights(5, 8, 1, 1)
    found.channels[:] += 2  # two input channels that nobody sees
    picture = pixels(filters.draw("layer", found, Preprocess((8, 8)))[0], tmp_path)
    expected = np.zeros((5, 10))
    expected[:, 2:] = np.abs(found.slices[:, :, 0, 0])
    greys = np.round(255 * (1 - expected / expected.max())).astype(np.uint8)
    # Inside the frame, which covers the outermost pixels.
    assert contains(picture, colours(display.magnify(greys[None], 40)[0])[4:-4, 4:-4])


def test_a_matrix_that_is_too_large_is_shown_in_means() -> None:
    values = np.random.default_rng(0).random((7, 4001))
    small, blocks = matrix._blocks(values)
    assert blocks == (1, 3)
    assert small.shape == (7, 1334)
    expected = [[row[start : start + 3].mean() for start in range(0, 4001, 3)] for row in values]
    np.testing.assert_allclose(small, expected)


def test_every_layer_of_every_odd_net_can_be_drawn(tmp_path: Path) -> None:
    drawn: dict[tuple[Any, ...], sheet.Sheet] = {}
    for odd in ODD_NETS.values():
        graph = record(odd.make(), odd.images(2))
        channels, height, width = odd.shape
        for layer in graph.layers():
            found = weights(graph, layer)
            assert found is not None
            like = (found.slices.shape, found.first, "groups" in layer.kind)
            if like not in drawn:  # others look the same but for their numbers
                preprocess = Preprocess((height, width), channels=channels)
                drawn[like], shown, _ = filters.draw(str(layer.address), found, preprocess)
                assert shown == layer.units
    assert len(drawn) > 20
    assert all(pixels(each, tmp_path).min() < 100 for each in drawn.values())


@pytest.mark.parametrize("shape", [(600, 3, 7, 7), (2000, 64, 3, 3), (3000, 1, 3, 3), (4, 1, 300, 280), (1, 1, 1, 9)])
def test_large_layers_stay_on_a_page(shape: tuple[int, ...]) -> None:
    drawn, shown, _ = filters.draw("layer", random_weights(*shape, first=shape[1] < 4), Preprocess((8, 8)))
    assert 1 <= shown <= shape[0]
    assert drawn.height <= 3000


def test_weights_that_are_no_numbers_are_drawn(tmp_path: Path) -> None:
    for shape, first in (((4, 3, 5, 5), True), ((4, 6, 3, 3), False), ((4, 6, 1, 1), False)):
        found = random_weights(*shape, first=first)
        found.slices[0] = np.nan
        found.slices[1, 0, 0, 0] = np.inf
        found.slices[2] = 0
        pixels(filters.draw("layer", found, Preprocess((8, 8)))[0], tmp_path)


# --- activations -----------------------------------------------------------------------------------------------------


def test_a_delta_shows_the_filters_turned_around(tmp_path: Path) -> None:
    module = nn.Conv2d(1, 3, 3, padding=2, bias=False)
    delta = torch.zeros(1, 1, 5, 5)
    delta[0, 0, 2, 2] = 1
    maps = module(delta)[0].detach().numpy()
    kernel = np.zeros((3, 7, 7), np.float32)
    kernel[:, 2:5, 2:5] = module.weight.detach().numpy()[:, 0, ::-1, ::-1]
    np.testing.assert_array_equal(maps, kernel)
    response = activations.Response(maps, None)
    picture = Image.new("RGB", (5, 5))
    shown = pixels(activations.draw("layer", picture, "delta", response, each=False)[0], tmp_path)
    for tile in display.magnify(display.to_bytes(display.sym(kernel)), 150 // 7):
        assert contains(shown, colours(tile))


def test_scales_of_tiles_and_of_the_figure(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
    maps *= np.array([1, 0.5, 0.1, 0], np.float32)[:, None, None]
    response = activations.Response(maps, "relu")
    assert response.rectified
    assert response.silent == 1
    assert response.largest == maps.max()
    together, alone = response.shades(False), response.shades(True)
    np.testing.assert_allclose(together.max((1, 2)), maps.max((1, 2)) / maps.max())
    np.testing.assert_allclose(alone.max((1, 2)), [1, 1, 1, 0])
    for each, shades in ((False, together), (True, alone)):
        drawn, _ = activations.draw("layer", Image.new("RGB", (5, 5)), "x", response, each)
        picture = pixels(drawn, tmp_path)
        assert all(contains(picture, colours(tile)) for tile in display.magnify(display.to_bytes(shades), 25))


def test_zero_is_silence_only_where_nothing_is_negative() -> None:
    maps = np.zeros((1, 2, 2), np.float32)
    assert activations.Response(maps, "relu").rectified
    assert not activations.Response(maps, None).rectified
    assert not activations.Response(maps, "sigmoid").rectified
    assert not activations.Response(maps - 1, "leaky_relu").rectified


@pytest.mark.parametrize("shape", [(1, 1, 1), (4096, 1, 1), (2048, 7, 7), (64, 500, 700), (3, 1, 197), (2, 1700, 1700)])
def test_responses_of_any_size_stay_on_a_page(shape: tuple[int, ...]) -> None:
    maps = np.random.default_rng(0).random(shape, np.float32)
    drawn, shown = activations.draw("layer", Image.new("L", (9, 4)), "x", activations.Response(maps, "relu"), False)
    assert 1 <= shown <= shape[0]
    assert drawn.height <= 3000


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        conv, head = nn.Conv2d(3, 4, 5, padding=2), nn.Linear(4, 2)
    with torch.no_grad():
        conv.weight[1], conv.bias[1] = 0, -1  # dead
        conv.weight[2] = torch.nan
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 14, 18), np.uint8)
    network = convscope.wrap(module, preprocess=Preprocess((14, 18)), classes=["cat", "dog"], name="small")
    path = tmp_path_factory.mktemp("unit") / "atlas"
    return scan(network, Arrays(images, [i % 2 for i in range(20)]), path, batch_size=4)


def test_a_unit_shows_its_patches_and_images(atlas: Atlas, tmp_path: Path) -> None:
    unit = atlas["0:0"]
    drawn, shown = units.draw(unit)
    assert shown == 9
    picture = pixels(drawn, tmp_path)
    for top in unit.best(9):
        patch = unit.patch(top.rank).resize((units._CELL,) * 2, Image.Resampling.NEAREST)
        assert contains(picture, np.asarray(patch))


@pytest.mark.parametrize("address", ["0:1", "0:2", "0:3", "4:0"])
def test_units_without_a_response_and_without_a_map_are_drawn(atlas: Atlas, tmp_path: Path, address: str) -> None:
    drawn, shown = units.draw(atlas[address])
    assert shown == (0 if address in {"0:2", "4:0"} else 9)  # the head saw NaN
    pixels(drawn, tmp_path)


def test_a_unit_that_sees_all_is_shown_without_patches(tmp_path: Path) -> None:
    network, digits = convscope.load("digits:lenet5"), convscope.open_images("digits:test")
    found = scan(network, digits, tmp_path / "atlas", layers=["c3", "output"], limit=20)
    drawn, shown = units.draw(found["output:3"])
    assert shown == 9
    picture = pixels(drawn, tmp_path)
    for top in found["output:3"].best(9):
        seen = found.picture(top.id).resize((units._CELL,) * 2, Image.Resampling.NEAREST)
        assert contains(picture, np.asarray(seen))
    for address, frames in (("output:3", False), ("c3:0", True)):
        units.draw(found[address])[0].save(tmp_path / "figure.svg")
        assert ("with its field" in (tmp_path / "figure.svg").read_text()) == frames


def test_numbers_are_those_of_the_atlas(atlas: Atlas) -> None:
    said = dict(units.numbers(atlas["0:1"]))
    assert said["needs attention"] == "dead"
    assert said["field of view"] == "5 × 5 px"
    assert said["response"] == "after relu"
    means = atlas.layer("0").class_means[0]
    assert dict(units.numbers(atlas["0:0"]))["favourite class"] == ["cat", "dog"][int(means.argmax())]


# --- commands --------------------------------------------------------------------------------------------------------


def test_commands_draw_and_say_what(tmp_path: Path, atlas: Atlas) -> None:
    done = run("filters", "digits:lenet5", "-o", tmp_path / "c1.png", "--json")
    about = json.loads(done.stdout)
    assert about["figure"] == str(tmp_path / "c1.png")
    assert (about["layer"], about["units"], about["kernel"], about["first"]) == ("c1", 6, [5, 5], True)
    assert (tmp_path / "c1.png").read_bytes()[:4] == b"\x89PNG"
    run("filters", "digits:lenet5", "--layer", "c3", "-o", tmp_path / "c3.pdf")
    assert (tmp_path / "c3.pdf").read_bytes()[:4] == b"%PDF"
    words = ["activations", "digits:lenet5", "digits:test@3", "--layer", "c3", "-o", tmp_path / "a.svg", "--json"]
    about = json.loads(run(*words).stdout)
    network, digits = convscope.load("digits:lenet5"), convscope.open_images("digits:test")
    with torch.no_grad():
        maps = network.module[:5](network.preprocess(digits.read(3))[None])[0]  # type: ignore[index]
    best = int(maps.amax((1, 2)).argmax())
    assert about["strongest"][0]["unit"] == best
    assert about["strongest"][0]["maximum"] == pytest.approx(float(maps[best].max()), rel=1e-5)
    row, column = about["strongest"][0]["row"], about["strongest"][0]["column"]
    assert float(maps[best, row, column]) == pytest.approx(float(maps[best].max()), rel=1e-5)
    assert not about["rectified"]
    about = json.loads(run("unit", atlas.path, "0:0", "-o", tmp_path / "u.png", "--json").stdout)
    assert (about["unit"], about["images"], about["shown"]) == ("0:0", 20, 9)
    assert "figure: " in run("unit", atlas.path, "0:0", "-o", tmp_path / "U.PNG").stdout


def test_an_image_file_is_read_like_in_a_scan(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    words = ["activations", "digits:lenet5", tmp_path / "p.png", "--layer", "f6", "-o", tmp_path / "a.png", "--json"]
    about = json.loads(run(*words).stdout)
    assert (about["image"], about["units"], about["map"]) == ("p.png", 84, [1, 1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filters", "digits:lenet5", "--layer", "c2"], "did you mean 'c5'"),
        (["filters", "digits:lenet5", "--first-unit", "6"], "units 0 to 5"),
        (["activations", "digits:lenet5", "nowhere.png", "--layer", "c1"], "no such file"),
        (["activations", "digits:lenet5", "digits:test@999", "--layer", "c1"], "images 0 to 358"),
        (["activations", "digits:lenet5", "digits:test@1", "--layer", "c9"], "no convolution or linear layer 'c9'"),
        (["activations", "digits:lenet5", __file__, "--layer", "c1"], "no picture"),
        (["unit", "nowhere", "c1:0"], "no such folder"),
        (["unit", "nowhere", "c1"], "names a layer"),
    ],
)
def test_a_fault_is_one_clear_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = run(*words, "-o", tmp_path / "x.png", code=1)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "message"), [("x.jpg", "'.jpg'"), ("x", "no suffix"), ("no/x.png", "no folder"), ("d.png", "a folder")]
)
def test_a_place_where_no_figure_can_be_is_refused_at_once(tmp_path: Path, output: str, message: str) -> None:
    (tmp_path / "d.png").mkdir()
    done = run("filters", "digits:lenet5", "-o", tmp_path / output, code=2)
    assert message in done.stderr


def test_what_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "x.png")

    monkeypatch.setattr("convscope.render.figures.sheet.write", refuse)
    done = run("filters", "digits:lenet5", "-o", tmp_path / "x.png", code=1)
    assert done.stderr.splitlines() == ["convscope: Permission denied (x.png)"]


def test_without_matplotlib_the_extra_is_named(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from convscope.cli import main; main(['filters', 'digits:lenet5', '-o', {str(tmp_path / 'x.png')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "convscope[figures]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.real
def test_filters_of_real_weights_are_not_noise(shared_data: Path, tmp_path: Path) -> None:
    """Gabors and colour blobs: all are learned, a few are finer than random weights, and those are regular."""
    words = ["filters", shared_data / "weights" / "squeezenet1_0.safetensors", "--arch", "squeezenet1_0", "--json"]
    about = json.loads(run(*words, "-o", tmp_path / "real.png").stdout)
    assert (about["layer"], about["shown"], about["noisy"]) == ("features.0", 96, 0)
    random = json.loads(run("filters", "squeezenet1_0", "--json", "-o", tmp_path / "random.png").stdout)
    assert random["noisy"] > 80
    with Image.open(io.BytesIO((tmp_path / "real.png").read_bytes())) as picture:
        assert picture.width == sheet.WIDTH + 2 * sheet.BORDER
