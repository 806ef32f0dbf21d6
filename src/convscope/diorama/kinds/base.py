"""What a kind of object is: a function from dice to named parts, in its own frame (x to the right, y up)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convscope.diorama.dice import Dice
from convscope.diorama.shapes import Polygon


@dataclass(frozen=True)
class Part:
    """A named part.

    Args:
        tone: which colour of the object it takes: ``body``, ``second``, ``trim``, ``dark``, ``glass`` or ``light``.
    """

    name: str
    tone: str
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Args:
        build: its parts from back to front.
        home: where it is found: ``ground``, ``air`` or ``water``.
        tilt: largest turn in radians.
        colours: basic names it is limited to, and then its surface is plain; empty for any.
    """

    name: str
    build: Callable[[Dice], list[Part]]
    home: str = "ground"
    tilt: float = 0.0
    colours: tuple[str, ...] = ()


def part(name: str, tone: str, *polygons: Polygon) -> Part:
    """A part of these polygons."""
    return Part(name, tone, polygons)
