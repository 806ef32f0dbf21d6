"""The report as files: what is there, that it leads nowhere else, and that nothing of the user's is ever lost."""

from __future__ import annotations

import base64
import errno
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import convscope
from convscope.errors import AddressError, AtlasError
from convscope.network import Network

Atlas = convscope.Atlas


def scripted(path: Path) -> list[Any]:
    """The values that a script of data hands over."""
    text = path.read_text().strip()
    call, _, rest = text.partition("(")
    assert call.startswith("convscope.")
    assert rest.endswith(");")
    return json.loads(f"[{rest[:-2]}]")


def units_of(report: Path, slug: str) -> list[dict[str, Any]]:
    """The data of every unit of a layer, unpacked."""
    found = []
    for path in sorted((report / "layers" / slug).glob("units-*.js")):
        _, packed, maps = scripted(path)
        units = json.loads(zlib.decompress(base64.b64decode(packed)))
        found += [unit | {"maps": each} for unit, each in zip(units, maps, strict=True)]
    return found


def test_every_layer_has_its_pages(full_atlas: Atlas, full_report: Path) -> None:
    for layer in full_atlas.layers:
        home = full_report / "layers" / layer.record["slug"]
        names = {path.name for path in home.iterdir() if not path.name.startswith("units-")}
        filters = {"filters.html", "filters.js"} if layer.filters is not None else set()
        assert names == {"index.html", "unit.html", "layer.js", "geometry.js"} | filters
        assert len(units_of(full_report, layer.record["slug"])) == layer.units
    assert full_atlas.layers[0].filters is not None
    for name in ("index.html", "attention.html", "classes.html", "terms.html", "images/index.html", "images/07.html"):
        assert (full_report / name).is_file()
    assert (full_report / "assets" / "plotly.min.js").stat().st_size > 1_000_000


