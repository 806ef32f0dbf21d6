"""What a scan finds at its place, and how it ends: finished, refused, interrupted, killed, on a full disk."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope
from convscope import sprites
from convscope.atlas import Atlas
from convscope.errors import AtlasError
from convscope.images import Arrays, ImageSet
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.scanner import Progress, projections, scan
from convscope.shards import ShardStore
from odd_nets import ODD_NETS
from running import contents
from slow_scan import noisy_photos

pytestmark = pytest.mark.usefixtures("one_thread")


# --- the user's network ----------------------------------------------------------------------------------------------


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything of a module that a user could miss afterwards."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "tensors": {name: tensor.detach().clone() for name, tensor in module.state_dict().items()},
        "training": {name: each.training for name, each in module.named_modules()},
        "hooks": {name: [len(getattr(each, kind)) for kind in hooks] for name, each in module.named_modules()},
        "gradients": {name: (each.requires_grad, each.grad) for name, each in module.named_parameters()},
        "formats": {name: tensor.stride() for name, tensor in module.state_dict().items()},
        "dictionaries": {name: sorted(vars(each)) for name, each in module.named_modules()},
        "grad mode": torch.is_grad_enabled(),
        "random": torch.random.get_rng_state().tolist(),
    }


def assert_untouched(module: nn.Module, before: dict[str, Any]) -> None:
    after = snapshot(module)
    tensors, earlier = after.pop("tensors"), before["tensors"]
    assert after == {name: value for name, value in before.items() if name != "tensors"}
    assert tensors.keys() == earlier.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, earlier[name]), name


def unsettled(odd: str) -> nn.Module:
    """In training mode but for some modules in the middle, and with some frozen weights."""
    module = ODD_NETS[odd].make()
    module.train()
    for i, (_, each) in enumerate(module.named_modules()):
        if i % 3 == 2:
            each.training = False
    for i, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    return module


class Broken(Exception):  # noqa: N818 — the test's own
    pass


def raising(at: int, kind: type[BaseException] = Broken) -> Callable[[Progress], None]:
    """A progress callback that fails at its call number `at`."""
    calls = iter(range(10_000))

    def progress(_: Progress) -> None:
        if next(calls) == at:
            raise kind

    return progress


@pytest.mark.parametrize("odd", ["residual", "dropouts", "inplace_relu", "weight_norm", "writes_its_input", "alias"])
@pytest.mark.parametrize("at", [None, 0, 2], ids=["to the end", "raised at once", "raised later"])
def test_the_users_module_is_as_before(tmp_path: Path, odd: str, at: int | None) -> None:
    channels, height, width = ODD_NETS[odd].shape
    module = unsettled(odd)
    before = snapshot(module)
    network = convscope.wrap(module, preprocess=Preprocess(size=(height, width), channels=channels))
    pixels = np.random.default_rng(0).random((9, *ODD_NETS[odd].shape)).astype(np.float32)
    images = Arrays(pixels.copy())
    if at is None:
        scan(network, images, tmp_path / "atlas", batch_size=2)
    else:
        with pytest.raises(Broken):
            scan(network, images, tmp_path / "atlas", batch_size=2, progress=raising(at))
    assert_untouched(module, before)
    np.testing.assert_array_equal(images.images, pixels)


def test_the_users_module_is_as_before_when_reading_fails(tmp_path: Path) -> None:
    class Failing(Arrays):
        def read(self, index: int) -> Any:
            if index == 5:
                raise Broken
            return super().read(index)

    module = unsettled("residual")
    before = snapshot(module)
    network = convscope.wrap(module, preprocess=Preprocess(size=(16, 20)))
    with pytest.raises(Broken):
        scan(network, Failing(np.zeros((9, 3, 16, 20), np.uint8)), tmp_path / "atlas", batch_size=2)
    assert_untouched(module, before)


# --- what is there already -------------------------------------------------------------------------------------------


def test_the_same_command_returns_a_finished_atlas_at_once(
    tmp_path: Path, image_folder: Path, tiny_network: Network
) -> None:
    images = convscope.open_images(image_folder)
    first = scan(tiny_network, images, tmp_path / "atlas")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas").rglob("*")}
    again = scan(tiny_network, images, tmp_path / "atlas", progress=raising(0))
    assert again.run == first.run
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas").rglob("*")} == before


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 3}, {"limit": 4}, {"at": "output"}, {"layers": ["0"]}, {"weights": True}, {"labels": True}],
)
def test_another_job_is_refused_finished_or_not(
    tmp_path: Path, image_folder: Path, tiny_network: Network, change: dict[str, Any]
) -> None:
    images = convscope.open_images(image_folder)
    scan(tiny_network, images, tmp_path / "finished")
    with pytest.raises(Broken):
        scan(tiny_network, images, tmp_path / "unfinished", progress=raising(0))
    if change.pop("weights", False):
        with torch.no_grad():
            tiny_network.module.get_parameter("0.weight")[0, 0, 0, 0] += 1
        tiny_network = convscope.wrap(tiny_network.module, preprocess={"size": [8, 8]}, classes=["cat", "dog"])
    if change.pop("labels", False):
        names = [path.relative_to(image_folder).as_posix() for path in sorted(image_folder.rglob("*.png"))]
        (image_folder / "labels.csv").write_text("file,label\n" + "".join(f"{name},dog\n" for name in names))
        images = convscope.open_images(image_folder)
    with pytest.raises(AtlasError, match="an atlas of another job"):
        scan(tiny_network, images, tmp_path / "finished", **change)
    with pytest.raises(AtlasError, match=r"unfinished\.partial: unfinished work on another job"):
        scan(tiny_network, images, tmp_path / "unfinished", **change)


def test_a_finished_atlas_of_images_that_have_changed_is_refused(
    tmp_path: Path, image_folder: Path, tiny_network: Network
) -> None:
    scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas")
    Image.new("RGB", (33, 33)).save(image_folder / "cat" / "b.png")
    with pytest.raises(AtlasError, match="whose images have changed since"):
        scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas")


def test_something_else_at_the_place_is_left_alone(tmp_path: Path, image_folder: Path, tiny_network: Network) -> None:
    images = convscope.open_images(image_folder)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(AtlasError, match="no atlas"):
            scan(tiny_network, images, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert contents(tmp_path / "folder") == {"thesis.txt": b"mine"}


def test_an_empty_folder_is_a_place_for_an_atlas(tmp_path: Path, image_folder: Path, tiny_network: Network) -> None:
    images = convscope.open_images(image_folder)
    (tmp_path / "here").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    for place in (tmp_path / "here", tmp_path / "link", tmp_path / "new" / "and" / "deep"):
        assert len(scan(tiny_network, images, place).layers) == 2
    assert (tmp_path / "far" / "run.json").is_file()
    assert not list(tmp_path.rglob("*.partial"))


def test_the_folder_in_which_the_command_runs_cannot_be_replaced(
    tmp_path: Path, digits: ImageSet, lenet: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(AtlasError, match="the folder in which the command runs"):
        scan(lenet, digits, ".")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_what_another_job_left_when_it_was_killed_at_its_very_end_is_not_taken(
    tmp_path: Path, image_folder: Path, tiny_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = convscope.open_images(image_folder)

    def killed(self: ShardStore) -> None:
        (self.folder / "job.json").unlink()
        (self.folder / "folded.safetensors").unlink()
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "clear", killed)
        with pytest.raises(Broken):
            scan(tiny_network, images, tmp_path / "atlas", layers=["0"])
    assert (tmp_path / "atlas.partial" / "run.json").exists()
    with pytest.raises(Broken):
        scan(tiny_network, images, tmp_path / "atlas", at="output", progress=raising(0))
    with pytest.raises(AtlasError, match="an unfinished scan"):
        Atlas.open(tmp_path / "atlas.partial")
    scan(tiny_network, images, tmp_path / "atlas", at="output")
    scan(tiny_network, images, tmp_path / "alone", at="output")
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


# --- interrupted ------------------------------------------------------------------------------------------------------


INTERRUPTED: dict[str, Any] = {"limit": 52, "batch_size": 4, "layers": ["c1", "f6"]}  # shards of 8 batches and of 5


@pytest.fixture(scope="module")
def left_alone(lenet: Network, digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the scan that is interrupted below, when it is not."""
    folder, calls = tmp_path_factory.mktemp("alone") / "atlas", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sprites, "_SHEET", 128)  # several sheets of pictures
        patch.setattr(projections, "_TOGETHER", 16)
        scan(lenet, digits, folder, progress=calls.append, **INTERRUPTED)
    assert [each.phase for each in calls[:14]] == ["scanning"] * 13 + ["pictures"]
    assert len(calls) > 15
    return contents(folder)


