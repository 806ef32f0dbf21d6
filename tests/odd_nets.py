"""Tiny networks, each with a trap that a tool for networks falls into; every method has to work on every one.

A new bug becomes a new odd net. Images are not square, so that a swap of rows and columns shows.

>>> odd = ODD_NETS["residual"]
>>> net, images = odd.make(), odd.images(2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class OddNet:
    """How to make an odd network, and what is true of it.

    Args:
        shape: of one image, (c, h, w).
        reads: address of every convolution and linear layer, in the order in which they run -> the ATen operations
            between its output and the response at which its units are read, as in ``"batch_norm relu"``.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    reads: dict[str, str]

    def make(self, seed: int = 0) -> nn.Module:
        """The network in evaluation mode, the same for the same seed; the global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.build().eval()
            _unsettle_norms(net)
        return net

    def images(self, count: int = 2, seed: int = 0) -> Tensor:
        """Normally distributed images (count, c, h, w)."""
        return torch.randn(count, *self.shape, generator=torch.Generator().manual_seed(seed))


ODD_NETS: dict[str, OddNet] = {}


def odd(shape: tuple[int, int, int], reads: str) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Register a network; `reads` lists its layers, each with what follows: ``"0 batch_norm relu, 3 relu, head"``."""
    truth = {address: path for address, _, path in (layer.partition(" ") for layer in reads.split(", "))}

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        ODD_NETS[build.__name__] = OddNet(build.__name__, build, shape, truth)
        return build

    return register


def _unsettle_norms(net: nn.Module) -> None:
    """Fresh batch norms do nothing in evaluation mode; give them something to do."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)


class Net(nn.Module):
    """A network whose forward pass is a function of itself and its input, to be written in one line."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **children: Any) -> None:
        super().__init__()
        self.run = run
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the size of the map, unless `options` say otherwise."""
    return nn.Conv2d(inputs, outputs, size, **({"padding": size // 2} | options))


# --- the form of a network -------------------------------------------------------------------------------------------


@odd((3, 9, 11), ".")
def single_conv() -> nn.Module:
    return nn.Conv2d(3, 4, 3, stride=2)


@odd((3, 16, 20), "0 relu, 3 relu, 7 relu, 9")
def fully_connected_head() -> nn.Module:
    features = [conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(100, 6), nn.ReLU(), nn.Linear(6, 3))


@odd((3, 16, 20), "features.0 relu, features.2 relu, head")
def pooled_head() -> nn.Module:
    features = nn.Sequential(conv(3, 4, stride=2), nn.ReLU(), conv(4, 5), nn.ReLU())
    return Net(lambda net, x: net.head(net.features(x).mean((2, 3))), features=features, head=nn.Linear(5, 3))


@odd((3, 16, 20), "0 relu, 2 relu, 6")
def adaptive_head() -> nn.Module:
    features = [conv(3, 4, stride=2), nn.ReLU(), conv(4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3))]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(30, 3))


@odd((10, 8, 12), "0 relu, 2")
def ten_channels() -> nn.Module:
    return nn.Sequential(conv(10, 6), nn.ReLU(), conv(6, 2, 1))


@odd((1, 12, 14), "stem relu, a, b relu")
def tuple_output() -> nn.Module:
    def run(net: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        y = F.relu(net.stem(x))
        return net.a(y), [F.relu(net.b(y))]

    return Net(run, stem=conv(1, 4), a=conv(4, 2), b=conv(4, 3, 1))


@odd((3, 12, 14), "stem relu, head")
def dict_output() -> nn.Module:
    def run(net: Any, x: Tensor) -> dict[str, Tensor]:
        y = F.relu(net.stem(x))
        return {"map": y, "scores": net.head(y.amax((2, 3)))}

    return Net(run, stem=conv(3, 4), head=nn.Linear(4, 2))


@odd((3, 10, 12), "stem relu, second relu")
def output_before_relu() -> nn.Module:
    """What is returned was written over in place by then, so the units are read after the rectifier all the same."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = net.stem(x)
        z = net.second(F.relu_(y))
        return y, F.relu(z)

    return Net(run, stem=conv(3, 4), second=conv(4, 4))


