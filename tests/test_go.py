"""The example with boards of Go, against slow definitions of its rules; and the figure of a board."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from matplotlib.colors import to_hex
from matplotlib.patches import Circle
from PIL import Image
from torch import nn

import convscope
from convscope.cli import main
from convscope.errors import ConvscopeError
from convscope.render.figures import goban, rows
from convscope.render.figures.board import Reading, draw
from convscope.training import train
from test_figures import random_weights

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLE = Path(__file__).parents[1] / "examples" / "go"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("boards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["boards"] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


go = _module(EXAMPLE / "boards.py")


# --- the rules, slowly -----------------------------------------------------------------------------------------------


Board = dict[tuple[int, int], int]  # the colour of every point


def board_of(position: Any) -> Board:
    return {divmod(point, position.size): colour for point, colour in enumerate(position.stones)}


def beside(board: Board, point: tuple[int, int]) -> set[tuple[int, int]]:
    return {other for other in board if abs(other[0] - point[0]) + abs(other[1] - point[1]) == 1}


def slow_group(board: Board, point: tuple[int, int]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Stones are added as long as one of the colour lies beside those that are found."""
    group = {point}
    while more := {other for each in group for other in beside(board, each) if board[other] == board[point]} - group:
        group |= more
    return group, {other for each in group for other in beside(board, each) if board[other] == 0}


def slow_move(board: Board, point: tuple[int, int]) -> tuple[Board, set[tuple[int, int]]]:
    """The board after the move of player 1, and what was captured: put the stone, take what has no liberty."""
    after = board | {point: 1}
    taken = {other for other, colour in after.items() if colour == -1 and not slow_group(after, other)[1]}
    return after | dict.fromkeys(taken, 0), taken


def games(size: int, count: int) -> Iterator[tuple[Any, Board | None]]:
    """Positions of random games, many with captures, each with the board of the move before, as its player saw it."""
    chance = random.Random(size)
    for _ in range(count):
        position, seen = go.Position(size), []
        for _ in range(2 * size**2):
            empty = [point for point in range(size**2) if position.stones[point] == 0]
            moves = [point for point in empty if position.sensible(point, position.outcome(point))]
            if not moves:
                break
            yield position, seen[-1] if seen else None
            seen.append(board_of(position))
            point = chance.choice(moves)
            position.play(point, position.outcome(point))


def flat(points: set[tuple[int, int]], size: int) -> set[int]:
    return {row * size + column for row, column in points}


def test_groups_and_liberties_are_those_of_a_slow_definition() -> None:
    chance = np.random.default_rng(0)
    for size in (5, 7):
        for _ in range(20):
            position = go.Position(size, chance.choice([-1, 0, 1], size**2).tolist())
            board, groups = board_of(position), position.groups()
            assert set(groups) == {point for point, colour in enumerate(position.stones) if colour}
            for point, found in groups.items():
                slow = slow_group(board, divmod(point, size))
                assert found == (flat(slow[0], size), flat(slow[1], size)) == position.group(point)


def test_moves_capture_and_are_legal_as_on_a_board_where_they_are_made() -> None:
    captures = suicides = kos = 0
    for position, before in games(5, 9):
        board = board_of(position)
        assert all(slow_group(board, point)[1] for point, colour in board.items() if colour)
        for point in np.flatnonzero(np.array(position.stones) == 0).tolist():
            after, taken = slow_move(board, divmod(point, 5))
            group, liberties = slow_group(after, divmod(point, 5))
            outcome = position.outcome(point)
            assert outcome == position.outcome(point, position.groups())
            assert (outcome.captured, outcome.group, outcome.liberties) == tuple(
                flat(each, 5) for each in (taken, group, liberties)
            )
            # What may not be taken back at once is what would bring back the board of the move before.
            back = {key: -colour for key, colour in after.items()} == before
            assert (point == position.ko) == back
            captures += len(taken)
            suicides += not liberties
            kos += back
    assert min(captures, suicides, kos) > 3


