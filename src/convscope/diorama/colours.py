"""Colours: the eleven basic names, hand-made paints for each, what goes with what, and the light of a time of day.

The eleven names are those of B. Berlin and P. Kay, "Basic Color Terms", 1969.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]


def rgb(text: str) -> RGB:
    """The colour ``rrggbb``."""
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """The colour that is `share` of the way from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def times(a: RGB, b: RGB) -> RGB:
    """Paint a in light b."""
    return a[0] * b[0] / 255, a[1] * b[1] / 255, a[2] * b[2] / 255


def paints(text: str) -> tuple[RGB, ...]:
    """The colours in a line of hexadecimal numbers."""
    return tuple(rgb(each) for each in text.split())


PAINTS = {
    "black": paints("2b2a33 33303a"),
    "blue": paints("2f6fc2 3b86d1 2b5aa0"),
    "brown": paints("8a5636 7a4a30 96633f"),
    "green": paints("3f9b57 5fae4b 2f8562"),
    "grey": paints("8d929b 7c828c a0a4a8"),
    "orange": paints("ee8130 f2913f e8742c"),
    "pink": paints("f08fb1 ee7fa0 f3a3bd"),
    "purple": paints("7b52a8 8d63b8 6a4796"),
    "red": paints("d23b3b c8323f dc4a3c"),
    "white": paints("f6f2e9 f1efec"),
    "yellow": paints("f3c73a f6d24f ecbc2f"),
}
COLOURS = tuple(PAINTS)

# What looks well beside what: a second and a third colour for every first.
COMPANIONS = {
    "black": ("yellow red", "white orange", "pink white", "grey blue"),
    "blue": ("white orange", "yellow white", "white red", "grey yellow", "pink white"),
    "brown": ("orange white", "yellow green", "white red", "blue yellow"),
    "green": ("yellow red", "white brown", "brown yellow", "orange white", "pink white"),
    "grey": ("blue white", "red white", "yellow black", "pink purple"),
    "orange": ("white blue", "brown yellow", "blue white", "yellow purple", "black white"),
    "pink": ("purple yellow", "white red", "white green", "red white", "blue white"),
    "purple": ("yellow white", "pink white", "orange yellow", "white green"),
    "red": ("white blue", "yellow black", "white yellow", "blue white", "brown white"),
    "white": ("red blue", "blue yellow", "green red", "pink purple", "orange brown", "grey red"),
    "yellow": ("red blue", "orange brown", "blue white", "white green", "purple white"),
}

# What is called by each name, for surfaces whose colour has no declared name.
_SHADES = {
    "black": "222128 101018 16183a",
    "blue": "3b78c8 8fc0e8 4a9ab8 6fb8c8 2a3a78 4f6f98 58c4cf 2fa09f c4e2f4 7f9cc0",
    "brown": "7d5234 a37a52 c09a70 6a4a3a 8a7050 c8a890 d8b8a0",
    "green": "4a9a55 8fb860 5a8a6a 3a6a4a a8b860 9cc4a0 2f6a5c 6a8050",
    "grey": "8b8f96 b4b7ba 6a6c72 a0a09a",
    "orange": "ee8536 f0a662 e89a5c d98a50",
    "pink": "ef93b2 f2bccb d99aa8",
    "purple": "7b55a8 5a4a8a 8a78a8 b09ac8 50406e 6a6496",
    "red": "cf3c3c a82f36 b5544a",
    "white": "f6f3ec e9e9e6 e6eef4 f4ead8 ecd8c4",
    "yellow": "f2c93f f4dd85 e6c96b d8bc5a ecd8a0",
}
_OWNERS = np.array([i for i, name in enumerate(COLOURS) for _ in _SHADES[name].split()])
_SHADE_TABLE = np.array([shade for name in COLOURS for shade in paints(_SHADES[name])], np.float64)


def names_of(colours: NDArray[np.float64]) -> NDArray[np.intp]:
    """The basic name, as an index of `COLOURS`, that is nearest to each of the colours (n, 3)."""
    a, b = colours[:, None], _SHADE_TABLE[None]
    mean = (a[..., 0] + b[..., 0]) / 2  # the "redmean" distance, close to what the eye sees
    delta = (a - b) ** 2
    far = (2 + mean / 256) * delta[..., 0] + 4 * delta[..., 1] + (2 + (255 - mean) / 256) * delta[..., 2]
    found: NDArray[np.intp] = _OWNERS[far.argmin(1)]
    return found


def distance(a: RGB, b: RGB) -> float:
    """How different two colours look, from 0 to about 765; lightness counts most."""
    light = abs((a[0] - b[0]) * 0.3 + (a[1] - b[1]) * 0.59 + (a[2] - b[2]) * 0.11)
    mean = (a[0] + b[0]) / 2
    red, green, blue = (a[0] - b[0]) ** 2, (a[1] - b[1]) ** 2, (a[2] - b[2]) ** 2
    return float(0.5 * ((2 + mean / 256) * red + 4 * green + (2 + (255 - mean) / 256) * blue) ** 0.5 + light)


@dataclass(frozen=True)
class Light:
    """The light of a time of day.

    Args:
        top, low: the sky at the zenith and above the horizon.
        tint: the colour of white paint in it.
        shadow: what shaded sides turn to.
        glow: the sun or the moon.
    """

    name: str
    top: RGB
    low: RGB
    tint: RGB
    shadow: RGB
    glow: RGB

    def lit(self, paint: RGB, share: float = 1.0) -> RGB:
        """A paint in this light; a smaller share leaves more of its own colour."""
        return mix(paint, times(paint, self.tint), share)

    def far(self, paint: RGB, share: float) -> RGB:
        """A paint seen through air."""
        return mix(self.lit(paint), self.low, share)


def _light(name: str, colours: str) -> Light:
    return Light(name, *paints(colours))


DAY = _light("day", "5fb0e6 d3edf7 fffdf6 3a4a86 fff3c0")
MORNING = _light("morning", "8fc7e2 fbe6c8 fff4e4 5a5590 fff6d8")
SUNSET = _light("sunset", "6c79b8 fbb98a ffe3c8 54407c ffe29a")
DUSK = _light("dusk", "47508f e79fa4 d9cbe4 2f2c62 ffd9b8")
GREY = _light("grey", "a3b6c4 dfe7ea eef2f5 46566e f3f5f5")
MINT = _light("mint", "7fcfc8 f1f3cf fffbe6 2f6a72 fff4b4")
NIGHT = _light("night", "141c46 3f4f8f a5b0e2 10123a fdf3cf")
LAMP = _light("lamp", "2b2440 5a4668 ffe6c0 4a3358 fff0c2")
