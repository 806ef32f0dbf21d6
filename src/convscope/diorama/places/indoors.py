"""Rooms of a house."""

from __future__ import annotations

from convscope.diorama.colours import DAY, DUSK, GREY, LAMP, MINT, MORNING, NIGHT, SUNSET, mix, paints, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places.base import Place, Room, window
from convscope.diorama.shapes import Polygon, box, ellipse, poly, rounded, smooth, tube
from convscope.diorama.stage import Stage

INDOORS = (DAY, MORNING, SUNSET, GREY, MINT, LAMP)


def kitchen(stage: Stage, d: Dice) -> Room:
    """A worktop before tiles, a shelf, a cooker's hood."""
    light, y = stage.light, d(0.6, 0.66)
    wall = light.lit(d.pick(paints("f3e6cd dfe8df f0d9c8 cfe0e6 f5edd8")))
    stage.fill("wall", wall, mix(wall, light.shadow, 0.1), box(0, 0, 1, y))
    tile = light.lit(d.pick(paints("bcd6d4 f4efe4 e6c3a8 a9c3b0 d9d2c4")))
    top = d(0.34, 0.4)
    stage.fill("tiles", tile, mix(tile, light.shadow, 0.12), box(0, top, 1, y))
    joints = [box(0, v, 1, v + 0.005) for v in (top, top + 0.085, top + 0.17, top + 0.255) if v < y]
    joints += [
        box(0.1 * k + 0.05 * (r % 2), top + 0.085 * r, 0.1 * k + 0.05 * (r % 2) + 0.004, min(y, top + 0.085 * (r + 1)))
        for k in range(11)
        for r in range(3)
    ]
    stage.fill("tiles", mix(tile, (255, 255, 255), 0.5), None, *joints, surface=0)
    flip = d.chance(0.5)

    def at(x: float) -> float:
        return 1 - x if flip else x

    front = light.lit(d.pick(paints("7fa39a d9b48a 8fa8bf e8e2d2 c98f74")))
    w = d(0.34, 0.44)
    cupboard = [box(at(0.0), 0, at(w), 0.2)]
    stage.form("cupboard", front, *cupboard, strength=6)
    stage.fill(
        "cupboard",
        mix(front, light.shadow, 0.3),
        None,
        box(at(w / 2) - 0.003, 0, at(w / 2) + 0.003, 0.2),
        box(min(at(0.0), at(w)), 0.196, max(at(0.0), at(w)), 0.206),
        surface=0,
    )
    stage.fill(
        "cupboard",
        mix(front, (255, 255, 255), 0.5),
        None,
        *[box(at(w / 2 + s * 0.03) - 0.005, 0.1, at(w / 2 + s * 0.03) + 0.005, 0.16) for s in (-1, 1)],
        surface=0,
    )
    if d.chance(0.5):
        x = w + d(0.12, 0.24)
        steel = light.lit(rgb("b9c0c6"))
        stage.form(
            "hood",
            steel,
            box(at(x + 0.07) - 0.04, -0.02, at(x + 0.07) + 0.04, 0.16),
            poly((at(x - 0.06), 0.26), (at(x + 0.02), 0.15), (at(x + 0.12), 0.15), (at(x + 0.2), 0.26)),
        )
    else:
        x = at(w + d(0.2, 0.4))
        window(stage, x - 0.12, 0.06, x + 0.12, 0.3, light.lit(rgb("fbf6ea")), light.top, light.low)
    if d.chance(0.8):
        x = at(d(0.16, w))
        sx = x - 0.14
        stage.form("shelf", light.lit(rgb("a9764c")), box(sx, 0.38 - 0.03, sx + 0.3, 0.365), strength=4)
        for k, paint in enumerate(
            (
                d.pick(paints("d96b52 e8b44a 5f9a8a")),
                d.pick(paints("6f8fb5 f0e6d0 c78aa0")),
                d.pick(paints("e2a15a 8fb07a f3ead8")),
            )
        ):
            a = sx + 0.03 + 0.09 * k
            stage.form(
                "jar",
                light.lit(paint),
                rounded(a, 0.278, a + 0.06, 0.35, 0.012),
                box(a + 0.008, 0.265, a + 0.052, 0.28),
                strength=8,
            )
    wood = light.lit(d.pick(paints("c9986a b5805a ddb88a d8d2c8 8f9a9a")))
    stage.fill("worktop", mix(wood, (255, 245, 225), 0.22), wood, box(0, y, 1, 0.985))
    stage.fill(
        "worktop",
        mix(wood, light.shadow, 0.14),
        None,
        *[tube([(0, v), (1, v + d(-0.01, 0.01))], 0.004) for v in (y + 0.08, y + 0.18, y + 0.28)],
        surface=0,
    )
    stage.fill("worktop", mix(wood, light.shadow, 0.4), None, box(0, 0.975, 1, 1))
    return Room(
        (y + 0.08, 0.95), (0.2, 0.45), None, ((0, mix(wall, tile, 0.5)), (y, wood)), ("vase", "book", "bucket", "ball")
    )