@pytest.mark.parametrize(
    ("moment", "kind"),
    [(0, KeyboardInterrupt), (7, Broken), (8, KeyboardInterrupt), (12, Broken), (13, KeyboardInterrupt), (14, Broken)],
)
def test_an_interrupted_scan_goes_on_to_the_same_bytes(
    tmp_path: Path,
    lenet: Network,
    digits: ImageSet,
    left_alone: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
    kind: type[BaseException],
) -> None:
    monkeypatch.setattr(sprites, "_SHEET", 128)
    monkeypatch.setattr(projections, "_TOGETHER", 16)
    with pytest.raises(kind):
        scan(lenet, digits, tmp_path / "atlas", progress=raising(moment, kind), **INTERRUPTED)
    assert not (tmp_path / "atlas").exists()
    rest: list[Progress] = []
    scan(lenet, digits, tmp_path / "atlas", progress=rest.append, **INTERRUPTED)
    assert contents(tmp_path / "atlas") == left_alone
    assert not (tmp_path / "atlas.partial").exists()
    again = [each for each in rest if each.phase == "scanning"]
    assert len(again) == (13 if moment < 8 else 5 if moment < 13 else 0)  # at most the shard in work


def refused(call: Callable[[], object]) -> AtlasError | None:
    """The error of a full disk that `call` ends with, if it does."""
    try:
        call()
    except AtlasError as error:
        return error if "No space left on device; make room" in str(error) else pytest.fail(f"another error: {error}")
    return None


