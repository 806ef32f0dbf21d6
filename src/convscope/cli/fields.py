"""``convscope fields``: what part of the image moves each unit, measured; and ``convscope figure fields``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import (
    json_option,
    listed,
    load_network,
    model_options,
    print_json,
    print_rows,
    print_skipped,
)  # fmt: skip
from convscope.cli.figures import figure_option, finish
from convscope.cli.results import timed

if TYPE_CHECKING:
    from convscope.empirical_field import EmpiricalFields, FieldLayer


@click.command()
@model_options
@click.argument("atlas", type=click.Path(path_type=Path))
@click.option("--images", help="Where the images of the atlas are, if they are not where they were.")
@click.option(
    "--layers", "chosen", multiple=True,
    help="Layers, modules or patterns, separated by commas; default all of the atlas that have maps.",
)  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Images of each unit.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=300, show_default=True,
    help="Images in all; those come first that most units want.",
)  # fmt: skip
@click.option("--window", type=click.IntRange(min=1), help="Side of the occluder; by default 11 px at 224 px.")
@click.option("--stride", type=click.IntRange(min=1), help="From one to the next; by default 3 px at 11 px.")
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch; by default all cores.")
@json_option
def fields(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    atlas: Path,
    images: str | None,
    chosen: tuple[str, ...],
    top: int,
    limit: int,
    window: int | None,
    stride: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure the field of view of every unit of MODEL: how far it moves when noise hides each part of the images that
    excite it most, as its ATLAS says.

    A run that is stopped or killed goes on where it was when the same command is given again.
    """
    layers = listed("--layers", chosen)
    import convscope

    found, took = timed(
        lambda bar: convscope.empirical_fields(
            load_network(model, arch, preprocess, device), atlas, images, layers=layers or None, top=top, limit=limit,
            window=window, stride=stride, threads=threads, progress=bar,
        ),
        "fields",
    )  # fmt: skip
    if as_json:
        print_json(found.to_json() | took)
    else:
        _print(found, took["seconds"])


@click.command("fields")
@click.argument("atlas", type=click.Path(path_type=Path))
@figure_option
@click.option(
    "--layers", "chosen", multiple=True,
    help="Layers, modules or patterns, separated by commas; default all that were measured, or eight of them.",
)  # fmt: skip
@json_option
def figure_fields(atlas: Path, output: Path, chosen: tuple[str, ...], as_json: bool) -> None:
    """Draw the measured fields of an ATLAS: of some units of each layer, and their sizes beside those that the
    architecture and the gradient give (Zhou et al. 2015, figure 3)."""
    from convscope.empirical_field import EmpiricalFields
    from convscope.render.figures.fields import draw

    sheet, shown = draw(EmpiricalFields.open(atlas), listed("--layers", chosen) or None)
    finish(sheet, output, {"atlas": str(atlas), "units": shown}, as_json)


def _print(found: EmpiricalFields, seconds: float) -> None:
    job = found.run["job"]
    title = (
        f"{found.run['network']}: {found.run['images']} images, occluders of {job['window']} px, {job['stride']} px "
        f"apart, {seconds:.1f} s"
    )
    sides = ("theoretical", "effective", "sigma", "empirical", "std")
    columns = ("layer", "units", *sides, "dead", "fewer images", "unmoved")
    print_rows(title, columns, [_row(layer) for layer in found.layers])
    click.echo("sides in px: by the architecture; of the disc with 95.45 % of the gradient, and that of a Gaussian;")
    click.echo(f"mean and deviation of what is measured, on {job['top']} images of each unit or fewer where it is said")
    print_skipped(found.run["skipped"], "run.json")
    click.echo(f"fields: {found.path}")


def _row(layer: FieldLayer) -> tuple[str, ...]:
    numbers = (layer.theoretical, layer.effective, layer.sigma, *layer.empirical)
    sides = ("–" if math.isnan(number) else f"{number:.1f}" for number in numbers)
    return layer.address, f"{len(layer)}", *sides, *map(str, layer.left_out.values())
