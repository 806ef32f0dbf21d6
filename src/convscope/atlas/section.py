"""Sections: what is computed later than the atlas, each in a folder beside it, with ``run.json`` and a file of arrays.

>>> fields = Section("fields", "convscope-fields", 1, "fields.safetensors", "measured fields", "convscope fields")
>>> fields.write(folder, run, arrays)
>>> fields.arrays(folder, fields.read(folder))
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from convscope import shards
from convscope.address import Layer, Unit, parse
from convscope.atlas.run import sealed
from convscope.errors import AddressError, AtlasError, nearest

U_co = TypeVar("U_co", covariant=True)


class Units(Protocol[U_co]):
    """A layer of a section: its units by number."""

    def __getitem__(self, unit: int) -> U_co: ...


L = TypeVar("L", bound=Units[Any])


@dataclass(frozen=True)
class Section:
    """A kind of section.

    Args:
        folder: in the atlas.
        format, version: of what ``run.json`` says.
        file: of the arrays.
        noun: what is in it, for messages.
        command: that makes it.
    """

    folder: str
    format: str
    version: int
    file: str
    noun: str
    command: str

    def write(self, folder: Path, run: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a section into a new folder: the arrays, and ``run.json`` as the last file."""
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shards.write(folder / self.file, data)
        files = {self.file: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
        kind = {"format": self.format, "version": self.version}
        shards.write(folder / "run.json", sealed(kind | dict(run) | {"files": files}))

    def read(self, folder: Path) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            AtlasError: there is none, or it is damaged; the message says which.
        """
        remedy = f"{'delete the folder and ' if (folder / self.file).exists() else ''}run '{self.command}'"
        try:
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise AtlasError(f"{folder}: no {self.noun} ({error}); {remedy}") from error
        if not isinstance(run, dict) or (run.get("format"), run.get("version")) != (self.format, self.version):
            raise AtlasError(f"{folder}: no {self.noun} that this convscope reads; {remedy}")
        if json.loads(sealed({k: v for k, v in run.items() if k != "checksum"}))["checksum"] != run.get("checksum"):
            raise self._damaged(folder, "run.json has changed")
        return run

    def arrays(self, folder: Path, run: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """All arrays.

        Raises:
            AtlasError: they are not what was written.
        """
        try:
            data = (folder / self.file).read_bytes()
            if hashlib.sha256(data).hexdigest() != run["files"][self.file]["sha256"]:
                raise ValueError("its checksum is another one")
            return load(data)
        except (OSError, ValueError, SafetensorError) as error:
            raise self._damaged(folder / self.file, str(error)) from error

    def _damaged(self, path: Path, how: str) -> AtlasError:
        return AtlasError(f"{path}: damaged, {how}; delete the folder and run '{self.command}' again")


def find(path: Path, layers: Mapping[str, L], address: str) -> L | Any:
    """A layer or a unit by its address, of a section's layers by theirs.

    Raises:
        AddressError: it is not there, or names a neuron.
    """
    parsed = parse(address)
    layer = parsed if isinstance(parsed, Layer) else parsed.layer if isinstance(parsed, Unit) else None
    if str(layer) not in layers:
        raise AddressError(f"{path} has no layer or unit {address!r}{nearest(str(layer), layers)}")
    found = layers[str(layer)]
    return found[parsed.index] if isinstance(parsed, Unit) else found
