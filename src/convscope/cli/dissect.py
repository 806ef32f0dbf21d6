"""``convscope dissect``: which concepts the units of a network detect."""

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
)  # fmt: skip
from convscope.cli.results import timed

if TYPE_CHECKING:
    from convscope.dissection import Dissection

_NAMED = 12  # concepts that cannot be detected, in the last line


@click.command()
@model_options
@click.argument("concepts")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path),
    help="The network's atlas, or any other folder; the dissection is written into 'dissection' in it.",
)  # fmt: skip
@click.option(
    "--layers", "chosen", multiple=True,
    help="Layers, modules or patterns, separated by commas; default all that have maps.",
)  # fmt: skip
@click.option(
    "--quantile", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.005, show_default=True,
    help="This share of a unit's values is above its threshold; 0.02 suits few large concepts.",
)  # fmt: skip
@click.option(
    "--at", type=click.Choice(["response", "output"]), default="response", show_default=True,
    help="Read units after the batch norm and rectifier that follow, or at the layer's raw output.",
)  # fmt: skip
@click.option(
    "--lite", is_flag=True,
    help="Do as NetDissect-Lite does: plain resize, its entry of 1,000 quantiles as the threshold, no materials.",
)  # fmt: skip
@limit_option
@batch_option
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch; by default all cores.")
@json_option
def dissect(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    concepts: str,
    output: Path,
    chosen: tuple[str, ...],
    quantile: float,
    at: Any,
    lite: bool,
    limit: int | None,
    batch_size: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare every unit of MODEL with CONCEPTS, images whose pixels are labelled, such as diorama:objects/test.

    A unit detects the concept that its mask, where its map is highest, overlaps most: above an IoU of 0.04. A
    dissection that is stopped or killed goes on where it was when the same command is given again.
    """
    layers = listed("--layers", chosen)
    import convscope

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: convscope.dissect(
            network, concepts, output, layers=layers or None, at=at, quantile=quantile, lite=lite, limit=limit,
            batch_size=batch_size, threads=threads, progress=bar,
        ),
        "masks",
    )  # fmt: skip
    if as_json:
        print_json(found.to_json() | took)
    else:
        _print(found, took["seconds"])


def _print(found: Dissection, seconds: float) -> None:
    columns = ("layer", "units", "detectors", "unique", "95 %", "false", "best unit", "concept", "IoU", "cap")
    rows = []
    for layer in found.layers:
        counts, best = layer.counts(), max(layer, key=lambda unit: unit.iou)
        low, high = counts.unique_interval
        concept = "–" if best.label is None else f"{best.label.name} ({best.label.category})"
        rows.append(
            (layer.address, f"{counts.units}", f"{counts.detectors}", f"{counts.unique}", f"{low:.0f} to {high:.0f}",
             f"{counts.false_detectors}", str(best.address), concept, f"{best.iou:.3f}", f"{best.cap:.2f}")
        )  # fmt: skip
    print_rows(f"{found.run['network']} on {found.run['images']} images, {seconds:.1f} s", columns, rows)
    click.echo("unique: different labels of detectors, and what other images would give; false: detectors of other")
    click.echo("images' labels, which chance alone gives")
    if large := found.unreachable():
        names = ", ".join(f"{each.concept.name} ({each.cap:.3f})" for each in large[:_NAMED])
        more = f" and {len(large) - _NAMED} more" if len(large) > _NAMED else ""
        click.echo(f"too large to be detected (about the highest IoU that they can have): {names}{more}")
    if found.run["remark"]:
        click.echo(f"note: {found.run['remark']}", err=True)
    print_skipped(found.run["skipped"], "run.json")
    click.echo(f"dissection: {found.path}")
