"""convscope: a microscope for convolutional networks.

>>> import convscope
>>> network = convscope.load("digits:lenet5")
>>> atlas = convscope.scan(network, convscope.open_images("digits:test"), "atlas")
>>> atlas["c3:7"].top[0]
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.atlas import Atlas
    from convscope.dissection import dissect
    from convscope.empirical_field import empirical_fields
    from convscope.errors import ConvscopeError, WorkerError
    from convscope.evaluation import evaluate
    from convscope.explanation import explain
    from convscope.images import Arrays, ImageSet, open_images
    from convscope.localization import localize
    from convscope.network import Network, load, wrap
    from convscope.preprocess import Preprocess
    from convscope.report import write_report
    from convscope.scanner import merge, scan, scan_part
    from convscope.studies.ablation import ablate

__version__ = "0.1.0"

# Public names and where they are; imported when first used, so that ``import convscope`` and the help of the command
# line do not wait for torch.
_HOMES = {
    "Arrays": "images",
    "Atlas": "atlas",
    "ConvscopeError": "errors",
    "ImageSet": "images",
    "Network": "network",
    "Preprocess": "preprocess",
    "dissect": "dissection",
    "empirical_fields": "empirical_field",
    "evaluate": "evaluation",
    "explain": "explanation",
    "load": "network",
    "localize": "localization",
    "open_images": "images",
    "merge": "scanner",
    "scan": "scanner",
    "scan_part": "scanner",
    "WorkerError": "errors",
    "ablate": "studies.ablation",
    "wrap": "network",
    "write_report": "report",
}

__all__ = [
    "Arrays",
    "Atlas",
    "ConvscopeError",
    "ImageSet",
    "Network",
    "Preprocess",
    "WorkerError",
    "ablate",
    "dissect",
    "empirical_fields",
    "evaluate",
    "explain",
    "load",
    "localize",
    "merge",
    "open_images",
    "scan",
    "scan_part",
    "wrap",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "attribution":  # a package of its own: convscope.attribution.Saliency
        return importlib.import_module("convscope.attribution")
    if name not in _HOMES:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"convscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext convscope``: networks, atlases, layers and units show themselves, as after an import in IPython."""
    importlib.import_module("convscope.render.notebook").register(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext convscope``: they are plain text again."""
    importlib.import_module("convscope.render.notebook").unregister(ipython)


# Whoever is not inside IPython has not imported it, and does not do so here.
_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
if _shell is not None:
    load_ipython_extension(_shell)
del _shell
