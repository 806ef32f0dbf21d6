"""``convscope board``: what a policy network thinks of a board of Go, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, load_network, model_options
from convscope.cli.figures import figure_option, finish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convscope.images import ImageSet
    from convscope.network import Network
    from convscope.render.figures.board import Reading


@click.command()
@model_options
@click.argument("board", metavar="BOARDS@NUMBER")
@click.option(
    "--own",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The plane with the stones of the player to move.",
)
@click.option(
    "--opponent",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="The plane with the stones of the opponent.",
)
@figure_option
@json_option
def board(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    board: str,
    own: int,
    opponent: int,
    output: Path,
    as_json: bool,
) -> None:
    """Draw a board with the moves of MODEL, and the stones that speak for the first of them.

    MODEL takes planes of a board and gives a score for each of its points, row by row, as alphago-policy does.
    BOARDS@NUMBER is one of an array of such planes, as boards.npy@3. Its label, if it has one, is drawn as the given
    move.
    """
    from convscope.errors import ImagesError
    from convscope.images.chosen import numbered
    from convscope.render.figures.board import Reading, draw

    network = load_network(model, arch, preprocess, device)
    if (found := numbered(board)) is None:
        raise ImagesError(f"{board}: expected a set of boards and the number of one, as boards.npy@3")
    images, number = found
    name = f"{Path(images.spec).name}@{number}"
    reading = Reading.of(network, _planes(images, number, board), own, opponent)
    given = _given(images, number, network, reading)
    sheet = draw(f"A board, read by {network.name}", name, reading, given)
    about: dict[str, Any] = {"network": network.name, "board": name, "size": reading.size}
    about["moves"] = [_move(reading, point) for point in reading.order[:5].tolist()]
    about["given"] = None if given is None else _move(reading, given)
    finish(sheet, output, about, as_json)


def _planes(images: ImageSet, number: int, board: str) -> NDArray[np.float32]:
    import numpy as np

    from convscope.errors import ImagesError, UnreadableImage

    try:
        planes = images.read(number)
    except UnreadableImage as error:
        raise ImagesError(f"{board}: {error}") from error
    if not isinstance(planes, np.ndarray):
        raise ImagesError(f"{board}: it is a picture; a board is planes of numbers in a .npy or .npz file")
    return planes


def _given(images: ImageSet, number: int, network: Network, reading: Reading) -> int | None:
    """The point that the board's label names; None where it has none."""
    indices, remark = images.class_indices(network, reading.moves.size)
    if remark:
        click.echo(f"note: {remark}", err=True)
    return int(indices[number]) if indices[number] >= 0 else None


def _move(reading: Reading, point: int) -> dict[str, Any]:
    row, column = divmod(point, reading.size)
    share = float(reading.moves.flat[point])
    return {"point": reading.name(point), "row": row, "column": column, "probability": share}
