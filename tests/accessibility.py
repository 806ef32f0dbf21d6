"""What axe-core finds wrong with a page for people who see, hear, point or read in another way than its author.

axe-core (Deque Systems) comes inside the package axe-playwright-python, so nothing is downloaded. It tells about half
of all faults by rule; the order of reading and the sense of a text it cannot judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_GRAVE = ("serious", "critical")


def violations(page: Page) -> list[str]:
    """The serious and critical faults of a page as it stands, a line each: rule, element, and why.

    Rules are those of WCAG 2.0 to 2.2, levels A and AA, and axe's best practices.
    """
    from axe_playwright_python.sync_playwright import Axe

    # Style sheets are not fetched once more: a page from disk may not, and no rule of these needs them.
    options = {"runOnly": {"type": "tag", "values": _RULES}, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']} ({node['impact']}): {_element(node)}: {_why(node)}"
        for rule in found
        for node in rule["nodes"]
        if node["impact"] in _GRAVE
    ]


def _element(node: dict[str, Any]) -> str:
    """Where an element is: selectors, each one but the last that of a frame or shadow root around it."""
    return " ".join(part if isinstance(part, str) else " ".join(part) for part in node["target"])


def _why(node: dict[str, Any]) -> str:
    checks = [check for kind in ("any", "all", "none") for check in node[kind]]
    return "; ".join(check["message"] for check in checks)
