"""Which parts of a network are drawn, and how far above or below its main path each of them lies.

Every path beside the main one, and every edge that passes a column, is put next to what its columns hold already, on
the side where it comes to lie nearer; those that pass few columns come first, so that long ones go around them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

CLEAR = 7.0  # px between what lies above each other


@dataclass(frozen=True)
class Part:
    """A node as it is drawn; what is absorbed are the norms and non-linearities that are drawn as part of it."""

    id: int
    node: dict[str, Any]
    before: tuple[int, ...]
    absorbed: tuple[str, ...]


def simplified(graph: dict[str, Any]) -> dict[int, Part]:
    """The parts to draw, by id, in the order of execution.

    Norms and non-linearities are absorbed by what feeds them. Concatenating what another concatenation has joined
    already, and more (as DenseNet does again and again), is drawn as going on from that one.
    """
    before: dict[int, list[int]] = {node["id"]: [] for node in graph["nodes"]}
    for source, target in graph["edges"]:
        before[target].append(source)
    at: dict[int, int] = {}
    parts: dict[int, Part] = {}
    joined: dict[tuple[int, ...], int] = {}
    for node in graph["nodes"]:
        feeds = tuple(dict.fromkeys(at[source] for source in before[node["id"]]))
        if node["kind"] in ("norm", "activation") and len(feeds) == 1:
            part = parts[feeds[0]]
            parts[part.id] = Part(part.id, part.node, part.before, (*part.absorbed, node["op"]))
            at[node["id"]] = part.id
            continue
        at[node["id"]] = node["id"]
        shown = feeds
        if node["kind"] == "concat":
            known = next((n for n in range(len(feeds) - 1, 1, -1) if feeds[:n] in joined), 0)
            shown = (joined[feeds[:known]], *feeds[known:]) if known else feeds
            joined[feeds] = node["id"]
        parts[node["id"]] = Part(node["id"], node, shown, ())
    return parts


def heaviest(
    parts: dict[int, Part], free: Iterable[int], weight: Callable[[Part], float], last: int | None = None
) -> list[int]:
    """The path through the parts `free` with the largest sum of weights; the shorter one where two weigh the same.

    Args:
        last: where it ends; by default anywhere.
    """
    best: dict[int, tuple[float, int, int | None]] = {}
    for id in sorted(free):
        feeds = [source for source in parts[id].before if source in best]
        chosen = max(feeds, key=lambda source: (best[source][0], best[source][1], -source), default=None)
        heavy, short = (0.0, 0) if chosen is None else best[chosen][:2]
        best[id] = heavy + weight(parts[id]), short - 1, chosen
    end = max(best, key=lambda id: (best[id][0], best[id][1], id)) if last is None else last
    path = [end]
    while (source := best[path[-1]][2]) is not None:
        path.append(source)
    return path[::-1]


class Lanes:
    """How far above (-) or below (+) the main path everything lies.

    Args:
        ranks: the column of every part; a path that has room between its ends is moved to the middle of it.
        heights: of the parts, px.

    Attributes:
        y: of each part, px.
        via: of each edge that passes columns, px.
        top, bottom: ends of what each column holds, px.
    """

    def __init__(
        self, parts: dict[int, Part], ranks: dict[int, int], main: Sequence[int], heights: dict[int, float]
    ) -> None:
        self.parts, self.ranks, self.heights = parts, dict(ranks), heights
        self.y = dict.fromkeys(main, 0.0)
        self.via: dict[tuple[int, int], float] = dict.fromkeys(pairwise(main), 0.0)
        self.top: dict[int, float] = defaultdict(float)
        self.bottom: dict[int, float] = defaultdict(float)
        self.after: dict[int, list[int]] = defaultdict(list)
        for part in parts.values():
            for source in part.before:
                self.after[source].append(part.id)
        for id in main:
            self._take(self.ranks[id], 0, heights[id])
        ways = self._ways(set(parts) - set(main))
        for first, last, path, edges in sorted(ways + self._passing(ways), key=lambda way: way[1] - way[0]):
            self._put(first, last, path, edges)

    def _ways(self, free: set[int]) -> list[_Way]:
        ways = []
        while free:
            path = heaviest(self.parts, free, lambda part: 1.0)
            free = free - set(path)
            ways.append(self._way(path))
        return ways

    def _way(self, path: list[int]) -> _Way:
        """A path with the columns that it takes, and its edges that stay at its height."""
        ranks, before, after = self.ranks, self.parts[path[0]].before, self.after[path[-1]]
        edges = list(pairwise(path))
        first, last = ranks[path[0]], ranks[path[-1]]
        end = min(after, key=lambda id: (ranks[id], id), default=None)
        if end is not None:
            edges.append((path[-1], end))
            last = ranks[end] - 1
        alone = len(before) == len(after) == 1 and all(
            self.parts[target].before == (source,) and self.after[source] == [target]
            for source, target in pairwise(path)
        )
        if alone:
            edges.append((before[0], path[0]))
            room = (last - ranks[path[-1]]) // 2
            for id in path:
                ranks[id] += room
        return first, last, path, edges

    def _passing(self, ways: Sequence[_Way]) -> list[_Way]:
        """The other edges that pass columns."""
        level = set(self.via).union(*(edges for *_, edges in ways))
        found: list[_Way] = []
        for part in self.parts.values():
            for source in part.before:
                first, last = self.ranks[source] + 1, self.ranks[part.id] - 1
                if first <= last and (source, part.id) not in level:
                    found.append((first, last, [], [(source, part.id)]))
        return found

    def _put(self, first: int, last: int, path: list[int], edges: list[tuple[int, int]]) -> None:
        high = dict.fromkeys(range(first, last + 1), 0.0) | {self.ranks[id]: self.heights[id] for id in path}
        above = min(self.top[rank] - CLEAR - height / 2 for rank, height in high.items())
        below = max(self.bottom[rank] + CLEAR + height / 2 for rank, height in high.items())
        y = above if -above <= below else below
        for rank, height in high.items():
            self._take(rank, y, height)
        self.y |= dict.fromkeys(path, y)
        self.via |= dict.fromkeys(edges, y)

    def _take(self, rank: int, y: float, height: float) -> None:
        self.top[rank] = min(self.top[rank], y - height / 2)
        self.bottom[rank] = max(self.bottom[rank], y + height / 2)


# First and last column, parts, and edges at its height.
_Way = tuple[int, int, list[int], list[tuple[int, int]]]
