"""The same networks with their rectifiers in six spellings, and who explains them rightly: the tables of the docs.

Small networks of fourteen families are rewritten (torch.fx), so that one and the same function with the same weights
is there in each spelling. What is right is what autograd gives where each non-linearity is a function of its own, whose
backward pass is written out below, with its derivative by hand. ``python tests/spelled.py`` prints the tables.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import convscope
from convscope.attribution import Deconvnet, GuidedBackprop
from convscope.errors import AttributionError
from convscope.zoo.library import import_torchvision

# --- the networks ----------------------------------------------------------------------------------------------------


def _zoo(name: str) -> nn.Module:
    return convscope.load(name).module


def _googlenet() -> nn.Module:
    return import_torchvision().models.GoogLeNet(10, aux_logits=False, init_weights=False)


def _densenet() -> nn.Module:
    return import_torchvision().models.DenseNet(4, (2, 2, 2), 8, num_classes=10)


def _mobilenet_v2() -> nn.Module:
    blocks = [[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 2, 2]]  # expansion, channels, how many, stride
    return import_torchvision().models.MobileNetV2(10, inverted_residual_setting=blocks)


def _mobilenet_v3() -> nn.Module:
    return import_torchvision().models.mobilenet_v3_small(num_classes=10, width_mult=0.25)


def _efficientnet() -> nn.Module:
    parts = import_torchvision().models.efficientnet
    stages = [(1, 3, 1, 8, 8, 1), (6, 3, 2, 8, 16, 2), (6, 5, 2, 16, 24, 2)]  # expansion, size, stride, channels, count
    return parts.EfficientNet([parts.MBConvConfig(*stage) for stage in stages], 0.2, num_classes=10, last_channel=64)


def _convnext() -> nn.Module:
    parts = import_torchvision().models.convnext
    stages = [parts.CNBlockConfig(*stage) for stage in ((8, 16, 1), (16, 24, 2), (24, None, 1))]
    return parts.ConvNeXt(stages, layer_scale=1.0, num_classes=10)


def _darknet() -> nn.Module:
    import timm

    return timm.create_model("darknet17", num_classes=10)


# By name: how to make it, and the size of its images.
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "LeNet-5": (partial(_zoo, "lenet5"), 32),
    "AlexNet": (partial(_zoo, "alexnet-one:width=0.125"), 224),
    "ZFNet": (partial(_zoo, "zfnet:width=0.125,norm=batch"), 224),
    "NIN": (partial(_zoo, "nin:width=0.125"), 64),
    "VGG-11": (partial(_zoo, "vgg11:width=0.125,head=gap"), 64),
    "GoogLeNet": (_googlenet, 64),
    "ResNet-18": (partial(_zoo, "resnet18:width=0.125"), 64),
    "SqueezeNet": (partial(_zoo, "squeezenet1_0"), 64),
    "DenseNet": (_densenet, 64),
    "MobileNetV2": (_mobilenet_v2, 64),
    "MobileNetV3": (_mobilenet_v3, 64),
    "EfficientNet": (_efficientnet, 64),
    "ConvNeXt": (_convnext, 64),
    "DarkNet": (_darknet, 64),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network with float64 weights, in which signals keep their size, and an image (1, c, h, w)."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(0)
        make, size = ARCHITECTURES[name]
        net = make().double()
        layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                layer.bias.normal_(0, 0.1)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics are those of the images below
        images = torch.randn(8, layers[0].weight.shape[1], size, size, dtype=torch.float64)
        net.train()(images)
    return net.eval(), images[:1]


# --- the spellings ---------------------------------------------------------------------------------------------------

SPELLINGS = ["module", "module, in place", "`F.`", "`torch.`", "method, in place", "one module, reused"]
AS_IT_IS = "as it is"  # and so is the network before it is rewritten
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]  # of a function, or of a method by its name


@dataclass(frozen=True)
class Kind:
    """A rectifier in its spellings; None where PyTorch has none.

    Args:
        slope: its derivative by hand, of PyTorch's value at kinks.
        calls: for `F.`, `torch.` and the method in place: function, further arguments, keywords.
    """

    slope: Callable[[Tensor], Tensor]
    module: Callable[[], nn.Module]
    inplace: Callable[[], nn.Module] | None
    calls: tuple[Call | None, Call | None, Call | None]


def _inside(low: float, high: float) -> Callable[[Tensor], Tensor]:
    return lambda x: ((x > low) & (x < high)).to(x)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def hard_swish(x: Tensor) -> Tensor:
    return x * torch.clamp(x + 3, 0, 6) / 6


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.maximum(x, slope * x)


def _gelu_slope(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def kind(module: nn.Module) -> Kind | None:
    """Of a module; None if it is no rectifier."""
    negative = getattr(module, "negative_slope", 0.0)
    kinds = {
        "ReLU": Kind(_inside(0, math.inf), nn.ReLU, partial(nn.ReLU, inplace=True),
                     ((F.relu, (), {}), (torch.relu, (), {}), ("relu_", (), {}))),
        "ReLU6": Kind(_inside(0, 6), nn.ReLU6, partial(nn.ReLU6, inplace=True),
                      ((F.relu6, (), {}), (torch.clamp, (0, 6), {}), ("clamp_", (0, 6), {}))),
        "LeakyReLU": Kind(lambda x: torch.where(x > 0, 1.0, negative).to(x), partial(nn.LeakyReLU, negative),
                          partial(nn.LeakyReLU, negative, inplace=True),
                          ((F.leaky_relu, (negative,), {}), (leaky, (negative,), {}),
                           (F.leaky_relu_, (negative,), {}))),
        "SiLU": Kind(lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid())), nn.SiLU, partial(nn.SiLU, inplace=True),
                     ((F.silu, (), {}), (swish, (), {}), (F.silu, (), {"inplace": True}))),
        "GELU": Kind(_gelu_slope, nn.GELU, None, ((F.gelu, (), {}), (gelu, (), {}), None)),
        "Hardswish": Kind(lambda x: torch.where(x >= 3, 1.0, (2 * x + 3) / 6) * (x > -3), nn.Hardswish,
                          partial(nn.Hardswish, inplace=True),
                          ((F.hardswish, (), {}), (hard_swish, (), {}), (F.hardswish, (), {"inplace": True}))),
        "Tanh": Kind(lambda x: 1 - x.tanh() ** 2, nn.Tanh, None,
                     ((F.tanh, (), {}), (torch.tanh, (), {}), ("tanh_", (), {}))),
    }  # fmt: skip
    return kinds.get(type(module).__name__)


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "Sigmoid": lambda x: x.sigmoid() * (1 - x.sigmoid()),
    "Hardsigmoid": lambda x: _inside(-3, 3)(x) / 6,
}


def rewritten(net: nn.Module, write: Callable[[fx.Graph, fx.Node, nn.Module], Any]) -> fx.GraphModule:
    """A copy, in which each call of a non-linearity is what `write` makes of it: a module, or a node of the graph."""
    traced = fx.symbolic_trace(copy.deepcopy(net))
    traced.eval()
    names: dict[nn.Module, str] = {}
    for node in list(traced.graph.nodes):
        module = _called(node, traced)
        if module is None:
            continue
        with traced.graph.inserting_after(node):
            made = write(traced.graph, node.args[0], module)
            if isinstance(made, nn.Module):
                name = names.setdefault(made, f"rectifier{len(names)}")
                traced.add_submodule(name, made)
                made = traced.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(made)
        traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _called(node: fx.Node, traced: fx.GraphModule) -> nn.Module | None:
    """The non-linearity that a node calls, as a module."""
    if node.op == "call_function" and node.target is F.relu:
        return nn.ReLU()
    module = traced.get_submodule(node.target) if node.op == "call_module" else None
    return module if module is not None and (kind(module) or type(module).__name__ in GATES) else None


def spelled(net: nn.Module, spelling: str) -> nn.Module | None:
    """The network with all rectifiers written so; None where PyTorch has no such spelling. Gates stay as they are."""
    once: dict[str, nn.Module] = {}
    missing: list[nn.Module] = []

    def write(graph: fx.Graph, source: fx.Node, module: nn.Module) -> Any:
        found = kind(module)
        if found is None:
            return copy.deepcopy(module)
        if spelling in SPELLINGS[:2]:
            make = found.module if spelling == "module" else found.inplace
            return make() if make else missing.append(module) or module
        if spelling == "one module, reused":
            return once.setdefault(repr(found.module()), found.module())
        call = found.calls[SPELLINGS.index(spelling) - 2]
        if call is None:
            return missing.append(module) or module
        function, further, keywords = call
        make_node = graph.call_method if isinstance(function, str) else graph.call_function
        return make_node(function, (source, *further), keywords)

    traced = rewritten(net, write)
    return None if missing else traced


# --- what is right ---------------------------------------------------------------------------------------------------

RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": lambda signal, slope: signal * slope,
    "deconvnet": lambda signal, slope: torch.where(signal > 0, signal, 0.0),
    "guided": lambda signal, slope: torch.where((signal > 0) & (slope > 0), signal * slope, 0.0),
}


class Ruled(nn.Module):
    """A non-linearity whose backward pass is a rule, with a derivative by hand."""

    def __init__(self, module: nn.Module, rule: str) -> None:
        super().__init__()
        found = kind(module)
        self.rule, self.slope = RULES[rule], found.slope if found else GATES[type(module).__name__]
        self.function = found.module() if found else copy.deepcopy(module)

    def forward(self, x: Tensor) -> Tensor:
        return _ByRule.apply(x, self)


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: Ruled) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module = module
        return module.function(x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.module.rule(signal, ctx.module.slope(x)), None


def truth(net: nn.Module, image: Tensor, target: int, rule: str) -> Tensor:
    return plain(rewritten(net, lambda graph, source, module: Ruled(module, rule)), image, target)


def plain(net: nn.Module, image: Tensor, target: int) -> Tensor:
    """The gradient by autograd."""
    pixels = image.clone().requires_grad_()
    return torch.autograd.grad(net(pixels)[0, target], pixels)[0]


# --- who finds it ----------------------------------------------------------------------------------------------------


def ours(rule: str, net: nn.Module, image: Tensor, target: int) -> Tensor:
    preprocess = {"size": image.shape[2:], "channels": image.shape[1]}
    method = {"guided": GuidedBackprop(), "deconvnet": Deconvnet()}[rule]
    return method(convscope.wrap(net, preprocess=preprocess), image, target).values


def captum(rule: str, net: nn.Module, image: Tensor, target: int) -> Tensor:
    from captum import attr

    return {"guided": attr.GuidedBackprop, "deconvnet": attr.Deconvolution}[rule](net).attribute(image, target)


def grad_cam(rule: str, net: nn.Module, image: Tensor, target: int) -> Tensor:
    import_torchvision()
    from pytorch_grad_cam import GuidedBackpropReLUModel

    assert rule == "guided"  # it has no deconvnet
    found = GuidedBackpropReLUModel(net, "cpu")(image.clone(), target_category=target)
    return torch.from_numpy(found).permute(2, 0, 1)[None]


TOOLS: dict[str, dict[str, Callable[..., Tensor]]] = {
    "guided": {"convscope": ours, "Captum": captum, "pytorch-grad-cam": grad_cam},
    "deconvnet": {"convscope": ours, "Captum": captum},
}
RIGHT, GRADIENT, WRONG, REFUSED, MISSING = "✓", "∇", "✗", "!", "–"


def near(one: Tensor, other: Tensor) -> bool:
    return float((one.double() - other).abs().max()) <= 1e-5 * float(other.abs().max())


def verdict(tool: Callable[..., Tensor], rule: str, net: nn.Module, image: Tensor, target: int, right: Tensor) -> str:
    """Of a tool's map; one that is wrong is so in silence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = tool(rule, copy.deepcopy(net), image, target)
    except AttributionError:
        return REFUSED
    return RIGHT if near(found, right) else GRADIENT if near(found, plain(net, image, target)) else WRONG


