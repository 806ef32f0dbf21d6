"""What a report is made of: an atlas, the layers and units of it that are shown, and where their pictures lie."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convscope.atlas import Atlas
from convscope.diagnosis import MEANING
from convscope.report.dissected import Dissected
from convscope.report.faults import faults
from convscope.report.measured import Measured
from convscope.report.selection import Shown, is_whole
from convscope.report.strips import Strips
from convscope.report.terms import DISSECTION, FIELDS, TERMS, Term


@dataclass(frozen=True, eq=False)
class Contents:
    """The parts of one report.

    Args:
        shown: the layers with a page, in the order of the network.
        strips: of each of them, by slug.
        places: sheet and pixel (y, x) of every picture, by image.
    """

    atlas: Atlas
    shown: Sequence[Shown]
    strips: Mapping[str, Strips]
    places: Mapping[int, Sequence[int]]

    @functools.cached_property
    def by_address(self) -> dict[str, Shown]:
        """The shown layers by address."""
        return {str(each.layer.address): each for each in self.shown}

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The places of the shown layers among each other, by address."""
        return {address: number for number, address in enumerate(self.by_address)}

    @property
    def whole(self) -> bool:
        """Whether every unit of every layer is shown."""
        return is_whole(self.atlas, self.shown)

    @functools.cached_property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the network's outputs."""
        names = self.atlas.run["network"]["classes"]
        return None if names is None else tuple(names)

    @functools.cached_property
    def dissected(self) -> Dissected | None:
        """What the units detect; None in an atlas without a dissection, or where no layer with one is shown."""
        found = Dissected.of(self.atlas)
        return found if found is not None and found.layers.keys() & self.by_address.keys() else None

    @functools.cached_property
    def measured(self) -> Measured | None:
        """The fields of units as they were measured; None in an atlas without these, or where none of them is shown."""
        found = Measured.of(self.atlas)
        return found if found is not None and found.layers.keys() & self.by_address.keys() else None

    @functools.cached_property
    def terms(self) -> dict[str, Term]:
        """The words that the pages use."""
        return TERMS | ({} if self.dissected is None else DISSECTION) | ({} if self.measured is None else FIELDS)

    @property
    def five(self) -> bool:
        """Whether it says anything that a class is among the best five: where there are more of them."""
        return self.classes is None or len(self.classes) > 5

    def called(self, index: int) -> str:
        """A class by its name, or by its number where it has none."""
        if index < 0:
            return "no prediction"
        names = self.classes
        return names[index] if names is not None and index < len(names) else f"class {index}"

    def href(self, root: str, address: str, unit: int | None = None) -> str | None:
        """The page of a layer or unit; None where the report does not show it."""
        shown = self.by_address.get(address)
        if shown is None or (unit is not None and unit not in self.strips[shown.slug]):
            return None
        return f"{root}layers/{shown.slug}/" + ("index.html" if unit is None else f"unit.html#{unit}")

    @functools.cached_property
    def flags(self) -> dict[str, dict[str, list[int]]]:
        """The units with something the matter, by what it is and by layer, of all layers that are shown."""
        found = {name: {at: units for at, units in layers.items() if units} for name, layers in self._judged.items()}
        return {name: layers for name, layers in found.items() if layers}

    @property
    def absent(self) -> list[str]:
        """What no unit is, of what can be told of some layer: no unit is dead where no layer is rectified."""
        return [name for name, layers in self._judged.items() if layers and not any(layers.values())]

    @functools.cached_property
    def _judged(self) -> dict[str, dict[str, list[int]]]:
        """By what can be the matter, and by layer of which that can be told, the units that are so."""
        found: dict[str, dict[str, list[int]]] = {name: {} for name in (*MEANING, "noisy")}
        for each in self.shown:
            for name, units in faults(each.layer).items():
                found[name][str(each.layer.address)] = units.nonzero()[0].tolist()
        return found
