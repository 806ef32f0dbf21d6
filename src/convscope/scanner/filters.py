"""The filters of a network as a section of the atlas: what its layers' weights look like, and which are noise.

Of every layer with a kernel, and of those that see the image, the weights are kept as small pictures; a 1 × 1 layer
deeper in the network has none. Arrays are named ``layer|array``; see `convscope.atlas.Filters` for what they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from convscope import shards
from convscope.atlas.run import FILTERS
from convscope.filters import colour, noise
from convscope.filters.weights import Weights, in_pixels, weights
from convscope.preprocess import Preprocess
from convscope.scanner.plan import Plan

KEPT = 8  # slices a unit of a layer that does not see the image
LARGEST = 1 << 22  # numbers a layer: 16 MiB


def write_filters(plan: Plan, folder: Path) -> None:
    """Write the filters of all layers of the plan into ``filters.safetensors``; no file where no layer has any."""
    arrays: dict[str, NDArray[Any]] = {}
    for layer in plan.layers:
        found = weights(plan.graph, layer)
        if found is not None and _is_picture(found):
            section = _section(found, plan.network.preprocess)
            arrays |= {f"{layer.address}|{name}": np.ascontiguousarray(array) for name, array in section.items()}
    path = folder / FILTERS
    if arrays:
        shards.write(path, save(arrays))
    else:
        path.unlink(missing_ok=True)  # of an earlier try


def _is_picture(found: Weights) -> bool:
    kept = found.slices.size if found.first else found.slices[:, :KEPT].size
    return kept <= LARGEST and (found.first or max(found.slices.shape[2:]) > 1)


def _section(found: Weights, preprocess: Preprocess) -> dict[str, NDArray[Any]]:
    shown = in_pixels(found, preprocess) if found.first else found.strongest(KEPT)
    arrays: dict[str, NDArray[Any]] = {
        "slices": shown.slices,
        "channels": shown.channels.astype(np.int32),
        "first": np.array([found.first]),
    }
    if noise.can_measure(found.slices.shape[2:]):
        verdicts = noise.judge(found.strongest(noise.SLICES).slices)
        arrays |= {f"noise.{name}": column for name, column in verdicts.items()}
    if found.first and shown.slices.shape[1] == preprocess.planes == 3:
        arrays["colour.ratio"] = colour.colour_ratio(shown.slices)
        arrays["colour.frequency"] = colour.dominant_frequency(shown.slices)
    return arrays