def living_room(stage: Stage, d: Dice) -> Room:
    """A sofa, pictures, a window with curtains, a rug."""
    light, y = stage.light, d(0.6, 0.66)
    wall = light.lit(d.pick(paints("e6c9ae b9cdc8 d7c3d3 a9b9cf e9dcc0 c4cfa8 c98f80")))
    stage.fill("wall", wall, mix(wall, light.shadow, 0.12), box(0, 0, 1, y))
    if d.chance(0.5):
        stage.fill(
            "wall",
            mix(wall, (255, 255, 255), 0.14),
            None,
            *[box(0.1 * k, 0, 0.1 * k + 0.045, y) for k in range(10)],
            surface=0,
        )
    stage.form("skirting", light.lit(rgb("f6efe2")), box(0, y - 0.03, 1, y), strength=4)
    side = d.sign()
    wx = 0.5 + side * d(0.2, 0.3)
    window(stage, wx - 0.11, 0.1, wx + 0.11, 0.4, light.lit(rgb("fbf7ee")), light.top, light.low)
    cloth = light.lit(d.pick(paints("c75f5a 4f8590 d9a54f 7f6a9a 6f9468")))
    drapes = [
        smooth(
            (wx + s * 0.19, 0.06),
            (wx + s * 0.1, 0.06),
            (wx + s * 0.12, 0.3),
            (wx + s * 0.15, 0.48),
            (wx + s * 0.2, 0.48),
        )
        for s in (-1, 1)
    ]
    stage.form("curtain", cloth, *drapes, strength=20)
    stage.form(
        "curtain rail", light.lit(rgb("6a4a3a")), tube([(wx - 0.21, 0.06), (wx + 0.21, 0.06)], 0.014), strength=3
    )
    for k in range(d.whole(1, 2)):
        px, py = 0.5 - side * (0.1 + 0.2 * k) + d(-0.02, 0.02), d(0.14, 0.22)
        stage.form("picture", light.lit(rgb("7a5640")), box(px - 0.075, py - 0.065, px + 0.075, py + 0.085), strength=5)
        stage.fill(
            "picture",
            light.lit(rgb("cfe3ea")),
            light.lit(rgb("f4e7cf")),
            box(px - 0.06, py - 0.05, px + 0.06, py + 0.07),
            surface=0,
        )
        stage.fill(
            "picture",
            light.lit(d.pick(paints("6f9a7a d98a5f 5f7fa8"))),
            None,
            poly(
                (px - 0.06, py + 0.07),
                (px - 0.02, py),
                (px + 0.02, py + 0.04),
                (px + 0.06, py + 0.01),
                (px + 0.06, py + 0.07),
            ),
            surface=0,
        )
    floor = light.lit(d.pick(paints("b98a5f a87550 c9a27a 8f7a6a")))
    stage.fill("floor", floor, mix(floor, (255, 240, 215), 0.15), box(0, y, 1, 1))
    stage.fill(
        "floor",
        mix(floor, light.shadow, 0.22),
        None,
        *[box(0, v, 1, v + 0.004) for v in (y + 0.05, y + 0.11, y + 0.19, y + 0.29)],
        surface=0,
    )
    sx, sofa = 0.5 - side * d(0.16, 0.24), light.lit(d.pick(paints("5f8a8f c98a6a 8a7fa8 d9b96a 7f9a6a b56a6a")))
    stage.form(
        "sofa", mix(sofa, light.shadow, 0.12), rounded(sx - 0.22, y - 0.16, sx + 0.22, y + 0.04, 0.05), strength=10
    )
    stage.form(
        "sofa",
        sofa,
        rounded(sx - 0.2, y - 0.03, sx - 0.002, y + 0.03, 0.02),
        rounded(sx + 0.002, y - 0.03, sx + 0.2, y + 0.03, 0.02),
        rounded(sx - 0.27, y - 0.09, sx - 0.19, y + 0.07, 0.03),
        rounded(sx + 0.19, y - 0.09, sx + 0.27, y + 0.07, 0.03),
        box(sx - 0.2, y + 0.03, sx + 0.2, y + 0.07),
        strength=10,
    )
    stage.form(
        "cushion",
        light.lit(d.pick(paints("f0c75a f4ead6 d96a5f 7fb0a8"))),
        smooth((sx - 0.18, y - 0.1), (sx - 0.08, y - 0.1), (sx - 0.07, y - 0.01), (sx - 0.17, y - 0.01)),
        strength=10,
    )
    rug = light.lit(d.pick(paints("d9c3a0 b56a5f 5f7f9a e0d0c0 8a9a78")))
    rx = d(0.35, 0.65)
    stage.fill("rug", rug, None, ellipse(rx, y + 0.24, 0.4, 0.11))
    stage.fill("rug", mix(rug, (255, 250, 235), 0.35), None, ellipse(rx, y + 0.24, 0.34, 0.088))
    stage.fill("rug", mix(rug, (255, 250, 235), 0.12), None, ellipse(rx, y + 0.24, 0.31, 0.078))
    return Room(
        (y + 0.1, 0.95), (0.2, 0.45), None, ((0, wall), (y, mix(floor, rug, 0.4))), ("book", "ball", "vase", "crate")
    )


