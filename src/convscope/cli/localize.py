"""``convscope localize``: whether a network that was told labels only knows where the objects are."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
)
from convscope.cli.figures import place
from convscope.cli.results import timed
from convscope.render.text import percent

if TYPE_CHECKING:
    from convscope.evaluation.intervals import Errors
    from convscope.localization import Localization


def _table(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Where the predictions go, looked at before anything is computed."""
    if value is not None and (value.is_dir() or not value.parent.is_dir()):
        raise click.BadParameter(f"{value} is a folder, or is in one that is not there; give the path of a CSV file")
    return value


@click.command()
@model_options
@click.argument("images")
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    help="CSV of the true boxes: file, label, y0, x0, y1, x1, as in `diorama export`. diorama:objects/... needs none.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD[/PROTOCOL]",
    help="cam, gradcam, saliency, ... or centre, which asks nobody; several times, or with commas. Without it the "
    "table of the CAM paper: cam, cam/heuristics, saliency, saliency/graphcut, centre.",
)
@click.option(
    "--protocol",
    metavar="PROTOCOL",
    help="Of methods that name none: largest (component above 20 % of the maximum), released (CAM's box generator), "
    "heuristics (its boxes of the best classes as 2 + 2 + 1), graphcut (colours, seeded by the map). Default: largest.",
)
@limit_option
@batch_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), callback=_table, help="Write all predicted boxes to a CSV file."
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    callback=place,
    help="Draw true and predicted boxes: .png, .pdf or .svg.",
)
@json_option
def localize(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    boxes: Path | None,
    methods: tuple[str, ...],
    protocol: str | None,
    limit: int | None,
    batch_size: int,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Let MODEL find the objects in IMAGES, and count how often a box of the right class overlaps a true one by half.

    Of each image there are five predictions, a class and a box; the table has the error of the first (top-1), and the
    share of images in which all five are wrong (top-5).
    """  # fmt: skip
    if protocol is not None and not methods:
        raise click.UsageError("--protocol belongs to methods that name none: give --method too")
    import convscope
    from convscope.localization.localizer import parse
    from convscope.localization.run import TABLE

    names = [name.strip() for each in methods for name in each.split(",")] or TABLE
    localizers = [parse(name, protocol or "largest") for name in names]
    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: convscope.localize(
            network, images, boxes, methods=localizers, limit=limit, batch_size=batch_size, progress=bar
        ),
        "localizing",
    )
    files = _write(found, output, figure)
    if as_json:
        print_json(found.to_json() | took | files)
    else:
        _print(found, took["seconds"], files)


def _write(found: Localization, output: Path | None, figure: Path | None) -> dict[str, Any]:
    """The files that are wanted, and where they are."""
    from convscope.localization.result import COLUMNS
    from convscope.shards import write

    if output is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *found.predictions()])
        write(output, text.getvalue().encode())
    if figure is not None:
        from convscope.render.figures.boxes import draw

        draw(found)[0].save(figure)
    named = {"predictions": output, "figure": figure}
    return {name: str(path) for name, path in named.items() if path is not None}


def _print(found: Localization, seconds: float, files: dict[str, Any]) -> None:
    from convscope.images.base import source

    title = f"{found.network} on {source(found.images.spec)}: {len(found.ids)} images, {seconds:.1f} s"
    rows = [["the class alone", _wrong(found.top1), _wrong(found.top5), "", "", "", ""]]
    for row in found.rows:
        best, threshold = row.maps.max_box_accuracy
        scores = (_right(best), f"{threshold:.2f}", _right(row.maps.pointing), percent(float(row.maps.energy.mean())))
        rows.append([row.name, _wrong(row.top1), _wrong(row.top5), *scores])
    print_rows(title, ["", "top-1 error", "top-5 error", "MaxBoxAcc", "at", "pointing", "energy"], rows)
    click.echo(
        "In brackets 95 % intervals. With the class given: MaxBoxAcc: right boxes at the best threshold; pointing: "
        "maxima inside a true box; energy: share of the positive map inside."
    )
    for remark in found.remarks:
        click.echo(f"note: {remark}", err=True)
    print_skipped(found.skipped, "--json")
    for name, path in files.items():
        click.echo(f"{name}: {path}")


def _wrong(errors: Errors) -> str:
    low, high = errors.interval
    return f"{percent(errors.error)} ({100 * low:.1f}–{100 * high:.1f})"


def _right(errors: Errors) -> str:
    low, high = errors.interval
    return f"{percent(1 - errors.error)} ({100 - 100 * high:.1f}–{100 - 100 * low:.1f})"
