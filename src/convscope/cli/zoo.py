"""``convscope zoo``: the architectures that come by name, as a table or as figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, print_json
from convscope.cli.figures import finish, place
from convscope.render.text import figure, scaled

if TYPE_CHECKING:
    from torch import nn

    from convscope.graph import Graph
    from convscope.zoo.architecture import Variant


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--chart", is_flag=True, help="Draw how depth and error of the winners of ILSVRC went, by year.")
@click.option("--stack", is_flag=True, help="Draw the networks as stacks of their layers, side by side.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), callback=place, help="The figure: a .png, .pdf or .svg."
)
@json_option
def zoo(names: Sequence[str], chart: bool, stack: bool, output: Path | None, as_json: bool) -> None:
    """List the architectures of the zoo, or those with these NAMEs: vgg16, alexnet:head=gap,width=0.25.

    Depth counts the layers with weights on the longest path, FLOPs are for one image, and the field is what a unit of
    the last maps sees. With the name, wherever MODEL or --arch is written, stand the options of the last column.
    """
    if (output is None) == (chart or stack) or (chart and stack):
        raise click.UsageError("a figure wants one of --chart and --stack, and -o")
    if chart and names:
        raise click.UsageError("--chart is of the history of all; it takes no NAME")
    if stack and not names:
        raise click.UsageError("--stack wants the NAMEs of the networks to draw")
    if chart and output is not None:
        _draw_chart(output, as_json)
        return
    rows, graphs = _recorded(names)
    if stack and output is not None:
        _draw_stacks(rows, graphs, output, as_json)
    elif as_json:
        print_json({"architectures": rows})
    else:
        _print(rows)


def _recorded(names: Sequence[str]) -> tuple[list[dict[str, Any]], list[Graph]]:
    """What is said of each network, and its graph, recorded where tensors are shapes, so that nothing is computed."""
    import torch

    from convscope import zoo
    from convscope.recorder import record

    rows, graphs = [], []
    for name in names or zoo.ARCHITECTURES:
        variant = zoo.find(name)
        preprocess = variant.architecture.preprocess
        with torch.device("meta"):
            module = variant.build(preprocess.planes, preprocess.size)
            graph = record(module, torch.empty(1, *preprocess.shape))
        rows.append(_row(variant, module, graph))
        graphs.append(graph)
    return rows, graphs


def _row(variant: Variant, module: nn.Module, graph: Graph) -> dict[str, Any]:
    from convscope.receptive_field import receptive_fields

    about, layers, fields = variant.architecture, graph.layers(), receptive_fields(graph)
    spans = [fields.grid(layer).rows for layer in layers if len(layer.shape) == 3]
    return {
        "name": variant.text,
        "title": about.title,
        "year": about.year,
        "source": about.source,
        "depth": graph.depth,
        "parameters": sum(tensor.numel() for tensor in module.parameters()),
        "flops": sum(layer.flops for layer in layers),
        "input": list(about.preprocess.shape),
        "field": max(int((each.high - each.low).max()) for each in spans),
        "options": [str(option) for option in about.options],
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "year", "depth", "parameters", "FLOPs", "input", "field", "source", "options"):
        right = column in {"depth", "parameters", "FLOPs", "field"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"], str(row["year"]), str(row["depth"]), figure(row["parameters"]), scaled(row["flops"]),
            "×".join(map(str, row["input"])), f"{row['field']} px", row["source"], ", ".join(row["options"]),
        )  # fmt: skip
    needed = Measurement.get(Console(width=1000), Console(width=1000).options, table).maximum
    console = Console(width=max(needed, Console().width), markup=False)
    console.print(table)


def _draw_chart(output: Path, as_json: bool) -> None:
    from convscope.render.figures import depth

    finish(depth.draw(), output, {"entries": [dataclasses.asdict(entry) for entry in depth.HISTORY]}, as_json)


def _draw_stacks(rows: Sequence[dict[str, Any]], graphs: Sequence[Graph], output: Path, as_json: bool) -> None:
    from convscope.render.figures import stacks

    networks = [stacks.Stacked(row["title"], _about(row), graph) for row, graph in zip(rows, graphs, strict=True)]
    finish(stacks.draw(networks), output, {"architectures": list(rows)}, as_json)


def _about(row: dict[str, Any]) -> list[str]:
    """What stands below the title of a network."""
    sizes = f"{scaled(row['parameters'])} weights", f"{scaled(row['flops'])}FLOPs"
    options = row["name"].partition(":")[2].split(",")
    return [f"{row['depth']} layers, {row['year']}", *sizes, *(option.strip() for option in options if option)]
