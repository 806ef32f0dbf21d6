"""What units detect, as the pages ask for it: the dissection in an atlas, where there is one."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.atlas import Atlas
from convscope.concepts import Concept
from convscope.dissection import DissectedLayer, Dissection
from convscope.dissection.section import SECTION
from convscope.errors import AtlasError
from convscope.images.base import source


@dataclass(frozen=True, eq=False)
class Dissected:
    """The dissection of an atlas.

    Args:
        layers: those that the atlas has, too, by address.
    """

    found: Dissection
    layers: Mapping[str, DissectedLayer]

    @classmethod
    def of(cls, atlas: Atlas) -> Dissected | None:
        """That of `atlas`; None where it has none.

        Raises:
            AtlasError: it is damaged, or of a network with other weights.
        """
        if not (atlas.path / SECTION.folder).is_dir():
            return None
        found = Dissection.open(atlas.path)
        if found.run["job"]["network"] != atlas.run["job"]["network"]:
            raise AtlasError(
                f"{found.path}: dissected was {found.run['network']} with other weights or preprocessing than those of "
                "the atlas; delete the folder and dissect again"
            )
        known = {str(layer.address) for layer in atlas.layers}
        return cls(found, {each.address: each for each in found.layers if each.address in known})

    @functools.cached_property
    def labels(self) -> dict[str, NDArray[np.int64]]:
        """Of each layer the concept (units,) that each unit detects, by its number; 0 where none is above the cut."""
        return {address: layer.labels() for address, layer in self.layers.items()}

    def concept(self, number: int) -> Concept:
        """A concept by its number."""
        return self.found.concepts[number - 1].concept

    @property
    def images(self) -> str:
        """The images with labels by their name; see `source`."""
        ways, spec = re.findall(r"^((?:colours:|shuffled:\d+:)*)(.*)", str(self.found.run["job"]["concepts"]))[0]
        return str(ways) + source(spec)

    @property
    def run(self) -> Mapping[str, Any]:
        """What the dissection says of itself."""
        return self.found.run

    def label(self, address: str, unit: int) -> Concept | None:
        """What a unit detects; None where it detects nothing, or its layer was not dissected."""
        number = int(self.labels[address][unit]) if address in self.labels else 0
        return self.concept(number) if number else None


def ratio(value: float) -> str:
    """An IoU as it is written: two decimals, and three below 0.1."""
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"
