"""What the commands that make an atlas say in the end, and how long things took."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convscope.cli.common import print_json, print_skipped, progress_bar, report_pages

if TYPE_CHECKING:
    from convscope.atlas import Atlas
    from convscope.scanner import Progress

Made = TypeVar("Made")
Took = dict[str, float]

_LONG = {"classes", "confusions"}  # an atlas tells them; a command would print pages of numbers


def timed(make: Callable[[Callable[[Progress], None]], Made], phase: str = "scanning") -> tuple[Made, Took]:
    """What `make` gives, which is called with the progress bar, and how long it took; images are done in `phase`."""
    now, start = 0, time.perf_counter()  # images of this run; the others were there from an earlier one
    with progress_bar() as bar:

        def progress(step: Progress) -> None:
            nonlocal now
            bar(step.phase, step.done, step.total, step.begun)
            now = step.done - step.begun if step.phase == phase else now

        made = make(progress)
    seconds = time.perf_counter() - start
    return made, {"seconds": round(seconds, 3), "images_per_second": round(now / seconds, 2)}


def print_atlas(atlas: Atlas, took: Took, pages: Path | None, show: bool, as_json: bool) -> None:
    """What is in a new atlas, with its report if one is wanted in `pages`."""
    results = {name: value for name, value in atlas.run["results"].items() if name not in _LONG}
    files = results.pop("skipped")
    result = {"atlas": str(atlas.path), "images": results.pop("images"), "skipped": len(files), "skipped_files": files}
    result |= results | took
    if pages is not None:
        result["report"] = str(report_pages(atlas, pages, show))
    if as_json:
        print_json(result)
    else:
        _print(atlas, result)


def _print(atlas: Atlas, result: dict[str, Any]) -> None:
    units = sum(layer.units for layer in atlas.layers)
    click.echo(f"{result['images']} images, {len(atlas.layers)} layers, {units:,} units, {result['seconds']:.1f} s")
    if result["labelled"]:
        right = ", ".join(f"top-{k} {result[f'top{k}']:.1%} ({result[f'top{k}_right']})" for k in (1, 5))
        click.echo(f"accuracy on {result['labelled']} labelled images: {right}")
    if result["remark"]:
        click.echo(f"note: {result['remark']}", err=True)
    for warning in result["warnings"]:
        click.echo(f"warning: {warning['message']}", err=True)
    print_skipped(result["skipped_files"], "run.json")
    click.echo(f"atlas:  {result['atlas']}")
    if "report" in result:
        click.echo(f"report: {result['report']}")
    else:
        click.echo(f"look at it: convscope report {result['atlas']} -o REPORT")


def print_part(folder: Path, part: int, parts: int, took: Took, as_json: bool) -> None:
    """Where a part is, and what to do with it."""
    if as_json:
        print_json({"part": str(folder), "number": part, "parts": parts} | took)
        return
    click.echo(f"part {part} of {parts}: {folder}")
    click.echo("when all parts are done: convscope merge PARTS... -o ATLAS")
