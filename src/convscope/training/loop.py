"""The loop: batches, gradients, steps, and the accuracy after every epoch.

All chance comes from generators whose seed is made of the recipe's seed, a purpose, the epoch and the step: the order
of an epoch, the augmentation of a batch, and what the network itself draws, such as dropout. So a training that goes on
in the middle of an epoch needs no more than the number of the step to draw what it would have drawn.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from convscope.errors import ConvscopeError, TrainingError
from convscope.network import Network, logits
from convscope.scanner.plan import channels_last
from convscope.shards import ShardState
from convscope.training import optimizers
from convscope.training.examples import Examples
from convscope.training.folder import weights
from convscope.training.recipe import Recipe

LOOK = 16  # steps between two looks at the losses; each look waits for the device


@dataclass
class Sums:
    """What the batches of an epoch gave so far."""

    loss: float = 0.0
    right: int = 0
    seen: int = 0

    def add(self, loss: float, right: int, count: int) -> None:
        """Take in a batch with its mean loss."""
        self.loss, self.right, self.seen = self.loss + loss * count, self.right + right, self.seen + count


@dataclass
class Position:
    """How far a training is: whole epochs, steps in the next one, and seconds of work."""

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    sums: Sums = field(default_factory=Sums)


@dataclass
class Loop:
    """One training in memory.

    Args:
        examples: what is trained on; `held_out` measures the accuracy.
        fresh: the names of random weights, where the others are those of a checkpoint.
    """

    recipe: Recipe
    network: Network
    examples: Examples
    held_out: Examples
    device: torch.device
    fresh: list[str] | None = None
    position: Position = field(default_factory=Position)
    _looked: list[tuple[int, Tensor, Tensor, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # In this memory format an AlexNet-like network learns 1.6 times as fast on a CPU.
        self.module: nn.Module = self.network.module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self.recipe.optimizer.start(self.module)

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self.examples) / self.recipe.course.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole training that are done."""
        return self.position.epochs * self.per_epoch + self.position.steps

    def epoch(self) -> Iterator[int]:
        """Train until the end of the epoch; after every step, how many images it was of."""
        size, course = self.recipe.course.batch_size, self.recipe.course
        order = torch.randperm(len(self.examples), generator=self._generator("order", self.position.epochs)).tolist()
        self.module.train()
        for inputs, truth, planned in self.examples.batches(order[self.position.steps * size :], size):
            if len(truth) > 1 or (course.batch_size == 1 and len(truth)):  # no batch norm can learn from one image
                self._step(inputs, truth)
            self.position.steps += 1
            if self.position.steps % LOOK == 0:
                self.settle()
            yield planned
        self.settle()
        self.examples.check_read(self.position.sums.seen)

    def rate(self, step: int) -> float:
        """The learning rate of step number `step` of the training, from 0."""
        total = self.recipe.course.epochs * self.per_epoch
        return self.recipe.optimizer.rate * self.recipe.schedule.factor(step, total, self.per_epoch)

    def _step(self, inputs: Tensor, truth: Tensor) -> None:
        where, course = (self.position.epochs, self.position.steps), self.recipe.course
        images = inputs.to(self.device)
        images = self.recipe.augmentation(images, self.network.preprocess, self._generator("augmentation", *where))
        truth = truth.to(self.device)
        self._seed_network(*where)
        scores = self._scores(images, course.precision)
        loss = F.cross_entropy(scores, truth, label_smoothing=course.label_smoothing)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.steps)
        self.optimizer.step()
        if course.max_filter_rms is not None:
            optimizers.clamp_filters(self.module, course.max_filter_rms)
        right = (scores.detach().argmax(1) == truth).sum()
        self._looked.append((self.steps, loss.detach(), right, len(truth)))

    def _scores(self, images: Tensor, precision: str) -> Tensor:
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                return logits(self.module(channels_last(images))).float()
        except (ConvscopeError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise TrainingError(f"{self.network.name}: the network failed at step {self.steps + 1}: {error}") from error

    def settle(self) -> None:
        """Look at the losses of the last steps.

        Raises:
            TrainingError: one of them is no number.
        """
        for step, loss, right, count in self._looked:
            value = float(loss)
            self._check(value, step, "loss")
            self.position.sums.add(value, int(right), count)
        self._looked.clear()

    def _check(self, value: float, step: int, what: str) -> None:
        if not math.isfinite(value):
            epoch = step // self.per_epoch + 1
            raise TrainingError(
                f"the {what} is {value} at step {step + 1}, in epoch {epoch} of {self.recipe.course.epochs}: the "
                f"training went astray. Give a lower rate in [optimizer] (it is {self.recipe.optimizer.rate:g}) or "
                "a longer warmup in [schedule], and another folder; the checkpoints up to there are kept"
            )

    def evaluate(self) -> Sums:
        """Loss and accuracy on the held-out images, in evaluation mode and float32, as a loaded checkpoint gives it.

        Raises:
            TrainingError: the loss is no number.
        """
        self.module.eval()
        sums = Sums()
        with torch.no_grad():
            for inputs, truth, _ in self.held_out.batches(range(len(self.held_out)), self.recipe.course.batch_size):
                if len(truth):
                    scores, truth = self._scores(inputs.to(self.device), "float32"), truth.to(self.device)
                    right = int((scores.argmax(1) == truth).sum())
                    sums.add(float(F.cross_entropy(scores, truth)), right, len(truth))
        self.held_out.check_read(sums.seen)
        self._check(sums.loss, self.steps - 1, "loss on the validation images")
        return sums

    def state(self, log: dict[str, Any]) -> ShardState:
        """All that it takes to go on from here, with the log so far."""
        self.settle()
        tensors = {f"weights|{name}": tensor for name, tensor in weights(self.module).items()}
        tensors |= {f"optimizer|{name}": tensor for name, tensor in optimizers.kept(self.optimizer).items()}
        return ShardState(tensors, {"position": dataclasses.asdict(self.position), "log": json.loads(json.dumps(log))})

    def restore(self, state: ShardState) -> dict[str, Any]:
        """The inverse of `state`; gives back the log."""
        position = dict(state.meta["position"])
        self.position = Position(**position | {"sums": Sums(**position["sums"])})
        self.module.load_state_dict(_part(state, "weights"))
        optimizers.restore(self.optimizer, _part(state, "optimizer"))
        return dict(state.meta["log"])

    def next_epoch(self, started: float) -> None:
        """Count an epoch that is done."""
        self.position = Position(self.position.epochs + 1, 0, self.position.seconds + time.perf_counter() - started)

    def _generator(self, purpose: str, *where: int) -> Generator:
        return Generator().manual_seed(derived(self.recipe.course.seed, purpose, *where))

    def _seed_network(self, *where: int) -> None:
        """For what the network draws itself; the caller has put the user's own generators away."""
        seed = derived(self.recipe.course.seed, "network", *where)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            torch.cuda.default_generators[index].manual_seed(seed)


def derived(seed: int, purpose: str, *where: int) -> int:
    """A seed for one purpose at one place, as far from all others as chance can be."""
    digest = hashlib.sha256(json.dumps([seed, purpose, *where]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _part(state: ShardState, name: str) -> dict[str, Tensor]:
    prefix = f"{name}|"
    return {key.removeprefix(prefix): tensor for key, tensor in state.tensors.items() if key.startswith(prefix)}
