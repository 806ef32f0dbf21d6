"""How a network was trained, and what its units detect: dropout, batch norm, seeds, width, iterations [METHODS 6.5].

>>> networks = [("trained", convscope.load("diorama:objects")), ("random", convscope.load("dioramanet"))]
>>> [(each.name, each.networks[0].detectors.counts.unique)
...  for each in conditions(networks, "diorama:objects/test", "conditions", limit=1000)]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.concepts import ConceptSet, open_concepts
from convscope.dissection import Dissection, dissect
from convscope.dissection.section import CUT
from convscope.network import Network
from convscope.recorder import record
from convscope.scanner.progress import Report
from convscope.studies.detectors import Detectors, check_comparable, count


@dataclass(frozen=True)
class Trained:
    """One network: its dissection, and the detectors of a layer of it."""

    dissection: Dissection
    detectors: Detectors

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        about = {"network": self.dissection.run["network"], "dissection": str(self.dissection.path)}
        return about | self.detectors.to_json()


@dataclass(frozen=True)
class Condition:
    """Networks that were trained in the same way, such as from several seeds."""

    name: str
    networks: tuple[Trained, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"condition": self.name, "networks": [each.to_json() for each in self.networks]}


def conditions(
    networks: Iterable[tuple[str, Network | Dissection]],
    concepts: ConceptSet | str | Path | None = None,
    folder: str | Path | None = None,
    *,
    layer: str | None = None,
    cut: float = CUT,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Condition, ...]:
    """Compare networks that were trained under different conditions, each dissected in the same way.

    Args:
        networks: the name of a condition and a network, or one that is dissected already; names may repeat.
        concepts: as in `convscope.dissect`; needed where a network is to be dissected.
        folder: each network has one of its own in it, and finished dissections there are taken as they are.
        layer: to compare; by default the last one that has maps.
        cut: the IoU above which a unit is a detector.
        limit, batch_size, progress: as in `convscope.dissect`.
        tell: called with what is dissected next.

    Raises:
        AtlasError: the dissections cannot be compared, or there is another one in a network's folder.
        ValueError: a network is to be dissected without `concepts` or `folder`.
    """
    chosen = open_concepts(concepts) if isinstance(concepts, str | Path) else concepts
    found: list[tuple[str, Dissection]] = []
    for name, each in networks:
        if isinstance(each, Network):
            if chosen is None or folder is None:
                raise ValueError(f"{name}: {each.name} is not dissected yet; give concepts and a folder")
            tell(f"{name}: {each.name}")
            layers = [layer or _last_map(each)]
            each = dissect(each, chosen, Path(folder) / _folder(each), layers=layers, limit=limit,
                           batch_size=batch_size, progress=progress)  # fmt: skip
        found.append((name, each))
        for note in check_comparable([found[0], found[-1]]):
            tell(note)
    counted = [(name, Trained(each, count(each, layer, cut))) for name, each in found]
    compared = dict.fromkeys(each.detectors.counts.layer for _, each in counted)
    if len(compared) > 1:
        tell(f"different layers are compared, {', '.join(compared)}, as each is the last that was dissected")
    names = dict.fromkeys(name for name, _ in counted)
    return tuple(Condition(name, tuple(each for other, each in counted if other == name)) for name in names)


def _folder(network: Network) -> str:
    """A name that is always that of the same weights."""
    return f"{re.sub(r'[^A-Za-z0-9.=,-]+', '-', network.name)}-{network.fingerprint[:8]}"


def _last_map(network: Network) -> str:
    """The last layer with rows and columns; all layers, of which none will do, where there is none."""
    layers = record(network.module, network.example()).layers()
    return next((str(each.address) for each in reversed([*layers]) if len(each.shape) == 3), "*")
