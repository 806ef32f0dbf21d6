"""A Dask cluster as the engine, with workers and schedulers that die; and what is at a wrong address."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import convscope
from convscope.cli import main
from convscope.errors import ConvscopeError, NetworkError, WorkerError
from convscope.scanner import Progress, cluster, executors, scan
from running import OPTIONS, contents, network, photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and their atlas ``alone``."""
    root = tmp_path_factory.mktemp("done")
    photos(root / "photos")
    scan(network(), root / "photos", root / "alone", **OPTIONS)
    return root


# --- no cluster ------------------------------------------------------------------------------------------------------


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"pip install 'convscope\[cluster\]'"), cluster("tcp://127.0.0.1:8786"):
        pass


class Answers(http.server.BaseHTTPRequestHandler):
    """A web server, which is what a wrong port often leads to."""

    def handle(self) -> None:
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_no_cluster_at(address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(WorkerError) as caught, cluster(address):
        pass
    assert str(caught.value).startswith(f"{address}: no Dask scheduler answers there (")
    assert "tcp://HOST:8786" in str(caught.value)
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:80", "", "tcp://"])
def test_a_wrong_address_is_a_clear_error_soon(address: str) -> None:
    assert_no_cluster_at(address)


def test_something_else_at_the_address_is_a_clear_error_soon(web_server: str) -> None:
    assert_no_cluster_at(web_server)


def test_a_wrong_address_is_one_line_of_the_command(tmp_path: Path) -> None:
    words = ["scan", "digits:lenet5", "digits:test", "-o", str(tmp_path / "atlas"), "--cluster", "tcp://127.0.0.1:1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.stderr.startswith("convscope: tcp://127.0.0.1:1: no Dask scheduler answers there")
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


# --- a cluster -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two processes on this machine, which can find `running`."""
    import dask
    import distributed

    environment = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # workers die here
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
            env=environment,
            silence_logs=logging.CRITICAL,
        ) as local,
    ):
        yield local


def pids(workers: Any) -> list[int]:
    return [worker.process.pid for worker in workers.workers.values() if worker.process is not None]


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(tmp_path: Path, done: Path, workers: Any) -> None:
    with cluster(workers.scheduler_address) as executor:
        scan(network(), done / "photos", tmp_path / "atlas", executor=executor, **OPTIONS)
    assert contents(tmp_path / "atlas") == contents(done / "alone")


@pytest.mark.slow
def test_the_executor_of_a_client_gives_the_same_bytes(tmp_path: Path, done: Path, workers: Any) -> None:
    import distributed

    with distributed.Client(workers, set_as_default=False) as client:
        scan(network(), done / "photos", tmp_path / "atlas", executor=client.get_executor(), **OPTIONS)
        assert client.status == "running"  # it is the user's
    assert contents(tmp_path / "atlas") == contents(done / "alone")


@pytest.mark.slow
def test_the_command_on_a_cluster(tmp_path: Path, workers: Any) -> None:
    words = ["scan", "digits:lenet5", "digits:test", "--limit", "96", "--batch-size", "4", "--threads", "1"]
    for target, more in (("alone", []), ("atlas", ["--cluster", workers.scheduler_address])):
        result = CliRunner().invoke(main, [*words, "-o", str(tmp_path / target), *more])
        assert result.exit_code == 0, (result.output, result.exception)
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(tmp_path: Path, workers: Any) -> None:
    lenet, options = convscope.load("digits:lenet5"), {"batch_size": 2, "limit": 320, "threads": 1}
    scan(lenet, "digits:test", tmp_path / "alone", **options)
    killed: list[int] = []

    def kill(step: Progress) -> None:
        if step.phase == "scanning" and step.done >= 64 and not killed:
            killed.append(pids(workers)[0])
            os.kill(killed[0], signal.SIGKILL)

    with cluster(workers.scheduler_address) as executor:
        scan(lenet, "digits:test", tmp_path / "atlas", executor=executor, progress=kill, **options)
    assert killed
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


@pytest.mark.slow
def test_another_network_on_a_worker_is_named(tmp_path: Path, done: Path, workers: Any) -> None:
    net = network()
    net.module.get_parameter("head.bias").data += 1
    error = r"^process \d+ on .*: another network than the scan's"
    with cluster(workers.scheduler_address) as executor, pytest.raises(NetworkError, match=error):
        scan(net, done / "photos", tmp_path / "atlas", executor=executor, **OPTIONS)


@pytest.mark.slow
def test_a_cluster_that_all_workers_have_left_is_given_up(
    tmp_path: Path, done: Path, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last two workers leave one behind the other, Dask may count them as killed by the shard they ran."""
    monkeypatch.setattr(executors, "_PATIENCE", 3.0)
    reason = "no worker of the cluster was there for 3 s|all those workers died while running it"

    def leave(step: Progress) -> None:
        if step.phase == "scanning" and step.done == 8:
            workers.scale(0)

    with cluster(workers.scheduler_address) as executor:
        begin = time.monotonic()
        with pytest.raises(WorkerError, match=f"({reason}).*; what is done is kept"):
            scan(network(), done / "photos", tmp_path / "atlas", executor=executor, progress=leave, **OPTIONS)
        assert time.monotonic() - begin < 60
        workers.scale(2)
        workers.wait_for_workers(2, timeout=60)
        again: list[Progress] = []
        scan(network(), done / "photos", tmp_path / "atlas", executor=executor, progress=again.append, **OPTIONS)
    assert again[0].begun >= 8
    assert contents(tmp_path / "atlas") == contents(done / "alone")


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_the_scan(tmp_path: Path, done: Path) -> None:
    place = tmp_path / "scheduler"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
    start = [sys.executable, "-m"]
    options = ["--no-dashboard", "--local-directory", str(tmp_path / "dask")]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    scheduler = subprocess.Popen(
        [*start, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(place)], **quiet)  # fmt: skip
    while not place.exists():
        assert scheduler.poll() is None
        time.sleep(0.1)
    address = json.loads(place.read_text())["address"]
    worker = subprocess.Popen([*start, "distributed.cli.dask_worker", address, *options], cwd="/", **quiet)

    def kill(step: Progress) -> None:
        if step.phase == "scanning" and step.done == 8:
            scheduler.kill()

    try:
        with cluster(address) as executor:
            begin = time.monotonic()
            with pytest.raises(ConvscopeError, match="what is done is kept, and the same command goes on"):
                scan(network(), done / "photos", tmp_path / "atlas", executor=executor, progress=kill, **OPTIONS)
            assert time.monotonic() - begin < 90
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    scan(network(), done / "photos", tmp_path / "atlas", **OPTIONS)
    assert contents(tmp_path / "atlas") == contents(done / "alone")
