"""``convscope regions``: the regions of pictures that excite units most, as a figure."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import batch_option, json_option, limit_option, load_network, model_options, print_skipped
from convscope.cli.figures import figure_option, finish
from convscope.cli.results import timed


@click.command()
@model_options
@click.argument("images")
@click.argument("units", nargs=-1, required=True, metavar="LAYER:UNIT...")
@limit_option
@batch_option
@figure_option
@json_option
def regions(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    units: tuple[str, ...],
    limit: int | None,
    batch_size: int,
    output: Path,
    as_json: bool,
) -> None:
    """Draw the regions of IMAGES that excite units of MODEL most, as if each were a detector (Girshick 2014).

    LAYER:UNIT is read where it is largest in a region, LAYER:UNIT@ROW,COLUMN at that position. Each picture is looked
    at in about a hundred windows, so it takes a hundred times as long as one pass.
    """
    from convscope.render.figures.regions import draw
    from convscope.studies.regions import regions as retrieve

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: retrieve(network, images, units, limit=limit, batch_size=batch_size, progress=bar), "regions"
    )
    print_skipped(found.skipped, "--json")
    finish(draw(found), output, {"network": network.name} | found.to_json() | took, as_json)