@odd((3, 10, 12), "stem")
def output_and_relu() -> nn.Module:
    """The raw output is a result of its own, so the rectifier does not follow alone."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = net.stem(x)
        return y, F.relu(y)

    return Net(run, stem=conv(3, 4))


# --- spellings of the rectifier --------------------------------------------------------------------------------------


@odd((3, 12, 14), "0 relu, 2 relu, 4 relu")
def inplace_relu() -> nn.Module:
    layers = [conv(3, 4), nn.ReLU(inplace=True), conv(4, 4), nn.ReLU(inplace=True), conv(4, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@odd((3, 12, 14), "a relu, b relu, c relu")
def reused_relu() -> nn.Module:
    return Net(
        lambda net, x: net.relu(net.c(net.relu(net.b(net.relu(net.a(x)))))),
        a=conv(3, 4), b=conv(4, 4), c=conv(4, 2), relu=nn.ReLU(inplace=True),
    )  # fmt: skip


@odd((3, 12, 14), "a relu, b relu, c relu, d clamp, e clamp_min, f threshold")
def functional_relu() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = torch.relu(net.b(F.relu(net.a(x))))
        x = net.d(net.c(x).relu_()).clamp(min=0)
        return F.threshold(net.f(net.e(x).clamp_min_(0)), 0, 0)

    children = {name: conv(3 if name == "a" else 4, 4) for name in "abcdef"}
    return Net(run, **children)


@odd((3, 12, 14), "a, b, c")
def no_rectifier() -> nn.Module:
    """Clamps at other numbers than zero are none either."""
    return Net(lambda net, x: net.c(net.b(net.a(x)).clamp(-1, 1)), a=conv(3, 4), b=conv(4, 4), c=conv(4, 2))


@odd(
    (3, 12, 14),
    "0 silu, 2 gelu, 4 hardswish, 6 hardtanh, 8 leaky_relu, 10 _prelu_kernel, 12 elu, 14 sigmoid, 16 tanh, 18 mish",
)
def many_nonlinearities() -> nn.Module:
    kinds = [nn.SiLU(inplace=True), nn.GELU(), nn.Hardswish(), nn.ReLU6(inplace=True), nn.LeakyReLU(), nn.PReLU(4)]
    kinds += [nn.ELU(), nn.Sigmoid(), nn.Tanh(), nn.Mish()]
    layers = [layer for i, kind in enumerate(kinds) for layer in (conv(4 if i else 3, 4), kind)]
    return nn.Sequential(*layers)


@odd((3, 12, 14), "a relu, b relu, c, head relu")
def dropouts() -> nn.Module:
    """In evaluation mode a dropout is nothing, also between a layer and its rectifier."""
    return Net(
        lambda net, x: F.relu(net.head(F.dropout(net.c(net.drop(F.relu(net.b(F.relu(net.drop(net.a(x))))))), 0.5,
                                                 net.training).mean((2, 3)))),
        a=conv(3, 4), b=conv(4, 4), c=conv(4, 2), drop=nn.Dropout2d(0.5), head=nn.Linear(2, 2),
    )  # fmt: skip


# --- batch norm and its like -----------------------------------------------------------------------------------------


@odd((3, 12, 14), "0 batch_norm relu, 3 batch_norm relu, 6 batch_norm")
def negative_scale() -> nn.Module:
    """A negative scale turns the ranking of raw outputs around."""
    norms = [nn.BatchNorm2d(4) for _ in range(3)]
    for norm in norms:
        nn.init.uniform_(norm.weight, -2, -0.5)
    return nn.Sequential(
        conv(3, 4, bias=False), norms[0], nn.ReLU(inplace=True), conv(4, 4), norms[1], nn.ReLU(), conv(4, 4), norms[2]
    )


@odd((3, 12, 14), "0, 3, 6")
def statistics_norms() -> nn.Module:
    """Norms whose statistics come from the image, so that every unit sees all of it, if only a little."""
    return nn.Sequential(
        conv(3, 4), nn.GroupNorm(2, 4), nn.ReLU(), conv(4, 4), nn.InstanceNorm2d(4), nn.ReLU(), conv(4, 2)
    )


@odd((3, 12, 14), "a, b relu, c relu")
def response_normalisation() -> nn.Module:
    """Local response normalisation (AlexNet) reaches over channels only; it pools in three dimensions to do so."""
    return Net(
        lambda net, x: F.relu(net.c(net.norm(F.relu(net.b(net.norm(net.a(x))))))),
        a=conv(3, 6, stride=2), b=conv(6, 6), c=conv(6, 2), norm=nn.LocalResponseNorm(3),
    )  # fmt: skip


# --- branches --------------------------------------------------------------------------------------------------------


@odd((3, 16, 20), "stem batch_norm relu, conv1 batch_norm relu, conv2 batch_norm, down batch_norm, head")
def residual() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.relu(net.n0(net.stem(x)))
        y = net.n2(net.conv2(net.relu(net.n1(net.conv1(x)))))
        y += net.n3(net.down(x))
        return net.head(F.adaptive_avg_pool2d(net.relu(y), 1).flatten(1))

    norms = {f"n{i}": nn.BatchNorm2d(4) for i in range(4)}
    convs = {"stem": conv(3, 4, 7, stride=2), "conv1": conv(4, 4, stride=2), "conv2": conv(4, 4)}
    down = conv(4, 4, 1, stride=2)
    return Net(run, **convs, **norms, down=down, relu=nn.ReLU(inplace=True), head=nn.Linear(4, 3))


@odd((3, 12, 14), "stem, a batch_norm relu, b")
def preactivation() -> nn.Module:
    """The rectifiers come before the convolutions, and the branch before the rectifier."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        return x + net.b(F.relu(net.n1(net.a(F.relu(net.n0(x))))))

    return Net(run, stem=conv(3, 4), n0=nn.BatchNorm2d(4), a=conv(4, 4), n1=nn.BatchNorm2d(4), b=conv(4, 4))


