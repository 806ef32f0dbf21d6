"""A shard in whichever process: computed with the job's threads, checked, and given back as bytes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event

import torch

from convscope.errors import ConvscopeError, ImagesError, NetworkError
from convscope.scanner.compute import compute
from convscope.scanner.memory import keep_freed_memory
from convscope.scanner.plan import Plan
from convscope.scanner.progress import Advance
from convscope.scanner.recipe import Recipe
from convscope.shards import ShardState

Make = Callable[[Plan, int, Advance], ShardState]

_turn = threading.Lock()  # one shard at a time, also where the processes of an executor have several threads
_made: list[tuple[Recipe, Plan]] = []  # the plan of the last shard, which is that of the next one nearly always
_stop: Event | None = None


def work(recipe: Recipe, index: int, key: str) -> bytes:
    """What an executor runs: shard `index` of the recipe's plan, which is made once in a process."""
    with _turn, recipe.place():
        if not _made or _made[0][0] != recipe:
            _made[:] = [(recipe, recipe.plan())]
        return shard_bytes(_made[0][1], index, key, _go_on)


def shard_bytes(plan: Plan, index: int, key: str, advance: Advance, make: Make | None = None) -> bytes:
    """The state of shard `index`, as `ShardState.to_bytes` writes it.

    Args:
        key: of the shard, as the scan began with it.
        make: gives the state of a shard, called as `compute` is, which does it if nothing else is given.

    Raises:
        NetworkError: the network fails on these images, or the device does.
        ImagesError: the images are not those that the scan began with.
    """
    try:
        with threads(int(plan.job["threads"])):
            state = (make or compute)(plan, index, advance)
    except Exception as error:
        remedy = _remedy(error)
        if remedy is None:
            raise
        raise NetworkError(f"{error}; {remedy}") from error
    # Afterwards, because files that vanish meanwhile look like unreadable ones, which are skipped.
    if plan.key(index) != key:
        ids = plan.shard(index)
        raise ImagesError(
            f"{plan.images.spec}: some of the images {ids[0]} to {ids[-1]} have changed or vanished since the scan "
            "began, or are others on this machine; nothing of them was kept. What is done before is, and the same "
            "command goes on from there"
        )
    state.meta["shard"] = key  # so that a file under another's name is noticed
    return state.to_bytes()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads, and as before afterwards: sums are split among them, and round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _remedy(error: Exception) -> str | None:
    """What to do where the machine has failed and not the network."""
    cause = error.__cause__ if isinstance(error, ConvscopeError) and error.__cause__ else error
    text = str(cause)
    if isinstance(cause, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return "a smaller batch size (--batch-size), or fewer workers, need less memory"
    # Older versions of PyTorch raise a plain RuntimeError.
    if isinstance(cause, getattr(torch, "AcceleratorError", ())) or "CUDA error" in text:
        return "the device failed; what is done is kept, so give the same command again, or --device cpu for a new scan"
    return None


class _Stopped(Exception):  # noqa: N818 — nobody sees it: who stopped the workers does not wait for their results
    pass


def begin(stop: Event) -> None:
    """Prepare a process of a pool.

    Args:
        stop: set when the process shall end after the batch in work.
    """
    global _stop
    _stop = stop
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for its next shard for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _go_on(_: int) -> None:
    if _stop is not None and _stop.is_set():
        raise _Stopped
