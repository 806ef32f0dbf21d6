"""Surgery: the fully connected layers of any network taken off, and a head put there whose class maps are exact.

Zhou et al., "Learning deep features for discriminative localization", 2016: everything behind the last maps goes; a
convolution, a global pool and one linear layer come. The new layers are random, and have to be trained.

A network after surgery is an architecture like any other. It is written ``HEAD:LAYER:ARCH``, as in
``gap:features.29:torchvision:vgg16``: the head ``gap`` or ``gmp``, the last layer that is kept, and what it is made of.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from convscope.errors import NetworkError, nearest
from convscope.zoo.heads import cam_head

HEADS = ("gap", "gmp")
_POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
_POOLING = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "dropout", "boolean_dispatch"}


@dataclass(frozen=True)
class Surgery:
    """What is written ``HEAD:LAYER:ARCH``.

    Args:
        layer: the dotted name of the last module that is kept.
        arch: what the network was.
    """

    head: str
    layer: str
    arch: str

    def __str__(self) -> str:
        return f"{self.head}:{self.layer}:{self.arch}"

    @classmethod
    def read(cls, text: str) -> Surgery | None:
        """What `text` says; None where it is no surgery.

        Raises:
            NetworkError: it begins like one, and goes on otherwise.
        """
        parts = text.split(":", 2)
        if parts[0] not in HEADS or len(parts) < 2:
            return None
        if len(parts) != 3 or not all(parts):
            raise NetworkError(f"{text}: expected {parts[0]}:LAYER:ARCH, as gap:features.29:torchvision:vgg16")
        return cls(*parts)


def operate(module: nn.Module, surgery: Surgery, example: Tensor, classes: int) -> nn.Sequential:
    """The trunk of a network and a new head; the trunk's weights are those of `module`.

    Args:
        example: an input.

    Raises:
        NetworkError: its operations cannot be traced, there is no such layer, or it gives no maps.
    """
    traced = _traced(module, example)
    last = _node(traced, surgery.layer, surgery.arch)
    shape = _shape(last)
    if len(shape) != 4:
        raise NetworkError(f"{surgery}: {surgery.layer} gives no maps (n, c, h, w) but {shape}; name an earlier layer")
    head = cam_head(shape[1], classes, surgery.head, 1.0)
    # Rectified once more, which changes nothing where the network has done so: not every one does by a module.
    return nn.Sequential(OrderedDict(trunk=_until(traced, last), relu=nn.ReLU(), **head))


def last_maps(module: nn.Module, example: Tensor) -> str:
    """The layer where surgery is made by default: the last that gives maps, before the network's own pools.

    Raises:
        NetworkError: its operations cannot be traced, it has no maps or the last have no name, or it ends in a global
            pool and a linear layer.
    """
    traced = _traced(module, example)
    nodes = list(traced.graph.nodes)
    end = max((k for k, node in enumerate(nodes) if _is_map(traced, node)), default=-1)
    if end < 0:
        raise NetworkError("the network has no maps (n, c, h, w) that a head could be put on; name a layer (--layer)")
    linear = [_module(traced, node) for node in nodes[end:]]
    sizes = [each.in_features for each in linear if isinstance(each, nn.Linear)]
    if sizes in ([], [_shape(nodes[end])[1]]):
        raise NetworkError(
            "the network ends in a global pool and at most one linear layer: its class maps are exact as it is; name a "
            "layer (--layer) to operate all the same"
        )
    last = nodes[end]
    if not _names(traced, last) and _called(last) in {"relu", "relu_"}:  # the head begins with one
        last = last.all_input_nodes[0]
    if not _names(traced, last):
        raise NetworkError("the last maps of the network are those of no module; name an earlier layer (--layer)")
    return _names(traced, last)[0]


def _traced(module: nn.Module, example: Tensor) -> fx.GraphModule:
    """The network as a graph whose values have shapes."""
    try:
        traced = fx.symbolic_trace(module.eval())
        with torch.no_grad():
            ShapeProp(traced).propagate(example)
    except Exception as error:
        raise NetworkError(
            f"surgery needs a network that torch.fx can trace, and this one it cannot ({error}); where its forward "
            "depends on the image, write the new head into its code"
        ) from error
    return traced


def _node(traced: fx.GraphModule, layer: str, arch: str) -> fx.Node:
    """The last value that a module gave."""
    found = _values(traced, layer)
    if not found:
        names = [name for name, _ in traced.named_modules() if name]
        raise NetworkError(f"{arch}: there is no layer {layer!r}{nearest(layer, names)}")
    return found[-1]


def _values(traced: fx.GraphModule, layer: str) -> list[fx.Node]:
    return [node for node in traced.graph.nodes if layer in node.meta.get("nn_module_stack", {})]


def _names(traced: fx.GraphModule, node: fx.Node) -> list[str]:
    """The modules whose last value this is, the outermost first."""
    return [name for name in node.meta.get("nn_module_stack", {}) if name and _values(traced, name)[-1] is node]


def _until(traced: fx.GraphModule, last: fx.Node) -> fx.GraphModule:
    """The part of the network that gives this value."""
    for node in reversed(list(traced.graph.nodes)):
        if node.op == "output":
            traced.graph.erase_node(node)
    with traced.graph.inserting_after(last):
        traced.graph.output(last)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(getattr(meta, "shape", ()))


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_map(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether it is a computed map (n, c, h, w), and none of a pool or a dropout."""
    shape = _shape(node)
    if node.op == "placeholder" or len(shape) != 4 or max(shape[2:]) == 1:
        return False
    return not isinstance(_module(traced, node), _POOLS) and _called(node) not in _POOLING


def _called(node: fx.Node) -> str:
    """The function or method that it calls, by name."""
    return str(node.target) if node.op == "call_method" else str(getattr(node.target, "__name__", ""))
