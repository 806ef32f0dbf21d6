"""The report of networks, images and names of every odd kind: each kind of page opens, and nothing fails on it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convscope
from browsing import watched
from convscope.images import Arrays
from convscope.preprocess import Preprocess
from convscope.recorder import record
from convscope.render.text import figure
from convscope.report.contents import Contents
from convscope.report.pages import samples
from convscope.report.selection import select
from convscope.report.strips import Strips
from convscope.scanner import select as select_layers
from odd_nets import ODD_NETS, conv

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Atlas = convscope.Atlas
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]

# Instead of Plotly: it refuses what a chart cannot show.
CHARTS = """window.Plotly = { react: (place, traces) => traces.forEach((trace) => [...trace.x, ...trace.y].forEach(
  (value) => { if (!Number.isFinite(value)) throw new Error("a chart of " + value); })) };"""
# The nets whose fields, maps or addresses are oddest; the others are slow only because they are many.
ODDEST = {"single_conv", "ten_channels", "squeeze_excite", "called_twice", "functional_layers", "transposed_with_holes",
          "circular_padding", "tokens"}  # fmt: skip


@pytest.fixture
def window(browser: Browser) -> Iterator[Page]:
    """A page that draws no charts, which would take most of the time; only their numbers are looked at."""
    with watched(browser) as page:
        page.route("**/plotly.min.js", lambda route: route.fulfill(body=CHARTS, content_type="text/javascript"))
        yield page


def atlas_of(
    module: nn.Module, shape: Sequence[int], folder: Path, count: int = 3, labels: Sequence[Any] = (), **options: Any
) -> Atlas:
    """The atlas of a network that sees images of noise as they are; `options` are those of `wrap` and `scan`."""
    pixels = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    wrapping = {name: options.pop(name) for name in ("classes", "output", "name") if name in options}
    prepared = Preprocess(size=(shape[1], shape[2]), channels=shape[0])
    network = convscope.wrap(module.eval(), preprocess=prepared, **wrapping)
    return convscope.scan(network, Arrays(pixels, labels), folder, **options)


def visit(window: Page, atlas: Atlas, report: Path) -> None:
    """Open pages of every kind: those of every layer, and a few units of each."""
    looked = [f"images/{path.name}" for path in sorted((report / "images").glob("0*.html"))]
    for name in ["index.html", "attention.html", "classes.html", "images/index.html", *looked[-1:]]:
        _open(window, report, name)
    for home in sorted((report / "layers").iterdir()):
        name, address = f"layers/{home.name}", _address(atlas, home.name)
        _open(window, report, f"{name}/index.html")
        shown = window.evaluate("convscope.layerData.units")
        assert window.locator(".unit").count() == len(shown)
        window.wait_for_selector(f"#u{shown[0]} .strip")
        window.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for unit in sorted({shown[0], shown[-1]}):
            _open(window, report, f"{name}/unit.html#{unit}")
            window.wait_for_selector(f"body[data-shown='{unit}']")
            assert window.inner_text("h1") == f"{address}:{unit}"
        if (home / "filters.html").exists():
            _open(window, report, f"{name}/filters.html")
            window.wait_for_selector("#filters li a")
            assert window.locator("#filters li").count() == len(shown)


def _open(window: Page, report: Path, name: str) -> None:
    if "unit.html" in name and f"{name.partition('#')[0]}" in window.url:
        window.evaluate("delete document.body.dataset.shown")
    window.goto(f"{report.as_uri()}/{name}")
    assert window.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the window"
    assert "NaN%" not in window.content(), name
    assert "undefined" not in window.inner_text("main"), name


def _address(atlas: Atlas, slug: str) -> str:
    return next(str(layer.address) for layer in atlas.layers if layer.record["slug"] == slug)


def check(window: Page, atlas: Atlas, **selection: Any) -> Path:
    """Write the report beside the atlas, and look at it."""
    report = convscope.write_report(atlas, atlas.path.with_name("report"), **selection).parent
    visit(window, atlas, report)
    return report


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ODDEST else pytest.mark.slow) for name in ODD_NETS]
)
def test_every_page_of_an_odd_net(tmp_path: Path, window: Page, name: str) -> None:
    odd = ODD_NETS[name]
    check(window, atlas_of(odd.make(), odd.shape, tmp_path / "atlas", samples=2))


# --- other networks ---------------------------------------------------------------------------------------------------


def small(inputs: int = 3, units: int = 4, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        conv(inputs, units), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, outputs)
    )


class Line(nn.Module):
    """Convolutions along one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(images.flatten(2)))).mean(2)


