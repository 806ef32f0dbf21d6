"""The report of a dissected atlas: against the dissection, definitions written out, and pixels in a browser."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import convscope
from accessibility import violations
from browsing import DESKTOP, PHONE, watched
from convscope.atlas.run import sealed
from convscope.concepts import CATEGORIES, Concept, Labels
from convscope.dissection import DissectedLayer, Dissection
from convscope.empirical_field import EmpiricalField, EmpiricalFields, FieldLayer
from convscope.errors import AtlasError
from convscope.images import Arrays
from convscope.preprocess import Preprocess
from convscope.render.categories import COLOURS
from convscope.render.text import figure
from convscope.report.measured import edge, picture
from dissecting import Planted, bilinear
from test_report import scripted, units_of
from test_report_data import contents_of
from test_report_pages import SHIFTS, numbers, show

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Atlas = convscope.Atlas
pytestmark = pytest.mark.usefixtures("one_thread")

HEIGHT, WIDTH = 20, 50
CONCEPTS = [("door", "object"), ("leaf", "part"), ("rail", "material"), ("leaf", "texture"), ("ghost", "object")]
# The first layer's maps have more than 28 columns: of 2 × 2 cells the largest is kept. Those of the second are whole.
CENTRES: dict[str, Any] = {"0": (range(HEIGHT), range(WIDTH)), "2": (range(0, HEIGHT, 2), range(0, WIDTH, 2))}
SLUGS = {"0": "000-0", "2": "001-2"}


class World:
    """Red doors, green leaves and a blue rail, and a network whose first units are these colours."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.pixels = rng.uniform(0.3, 0.4, (14, 3, HEIGHT, WIDTH)).astype(np.float32)
        self.pixels[:, 2, 18:, 10:28] = np.linspace(0.8, 0.95, 18)
        maps = np.zeros((14, 2, HEIGHT, WIDTH), np.int32)
        maps[:, 0, 18:, 12:30] = 3
        for image in range(14):
            y, x = int(rng.integers(0, 12)), int(rng.integers(0, 20))
            ramp = np.linspace(0.7, 1, 7)[:, None] * np.linspace(0.8, 1, 8)
            self.pixels[image, 0, y : y + 7, x : x + 8] = ramp
            maps[image, 0, y : y + 7, x : x + 8] = 1
            self.pixels[image, 1, y : y + 5, 32 + x // 2 : 38 + x // 2] = 0.95 - 0.02 * image
            maps[image, 0, y : y + 5, 32 + x // 2 : 38 + x // 2] = 2
            maps[image, 1, y : y + 5, 32 + x // 2 : 36 + x // 2] = 4
        concepts = [Concept(1 + i, *each) for i, each in enumerate(CONCEPTS)]
        labels = [image % 3 for image in range(14)]
        self.concepts = Planted(Arrays(self.pixels, labels), concepts, [Labels(each) for each in maps])
        convs = [nn.Conv2d(3, 3, 1), nn.Conv2d(3, 5, 3, 2, 1)]
        for conv in convs:
            conv.weight.data.zero_()
            assert conv.bias is not None
            conv.bias.data.zero_()
        convs[0].weight.data[:, :, 0, 0] = torch.eye(3)
        convs[1].weight.data[[0, 1, 2], [0, 1, 2]] = 1 / 9  # the last two units are dead
        convs[1].weight.data[3] = -1
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
        self.module = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), *head).eval()
        self.network = convscope.wrap(self.module, preprocess=Preprocess((HEIGHT, WIDTH)), classes=["a", "b", "c"])

    def map(self, layer: str, unit: int, image: int) -> NDArray[Any]:
        with torch.no_grad():
            maps = self.module[: int(layer) + 2](torch.from_numpy(self.pixels[image : image + 1]))
        found: NDArray[Any] = maps[0, unit].numpy()
        return found

    def scan(self, folder: Path) -> Atlas:
        return convscope.scan(self.network, self.concepts.images, folder)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def atlas(world: World, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder = tmp_path_factory.mktemp("dissected") / "atlas"
    world.scan(folder)
    convscope.dissect(world.network, world.concepts, folder, quantile=0.03)
    return Atlas.open(folder)


@pytest.fixture(scope="module")
def found(atlas: Atlas) -> Dissection:
    return Dissection.open(atlas.path)


@pytest.fixture(scope="module")
def report(atlas: Atlas) -> Path:
    return convscope.write_report(atlas, atlas.path.parent / "report").parent


def layer_of(found: Dissection, address: str) -> DissectedLayer:
    return cast(DissectedLayer, found[address])


def changed(atlas: Atlas, folder: Path, job: dict[str, str], section: str = "dissection") -> Atlas:
    """The atlas with a section that says another job of itself."""
    shutil.copytree(atlas.path, folder)
    path = folder / section / "run.json"
    run = json.loads(path.read_text())
    run["job"] |= job
    path.write_bytes(sealed({name: value for name, value in run.items() if name != "checksum"}))
    return Atlas.open(folder)


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_planted_concepts_are_what_units_detect(found: Dissection) -> None:
    """Else the tests below would look at nothing."""
    labels = [[unit.label and unit.label.name for unit in layer if unit.iou > 0.04] for layer in found.layers]
    assert labels == [["door", "leaf", "rail"], ["door", "leaf", "rail"]]
    assert min(unit.iou for layer in found.layers for unit in list(layer)[:2]) > 0.3


def test_matches_are_the_highest_ratios(found: Dissection) -> None:
    for layer in found.layers:
        for unit in range(len(layer)):
            matches = layer.matches(unit)
            best = sorted(layer.iou[unit], reverse=True)
            assert [match.iou for match in matches] == [value for value in best if value > 0]
            for match in matches:
                assert match.iou == layer.iou[unit, match.covered.concept.number - 1]
                assert match.covered == found.concepts[match.covered.concept.number - 1]
                assert 0 <= match.interval[0] <= match.interval[1] <= 1
            if matches:
                assert matches[0].interval == layer[unit].interval


def test_pages_of_an_atlas_without_dissection_say_nothing_of_one(world: World, report: Path, tmp_path: Path) -> None:
    """And with one nothing of the rest changes: what a dissection adds is all that differs."""
    plain = convscope.write_report(world.scan(tmp_path / "atlas"), tmp_path / "report").parent
    assert not (plain / "concepts.html").exists()
    for path in plain.rglob("*.html"):
        assert "concept" not in path.read_text().lower(), path
    for slug in SLUGS.values():
        for one, other in zip(units_of(plain, slug), units_of(report, slug), strict=True):
            assert one == {name: value for name, value in other.items() if name != "detects"}
    kept = ("pictures", "strips", "samples", "filters", "projections")
    for path in plain.rglob("*"):
        if path.is_file() and path.relative_to(plain).parts[0] in kept:
            assert path.read_bytes() == (report / path.relative_to(plain)).read_bytes()


def test_levels_are_thresholds_on_the_scale_of_each_map(atlas: Atlas, found: Dissection, report: Path) -> None:
    for address, slug in SLUGS.items():
        for unit, data in enumerate(units_of(report, slug)):
            threshold = layer_of(found, address)[unit].threshold
            values = [top.value for top in atlas.layer(address)[unit].best(9)]
            expected = [255 * threshold / value if value > 0 else 255 for value in values]
            assert data["detects"]["levels"] == pytest.approx(expected, abs=1e-3)


def test_every_pair_above_the_cut_is_listed_once(found: Dissection, report: Path) -> None:
    [data] = scripted(report / "assets" / "detectors.js")
    listed = {(layer, unit, int(concept) - 1) for concept, units in data.items() for layer, unit, _ in units}
    assert listed == {
        (place, unit, concept)
        for place, layer in enumerate(found.layers)
        for unit, concept in np.argwhere(layer.iou > 0.04).tolist()
    }
    for units in data.values():
        assert [iou for _, _, iou in units] == sorted((iou for _, _, iou in units), reverse=True)
    [known] = scripted(report / "assets" / "network.js")
    assert known["concepts"] == [None, *map(list, CONCEPTS)]
    assert [layer.get("labels") for layer in known["layers"]] == [[1, 2, 3], [1, 2, 3, 0, 0], None]


def test_categories_have_colours_in_the_order_of_the_paper() -> None:
    assert set(COLOURS) == set(CATEGORIES)
    assert list(COLOURS) == ["object", "scene", "part", "material", "texture", "colour"]


def test_concepts_that_nobody_detects_are_listed_apart(report: Path) -> None:
    [known] = scripted(report / "assets" / "network.js")
    entries = {(name, remark): link for kind, name, remark, link in known["search"] if kind == "concept"}
    assert entries["door", "object: 2 units of 0, 2"] == "concepts.html#c1"
    assert not any(name == "ghost" for name, _ in entries)  # no image has one
    page = (report / "concepts.html").read_text()
    others = page[page.index('id="others"') :]
    assert "not in the images:</span> ghost" in others


def test_a_smaller_report_counts_what_it_shows(atlas: Atlas, tmp_path: Path) -> None:
    few = convscope.write_report(atlas, tmp_path / "few", layers=["2"], units=1).parent
    [data] = scripted(few / "assets" / "detectors.js")
    shown = scripted(few / "layers" / "001-2" / "layer.js")[0]["units"]
    assert len(shown) == 1
    assert {(layer, unit) for units in data.values() for layer, unit, _ in units} <= {(0, shown[0])}
    head = convscope.write_report(atlas, tmp_path / "head", layers=["6"]).parent
    assert not (head / "concepts.html").exists()  # no layer with concepts is shown


def test_a_dissection_of_another_network_is_an_error(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"other weights or preprocessing .* delete the folder and dissect again"):
        convscope.write_report(changed(atlas, tmp_path / "atlas", {"network": "other"}), tmp_path / "report")


def test_masks_are_not_drawn_where_they_could_be_wrong(atlas: Atlas, tmp_path: Path) -> None:
    from convscope.report.pages import unit

    raw = contents_of(changed(atlas, tmp_path / "raw", {"at": "output"}))
    assert "--at" in (unit.masks(raw, raw.shown[0]) or {})["reason"]
    plain = contents_of(changed(atlas, tmp_path / "plain", {"upsampling": "plain"}))
    masks = unit.masks(plain, plain.shown[1])
    assert masks is not None
    # A resize to pixels that are half as large: the first cell's centre is between pixels 0 and 1.
    assert masks["centres"] == [[2 * i + 0.5 for i in range(HEIGHT // 2)], [2 * i + 0.5 for i in range(WIDTH // 2)]]
    assert unit.masks(plain, plain.shown[2]) is None


def test_the_last_block_lies_as_one_with_all_its_cells() -> None:
    from convscope.geometry import Spans
    from convscope.report.pages.unit import _centres

    low = np.arange(8, dtype=np.int64) * 2
    assert _centres(Spans(low, low + 3, 20), 3, plain=False).tolist() == [3, 9, 15]


# --- in the browser ---------------------------------------------------------------------------------------------------


def bright(page: Page, picture: Image.Image, rank: int) -> NDArray[np.bool_]:
    """(h, w) which pixels of an image in the strip are not darkened; darkened ones have a fifth of their brightness."""
    drawn = page.locator("#segmented figure > svg").nth(rank)
    drawn.locator("image[href]").nth(1).wait_for(state="attached")
    page.wait_for_timeout(50)
    shot = np.asarray(Image.open(io.BytesIO(drawn.screenshot())).convert("L"), float)
    rows, columns = (
        ((np.arange(side) + 0.5) * shot.shape[i] / side).astype(int) for i, side in enumerate((HEIGHT, WIDTH))
    )
    share = shot[np.ix_(rows, columns)] / np.asarray(picture.convert("L"), float)
    inner = share[2:-2, 2:-2]  # the drawing has rounded corners
    assert (np.abs(inner - 1) < 0.25).sum() + (np.abs(inner - 0.2) < 0.1).sum() > 0.97 * inner.size
    found: NDArray[np.bool_] = share > 0.55
    return found


@pytest.mark.browser
@pytest.mark.parametrize("unit", [0, 1])
def test_the_strip_is_bright_where_the_map_is_above_the_threshold(
    world: World, atlas: Atlas, found: Dissection, report: Path, page: Page, unit: int
) -> None:
    """The map of the network, not of the atlas, pixel by pixel; but for what is within half a step of 8 bits."""
    threshold = layer_of(found, "2")[unit].threshold
    show(page, report, f"layers/001-2/unit.html#{unit}")
    for rank in (0, 4, 8):
        top = atlas.layer("2")[unit].top[rank]
        values = world.map("2", unit, top.id)
        exact = np.array([[bilinear(values, CENTRES["2"], y, x) for x in range(WIDTH)] for y in range(HEIGHT)])
        told = np.abs(exact - threshold) > values.max() / 255
        assert told.mean() > 0.9
        lit = bright(page, atlas.picture(top.id), rank)
        assert (exact > threshold)[told].sum() > 10
        assert np.array_equal(lit[2:-2, 2:-2][told[2:-2, 2:-2]], (exact > threshold)[2:-2, 2:-2][told[2:-2, 2:-2]])


@pytest.mark.browser
def test_of_a_map_in_blocks_whole_blocks_are_bright(
    world: World, atlas: Atlas, found: Dissection, report: Path, page: Page
) -> None:
    threshold = layer_of(found, "0")[0].threshold
    show(page, report, "layers/000-0/unit.html#0")
    assert "largest of each 2 × 2 cells" in page.inner_text("main")
    for rank in (0, 7):
        top = atlas.layer("0")[0].top[rank]
        values = world.map("0", 0, top.id)
        largest = values.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).max((1, 3)).repeat(2, 0).repeat(2, 1)
        told = (np.abs(largest - threshold) > values.max() / 255)[2:-2, 2:-2]
        lit = bright(page, atlas.picture(top.id), rank)[2:-2, 2:-2]
        assert np.array_equal(lit[told], (largest > threshold)[2:-2, 2:-2][told])
        assert 5 < lit.sum() < lit.size / 2


@pytest.mark.browser
def test_a_unit_says_what_it_detects_and_what_else_fits(found: Dissection, report: Path, page: Page) -> None:
    show(page, report, "layers/001-2/unit.html#1")
    unit = layer_of(found, "2")[1]
    assert page.inner_text("#label").split() == ["leaf", "part", f"{unit.iou:.2f}"]
    rows = page.locator("#matches tr").evaluate_all("all => all.map((row) => [...row.cells].map((c) => c.textContent))")
    matches = layer_of(found, "2").matches(1)
    assert [row[0] for row in rows] == [match.covered.concept.name for match in matches]
    assert rows[0][2:] == [f"{unit.iou:.2f}", "–".join(f"{end:.2f}" for end in unit.interval), f"cap {unit.cap:.2f}"]
    assert not page.locator("#label.faint").count()
    page.click("#label a")
    page.wait_for_url("**/concepts.html#c2")


@pytest.mark.browser
def test_a_unit_below_the_cut_is_grey(report: Path, page: Page) -> None:
    show(page, report, "layers/001-2/unit.html#3")
    assert "meets no concept" in page.inner_text("#label")
    assert page.locator("#label.faint").count() == 1
    show(page, report, "layers/001-2/index.html")
    assert page.locator("#u0 .kind").inner_text().startswith("door 0.")
    assert page.locator("#u3 .kind").count() == 0


@pytest.mark.browser
def test_units_of_a_layer_are_filtered_by_concept_and_category(report: Path, page: Page) -> None:
    show(page, report, "layers/001-2/index.html")
    assert "3 of 5 units are detectors, of 3 concepts" in page.inner_text(".detectors")
    assert page.locator(".tally a span").all_inner_texts() == ["door", "leaf", "rail"]
    page.click(".tally a >> nth=0")
    assert numbers(page) == [0]
    assert page.input_value("#detects") == "1"
    page.select_option("#detects", "nothing")
    assert numbers(page) == [3, 4]
    assert page.url.endswith("#detects=nothing")
    page.select_option("#detects", "")
    page.select_option("#sort", "-iou")
    assert numbers(page)[-2:] == [3, 4]


@pytest.mark.browser
def test_the_index_leads_from_a_concept_to_its_units(found: Dissection, report: Path, page: Page) -> None:
    show(page, report, "concepts.html")
    page.wait_for_selector("#c1 .told")
    ranked = sorted(
        (-float(layer.iou[unit, 0]), layer.address, unit)
        for layer in found.layers
        for unit in range(len(layer))
        if layer.iou[unit, 0] > 0.04
    )
    own = [each for each in ranked if each[2] == 0]
    expected = [f"{address}:{unit}" for _, address, unit in own + [each for each in ranked if each not in own]]
    assert page.locator("#c1 .told small").all_inner_texts() == expected
    assert page.locator("#c1 .told:not(.other)").count() == 2
    for sort, column in (("iou", lambda concept: -max(layer.iou[:, concept].max() for layer in found.layers)),
                         ("name", lambda concept: CONCEPTS[concept][0])):  # fmt: skip
        page.select_option("#sort", sort)
        there = page.locator("#concepts li").evaluate_all("all => all.map((each) => Number(each.id.slice(1)) - 1)")
        assert [column(each) for each in there] == sorted(map(column, there))
        assert len(there) >= 3
    page.select_option("#layer", "2")
    page.wait_for_selector("#c1 .told")
    assert page.locator("#c1 .told:not(.other) small").all_inner_texts() == ["2:0"]
    page.select_option("#category", "material")
    assert page.locator("#concepts li").evaluate_all("all => all.map((each) => each.id)") == ["c3"]
    page.select_option("#category", "")
    page.wait_for_selector("#c1 .told")
    page.click("#c1 .told >> nth=0")
    page.wait_for_url("**/layers/001-2/unit.html#0")


@pytest.mark.browser
def test_concepts_are_found_by_the_search(report: Path, page: Page) -> None:
    show(page, report, "layers/000-0/index.html")
    page.keyboard.press("/")
    page.keyboard.type("leaf")
    assert page.locator("#found li span").all_inner_texts()[0] == "part: 2 units of 0, 2"
    page.keyboard.press("Enter")
    page.wait_for_url("**/concepts.html#c2")
    show(page, report, "layers/000-0/unit.html#0")
    assert "concept" in (page.get_attribute("#search", "placeholder") or "")


@pytest.mark.browser
def test_the_first_page_compares_layers(found: Dissection, report: Path, page: Page) -> None:
    show(page, report, "index.html")
    rows = page.locator(".layers-detect tbody tr")
    assert rows.count() == 2
    for row, layer in enumerate(found.layers):
        counts = layer.counts()
        text = rows.nth(row).inner_text()
        assert f"{counts.detectors} of {counts.units}" in text
        assert rows.nth(row).locator(".stack i").count() == 3
        parts = rows.nth(row).locator(".stack").get_attribute("aria-label") or ""
        assert parts == f"{counts.unique} unique detectors, object 1, part 1, material 1"
    widths = (
        rows.nth(0).locator(".stack i").evaluate_all("all => all.map((each) => each.getBoundingClientRect().width)")
    )
    assert max(widths) - min(widths) < 2
    assert sum(widths) > 10
    tip = page.locator(".layers .strip-link").first.get_attribute("data-tip") or ""
    assert "(door)" in tip


# --- measured fields --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(world: World, atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """The same atlas with measured fields."""
    folder = Path(shutil.copytree(atlas.path, tmp_path_factory.mktemp("measured") / "atlas"))
    convscope.empirical_fields(world.network, folder, world.concepts.images, top=3)
    return Atlas.open(folder)


@pytest.fixture(scope="module")
def seen(measured: Atlas) -> Path:
    """Its report."""
    return convscope.write_report(measured, measured.path.parent / "report").parent


def test_fields_are_added_and_nothing_else(measured: Atlas, report: Path, seen: Path) -> None:
    for slug in SLUGS.values():
        for one, other in zip(units_of(report, slug), units_of(seen, slug), strict=True):
            assert one == {name: value for name, value in other.items() if name != "field"}
    fields = EmpiricalFields.open(measured)
    data = units_of(seen, SLUGS["2"])
    for unit, field in enumerate(cast(FieldLayer, fields["2"])):
        assert (data[unit]["field"] is None) == (field.images == 0)
        if field.images:
            assert data[unit]["field"]["size"] == pytest.approx(field.size, abs=0.05)
            assert max(data[unit]["field"]["map"]) <= 255
    assert [each["field"] is None for each in data] == [False, False, False, True, True]


def test_the_edge_of_a_mask_is_where_it_ends() -> None:
    mask = np.zeros((3, 4), bool)
    mask[0, 1:3] = mask[1, 2] = True
    lines = set(re.findall(r"M(\d+) (\d+)([hv])1", edge(mask)))
    between: set[tuple[str, ...]] = set()
    for y, x in itertools.product(range(3), range(4)):
        for dy, dx, line in (
            (-1, 0, (x, y, "h")),
            (1, 0, (x, y + 1, "h")),
            (0, -1, (x, y, "v")),
            (0, 1, (x + 1, y, "v")),
        ):
            inside = 0 <= y + dy < 3 and 0 <= x + dx < 4
            if mask[y, x] and not (inside and mask[y + dy, x + dx]):
                between.add(tuple(map(str, line)))
    assert lines == between


def test_the_map_is_brightest_where_hiding_moves_the_unit_most(measured: Atlas) -> None:
    """A planted map: one pixel right of the middle, and nothing measured at the left."""
    values = np.zeros((41, 41), np.float32)
    values[20, 27], values[:, :6] = 5, np.nan
    field = EmpiricalField(measured.layer("2")[0].address, values, 3, 4)
    shown = picture(field, (25, 25))
    assert shown is not None
    cells = np.array(shown["map"]).reshape(32, 32)
    half = math.ceil(1.3 * 25 / 2)
    side = 2 * half + 1
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    assert abs((row + 0.5) * side / 32 - (half + 0.5)) < side / 32
    assert abs((column + 0.5) * side / 32 - (half + 7.5)) < side / 32
    assert (cells[:, 0] == -1).all()
    assert (cells[:, 6:] >= 0).all()
    assert picture(dataclasses.replace(field, images=0), (25, 25)) is None


def test_a_layer_without_any_field_says_no_size(
    measured: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FieldLayer, "measured", ())
    report = convscope.write_report(measured, tmp_path / "report").parent
    for page in report.rglob("index.html"):
        assert not re.search(r"\bnan\b", page.read_text(encoding="utf-8")), page


def test_fields_of_another_network_are_an_error(measured: Atlas, tmp_path: Path) -> None:
    other = changed(measured, tmp_path / "atlas", {"network": "other"}, "fields")
    with pytest.raises(AtlasError, match="delete the folder and measure again"):
        convscope.write_report(other, tmp_path / "report")


@pytest.mark.browser
def test_pages_show_fields_beside_those_of_theory(measured: Atlas, seen: Path, page: Page) -> None:
    fields = cast(FieldLayer, EmpiricalFields.open(measured)["2"])
    show(page, seen, "layers/001-2/unit.html#0")
    assert page.inner_text("#fields figcaption") == f"{figure(round(fields[0].size, 1))} px of 3 px, over 3 images"
    assert page.locator("#fields figure image").count() == 1
    show(page, seen, "layers/001-2/unit.html#4")
    assert "nothing was measured" in page.inner_text("#fields")
    show(page, seen, "layers/001-2/index.html")
    assert f"{fields.empirical.mean:.0f} ± {fields.empirical.std:.0f}" in page.inner_text(".facts")
    show(page, seen, "index.html")
    row = page.locator(".layers-see tbody tr").nth(1).locator("td").all_inner_texts()
    assert row[1:] == [f"{fields.empirical.mean:.1f} ± {fields.empirical.std:.1f}", f"{fields.effective:.0f}", "3"]


@pytest.mark.browser
@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_dissected_pages_are_for_everybody(
    seen: Path, browser: Browser, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    """In every window: no serious fault, nothing that jumps when a page opens, and nothing wider than the window."""
    names = ["layers/001-2/unit.html#0", "concepts.html"]
    with watched(browser, size, scheme) as page:
        for name in [*names, *(["index.html", "layers/001-2/index.html"] if size == PHONE else [])]:
            show(page, seen, name)
            assert page.evaluate(SHIFTS) < 0.05, name
            assert violations(page) == [], name
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
