"""Which concepts the units of a layer detect, and how many units each: a histogram, and a ranking [METHODS 6.3].

>>> layer = Dissection.open("atlas")["conv5"]
>>> [(bar.concept.name, len(bar.units)) for bar in histogram(layer)]
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from convscope.concepts import Concept
from convscope.dissection import DissectedLayer, DissectedUnit
from convscope.dissection.section import CUT

ORDER = ("object", "scene", "part", "material", "texture", "colour")  # of categories in the figures of the paper


@dataclass(frozen=True)
class Bar:
    """A concept and the units that detect it.

    Args:
        units: their numbers, the one with the highest IoU first.
        iou: the highest of theirs.
    """

    concept: Concept
    units: tuple[int, ...]
    iou: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def histogram(layer: DissectedLayer, cut: float = CUT) -> tuple[Bar, ...]:
    """The concepts with an IoU above `cut` by category, in it those of most units first, of these the best IoU."""
    return tuple(sorted(ranking(layer, cut), key=lambda bar: ORDER.index(bar.concept.category)))


def ranking(layer: DissectedLayer, cut: float = CUT) -> tuple[Bar, ...]:
    """The same without regard to categories."""
    detecting: dict[Concept, list[DissectedUnit]] = defaultdict(list)
    for unit in sorted(layer, key=lambda unit: -unit.iou):
        if unit.label is not None and unit.iou > cut:
            detecting[unit.label].append(unit)
    bars = [
        Bar(concept, tuple(unit.address.index for unit in units), units[0].iou) for concept, units in detecting.items()
    ]
    return tuple(sorted(bars, key=lambda bar: (-len(bar.units), -bar.iou, bar.concept.number)))
