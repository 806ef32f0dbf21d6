"""How a class is found in an image: which map is made of it, and which boxes are made of that map.

================  ======================================================================================================
``largest``       20 % of the map's maximum, largest component: a box for each of the five best classes [METHODS 8.5]
``released``      the loose box of CAM's released generator, for each of the five best classes
``heuristics``    of the released generator's boxes two of the best class, two of the second, one of the third [8.6]
``graphcut``      a colour segmentation from the map's extremes: a box for each of the five best classes [8.7]
================  ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convscope.attribution import Attribution, registered
from convscope.errors import AttributionError, nearest
from convscope.localization.boxes import Boxes, BoxProtocol, LargestComponent, Released
from convscope.localization.graphcut import GraphCut
from convscope.network import Network

TOP = 5  # predictions of an image
Pairs = list[tuple[int, Boxes]]  # rank of the class, and a box (4,)


def one_each(boxes: Sequence[Boxes]) -> Pairs:
    """The first box of each class, from the boxes (k, 4) of the best classes, best first."""
    return [(rank, each[0]) for rank, each in enumerate(boxes[:TOP])]


def two_two_one(boxes: Sequence[Boxes]) -> Pairs:
    """Two boxes of the best class, two of the second and one of the third; a class that has only one gives it twice."""
    return [(rank, each[min(place, len(each) - 1)]) for rank, each in enumerate(boxes) for place in (0, 1)][:TOP]


@dataclass(frozen=True)
class Protocol:
    """From the maps of the best classes to at most `TOP` predictions.

    Args:
        select: which of the boxes are predicted.
    """

    boxes: BoxProtocol
    select: Callable[[Sequence[Boxes]], Pairs] = one_each


PROTOCOLS = {
    "largest": Protocol(LargestComponent()),
    "released": Protocol(Released()),
    "heuristics": Protocol(Released(), two_two_one),
    "graphcut": Protocol(GraphCut()),
}


@dataclass(frozen=True)
class Centre:
    """What asks neither the network nor the image: a pyramid over the image, whose level sets are centred boxes.

    ``largest`` makes of it the box of half the height and half the width; the sweep over thresholds, the best centred
    box there is.
    """

    name = "centre"

    def maps(self, images: Tensor) -> Tensor:
        """(n, h, w): 1 in the middle, 0.2 where the centred box of half the sides ends, and falling evenly."""
        rows, columns = (
            ((torch.arange(side, dtype=torch.float64) + 0.5) * 2 / side - 1).abs() for side in images.shape[2:]
        )
        away = torch.maximum(rows[:, None], columns)  # 0.5 at the rim of that box
        return (1 - 1.6 * away).expand(len(images), -1, -1)


@dataclass(frozen=True)
class Localizer:
    """A method that makes maps, and a protocol that makes boxes of them."""

    method: Attribution | Centre
    protocol: str = "largest"
    made: Protocol = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            hint = nearest(self.protocol, PROTOCOLS)
            raise AttributionError(
                f"there is no protocol {self.protocol!r}{hint}; the protocols are {', '.join(PROTOCOLS)}"
            )
        object.__setattr__(self, "made", PROTOCOLS[self.protocol])

    @property
    def name(self) -> str:
        """As it is written: METHOD/PROTOCOL."""
        return f"{self.method.name}/{self.protocol}"


def parse(text: str, protocol: str = "largest") -> Localizer:
    """What ``METHOD`` or ``METHOD/PROTOCOL`` names; `protocol` where none is named.

    Raises:
        AttributionError: there is no such method, or no such protocol.
    """
    name, slash, named = text.partition("/")
    methods: dict[str, type[Attribution] | type[Centre]] = {**registered(), Centre.name: Centre}
    if name not in methods:
        raise AttributionError(
            f"there is no method {name!r}{nearest(name, methods)}; the methods are {', '.join(methods)}"
        )
    return Localizer(methods[name](), named if slash else protocol)


def maps_of(method: Attribution | Centre, network: Network, images: Tensor, classes: Sequence[int]) -> Tensor:
    """The map of one class of each of the images (n, c, h, w), in their pixels (n, h, w), on the CPU.

    A map of several channels gives the largest magnitude among them, as `Saliency` does.
    """
    if isinstance(method, Centre):
        return method.maps(images)
    found = method(network, images, list(classes))
    return found.on_image() if found.values.shape[1] == 1 else found.values.abs().amax(1)
