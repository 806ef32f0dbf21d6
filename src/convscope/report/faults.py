"""The units of a layer that need attention, for what the scan saw of them or for their weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from convscope.atlas import AtlasLayer

Units = np.ndarray[Any, np.dtype[np.bool_]]  # (u,)


def faults(layer: AtlasLayer) -> dict[str, Units]:
    """The units that need attention, by what is the matter: with their responses, or with their filters."""
    found = noisy(layer)
    return dict(layer.flags) if found is None else {**layer.flags, "noisy": found}


def noisy(layer: AtlasLayer) -> Units | None:
    """The units whose filters look like noise; None where that cannot be told.

    Fine gratings have high frequencies too, but few of them: they are regular, and no noise.
    """
    noise = {} if layer.filters is None else layer.filters.noise
    return noise["noisy"] & ~noise["regular"] if noise else None
