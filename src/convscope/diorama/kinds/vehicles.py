"""Things that carry: on wheels, in the air, on water."""

from __future__ import annotations

import math

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.shapes import box, ellipse, poly, ring, rounded, smooth, tube


def wheels(r: float, *xs: float) -> list[Part]:
    """Tyres of radius r that stand on the ground, and their hubs."""
    tyres = part("wheel", "dark", *[ellipse(x, r, r) for x in xs])
    return [tyres, part("wheel", "light", *[ellipse(x, r, r * 0.45) for x in xs])]


def car(d: Dice) -> list[Part]:
    """A car with a cabin set back."""
    r, h, roof = d(0.19, 0.23), d(0.5, 0.58), d(0.9, 1.04)
    back, front, rake = d(-0.86, -0.6), d(0.4, 0.56), d(0.14, 0.26)
    low = smooth(
        (-1, 0.24),
        (-1.02, h - 0.1),
        (-0.8, h),
        (0.0, h + 0.03),
        (0.66, h - 0.04),
        (0.98, h - 0.16),
        (1.02, 0.26),
        (0.6, 0.17),
        (-0.6, 0.17),
    )
    cabin = poly(
        (back, h - 0.06),
        (back + rake, roof - 0.05),
        (back + rake + 0.1, roof),
        (front - rake - 0.1, roof),
        (front - rake, roof - 0.05),
        (front + 0.06, h - 0.06),
    )
    middle = (back + front) / 2
    rear = poly((back + 0.1, h), (back + rake + 0.07, roof - 0.1), (middle - 0.04, roof - 0.1), (middle - 0.04, h))
    fore = poly((middle + 0.04, h), (middle + 0.04, roof - 0.1), (front - rake - 0.07, roof - 0.1), (front - 0.08, h))
    door = rounded(middle - 0.02, 0.24, front - 0.12, h - 0.02, 0.05)
    return [
        part("body", "body", cabin, low),
        part("window", "glass", rear, fore),
        part("door", "second", door),
        part("handle", "dark", box(middle + 0.04, h - 0.12, middle + 0.16, h - 0.085)),
        part("headlight", "light", ellipse(0.92, h - 0.2, 0.07, 0.08)),
        part("headlight", "trim", box(-1.0, h - 0.22, -0.92, h - 0.1)),
        *wheels(r, -0.6, 0.6),
    ]


def bus(d: Dice) -> list[Part]:
    """A bus with a row of windows, or with two decks."""
    top, r, n = d(0.96, 1.16), d(0.17, 0.2), d.whole(2, 5)
    high = top + (d(0.5, 0.62) if d.chance(0.4) else 0.0)
    step, width = 1.5 / n, d(0.7, 0.88)
    doors = rounded(0.62, top * 0.5, 0.86, top * 0.84, 0.02)
    panes = [rounded(-1.0 + i * step, top * 0.52, -1.0 + (i + width) * step, top * 0.86, 0.03) for i in range(n)]
    if high > top:
        step = 2.0 / n
        panes += [rounded(-1.0 + i * step, top + 0.02, -1.0 + (i + width) * step, high - 0.14, 0.03) for i in range(n)]
    return [
        part("body", "body", rounded(-1.1, 0.14, 1.1, high, 0.13)),
        part("body", "second", box(-1.1, top * 0.36, 1.1, top * 0.45)),
        part("window", "glass", *panes),
        part("door", "second", rounded(0.58, 0.17, 0.9, top * 0.88, 0.03)),
        part("window", "glass", doors, box(0.96, top * 0.5, 1.1, top * 0.86)),
        part("headlight", "light", ellipse(1.05, 0.3, 0.055)),
        *wheels(r, -0.66, 0.36),
    ]


