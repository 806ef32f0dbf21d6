"""What a scan leaves on disk while it runs, so that a kill loses at most the shard in work.

A scan is cut into shards of consecutive images. The state of a finished shard is written to a file of its own and then
folded, in the order of the shards, into the state of all before it; so the bytes on disk do not depend on who computed
which shard when, and the disk holds one state, the last few shards, and what is still ahead of its turn. The folder is
named after the atlas with ``.partial`` behind, and becomes the atlas in the end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from convscope.errors import AtlasError, ConvscopeError

_TOGETHER = 8  # shards


@dataclass(frozen=True)
class ShardState:
    """Tensors and plain values of one shard, or of several folded ones."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def to_bytes(self) -> bytes:
        """As safetensors; one metadata key, because the order of several is not fixed."""
        about = {"checksum": self._checksum(), "values": self.meta}
        return save(self.tensors, {"meta": json.dumps(about, sort_keys=True)})

    def _checksum(self) -> str:
        """Of everything in it: a bit that flips on the disk would go into all that is folded after it."""
        digest = hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            if tensor.numel():  # an empty one has no bytes, and PyTorch may refuse to view it as such
                digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @classmethod
    def read(cls, path: Path) -> ShardState:
        """The inverse of `to_bytes`.

        Raises:
            AtlasError: the file is not what was written.
        """
        try:
            data = path.read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"]["meta"])
            state = cls(load(data), about["values"])
            if state._checksum() != about["checksum"]:
                raise ValueError("its checksum is another one")
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise AtlasError(f"{path}: damaged ({error}); delete the folder and start again") from error
        return state


class ShardStore:
    """The unfinished folder of one job.

    Args:
        target: where the atlas will be.
        job: everything that determines the result, as plain values.
        keys: a name for each shard, made from the job and its images.
        suffix: of the shards' files.
    """

    def __init__(self, target: Path, job: Mapping[str, Any], keys: Sequence[str], suffix: str = ".safetensors") -> None:
        self.target = target.resolve()  # also "." has a name then, and a link to an empty folder is followed
        self.folder = self.target.with_name(self.target.name + ".partial")
        self.keys, self.suffix = list(keys), suffix
        self._job = json.dumps(job, sort_keys=True, indent=1)
        self._state: ShardState | None = None
        self._done = 0  # shards that are folded
        self._written = 0  # of these, in the file

    @contextlib.contextmanager
    def opened(self) -> Iterator[ShardStore]:
        """The folder, made if need be, for this process alone.

        Raises:
            AtlasError: it belongs to another job, another process is at work in it, or the system refuses to write.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                claim(lock.fileno(), self.folder)
                self._check_job()
                self._resume()
                yield self

    def _check_job(self) -> None:
        path = self.folder / "job.json"
        if not path.exists():
            write(path, self._job.encode())
            return
        try:
            other = dict(json.loads(path.read_text(encoding="utf-8")))
            differing = differences(other, json.loads(self._job))
        except (ValueError, TypeError, RecursionError) as error:
            raise AtlasError(f"{path}: damaged ({error}); delete the folder and start again") from error
        if differing:
            raise AtlasError(
                f"{self.folder}: unfinished work on another job ({differing}). "
                "Run that job to its end, delete the folder, or give another place"
            )

    def _resume(self) -> None:
        for stray in self.folder.rglob("*.tmp"):  # what a kill left half written
            stray.unlink()
        path = self._folded
        if path.exists():
            state = ShardState.read(path)
            folded = state.meta.get("folded")
            if not folded:
                raise AtlasError(f"{path}: damaged (it is the state of one shard); delete the folder and start again")
            if folded == self.keys[: len(folded)]:
                self._state, self._done, self._written = state, len(folded), len(folded)
            else:  # an image has changed since: begin again
                path.unlink()
        wanted = {self.shard(index).name for index in range(self._done, len(self.keys))}
        for leftover in self.folder.glob("shard-*"):
            if leftover.name not in wanted:
                leftover.unlink()

    @property
    def _folded(self) -> Path:
        return self.folder / "folded.safetensors"

    def missing(self) -> list[int]:
        """The shards that still have to be computed, in order."""
        return [i for i in range(self._done, len(self.keys)) if not self.shard(i).exists()]

    @property
    def done(self) -> int:
        """How many shards are folded."""
        return self._done

    @property
    def state(self) -> ShardState | None:
        """What is folded so far."""
        return self._state

    def add(self, index: int, data: bytes) -> None:
        """Keep what a shard gave, as `ShardState.to_bytes` wrote it."""
        write(self.shard(index), data)

    def fold(self, merge: Callable[[ShardState | None, ShardState], ShardState]) -> None:
        """Fold in every shard whose turn has come.

        What is folded is written, and its shards removed, a few shards at a time: until then a kill costs the folding
        and no computing.
        """
        while self._done < len(self.keys) and self.shard(self._done).exists():
            self._state = merge(self._state, self._read(self._done))
            self._done += 1
        enough = self._done - self._written >= _TOGETHER or self._done == len(self.keys)
        if self._state is not None and self._done > self._written and enough:
            self._state.meta["folded"] = self.keys[: self._done]
            write(self._folded, self._state.to_bytes())
            for i in range(self._written, self._done):
                self.shard(i).unlink()
            self._written = self._done

    def _read(self, index: int) -> ShardState:
        state = ShardState.read(self.shard(index))
        if "folded" in state.meta or state.meta.get("shard", self.keys[index]) != self.keys[index]:
            raise AtlasError(f"{self.shard(index)}: damaged (it is another state); delete the folder and start again")
        return state

    def shard(self, index: int) -> Path:
        """Where the state of a shard lies until it is folded."""
        return self.folder / f"shard-{self.keys[index]}{self.suffix}"

    def clear(self) -> None:
        """Remove what only the scan needed."""
        for name in ("job.json", "folded.safetensors", "lock"):
            (self.folder / name).unlink(missing_ok=True)


def key(*parts: object) -> str:
    """A short hash of some plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explained(folder: Path, kind: type[ConvscopeError] = AtlasError) -> Iterator[None]:
    """What the system refuses becomes an error of this kind, with its remedy."""
    try:
        yield
    except (ConnectionError, TimeoutError):  # of a pipe or a network, not of files
        raise
    except OSError as error:
        what = f"{error.filename or folder}: {error.strerror or error}; {_REMEDIES.get(error.errno or 0, 'see to it')}"
        raise kind(f"{what}. What is done is kept, and the same command goes on from there") from error


_ROOM = "make room"
_PLACE = "give another place, or the right to write there"
_REMEDIES = {
    errno.EMFILE: "allow more open files (ulimit -n), or give fewer workers",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.ENOTDIR: "give another place",
}


def claim(descriptor: int, folder: Path, what: str = "scan", kind: type[ConvscopeError] = AtlasError) -> None:
    """Lock an open file for this process alone, as long as it is open.

    Raises:
        ConvscopeError: of this kind; another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows; there two scans into one place are not noticed
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise kind(f"{folder}: another {what} is at work in it; wait for its end, or give another place") from error


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How two jobs differ, for people: plain values as they are, and hashes and lists only by name."""
    parts = []
    for name in sorted(there.keys() | here.keys()):
        one, other = there.get(name), here.get(name)
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            parts.append(differences(one, other))
        elif one != other:
            plain = all(not isinstance(value, str | list | dict) or len(value) < 20 for value in (one, other))
            parts.append(f"{name}: {one!r} there, {other!r} here" if plain else f"another value of '{name}'")
    # A damaged file can have names in it that no text can hold.
    return "; ".join(parts).encode("utf-8", "backslashreplace").decode()
