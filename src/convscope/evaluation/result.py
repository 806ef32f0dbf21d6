"""What an evaluation found: a row a network, and how they compare on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convscope.evaluation.intervals import mcnemar
from convscope.evaluation.row import Row
from convscope.images import ImageSet


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same images.

    Args:
        only_first, only_second: images that only the one and only the other has right.
    """

    first: str
    second: str
    only_first: int
    only_second: int

    @property
    def p(self) -> float:
        """See `convscope.evaluation.intervals.mcnemar`."""
        return mcnemar(self.only_first, self.only_second)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "p": self.p}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good networks are.

    Args:
        rows: one a network, in their order, and the ensemble last.
        skipped: id, name and reason of every image that could not be read, by any of the networks.
        remark: what must be known about the labels.
    """

    images: ImageSet
    rows: tuple[Row, ...]
    skipped: list[dict[str, Any]]
    remark: str | None

    @property
    def count(self) -> int:
        """Images that were read."""
        return self.rows[0].tally.labelled

    @property
    def comparisons(self) -> list[Comparison]:
        """Every other row against the first."""
        first, *others = self.rows
        return [
            Comparison(first.name, row.name, int((first.hits & ~row.hits).sum()), int((row.hits & ~first.hits).sum()))
            for row in others
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "source": self.images.spec,
            "images": self.count,
            "skipped": len(self.skipped),
            "skipped_files": self.skipped,
            "networks": [row.to_json(self.images.names) for row in self.rows],
            "comparisons": [each.to_json() for each in self.comparisons],
            "remark": self.remark,
        }