def test_a_full_disk_is_an_error_and_the_scan_goes_on_later(
    tmp_path: Path, lenet: Network, digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"limit": 40, "batch_size": 4, "layers": ["c1", "f6"]}
    scan(lenet, digits, tmp_path / "alone", **options)
    writes: list[str] = []
    original = Path.write_bytes

    def full_from(number: int) -> Callable[[Path, bytes], int]:
        def write_bytes(self: Path, data: bytes) -> int:
            writes.append(self.name)
            if len(writes) > number:
                original(self, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(self, data)

        return write_bytes

    number = 0
    for number in range(20):
        writes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full_from(number))
            if refused(lambda: scan(lenet, digits, tmp_path / "atlas", **options)) is None:
                break
        assert not (tmp_path / "atlas").exists()
        assert not list((tmp_path / "atlas.partial").rglob("*.tmp"))
    assert number >= 5  # every kind of file was refused once, from the job to run.json
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


def test_a_picture_that_changes_while_pictures_are_written_is_not_mixed_with_the_old_ones(
    tmp_path: Path, tiny_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = noisy_photos(tmp_path / "photos")
    monkeypatch.setattr(sprites, "_SHEET", 24)  # 9 pictures a sheet
    options: dict[str, Any] = {"batch_size": 4}
    scanning = 10
    with pytest.raises(Broken):
        scan(tiny_network, convscope.open_images(photos), tmp_path / "atlas", progress=raising(scanning + 2), **options)
    assert list((tmp_path / "atlas.partial" / "pictures").iterdir())
    Image.new("RGB", (10, 10), "red").save(photos / "03.png")
    scan(tiny_network, convscope.open_images(photos), tmp_path / "atlas", **options)
    scan(tiny_network, convscope.open_images(photos), tmp_path / "alone", **options)
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


# --- killed ----------------------------------------------------------------------------------------------------------

# Every moment has a child process of its own, which ends itself there with the signal that nothing can catch.
DRIVER = """
import os, signal, sys
from pathlib import Path

import torch
import convscope
from convscope import scanner, shards, sprites
from convscope.scanner import projections

torch.set_num_threads(1)
sprites._SHEET = 128
projections._TOGETHER = 16
shards._TOGETHER = 1  # so that there is a folded file early on
network, images = convscope.load("digits:lenet5"), convscope.open_images("digits:test")


def scan(folder, moment):
    def kill_at(name, chosen):
        if moment == name and chosen:
            os.kill(os.getpid(), signal.SIGKILL)

    def progress(now):
        kill_at("first shard", now.phase == "scanning" and now.done == 12)
        kill_at("second shard", now.phase == "scanning" and now.done == 40)
        kill_at("pictures", now.phase == "pictures" and now.done >= 20)
        kill_at("projecting", now.phase == "projecting" and now.done >= 20)

    def before(kind, method, name, chosen):
        original = getattr(kind, method)

        def replaced(self, *args, **options):
            kill_at(name, chosen(self))
            return original(self, *args, **options)

        setattr(kind, method, replaced)

    before(shards.ShardStore, "fold", "between shards", lambda store: store.missing() == [1])
    before(shards.ShardStore, "clear", "before the end", lambda store: True)
    before(Path, "replace", "half a file", lambda path: path.name == "folded.safetensors.tmp")
    before(Path, "unlink", "cleaning up", lambda path: path.name == "lock")
    scanner.scan(network, images, folder, limit=52, batch_size=4, layers=["c1", "f6"], progress=progress)


scan(Path(sys.argv[1]) / "warm", None)  # so that the children need not import what is needed late
for moment in sys.argv[2:]:
    child = os.fork()
    if not child:
        scan(Path(sys.argv[1]) / moment / "atlas", moment)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
MOMENTS = ["first shard", "between shards", "second shard", "half a file", "pictures", "projecting", "before the end",
           "cleaning up"]  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every killed scan left, by the moment of its end."""
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", DRIVER, str(root), *MOMENTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(MOMENTS), done.stderr
    return root


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_scan_goes_on_to_the_same_bytes(
    killed: Path,
    lenet: Network,
    digits: ImageSet,
    left_alone: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    target = killed / moment / "atlas"
    assert not target.exists()
    monkeypatch.setattr(projections, "_TOGETHER", 16)
    assert target.with_name("atlas.partial").is_dir()
    monkeypatch.setattr(sprites, "_SHEET", 128)
    rest: list[Progress] = []
    scan(lenet, digits, target, progress=rest.append, **INTERRUPTED)
    assert contents(target) == left_alone
    assert not target.with_name("atlas.partial").exists()
    again = [each.done for each in rest if each.phase == "scanning"]
    if moment == "first shard":
        assert again == list(range(4, 53, 4))
    elif moment in {"second shard", "between shards", "half a file"}:
        assert again == list(range(36, 53, 4))
    else:
        assert again == []


# --- memory ----------------------------------------------------------------------------------------------------------

MEMORY = """
import gc, resource, sys

import numpy as np
import torch
from torch import nn
import convscope
from convscope.images import ImageSet
from convscope.scanner import scan


class Made(ImageSet):
    spec = "made"

    def __init__(self, count):
        self.names, self.labels = range(count), [None] * count

    def read(self, index):
        return np.random.default_rng(index).random((3, 48, 48), np.float32)

    def signature(self, start, stop):
        return f"{start} {stop}"


torch.set_num_threads(1)
module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2))
network = convscope.wrap(module, preprocess={"size": [48, 48]})
for count in (200, 1600):
    scan(network, Made(count), f"{sys.argv[1]}/{count}", batch_size=20)
    gc.collect()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    few, many = map(int, done.stdout.split())
    inputs = 1400 * 3 * 48 * 48 * 4 / 1024  # KiB that the further images take
    assert inputs > 30_000
    assert many - few < inputs / 3
