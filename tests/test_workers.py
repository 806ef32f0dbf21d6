"""Shards that other processes compute: the same bytes, in whatever order they come, and what cannot be done so."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import convscope
from convscope import shards
from convscope.errors import ImagesError, NetworkError, WorkerError
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.scanner import Progress, executors, scan, worker
from convscope.scanner.plan import Plan
from convscope.scanner.recipe import Recipe
from convscope.scanner.run import prepare
from odd_nets import ODD_NETS
from running import OPTIONS, contents, network, photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures."""
    path = tmp_path_factory.mktemp("pictures") / "photos"
    photos(path)
    return path


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The atlas of one process."""
    target = tmp_path_factory.mktemp("alone") / "atlas"
    scan(network(), folder, target, **OPTIONS)
    return contents(target)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No plan is left from another test, where this process is the worker."""
    worker._made.clear()
    yield
    worker._made.clear()


class InThisProcess(Executor):
    """Runs what it was given only when somebody waits, in an order of its own, and remembers how much was waiting."""

    def __init__(self, choose: Callable[[list[int]], int], processes: int = 2) -> None:
        self._max_workers = processes
        self.choose = choose
        self.waiting: list[tuple[Future[Any], Callable[[], Any], int]] = []
        self.order: list[int] = []
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs), args[1]))
        self.most = max(self.most, len(self.waiting))
        return future

    def run_one(self) -> None:
        future, call, index = self.waiting.pop(self.choose([index for _, _, index in self.waiting]))
        self.order.append(index)
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)


@pytest.fixture
def stepwise(monkeypatch: pytest.MonkeyPatch) -> Callable[[InThisProcess], InThisProcess]:
    """Make waiting for an executor run its next shard."""

    original = executors.first_of

    def prepared(executor: InThisProcess) -> InThisProcess:
        def wait(*args: Any) -> Any:
            executor.run_one()
            return original(*args)

        monkeypatch.setattr(executors, "first_of", wait)
        return executor

    return prepared


# --- the same bytes --------------------------------------------------------------------------------------------------


