"""What a policy network thinks of a board: its moves, and the stones that speak for the first of them [METHODS 2.9]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.errors import ImagesError, NetworkError
from convscope.network import Network, logits
from convscope.render.figures import goban
from convscope.render.figures.goban import OPPONENT, OWN, PAPER, SIZES, TITLE, Goban, mixed
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
)  # fmt: skip
from convscope.render.text import figure as written
from convscope.render.text import percent

TOP = 5  # moves that are numbered
_DECADES = 4  # of probabilities that have a colour
_RAMP = 600  # px
_SMALL, _BETWEEN, _FOOT = 700, 60, 56  # px: a small board; the room between boards, and below them


@dataclass(frozen=True, eq=False)
class Reading:
    """A board, and what a network makes of it; all of shape (n, n).

    Args:
        stones: 1 for the player to move, -1 for the opponent, 0 for nobody.
        moves: the probability of each.
        shares: for each stone what it adds to the score of the most probable move, to first order: the gradient with
            respect to the plane of the stone's colour, times the stone.
    """

    stones: NDArray[np.int8]
    moves: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, network: Network, board: NDArray[np.float32], own: int = 0, opponent: int = 1) -> Reading:
        """What the network makes of the planes (planes, n, n), whose points are its classes, row by row.

        Args:
            own: the plane with the stones of the player to move; `opponent` that with the others.

        Raises:
            ImagesError: these are not the planes of such a board.
            NetworkError: the network has no score for each of its points.
        """
        shape, output = network.preprocess.shape, network.output
        if board.shape != shape:
            raise NetworkError(f"{network.name}: it takes planes of shape {shape}, and the board has {board.shape}")
        stones = _stones(board, own, opponent)
        if output != "softmax":
            raise NetworkError(f"{network.name}: its output is {output!r}; the moves of a softmax are drawn")
        inputs = network.preprocess(board)[None].to(network.device).requires_grad_()
        scores = logits(network.module(inputs))
        if scores.shape != (1, stones.size):
            raise NetworkError(
                f"{network.name}: it gives {scores.shape[-1]} scores, and a board of {len(stones)} × {len(stones)} has "
                f"{stones.size} points; a network with a score for each point is drawn"
            )
        if not scores.isfinite().all():
            raise NetworkError(f"{network.name}: it gives scores that are not finite, so there are no probabilities")
        moves = scores.detach().cpu().double().softmax(1).reshape(stones.shape).numpy()
        (gradient,) = torch.autograd.grad(scores[0, int(moves.argmax())], inputs)
        without = network.preprocess(np.zeros_like(board)).to(network.device)
        shares = (gradient * (inputs - without)).detach()[0, [own, opponent]].sum(0)
        return cls(stones, moves, shares.cpu().double().numpy())

    @property
    def size(self) -> int:
        """Rows, and columns."""
        return len(self.stones)

    @property
    def order(self) -> NDArray[np.int64]:
        """The numbers of the points, row by row, from the most probable to the least."""
        return np.argsort(-self.moves, axis=None, kind="stable")

    def name(self, point: int) -> str:
        """What a point is called, such as D16."""
        return goban.name(point, self.size)


def _stones(board: NDArray[np.float32], own: int, opponent: int) -> NDArray[np.int8]:
    if board.shape[1] != board.shape[2] or board.shape[1] not in SIZES:
        raise ImagesError(
            f"planes of shape {board.shape} are no board; expected (planes, n, n) with n from {SIZES[0]} to {SIZES[-1]}"
        )
    for option, plane in (("own", own), ("opponent", opponent)):
        if plane >= len(board):
            raise ImagesError(f"--{option}: the board has planes 0 to {len(board) - 1}, not {plane}")
        if not np.isin(board[plane], (0, 1)).all():
            raise ImagesError(
                f"--{option}: plane {plane} has other values than 0 and 1, so it says not where stones are"
            )
    both = int((board[own] * board[opponent]).sum())
    if both:
        raise ImagesError(
            f"planes {own} and {opponent} both have a stone on {both} points; say with --own and --opponent which "
            "planes hold the stones of the player to move, and the others"
        )
    stones: NDArray[np.int8] = (board[own] - board[opponent]).astype(np.int8)
    return stones


def draw(title: str, name: str, reading: Reading, given: int | None = None) -> Sheet:
    """The figure.

    Args:
        name: what the board is called.
        given: the number of the point where it says that the move is, row by row.
    """
    first = int(reading.order[0])
    side = WIDTH - _BETWEEN - _SMALL
    captions = _captions(reading, given)
    column = TITLE + _SMALL + _FOOT
    middle = 70 + max(TITLE + side + 200, column * (1 if given is None else 2))
    sheet = Sheet(middle + caption_height(captions))
    sheet.text(0, 0, title, LARGE, weight="bold")
    sheet.text(WIDTH, 0, shortened(name, _SMALL, NORMAL), NORMAL, ha="right", color=GREY)
    _moves(sheet, (0, 70), side, reading)
    left = side + _BETWEEN
    _shares(sheet, (left, 70), reading, first)
    if given is not None:
        _given(sheet, (left, 70 + column), reading, given)
    sheet.paragraphs(0, middle, WIDTH, captions)
    return sheet


def _moves(sheet: Sheet, place: tuple[int, int], side: int, reading: Reading) -> None:
    board = Goban(sheet, place, side, reading.size, "The network's moves")
    shades = _shade(reading.moves.ravel())
    for point, share in enumerate(shades):
        if share > 0:
            board.field(point, RED, share)
    board.stones(reading.stones, 0.46)
    y, step = place[1] + TITLE + side + 16, (side - board.cell) / TOP
    for number, point in enumerate(reading.order[:TOP].tolist(), start=1):
        share, stone = shades[point], reading.stones.flat[point]
        if not stone:
            board.disc(point, 0.32, mixed(RED, share))  # so that no lines cross the number
        board.number(point, number, OPPONENT if stone > 0 or (not stone and share > 0.5) else INK)
        x = 1.2 * board.cell + (number - 1) * step
        sheet.text(x, y, str(number), NORMAL, weight="bold", color=RED)
        sheet.text(x + 30, y, f"{reading.name(point)} {_chance(reading, point)}", NORMAL)
    _ramp(sheet, board.at(0)[0], y + 70)


def _chance(reading: Reading, point: int) -> str:
    share = float(reading.moves.flat[point])
    return percent(share) if share >= 0.0005 else "< 0.1 %"


def _shade(moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 to 1: where a probability lies between the smallest that has a colour and 1, in powers of ten."""
    with np.errstate(divide="ignore"):
        return np.clip(1 + np.log10(moves) / _DECADES, 0, 1)


