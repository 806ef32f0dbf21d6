"""Fuzzing of atlas folders: what is damaged is refused, and all that can be read is what was written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.offline
import pytest
from fuzzing import damaged, fuzz, json_files, outcome
from hypothesis import strategies as st
from small_atlas import contents, everything, plan, restore

import convscope
from convscope.atlas import Atlas
from convscope.atlas.run import sealed
from convscope.errors import AtlasError
from convscope.scanner.run import assemble

pytestmark = pytest.mark.usefixtures("one_thread")

REFUSED = "refused"


@dataclass(frozen=True)
class Intact:
    """An atlas, its files, what it says, and its report."""

    path: Path
    files: dict[str, bytes]
    says: str
    report: dict[str, bytes]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intact]:
    folder = tmp_path_factory.mktemp("intact")
    job, engine = plan()
    atlas = assemble(job, folder / "atlas", engine, lambda progress: None)
    (atlas.path / "run.json").write_bytes(sealed(atlas.run))
    atlas = Atlas.open(atlas.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotly.offline, "get_plotlyjs", str)  # four megabytes that are the same in every report
        convscope.write_report(atlas, folder / "report")
        yield Intact(folder / "atlas", contents(folder / "atlas"), everything(atlas), undated(folder / "report"))


def undated(report: Path) -> dict[str, bytes]:
    """The files of a report without the day of the scan, which alone of all that an atlas says has no checksum."""
    return {name: re.sub(rb", scanned \d{4}-\d\d-\d\d", b"", data) for name, data in contents(report).items()}


def check(intact: Intact) -> None:
    """The atlas says what the intact one says, or is refused; so is its report, of which nothing is left then."""
    target = intact.path.parent / "new"
    shutil.rmtree(target, ignore_errors=True)
    says = attempt(intact.path, everything)
    sound = attempt(intact.path, Atlas.verify) is not REFUSED
    attempt(intact.path, lambda atlas: convscope.write_report(atlas, target))
    assert says in ((intact.says,) if sound else (intact.says, REFUSED))  # what is damaged may not be needed for it
    assert undated(target) in ((intact.report,) if sound else (intact.report, {}))
    assert {path.name for path in intact.path.parent.iterdir()} <= {"atlas", "report", "new"}  # nothing half written


def attempt(path: Path, read: Callable[[Atlas], Any]) -> Any:
    """What `read` gives of the atlas; REFUSED where it is refused by name."""
    value, refusal = outcome(lambda: read(Atlas.open(path)), AtlasError)
    assert refusal is None or str(path) in refusal
    return value if refusal is None else REFUSED


@fuzz(data=st.data())
def test_a_damaged_file_is_refused(intact: Intact, data: st.DataObject) -> None:
    restore(intact.path, intact.files)
    name = data.draw(st.sampled_from(sorted(intact.files)), label="file")
    kind = data.draw(st.sampled_from(["damage", "damage", "remove", "swap", "folder"]), label="kind")
    path = intact.path / name
    if kind == "damage":
        path.write_bytes(data.draw(damaged(intact.files[name])))
    elif kind == "swap":
        path.write_bytes(intact.files[data.draw(st.sampled_from(sorted(intact.files)), label="other")])
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()
    check(intact)


@fuzz(data=st.data())
def test_a_changed_run_json_is_refused(intact: Intact, data: st.DataObject) -> None:
    restore(intact.path, intact.files)
    good = json.loads(intact.files["run.json"])
    (intact.path / "run.json").write_bytes(data.draw(json_files(good), label="run.json"))
    check(intact)
