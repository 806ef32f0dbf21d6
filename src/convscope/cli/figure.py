"""``convscope figure NAME``: figures that papers have made well known."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.columns import columns
from convscope.cli.common import json_option, listed
from convscope.cli.detectors import concepts, detectors, networks, tokens
from convscope.cli.fields import figure_fields
from convscope.cli.figures import figure_option, finish
from convscope.cli.segments import segments


@click.group()
def figure() -> None:
    """Draw a figure as papers show it."""


@figure.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@figure_option
@click.option(
    "--layers",
    "chosen",
    multiple=True,
    help="Layers, modules or patterns, separated by commas; default all with a map, or ten of them, evenly spread.",
)
@click.option(
    "--units",
    type=click.IntRange(min=1),
    help="Of each layer, those whose best image stands out most; default 8, or 4 of more than five layers.",
)
@json_option
def tour(atlas: Path, output: Path, chosen: tuple[str, ...], units: int | None, as_json: bool) -> None:
    """Draw a tour through the layers of an ATLAS: of some units of each the nine best patches, and beside them what of
    these excites the unit (Zeiler and Fergus 2014, figure 2)."""
    layers = listed("--layers", chosen)
    import convscope
    from convscope.render.figures.tour import draw

    sheet, shown = draw(convscope.Atlas.open(atlas), layers or None, units)
    finish(sheet, output, {"atlas": str(atlas), "units": shown}, as_json)


figure.add_command(columns)
figure.add_command(detectors)
figure.add_command(concepts)
figure.add_command(networks)
figure.add_command(tokens)
figure.add_command(figure_fields)
figure.add_command(segments)
