"""Charts and tables of a result, as data: what they consist of. How they look is decided in ``convscope.render``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Names with a value each."""

    title: str
    rows: tuple[tuple[str, float | int | str], ...]


@dataclass(frozen=True)
class Bars:
    """A histogram: heights (n,) over bins of equal width with n + 1 edges.

    Args:
        x, y: what the axes mean, with units.
        note: what the reader must know, such as how it was sampled.
        log: whether heights are shown by their logarithm.
    """

    title: str
    edges: tuple[float, ...]
    heights: tuple[float, ...]
    x: str
    y: str
    note: str = ""
    log: bool = True


@dataclass(frozen=True)
class Scatter:
    """Points (n,), each with a name."""

    title: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    names: tuple[str, ...]
    x: str
    y: str
    note: str = ""


Panel = Table | Bars | Scatter
