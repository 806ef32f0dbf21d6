"""Bars as plain numbers for a small SVG: where every bar, line and word stands."""

from __future__ import annotations

import math
from typing import Any

from convscope.panel import Bars
from convscope.render.text import figure

WIDTH, HEIGHT = 310, 170  # px
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 38  # px around the bars


def bars(panel: Bars) -> dict[str, Any]:
    """A histogram as the report draws it; coordinates in px from the upper left corner."""
    low, high = panel.edges[0], panel.edges[-1]
    highest = max(1.0, *panel.heights)
    # From just below one, so that a bar of one value can be seen, to just above the highest bar.
    bottom, top = (math.log10(0.7), math.log10(1.4 * highest)) if panel.log else (0.0, 1.05 * highest)
    rows = [10.0**power for power in range(math.floor(top) + 1)] if panel.log else _round_values(0.0, top)

    def across(value: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low), 2)

    def down(count: float) -> float:
        height = math.log10(count) if panel.log else count
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (height - bottom) / (top - bottom), 2)

    base = HEIGHT - _BOTTOM
    columns = zip(panel.edges[:-1], panel.edges[1:], panel.heights, strict=True)
    return {
        "title": panel.title,
        "note": panel.note,
        "x": panel.x,
        "y": f"{panel.y} (log)" if panel.log else panel.y,
        "width": WIDTH,
        "height": HEIGHT,
        "frame": {"left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": base},
        "about": f"{figure(int(sum(panel.heights)))} {panel.y}, {panel.x} from {figure(low)} to {figure(high)}",
        "bars": [
            {"x": across(left), "y": down(count), "width": round(across(right) - across(left), 2),
             "height": round(base - down(count), 2),
             "about": f"{figure(left)} to {figure(right)}: {figure(int(count))}"}
            for left, right, count in columns if count > 0
        ],
        "rows": [(down(count), figure(count)) for count in rows],
        "columns": [(across(value), figure(value)) for value in _round_values(low, high)],
    }  # fmt: skip


def _round_values(low: float, high: float) -> list[float]:
    """Three to six round numbers between both ends."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [float(f"{step * i:.10g}") + 0.0 for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