@odd((3, 12, 14), "a, b batch_norm, c")
def branch_before_relu() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        z = net.norm(net.b(F.relu(y) + y))
        return net.c(torch.cat([F.relu(z), z.sigmoid()], 1))

    return Net(run, a=conv(3, 4), b=conv(4, 4), norm=nn.BatchNorm2d(4), c=conv(8, 2))


@odd((3, 12, 14), "a relu, b.0 relu, b.2 relu, c.0 relu, d.1 relu, e")
def inception() -> nn.Module:
    return Net(
        lambda net, x: net.e(torch.cat([F.relu(net.a(x)), net.b(x), net.c(x), net.d(x)], dim=1)),
        a=conv(3, 2, 1), b=nn.Sequential(conv(3, 2, 1), nn.ReLU(), conv(2, 3), nn.ReLU()),
        c=nn.Sequential(conv(3, 2, 5), nn.ReLU()), d=nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(3, 2, 1), nn.ReLU()),
        e=conv(9, 2),
    )  # fmt: skip


@odd((3, 12, 14), "a relu, b relu, c relu")
def dense() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        for layer in (net.a, net.b, net.c):
            x = torch.cat([x, F.relu(layer(x))], 1)
        return x

    return Net(run, a=conv(3, 2), b=conv(5, 2), c=conv(7, 2))


@odd((3, 16, 20), "a relu, b, c, d relu")
def misaligned() -> nn.Module:
    """Branches whose fields have different centres and sizes: the union is none of them."""

    def run(net: Any, x: Tensor) -> Tensor:
        y = F.relu(net.a(x))
        return F.relu(net.d(torch.cat([net.b(x) + net.c(y), F.avg_pool2d(y, 2)], 1)))

    strides = {"b": conv(3, 4, 2, stride=2, padding=0), "c": conv(4, 4, 3, stride=2)}
    return Net(run, a=conv(3, 4), **strides, d=conv(8, 2))


@odd((3, 12, 14), "a, b, d, c")
def maxout() -> nn.Module:
    return Net(
        lambda net, x: torch.max(net.d(torch.maximum(net.a(x), net.b(x))), net.c(x)),
        a=conv(3, 4), b=conv(3, 4, 5), c=conv(3, 4, 1), d=conv(4, 4),
    )  # fmt: skip


@odd((3, 12, 14), "stem relu, down relu, up sigmoid, last relu")
def squeeze_excite() -> nn.Module:
    """A gate: a global pool whose result only multiplies."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        gate = torch.sigmoid(net.up(F.relu(net.down(F.adaptive_avg_pool2d(x, 1)))))
        return F.relu(net.last(x * gate))

    return Net(run, stem=conv(3, 4), down=conv(4, 2, 1), up=conv(2, 4, 1), last=conv(4, 3))


@odd((3, 12, 14), "stem relu, context, last relu")
def added_context() -> nn.Module:
    """A global pool that is added is no gate: every unit after it does see the whole image."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        return F.relu(net.last(x + net.context(x.mean((2, 3)))[:, :, None, None]))

    return Net(run, stem=conv(3, 4), context=nn.Linear(4, 4), last=conv(4, 3))


