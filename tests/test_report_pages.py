"""The report in a real browser: every kind of page, searching, keys, filters, in any window and for everybody."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch
from PIL import Image

import convscope
from accessibility import violations
from browsing import DESKTOP, PHONE, watched
from convscope.render.text import figure, percent
from test_report_data import planted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Atlas = convscope.Atlas
pytestmark = pytest.mark.browser

KINDS = {
    "network": "index.html",
    "layer": "layers/001-c3/index.html",
    "unit": "layers/001-c3/unit.html#3",
    "filters": "layers/000-c1/filters.html",
    "images": "images/index.html",
    "image": "images/00.html",
    "classes": "classes.html",
    "attention": "attention.html",
    "terms": "terms.html",
}


def show(page: Page, report: Path, name: str) -> None:
    page.goto("about:blank")  # another # alone would not load the page again
    page.goto(f"{report.as_uri()}/{name}")
    if "unit.html" in name:
        page.wait_for_selector("body[data-shown]")


@pytest.fixture(scope="module")
def faulty_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    return convscope.write_report(planted(folder / "atlas"), folder / "report").parent


@pytest.fixture(scope="module", params=[(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
                ids=["desktop-light", "desktop-dark", "phone-light", "phone-dark"])  # fmt: skip
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in every size and colour scheme."""
    size: tuple[int, int] = request.param[0]
    scheme: Literal["light", "dark"] = request.param[1]
    with watched(browser, size, scheme) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_has_a_serious_fault_for_anybody(full_report: Path, window: Page, kind: str) -> None:
    show(window, full_report, KINDS[kind])
    window.wait_for_timeout(150)
    assert violations(window) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wider_than_the_window(full_report: Path, window: Page, kind: str) -> None:
    show(window, full_report, KINDS[kind])
    window.wait_for_timeout(150)
    assert window.viewport_size is not None
    assert window.evaluate("document.documentElement.scrollWidth") <= window.viewport_size["width"]


@pytest.mark.parametrize("name", ["attention.html", "layers/000-0/index.html#only=dead", "layers/000-0/unit.html#0"])
def test_pages_of_faults_have_none_themselves(faulty_report: Path, window: Page, name: str) -> None:
    show(window, faulty_report, name)
    window.wait_for_timeout(150)
    assert violations(window) == []


# --- ways through the report ------------------------------------------------------------------------------------------


def test_first_page_leads_to_a_layer_and_a_unit(full_report: Path, page: Page) -> None:
    show(page, full_report, "index.html")
    assert page.title().startswith("digits:lenet5 · ")
    assert "99.7 %" in page.inner_text(".figures")
    assert page.locator(".layers li").count() == 5
    page.click(".layers .name >> text=c3")
    page.wait_for_selector(".unit")
    assert page.locator(".unit").count() == 16
    page.click("#u3 a")
    page.wait_for_selector("#patches figure")
    assert page.url.endswith("unit.html#3")
    assert page.inner_text("h1") == "c3:3"


def test_a_block_of_the_drawing_leads_to_its_layer(full_report: Path, page: Page) -> None:
    show(page, full_report, "index.html")
    blocks = page.locator(".drawing.wide a[data-layer]")
    assert blocks.count() == 5
    blocks.nth(2).click()
    page.wait_for_url("**/layers/002-c5/index.html")


