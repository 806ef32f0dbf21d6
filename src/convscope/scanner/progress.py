"""What a scan says about itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` images in this phase, `begun` of them before this run."""

    phase: str
    done: int
    total: int
    begun: int = 0


Report = Callable[[Progress], None]
Advance = Callable[[int], None]


def counter(report: Report, phase: str, total: int, begun: int = 0) -> Advance:
    """A function that takes how many images have been done since its last call."""
    done = begun

    def advance(images: int) -> None:
        nonlocal done
        done += images
        report(Progress(phase, done, total, begun))

    return advance
