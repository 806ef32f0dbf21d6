"""``convscope merge``: the atlas of a scan that was computed in parts."""

from __future__ import annotations

from pathlib import Path

import click

from convscope.cli.common import json_option
from convscope.cli.results import print_atlas, timed


@click.command()
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the atlas will be.")
@click.option("--report", "pages", type=click.Path(path_type=Path), help="Write a report of the atlas here as well.")
@click.option("--open", "show", is_flag=True, help="Open the report in a browser, if there is one.")
@json_option
def merge(parts: tuple[Path, ...], output: Path, pages: Path | None, show: bool, as_json: bool) -> None:
    """Make one atlas of all PARTS of a scan: the folders that 'convscope scan --part I/N' made, in any order.

    The atlas has the same bytes as that of a scan in one piece. The parts are left as they are.
    """
    if show and pages is None:
        raise click.UsageError("--open shows a report: give --report DIR as well")
    from convscope import scanner
    from convscope.report import check_folder

    if pages is not None:
        check_folder(pages, output)
    atlas, took = timed(lambda bar: scanner.merge(parts, output, progress=bar))
    print_atlas(atlas, took, pages, show, as_json)
