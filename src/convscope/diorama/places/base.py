"""What a place is, and pieces that several places share. Coordinates are shares of the image, y down."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from convscope.diorama.colours import DAY, DUSK, GREY, MINT, MORNING, RGB, SUNSET, Light, mix
from convscope.diorama.dice import Dice
from convscope.diorama.shapes import Polygon, box, ellipse, poly, ridge
from convscope.diorama.stage import Stage

OUTDOORS = (DAY, DAY, MORNING, SUNSET, DUSK, GREY, MINT)


@dataclass(frozen=True)
class Room:
    """Where things can be in a place.

    Args:
        ground: heights at which things stand.
        air, water: heights between which flying and swimming things have their middle; None where there is none.
        bands: the colour behind things from each height downwards.
        clutter: small things that belong here.
    """

    ground: tuple[float, float]
    air: tuple[float, float] | None
    water: tuple[float, float] | None
    bands: tuple[tuple[float, RGB], ...]
    clutter: tuple[str, ...]

    def height_of(self, home: str) -> tuple[float, float] | None:
        """Where things of this home have their middle; None where they stand on the ground, or cannot be."""
        return {"air": self.air, "water": self.water}.get(home)

    def shows(self, home: str) -> bool:
        """Whether things of this home can be here."""
        return home == "ground" or self.height_of(home) is not None


@dataclass(frozen=True)
class Place:
    """A scene category."""

    name: str
    build: Callable[[Stage, Dice], Room]
    phrase: str
    lights: tuple[Light, ...] = OUTDOORS
    shuns: frozenset[str] = field(default_factory=frozenset)
    water: bool = False


def sky(stage: Stage, d: Dice, horizon: float, clouds: int = 3, sun: float = 0.6) -> None:
    """A sky with the sun or the moon on the side of the light, and clouds."""
    light = stage.light
    stage.fill("sky", light.top, light.low, box(0, 0, 1, horizon + 0.02))
    if d.chance(sun):
        x, y, r = 0.5 + stage.sun * d(0.2, 0.4), d(0.08, 0.3) * horizon / 0.5, d(0.035, 0.06)
        halo = mix(light.glow, mix(light.top, light.low, y / horizon), 0.62)
        stage.fill("sky", halo, halo, ellipse(x, y, r * 1.7), surface=0)
        stage.fill("sun", light.glow, light.glow, ellipse(x, y, r), surface=0)
    for _ in range(d.whole(0, clouds)):
        x, y, w = d(0.02, 0.98), d(0.05, 0.62) * horizon, d(0.06, 0.13)
        white = mix(light.tint, light.low, 0.25)
        parts = [
            ellipse(x, y, w, w * 0.26),
            ellipse(x - w * 0.3, y - w * 0.2, w * 0.42, w * 0.28),
            ellipse(x + w * 0.26, y - w * 0.16, w * 0.48, w * 0.32),
        ]
        stage.form("cloud", white, *parts, strength=8)


def line(d: Dice, y: float, rough: float, n: int = 9, peaks: float = 1.0) -> list[tuple[float, float]]:
    """A rolling line across the image around the height y."""
    phases = [(d(0.6, 1.6) * peaks, d(0, 6.28), 1.0), (d(1.8, 3.2) * peaks, d(0, 6.28), 0.45)]
    total = sum(weight for *_, weight in phases)
    return [
        (x, y - rough * sum(w * math.sin(6.28 * f * x + p) for f, p, w in phases) / total)
        for x in (i / (n - 1) for i in range(n))
    ]


def hills(
    stage: Stage, d: Dice, stuff: str, paint: RGB, y: float, rough: float, low: float = 1.0, under: RGB | None = None
) -> list[tuple[float, float]]:
    """A rolling surface from the height y downwards; gives its line."""
    edge = line(d, y, rough, 17)
    stage.fill(stuff, paint, under or paint, ridge(edge, low))
    return edge


def fir(x: float, y: float, h: float) -> list[Polygon]:
    """A fir of height h that stands at (x, y): its tiers."""
    w = h * 0.28
    return [
        poly((x - w * k, y - h * a), (x + w * k, y - h * a), (x, y - h * b))
        for a, b, k in ((0.1, 0.55, 1.0), (0.36, 0.78, 0.76), (0.6, 1.0, 0.52))
    ]


def tuft(d: Dice, x: float, y: float, r: float) -> Polygon:
    """A tuft of grass."""
    return poly(
        (x - r, y),
        (x - r * 1.1, y - r * d(0.8, 1.4)),
        (x - r * 0.3, y - r * 0.5),
        (x, y - r * d(1.3, 2)),
        (x + r * 0.3, y - r * 0.5),
        (x + r * 1.1, y - r * d(0.8, 1.4)),
        (x + r, y),
    )


def tufts(stage: Stage, d: Dice, paint: RGB, top: float, n: int) -> None:
    """Grass here and there on the ground."""
    spots = []
    for _ in range(n):
        y = d(top, 0.98)
        spots.append(tuft(d, d(0.02, 0.98), y, 0.008 + 0.012 * (y - top)))
    if spots:
        stage.form("grass", paint, *spots, strength=4)


def window(stage: Stage, x0: float, y0: float, x1: float, y1: float, frame: RGB, top: RGB, low: RGB) -> None:
    """A window of a room, with what one sees in it."""
    stage.form("casement", frame, box(x0 - 0.018, y0 - 0.018, x1 + 0.018, y1 + 0.018), strength=6)
    stage.fill("casement", top, low, box(x0, y0, x1, y1), surface=0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    stage.form("casement", frame, box(x - 0.007, y0, x + 0.007, y1), box(x0, y - 0.007, x1, y + 0.007), strength=4)
