"""What can be found from any page: pages, layers, classes, sample images, faults, terms."""

from __future__ import annotations

from typing import Any

from convscope.report.contents import Contents
from convscope.report.pages import concepts
from convscope.report.pages.attention import counts
from convscope.report.terms import of_flag

Entry = list[str]  # kind, text, remark, link from the report's folder


def network(contents: Contents) -> dict[str, Any]:
    """What scripts on every page must know: layers with their strips, and what can be searched for."""
    layers = [
        {
            "address": str(each.layer.address),
            "slug": each.slug,
            "units": each.layer.units,
            "shown": None if each.whole else list(each.units),
            **contents.strips[each.slug].about(),
            **concepts.labels(contents, each),
        }
        for each in contents.shown
    ]
    return {"layers": layers, "search": entries(contents), **concepts.known(contents)}


def entries(contents: Contents) -> list[Entry]:
    """Every entry but the layers and units, which scripts find by address."""
    return [
        *_pages(),
        *_flags(contents),
        *_classes(contents),
        *concepts.entries(contents),
        *_images(contents),
        *_terms(contents),
    ]


def _pages() -> list[Entry]:
    return [["page", "network", "the whole network and its layers", "index.html"],
             ["page", "attention", "dead, noisy and other units, skipped files, warnings", "attention.html"],
             ["page", "classes", "accuracy, confusions, selective units", "classes.html"],
             ["page", "images", "sample images through all layers", "images/index.html"],
             ["page", "terms", "what every word means", "terms.html"]]  # fmt: skip


def _flags(contents: Contents) -> list[Entry]:
    return [
        ["units", name, f"{count:,} unit{'s' if count > 1 else ''}: {contents.terms[of_flag(name)].line}",
         f"attention.html#{of_flag(name)}"]
        for name, count in counts(contents).items()
    ]  # fmt: skip


def _classes(contents: Contents) -> list[Entry]:
    return [
        ["class", contents.called(each["class"]), f"class {each['class']}", f"classes.html#c{each['class']}"]
        for each in contents.atlas.run["results"]["classes"]
    ]


def _images(contents: Contents) -> list[Entry]:
    return [
        ["image", sample.name, sample.label or "", f"images/{number:02}.html"]
        for number, sample in enumerate(contents.atlas.samples)
    ]


def _terms(contents: Contents) -> list[Entry]:
    return [["term", term.name, term.line, f"terms.html#{key}"] for key, term in contents.terms.items()]
