"""Polygons: arrays (n, 2) of x and y. All things of the diorama are made of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
Point = tuple[float, float]


def poly(*points: Point) -> Polygon:
    """The polygon with these corners."""
    return np.array(points, np.float64)


def box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """An upright rectangle."""
    return np.array(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), np.float64)


@functools.cache
def _circle(n: int, start: float, stop: float) -> Polygon:
    angles = np.linspace(start, stop, n, endpoint=stop - start < 6.28)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def ellipse(cx: float, cy: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Polygon:
    """An ellipse around (cx, cy), turned by `turn` radians."""
    points = _circle(22, 0.0, 2 * math.pi) * (rx, rx if ry is None else ry)
    return moved(turned(points, turn) if turn else points, cx, cy)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float) -> Polygon:
    """The piece of an ellipse between two angles in degrees, closed by a straight line."""
    return _circle(14, math.radians(start), math.radians(stop)) * (rx, ry) + (cx, cy)


def ring(cx: float, cy: float, r: float, width: float) -> Polygon:
    """A ring of outer radius r."""
    outer = ellipse(0, 0, r)
    inner = outer * ((r - width) / r)
    return moved(np.concatenate([outer, outer[:1], inner[:1], inner[::-1]]), cx, cy)


def rounded(x0: float, y0: float, x1: float, y1: float, r: float) -> Polygon:
    """A rectangle whose corners are rounded with radius r."""
    r = min(r, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
    quarter = _circle(5, 0.0, math.pi / 2) * r
    corners = ((x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r))
    return np.concatenate([turned(quarter, k * math.pi / 2) + corner for k, corner in enumerate(corners)])


def _basis(n: int) -> NDArray[np.float64]:
    t = np.arange(n)[:, None] / n
    columns = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    basis: NDArray[np.float64] = np.concatenate(columns, 1) / 2
    return basis


_STEPS = _basis(5)


def smooth(*points: Point) -> Polygon:
    """A closed curve through these points (Catmull-Rom)."""
    p = np.array(points, np.float64)
    around = np.stack([np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)], 1)
    curve: Polygon = np.einsum("tk,nkd->ntd", _STEPS, around).reshape(-1, 2)
    return curve


def tube(points: Sequence[Point], start: float, stop: float | None = None) -> Polygon:
    """A band along a line, `start` wide at its first point and `stop` at its last."""
    p = np.array(points, np.float64)
    along = np.empty_like(p)
    along[1:-1] = p[2:] - p[:-2]
    along[0], along[-1] = p[1] - p[0], p[-1] - p[-2]
    along /= np.hypot(along[:, :1], along[:, 1:]) + 1e-12
    half = np.linspace(start, start if stop is None else stop, len(p))[:, None] / 2
    side = np.stack([-along[:, 1], along[:, 0]], 1) * half
    return np.concatenate([p + side, (p - side)[::-1]])


def bend(a: Point, b: Point, bow: float, n: int = 6) -> list[Point]:
    """Points on a bow from a to b, that leaves the straight line by `bow` times its length."""
    (ax, ay), (bx, by) = a, b
    dx, dy = bx - ax, by - ay
    steps = [i / (n - 1) for i in range(n)]
    return [(ax + dx * t - dy * bow * 4 * t * (1 - t), ay + dy * t + dx * bow * 4 * t * (1 - t)) for t in steps]


def moved(points: Polygon, x: float, y: float) -> Polygon:
    """The polygon moved by x and y."""
    out: Polygon = points + np.array((x, y))
    return out


def turned(points: Polygon, angle: float, about: Point = (0.0, 0.0)) -> Polygon:
    """The polygon turned by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array(((c, s), (-s, c)))
    out: Polygon = (points - about) @ turn + about
    return out


def ridge(heights: Sequence[Point], floor: float) -> Polygon:
    """The surface below a line of points, down to `floor`."""
    return np.array([(heights[0][0], floor), *heights, (heights[-1][0], floor)], np.float64)
