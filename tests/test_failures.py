"""Every way in which a scan can fail: a clear end, nothing lost that was done, and the same bytes afterwards."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from convscope.cli import main
from convscope.errors import AtlasError, ConvscopeError, ImagesError, NetworkError, UnreadableImage, WorkerError
from convscope.scanner import Progress, scan, scan_part
from running import FAULT, OPTIONS, contents, network, photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and their atlas ``alone`` by the faulty network while nothing is wrong with it."""
    root = tmp_path_factory.mktemp("done")
    photos(root / "photos")
    (root / "how.json").write_text(json.dumps({"size": [8, 8]}))
    scan(network("faulty"), root / "photos", root / "alone", **OPTIONS)
    return root


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What shall go wrong from now on."""
    path = tmp_path / "fault"
    monkeypatch.setenv(FAULT, str(path))
    return path.write_text


def at(done: int, action: Callable[[], object], phase: str = "scanning") -> Callable[[Progress], None]:
    """A progress callback that does something once."""
    did: list[int] = []

    def progress(step: Progress) -> None:
        if step.phase == phase and step.done >= done and not did:
            did.append(step.done)
            action()

    return progress


def assert_it_goes_on(done: Path, target: Path, shards: int, **options: Any) -> None:
    """The same scan again has at least so many shards already, and ends with the same bytes."""
    assert not target.exists()
    seen: list[Progress] = []
    scan(network("faulty"), done / "photos", target, progress=seen.append, **OPTIONS | options)
    begun = next((step.begun for step in seen if step.phase == "scanning"), 40)
    assert begun >= 8 * shards
    assert contents(target) == contents(done / "alone")
    assert not target.with_name(target.name + ".partial").exists()


def run(*words: object, code: int = 1) -> str:
    """The one line of standard error that a command ends with."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("convscope: ")
    assert "Traceback" not in result.stderr
    return last


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raises", "the network failed on images"),
        ("memory", "CUDA out of memory.* a smaller batch size \\(--batch-size\\)"),
        ("cpu memory", "can't allocate memory.* a smaller batch size \\(--batch-size\\)"),
        ("device", "CUDA error: an illegal memory access.*give the same command again, or --device cpu"),
    ],
)
def test_a_network_that_fails_on_some_image(
    tmp_path: Path, done: Path, fault: Callable[[str], None], kind: str, message: str
) -> None:
    fault(kind)
    with pytest.raises(NetworkError, match=message):
        scan(network("faulty"), done / "photos", tmp_path / "atlas", **OPTIONS)
    kept = list((tmp_path / "atlas.partial").glob("*.safetensors"))
    assert kept, "the pictures at which it fails are not in the first shard"
    command = ["scan", "running:faulty", done / "photos", "--preprocess", done / "how.json", "--batch-size", 1]
    line = run(*command, "--threads", 1, "-o", tmp_path / "atlas")
    assert line.count("batch size") == (1 if "memory" in kind else 0)
    fault("")
    assert_it_goes_on(done, tmp_path / "atlas", shards=1)


def test_threads_are_as_before_after_a_failure(tmp_path: Path, done: Path, fault: Callable[[str], None]) -> None:
    fault("threads")
    with pytest.raises(NetworkError, match="3 threads"):
        scan(network("faulty"), done / "photos", tmp_path / "atlas", batch_size=1, threads=3)
    fault("raises")
    with pytest.raises(NetworkError, match="the network failed on images"):
        scan(network("faulty"), done / "photos", tmp_path / "atlas", batch_size=1, threads=3)


# --- workers ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed(tmp_path: Path, done: Path, fault: Callable[[str], None]) -> None:
    fault("killed")
    with pytest.raises(WorkerError, match="a worker process ended without a word: killed, as when memory runs out"):
        scan(network("faulty"), done / "photos", tmp_path / "atlas", workers=2, **OPTIONS)
    fault("")
    assert_it_goes_on(done, tmp_path / "atlas", shards=0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "message"), [("raises", "a picture that I cannot stand"), ("threads", ": 2 threads")])
def test_a_failure_in_a_worker_is_one_line(
    tmp_path: Path, done: Path, fault: Callable[[str], None], kind: str, message: str
) -> None:
    fault(kind)
    command = ["scan", "running:faulty", done / "photos", "--preprocess", done / "how.json", "--batch-size", 1]
    line = run(*command, "-o", tmp_path / "atlas", "--workers", 2, "--threads", 2)
    assert line.startswith("convscope: the network failed on images")
    assert message in line


