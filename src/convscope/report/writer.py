"""Write a report: pages from templates, data as scripts, pictures as they lie in the atlas."""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import plotly.offline

import convscope
from convscope.atlas import Atlas
from convscope.errors import AtlasError
from convscope.render import text
from convscope.report import data

_MARK = "convscope-report.json"  # by which a later run knows that it may replace the folder


def write_report(
    atlas: Atlas, folder: str | Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write the report of `atlas` into `folder`, and return its first page.

    A report that is there already is replaced once the new one is whole.

    Raises:
        AtlasError: `folder` holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / _MARK).exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AtlasError(f"{folder}: there is something else than a report; give another folder")
    temporary = folder.with_name(folder.name + ".tmp")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    _write(atlas, temporary, progress)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    return folder / "index.html"


def _write(atlas: Atlas, folder: Path, progress: Callable[[int, int], None]) -> None:
    pages = _environment(atlas)
    _assets(folder)
    for name in atlas.run["files"]:
        if name.startswith(("pictures/", "strips/")):
            _put(folder / name, atlas.file(name))
    _page(pages, folder / "index.html", "index.html", root="", **data.index(atlas))
    for done, layer in enumerate(atlas.layers):
        home = folder / "layers" / layer.record["slug"]
        context = data.layer(layer)
        _page(pages, home / "index.html", "layer.html", root="../../", **context)
        _page(pages, home / "unit.html", "unit.html", root="../../", **context)
        _put(home / "data.js", _script("CONVSCOPE", data.units(layer)))
        progress(done + 1, len(atlas.layers))
    about = {"convscope": convscope.__version__, "atlas": atlas.run["job"]}
    _put(folder / _MARK, json.dumps(about, indent=1).encode())


def _environment(atlas: Atlas) -> jinja2.Environment:
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("convscope.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters.update(figure=text.figure, percent=text.percent, scaled=text.scaled)
    pages.globals.update(run=atlas.run, convscope=convscope.__version__)
    return pages


def _assets(folder: Path) -> None:
    static = importlib.resources.files("convscope.report") / "static"
    for file in static.iterdir():
        _put(folder / "assets" / file.name, file.read_bytes())
    _put(folder / "assets" / "plotly.min.js", plotly.offline.get_plotlyjs().encode())


def _page(pages: jinja2.Environment, path: Path, template: str, **context: Any) -> None:
    _put(path, pages.get_template(template).render(**context).encode())


def _script(name: str, value: Any) -> bytes:
    """A script that sets a global: pages from ``file://`` may not fetch JSON."""
    text = json.dumps(value, separators=(",", ":")).replace("</", "<\\/")  # "</" could end a script inside a page
    return f"window.{name} = {text};\n".encode()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
