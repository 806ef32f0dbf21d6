"""A scan in parts, and the merge: the bytes of one process, or a refusal by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import convscope
from convscope.cli import main
from convscope.errors import AtlasError, ConvscopeError, ImagesError, NetworkError
from convscope.network import Network
from convscope.scanner import Progress, merge, scan, scan_part
from running import OPTIONS, contents, network, photos

pytestmark = pytest.mark.usefixtures("one_thread")


def folders(target: Path, parts: int = 3) -> list[Path]:
    return [target.with_name(f"{target.name}.part-{part}-of-{parts}") for part in range(1, parts + 1)]


def in_parts(pictures: Path, target: Path, parts: int = 3, **options: Any) -> list[Path]:
    return [scan_part(network(), pictures, target, part, parts, **OPTIONS | options) for part in range(1, parts + 1)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, their atlas ``alone``, and three parts of it; not to be changed."""
    root = tmp_path_factory.mktemp("done")
    photos(root / "photos")
    scan(network(), root / "photos", root / "alone", **OPTIONS)
    assert in_parts(root / "photos", root / "atlas") == folders(root / "atlas")
    return root


@pytest.fixture
def parts(done: Path, tmp_path: Path) -> list[Path]:
    """A copy of the three parts."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in folders(done / "atlas")]


class Stop(Exception):  # noqa: N818 — the test's own
    pass


def stopping(done: int, phase: str = "scanning") -> Callable[[Progress], None]:
    def progress(step: Progress) -> None:
        if step.phase == phase and step.done >= done:
            raise Stop

    return progress


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_in_any_order_give_the_bytes_of_one_process(
    tmp_path: Path, done: Path, parts: list[Path], order: tuple[int, ...]
) -> None:
    before = [contents(part) for part in parts]
    seen: list[Progress] = []
    atlas = merge([parts[i] for i in order], tmp_path / "atlas", progress=seen.append)
    assert atlas.path == tmp_path / "atlas"
    assert contents(tmp_path / "atlas") == contents(done / "alone")
    assert [contents(part) for part in parts] == before
    assert not (tmp_path / "atlas.partial").exists()
    assert [step.done for step in seen if step.phase == "scanning"] == [8, 16, 24, 32, 40]


def test_every_shard_is_in_one_part(done: Path) -> None:
    shards = [sorted(path.name for path in part.glob("shard-*")) for part in folders(done / "atlas")]
    assert [len(each) for each in shards] == [1, 2, 2]
    assert len({name for each in shards for name in each}) == 5


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_parts_also_more_than_shards(tmp_path: Path, done: Path, count: int) -> None:
    merge(in_parts(done / "photos", tmp_path / "atlas", count), tmp_path / "atlas")
    assert contents(tmp_path / "atlas") == contents(done / "alone")


@pytest.mark.slow
def test_the_digits_in_three_parts(tmp_path: Path) -> None:
    lenet, options = convscope.load("digits:lenet5"), {"batch_size": 4, "limit": 96, "threads": 1}
    scan(lenet, "digits:test", tmp_path / "alone", **options)
    made = [scan_part(lenet, "digits:test", tmp_path / "atlas", i, 3, workers=i, **options) for i in (1, 2, 3)]
    merge(made, tmp_path / "atlas")
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


def test_a_part_that_was_interrupted_goes_on(tmp_path: Path, done: Path) -> None:
    with pytest.raises(Stop):
        scan_part(network(), done / "photos", tmp_path / "atlas", 3, 3, progress=stopping(9), **OPTIONS)
    part = tmp_path / "atlas.part-3-of-3"
    assert not part.exists()
    assert len(list(tmp_path.glob("*.partial/shard-*"))) == 1
    for path in (part, part.with_name(part.name + ".partial")):
        with pytest.raises(AtlasError, match="the part is not finished; give its command again"):
            merge([path], tmp_path / "atlas")
    seen: list[Progress] = []
    scan_part(network(), done / "photos", tmp_path / "atlas", 3, 3, progress=seen.append, **OPTIONS)
    assert [(step.done, step.total, step.begun) for step in seen] == [(i, 16, 8) for i in range(9, 17)]
    assert contents(part) == contents(done / part.name)


def test_a_finished_part_is_not_computed_again(tmp_path: Path, done: Path, parts: list[Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = scan_part(network(), done / "photos", tmp_path / "atlas", 2, 3, progress=stopping(0), **OPTIONS)
    assert again == parts[1]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("phase", "at"), [("scanning", 24), ("pictures", 1)])
def test_a_merge_that_was_interrupted_goes_on(
    tmp_path: Path, done: Path, parts: list[Path], phase: str, at: int
) -> None:
    with pytest.raises(Stop):
        merge(parts, tmp_path / "atlas", progress=stopping(at, phase))
    assert not (tmp_path / "atlas").exists()
    merge(parts, tmp_path / "atlas")
    assert contents(tmp_path / "atlas") == contents(done / "alone")


def test_a_merge_and_a_scan_go_on_with_each_other(tmp_path: Path, done: Path, parts: list[Path]) -> None:
    with pytest.raises(Stop):
        merge(parts, tmp_path / "atlas", progress=stopping(24))
    seen: list[Progress] = []
    scan(network(), done / "photos", tmp_path / "atlas", progress=seen.append, **OPTIONS)
    assert seen[0].begun == 16
    assert contents(tmp_path / "atlas") == contents(done / "alone")
    assert merge(parts, tmp_path / "atlas").run == convscope.Atlas.open(done / "alone").run  # it is there already


def test_a_merge_works_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    photos(tmp_path / "here" / "photos")
    monkeypatch.chdir(tmp_path / "here")
    scan(network(), "photos", "alone", **OPTIONS)
    in_parts(Path("photos"), Path("atlas"), 2)
    monkeypatch.chdir(tmp_path / "there")
    merge([f"../here/atlas.part-{part}-of-2" for part in (1, 2)], "atlas")
    assert Path.cwd() == tmp_path / "there"
    assert contents(tmp_path / "there" / "atlas") == contents(tmp_path / "here" / "alone")


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(given: list[Path], target: Path, kind: type[ConvscopeError] = AtlasError) -> str:
    with pytest.raises(kind) as caught:
        merge(given, target)
    assert not target.exists()
    return str(caught.value)


def test_missing_and_doubled_parts_are_named(tmp_path: Path, parts: list[Path]) -> None:
    target = tmp_path / "atlas"
    assert refused(parts[:1], target).startswith("parts 2, 3 of 3 missing")
    assert refused([parts[2], parts[0]], target).startswith("part 2 of 3 missing")
    twice = Path(shutil.copytree(parts[1], tmp_path / "copy"))
    assert refused([*parts, twice], target) == f"{twice}: part 2 of 3, and so is {parts[1]}; give one"
    assert f"and so is {parts[0]}" in refused([*parts, parts[0]], target)
    assert "no parts to merge" in refused([], target)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"batch_size": 2}, "batch_size: 1 there, 2 here"),
        ({"threads": 2}, "threads: 1 there, 2 here"),
        ({"at": "output"}, "at: 'response' there, 'output' here"),
        ({"limit": 39}, "used: 40 there, 39 here"),
    ],
)
def test_a_part_of_another_scan_is_named_with_the_difference(
    tmp_path: Path, done: Path, parts: list[Path], options: dict[str, Any], difference: str
) -> None:
    other = scan_part(network(), done / "photos", tmp_path / "other", 3, 3, **OPTIONS | options)
    message = refused([*parts[:2], other], tmp_path / "atlas")
    assert message.startswith(f"{other}: a part of another scan than {parts[0]} (")
    assert difference in message


def test_parts_of_other_networks_and_other_cuts_are_named(tmp_path: Path, done: Path, parts: list[Path]) -> None:
    other = scan_part(network("faulty"), done / "photos", tmp_path / "other", 3, 3, **OPTIONS)
    assert "another value of 'network'" in refused([*parts[:2], other], tmp_path / "atlas")
    fourth = scan_part(network(), done / "photos", tmp_path / "other", 4, 4, **OPTIONS)
    assert f"{fourth}: a part of 4, but {parts[0]} is one of 3" in refused([*parts, fourth], tmp_path / "atlas")


def test_images_that_changed_since_the_parts_are_noticed(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    made = in_parts(tmp_path / "photos", tmp_path / "atlas", 2)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert "photos: there is no such folder" in refused(made, tmp_path / "atlas", ImagesError)
    (tmp_path / "elsewhere").rename(tmp_path / "photos")
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "30.png")
    assert "have changed since the parts were computed" in refused(made, tmp_path / "atlas", ImagesError)
    with pytest.raises(AtlasError, match="this part already, whose images have changed since; delete it"):
        scan_part(network(), tmp_path / "photos", tmp_path / "atlas", 2, 2, **OPTIONS)
    shutil.rmtree(made[1])
    scan_part(network(), tmp_path / "photos", tmp_path / "atlas", 2, 2, **OPTIONS)
    assert refused(made, tmp_path / "atlas").startswith(f"{made[1]}: images had changed since {made[0]}")


def test_what_is_no_part(tmp_path: Path, done: Path, parts: list[Path]) -> None:
    for path in (tmp_path / "nowhere", done / "photos", done / "alone", done / "photos" / "01.png"):
        assert refused([*parts[:2], path], tmp_path / "atlas") == f"{path}: there is no part of a scan"


def changed(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda data: data | values


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: [],
        lambda data: {},
        lambda data: {name: value for name, value in data.items() if name != "keys"},
        lambda data: {name: value for name, value in data.items() if name != "recipe"},
        changed(part="two"),
        changed(part=5),
        changed(part=-1),
        changed(parts=0),
        changed(part=True, parts=1.5),
        changed(keys=3),
        changed(keys=[1, 2, 3, 4, 5]),
        changed(sums={}),
        changed(sums=None),
        changed(recipe="x"),
        changed(recipe={}),
        changed(further=1),
        lambda data: data | {"recipe": data["recipe"] | {"job": None}},
        lambda data: data | {"recipe": data["recipe"] | {"network": [1]}},
        lambda data: data | {"recipe": data["recipe"] | {"network": {"nothing": 1}}},
        lambda data: data | {"recipe": data["recipe"] | {"options": {"nothing": 1}}},
        lambda data: data | {"recipe": data["recipe"] | {"images": 5}},
        lambda data: data | {"recipe": data["recipe"] | {"folder": 5}},
        lambda data: data | {"recipe": data["recipe"] | {"path": [5]}},
    ],
)
def test_a_damaged_description_is_refused_by_name(
    tmp_path: Path, parts: list[Path], damage: Callable[[dict[str, Any]], Any]
) -> None:
    path = parts[0] / "part.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    assert refused(parts, tmp_path / "atlas").startswith(f"{path}: damaged (")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"null", b"[" * 3000])
def test_a_description_that_is_no_json_is_refused_by_name(tmp_path: Path, parts: list[Path], content: bytes) -> None:
    (parts[2] / "part.json").write_bytes(content)
    assert refused(parts, tmp_path / "atlas").startswith(f"{parts[2] / 'part.json'}: damaged (")


def test_a_part_of_another_version_is_refused(tmp_path: Path, parts: list[Path]) -> None:
    data = json.loads((parts[0] / "part.json").read_text())
    (parts[0] / "part.json").write_text(json.dumps(data | {"version": 2}))
    assert "version 2; expected convscope-part of version 1" in refused(parts, tmp_path / "atlas")


@pytest.mark.parametrize("kind", ["flipped", "short", "gone"])
def test_a_damaged_shard_is_refused_by_name_and_the_rest_is_kept(
    tmp_path: Path, done: Path, parts: list[Path], kind: str
) -> None:
    path = sorted(parts[1].glob("shard-*"))[0]
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.unlink()
    if kind != "gone":
        path.write_bytes({"flipped": flipped, "short": data[:-1]}[kind])
    assert str(path) in refused(parts, tmp_path / "atlas")
    path.write_bytes(data)
    merge(parts, tmp_path / "atlas")
    assert contents(tmp_path / "atlas") == contents(done / "alone")


def test_something_else_at_the_place_is_left_alone(tmp_path: Path, done: Path, parts: list[Path]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(AtlasError, match="no atlas"):
        merge(parts, tmp_path / "mine")
    (tmp_path / "mine.part-1-of-2").mkdir()
    (tmp_path / "mine.part-1-of-2" / "thesis.txt").write_text("mine")
    with pytest.raises(AtlasError, match="there is no part of a scan"):
        scan_part(network(), done / "photos", tmp_path / "mine", 1, 2, **OPTIONS)
    with pytest.raises(AtlasError, match=r"a part of another scan already \(at: 'response' there, 'output' here\)"):
        scan_part(network(), done / "photos", tmp_path / "atlas", 1, 3, at="output", **OPTIONS)
    assert sorted(path.name for path in tmp_path.glob("mine*/*")) == ["thesis.txt"] * 2


def test_what_cannot_be_opened_again_to_merge_is_refused_at_once(
    tmp_path: Path, done: Path, tiny_network: Network
) -> None:
    with pytest.raises(NetworkError, match="a wrapped module is only in this process's memory"):
        scan_part(tiny_network, done / "photos", tmp_path / "atlas", 1, 2)
    assert not list(tmp_path.iterdir())
    for part, parts in ((0, 2), (3, 2)):
        with pytest.raises(ValueError, match="counted from 1"):
            scan_part(network(), done / "photos", tmp_path / "atlas", part, parts)


# --- the command line ------------------------------------------------------------------------------------------------


def command(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_parts_and_merge_as_commands(tmp_path: Path) -> None:
    words = ["scan", "digits:lenet5", "digits:test", "--limit", "60", "--batch-size", "4", "--layers", "c1"]
    command(*words, "-o", tmp_path / "alone")
    first = json.loads(command(*words, "-o", tmp_path / "atlas", "--part", "1/2", "--json").stdout)
    assert (first["part"], first["number"], first["parts"]) == (str(tmp_path / "atlas.part-1-of-2"), 1, 2)
    second = command(*words, "-o", tmp_path / "atlas", "--part", "2/2")
    assert f"part 2 of 2: {tmp_path / 'atlas.part-2-of-2'}" in second.stdout
    assert "scanning: 28 of 28" in second.stderr
    made = folders(tmp_path / "atlas", 2)
    assert "part 2 of 2 missing" in command("merge", made[0], "-o", tmp_path / "atlas", code=1).stderr
    done = command("merge", *made, "-o", tmp_path / "atlas", "--report", tmp_path / "report", "--json")
    result = json.loads(done.stdout)
    assert {"atlas", "images", "skipped", "top1", "top5", "seconds", "images_per_second", "report"} <= result.keys()
    assert result["images"] == 60
    assert (tmp_path / "report" / "index.html").exists()
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/", "/3", "-1/3", "1/3/3", "1/0", "²/3"])
def test_what_is_no_part_is_wrong_usage(tmp_path: Path, part: str) -> None:
    done = command("scan", "digits:lenet5", "digits:test", "-o", tmp_path / "atlas", "--part", part, code=2)
    assert "expected such as 2/3" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["scan", "lenet5", "digits:test", "-o", "x", "--part", "1/2", "--report", "y"],
        ["scan", "lenet5", "digits:test", "-o", "x", "--workers", "2", "--cluster", "tcp://127.0.0.1:1"],
        ["scan", "lenet5", "digits:test", "-o", "x", "--workers", "0"],
        ["scan", "lenet5", "digits:test", "-o", "x", "--threads", "0"],
        ["merge", "-o", "x"],
        ["merge", "a", "b"],
        ["merge", "a", "-o", "x", "--open"],
    ],
)
def test_wrong_usage(words: list[str]) -> None:
    assert "Usage" in command(*words, code=2).stderr
