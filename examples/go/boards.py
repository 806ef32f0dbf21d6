"""Boards of Go with a planted player: ``python examples/go/boards.py FOLDER``.

Games are played by the rules with moves drawn at random near earlier ones. Of every game a few positions are kept, as
the 48 planes of the policy network of AlphaGo [Silver et al. 2016, extended data table 2], relative to the player who
is to move. The label is the move of a planted player: of the sensible points, the one whose neighbourhood of 3 × 3
points fits `OWN` and `OPPONENT` best.
"""

from __future__ import annotations

import csv
import functools
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIZE = 19
LETTERS = "ABCDEFGHJKLMNOPQRST"  # no I, as on real boards
SETS = {"train": 8000, "val": 1000}  # positions
FROM_ONE_GAME = 8

# A hane: bend around a stone of the opponent (below) from a stone of one's own (below, left), where it does not stand
# in the way of one's own. What a stone at each of the 3 × 3 points is worth.
OWN = np.array([[-3, -5, -2], [1, 0, -4], [8, -6, 3]])
OPPONENT = np.array([[2, 3, 1], [-4, 0, 5], [-7, 9, 4]])

# The planes: where each feature begins. Those of eight planes stand for the numbers 1 to 8 or more, and the size of a
# capture for 0 to 7 or more.
STONES, ONES, TURNS, LIBERTIES, CAPTURE, SELF_ATARI, AFTER = 0, 3, 4, 12, 20, 28, 36
LADDERS, SENSIBLE, ZEROS, PLANES = 44, 46, 47, 48  # nobody reads ladders here: those two planes are empty

Stones = set[int]


@dataclass(frozen=True)
class Outcome:
    """What a move would do: the stones it captures, the group that it becomes part of, and the liberties of that."""

    captured: Stones
    group: Stones
    liberties: Stones


@dataclass
class Position:
    """Stones on a board, whose points are numbered row by row.

    Args:
        stones: 1 for the player to move, -1 for the opponent, 0 for nobody.
        played: when the stone on each point was played, counted from 1.
        ko: the point where taking back at once is not allowed.
    """

    size: int = SIZE
    stones: list[int] = field(default_factory=list)
    played: list[int] = field(default_factory=list)
    moves: int = 0
    ko: int | None = None

    def __post_init__(self) -> None:
        self.stones = self.stones or [0] * self.size**2
        self.played = self.played or [0] * self.size**2

    def group(self, point: int) -> tuple[Stones, Stones]:
        """The stones connected with the one on `point`, and their liberties."""
        near, stones = neighbours(self.size), self.stones
        colour, connected, liberties, todo = stones[point], {point}, set(), [point]
        while todo:
            for other in near[todo.pop()]:
                if stones[other] == 0:
                    liberties.add(other)
                elif stones[other] == colour and other not in connected:
                    connected.add(other)
                    todo.append(other)
        return connected, liberties

    def groups(self) -> dict[int, tuple[Stones, Stones]]:
        """`group` of every stone."""
        found: dict[int, tuple[Stones, Stones]] = {}
        for point, colour in enumerate(self.stones):
            if colour and point not in found:
                one = self.group(point)
                found |= dict.fromkeys(one[0], one)
        return found

    def outcome(self, point: int, groups: dict[int, tuple[Stones, Stones]] | None = None) -> Outcome:
        """What a move on the empty `point` would do; without liberties it is suicide."""
        near = neighbours(self.size)
        around = {other: (groups or {}).get(other) or self.group(other) for other in near[point] if self.stones[other]}
        captured: Stones = set()
        connected, liberties = {point}, {other for other in near[point] if self.stones[other] == 0}
        for other, (stones, free) in around.items():
            if self.stones[other] > 0:
                connected |= stones
                liberties |= free
            elif free == {point}:
                captured |= stones
        liberties |= {each for each in captured if any(other in connected for other in near[each])}
        return Outcome(captured, connected, liberties - {point})

    def sensible(self, point: int, outcome: Outcome) -> bool:
        """Whether a move on the empty `point` is legal and fills no eye of one's own.

        An eye has one's own stones on all sides, and the opponent on at most one corner, on the edge on none.
        """
        if point == self.ko or not outcome.liberties:
            return False
        if any(self.stones[other] <= 0 for other in neighbours(self.size)[point]):
            return True
        around = corners(self.size)[point]
        return sum(self.stones[other] < 0 for other in around) > (len(around) == 4)

    def play(self, point: int, outcome: Outcome) -> None:
        """Make the move, and let the other one be to move."""
        self.moves += 1
        self.stones[point], self.played[point] = 1, self.moves
        for other in outcome.captured:
            self.stones[other] = self.played[other] = 0
        alone = len(outcome.captured) == len(outcome.group) == len(outcome.liberties) == 1
        self.ko = min(outcome.captured) if alone else None
        self.stones = [-colour for colour in self.stones]

    def planes(self) -> np.ndarray:
        """(48, size, size), uint8."""
        found = np.zeros((PLANES, self.size**2), np.uint8)
        found[ONES] = 1
        groups = self.groups()
        for point, colour in enumerate(self.stones):
            found[STONES + {1: 0, -1: 1, 0: 2}[colour], point] = 1
            if colour:
                found[TURNS + min(self.moves - self.played[point], 7), point] = 1
                found[LIBERTIES + min(len(groups[point][1]), 8) - 1, point] = 1
                continue
            outcome = self.outcome(point, groups)
            if point == self.ko or not outcome.liberties:
                continue
            found[CAPTURE + min(len(outcome.captured), 7), point] = 1
            found[AFTER + min(len(outcome.liberties), 8) - 1, point] = 1
            if len(outcome.liberties) == 1:
                found[SELF_ATARI + min(len(outcome.group), 8) - 1, point] = 1
            found[SENSIBLE, point] = self.sensible(point, outcome)
        return found.reshape(PLANES, self.size, self.size)