def position(*lines: str) -> Any:
    """A board in letters: X is the player to move, O the opponent."""
    return go.Position(len(lines), [{"X": 1, "O": -1, ".": 0}[letter] for line in lines for letter in line])


def test_own_eyes_are_not_filled_and_false_ones_are() -> None:
    board = position(
        ".X.X.",
        "XXXXX",
        "OX.XO",
        "OOXOO",
        ".O.O.",
    )
    sensible = {point for point in range(25) if not board.stones[point] and board.sensible(point, board.outcome(point))}
    assert sensible == {12, 22}  # of 12 the opponent holds two corners, 22 is no eye; others are eyes, or suicide


def test_planes_say_what_a_move_would_do() -> None:
    board = position(
        ".OX..",
        "OOX..",
        "XX...",
        "...OX",
        "...X.",
    )
    board.moves, board.played = 30, [30 - point for point in range(25)]
    planes = board.planes()
    assert planes.shape == (48, 5, 5)
    number = {first: planes[first : first + 8].argmax(0) + 1 for first in (go.TURNS, go.LIBERTIES, go.AFTER)}
    assert planes[go.CAPTURE + 3, 0, 0] == 1  # the three in the corner
    assert planes[go.CAPTURE : go.CAPTURE + 8, 0, 0].sum() == 1
    assert number[go.AFTER][0, 0] == 2  # where the stones beside it were
    assert number[go.LIBERTIES][0, 1] == 1
    assert number[go.LIBERTIES][3, 3] == 2
    assert number[go.TURNS][0, 1] == 2
    assert number[go.TURNS][4, 3] == 8
    assert number[go.AFTER][4, 4] == 2
    assert planes[go.SELF_ATARI : go.SELF_ATARI + 8, 4, 4].sum() == 0
    np.testing.assert_array_equal(planes[go.STONES : go.STONES + 3].sum(0), 1)
    np.testing.assert_array_equal(planes[go.ONES], 1)
    assert not planes[[go.LADDERS, go.LADDERS + 1, go.ZEROS]].any()
    alone = position("..O..", ".OX..", "..O..", ".....", ".....").planes()
    assert alone[go.SELF_ATARI, 0, 0] == 0
    trapped = position(".OO..", "X.O..", "OO...", ".....", ".....").planes()
    assert trapped[go.SELF_ATARI + 2, 1, 1] == 0  # it has the corner, and joins (1, 0) only
    assert trapped[go.SELF_ATARI + 1, 1, 1] == 1


def test_planes_follow_the_slow_definition_everywhere_and_turn_with_the_board() -> None:
    for number, (board, _) in enumerate(games(7, 2)):
        if number % 9:
            continue
        planes, slow = board.planes(), board_of(board)
        for point, colour in slow.items():
            if colour:
                assert planes[go.LIBERTIES + min(len(slow_group(slow, point)[1]), 8) - 1][point] == 1
                continue
            after, taken = slow_move(slow, point)
            group, liberties = slow_group(after, point)
            legal = bool(liberties) and point != (divmod(board.ko, 7) if board.ko is not None else None)
            numbers = {go.CAPTURE: min(len(taken), 7), go.AFTER: min(len(liberties), 8) - 1}
            for first, at in numbers.items():
                wanted = np.eye(8)[at] if legal else np.zeros(8)
                np.testing.assert_array_equal(planes[(slice(first, first + 8), *point)], wanted)
            atari = np.eye(8)[min(len(group), 8) - 1] if legal and len(liberties) == 1 else np.zeros(8)
            np.testing.assert_array_equal(planes[(slice(go.SELF_ATARI, go.SELF_ATARI + 8), *point)], atari)
        for which in range(8):
            order = go.symmetric(np.arange(49).reshape(1, 7, 7), which).ravel().tolist()
            turned = go.Position(7, [board.stones[i] for i in order], [board.played[i] for i in order], board.moves)
            turned.ko = None if board.ko is None else order.index(board.ko)
            np.testing.assert_array_equal(turned.planes(), go.symmetric(planes, which))


