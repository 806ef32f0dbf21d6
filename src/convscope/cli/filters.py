"""``convscope filters``: the weights of a layer as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import json_option, load_network, model_options
from convscope.cli.figures import figure_option, finish

if TYPE_CHECKING:
    from convscope.graph import Graph, LayerNode
    from convscope.network import Network


@click.command()
@model_options
@click.option("--layer", "address", help="The layer to draw; by default the first one that sees the image.")
@click.option("--first-unit", type=click.IntRange(min=0), default=0, show_default=True, help="Draw units from here on.")
@figure_option
@json_option
def filters(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    address: str | None,
    first_unit: int,
    output: Path,
    as_json: bool,
) -> None:
    """Draw the filters of a layer of MODEL, and how noisy they are.

    Filters that see the image are drawn in colour; deeper ones as rows of tiles, one for each input channel; those of
    one pixel as a matrix.
    """
    from convscope.errors import AddressError, NetworkError
    from convscope.filters.weights import weights
    from convscope.recorder import record
    from convscope.render.figures.filters import draw

    network = load_network(model, arch, preprocess, device)
    graph = record(network.module, network.example())
    layer = _layer(graph, network, address)
    found = weights(graph, layer)
    if found is None:
        raise NetworkError(f"{network.name}: the weights of {layer.address} ({layer.kind}) cannot be drawn as pictures")
    if first_unit >= layer.units:
        raise AddressError(f"layer {layer.address} has units 0 to {layer.units - 1}, not {first_unit}")
    title = f"{layer.address} of {network.name}"
    sheet, shown, judged = draw(title, found, network.preprocess, first_unit)
    about = {
        "network": network.name,
        "layer": str(layer.address),
        "kind": layer.kind,
        "units": layer.units,
        "shown": shown,
        "kernel": list(found.slices.shape[2:]),
        "channels": found.slices.shape[1],
        "first": found.first,
        "remarks": list(network.remarks),
    }
    about |= judged.counts if judged else {"noisy": None, "fine": None, "flat": None}
    finish(sheet, output, about, as_json)
    for remark in network.remarks:
        click.echo(f"note: {network.name}: {remark}", err=True)


def _layer(graph: Graph, network: Network, address: str | None) -> LayerNode:
    """The layer of that name, or the first that sees the image, or else the first of all."""
    from convscope.address import parse_layer
    from convscope.errors import NetworkError
    from convscope.filters.weights import weights

    if address is not None:
        return graph.layer(parse_layer(address))
    layers = graph.layers()
    if not layers:
        raise NetworkError(f"{network.name}: the network ran no convolution or linear layer, so it has no filters")
    seeing = (layer for layer in layers if (found := weights(graph, layer)) is not None and found.first)
    return next(seeing, layers[0])
