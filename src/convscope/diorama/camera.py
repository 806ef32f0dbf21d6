"""How a place is photographed: from nearer or farther, and as a print of many colours or of few.

Without it all images of a place would have one horizon and one palette, and a place would be known by its mean colours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from convscope.diorama.colours import RGB, mix, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places import Room
from convscope.diorama.stage import Item

Box = tuple[float, float, float, float]
NEAREST = 1.8  # how many times larger than life a place is shown at most
LOWEST = 0.86  # where the ground begins at most, so that things can stand on it
# What dark and bright paints fade to.
TONES = tuple(
    (rgb(a), rgb(b))
    for a, b in (
        ("2a2f55", "fbe6cf"),
        ("4a2c3c", "fdeedd"),
        ("1f4045", "eef3dd"),
        ("3f3350", "f3dfe6"),
        ("553a26", "f8e9c4"),
        ("26405c", "e2eef6"),
        ("38392f", "f2f0e6"),
    )
)


@dataclass(frozen=True)
class Window:
    """What is seen of a place.

    Args:
        zoom: 1 shows all of the place.
        x, y: the upper left corner of the window, in shares of the place.
    """

    zoom: float
    x: float
    y: float

    def height(self, y: float) -> float:
        """Where a height of the place is in the image."""
        return (y - self.y) * self.zoom

    def box(self, box: Box) -> Box:
        """Where a box of the place is in the image: x0, y0, x1, y1."""
        x0, y0, x1, y1 = box
        return (x0 - self.x) * self.zoom, self.height(y0), (x1 - self.x) * self.zoom, self.height(y1)

    def item(self, item: Item) -> Item:
        """A surface of the place as it lies in the image."""
        corner = np.array((self.x, self.y))
        a, b, c = item.slope
        return dataclasses.replace(
            item,
            polygons=tuple((each - corner) * self.zoom for each in item.polygons),
            slope=(a / self.zoom, b / self.zoom, c + a * self.x + b * self.y),
        )


WHOLE = Window(1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Camera(Window):
    """A window on the place, and the colours it is seen in.

    Args:
        tones: what paints fade to, and by which share.
    """

    tones: tuple[RGB, RGB]
    share: float

    @classmethod
    def drawn(cls, d: Dice, room: Room) -> Camera:
        """One that still shows ground to stand on."""
        zoom = NEAREST ** d(0.0, 1.0)
        hidden = 1 - 1 / zoom
        x, y = d(0.0, hidden), d(max(0.0, room.ground[0] - LOWEST / zoom), hidden)
        return cls(zoom, x, y, d.pick(TONES), max(0.0, d(-0.35, 0.75)))

    def paint(self, paint: RGB) -> RGB:
        """A paint of the place as it is seen."""
        lightness = (0.3 * paint[0] + 0.59 * paint[1] + 0.11 * paint[2]) / 255
        return mix(paint, mix(*self.tones, lightness), self.share)

    def item(self, item: Item) -> Item:
        """A surface of the place as it is seen."""
        seen = super().item(item)
        seen.dark, seen.middle, seen.bright = self.paint(item.dark), self.paint(item.middle), self.paint(item.bright)
        return seen

    def room(self, room: Room) -> Room:
        """Where things can be in the image."""
        top, low = (self.height(y) for y in room.ground)
        return dataclasses.replace(
            room,
            ground=(top, max(min(low, 0.97), top)),
            air=None if room.air is None else _within(*map(self.height, room.air)),
            water=None if room.water is None else _within(*map(self.height, room.water)),
            bands=tuple((self.height(y), self.paint(colour)) for y, colour in room.bands),
        )


def _within(top: float, low: float) -> tuple[float, float] | None:
    """A span of heights, as far as it lies in the image; None where too little of it does."""
    top, low = max(top, 0.08), min(low, 0.9)
    return (top, low) if low - top > 0.05 else None
