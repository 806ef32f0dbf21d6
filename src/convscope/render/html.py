"""Panels for pages, as plain values: scripts draw tables as they are and charts by Plotly, in the page's colours."""

from __future__ import annotations

from typing import Any

from convscope.panel import Bars, Panel, Scatter, Table
from convscope.render.text import figure


def panel_json(panel: Panel) -> dict[str, Any]:
    """A panel as plain values for the script that draws it."""
    if isinstance(panel, Table):
        return {"kind": "table", "title": panel.title, "rows": [[name, figure(value)] for name, value in panel.rows]}
    about = {"title": panel.title, "note": panel.note, "x": panel.x, "y": panel.y}
    if isinstance(panel, Scatter):
        return {"kind": "scatter", **about, "xs": _short(panel.xs), "ys": _short(panel.ys), "names": list(panel.names)}
    return {"kind": "bars", **about, "log": panel.log, **_bins(panel)}


def _bins(panel: Bars) -> dict[str, Any]:
    """The middle of the first bin, the width of all, and the heights."""
    step = (panel.edges[-1] - panel.edges[0]) / max(1, len(panel.heights))
    start, step = _short((panel.edges[0] + step / 2, step))
    return {"start": start, "step": step, "heights": [round(height) for height in panel.heights]}


def _short(values: tuple[float, ...]) -> list[float]:
    """Seven significant digits, as many as float32 has."""
    return [float(f"{value:.7g}") for value in values]
