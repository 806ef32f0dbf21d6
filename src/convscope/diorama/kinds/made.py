"""Buildings and things of a household."""

from __future__ import annotations

import math

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.shapes import (
    Polygon,
    arc,
    bend,
    box,
    ellipse,
    moved,
    poly,
    ring,
    rounded,
    smooth,
    tube,
    turned,
)


def pane(x0: float, y0: float, x1: float, y1: float) -> list[Part]:
    """A window with its frame and cross."""
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    cross = [box(x - 0.02, y0, x + 0.02, y1), box(x0, y - 0.02, x1, y + 0.02)]
    return [
        part("window", "light", box(x0 - 0.04, y0 - 0.04, x1 + 0.04, y1 + 0.04)),
        part("window", "glass", box(x0, y0, x1, y1)),
        part("window", "light", *cross),
    ]


def house(d: Dice) -> list[Part]:
    """A house with a gable."""
    w, h, peak = d(0.72, 0.86), d(0.74, 0.9), d(0.54, 0.74)
    side = d.sign()
    cx = side * w * 0.5
    chimney = box(cx - 0.1, h + 0.1, cx + 0.1, h + peak * 0.94)
    door = rounded(-side * w * 0.5 - 0.16, 0.0, -side * w * 0.5 + 0.16, 0.56, 0.05)
    return [
        part("chimney", "trim", chimney),
        part("wall", "body", poly((-w, 0), (w, 0), (w, h), (0, h + peak * 0.8), (-w, h))),
        part(
            "roof",
            "second",
            poly(
                (-w - 0.16, h - 0.06),
                (0, h + peak),
                (w + 0.16, h - 0.06),
                (w + 0.06, h - 0.16),
                (0, h + peak - 0.22),
                (-w - 0.06, h - 0.16),
            ),
        ),
        part("door", "trim", door),
        part("handle", "light", ellipse(-side * w * 0.5 + 0.09, 0.26, 0.035)),
        *pane(side * w * 0.44 - 0.19, 0.26, side * w * 0.44 + 0.19, 0.6),
        part("window", "glass", ellipse(0, h + peak * 0.3, 0.12)),
    ]


def windmill(d: Dice) -> list[Part]:
    """A tower mill with four sails."""
    h, angle, long = d(1.1, 1.26), d(0.0, 1.57), d(0.72, 0.84)
    tower = poly((-0.42, 0.0), (0.42, 0.0), (0.27, h), (-0.27, h))
    sails = [
        moved(turned(poly((0.03, 0.1), (0.24, 0.16), (0.24, long), (0.03, long)), angle + k * math.pi / 2), 0, h)
        for k in range(4)
    ]
    beams = [moved(turned(box(-0.035, 0, 0.035, long + 0.03), angle + k * math.pi / 2), 0, h) for k in range(4)]
    return [
        part("wall", "body", tower),
        part(
            "roof",
            "second",
            smooth((-0.34, h - 0.02), (-0.2, h + 0.24), (0, h + 0.34), (0.2, h + 0.24), (0.34, h - 0.02)),
        ),
        part("door", "trim", rounded(-0.13, 0.0, 0.13, 0.4, 0.1)),
        part("window", "glass", ellipse(0, h * 0.56, 0.09, 0.11)),
        part("sail", "second", *sails),
        part("sail", "trim", *beams),
        part("hub", "light", ellipse(0, h, 0.09)),
    ]


def chair(d: Dice) -> list[Part]:
    """A chair, from the front or from the side."""
    y, top, w = d(0.66, 0.76), d(1.5, 1.74), d(0.42, 0.48)
    slats = [box(-w + 0.1 + k * 0.5 * (w - 0.1), y, -w + 0.1 + k * 0.5 * (w - 0.1) + 0.09, top - 0.1) for k in range(4)]
    style = d.chance(0.5)
    back = [rounded(-w, y + 0.24, w, top, 0.12)] if style else [*slats, box(-w, top - 0.2, w, top)]
    posts = [tube([(s * (w - 0.03), y), (s * w, top - 0.04)], 0.1) for s in (-1, 1)]
    if d.chance(0.4):  # from the side
        lean, board = d(0.05, 0.3), rounded(-w - 0.06, y - 0.1, w + 0.1, y + 0.04, 0.05)
        rest = tube([(-w, y), (-w - lean * 0.4, y + 0.5), (-w - lean, top)], 0.13, 0.1)
        return [
            part("back", "body", rest),
            part("leg", "second", *[tube([(s * (w - 0.14), y), (s * (w - 0.1), 0.06)], 0.09, 0.07) for s in (-1, 1)]),
            part("leg", "body", *[tube([(s * w, y - 0.04), (s * (w + 0.08), 0.0)], 0.11, 0.09) for s in (-1, 1)]),
            part("seat", "body", board),
            part("cushion", "second", rounded(-w + 0.02, y + 0.03, w + 0.06, y + 0.16, 0.06)),
        ]
    return [
        part("leg", "second", *[tube([(s * (w - 0.08), y), (s * (w - 0.08), 0.14)], 0.09, 0.07) for s in (-1, 1)]),
        part("back", "body", *posts, *back),
        part("leg", "body", *[tube([(s * w * 1.1, y - 0.1), (s * w * 1.2, 0.0)], 0.12, 0.09) for s in (-1, 1)]),
        part("seat", "second", poly((-w, y + 0.1), (w, y + 0.1), (w * 1.26, y - 0.1), (-w * 1.26, y - 0.1))),
        part("seat", "body", box(-w * 1.26, y - 0.2, w * 1.26, y - 0.09)),
    ]