def test_pages_name_no_host(full_report: Path) -> None:
    """A page from disk must work without a network: nothing of ours may even name one."""
    own = [path for path in full_report.rglob("*") if path.suffix in {".html", ".css", ".js"}]
    own = [path for path in own if "plotly" not in path.name]
    assert len(own) > 10
    for path in own:
        addresses = re.findall(r"""https?://[^"'\s)]+|url\(['"]?//""", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


def test_links_lead_to_files_and_to_what_they_name(full_report: Path) -> None:
    ids = {path: set(re.findall(r' id="([^"]+)"', path.read_text())) for path in full_report.rglob("*.html")}
    followed = 0
    for path in ids:
        for link, picture in re.findall(r"""(?:href|src)="([^"]*)"|url\('([^']+)'\)""", path.read_text()):
            target, _, mark = (link or picture).partition("#")
            if target.startswith("data:") or not (target or mark):
                continue
            there = (path.parent / target).resolve() if target else path
            assert there.exists(), (path, target)
            if mark and there.name not in {"unit.html"} and not mark.startswith("only="):
                assert mark in ids[there], (path, link)
            followed += 1
    assert followed > 300


def test_no_page_names_the_folder_of_the_atlas(full_atlas: Atlas, full_report: Path) -> None:
    for path in full_report.rglob("*"):
        if path.suffix in {".html", ".js", ".json"} and "plotly" not in path.name:
            assert str(full_atlas.path.parent) not in path.read_text(), path


def test_the_same_atlas_gives_the_same_bytes(full_atlas: Atlas, full_report: Path, tmp_path: Path) -> None:
    again = convscope.write_report(full_atlas, tmp_path / "again").parent
    files = sorted(path.relative_to(full_report) for path in full_report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (full_report / name).read_bytes() == (again / name).read_bytes(), name


def test_a_report_is_replaced_and_nothing_else(full_atlas: Atlas, tmp_path: Path) -> None:
    target = tmp_path / "report"
    convscope.write_report(full_atlas, target)
    (target / "index.html").write_text("old")
    convscope.write_report(full_atlas, target)
    assert "digits:lenet5" in (target / "index.html").read_text()
    assert not list(tmp_path.glob("*.tmp"))
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(AtlasError, match="something else than a report"):
        convscope.write_report(full_atlas, other)
    assert (other / "mine.txt").read_text() == "mine"


def test_text_from_outside_is_escaped(tmp_path: Path, tiny_network: Network) -> None:
    """A class or file name is text, also where it looks like a tag."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        picture = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{i}<b id=injected>.png")
    (folder / "broken<b id=injected>.png").write_bytes(b"nothing")
    atlas = convscope.scan(tiny_network, convscope.open_images(folder), tmp_path / "atlas")
    report = convscope.write_report(atlas, tmp_path / "report").parent
    assert "broken&lt;b id=injected&gt;" in (report / "attention.html").read_text()
    assert "0&lt;b id=injected&gt;" in (report / "images" / "00.html").read_text()
    for path in report.rglob("*.html"):
        assert "<b id=injected>" not in path.read_text(), path


def test_what_lies_beside_or_inside_a_report_is_never_lost(full_atlas: Atlas, tmp_path: Path) -> None:
    beside = tmp_path / "report.tmp"
    beside.mkdir()
    (beside / "thesis.txt").write_text("mine")
    target = tmp_path / "report"
    convscope.write_report(full_atlas, target)
    shutil.copytree(full_atlas.path, target / "atlas")
    with pytest.raises(AtlasError, match=r"something else than a report \(atlas\)"):
        convscope.write_report(full_atlas, target)
    with pytest.raises(AtlasError, match="cannot replace this folder"):
        convscope.write_report(convscope.Atlas.open(target / "atlas"), target)
    assert (target / "atlas" / "run.json").exists()
    assert (beside / "thesis.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"report", "report.tmp"}


def test_a_failed_report_leaves_the_old_one(full_atlas: Atlas, tmp_path: Path) -> None:
    target = tmp_path / "report"
    convscope.write_report(full_atlas, target)
    before = sorted(target.rglob("*"))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convscope.write_report(full_atlas, target, stop)
    assert sorted(target.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_full_disk_leaves_the_old_report(full_atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report"
    convscope.write_report(full_atlas, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    written = 0

    def write(path: Path, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        with path.open("wb") as file:
            return file.write(data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write)
        with pytest.raises(OSError, match="No space left on device"):
            convscope.write_report(full_atlas, target, layers=["c3"])
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_old_report_comes_back_where_the_new_one_cannot_be_put(
    full_atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report"
    convscope.write_report(full_atlas, target, layers=["c3"])
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if path.name == "report" and path != target:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        convscope.write_report(full_atlas, target, layers=["c1"])
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["strips/001-c3-000.png", "pictures/0000.png", "filters.safetensors",
                                  "samples.safetensors", "connections.safetensors"])  # fmt: skip
def test_a_damaged_atlas_is_named_and_leaves_the_old_report(full_atlas: Atlas, tmp_path: Path, name: str) -> None:
    """One bit of a file is another one; a report of the layer that it is about cannot be written."""
    atlas = tmp_path / "atlas"
    shutil.copytree(full_atlas.path, atlas)
    target = tmp_path / "report"
    convscope.write_report(convscope.Atlas.open(atlas), target, layers=["c1"])
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    data = bytearray((atlas / name).read_bytes())
    data[len(data) // 2] ^= 1
    (atlas / name).write_bytes(data)
    with pytest.raises(AtlasError, match=f"{name} has changed"):
        convscope.write_report(convscope.Atlas.open(atlas), target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atlas", "report"]


def test_what_a_file_manager_leaves_is_no_obstacle(full_atlas: Atlas, tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / ".DS_Store").write_bytes(b"")
    convscope.write_report(full_atlas, target, layers=["c3"])
    (target / ".DS_Store").write_bytes(b"")
    convscope.write_report(full_atlas, target, layers=["c3"])
    assert not (target / ".DS_Store").exists()


# --- some of it alone -------------------------------------------------------------------------------------------------


def test_layers_and_units_make_a_smaller_report(full_atlas: Atlas, full_report: Path, tmp_path: Path) -> None:
    """Shown are the chosen layers, and of each the units that stand out most, written out here once more."""
    report = convscope.write_report(full_atlas, tmp_path / "some", layers=["c*"], units=5).parent
    slugs = sorted(path.name for path in (report / "layers").iterdir())
    assert slugs == ["000-c1", "001-c3", "002-c5"]
    for slug, layer in zip(slugs, full_atlas.layers, strict=False):
        summary = layer.summary
        height = [(m - mean) / s if s > 0 else -1 for m, mean, s in
                  zip(summary["maximum"], summary["mean"], summary["std"], strict=True)]  # fmt: skip
        expected = sorted(sorted(range(layer.units), key=lambda unit: (-height[unit], unit))[:5])
        (data,) = scripted(report / "layers" / slug / "layer.js")
        assert data["units"] == expected
        assert len(units_of(report, slug)) == 5
    sizes = [sum(path.stat().st_size for path in folder.rglob("*.*") if path.is_file() and "plotly" not in path.name)
             for folder in (report, full_report)]  # fmt: skip
    assert sizes[0] < sizes[1] / 2


def test_strips_and_pictures_of_a_smaller_report_are_the_same(full_atlas: Atlas, tmp_path: Path) -> None:
    """Sheets are packed anew: every strip and picture is where the data say, and looks as it did."""
    report = convscope.write_report(full_atlas, tmp_path / "some", layers=["c5"], units=70).parent
    (network,) = scripted(report / "assets" / "network.js")
    (about,) = network["layers"]
    (images,) = scripted(report / "assets" / "images.js")
    layer = full_atlas.layer("c5")
    record = full_atlas.run["strips"][layer.record["slug"]]
    height, width = about["cell"]
    assert len(about["sheets"]) == 1
    for row, unit in enumerate(about["shown"]):
        with Image.open(report / about["sheets"][row // about["rows"]]) as sheet:
            seen = np.asarray(sheet.convert("RGB"), int)[row * height : (row + 1) * height]
        with Image.open(full_atlas.path / record["files"][unit // record["rows"]]) as sheet:
            expected = np.asarray(sheet.convert("RGB"), int)[unit * height : (unit + 1) * height]
        assert np.abs(seen - expected).max() <= 3
        assert seen.shape[1] == about["ranks"] * width
    shown = [image for image, (_, _, *place) in images["images"].items() if place]
    assert len(shown) > 0
    for image in shown[::7]:
        sheet, y, x = images["images"][image][2:]
        with Image.open(report / images["sheets"][sheet]) as opened:
            seen = np.asarray(opened.convert("RGB"), int)[y : y + 32, x : x + 32]
        assert np.abs(seen - np.asarray(full_atlas.picture(int(image)), int)).max() <= 3


def test_a_layer_that_is_not_there_is_named(full_atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(AddressError, match=r"has no layer 'c4'.*c3"):
        convscope.write_report(full_atlas, tmp_path / "report", layers=["c4"])
    with pytest.raises(ValueError, match="units is 0"):
        convscope.write_report(full_atlas, tmp_path / "report", units=0)
    with pytest.raises(ValueError, match="layers is empty"):
        convscope.write_report(full_atlas, tmp_path / "report", layers=[])
    assert not list(tmp_path.iterdir())