def bicycle(d: Dice) -> list[Part]:
    """A bicycle seen from the side."""
    r, w, gap = d(0.42, 0.48), d(0.075, 0.1), d(0.6, 0.68)
    crank, saddle, steer = (-0.08, r * 0.95), (-0.26, r + d(0.5, 0.6)), (gap - 0.2, r + d(0.52, 0.6))
    tubes = [
        tube(line, w)
        for line in (
            [(-gap, r), crank],
            [crank, saddle],
            [(-gap, r), (-0.22, r + 0.42)],
            [(-0.22, r + 0.42), (gap - 0.16, r + 0.44)],
            [crank, (gap - 0.16, r + 0.44)],
            [(gap, r), steer],
        )
    ]
    bar = tube([(steer[0] - 0.16, steer[1] + 0.08), (steer[0] + 0.02, steer[1] + 0.09), steer], w)
    spokes = [
        tube([(x + r * math.cos(a), r + r * math.sin(a)), (x - r * math.cos(a), r - r * math.sin(a))], 0.025)
        for x in (-gap, gap)
        for a in (0.3, 1.35, 2.4)
    ]
    seat = smooth(
        (saddle[0] - 0.18, saddle[1] + 0.07), (saddle[0] + 0.2, saddle[1] + 0.03), (saddle[0], saddle[1] - 0.03)
    )
    return [
        part("wheel", "light", *spokes),
        part("wheel", "dark", ring(-gap, r, r, 0.085), ring(gap, r, r, 0.085)),
        part("frame", "body", *tubes),
        part("handle", "second", bar),
        part("seat", "second", seat),
        part("pedal", "trim", ellipse(crank[0], crank[1], 0.11)),
    ]


def train(d: Dice) -> list[Part]:
    """A steam engine."""
    r, boiler, cab = d(0.2, 0.24), d(0.36, 0.42), d(1.14, 1.3)
    y = 0.3
    return [
        part("chimney", "second", poly((0.56, y + 0.5), (0.5, cab - 0.02), (0.84, cab - 0.02), (0.78, y + 0.5))),
        part("chimney", "trim", ellipse(0.1, y + 2 * boiler - 0.08, 0.14, 0.16)),
        part("body", "body", rounded(-0.5, y, 0.94, y + 2 * boiler - 0.08, 0.16)),
        part("body", "second", box(0.2, y, 0.3, y + 2 * boiler - 0.09)),
        part("cab", "body", box(-0.98, y - 0.06, -0.3, cab)),
        part("window", "glass", rounded(-0.84, cab - 0.44, -0.46, cab - 0.12, 0.05)),
        part("roof", "trim", poly((-1.1, cab - 0.03), (-1.02, cab + 0.1), (-0.26, cab + 0.1), (-0.18, cab - 0.03))),
        part("bumper", "trim", poly((0.84, 0.06), (0.9, y + 0.1), (1.16, 0.06))),
        part("body", "dark", box(-0.98, y - 0.1, 0.96, y + 0.06)),
        part("headlight", "light", ellipse(0.95, y + boiler, 0.1)),
        *wheels(r, -0.64, 0.0, 0.55),
    ]


def airplane(d: Dice) -> list[Part]:
    """An airliner that flies to the right."""
    h, fin, sweep = d(0.15, 0.19), d(0.42, 0.56), d(0.28, 0.44)
    hull = smooth(
        (-1.02, 0.12),
        (-0.5, h),
        (0.4, h),
        (0.84, h * 0.75),
        (1.04, -0.02),
        (0.84, -h * 0.8),
        (0.3, -h),
        (-0.4, -h * 0.8),
    )
    far = poly((0.22, h * 0.6), (-0.02, h + sweep + 0.06), (-0.2, h + sweep + 0.06), (-0.14, h * 0.6))
    near = poly((0.3, -h * 0.3), (-0.2, -h - sweep - 0.16), (-0.42, -h - sweep - 0.16), (-0.16, -h * 0.3))
    tail = poly((-0.6, h * 0.8), (-0.94, fin), (-1.12, fin), (-1.0, 0.06))
    small = poly((-0.62, 0.02), (-1.0, -0.2), (-1.14, -0.2), (-0.92, 0.04))
    panes = [ellipse(-0.46 + 0.16 * i, h * 0.3, 0.045, 0.05) for i in range(7)]
    nose = poly((0.74, h * 0.3), (0.72, h * 0.74), (0.84, h * 0.7), (0.95, h * 0.3))
    return [
        part("wing", "second", far),
        part("tail", "second", tail),
        part("body", "body", hull),
        part("window", "glass", *panes, nose),
        part("wing", "second", near),
        part("tail", "trim", small),
    ]