def test_two_workers_give_the_same_bytes(tmp_path: Path, folder: Path, alone: dict[str, bytes]) -> None:
    seen: list[Progress] = []
    scan(network(), folder, tmp_path / "atlas", workers=2, progress=seen.append, **OPTIONS)
    assert contents(tmp_path / "atlas") == alone
    assert [step.done for step in seen if step.phase == "scanning"] == [8, 16, 24, 32, 40]
    assert not (tmp_path / "atlas.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_digits_with_1_2_and_3_workers(tmp_path: Path, threads: int) -> None:
    lenet, options = convscope.load("digits:lenet5"), {"threads": threads, "batch_size": 4, "limit": 96}
    for workers in (1, 2, 3):
        scan(lenet, "digits:test", tmp_path / str(workers), workers=workers, **options)
    assert len(contents(tmp_path / "1")) > 5
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")


@pytest.mark.parametrize("order", ["first", "last", "random"])
def test_the_order_in_which_shards_come_changes_no_byte(
    tmp_path: Path, folder: Path, alone: dict[str, bytes], stepwise: Any, order: str
) -> None:
    chance = random.Random(0)
    choose = {"first": lambda _: 0, "last": lambda _: -1, "random": lambda some: chance.randrange(len(some))}[order]
    executor = stepwise(InThisProcess(choose))
    scan(network(), folder, tmp_path / "atlas", executor=executor, **OPTIONS)
    assert contents(tmp_path / "atlas") == alone
    assert (executor.order == sorted(executor.order)) == (order == "first")


def test_only_a_few_shards_are_ahead_of_their_turn(
    tmp_path: Path, folder: Path, stepwise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_TOGETHER", 1)  # so that what is folded does not wait
    executor = stepwise(InThisProcess(lambda some: -1, processes=1))
    on_disk: list[int] = []

    def look(step: Progress) -> None:
        if step.phase == "scanning":
            on_disk.append(len(list((tmp_path / "atlas.partial").glob("shard-*"))))

    scan(network(), folder, tmp_path / "atlas", executor=executor, progress=look, **OPTIONS)
    assert executor.most == 2
    assert executor.order == [1, 0, 3, 2, 4]  # shard 2 waits until shard 0 is there
    assert max(on_disk) == 1


def test_threads_of_one_process_take_turns(tmp_path: Path, folder: Path, alone: dict[str, bytes]) -> None:
    with ThreadPoolExecutor(3) as pool:
        scan(network(), folder, tmp_path / "atlas", executor=pool, **OPTIONS)
    assert contents(tmp_path / "atlas") == alone


def test_an_interrupted_scan_goes_on_with_workers_and_without(
    tmp_path: Path, folder: Path, alone: dict[str, bytes], stepwise: Any
) -> None:
    def stop(step: Progress) -> None:
        if step.done >= 24:
            raise KeyboardInterrupt

    executor = stepwise(InThisProcess(lambda _: 0))
    with pytest.raises(KeyboardInterrupt):
        scan(network(), folder, tmp_path / "one", progress=stop, **OPTIONS)
    scan(network(), folder, tmp_path / "one", executor=executor, **OPTIONS)
    assert executor.order == [2, 3, 4]
    with pytest.raises(KeyboardInterrupt):
        scan(network(), folder, tmp_path / "two", executor=executor, progress=stop, **OPTIONS)
    assert all(future.cancelled() for future, _, _ in executor.waiting)
    scan(network(), folder, tmp_path / "two", **OPTIONS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == alone


def test_what_came_with_a_failure_is_kept(tmp_path: Path, folder: Path, stepwise: Any) -> None:
    class Half(InThisProcess):
        """Gives four shards at once, of which the first fails."""

        def run_one(self) -> None:
            future, _, _ = self.waiting.pop(0)
            future.set_exception(NetworkError("no"))
            while self.waiting:
                super().run_one()

    with pytest.raises(NetworkError, match=r"^no$"):
        scan(network(), folder, tmp_path / "atlas", executor=stepwise(Half(lambda _: 0)), **OPTIONS)
    assert len(list((tmp_path / "atlas.partial").glob("shard-*"))) == 3
    executor = stepwise(InThisProcess(lambda _: 0))
    scan(network(), folder, tmp_path / "atlas", executor=executor, **OPTIONS)
    assert executor.order == [0, 4]


@pytest.mark.parametrize("odd", ["residual", "dropouts", "inplace_relu", "weight_norm", "writes_its_input", "alias"])
def test_a_shard_does_not_depend_on_what_was_computed_before(odd: str) -> None:
    channels, height, width = ODD_NETS[odd].shape
    images = Arrays(np.random.default_rng(0).random((20, channels, height, width)).astype(np.float32))
    options = {"layers": None, "at": "response", "limit": None, "batch_size": 1, "threads": 1}

    def states(order: list[int], fresh: bool) -> dict[int, bytes]:
        found, plan = {}, None
        for index in order:
            if plan is None or fresh:
                net = convscope.wrap(ODD_NETS[odd].make(), preprocess=Preprocess((height, width), channels=channels))
                plan = Plan.make(net, images, **options)
            found[index] = worker.shard_bytes(plan, index, plan.keys[index], lambda _: None)
        return found

    assert states([0, 1, 2], fresh=True) == states([2, 0, 1, 0, 2], fresh=False)


# --- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, ValueError])
def test_a_shard_is_computed_with_the_threads_of_the_job(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, end: type[Exception] | None
) -> None:
    seen = []
    original = worker.compute

    def compute(*args: Any) -> Any:
        seen.append(torch.get_num_threads())
        if end is not None:
            raise end
        return original(*args)

    monkeypatch.setattr(worker, "compute", compute)
    if end is None:
        atlas = scan(network(), folder, tmp_path / "atlas", batch_size=1, threads=3)
        assert atlas.run["job"]["threads"] == 3
    else:
        with pytest.raises(end):
            scan(network(), folder, tmp_path / "atlas", batch_size=1, threads=3)
    assert set(seen) == {3}
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 1, 8), (8, 3, 2), (2, 5, 1)])
def test_the_cores_are_divided_among_the_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    options = {"layers": None, "at": "response", "limit": 8, "batch_size": 1, "threads": None}
    plan, _ = prepare(network(), folder, options, workers, None)
    assert plan.job["threads"] == threads
    plan, _ = prepare(network(), folder, options | {"threads": 7}, workers, None)
    assert plan.job["threads"] == 7
    plan, _ = prepare(network(), folder, options, 1, InThisProcess(lambda _: 0))
    assert plan.job["threads"] == 1


def test_another_number_of_threads_is_another_job(tmp_path: Path, folder: Path) -> None:
    scan(network(), folder, tmp_path / "atlas", batch_size=1, threads=1)
    with pytest.raises(convscope.ConvscopeError, match="threads: 1 there, 2 here"):
        scan(network(), folder, tmp_path / "atlas", batch_size=1, threads=2)


# --- what other processes cannot do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["workers", "executor"])
def test_what_is_only_in_memory_stays_in_this_process(
    tmp_path: Path, folder: Path, tiny_network: Network, way: str
) -> None:
    other: dict[str, Any] = {"workers": 2} if way == "workers" else {"executor": InThisProcess(lambda _: 0)}
    pictures = Arrays(np.zeros((9, 3, 8, 8), np.uint8))
    with pytest.raises(NetworkError, match=r"^tiny: a wrapped module .* give workers=1, or save its weights"):
        scan(tiny_network, folder, tmp_path / "atlas", **other)
    with pytest.raises(ImagesError, match=r"only in this process's memory.* give workers=1, or save them"):
        scan(network(), pictures, tmp_path / "atlas", **other)
    assert not list(tmp_path.glob("atlas*"))
    assert len(scan(tiny_network, pictures, tmp_path / "atlas", workers=1).layers) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": 2, "executor": InThisProcess(lambda _: 0)}, "1 with an executor"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_impossible_numbers(tmp_path: Path, folder: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan(network(), folder, tmp_path / "atlas", **wrong)


