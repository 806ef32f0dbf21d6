"""Gradient descent: which weights decay, what an optimizer keeps, and how long a filter may grow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import TrainingError
from convscope.training.fields import choice, number, switch, value


@dataclass(frozen=True, kw_only=True)
class Descent(ABC):
    """How the weights follow the gradient; `rate` is multiplied with the schedule's factor."""

    rate: float = number("a learning rate above 0, as 0.1", above=True)
    decay: float = number("a weight decay of at least 0, as 5e-4", 0.0)

    @abstractmethod
    def start(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of PyTorch for the weights of `module`."""


@dataclass(frozen=True, kw_only=True)
class Sgd(Descent):
    """Stochastic gradient descent with momentum, and Nesterov's look ahead if wanted."""

    kind: str = choice(["sgd"], "sgd")
    momentum: float = number("a momentum from 0 to below 1", 0.9, high=0.9999)
    nesterov: bool = switch(False)

    def start(self, module: nn.Module) -> torch.optim.Optimizer:
        """See `Descent.start`."""
        look_ahead = self.nesterov and self.momentum > 0
        return torch.optim.SGD(groups(module, self.decay), self.rate, momentum=self.momentum, nesterov=look_ahead)


def _betas(given: Any) -> tuple[float, float]:
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise ValueError(given)
    first, second = given
    if not all(isinstance(each, float | int) and not isinstance(each, bool) and 0 <= each < 1 for each in given):
        raise ValueError(given)
    return float(first), float(second)


@dataclass(frozen=True, kw_only=True)
class AdamW(Descent):
    """Adam with the decay apart from the gradient [Loshchilov, Hutter, ICLR 2019]."""

    kind: str = choice(["adamw"], "adamw")
    betas: tuple[float, float] = value(_betas, "two numbers from 0 to below 1, as [0.9, 0.999]", (0.9, 0.999))

    def start(self, module: nn.Module) -> torch.optim.Optimizer:
        """See `Descent.start`."""
        return torch.optim.AdamW(groups(module, self.decay), self.rate, betas=self.betas)


OPTIMIZERS: dict[str, type[Descent]] = {"sgd": Sgd, "adamw": AdamW}


def groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """The weights in two groups: kernels and matrices, which decay, and biases and those of norms, which do not.

    A bias that is drawn to zero makes nothing simpler, and the scale of a norm is no slope of anything.

    Raises:
        TrainingError: there are no weights that learn.
    """
    norms = {id(each) for part in module.modules() if _is_norm(part) for each in part.parameters(recurse=False)}
    learning = [each for each in module.parameters() if each.requires_grad]
    decaying = [each for each in learning if each.dim() > 1 and id(each) not in norms]
    others = [each for each in learning if each.dim() <= 1 or id(each) in norms]
    parts = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    if not learning:
        raise TrainingError(f"{type(module).__name__}: it has no weights to learn; let some require a gradient")
    return [part for part in parts if part["params"]]


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def clamp_filters(module: nn.Module, radius: float) -> None:
    """Scale every filter of a convolution whose RMS is above `radius` back to it [Zeiler, Fergus; METHODS 2.3].

    It keeps a few filters of the first layer from drowning the others.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                size = part.weight.square().flatten(1).mean(1).sqrt()
                factor = torch.where(size > radius, radius / size, torch.ones_like(size))
                part.weight.mul_(factor.reshape(-1, *[1] * (part.weight.dim() - 1)))


def kept(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer remembers of each weight, by ``number|name``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}|{name}": tensor.detach().cpu().clone().contiguous()
        for index, values in state.items()
        for name, tensor in values.items()
        if isinstance(tensor, Tensor)
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `kept`, in the memory format of the weights: another one may round differently."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("|")
        like = weights[int(index)]
        fitting = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(index), {})[key] = fitting
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
