"""Count, mean, variance, range, share of values <= 0, and NaN of every unit, over all images and positions.

Each image is summed in float32 about its own mean and joined in float64 by the update of Chan, Golub and LeVeque,
"Updating formulae and a pairwise algorithm for computing sample variances", 1979, which does not cancel where the
mean is large against the spread. NaN is left out and counted; an infinity is a value, and makes the mean infinite and
the standard deviation NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.panel import Panel, Table
from convscope.statistics.base import Accumulator, Activations, Statistic

_FIELDS = ("count", "total", "squares", "nonpositive", "nans", "active_images", "minimum", "maximum")


@dataclass(frozen=True)
class Moments(Statistic):
    """Moments and range of the response."""

    name: ClassVar[str] = "moments"

    def start(self, units: int, places: tuple[int, ...]) -> MomentsAccumulator:
        """See `Statistic.start`."""
        return MomentsAccumulator(units)

    def panels(self, state: Mapping[str, Any], unit: int, names: Sequence[str] | None = None) -> list[Panel]:
        """A table of the moments."""
        row = summary({name: state[name][unit : unit + 1] for name in _FIELDS})
        values = {name: value[0] for name, value in row.items()}
        return [
            Table(
                "Response",
                (
                    ("mean", values["mean"]),
                    ("standard deviation", values["std"]),
                    ("minimum", values["minimum"]),
                    ("maximum", values["maximum"]),
                    ("responses ≤ 0", f"{values['nonpositive']:.1%}"),
                    ("images with a response above 0", values["active_images"]),
                    ("values counted", values["count"]),
                    ("NaN", values["nans"]),
                ),
            )
        ]


class MomentsAccumulator(Accumulator):
    """Sums and counts, (units,) each."""

    def __init__(self, units: int) -> None:
        integers = {name: torch.zeros(units, dtype=torch.int64) for name in _FIELDS}
        floats = {name: torch.zeros(units, dtype=torch.float64) for name in ("total", "squares")}
        extremes = {
            "minimum": torch.full((units,), torch.inf),
            "maximum": torch.full((units,), -torch.inf),
        }
        self._state = integers | floats | extremes

    def update(self, activations: Activations) -> None:
        """See `Accumulator.update`."""
        each = activations.per_image
        count, total = each.count.sum(0), each.total.sum(0)
        mean = total / count.clamp(min=1)
        means = each.total / each.count.clamp(min=1)
        squares = each.squares.sum(0) + (each.count * (means - mean).square()).sum(0)
        self._join(
            {
                "count": count,
                "total": total,
                "squares": squares,
                "nonpositive": each.nonpositive.sum(0),
                "nans": each.nans.sum(0),
                "active_images": (each.maximum > 0).sum(0),
                "minimum": each.minimum.amin(0),
                "maximum": each.maximum.amax(0),
            }
        )

    def merge(self, other: Accumulator) -> None:
        """See `Accumulator.merge`."""
        assert isinstance(other, MomentsAccumulator)
        self._join(other._state)

    def _join(self, new: Mapping[str, Tensor]) -> None:
        old = self._state
        between = new["total"] / new["count"].clamp(min=1) - old["total"] / old["count"].clamp(min=1)
        both = (old["count"] + new["count"]).clamp(min=1)
        squares = old["squares"] + new["squares"] + between.square() * (old["count"].double() / both * new["count"])
        joined = {name: old[name] + new[name] for name in _FIELDS}
        joined["squares"] = squares
        joined["minimum"] = torch.minimum(old["minimum"], new["minimum"])
        joined["maximum"] = torch.maximum(old["maximum"], new["maximum"])
        self._state = joined

    def state(self) -> dict[str, Tensor]:
        """See `Accumulator.state`."""
        return {name: self._state[name].clone() for name in _FIELDS}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Accumulator.restore`."""
        self._state = {name: state[name].clone() for name in _FIELDS}


def summary(state: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean, standard deviation and shares of every unit, from the sums; NaN where a unit has no values."""
    raw = {name: torch.as_tensor(state[name]) for name in _FIELDS}
    count = raw["count"].double()
    count[count == 0] = torch.nan
    columns = {
        "mean": raw["total"] / count,
        "std": (raw["squares"] / count).sqrt(),
        "minimum": raw["minimum"].where(raw["count"] > 0, torch.nan),
        "maximum": raw["maximum"].where(raw["count"] > 0, torch.nan),
        "nonpositive": raw["nonpositive"] / count,
        "active_images": raw["active_images"],
        "count": raw["count"],
        "nans": raw["nans"],
    }
    return {name: column.tolist() for name, column in columns.items()}
