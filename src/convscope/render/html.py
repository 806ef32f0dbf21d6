"""Panels for pages: tables as rows of text, charts as what Plotly draws; colours come from the page's style."""

from __future__ import annotations

from typing import Any

from convscope.panel import Bars, Panel, Table
from convscope.render.text import figure


def panel_json(panel: Panel) -> dict[str, Any]:
    """A panel as plain values for ``report.js``."""
    if isinstance(panel, Table):
        return {"kind": "table", "title": panel.title, "rows": [[name, figure(value)] for name, value in panel.rows]}
    return _bars(panel)


def _bars(panel: Bars) -> dict[str, Any]:
    middles = [round((low + high) / 2, 6) for low, high in zip(panel.edges[:-1], panel.edges[1:], strict=True)]
    trace = {
        "type": "bar",
        "x": middles,
        "y": list(panel.heights),
        "width": round(panel.edges[1] - panel.edges[0], 6),
        "hovertemplate": f"{panel.x} %{{x:.3g}}<br>%{{y:.0f}} {panel.y}<extra></extra>",
    }
    return {"kind": "plot", "title": panel.title, "note": panel.note, "x": panel.x, "y": panel.y, "data": [trace]}
