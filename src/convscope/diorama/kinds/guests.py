"""Kinds that are kept for transfer: animals, the snowman, and things that carry."""

from __future__ import annotations

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.animals import eye, legs
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.kinds.vehicles import wheels
from convscope.diorama.shapes import arc, bend, box, ellipse, moved, poly, ring, rounded, smooth, tube, turned


def giraffe(d: Dice) -> list[Part]:
    """A giraffe."""
    y, top = d(0.6, 0.7), d(1.9, 2.1)
    body = smooth(
        (-0.5, y + 0.1), (-0.44, y + 0.4), (0.3, y + 0.5), (0.46, y + 0.2), (0.3, y - 0.02), (-0.34, y - 0.02)
    )
    neck = tube([(0.3, y + 0.2), (0.44, y + 0.6), (0.6, top)], 0.34, 0.18)
    head = smooth((0.46, top + 0.06), (0.6, top + 0.16), (0.98, top - 0.06), (0.94, top - 0.18), (0.54, top - 0.1))
    horns = [tube([(x, top + 0.1), (x - 0.03, top + 0.3)], 0.05) for x in (0.54, 0.66)]
    spots = [ellipse(x, y + v, 0.1, 0.08) for x, v in ((-0.28, 0.26), (0.0, 0.14), (0.02, 0.36), (0.26, 0.26))]
    return [
        part("tail", "dark", tube([(-0.46, y + 0.34), (-0.62, y)], 0.05)),
        part("leg", "second", *legs(d, (-0.26, 0.2), y + 0.1, 0.13)),
        part("leg", "body", *legs(d, (-0.36, 0.34), y + 0.16, 0.14)),
        part("body", "body", body, neck),
        part("spot", "second", *spots),
        part("horn", "dark", *horns),
        part("head", "body", head),
        eye(0.66, top + 0.05, 0.045),
    ]


def rabbit(d: Dice) -> list[Part]:
    """A rabbit that sits."""
    long = d(0.56, 0.74)
    body = smooth((-0.56, 0.06), (-0.6, 0.4), (-0.2, 0.66), (0.24, 0.56), (0.36, 0.06))
    ears = [
        smooth(
            (x, 0.9),
            (x - 0.12 - k, 0.9 + long * 0.6),
            (x - 0.16 - k, 0.9 + long),
            (x + 0.04, 0.9 + long * 0.7),
            (x + 0.1, 0.94),
        )
        for x, k in ((0.24, 0.1), (0.4, 0.0))
    ]
    return [
        part("tail", "light", ellipse(-0.6, 0.2, 0.15)),
        part("ear", "second", ears[0]),
        part("body", "body", body),
        part("ear", "body", ears[1]),
        part("head", "body", ellipse(0.4, 0.78, 0.3, 0.26)),
        part("leg", "second", ellipse(-0.16, 0.08, 0.36, 0.1), ellipse(0.3, 0.08, 0.2, 0.1)),
        part("eye", "light", ellipse(0.5, 0.84, 0.07)),
        eye(0.51, 0.84, 0.045),
        part("nose", "trim", ellipse(0.69, 0.76, 0.05)),
    ]


def whale(d: Dice) -> list[Part]:
    """A whale with its spout."""
    h = d(0.4, 0.5)
    body = smooth(
        (1.0, 0.1),
        (0.7, h),
        (0.1, h + 0.04),
        (-0.5, 0.12),
        (-0.8, 0.2),
        (-0.84, 0.06),
        (-0.4, -0.24),
        (0.3, -0.36),
        (0.9, -0.26),
    )
    tail = smooth((-0.74, 0.1), (-1.14, 0.48), (-0.84, 0.42), (-0.72, 0.62), (-0.62, 0.3))
    belly = smooth((0.98, -0.04), (0.4, -0.08), (-0.3, -0.16), (0.3, -0.35), (0.88, -0.26))
    jets = [tube(bend((0.5, h), (0.5 + s * 0.24, h + 0.36), -s * 0.3), 0.09, 0.05) for s in (-1, 1)]
    return [
        part("spout", "light", *jets),
        part("tail", "second", tail),
        part("body", "body", body),
        part("belly", "light", belly),
        part("fin", "second", smooth((0.3, -0.12), (0.0, -0.1), (-0.1, -0.42), (0.14, -0.3))),
        eye(0.72, 0.06, 0.05),
    ]


