"""``convscope figure detectors``, ``concepts``, ``networks``, ``tokens``: what units of dissected networks detect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import json_option, print_rows, spread
from convscope.cli.figures import figure_option, finish

if TYPE_CHECKING:
    from convscope.dissection import Dissection
    from convscope.studies.detectors import Detectors, Series

atlases_argument = click.argument("atlases", nargs=-1, required=True, metavar="[NAME=]ATLAS...")
cut_option = click.option(
    "--cut", type=click.FloatRange(0, 1, max_open=True), default=0.04, show_default=True,
    help="A unit detects its label where the IoU is above this.",
)  # fmt: skip
layers_option = click.option(
    "--layer", "layers", multiple=True,
    help="Once for all, or once for each ATLAS, in order; by default the last one that was dissected.",
)  # fmt: skip


@click.command()
@atlases_argument
@click.option(
    "--random", multiple=True, metavar="ATLAS",
    help="The same layers with random weights; once for every drawing of them.",
)  # fmt: skip
@cut_option
@figure_option
@json_option
def detectors(atlases: tuple[str, ...], random: tuple[str, ...], cut: float, output: Path, as_json: bool) -> None:
    """Draw how many concepts each layer detects, by category: a panel an ATLAS, as 'convscope dissect' makes one.

    Every unit counts once, for the concept that fits it best.
    """
    from convscope.render.figures.detectors import Panel, draw
    from convscope.studies.detectors import count, images_of

    series, twins = _opened(atlases), _opened(random)
    _compare([*series, *twins])
    panels = []
    for name, found in series:
        layers = [layer.address for layer in found.layers]
        drawn = [[count(twin, layer, cut) for layer in layers] for _, twin in twins]
        panels.append(Panel(name, [count(found, layer, cut) for layer in layers], drawn))
    if not as_json:
        rows = [(panel.name, layer) for panel in panels for layer in panel.layers]
        rows += [(name, count(found, layer.address, cut)) for name, found in twins for layer in found.layers]
        print_detectors(images_of(series[0][1]), rows)
    about = {
        "networks": [_about(name, found, cut) for name, found in series],
        "random": [_about(name, found, cut) for name, found in twins],
    }
    finish(draw(panels, images_of(series[0][1])), output, about, as_json)


@click.command()
@click.argument("atlas", metavar="[NAME=]ATLAS")
@click.option("--layer", help="By default the last one that was dissected.")
@cut_option
@figure_option
@json_option
def concepts(atlas: str, layer: str | None, cut: float, output: Path, as_json: bool) -> None:
    """Draw which concepts the units of a layer detect, and how many units each: a bar a concept, by category."""
    from convscope.render.figures.concepts import draw, header
    from convscope.studies.detector_labels import histogram
    from convscope.studies.detectors import images_of, layer_of

    [(name, found)] = _opened([atlas])
    chosen = layer_of(found, layer)
    bars = histogram(chosen, cut)
    if not as_json:
        rows = [
            (bar.concept.name, bar.concept.category, f"{len(bar.units)}", f"{chosen.address}:{bar.units[0]}",
             f"{bar.iou:.3f}")
            for bar in bars
        ]  # fmt: skip
        print_rows(header(chosen, bars), ("concept", "category", "units", "best", "IoU"), rows)
    about = {"network": name, "layer": chosen.address, "cut": cut, "units": len(chosen)}
    sheet = draw(chosen, cut, name, images_of(found))
    finish(sheet, output, about | {"concepts": [bar.to_json() for bar in bars]}, as_json)


@click.command()
@atlases_argument
@layers_option
@click.option(
    "--cut", "cuts", multiple=True, type=click.FloatRange(0, 1, max_open=True),
    help="A unit detects its label where the IoU is above this; by default 0.04, 0.10 and 0.15.",
)  # fmt: skip
@figure_option
@json_option
def networks(
    atlases: tuple[str, ...], layers: tuple[str, ...], cuts: tuple[float, ...], output: Path, as_json: bool
) -> None:
    """Draw how many concepts a layer of each ATLAS detects, at several cuts, counted in two ways.

    Once every unit counts for the concept that fits it best, and once, as in the released statistics of network
    dissection, in every category whose best concept passes.
    """
    from convscope.render.figures.networks import draw
    from convscope.studies.detectors import CUTS, count, images_of

    series = _opened(atlases)
    _compare(series)
    chosen = spread("--layer", layers, len(series), "ATLASes")
    found = [
        (name, [count(each, layer, cut) for cut in cuts or CUTS])
        for (name, each), layer in zip(series, chosen, strict=True)
    ]
    if not as_json:
        print_detectors(images_of(series[0][1]), [(name, each) for name, counted in found for each in counted])
    about = {"networks": [{"network": name, "cuts": [each.to_json() for each in counted]} for name, counted in found]}
    finish(draw(found, images_of(series[0][1])), output, about, as_json)


@click.command()
@atlases_argument
@layers_option
@cut_option
@figure_option
@json_option
def tokens(atlases: tuple[str, ...], layers: tuple[str, ...], cut: float, output: Path, as_json: bool) -> None:
    """Draw the concepts that most units of a layer detect, in order, with a column for each ATLAS."""
    from convscope.render.figures.tokens import draw
    from convscope.studies.detector_labels import ranking
    from convscope.studies.detectors import images_of, layer_of

    series = _opened(atlases)
    _compare(series)
    chosen = spread("--layer", layers, len(series), "ATLASes")
    shown = [(name, layer_of(found, layer)) for (name, found), layer in zip(series, chosen, strict=True)]
    rankings = [ranking(layer, cut) for _, layer in shown]
    if not as_json:
        names = [f"{name}, {layer.address}" for name, layer in shown]
        cells = [[f"{bar.concept.name} {len(bar.units)}" for bar in bars] for bars in rankings]
        rows = [[cell[row] if row < len(cell) else "" for cell in cells] for row in range(max(map(len, cells)))]
        print_rows(images_of(series[0][1]), names, rows)
    about = [
        {"network": name, "layer": layer.address, "units": len(layer), "concepts": [bar.to_json() for bar in bars]}
        for (name, layer), bars in zip(shown, rankings, strict=True)
    ]
    finish(draw(shown, cut, images_of(series[0][1])), output, {"cut": cut, "networks": about}, as_json)


def named(text: str) -> tuple[str | None, str]:
    """What NAME=THING names, if it does; options, as in alexnet:width=0.5, and a path that is there are no names."""
    name, _, rest = text.partition("=")
    return (name, rest) if name and rest and ":" not in name and not Path(text).exists() else (None, text)


def _opened(atlases: Sequence[str]) -> Series:
    """Dissections with the names that they are given, those of their networks, or, where these are equal, folders'."""
    from convscope.dissection import Dissection

    found = [(name, Dissection.open(path)) for name, path in map(named, atlases)]
    names = [each.run["network"] for name, each in found if name is None]
    return [
        (name or (each.run["network"] if names.count(each.run["network"]) == 1 else _folder(each.path)), each)
        for name, each in found
    ]


