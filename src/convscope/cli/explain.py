"""``convscope explain``: what a prediction rests on, by several methods beside each other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convscope.cli.common import (
    json_option,
    limit_option,
    load_network,
    model_options,
    print_json,
    print_rows,
    print_skipped,
    progress_bar,
)

if TYPE_CHECKING:
    from convscope.explanation.result import About
    from convscope.scanner import Progress

_LISTED = 20  # images that are named; the JSON has all


@click.command()
@model_options
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--method", "methods", multiple=True,
    help="Methods, separated by commas, with parameters as in occlusion:window=16,stride=4; by default a class map, "
    "occlusion, saliency and guided backpropagation.",
)  # fmt: skip
@click.option(
    "--target", "targets", multiple=True, metavar="NAME|top3|LAYER:UNIT",
    help="A class by name or index, the best classes of each image, a unit, or a neuron as LAYER:UNIT@ROW,COLUMN; can "
    "be given several times. By default the predicted class.",
)  # fmt: skip
@click.option(
    "--check", type=click.Choice(["cheap", "all", "none"]), default="cheap", show_default=True,
    help="Compare maps with those of random weights in the top layer: not those of occlusion, RISE and Score-CAM, of "
    "all methods, or none.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random numbers.")
@limit_option
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Images that are explained at once."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A folder for sheet, maps, JSON.")
@json_option
def explain(
    model: str,
    arch: str | None,
    preprocess: Path | None,
    device: str | None,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    targets: tuple[str, ...],
    check: Any,
    seed: int,
    limit: int | None,
    batch_size: int,
    output: Path,
    as_json: bool,
) -> None:
    """Explain what MODEL says of each IMAGE, by several methods beside each other.

    IMAGE is an image file, IMAGES, or one of these as digits:test@3. The folder -o gets the comparison sheet
    explanation.png, the maps as .npy, and explanation.json with all evidence; with several images a folder for each.
    """
    from convscope.explanation import Explaining
    from convscope.report.explanations import check_folder, write_explanations

    check_folder(output)
    network = load_network(model, arch, preprocess, device)
    start = time.perf_counter()
    with progress_bar("maps") as bar:

        def progress(step: Progress) -> None:
            bar(step.phase, step.done, step.total, step.begun)

        run = Explaining.of(
            network, list(images), list(methods) or None, targets or None, check=check, seed=seed, limit=limit,
            batch_size=batch_size, progress=progress,
        )  # fmt: skip
        told = write_explanations(run, output)
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        print_json({"folder": str(output), "seconds": seconds} | told)
    else:
        _print(told, run.about, output, seconds)


def _print(told: dict[str, Any], about: About, output: Path, seconds: float) -> None:
    for image in told["images"][:_LISTED]:
        click.echo(f"{image['name']}: {image['said']}")
        if len(told["images"]) == 1:
            print_rows("", ["method", "target", "score", "ρ"], _rows(image))
            click.echo("ρ: rank correlation with the map of random weights in the top layer")
    if len(told["images"]) > _LISTED:
        click.echo(f"... and {len(told['images']) - _LISTED} more")
    for remark in about.remarks:
        click.echo(f"note: {remark}", err=True)
    for line in _said_of_maps(told):
        click.echo(line, err=True)
    print_skipped(told["skipped"], "explanation.json")
    count = len(told["images"])
    click.echo(f"{count} image{'s' if count > 1 else ''}, {seconds:.1f} s")
    click.echo(f"sheet: {output / 'explanation.png'}")


def _rows(image: dict[str, Any]) -> list[list[str]]:
    """Method, target, score and check of each map."""
    from convscope.explanation.randomization import RANKS
    from convscope.render.maps import correlation
    from convscope.render.text import figure as written

    return [
        [
            each["label"],
            each["target"],
            f"{each['of']} {written(each['score'])}",
            correlation(each["evidence"].get(RANKS)),
        ]
        if each["refused"] is None
        else [each["label"], each["column"], "no map", "–"]
        for each in image["maps"]
    ]


def _said_of_maps(told: dict[str, Any]) -> list[str]:
    """Refusals, blank maps and notes, each once."""
    found = []
    for image in told["images"]:
        for each in image["maps"]:
            if each["refused"] is not None:
                found.append(f"warning: {each['label']}: no map: {each['refused']}")
                continue
            if each["blank"] is not None:
                found.append(f"warning: {image['name']}, {each['label']}: the map is zero: {each['blank']}")
            found += [f"note: {each['label']}: {note}" for note in each["notes"]]
    lines = list(dict.fromkeys(found))
    more = [f"... and {len(lines) - _LISTED} more notes; explanation.json has them"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more
