"""A harbour, a garden, a fair."""

from __future__ import annotations

import math

from convscope.diorama.colours import DAY, DUSK, MINT, MORNING, SUNSET, mix, paints, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places.base import Place, Room, sky, tufts
from convscope.diorama.shapes import Polygon, arc, box, ellipse, poly, ring, smooth, tube
from convscope.diorama.stage import Stage


def harbour(stage: Stage, d: Dice) -> Room:
    """Warehouses across the water, a quay of planks before."""
    light, y = stage.light, d(0.34, 0.4)
    sky(stage, d, y, 3)
    x = -d(0, 0.1)
    while x < 1:
        w, h = d(0.14, 0.26), d(0.08, 0.16)
        wall = light.far(d.pick(paints("b5594a d19a5f 6f8fa3 e0d3b8 8f6f62 5f8a80")), 0.28)
        stage.fill(
            "warehouse",
            wall,
            mix(wall, light.shadow, 0.15),
            poly((x, y), (x, y - h), (x + w / 2, y - h - d(0, 0.06)), (x + w, y - h), (x + w, y)),
        )
        stage.fill(
            "warehouse",
            mix(wall, light.shadow, 0.5),
            None,
            *[box(x + w * a, y - h * 0.7, x + w * (a + 0.16), y - h * 0.36) for a in (0.14, 0.42, 0.7)],
            surface=0,
        )
        x += w + d(0, 0.06)
    if d.chance(0.8):
        x, s = d(0.15, 0.85), d.sign()
        boom = [
            tube([(x, y), (x, y - 0.27)], 0.024),
            tube([(x - s * 0.08, y - 0.24), (x + s * 0.26, y - 0.3)], 0.016),
            tube([(x, y - 0.3), (x + s * 0.18, y - 0.28)], 0.006),
            tube([(x + s * 0.22, y - 0.29), (x + s * 0.22, y - 0.16)], 0.005),
        ]
        stage.form("crane", light.far(d.pick(paints("d8763f c2493f e0b040")), 0.15), *boom)
    sea, quay = light.lit(d.pick(paints("3f7f9c 3a8f9a 4a78a8 4f8f8a"))), d(0.68, 0.74)
    stage.fill("sea", mix(sea, light.low, 0.3), sea, box(0, y, 1, quay + 0.02))
    stage.fill(
        "sea",
        mix(sea, light.tint, 0.4),
        None,
        *[
            tube([(x, v), (x + w, v)], 0.006)
            for x, v, w in ((d(0, 0.9), d(y + 0.03, quay), d(0.04, 0.13)) for _ in range(9))
        ],
        surface=0,
    )
    wood = light.lit(d.pick(paints("b08a62 a67a55 b9a07f")))
    stage.fill("quay", mix(wood, light.shadow, 0.45), None, box(0, quay, 1, quay + 0.045))
    stage.fill("quay", mix(wood, (255, 240, 215), 0.15), wood, box(0, quay + 0.015, 1, 1))
    gaps = [box(0, v, 1, v + 0.005) for v in (quay + 0.06, quay + 0.12, quay + 0.2)]
    stage.fill("quay", mix(wood, light.shadow, 0.35), None, *gaps, surface=0)
    posts = [rounded_post(x, quay) for x in (d(0.06, 0.2), d(0.45, 0.6), d(0.8, 0.94))]
    stage.form("bollard", light.lit(rgb("4a4650")), *posts)
    return Room(
        (quay + 0.09, 0.96),
        (0.1, y - 0.04),
        (y + 0.12, quay - 0.06),
        ((0, mix(light.top, light.low, 0.6)), (y, sea), (quay, wood)),
        ("crate", "bucket", "ball"),
    )


def rounded_post(x: float, y: float) -> Polygon:
    """A bollard."""
    return smooth(
        (x - 0.02, y + 0.03),
        (x - 0.016, y - 0.02),
        (x - 0.024, y - 0.04),
        (x + 0.024, y - 0.04),
        (x + 0.016, y - 0.02),
        (x + 0.02, y + 0.03),
    )