class Volume(nn.Module):
    """Convolutions along three axes, of which the first has one place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(3, 4, (1, 3, 3)), nn.Conv3d(4, 2, (1, 3, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(images[:, :, None]))).mean((2, 3, 4))


class Broken(nn.Module):
    """A unit that is infinite, one that is NaN, one that is both now and then, and one whose filter is constant."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 4), conv(4, 3)
        self.a.weight.data[3] = 0

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.a(images))
        x = torch.stack([x[:, 0] / 0, x[:, 1] * torch.nan, x[:, 2] / x[:, 2].round(), x[:, 3]], 1)
        return self.b(x).mean((2, 3))


def constant(value: float, *weights: float) -> nn.Sequential:
    """One layer whose units give the same everywhere, and whose filters are constant."""
    layer = nn.Conv2d(3, 2, 3)
    layer.weight.data.fill_(0)
    for unit, weight in enumerate(weights):
        layer.weight.data[unit].fill_(weight)
    assert layer.bias is not None
    layer.bias.data.fill_(value)
    return nn.Sequential(layer, nn.ReLU())


NETWORKS: dict[str, tuple[Any, tuple[int, int, int], dict[str, Any]]] = {
    "one image": (small, (3, 8, 10), {"count": 1, "labels": [1], "classes": ["a", "b", "c"]}),
    "no samples": (small, (3, 8, 10), {"samples": 0}),
    "labels without names": (small, (3, 8, 10), {"labels": [0, 1, 2]}),
    "one class": (lambda: small(outputs=1), (3, 8, 10), {"labels": [0, 0, 0], "classes": ["only"]}),
    "real values": (small, (3, 8, 10), {"output": "real"}),
    "probabilities each by itself": (small, (3, 8, 10), {"output": "sigmoid", "labels": [0, 1, 2]}),
    "raw outputs": (small, (3, 8, 10), {"at": "output", "labels": [0, 1, 2]}),
    "five channels": (lambda: small(5), (5, 8, 10), {}),
    "a linear first layer": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(240, 6), nn.ReLU(), nn.Linear(6, 2)),
                             (3, 8, 10), {"labels": [0, 1, 0]}),
    "one unit": (lambda: nn.Sequential(conv(3, 1), nn.ReLU(), conv(1, 1)), (3, 8, 10), {}),
    "one pixel": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)), (3, 1, 1), {}),
    "along one axis": (Line, (3, 8, 10), {}),
    "along three axes": (Volume, (3, 8, 10), {}),
    "NaN and infinity": (Broken, (3, 8, 10), {"labels": [0, 1, 2]}),
    "NaN alone": (lambda: nn.Sequential(constant(float("nan")), nn.Conv2d(2, 2, 3)), (3, 8, 10), {"labels": [0, 1, 1]}),
    "infinite weights": (lambda: constant(0.0, float("inf"), float("nan")), (3, 8, 10), {}),
    "dead": (lambda: constant(-1.0, 0.0, 0.5), (3, 8, 10), {}),
    "huge constants": (lambda: constant(3e37), (3, 8, 10), {}),
    "tiny constants": (lambda: constant(1e-42), (3, 8, 10), {}),
    "wide kernels": (lambda: nn.Sequential(nn.Conv2d(3, 4, (1, 31)), nn.ReLU(), nn.Conv2d(4, 4, (7, 1))),
                     (3, 8, 40), {}),
    "much wider than high": (lambda: small(), (3, 6, 150), {"labels": [0, 1, 2]}),
    "much higher than wide": (lambda: small(), (3, 150, 6), {"labels": [0, 1, 2]}),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_page_of_other_networks(tmp_path: Path, window: Page, name: str) -> None:
    make, shape, options = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
    check(window, atlas_of(module, shape, tmp_path / "atlas", **({"samples": 2} | options)))


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = ["""it's "quoted" & <b id=injected>""", "</script><script>alert(1)</script>", "\N{FOX FACE} 狐 fuchs",
         "long " * 60, "--part:9", "100 % #1?"]  # fmt: skip


