"""Write a report: pages from templates, data as scripts, pictures as they lie in the atlas."""

from __future__ import annotations

import importlib.resources
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.offline
from markupsafe import Markup

import convscope
from convscope.atlas import Atlas
from convscope.errors import AtlasError
from convscope.render.categories import COLOURS
from convscope.render.environment import environment
from convscope.report import sheets
from convscope.report.contents import Contents
from convscope.report.dissected import ratio
from convscope.report.pages import attention, classes, concepts, filters, layer, network, samples, search, unit
from convscope.report.selection import Shown, is_whole, select
from convscope.report.strips import Strips
from convscope.report.terms import of_flag

_MARK = "convscope-report.json"  # by which a later run knows that it may replace the folder
_OWN = {"index.html", "attention.html", "classes.html", "concepts.html", "terms.html", "layers", "images", "assets",
        "pictures", "strips", "projections", "filters", "samples", _MARK}  # fmt: skip
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # which file managers leave in every folder that they show


def write_report(
    atlas: Atlas,
    folder: str | Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    layers: Sequence[str] | None = None,
    units: int | None = None,
) -> Path:
    """Write the report of `atlas` into `folder`, and return its first page.

    A report that is there already is replaced once the new one is whole.

    Args:
        layers: show these alone: addresses, modules (all layers inside) or patterns such as ``layer4.*``.
        units: show of every layer only so many units, those whose best image stands out most.

    Raises:
        AddressError: `layers` names something that the atlas does not have.
        AtlasError: `folder` holds something else, or the atlas is damaged.
        OSError: the disk is full, or `folder` cannot be written; a report that is there already stays as it is.
    """
    if units is not None and units < 1:
        raise ValueError(f"units is {units}; it must be at least 1")
    check_folder(folder, atlas.path)
    shown = select(atlas, layers, units)
    target = Path(folder).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
        temporary = Path(place) / "report"
        _write(atlas, shown, temporary, progress)
        replace_folder(target, temporary, Path(place) / "old")
    return Path(folder) / "index.html"


def replace_folder(target: Path, new: Path, old: Path) -> None:
    """Put the folder `new` where `target` is, which goes to `old`, and back where that fails."""
    there = target.exists()
    if there:
        target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        if there:
            old.rename(target)
        raise


def check_folder(folder: str | Path, atlas: str | Path) -> None:
    """Raise unless a report of `atlas` may be written into `folder`: it is new, empty, or holds a report alone.

    Raises:
        AtlasError: there is something else, which would be lost.
    """
    target = Path(folder).resolve()
    if target == Path.cwd() or target in Path(atlas).resolve().parents or target == Path(atlas).resolve():
        raise AtlasError(f"{folder}: a report cannot replace this folder; give it one of its own")
    if target.is_dir():
        there = {path.name for path in target.iterdir()} - _LITTER
        others = there - _OWN
        if not others and (_MARK in there or not there):
            return
        raise AtlasError(f"{folder}: there is something else than a report ({_some(others)}); give another folder")
    if target.exists():
        raise AtlasError(f"{folder}: there is a file of this name; give another folder")


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "") if names else "unfinished"


class _Folder:
    """The folder that is filled: files by their names in it."""

    def __init__(self, folder: Path, pages: jinja2.Environment) -> None:
        self.folder, self.pages = folder, pages

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def page(self, name: str, template: str, **context: Any) -> None:
        """Write a page; its template knows the way back to the folder as `root`."""
        root = "../" * name.count("/")
        self.put(name, self.pages.get_template(template).render(root=root, **context).encode())

    def script(self, name: str, call: str, *values: Any) -> None:
        """Write a script that hands values to a function: pages from ``file://`` may not fetch JSON."""
        texts = [json.dumps(value, separators=(",", ":")).replace("</", "<\\/") for value in values]
        self.put(name, f"convscope.{call}({','.join(texts)});\n".encode())


def _write(atlas: Atlas, shown: Sequence[Shown], folder: Path, progress: Callable[[int, int], None]) -> None:
    out = _Folder(folder, environment("convscope.report"))
    _assets(out)
    strips = {each.slug: Strips(each, sheets.write_strips(atlas, each, out.put)) for each in shown}
    files, places = sheets.write_pictures(atlas, _pictured(atlas, shown), out.put)
    contents = Contents(atlas, shown, strips, places)
    out.pages.globals.update(_globals(contents))
    out.script("assets/network.js", "know", search.network(contents))
    out.script("assets/images.js", "see", sheets.about_pictures(atlas, files, places))
    _front(out, contents)
    for done, each in enumerate(shown):
        _layer(out, contents, each)
        progress(done + 1, len(shown))
    about = {"convscope": convscope.__version__, "network": atlas.run["network"]["fingerprint"]}
    out.put(_MARK, json.dumps(about, indent=1).encode())


