"""Plants, and the toadstool."""

from __future__ import annotations

import math

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.shapes import (
    bend,
    box,
    ellipse,
    moved,
    poly,
    rounded,
    smooth,
    tube,
    turned,
)


def tree(d: Dice) -> list[Part]:
    """A broad-leaved tree."""
    h, w = d(0.6, 0.8), d(0.6, 0.76)
    trunk = smooth((-0.17, 0.0), (-0.1, 0.2), (-0.09, h + 0.2), (0.09, h + 0.2), (0.1, 0.2), (0.18, 0.0), (0.0, 0.02))
    limbs = [tube([(0, h * 0.62), (s * 0.3, h + 0.12)], 0.1, 0.06) for s in (-1, 1)]
    style = d.whole(0, 2)  # a cloud, a ball, a poplar
    blobs = [
        ellipse(-w * 0.55, h + 0.28, 0.4, 0.34),
        ellipse(w * 0.55, h + 0.3, 0.4, 0.34),
        ellipse(d(-0.1, 0.1), h + 0.66, 0.5, 0.44),
        ellipse(0, h + 0.26, 0.46, 0.34),
    ]
    if style == 1:
        blobs = [ellipse(0, h + 0.46, w, 0.6)]
    elif style == 2:
        blobs = [smooth((0, h - 0.06), (-0.4, h + 0.2), (-0.3, h + 0.9), (0, h + 1.3), (0.3, h + 0.9), (0.4, h + 0.2))]
    k = 0.42 if style == 2 else 1.0  # a poplar is slim
    tufts = [
        ellipse(-0.2 * k, h + 0.78, 0.24 * k, 0.17),
        ellipse(-w * 0.6 * k, h + 0.4, 0.18 * k, 0.13),
        ellipse(w * 0.4 * k, h + 0.44, 0.2 * k, 0.14),
    ]
    fruit = [
        ellipse(x * k + d(-0.05, 0.05) * k, h + y, 0.05)
        for x, y in ((-0.4, 0.16), (0.06, 0.5), (0.5, 0.2), (0.02, 0.14), (0.3, 0.74))
    ]
    return [
        part("trunk", "trim", trunk, *limbs),
        part("crown", "body", *blobs),
        part("crown", "body", *tufts),
        *([part("fruit", "second", *fruit)] if d.chance(0.5) else []),
    ]


def cactus(d: Dice) -> list[Part]:
    """A cactus with one arm or two."""
    h, a, b = d(1.3, 1.6), d(0.5, 0.7), d(0.3, 0.55)
    stem = rounded(-0.2, 0.0, 0.2, h, 0.2)
    left = tube([(-0.1, a), (-0.42, a), (-0.54, a + 0.1), (-0.56, a + d(0.4, 0.5))], 0.24, 0.26)
    right = tube([(0.1, b), (0.4, b), (0.52, b + 0.1), (0.54, b + d(0.5, 0.64))], 0.24, 0.26)
    tops = [ellipse(left[3, 0] + 0.12, left[3, 1], 0.13, 0.1), ellipse(right[3, 0] + 0.12, right[3, 1], 0.13, 0.1)]
    ribs = [tube([(x, 0.08), (x, h - 0.16)], 0.035) for x in (-0.08, 0.07)]
    flower = [ellipse(0.07 * math.cos(k), h + 0.04 + 0.07 * math.sin(k), 0.08) for k in (0.5, 1.6, 2.7)]
    arms = [left, tops[0]] if d.chance(0.3) else [left, right, *tops]
    return [
        part("arm", "body", *arms),
        part("trunk", "body", stem),
        part("rib", "second", *ribs),
        part("petal", "trim", *flower),
    ]


