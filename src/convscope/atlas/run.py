"""``run.json``: how it is sealed when an atlas is written, and read and checked when one is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.errors import AtlasError

FORMAT, VERSION = "convscope-atlas", 2
STATISTICS, FILTERS, CONNECTIONS, SAMPLES, CLASS_MAPS = (
    f"{name}.safetensors" for name in ("statistics", "filters", "connections", "samples", "class_maps")
)
RULES = ("deconvnet", "guided")  # by which the best patches are projected, in the order of the tiles
WRITTEN = "written.json"  # when; the one file that differs between two scans of the same job
ARRAYS = (STATISTICS, FILTERS, CONNECTIONS, SAMPLES, CLASS_MAPS)


def damaged(path: Path, what: str) -> AtlasError:
    """The error of an atlas that is not what was written."""
    return AtlasError(f"{path}: damaged, {what}; delete the folder and scan again")


def _unfinished(path: Path) -> str:
    partial = path.with_name(path.name + ".partial") if path.name else path
    return (
        f", but an unfinished scan in {partial.name}; run the same scan again to finish it" if partial.exists() else ""
    )


def sealed(run: Mapping[str, Any]) -> bytes:
    """What is written as ``run.json``: `run` with a checksum of itself."""
    plain = json.loads(json.dumps(run))
    return json.dumps(plain | {"checksum": _checksum(plain)}, indent=1).encode()


def _checksum(run: Mapping[str, Any]) -> str:
    """Of what ``run.json`` says, however it is spaced and ordered."""
    said = {name: value for name, value in run.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


_PARTS = {
    "convscope", "job", "network", "images", "layers", "results", "pictures", "strips", "files", "checksum",
}  # fmt: skip


def read_run(path: Path) -> dict[str, Any]:
    """The content of ``run.json`` in the folder `path`.

    Raises:
        AtlasError: there is none, or it is not what was written.
    """
    if path.exists() and not path.is_dir():
        raise AtlasError(f"{path}: no atlas, which would be a folder")
    if not path.is_dir():
        raise AtlasError(f"{path}: there is no such folder{_unfinished(path)}")
    try:
        run = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (path / "job.json").exists():
            raise AtlasError(f"{path}: an unfinished scan; run the same scan again to finish it") from None
        raise AtlasError(
            f"{path}: no atlas, it has no run.json; give the folder of an atlas, or another place for a new one"
        ) from None
    except (OSError, ValueError) as error:
        raise damaged(path, f"run.json cannot be read ({error})") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise AtlasError(f"{path}: no atlas, its run.json is something else's")
    if run.get("version") != VERSION:
        raise AtlasError(
            f"{path}: an atlas of format {run.get('version')}, this convscope reads format {VERSION}; "
            "delete the folder and scan again"
        )
    missing = _PARTS - run.keys()
    if missing:
        raise damaged(path, f"run.json lacks {', '.join(sorted(missing))}")
    if run["checksum"] != _checksum(run):
        raise damaged(path, "the content of run.json has changed since it was written")
    return run
