"""``convscope activations``: what a layer answers to one image, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, load_network, model_options, picture_of, prepared
from convscope.cli.figures import figure_option, finish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from convscope.graph import LayerNode
    from convscope.network import Network


@click.command()
@model_options
@click.argument("image")
@click.option("--layer", "address", required=True, help="The layer to draw, such as features.3.")
@click.option(
    "--scale",
    type=click.Choice(["figure", "tile"]),
    default="figure",
    show_default=True,
    help="One scale for all units, or one for each, which hides how strong they are.",
)
@figure_option
@json_option
def activations(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    image: str,
    address: str,
    scale: str,
    output: Path,
    as_json: bool,
) -> None:
    """Draw the response of a layer of MODEL to IMAGE, a tile a unit.

    IMAGE is an image file, or one of a set: IMAGES@NUMBER, as digits:test@3.
    """
    from PIL import Image

    from convscope.address import parse_layer
    from convscope.recorder import record
    from convscope.render.figures.activations import Response, draw

    network = load_network(model, arch, preprocess, device)
    name, picture = picture_of(image)
    images = prepared(network, name, picture)
    graph = record(network.module, images)
    layer = graph.layer(parse_layer(address))
    response = Response(_maps(network, images, graph, layer), layer.nonlinearity)
    seen = Image.fromarray(network.preprocess.display(images[0]))
    sheet, shown = draw(f"{layer.address} of {network.name}", seen, name, response, scale == "tile")
    about: dict[str, Any] = {
        "network": network.name,
        "image": name,
        "layer": str(layer.address),
        "units": layer.units,
        "shown": shown,
        "map": list(response.maps.shape[1:]),
        "nonlinearity": layer.nonlinearity,
        "rectified": response.rectified,
        "scale": scale,
        "largest": response.largest,
        "zeros": response.zeros,
        "silent": response.silent,
        "strongest": _strongest(response.maps),
    }
    finish(sheet, output, about, as_json)


def _maps(network: Network, images: Tensor, graph: Any, layer: LayerNode) -> NDArray[np.float32]:
    """The layer's response, (units, h, w); of a linear layer every position is a map of its own."""
    import torch

    from convscope import capture

    found: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        found.append(tensor.detach().to("cpu", torch.float32, copy=True))

    with torch.no_grad():
        capture.run(network.module, images, graph, {layer.response: keep}, stop=True)
    units = found[0][0].movedim(layer.channel if layer.channel < 0 else layer.channel - 1, 0)
    maps: NDArray[np.float32] = (units if units.dim() == 3 else units.reshape(len(units), 1, -1)).numpy()
    return maps


def _strongest(maps: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The five units with the largest maxima, and where these stand."""
    import numpy as np

    maxima = np.nan_to_num(maps.max((1, 2)), nan=-np.inf)
    found = []
    for unit in np.argsort(-maxima, kind="stable")[:5]:
        row, column = divmod(int(maps[unit].argmax()), maps.shape[2])
        found.append({"unit": int(unit), "maximum": float(maps[unit].max()), "row": row, "column": column})
    return found