@odd((3, 12, 14), "stem relu, mask sigmoid, last relu")
def spatial_attention() -> nn.Module:
    """A gate with a value for every position is a branch like any other."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        mask = net.mask(torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1))
        return F.relu(net.last(x * mask.sigmoid()))

    return Net(run, stem=conv(3, 4), mask=conv(2, 1, 5), last=conv(4, 3))


# --- modules and their names -----------------------------------------------------------------------------------------


@odd((3, 12, 14), "first relu, first~1 relu, first~2")
def alias() -> nn.Module:
    """One module under two names."""
    shared = conv(3, 3)
    return Net(lambda net, x: net.first(F.relu(net.second(F.relu(net.first(x))))), first=shared, second=shared)


@odd((3, 12, 14), "stem relu, block.0 relu, block.0~1 relu, head")
def called_twice() -> nn.Module:
    return Net(
        lambda net, x: net.head(net.block(net.block(F.relu(net.stem(x))))),
        stem=conv(3, 4), block=nn.Sequential(conv(4, 4), nn.ReLU(inplace=True)), head=conv(4, 2),
    )  # fmt: skip


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.other = nn.Parameter(torch.randn(4, 4, 1, 1))
        self.matrix = nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.relu(F.conv2d(x, self.weight, padding=1)), self.other)
        return x.amax((2, 3)) @ self.matrix.T


@odd((3, 12, 14), "./convolution relu, ./convolution~1, ./mm")
def functional_layers() -> nn.Module:
    """No modules at all: layers are named by their operation."""
    return _Functional()


@odd((3, 12, 14), "0 relu, 2 relu")
def weight_norm() -> nn.Module:
    """The weights are computed anew at every call."""
    normed = nn.utils.parametrizations.weight_norm(conv(3, 4))
    return nn.Sequential(normed, nn.ReLU(), conv(4, 3), nn.ReLU())


@odd((3, 12, 14), "0 relu, 2 relu")
def frozen() -> nn.Module:
    """Weights that need no gradient."""
    return nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 3), nn.ReLU(inplace=True)).requires_grad_(False)


@odd((3, 12, 14), "a relu, b")
def writes_its_input() -> nn.Module:
    return Net(lambda net, x: net.b(F.relu(net.a(x.sub_(0.5).mul_(2)))), a=conv(3, 4), b=conv(4, 2))


@odd((3, 12, 14), "a, b relu")
def writes_through_a_view() -> nn.Module:
    """Two of the four channels are rectified, in place, through a view."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        x[:, :2].relu_()
        return F.relu(net.b(x))

    return Net(run, a=conv(3, 4), b=conv(4, 2))


