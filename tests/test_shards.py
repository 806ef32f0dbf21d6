"""The unfinished folder of a scan: any order of arrival, any end of a process, one result."""

from __future__ import annotations

import errno
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from convscope import shards
from convscope.errors import AtlasError
from convscope.shards import ShardState, ShardStore, differences, key, write

JOB = {"network": "abc", "batch_size": 4, "layers": ["a", "b"], "images": {"spec": "photos", "count": 9}}
KEYS = ("k0", "k1", "k2", "k3")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is folded is written after every shard, but in the tests that say otherwise."""
    monkeypatch.setattr(shards, "_TOGETHER", 1)


def shard(index: int) -> ShardState:
    return ShardState(
        {"sum": torch.full((2,), 0.1 * (index + 1), dtype=torch.float64), "ids": torch.tensor([index])},
        {"tally": {"read": index, "skipped": [{"name": f"ü{index}"}]}},
    )


def merge(first: ShardState | None, second: ShardState) -> ShardState:
    """Neither commutative nor associative in float64, so that another order would show."""
    if first is None:
        return second
    tensors = {
        "sum": first.tensors["sum"] * 1.1 + second.tensors["sum"],
        "ids": torch.cat([first.tensors["ids"], second.tensors["ids"]]),
    }
    tallies = (first.meta["tally"], second.meta["tally"])
    skipped = [skip for tally in tallies for skip in tally["skipped"]]
    return ShardState(tensors, {"tally": {"read": tallies[0]["read"] + tallies[1]["read"], "skipped": skipped}})


def store_in(folder: Path, job: dict[str, Any] | None = None, keys: tuple[str, ...] = KEYS) -> ShardStore:
    return ShardStore(folder / "atlas", job or JOB, keys)


def interrupted(folder: Path) -> ShardStore:
    """A scan that stopped with two shards folded and a third one ahead."""
    store = store_in(folder)
    with store.opened():
        for index in (0, 1):
            store.add(index, shard(index).to_bytes())
        store.fold(merge)
        store.add(2, shard(2).to_bytes())
    return store


def names(store: ShardStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def complete(folder: Path, order: tuple[int, ...] = (0, 1, 2, 3)) -> bytes:
    """The bytes that are folded in the end, when shards arrive in `order`."""
    store = store_in(folder)
    with store.opened():
        for index in order:
            store.add(index, shard(index).to_bytes())
            store.fold(merge)
        assert store.done == len(KEYS)
        assert store.missing() == []
    return (store.folder / "folded.safetensors").read_bytes()


def test_the_order_in_which_shards_arrive_changes_no_byte(tmp_path: Path) -> None:
    results = set()
    for i, order in enumerate(itertools.permutations(range(4))):
        (tmp_path / str(i)).mkdir()
        results.add(complete(tmp_path / str(i), order))
    assert len(results) == 1
    state = ShardState.read(tmp_path / "0" / "atlas.partial" / "folded.safetensors")
    assert state.tensors["ids"].tolist() == [0, 1, 2, 3]
    assert state.meta["folded"] == list(KEYS)
    assert [skip["name"] for skip in state.meta["tally"]["skipped"]] == ["ü0", "ü1", "ü2", "ü3"]


@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("folded", [True, False])
def test_going_on_after_any_shard_gives_the_same_bytes(tmp_path: Path, before: int, folded: bool) -> None:
    (tmp_path / "alone").mkdir()
    first = store_in(tmp_path)
    with first.opened():
        for index in range(before):
            first.add(index, shard(index).to_bytes())
            if folded:
                first.fold(merge)
    second = store_in(tmp_path)
    with second.opened():
        assert second.missing() == list(range(before, 4))
        assert second.done == (before if folded else 0)
        for index in second.missing():
            second.add(index, shard(index).to_bytes())
            second.fold(merge)
        second.fold(merge)
        assert second.state is not None
    assert (second.folder / "folded.safetensors").read_bytes() == complete(tmp_path / "alone")
    assert names(second) == {"job.json", "lock", "folded.safetensors"}


@pytest.mark.parametrize("together", [2, 3, 8])
@pytest.mark.parametrize("before", range(5))
def test_what_is_folded_may_wait_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, before: int
) -> None:
    (tmp_path / "alone").mkdir()
    expected = complete(tmp_path / "alone")
    monkeypatch.setattr(shards, "_TOGETHER", together)
    first = store_in(tmp_path)
    with first.opened():
        for index in range(before):
            first.add(index, shard(index).to_bytes())
            first.fold(merge)
    written = before if before == len(KEYS) else before // together * together
    waiting = {f"shard-{KEYS[index]}.safetensors" for index in range(written, before)}
    assert {name for name in names(first) if name.startswith("shard-")} == waiting
    second = store_in(tmp_path)
    with second.opened():
        assert second.done == written
        assert second.missing() == list(range(before, 4))  # nothing is computed again
        for index in second.missing():
            second.add(index, shard(index).to_bytes())
        second.fold(merge)
    assert (second.folder / "folded.safetensors").read_bytes() == expected
    assert names(second) == {"job.json", "lock", "folded.safetensors"}


def test_a_state_reads_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "state", shard(3).to_bytes())
    again = ShardState.read(tmp_path / "state")
    assert again.meta == shard(3).meta
    assert again.tensors.keys() == shard(3).tensors.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in shard(3).tensors.items())
    assert again.to_bytes() == shard(3).to_bytes()


@pytest.mark.parametrize(
    ("keys", "done", "missing"),
    [
        (("k0", "new", "k2", "k3"), 0, [0, 1, 3]),  # shard 2 has come early, and is still right
        (("k0", "k1", "new", "k3"), 2, [2, 3]),  # what was folded is still right
        (("k0", "k1", "k2", "new"), 2, [3]),
    ],
)
def test_a_changed_image_makes_its_shard_and_what_was_folded_with_it_again(
    tmp_path: Path, keys: tuple[str, ...], done: int, missing: list[int]
) -> None:
    interrupted(tmp_path)
    again = store_in(tmp_path, keys=keys)
    with again.opened():
        assert again.done == done
        assert again.missing() == missing
        assert (again.state is None) == (done == 0)
        assert (again.folder / "folded.safetensors").exists() == (done > 0)


def test_shards_of_images_that_have_changed_are_removed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.opened():
        store.add(1, shard(1).to_bytes())
        store.add(2, shard(2).to_bytes())
        assert names(store) >= {"shard-k1.safetensors", "shard-k2.safetensors"}
    again = store_in(tmp_path, keys=("k0", "new", "k2", "k3"))
    with again.opened():
        assert names(again) == {"job.json", "lock", "shard-k2.safetensors"}


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.opened():
        (store.folder / "pictures").mkdir()
        for name in ("shard-k7.safetensors.tmp", "pictures/0000.jpg.tmp"):
            (store.folder / name).write_bytes(b"half")
    with store_in(tmp_path).opened():
        assert not list(store.folder.rglob("*.tmp"))


def test_another_job_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    with store_in(tmp_path).opened():
        pass
    other = JOB | {"batch_size": 8, "device": "cuda"}
    with pytest.raises(AtlasError) as caught, store_in(tmp_path, other).opened():
        pass
    message = str(caught.value)
    assert str(tmp_path / "atlas.partial") in message
    assert "batch_size: 4 there, 8 here" in message
    assert "device: None there, 'cuda' here" in message
    assert "network" not in message
    assert "layers" not in message


def test_a_job_that_says_more_is_another_job(tmp_path: Path) -> None:
    with store_in(tmp_path, JOB | {"seed": 7}).opened():
        pass
    with pytest.raises(AtlasError, match="seed: 7 there, None here"), store_in(tmp_path).opened():
        pass


def test_the_same_job_in_other_words_is_the_same(tmp_path: Path) -> None:
    with store_in(tmp_path).opened():
        pass
    with store_in(tmp_path, dict(reversed(JOB.items())) | {"layers": ("a", "b")}).opened() as store:
        assert store.missing() == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00"])
def test_a_damaged_job_is_refused(tmp_path: Path, text: str) -> None:
    with store_in(tmp_path).opened() as store:
        (store.folder / "job.json").write_text(text)
    with pytest.raises(AtlasError, match=r"job\.json: damaged"), store_in(tmp_path).opened():
        pass


def damaged(data: bytes) -> dict[str, bytes]:
    header = int.from_bytes(data[:8], "little")
    empty = json.dumps({"__metadata__": {"other": "{}"}}).encode()
    return {
        "empty": b"",
        "cut off": data[: len(data) // 2],
        "without its last byte": data[:-1],
        "no header": b"\xff" * 8 + data[8:],
        "not JSON": data[:8] + b"x" * header + data[8 + header :],
        "without meta": len(empty).to_bytes(8, "little") + empty,
        "something else": b"P6 this is a picture",
    }


@pytest.mark.parametrize("kind", damaged(shard(0).to_bytes()))
@pytest.mark.parametrize("file", ["folded.safetensors", "shard-k2.safetensors"])
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, kind: str, file: str) -> None:
    store = interrupted(tmp_path)
    path = store.folder / file
    path.write_bytes(damaged(path.read_bytes())[kind])
    again = store_in(tmp_path)
    with pytest.raises(AtlasError, match=rf"{file}: damaged .*delete the folder and start again"), again.opened():
        again.fold(merge)


HOLD = """
import sys
from pathlib import Path
from convscope.shards import ShardStore
with ShardStore(Path(sys.argv[1]), {"a": 1}, ["k"]).opened():
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    target = tmp_path / "atlas"
    command = [sys.executable, "-c", HOLD, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with (
            pytest.raises(AtlasError, match="another scan is at work"),
            ShardStore(target, {"a": 1}, ["k"]).opened(),
        ):
            pass
        process.kill()  # the lock goes with the process, however it ends
    with ShardStore(target, {"a": 1}, ["k"]).opened() as store:
        assert store.missing() == [0]


def test_the_lock_is_free_again_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store_in(tmp_path).opened():
        raise KeyboardInterrupt
    with store_in(tmp_path).opened() as store:
        assert store.missing() == [0, 1, 2, 3]


def test_clearing_leaves_what_others_put_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.opened():
        for index in range(4):
            store.add(index, shard(index).to_bytes())
        store.fold(merge)
        (store.folder / "run.json").write_text("{}")
        store.clear()
        assert names(store) == {"run.json"}


def test_the_folder_is_beside_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert ShardStore(Path(), {}, []).folder == (tmp_path / "here.partial").resolve()
    assert ShardStore(Path("v1.0"), {}, []).folder == (tmp_path / "here" / "v1.0.partial").resolve()


# --- writing files ---------------------------------------------------------------------------------------------------


def test_writing_replaces_a_file_whole(tmp_path: Path) -> None:
    write(tmp_path / "file", b"one")
    write(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("method", ["write_bytes", "replace"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    write(tmp_path / "file", b"one")

    def full(self: Path, data: Any) -> None:
        if method == "write_bytes":
            with self.open("wb") as file:
                file.write(data[:1])  # as much as there was room for
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_while_folding_loses_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alone").mkdir()
    store = store_in(tmp_path)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    def go() -> None:
        with store.opened(), monkeypatch.context() as patch:
            for index in range(3):
                store.add(index, shard(index).to_bytes())
            patch.setattr(Path, "write_bytes", full)
            store.fold(merge)

    with pytest.raises(AtlasError, match=r"folded\.safetensors\S*: No space left on device; make room"):
        go()
    again = store_in(tmp_path)
    with again.opened():
        assert again.missing() == [3]
        again.add(3, shard(3).to_bytes())
        again.fold(merge)
    assert (again.folder / "folded.safetensors").read_bytes() == complete(tmp_path / "alone")


def test_keys_tell_jobs_and_images_apart() -> None:
    assert key({"a": 1, "b": 2}, 0, "x") == key({"b": 2, "a": 1}, 0, "x")
    keys = {key({"a": 1}, 0, "x"), key({"a": 2}, 0, "x"), key({"a": 1}, 1, "x"), key({"a": 1}, 0, "y"), key("x")}
    assert len(keys) == 5


def test_differences_can_be_printed_whatever_a_damaged_job_is_called() -> None:
    assert differences({"a": 1, "\ud800": 2}, {"a": 3}) == "a: 1 there, 3 here; \\ud800: 2 there, None here"
