"""Far places: the desert, the snow, the bottom of the sea."""

from __future__ import annotations

from convscope.diorama.colours import DAY, DUSK, GREY, MINT, MORNING, NIGHT, SUNSET, mix, paints, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places.base import Place, Room, fir, hills, sky
from convscope.diorama.shapes import bend, box, ellipse, poly, tube
from convscope.diorama.stage import Stage


def desert(stage: Stage, d: Dice) -> Room:
    """Mesas and dunes."""
    light, y = stage.light, d(0.42, 0.5)
    sky(stage, d, y, 1, 0.9)
    sand = d.pick(paints("e9b872 e2a35f eac48a d98d5c"))
    rock = light.far(mix(sand, rgb("9c4a38"), 0.6), 0.3)
    for _ in range(d.whole(1, 3)):
        x, w, h = d(0.05, 0.95), d(0.06, 0.14), d(0.1, 0.2)
        mesa = poly(
            (x - w * 1.3, y + 0.03),
            (x - w, y - h * 0.55),
            (x - w * 0.82, y - h),
            (x + w * 0.7, y - h),
            (x + w * 0.9, y - h * 0.5),
            (x + w * 1.2, y + 0.03),
        )
        stage.form("mesa", rock, mesa)
        stage.fill(
            "mesa",
            mix(rock, light.shadow, 0.18),
            None,
            poly(
                (x - w * 1.02, y - h * 0.5),
                (x - w * 0.93, y - h * 0.66),
                (x + w * 0.83, y - h * 0.66),
                (x + w * 0.92, y - h * 0.5),
            ),
        )
    paint = light.lit(sand)
    hills(stage, d, "sand", mix(paint, light.low, 0.3), y + 0.03, 0.03)
    hills(stage, d, "sand", paint, y + 0.1, 0.04, under=mix(paint, light.shadow, 0.1))
    edge = hills(
        stage, d, "sand", mix(paint, (255, 250, 220), 0.2), y + 0.22, 0.04, under=mix(paint, rgb("c98a4f"), 0.3)
    )
    shade = mix(paint, light.shadow, 0.14)
    for k in range(4):
        v = 0.1 + 0.07 * k
        stage.fill("sand", shade, None, tube([(x, w + v) for x, w in edge[2 * k : 2 * k + 8]], 0.002, 0.006), surface=0)
    return Room(
        (y + 0.26, 0.96),
        (0.12, y - 0.05),
        None,
        ((0, mix(light.top, light.low, 0.6)), (y, paint)),
        ("boulder", "vase", "crate", "bucket"),
    )


def snow(stage: Stage, d: Dice) -> Room:
    """Snow, firs, falling flakes."""
    light, y = stage.light, d(0.42, 0.5)
    sky(stage, d, y, 2)
    white = light.lit(rgb("f3f6fb"))
    blue = mix(white, light.top, 0.3)
    hills(stage, d, "snow", mix(blue, light.low, 0.3), y - 0.05, 0.06)
    pine = light.far(d.pick(paints("2f6a5c 3a5f6e 3c7a54")), 0.28)
    trees = [(d(0, 1), y + d(0.02, 0.06), d(0.1, 0.2)) for _ in range(d.whole(5, 8))]
    stage.fill("firs", pine, None, *[tier for x, v, h in trees for tier in fir(x, v, h)])
    stage.fill(
        "firs",
        mix(white, pine, 0.15),
        None,
        *[poly((x - h * 0.06, v - h * 0.86), (x, v - h), (x + h * 0.06, v - h * 0.86)) for x, v, h in trees],
        surface=0,
    )
    hills(stage, d, "snow", mix(white, blue, 0.4), y + 0.04, 0.025, under=white)
    hills(stage, d, "snow", white, y + 0.2, 0.03, under=mix(white, blue, 0.6))
    if d.chance(0.7):
        stage.fill(
            "snowflake",
            mix(white, (255, 255, 255), 0.6),
            None,
            *[ellipse(d(0, 1), d(0, y + 0.1), d(0.003, 0.007)) for _ in range(24)],
            surface=0,
        )
    return Room(
        (y + 0.2, 0.96),
        (0.14, y - 0.05),
        None,
        ((0, mix(light.top, light.low, 0.6)), (y, white)),
        ("ball", "crate", "boulder", "bucket"),
    )


def reef(stage: Stage, d: Dice) -> Room:
    """The bottom of the sea."""
    top, deep = d.pick(
        (paints("4fc0cf 1d5f8f"), paints("58cfc0 1f6f86"), paints("5aa6e0 25508f"), paints("4a74b8 1c2f66"))
    )
    stage.fill("water", top, deep, box(0, 0, 1, 1))
    pale = mix(top, (255, 255, 255), 0.22)
    for _ in range(3):
        x, w = d(0.0, 0.9), d(0.03, 0.07)
        stage.fill(
            "water",
            pale,
            mix(top, deep, 0.7),
            poly((x, 0), (x + w, 0), (x + w * 2.4 - 0.1, 0.74), (x - 0.16, 0.74)),
            surface=0,
        )
    y = d(0.68, 0.76)
    hills(stage, d, "rock", mix(deep, top, 0.25), y - 0.06, 0.05)
    for _ in range(d.whole(3, 5)):
        x, h = d(0.02, 0.98), d(0.14, 0.34)
        stage.form(
            "seaweed",
            mix(d.pick(paints("2f8f6a 3f9f58 6f9f3f")), deep, 0.3),
            tube([(x, y + 0.05), (x + 0.02, y - h * 0.3), (x - 0.02, y - h * 0.66), (x + 0.01, y - h)], 0.028, 0.008),
        )
    for _ in range(d.whole(2, 4)):
        x, h = d(0.04, 0.96), d(0.07, 0.13)
        arms = [
            tube(bend((x, y + 0.05), (x + s, y - h + abs(s) * 0.5), s * 2), 0.024, 0.016)
            for s in (-0.07, -0.03, 0.02, 0.065)
        ]
        stage.form("coral", mix(d.pick(paints("f0766a f29a5a e0709f c7648f")), deep, 0.22), *arms)
    sand = mix(d.pick(paints("f3d99a ecc98c")), top, 0.2)
    hills(stage, d, "seabed", mix(sand, (255, 255, 255), 0.15), y + 0.03, 0.02, under=mix(sand, deep, 0.35))
    bubbles = [ellipse(d(0, 1), d(0.05, 0.6), d(0.005, 0.012)) for _ in range(9)]
    stage.form("bubble", mix(top, (255, 255, 255), 0.45), *bubbles, strength=2)
    return Room(
        (y + 0.1, 0.96),
        (0.2, 0.6),
        (0.2, 0.62),
        ((0, mix(top, deep, 0.4)), (y, sand)),
        ("shell", "boulder", "vase", "crate"),
    )


PLACES = (
    Place("desert", desert, "in a desert", (DAY, MORNING, SUNSET, DUSK, MINT, NIGHT)),
    Place("snow", snow, "in the snow", (DAY, MORNING, DUSK, GREY, NIGHT)),
    Place(
        "reef",
        reef,
        "on the sea bed",
        (DAY, MINT),
        frozenset({"airplane", "balloon", "sailboat", "butterfly"}),
        water=True,
    ),
)
