"""What a training leaves on disk: checkpoints, a log, and until its end the state from which it goes on after a kill.

=========================  ============================================================================================
``epoch-005.safetensors``  the weights after epoch 5, with their card ``epoch-005.json``; `convscope.load` reads them
``step-000100...``         the same after step 100
``best...``                the weights with the best accuracy on the validation images so far, the earliest of equals
``training.json``          the log: recipe, curves by epoch, checkpoints, which is the best and which the last
``state.safetensors``      weights, the optimizer's memory and the position; gone when ``finished`` is true in the log
=========================  ============================================================================================

Every file is written whole or not at all, the state after the checkpoints that it knows of, and the log after the
state; so whenever a kill comes, the state says what is true, and whatever is newer is written again, the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from convscope import shards
from convscope.errors import AtlasError, TrainingError
from convscope.shards import ShardState

LOG, STATE = "training.json", "state.safetensors"
_ANOTHER = "give another folder (-o), or delete this one"


class Folder:
    """The folder of one training.

    Args:
        path: made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def opened(self) -> Iterator[Folder]:
        """The folder for this process alone.

        Raises:
            TrainingError: there is something else in it, another process trains in it, or the system refuses.
        """
        with shards.explained(self.path, TrainingError):
            if self.path.exists() and not (self.path / LOG).is_file() and not _is_empty(self.path):
                raise TrainingError(f"{self.path}: there is something that is no training; {_ANOTHER}")
            made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / "lock").open("w") as lock:
                shards.claim(lock.fileno(), self.path, "training", TrainingError)
                for stray in self.path.glob("*.tmp"):  # what a kill left half written
                    stray.unlink()
                try:
                    yield self
                finally:
                    (self.path / "lock").unlink(missing_ok=True)
                    if made and not any(self.path.iterdir()):  # nothing came of it
                        self.path.rmdir()

    def log(self) -> dict[str, Any] | None:
        """The log, if there is one.

        Raises:
            TrainingError: it is damaged.
        """
        path = self.path / LOG
        if not path.is_file():
            return None
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            if not {"finished", "job", "epochs", "checkpoints", "best", "last"} <= found.keys():
                raise ValueError("keys are missing")
            if not isinstance(found["job"], dict):
                raise ValueError("its job is none")
        except (ValueError, TypeError, RecursionError) as error:
            raise TrainingError(f"{path}: damaged ({error}); {_ANOTHER}") from error
        return found

    def check(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """The log of this very job, if there is one.

        Raises:
            TrainingError: the folder belongs to another job; it says how that differs.
        """
        there = self.log()
        if there is None:
            return None
        differing = shards.differences(there["job"], json.loads(json.dumps(job)))
        if differing:
            raise TrainingError(f"{self.path}: there is another training ({differing}); {_ANOTHER}")
        return there

    def write_log(self, log: Mapping[str, Any]) -> None:
        """Put the log in place."""
        shards.write(self.path / LOG, (json.dumps(log, indent=1) + "\n").encode())

    def write_weights(self, name: str, module: nn.Module, card: Mapping[str, Any]) -> str:
        """A checkpoint and its card; the name of its file."""
        shards.write(self.path / f"{name}.json", (json.dumps(card) + "\n").encode())
        shards.write(self.path / f"{name}.safetensors", save(weights(module)))
        return f"{name}.safetensors"

    def state(self) -> ShardState | None:
        """From where the training goes on, if it has begun.

        Raises:
            TrainingError: it is damaged.
        """
        path = self.path / STATE
        if not path.is_file():
            return None
        try:
            return ShardState.read(path)
        except AtlasError as error:
            raise TrainingError(f"{path}: damaged; delete it, and the same command trains from the start") from error

    def write_state(self, state: ShardState) -> None:
        """Put the state in place."""
        shards.write(self.path / STATE, state.to_bytes())

    def finish(self) -> None:
        """Remove what only an unfinished training needs."""
        (self.path / STATE).unlink(missing_ok=True)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and buffers by name, on the CPU; also those that share memory are apart."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}


def _is_empty(path: Path) -> bool:
    """Whether there is nothing in a folder but what a kill leaves before the first log."""
    return path.is_dir() and not {each.name for each in path.iterdir()} - {"lock", f"{LOG}.tmp"}
