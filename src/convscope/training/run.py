"""A training from its recipe to its checkpoints; killed, and started again, it goes on where it was.

>>> trained = train("digits-lenet5", "digits-lenet5")
>>> network = convscope.load(trained.last, arch="lenet5")
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import convscope
from convscope import zoo
from convscope.checkpoint import start_from
from convscope.errors import NetworkError, TrainingError
from convscope.images import ImageSet, open_images
from convscope.network import Network, logits, untrained
from convscope.scanner.progress import Progress, Report
from convscope.training.examples import Examples, classes
from convscope.training.folder import Folder
from convscope.training.loop import Loop
from convscope.training.recipe import Recipe

Epoch = Mapping[str, Any]  # a line of the log


@dataclass(frozen=True)
class Trained:
    """A training that is finished.

    Args:
        folder: with the checkpoints and ``training.json``.
        log: what is in that.
    """

    folder: Path
    log: Mapping[str, Any]

    @property
    def last(self) -> Path:
        """The weights at the end."""
        return self.folder / str(self.log["last"]["file"])

    @property
    def best(self) -> Path:
        """The weights with the best accuracy on the validation images, which was used to choose them."""
        return self.folder / str(self.log["best"]["file"])

    @property
    def top1(self) -> float:
        """Accuracy of the last weights on the validation images."""
        return float(self.log["last"]["top1"])


def train(
    recipe: Recipe | str | Path,
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    progress: Report = lambda progress: None,
    tell: Callable[[Epoch], None] = lambda epoch: None,
    save_every: float = 60.0,
) -> Trained:
    """Train by a recipe into the folder `path`; a training that was killed ends with the same weights, bit for bit.

    Args:
        recipe: one that was read, a TOML file, or the name of one of convscope's.
        threads: of PyTorch; by default those with which an unfinished training there began, or those of this process.
            Another number rounds differently, and is another training.
        progress: called after every step.
        tell: called after every epoch with its line of the log.
        save_every: seconds after which the state is written in the middle of an epoch as well; it always is after one.

    Raises:
        ImagesError: the images cannot be used, or have no labels.
        NetworkError: the network cannot be built.
        TrainingError: the recipe makes no sense, the folder belongs to something else, or the loss is no number.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.open(recipe)
    folder, device = Folder(Path(path)), torch.device(device)
    images = [open_images(spec) for spec in (recipe.pictures.train, recipe.pictures.val)]
    with folder.opened():
        there = folder.log()
        if threads is None:
            threads = torch.get_num_threads() if there is None else int(there["job"].get("threads", 1))
        with _steady(device, threads):
            run = _Run(folder, _loop(recipe, images, device), progress, tell, save_every)
            return run.to_the_end(_job(run.loop, device, threads))


def _loop(recipe: Recipe, images: list[ImageSet], device: torch.device) -> Loop:
    """Everything before the first step."""
    card = recipe.preprocess.to_json() | {"output": "softmax", "classes": list(classes(recipe, images[0]))}
    network = untrained(recipe.net.arch, card, recipe.course.seed)
    fresh = None if recipe.net.weights is None else [*start_from(network.module, _file(recipe.net.weights))]
    outputs = _outputs(network)
    train, val = (Examples.of(each, network, outputs) for each in images)
    return Loop(recipe, network, train, val, device, fresh=fresh)


def _file(weights: str) -> Path:
    """The checkpoint that a recipe starts from."""
    return zoo.EMBEDDED[weights].weights if weights in zoo.EMBEDDED else Path(weights)


def _outputs(network: Network) -> int:
    """How many classes the network tells apart.

    Raises:
        NetworkError: it fails, or gives no score for each class.
        TrainingError: it has another number of outputs than there are classes.
    """
    try:
        with torch.no_grad():
            count = logits(network.module(network.example(2))).shape[1]
    except NetworkError:
        raise
    except Exception as error:
        size = network.preprocess.shape
        raise NetworkError(f"{network.name}: it fails on inputs of {size}: {error}; see [preprocessing]") from error
    if network.classes is not None and count != len(network.classes):
        raise TrainingError(
            f"{network.name}: it has {count} outputs for {len(network.classes)} classes; give [network] classes with "
            "a name for each, or a network with as many outputs"
        )
    return count


def _job(loop: Loop, device: torch.device, threads: int) -> dict[str, Any]:
    """Everything that determines the weights, as plain values."""
    return {
        "recipe": loop.recipe.to_json(),
        "network": loop.network.fingerprint,
        "classes": list(loop.network.classes or ()),
        "train": loop.examples.fingerprint(),
        "val": loop.held_out.fingerprint(),
        "device": device.type,
        "threads": threads,
        "torch": str(torch.__version__),
        "convscope": convscope.__version__,
    }


