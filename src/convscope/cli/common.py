"""Options that mean the same in every command, and how commands speak."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from convscope.atlas import Atlas
    from convscope.network import Network
    from convscope.preprocess import Picture

Command = TypeVar("Command", bound=Callable[..., Any])
Value = TypeVar("Value")


device_option = click.option(
    "--device", default=None, help="Where to compute: cpu, cuda, cuda:1, ...; by default cuda if there is one."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Use so many images, evenly spaced over the set."
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images in a forward pass."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")

_ARCH = (
    "What the checkpoint's weights belong to: a name of the zoo with its options, torchvision:NAME, timm:NAME, or "
    "package.module:factory."
)
_PREPROCESS = "JSON that says how images are prepared; by default the one beside the weights."


def model_options(command: Command) -> Command:
    """MODEL, and what it takes to load it."""
    return _with(
        command,
        click.argument("model"),
        click.option("--arch", help=_ARCH),
        click.option("--preprocess", type=click.Path(path_type=Path), help=_PREPROCESS),
        device_option,
    )


def models_options(command: Command) -> Command:
    """MODEL..., and what it takes to load them: see `load_networks`."""
    return _with(
        command,
        click.argument("models", nargs=-1, required=True, metavar="MODEL..."),
        click.option(
            "--arch", "archs", multiple=True, help=f"{_ARCH} Once for all checkpoints, or once for each, in order."
        ),
        click.option(
            "--preprocess", "cards", multiple=True, type=click.Path(path_type=Path),
            help=f"{_PREPROCESS} Once for all MODELs, or once for each, in order.",
        ),
        device_option,
    )  # fmt: skip


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def load_network(model: str, arch: str | None, preprocess: Path | None, device: str | None) -> Network:
    """The network of the common options, on its device; from now on the process keeps freed memory for its passes."""
    import convscope
    from convscope.scanner.memory import keep_freed_memory

    find_factories()
    keep_freed_memory()
    return convscope.load(model, arch=arch, preprocess=preprocess, device=usable_device(device))


def load_networks(
    models: Sequence[str], archs: Sequence[str], cards: Sequence[Path], device: str | None
) -> list[Network]:
    """The networks of several MODELs, see `each_network`."""
    return list(each_network(models, archs, cards, device))


def each_network(
    models: Sequence[str], archs: Sequence[str], cards: Sequence[Path], device: str | None
) -> Iterator[Network]:
    """The networks of several MODELs, one after the other: `archs` belong to the checkpoints, `cards` to all.

    Raises:
        click.UsageError: they are neither one for all nor one for each.
    """
    from convscope.checkpoint import SUFFIXES

    files = [Path(model).suffix in SUFFIXES for model in models]
    arch = iter(spread("--arch", archs, sum(files), "checkpoints"))
    card = spread("--preprocess", cards, len(models), "MODELs")
    return (
        load_network(model, next(arch) if file else None, preprocess, device)
        for model, file, preprocess in zip(models, files, card, strict=True)
    )


def spread(option: str, given: Sequence[Value], count: int, what: str) -> list[Value | None]:
    """A value for each of `count` things: one for all, or each its own."""
    if len(given) not in {0, min(1, count), count}:
        raise click.UsageError(
            f"{option} is given {len(given)} times for {count} {what}; give it once for all, or once for each, in order"
        )
    return list(given) if len(given) == count else [given[0] if given else None] * count


def listed(option: str, given: Sequence[str]) -> list[str]:
    """The names that an option was given, in one or several lists with commas."""
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    if given and not names:
        raise click.UsageError(f"{option} names no {option.strip('-').removesuffix('s')}")
    return names


def top_units(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The number of such as top:500."""
    if value is None:
        return None
    word, _, number = value.partition(":")
    if word != "top" or not number.isdecimal() or int(number) < 1:
        raise click.BadParameter(f"{value!r}; expected such as top:500: the 500 most outstanding units of every layer")
    return int(number)


