"""Which layers and units a report shows: all, or the ones that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.address import matching
from convscope.atlas import Atlas, AtlasLayer
from convscope.diagnosis import outstanding
from convscope.errors import AddressError, nearest


@dataclass(frozen=True, eq=False)
class Shown:
    """A layer of the report.

    Args:
        units: that have a page, ascending.
    """

    layer: AtlasLayer
    units: tuple[int, ...]

    @property
    def slug(self) -> str:
        """The layer's name in files and links."""
        return str(self.layer.record["slug"])

    @property
    def whole(self) -> bool:
        """Whether all units are shown."""
        return len(self.units) == self.layer.units


def select(atlas: Atlas, layers: Sequence[str] | None = None, units: int | None = None) -> list[Shown]:
    """The layers and units to show.

    Args:
        layers: addresses, modules (all layers inside) or patterns such as ``layer4.*``, as `scan` takes them; default
            all.
        units: of every layer only so many, those whose best image stands out most; default all.

    Raises:
        AddressError: `layers` names something that the atlas does not have.
        ValueError: `layers` is empty.
    """
    chosen = {str(layer.address) for layer in atlas.layers}
    if layers is not None:
        patterns = [layers] if isinstance(layers, str) else layers
        chosen = {name for pattern in patterns for name in _matching(atlas, pattern)}
    if not chosen:
        raise ValueError("layers is empty; give at least one, or None for all")
    return [Shown(layer, _best(layer, units)) for layer in atlas.layers if str(layer.address) in chosen]


def is_whole(atlas: Atlas, shown: Sequence[Shown]) -> bool:
    """Whether every unit of every layer is shown."""
    return len(shown) == len(atlas.layers) and all(each.whole for each in shown)


def _best(layer: AtlasLayer, count: int | None) -> tuple[int, ...]:
    if count is None or count >= layer.units:
        return tuple(range(layer.units))
    return tuple(sorted(outstanding(layer.summary)[:count]))


def _matching(atlas: Atlas, pattern: str) -> set[str]:
    found = matching(pattern, (layer.address for layer in atlas.layers))
    if not found:
        known = [str(layer.address) for layer in atlas.layers]
        raise AddressError(f"{atlas.path} has no layer {pattern!r}{nearest(pattern, known)}")
    return found
