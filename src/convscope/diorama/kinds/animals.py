"""Animals, most of them seen from the side."""

from __future__ import annotations

from convscope.diorama.dice import Dice
from convscope.diorama.kinds.base import Kind, Part, part
from convscope.diorama.shapes import (
    Polygon,
    bend,
    ellipse,
    poly,
    rounded,
    smooth,
    tube,
)


def eye(x: float, y: float, r: float = 0.05) -> Part:
    """An eye."""
    return part("eye", "dark", ellipse(x, y, r))


def legs(d: Dice, xs: tuple[float, ...], top: float, width: float, stride: float = 0.1) -> list[Polygon]:
    """Legs from the height `top` down to the ground, each a little in step."""
    return [
        tube([(x, top), (x + d(-stride, stride) * 0.4, top * 0.5), (x + d(-stride, stride), 0.0)], width, width * 0.85)
        for x in xs
    ]


def dog(d: Dice) -> list[Part]:
    """A dog that stands."""
    y, long, up = d(0.42, 0.5), d(0.56, 0.68), d(0.2, 0.34)
    hx, hy = long + 0.12, y + 0.38 + up
    body = smooth(
        (-long, y + 0.06),
        (-long + 0.02, y + 0.34),
        (0.0, y + 0.3),
        (long - 0.14, y + 0.42),
        (long + 0.04, y + 0.3),
        (long - 0.06, y - 0.04),
        (0.0, y + 0.02),
        (-long + 0.2, y - 0.04),
    )
    neck = tube([(long - 0.16, y + 0.2), (hx - 0.02, hy)], 0.38, 0.28)
    head = smooth(
        (hx - 0.24, hy + 0.08),
        (hx - 0.06, hy + 0.22),
        (hx + 0.14, hy + 0.1),
        (hx + 0.42, hy + 0.02),
        (hx + 0.44, hy - 0.12),
        (hx + 0.1, hy - 0.2),
        (hx - 0.2, hy - 0.14),
    )
    ear = smooth((hx - 0.2, hy + 0.16), (hx - 0.04, hy + 0.14), (hx - 0.1, hy - d(0.14, 0.28)), (hx - 0.26, hy - 0.14))
    tail = tube(bend((-long + 0.06, y + 0.28), (-long - 0.34, y + d(0.5, 0.8)), 0.2), 0.13, 0.06)
    far, near = legs(d, (-long + 0.26, long - 0.22), y + 0.1, 0.16), legs(d, (-long + 0.1, long - 0.06), y + 0.14, 0.18)
    return [
        part("tail", "body", tail),
        part("leg", "second", *far),
        part("leg", "body", *near),
        part("body", "body", body, neck),
        part("head", "body", head),
        part("ear", "second", ear),
        eye(hx + 0.08, hy + 0.06),
        part("nose", "dark", ellipse(hx + 0.43, hy + 0.0, 0.07, 0.06)),
        part("collar", "trim", tube([(long - 0.06, y + 0.52 + up * 0.3), (long + 0.18, y + 0.34 + up * 0.3)], 0.08)),
    ]


def cat(d: Dice) -> list[Part]:
    """A cat that sits and looks at us."""
    w, hy, r = d(0.36, 0.44), d(0.98, 1.1), d(0.34, 0.39)
    body = smooth(
        (-w, 0.02), (-w - 0.02, 0.3), (-0.22, hy - 0.22), (0.22, hy - 0.22), (w + 0.02, 0.3), (w, 0.02), (0, 0.0)
    )
    tail = tube(
        [(w - 0.12, 0.1), (w + 0.2, 0.1), (w + 0.36, 0.3), (w + 0.3, 0.56), (w + d(0.36, 0.5), 0.74)], 0.16, 0.1
    )
    head = smooth(
        (-r, hy),
        (-r * 0.7, hy + r * 0.74),
        (0, hy + r * 0.8),
        (r * 0.7, hy + r * 0.74),
        (r, hy),
        (r * 0.6, hy - r * 0.66),
        (0, hy - r * 0.8),
        (-r * 0.6, hy - r * 0.66),
    )
    ears = [
        poly((s * r * 0.95, hy + r * 0.3), (s * r * 0.86, hy + r * 1.44), (s * r * 0.2, hy + r * 0.78)) for s in (-1, 1)
    ]
    paws = [rounded(s * 0.12 - 0.1, 0.0, s * 0.12 + 0.1, 0.42, 0.1) for s in (-1, 1)]
    whiskers = [
        tube([(s * 0.12, hy - 0.12), (s * r * 1.25, hy - 0.12 + k)], 0.022) for s in (-1, 1) for k in (0.04, -0.08)
    ]
    return [
        part("tail", "body", tail),
        part("body", "body", body),
        part("leg", "body", *paws),
        part("chest", "second", smooth((-0.2, hy - 0.2), (-0.17, 0.56), (0, 0.42), (0.17, 0.56), (0.2, hy - 0.2))),
        part("ear", "second", *ears),
        part("head", "body", head),
        part("whisker", "dark", *whiskers),
        part("eye", "light", *[ellipse(s * 0.15, hy + 0.07, 0.09, 0.1) for s in (-1, 1)]),
        part("eye", "dark", *[ellipse(s * 0.15, hy + 0.06, 0.045, 0.085) for s in (-1, 1)]),
        part("nose", "dark", poly((-0.05, hy - 0.06), (0.05, hy - 0.06), (0, hy - 0.13))),
    ]


