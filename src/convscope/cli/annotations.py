"""``convscope annotations``: people say what units respond to; their answers, and what these say in all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.agreement import agreement
from convscope.cli.common import json_option, listed, print_json, print_rows, progress_bar, top_units
from convscope.cli.figures import place

if TYPE_CHECKING:
    from convscope.annotation import Summary

_SERIES = 4  # files beside each other in a figure


def _file(*suffixes: str) -> Callable[[click.Context, click.Parameter, Path], Path]:
    def check(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
        """Looked at before anything is computed."""
        if value.suffix.lower() not in suffixes:
            raise click.BadParameter(f"{value}: expected a file that ends in {' or '.join(suffixes)}")
        if value.is_dir() or not value.parent.is_dir():
            raise click.BadParameter(f"{value} is a folder, or is in one that is not there; give the path of a file")
        return value

    return check


@click.group(name="annotations")
def people() -> None:
    """People's words for units: ask them, collect what they say, and sum it up."""


@people.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@click.option(
    "--layers", "chosen", multiple=True, help="Layers, modules or patterns, separated by commas; default all."
)
@click.option(
    "--units", metavar="top:N", callback=top_units, help="Of every layer only the N whose best image stands out most."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    callback=_file(".html"),
    help="The page, as tasks.html; several are tasks-01.html, tasks-02.html, ...",
)
@json_option
def tasks(atlas: Path, chosen: tuple[str, ...], units: int | None, output: Path, as_json: bool) -> None:
    """Write pages that ask people what the units of an ATLAS respond to.

    Each page opens from disk and saves its answers as a file for `annotations import`. Units are shown by as many
    images as the atlas keeps, 60 at most: `convscope scan --top 60` keeps as many as published.
    """
    import convscope
    from convscope.render.tasks import SHOWN, write_tasks
    from convscope.report.selection import select

    layers = listed("--layers", chosen)
    opened = convscope.Atlas.open(atlas)
    asked = [shown.layer[unit] for shown in select(opened, layers or None, units) for unit in shown.units]
    with progress_bar("units") as bar:
        written = write_tasks(asked, output, lambda done, total: bar("tasks", done, total))
    fewest, most = written.images
    if as_json:
        about = {"atlas": str(atlas), "files": [str(file) for file in written.files], "units": written.units}
        sizes = {
            "images": {"fewest": fewest, "most": most},
            "bytes": sum(file.stat().st_size for file in written.files),
        }
        print_json(about | sizes | {"silent": list(written.silent)})
        return
    for file in written.files:
        click.echo(f"tasks: {file}")
    images = f"{most}" if fewest == most else f"{fewest} to {most}"
    click.echo(f"{written.units} units, {images} images each", err=True)
    if written.silent:
        click.echo(f"left out: {len(written.silent)} units that no image excites", err=True)
    if most < SHOWN:
        click.echo(
            f"note: published were {SHOWN} images a unit; `convscope scan --top {SHOWN}` keeps so many", err=True
        )


@people.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    callback=_file(".json", ".csv"),
    help="All of them as one .json or .csv file; only the first knows the network.",
)
@json_option
def import_(files: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Check FILES that people saved, or published as CSV, and write them as one.

    A unit that is not there, a category that is none of the six, an image that was not shown, or the same unit twice by
    the same person are errors.
    """
    from convscope.annotation.files import read, text
    from convscope.shards import write

    found = read(files)
    write(output, text(found, output.suffix.lower()).encode())
    people = sorted({row.annotator for row in found.rows})
    units = len({row.address for row in found.rows})
    if as_json:
        print_json({"output": str(output), "annotations": len(found.rows), "units": units, "annotators": people})
    else:
        click.echo(f"annotations: {output}")
        click.echo(f"{len(found.rows)} answers of {len(people)} people about {units} units", err=True)


@people.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    "least",
    type=click.FloatRange(0, 1),
    help="Count only answers at least so precise, the others as none. Default: all for the shares, 0.75 for detectors.",
)
@click.option("--layer", help="Whose object detectors --figure draws; by default the last one of each file.")
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place, help="Draw types and detectors: .png, .pdf or .svg."
)
@json_option
def summary(
    files: tuple[Path, ...], least: float | None, layer: str | None, figure: Path | None, as_json: bool
) -> None:
    """Sum up annotations: precision, semantic types by layer, object detectors, and how far people agree.

    Each FILE (.json or .csv) is a series of its own, such as one network beside another.
    """
    from convscope.annotation import read, summarize

    if len(files) > _SERIES:
        raise click.UsageError(f"{len(files)} files are too many beside each other; give {_SERIES} at most")
    found = [summarize(read([file]), least) for file in files]
    names = [each.annotations.network or file.stem for file, each in zip(files, found, strict=True)]
    if len({*names}) < len(names):
        names = [file.stem for file in files]
    if figure is not None:
        from convscope.render.figures.annotations import draw

        draw(list(zip(names, found, strict=True)), layer).save(figure)
    if as_json:
        series = [{"file": str(file), **each.to_json()} for file, each in zip(files, found, strict=True)]
        print_json({"series": series} | ({"figure": str(figure)} if figure is not None else {}))
        return
    for name, each in zip(names, found, strict=True):
        _print(name, each)
    if figure is not None:
        click.echo(f"figure: {figure}")


def _print(name: str, found: Summary) -> None:
    from convscope.annotation.record import NAMES
    from convscope.annotation.summary import NONE

    shown = [*NAMES, NONE] if any(row.shares[NONE] for row in found.rows) else NAMES
    columns = ["layer", "units", "answers", "precision", *shown, "alpha", "same word", "detectors"]
    rows = [
        [row.layer, f"{row.units:,}", f"{row.annotations:,}", f"{row.precision:.2f}"]
        + [f"{row.shares[each]:.2f}" for each in shown]
        + [_number(row.alpha), _number(row.same_label), f"{row.object_detectors:,}"]
        for row in found.rows
    ]
    print_rows(f"{name}: Krippendorff's alpha of the categories {_number(found.alpha)}", columns, rows)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


people.add_command(agreement)
