"""``convscope annotations agreement``: how far dissection, people and other labels agree on what units are for."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import json_option, print_json, print_rows
from convscope.cli.figures import place

if TYPE_CHECKING:
    from convscope.studies.agreement import Comparison, Labels, Measure

_MOST = 4  # sources; every two of them are compared


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option(
    "--figure", type=click.Path(path_type=Path), callback=place,
    help="Draw which categories meet in each layer: .png, .pdf or .svg.",
)  # fmt: skip
@json_option
def agreement(sources: tuple[Path, ...], figure: Path | None, as_json: bool) -> None:
    """Compare what SOURCES say of units, every two of them, and people who label the same units among themselves.

    A SOURCE is an atlas with a dissection, annotations (.json or .csv), or any labels: a .csv with the columns unit (as
    conv5:41), label and, if there is one, category.
    """
    if len(sources) > _MOST:
        raise click.UsageError(f"{len(sources)} sources are too many to compare; give {_MOST} at most")
    if len({path.resolve() for path in sources}) < len(sources):
        raise click.UsageError("a SOURCE is given twice; a single one is compared with itself where it can be")
    from convscope.studies.agreement import compare, open_labels

    opened = _named([open_labels(path) for path in sources], sources)
    found = [compare(*pair) for pair in combinations(opened, 2)]
    found += [compare(each) for each in opened if each.has_several or len(opened) == 1]
    if figure is not None:
        from convscope.render.figures.agreement import draw

        draw(found).save(figure)
    if as_json:
        about = {"sources": [str(path) for path in sources], "comparisons": [each.to_json() for each in found]}
        print_json(about | ({} if figure is None else {"figure": str(figure)}))
        return
    for each in found:
        _print(each)
    click.echo("In each column the share of units that agree, and kappa: 0 is chance, 1 that all agree.")
    if figure is not None:
        click.echo(f"figure: {figure}")


def _named(opened: list[Labels], sources: tuple[Path, ...]) -> list[Labels]:
    """The sources by names that tell one from the other."""
    from dataclasses import replace

    if len({each.name for each in opened}) == len(opened):
        return opened
    return [replace(each, name=str(path)) for each, path in zip(opened, sources, strict=True)]


def _print(found: Comparison) -> None:
    alone = found.first == found.second
    title = f"{found.first}: among themselves" if alone else f"{found.first} and {found.second}"
    labelled = ["labelled"] if alone else [f"by {found.first}", f"by {found.second}"]
    rows = [
        [row.layer, *(f"{count:,}" for count in ([row.first] if alone else [row.first, row.second])), f"{row.both:,}",
         _written(row.name), _written(row.word), _written(row.category)]
        for row in found.rows
    ]  # fmt: skip
    print_rows(title, ["layer", *labelled, "compared", "same name", "a word in common", "same category"], rows)


def _written(measure: Measure) -> str:
    if not measure.units:
        return "–"
    return f"{measure.share:.2f} ({'–' if measure.kappa != measure.kappa else f'{measure.kappa:.2f}'})"
