"""``convscope scan``: one pass over the images, and an atlas of every unit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, load_network, model_options, print_json, progress_bar, report_pages

if TYPE_CHECKING:
    from convscope.atlas import Atlas
    from convscope.images import ImageSet
    from convscope.network import Network


@click.command()
@model_options
@click.argument("images")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the atlas will be.")
@click.option(
    "--layers", "chosen", multiple=True, help="Layers, modules or patterns, separated by commas; default all."
)
@click.option("--limit", type=click.IntRange(min=1), help="Use so many images, evenly spaced over the set.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images in a forward pass."
)
@click.option(
    "--at",
    type=click.Choice(["response", "output"]),
    default="response",
    show_default=True,
    help="Read units after the batch norm and rectifier that follow, or at the layer's raw output.",
)
@click.option("--report", "pages", type=click.Path(path_type=Path), help="Write a report of the atlas here as well.")
@click.option("--open", "show", is_flag=True, help="Open the report in a browser, if there is one.")
@json_option
def scan(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: str,
    output: Path,
    chosen: tuple[str, ...],
    limit: int | None,
    batch_size: int,
    at: Any,
    pages: Path | None,
    show: bool,
    as_json: bool,
) -> None:
    """Scan IMAGES with MODEL: what excites every unit of every convolution and linear layer.

    A scan that is stopped or killed goes on where it was when the same command is given again.
    """
    if show and pages is None:
        raise click.UsageError("--open shows a report: give --report DIR as well")
    layers = [name for part in chosen for name in part.split(",") if name]
    if chosen and not layers:
        raise click.UsageError("--layers names no layer")
    import convscope
    from convscope.report import check_folder

    network = load_network(model, arch, preprocess, device)
    image_set = convscope.open_images(images)
    if pages is not None:
        check_folder(pages, output)
    options = {"layers": layers or None, "at": at, "limit": limit, "batch_size": batch_size}
    atlas, result = _scan(network, image_set, output, options)
    if pages is not None:
        result["report"] = str(report_pages(atlas, pages, show))
    if as_json:
        print_json(result)
    else:
        _print(atlas, result)


def _scan(network: Network, images: ImageSet, output: Path, options: dict[str, Any]) -> tuple[Atlas, dict[str, Any]]:
    """The atlas, and what ``--json`` says of the scan."""
    import convscope
    from convscope.scanner import Progress

    now, start = 0, time.perf_counter()  # images of this run; the others were there from an earlier one
    with progress_bar() as bar:

        def progress(step: Progress) -> None:
            nonlocal now
            bar(step.phase, step.done, step.total, step.begun)
            now = step.done - step.begun if step.phase == "scanning" else now

        atlas = convscope.scan(network, images, output, **options, progress=progress)
    seconds = time.perf_counter() - start
    rate = {"seconds": round(seconds, 3), "images_per_second": round(now / seconds, 2)}
    return atlas, {"atlas": str(output)} | _results(atlas) | rate


def _results(atlas: Atlas) -> dict[str, Any]:
    results = dict(atlas.run["results"])
    files = results.pop("skipped")
    return {"images": results.pop("images"), "skipped": len(files), "skipped_files": files} | results


def _print(atlas: Atlas, result: dict[str, Any]) -> None:
    units = sum(layer.units for layer in atlas.layers)
    click.echo(f"{result['images']} images, {len(atlas.layers)} layers, {units:,} units, {result['seconds']:.1f} s")
    if result["labelled"]:
        right = ", ".join(f"top-{k} {result[f'top{k}']:.1%} ({result[f'top{k}_right']})" for k in (1, 5))
        click.echo(f"accuracy on {result['labelled']} labelled images: {right}")
    if result["remark"]:
        click.echo(f"note: {result['remark']}", err=True)
    for file in result["skipped_files"][:5]:
        click.echo(f"skipped {file['name']}: {file['reason']}", err=True)
    if result["skipped"] > 5:
        click.echo(f"skipped {result['skipped'] - 5} more; run.json lists them", err=True)
    click.echo(f"atlas:  {result['atlas']}")
    if "report" in result:
        click.echo(f"report: {result['report']}")
    else:
        click.echo(f"look at it: convscope report {result['atlas']} -o REPORT")