def group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="a terminal's Ctrl-C goes to a group of processes")
@pytest.mark.parametrize("moment", ["at once", "later"])
def test_ctrl_c_with_workers(tmp_path: Path, done: Path, fault: Callable[[str], None], moment: str) -> None:
    fault("slow")
    # Shells start what runs in the background with Ctrl-C ignored.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from convscope.cli import main; main()"
    command = [sys.executable, "-c", program, "scan", "running:faulty", str(done / "photos"), "-o", "atlas"]
    command += ["--preprocess", str(done / "how.json"), "--batch-size", "1", "--threads", "1", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wanted = "lock" if moment == "at once" else "*.safetensors"
        while not list((tmp_path / "atlas.partial").glob(wanted)):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "convscope: stopped; what is done is kept, and the same command goes on from there"
    )
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while group_is_there(process.pid):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.05)
    fault("")
    assert_it_goes_on(done, tmp_path / "atlas", shards=0 if moment == "at once" else 1)


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def moving(tmp_path: Path, done: Path) -> Path:
    """The photos once more, with the same times of change, as in a folder that can vanish."""
    shutil.copytree(done / "photos", tmp_path / "photos")
    scan(network("faulty"), tmp_path / "photos", tmp_path / "alone", **OPTIONS)
    return tmp_path


@pytest.mark.parametrize(
    ("phase", "when", "kind", "shards"),
    [("scanning", 1, ImagesError, 0), ("scanning", 20, ImagesError, 2), ("pictures", 0, UnreadableImage, 5)],
)
def test_a_folder_of_images_that_vanishes(
    moving: Path, monkeypatch: pytest.MonkeyPatch, phase: str, when: int, kind: type[ConvscopeError], shards: int
) -> None:
    from convscope import sprites

    monkeypatch.setattr(sprites, "_SHEET", 24)  # several sheets of pictures

    def vanish() -> None:
        (moving / "photos").rename(moving / "elsewhere")

    progress = at(when, vanish, phase)
    with pytest.raises(kind, match="changed"):
        scan(network("faulty"), moving / "photos", moving / "atlas", progress=progress, **OPTIONS)
    (moving / "elsewhere").rename(moving / "photos")
    monkeypatch.undo()
    if phase == "scanning":
        assert_it_goes_on(moving, moving / "atlas", shards)
    else:
        monkeypatch.setattr(sprites, "_SHEET", 24)
        scan(network("faulty"), moving / "photos", moving / "again", **OPTIONS)
        scan(network("faulty"), moving / "photos", moving / "atlas", **OPTIONS)
        assert contents(moving / "atlas") == contents(moving / "again")


def test_an_image_that_changes_while_its_shard_is_computed(moving: Path) -> None:
    def change() -> None:
        shutil.copy(moving / "photos" / "11.png", moving / "photos" / "10.png")

    with pytest.raises(ImagesError, match="some of the images 8 to 15 have changed or vanished"):
        scan(network("faulty"), moving / "photos", moving / "atlas", progress=at(12, change), **OPTIONS)
    shutil.rmtree(moving / "alone")
    scan(network("faulty"), moving / "photos", moving / "alone", **OPTIONS)
    assert_it_goes_on(moving, moving / "atlas", shards=1)


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "give another place, or the right to write there"),
        (errno.EACCES, "give another place, or the right to write there"),
        (errno.EIO, "see to it"),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_what_the_system_refuses_is_named_with_its_remedy(
    tmp_path: Path, done: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str, part: bool
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    def go() -> None:
        if part:
            scan_part(network("faulty"), done / "photos", tmp_path / "atlas", 1, 2, **OPTIONS)
        else:
            scan(network("faulty"), done / "photos", tmp_path / "atlas", **OPTIONS)

    for method in ("mkdir", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(AtlasError) as caught:
                go()
        assert str(caught.value).startswith(str(tmp_path / "atlas"))
        assert f"{os.strerror(number)}; {remedy}. What is done is kept" in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)


def test_a_place_where_no_folder_can_be(tmp_path: Path, done: Path) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "atlas"
    with pytest.raises(AtlasError, match="Not a directory; give another place"):
        scan(network("faulty"), done / "photos", place, **OPTIONS)
    assert "Not a directory; give another place" in run("scan", "digits:lenet5", "digits:test", "-o", place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_broken_pipe_of_the_progress_is_no_fault_of_the_folder(tmp_path: Path, done: Path) -> None:
    def broken(_: Progress) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        scan(network("faulty"), done / "photos", tmp_path / "atlas", progress=broken, **OPTIONS)


LIMITED = """
import resource, sys
from convscope.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_files_that_may_not_grow(tmp_path: Path, done: Path) -> None:
    """As on a full disk, refused by the system itself: at the job, and at the first shard."""
    command = ["scan", "running:faulty", str(done / "photos"), "--preprocess", str(done / "how.json")]
    command += ["--batch-size", "1", "--threads", "1", "-o", str(tmp_path / "atlas")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for limit in (100, (done / "alone" / "statistics.safetensors").stat().st_size // 2):
        words = [sys.executable, "-c", LIMITED, str(limit), *command]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert ended.returncode == 1
        assert "File too large; allow larger files (ulimit -f). What is done is kept" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert not list(tmp_path.rglob("*.tmp"))
    assert (tmp_path / "atlas.partial" / "job.json").exists()
    assert_it_goes_on(done, tmp_path / "atlas", shards=0)
