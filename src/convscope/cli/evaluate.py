"""``convscope evaluate``: how good networks are, as a table in the form of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import (
    batch_option,
    json_option,
    limit_option,
    load_networks,
    models_options,
    print_json,
    print_rows,
    print_skipped,
)
from convscope.cli.figures import place
from convscope.cli.results import timed
from convscope.render.text import figure as written
from convscope.render.text import percent

if TYPE_CHECKING:
    from convscope.evaluation import Evaluation, Row
    from convscope.evaluation.intervals import Errors

_CLASSES = 30  # a table of more is left to --json


@click.command()
@models_options
@click.argument("images")
@click.option("--ten-crop", is_flag=True, help="Average over four corners, the centre and their mirror images.")
@click.option("--ensemble", is_flag=True, help="Add the mean of all networks' probabilities, with equal weights.")
@limit_option
@batch_option
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place,
    help="Draw confusions and calibration of the first MODEL: .png, .pdf or .svg.",
)  # fmt: skip
@json_option
def evaluate(
    models: tuple[str, ...],
    archs: tuple[str, ...],
    cards: tuple[Path, ...],
    device: str | None,
    images: str,
    ten_crop: bool,
    ensemble: bool,
    limit: int | None,
    batch_size: int,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Evaluate MODEL... on labelled IMAGES: top-1 and top-5 error, calibration, and how they compare.

    Every network prepares the images by its own card. --json has all of it, also classes and confusions.
    """
    if ensemble and len(models) < 2:
        raise click.UsageError("--ensemble averages several networks: give more than one MODEL")
    import convscope

    networks = load_networks(models, archs, cards, device)
    found, took = timed(
        lambda bar: convscope.evaluate(
            networks,
            images,
            crops="ten" if ten_crop else "one",
            ensemble=ensemble,
            limit=limit,
            batch_size=batch_size,
            progress=bar,
        ),
        "evaluating",
    )
    if figure is not None:
        _draw(found, figure)
    if as_json:
        print_json(found.to_json() | took | ({} if figure is None else {"figure": str(figure)}))
    else:
        _print(found, took["seconds"], figure)


def _draw(found: Evaluation, path: Path) -> None:
    from convscope.images.base import source
    from convscope.render.figures.confusion import draw
    from convscope.render.figures.reliability import Reliability

    row = found.rows[0]
    title = f"{row.name} on {source(found.images.spec)}"
    draw(row.confusions, row.classes, title, Reliability(row.calibration)).save(path)


def _print(found: Evaluation, seconds: float, figure: Path | None) -> None:
    from convscope.images.base import source

    title = f"{source(found.images.spec)}: {found.count} images, {seconds:.1f} s"
    rows = [
        [row.name, str(row.crops), written(row.parameters), _errors(row.top1), _errors(row.top5),
         written(row.calibration.expected_error), written(row.calibration.nll)]
        for row in found.rows
    ]  # fmt: skip
    print_rows(title, ["network", "crops", "parameters", "top-1 error", "top-5 error", "ECE", "NLL"], rows)
    click.echo("In brackets 95 % intervals; ECE: expected calibration error; NLL: nats an image.")
    if any(row.top5 is None for row in found.rows):
        click.echo("No top-5 error with five classes or fewer: it is 0 whatever the network does.")
    for each in found.comparisons:
        click.echo(
            f"{each.second} against {each.first}: {each.only_second} images that only the former has right, "
            f"{each.only_first} that only the latter has; p = {each.p:.2g} (McNemar, exact)"
        )
    _print_classes(found)
    _print_notes(found)
    if figure is not None:
        click.echo(f"figure: {figure}")


def _errors(errors: Errors | None) -> str:
    if errors is None:
        return "–"
    low, high = errors.interval
    return f"{percent(errors.error)} ({100 * low:.1f}–{100 * high:.1f})"


def _print_classes(found: Evaluation) -> None:
    """Top-1 error by class, if there are few."""
    tables = [_by_class(row) for row in found.rows]
    names = list(dict.fromkeys(name for each in tables for name in each))
    if len(names) > _CLASSES:
        click.echo(f"{len(names)} classes; --json has the errors of each, and the confusions")
        return
    rows = []
    for name in names:
        errors = [each.get(name) for each in tables]
        images = next(each.images for each in errors if each is not None)
        rows.append([name, written(images), *map(_errors, errors)])
    print_rows("top-1 error by class", ["class", "images", *(row.name for row in found.rows)], rows)


def _by_class(row: Row) -> dict[str, Errors]:
    """Top-1 errors by the name of the class, as networks may have their classes in different orders."""
    names = [str(index) for index in range(row.outputs)] if row.classes is None else row.classes
    return {
        names[index] if names.count(names[index]) == 1 else f"{names[index]} ({index})": top1
        for index, (top1, _) in row.by_class.items()
    }


def _print_notes(found: Evaluation) -> None:
    if found.remark:
        click.echo(f"note: {found.remark}", err=True)
    for row in found.rows:
        for remark in row.remarks:
            click.echo(f"note: {row.name}: {remark}", err=True)
        if row.broken:
            name, more = found.images.names[row.broken[0]], len(row.broken) - 1
            others = f" and {more} others" if more else ""
            click.echo(
                f"warning: {row.name}: outputs for {name}{others} are NaN or infinite; they count as wrong", err=True
            )
    print_skipped(found.skipped, "--json")
