"""The town: a street by day, towers by night."""

from __future__ import annotations

from convscope.diorama.colours import DAY, DUSK, GREY, MINT, MORNING, NIGHT, RGB, SUNSET, mix, paints, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places.base import Place, Room, sky
from convscope.diorama.shapes import Polygon, box, ellipse, poly, tube
from convscope.diorama.stage import Stage

HOUSES = (
    paints("e9a58a f1cf9a 9fc2b8 d98d74 f0e3c4 b7a9c9"),
    paints("f2d7b0 c9d7c4 e7b7a5 8fb0b8 f5ecd8"),
    paints("b86f5c d9b18a 8f9aa8 e8d6bc 7f8f88"),
)


def front(stage: Stage, d: Dice, x0: float, x1: float, top: float, foot: float, wall: RGB) -> None:
    """The front of a house in a row."""
    light = stage.light
    stage.fill("building", wall, mix(wall, light.shadow, 0.12), box(x0, top, x1, foot))
    roof = light.lit(d.pick(paints("a5543f 7a4a44 5d6470 8a5f4a")), 0.9)
    style = d.whole(0, 2)
    if style == 0:
        stage.form(
            "roof tiles", roof, poly((x0 - 0.005, top), ((x0 + x1) / 2, top - (x1 - x0) * 0.4), (x1 + 0.005, top))
        )
    elif style == 1:
        stage.form("roof tiles", roof, poly((x0, top), (x0 + 0.02, top - 0.05), (x1 - 0.02, top - 0.05), (x1, top)))
    else:
        stage.form(
            "building",
            mix(wall, (255, 255, 255), 0.3),
            box(x0 - 0.004, top - 0.016, x1 + 0.004, top + 0.006),
            strength=6,
        )
    lit = light.name in {"night", "dusk"}
    glass = mix(light.top, light.shadow, 0.35)
    columns = 2 if x1 - x0 < 0.2 else 3
    step = (x1 - x0) / columns
    dark: list[Polygon] = []
    bright: list[Polygon] = []
    rows = int((foot - top - 0.14) / 0.1)
    for row in range(rows):
        for column in range(columns):
            x, y = x0 + step * (column + 0.5), top + 0.04 + 0.1 * row
            (bright if lit and d.chance(0.5) else dark).append(box(x - step * 0.24, y, x + step * 0.24, y + 0.06))
    frames = mix(wall, (255, 255, 255), 0.45)
    if dark:
        stage.fill("building", glass, mix(glass, light.low, 0.3), *dark, surface=0)
    if bright:
        stage.fill("building", rgb("ffdf8a"), None, *bright, surface=0)
    stage.fill(
        "building",
        frames,
        None,
        *[box(p[0, 0] - 0.004, p[2, 1], p[1, 0] + 0.004, p[2, 1] + 0.009) for p in (*dark, *bright)],
        surface=0,
    )
    awning = light.lit(d.pick(paints("c94f45 3f7f8f d9a441 5f8f5a f0ead8")))
    stage.fill("shop", mix(glass, light.shadow, 0.2), None, box(x0 + 0.02, foot - 0.1, x1 - 0.02, foot), surface=0)
    stage.form(
        "awning",
        awning,
        poly((x0 + 0.015, foot - 0.115), (x1 - 0.015, foot - 0.115), (x1, foot - 0.07), (x0, foot - 0.07)),
        strength=8,
    )


