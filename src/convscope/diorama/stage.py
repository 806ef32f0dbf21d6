"""What is drawn, before it is drawn: polygons from back to front, each with its paint and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from convscope.diorama.colours import RGB, Light, mix
from convscope.diorama.shapes import Polygon

LEVELS = 64  # shades of a paint, from its shadow to its light


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class Item:
    """Polygons of one paint and one meaning. Coordinates are shares of the image, y down.

    Args:
        dark, middle, bright: the paint in shadow, as it is, and in light.
        slope: level = slope[0]·x + slope[1]·y + slope[2].
        surface: index of a field of `textures`.
        stuff: name of the place's surface or of the object's kind.
        part, material, texture: names, or empty.
        colour: a basic name, or empty where it is to be read from the paint.
        cast: whether it is only the shadow of a thing.
        edge: whether it has a line around, which is the item before it.
    """

    polygons: tuple[Polygon, ...]
    dark: RGB
    middle: RGB
    bright: RGB
    slope: tuple[float, float, float]
    surface: int
    stuff: str = ""
    part: str = ""
    material: str = ""
    texture: str = ""
    colour: str = ""
    cast: bool = False
    edge: bool = False


@dataclass
class Stage:
    """Takes items from back to front. `sun` is the side that light comes from: -1 left, 1 right."""

    light: Light
    sun: float
    items: list[Item] = field(default_factory=list)

    def fill(self, stuff: str, top: RGB, low: RGB | None, *polygons: Polygon, surface: int = 1) -> None:
        """A surface of the place, whose colour runs from `top` at its upper end to `low` at its lower."""
        low = top if low is None else low
        y0 = min(float(each[:, 1].min()) for each in polygons)
        y1 = max(float(each[:, 1].max()) for each in polygons)
        rise = (LEVELS - 1) / max(y1 - y0, 1e-6)
        if top != low:
            ramp, slope = (top, mix(top, low, 0.5), low), (0.0, rise, -rise * y0)
        else:
            ramp, slope = (
                (mix(top, self.light.shadow, 0.3), top, mix(top, (255, 255, 255), 0.3)),
                (0.0, 0.0, LEVELS / 2),
            )
        self.items.append(Item(polygons, *ramp, slope, surface, stuff=stuff))

    def form(self, stuff: str, paint: RGB, *polygons: Polygon, surface: int = 1, strength: float = 16.0) -> None:
        """A thing of the place, shaded as the light falls."""
        self.items.append(Item(polygons, *self.shades(paint), self.slope(polygons, strength), surface, stuff=stuff))

    def shades(self, paint: RGB) -> tuple[RGB, RGB, RGB]:
        """A paint in shadow, as it is, and in light."""
        dark = mix((paint[0] * 0.62, paint[1] * 0.6, paint[2] * 0.66), self.light.shadow, 0.22)
        return dark, paint, mix(paint, (255, 252, 236), 0.42)

    def slope(self, polygons: Sequence[Polygon], strength: float) -> tuple[float, float, float]:
        """The levels over the box of these polygons: bright towards the light, which comes from above at one side."""
        points = polygons[0] if len(polygons) == 1 else np.concatenate(polygons)
        x0, y0 = points.min(0).tolist()
        x1, y1 = points.max(0).tolist()
        radius = max(x1 - x0, y1 - y0, 1e-6) / 2
        ax, ay = self.sun * 0.55 * strength / radius, -0.8 * strength / radius
        return ax, ay, LEVELS / 2 - ax * (x0 + x1) / 2 - ay * (y0 + y1) / 2