def test_odd_names_are_text_everywhere(tmp_path: Path, window: Page) -> None:
    """Names of classes and of files with quotes, tags, spaces, signs of URLs; and a report in a folder called so."""
    photos = tmp_path / "pho'tos #1 100%"
    photos.mkdir()
    files = ["it's.png", 'say "hi".png', "a b#c?d.png", "100%25 %.png", "\N{FOX FACE} é.png", "<b id=injected>.png"]
    for i, name in enumerate(files):
        Image.fromarray(np.full((8, 10, 3), 40 * i, np.uint8)).save(photos / name)
    (photos / "</script>broken'.png".replace("/", "\N{FRACTION SLASH}")).write_bytes(b"nothing")
    rows = sorted(zip(files, range(6), strict=True))
    lines = ["file,class_index", *('"' + name.replace('"', '""') + f'",{index}' for name, index in rows)]
    (photos / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    network = convscope.wrap(
        small(outputs=6), preprocess={"size": [8, 10]}, classes=NAMES, name="</title>'net' & \"co\""
    )
    atlas = convscope.scan(network, photos, tmp_path / "atlas", samples=6)
    assert atlas.run["results"]["labelled"] == 6
    report = convscope.write_report(atlas, tmp_path / "re'port #2 100%" / "000-0").parent
    visit(window, atlas, report)
    for path in report.rglob("*.html"):
        assert "<b id=injected>" not in path.read_text(encoding="utf-8"), path
        assert "<script>alert" not in path.read_text(encoding="utf-8"), path
    window.goto(f"{report.as_uri()}/classes.html")
    assert [text.strip() for text in window.locator("table.classes td b").all_inner_texts()] == [
        " ".join(name.split()) for name in NAMES
    ]
    window.fill("#search", "script")
    assert window.locator("#found b").first.inner_text() == NAMES[1]
    window.goto(f"{report.as_uri()}/images/00.html")
    window.wait_for_selector(".picture svg image[href]")
    assert window.inner_text("h1") == atlas.samples[0].name


# --- pictures ---------------------------------------------------------------------------------------------------------


def painted(units: int) -> nn.Sequential:
    """Units that answer to how near the red of an image is to their number by `units`."""
    layer = nn.Conv2d(3, units, 1)
    layer.weight.data.zero_()
    layer.weight.data[:, 0, 0, 0] = torch.arange(units) / units
    assert layer.bias is not None
    layer.bias.data.copy_(-((torch.arange(units) / units) ** 2) / 2 + 1)
    return nn.Sequential(layer, nn.ReLU())


def test_the_strips_of_some_units_are_their_own(tmp_path: Path, window: Page) -> None:
    """Of 300 units, each of which likes an image of its own red, 150 are shown, on sheets of 128 and of 22 rows."""
    reds = np.repeat(np.linspace(0, 1, 60, dtype=np.float32), 3).reshape(60, 3)
    pixels = np.broadcast_to(reds[:, :, None, None] * [[[1.0]], [[0.0]], [[0.0]]], (60, 3, 8, 10)).astype(np.float32)
    network = convscope.wrap(painted(300), preprocess={"size": [8, 10]})
    atlas = convscope.scan(network, Arrays(pixels), tmp_path / "atlas")
    report = convscope.write_report(atlas, tmp_path / "report", units=150).parent
    (shown,) = select(atlas, None, 150)
    assert len(shown.units) == 150
    home = f"{report.as_uri()}/layers/{shown.slug}"
    for row in (0, 1, 126, 127, 128, 149):
        unit = shown.units[row]
        window.goto("about:blank")
        window.goto(f"{home}/index.html#u{unit}")
        window.wait_for_selector(f"#u{unit} .strip")
        assert _red(window, f"#u{unit} .strip") == pytest.approx(np.asarray(atlas[f"0:{unit}"].tile(0))[0, 0, 0], abs=3)
        window.goto(f"{home}/unit.html#{unit}")
        window.wait_for_selector(f"body[data-shown='{unit}']")
        window.wait_for_selector("#patches svg image[href]")
        best = np.asarray(atlas[f"0:{unit}"].patch(0))[0, 0, 0]
        assert _red(window, "#patches figure > svg") == pytest.approx(best, abs=3)
    missing = next(unit for unit in range(300) if unit not in shown.units)
    window.goto("about:blank")
    window.goto(f"{home}/unit.html#{missing}")
    window.wait_for_selector("body[data-shown]")
    assert f"Unit {missing} is not in this report" in window.inner_text("#flags")


def _red(window: Page, selector: str) -> int:
    """The red in the middle of the first patch that an element shows."""
    shot = np.asarray(Image.open(io.BytesIO(window.locator(selector).first.screenshot())).convert("RGB"))
    return int(shot[shot.shape[0] // 2, min(shot.shape[0] // 2, shot.shape[1] // 18), 0])


@pytest.mark.parametrize(("height", "width"), [(6, 150), (150, 6)])
def test_low_and_high_patches_are_seen_whole_and_alone(tmp_path: Path, window: Page, height: int, width: int) -> None:
    """Units that see the whole image, of which the lower right quarter is white."""
    pixels = np.zeros((4, 3, height, width), np.float32)
    pixels[:, :, height // 2 :, width // 2 :] = 1
    network = convscope.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, 9)),
                             preprocess={"size": [height, width]})  # fmt: skip
    atlas = convscope.scan(network, Arrays(pixels), tmp_path / "atlas")
    report = convscope.write_report(atlas, tmp_path / "report").parent
    window.goto(f"{report.as_uri()}/index.html")
    for index in (0, 4, 8):
        link = window.locator(".layers .strip-link").nth(index)
        style = link.evaluate("each => [getComputedStyle(each).width, getComputedStyle(each).height].map(parseFloat)")
        assert style[0] / style[1] == pytest.approx(56 / 2 if width > height else 2 / 56, rel=0.01)
        assert (link.bounding_box() or {})["height"] >= 23
        shot = np.asarray(Image.open(io.BytesIO(link.screenshot())).convert("L"), float)
        away, beside = (np.abs(np.arange(n) - (n - 1) / 2) - side / 2
                        for n, side in zip(shot.shape, style[::-1], strict=True))  # fmt: skip
        assert (
            0.4 < (shot[away < 0][:, beside < 0] < 100).mean() < 0.9
        )  # three quarters of the patch are dark, less its soft border
        assert shot[away > 1].min(initial=255) > 200  # and nothing lies above or below it


def test_the_pointer_says_whose_map_it_is_on(tmp_path: Path, window: Page) -> None:
    atlas = atlas_of(small(units=6), (3, 8, 10), tmp_path / "atlas", count=4, samples=4)
    report = convscope.write_report(atlas, tmp_path / "report").parent
    window.goto(f"{report.as_uri()}/images/02.html")
    grid = window.locator(".maps").first
    box, sample = grid.bounding_box(), atlas.samples[2]
    columns, rows, _ = map(int, (grid.get_attribute("data-grid") or "").split(","))
    assert box is not None
    for unit in (1, 5, 0):
        column, row = unit % columns, unit // columns
        grid.hover(position={"x": box["width"] * (column + 0.5) / columns, "y": box["height"] * (row + 0.5) / rows})
        row, column = divmod(int(sample.positions("0")[unit]), 10)
        said = f"0:{unit}, maximum {figure(float(sample.maxima('0')[unit]))} at row {row}, column {column};"
        assert window.inner_text("#tip").startswith(said)


def test_many_samples_lie_on_several_sheets(tmp_path: Path, window: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid of every sample, pixel by pixel, where a sheet has room for two of them."""
    atlas = atlas_of(small(), (3, 8, 10), tmp_path / "atlas", count=5, samples=5)
    height = len(samples._grid(atlas.samples[0].maps("0")))
    monkeypatch.setattr("convscope.report.sheets._TALLEST", 2 * height + 1)
    report = convscope.write_report(atlas, tmp_path / "report").parent
    assert [path.name for path in sorted((report / "samples").glob("000-0-*"))] == [f"000-0-0{i}.png" for i in range(3)]
    for number, sample in enumerate(atlas.samples):
        window.goto(f"{report.as_uri()}/images/{number:02}.html")
        expected = samples._grid(samples._brighter(sample.maps("0"), sample.signed("0")))
        shot = Image.open(io.BytesIO(window.locator(".maps").first.screenshot())).convert("L")
        seen = np.asarray(shot.resize(expected.shape[::-1], Image.Resampling.BOX), float)
        assert np.abs(seen - expected).mean() < 12, number


def test_tables_sort_by_number_only_where_all_are_numbers(tmp_path: Path, window: Page) -> None:
    names = ["10 apples", "9 lives", "apple"]
    atlas = atlas_of(small(), (3, 8, 10), tmp_path / "atlas", labels=[0, 1, 2], classes=names)
    report = convscope.write_report(atlas, tmp_path / "report").parent
    window.goto(f"{report.as_uri()}/classes.html")
    window.click("table.classes th:first-child .sorter")
    assert window.locator("table.classes td:first-child").all_inner_texts() == ["apple", "9 lives", "10 apples"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("called_twice", ["block.0"]), ("called_twice", ["block"]), ("functional_layers", ["."]),
     ("functional_layers", "./mm"), ("inception", ["?.0"]), ("inception", ["b", "b.0"]), ("single_conv", ["."])],
)  # fmt: skip
def test_a_report_shows_the_layers_that_a_scan_would_take(tmp_path: Path, name: str, wanted: Sequence[str]) -> None:
    odd = ODD_NETS[name]
    atlas = atlas_of(odd.make(), odd.shape, tmp_path / "atlas", samples=0)
    taken = select_layers(record(odd.make(), torch.rand(1, *odd.shape)), wanted)
    assert [str(each.layer.address) for each in select(atlas, wanted)] == [str(layer.address) for layer in taken]


def test_unusual_units_are_those_of_the_layers_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the units that respond most unusually, of which one is listed here, lie in another layer."""
    atlas = atlas_of(small(), (3, 8, 10), tmp_path / "atlas", count=4, samples=1)
    (sample,) = atlas.samples
    (first,) = sample.unusual_everywhere(1)
    (other,) = {str(layer.address) for layer in atlas.layers} - {first.layer}
    shown = select(atlas, [other])
    strips = {each.slug: Strips(each, atlas.run["strips"][each.slug]["files"]) for each in shown}
    monkeypatch.setattr(samples, "_UNUSUAL", 1)
    assert samples.unusual(Contents(atlas, shown, strips, {}), sample) == sample.unusual(other, 1)


def test_what_cannot_be_told_is_not_said_to_be_absent(tmp_path: Path) -> None:
    atlas = atlas_of(nn.Sequential(nn.Flatten(), nn.Linear(240, 3)), (3, 8, 10), tmp_path / "atlas")
    page = (convscope.write_report(atlas, tmp_path / "report").parent / "attention.html").read_text()
    assert "no units that are NaN, saturated." in page


@pytest.mark.parametrize(("classes", "said"), [(5, False), (6, True)])
def test_the_best_five_of_five_classes_are_no_merit(tmp_path: Path, classes: int, said: bool) -> None:
    names = [f"class{i}" for i in range(classes)]
    atlas = atlas_of(small(outputs=classes), (3, 8, 10), tmp_path / "atlas", labels=[0, 1, 2], classes=names)
    report = convscope.write_report(atlas, tmp_path / "report").parent
    for name in ("index.html", "classes.html"):
        assert ("top-5 accuracy</a>" in (report / name).read_text()) == said