def bedroom(stage: Stage, d: Dice) -> Room:
    """A bed under a window."""
    light, y = stage.light, d(0.58, 0.64)
    wall = light.lit(d.pick(paints("c9d3e6 e6d3dd d7e0c4 f0dcc0 bfb3d3")))
    stage.fill("wall", wall, mix(wall, light.shadow, 0.14), box(0, 0, 1, y))
    dots = mix(wall, (255, 255, 255), 0.4)
    stage.fill(
        "wall",
        dots,
        None,
        *[ellipse(0.1 * k + 0.05 * (r % 2), 0.06 + 0.1 * r, 0.008) for k in range(11) for r in range(6)],
        surface=0,
    )
    side = d.sign()
    wx = 0.5 - side * d(0.16, 0.26)
    outside = d.pick((light, NIGHT, DUSK))
    window(stage, wx - 0.13, 0.1, wx + 0.13, 0.38, light.lit(rgb("fdf8ee")), outside.top, outside.low)
    stage.fill("moon", outside.glow, None, ellipse(wx + 0.06, 0.17, 0.028), surface=0)
    floor = light.lit(d.pick(paints("c2a080 a88a78 d6bd9a 9a8fa0")))
    stage.fill("floor", floor, mix(floor, (255, 245, 230), 0.16), box(0, y, 1, 1))
    stage.fill(
        "floor",
        mix(floor, light.shadow, 0.2),
        None,
        *[
            poly((0.5 + 0.09 * k, y), (0.5 + 0.09 * k + 0.004, y), (0.5 + 0.17 * k + 0.008, 1), (0.5 + 0.17 * k, 1))
            for k in range(-6, 7)
        ],
        surface=0,
    )

    def at(x: float) -> float:
        return 0.5 + side * x

    wood, cover = (
        light.lit(d.pick(paints("8a5f45 a97c58 e8dccb 6f5a68"))),
        light.lit(d.pick(paints("6f95b8 d98a8a e6c46a 8fb08f 9a83b8"))),
    )

    def slab(a: float, y0: float, b: float, y1: float, r: float = 0.012) -> Polygon:
        return rounded(min(at(a), at(b)), y0, max(at(a), at(b)), y1, r)

    stage.form(
        "bed",
        wood,
        slab(0.44, y - 0.22, 0.48, y + 0.12, 0.02),
        slab(-0.02, y - 0.06, 0.015, y + 0.12, 0.015),
        slab(0.0, y + 0.02, 0.46, y + 0.08),
        strength=8,
    )
    stage.form("bed", light.lit(rgb("f8f3ea")), slab(0.015, y - 0.04, 0.44, y + 0.035, 0.01), strength=8)
    stage.form("pillow", light.lit(rgb("fffcf5")), slab(0.32, y - 0.1, 0.435, y - 0.02, 0.035), strength=8)
    stage.form("blanket", cover, slab(0.015, y - 0.075, 0.31, y + 0.05, 0.03), strength=12)
    stage.form("blanket", mix(cover, (255, 255, 255), 0.45), slab(0.27, y - 0.08, 0.32, y + 0.052, 0.012), strength=5)
    rug = light.lit(d.pick(paints("f0e2cc c78a7a 7f9ab0")))
    stage.fill("rug", rug, None, rounded(0.18, y + 0.2, 0.82, y + 0.32, 0.05))
    stage.fill(
        "rug",
        mix(rug, light.shadow, 0.2),
        None,
        *[box(0.2 + 0.1 * k, y + 0.2, 0.23 + 0.1 * k, y + 0.32) for k in range(7)],
        surface=0,
    )
    return Room(
        (y + 0.12, 0.95), (0.2, 0.42), None, ((0, wall), (y, mix(floor, rug, 0.3))), ("book", "ball", "vase", "crate")
    )


PLACES = (
    Place("kitchen", kitchen, "in a kitchen", INDOORS), Place("living room", living_room, "in a living room",
        INDOORS), Place("bedroom", bedroom, "in a bedroom", (MORNING, DAY, MINT, LAMP, DUSK)),
)  # fmt: skip