def _ramp(sheet: Sheet, x: float, y: float) -> None:
    """What the colours of the moves mean."""
    ramp = np.array([mixed(RED, share) for share in np.linspace(0, 1, _RAMP)])
    picture = np.round(255 * ramp).astype(np.uint8)
    sheet.image(np.broadcast_to(picture, (26, *picture.shape)), round(x), round(y))
    for decade in range(_DECADES + 1):
        share = f"{100 * 10.0 ** (decade - _DECADES):g} %"
        sheet.text(x + decade * _RAMP / _DECADES, y + 34, share, SMALL, ha="center", color=GREY)


def _shares(sheet: Sheet, place: tuple[int, int], reading: Reading, first: int) -> None:
    board = Goban(sheet, place, _SMALL, reading.size, f"Stones for and against {reading.name(first)}")
    largest = np.abs(reading.shares).max()
    for point in np.flatnonzero(reading.stones):
        share = reading.shares.flat[point] / (largest or 1)
        board.field(int(point), RED if share > 0 else BLUE, abs(share))
    board.stones(reading.stones, 0.32)
    if not reading.stones.flat[first]:
        board.disc(first, 0.32, PAPER)
    board.number(first, 1, OPPONENT if reading.stones.flat[first] > 0 else INK)


def _given(sheet: Sheet, place: tuple[int, int], reading: Reading, given: int) -> None:
    board = Goban(sheet, place, _SMALL, reading.size, f"The given move, {reading.name(given)}")
    board.stones(reading.stones, 0.46)
    board.disc(given, 0.46, RED, OWN)


def _captions(reading: Reading, given: int | None) -> list[str]:
    first = reading.name(int(reading.order[0]))
    taken = float(reading.moves[reading.stones != 0].sum())
    texts = [
        f"The player to move is black. Colour: the probability of a move, in powers of ten; the {TOP} most probable "
        f"are numbered. {percent(taken)} of all probability lies on points that are taken.",
        f"Stones for (red) and against (blue) {first}: gradient × input of its score (before the softmax), in the "
        "plane of the stone's colour: to first order, what the score would lose with the stone taken out of that "
        "plane alone, while all other planes stay. Of these, full colour is "
        f"{written(float(np.abs(reading.shares).max()))}.",
    ]
    if given is not None:
        rank = int(np.flatnonzero(reading.order == given)[0]) + 1
        texts.append(
            f"The given move, {reading.name(given)}, has a probability of {percent(float(reading.moves.flat[given]))} "
            f"and is number {rank} of the network's moves."
        )
    return texts
