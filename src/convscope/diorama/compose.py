"""What stands where: from the number of an image to its place, its things and all their polygons.

All numbers here are shares of the image, so that an image is the same picture at any size.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.camera import WHOLE, Camera, Window
from convscope.diorama.colours import COLOURS, RGB, Light, mix, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.kinds import CLUTTER, NOVEL, TRAINED, Kind
from convscope.diorama.paintwork import behind, finish, tones_of
from convscope.diorama.places import PLACES, Place, Room
from convscope.diorama.shapes import Polygon, ellipse, moved
from convscope.diorama.stage import Item, Stage

INKS = tuple(
    (rgb(a), rgb(b))
    for a, b in (
        ("1f2f5c", "f6efdd"),
        ("3a1f2e", "f9e6d6"),
        ("123f3a", "eef2dc"),
        ("4a2413", "fbedc8"),
        ("22232b", "f3f3f0"),
    )
)
CLUTTER_OF = {kind.name: kind for kind in CLUTTER}


@dataclass(frozen=True)
class Actor:
    """A thing as it is to be drawn.

    Args:
        box: x0, y0, x1, y1.
        base: where it stands; things that stand lower are nearer.
        axes: what is ahead of it, to the right in its own frame, and what is above it, as steps (x, y) in the image.
    """

    kind: Kind
    items: tuple[Item, ...]
    box: tuple[float, float, float, float]
    base: float
    main: bool
    axes: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """An image before it is drawn.

    Args:
        items: from back to front.
        owners: for each item the place of its thing in `actors`, or -1 where it belongs to the place.
        grain: where the grain of the picture starts, and which strength it has.
        kind: of the main object; empty where there is none.
        room: where things can be in the image.
        view: what the image shows of the place.
        patterns: for each item zoom, x and y of the window its pattern is seen through; None: all lie on the image.
    """

    place: Place
    light: Light
    items: tuple[Item, ...]
    owners: tuple[int, ...]
    actors: tuple[Actor, ...]
    grain: tuple[int, int, int]
    kind: str
    room: Room
    view: Window
    patterns: NDArray[np.float64] | None = None


def plan(label_set: str, split: str, seed: int, index: int, without: Sequence[int] = ()) -> Plan:
    """The plan of an image; `without` leaves out things by their number."""
    d = Dice("diorama", label_set, split, seed, index)
    kinds = NOVEL if split == "novel" else TRAINED
    rank = class_of(label_set, split, seed, index)
    place = d.pick(HABITATS[kinds[rank].name]) if label_set == "objects" else PLACES[rank]
    light = d.pick(place.lights)
    stage = Stage(light, d.sign())
    room = place.build(stage, d)
    view: Window = WHOLE
    if label_set == "scenes":
        view = camera = Camera.drawn(d, room)
        stage.items = [camera.item(item) for item in stage.items]
        room = camera.room(room)
    actors: list[Actor] = []
    if label_set == "objects":
        actors.append(_main(stage, room, d, kinds[rank]))
    else:
        fitting = [each for each in kinds if fits(each, place) and room.shows(each.home)]
        for _ in range(d.whole(1, 3)):
            kind = d.pick(fitting)
            actors += _free(stage, room, d, kind, (0.09, 0.16), actors)
    for _ in range(d.whole(0, 6)):
        actors += _free(stage, room, d, CLUTTER_OF[d.pick(room.clutter)], (0.035, 0.1), actors)
    if label_set == "objects" and d.chance(0.5) and actors[0].base >= room.ground[0] - 0.03:
        actors.append(_before(stage, room, d, actors[0]))
    order = sorted(range(len(actors)), key=lambda k: actors[k].base)
    cast = tuple(actors[k] for k in order)
    items, owners = list(stage.items), [-1] * len(stage.items)
    shown = [(number, item) for number, actor in enumerate(cast) if number not in without for item in actor.items]
    for casts in (True, False):  # shadows lie on the ground, and not on things
        items += [item for _, item in shown if item.cast == casts]
        owners += [number for number, item in shown if item.cast == casts]
    if split == "style":
        ink, paper = d.pick(INKS)
        items = [_print(item, ink, paper) for item in items]
    kind_name = kinds[rank].name if label_set == "objects" else ""
    grain = (d.whole(0, 63), d.whole(0, 63), d.whole(0, 3))
    return Plan(place, light, tuple(items), tuple(owners), cast, grain, kind_name, room, view)


def fits(kind: Kind, place: Place) -> bool:
    """Whether a thing of this kind can be in a place."""
    return kind.name not in place.shuns and (kind.home != "water" or place.water)


# Where a kind is drawn from. Water counts three times for those that need none: else it would tell of fish and boats.
HABITATS = {
    kind.name: [
        place for place in PLACES for _ in range(3 if place.water and kind.home != "water" else 1) if fits(kind, place)
    ]
    for kind in (*TRAINED, *NOVEL)
}


def class_of(label_set: str, split: str, seed: int, index: int) -> int:
    """The class index of an image: every run of as many images as there are classes holds each once, in mixed order."""
    count = len(PLACES) if label_set == "scenes" else len(NOVEL if split == "novel" else TRAINED)
    return _order(label_set, split, seed, index // count, count)[index % count]


@functools.lru_cache(maxsize=1024)
def _order(label_set: str, split: str, seed: int, block: int, count: int) -> tuple[int, ...]:
    d = Dice("classes", label_set, split, seed, block)
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = d.whole(0, last)
        order[last], order[other] = order[other], order[last]
    return tuple(order)


def _print(item: Item, ink: RGB, paper: RGB) -> Item:
    """The item as a print in one ink: hard shades, and colours that only differ in lightness."""
    shades = []
    for paint in (item.dark, item.middle, item.bright):
        lightness = (0.3 * paint[0] + 0.59 * paint[1] + 0.11 * paint[2]) / 255
        shades.append(mix(ink, paper, min(max(round((1.25 * lightness - 0.12) * 6) / 6, 0.0), 1.0)))
    return dataclasses.replace(item, dark=shades[0], middle=shades[1], bright=shades[2], colour="")


def _main(stage: Stage, room: Room, d: Dice, kind: Kind) -> Actor:
    """The main object: half are kept off the middle of the image, and most of the others are there by chance."""
    outside = d.chance(0.5)
    half = d(0.12, 0.25)
    body = _Body(kind, d, half)
    spot = body.spot(room, d)
    for _ in range(40):
        x0, y0, x1, y1 = body.box(*spot)
        if not (outside and x0 - 0.01 < 0.5 < x1 + 0.01 and y0 - 0.01 < 0.5 < y1 + 0.01):
            break
        spot = body.spot(room, d)
    else:
        x0, _, x1, _ = body.box(*spot)
        spot = (0.5 + d.sign() * ((x1 - x0) / 2 + 0.02), spot[1])
    return body.actor(stage, room, d, *spot, main=True)


def _free(
    stage: Stage, room: Room, d: Dice, kind: Kind, sizes: tuple[float, float], others: Sequence[Actor]
) -> list[Actor]:
    """A thing where it hides little of the others; none where there is no room for it."""
    body = _Body(kind, d, d(*sizes))
    for _ in range(12):
        spot = body.spot(room, d)
        if not any(_overlap(body.box(*spot), other.box) > 0.15 for other in others):
            return [body.actor(stage, room, d, *spot)]
    return []


def _before(stage: Stage, room: Room, d: Dice, main: Actor) -> Actor:
    """A small thing that stands before the main object and hides a part of it."""
    x0, y0, x1, y1 = main.box
    largest = 0.3 * min(x1 - x0, y1 - y0)
    body = _Body(CLUTTER_OF[d.pick(room.clutter)], d, min(d(0.045, 0.08), largest))
    x = x0 + (x1 - x0) * d(0.05, 0.95)
    return body.actor(stage, room, d, min(max(x, 0.06), 0.94), min(y1 + d(0.01, 0.03), 0.985))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The share of the smaller box that lies in the other."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    small = min((each[2] - each[0]) * (each[3] - each[1]) for each in (a, b))
    return max(w, 0) * max(h, 0) / small


class _Body:
    """The parts of a thing, put in its box: x from -w to w, y from -2h (top) to 0 (where it stands)."""

    def __init__(self, kind: Kind, d: Dice, half: float) -> None:
        self.kind = kind
        parts = kind.build(d)
        turn = d(-kind.tilt, kind.tilt)
        c, s = math.cos(turn), math.sin(turn)
        way = d.sign()
        loose = 0.0 if kind in CLUTTER else 1.0  # balls are round
        wide, lean = math.exp(loose * d(-0.28, 0.28)), loose * d(-0.18, 0.18)
        self.axes = frame = np.array(((way * c * wide, -s), (lean - way * s * wide, -c)))
        everything = np.concatenate([each for part in parts for each in part.polygons]) @ frame
        low, high = everything.min(0), everything.max(0)
        scale = 2 * half / float((high - low).max())
        foot = np.array(((low[0] + high[0]) / 2, high[1]))
        self.parts = [(part, tuple((each @ frame - foot) * scale for each in part.polygons)) for part in parts]
        self.w, self.h = float(high[0] - low[0]) * scale / 2, float(high[1] - low[1]) * scale / 2

    def box(self, x: float, base: float) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 when it stands at (x, base)."""
        return x - self.w, base - 2 * self.h, x + self.w, base

    def spot(self, room: Room, d: Dice) -> tuple[float, float]:
        """Where it can stand, fly or swim."""
        x = d(self.w + 0.015, 0.985 - self.w)
        home = room.height_of(self.kind.home)
        if home is None:
            return x, max(d(*room.ground), 2 * self.h + 0.02)
        if self.kind.home == "water":  # not lower than the shore
            return x, max(min(d(*home) + self.h, home[1] + 0.03), 2 * self.h + 0.02)
        return x, min(max(d(*home) + self.h, 2 * self.h + 0.02), 0.97)

    def actor(self, stage: Stage, room: Room, d: Dice, x: float, base: float, main: bool = False) -> Actor:
        """The thing at this spot, in colours that stand out from what is behind it."""
        box = self.box(x, base)
        names, tones = tones_of(stage.light, d, behind(room, box), self.kind.colours or COLOURS)
        pattern, material, texture = (1, "", "") if self.kind.colours else finish(d)
        items = [] if self.kind.home != "ground" else [self._shadow(stage, room, x, base)]
        for part, polygons in self.parts:
            placed = tuple(moved(each, x, base) for each in polygons)
            shades = stage.shades(tones[part.tone])
            line = mix(shades[0], stage.light.shadow, 0.45)
            surface, of, has = (1, "", "") if part.tone != "body" else (pattern, material, texture)
            labels = (self.kind.name, part.name, of, has, names[part.tone])
            edge = Item((), line, line, line, (0.0, 0.0, 32.0), 0, *labels, edge=True)
            body = Item(placed, *shades, stage.slope(placed, 15.0), surface, *labels, edge=True)
            items += [edge, body]
        return Actor(self.kind, tuple(items), box, base, main, self.axes)

    def _shadow(self, stage: Stage, room: Room, x: float, base: float) -> Item:
        ground = room.bands[-1][1]
        dark = mix(mix(ground, stage.light.shadow, 0.34), (0, 0, 0), 0.06)
        reach = min(self.h, self.w * 1.4)
        shape: Polygon = ellipse(
            x - stage.sun * reach * 0.22, base - 0.002, self.w * 0.92 + reach * 0.16, 0.012 + self.w * 0.07
        )
        return Item((shape,), dark, dark, dark, (0.0, 0.0, 32.0), 0, stuff="shadow", cast=True)
