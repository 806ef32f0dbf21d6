"""``convscope unit``: one unit of an atlas as a figure."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option
from convscope.cli.figures import figure_option, finish


@click.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@click.argument("unit", metavar="LAYER:UNIT")
@figure_option
@json_option
def unit(atlas: Path, unit: str, output: Path, as_json: bool) -> None:
    """Draw a unit of an ATLAS: its best patches, their images with its field, its response and its numbers."""
    import math

    import convscope
    from convscope.address import parse_unit
    from convscope.render.figures.unit import draw

    address = parse_unit(unit)
    opened = convscope.Atlas.open(atlas)
    chosen = opened.layer(address.layer)[address.index]
    sheet, shown = draw(chosen)
    summary = {name: None if math.isnan(value) else value for name, value in chosen.summary.items()}
    about = {"atlas": str(atlas), "unit": str(chosen.address), "images": opened.run["results"]["images"]}
    finish(sheet, output, about | {"shown": shown, "summary": summary}, as_json)
