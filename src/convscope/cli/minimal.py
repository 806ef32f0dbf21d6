"""``convscope minimal``: the regions of an image that suffice for its prediction, as a figure."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option, load_network, model_options, picture_of, prepared, progress_bar
from convscope.cli.figures import figure_option, finish


@click.command()
@model_options
@click.argument("image")
@click.option(
    "--target", help="A class that is predicted, where several can be; by default the one with the best score."
)
@click.option(
    "--removal",
    type=click.Choice(["gradient", "fill"]),
    default="gradient",
    show_default=True,
    help="Take the gradients of a region away, or put the mean colour there.",
)
@figure_option
@json_option
def minimal(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    image: str,
    target: str | None,
    removal: str,
    output: Path,
    as_json: bool,
) -> None:
    """Remove regions of IMAGE as long as MODEL predicts the same, and draw what is left (Zhou 2015).

    IMAGE is an image file, or one of a set: IMAGES@NUMBER, as diorama:objects/test@3.
    """
    from convscope.render.figures.minimal import draw
    from convscope.studies.minimal import minimal as reduce

    network = load_network(model, arch, preprocess, device)
    name, picture = picture_of(image)
    images = prepared(network, name, picture)
    with progress_bar("regions") as bar:
        found = reduce(
            network, images, target, removal="fill" if removal == "fill" else "gradient",
            progress=lambda step: bar(step.phase, step.done, step.total),
        )  # fmt: skip
    shown, left = (network.preprocess.display(each) for each in (images[0], found.image))
    sheet = draw(found, shown, left, name, network.name)
    finish(sheet, output, {"network": network.name, "image": name} | found.to_json(), as_json)
