"""``convscope ablate``: which classes lose accuracy when units of a layer are set to zero."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import (
    batch_option,
    json_option,
    limit_option,
    listed,
    load_network,
    model_options,
    print_json,
    print_rows,
    print_skipped,
)
from convscope.cli.figures import place
from convscope.cli.results import timed

if TYPE_CHECKING:
    from convscope.studies.ablation_effects import Ablated, Ablation, Measure

_ROWS = 20  # of the table; --json has all


@click.command()
@model_options
@click.argument("images")
@click.option("--layer", help="Ablate all units of this layer, one at a time.")
@click.option("--units", "chosen", multiple=True, help="Units of one layer, separated by commas, as conv5:1,conv5:2.")
@click.option(
    "--dissection",
    type=click.Path(path_type=Path),
    help="The network's atlas with a dissection: what units are called.",
)
@click.option(
    "--by", type=click.Choice(["unit", "concept"]), default="unit", show_default=True,
    help="One unit at a time, or all at once that detect the same concept.",
)  # fmt: skip
@click.option(
    "--fill", type=click.Choice(["zero", "mean"]), default="zero", show_default=True,
    help="Set units to zero, or to their mean over the images.",
)  # fmt: skip
@click.option(
    "--measure", type=click.Choice(["accuracy", "evidence"]), default="accuracy", show_default=True,
    help="What table and figure show: top-1 accuracy, or the mean log-probability of the right class.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of the random units that are the control.")
@limit_option
@batch_option
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place, help="Draw units against classes: .png, .pdf or .svg."
)  # fmt: skip
@json_option
def ablate(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    layer: str | None,
    chosen: tuple[str, ...],
    dissection: Path | None,
    by: Any,
    fill: Any,
    measure: Any,
    seed: int,
    limit: int | None,
    batch_size: int,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Set units of MODEL to zero, and see which classes of labelled IMAGES lose accuracy.

    Only what comes after the layer is run again for each unit. --json has the changes of every class.
    """
    units = listed("--units", chosen)
    if (layer is None) == (not units):
        raise click.UsageError("give --layer for all units of a layer, or --units for some")
    if by == "concept" and dissection is None:
        raise click.UsageError("--by concept needs --dissection, which says what units detect")
    from convscope.studies.ablation import ablate as set_units

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: set_units(
            network, images, layer or units, dissection=dissection, by=by, fill=fill, limit=limit,
            batch_size=batch_size, seed=seed, progress=bar,
        ),
        "ablating",
    )  # fmt: skip
    if figure is not None:
        from convscope.render.figures.ablation import draw

        draw(found, measure).save(figure)
    if as_json:
        print_json(found.to_json() | took | ({} if figure is None else {"figure": str(figure)}))
    else:
        _print(found, measure, took["seconds"])
        if figure is not None:
            click.echo(f"figure: {figure}")


def _print(found: Ablation, measure: Measure, seconds: float) -> None:
    from convscope.images.base import source
    from convscope.render.text import percent

    title = (
        f"{found.layer} of {found.network} on {source(found.images.spec)}: {found.count} images, "
        f"{percent(found.accuracy)} right, {seconds:.1f} s"
    )
    unit = "points" if measure == "accuracy" else "nats"
    columns = ["set", "label", "IoU", "units", unit, "95 %", "random", "p", "classes that lose most"]
    print_rows(title, columns, [_row(found, row, measure) for row in found.ordered(measure)[:_ROWS]])
    if len(found.rows) > _ROWS:
        click.echo(f"{len(found.rows) - _ROWS} more are in --json")
    click.echo("random: the median of random units of the layer, as many at a time")
    many = int(found.significant(measure).sum())
    click.echo(
        f"{many} of {found.tested(measure):,} changes of classes are more than chance (false discovery rate 0.05)"
    )
    if (matches := found.matches(measure)).named:
        click.echo(
            f"labelled as a class: {matches.named}; hurt this class most: {matches.hit}; by chance {matches.chance:.1f}"
        )
    click.echo(f"{found.runs:,} runs of the rest of the network, {percent(found.rest)} of its multiplications each")
    if found.remark:
        click.echo(f"note: {found.remark}", err=True)
    print_skipped(found.skipped, "--json")


def _row(found: Ablation, row: Ablated, measure: Measure) -> list[str]:
    effect, factor = row.effect(measure), 100 if measure == "accuracy" else 1
    low, high = effect.interval
    label = "–" if row.label is None else f"{row.label.name} ({row.label.category})"
    most = [index for index in effect.changes.argsort(kind="stable")[:3] if effect.changes[index] < 0]
    return [
        row.name, label, "–" if row.iou != row.iou else f"{row.iou:.2f}", str(len(row.units)),
        f"{factor * effect.change:+.3f}", "–" if low != low else f"{factor * low:+.3f} to {factor * high:+.3f}",
        f"{factor * found.control(row).change(measure):+.3f}", "–" if effect.p != effect.p else f"{effect.p:.1g}",
        ", ".join(f"{found.classes[index]} {factor * effect.changes[index]:+.2f}" for index in most) or "–",
    ]  # fmt: skip
