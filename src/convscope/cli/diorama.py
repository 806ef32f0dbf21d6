"""``convscope diorama``: the embedded world."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convscope.cli.common import json_option, print_json, progress_bar

if TYPE_CHECKING:
    from PIL.Image import Image


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


@diorama.command()
@click.argument("images")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the files, a new one.")
@click.option("--limit", type=click.IntRange(min=1), help="Write so many images, the first of the split.")
@click.option("--size", type=click.IntRange(min=1), help="Pixels of an image; by default 96.")
@json_option
def export(images: str, output: Path, limit: int | None, size: int | None, as_json: bool) -> None:
    """Write IMAGES (LABELSET/SPLIT, such as objects/test) as files, with all that is known of them.

    Label maps, boxes, captions, questions with answers; world.json in the folder says what is where. The folder is a
    set of IMAGES for every other command.
    """
    from convscope.diorama.export import export as write
    from convscope.images.diorama import Diorama

    name = images.removeprefix("diorama:")
    if size is not None and ":" in name:
        raise click.UsageError(f"--size {size}, and a size in {images}: give one of them")
    chosen = Diorama.open(f"diorama:{name}" if size is None else f"diorama:{name}:{size}")
    start = time.perf_counter()
    with progress_bar() as bar:
        count = write(
            chosen.label_set,
            chosen.split,
            output,
            limit=limit,
            size=chosen.size,
            progress=lambda done, total: bar("export", done, total),
        )
    seconds = time.perf_counter() - start
    if as_json:
        took = {"seconds": round(seconds, 3), "images_per_second": round(count / seconds, 2)}
        print_json({"folder": str(output), "images": count, "size": chosen.size} | took)
    else:
        click.echo(f"{output}: {count} images of {chosen.spec}, {seconds:.1f} s ({count / seconds:.0f} images/s)")


@diorama.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the files, a new one.")
def sounds(output: Path) -> None:
    """Write what each kind of thing sounds like, as WAV files to listen to."""
    from convscope.diorama.sound import write_sounds

    click.echo(f"{output}: {write_sounds(output)} sounds")


@diorama.command()
@click.argument("images")
@click.argument("index", type=click.IntRange(0))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="A .gif or .webp, or a new folder for PNG."
)
@click.option("--frames", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--size", type=click.IntRange(32, 1024), default=96, show_default=True, help="Pixels of a frame.")
def clip(images: str, index: int, output: Path, frames: int, size: int) -> None:
    """Write image number INDEX of IMAGES (LABELSET/SPLIT, such as objects/test) in motion, to look at."""
    from PIL.Image import fromarray

    from convscope.diorama import clip as make

    label_set, _, split = images.removeprefix("diorama:").partition("/")
    made = make(label_set, split, index, size, frames=frames)
    _write([fromarray(frame.image) for frame in made.frames], output)
    click.echo(f"{output}: {frames} frames of {images}, image {index}")


def _write(pictures: list[Image], output: Path) -> None:
    """An animation of 12.5 frames a second, or numbered files in a folder."""
    from PIL.Image import Dither, new

    from convscope.errors import ImagesError

    kind = output.suffix.lower()
    if kind == ".webp":
        pictures[0].save(output, save_all=True, append_images=pictures[1:], duration=80, loop=0, lossless=True)
    elif kind == ".gif":
        width, height = pictures[0].size
        film = new("RGB", (width, height * len(pictures)))
        for t, picture in enumerate(pictures):
            film.paste(picture, (0, t * height))
        film = film.quantize(dither=Dither.NONE)  # one palette for all frames, or colours would flicker
        cut = [film.crop((0, t * height, width, (t + 1) * height)) for t in range(len(pictures))]
        cut[0].save(output, save_all=True, append_images=cut[1:], duration=80, loop=0)
    elif kind:
        raise ImagesError(f"{output}: a clip is written as .gif or .webp, or into a folder, whose name has no suffix")
    else:
        output.mkdir(parents=True)  # a new one: no frames of an older clip in between
        for t, picture in enumerate(pictures):
            picture.save(output / f"{t:03}.png")
