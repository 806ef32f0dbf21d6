"""``convscope train``: a network from a recipe, with checkpoints of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import device_option, find_factories, json_option, print_json, progress_bar, usable_device

if TYPE_CHECKING:
    from convscope.training.recipe import Net


@click.command()
@click.argument("recipe")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the checkpoints; default the recipe's name."
)
@device_option
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's; the schedule is fitted to them.")
@click.option("--threads", type=click.IntRange(min=1), help="Of PyTorch; by default all cores. The bits depend on it.")
@json_option
def train(
    recipe: str,
    output: Path | None,
    device: str | None,
    seed: int | None,
    epochs: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train a network by RECIPE: a TOML file, or one that comes with convscope (digits-lenet5).

    A training that is stopped or killed goes on with the same command, and ends with the same weights.
    """
    from convscope.training import Recipe
    from convscope.training import train as run

    found = Recipe.open(recipe).but(epochs=epochs, seed=seed)
    find_factories()
    folder = output or Path(found.name)
    with progress_bar() as bar:
        trained = run(
            found,
            folder,
            device=usable_device(device),
            threads=threads,
            progress=lambda step: bar(step.phase, step.done, step.total, step.begun),
            tell=lambda line: _say(line, found.course.epochs),
        )
    result = _result(folder, trained.log, trained.top1, found.course.expected)
    if as_json:
        print_json(result)
    else:
        _print(result, found.net)


def _say(line: Mapping[str, Any], epochs: int) -> None:
    """The line of an epoch, on standard error."""
    click.echo(
        f"epoch {line['epoch']} of {epochs}: loss {line['loss']:.4f}, top-1 {line['top1']:.1%}; "
        f"validation: loss {line['val_loss']:.4f}, top-1 {line['val_top1']:.1%}; rate {line['rate']:.2g}",
        err=True,
    )


def _result(folder: Path, log: Mapping[str, Any], top1: float, expected: float | None) -> dict[str, Any]:
    last = log["epochs"][-1]
    return {
        "folder": str(folder),
        "epochs": len(log["epochs"]),
        "top1": top1,
        "top1_right": last["val_right"],
        "images": last["val_images"],
        "expected": expected,
        "fresh": log.get("fresh"),
        "seconds": log["seconds"],
        "checkpoints": [str(folder / each["file"]) for each in log["checkpoints"]],
        "last": {**log["last"], "file": str(folder / log["last"]["file"])},
        "best": {**log["best"], "file": str(folder / log["best"]["file"])},
        "skipped": len(log["skipped"]),
        "skipped_files": log["skipped"],
    }


def _print(result: Mapping[str, Any], net: Net) -> None:
    last, best, fresh = result["last"], result["best"], result["fresh"]
    if fresh is not None:
        click.echo(f"started from {net.weights}; random were {', '.join(fresh) or 'none'}")
    click.echo(f"{result['epochs']} epochs, {len(result['checkpoints'])} checkpoints, {result['seconds']:.1f} s")
    click.echo(f"last: top-1 {last['top1']:.1%} of {result['images']} validation images, {last['file']}")
    click.echo(f"best: top-1 {best['top1']:.1%} after epoch {best['epoch']}, chosen by them, {best['file']}")
    for file in result["skipped_files"][:5]:
        click.echo(f"skipped {file['name']}: {file['reason']}", err=True)
    if result["skipped"] > 5:
        click.echo(f"skipped {result['skipped'] - 5} more; training.json lists them", err=True)
    if result["expected"] is not None and last["top1"] < result["expected"]:
        click.echo(f"warning: the recipe expects a top-1 of {result['expected']:.1%} or more", err=True)
    click.echo(f"look at it: convscope scan {last['file']} --arch {net.arch} IMAGES -o ATLAS --report REPORT")
