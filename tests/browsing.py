"""Pages in chromium: opened from disk, in a window of any size and colour scheme, watched for faults."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

# What keeps Debian's chromium quiet on a machine without a network; the page's own requests are watched below.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]  # fmt: skip
DESKTOP, PHONE = (1300, 900), (390, 844)  # (width, height), px
_OURS = ("file:", "data:", "blob:", "about:blank")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, running inside the `with`."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


def _lost(request: Request) -> bool:
    """Whether a request failed of itself, and not because the page was left meanwhile."""
    return request.failure != "net::ERR_ABORTED"


@contextlib.contextmanager
def watched(
    browser: Browser, viewport: tuple[int, int] = DESKTOP, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Page]:
    """An empty page; leaving the `with` fails on any script error, failed file or request that is not to the disk.

    Args:
        viewport: (width, height) of the window, px.
        scheme: what the user prefers.
    """
    width, height = viewport
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}") if _lost(request) else None)
    page.on("request", lambda request: None if request.url.startswith(_OURS) else faults.append(f"left: {request.url}"))
    try:
        yield page
    finally:
        page.close()
    assert not faults, faults
