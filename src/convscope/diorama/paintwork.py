"""How a thing is painted: colours that go together and stand out, and the surface of its body."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.diorama.colours import COMPANIONS, PAINTS, RGB, Light, distance, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places import Room
from convscope.diorama.textures import MATERIALS, TEXTURES, field

CONTRAST = 118.0  # least difference of an object's colour from what is behind it, see `colours.distance`


def behind(room: Room, box: tuple[float, float, float, float]) -> list[RGB]:
    """The colours behind a box."""
    found = []
    for k, (y, colour) in enumerate(room.bands):
        end = room.bands[k + 1][0] if k + 1 < len(room.bands) else 1.0
        if min(end, box[3]) - max(y, box[1]) > 0.25 * (box[3] - box[1]):
            found.append(colour)
    return found or [room.bands[-1][1]]


def tones_of(
    light: Light, d: Dice, against: Sequence[RGB], colours: Sequence[str]
) -> tuple[dict[str, str], dict[str, RGB]]:
    """For each tone of a thing the basic name of its colour, and the paint in this light."""
    best, chosen = -1.0, ("red", PAINTS["red"][0])
    for _ in range(8):
        name = d.pick(colours)
        paint = d.pick(PAINTS[name])
        clear = min(distance(light.lit(paint, 0.5), colour) for colour in against)
        if clear > best:
            best, chosen = clear, (name, paint)
        if clear > CONTRAST:
            break
    name, paint = chosen
    second, trim = d.pick(COMPANIONS[name]).split()
    if d.chance(0.35):  # tone on tone
        second = name
    if d.chance(0.25):
        trim = second
    pale = "yellow" if name == "white" else "white"
    tones = {
        "body": paint,
        "second": d.pick(PAINTS[second]),
        "trim": d.pick(PAINTS[trim]),
        "dark": rgb("5d5a68" if name == "black" else "35323c"),
        "light": rgb("f6dfa0" if name == "white" else "f6f0e2"),
        "glass": rgb("a9d5ea"),
    }
    names = {
        "body": name,
        "second": second,
        "trim": trim,
        "dark": "grey" if name == "black" else "black",
        "light": pale,
        "glass": "blue",
    }
    return names, {tone: light.lit(each, 0.5) for tone, each in tones.items()}


def finish(d: Dice) -> tuple[int, str, str]:
    """The surface of a thing's body: field, material, texture. A third is plain."""
    roll = d.whole(0, 2)
    if roll == 0:
        return 1, "", ""
    name = d.pick(MATERIALS if roll == 1 else TEXTURES)
    return (field(name), name, "") if roll == 1 else (field(name), "", name)
