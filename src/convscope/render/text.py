"""Numbers as people read them, the same in every page, table and terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convscope.geometry import Grid, Spans


def figure(value: float | int | str | None) -> str:
    """Four significant digits, thousands apart, ``–`` where there is nothing."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 1000:
        text = f"{value:,.0f}"
    elif magnitude >= 1e-3:
        text = f"{value:.4g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "–" if value is None or math.isnan(value) else f"{value * 100:.1f} %"


def scaled(value: float) -> str:
    """A large count with its prefix: 1.25 M, 3.8 G."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.0f}"


def field_of_view(grid: Grid, shape: Sequence[int]) -> dict[str, str]:
    """Size, stride and start of a layer's field in pixels, rows by columns where they differ.

    Args:
        shape: of the layer's output, channels first; without rows and columns its units see one field, usually all.
    """
    if len(shape) != 3:
        sizes = [_size(spans) if not _covers(spans) else "whole image" for spans in (grid.rows, grid.columns)]
        return {"size": _both(sizes), "stride": "–", "start": "–"}
    axes = [_axis(spans) for spans in (grid.rows, grid.columns)]
    return {name: _both([axis[name] for axis in axes]) for name in ("size", "stride", "start")}


def _axis(spans: Spans) -> dict[str, str]:
    steps = spans.steps()
    if _covers(spans) and (steps is None or steps.stride in (0, spans.extent)):  # no window: every cell sees all
        return {"size": "whole image", "stride": "–", "start": "–"}
    if steps is None:
        return {"size": f"up to {_size(spans)}", "stride": "uneven", "start": figure(int(spans.low[0]))}
    return {"size": _size(spans), "stride": f"{steps.stride:g}", "start": figure(steps.start)}


def _covers(spans: Spans) -> bool:
    return bool((spans.low <= 0).all() and (spans.high >= spans.extent).all())


def _size(spans: Spans) -> str:
    return str(int((spans.high - spans.low).max()))


def _both(texts: Sequence[str]) -> str:
    return texts[0] if texts[0] == texts[1] else " × ".join(texts)
