"""``convscope features``: labels, numbers or clusters of images read out of a network's features, with where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import batch_option, json_option, limit_option, load_network, model_options, print_skipped
from convscope.cli.figures import figure_option, finish
from convscope.cli.results import timed

if TYPE_CHECKING:
    from convscope.scanner.progress import Report
    from convscope.studies import generic_localization as generic


@click.command()
@model_options
@click.argument("images")
@click.option("--test", help="IMAGES that judge; by default a quarter of IMAGES is held out.")
@click.option(
    "--values", type=click.Path(path_type=Path),
    help="Read numbers instead of labels: a CSV with the columns file and another one with numbers.",
)  # fmt: skip
@click.option("--clusters", type=click.IntRange(min=2), help="Make so many clusters instead of reading labels.")
@click.option("--layer", help="The map to read; by default the last one.")
@click.option("--seed", default=0, show_default=True, help="Of what is held out, of folds and of first centres.")
@limit_option
@batch_option
@figure_option
@json_option
def features(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    test: str | None,
    values: Path | None,
    clusters: int | None,
    layer: str | None,
    seed: int,
    limit: int | None,
    batch_size: int,
    output: Path,
    as_json: bool,
) -> None:
    """Read the labels of IMAGES out of the pooled features of MODEL, and draw where they are read.

    The labels need not be classes of MODEL. A linear SVM is fitted for each (ridge regression for numbers, k-means for
    clusters); all are linear, so each has an exact map on the image. No image that judges is seen before.
    """
    if clusters is not None and (values is not None or test is not None):
        raise click.UsageError("--clusters are not judged, so they go with neither --values nor --test")
    from convscope.render.figures.features import draw
    from convscope.studies import generic_localization as generic

    network = load_network(model, arch, preprocess, device)
    name, numbers = ("", {}) if values is None else _numbers(values)

    def make(bar: Report) -> generic.Found:
        options: dict[str, Any] = {
            "layer": layer,
            "limit": limit,
            "batch_size": batch_size,
            "progress": bar,
            "seed": seed,
        }
        if clusters is not None:
            return generic.read_clusters(network, images, clusters, **options)
        if values is not None:
            return generic.read_values(network, images, numbers, test, name=name, **options)
        return generic.read_labels(network, images, test, **options)

    found, took = timed(make, "features")
    print_skipped(found.features.skipped, "--json")
    about = {"network": network.name, **found.to_json(), "skipped": found.features.skipped}
    finish(draw(found, network.name), output, about | took, as_json)


def _numbers(path: Path) -> tuple[str, dict[str, float]]:
    """The name of the column, and the number of each file."""
    import math

    from convscope.rows import read_rows

    try:
        columns, rows = read_rows(path)
        others = [column for column in columns if column != "file"]
        if "file" not in columns or len(others) != 1:
            raise ValueError(f"expected the columns 'file' and one more, found {', '.join(columns) or 'none'}")
        numbers = {row["file"]: float(row[others[0]]) for _, row in rows if row[others[0]]}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("a number is not finite")
        return others[0], numbers
    except (OSError, ValueError) as error:
        raise click.BadParameter(
            f"{path}: not readable as numbers of files ({error})", param_hint="--values"
        ) from error