def test_a_connection_leads_to_the_unit_that_feeds(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/001-c3/unit.html#3")
    best = full_atlas["c3:3"].inputs[0]
    first = page.locator("#inputs a").first
    assert first.locator("b").inner_text() == f"{best.layer}:{best.unit}"
    assert ("minus" in (first.locator(".bar").get_attribute("class") or "")) == (best.weight < 0)
    first.click()
    page.wait_for_url(f"**/layers/000-c1/unit.html#{best.unit}")
    page.wait_for_selector("body[data-shown]")
    assert page.inner_text("h1") == f"{best.layer}:{best.unit}"


def test_keys_lead_to_neighbours_and_up(full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/001-c3/unit.html#3")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("body[data-shown='4']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("body[data-shown='3']")
    page.keyboard.press("ArrowUp")
    page.wait_for_url("**/layers/001-c3/index.html#u3")
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.press("ArrowUp")
    page.wait_for_url("**/index.html")
    show(page, full_report, "images/00.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/images/01.html")


def test_help_and_theme_by_key(full_report: Path, page: Page) -> None:
    show(page, full_report, "index.html")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    before = page.evaluate("getComputedStyle(document.body).color")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).color") != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("t")


def test_keys_can_be_turned_off(full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/001-c3/unit.html#3")
    page.click("#help")
    page.uncheck("#single")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") != "search"
    show(page, full_report, "index.html")
    page.keyboard.press("?")
    assert not page.locator("#keys").is_visible()
    page.click("#help")
    page.check("#single")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    show(page, full_report, "layers/001-c3/unit.html#3")
    assert page.inner_text("h1") == "c3:3"


@pytest.mark.parametrize(
    ("text", "lands"),
    [
        ("c3:7", "layers/001-c3/unit.html#7"),
        ("output", "layers/004-output/index.html"),
        ("noisy", "attention.html#noisy"),
        ("selectivity", "terms.html#selectivity"),
        ("classes", "classes.html"),
    ],
)
def test_searching_leads_there(full_report: Path, page: Page, text: str, lands: str) -> None:
    show(page, full_report, "index.html")
    page.keyboard.press("/")
    page.keyboard.type(text)
    assert page.locator("#found li").count() >= 1
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{lands}")


def test_searching_for_a_class_a_number_and_nothing(full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/001-c3/index.html")
    page.fill("#search", "5")
    assert page.locator("#found li b").all_inner_texts()[:3].count("5") == 1  # the class
    assert "c3:5" in page.locator("#found li b").all_inner_texts()
    page.fill("#search", "zebra")
    assert "Nothing is called so" in page.inner_text("#found")
    page.keyboard.press("Escape")
    assert not page.locator("#found").is_visible()
    page.fill("#search", "c")
    assert violations(page) == []


# --- layers -----------------------------------------------------------------------------------------------------------


def numbers(page: Page) -> list[int]:
    page.wait_for_selector("#count:not(:empty)")  # also where a click has only just led to the page
    return [int(name[1:]) for name in page.locator(".unit").evaluate_all("all => all.map(each => each.id)")]


def test_units_are_sorted_and_filtered_and_the_address_says_how(
    full_atlas: Atlas, full_report: Path, page: Page
) -> None:
    show(page, full_report, "layers/001-c3/index.html")
    assert numbers(page) == list(range(16))
    page.select_option("#sort", "-maximum")
    maximum = [float(f"{value:.4g}") for value in full_atlas.layer("c3").summary["maximum"]]
    assert numbers(page) == sorted(range(16), key=lambda unit: (-maximum[unit], unit))
    page.select_option("#class", "4")
    liked = [int(np.argmax(row)) for row in full_atlas.layer("c3").class_means]
    assert set(numbers(page)) == {unit for unit in range(16) if liked[unit] == 4}
    assert f"{len(numbers(page))} of 16 units" in page.inner_text("#count")
    before = numbers(page)
    page.goto("about:blank")
    page.go_back()
    assert numbers(page) == before
    assert page.input_value("#sort") == "-maximum"


def test_faults_are_one_click_from_the_first_page(faulty_report: Path, page: Page) -> None:
    show(page, faulty_report, "index.html")
    page.click(".layers .flag >> text=dead")
    assert numbers(page) == [0]
    show(page, faulty_report, "attention.html")
    assert "1 dead unit" in page.inner_text("main")
    page.click(".row a >> nth=0")
    assert numbers(page) == [0]
    show(page, faulty_report, "layers/000-0/unit.html#0")
    assert page.locator("#dead").is_visible()
    show(page, faulty_report, "layers/000-0/unit.html#1")
    assert "always on" in page.inner_text("#flags")


def test_a_list_of_units_does_not_jump_when_it_is_filled(full_report: Path, page: Page) -> None:
    """An element that is not filled yet is as high as what will stand in it, and no higher than those that are."""
    show(page, full_report, "layers/002-c5/index.html")
    page.wait_for_selector("#u0 a")
    heights = page.locator(".unit").evaluate_all(
        "all => all.map(each => [each.offsetHeight, each.firstChild && each.firstChild.offsetHeight])"
    )
    assert max(height for height, _ in heights) - min(height for height, _ in heights) <= 1
    filled = [(height, inside) for height, inside in heights if inside is not None]
    assert 0 < len(filled) < len(heights)
    assert all(abs(height - inside) <= 1 for height, inside in filled)


def test_a_long_list_of_units_is_whole_and_filled_where_it_is_seen(
    full_atlas: Atlas, full_report: Path, page: Page
) -> None:
    show(page, full_report, "layers/002-c5/index.html")
    assert numbers(page) == list(range(120))
    page.select_option("#sort", "-maximum")
    maximum = [float(f"{value:.4g}") for value in full_atlas.layer("c5").summary["maximum"]]
    expected = sorted(range(120), key=lambda unit: (-maximum[unit], unit))
    assert numbers(page) == expected
    unseen = page.locator(".unit:empty").last.get_attribute("id") or ""
    page.locator(f"#{unseen}").scroll_into_view_if_needed()
    page.click(f"#{unseen} a")
    page.wait_for_url(f"**/unit.html#{unseen[1:]}")


# --- units ------------------------------------------------------------------------------------------------------------


def test_unit_page_shows_what_the_atlas_says(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    unit = full_atlas["c3:3"]
    show(page, full_report, "layers/001-c3/unit.html#3")
    captions = page.locator("#patches figcaption").all_inner_texts()
    assert captions == [f"{figure(top.value)} {top.label}" for top in unit.top[:9]]
    box = unit.top[0].box
    view = page.locator("#patches figure > svg").first.get_attribute("viewBox")
    assert view == f"{box.x0} {box.y0} {box.width} {box.height}"
    page.locator("#panels").scroll_into_view_if_needed()
    page.wait_for_selector("#panels .chart .bars .point")
    assert page.locator("#panels .chart .bars .point").count() >= 40
    assert figure(unit.summary["mean"]) in page.inner_text("#panels")
    page.click("#more summary")
    page.wait_for_selector("#later figcaption")
    assert page.locator("#later figcaption").all_inner_texts() == [
        f"{figure(top.value)} {top.label}" for top in unit.top[9:25]
    ]
    page.click("#after")
    page.wait_for_function("document.title.startsWith('c3:4 ')")


def test_the_patch_on_the_page_is_the_patch(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    """What is seen in the browser, pixel by pixel, against the patch cut out in Python; also beyond the first nine."""
    unit = full_atlas["c3:3"]
    show(page, full_report, "layers/001-c3/unit.html#3")
    page.click("#more summary")
    for where, rank in (("#patches", 0), ("#later", 9)):
        page.wait_for_selector(f"{where} figure svg image[href]")
        drawn = page.locator(f"{where} figure > svg").first
        shot = Image.open(io.BytesIO(drawn.screenshot())).convert("L")
        patch = unit.patch(rank).convert("L")
        seen = np.asarray(shot.resize(patch.size, Image.Resampling.BOX), float)
        inner = (slice(1, -1), slice(1, -1))  # the drawing has rounded corners
        assert np.abs(seen - np.asarray(patch, float))[inner].mean() < 6


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_the_projection_on_the_page_is_that_of_its_patch(
    full_atlas: Atlas, full_report: Path, page: Page, rule: str
) -> None:
    """In the place of its rank, pixel by pixel, and as large as the patch beside it; of a second unit as well."""
    for index in (3, 11):
        unit = full_atlas[f"c3:{index}"]
        show(page, full_report, f"layers/001-c3/unit.html#{index}")
        assert page.locator(f"#{rule} .tile").count() == 9
        for rank in (0, 5):
            tile = page.locator(f"#{rule} .tile").nth(rank)
            shot = Image.open(io.BytesIO(tile.screenshot())).convert("L")
            expected = unit.projection(rank, rule).convert("L")
            seen = np.asarray(shot.resize(expected.size, Image.Resampling.BOX), float)
            assert np.abs(seen - np.asarray(expected, float))[1:-1, 1:-1].mean() < 6
            patch = page.locator("#patches figure > svg").nth(rank).bounding_box()
            beside = tile.bounding_box()
            assert patch is not None
            assert beside is not None
            assert abs(patch["y"] - beside["y"]) < 1
            assert abs(patch["height"] - beside["height"]) < 1
            assert f"rank {rank + 1}, {unit.best(9)[rank].name}" in (tile.get_attribute("aria-label") or "")


def test_class_maps_are_seen_with_class_and_score(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    show(page, full_report, "images/02.html")
    guesses = full_atlas.samples[2].prediction[:3]
    figures = page.locator(".class-maps figure")
    assert figures.locator("b").all_inner_texts() == [guess.name for guess in guesses]
    assert [percent(guess.score) in figures.nth(i).inner_text() for i, guess in enumerate(guesses)] == [True] * 3
    assert all(page.evaluate("[...document.querySelectorAll('.class-maps img')].map((image) => image.naturalWidth)"))


def test_the_strip_on_a_layer_page_is_the_patch(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/001-c3/index.html")
    page.wait_for_selector("#u5 .strip")
    shot = Image.open(io.BytesIO(page.locator("#u5 .strip").screenshot())).convert("L")
    tile = shot.crop((0, 0, shot.width // 9, shot.height))
    patch = full_atlas["c3:5"].patch(0).convert("L")
    seen = np.asarray(tile.resize(patch.size, Image.Resampling.BOX), float)
    assert np.abs(seen - np.asarray(patch, float))[1:-1, 1:-1].mean() < 8


def test_the_maps_of_an_image_are_those_of_the_network(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    """The tile of a unit in the grid, pixel by pixel, and what it leads to."""
    sample = full_atlas.samples[1]
    show(page, full_report, "images/01.html")
    grid = page.locator(".maps").first
    columns = int((grid.get_attribute("data-grid") or "").split(",")[0])
    shot = Image.open(io.BytesIO(grid.screenshot())).convert("L")
    maps = sample.maps("c1")
    unit, cell = 4, shot.width / columns
    x, y = unit % columns * cell, unit // columns * cell
    tile = shot.crop((round(x), round(y), round(x + cell), round(y + cell))).resize((29, 29), Image.Resampling.BOX)
    shares = (maps[unit].astype(float) - 127.5) / 127.5
    expected = 127.5 + np.sign(shares) * np.sqrt(np.abs(shares)) * 127.5
    assert np.abs(np.asarray(tile, float)[:28, :28] - expected).mean() < 8
    grid.hover(position={"x": x + cell / 2, "y": y + cell / 2})
    row, column = divmod(int(sample.positions("c1")[4]), 28)
    assert f"c1:4, maximum {figure(float(sample.maxima('c1')[4]))} at row {row}, column {column}" in page.inner_text(
        "#tip"
    )
    assert (grid.get_attribute("href") or "").endswith("000-c1/unit.html#4")


def wide_atlas(folder: Path) -> Atlas:
    """One unit that answers where grey images of 28×220 px are a little lighter; map cells are joined by eights."""
    conv = torch.nn.Conv2d(1, 1, 1)
    conv.weight.data.fill_(1)
    assert conv.bias is not None
    conv.bias.data.fill_(-0.5)
    pixels = np.full((3, 28, 220), 0.5, np.float32)
    pixels[0, 2:6, 201:207] = 0.55
    network = convscope.wrap(
        torch.nn.Sequential(conv, torch.nn.ReLU()), preprocess={"size": [28, 220], "channels": "L"}
    )
    return convscope.scan(network, convscope.Arrays(pixels), folder)


def test_the_veil_is_clear_where_the_unit_answers(tmp_path: Path, page: Page) -> None:
    """On an image that is far from square, pixel by pixel in the browser, and nothing is drawn outside of it."""
    report = convscope.write_report(wide_atlas(tmp_path / "atlas"), tmp_path / "report").parent
    show(page, report, "layers/000-0/unit.html")
    page.wait_for_selector("#whole figure svg image[href]")
    drawn = page.locator("#whole figure > svg").first
    shot = Image.open(io.BytesIO(drawn.screenshot())).convert("L")
    assert shot.width / shot.height == pytest.approx(220 / 28, rel=0.1)
    seen = np.asarray(shot.resize((220, 28), Image.Resampling.BOX), float)[2:-2, 4:-4]  # without the rounded border
    seen[seen > 150] = 0  # and without the white box around the strongest pixel
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert row + 2 < 10
    assert 198 <= column + 4 < 210
    assert seen[:, :180].max() < 70  # elsewhere a grey of 128 is dimmed


def test_files_that_are_missing_are_named(full_report: Path, tmp_path: Path, browser: Browser) -> None:
    """A report that was copied in part says so, and shows nothing else in its place."""
    report = Path(shutil.copytree(full_report, tmp_path / "report"))
    (report / "layers" / "001-c3" / "units-000.js").unlink()
    for picture in (report / "pictures").iterdir():
        picture.unlink()
    page = browser.new_page()
    page.goto(f"{report.as_uri()}/layers/001-c3/unit.html#3")
    page.wait_for_selector("#flags:not([hidden])")
    assert "units-000.js cannot be read" in page.inner_text("#flags")
    page.goto(f"{report.as_uri()}/layers/002-c5/unit.html#3")
    page.wait_for_selector("#patches svg text")
    assert page.locator("#patches svg text").first.text_content() == "picture missing"
    page.close()


# --- filters ----------------------------------------------------------------------------------------------------------


def test_filters_are_the_weights(full_atlas: Atlas, full_report: Path, page: Page) -> None:
    show(page, full_report, "layers/000-c1/filters.html")
    assert page.locator("#filters li").count() == 6
    page.wait_for_selector("#u2 .weights.own")
    shot = Image.open(io.BytesIO(page.locator("#u2 .weights.own").screenshot())).convert("L")
    filters = full_atlas.layer("c1").filters
    assert filters is not None
    weights = filters.slices[2, 0].astype(float)
    expected = (weights - weights.min()) / (weights.max() - weights.min()) * 255
    seen = np.asarray(shot.resize((5, 5), Image.Resampling.BOX), float)
    assert np.abs(seen - expected)[1:-1, 1:-1].max() < 12
    page.select_option("#only", "noisy")
    assert page.locator("#filters li").count() == int((filters.noise["noisy"] & ~filters.noise["regular"]).sum())
    page.select_option("#only", "")
    page.select_option("#sort", "-autocorrelation")
    order = np.argsort(-filters.noise["autocorrelation"], kind="stable").tolist()
    assert page.locator("#filters li").evaluate_all("all => all.map(each => Number(each.id.slice(1)))") == order


# --- nothing jumps ----------------------------------------------------------------------------------------------------

SHIFTS = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => { sum += entry.value; }))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 400);
})"""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_jumps(full_report: Path, window: Page, kind: str) -> None:
    """The cumulative layout shift of a page that opens; above 0.1 it counts as bad on the web."""
    show(window, full_report, KINDS[kind])
    assert window.evaluate(SHIFTS) < 0.05


def test_charts_of_filters_have_their_room_before_they_are_drawn(full_report: Path, window: Page) -> None:
    show(window, full_report, KINDS["filters"])
    heights = window.evaluate("""() => {
      const panels = document.getElementById("panels"), drawn = panels.offsetHeight;
      panels.replaceChildren();
      return [drawn, panels.offsetHeight];
    }""")
    assert heights[0] == heights[1] > 0
