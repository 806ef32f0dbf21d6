"""``convscope layers``: the table of a network's layers, their sizes and their fields of view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, load_network, model_options, print_json, print_table
from convscope.render.text import field_of_view, figure, scaled

if TYPE_CHECKING:
    from convscope.geometry import Grid
    from convscope.graph import LayerNode


@click.command()
@model_options
@json_option
def layers(model: str, arch: str | None, preprocess: Path | None, device: str | None, as_json: bool) -> None:
    """List the layers of MODEL: name, kind, output, parameters, FLOPs and field of view.

    The field is the square of input pixels that a unit sees: its size, how far it moves from one position of the map
    to the next, and where the first one starts, all in pixels; a negative start lies outside the image.
    """
    from convscope.receptive_field import receptive_fields
    from convscope.recorder import record

    network = load_network(model, arch, preprocess, device)
    graph = record(network.module, network.example())
    fields = receptive_fields(graph)
    rows = [_row(layer, fields.grid(layer), fields.bounds.get(layer.response)) for layer in graph.layers()]
    about = {
        "network": network.name,
        "input": list(network.preprocess.shape),
        "parameters": sum(tensor.numel() for tensor in network.module.parameters()),
        "flops": sum(row["flops"] for row in rows),
        "remarks": list(network.remarks),
    }
    if as_json:
        print_json(about | {"layers": [{key: row[key] for key in row if key != "text"} for row in rows]})
    else:
        _print(about, rows)
    for remark in network.remarks:
        click.echo(f"note: {network.name}: {remark}", err=True)


def _row(layer: LayerNode, grid: Grid, bound: str | None) -> dict[str, Any]:
    axes = (grid.rows, grid.columns)
    steps = [spans.steps() for spans in axes if len(layer.shape) == 3]
    regular = [each for each in steps if each is not None and each.stride] if None not in steps else []
    return {
        "name": str(layer.address),
        "kind": layer.kind,
        "shape": list(layer.shape),
        "parameters": layer.parameters,
        "flops": layer.flops,
        "field": [int((spans.high - spans.low).max()) for spans in axes],
        "stride": [each.stride for each in regular] or None,
        "start": [each.start for each in regular] or None,
        "text": field_of_view(grid, layer.shape),
        "nonlinearity": layer.nonlinearity,
        "field_is_a_bound_because_of": bound,
    }


def _print(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    title = f"{about['network']}, input {' × '.join(map(str, about['input']))}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("layer", "kind", "output", "parameters", "FLOPs", "field", "stride", "start", "read after"):
        table.add_column(column, justify="left" if column in {"layer", "kind", "read after"} else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"], row["kind"], "×".join(map(str, row["shape"])), figure(row["parameters"]), scaled(row["flops"]),
            row["text"]["size"], row["text"]["stride"], row["text"]["start"],
            row["nonlinearity"] or "not rectified",
        )  # fmt: skip
    table.add_section()
    # Of the network itself: norms have parameters as well, and a layer that is used twice has its own only once.
    table.add_row("network", "", "", figure(about["parameters"]), scaled(about["flops"]))
    print_table(table)
    for operation in sorted({row["field_is_a_bound_because_of"] for row in rows} - {None}):
        click.echo(f"Fields behind {operation!r} are bounds: they hold all that a unit sees, and may hold more.")
