"""How the camera and the things of a clip move: smoothly, within what is drawn, and each kind at its own pace.

All of it is in the world of the still image: x and y in shares of it, (0, 0) its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.compose import Actor, Plan
from convscope.diorama.dice import Dice

Array = NDArray[np.float64]

# How far a thing comes in a frame, in its own sizes (the longer side of its box), at most. All other kinds stand still:
# plants, furniture, what is carried, and cats, which sit.
PACES = {
    "airplane": 0.08, "balloon": 0.02, "bicycle": 0.05, "bird": 0.035, "bus": 0.045, "butterfly": 0.04, "car": 0.06,
    "dog": 0.045, "elephant": 0.02, "fish": 0.045, "giraffe": 0.025, "rabbit": 0.04, "rocket": 0.08, "sailboat": 0.03,
    "train": 0.055, "truck": 0.05, "whale": 0.025,
}  # fmt: skip
RISES = frozenset({"balloon", "butterfly", "rocket"})  # what moves to where its top is, and not ahead
MOVING = 0.9  # how often a thing that can move does
PACE = 0.014  # of the camera, at most: shares of the still image in a frame
WIDTHS = (0.55, 1.9)  # how wide a window the camera shows, in shares of the still image
FAR = 0.08  # how far the camera can go on, if it moves
ROOM = 0.04  # how far a thing can go on, if it moves
CALM = 15  # steps in which nothing turns back
MARGIN = 0.015  # between things and the edge of the world


def world(made: Plan) -> Array:
    """What of the world is drawn: x0, y0, x1, y1. A scene knows its place beyond the edges of the image."""
    return np.array(made.view.box((0.0, 0.0, 1.0, 1.0)))


def thing_path(made: Plan, actor: Actor, d: Dice, frames: int) -> Array:
    """Where a thing is in each frame (frames, 2), as x and y from where the still image shows it."""
    path = np.zeros((frames, 2))
    if actor.kind.name not in PACES or not d.chance(MOVING):
        return path
    way = actor.axes[1 if actor.kind.name in RISES else 0]
    if actor.kind.home == "water":  # fish stay in their depth, and boats in the water
        way = way * (1, 0)
    way = way / np.hypot(*way)
    x0, y0, x1, y1 = actor.box
    middle = np.array(((x0 + x1) / 2, (y0 + y1) / 2))
    left, _, right, _ = world(made)
    height = made.room.height_of(actor.kind.home) or (middle[1], middle[1])
    edge = (x1 - x0) / 2 + MARGIN
    low, high = np.array((left + edge, height[0])), np.array((right - edge, height[1]))
    pace = PACES[actor.kind.name] * max(x1 - x0, y1 - y0) * d(0.6, 1.0)
    back, ahead = _reach(middle, way, np.minimum(low, middle), np.maximum(high, middle))
    return path + _swing(frames, back, ahead, pace)[:, None] * way if ahead > ROOM else path


def camera_path(made: Plan, paths: Sequence[Array], d: Dice, frames: int) -> Array:
    """Zoom, x and y of the window on the world in each frame (frames, 3), for things that move on these paths.

    It pans, zooms about a point, or stands where something moves. It is followed as (width, x0, y0, x1, y1), because
    all that limits it are limits of these five.
    """
    bounds = world(made)
    low, high = np.array((WIDTHS[0], *bounds[:2], -np.inf, -np.inf)), np.array((WIDTHS[1], np.inf, np.inf, *bounds[2:]))
    start = np.array((1.0, 0.0, 0.0, 1.0, 1.0))
    if made.kind:  # the main object is in sight until it turns back
        x0, y0, x1, y1 = _trail(
            *next((actor, path) for actor, path in zip(made.actors, paths, strict=True) if actor.main)
        )
        low[3:], high[1:3] = (x1, y1), (x0, y0)
        width = min(max(d(0.72, 0.95), x1 - x0, y1 - y0), 1.0)
        x, y = d(max(0.0, x1 - width), min(1.0 - width, x0)), d(max(0.0, y1 - width), min(1.0 - width, y0))
        start = np.array((width, x, y, x + width, y + width))
    path = np.repeat(start[None], frames, 0)
    moves = ("pan", "pan", "zoom")  # there is less room to pan
    move = d.pick((*moves, "stand", "stand") if any(each.any() for each in paths) else moves)
    if move != "stand":
        for _ in range(300):  # some starts leave few ways
            way = _pan(d) if move == "pan" else _zoom(d)
            reach = _reach(start, way, low, high)
            if reach[1] > FAR:
                break
            move = d.pick(moves)
        path += _swing(frames, *reach, PACE * d(0.5, 1.0))[:, None] * way
    return np.stack([1 / path[:, 0], path[:, 1], path[:, 2]], 1)


def _trail(actor: Actor, path: Array) -> Array:
    """The box of all that a thing covers before it turns back."""
    low, high = path[: CALM + 1].min(0), path[: CALM + 1].max(0)
    return np.clip(actor.box + np.concatenate([low, high]), 0.0, 1.0)


def _pan(d: Dice) -> Array:
    """A step of the window to a side, and often a little up or down."""
    x, y = d.sign(), d(-0.3, 0.3) * d.whole(0, 1)
    return np.array((0.0, x, y, x, y))


def _zoom(d: Dice) -> Array:
    """A step nearer or farther, that leaves a point of the window where it is, or an edge."""
    wider, x, y = d.sign(), min(max(d(-0.4, 1.4), 0.0), 1.0), min(max(d(-0.4, 1.4), 0.0), 1.0)
    return wider * np.array((1.0, -x, -y, 1 - x, 1 - y))


def _reach(start: Array, way: Array, low: Array, high: Array) -> tuple[float, float]:
    """How many steps of `way` one can go back and ahead from `start` and stay between `low` and `high`."""
    on = way != 0
    ends = np.sort(np.stack([low - start, high - start])[:, on] / way[on], 0)
    return max(-float(ends[0].max()), 0.0), max(float(ends[1].min()), 0.0)


def _swing(frames: int, back: float, ahead: float, pace: float) -> Array:
    """How far along its way something is in each frame: 0 first, then ahead, slower to the end, and back, in a sine.

    It goes at `pace` at most, and so slowly that it does not turn back within `CALM` frames.
    """
    half, middle = (ahead + back) / 2, (ahead - back) / 2
    if half == 0:
        return np.zeros(frames)
    start = math.asin(-middle / half)
    turn = min(pace / half, (math.pi / 2 - start) / CALM)
    way = np.sin(start + turn * np.arange(frames))
    return np.asarray(half * (way - way[0]))
