"""The basic name of a colour, one of eleven: by lightness, chroma and hue in Oklab.

The names are those of B. Berlin and P. Kay, "Basic Color Terms", 1969; Oklab is B. Ottosson, "A perceptual color space
for image processing", 2020: hues of one name lie on a straight line from grey there, which in CIELAB blue does not, and
turns purple. The limits were fitted by hand to the survey of R. Munroe, "Color Survey Results", 2010: of its 558 names
that end in a basic term ("warm pink"), the rule gives that term to 88 %. Network Dissection takes a table
by J. van de Weijer instead, which is not part of this package, so counts of colours differ from published ones.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.colours import COLOURS

_CONES = np.array([  # from linear sRGB
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_OKLAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
_HUES = ((15, "pink"), (35, "red"), (78, "orange"), (112, "yellow"), (176, "green"), (288, "blue"), (332, "purple"))
_STEP = 8  # of 256, as in the table that Network Dissection takes


def names_of_pixels(image: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The name of each pixel of an RGB image (..., 3), as an index of `COLOURS`; its colour to 5 bits a channel."""
    red, green, blue = np.moveaxis(image // _STEP, -1, 0).astype(np.intp)
    names: NDArray[np.intp] = _table()[(red * 32 + green) * 32 + blue]
    return names


def basic_names(rgb: NDArray[Any]) -> NDArray[np.intp]:
    """The name of each sRGB colour (..., 3), 0 to 255, as an index of `COLOURS`.

    In Oklab: below chroma 0.04, black up to lightness 0.33, white from 0.92, else grey; black, too, whatever has
    lightness below 0.2. All other colours by hue, in degrees: red from 15, orange from 35, yellow from 78, green from
    112, blue from 176, purple from 288, pink from 332. But brown is what is dark (lightness below 0.56), or dull and
    not light (chroma below 0.13, lightness below 0.8), from hue 35 to 108; light and pale reds (0.65, 0.19) and very
    light purples (0.85) are pink; and dark pinks (0.5) are red from hue 340, purple before.
    """
    light, chroma, hue = _cylinder(rgb)
    name = np.select([hue < end for end, _ in _HUES], [_index(each) for _, each in _HUES], _index("pink"))
    warm = (hue >= 35) & (hue < 108)
    name[warm & ((light < 0.56) | ((chroma < 0.13) & (light < 0.8)))] = _index("brown")
    name[(name == _index("red")) & (light > 0.65) & (chroma < 0.19)] = _index("pink")
    dark = (name == _index("pink")) & (light < 0.5)
    name[(name == _index("purple")) & (light > 0.85)] = _index("pink")
    name[dark] = np.where((hue >= 340) | (hue < 15), _index("red"), _index("purple"))[dark]
    name[chroma < 0.04] = _index("grey")
    name[(chroma < 0.04) & (light > 0.92)] = _index("white")
    name[((chroma < 0.04) & (light < 0.33)) | (light < 0.2)] = _index("black")
    return name


def _cylinder(rgb: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lightness 0 to 1, chroma and hue in degrees."""
    values = np.asarray(rgb, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light, a, b = np.moveaxis(np.cbrt(linear @ _CONES.T) @ _OKLAB.T, -1, 0)
    return light, np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def _index(name: str) -> int:
    return COLOURS.index(name)


@functools.cache
def _table() -> NDArray[np.intp]:
    """The name of each colour of 32 × 32 × 32, by the middle of its step."""
    levels = np.arange(0, 256, _STEP) + (_STEP - 1) / 2
    return basic_names(np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3))
