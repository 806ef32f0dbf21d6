"""Freed memory is kept by convscope's own processes, and changes nothing but time."""

from __future__ import annotations

import platform
import subprocess
import sys

CODE = """
import resource, sys
import torch
from convscope.scanner.memory import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
def work():
    return sum(float(torch.ones(1 << 24).mul_(i)[0]) for i in range(8))  # 64 MB each, freed at once
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
total = work()
print(kept, total, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def outcome(how: str) -> tuple[str, float, int]:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True, timeout=120)
    kept, total, faults = done.stdout.split()
    return kept, float(total), int(faults)


def test_pages_are_cleared_once_and_numbers_are_the_same() -> None:
    kept, total, faults = outcome("kept")
    _, expected, usual = outcome("as it is")
    assert total == expected == 28.0
    if kept == "True":
        assert faults < usual / 4
    else:
        assert platform.libc_ver()[0] != "glibc"
