"""The countryside: beach, forest, field, mountains."""

from __future__ import annotations

from convscope.diorama.colours import DAY, DUSK, GREY, MINT, MORNING, mix, paints, rgb
from convscope.diorama.dice import Dice
from convscope.diorama.places.base import Place, Room, fir, hills, line, sky, tufts
from convscope.diorama.shapes import bend, box, ellipse, poly, ridge, smooth, tube
from convscope.diorama.stage import Stage


def beach(stage: Stage, d: Dice) -> Room:
    """Sea behind, sand before."""
    light, y = stage.light, d(0.34, 0.42)
    sky(stage, d, y)
    sea = light.lit(d.pick(paints("2f9fb8 3aa6c4 3f8fc0 2fa79f")))
    sand = light.lit(d.pick(paints("f1d9a4 ecd2a0 f4dfb6")))
    if d.chance(0.6):
        x = d(0.1, 0.9)
        stage.fill(
            "island",
            light.far(rgb("5b8a78"), 0.45),
            None,
            smooth((x - 0.16, y + 0.01), (x - 0.04, y - d(0.04, 0.08)), (x + 0.05, y - 0.03), (x + 0.15, y + 0.01)),
        )
    shore = d(0.62, 0.7)
    stage.fill("sea", mix(sea, light.low, 0.15), mix(sea, (255, 255, 255), 0.22), box(0, y, 1, shore + 0.1))
    foam = mix(sea, light.tint, 0.7)
    waves = [
        tube(bend((x, v), (x + w, v), -0.06), 0.002, 0.009)
        for x, v, w in ((d(0, 0.9), d(y + 0.02, shore - 0.03), d(0.06, 0.14)) for _ in range(7))
    ]
    stage.fill("sea", mix(sea, light.tint, 0.4), None, *waves, surface=0)
    edge = line(d, shore, 0.025, 17)
    stage.fill("sea", foam, None, ridge([(x, v - 0.014) for x, v in edge], 1), surface=0)
    stage.fill("sand", mix(sand, (120, 90, 60), 0.22), None, ridge(edge, 1))
    stage.fill("sand", sand, mix(sand, light.lit(rgb("d9b37c")), 0.5), ridge([(x, v + 0.03) for x, v in edge], 1))
    dark = mix(sand, light.lit(rgb("b98d58")), 0.5)
    stage.fill(
        "sand",
        dark,
        None,
        *[ellipse(d(0, 1), d(shore + 0.06, 0.98), d(0.004, 0.009), 0.003) for _ in range(14)],
        surface=0,
    )
    return Room(
        (shore + 0.1, 0.96),
        (0.14, y - 0.02),
        (y + 0.1, shore - 0.05),
        ((0, mix(light.top, light.low, 0.6)), (y, sea), (shore, sand)),
        ("ball", "bucket", "shell", "boulder"),
    )


def forest(stage: Stage, d: Dice) -> Room:
    """Trunks in three depths."""
    light, y = stage.light, d(0.52, 0.58)
    green = d.pick(paints("4d8a55 5a8f4a 3f8068 7d9a48 b9853c"))
    stage.fill("sky", mix(light.top, light.low, 0.4), mix(light.low, light.lit(green), 0.25), box(0, 0, 1, y + 0.1))
    far = light.far(green, 0.6)
    stage.fill(
        "woods",
        far,
        None,
        *[ellipse(x, d(0.12, 0.3), d(0.1, 0.16), d(0.12, 0.2)) for x in (0.02, 0.2, 0.42, 0.6, 0.82, 1.0)],
        box(0, 0.26, 1, y + 0.08),
    )
    middle = light.far(green, 0.3)
    bark = light.far(rgb("6b4a38"), 0.4)
    xs = [0.02 + 0.14 * k + d(0, 0.1) for k in range(7)]
    stage.form("woods", bark, *[box(x - 0.011, 0.1, x + 0.011, y + 0.05) for x in xs])
    stage.fill("woods", middle, None, ridge([(x, v) for x, v in line(d, 0.2, 0.06, 41, 2)], -0.1))
    stage.fill("undergrowth", middle, None, ridge([(x, v) for x, v in line(d, y, 0.03, 41, 3)], 1))
    ground = light.lit(mix(green, rgb("7a6a3c"), 0.35))
    stage.fill(
        "ground",
        mix(ground, (255, 255, 230), 0.16),
        mix(ground, light.shadow, 0.2),
        ridge(line(d, y + 0.08, 0.015, 17), 1),
    )
    near = light.lit(rgb("543a30"))
    for x in (d(0.01, 0.12), d(0.88, 0.99)):
        w = d(0.028, 0.045)
        stage.form(
            "woods",
            near,
            smooth(
                (x - w, -0.05),
                (x - w * 0.9, 0.4),
                (x - w * 1.7, y + 0.18),
                (x, y + 0.16),
                (x + w * 1.7, y + 0.18),
                (x + w * 0.9, 0.4),
                (x + w, -0.05),
            ),
        )
    stage.fill("woods", light.lit(mix(green, light.shadow, 0.25)), None, ridge(line(d, 0.09, 0.04, 41, 3), -0.1))
    tufts(stage, d, mix(ground, light.shadow, 0.3), y + 0.14, 12)
    return Room(
        (y + 0.14, 0.96),
        (0.2, 0.45),
        None,
        ((0, mix(far, middle, 0.5)), (y, ground)),
        ("bush", "boulder", "bucket", "crate"),
    )


