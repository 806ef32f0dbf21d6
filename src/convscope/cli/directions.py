"""``convscope directions``: the best images of units beside those of random directions."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import (
    batch_option,
    json_option,
    limit_option,
    load_network,
    model_options,
    print_rows,
    print_skipped,
)  # fmt: skip
from convscope.cli.figures import figure_option, finish
from convscope.cli.results import timed


@click.command()
@model_options
@click.argument("images")
@click.option("--layer", required=True, help="The layer whose space it is.")
@click.option("--count", type=click.IntRange(min=1), help="Random directions; default as many as there are units.")
@limit_option
@batch_option
@figure_option
@json_option
def directions(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    layer: str,
    count: int | None,
    limit: int | None,
    batch_size: int,
    output: Path,
    as_json: bool,
) -> None:
    """Compare the best of IMAGES for each unit of a layer of MODEL with those for random directions (Szegedy 2014).

    Images are coherent if they have the same label (purity), and if MODEL gives them similar scores (cosine).
    """
    from convscope.render.figures.directions import draw
    from convscope.studies import directions as study

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: study.directions(
            network, images, layer, count=count, limit=limit, batch_size=batch_size, progress=bar
        ),
        "images",
    )  # fmt: skip
    if not as_json:
        rows = [
            (f"{group.name}s" if group is not found.chance else group.name, f"{len(group)}", f"{group.silent.sum()}",
             f"{group.different}",
             *(_written(*study.mean(values)) for values in (group.purity, group.cosine)))
            for group in found.groups
        ]  # fmt: skip
        print_rows(
            f"{found.layer} of {network.name}, {took['seconds']:.1f} s",
            ("", "count", "silent", "images", "purity", "cosine"),
            rows,
        )
    print_skipped(found.skipped, "--json")
    finish(draw(found), output, found.to_json() | took, as_json)


def _written(mean: float, error: float) -> str:
    return "–" if mean != mean else f"{mean:.3f} ± {error:.3f}" if error == error else f"{mean:.3f}"
