"""Options that mean the same in every command, and how commands speak."""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from convscope.atlas import Atlas
    from convscope.network import Network

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """MODEL, and what it takes to load it."""
    options = [
        click.argument("model"),
        click.option(
            "--arch",
            help="What the checkpoint's weights belong to: a name of the zoo, torchvision:NAME, timm:NAME, or "
            "package.module:factory.",
        ),
        click.option(
            "--preprocess",
            type=click.Path(path_type=Path),
            help="JSON that says how images are prepared; by default the one beside the weights.",
        ),
        device_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


device_option = click.option(
    "--device", default=None, help="Where to compute: cpu, cuda, cuda:1, ...; by default cuda if there is one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


def load_network(model: str, arch: str | None, preprocess: Path | None, device: str | None) -> Network:
    """The network of the common options, on its device."""
    import convscope

    find_factories()
    return convscope.load(model, arch=arch, preprocess=preprocess, device=usable_device(device))


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


def print_json(result: dict[str, Any]) -> None:
    """The result on standard output."""
    click.echo(json.dumps(result))


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
