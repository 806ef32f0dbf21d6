"""A new folder that is whole or not there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from convscope.errors import ImagesError


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to be filled. It becomes `path` when all went well, and is removed when something did not.

    Until then it is called `path` with ``.partial`` behind; a kill leaves it under that name.

    Raises:
        ImagesError: there is something at `path`, or a folder of that other name.
        OSError: the disk is full, or the folder cannot be written.
    """
    target = Path(path).resolve()  # also "." has a name then
    if target.exists() and not target.is_dir():
        raise ImagesError(f"{path}: there is a file of this name; give another folder")
    if target.is_dir() and any(target.iterdir()):
        raise ImagesError(f"{path}: the folder is not empty, and nothing is written over; give another, or delete it")
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
    except FileExistsError:
        raise ImagesError(
            f"{partial}: another run is at work in it, or one was killed, and then delete it; or give another folder"
        ) from None
    try:
        yield partial
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say where
            error.filename = str(partial)
        raise