def verdicts(name: str, rule: str, tools: Iterable[str]) -> Iterator[str]:
    """For each spelling, what each of the tools is worth."""
    net, image = network(name)
    scores = net(image).detach()
    target = int(scores.argmax())
    right, gradient = truth(net, image, target, rule), plain(net, image, target)
    assert near(truth(net, image, target, "gradient"), gradient)  # so the derivatives by hand are right
    assert float((right - gradient).abs().max()) > 0.1 * float(right.abs().max()) > 0
    for spelling in [*SPELLINGS, AS_IT_IS]:
        written = net if spelling == AS_IT_IS else spelled(net, spelling)
        if written is None:
            yield MISSING
            continue
        torch.testing.assert_close(written(image), scores)
        yield " ".join(verdict(TOOLS[rule][tool], rule, written, image, target, right) for tool in tools)


def row(name: str, rule: str) -> str:
    """Of the table, in Markdown."""
    modules = spelled(network(name)[0], "module").modules()
    kinds = sorted({type(module).__name__ for module in modules if kind(module)})
    return f"| {name} | {', '.join(kinds)} | {' | '.join(verdicts(name, rule, TOOLS[rule]))} |"


def main() -> None:
    """Print the tables."""
    for rule, tools in TOOLS.items():
        print(f"\n| {rule}: {', '.join(tools)} | non-linearity | {' | '.join(SPELLINGS)} | {AS_IT_IS} |")
        print("|---" * (len(SPELLINGS) + 3) + "|")
        for name in ARCHITECTURES:
            print(row(name, rule), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
