"""Small things that lie about: they are no class, but they are named, counted and asked for."""

from __future__ import annotations

import math

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.shapes import arc, box, ellipse, poly, rounded, smooth, tube


def ball(d: Dice) -> list[Part]:
    """A ball with a band."""
    return [
        part("body", "body", ellipse(0, 0.5, 0.5)),
        part("band", "second", smooth((-0.48, 0.6), (0, 0.72), (0.48, 0.6), (0.48, 0.36), (0, 0.46), (-0.48, 0.36))),
    ]


def book(d: Dice) -> list[Part]:
    """Two books on each other."""
    s = d(-0.1, 0.1)
    return [
        part("body", "body", box(-0.7, 0, 0.7, 0.26)),
        part("page", "light", box(0.6, 0.05, 0.72, 0.21)),
        part("body", "second", box(-0.56 + s, 0.27, 0.6 + s, 0.5)),
        part("page", "light", box(0.5 + s, 0.31, 0.62 + s, 0.46)),
    ]


def crate(d: Dice) -> list[Part]:
    """A crate of slats."""
    return [
        part("body", "body", box(-0.5, 0, 0.5, 0.9)),
        part(
            "slat",
            "second",
            box(-0.5, 0, 0.5, 0.14),
            box(-0.5, 0.76, 0.5, 0.9),
            tube([(-0.44, 0.14), (0.44, 0.76)], 0.13),
        ),
    ]


def bucket(d: Dice) -> list[Part]:
    """A bucket."""
    return [
        part("handle", "dark", tube([(-0.46, 0.74), (-0.2, 1.1), (0.2, 1.1), (0.46, 0.74)], 0.07)),
        part("body", "body", poly((-0.5, 0.8), (0.5, 0.8), (0.36, 0), (-0.36, 0))),
        part("rim", "second", rounded(-0.54, 0.7, 0.54, 0.84, 0.05)),
    ]


def bush(d: Dice) -> list[Part]:
    """A bush."""
    return [
        part(
            "leaf",
            "body",
            arc(-0.44, 0, 0.46, 0.52, 0, 180),
            arc(0.44, 0, 0.46, 0.56, 0, 180),
            arc(0, 0, 0.5, 0.84, 0, 180),
        ),
        part("leaf", "second", ellipse(-0.2, 0.56, 0.15, 0.1), ellipse(0.4, 0.34, 0.14, 0.1)),
    ]


def boulder(d: Dice) -> list[Part]:
    """A boulder."""
    return [
        part("body", "body", smooth((-0.7, 0), (-0.62, 0.36), (-0.2, d(0.5, 0.7)), (0.34, 0.5), (0.66, 0.2), (0.66, 0)))
    ]


def vase(d: Dice) -> list[Part]:
    """A vase."""
    return [
        part(
            "body",
            "body",
            smooth(
                (-0.2, 0), (-0.4, 0.4), (-0.12, 0.8), (-0.22, 1.04), (0.22, 1.04), (0.12, 0.8), (0.4, 0.4), (0.2, 0)
            ),
        ),
        part("band", "second", smooth((-0.37, 0.52), (0, 0.46), (0.37, 0.52), (0.39, 0.36), (0, 0.3), (-0.39, 0.36))),
    ]


def shell(d: Dice) -> list[Part]:
    """A scallop."""
    rim = [
        (0.62 * math.cos(a) * k, 0.12 + 0.62 * math.sin(a) * k)
        for a, k in ((0.25 + 0.44 * i, 1.0 if i % 2 == 0 else 0.9) for i in range(7))
    ]
    ribs = [tube([(0.0, 0.12), (0.9 * x, 0.12 + 0.9 * (y - 0.12))], 0.02, 0.06) for x, y in rim[::2]]
    return [
        part("hinge", "second", box(-0.2, 0, 0.2, 0.14)),
        part("body", "body", smooth((-0.08, 0.04), (0.08, 0.04), *rim)),
        part("rib", "second", *ribs),
    ]


CLUTTER = (
    Kind("ball", ball),
    Kind("book", book),
    Kind("crate", crate, colours=("brown", "orange", "yellow")),
    Kind("bucket", bucket),
    Kind("bush", bush, colours=("green",)),
    Kind("boulder", boulder, colours=("grey", "brown")),
    Kind("vase", vase),
    Kind("shell", shell, colours=("pink", "orange", "white")),
)
