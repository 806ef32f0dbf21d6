"""What the families share: channel counts by a factor, first weights, norms, and the size of what comes out."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convscope.errors import NetworkError

Module = TypeVar("Module", bound=nn.Module)

STEP = 8  # channel counts are multiples of it, so that two groups always fit


class TooSmallError(NetworkError):
    """An input of which a convolution or a pool leaves nothing."""


def scaled(channels: int, width: float) -> int:
    """A channel count times the factor `width`: the nearest multiple of 8, and at least 8."""
    return max(STEP, round(channels * width / STEP) * STEP)


def he(module: Module) -> Module:
    """First weights that keep the size of signals behind rectifiers, in place: He et al., "Delving deep", 2015.

    The papers before it drew from N(0, 0.01) whatever the fan-in, with which a network of another width learns nothing;
    the last linear layer is drawn like that, so that no class is preferred at first.
    """
    parts = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for part in parts:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    if isinstance(parts[-1], nn.Linear):
        nn.init.normal_(parts[-1].weight, 0, 0.01)
    return module


def conv_relu(
    inputs: int, units: int, kernel: int, stride: int = 1, padding: int = 0, norm: str = "none"
) -> list[nn.Module]:
    """A convolution with biases, a batch norm where `norm` is "batch", and a rectifier."""
    batch = [nn.BatchNorm2d(units)] if norm == "batch" else []
    return [nn.Conv2d(inputs, units, kernel, stride, padding), *batch, nn.ReLU(inplace=True)]


def lrn() -> nn.LocalResponseNorm:
    """Local response normalisation over 5 channels as in the AlexNet paper: k = 2, α = 1e-4, β = 0.75.

    PyTorch divides α by the number of channels, and the paper does not.
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


def caffe_lrn() -> nn.LocalResponseNorm:
    """The same as Caffe reads ``alpha: 0.0001``: k = 1, and α is divided by 5, as PyTorch does."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)


def output_shape(module: nn.Module, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The shape of what `module` gives for an image (channels, height, width); nothing is computed.

    Raises:
        TooSmallError: nothing is left of the image.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    try:
        with torch.no_grad():  # two images, because a batch norm in training mode wants more than one number
            result: Tensor = functional_call(module, shapes, torch.empty(2, *shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise TooSmallError(f"an input of {shape[1]} × {shape[2]} px is too small ({error})") from error
    return tuple(result.shape[1:])
