"""The pages of tasks: what they show of an atlas, and answering them in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import convscope
from accessibility import violations
from browsing import DESKTOP, PHONE, watched
from convscope.annotation import read
from convscope.cli import main
from convscope.errors import AnnotationError
from convscope.render import tasks
from convscope.render.tasks import write_tasks
from test_report_data import planted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Atlas = convscope.Atlas


@pytest.fixture(scope="module")
def asked(full_atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about all 16 units of the second layer."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.html"
    write_tasks(list(full_atlas.layer("c3")), path)
    return path


def data_of(path: Path) -> Any:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_page_shows_the_best_patches_of_its_units(full_atlas: Atlas, asked: Path) -> None:
    content = data_of(asked)
    assert [(task["layer"], task["unit"]) for task in content["tasks"]] == [("c3", unit) for unit in range(16)]
    for task in content["tasks"][::5]:
        unit = full_atlas.layer("c3")[task["unit"]]
        assert len(task["images"]) == sum(top.value > 0 for top in unit.top) == 25
        for top, image in list(zip(unit.top, task["images"], strict=True))[::8]:
            with Image.open(io.BytesIO(base64.b64decode(image["uri"].partition(",")[2]))) as shown:
                assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(unit.patch(top.rank)))
    assert dict(map(tuple, content["about"]["layers"])) == {str(each.address): each.units for each in full_atlas.layers}
    assert not re.findall(r"https?://", asked.read_text())


def test_the_ring_is_where_the_field_of_the_maximum_is(full_atlas: Atlas, tmp_path: Path) -> None:
    layer = full_atlas.layer("c5")  # sees all of the image from its one cell
    write_tasks([layer[0]], tmp_path / "a.html")
    for image in data_of(tmp_path / "a.html")["tasks"][0]["images"]:
        assert image["spot"] == [0.5, 0.5]
    write_tasks([full_atlas.layer("c1")[0]], tmp_path / "b.html")  # fields of 5 px need none
    assert all("spot" not in image for image in data_of(tmp_path / "b.html")["tasks"][0]["images"])


def test_many_units_are_many_pages(full_atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = list(full_atlas.layer("c3"))
    monkeypatch.setattr(tasks, "_UNITS", 7)
    written = write_tasks(units, tmp_path / "t.html")
    assert [path.name for path in written.files] == ["t-01.html", "t-02.html", "t-03.html"]
    assert [len(data_of(path)["tasks"]) for path in written.files] == [7, 7, 2]
    monkeypatch.setattr(tasks, "_CHARACTERS", 25_000)
    small = write_tasks(units, tmp_path / "s.html").files
    assert len(small) > 3
    assert sum(len(data_of(path)["tasks"]) for path in small) == 16
    for path in small:
        uris = [image["uri"] for task in data_of(path)["tasks"] for image in task["images"]]
        assert sum(map(len, uris)) <= 25_000
    monkeypatch.setattr(tasks, "MOST", 15)
    with pytest.raises(AnnotationError, match="16 units are too many"):
        write_tasks(units, tmp_path / "u.html")


def test_units_that_nothing_excites_are_left_out(tmp_path: Path) -> None:
    """Of the planted units the first is dead, and the last one answers to two images of six."""
    atlas = planted(tmp_path / "atlas")
    written = write_tasks(list(atlas.layers[0]), tmp_path / "t.html")
    assert (written.units, written.silent, written.images) == (2, ("0:0",), (2, 6))
    with pytest.raises(AnnotationError, match="none of the units"):
        write_tasks([atlas.layers[0][0]], tmp_path / "none.html")


def test_as_many_images_as_published_where_a_scan_keeps_them(tmp_path: Path) -> None:
    words = ["scan", "digits:lenet5", "digits:test", "--layers", "c1", "--top", "70", "--samples", "0"]
    assert CliRunner().invoke(main, [*words, "-o", str(tmp_path / "atlas")]).exit_code == 0
    words = ["annotations", "tasks", str(tmp_path / "atlas"), "--units", "top:2", "-o", str(tmp_path / "t.html")]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["units"], found["images"]) == (2, {"fewest": 60, "most": 60})
    with pytest.raises(ValueError, match="top is 8; it must be at least 9"):
        convscope.scan(convscope.load("digits:lenet5"), "digits:test", tmp_path / "b", top=8)


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
                ids=["desktop-light", "desktop-dark", "phone-light", "phone-dark"])  # fmt: skip
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    size: tuple[int, int] = request.param[0]
    scheme: Literal["light", "dark"] = request.param[1]
    with watched(browser, size, scheme) as opened:
        yield opened


def answer(page: Page, words: str, marks: list[int], category: str) -> None:
    page.fill("#description", words)
    for mark in marks:
        page.locator("#grid button").nth(mark).click()
    page.check(f"[value={category}]")


@pytest.mark.browser
def test_the_page_is_for_everybody_in_any_window(asked: Path, window: Page) -> None:
    window.goto(asked.as_uri())
    answer(window, "corner", [0, 3], "element")
    assert violations(window) == []
    assert window.viewport_size is not None
    assert window.evaluate("document.documentElement.scrollWidth") <= window.viewport_size["width"]


@pytest.mark.browser
def test_answers_are_counted_kept_and_saved(asked: Path, page: Page, tmp_path: Path) -> None:
    page.goto(asked.as_uri())
    page.fill("#annotator", "Ada Ørsted")
    first = page.locator("#grid button").first
    first.click()  # there is no description yet that it could fit or not
    assert first.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.activeElement.id") == "description"
    answer(page, "corners <b>", [0, 3, 24], "element")
    assert page.inner_text("#count") == "22 of 25 fit (88.0 %), 3 marked"
    page.locator("#grid button").nth(3).click()
    assert page.inner_text("#count") == "23 of 25 fit (92.0 %), 2 marked"
    page.reload()
    assert page.input_value("#annotator") == "Ada Ørsted"
    assert page.input_value("#description") == "corners <b>"
    assert page.is_checked("[value=element]")
    pressed = page.locator("#grid [aria-pressed=true]")
    assert [button.get_attribute("aria-label") for button in pressed.all()] == [
        "image 1 does not fit", "image 25 does not fit"]  # fmt: skip
    page.click("#next")
    assert page.inner_text("#title") == "c3:1"
    page.fill("#description", "half an answer")
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / download.value.suggested_filename
    assert path.name.startswith("annotations-Ada-Ørsted-")
    download.value.save_as(path)
    [row] = read([path]).rows
    assert (row.address, row.annotator, row.description, row.category) == (
        "c3:0",
        "Ada Ørsted",
        "corners <b>",
        "element",
    )
    assert (row.rejected, row.n, row.precision) == ((0, 24), 25, 0.92)
    assert row.seconds is not None
    assert "saved 1 of 16 units" in page.inner_text("#state")


@pytest.mark.browser
def test_marking_twice_restores(asked: Path, page: Page) -> None:
    page.goto(asked.as_uri())
    page.fill("#description", "corner")
    before = page.inner_html("#grid").replace(' tabindex="0"', "").replace(' tabindex="-1"', "")
    for _ in range(2):
        for mark in (7, 2, 24):
            page.locator("#grid button").nth(mark).click()
        marked = page.locator("#grid [aria-pressed=true]").count()
        assert page.inner_text("#count").endswith(f"{marked} marked")
    after = page.inner_html("#grid").replace(' tabindex="0"', "").replace(' tabindex="-1"', "")
    assert (marked, after) == (0, before)


@pytest.mark.browser
def test_everything_goes_by_keys(asked: Path, page: Page) -> None:
    page.goto(asked.as_uri())
    page.focus("#description")
    page.keyboard.type("corner")
    for key in ("Enter", "ArrowRight", "ArrowDown", "Space", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    columns = page.evaluate("getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length")
    marked = [button.get_attribute("aria-label") for button in page.locator("#grid [aria-pressed=true]").all()]
    assert marked == [f"image {columns + 1} does not fit", f"image {columns + 2} does not fit"]
    page.keyboard.press("Tab")  # to the description
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert page.is_checked("[value=object]")
    page.keyboard.press("Alt+n")
    assert page.inner_text("#title") == "c3:1"
    assert page.locator("#units .done").count() == 1
    page.keyboard.press("Alt+p")
    assert page.input_value("#description") == "corner"


@pytest.mark.browser
def test_without_a_name_nothing_is_saved(asked: Path, page: Page) -> None:
    page.goto(asked.as_uri())
    answer(page, "corner", [], "element")
    page.click("#save")
    assert page.evaluate("document.activeElement.id") == "annotator"
    assert page.inner_text("#said") == "First write your name."
