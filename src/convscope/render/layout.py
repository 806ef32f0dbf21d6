"""Where the parts of a network lie in its drawing: pure numbers, the same for the same graph.

Nodes stand in columns by their rank, the longest way from the input. The main path is a straight line; every other
path, and every edge that passes a column, is put above or below what its columns hold already, the short ones first,
so that nothing overlaps. Long networks are cut into rows where all that goes on comes from one node.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convscope.render.lanes import Lanes, Part, heaviest, simplified

SYMBOLS = {"add", "multiply", "op", "norm", "activation"}
LAYERS = {"conv", "linear"}
_TALL, _LOW = 118.0, 12.0  # px of the largest map's side, and the least of any
_EDGE = 20.0  # px beside the rows
_TURN = 20.0  # px more, for what goes from row to row


@dataclass(frozen=True)
class Block:
    """Where a part lies: its centre and size, px, and the rank and the row of its column."""

    part: Part
    x: float
    y: float
    width: float
    height: float
    rank: int
    row: int


@dataclass(frozen=True)
class Line:
    """An edge in one row: from (x, y) of its `start` over the straight `middle` to its `end`, px.

    Args:
        middle: (x, y) of both ends of the level part; None where the edge joins neighbouring columns.
    """

    source: int
    target: int
    start: tuple[float, float]
    middle: tuple[tuple[float, float], tuple[float, float]] | None
    end: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One row: its band (top, bottom), the line of its main path, and from where to where it goes, px."""

    top: float
    bottom: float
    line: float
    left: float
    right: float


@dataclass(frozen=True)
class Layout:
    """A drawing in numbers.

    Args:
        scale: px of a block's width for each unit of `breadth`.
        side: of the largest map, which is `tall` px high.
    """

    blocks: dict[int, Block]
    lines: tuple[Line, ...]
    rows: tuple[Row, ...]
    width: float
    height: float
    scale: float
    side: float
    tall: float

    def rise(self, side: float) -> float:
        """Height of a block for maps of a side, px."""
        return _rise(side, self.side, self.tall)

    def breadth(self, channels: int) -> float:
        """Width of a block of so many channels, px."""
        return _breadth(channels) * self.scale


def side(shape: Sequence[int]) -> float:
    """The side of a square map with as many positions as one of the shape (c, ...)."""
    return math.sqrt(math.prod(shape[1:]))


def layout(graph: dict[str, Any], width: float = 1240, under: float = 46) -> Layout:
    """Lay out `run["graph"]` in rows of about `width` px, with `under` px below each for its labels."""
    parts = simplified(graph)
    ranks = _ranks(parts)
    main = _main(parts)
    cuts = _cuts(parts, ranks, main)
    largest = max(side(part.node["shape"]) for part in parts.values())
    widths, scale, gap, rows = _fitted(parts, ranks, cuts, width - 2 * _EDGE - 2 * _TURN)
    tall = _TALL * (1.25 if len(rows) == 1 and scale > 2 else 1)
    heights = _heights(parts, largest, tall, scale)
    lanes = Lanes(parts, ranks, main, heights)
    return _Assembly(lanes, widths, gap, rows, under).finished(scale, largest, tall)


# --- ranks and rows --------------------------------------------------------------------------------------------------


def _ranks(parts: dict[int, Part]) -> dict[int, int]:
    """The longest way from the input, in nodes."""
    ranks: dict[int, int] = {}
    for part in parts.values():
        ranks[part.id] = max((ranks[source] + 1 for source in part.before), default=0)
    return ranks


def _main(parts: dict[int, Part]) -> list[int]:
    """The path that is drawn straight: through as many maps as may be, and not through the squeezes of gates."""
    last = max((id for id, part in parts.items() if part.node["kind"] == "output"), default=max(parts))
    found, todo = {last}, [last]
    while todo:
        for source in parts[todo.pop()].before:
            if source not in found:
                found.add(source)
                todo.append(source)
    return heaviest(parts, found, lambda part: 1.0 if side(part.node["shape"]) > 1 else 0.0, last)


def _cuts(parts: dict[int, Part], ranks: dict[int, int], main: list[int]) -> list[int]:
    """The ranks after which a new row may begin: all that goes on comes from the main path's node of that rank."""
    open_until: dict[int, int] = {}
    for part in parts.values():
        for source in part.before:
            open_until[source] = max(open_until.get(source, 0), ranks[part.id])
    ends = [0] * (max(ranks.values()) + 2)
    for source, until in open_until.items():
        for rank in range(ranks[source] + 1, until):
            ends[rank] += 1
    by_rank: dict[int, list[int]] = defaultdict(list)
    for id, rank in ranks.items():
        by_rank[rank].append(id)
    return [
        ranks[id]
        for id in main
        if ends[ranks[id]] == 0 and all(other == id or other not in open_until for other in by_rank[ranks[id]])
    ]


# --- sizes -----------------------------------------------------------------------------------------------------------


def _rise(side: float, largest: float, tall: float) -> float:
    return max(_LOW, tall * math.sqrt(side / largest))


def _breadth(channels: int) -> float:
    return 2 + 1.4 * math.log2(max(1, channels))