def test_the_planted_move_is_the_largest_of_a_loop() -> None:
    boards = [planes for seed in range(3) for planes in go.game(random.Random(seed))]
    for planes in boards:
        best, largest = -1, -1000
        for y in range(19):
            for x in range(19):
                score = 0
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < 19 and 0 <= x + dx < 19:
                            score += int(go.OWN[dy + 1, dx + 1]) * int(planes[0, y + dy, x + dx])
                            score += int(go.OPPONENT[dy + 1, dx + 1]) * int(planes[1, y + dy, x + dx])
                if planes[go.SENSIBLE, y, x] and score > largest:
                    best, largest = 19 * y + x, score
        assert go.planted(planes) == best
    assert len({go.planted(planes) for planes in boards}) > len(boards) / 2


def test_boards_are_plausible() -> None:
    stones = np.array(
        [planes[:2].sum((1, 2), dtype=int) for seed in range(20) for planes in go.game(random.Random(seed))]
    )
    assert stones.sum(1).min() < 60
    assert stones.sum(1).max() > 140
    assert np.abs(stones[:, 0].mean() - stones[:, 1].mean()) < 2
    assert np.quantile(np.abs(stones[:, 0] - stones[:, 1]), 0.9) < 15


def test_the_script_writes_the_set_that_the_recipe_trains_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "SETS", {"train": 20, "val": 9})
    go.main(tmp_path / "one")
    go.main(tmp_path / "two")
    for part in ("train", "val"):
        assert (tmp_path / f"one/{part}.npy").read_bytes() == (tmp_path / f"two/{part}.npy").read_bytes()
    boards = convscope.open_images(str(tmp_path / "one/val.npy"))
    recipe = tomllib.loads((EXAMPLE / "planted.toml").read_text())
    assert recipe["network"]["classes"] == [go.name(point) for point in range(361)]
    assert [go.name(point) for point in range(361)] == [goban.name(point, 19) for point in range(361)]
    assert len(boards) == 9
    for number in range(9):
        assert boards.labels[number] == go.name(go.planted(boards.read(number)))


# --- the figure ------------------------------------------------------------------------------------------------------


def policy(size: int, planes: int = 4) -> convscope.Network:
    torch.manual_seed(size)
    module = nn.Sequential(nn.Conv2d(planes, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1), nn.Flatten())
    module.append(nn.Linear(size**2, size**2))
    with torch.no_grad():
        module[-1].weight.copy_(8 * torch.eye(size**2))
    card = {"size": [size, size], "channels": planes, "mean": [0.2], "std": [0.5]}
    return convscope.wrap(module.eval(), preprocess=card)


def planes_of(size: int, planes: int = 4) -> np.ndarray[Any, Any]:
    chance = np.random.default_rng(size)
    stones, found = chance.choice([-1, 0, 1], (size, size)), chance.random((planes, size, size)).astype(np.float32)
    found[0], found[1] = stones == 1, stones == -1
    return found


@pytest.mark.parametrize("size", [5, 8, 19])
def test_stones_lie_where_the_planes_say(size: int) -> None:
    board = planes_of(size)
    sheet = draw("title", "name", Reading.of(policy(size), board), given=3)
    for axes in [sheet.figure.axes[0], *sheet.figure.axes[2:4]]:
        columns = sorted({line.get_xdata()[0] for line in axes.lines if np.ptp(line.get_xdata()) == 0})
        rows_ = sorted({line.get_ydata()[0] for line in axes.lines if np.ptp(line.get_ydata()) == 0})
        assert len(columns) == len(rows_) == size
        found = np.zeros((2, size, size))
        for disc in axes.patches:
            colour = {goban.OWN: 0, goban.OPPONENT: 1}.get(to_hex(disc.get_facecolor()))
            if isinstance(disc, Circle) and colour is not None:
                row, column = (np.argmin(np.abs(np.subtract(line, at))) for line, at in
                               zip((rows_, columns), disc.center[::-1], strict=True))  # fmt: skip
                assert disc.center == pytest.approx((columns[column], rows_[row]))
                found[colour, row, column] += 1
        np.testing.assert_array_equal(found, board[:2])


