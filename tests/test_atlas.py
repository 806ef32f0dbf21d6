"""An atlas on disk: what it says of layers and units, and what is refused as damaged or foreign."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope
from convscope import sprites
from convscope.address import Layer, Unit
from convscope.atlas import Atlas, AtlasLayer, AtlasUnit
from convscope.atlas.run import CONNECTIONS, FILTERS, SAMPLES, STATISTICS, sealed
from convscope.errors import AddressError, AtlasError
from convscope.images import Arrays
from convscope.panel import Bars, Table
from convscope.preprocess import Preprocess
from convscope.scanner import scan

HEIGHT, WIDTH = 18, 22  # below 24 px, so that pictures are kept exactly
MEAN = (0.5, 0.25, 0.75)
PADDING = (128, 64, 191)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (30, 3, HEIGHT, WIDTH), np.uint8)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 5, 5, stride=2, padding=3), nn.ReLU(), nn.Conv2d(5, 3, 3), nn.ReLU())
        head = nn.Linear(3, 2)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return _named(features=features, pool=pool, head=head)


def _named(**children: nn.Module) -> nn.Sequential:
    module = nn.Sequential()
    for name, child in children.items():
        module.add_module(name, child)
    return module.eval()


@pytest.fixture(scope="module")
def atlas(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray[Any, np.dtype[np.uint8]], module: nn.Module
) -> Atlas:
    preprocess = Preprocess(size=(HEIGHT, WIDTH), mean=MEAN, std=(0.5,))
    network = convscope.wrap(module, preprocess=preprocess, classes=["cat", "dog"], name="small")
    labels = [i % 2 for i in range(30)]
    return scan(network, Arrays(pixels, labels), tmp_path_factory.mktemp("atlas") / "atlas", batch_size=8)


@pytest.fixture
def copy(atlas: Atlas, tmp_path: Path) -> Path:
    """A copy of the atlas, to be damaged."""
    return Path(shutil.copytree(atlas.path, tmp_path / "copy"))


def maps_of(module: nn.Module, pixels: np.ndarray[Any, Any], depth: int) -> np.ndarray[Any, Any]:
    """The response of the first convolutions (n, units, h, w), by a plain pass."""
    inputs = (torch.from_numpy(pixels).float() / 255 - torch.tensor(MEAN)[:, None, None]) / 0.5
    with torch.no_grad():
        return np.asarray(module.get_submodule("features")[:depth](inputs))  # type: ignore[index]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_layers_and_units_by_address(atlas: Atlas) -> None:
    assert [str(layer.address) for layer in atlas.layers] == ["features.0", "features.2", "head"]
    layer, unit = atlas["features.2"], atlas["features.2:1"]
    assert isinstance(layer, AtlasLayer)
    assert isinstance(unit, AtlasUnit)
    assert (layer.units, len(layer), layer.shape) == (3, 3, (3, 8, 10))
    assert layer.address == Layer("features.2")
    assert unit.address == Unit(Layer("features.2"), 1)
    assert atlas.layer("features.2") is atlas.layer(Layer("features.2")) is layer
    assert [each.index for each in layer] == [0, 1, 2]
    assert layer[1].address == unit.address
    assert repr(unit) == "<unit features.2:1>"
    assert repr(layer) == "<layer features.2: 3 units>"
    assert "small, 3 layers" in repr(atlas)


def test_all_units_in_order(atlas: Atlas) -> None:
    names = [f"features.0:{i}" for i in range(5)] + [f"features.2:{i}" for i in range(3)] + ["head:0", "head:1"]
    assert [str(unit.address) for unit in atlas.units()] == names


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("features.1", r"has no layer 'features\.1'; did you mean 'features\.[02]' or 'features\.[02]'\?"),
        ("haed:1", r"has no layer 'haed'; did you mean 'head'\?"),
        ("zzzzzz", r"has no layer 'zzzzzz'$"),
        ("head:2", "layer head has units 0 to 1, not 2"),
        ("head:1@0,0", "names a neuron; an atlas holds layers and units"),
        ("head 1", "is not an address"),
        ("head:-1", "is not an address"),
    ],
)
def test_what_is_not_there_is_said(atlas: Atlas, address: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        atlas[address]


def test_units_are_not_counted_from_the_end(atlas: Atlas) -> None:
    with pytest.raises(AddressError, match="units 0 to 1, not -1"):
        atlas.layer("head")[-1]


def test_the_best_images_are_named_labelled_and_placed(
    atlas: Atlas, module: nn.Module, pixels: np.ndarray[Any, Any]
) -> None:
    for layer, depth, size in (("features.0", 2, 5), ("features.2", 4, 9)):
        maps = maps_of(module, pixels, depth)
        for unit in atlas.layer(layer):
            mine = maps[:, unit.index]
            order = sorted(range(30), key=lambda i: (-mine[i].max(), i))[:25]
            assert [entry.rank for entry in unit.top] == list(range(25))
            assert [entry.id for entry in unit.top] == order
            for entry in unit.top:
                assert entry.value == pytest.approx(mine[entry.id].max(), rel=1e-5)
                if entry.value:
                    assert (entry.row, entry.column) == divmod(int(mine[entry.id].argmax()), mine.shape[2])
                assert entry.name == f"{entry.id:02}"  # also of those whose picture is not kept
                assert entry.label == ["cat", "dog"][entry.id % 2]
                assert entry.box.as_tuple() == (
                    2 * entry.row - 3, 2 * entry.column - 3, 2 * entry.row - 3 + size, 2 * entry.column - 3 + size
                )  # fmt: skip


def test_a_summary_is_a_column_of_the_layers(atlas: Atlas, module: nn.Module, pixels: np.ndarray[Any, Any]) -> None:
    maps = maps_of(module, pixels, 2)
    for unit in atlas.layer("features.0"):
        mine = maps[:, unit.index].astype(np.float64)
        assert unit.summary == {name: column[unit.index] for name, column in unit.layer.summary.items()}
        assert unit.summary["mean"] == pytest.approx(mine.mean(), rel=1e-5)
        assert unit.summary["nonpositive"] == pytest.approx((mine <= 0).mean(), abs=2e-4)
        assert unit.summary["active_images"] == (mine.max((1, 2)) > 0).sum()


def test_quantiles_of_a_unit(atlas: Atlas) -> None:
    for unit in atlas.layer("head"):  # one position an image, so all are counted
        values = sorted(entry.value for entry in unit.top)
        assert unit.quantile(1.0) == pytest.approx(values[-1], rel=1 / 16)
        # 25 of 30 images are in the list: the median is the tenth of them from below.
        assert unit.quantile(0.5) == pytest.approx(values[9], rel=1 / 15, abs=0.02)
        assert unit.quantile(0.0) <= unit.quantile(0.25) <= unit.quantile(0.75) <= unit.quantile(1.0)


def test_maps_are_shares_of_their_maximum(atlas: Atlas, module: nn.Module, pixels: np.ndarray[Any, Any]) -> None:
    maps = maps_of(module, pixels, 2)
    for unit in atlas.layer("features.0"):
        for entry in unit.top[:9]:
            mine = maps[entry.id, unit.index]
            np.testing.assert_allclose(unit.map(entry.rank), mine / max(mine.max(), 1e-9), atol=0.51 / 255 + 1e-5)
            assert unit.map(entry.rank).dtype == np.float32


def test_pictures_are_what_the_network_sees(atlas: Atlas, pixels: np.ndarray[Any, Any]) -> None:
    assert len(atlas.pictures) > 9
    for image in atlas.pictures:
        np.testing.assert_array_equal(np.asarray(atlas.picture(image)), pixels[image].transpose(1, 2, 0))


def test_a_patch_is_the_crop_of_the_image_with_padding(atlas: Atlas, pixels: np.ndarray[Any, Any]) -> None:
    outside = 0
    for layer in ("features.0", "features.2", "head"):
        for unit in atlas.layer(layer):
            for entry in unit.top[:9]:
                patch = np.asarray(unit.patch(entry.rank))
                box = entry.box
                assert patch.shape == (box.height, box.width, 3)
                for y, x in np.ndindex(patch.shape[:2]):
                    at = box.y0 + y, box.x0 + x
                    inside = 0 <= at[0] < HEIGHT and 0 <= at[1] < WIDTH
                    outside += not inside
                    assert tuple(patch[y, x]) == (tuple(pixels[entry.id, :, at[0], at[1]]) if inside else PADDING)
    assert outside > 100


def test_a_strip_shows_the_patches_of_its_unit(atlas: Atlas) -> None:
    for layer in atlas.layers:
        strip = atlas.run["strips"][layer.record["slug"]]
        with Image.open(atlas.path / strip["files"][0]) as image:
            sheet = np.asarray(image.convert("RGB"))
        (height, width), (down, right) = strip["tile"], strip["cell"]
        for unit in layer:
            for entry in unit.top[:9]:
                y, x = unit.index * down, entry.rank * right
                np.testing.assert_array_equal(sheet[y : y + height, x : x + width], np.asarray(unit.patch(entry.rank)))


def test_what_was_not_kept_is_said(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sprites, "_ROOM", HEIGHT * WIDTH * 10)  # pictures of 10 images
    monkeypatch.setattr(sprites, "_ROOM_A_UNIT", 0)
    network = convscope.wrap(module, preprocess=Preprocess(size=(HEIGHT, WIDTH), mean=MEAN, std=(0.5,)))
    atlas = scan(network, Arrays(pixels), tmp_path / "atlas", batch_size=8, samples=0)
    assert len(atlas.pictures) == 10
    missing = next(image for image in range(30) if image not in atlas.pictures)
    with pytest.raises(AtlasError, match=f"the picture of image {missing} was not kept"):
        atlas.picture(missing)
    unit, late = next((unit, entry) for unit in atlas.units() for entry in unit.top if entry.id == missing)
    assert late.rank > 0
    assert late.name == f"{missing:02}"
    with pytest.raises(AtlasError, match=f"image {missing} was not kept"):
        unit.patch(late.rank)
    with pytest.raises(AtlasError, match="keeps the maps of 9 images, ranks 0 to 8, not 9"):
        unit.map(9)
    with pytest.raises(AtlasError, match="has 25 best images, ranks 0 to 24, not 25"):
        unit.patch(25)


def test_panels_and_statistics(atlas: Atlas) -> None:
    unit = atlas["features.0:2"]
    assert isinstance(unit, AtlasUnit)
    panels = unit.panels()
    assert [type(panel) for panel in panels] == [Table, Bars, Table]
    table = dict(panels[2].rows)  # type: ignore[union-attr]
    assert table["mean"] == unit.summary["mean"]
    assert unit.layer.state("topk")["ids"].shape == (5, 25)
    with pytest.raises(
        AtlasError, match=r"no statistic .median.; it has class_means, histogram, moments, saturation, topk"
    ):
        unit.layer.state("median")


def test_opening_reads_no_arrays(atlas: Atlas, copy: Path) -> None:
    opened = Atlas.open(str(copy))
    (copy / STATISTICS).write_bytes(b"x" * (copy / STATISTICS).stat().st_size)
    assert opened.run == atlas.run
    assert len(list(opened.units())) == 10
    with pytest.raises(AtlasError, match=rf"{STATISTICS} has changed"):
        _ = opened.layer("head").summary


def test_nothing_in_an_atlas_depends_on_where_it_is(atlas: Atlas, copy: Path) -> None:
    moved = Atlas.open(copy)
    assert moved["head:1"].top == atlas["head:1"].top  # type: ignore[union-attr]
    assert str(atlas.path) not in (copy / "run.json").read_text()


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(AtlasError, match=match) as caught:
        Atlas.open(path)
    assert str(path) in str(caught.value)


def test_a_place_without_an_atlas(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no such folder$")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no atlas, it has no run.json")
    (tmp_path / "file").write_text("{}")
    refused(tmp_path / "file", "no atlas, which would be a folder")


def test_an_unfinished_scan(tmp_path: Path, image_folder: Path, tiny_network: convscope.Network) -> None:
    def interrupt(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas", progress=interrupt)
    refused(tmp_path / "atlas.partial", "an unfinished scan; run the same scan again")
    refused(tmp_path / "atlas", r"no such folder.* atlas\.partial; run the same scan again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "kernelscope"}, "no atlas, its run.json is something else's"),
        ({"format": None}, "no atlas"),
        ({"version": 3}, "an atlas of format 3, this convscope reads format 2; delete the folder and scan again"),
        ({"version": None}, "an atlas of format None"),
    ],
)
def test_a_foreign_run_json(copy: Path, change: dict[str, Any], message: str) -> None:
    run = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(run | change))
    refused(copy, message)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "[]", "null", '"run"', "[1, 2]"])
def test_a_run_json_that_is_none(copy: Path, text: str) -> None:
    (copy / "run.json").write_text(text)
    refused(copy, "run.json cannot be read|its run.json is something else's")


@pytest.mark.parametrize(
    "key", ["convscope", "job", "network", "images", "layers", "results", "pictures", "strips", "files"]
)
def test_a_run_json_that_lacks_something(copy: Path, key: str) -> None:
    run = json.loads((copy / "run.json").read_text())
    del run[key]
    (copy / "run.json").write_text(json.dumps(run))
    refused(copy, f"damaged, run.json lacks {key}; delete the folder and scan again")


def test_statistics_of_another_version(copy: Path) -> None:
    run = json.loads((copy / "run.json").read_text())
    run["job"]["statistics"]["concepts"] = {}
    (copy / "run.json").write_bytes(sealed(run))
    with pytest.raises(AtlasError, match="statistics that this convscope lacks: concepts"):
        Atlas.open(copy)["head:0"].panels()  # type: ignore[union-attr]


FILES = [
    STATISTICS, FILTERS, CONNECTIONS, SAMPLES, "pictures/0000.png", "strips/000-features.0-000.png",
    "strips/002-head-000.png",
]  # fmt: skip


def test_these_are_the_files_of_an_atlas(atlas: Atlas) -> None:
    assert set(FILES) < atlas.run["files"].keys()
    assert len(atlas.run["files"]) == 11


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    refused(copy, f"damaged, {name} is missing; delete the folder and scan again")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [b"", None, b"+"], ids=["emptied", "cut off", "longer"])
def test_a_file_of_another_size(copy: Path, name: str, change: bytes | None) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1] if change is None else data + change if change else b"")
    refused(copy, f"damaged, {name} has another size than it was written with; delete the folder and scan again")


@pytest.mark.parametrize("place", [0, 8, 0.5, -1])
def test_a_flipped_bit_in_the_arrays_shows_at_the_first_read(copy: Path, place: float) -> None:
    flip(copy / STATISTICS, place)
    opened = Atlas.open(copy)  # checksums are not compared before they are needed
    with pytest.raises(AtlasError, match=f"damaged, the content of {STATISTICS} has changed since it was written"):
        _ = opened["head:0"].top  # type: ignore[union-attr]


@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_in_a_sheet_shows_at_the_first_look(copy: Path, place: float) -> None:
    flip(copy / "pictures" / "0000.png", place)
    opened = Atlas.open(copy)
    with pytest.raises(AtlasError, match=r"the content of pictures/0000\.png has changed"):
        opened["head:0"].patch(0)  # type: ignore[union-attr]
    flip(copy / "strips" / "002-head-000.png", place)
    with pytest.raises(AtlasError, match=r"the content of strips/002-head-000\.png has changed"):
        opened.file("strips/002-head-000.png")


def test_a_file_that_goes_after_opening(copy: Path) -> None:
    opened = Atlas.open(copy)
    (copy / STATISTICS).unlink()
    with pytest.raises(AtlasError, match=f"damaged, {STATISTICS} cannot be read"):
        _ = opened["head:0"].summary  # type: ignore[union-attr]


def flip(path: Path, place: float) -> None:
    """Turn around one bit: at an index, or at a share of the length."""
    data = bytearray(path.read_bytes())
    data[math.floor(place * len(data)) if 0 < place < 1 else int(place)] ^= 1
    path.write_bytes(bytes(data))
