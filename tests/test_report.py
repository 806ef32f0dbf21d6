"""The report opens from disk in a real browser, asks for nothing over the network, and shows what the atlas says."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convscope
from convscope.errors import AtlasError
from convscope.render.text import figure
from convscope.report import data

# What keeps Debian's chromium quiet on a machine without a network; the page's own requests are watched below.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]  # fmt: skip


@pytest.fixture(scope="session")
def atlas(tmp_path_factory):
    network = convscope.load("digits:lenet5")
    return convscope.scan(network, convscope.open_images("digits:test"), tmp_path_factory.mktemp("digits") / "atlas")


@pytest.fixture(scope="session")
def report(atlas, tmp_path_factory):
    return convscope.write_report(atlas, tmp_path_factory.mktemp("digits") / "report").parent


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page that fails the test on any script error, failed file or request that is not to the disk."""
    opened = browser.new_page(viewport={"width": 1300, "height": 900})
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    opened.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    opened.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(f"left: {request.url}"),
    )
    yield opened
    opened.close()
    assert not faults


def test_every_layer_has_its_pages(atlas, report):
    for layer in atlas.layers:
        home = report / "layers" / layer.record["slug"]
        assert {path.name for path in home.iterdir()} == {"index.html", "unit.html", "data.js"}
    assert (report / "assets" / "plotly.min.js").stat().st_size > 1_000_000


