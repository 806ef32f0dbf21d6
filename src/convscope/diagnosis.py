"""Units that need attention: dead, nearly dead, silent, always on, saturated, or with NaN [METHODS 0.3 and 3.4].

Dead, silent and always on mean something only where a layer is *rectified*: it lies behind a non-linearity that lets
nothing negative through, so that zero is silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MEANING = {
    "NaN": "gave NaN at least once",
    "dead": "never above zero",
    "nearly dead": "above zero in fewer than 1 image of 1,000",
    "silent": "its maximum is below 1/1,000 of the layer's median maximum",
    "always on": "above zero at more than 99 % of all positions, so it acts like a linear unit",
    "saturated": "where its non-linearity is flat at more than 99 % of all positions",
}


_POSITIVE = {"sigmoid", "hardsigmoid", "softplus"}  # gates and their like: they are not silent by being zero


def rectified(nonlinearity: str | None, summary: Mapping[str, Sequence[float]]) -> bool:
    """Whether a layer's response is read after a non-linearity that silences it at zero, and was never negative."""
    return nonlinearity not in {None, *_POSITIVE} and not any(value < 0 for value in summary["minimum"])


def diagnose(
    nonlinearity: str | None, summary: Mapping[str, Sequence[float]], images: int
) -> dict[str, NDArray[np.bool_]]:
    """For each of `MEANING` the units (u,) of a layer that are so; without those that cannot be told of this layer.

    Args:
        summary: a value a unit, as `AtlasLayer.summary` gives it.
        images: that were read.
    """
    column = {name: np.asarray(values, float) for name, values in summary.items()}
    found = {"NaN": column["nans"] > 0, "saturated": column["saturated"] > 0.99}
    if rectified(nonlinearity, summary):
        maximum, active = column["maximum"], column["active_images"]
        alive = active > 0  # a unit that gave only NaN is not dead but broken
        typical = float(np.nanmedian(maximum)) if np.isfinite(maximum).any() else 0.0
        found["dead"] = maximum <= 0
        found["nearly dead"] = alive & (active < images / 1000)
        found["silent"] = alive & (maximum < typical / 1000)
        found["always on"] = 1 - column["nonpositive"] > 0.99
    return {name: found[name] for name in MEANING if name in found}


def sparsity(nonlinearity: str | None, summary: Mapping[str, Sequence[float]]) -> float | None:
    """Mean over the units of the share of positions at which they are silent; None where the layer is not rectified."""
    shares = [value for value in summary["nonpositive"] if not np.isnan(value)]
    return float(np.mean(shares)) if shares and rectified(nonlinearity, summary) else None


def outstanding(summary: Mapping[str, Sequence[float]]) -> list[int]:
    """The units by how far their maximum stands out, (maximum − mean) / standard deviation, the farthest first."""
    maximum, mean, std = (np.array(summary[name], float) for name in ("maximum", "mean", "std"))
    with np.errstate(invalid="ignore"):
        heights = np.where(std > 0, (maximum - mean) / np.where(std > 0, std, 1), -np.inf)
    return [int(unit) for unit in np.argsort(-np.nan_to_num(heights, nan=-np.inf), kind="stable")]
