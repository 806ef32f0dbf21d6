"""Loops as machine code: Numba's, kept on disk where that is possible."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function as machine code, kept on disk where that is possible."""
    try:
        made: Any = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
        _save_if_possible(made)
    except RuntimeError:  # nowhere to keep the compiled code: it is made anew in every process
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, made)


def _save_if_possible(compiled: Any) -> None:
    """Where the disk of Numba's cache is full, the code is compiled anew next time; Numba itself would raise."""
    cached = getattr(compiled, "_cache", None)
    save = getattr(cached, "save_overload", None)
    if cached is None or save is None:
        return

    def saved(*what: Any) -> None:
        with contextlib.suppress(OSError):
            save(*what)

    cached.save_overload = saved
