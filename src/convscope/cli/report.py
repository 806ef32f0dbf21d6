"""``convscope report``: pages to look at an atlas."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option, print_json, report_pages


@click.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the pages.")
@click.option("--open", "show", is_flag=True, help="Open the report in a browser, if there is one.")
@json_option
def report(atlas: Path, output: Path, show: bool, as_json: bool) -> None:
    """Write the pages of an ATLAS: the network, every layer, every unit. They open from disk, without a server."""
    import convscope

    opened = convscope.Atlas.open(atlas)
    page = report_pages(opened, output, show)
    if as_json:
        print_json({"atlas": str(atlas), "report": str(page), "layers": len(opened.layers)})
    else:
        click.echo(f"report: {page}")