def _folder(path: Path) -> str:
    """That of the atlas where a dissection is its section, and the dissection's own elsewhere, as of a rotation."""
    path = path.resolve()
    return path.parent.name if path.name == "dissection" else path.name


def _compare(series: Series) -> None:
    from convscope.studies.detectors import check_comparable

    for note in check_comparable(series) if series else ():
        click.echo(f"note: {note}", err=True)


def _about(name: str, found: Dissection, cut: float) -> dict[str, object]:
    from convscope.studies.detectors import count

    layers = [count(found, layer.address, cut).to_json() for layer in found.layers]
    return {"network": name, "dissection": str(found.path), "layers": layers}


def print_detectors(title: str, rows: Sequence[tuple[str, Detectors]], first: str = "network") -> None:
    """A table of both ways of counting, with what `first` names in its first column."""
    from convscope.concepts import CATEGORIES

    columns = (first, "layer", "IoU >", "units", "detectors", "false", "unique", "false", *CATEGORIES, "in categories")
    cells = []
    for name, found in rows:
        counts = found.counts
        both = [f"{found.by_label[each][1]} | {counts.by_category[each][1]}" for each in CATEGORIES]
        cells.append(
            (name, counts.layer, f"{counts.cut:g}", f"{counts.units}",
             f"{counts.detectors} ({_range(counts.detectors_interval)})", f"{counts.false_detectors}",
             f"{counts.unique} ({_range(counts.unique_interval)})", f"{counts.false_unique}", *both,
             f"{counts.unique_in_categories}")
        )  # fmt: skip
    print_rows(title, columns, cells)
    click.echo("unique: different labels of detectors; in brackets 95 %, high where many units are near the cut;")
    click.echo(
        "false: with other images' labels; by category: unique, each unit once | in every category that it passes"
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.0f}–{ends[1]:.0f}"
