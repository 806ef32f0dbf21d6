"""Who computes the shards: this process, a pool of processes, or any `concurrent.futures.Executor`.

Shards come back in any order. Only a few are handed out before the first of them is back, so that neither memory nor
disk fills with what cannot be folded yet.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as first_of
from threading import current_thread, main_thread
from typing import Any

from convscope.errors import WorkerError
from convscope.scanner.cluster import processes
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Advance
from convscope.scanner.recipe import Recipe
from convscope.scanner.worker import begin, shard_bytes, work

Shards = Generator[tuple[int, bytes], None, None]
Engine = Callable[[Sequence[int], Advance], Shards]
"""Computes some shards: of each, as it comes, its number and `ShardState.to_bytes`."""

_AHEAD = 2  # shards handed out for every process: one in work, and one that waits
_LOOK = 2.0  # seconds between two looks at whether anybody is there
_PATIENCE = 60.0  # seconds until a cluster without workers is given up


def engine(plan: Plan, options: Mapping[str, Any], workers: int, executor: Executor | None) -> Engine:
    """What computes the plan's shards; `options` are those that the plan was made with.

    Raises:
        NetworkError, ImagesError: other processes cannot have the network or the images.
    """
    if executor is not None:
        return functools.partial(_on_executor, plan, Recipe.of(plan, options), executor)
    if workers > 1:
        return functools.partial(_in_pool, plan, Recipe.of(plan, options), workers)
    return functools.partial(_here, plan)


def _here(plan: Plan, missing: Sequence[int], advance: Advance) -> Shards:
    for index in missing:
        yield index, shard_bytes(plan, index, plan.keys[index], advance)


def _in_pool(plan: Plan, recipe: Recipe, workers: int, missing: Sequence[int], advance: Advance) -> Shards:
    if not missing:
        return
    context = multiprocessing.get_context("spawn")  # a fork would take locks and threads of PyTorch with it
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(missing)), context, begin, (stop,))
    try:
        yield from _on_executor(plan, recipe, pool, missing, advance)
    finally:
        stop.set()  # before a worker's next batch
        pool.shutdown(cancel_futures=True)


def _on_executor(plan: Plan, recipe: Recipe, executor: Executor, missing: Sequence[int], advance: Advance) -> Shards:
    handed: dict[Future[bytes], int] = {}  # shards that are out, by their place in `missing`
    after, seen = 0, time.monotonic()
    try:
        while after < len(missing) or handed:
            crew = processes(executor)
            seen = time.monotonic() if crew else seen
            if time.monotonic() - seen > _PATIENCE:
                raise WorkerError(f"no worker of the cluster was there for {_PATIENCE:.0f} s; {_KEPT}")
            stop = min(min(handed.values(), default=after) + _AHEAD * max(crew, 1), len(missing))
            for place in range(after, stop):
                handed[_submit(executor, recipe, missing[place], plan.keys[missing[place]])] = place
                after = place + 1
            done = first_of(handed, _LOOK, FIRST_COMPLETED).done
            yield from _results(plan, {missing[handed.pop(future)]: future for future in done}, advance)
    finally:
        for future in handed:
            future.cancel()


def _submit(executor: Executor, recipe: Recipe, index: int, key: str) -> Future[bytes]:
    try:
        with _interrupts_held():
            return executor.submit(work, recipe, index, key)
    except (BrokenExecutor, RuntimeError) as error:  # it has broken, or was shut down
        raise _told(error) from error


def _results(plan: Plan, done: Mapping[int, Future[bytes]], advance: Advance) -> Shards:
    """Every shard that came well, and then the first failure."""
    failure: Exception | None = None
    for index, future in sorted(done.items()):
        try:
            data = future.result()
        except (Exception, CancelledError) as error:
            failure = failure or error
            continue
        advance(len(plan.shard(index)))
        yield index, data
    if failure is not None:
        told = _told(failure)
        raise told from (failure if told is not failure else failure.__cause__)


def _told(error: Exception) -> Exception:
    """What happened to a worker, for people; an error that the shard itself gave stays what it is."""
    if isinstance(error, BrokenExecutor):
        return WorkerError(
            f"a worker process ended without a word: killed, as when memory runs out, or not started (a script must "
            f"call scan under `if __name__ == '__main__':`). Fewer workers or a smaller batch size need less memory; "
            f"{_KEPT}"
        )
    if isinstance(error, CancelledError) or type(error).__name__ == "KilledWorker":
        return WorkerError(f"the cluster has given a shard up ({str(error) or 'its scheduler is gone'}); {_KEPT}")
    if isinstance(error, ImportError) or "during deserialization" in str(error):  # so Dask's scheduler says it
        return WorkerError(
            f"the workers, or their scheduler, cannot import what they need ({error.__cause__ or error}); install the "
            "same versions there"
        )
    if isinstance(error, RuntimeError) and "after shutdown" in str(error):
        return WorkerError(f"the executor was shut down; {_KEPT}")
    return error


_KEPT = "what is done is kept, and the same command goes on from there"


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C, which a terminal sends to all processes, waits; and those that start meanwhile never see it.

    This process ends them. The mask is what they inherit; it does not hold the signal here, where another thread, of
    PyTorch perhaps, may take it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not (hasattr(signal, "pthread_sigmask") and callable(handler) and current_thread() is main_thread()):
        yield
        return
    came: list[object] = []
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