def street(stage: Stage, d: Dice) -> Room:
    """A row of houses, pavement and road."""
    light, foot = stage.light, d(0.56, 0.62)
    sky(stage, d, 0.5, 2)
    colours = d.pick(HOUSES)
    x, last, middle = -d(0, 0.1), -1, colours[0]
    while x < 1:
        w, k = d(0.15, 0.25), d.whole(0, len(colours) - 1)
        k = (k + 1) % len(colours) if k == last else k
        middle = light.lit(colours[k])
        front(stage, d, x, x + w, d(0.14, 0.32), foot, middle)
        x, last = x + w, k
    pave = light.lit(rgb("cfc8bd"))
    stage.fill("pavement", pave, None, box(0, foot, 1, foot + 0.075))
    stage.fill("kerb", mix(pave, light.shadow, 0.35), None, box(0, foot + 0.07, 1, foot + 0.085))
    road = light.lit(d.pick(paints("7d7f88 8a8580 6f7683")))
    stage.fill("road", road, mix(road, (255, 255, 255), 0.1), box(0, foot + 0.085, 1, 1))
    shift, y = d(0, 0.2), foot + 0.085 + (1 - foot) * 0.42
    stage.fill(
        "marking",
        mix(road, rgb("fff6e0"), 0.75),
        None,
        *[
            poly((k + shift, y), (k + shift + 0.1, y), (k + shift + 0.09, y + 0.018), (k + shift - 0.013, y + 0.018))
            for k in (-0.2, 0.02, 0.24, 0.46, 0.68, 0.9)
        ],
        surface=0,
    )
    return Room(
        (foot + 0.1, 0.95),
        (0.12, 0.4),
        None,
        ((0, mix(light.lit(colours[0]), light.lit(colours[2]), 0.5)), (foot, road)),
        ("crate", "ball", "bush", "bucket"),
    )


def city(stage: Stage, d: Dice) -> Room:
    """Towers at night."""
    light = stage.light
    foot = d(0.62, 0.68)
    sky(stage, d, 0.6, 1, 0.8)
    if light.name == "night":
        stage.fill("star", light.glow, None, *[ellipse(d(0, 1), d(0, 0.4), 0.0045) for _ in range(22)], surface=0)
    for depth, base in ((0.6, 0.16), (0.15, 0.3)):
        x = -d(0, 0.1)
        wall = mix(d.pick(paints("2f3566 3a2f62 284a6a 35406f")), light.low, depth * 0.7)
        panes, towers = [], []
        while x < 1:
            w, top = d(0.1, 0.17), d(base, base + 0.2)
            towers.append(box(x, top, x + w, foot + 0.02))
            if d.chance(0.4):
                towers.append(box(x + w * 0.44, top - 0.06, x + w * 0.56, top))
            columns = int(w / 0.036)
            panes += [
                box(
                    x + w * (c + 0.3) / columns,
                    top + 0.03 + 0.042 * r,
                    x + w * (c + 0.72) / columns,
                    top + 0.052 + 0.042 * r,
                )
                for r in range(int((foot - top - 0.04) / 0.042))
                for c in range(columns)
                if d.chance(0.5)
            ]
            x += w + d(-0.01, 0.04)
        stage.fill("tower", wall, mix(wall, light.low, 0.25), *towers)
        if panes:
            lamp = d.pick(paints("ffd877 ffe7a6 ffc56b 9fe0e6"))
            stage.fill("tower", mix(lamp, wall, depth * 0.7), None, *panes, surface=0)
    pave = mix(rgb("4a4c78"), light.low, 0.2)
    stage.fill("pavement", mix(pave, (255, 230, 190), 0.25), None, box(0, foot, 1, foot + 0.05))
    road = mix(rgb("333659"), light.low, 0.2)
    stage.fill("road", mix(road, (255, 220, 170), 0.12), mix(road, (255, 220, 170), 0.3), box(0, foot + 0.05, 1, 1))
    for x in (d(0.06, 0.3), d(0.7, 0.94)):
        stage.fill(
            "road", mix(road, (255, 222, 150), 0.22), None, ellipse(x + 0.03, foot + 0.13, 0.15, 0.04), surface=0
        )
        stage.form(
            "street light",
            rgb("23233f"),
            tube([(x, foot + 0.05), (x, foot - 0.3), (x + 0.05, foot - 0.33)], 0.014, 0.01),
        )
        stage.fill("street light", rgb("fff0b0"), None, ellipse(x + 0.055, foot - 0.322, 0.022, 0.014), surface=0)
    return Room(
        (foot + 0.08, 0.96),
        (0.12, 0.42),
        None,
        ((0, mix(rgb("31376a"), light.low, 0.3)), (foot, road)),
        ("crate", "ball", "bucket", "bush"),
    )


PLACES = (
    Place("street", street, "in a street", (DAY, MORNING, SUNSET, DUSK, GREY, MINT)),
    Place("city at night", city, "in a city at night", (NIGHT, NIGHT, DUSK)),
)
