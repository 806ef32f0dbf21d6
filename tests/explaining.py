"""Small networks to explain, and what is left on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import convscope
from convscope.network import Network
from odd_nets import OddNet


def network_of(module: nn.Module, shape: tuple[int, int, int], **options: Any) -> Network:
    """A network for images (c, h, w) that are not normalised."""
    return convscope.wrap(module.eval(), preprocess={"size": shape[1:], "channels": shape[0]}, **options)


def odd_network(odd: OddNet) -> Network:
    return network_of(odd.make(), odd.shape)


def classifier(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    """Layers with normally distributed weights, in float64."""
    net = nn.Sequential(*layers).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / 3)
    return net


def images_of(count: int, *shape: int, seed: int = 0) -> Tensor:
    """Normally distributed, (count, c, h, w) in float64."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state(module: nn.Module) -> list[Any]:
    """All that a call could leave on a module, to be compared."""
    hooks = [name for name in vars(module) if name.endswith("hooks")]
    return [
        [(name, tensor.tolist()) for name, tensor in [*module.named_parameters(), *module.named_buffers()]],
        [None if parameter.grad is None else parameter.grad.tolist() for parameter in module.parameters()],
        [parameter.requires_grad for parameter in module.parameters()],
        [(each.training, sorted(vars(each))) for each in module.modules()],
        [len(getattr(each, name)) for each in module.modules() for name in hooks],
    ]
