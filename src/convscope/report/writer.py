"""Write a report: pages from templates, data as scripts, pictures as they lie in the atlas."""

from __future__ import annotations

import importlib.resources
import json
import tempfile
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
_OWN = {"index.html", "layers", "assets", "pictures", "strips", _MARK}


def write_report(
    atlas: Atlas, folder: str | Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """Write the report of `atlas` into `folder`, and return its first page.

    A report that is there already is replaced once the new one is whole.

    Raises:
        AtlasError: `folder` holds something else.
    """
    check_folder(folder, atlas.path)
    target = Path(folder).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
        temporary = Path(place) / "report"
        _write(atlas, temporary, progress)
        if target.exists():
            target.rename(Path(place) / "old")
        temporary.rename(target)
    return Path(folder) / "index.html"


def check_folder(folder: str | Path, atlas: str | Path) -> None:
    """Raise unless a report of `atlas` may be written into `folder`: it is new, empty, or holds a report alone.

    Raises:
        AtlasError: there is something else, which would be lost.
    """
    target = Path(folder).resolve()
    if target == Path.cwd() or target in Path(atlas).resolve().parents or target == Path(atlas).resolve():
        raise AtlasError(f"{folder}: a report cannot replace this folder; give it one of its own")
    if target.is_dir():
        others = {path.name for path in target.iterdir()} - _OWN
        if not others and ((target / _MARK).exists() or not any(target.iterdir())):
            return
        raise AtlasError(f"{folder}: there is something else than a report ({_some(others)}); give another folder")
    if target.exists():
        raise AtlasError(f"{folder}: there is a file of this name; give another folder")


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "") if names else "unfinished"


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
