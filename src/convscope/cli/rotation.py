"""``convscope rotation``: what is left of a layer's detectors as its axes are rotated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import (
    batch_option,
    json_option,
    limit_option,
    load_network,
    model_options,
    print_json,
    print_rows,
    print_skipped,
)  # fmt: skip
from convscope.cli.figures import place
from convscope.cli.results import timed

if TYPE_CHECKING:
    from convscope.studies.rotation import Rotation


@click.command()
@model_options
@click.argument("concepts")
@click.option("--layer", required=True, help="The layer whose axes are rotated; it must have a map.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path),
    help="The network's atlas, or any other folder; the result is written into 'rotation' in it.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="So many rotations.")
@click.option(
    "--quantile", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.005, show_default=True,
    help="This share of a unit's values is above its threshold; 0.02 suits few large concepts.",
)  # fmt: skip
@limit_option
@batch_option
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch; by default all cores.")
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place, help="Draw it as well: .png, .pdf or .svg.",
)  # fmt: skip
@json_option
def rotation(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    concepts: str,
    layer: str,
    output: Path,
    seeds: int,
    quantile: float,
    limit: int | None,
    batch_size: int,
    threads: int | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Count the detectors of a layer of MODEL among CONCEPTS as its axes are rotated, from units to random directions.

    If concepts were in the space and not in its axes, as many would be left. All steps are dissected in the same two
    passes over the images. What is stopped or killed goes on where it was when the same command is given again.
    """
    from convscope.studies.rotation import rotate

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: rotate(
            network, concepts, output, layer, seeds=seeds, quantile=quantile, limit=limit, batch_size=batch_size,
            threads=threads, progress=bar,
        ),
        "masks",
    )  # fmt: skip
    if figure is not None:
        from convscope.render.figures.rotation import draw

        draw(found).save(figure)
    drawn = {} if figure is None else {"figure": str(figure)}
    if as_json:
        print_json(found.to_json() | drawn | took)
    else:
        _print(found, took["seconds"])
        for name in drawn.values():
            click.echo(f"figure: {name}")


def _print(found: Rotation, seconds: float) -> None:
    from convscope.studies.detectors import CUTS

    rows = []
    for row in found.to_json()["rows"]:
        low, high = row["unique_interval"]
        name = "random directions" if row["power"] is None else "units" if row["power"] == 0 else f"{row['power']:g}"
        if row["power"] != 0 or row["seed"] == 0:
            rows.append(
                (name, "–" if row["power"] == 0 else f"{row['seed']}", f"{row['detectors']}", f"{row['unique']}",
                 f"{low:.0f} to {high:.0f}", f"{row['false_unique']}",
                 *(f"{row['unique_at'][f'{cut:g}']}" for cut in CUTS[1:]), f"{row['mean_iou']:.3f}")
            )  # fmt: skip
    run = found.dissection.run
    columns = (
        "power",
        "seed",
        "detectors",
        "unique",
        "95 %",
        "false",
        *(f"at {cut:g}" for cut in CUTS[1:]),
        "mean IoU",
    )
    print_rows(f"{found.layer} of {run['network']} on {run['images']} images, {seconds:.1f} s", columns, rows)
    click.echo(
        "unique: different labels of detectors, and what other images would give; false: with the labels of other"
    )
    click.echo("images; at: unique ones with an IoU above; mean IoU: of every unit with its best concept")
    if run["remark"]:
        click.echo(f"note: {run['remark']}", err=True)
    print_skipped(run["skipped"], "run.json")
    click.echo(f"rotation: {found.dissection.path}")