def test_pages_name_no_host(report):
    """A page from disk must work without a network: nothing of ours may even name one."""
    own = [path for path in report.rglob("*") if path.suffix in {".html", ".css", ".js"} and "plotly" not in path.name]
    assert len(own) > 10
    for path in own:
        addresses = re.findall(r"""https?://[^"'\s)]+|url\(['"]?//""", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


def test_links_lead_to_files(report):
    for path in report.rglob("*.html"):
        for link in re.findall(r"""(?:href|src)="([^"#]*)[#"]|url\('([^']+)'\)""", path.read_text()):
            target = link[0] or link[1]
            assert target.startswith("data:") or not target or (path.parent / target).exists(), (path, target)


def test_the_same_atlas_gives_the_same_bytes(atlas, report, tmp_path):
    again = convscope.write_report(atlas, tmp_path / "again").parent
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (report / name).read_bytes() == (again / name).read_bytes(), name


def test_a_report_is_replaced_and_nothing_else(atlas, tmp_path):
    target = tmp_path / "report"
    convscope.write_report(atlas, target)
    (target / "index.html").write_text("old")
    convscope.write_report(atlas, target)
    assert "digits:lenet5" in (target / "index.html").read_text()
    assert not list(tmp_path.glob("*.tmp"))
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(AtlasError, match="something else than a report"):
        convscope.write_report(atlas, other)
    assert (other / "mine.txt").read_text() == "mine"


def test_text_from_outside_is_escaped(tmp_path, tiny_network):
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
    assert "broken&lt;b id=injected&gt;" in (report / "index.html").read_text()
    for path in report.rglob("*.html"):
        assert "<b id=injected>" not in path.read_text(), path


@pytest.mark.browser
def test_first_page_leads_to_a_layer_and_a_unit(report, page):
    page.goto((report / "index.html").as_uri())
    assert page.title() == "digits:lenet5 · convscope"
    assert "99.7 %" in page.inner_text(".figures")
    assert page.locator(".layers li").count() == 5
    page.click(".layers .name >> text=c3")
    assert page.locator(".unit").count() == 16
    page.click("#u3")
    page.wait_for_selector("#patches figure")
    assert page.url.endswith("unit.html#3")
    assert page.inner_text("h1") == "c3:3"


@pytest.mark.browser
def test_unit_page_shows_what_the_atlas_says(atlas, report, page):
    unit = atlas["c3:3"]
    page.goto((report / "layers" / unit.layer.record["slug"] / "unit.html").as_uri() + "#3")
    page.wait_for_selector("#patches figure")
    captions = page.locator("#patches figcaption").all_inner_texts()
    assert captions == [f"{figure(top.value)} {top.label}" for top in unit.top[:9]]
    box = unit.top[0].box
    view = page.locator("#patches figure > svg").first.get_attribute("viewBox")
    assert view == f"{box.x0} {box.y0} {box.width} {box.height}"
    assert page.locator("#panels .chart .bars .point").count() >= 40
    assert "0.04147" in page.inner_text("#panels")
    page.click("#after")
    page.wait_for_function("document.title.startsWith('c3:4 ')")


@pytest.mark.browser
def test_the_patch_on_the_page_is_the_patch(atlas, report, page):
    """What is seen in the browser, pixel by pixel, against the patch cut out in Python."""
    unit = atlas["c3:3"]
    page.goto((report / "layers" / unit.layer.record["slug"] / "unit.html").as_uri() + "#3")
    page.wait_for_selector("#patches figure svg image[href]")
    drawn = page.locator("#patches figure > svg").first
    shot = Image.open(io.BytesIO(drawn.screenshot())).convert("L")
    patch = unit.patch(0).convert("L")
    seen = np.asarray(shot.resize(patch.size, Image.Resampling.BOX), float)
    inner = (slice(1, -1), slice(1, -1))  # the drawing has rounded corners
    assert np.abs(seen - np.asarray(patch, float))[inner].mean() < 6


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_is_wider_than_the_window(atlas, report, page, width):
    page.set_viewport_size({"width": width, "height": 844})
    slug = atlas.layers[1].record["slug"]
    for name in ("index.html", f"layers/{slug}/index.html", f"layers/{slug}/unit.html"):
        page.goto((report / name).as_uri())
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_data_script_is_json(report):
    text = next(Path(report).rglob("*c3/data.js")).read_text()
    data = json.loads(text.removeprefix("window.CONVSCOPE = ").rstrip(";\n"))
    assert data["address"] == "c3"
    assert len(data["units"]) == 16


def test_what_lies_beside_or_inside_a_report_is_never_lost(atlas, tmp_path):
    beside = tmp_path / "report.tmp"
    beside.mkdir()
    (beside / "thesis.txt").write_text("mine")
    target = tmp_path / "report"
    convscope.write_report(atlas, target)
    shutil.copytree(atlas.path, target / "atlas")
    with pytest.raises(AtlasError, match=r"something else than a report \(atlas\)"):
        convscope.write_report(atlas, target)
    with pytest.raises(AtlasError, match="cannot replace this folder"):
        convscope.write_report(convscope.Atlas.open(target / "atlas"), target)
    assert (target / "atlas" / "run.json").exists()
    assert (beside / "thesis.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"report", "report.tmp"}


def test_a_failed_report_leaves_the_old_one(atlas, tmp_path):
    target = tmp_path / "report"
    convscope.write_report(atlas, target)
    before = sorted(target.rglob("*"))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convscope.write_report(atlas, target, stop)
    assert sorted(target.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def wide_atlas(folder: Path) -> convscope.Atlas:
    """One unit that answers where grey images of 28×220 px are a little lighter; map cells are joined by eights."""
    conv = torch.nn.Conv2d(1, 1, 1)
    conv.weight.data.fill_(1)
    conv.bias.data.fill_(-0.5)
    pixels = np.full((3, 28, 220), 0.5, np.float32)
    pixels[0, 2:6, 201:207] = 0.55
    network = convscope.wrap(
        torch.nn.Sequential(conv, torch.nn.ReLU()), preprocess={"size": [28, 220], "channels": "L"}
    )
    return convscope.scan(network, convscope.Arrays(pixels), folder)


@pytest.mark.browser
def test_the_veil_is_clear_where_the_unit_answers(tmp_path, page):
    """On an image that is far from square, pixel by pixel in the browser, and nothing is drawn outside of it."""
    report = convscope.write_report(wide_atlas(tmp_path / "atlas"), tmp_path / "report").parent
    page.goto((report / "layers" / "000-0" / "unit.html").as_uri())
    page.wait_for_selector("#whole figure svg image[href]")
    drawn = page.locator("#whole figure > svg").first
    shot = Image.open(io.BytesIO(drawn.screenshot())).convert("L")
    assert shot.width / shot.height == pytest.approx(220 / 28, rel=0.1)
    seen = np.asarray(shot.resize((220, 28), Image.Resampling.BOX), float)[2:-2, 4:-4]  # without the rounded border
    seen[seen > 150] = 0  # and without the white box around the strongest pixel
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert row + 2 < 10
    assert 198 <= column + 4 < 210
    assert seen[:, :180].max() < 60  # elsewhere a grey of 128 is dimmed


def test_a_network_without_rectifiers_has_no_number_of_dead_units(atlas, report):
    assert data.index(atlas)["dead"] is None  # LeNet-5 has tanh
    assert "no layer is rectified" in (report / "index.html").read_text()


def test_only_rectified_layers_have_dead_units(tmp_path):
    convs = [torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 2, 1)]
    for conv in convs:
        conv.weight.data.fill_(0)
        conv.bias.data.copy_(torch.tensor([-1.0, 1.0]))
    module = torch.nn.Sequential(convs[0], torch.nn.ReLU(), convs[1])
    network = convscope.wrap(module, preprocess={"size": [8, 8], "channels": "L"})
    atlas = convscope.scan(network, convscope.Arrays(np.zeros((4, 8, 8), np.float32)), tmp_path / "atlas")
    rectified, raw = (data.layer(layer) for layer in atlas.layers)
    assert rectified["layer"]["dead"] == 1
    assert data.index(atlas)["dead"] == 1
    assert [card["flags"] for card in rectified["cards"]] == [["dead"], ["always on"]]
    assert raw["layer"]["dead"] is None
    assert not any(card["flags"] for card in raw["cards"])
    report = convscope.write_report(atlas, tmp_path / "report").parent
    assert "not rectified: zero is an answer like any other" in next(report.rglob("001-2/index.html")).read_text()
