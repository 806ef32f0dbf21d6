"""Keep the memory that a forward pass frees for the next one, instead of giving it back to the system each time.

Large tensors are by default mapped anew for every operation, and the system clears every page of them when it is first
touched: about a third of a scan's time on a CPU, measured on SqueezeNet in batches of 32. This changes the C library's
settings for the whole process, so only processes that are convscope's own do it: its command line and its workers.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Whether it could be done: with glibc's allocator only, which is that of most Linux systems."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
