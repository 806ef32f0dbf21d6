"""Fuzzing of unfinished scans: the same command again gives the same atlas, or says what is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fuzzing import damaged, fuzz, json_files, outcome
from hypothesis import strategies as st
from small_atlas import SHARDS, contents, plan, restore

from convscope import shards, sprites
from convscope.errors import AtlasError
from convscope.scanner.compute import merge
from convscope.scanner.executors import Engine
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Progress
from convscope.scanner.run import assemble
from convscope.shards import ShardStore

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Job:
    """A job, the folder of its unfinished scan with the files in it, and the atlas that it becomes."""

    plan: Plan
    engine: Engine
    target: Path
    files: dict[str, bytes]
    atlas: dict[str, bytes]

    def again(self) -> dict[str, bytes]:
        """The files of the atlas that the same scan gives."""
        shutil.rmtree(self.target, ignore_errors=True)
        assemble(self.plan, self.target, self.engine, lambda progress: None)
        return contents(self.target)


@pytest.fixture(scope="module", autouse=True)
def small_sheets() -> Iterator[None]:
    """Four pictures a sheet, so that an interruption leaves some sheets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sprites, "_SHEET", 16)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two shards are folded, the fourth has arrived, and the third is missing."""
    target = tmp_path_factory.mktemp("job") / "atlas"
    made, engine = plan()
    assert len(made.keys) == SHARDS
    done = dict(engine(range(SHARDS), lambda images: None))
    store = ShardStore(target, made.job, made.keys)
    with pytest.MonkeyPatch.context() as patch, store.opened():
        patch.setattr(shards, "_TOGETHER", 1)
        for index in (0, 1, 3):
            store.add(index, done[index])
        store.fold(lambda first, second: merge(made, first, second))
    files = contents(store.folder)
    assert {"job.json", "folded.safetensors", store.shard(3).name} <= files.keys()
    shutil.rmtree(store.folder)
    assemble(made, target, engine, lambda progress: None)

    def ready(indices: Any, advance: Any) -> Any:  # so that an example takes no longer than it must
        return ((index, done[index]) for index in indices)

    return Job(made, ready, target, files, contents(target))


def check(job: Job, files: dict[str, bytes]) -> None:
    folder = job.target.with_name("atlas.partial")
    folder.mkdir(exist_ok=True)
    restore(folder, files)
    atlas, refusal = outcome(job.again, AtlasError)
    if refusal is None:
        assert atlas == job.atlas
    else:
        assert str(folder) in refusal
        assert "delete the folder" in refusal
        assert not job.target.exists()
    shutil.rmtree(folder, ignore_errors=True)


@fuzz(data=st.data())
def test_a_damaged_file_is_refused_or_not_needed(job: Job, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(job.files)), label="file")
    kind = data.draw(st.sampled_from(["damage", "damage", "remove", "swap", "add"]), label="kind")
    files = dict(job.files)
    if kind == "damage":
        files[name] = data.draw(damaged(files[name]))
    elif kind == "swap":
        files[name] = files[data.draw(st.sampled_from(sorted(job.files)), label="other")]
    elif kind == "remove":
        del files[name]
    else:
        others = [
            "shard-0.safetensors",
            "x.tmp",
            "strips/y.tmp",
            "run.json",
            *(f"shard-{key}.safetensors" for key in job.plan.keys),
        ]
        files[data.draw(st.sampled_from(others), label="new")] = data.draw(st.binary(max_size=20))
    check(job, files)


@fuzz(data=st.data())
def test_a_changed_job_is_refused(job: Job, data: st.DataObject) -> None:
    good = json.loads(job.files["job.json"])
    check(job, job.files | {"job.json": data.draw(json_files(good), label="job.json")})


@pytest.fixture(scope="module")
def drawing(job: Job) -> Job:
    """The same job, which stopped while it made the pictures."""

    def stop(now: Progress) -> None:
        if now.phase == "pictures" and now.done > now.total / 2:
            raise KeyboardInterrupt

    shutil.rmtree(job.target, ignore_errors=True)
    with pytest.raises(KeyboardInterrupt):
        assemble(job.plan, job.target, job.engine, stop)
    files = contents(job.target.with_name("atlas.partial"))
    assert {"pictures/0000.png", "pictures/0001.png"} < files.keys()
    assert "pictures/0005.png" not in files
    return replace(job, files=files)


@fuzz(data=st.data())
def test_damaged_pictures_are_made_again(drawing: Job, data: st.DataObject) -> None:
    """All but the content of the tiles that wait for their sheets, which is not looked at before it is shown."""
    name = data.draw(st.sampled_from(sorted(drawing.files)), label="file")
    files = dict(drawing.files)
    tiles = name.startswith("tiles-")
    if data.draw(st.booleans(), label="remove"):
        del files[name]
    elif tiles:
        files[name] = files[name][: data.draw(st.integers(0, len(files[name]) - 1), label="length")]
    else:
        files[name] = data.draw(damaged(files[name]))
    check(drawing, files)
