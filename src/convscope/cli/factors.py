"""``convscope factors``: a prediction as a sum of units, each with the region where it answers, as a figure."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option, load_network, model_options, picture_of, prepared
from convscope.cli.figures import figure_option, finish


@click.command()
@model_options
@click.argument("image")
@click.option("--target", help="A class, by name or index; by default the predicted one.")
@click.option(
    "--names", type=click.Path(path_type=Path), help="A CSV with the columns unit and name: what the units are called."
)
@click.option(
    "--concepts", type=click.Path(path_type=Path),
    help="An atlas in which the network was dissected: units are called by what they detect.",
)  # fmt: skip
@figure_option
@json_option
def factors(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    image: str,
    target: str | None,
    names: Path | None,
    concepts: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Draw what units make MODEL say what it says of IMAGE, and by how much.

    IMAGE is an image file, or one of a set: IMAGES@NUMBER, as diorama:objects/test@3. The network must end in global
    pooling and at most one linear layer: then a logit is a sum over units.
    """
    from convscope.dissection import Dissection
    from convscope.render.figures.factors import SHOWN, draw
    from convscope.studies.factors import factors as take_apart

    if names is not None and concepts is not None:
        raise click.UsageError("--names and --concepts both name units; give one of them")
    network = load_network(model, arch, preprocess, device)
    called = Dissection.open(concepts) if concepts is not None else None if names is None else _names(names)
    name, picture = picture_of(image)
    images = prepared(network, name, picture)
    found = take_apart(network, images, target, SHOWN, called)
    sheet = draw(found, network.preprocess.display(images[0]), name, network.name)
    plain = found.to_json()
    [prediction] = plain.pop("predictions")
    finish(sheet, output, {"network": network.name, "image": name} | plain | prediction, as_json)


def _names(path: Path) -> dict[int, str]:
    """What units are called."""
    from convscope.rows import read_rows, whole

    try:
        columns, rows = read_rows(path)
        if not {"unit", "name"} <= {*columns}:
            raise ValueError(f"expected the columns 'unit' and 'name', found {', '.join(columns) or 'none'}")
        return {whole(row["unit"]): row["name"] for _, row in rows}
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: not readable as names of units ({error})", param_hint="--names") from error
