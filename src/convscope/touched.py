"""Along which dimensions of its inputs an operation does more than work on every index by itself.

Along all the others a part can be run alone: some of the images, or some of the positions of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from convscope.graph import Graph, Node, Ref, is_nonlinearity, sources

COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}
_VIEWS = {"view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "as_strided"}
_REDUCTIONS = {
    "mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "linalg_vector_norm", "norm",
    "var_mean", "std_mean",
}  # fmt: skip
Dims = set[int] | None


def touched(node: Node, graph: Graph) -> Dims:
    """The dimensions of the inputs that depend on the image, which have equally many; None where that is not known."""
    varying = [value for value in sources(node) if value in graph.dependent]
    before, after = graph.shapes[varying[0]], graph.shapes[node.outputs[0]]
    count = len(before)
    if not count or any(len(graph.shapes[value]) != count for value in varying) or _writes_into_a_constant(node, graph):
        return None
    if is_pointwise(node):
        if len(after) != count:
            return None
        return {dim for dim in range(count) if any(graph.shapes[value][dim] != after[dim] for value in varying)}
    op = node.op.removesuffix("_")
    if is_view(node):
        # The first dimension can be any multiple: the elements of an image stay together.
        return set(range(1, count - 2)) if _keeps_maps(before, after) else set(range(1, count)) if after else None
    if op not in _RULES:
        return None
    dims = _RULES[op](node, graph, count)
    return None if dims is None else {dim % count for dim in dims}


def is_view(node: Node) -> bool:
    """Whether a node gives the same numbers in the same order in another shape."""
    return node.op.removesuffix("_") in _VIEWS and "dtype" not in node.arguments


def is_pointwise(node: Node) -> bool:
    """Whether a node works on every element by itself, with broadcasting."""
    if node.function is None or node.op == "copy_":
        return False
    if node.op in _REDUCTIONS and isinstance(node.arguments.get("other"), Ref):  # torch.max(a, b)
        return True
    return torch.Tag.pointwise in node.function.tags or is_nonlinearity(node) or node.op in COPIES


def _writes_into_a_constant(node: Node, graph: Graph) -> bool:
    """In place, into a tensor that is the same for all images."""
    written = node.arguments.get("self")
    mutable = node.function is not None and node.function._schema.is_mutable
    return bool(mutable and isinstance(written, Ref) and written.value not in graph.dependent)


def _keeps_maps(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return len(before) > 3 < len(after) and before[-2:] == after[-2:] and before[0] == after[0]


Rule = Callable[[Node, Graph, int], Any]  # of a node, its graph and the number of dimensions
_RULES: dict[str, Rule] = {}


def _rule(*operations: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for operation in operations:
            _RULES[operation] = function
        return function

    return register


def _only(node: Node, graph: Graph, *names: str) -> bool:
    """Whether nothing but the arguments of these names depends on the image."""
    named = {node.arguments[name].value for name in names}
    return all(value in named for value in node.inputs if value in graph.dependent)


@_rule("convolution")
def _convolution(node: Node, graph: Graph, count: int) -> Any:
    return range(1, count) if _only(node, graph, "input") else None


@_rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm")
def _batch_norm(node: Node, graph: Graph, _: int) -> Any:
    return None if node.arguments.get("training") or not _only(node, graph, "input") else [1]


@_rule("native_layer_norm")
def _layer_norm(node: Node, graph: Graph, count: int) -> Any:
    return range(count - len(node.arguments["normalized_shape"]), count) if _only(node, graph, "input") else None


@_rule("max_pool2d_with_indices", "avg_pool2d", "max_pool3d_with_indices", "avg_pool3d", "max_pool1d", "avg_pool1d")
def _pool(node: Node, _: Graph, count: int) -> Any:
    arguments, pooled = node.arguments, int(node.op.split("pool")[1][0])
    if count < pooled + 2:  # no dimension for images
        return None
    kernel = pairs(arguments["kernel_size"], pooled)
    stride, padding = pairs(arguments["stride"], pooled) or kernel, pairs(arguments["padding"], pooled)
    idle = [k == s == 1 and p == 0 for k, s, p in zip(kernel, stride, padding, strict=True)]
    return [count - pooled + i for i in range(pooled) if not idle[i]]


def pairs(value: int | list[int], count: int = 2) -> list[int]:
    """One number for each dimension, where one may stand for all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