def lamp(d: Dice) -> list[Part]:
    """A table lamp."""
    top, w, v = d(1.5, 1.72), d(0.52, 0.64), d(0.24, 0.36)
    shade = poly((-v, top), (v, top), (w, top - 0.68), (-w, top - 0.68))
    foot = (
        smooth((-0.1, 0.1), (-0.26, 0.34), (-0.09, 0.66), (0.09, 0.66), (0.26, 0.34), (0.1, 0.1))
        if d.chance(0.5)
        else box(-0.06, 0.1, 0.06, 0.8)
    )
    return [
        part("stand", "dark", box(-0.04, 0.5, 0.04, top - 0.6)),
        part("base", "second", smooth((-0.4, 0.0), (-0.3, 0.12), (0.3, 0.12), (0.4, 0.0), (0.0, -0.02))),
        part("stand", "second", foot),
        part(
            "switch",
            "dark",
            tube([(w * 0.6, top - 0.66), (w * 0.6, top - 0.96)], 0.03),
            ellipse(w * 0.6, top - 0.98, 0.045),
        ),
        part("shade", "body", shade),
        part("shade", "trim", poly((-w + 0.04, top - 0.58), (w - 0.04, top - 0.58), (w, top - 0.68), (-w, top - 0.68))),
    ]


def teapot(d: Dice) -> list[Part]:
    """A teapot."""
    h, w = d(0.68, 0.8), d(0.56, 0.64)
    body = smooth(
        (-w, h * 0.5),
        (-w * 0.8, h * 0.88),
        (-0.2, h + 0.04),
        (0.2, h + 0.04),
        (w * 0.8, h * 0.88),
        (w, h * 0.5),
        (w * 0.7, 0.08),
        (0.3, 0),
        (-0.3, 0),
        (-w * 0.7, 0.08),
    )
    spout = smooth(
        (w - 0.14, h * 0.56),
        (w + 0.16, h * 0.56),
        (w + 0.26, h * 0.94),
        (w + 0.48, h + 0.04),
        (w + 0.42, h * 0.78),
        (w + 0.26, h * 0.28),
        (w - 0.14, h * 0.18),
    )
    handle = tube(
        [(-w + 0.12, h * 0.82), (-w - 0.2, h * 0.9), (-w - 0.4, h * 0.64), (-w - 0.3, h * 0.32), (-w + 0.1, h * 0.24)],
        0.13,
        0.11,
    )
    lid = arc(0, h * 0.98, 0.32, 0.2, 0, 180)
    return [
        part("handle", "second", handle),
        part("spout", "body", spout),
        part("lid", "second", lid),
        part("lid", "trim", ellipse(0, h + 0.25, 0.09)),
        part("body", "body", body),
        part(
            "band",
            "trim",
            smooth(
                (-w, h * 0.6), (0, h * 0.5), (w, h * 0.6), (w * 0.98, h * 0.42), (0, h * 0.3), (-w * 0.98, h * 0.42)
            ),
        ),
    ]


def umbrella(d: Dice) -> list[Part]:
    """An open umbrella."""
    y, top, w = d(0.96, 1.1), d(0.66, 0.8), d(0.9, 1.0)

    def gore(a: float, b: float) -> Polygon:
        return smooth(
            (a * w, y),
            (a * w * 0.8, y + top * 0.56),
            (0, y + top),
            (b * w * 0.8, y + top * 0.56),
            (b * w, y),
            ((a + b) / 2 * w, y + 0.1),
        )

    hook = tube([(0, y + top), (0, 0.16), (0.05, 0.04), (0.16, 0.0), (0.26, 0.06), (0.28, 0.18)], 0.075)
    return [
        part("handle", "dark", hook),
        part("canopy", "body", gore(-1, 1)),
        part("canopy", "second", gore(-0.62, -0.14), gore(0.2, 0.66)),
        part("tip", "trim", tube([(0, y + top - 0.06), (0, y + top + 0.13)], 0.07, 0.03)),
    ]