def garden(stage: Stage, d: Dice) -> Room:
    """A fence, a hedge, beds and a path."""
    light, y = stage.light, d(0.46, 0.54)
    sky(stage, d, y, 3)
    hedge = light.lit(d.pick(paints("4f8f58 5a8a4a 3f7f62")))
    stage.form(
        "hedge",
        mix(hedge, light.low, 0.25),
        *[ellipse(x, y - 0.08, d(0.1, 0.15), d(0.08, 0.14)) for x in (0.02, 0.2, 0.4, 0.6, 0.8, 1.0)],
        box(-0.1, y - 0.06, 1.1, y + 0.04),
        strength=10,
    )
    paint = light.lit(d.pick(paints("f8f4ea f8f4ea c9dfe4 e9c8a0")))
    slats = [
        poly((x, y + 0.07), (x, y - 0.1), (x + 0.018, y - 0.125), (x + 0.036, y - 0.1), (x + 0.036, y + 0.07))
        for x in (0.062 * k - 0.02 for k in range(17))
    ]
    stage.form("fence", paint, box(0, y - 0.07, 1, y - 0.05), box(0, y + 0.02, 1, y + 0.04), *slats, strength=7)
    lawn = light.lit(d.pick(paints("86b85a 94bf62 76ad62")))
    stage.fill("lawn", mix(lawn, (255, 255, 220), 0.14), mix(lawn, light.shadow, 0.14), box(0, y + 0.06, 1, 1))
    x0 = d(0.25, 0.75)
    path = light.lit(rgb("e0cba4"))
    stage.fill(
        "path",
        path,
        mix(path, light.shadow, 0.1),
        smooth(
            (x0 - 0.03, y + 0.05),
            (x0 + 0.04, y + 0.2),
            (x0 - 0.12, 1.05),
            (x0 + 0.22, 1.05),
            (x0 + 0.14, y + 0.2),
            (x0 + 0.03, y + 0.05),
        ),
    )
    bloom: list[list[Polygon]] = [[], []]
    stems = []
    for k in range(13):
        x, h = 0.04 + 0.076 * k + d(-0.02, 0.02), d(0.04, 0.08)
        if abs(x - x0) < 0.07:
            continue
        stems.append(tube([(x, y + 0.1), (x, y + 0.1 - h)], 0.008))
        stems.append(ellipse(x, y + 0.095, 0.03, 0.014))
        bloom[d.whole(0, 1)].append(ellipse(x, y + 0.1 - h, 0.018))
    stage.form("flower bed", mix(hedge, light.shadow, 0.15), *stems, strength=6)
    blossoms = paints(d.pick(("f07f8f f7d65a", "b98fd0 fbf6ee", "f59a56 f3b0c4")))
    for polygons, colours in zip(bloom, blossoms, strict=True):
        if polygons:
            stage.form("flower bed", light.lit(colours), *polygons, strength=3)
    tufts(stage, d, mix(lawn, light.shadow, 0.25), y + 0.2, 9)
    return Room(
        (y + 0.2, 0.96),
        (0.12, y - 0.14),
        None,
        ((0, mix(light.top, light.low, 0.6)), (y - 0.12, mix(paint, hedge, 0.4)), (y + 0.06, lawn)),
        ("ball", "bucket", "bush", "vase"),
    )


def fair(stage: Stage, d: Dice) -> Room:
    """A fairground: tents, a big wheel, bunting."""
    light, y = stage.light, d(0.52, 0.58)
    sky(stage, d, y, 2)
    x, r = d(0.15, 0.85), d(0.17, 0.22)
    cy = y - r - 0.06
    steel = light.far(d.pick(paints("c9596a 4f7fa8 e0a040 7f6aa8")), 0.25)
    rim = [ellipse(x + r * math.cos(a), cy + r * math.sin(a), 0.026) for a in (k * math.pi / 5 for k in range(10))]
    spokes = [
        tube([(x + r * math.cos(a), cy + r * math.sin(a)), (x - r * math.cos(a), cy - r * math.sin(a))], 0.006)
        for a in (k * math.pi / 5 for k in range(5))
    ]
    stage.form(
        "big wheel",
        steel,
        ring(x, cy, r, 0.012),
        *spokes,
        tube([(x, cy), (x - 0.12, y + 0.03)], 0.018),
        tube([(x, cy), (x + 0.12, y + 0.03)], 0.018),
        strength=6,
    )
    stage.form("big wheel", light.far(d.pick(paints("f3c95a e8806a f6f0e2")), 0.2), *rim, strength=4)
    colours = d.pick(
        (paints("d9534f f8f0e0"), paints("3f8fa8 f8efd2"), paints("e6a23c fbf4e2"), paints("8a5fa8 f6e6ee"))
    )
    tent, stripe = light.far(colours[0], 0.1), light.far(colours[1], 0.1)
    for tx in (d(0.0, 0.3), d(0.45, 0.7), d(0.85, 1.05)):
        w, h = d(0.13, 0.18), d(0.1, 0.15)
        stage.fill("tent", stripe, mix(stripe, light.shadow, 0.15), box(tx - w * 0.86, y - h, tx + w * 0.86, y + 0.05))
        stage.fill(
            "tent",
            tent,
            mix(tent, light.shadow, 0.15),
            *[box(tx + w * a, y - h, tx + w * (a + 0.24), y + 0.05) for a in (-0.86, -0.36, 0.14, 0.62)],
        )
        stage.form("tent", tent, poly((tx - w, y - h), (tx, y - h - d(0.09, 0.14)), (tx + w, y - h)))
        stage.form(
            "tent",
            stripe,
            *[arc(tx + w * a, y - h, w * 0.25, 0.022, 0, 180) for a in (-0.75, -0.25, 0.25, 0.75)],
            strength=4,
        )
    ground = light.lit(d.pick(paints("d8c091 b9c27a cdb78f")))
    stage.fill("ground", mix(ground, (255, 255, 230), 0.14), mix(ground, light.shadow, 0.12), box(0, y + 0.04, 1, 1))
    sag = [(k / 12, 0.06 + 0.05 * math.sin(math.pi * k / 12)) for k in range(13)]
    stage.fill("bunting", light.lit(rgb("6a5a60")), None, tube(sag, 0.005), surface=0)
    for k, paint in enumerate(paints("e2554f f4c84a 4f95b8")):
        stage.fill(
            "bunting",
            light.lit(paint),
            None,
            *[poly((a, b), (a + 0.045, b + 0.004), (a + 0.02, b + 0.055)) for a, b in sag[k:12:3]],
            surface=0,
        )
    return Room(
        (y + 0.12, 0.96),
        (0.16, 0.4),
        None,
        ((0, mix(light.top, light.low, 0.5)), (y, ground)),
        ("ball", "crate", "bucket", "bush"),
    )


PLACES = (
    Place("harbour", harbour, "in a harbour", water=True),
    Place("garden", garden, "in a garden"),
    Place("fair", fair, "at a fair", (DAY, MORNING, SUNSET, DUSK, MINT)),
)