@_rule("_adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_nearest2d", "_upsample_nearest_exact2d",
       "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
       "reflection_pad2d", "replication_pad2d")  # fmt: skip
def _maps(_: Node, __: Graph, count: int) -> Any:
    return [2, 3] if count == 4 else None


@_rule("pixel_shuffle", "pixel_unshuffle", "im2col")
def _whole_images(_: Node, __: Graph, count: int) -> Any:
    return range(1, count) if count == 4 else None


@_rule("channel_shuffle", "native_channel_shuffle")
def _channels(_: Node, __: Graph, ___: int) -> Any:
    return [1]


@_rule("constant_pad_nd")
def _pad(node: Node, _: Graph, count: int) -> Any:
    pad = node.arguments["pad"]
    return [count - 1 - i // 2 for i in range(len(pad)) if pad[i]]


@_rule("cat")
def _cat(node: Node, _: Graph, __: int) -> Any:
    return [node.arguments["dim"]]


@_rule("slice", "select", "split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "cumsum", "cumprod",
       "logcumsumexp", "_softmax", "_log_softmax", "sort", "topk", "glu", "flip", "roll")  # fmt: skip
def _named(node: Node, _: Graph, __: int) -> Any:
    dims = node.arguments.get("dim", node.arguments.get("dims"))
    return [dims] if isinstance(dims, int) else dims or None


@_rule(*_REDUCTIONS)
def _reduction(node: Node, _: Graph, __: int) -> Any:
    dims = node.arguments.get("dim")
    return [dims] if isinstance(dims, int) else dims or None


@_rule("transpose", "permute")
def _permute(node: Node, _: Graph, count: int) -> Any:
    if node.op == "transpose":
        one, other = node.arguments["dim0"] % count, node.arguments["dim1"] % count
        return [] if one == other else [one, other]
    return [dim for dim, old in enumerate(node.arguments["dims"]) if old % count != dim]


@_rule("unsqueeze")
def _unsqueeze(node: Node, _: Graph, count: int) -> Any:
    dim = node.arguments["dim"] % (count + 1)
    return [0] if dim == 0 else [count - 1] if dim > count - 2 else []


@_rule("squeeze")
def _squeeze(node: Node, _: Graph, __: int) -> Any:
    dims = node.arguments.get("dim")
    return [dims] if isinstance(dims, int) else dims


@_rule("expand")
def _expand(node: Node, graph: Graph, count: int) -> Any:
    before, after = graph.shapes[node.inputs[0]], graph.shapes[node.outputs[0]]
    return range(1, count) if len(after) == count and before[0] == after[0] else None


@_rule("addmm", "mm", "linear")
def _matrix_product(node: Node, graph: Graph, count: int) -> Any:
    first = next(name for name in ("mat1", "input", "self") if name in node.arguments)
    return [count - 1] if _only(node, graph, first) else None


@_rule("bmm")
def _batched_product(node: Node, graph: Graph, _: int) -> Any:
    return [1, 2] if all(value in graph.dependent for value in node.inputs) else None


@_rule("index_select", "index")
def _index(node: Node, graph: Graph, _: int) -> Any:
    if not _only(node, graph, "self"):
        return None
    if "indices" not in node.arguments:
        return [node.arguments["dim"]]
    chosen = [dim for dim, index in enumerate(node.arguments["indices"]) if index is not None]
    return (
        chosen if len(chosen) == 1 and len(graph.shapes[node.outputs[0]]) == len(graph.shapes[node.inputs[0]]) else None
    )