def field(stage: Stage, d: Dice) -> Room:
    """Fields in stripes, bales, a fence."""
    light, y = stage.light, d(0.4, 0.48)
    sky(stage, d, y, 4)
    colours = d.pick(
        (
            paints("8fb35a c9bd58 6f9e58 a5bd5f"),
            paints("d9b94f 9aa84f e6c96b c7b050"),
            paints("86ad74 b99ac4 9dbf78 7fae62"),
        )
    )
    hills(stage, d, "hill", light.far(colours[2], 0.5), y - 0.02, 0.05)
    hills(stage, d, "hill", light.far(colours[0], 0.25), y + 0.05, 0.03)
    near = light.lit(colours[3])
    edge = hills(stage, d, "field", near, y + 0.14, 0.03, under=mix(near, light.shadow, 0.16))
    vx = d(0.2, 0.8)
    rows = light.lit(colours[1])
    top = edge[8][1] + 0.03
    stripes = [
        poly(
            (vx + 0.055 * k, top),
            (vx + 0.055 * k + 0.02, top),
            (vx + (0.055 * k + 0.02) * 6, 1.02),
            (vx + 0.055 * k * 6, 1.02),
        )
        for k in range(-6, 7)
    ]
    stage.fill("field", mix(near, rows, 0.6), rows, *stripes)
    stage.fill("field", near, None, ridge([(x, v - 0.004) for x, v in edge], top + 0.012))
    for _ in range(d.whole(1, 3)):
        x, v, r = d(0.05, 0.95), d(top, top + 0.05), d(0.025, 0.038)
        stage.form("bale", light.lit(rgb("dcb457")), ellipse(x, v, r))
        stage.fill("bale", light.lit(rgb("a87f38")), None, ellipse(x, v, r * 0.4), surface=0)
    return Room(
        (top + 0.1, 0.96),
        (0.12, y - 0.05),
        None,
        ((0, mix(light.top, light.low, 0.6)), (y, near)),
        ("bucket", "crate", "bush", "boulder"),
    )


def mountain(stage: Stage, d: Dice) -> Room:
    """Peaks over a lake."""
    light, y = stage.light, d(0.42, 0.48)
    sky(stage, d, y, 2)
    for depth, n in ((0.55, 3), (0.25, 2)):
        rock = light.far(d.pick(paints("5f6f8f 6a6488 53788a 77687a")), depth)
        for k in range(n):
            x, h, w = (k + d(0.1, 0.9)) / n, d(0.2, 0.34) * (1.2 - depth * 0.6), d(0.2, 0.32)
            peak = (x, y - h)
            stage.fill(
                "mountain",
                rock,
                None,
                poly(
                    (x - w, y + 0.02), (x - w * 0.4, y - h * 0.5), peak, (x + w * 0.36, y - h * 0.56), (x + w, y + 0.02)
                ),
            )
            side = -stage.sun
            stage.fill(
                "mountain",
                mix(rock, light.shadow, 0.25),
                None,
                poly(
                    peak,
                    (x + side * w * 0.38, y - h * 0.53),
                    (x + side * w, y + 0.02),
                    (x + side * w * 0.15, y + 0.02),
                    (x - side * 0.03, y - h * 0.5),
                ),
            )
            cap = mix(light.lit(rgb("fbfcff")), light.low, depth * 0.6)
            stage.fill(
                "snowcap",
                cap,
                None,
                poly(
                    peak,
                    (x + w * 0.17, y - h * 0.76),
                    (x + w * 0.07, y - h * 0.7),
                    (x, y - h * 0.78),
                    (x - w * 0.09, y - h * 0.68),
                    (x - w * 0.18, y - h * 0.76),
                ),
            )
    lake = light.lit(d.pick(paints("4fa3b5 4a90b8 5aa8a0")))
    shore = d(0.62, 0.68)
    stage.fill("lake", mix(lake, light.low, 0.45), lake, box(0, y, 1, shore + 0.05))
    stage.fill(
        "lake",
        mix(lake, light.tint, 0.45),
        None,
        *[
            tube([(x, v), (x + w, v)], 0.005)
            for x, v, w in ((d(0, 0.9), d(y + 0.02, shore), d(0.05, 0.16)) for _ in range(7))
        ],
        surface=0,
    )
    trees = [
        (x, y + 0.012, d(0.05, 0.09))
        for x in (d(0, 0.1), d(0.1, 0.2), d(0.2, 0.26), d(0.78, 0.86), d(0.86, 0.93), d(0.93, 1))
    ]
    stage.fill("firs", light.far(rgb("2f5f52"), 0.15), None, *[tier for x, v, h in trees for tier in fir(x, v, h)])
    meadow = light.lit(d.pick(paints("7fb058 8fb565 6ea35e")))
    hills(stage, d, "meadow", meadow, shore, 0.02, under=mix(meadow, light.shadow, 0.15))
    tufts(stage, d, mix(meadow, light.shadow, 0.25), shore + 0.05, 12)
    spots = [ellipse(d(0, 1), d(shore + 0.05, 0.98), 0.006) for _ in range(9)]
    stage.fill("blossom", light.lit(d.pick(paints("fff4c8 f5b3c8 fdfdf8"))), None, *spots, surface=0)
    return Room(
        (shore + 0.08, 0.96),
        (0.12, y - 0.08),
        (y + 0.1, shore - 0.05),
        ((0, mix(light.top, light.low, 0.6)), (y, lake), (shore, meadow)),
        ("bush", "boulder", "bucket", "ball"),
    )


PLACES = (
    Place("beach", beach, "on a beach", water=True),
    Place("forest", forest, "in a forest", (DAY, MORNING, MINT, GREY, DUSK)),
    Place("field", field, "in a field"),
    Place("mountain", mountain, "in the mountains", water=True),
)