def _heights(parts: dict[int, Part], largest: float, tall: float, scale: float) -> dict[int, float]:
    """Of all parts; a pool is drawn as wide open as what feeds it, within reason."""
    found: dict[int, float] = {}
    for id, part in parts.items():
        own = _rise(side(part.node["shape"]), largest, tall)
        if part.node["kind"] == "pool":
            fed = max((found[source] for source in part.before), default=own)
            own = max(own, min(fed, 1.6 * own + 4))
        found[id] = _symbol(scale) if part.node["kind"] in SYMBOLS else own
    return found


def _symbol(scale: float) -> float:
    return min(18.0, 8 + 3 * scale)


def _width(part: Part, scale: float) -> float:
    kind, shape = part.node["kind"], part.node["shape"]
    if kind in LAYERS or kind == "input":
        return _breadth(shape[0] if shape else 1) * scale
    return {"pool": 5 * scale, "concat": min(8.0, 3.0 + scale), "output": 5.0}.get(kind, _symbol(scale))


def _fitted(
    parts: dict[int, Part], ranks: dict[int, int], cuts: list[int], room: float
) -> tuple[dict[int, float], float, float, list[range]]:
    """Widths of the parts, scale, px between columns, and the ranks of each row."""

    def columns(scale: float) -> list[float]:
        wide = [0.0] * (max(ranks.values()) + 1)
        for id, part in parts.items():
            wide[ranks[id]] = max(wide[ranks[id]], _width(part, scale))
        return wide

    count = max(ranks.values()) + 1
    natural = sum(columns(1)) + 8 * (count - 1)
    rows = 1 if natural <= room else math.ceil(1.08 * natural / room)
    scale = min(1.6 if rows > 1 else 3.4, max(1.0, 0.93 * rows * room / natural))
    wide = columns(scale)
    gap = 8 * scale
    if rows == 1 and count > 1:
        gap = max(8.0, min(44.0, (room - sum(wide)) / (count - 1)))
    widths = {id: _width(part, scale) for id, part in parts.items()}
    return widths, scale, gap, _rows([*(each + gap for each in wide[:-1]), wide[-1]], cuts, room)


def _rows(pitch: list[float], cuts: list[int], room: float) -> list[range]:
    """As few rows as may be, and evenly filled: each is cut where it is nearest to its share."""
    count, total = math.ceil((sum(pitch) - 1e-6) / (room * 1.04)), sum(pitch)
    rows, start = [], 0
    ends = [sum(pitch[: rank + 1]) for rank in range(len(pitch))]
    for row in range(1, count):
        wanted = total * row / count
        after = [rank for rank in cuts if start < rank < len(pitch) - 2]
        cut = min(after, key=lambda rank: abs(ends[rank] - wanted), default=None)
        if cut is not None:
            rows.append(range(start, cut + 1))
            start = cut + 1
    return [*rows, range(start, len(pitch))]


# --- all together ----------------------------------------------------------------------------------------------------


class _Assembly:
    """Turns ranks and lanes into px."""

    def __init__(self, lanes: Lanes, widths: dict[int, float], gap: float, rows: Sequence[range], under: float) -> None:
        self.lanes, self.widths, self.gap = lanes, widths, gap
        self.row_of = {rank: index for index, row in enumerate(rows) for rank in row}
        self.column: dict[int, tuple[float, float]] = {}  # left and right of each rank
        self.rows: list[Row] = []
        for ranks in rows:
            self._row(ranks, under)

    def _row(self, ranks: range, under: float) -> None:
        wide: dict[int, float] = dict.fromkeys(ranks, 0.0)
        for id, rank in self.lanes.ranks.items():
            if rank in wide:
                wide[rank] = max(wide[rank], self.widths[id])
        x = _EDGE + (self.gap if self.rows else 0)
        for rank in ranks:
            self.column[rank] = x, x + wide[rank]
            x += wide[rank] + self.gap
        top = min(self.lanes.top[rank] for rank in ranks)
        bottom = max(self.lanes.bottom[rank] for rank in ranks)
        above = self.rows[-1].bottom + under + 22 if self.rows else 14.0
        self.rows.append(Row(above, above + bottom - top, above - top, _EDGE, x - self.gap))

    def finished(self, scale: float, largest: float, tall: float) -> Layout:
        blocks = {id: self._block(id) for id in self.lanes.parts}
        lines = [self._line(source, id, blocks) for id, part in self.lanes.parts.items() for source in part.before]
        width = max(row.right for row in self.rows) + _EDGE + _TURN
        return Layout(blocks, tuple(lines), tuple(self.rows), width, self.rows[-1].bottom, scale, largest, tall)

    def _block(self, id: int) -> Block:
        rank = self.lanes.ranks[id]
        left, right = self.column[rank]
        row = self.row_of[rank]
        y = self.rows[row].line + self.lanes.y[id]
        part = self.lanes.parts[id]
        return Block(part, (left + right) / 2, y, self.widths[id], self.lanes.heights[id], rank, row)

    def _line(self, source: int, target: int, blocks: dict[int, Block]) -> Line:
        one, other = blocks[source], blocks[target]
        start, rank = (one.x + one.width / 2, one.y), one.rank
        row = self.rows[other.row]
        if one.row != other.row:  # from where the row begins, on the line of the main path
            start, rank = (row.left, row.line), min(r for r, index in self.row_of.items() if index == other.row) - 1
        end = other.x - other.width / 2, other.y
        if rank + 1 >= other.rank:
            return Line(source, target, start, None, end)
        level = row.line + self.lanes.via[source, target]
        middle = (self.column[rank + 1][0], level), (self.column[other.rank - 1][1], level)
        return Line(source, target, start, middle, end)
