"""How the learning rate goes: a factor for every step, from nothing but the step's number.

So there is no state to keep. Steps count from 0 over the whole training; a schedule that speaks of epochs means their
beginnings, counted from 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from convscope.training.fields import choice, counts, number


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """What the rate of the optimizer is multiplied with."""

    @abstractmethod
    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """The factor at step number `step` of `steps`, of which an epoch has `per_epoch`."""


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same rate throughout, after a linear warm-up."""

    kind: str = choice(["constant"], "constant")
    warmup: float = number("a number of epochs, as 0.5", 0.0)

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """See `Schedule.factor`."""
        return _warm(step, self.warmup, per_epoch)


@dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """The rate is multiplied with `drop` at the end of each of some epochs [Krizhevsky et al. 2012: 0.1, by hand]."""

    kind: str = choice(["step"], "step")
    warmup: float = number("a number of epochs, as 0.5", 0.0)
    after: tuple[int, ...] = counts("the epochs after which the rate drops, as [30, 60]")
    drop: float = number("a factor from 0 to 1, as 0.1", 0.1, high=1.0, above=True)

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """See `Schedule.factor`."""
        drops = sum(step >= epoch * per_epoch for epoch in self.after)
        return float(_warm(step, self.warmup, per_epoch) * self.drop**drops)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a wave of the cosine from 1 to `final`, after a linear warm-up [Loshchilov, Hutter, ICLR 2017]."""

    kind: str = choice(["cosine"], "cosine")
    warmup: float = number("a number of epochs, as 0.5", 0.0)
    final: float = number("a factor from 0 to 1", 0.0, high=1.0)

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """See `Schedule.factor`."""
        rise = _rise(self.warmup, per_epoch)
        done = max(0, step - rise) / max(1, steps - rise)
        return _warm(step, self.warmup, per_epoch) * _between(1.0, self.final, min(1.0, done))


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up to the full rate and down again, in two half waves [Smith, Topin 2018], as PyTorch's OneCycleLR goes.

    Args:
        rise: the share of the steps on which the rate rises.
        first: the factor at the first step.
        final: the factor at the last step.
    """

    kind: str = choice(["one-cycle"], "one-cycle")
    rise: float = number("a share of the steps above 0 and below 1", 0.3, high=0.99, above=True)
    first: float = number("a factor from 0 to 1", 1 / 25, high=1.0)
    final: float = number("a factor from 0 to 1", 1 / 250_000, high=1.0)

    def factor(self, step: int, steps: int, per_epoch: int) -> float:
        """See `Schedule.factor`."""
        top, last = self.rise * steps - 1, steps - 1
        if step <= top and top > 0:
            return _between(self.first, 1.0, step / top)
        top = max(top, 0.0)
        return _between(1.0, self.final, min(1.0, (step - top) / max(last - top, 1e-9)))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Steps,
    "cosine": Cosine,
    "one-cycle": OneCycle,
}


def _rise(warmup: float, per_epoch: int) -> int:
    """Steps of the warm-up."""
    return math.ceil(warmup * per_epoch)


def _warm(step: int, warmup: float, per_epoch: int) -> float:
    """1/n, 2/n, ... to 1 over the n steps of the warm-up."""
    return min(1.0, (step + 1) / max(1, _rise(warmup, per_epoch)))


def _between(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a wave of the cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