def test_probabilities_are_those_of_the_network_and_shares_those_of_finite_differences() -> None:
    network, board = policy(9), planes_of(9)
    reading = Reading.of(network, board)
    network.module.double()

    def scores(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return network.module((torch.from_numpy(planes).double()[None] - 0.2) / 0.5)[0].numpy()

    odds = np.exp(scores(board))
    np.testing.assert_allclose(reading.moves, (odds / odds.sum()).reshape(9, 9), rtol=1e-4)
    assert reading.moves.sum() == pytest.approx(1)
    first = int(odds.argmax())
    assert reading.order[0] == first
    for row in range(9):
        for column in range(9):
            change = 0.0
            for plane in (0, 1):
                less = board.astype(np.float64)
                less[plane, row, column] *= 1 - 1e-6
                change += (scores(board)[first] - scores(less)[first]) / 1e-6
            assert reading.shares[row, column] == pytest.approx(change, abs=1e-4)
    assert (np.abs(reading.shares) > 1e-3).sum() > 3


def test_the_bias_of_a_position_moves_its_log_odds_alone() -> None:
    board = go.game(random.Random(1))[0].astype(np.float32)
    network = convscope.load("alphago-policy:width=0.0833")
    before = np.log(Reading.of(network, board).moves.ravel())
    with torch.no_grad():
        network.module.board.bias[200] += 1.5
    moved = np.log(Reading.of(network, board).moves.ravel()) - before
    np.testing.assert_allclose(np.delete(moved, 200) - moved[0], 0, atol=1e-5)
    assert moved[200] - moved[0] == pytest.approx(1.5, abs=1e-5)


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Boards of 9 × 9 with labels, in a folder from where the network can be loaded by name."""
    np.save(tmp_path / "boards.npy", np.stack([planes_of(9), planes_of(9)[[1, 0, 2, 3]]]))
    with (tmp_path / "boards.labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["class_index"], [80], [""]])
    (tmp_path / "nine.py").write_text("from test_go import policy\n\ndef make():\n    return policy(9).module\n")
    (tmp_path / "card.json").write_text('{"size": [9, 9], "channels": 4, "mean": [0.2], "std": [0.5]}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_command_draws_what_the_network_thinks(boards: Path) -> None:
    words = ["board", "nine:make", "--preprocess", "card.json"]
    about = json.loads(run(*words, "boards.npy@0", "-o", "a.svg", "--json").stdout)
    reading = Reading.of(policy(9), planes_of(9))
    text = (boards / "a.svg").read_text()
    for move, point in zip(about["moves"], reading.order, strict=False):
        assert move["row"] * 9 + move["column"] == point
        assert move["probability"] == pytest.approx(reading.moves.flat[point], rel=1e-5)
        assert f">{move['point']} {reading.moves.flat[point]:.1%}".replace("%", " %") in text
    assert len(about["moves"]) == 5
    assert about["given"]["point"] == "J1"
    rank = 1 + int((reading.moves > reading.moves[8, 8]).sum())
    assert f"number {rank} of" in " ".join(text.split())
    swapped = json.loads(run(*words, "boards.npy@1", "--own", 1, "--opponent", 0, "-o", "b.svg", "--json").stdout)
    assert swapped["given"] is None
    assert "given" not in (boards / "b.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boards.npy"], "expected a set of boards and the number"),
        (["boards.npy@2"], "images 0 to 1"),
        (["boards.npy@0", "--own", 4], "planes 0 to 3"),
        (["boards.npy@0", "--own", 2], "other values than 0 and 1"),
        (["boards.npy@0", "--own", 1], "both have a stone"),
        (["wide.npy@0"], "it takes planes"),
        (["pictures@0"], "it is a picture"),
    ],
)
def test_what_is_no_board_is_said(boards: Path, words: list[Any], message: str) -> None:
    np.save("wide.npy", np.zeros((1, 4, 9, 10)))
    (boards / "pictures").mkdir()
    Image.new("RGB", (9, 9)).save("pictures/a.png")
    failed = run("board", "nine:make", "--preprocess", "card.json", *words, "-o", "a.png", code=1)
    assert message in failed.stderr
    assert not (boards / "a.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda module: module.append(nn.Linear(81, 82)), "82 scores"),
        (lambda module: module[-1].bias.data.fill_(torch.nan), "not finite"),
    ],
)
def test_a_network_without_a_score_for_each_point_is_refused(change: Any, message: str) -> None:
    network = policy(9)
    change(network.module)
    with pytest.raises(ConvscopeError, match=message):
        Reading.of(network, planes_of(9))


@pytest.mark.parametrize("shape", [(4, 9), (4, 4), (26, 26)])
def test_only_squares_from_5_to_25_points_are_boards(shape: tuple[int, int]) -> None:
    module = nn.Sequential(nn.Conv2d(4, 1, 1), nn.Flatten())
    network = convscope.wrap(module, preprocess={"size": list(shape), "channels": 4})
    with pytest.raises(ConvscopeError, match="are no board"):
        Reading.of(network, np.zeros((4, *shape), np.float32))


def test_stars_are_those_of_real_boards() -> None:
    assert [divmod(point, 19) for point in goban.stars(19)] == [(y, x) for y in (3, 9, 15) for x in (3, 9, 15)]
    assert [divmod(point, 13) for point in goban.stars(13)] == [(3, 3), (3, 9), (6, 6), (9, 3), (9, 9)]
    assert [divmod(point, 9) for point in goban.stars(9)] == [(2, 2), (2, 6), (4, 4), (6, 2), (6, 6)]
    assert goban.stars(5) == [12]
    assert goban.name(8 * 19 + 8, 19) == "J11"


def test_all_planes_of_the_first_filters_are_shown(tmp_path: Path) -> None:
    for first, tiles in ((True, 48), (False, 12)):
        sheet, units = rows.draw("conv1", random_weights(6, 48, 5, 5, first=first), None, 0)
        assert units == 6
        widths = {round(axes.get_position().width * sheet.width) for axes in sheet.figure.axes if axes.images}
        factors = [factor for factor in range(1, 20) if widths == {tiles * (5 * factor + 4) - 4}]
        assert factors, (widths, tiles)


@pytest.mark.slow
def test_the_planted_player_is_learnt_and_its_template_stands_in_the_first_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    go.main(Path("boards"))
    trained = train(EXAMPLE / "planted.toml", tmp_path / "planted", threads=1)
    recipe = tomllib.loads((EXAMPLE / "planted.toml").read_text())
    assert trained.top1 >= recipe["expected"]
    network = convscope.load(trained.last, arch=recipe["network"]["arch"])
    kernels = network.module.conv1.weight.detach().numpy()
    assert _fit(kernels) > 0.8
    torch.manual_seed(0)
    assert _fit(convscope.load(recipe["network"]["arch"]).module.conv1.weight.detach().numpy()) < 0.6
    usual = np.linalg.norm(kernels, axis=(2, 3)).mean(0)
    assert set(np.argsort(-usual)[:2]) == {0, 1}  # the planes that the rule looks at


def _fit(kernels: np.ndarray[Any, Any]) -> float:
    """The best correlation of a filter with the template, at any place in it.

    The three stone planes sum to one, so that a filter says no more than how they differ.
    """
    seen = kernels[:, :2] - kernels[:, 2:3]
    template = np.zeros((2, 5, 5))
    template[:, 1:4, 1:4] = go.OWN, go.OPPONENT
    moved = [np.roll(template, (y, x), (1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(float(np.corrcoef(each.ravel(), unit.ravel())[0, 1]) for each in moved for unit in seen)
