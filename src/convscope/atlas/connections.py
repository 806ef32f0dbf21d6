"""The strongest connections of the units of an atlas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from convscope.atlas.folder import Atlas
    from convscope.atlas.layers import AtlasUnit


@dataclass(frozen=True)
class Connection:
    """A unit that feeds another one, or is fed by it.

    Args:
        layer, unit: the other end.
        weight: sum of the kernel between the two; its sign says whether it excites or inhibits.
        strength: norm of the kernel times the standard deviation of the feeding unit's response [METHODS 4.6].
        share: the strength as a part of all that the receiving unit is fed with, in [0, 1].
    """

    layer: str
    unit: int
    weight: float
    strength: float
    share: float


def read(unit: AtlasUnit, kind: Literal["input", "output"]) -> tuple[Connection, ...]:
    """The strongest inputs or outputs of a unit, strongest first, at most 8; empty where the atlas has none."""
    atlas, index = unit.layer.atlas, unit.index
    arrays = atlas.connections.get(str(unit.layer.address))
    if arrays is None:
        return ()
    found = []
    columns = (arrays[f"{kind}s"], arrays[f"{kind}_weights"], arrays[f"{kind}_strengths"])
    for (layer, other), weight, strength in zip(*(column[index].tolist() for column in columns), strict=True):
        if layer >= 0:
            total = float(arrays["total"][index]) if kind == "input" else _total(atlas, layer, other)
            share = min(1.0, strength / total) if total else 0.0
            found.append(Connection(str(atlas.layers[layer].address), other, weight, strength, share))
    return tuple(found)


def _total(atlas: Atlas, layer: int, unit: int) -> float:
    return float(atlas.connections[str(atlas.layers[layer].address)]["total"][unit])