@dataclass
class _Run:
    """A loop, and the folder that it fills."""

    folder: Folder
    loop: Loop
    progress: Report
    tell: Callable[[Epoch], None]
    save_every: float

    def to_the_end(self, job: Mapping[str, Any]) -> Trained:
        """Train what is still to be trained."""
        there = self.folder.check(job)
        if there is not None and there["finished"]:
            self._check_files(there)
            self.folder.finish()
            return Trained(self.folder.path, there)
        card = self.loop.network.preprocess.to_json()
        self.card = card | {"output": "softmax", "classes": list(self.loop.network.classes or ())}
        self.log: dict[str, Any] = {"finished": False, "job": json.loads(json.dumps(job)), "seconds": 0.0, "epochs": [],
                                    "fresh": self.loop.fresh, "checkpoints": [], "best": None, "last": None,
                                    "skipped": []}  # fmt: skip
        state = self.folder.state()
        if there is None or state is None:
            self.folder.write_log(self.log)
        else:
            self.log = self.loop.restore(state)
            for each in self.log["skipped"]:
                self._sets()[each["set"]].skipped[each["id"]] = {key: each[key] for key in ("id", "name", "reason")}
        for images in self._sets().values():
            images.keep(self.progress)
        self.begun = self._images()
        self.started = self.saved = time.perf_counter()
        try:
            while self.loop.position.epochs < self.loop.recipe.course.epochs:
                self._epoch()
        except RuntimeError as error:
            if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
                raise
            raise TrainingError(f"out of memory ({str(error).splitlines()[0]}); give a smaller batch_size") from error
        self.log["finished"] = True
        self.folder.write_log(self.log)
        self.folder.finish()
        return Trained(self.folder.path, self.log)

    def _check_files(self, log: Mapping[str, Any]) -> None:
        for each in [*log["checkpoints"], log["best"]]:
            if not (self.folder.path / each["file"]).is_file():
                raise TrainingError(f"{self.folder.path}: {each['file']} is missing; delete the folder and train again")

    def _images(self) -> int:
        """How many images of the whole training are done."""
        position, size = self.loop.position, self.loop.recipe.course.batch_size
        return position.epochs * len(self.loop.examples) + position.steps * size

    def _epoch(self) -> None:
        loop = self.loop
        total = loop.recipe.course.epochs * len(loop.examples)
        done = self._images()
        for images in loop.epoch():
            done += images
            if loop.steps in loop.recipe.checkpoints.steps:
                self._keep_step()
            if time.perf_counter() - self.saved >= self.save_every and loop.position.steps < loop.per_epoch:
                self._save()
            self.progress(Progress("training", done, total, self.begun))
        self._close()

    def _close(self) -> None:
        """Measure and keep what an epoch has brought."""
        loop, sums = self.loop, self.loop.position.sums
        held_out = loop.evaluate()
        before = self.log["seconds"]
        loop.next_epoch(self.started)
        self.started = time.perf_counter()
        self.log["seconds"] = round(loop.position.seconds, 3)
        line = {
            "epoch": loop.position.epochs,
            "step": loop.steps,
            "loss": sums.loss / sums.seen,
            "top1": sums.right / sums.seen,
            "val_loss": held_out.loss / held_out.seen,
            "val_top1": held_out.right / held_out.seen,
            "val_right": held_out.right,
            "val_images": held_out.seen,
            "rate": loop.rate(loop.steps - 1),
            "seconds": round(self.log["seconds"] - before, 3),
        }
        self.log["epochs"].append(line)
        self._keep_epoch(line)
        self._save()
        self.folder.write_log(self.log)
        self.tell(line)

    def _keep_step(self) -> None:
        self.loop.settle()
        file = self.folder.write_weights(f"step-{self.loop.steps:06}", self.loop.module, self.card)
        self._list({"file": file, "step": self.loop.steps, "epoch": None})

    def _keep_epoch(self, line: Mapping[str, Any]) -> None:
        epoch, course = line["epoch"], self.loop.recipe.course
        if self.log["best"] is None or line["val_top1"] > self.log["best"]["top1"]:
            file = self.folder.write_weights("best", self.loop.module, self.card)
            self.log["best"] = {"file": file, "epoch": epoch, "top1": line["val_top1"]}
        if epoch in self.loop.recipe.checkpoints.epochs or epoch == course.epochs:
            file = self.folder.write_weights(f"epoch-{epoch:03}", self.loop.module, self.card)
            self._list({"file": file, "step": line["step"], "epoch": epoch})
            self.log["last"] = {"file": file, "epoch": epoch, "top1": line["val_top1"]}

    def _list(self, checkpoint: dict[str, Any]) -> None:
        self.log["checkpoints"].append(checkpoint)

    def _sets(self) -> dict[str, Examples]:
        return {"train": self.loop.examples, "val": self.loop.held_out}

    def _save(self) -> None:
        """Write the state, with the seconds of this epoch so far and the images that could not be read."""
        skipped = [(name, each) for name, images in self._sets().items() for _, each in sorted(images.skipped.items())]
        self.log["skipped"] = [{"set": name, **each} for name, each in skipped]
        now = time.perf_counter()
        self.loop.position.seconds += now - self.started
        self.started = now
        self.folder.write_state(self.loop.state(self.log))
        self.saved = time.perf_counter()


@contextlib.contextmanager
def _steady(device: torch.device, threads: int) -> Iterator[None]:
    """The same rounding every time, and the user's generators and settings as they were afterwards."""
    before = torch.get_num_threads()
    cuda = device.type == "cuda"
    settings = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    devices = [torch.cuda.current_device() if device.index is None else device.index] if cuda else []
    with torch.random.fork_rng(devices=devices):
        try:
            torch.set_num_threads(threads)
            if cuda:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS adds in any order
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.benchmark = False
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(settings[0], warn_only=settings[1])
            torch.backends.cudnn.benchmark = benchmark
            if workspace is None:
                os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
