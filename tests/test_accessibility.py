"""The helpers that look at pages find a planted fault, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from accessibility import violations
from browsing import PHONE, watched

pytestmark = pytest.mark.browser

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def page_of(folder: Path, body: str) -> str:
    """The address of a page with `body` in it."""
    path = folder / "page.html"
    path.write_text(
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>A page</title></head>"
        f"<body style='background:#fff;color:#222'><main><h1>A page</h1>{body}</main></body></html>"
    )
    return path.as_uri()


GOOD = f"<p>Text</p><p style='color:#555'>More</p><img src='{PIXEL}' alt='a grey pixel'>"


def test_a_good_page_has_no_violations(browser, tmp_path):
    with watched(browser) as page:
        page.goto(page_of(tmp_path, GOOD))
        assert violations(page) == []


@pytest.mark.parametrize(
    ("fault", "rule", "element"),
    [
        (f"<img id=mute src='{PIXEL}'>", "image-alt (critical)", "#mute"),
        ("<p id=pale style='color:#bbb'>Pale</p>", "color-contrast (serious)", "#pale"),
        ("<a id=nameless href='#'></a>", "link-name (serious)", "#nameless"),
        ("<input id=unlabelled>", "label (critical)", "#unlabelled"),
    ],
)
def test_a_planted_fault_is_found_alone(browser, tmp_path, fault, rule, element):
    with watched(browser) as page:
        page.goto(page_of(tmp_path, GOOD + fault))
        found = violations(page)
    assert len(found) == 1
    assert found[0].startswith(f"{rule}: {element}: ")


def test_a_page_with_a_style_sheet_from_disk_is_read(browser, tmp_path):
    """By axe-core's own default it fetches the sheet again, which a page from disk may not."""
    (tmp_path / "pale.css").write_text("p { color: #bbb }")
    with watched(browser) as page:
        page.goto(page_of(tmp_path, "<link rel=stylesheet href=pale.css><p id=pale>Pale</p>"))
        found = violations(page)
    assert [line.split(": ")[1] for line in found] == ["#pale"]


def test_a_slight_fault_is_none(browser, tmp_path):
    """A heading of the wrong level is only moderate."""
    with watched(browser) as page:
        page.goto(page_of(tmp_path, GOOD + "<h4>Far below</h4>"))
        assert violations(page) == []


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("<script>throw new Error('broken')</script>", "script error: broken"),
        ("<script>console.error('complained')</script>", "complained"),
        ("<img alt='' src='absent.png'>", "failed: file:"),
        ("<img alt='' src='http://127.0.0.1:9/far.png'>", "left: http://127.0.0.1:9/far.png"),
    ],
)
def test_a_page_that_misbehaves_fails_the_test(browser, tmp_path, fault, seen):
    def look():
        with watched(browser) as page:
            page.goto(page_of(tmp_path, fault))
            page.wait_for_load_state("networkidle")

    with pytest.raises(AssertionError) as caught:
        look()
    assert seen in str(caught.value)


def test_window_and_colours_are_those_asked_for(browser, tmp_path):
    with watched(browser, PHONE, "dark") as page:
        page.goto(page_of(tmp_path, GOOD))
        assert page.evaluate("[innerWidth, innerHeight]") == list(PHONE)
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
