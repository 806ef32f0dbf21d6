"""``convscope confusion``: which classes the network of an atlas takes for which."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option
from convscope.cli.figures import figure_option, finish


@click.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@figure_option
@json_option
def confusion(atlas: Path, output: Path, as_json: bool) -> None:
    """Draw the confusion matrix of an ATLAS whose images have labels."""
    import convscope
    from convscope.render.figures.confusion import draw_atlas

    opened = convscope.Atlas.open(atlas)
    sheet = draw_atlas(opened)
    results = opened.run["results"]
    names = ("labelled", "top1_right", "top1", "confusions")
    finish(sheet, output, {"atlas": str(atlas)} | {name: results[name] for name in names}, as_json)