@functools.cache
def neighbours(size: int) -> list[list[int]]:
    """The points beside each point."""
    return _around(size, [(-1, 0), (0, -1), (0, 1), (1, 0)])


@functools.cache
def corners(size: int) -> list[list[int]]:
    """The points at the corners of each point."""
    return _around(size, [(-1, -1), (-1, 1), (1, -1), (1, 1)])


def _around(size: int, steps: list[tuple[int, int]]) -> list[list[int]]:
    inside = range(size)
    return [
        [(y + dy) * size + x + dx for dy, dx in steps if y + dy in inside and x + dx in inside]
        for y in inside
        for x in inside
    ]


def game(chance: random.Random, size: int = SIZE) -> list[np.ndarray]:
    """The planes of a few positions of one game, each in one of the board's eight symmetries."""
    position, played, found = Position(size), [], []
    longest = int(0.6 * size**2)
    wanted = {chance.randrange(longest // 10, longest) for _ in range(FROM_ONE_GAME)}
    for turn in range(max(wanted) + 1):
        if turn in wanted:
            found.append(symmetric(position.planes(), chance.randrange(8)))
        for _ in range(1000):  # who finds no move passes
            point = _drawn(played, chance, size)
            if position.stones[point] == 0 and position.sensible(point, outcome := position.outcome(point)):
                position.play(point, outcome)
                played.append(point)
                break
    return found


def _drawn(played: list[int], chance: random.Random, size: int) -> int:
    """A point near one that was played, of the latest more often than not; or else anywhere but on the edge."""
    if not played or chance.random() < 0.1:
        return chance.randrange(1, size - 1) * size + chance.randrange(1, size - 1)
    centre = chance.choice(played[-6:] if chance.random() < 0.5 else played)
    y, x = (round(chance.gauss(each, 1.3)) for each in divmod(centre, size))
    return min(max(y, 0), size - 1) * size + min(max(x, 0), size - 1)


def symmetric(planes: np.ndarray, which: int) -> np.ndarray:
    """Planes turned by `which` quarters, and mirrored from 4 on."""
    turned = np.rot90(planes, which % 4, (1, 2))
    return turned[:, :, ::-1] if which >= 4 else turned


def scores(planes: np.ndarray) -> np.ndarray:
    """(size, size): what the planted player finds each point worth; nothing that lies beyond the edge counts."""
    size = planes.shape[1]
    padded = np.pad(planes[STONES : STONES + 2].astype(int), ((0, 0), (1, 1), (1, 1)))
    found = np.zeros((size, size), int)
    for y in range(3):
        for x in range(3):
            own, opponent = padded[:, y : y + size, x : x + size]
            found += OWN[y, x] * own + OPPONENT[y, x] * opponent
    return found


def planted(planes: np.ndarray) -> int:
    """The number of the planted move: the sensible point of the largest score, the first row by row of equals."""
    return int(np.where(planes[SENSIBLE] > 0, scores(planes), -1000).argmax())


def name(point: int, size: int = SIZE) -> str:
    """A point's name: the columns are letters, the rows are counted from below."""
    return f"{LETTERS[point % size]}{size - point // size}"


def write(folder: Path, part: str, count: int) -> None:
    """Write ``PART.npy`` and ``PART.labels.csv``."""
    chance, found = random.Random(part), []
    while len(found) < count:
        found += [planes for planes in game(chance) if planes[SENSIBLE].any()]
        print(f"\r{part}: {min(len(found), count)} of {count} boards", end="", file=sys.stderr)
    print(file=sys.stderr)
    chance.shuffle(found)
    np.save(folder / f"{part}.npy", np.stack(found[:count]))
    with (folder / f"{part}.labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["label"], *([name(planted(planes))] for planes in found[:count])])


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in SETS.items():
        write(folder, part, count)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
