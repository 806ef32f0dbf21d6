"""``convscope report``: pages to look at an atlas."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option, listed, print_json, report_pages, top_units


@click.command()
@click.argument("atlas", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the pages.")
@click.option(
    "--layers", "chosen", multiple=True, help="Layers, modules or patterns, separated by commas; default all."
)
@click.option(
    "--units",
    metavar="top:N",
    callback=top_units,
    help="Of every layer only the N units whose best image stands out most.",
)
@click.option("--open", "show", is_flag=True, help="Open the report in a browser, if there is one.")
@json_option
def report(atlas: Path, output: Path, chosen: tuple[str, ...], units: int | None, show: bool, as_json: bool) -> None:
    """Write the pages of an ATLAS: the network, every layer, every unit. They open from disk, without a server."""
    import convscope

    opened = convscope.Atlas.open(atlas)
    layers = listed("--layers", chosen)
    page = report_pages(opened, output, show, layers or None, units)
    if as_json:
        files = [path for path in output.rglob("*") if path.is_file()]
        result = {"atlas": str(atlas), "report": str(page), "layers": len(list((output / "layers").iterdir()))}
        print_json(result | {"files": len(files), "bytes": sum(path.stat().st_size for path in files)})
    else:
        click.echo(f"report: {page}")
