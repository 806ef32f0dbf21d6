"""A plan as plain values, from which another process makes the same plan again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import ConvscopeError, ImagesError, NetworkError, WorkerError
from convscope.images import open_images
from convscope.network import load
from convscope.scanner.plan import Plan
from convscope.shards import differences


@dataclass(frozen=True)
class Recipe:
    """What another process must be told to make a plan.

    Args:
        network: the arguments of `load`.
        device: where the network is computed.
        images: the argument of `open_images`.
        options: the arguments of `Plan.make`.
        job: what the plan's job must be.
        folder: the working directory, from which relative names start.
        path: where modules are looked for.
    """

    network: Mapping[str, Any]
    device: str
    images: str
    options: Mapping[str, Any]
    job: Mapping[str, Any]
    folder: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan, options: Mapping[str, Any]) -> Recipe:
        """The recipe of `plan`, which was made with `options`.

        Raises:
            NetworkError, ImagesError: the network or the images are only in this process's memory.
        """
        network, images = plan.network, plan.images
        if network.spec is None:
            raise NetworkError(
                f"{network.name}: a wrapped module is only in this process's memory, so other processes cannot compute "
                "with it: give workers=1, or save its weights and load them with arch 'package.module:factory'"
            )
        if not images.reopens:
            raise ImagesError(
                "the images are only in this process's memory, so other processes cannot read them: give workers=1, "
                "or save them with numpy.save and open the .npy file"
            )
        return cls(
            _plain(network.spec), str(network.device), images.spec, _plain(options), _plain(plan.job),
            str(Path.cwd()), tuple(map(os.path.abspath, sys.path)),
        )  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """A recipe from its fields as JSON gives them.

        Raises:
            KeyError, TypeError: they are no recipe's.
        """
        recipe = cls(**{**data, "path": tuple(data["path"])})
        texts = (recipe.device, recipe.images, recipe.folder, *recipe.path)
        tables = (recipe.network, recipe.options, recipe.job)
        if not (all(isinstance(each, str) for each in texts) and all(isinstance(each, dict) for each in tables)):
            raise TypeError("a value of the recipe is of another type")
        return recipe

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """The working directory and the module path of the process that wrote the recipe.

        Raises:
            WorkerError: there is no such directory here.
        """
        known = set(map(os.path.abspath, sys.path))
        sys.path += [entry for entry in self.path if entry not in known]
        if not Path(self.folder).is_dir():
            raise WorkerError(
                f"{_here()}: there is no directory {self.folder}; the scan began in it, and relative names start from "
                "it: begin the scan in one that is the same on every machine"
            )
        with contextlib.chdir(self.folder):
            yield

    def plan(self, device: str | None = None) -> Plan:
        """The plan, made again; to be called, and used, in its `place`.

        Args:
            device: for the network, if not that of the recipe: to merge, where nothing is computed.

        Raises:
            ConvscopeError: the network or the images cannot be opened again, or are others than they were.
        """
        try:
            network = load(**self.network, device=device or self.device)
            plan = Plan.make(network, open_images(self.images), **self.options)
        except ConvscopeError as error:
            raise type(error)(f"{_here()}: cannot open the scan's network and images again: {error}") from error
        if device is not None:
            plan = dataclasses.replace(plan, job={**plan.job, "device": self.job["device"]})
        self._check(_plain(plan.job))
        return plan

    def _check(self, job: Mapping[str, Any]) -> None:
        differing = differences(self.job, job)
        if not differing:
            return
        kind: type[ConvscopeError]
        if job["network"] != self.job["network"]:
            kind, what = NetworkError, (
                "another network than the scan's: it was changed after it was loaded (save its weights and load them, "
                "or give workers=1), or its files or code are others here"
            )  # fmt: skip
        elif job["images"] != self.job["images"]:
            kind, what = ImagesError, "other images than the scan's: they have changed since it began, or differ here"
        else:
            kind, what = WorkerError, "another set-up than the scan's: install the same versions everywhere"
        raise kind(f"{_here()}: {what} ({differing})")


def _here() -> str:
    """This process, for people who run several."""
    return f"process {os.getpid()} on {platform.node()}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back, so that they compare equal wherever they come from."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
