"""``convscope diorama``: the embedded world."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def diorama() -> None:
    """The embedded world: small scenes whose every pixel is known."""


@diorama.command()
@click.argument("images", default="diorama:objects/test")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The PNG to write."
)
@click.option("--rows", type=click.IntRange(1, 50), default=4, show_default=True)
@click.option("--columns", type=click.IntRange(1, 50), default=8, show_default=True)
@click.option("--size", type=click.IntRange(32, 512), default=144, show_default=True, help="Pixels of an image.")
@click.option("--start", type=click.IntRange(0), default=0, show_default=True, help="The first image.")
@click.option("--maps/--no-maps", default=True, show_default=True, help="Whether label maps stand below.")
def sheet(images: str, output: Path, rows: int, columns: int, size: int, start: int, maps: bool) -> None:
    """Draw a contact sheet of IMAGES (diorama:LABELSET/SPLIT), with label maps below each row.

    The maps are objects, parts, surfaces (materials and textures) and colours.
    """
    from PIL import Image

    from convscope.diorama import render
    from convscope.diorama.sheet import SHOWN
    from convscope.diorama.sheet import sheet as draw
    from convscope.errors import ImagesError
    from convscope.images.diorama import Diorama

    if not images.startswith("diorama:"):
        raise ImagesError(f"{images}: no set of the diorama; expected one such as diorama:objects/test")
    chosen = Diorama.open(images)
    scenes = [render(chosen.label_set, chosen.split, start + k, size) for k in range(rows * columns)]
    Image.fromarray(draw(scenes, columns, SHOWN if maps else ())).save(output)
    click.echo(f"{output}: {len(scenes)} images of {images}")