@odd((3, 12, 14), "a relu, b, c relu")
def writes_a_part() -> nn.Module:
    """Some rows of a map receive another map."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.a(x))
        y = net.b(x)
        x = x.clone()  # autograd keeps the original
        x[:, :, 2:6] += y[:, :, 6:10]
        return F.relu(net.c(x))

    return Net(run, a=conv(3, 4), b=conv(4, 4, 5), c=conv(4, 2))


# --- geometry --------------------------------------------------------------------------------------------------------


@odd((3, 17, 21), "0 relu, 2 relu, 4 relu")
def even_kernels() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 2), nn.Conv2d(4, 4, 4, stride=2, padding=1), nn.Conv2d(4, 3, (2, 4), padding=(0, 2))]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU())


@odd((3, 16, 20), "a relu, b relu")
def asymmetric_padding() -> nn.Module:
    """As TensorFlow pads: more behind than before."""
    return Net(
        lambda net, x: F.relu(net.b(F.pad(F.relu(net.a(F.pad(x, (0, 1, 0, 1)))), (1, 2, 2, 1)))),
        a=nn.Conv2d(3, 4, 3, stride=2), b=nn.Conv2d(4, 2, 4),
    )  # fmt: skip


@odd((3, 16, 20), "0 relu, 3 relu, 6 relu")
def ceil_pooling() -> nn.Module:
    """Windows that overlap, and reach beyond the border at one end only."""
    pools = [nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d((3, 2), (2, 3), (1, 0), ceil_mode=True)]
    return nn.Sequential(conv(3, 4), nn.ReLU(), pools[0], conv(4, 4), nn.ReLU(), pools[1], conv(4, 3), nn.ReLU())


@odd((3, 17, 21), "0 relu, 2 relu, 4 relu")
def dilated() -> nn.Module:
    layers = [conv(3, 4, dilation=2, padding=2), conv(4, 4, dilation=(3, 1), padding=(3, 1)), conv(4, 2, stride=2)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU())


@odd((4, 12, 14), "0 relu, 2 relu, 4 relu")
def grouped() -> nn.Module:
    layers = [conv(4, 4, groups=4), conv(4, 6, 1), conv(6, 4, groups=2, stride=2)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU())


@odd((3, 12, 14), "0 relu, 2 relu, 4 relu")
def transposed() -> nn.Module:
    up = nn.ConvTranspose2d(4, 4, (3, 4), stride=2, padding=1, output_padding=(1, 0))
    return nn.Sequential(conv(3, 4, stride=2), nn.ReLU(), up, nn.ReLU(), conv(4, 2), nn.ReLU())


@odd((3, 9, 11), "0 relu, 2 relu, 4 relu")
def transposed_with_holes() -> nn.Module:
    """A stride larger than the kernel: some cells see nothing at all."""
    up = nn.ConvTranspose2d(4, 4, 2, stride=3)
    return nn.Sequential(conv(3, 4, stride=2), nn.ReLU(), up, nn.ReLU(), conv(4, 2), nn.ReLU())


@odd((3, 16, 20), "enc relu, deep relu, up relu, dec relu")
def nearest_upsampling() -> nn.Module:
    """A U-net of one step."""

    def run(net: Any, x: Tensor) -> Tensor:
        skip = F.relu(net.enc(x))
        deep = F.relu(net.up(F.interpolate(F.relu(net.deep(F.max_pool2d(skip, 2))), scale_factor=2)))
        return F.relu(net.dec(torch.cat([skip, deep], 1)))

    return Net(run, enc=conv(3, 4), deep=conv(4, 4), up=conv(4, 4), dec=conv(8, 2))


@odd((3, 14, 20), "a relu, b relu, c relu, d relu")
def bilinear_upsampling() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = F.interpolate(F.relu(net.a(x)), scale_factor=2, mode="bilinear", align_corners=False)
        x = F.interpolate(F.relu(net.b(x)), size=(17, 19), mode="bilinear", align_corners=True)
        return F.relu(net.d(F.interpolate(F.relu(net.c(x)), size=(20, 9), mode="bicubic")))

    return Net(run, a=conv(3, 4, stride=2), b=conv(4, 4), c=conv(4, 4, 1), d=conv(4, 2))


@odd((3, 10, 14), "a relu, b relu, c relu")
def uneven_upsampling() -> nn.Module:
    """By a factor that does not divide: PyTorch goes by the factor, not by the sizes."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.interpolate(F.relu(net.a(x)), scale_factor=1.5)
        x = F.interpolate(F.relu(net.b(x)), scale_factor=1.3, mode="bilinear")
        return F.relu(net.c(F.interpolate(x, scale_factor=0.7, mode="nearest-exact")))

    return Net(run, a=conv(3, 4, stride=2), b=conv(4, 4, 1), c=conv(4, 4, 1))


@odd((3, 12, 16), "a relu, b relu, c relu")
def pixel_shuffle() -> nn.Module:
    return Net(
        lambda net, x: F.relu(net.c(F.pixel_unshuffle(F.relu(net.b(F.pixel_shuffle(F.relu(net.a(x)), 2))), 4))),
        a=conv(3, 8, stride=2), b=conv(2, 2), c=conv(32, 3),
    )  # fmt: skip


