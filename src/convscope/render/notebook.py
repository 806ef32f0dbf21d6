"""Networks, atlases, layers, units and explanations show themselves in Jupyter and IPython, as HTML that needs no more.

The views are IPython formatters, registered by name for classes that need not be imported yet. ``import convscope``
inside a running IPython registers them, ``%load_ext convscope`` does so by hand. What they draw is in
`convscope.render.views`, imported when something is shown for the first time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

VIEWS = {  # (module, class) -> the function of `convscope.render.views` that gives its HTML
    ("convscope.network", "Network"): "network",
    ("convscope.atlas.folder", "Atlas"): "atlas",
    ("convscope.atlas.layers", "AtlasLayer"): "layer",
    ("convscope.atlas.layers", "AtlasUnit"): "unit",
    ("convscope.explanation.result", "Explanation"): "explanation",
}


def register(ipython: Any) -> None:
    """Let an IPython shell show what convscope gives as HTML; the plain text stays beside it."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for (module, name), view in VIEWS.items():
        formatter.for_type_by_name(module, name, _shown_by(view))


def unregister(ipython: Any) -> None:
    """Show plain text alone again."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for module, name in VIEWS:
        formatter.pop(f"{module}.{name}", None)


def _shown_by(view: str) -> Callable[[Any], str]:
    def show(thing: Any) -> str:
        html: str = getattr(importlib.import_module("convscope.render.views"), view)(thing)
        return html

    return show
