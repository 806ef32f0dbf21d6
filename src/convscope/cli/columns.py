"""``convscope figure columns``: what hiding a square of an image does, in the five columns of Zeiler and Fergus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import json_option, load_network, model_options, progress_bar
from convscope.cli.figures import figure_option, finish

if TYPE_CHECKING:
    from convscope.attribution.occlusion import Occlusion
    from convscope.images import ImageSet
    from convscope.network import Network
    from convscope.render.figures.columns import Row

_WINDOW, _STRIDE = 50 / 224, 8 / 224  # of the image's shorter side


@click.command()
@model_options
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--target", metavar="CLASS", help="A class by name or index; by default the image's label, or the "
              "predicted class where it has none.")  # fmt: skip
@click.option("--layer", help="The layer whose strongest map is followed; by default the last convolution.")
@click.option("--window", type=click.IntRange(min=1), help="Side of the square; by default 50 px at 224 px.")
@click.option("--stride", type=click.IntRange(min=1), help="From one square to the next; by default 8 px at 224 px.")
@figure_option
@json_option
def columns(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: tuple[str, ...],
    target: str | None,
    layer: str | None,
    window: int | None,
    stride: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Draw what hiding a square of each IMAGE does to its class, to the most probable class of MODEL and to the
    strongest map of a layer (Zeiler and Fergus 2014, figure 7).

    IMAGE is an image file, one of a set as digits:test@3, or a set.
    """
    from convscope.attribution.occlusion import Occlusion
    from convscope.images.chosen import choose
    from convscope.render.figures.columns import draw

    network, chosen = load_network(model, arch, preprocess, device), choose(images)
    side = min(network.preprocess.size)
    occlusion = Occlusion(window or max(1, round(side * _WINDOW)), stride or max(1, round(side * _STRIDE)))
    labels = _labels(network, chosen)
    rows = []
    with progress_bar() as bar:
        for number in range(len(chosen)):
            rows.append(_row(network, chosen, number, target or labels[number], layer, occlusion, target is None))
            bar("images", number + 1, len(chosen))
    sheet = draw(network, rows, occlusion)
    about = {"network": network.name, "window": occlusion.window, "stride": occlusion.stride, "fill": occlusion.fill}
    finish(sheet, output, about | {"rows": [_about(network, row) for row in rows]}, as_json)


def _labels(network: Network, images: ImageSet) -> list[int | None]:
    """The class of each image, where it has one of the network's."""
    from convscope.recorder import record

    graph = record(network.module, network.example())
    shape = graph.shapes[graph.outputs[0]]
    indices, _ = images.class_indices(network, shape[1] if len(shape) == 2 else 0)
    return [int(index) if index >= 0 else None for index in indices]


def _row(
    network: Network, images: ImageSet, number: int, which: int | str | None, layer: str | None, occlusion: Occlusion,
    labelled: bool,
) -> Row:  # fmt: skip
    from convscope.attribution.zeiler_fergus import zeiler_fergus
    from convscope.errors import ImagesError, UnreadableImage
    from convscope.render.figures.columns import Row

    try:
        image = network.preprocess(images.read(number))
    except UnreadableImage as error:
        raise ImagesError(f"{images.names[number]}: {error}") from error
    found = zeiler_fergus(network, image, which, layer, occlusion)
    return Row(images.names[number], found, labelled and which is not None)


def _about(network: Network, row: Row) -> dict[str, Any]:
    found = row.columns
    activation, probability, label = found.whole
    return {
        "image": row.name,
        "target": found.target,
        "labelled": row.labelled,
        "probability": _range(found.probability, probability),
        "unit": str(found.unit),
        "activation": _range(found.activation, activation),
        "lowest": list(row.lowest),
        "predicted": label,
        "classes": [
            {"class": index, "name": None if network.classes is None else network.classes[index], "windows": count}
            for index, count in row.classes
        ],
    }


def _range(values: Any, whole: float) -> dict[str, float]:
    return {"whole": whole, "smallest": float(values.min()), "largest": float(values.max())}