def elephant(d: Dice) -> list[Part]:
    """An elephant."""
    y, long = d(0.4, 0.48), d(0.66, 0.76)
    body = smooth(
        (-long, y + 0.1),
        (-long + 0.04, y + 0.5),
        (-0.2, y + 0.7),
        (long - 0.3, y + 0.62),
        (long - 0.06, y + 0.3),
        (long - 0.2, y - 0.06),
        (-long + 0.2, y - 0.06),
    )
    hx, hy = long - 0.02, y + 0.5
    head = smooth(
        (hx - 0.26, hy + 0.14),
        (hx, hy + 0.3),
        (hx + 0.28, hy + 0.12),
        (hx + 0.3, hy - 0.14),
        (hx, hy - 0.28),
        (hx - 0.24, hy - 0.16),
    )
    curl = d(0.05, 0.3)
    nose = tube(
        [
            (hx + 0.14, hy),
            (hx + 0.34, hy - 0.14),
            (hx + 0.4, hy - 0.42),
            (hx + 0.42, hy - 0.66),
            (hx + 0.52, hy - 0.78 + curl * 0.3),
            (hx + 0.64, hy - 0.74 + curl),
        ],
        0.28,
        0.1,
    )
    ear = smooth(
        (hx - 0.1, hy + 0.24),
        (hx - 0.4, hy + 0.26),
        (hx - 0.5, hy - 0.06),
        (hx - 0.36, hy - 0.36),
        (hx - 0.12, hy - 0.18),
    )
    tusk = tube(bend((hx + 0.16, hy - 0.2), (hx + 0.4, hy - 0.34), -0.25), 0.09, 0.03)
    tail = tube([(-long + 0.04, y + 0.46), (-long - 0.1, y + 0.2), (-long - 0.08, y - 0.02)], 0.06, 0.05)
    far, near = (
        legs(d, (-long + 0.36, long - 0.36), y + 0.1, 0.25, 0.06),
        legs(d, (-long + 0.16, long - 0.2), y + 0.2, 0.27, 0.06),
    )
    return [
        part("tail", "dark", tail),
        part("leg", "second", *far),
        part("leg", "body", *near),
        part("body", "body", body),
        part("snout", "body", nose),
        part("head", "body", head),
        part("tusk", "light", tusk),
        part("ear", "second", ear),
        eye(hx + 0.1, hy + 0.06),
        part(
            "saddle",
            "trim",
            smooth((-0.42, y + 0.66), (-0.1, y + 0.73), (0.2, y + 0.7), (0.16, y + 0.34), (-0.36, y + 0.3)),
        ),
    ]