def find_factories() -> None:
    """Look for package.module:factory in the current directory as well, as `python -m` does."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 — a string is what belongs there


def usable_device(device: str | None) -> str:
    """The device of the common options, once it has been tried.

    Raises:
        NetworkError: nothing can be computed on it here.
    """
    import torch

    from convscope.errors import NetworkError

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise NetworkError(f"--device {chosen}: not usable here ({reason}); --device cpu always is") from error
    return chosen


def picture_of(image: str) -> tuple[str, Picture]:
    """An image by its file, or by its number in a set; with its name."""
    from convscope.errors import ImagesError, UnreadableImage
    from convscope.images import decode
    from convscope.images.chosen import numbered

    try:
        if (found := numbered(image)) is None:
            return Path(image).name, decode(Path(image))
        images, number = found
        return f"{images.spec}@{number}", images.read(number)
    except UnreadableImage as error:
        raise ImagesError(f"{image}: {error}") from error


def prepared(network: Network, name: str, picture: Picture) -> Tensor:
    """The network's input, (1, channels, height, width)."""
    from convscope.errors import ImagesError, UnreadableImage

    try:
        return network.preprocess(picture)[None].to(network.device)
    except UnreadableImage as error:
        raise ImagesError(f"{name}: {error}") from error


def print_json(result: dict[str, Any]) -> None:
    """The result on standard output; numbers that JSON does not have, NaN and infinities, are null."""
    click.echo(json.dumps(_plain(result), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(table: Table) -> None:
    """A table as wide as it takes: one that is cut off, in a file or a narrow window, hides what was asked for."""
    from rich.console import Console
    from rich.measure import Measurement

    needed = Measurement.get(Console(width=1000), Console(width=1000).options, table).maximum
    Console(width=max(needed, Console().width)).print(table)


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Names are text as it is: rich would take what is in brackets for a colour."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(column), justify="left" if column == columns[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    print_table(table)


def print_skipped(files: Sequence[Mapping[str, Any]], where: str) -> None:
    """The first images that could not be read; `where` has all of them."""
    for file in files[:5]:
        click.echo(f"skipped {file['name']}: {file['reason']}", err=True)
    if len(files) > 5:
        click.echo(f"skipped {len(files) - 5} more; {where} lists them", err=True)


def open_browser(page: Path) -> None:
    """Show a page, if there is a browser and somebody in front of it."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    webbrowser.open(page.resolve().as_uri())


def report_pages(
    atlas: Atlas, folder: Path, show: bool, layers: Sequence[str] | None = None, units: int | None = None
) -> Path:
    """Write the report of an atlas, and open its first page if that is wanted."""
    import convscope

    with progress_bar("layers") as bar:
        page = convscope.write_report(
            atlas, folder, lambda done, total: bar("report", done, total), layers=layers, units=units
        )
    if show:
        open_browser(page)
    return page


@contextmanager
def progress_bar(unit: str = "images") -> Iterator[Callable[..., None]]:
    """A function of (phase, done, total, begun=0): rate and time left on standard error, as lines off a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console.print, unit)
        return
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int, total: int, begun: int = 0) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=total, completed=begun, rate="")
            task = tasks[phase]
            bar.update(task, completed=done)
            speed = next(each.speed for each in bar.tasks if each.id == task)
            bar.update(task, rate=f"{speed:.1f} {unit}/s" if speed else "")

        yield show


def _lines(write: Callable[..., None], unit: str, every: float = 10.0) -> Callable[..., None]:
    """The same as plain lines, for logs: at the end of a phase, and every ten seconds."""
    started: dict[str, float] = {}
    last = previous = time.monotonic()

    def show(phase: str, done: int, total: int, begun: int = 0) -> None:
        nonlocal last, previous
        now = time.monotonic()
        rate = (done - begun) / max(now - started.setdefault(phase, previous), 1e-9)
        previous = now
        if done >= total or now - last >= every:
            last = now
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            write(f"{phase}: {done} of {total}, {rate:.1f} {unit}/s{left}", highlight=False, soft_wrap=True)

    return show
