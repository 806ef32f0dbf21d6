"""``convscope compare``: networks trained alike, in a table like those of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import (
    device_option,
    find_factories,
    json_option,
    print_json,
    print_table,
    progress_bar,
    usable_device,
)

if TYPE_CHECKING:
    from convscope.studies.comparison import Result


@click.command()
@click.argument("comparison")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the networks; default the comparison's name."
)
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch; by default all cores. The bits depend on it.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@json_option
def compare(
    comparison: str, output: Path | None, device: str | None, threads: int | None, markdown: bool, as_json: bool
) -> None:
    """Train the networks of COMPARISON alike, and compare them on images that none of them has seen.

    A TOML file, or one that comes with convscope: heads (fully connected, averaging and maximum heads of four
    families, as in the CAM paper) and seeds (one network, a wide one and ensembles, as in Zeiler & Fergus). It goes on
    after a kill.
    """
    from convscope.studies.comparison import Comparison
    from convscope.studies.comparison import compare as run
    from convscope.studies.comparison import markdown as as_markdown

    found = Comparison.open(comparison)
    find_factories()
    with progress_bar() as bar:
        result = run(
            found,
            output or Path(found.name),
            device=usable_device(device),
            threads=threads,
            progress=lambda step: bar(step.phase, step.done, step.total, step.begun),
            tell=lambda text: click.echo(text, err=True),
        )
    if as_json:
        print_json(result.to_json() | {"folder": str(output or found.name)})
    elif markdown:
        click.echo(as_markdown(result.rows), nl=False)
    else:
        _print(result)


def _print(result: Result) -> None:
    from rich.table import Table
    from rich.text import Text

    from convscope.studies.comparison import cell

    title = f"{result.comparison.title}: {result.comparison.test}, {result.images} images"
    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("network", "parameters", "top-1 error, %", "top-5 error, %", "training, s"):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for row in result.rows:
        seconds = f"{row.seconds:.0f}" if row.seconds else ""
        table.add_row(Text(row.name), f"{row.parameters:,}", cell(row, "top1"), cell(row, "top5"), seconds)
    print_table(table)
    click.echo("In brackets the 95 % interval, or of several seeds the least and the largest.")