def test_a_network_that_was_changed_after_it_was_loaded_is_noticed(tmp_path: Path, folder: Path, stepwise: Any) -> None:
    net = network()
    with torch.no_grad():
        net.module.get_parameter("conv.weight")[0, 0, 0, 0] += 1
    with pytest.raises(NetworkError, match="another network than the scan's: it was changed after it was loaded"):
        scan(net, folder, tmp_path / "atlas", executor=stepwise(InThisProcess(lambda _: 0)), **OPTIONS)


class Elsewhere(InThisProcess):
    """Where the images are others than they were when the scan began."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__(lambda _: 0)
        self.change = change

    def run_one(self) -> None:
        if not self.order:
            self.change()
        super().run_one()


def test_images_that_the_worker_does_not_have_are_noticed(tmp_path: Path, stepwise: Any) -> None:
    photos(tmp_path / "photos")
    executor = stepwise(Elsewhere((tmp_path / "photos" / "07.png").unlink))
    with pytest.raises(ImagesError, match=r"other images than the scan's.*count: 40 there, 39 here"):
        scan(network(), tmp_path / "photos", tmp_path / "atlas", executor=executor, **OPTIONS)


def test_images_that_are_others_for_the_worker_are_noticed(tmp_path: Path, stepwise: Any) -> None:
    photos(tmp_path / "photos")
    executor = stepwise(Elsewhere(lambda: Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "20.png")))
    with pytest.raises(ImagesError, match="images 16 to 23 have changed or vanished since the scan began"):
        scan(network(), tmp_path / "photos", tmp_path / "atlas", executor=executor, **OPTIONS)
    assert executor.order == [0, 1, 2]


def test_images_that_cannot_be_opened_again_are_named(tmp_path: Path, folder: Path, stepwise: Any) -> None:
    pictures = Arrays(np.zeros((9, 3, 8, 8), np.uint8), spec="nowhere.npy", file=Path("nowhere.npy"))
    with pytest.raises(ImagesError, match=r"cannot open the scan's .* images again: nowhere.npy: there is no"):
        scan(network(), pictures, tmp_path / "atlas", executor=stepwise(InThisProcess(lambda _: 0)), **OPTIONS)


def test_a_recipe_works_in_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos")
    (tmp_path / "nets_of_a_recipe.py").write_text("from running import tiny as net\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    net = convscope.load("nets_of_a_recipe:net", preprocess={"size": [8, 8]})
    options = {"layers": None, "at": "response", "limit": None, "batch_size": 1, "threads": 1}
    plan, _ = prepare(net, "photos", options, 1, None)
    recipe = Recipe.of(plan, options)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nets_of_a_recipe")
    with recipe.place():
        again = recipe.plan()
        assert again.keys == plan.keys
        assert worker.shard_bytes(again, 1, plan.keys[1], lambda _: None)
    assert Path.cwd() == tmp_path / "elsewhere"
    (tmp_path / "photos").rename(tmp_path / "elsewhere" / "photos")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    recipe = Recipe.of(plan, options)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    with pytest.raises(WorkerError, match=f"there is no directory {tmp_path / 'gone'}"), recipe.place():
        pass


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Shells start what runs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_while_processes_start_comes_afterwards() -> None:
    came_through = False
    other = threading.Thread(target=lambda: signal.raise_signal(signal.SIGINT))  # it may come to any thread
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with executors._interrupts_held():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            other.start()
            other.join()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            came_through = True
        pytest.fail("the interrupt is lost")
    assert came_through
    assert signal.SIGINT in mask  # what a child would inherit
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is before


# --- processes -------------------------------------------------------------------------------------------------------

UNGUARDED = """
import convscope
convscope.scan(convscope.load("digits:lenet5"), "digits:test", "atlas", workers=2, batch_size=2, limit=64)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "must call scan under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


PARENT = """
import sys
from running import OPTIONS, network
from convscope.scanner import scan

if __name__ == "__main__":
    scan(network("faulty"), sys.argv[1], sys.argv[2], workers=2, **OPTIONS, progress=lambda step: print(flush=True))
"""


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_parent_that_is_killed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fault").write_text("slow")
    (tmp_path / "parent.py").write_text(PARENT)
    monkeypatch.setenv("CONVSCOPE_TEST_FAULT", str(tmp_path / "fault"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    command = [sys.executable, str(tmp_path / "parent.py"), str(folder), str(tmp_path / "atlas")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"\n"  # the first shard is done, and the workers are at the next ones
        workers = children(parent.pid)
        assert len(workers) >= 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers without a parent"
        time.sleep(0.1)