def snowman(d: Dice) -> list[Part]:
    """A snowman with hat and arms."""
    r = d(0.4, 0.46)
    hat = [box(-0.32, 1.5, 0.32, 1.58), box(-0.2, 1.56, 0.2, 1.9)]
    arms = [tube([(s * 0.3, 0.98), (s * 0.8, 1.0 + d(0.1, 0.3))], 0.055) for s in (-1, 1)]
    return [
        part("arm", "dark", *arms),
        part("body", "body", ellipse(0, r, r), ellipse(0, 0.98, 0.33)),
        part("head", "body", ellipse(0, 1.4, 0.25)),
        part("scarf", "trim", tube([(-0.24, 1.2), (0, 1.14), (0.24, 1.2)], 0.12), box(0.06, 0.84, 0.18, 1.16)),
        part("hat", "second", *hat),
        part("eye", "dark", ellipse(-0.09, 1.44, 0.04), ellipse(0.09, 1.44, 0.04)),
        part("nose", "trim", poly((0, 1.4), (0.26, 1.34), (0, 1.32))),
    ]


def truck(d: Dice) -> list[Part]:
    """A lorry."""
    top, cab, r = d(1.0, 1.2), d(0.72, 0.86), d(0.19, 0.22)
    front = poly((0.48, 0.2), (0.48, cab), (0.86, cab), (1.08, 0.5), (1.1, 0.2))
    return [
        part("cargo", "body", box(-1.1, 0.3, 0.4, top)),
        part("body", "dark", box(-1.1, 0.18, 1.0, 0.32)),
        part("cab", "second", front),
        part("window", "glass", poly((0.62, 0.5), (0.62, cab - 0.08), (0.84, cab - 0.08), (0.99, 0.5))),
        part("headlight", "light", ellipse(1.03, 0.34, 0.06)),
        *wheels(r, -0.7, 0.66),
    ]


def rocket(d: Dice) -> list[Part]:
    """A rocket that stands or flies."""
    w = d(0.26, 0.34)
    hull = smooth((0, 1.1), (w * 0.7, 0.7), (w, 0.2), (w * 0.8, -0.5), (-w * 0.8, -0.5), (-w, 0.2), (-w * 0.7, 0.7))
    fins = [
        poly((s * w * 0.9, 0.0), (s * (w + 0.32), -0.5), (s * (w + 0.3), -0.78), (s * w * 0.7, -0.46)) for s in (-1, 1)
    ]
    flame = smooth((-w * 0.5, -0.54), (0, -1.0), (w * 0.5, -0.54))
    tip = smooth((0, 1.12), (w * 0.62, 0.74), (0, 0.7), (-w * 0.62, 0.74))
    return [
        part("flame", "light", flame),
        part("wing", "second", *fins),
        part("body", "body", hull),
        part("tip", "second", tip),
        part("window", "glass", ellipse(0, 0.3, 0.14)),
    ]


def wheelbarrow(d: Dice) -> list[Part]:
    """A wheelbarrow."""
    r = d(0.24, 0.3)
    tub = poly((-0.62, 0.92), (-0.4, 0.42), (0.42, 0.42), (0.86, 0.92))
    grips = tube([(-1.1, 0.66), (-0.4, 0.46), (0.68, r)], 0.08)
    return [
        part("leg", "dark", tube([(-0.34, 0.42), (-0.4, 0.0)], 0.08)),
        part("tub", "body", tub),
        part("handle", "second", grips, moved(turned(box(-0.09, -0.06, 0.09, 0.06), -0.3), -1.08, 0.66)),
        part("wheel", "dark", ring(0.68, r, r, 0.1)),
        part("wheel", "light", ellipse(0.68, r, r * 0.4)),
    ]


def sledge(d: Dice) -> list[Part]:
    """A sledge with curved runners."""
    runner = tube([(-0.9, 0.06), (0.5, 0.06), *bend((0.6, 0.08), (0.9, 0.62), -0.25)], 0.1)
    posts = [tube([(x, 0.1), (x, 0.4)], 0.08) for x in (-0.6, 0.0, 0.5)]
    return [
        part("runner", "trim", runner),
        part("leg", "second", *posts),
        part("seat", "body", rounded(-1, 0.38, 0.76, 0.54, 0.05)),
        part("rope", "dark", arc(0.86, 0.6, 0.1, 0.1, 0, 180)),
    ]


OTHERS = (
    Kind("truck", truck),
    Kind("rocket", rocket, "air", 0.6),
    Kind("wheelbarrow", wheelbarrow),
    Kind("sledge", sledge),
    Kind("giraffe", giraffe),
    Kind("rabbit", rabbit),
    Kind("whale", whale, "water", 0.1),
    Kind("snowman", snowman),
)