def balloon(d: Dice) -> list[Part]:
    """A hot-air balloon with gores, a band or spots."""
    w = d(0.66, 0.78)
    bag = smooth(
        (0, 1.0),
        (0.5 * w, 0.92),
        (w, 0.4),
        (0.72 * w, -0.14),
        (0.22, -0.52),
        (-0.22, -0.52),
        (-0.72 * w, -0.14),
        (-w, 0.4),
        (-0.5 * w, 0.92),
    )
    inner = smooth(
        (0, 1.0),
        (0.3 * w, 0.88),
        (0.52 * w, 0.4),
        (0.4 * w, -0.14),
        (0.12, -0.52),
        (-0.12, -0.52),
        (-0.4 * w, -0.14),
        (-0.52 * w, 0.4),
        (-0.3 * w, 0.88),
    )
    core = smooth(
        (0, 1.0), (0.13 * w, 0.86), (0.2 * w, 0.4), (0.05, -0.52), (-0.05, -0.52), (-0.2 * w, 0.4), (-0.13 * w, 0.86)
    )
    ropes = [tube([(s * 0.2, -0.5), (s * 0.14, -0.84)], 0.035) for s in (-1, 1)]
    style = d.whole(0, 2)
    if style == 0:
        pattern = [part("envelope", "second", inner), part("envelope", "body", core)]
    elif style == 1:
        y, h = d(0.1, 0.4), d(0.2, 0.34)
        band = smooth((-w, y), (0, y - 0.12), (w, y), (w * 0.93, y + h), (0, y + h - 0.12), (-w * 0.93, y + h))
        pattern = [part("band", "second", band)]
    else:
        middles = ((0, 0.5), (-0.62, 0.2), (0.62, 0.2), (0, -0.1))
        pattern = [part("spot", "second", *[ellipse(x * w, y, 0.17 - abs(x) * 0.06, 0.17) for x, y in middles])]
    return [
        part("rope", "dark", *ropes),
        part("envelope", "body", bag),
        *pattern,
        part("basket", "trim", rounded(-0.19, -1.08, 0.19, -0.8, 0.05)),
    ]


def sailboat(d: Dice) -> list[Part]:
    """A boat with two sails."""
    top, lean = d(1.2, 1.4), d(-0.05, 0.05)
    hull = smooth((-0.84, 0.3), (-0.6, 0.05), (0.0, 0.0), (0.55, 0.05), (0.98, 0.34), (0.3, 0.28), (-0.4, 0.27))
    main = smooth(
        (lean - 0.04, top), (-0.3, top * 0.7), (-0.74, 0.42), (-0.4, 0.4), (-0.05, 0.42), (lean - 0.03, top * 0.7)
    )
    jib = smooth(
        (lean + 0.05, top * 0.9), (0.36, top * 0.56), (0.78, 0.44), (0.4, 0.42), (0.06, 0.44), (lean + 0.04, top * 0.6)
    )
    flag = poly((lean, top + 0.14), (lean + 0.24, top + 0.07), (lean, top))
    return [
        part("mast", "dark", tube([(0, 0.25), (lean, top + 0.14)], 0.05)),
        part("flag", "trim", flag),
        part("sail", "body", main),
        *([part("sail", "second", jib)] if d.chance(0.65) else []),
        part("hull", "trim", hull),
        part("hull", "light", tube([(-0.8, 0.25), (0.0, 0.2), (0.86, 0.27)], 0.05)),
    ]


KINDS = (
    Kind("car", car),
    Kind("bus", bus),
    Kind("bicycle", bicycle),
    Kind("train", train),
    Kind("airplane", airplane, "air", 0.25),
    Kind("balloon", balloon, "air", 0.2),
    Kind("sailboat", sailboat, "water", 0.22),
)