def flower(d: Dice) -> list[Part]:
    """A flower in a pot, or two or three."""
    n, r, y = d.whole(5, 8), d(0.3, 0.36), d(1.12, 1.3)
    size = d(0.16, 0.21)
    heads = [(0.0, y, 1.0)]
    if d.chance(0.4):  # two or three smaller ones
        heads = [(-0.34, y - 0.14, 0.62), (0.36, y - 0.06, 0.62), (0.0, y + 0.14, 0.66)][: d.whole(2, 3)]
    petals = [
        moved(turned(ellipse(0, r * m, size * m, 0.26 * m), 2 * math.pi * k / n), x, v)
        for x, v, m in heads
        for k in range(n)
    ]
    leaf = [
        smooth((0, 0.46 + k), (s * 0.22, 0.66 + k), (s * 0.5, 0.7 + k), (s * 0.3, 0.48 + k))
        for s, k in ((-1, 0.04), (1, 0.16))
    ]
    pot = poly((-0.3, 0.42), (-0.22, 0.0), (0.22, 0.0), (0.3, 0.42))
    return [
        part("stem", "second", *[tube([(0, 0.36), (0.03 + x * 0.5, 0.7), (x, v)], 0.085) for x, v, _ in heads]),
        part("leaf", "second", *leaf),
        part("pot", "trim", pot),
        part("pot", "light", box(-0.34, 0.36, 0.34, 0.48)),
        part("petal", "body", *petals),
        part("centre", "light", *[ellipse(x, v, 0.2 * m) for x, v, m in heads]),
    ]


def mushroom(d: Dice) -> list[Part]:
    """A toadstool with spots."""
    w, h, c = d(0.76, 0.92), d(0.5, 0.66), d(0.5, 0.66)
    stem = smooth(
        (-0.26, 0.0), (-0.16, h * 0.5), (-0.17, h + 0.1), (0.17, h + 0.1), (0.16, h * 0.5), (0.26, 0.0), (0, -0.01)
    )
    cap = smooth(
        (-w, h),
        (-w * 0.74, h + c * 0.72),
        (0, h + c),
        (w * 0.74, h + c * 0.72),
        (w, h),
        (w * 0.5, h - 0.06),
        (-w * 0.5, h - 0.06),
    )
    spots = [
        ellipse(-0.44 * w, h + 0.4 * c, 0.13, 0.11),
        ellipse(0.04, h + 0.66 * c, 0.15, 0.12),
        ellipse(0.52 * w, h + 0.36 * c, 0.12, 0.11),
        ellipse(-0.06 * w, h + 0.2 * c, 0.08),
    ]
    young = []
    if d.chance(0.4):
        side, m = d.sign() * w * 0.95, d(0.4, 0.55)
        young = [part("stem", "light", moved(stem * m, side, 0)), part("cap", "body", moved(cap * m, side, 0))]
    return [
        *young,
        part("stem", "light", stem),
        part("skirt", "second", poly((-0.18, h * 0.66), (-0.28, h * 0.44), (0.28, h * 0.44), (0.18, h * 0.66))),
        part("cap", "body", cap),
        part("spot", "light", *spots),
    ]


def palm(d: Dice) -> list[Part]:
    """A palm."""
    lean, h = d(-0.4, 0.4), d(1.2, 1.4)
    top = (lean, h)
    fronds = [
        smooth(top, (lean + x * 0.5, h + y + 0.16), (lean + x, h + y - 0.16), (lean + x * 0.5, h + y * 0.4 - 0.06))
        for x, y in ((-0.8, 0.0), (0.8, 0.0), (-0.62, 0.26), (0.62, 0.26), (-0.16, 0.44), (0.3, 0.42))
    ]
    return [
        part("trunk", "trim", tube(bend((0, 0), top, 0.08), 0.22, 0.11)),
        part("leaf", "second", *fronds[2:4]),
        part("leaf", "body", *fronds[:2], *fronds[4:]),
        part("fruit", "dark", ellipse(lean - 0.08, h - 0.06, 0.09), ellipse(lean + 0.1, h - 0.04, 0.09)),
    ]


KINDS = (Kind("tree", tree), Kind("cactus", cactus), Kind("flower", flower), Kind("mushroom", mushroom))
OTHERS = (Kind("palm", palm),)
