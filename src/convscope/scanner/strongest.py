"""A compiled loop that keeps the strongest connections of every unit."""

from __future__ import annotations

from typing import Any

from convscope.compiling import compiled

KEPT = 8  # connections


@compiled
def keep(strengths: Any, weights: Any, rows: Any, columns: Any, best: Any, signed: Any, who: Any) -> None:
    """Take in a block of connections; of equal ones, those that came first stay.

    Args:
        strengths, weights: (r, c) float64.
        rows, columns: numbers of the units of the block, (r,) and (c,).
        best, signed, who: strengths, weights and numbers of the strongest so far, (units, 8) each, falling; changed.
            Connections without strength, or that are NaN, are none.
    """
    for i in range(len(rows)):
        row = rows[i]
        for j in range(len(columns)):
            strength = strengths[i, j]
            if strength > best[row, KEPT - 1]:
                place = KEPT - 1
                while place > 0 and strength > best[row, place - 1]:
                    best[row, place] = best[row, place - 1]
                    signed[row, place] = signed[row, place - 1]
                    who[row, place] = who[row, place - 1]
                    place -= 1
                best[row, place] = strength
                signed[row, place] = weights[i, j]
                who[row, place] = columns[j]
