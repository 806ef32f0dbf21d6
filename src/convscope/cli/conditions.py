"""``convscope conditions``: what networks that were trained in different ways detect, in a table and a figure."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import (
    batch_option,
    each_network,
    json_option,
    limit_option,
    models_options,
    print_json,
    progress_bar,
)
from convscope.cli.detectors import cut_option, named, print_detectors
from convscope.cli.figures import place


@click.command()
@models_options
@click.option(
    "--concepts", help="Images with labels, as diorama:objects/test; needed where a MODEL is to be dissected."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path),
    help="Folder for the dissections, one a MODEL; finished ones are taken as they are.",
)  # fmt: skip
@click.option("--layer", help="The layer to compare; by default the last one that has maps.")
@cut_option
@limit_option
@batch_option
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place, help="Draw the table: .png, .pdf or .svg."
)  # fmt: skip
@json_option
def conditions(
    models: tuple[str, ...],
    archs: tuple[str, ...],
    cards: tuple[Path, ...],
    device: str | None,
    concepts: str | None,
    output: Path | None,
    layer: str | None,
    cut: float,
    limit: int | None,
    batch_size: int,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Compare the detectors of networks that were trained differently: with dropout or batch norm, from other seeds,
    wider, longer.

    A MODEL is written NAME=MODEL, where NAME is its condition, which several may have; an atlas with a dissection may
    stand in its place. The same command goes on after a kill.
    """
    from convscope.dissection import Dissection
    from convscope.studies.conditions import conditions as compare
    from convscope.studies.detectors import images_of

    given = [(name or what, what) for name, what in map(named, models)]
    opened = {what: Dissection.open(what) for _, what in given if Path(what).is_dir()}
    missing = [what for _, what in given if what not in opened]
    if missing and (concepts is None or output is None):
        raise click.UsageError(f"{missing[0]} is not dissected yet: give --concepts, and -o for what is found")
    networks = each_network(missing, archs, cards, device)
    with progress_bar() as bar:
        found = compare(
            ((name, opened.get(what) or next(networks)) for name, what in given),
            concepts, output, layer=layer, cut=cut, limit=limit, batch_size=batch_size,
            progress=lambda step: bar(step.phase, step.done, step.total, step.begun),
            tell=lambda text: click.echo(text, err=True),
        )  # fmt: skip
    images = images_of(found[0].networks[0].dissection)
    if figure is not None:
        from convscope.render.figures.conditions import draw

        draw(found, images).save(figure)
    for remark in dict.fromkeys(one.dissection.run["remark"] for each in found for one in each.networks):
        if remark:
            click.echo(f"note: {remark}", err=True)
    if as_json:
        drawn = {} if figure is None else {"figure": str(figure)}
        print_json({"conditions": [each.to_json() for each in found]} | drawn)
        return
    print_detectors(images, [(each.name, one.detectors) for each in found for one in each.networks], "condition")
    if figure is not None:
        click.echo(f"figure: {figure}")
