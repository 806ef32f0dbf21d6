"""What a report weighs, how long it takes to write, and how soon the page of a large layer is there in chromium.

``python -m benchmarks.report [--full]``; about two minutes, most of which goes into scans. ``--full`` adds ResNet-50.
Sizes do not depend on the machine, but a little on the photographs, which are real ones where the research data are.
Seconds of writing are processor time; what the browser does is wall time, medians over new windows. Without Playwright
or chromium sizes alone are told.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import convscope
from benchmarks.scan import spent, write_photos
from convscope.scanner.memory import keep_freed_memory

SHARED = Path(__file__).parents[2] / "shared" / "data"
PARTS = ("strips", "pictures", "samples", "filters", "data", "rest")
A_UNIT, RESNET50 = 30_000, 400_000_000  # bytes, at most
LAYERS = (1_000, 10_000, 26_560)  # units
SECOND = 1_000  # ms, for the first view of 10,000 units
CLASSES = 24
# For a run without a network or a graphics card.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SORTS = (("sort", "-maximum"), ("sort", "standing"), ("class", "3"), ("class", ""), ("sort", ""))

# When the first row of strips is on the screen: its sheet is decoded, and the frame after that is over.
WATCH = """
window.seen = new Promise((done) => {
  const frame = (then) => requestAnimationFrame(then);
  const look = () => {
    const strip = document.querySelector("#units li a .strip");
    if (!strip) { frame(look); return; }
    const sheet = new Image();
    sheet.src = getComputedStyle(strip).backgroundImage.slice(5, -2);
    sheet.decode().then(() => frame(() => frame(() => done(performance.now()))));
  };
  frame(look);
});
"""
# From a choice in a list until the frame that shows it is over.
CHOOSE = """
([id, value]) => new Promise((done) => {
  const control = document.getElementById(id), start = performance.now(), after = new MessageChannel();
  after.port1.onmessage = () => done(performance.now() - start);
  control.value = value;
  control.dispatchEvent(new Event("change"));
  requestAnimationFrame(() => after.port2.postMessage(0));
})
"""


class Wide(nn.Module):
    """Layers of very many units beside each other, which see 63 px, so that their strips are as large as strips get."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.eye = nn.AvgPool2d(63, stride=16, padding=31)
        self.layers = nn.ModuleList(nn.Conv2d(3, units, 1) for units in LAYERS)
        for layer in self.layers:
            layer.weight.data.normal_(generator=generator)
            layer.bias.data.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.eye(images)
        maps = torch.cat([layer(seen).relu() for layer in self.layers], 1)
        return maps.mean((2, 3))[:, :CLASSES]


def photos(folder: Path, count: int) -> Path:
    """The real photographs with their labels where they are, or else files of about as much detail."""
    real = SHARED / "imagenet_val227"
    if real.is_dir():
        return real
    folder.mkdir()
    write_photos(folder, count)
    return folder


def squeezenet() -> convscope.Network:
    weights = SHARED / "weights" / "squeezenet1_0.safetensors"
    if weights.is_file():
        return convscope.load(weights, arch="squeezenet1_0")
    return convscope.load("squeezenet1_0", preprocess={"size": [227, 227]})


def part(file: Path, report: Path) -> str:
    """What a file of a report is: one of `PARTS`."""
    place = file.relative_to(report)
    if place.parts[0] == "layers" and file.suffix == ".js":
        return "data"
    return place.parts[0] if place.parts[0] in PARTS else "rest"


def sizes(name: str, network: convscope.Network, images: int, most: int | None = None) -> None:
    """Scan, write the report, and print what it weighs; `most` is what the whole may weigh, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        atlas = convscope.scan(network, photos(place / "photos", images), place / "atlas", limit=images)
        seconds = spent(lambda: convscope.write_report(atlas, place / "report"))
        files = [file for file in (place / "report").rglob("*") if file.is_file()]
        bytes_of: Counter[str] = Counter()
        for file in files:
            bytes_of[part(file, place / "report")] += file.stat().st_size
        whole, units = bytes_of.total(), sum(layer.units for layer in atlas.layers)
        held = sum(file.stat().st_size for file in (place / "atlas").rglob("*") if file.is_file())
        layers = len(atlas.layers)
    limit = "" if most is None else f", {whole / most:.2f} of the {most / 1e6:.0f} MB allowed"
    print(f"{name}, {images} images, {layers} layers, {units:,} units:\n"
          f"    report {whole / 1e6:.0f} MB{limit}; {whole / units / 1000:.1f} KB a unit (goal {A_UNIT / 1000:.0f}): "
          f"{', '.join(f'{each} {bytes_of[each] / units / 1000:.2f}' for each in PARTS)}\n"
          f"    {len(files)} files, {len(files) / layers:.1f} a layer; written in {seconds:.1f} s, "
          f"{1000 * seconds / units:.2f} ms a unit; atlas {held / 1e6:.0f} MB", flush=True)  # fmt: skip


def wide_report(folder: Path) -> Path:
    """The report of a network with layers of `LAYERS` units."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (CLASSES, 3, 12, 12), np.uint8).repeat(8, 2).repeat(8, 3)
    names = [f"a class of images, number {index}" for index in range(CLASSES)]
    network = convscope.wrap(Wide(), preprocess={"size": [96, 96]}, classes=names)
    atlas = convscope.scan(network, convscope.Arrays(pixels, list(range(CLASSES))), folder / "atlas")
    return convscope.write_report(atlas, folder / "report").parent


def first_view(browser: Any, page: Path) -> tuple[float, float]:
    """From the start of the navigation in a new window to the first paint, and to the first row of strips; ms."""
    window = browser.new_page(viewport={"width": 1300, "height": 900})
    window.add_init_script(WATCH)
    window.goto(page.as_uri())
    strips = window.evaluate("window.seen")
    paint = window.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    window.close()
    return paint, strips


def choices(browser: Any, page: Path) -> list[float]:
    """From each choice of `SORTS` until it is seen; ms."""
    window = browser.new_page(viewport={"width": 1300, "height": 900})
    window.goto(page.as_uri())
    window.wait_for_selector("#units li a .strip")
    waits = [window.evaluate(CHOOSE, list(choice)) for choice in SORTS]
    window.close()
    return waits


def views(rounds: int) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        report = wide_report(Path(folder))
        browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        pages = sorted((report / "layers").glob("*/index.html"))
        first_view(browser, pages[0])
        for units, page in zip(LAYERS, pages, strict=True):
            paints, strips = zip(*(first_view(browser, page) for _ in range(rounds)), strict=True)
            goal = f" (goal {SECOND})" if units == 10_000 else ""
            waits = choices(browser, page)
            print(f"page of {units:,} units: first paint {statistics.median(paints):.0f} ms, first strips "
                  f"{statistics.median(strips):.0f} ms{goal}; sorted or filtered in {statistics.median(waits):.0f} ms, "
                  f"at most {max(waits):.0f}", flush=True)  # fmt: skip
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="ResNet-50 too, and more rounds")
    arguments = parser.parse_args()
    keep_freed_memory()
    sizes("SqueezeNet 1.0", squeezenet(), images=300 if arguments.full else 100)
    if arguments.full:
        sizes("ResNet-50", convscope.load("torchvision:resnet50"), images=300, most=RESNET50)
    if importlib.util.find_spec("playwright") is None or not any(map(shutil.which, ("chromium", "chromium-browser"))):
        print("no page is opened: Playwright or chromium is missing")
        return
    views(rounds=9 if arguments.full else 3)


if __name__ == "__main__":
    main()
