"""Classes: how well each is recognised, what it is confused with, and the units that are most selective for it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from convscope.report.contents import Contents
from convscope.report.pages.layer import favourites

_UNITS, _CONFUSED, _PAIRS = 4, 3, 20
_MATRIX = 30  # classes at most in a table of all confusions


def context(contents: Contents) -> dict[str, Any]:
    """What the template says; without labels there are no rows."""
    results = contents.atlas.run["results"]
    wrong = _wrong(results["confusions"])
    selective = most_selective(contents)
    rows = [
        each
        | {
            "name": contents.called(each["class"]),
            "confused": [(p, contents.called(p), n) for p, n in wrong[each["class"]][:_CONFUSED]],
            "units": selective.get(each["class"], []),
        }
        for each in results["classes"]
    ]
    pairs = sorted(((n, t, p) for t, others in wrong.items() for p, n in others), key=lambda each: (-each[0], each[1:]))
    return {
        "title": "Classes",
        "rows": rows,
        "pairs": [(contents.called(t), contents.called(p), n, t, p) for n, t, p in pairs[:_PAIRS]],
        "matrix": _matrix(contents, results),
    }


def most_selective(contents: Contents) -> dict[int, list[tuple[str, int, float]]]:
    """Of each class the units (layer, unit, selectivity) that like it best and are most selective."""
    found: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for number, each in enumerate(contents.shown):
        selectivity = np.array(each.layer.summary["selectivity"], float)
        liked = favourites(each.layer)
        for unit in each.units:
            if liked[unit] >= 0 and np.isfinite(selectivity[unit]) and selectivity[unit] > 0:
                found[int(liked[unit])].append((-float(selectivity[unit]), number, unit))
    return {
        index: [(str(contents.shown[n].layer.address), unit, -value) for value, n, unit in sorted(units)[:_UNITS]]
        for index, units in found.items()
    }


def _wrong(confusions: list[list[int]]) -> dict[int, list[tuple[int, int]]]:
    """Of each class the others that were given for it, most frequent first."""
    wrong: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for true, predicted, count in confusions:
        if true != predicted:
            wrong[true].append((predicted, count))
    return defaultdict(list, {t: sorted(others, key=lambda each: (-each[1], each[0])) for t, others in wrong.items()})


def _matrix(contents: Contents, results: dict[str, Any]) -> dict[str, Any] | None:
    """All confusions: a row a true class, a column a predicted one; None where there are too many, or one alone."""
    count = {(true, predicted): n for true, predicted, n in results["confusions"]}
    images = {each["class"]: each["images"] for each in results["classes"]}
    columns = sorted(images.keys() | {predicted for _, predicted in count})
    if not 1 < len(columns) <= _MATRIX:
        return None
    return {
        "columns": [(index, contents.called(index)) for index in columns],
        "rows": [
            (index, contents.called(index), [(p, count.get((index, p), 0), images[index]) for p in columns])
            for index in sorted(images)
        ],
    }