def guitar(d: Dice) -> list[Part]:
    """A guitar that stands upright."""
    w, h = d(0.54, 0.62), d(0.9, 1.0)
    body = smooth(
        (-w * 0.6, 0.02),
        (-w, h * 0.28),
        (-w * 0.62, h * 0.6),
        (-w * 0.74, h * 0.84),
        (-0.18, h + 0.04),
        (0.18, h + 0.04),
        (w * 0.74, h * 0.84),
        (w * 0.62, h * 0.6),
        (w, h * 0.28),
        (w * 0.6, 0.02),
        (0, -0.02),
    )
    pegs = [ellipse(s * 0.15, y, 0.045) for s in (-1, 1) for y in (1.7, 1.82)]
    return [
        part("peg", "dark", *pegs),
        part("body", "body", body),
        part(
            "body",
            "second",
            smooth(
                (w * 0.1, h * 0.3), (w * 0.16, h * 0.12), (w * 0.62, h * 0.14), (w * 0.6, h * 0.4), (w * 0.34, h * 0.5)
            ),
        ),
        part("hole", "dark", ellipse(0, h * 0.58, 0.17)),
        part("neck", "trim", box(-0.075, h * 0.56, 0.075, 1.62)),
        part("head", "second", poly((-0.08, 1.58), (-0.14, 1.9), (0.14, 1.9), (0.08, 1.58))),
        part("bridge", "dark", box(-0.2, h * 0.2, 0.2, h * 0.28)),
        part("string", "light", *[box(x - 0.011, h * 0.24, x + 0.011, 1.66) for x in (-0.04, 0.04)]),
    ]


def table(d: Dice) -> list[Part]:
    """A table."""
    h, t = d(0.7, 0.9), d(0.1, 0.16)
    return [
        part("leg", "second", *[tube([(x, h), (x, 0.1)], 0.1) for x in (-0.62, 0.62)]),
        part("leg", "body", *[tube([(x, h), (x * 1.04, 0.0)], 0.13, 0.1) for x in (-0.86, 0.86)]),
        part("top", "second", poly((-0.8, h + t + 0.16), (0.8, h + t + 0.16), (1.02, h + t), (-1.02, h + t))),
        part("top", "body", box(-1.02, h, 1.02, h + t)),
    ]


def mug(d: Dice) -> list[Part]:
    """A mug."""
    w, h = d(0.4, 0.5), d(0.9, 1.1)
    return [
        part("handle", "second", ring(w + 0.08, h * 0.52, 0.3, 0.11)),
        part("body", "body", rounded(-w, 0, w, h, 0.12)),
        part("rim", "dark", ellipse(0, h - 0.04, w, 0.1)),
        part("band", "trim", box(-w, h * 0.3, w, h * 0.46)),
    ]


def clock(d: Dice) -> list[Part]:
    """An alarm clock."""
    a, b = d(0, 6.28), d(0, 6.28)
    ends = [(0.6 * math.sin(a), 0.6 * math.cos(a)), (0.38 * math.sin(b), 0.38 * math.cos(b))]
    feet = [tube([(s * 0.4, 0.4), (s * 0.62, 0.0)], 0.14, 0.08) for s in (-1, 1)]
    bells = [moved(turned(arc(0, 0, 0.28, 0.24, 0, 180), -s * 0.6), s * 0.5, 1.6) for s in (-1, 1)]
    return [
        part("leg", "second", *feet),
        part("bell", "trim", *bells),
        part("body", "body", ellipse(0, 0.94, 0.82)),
        part("face", "light", ellipse(0, 0.94, 0.66)),
        part("hand", "dark", *[tube([(0, 0.94), (x, 0.94 + y)], 0.08) for x, y in ends]),
        part("hub", "trim", ellipse(0, 0.94, 0.09)),
        part("handle", "second", tube(bend((-0.26, 1.74), (0.26, 1.74), 0.3), 0.08)),
    ]


BUILDINGS = (Kind("house", house), Kind("windmill", windmill))
HOUSEHOLD = (
    Kind("chair", chair),
    Kind("lamp", lamp),
    Kind("teapot", teapot),
    Kind("umbrella", umbrella, "ground", 0.1),
    Kind("guitar", guitar, "ground", 0.12),
)
OTHERS = (Kind("table", table), Kind("mug", mug), Kind("clock", clock))
