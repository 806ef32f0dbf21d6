"""A Dask cluster as an executor: how to reach it, and whether anybody is there."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from concurrent.futures import Executor

from convscope.errors import WorkerError

_CONNECT = 5  # seconds to find the scheduler


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """An executor on the Dask cluster whose scheduler is at `address`, such as ``tcp://10.0.0.1:8786``.

    Raises:
        WorkerError: dask.distributed is not installed, or there is no scheduler at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkerError("a cluster needs dask.distributed: pip install 'convscope[cluster]'") from error
    client, failure = None, ""
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # what is at a wrong address can answer anything, and Dask takes it for lengths
        failure = str(error)
    if client is None:
        gc.collect()  # a client that did not start is closed by its finaliser, which must not run while another starts
        raise WorkerError(
            f"{address}: no Dask scheduler answers there ({failure}); expected an address such as tcp://HOST:8786"
        )
    with client:
        yield client.get_executor()  # type: ignore[no-untyped-call]


def processes(executor: Executor) -> int:
    """How many processes or threads the executor has at present; 0 if nobody is there."""
    client = getattr(executor, "_client", None)  # Dask's
    if client is None:
        return int(getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
    try:
        return len(client.nthreads()) if client.status == "running" else 0
    except (OSError, TimeoutError):
        return 0
