"""An oracle for fields: a network run so that a number is positive exactly where chosen pixels can reach it.

Weights are positive, max pooling is average pooling, non-linearities are the identity, and what multiplies or subtracts
is added, since a product depends on both factors. What is left is a sum of positive numbers, in which nothing cancels:
a cell depends on a pixel just where the number is not zero. All that decides where numbers come from (windows, strides,
paddings, views, slices, interpolations) is PyTorch's own. As all weights of a layer are alike, so are its channels;
they are kept once, which makes this hundreds of times faster.

>>> outputs = reach(net, images)  # of every convolution and linear layer, in the order in which they ran
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SAME = {
    "relu", "relu6", "threshold", "clamp", "clamp_min", "silu", "gelu", "hardswish", "hardtanh", "hardsigmoid", "elu",
    "leaky_relu", "prelu", "selu", "sigmoid", "tanh", "mish", "softplus", "exp", "log", "sqrt", "rsqrt", "square",
    "pow", "abs", "neg", "batch_norm", "local_response_norm", "dropout", "feature_dropout", "dropout2d", "float", "to",
    "type",
}  # fmt: skip
_SUMS = {"add", "radd", "mul", "rmul", "sub", "rsub", "div", "rdiv", "truediv", "rtruediv", "maximum", "minimum",
         "addcmul"}  # fmt: skip


@torch.no_grad()
def reach(net: nn.Module, images: Tensor, *, gates: bool = True) -> list[Tensor]:
    """Where the bright pixels of `images` (n, c, h, w), zero elsewhere, reach: of every layer (n, c, ...), >= 0.

    Args:
        gates: whether a factor that is the same at all positions counts.
    """
    Reach.outputs, Reach.gates = [], gates
    net(images.as_subclass(Reach))
    return [output.as_subclass(Tensor) for output in Reach.outputs]


class Reach(Tensor):
    """A tensor that depends on the image; every other one is a constant."""

    outputs: list[Tensor]
    gates: bool

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__.strip("_"), kwargs or {}
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if name in _SAME:
            return first
        if name in _SUMS:
            result = _sum(name, [each for each in args if isinstance(each, Tensor)], cls.gates)
            return _write(args[0], result) if func.__name__.endswith("d_") or kwargs.get("inplace") else result
        if name in _RULES:
            return _RULES[name](*args, **kwargs)
        if name in _SPATIAL and _alike(first):
            kwargs = {key: value for key, value in kwargs.items() if key != "value"}
            return _widen(super().__torch_function__(func, types, (first[:, :1], *args[1:]), kwargs), first.shape[1])
        return super().__torch_function__(func, types, args, kwargs)


def _alike(x: Tensor | None) -> bool:
    """Whether all channels of a map are one in memory."""
    return x is not None and x.ndim == 4 and x.stride(1) == 0


def _widen(x: Tensor, channels: int) -> Tensor:
    return x.expand(-1, channels, *x.shape[2:])


def _layer(x: Tensor) -> Tensor:
    """Keep what a layer gave, one channel of it; 1 for every positive number, or the product of many would be zero."""
    x = (x > 0).to(x.dtype)
    Reach.outputs.append(x)
    return x


def _convolve(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """With equal weights the channels of a group are summed first, and then a window goes over the sum."""
    x = x.as_subclass(Tensor)
    groups = 1 if x.stride(1) == 0 else groups
    x = x[:, :1] if x.stride(1) == 0 else x.unflatten(1, (groups, -1)).sum(2)
    if groups > 1 and weight.ndim == 4 and set(dilation) == {1}:  # the same, and much faster
        height, width = padding
        x = F.avg_pool2d(F.pad(x, (width, width, height, height)), tuple(weight.shape[2:]), stride)
    else:  # in double precision: the fast convolutions in single round, and leave 1e-8 where 0 should be
        convolve = {1: F.conv1d, 2: F.conv2d}[weight.ndim - 2]
        ones = torch.ones(groups, 1, *weight.shape[2:], dtype=torch.float64)
        x = convolve(x.double(), ones, None, stride, padding, dilation, groups).float()
    x = _layer(x)
    wide = x.unsqueeze(2).expand(-1, groups, len(weight) // groups, *x.shape[2:])
    return wide.flatten(1, 2).as_subclass(Reach)


def _linear(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    x = _layer(x.as_subclass(Tensor).sum(-1, keepdim=True))
    return x.expand(*x.shape[:-1], len(weight)).as_subclass(Reach)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Of matrices: with weights, a layer; of two values, rows of the first and columns of the second."""
    if not isinstance(y, Reach):
        return _linear(x, y.T)
    assert isinstance(x, Reach)
    return x.sum(-1, keepdim=True) + y.sum(-2, keepdim=True)


def _sum(name: str, terms: list[Tensor], gates: bool) -> Tensor:
    """The sum of what depends on the image, in the shape that all terms together have."""
    shape = torch.broadcast_shapes(*(term.shape for term in terms))
    depend = [term for term in terms if isinstance(term, Reach)]
    if "mul" in name and not gates and len(depend) > 1:
        depend = [term for term in depend if term.ndim != 4 or max(term.shape[2:]) > 1] or depend
    plain = [term.as_subclass(Tensor) for term in depend]
    if len(shape) == 4 and all(_alike(term) or (term.ndim == 4 and term.shape[1] == 1) for term in plain):
        total = sum(term[:, :1] for term in plain)
        return torch.as_tensor(total).expand(shape).as_subclass(Reach)
    return torch.as_tensor(sum(plain)).expand(shape).as_subclass(Reach)


def _write(x: Tensor, result: Tensor) -> Tensor:
    if _alike(x):  # its channels are one in memory, so it cannot be written to
        x.data = result.data
        return x
    return x.copy_(result)


def _average(x: Tensor, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
             **_: Any) -> Tensor:  # fmt: skip
    assert dilation in (1, (1, 1), [1, 1])
    return F.avg_pool2d(x, size, stride or size, padding, ceil_mode)


def _whole(x: Tensor, dims: Any) -> Tensor:
    return x + x.sum(dims, keepdim=True)


def _reduce(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    return x.sum(dim, keepdim=keepdim)


_SPATIAL = {"avg_pool2d", "adaptive_avg_pool2d", "interpolate", "pad", "mean", "clone"}
_RULES: dict[str, Callable[..., Any]] = {
    "conv1d": _convolve, "conv2d": _convolve, "linear": _linear, "matmul": _product, "bmm": _product,
    "max_pool2d": _average, "max_pool2d_with_indices": _average,
    "group_norm": lambda x, *_, **__: _whole(x, (1, 2, 3)),
    "instance_norm": lambda x, *_, **__: _whole(x, (2, 3)),
    "layer_norm": lambda x, shape, *_, **__: _whole(x, tuple(range(-len(shape), 0))),
    "softmax": lambda x, dim, *_, **__: _whole(x, dim),
    "amax": _reduce, "norm": lambda x, p=2, dim=None, keepdim=False, **_: _reduce(x, dim, keepdim),
    "max": lambda x, dim, keepdim=False: (_reduce(x, dim, keepdim), None),
    "adaptive_max_pool2d": F.adaptive_avg_pool2d,
}  # fmt: skip