def bird(d: Dice) -> list[Part]:
    """A songbird that stands."""
    y, hx = d(0.3, 0.4), d(0.34, 0.44)
    body = smooth(
        (-0.62, y + 0.32),
        (-0.2, y + 0.5),
        (hx - 0.1, y + 0.66),
        (hx + 0.16, y + 0.36),
        (0.2, y + 0.02),
        (-0.2, y + 0.02),
    )
    head = ellipse(hx, y + 0.66, 0.25, 0.24)
    beak = poly((hx + 0.2, y + 0.76), (hx + d(0.46, 0.58), y + 0.64), (hx + 0.2, y + 0.56))
    tail = poly((-0.44, y + 0.42), (-1.02, y + d(0.42, 0.62)), (-1.0, y + 0.28), (-0.4, y + 0.2))
    wing = smooth((0.1, y + 0.46), (-0.2, y + 0.46), (-0.66, y + d(0.24, 0.4)), (-0.24, y + 0.12), (0.08, y + 0.16))
    return [
        part("leg", "dark", *[tube([(x, y + 0.1), (x + 0.02, 0.03), (x + 0.16, 0.02)], 0.055) for x in (-0.06, 0.14)]),
        part("tail", "second", tail),
        part("beak", "trim", beak),
        part("body", "body", body),
        part("head", "body", head),
        part("chest", "light", smooth((hx + 0.1, y + 0.46), (0.3, y + 0.12), (0.06, y + 0.04), (0.2, y + 0.34))),
        part("wing", "second", wing),
        part("eye", "light", ellipse(hx + 0.08, y + 0.71, 0.075)),
        eye(hx + 0.09, y + 0.71, 0.045),
    ]


def butterfly(d: Dice) -> list[Part]:
    """A butterfly with open wings."""
    w, h, low = d(0.84, 1.0), d(0.7, 0.86), d(0.5, 0.64)
    upper = [
        smooth((s * 0.04, 0.1), (s * 0.3, h * 0.86), (s * w * 0.9, h), (s * w, h * 0.5), (s * 0.6, 0.02))
        for s in (-1, 1)
    ]
    lower = [
        smooth((s * 0.04, 0.02), (s * 0.5, 0.06), (s * w * 0.78, -0.24), (s * w * 0.5, -low), (s * 0.14, -0.34))
        for s in (-1, 1)
    ]
    spots = [ellipse(s * w * 0.68, h * 0.56, 0.16, 0.19) for s in (-1, 1)]
    dots = [ellipse(s * w * 0.46, -low * 0.46, 0.12) for s in (-1, 1)]
    feelers = [tube(bend((s * 0.03, 0.36), (s * 0.3, 0.76), s * 0.2), 0.045) for s in (-1, 1)]
    return [
        part("wing", "second", *lower),
        part("wing", "body", *upper),
        part("spot", "trim", *spots),
        part("spot", "light", *dots),
        part("antenna", "dark", *feelers),
        part("body", "dark", ellipse(0, 0, 0.085, 0.42)),
        part("head", "dark", ellipse(0, 0.42, 0.11)),
    ]


def fish(d: Dice) -> list[Part]:
    """A fish that swims to the right."""
    h, fork = d(0.4, 0.54), d(0.36, 0.5)
    body = smooth(
        (0.86, 0.02),
        (0.5, h * 0.78),
        (0.0, h),
        (-0.46, h * 0.46),
        (-0.66, 0.0),
        (-0.46, -h * 0.46),
        (0.0, -h),
        (0.5, -h * 0.74),
    )
    tail = smooth((-0.56, 0.02), (-0.82, fork * 0.7), (-1.12, fork), (-0.92, 0.0), (-1.12, -fork), (-0.82, -fork * 0.7))
    fin = smooth((0.3, h * 0.8), (0.0, h + d(0.22, 0.36)), (-0.4, h + 0.12), (-0.34, h * 0.5))
    under = poly((0.08, -h * 0.86), (-0.22, -h - 0.24), (-0.3, -h * 0.6))
    bands = [
        smooth(
            (x, h * 0.84 - abs(x) * 0.2),
            (x + 0.08, 0.0),
            (x, -h * 0.84 + abs(x) * 0.2),
            (x - 0.13, -h * 0.5),
            (x - 0.07, 0.0),
            (x - 0.13, h * 0.5),
        )
        for x in ((0.2, -0.14) if d.chance(0.6) else (0.08,))
    ]
    return [
        part("tail", "second", tail),
        part("fin", "second", fin, under),
        part("body", "body", body),
        part("band", "trim", *bands),
        part("fin", "second", smooth((0.1, -0.04), (-0.2, -0.02), (-0.26, -0.28), (-0.04, -0.22))),
        part("eye", "light", ellipse(0.52, h * 0.26, 0.12)),
        eye(0.55, h * 0.26, 0.065),
    ]


ANIMALS = (
    Kind("dog", dog),
    Kind("cat", cat),
    Kind("elephant", elephant),
    Kind("bird", bird),
    Kind("butterfly", butterfly, "air", 0.4),
    Kind("fish", fish, "water", 0.2),
)
