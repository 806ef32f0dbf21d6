"""What the sanity check has found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A likely mistake.

    Args:
        kind: the rule that found it: "scale", "std", "mean", "black", "crop", "border", "twice", "batchnorm",
            "preprocess", "labels" or "chance".
        message: what was seen, what it likely is, and what to do.
        evidence: the numbers behind it, rounded, as plain values.
    """

    kind: str
    message: str
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def rounded(value: float) -> float:
    """Three significant digits: the last ones of a float depend on the number of threads."""
    return float(f"{value:.3g}")
