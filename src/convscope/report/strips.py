"""Where on its sheet the strip of a unit lies, as CSS wants it.

A tile can be smaller than its cell, since those of a JPEG are whole blocks: what fills the rest must not be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.report.selection import Shown


class Strips:
    """The strips of the shown units of one layer."""

    def __init__(self, shown: Shown, files: Sequence[str]) -> None:
        record = shown.layer.atlas.run["strips"][shown.slug]
        self.shown = shown
        self.files = list(files)
        self.rows: int = record["rows"]
        self.height, self.width = record["cell"]
        self.tile: list[int] = record["tile"]
        self.ranks: int = shown.layer.atlas.run["job"]["statistics"]["topk"]["maps"]
        self._row = {unit: row for row, unit in enumerate(shown.units)}

    def __contains__(self, unit: int) -> bool:
        return unit in self._row

    @property
    def sharp(self) -> bool:
        """Whether pixels are so few that they are shown as squares."""
        return max(self.tile) <= 24

    def about(self) -> dict[str, Any]:
        """What scripts must know to show a strip."""
        return {
            "sheets": self.files,
            "rows": self.rows,
            "cell": [self.height, self.width],
            "tile": self.tile,
            "ranks": self.ranks,
            "sharp": self.sharp,
        }

    def style(self, root: str, unit: int) -> str:
        """The style of an element that shows the best patch of a unit, and nothing of what lies around it.

        Args:
            root: the way from the page to the report's folder.
        """
        sheet, row = divmod(self._row[unit], self.rows)
        rows = min(self.rows, len(self._row) - sheet * self.rows)
        height, width = self.tile
        down = 100 * row * self.height / max(1, rows * self.height - height)
        return (
            f"background-image:url('{root}{self.files[sheet]}');background-position:0 {down:.4f}%;"
            f"background-size:{100 * self.ranks * self.width / width:.6g}% auto;aspect-ratio:{width}/{height};"
            f"--tall:{height / width:.4g}"
        )