@odd((3, 12, 14), "a relu, b relu, c relu, d relu")
def channel_shuffle() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.a(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        left, right = F.relu(net.b(x)).chunk(2, dim=1)
        x = torch.cat([F.relu(net.c(left)), right], 1)
        return F.relu(net.d(F.channel_shuffle(x, 2)[:, torch.tensor([2, 0, 3, 1])]))

    return Net(run, a=conv(3, 4, stride=2), b=conv(4, 4), c=conv(2, 2), d=conv(4, 2, groups=2))


@odd((3, 16, 20), "a relu, b relu, c relu")
def cropped() -> nn.Module:
    """Crops, also through the middle, with a step, from behind and mirrored."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.a(x))[:, :, 2:-1, 3:]
        x = F.relu(net.b(x))[..., ::2, 1:9]
        return F.relu(net.c(F.pad(x.flip(3), (-1, 0, 0, -2))))

    return Net(run, a=conv(3, 4, padding=0), b=conv(4, 4, padding=0), c=conv(4, 2, padding=0))


@odd((3, 16, 20), "0 relu, 3 relu, 5 relu")
def reflection_padding() -> nn.Module:
    """Padding that shows real pixels, so that cells near the border see more of them than their window holds."""
    reflected, replicated = (nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode) for mode in ("reflect", "replicate"))
    return nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.ReflectionPad2d((3, 2, 1, 4)), reflected, nn.ReLU(), replicated, nn.ReLU()
    )


@odd((3, 10, 12), "0 relu, 2 relu")
def circular_padding() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), conv(4, 2), nn.ReLU())


@odd((3, 10, 12), "a relu, b relu, c relu")
def padded_by_hand() -> nn.Module:
    """Constants that only take their shape from the map: a row put before it, columns around it."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.a(x))
        x = F.relu(net.b(torch.cat([torch.zeros_like(x[:, :, :1]), x], 2)))
        frame = x.new_zeros(*x.shape[:3], x.shape[3] + 2)
        frame[..., 1:-1] = x
        return F.relu(net.c(frame))

    return Net(run, a=conv(3, 4), b=conv(4, 4, padding=0), c=conv(4, 2, padding=0))


@odd((3, 10, 12), "a relu, b relu")
def decides_by_a_number() -> nn.Module:
    """An operation whose result is a number of Python's, and no tensor."""

    def run(net: Any, x: Tensor) -> Tensor:
        if (x.abs() > 1e9).any() or x.mean().item() > 1e9:
            raise ValueError("such images are a mistake")
        return F.relu(net.b(F.relu(net.a(x))))

    return Net(run, a=conv(3, 3), b=conv(3, 2))


@odd((3, 10, 12), "a relu, b relu, c relu")
def stacked_maps() -> nn.Module:
    """Maps above each other, and a map repeated."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.b(torch.cat([F.relu(net.a(x)), x.roll(2, 3)], 2)))
        return F.relu(net.c(x.repeat(1, 1, 1, 2).cumsum(2)))

    return Net(run, a=conv(3, 3), b=conv(3, 4), c=conv(4, 2))


# --- channels last ---------------------------------------------------------------------------------------------------


@odd((3, 12, 16), "stem, depthwise, up gelu, down, head")
def convnext() -> nn.Module:
    """Linear layers on (n, h, w, c), with a layer norm over channels before."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        y = net.norm(net.depthwise(x).permute(0, 2, 3, 1))
        x = x + (net.scale * net.down(F.gelu(net.up(y)))).permute(0, 3, 1, 2)
        return net.head(x.mean((-2, -1)))

    return Net(
        run, stem=nn.Conv2d(3, 4, 2, stride=2), depthwise=conv(4, 4, 5, groups=4), norm=nn.LayerNorm(4),
        up=nn.Linear(4, 8), down=nn.Linear(8, 4), scale=nn.Parameter(torch.full((4,), 0.5)), head=nn.Linear(4, 3),
    )  # fmt: skip


@odd((3, 12, 14), "a relu, b relu, c, d relu")
def linear_on_a_permuted_map() -> nn.Module:
    """PyTorch splits such a linear layer into a product and a sum, or not, by the layout of the memory."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.b(F.relu(net.a(x)).permute(0, 2, 3, 1)))
        return F.relu(net.d(net.c(x).permute(0, 3, 1, 2)))

    return Net(run, a=conv(3, 4), b=nn.Linear(4, 5), c=nn.Linear(5, 4, bias=False), d=conv(4, 2))


@odd((3, 12, 14), "a relu, b relu, c relu")
def frozen_linear_on_a_permuted_map() -> nn.Module:
    """Where its weights need no gradient, it even becomes a batched product with expanded weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.b(F.relu(net.a(x)).permute(0, 2, 3, 1)))
        return F.relu(net.c(x.permute(0, 3, 1, 2)))

    return Net(run, a=conv(3, 4), b=nn.Linear(4, 4), c=conv(4, 2)).requires_grad_(False)


@odd((3, 8, 10), "embed, norm_to relu, back relu")
def tokens() -> nn.Module:
    """A map written as a row of tokens, (n, h · w, c), and back."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.embed(x)
        tokens = F.relu(net.norm_to(net.norm(x.flatten(2).transpose(1, 2))))
        return F.relu(net.back(tokens.transpose(1, 2).reshape(x.shape)))

    return Net(run, embed=nn.Conv2d(3, 4, 2, stride=2), norm=nn.LayerNorm(4), norm_to=nn.Linear(4, 4), back=conv(4, 2))