def _pictured(atlas: Atlas, shown: Sequence[Shown]) -> list[int] | None:
    """The images whose pictures the pages show; None for all."""
    if is_whole(atlas, shown):
        return None
    wanted = {sample.id for sample in atlas.samples}
    for each in shown:
        wanted.update(each.layer.state("topk")["ids"][list(each.units)].ravel().tolist())
    return sorted(wanted)


def _front(out: _Folder, contents: Contents) -> None:
    """The pages that are not of a layer."""
    out.page("index.html", "index.html", **network.context(contents))
    out.page("attention.html", "attention.html", **attention.context(contents))
    out.page("terms.html", "terms.html", title="Terms")
    out.page("classes.html", "classes.html", **classes.context(contents))
    if contents.dissected is not None:
        out.page("concepts.html", "concepts.html", **concepts.context(contents))
        out.script("assets/detectors.js", "detectors", concepts.data(contents))
    out.page("images/index.html", "images.html", title="Sample images", samples=contents.atlas.samples)
    samples.write_class_maps(contents, out.put)
    for number in range(len(contents.atlas.samples)):
        out.page(f"images/{number:02}.html", "image.html", **samples.context(contents, number))
        out.script(f"images/{number:02}.js", "maps", samples.statistics(contents, number))


def _layer(out: _Folder, contents: Contents, shown: Shown) -> None:
    """The pages of a layer, their data, and the pictures that are made for them."""
    home = f"layers/{shown.slug}"
    facts = layer.facts(shown)
    has_filters = bool(filters.sheets(shown))
    common = {"layer": facts, "has_filters": has_filters, "measured": layer.measured(contents, shown)}
    out.page(
        f"{home}/index.html", "layer.html", title=facts["address"], detectors=layer.detectors(contents, shown), **common
    )
    out.script(f"{home}/layer.js", "layer", layer.data(contents, shown))
    masks = unit.masks(contents, shown)
    out.page(
        f"{home}/unit.html", "unit.html", title=facts["address"], projections=shown.layer.projections, masks=masks,
        **common,
    )  # fmt: skip
    kept = sheets.write_projections(contents.atlas, shown, out.put)
    added = {"masks": masks, "measured": unit.fields(contents, shown)}
    geometry = unit.geometry(shown) | {"projections": kept} | {name: each for name, each in added.items() if each}
    out.script(f"{home}/geometry.js", "geometry", geometry)
    for number, chunk in enumerate(unit.chunks(contents, shown)):
        out.script(f"{home}/units-{number:03}.js", "units", number, *chunk)
    if has_filters:
        page = filters.context(shown)
        out.script(f"{home}/filters.js", "filters", page.pop("data"))
        out.page(f"{home}/filters.html", "filters.html", **common, **page)
        filters.write_sheets(shown, out.put)
    samples.write_maps(contents, shown, out.put)


def _globals(contents: Contents) -> dict[str, Any]:
    """What every template may use."""

    @jinja2.pass_context
    def term(context: jinja2.runtime.Context, key: str, words: str | None = None) -> Markup:
        """A word with its explanation."""
        about = contents.terms[key]
        return Markup('<a class="term" href="{}terms.html#{}" data-tip="{}">{}</a>').format(
            context["root"], key, about.line, words or about.name
        )

    @jinja2.pass_context
    def strip(context: jinja2.runtime.Context, address: str, unit: int, word: str = "") -> Markup:
        """A link to a unit that shows its best patch."""
        root = context["root"]
        strips = contents.strips[contents.by_address[address].slug]
        label = None if contents.dissected is None else contents.dissected.label(address, unit)
        words = f"{address}:{unit}{'' if label is None else f' ({label.name})'}{word}"
        return Markup('<a class="strip-link{}" href="{}" aria-label="{}" data-tip="{}" style="{}"></a>').format(
            " sharp" if strips.sharp else "", contents.href(root, address, unit), words, words,
            strips.style(root, unit),
        )  # fmt: skip

    @jinja2.pass_context
    def picture(context: jinja2.runtime.Context, image: int, words: str) -> Markup:
        """The picture of an image, which a script draws into the room that is kept for it."""
        height, width = contents.atlas.run["pictures"]["size"]
        return Markup(
            '<span class="picture" role="img" aria-label="{}" data-picture="{}" style="aspect-ratio:{}/{}"></span>'
        ).format(words, image, width, height)

    return {
        "run": contents.atlas.run,
        "date": contents.atlas.date,
        "contents": contents,
        "convscope": convscope.__version__,
        "terms": contents.terms,
        "flag_term": of_flag,
        "attention_count": sum(attention.counts(contents).values()) + len(contents.atlas.run["results"]["warnings"]),
        "colours": COLOURS,
        "ratio": ratio,
        "term": term,
        "strip": strip,
        "picture": picture,
    }


def _assets(out: _Folder) -> None:
    static = importlib.resources.files("convscope.report") / "static"
    for file in sorted(static.iterdir(), key=lambda file: file.name):
        out.put(f"assets/{file.name}", file.read_bytes())
    out.put("assets/plotly.min.js", plotly.offline.get_plotlyjs().encode())
