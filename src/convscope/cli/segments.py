"""``convscope figure segments``: the images that excite units most, segmented by what the units answer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convscope.cli.common import batch_option, json_option, load_network, model_options
from convscope.cli.figures import figure_option, finish
from convscope.cli.results import timed


@click.command()
@model_options
@click.argument("atlas", type=click.Path(path_type=Path))
@click.argument("units", nargs=-1, metavar="[LAYER[:UNIT]]...")
@click.option(
    "--method", type=click.Choice(["dissection", "field", "torch", "matlab"]), default="dissection", show_default=True,
    help="The enlarged map above the unit's threshold; its measured field at every position above it; or as the public "
    "toolkit does it, above 0.2 of the best image's maximum (torch) or 0.4 of each image's own (matlab).",
)  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Images of each unit.")
@click.option(
    "--best", type=click.IntRange(min=1), default=1, show_default=True,
    help="Units of each LAYER, those with the highest IoU.",
)  # fmt: skip
@batch_option
@figure_option
@json_option
def segments(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    atlas: Path,
    units: tuple[str, ...],
    method: Any,
    top: int,
    best: int,
    batch_size: int,
    output: Path,
    as_json: bool,
) -> None:
    """Draw what in their best images units of MODEL answer to, a row a unit (Zhou 2015; Bau, Zhou et al. 2017).

    The images are those that ATLAS lists for LAYER:UNIT. Where ATLAS holds a dissection alone, as ATLAS/dissection
    does, they are those that were dissected. LAYER stands for its best units, and none for those of every layer.
    """
    from convscope.render.figures.segments import draw
    from convscope.studies.segments import segments as segment

    network = load_network(model, arch, preprocess, device)
    found, took = timed(
        lambda bar: segment(
            network, atlas, units or None, method=method, top=top, best=best, batch_size=batch_size, progress=bar
        ),
        "maps",
    )
    finish(draw(found), output, {"atlas": str(atlas), "network": network.name} | found.to_json() | took, as_json)
