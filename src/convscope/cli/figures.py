"""What the commands that draw a figure have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convscope.cli.common import print_json

if TYPE_CHECKING:
    from convscope.render.figures.sheet import Sheet

Command = TypeVar("Command", bound=Callable[..., Any])

SUFFIXES = (".png", ".pdf", ".svg")


def place(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Where the figure goes, if one is wanted; looked at before anything is computed."""
    if value is None:
        return None
    if value.suffix.lower() not in SUFFIXES:
        what = f"a figure of the kind {value.suffix!r} cannot be drawn" if value.suffix else "it has no suffix"
        raise click.BadParameter(f"{value}: {what}; expected {', '.join(SUFFIXES)}")
    if not value.parent.is_dir():
        raise click.BadParameter(f"{value}: there is no folder {value.parent}; make it, or give another place")
    if value.is_dir():
        raise click.BadParameter(f"{value}: there is a folder of that name; give another place")
    return value


figure_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), callback=place,
    help="The figure: a .png of 300 dpi, or a .pdf or .svg with its text as text.",
)  # fmt: skip


def finish(sheet: Sheet, output: Path, about: dict[str, Any], as_json: bool) -> None:
    """Write the figure, and say what it is."""
    sheet.save(output)
    if as_json:
        print_json({"figure": str(output)} | about)
    else:
        click.echo(f"figure: {output}")
