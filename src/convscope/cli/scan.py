"""``convscope scan``: one pass over the images, and an atlas of every unit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from convscope.cli.common import batch_option, json_option, limit_option, listed, load_network, model_options
from convscope.cli.results import print_atlas, print_part, timed


def _part(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Both numbers of such as 2/3, the second part of three."""
    if value is None:
        return None
    part, _, parts = value.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise click.BadParameter(f"{value!r}; expected such as 2/3: one of 1/3, 2/3 and 3/3")
    return int(part), int(parts)


@click.command()
@model_options
@click.argument("images")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the atlas will be.")
@click.option(
    "--layers", "chosen", multiple=True, help="Layers, modules or patterns, separated by commas; default all."
)
@limit_option
@batch_option
@click.option(
    "--at",
    type=click.Choice(["response", "output"]),
    default="response",
    show_default=True,
    help="Read units after the batch norm and rectifier that follow, or at the layer's raw output.",
)
@click.option(
    "--exact-quantiles", is_flag=True, help="Count all positions for the distributions, and no sample of them."
)
@click.option("--samples", type=click.IntRange(min=0), default=8, show_default=True, help="Images whose maps are kept.")
@click.option(
    "--projections",
    type=click.IntRange(min=0),
    help="Units of each layer whose best patches are projected to the pixels; by default all, or as many as take "
    "about as long as the scan.",
)
@click.option("--top", type=click.IntRange(min=9), default=25, show_default=True, help="Images kept of every unit.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that compute.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of PyTorch in every process; by default all cores, divided among the workers. The bytes depend on it.",
)
@click.option(
    "--part", metavar="I/N", callback=_part, help="Compute only this part, such as 2/3, for 'convscope merge'."
)
@click.option("--cluster", "address", help="Compute on the Dask cluster with this scheduler, such as tcp://HOST:8786.")
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
    exact_quantiles: bool,
    samples: int,
    projections: int | None,
    top: int,
    workers: int,
    threads: int | None,
    part: tuple[int, int] | None,
    address: str | None,
    pages: Path | None,
    show: bool,
    as_json: bool,
) -> None:
    """Scan IMAGES with MODEL: what excites every unit of every convolution and linear layer.

    A scan that is stopped or killed goes on where it was when the same command is given again.
    """
    if part is not None and pages is not None:
        raise click.UsageError("--part makes no atlas yet, so there is no --report of it; 'convscope merge' has one")
    if address is not None and workers > 1:
        raise click.UsageError("--workers are processes on this machine, and --cluster has its own: give one of them")
    if show and pages is None:
        raise click.UsageError("--open shows a report: give --report DIR as well")
    layers = listed("--layers", chosen)
    import convscope
    from convscope.report import check_folder
    from convscope.scanner import scan_part

    network = load_network(model, arch, preprocess, device)
    for remark in network.remarks:
        click.echo(f"note: {network.name}: {remark}", err=True)
    image_set = convscope.open_images(images)
    if pages is not None:
        check_folder(pages, output)
    options = {
        "layers": layers or None,
        "at": at,
        "limit": limit,
        "batch_size": batch_size,
        "exact_quantiles": exact_quantiles,
        "samples": samples,
        "projections": projections,
        "top": top,
    }
    with _reached(address) as executor:
        options |= {"threads": threads, "workers": workers, "executor": executor}
        if part is not None:
            folder, took = timed(lambda bar: scan_part(network, image_set, output, *part, **options, progress=bar))
            print_part(folder, *part, took, as_json)
            return
        atlas, took = timed(lambda bar: convscope.scan(network, image_set, output, **options, progress=bar))
    print_atlas(atlas, took, pages, show, as_json)


@contextmanager
def _reached(address: str | None) -> Iterator[Executor | None]:
    """The executor of a cluster, if there is one."""
    if address is None:
        yield None
        return
    from convscope.scanner import cluster

    with cluster(address) as executor:
        yield executor
