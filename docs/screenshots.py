"""Pictures of the report's pages for the documentation: each on a desk and on a phone, light and dark.

make demo && .venv/bin/python docs/screenshots.py
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

REPORT, FOLDER = Path("demo/report"), Path("docs/images")
PAGES = {
    "network": "index.html",
    "layer": "layers/003-conv4/index.html",
    "unit": "layers/003-conv4/unit.html#21",
    "filters": "layers/000-conv1/filters.html",
    "images": "images/index.html",
    "image": "images/03.html",
    "classes": "classes.html",
    "concepts": "concepts.html",
    "attention": "attention.html",
    "terms": "terms.html",
}
HEIGHT, GAP = 1000, 24  # px


def main() -> None:
    """Write them."""
    (FOLDER / "report").mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, address in PAGES.items():
            shots = [shot(browser, address, width, scheme) for scheme in ("light", "dark") for width in (1320, 390)]
            beside(shots).save(FOLDER / "report" / f"{name}.webp", quality=80, method=6)
        shot(browser, PAGES["network"], 1320, "light", 1560).save(FOLDER / "report.webp", quality=88, method=6)
        browser.close()


def shot(browser: Browser, address: str, width: int, scheme: str, height: int = HEIGHT) -> Image.Image:
    """What is seen of a page at first, in a window of this size."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(f"{(REPORT).resolve().as_uri()}/{address}")
    page.wait_for_timeout(900)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return picture


def beside(shots: list[Image.Image]) -> Image.Image:
    """Pictures of the same height beside each other, half as large."""
    whole = Image.new("RGB", (sum(each.width + GAP for each in shots) - GAP, HEIGHT), "#8a8a8a")
    left = 0
    for each in shots:
        whole.paste(each, (left, 0))
        left += each.width + GAP
    return whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
