"""``convscope convert``: another head on the trunk of a network, whose class maps are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import json_option, load_network, model_options, print_json

if TYPE_CHECKING:
    from convscope.network import Network


@click.command()
@model_options
@click.option(
    "--head",
    type=click.Choice(["gap", "gmp"]),
    default="gap",
    show_default=True,
    help="A global pool of the mean of each map, or of its maximum.",
)
@click.option("--layer", help="The last layer to keep; by default the last maps before the network's own pools.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The weights after surgery, a .safetensors file; its card is written beside it.",
)
@json_option
def convert(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    head: str,
    layer: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Take the fully connected layers off MODEL, and put a convolution, a global pool and a linear layer there.

    As in the paper on class activation maps (Zhou et al. 2016). The new layers are random: train them with a recipe,
    for which this prints the table [network].
    """  # fmt: skip
    from convscope.network import after_surgery

    if output.suffix != ".safetensors":
        raise click.BadParameter(f"{output}: expected a .safetensors file", param_hint="-o")
    network = load_network(model, arch, preprocess, device).to("cpu")
    made = after_surgery(network, head, layer)
    save(made, output)
    counts = {name: sum(each.numel() for each in of.module.parameters()) for name, of in
              (("parameters_before", network), ("parameters", made))}  # fmt: skip
    if as_json:
        print_json({"weights": str(output), "arch": made.name} | counts)
        return
    click.echo(
        f"{output}: {counts['parameters']:,} parameters, where {network.name} has {counts['parameters_before']:,}"
    )
    click.echo("the new head is random; to train it, write in a recipe")
    click.echo(f'\n[network]\narch = "{made.name}"\nweights = "{output}"')


def save(network: Network, path: Path) -> None:
    """Write weights, and the card beside them."""
    from safetensors.torch import save as to_bytes

    from convscope.shards import write

    card = network.preprocess.to_json() | {"output": network.output}
    card |= {} if network.classes is None else {"classes": list(network.classes)}
    write(path.with_suffix(".json"), (json.dumps(card) + "\n").encode())
    write(path, to_bytes({name: tensor.contiguous() for name, tensor in network.module.state_dict().items()}))
