"""Rules of operations that look through windows, or change the resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convscope.field_rules.axes import (
    Axis,
    Context,
    Field,
    along,
    gathered,
    permuted,
    reshaped,
    rule,
    settled_where_shared,
    take,
    windows,
)
from convscope.geometry import Ints
from convscope.graph import Node


@rule("convolution")
def _convolution(node: Node, context: Context) -> Field | None:
    arguments = node.arguments
    kernel = context.shape(arguments["weight"])[2:]
    after = context.graph.shapes[node.outputs[0]]
    field = context.field(arguments["input"])

    def convolve(axis: Axis) -> Axis:
        axis = _mixed(axis, after[1], arguments["groups"])
        for i, size in enumerate(kernel):
            stride, padding, dilation = (arguments[name][i] for name in ("stride", "padding", "dilation"))
            if arguments["transposed"]:
                taps, missing = _transposed_taps(after[i + 2], size, stride, padding, dilation)
                axis = take(axis, i + 2, taps, 1 / stride, context.exact, missing)
            else:
                axis = take(axis, i + 2, windows(after[i + 2], size, stride, padding, dilation), stride, context.exact)
        return axis

    return along(None if field is None else settled_where_shared(field), convolve)


def _mixed(axis: Axis, channels: int, groups: int) -> Axis:
    """What every output channel sees: all input channels of its group."""
    if axis.shape[1] == 1 or groups == 1:
        return axis.hull([1])
    grouped = (axis.shape[0], groups, axis.shape[1] // groups, *axis.shape[2:])
    one = Axis(axis.low.reshape(grouped).min(2), axis.high.reshape(grouped).max(2), axis.extent, axis.strides)
    strides = (0.0 if dim == 1 else stride for dim, stride in enumerate(axis.strides))
    return one.changed(lambda ends: ends.repeat(channels // groups, 1), strides)


def _transposed_taps(outputs: int, size: int, stride: int, padding: int, dilation: int) -> tuple[Ints, np.ndarray]:
    """For each output the inputs that may reach it (outputs, size), and which of them do not."""
    reach = np.arange(outputs)[:, None] + padding - np.arange(size)[None] * dilation
    return reach // stride, reach % stride != 0


@rule(
    "max_pool2d_with_indices", "avg_pool2d", "max_pool3d_with_indices", "avg_pool3d", "avg_pool1d", "max_pool2d",
    "max_pool1d",
)  # fmt: skip
def _pool(node: Node, context: Context) -> Field | None:
    arguments, kernel = node.arguments, node.arguments["kernel_size"]
    after = context.graph.shapes[node.outputs[0]]
    count = int(node.op.split("pool")[1][0])

    def pool(axis: Axis) -> Axis:
        for i in range(count):
            dimension = len(after) - count + i
            size, stride = _each(kernel, i), _each(arguments["stride"] or kernel, i)
            padding, dilation = _each(arguments["padding"], i), _each(arguments.get("dilation", 1), i)
            taps = windows(after[dimension], size, stride, padding, dilation)
            axis = take(axis, dimension, taps, stride, context.exact)
        return axis

    return along(context.field(arguments["self"]), pool)


def _each(value: int | list[int], i: int) -> int:
    if isinstance(value, int):
        return value
    return value[i] if len(value) > 1 else value[0]


@rule("unfold")
def _unfold(node: Node, context: Context) -> Field | None:
    """Windows along one dimension, in a new last one."""
    size, step = node.arguments["size"], node.arguments["step"]
    dimension = node.arguments["dimension"] % len(context.shape(node.arguments["self"]))
    taps = windows(context.graph.shapes[node.outputs[0]][dimension], size, step, 0)

    def unfold(axis: Axis) -> Axis:
        strides = list(axis.strides)
        strides[dimension] *= step
        if axis.shape[dimension] == 1:
            return axis.changed(lambda ends: ends[..., None], (*strides, 0.0))
        return axis.changed(
            lambda ends: np.moveaxis(ends.take(taps, dimension), dimension + 1, -1),
            (*strides, axis.strides[dimension]),
        )

    return along(context.field(node.arguments["self"]), unfold)


@rule("im2col")
def _im2col(node: Node, context: Context) -> Field | None:
    """Windows as columns: (n, c, h, w) becomes (n, c · kernel, windows)."""
    arguments, kernel = node.arguments, node.arguments["kernel_size"]
    before, after = context.shape(arguments["self"]), context.graph.shapes[node.outputs[0]]
    counts = [
        (before[2 + i] + 2 * arguments["padding"][i] - arguments["dilation"][i] * (kernel[i] - 1) - 1)
        // arguments["stride"][i] + 1
        for i in (0, 1)
    ]  # fmt: skip

    def im2col(axis: Axis) -> Axis:
        low, high = axis.low[:, :, None, :, None, :], axis.high[:, :, None, :, None, :]
        strides = [0.0, 0.0, 0.0, axis.strides[2], 0.0, axis.strides[3]]
        wide = Axis(low, high, axis.extent, tuple(strides))  # (n, c, 1, h, 1, w)
        for i, dimension in ((1, 5), (0, 3)):
            if wide.shape[dimension] > 1:
                taps = windows(
                    counts[i], kernel[i], *(arguments[name][i] for name in ("stride", "padding", "dilation"))
                )
                ends = gathered(wide, dimension, taps.T, context.exact)
                # The kernel takes the place of the 1 before.
                low, high = (each.squeeze(dimension - 1) for each in ends)
                strides[dimension] *= arguments["stride"][i]
                wide = Axis(low, high, axis.extent, tuple(strides))
        order = (0, 1, 2, 4, 3, 5)
        full = (before[0], before[1], kernel[0], kernel[1], counts[0], counts[1])
        return reshaped(permuted(wide, order), full, after)

    return along(context.field(arguments["self"]), im2col)


# --- resolution ------------------------------------------------------------------------------------------------------


def _resampled(node: Node, context: Context, taps: Callable[[int, int, int], tuple[Ints, float]]) -> Field | None:
    """`taps` of dimension number i (0 or 1), its inputs and its outputs: the inputs of each output, and the scale."""
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]

    def resample(axis: Axis) -> Axis:
        for i, dimension in enumerate(range(len(after) - 2, len(after))):
            index, scale = taps(i, before[dimension], after[dimension])
            axis = take(axis, dimension, index, scale, exact=True)
        return axis

    return along(context.field(node.arguments["self"]), resample)


@rule("_adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive_pool(node: Node, context: Context) -> Field | None:
    def taps(_: int, inputs: int, outputs: int) -> tuple[Ints, float]:
        cells = np.arange(outputs)
        low, high = cells * inputs // outputs, -(-(cells + 1) * inputs // outputs)
        return np.stack([low, high - 1], 1), inputs / outputs

    return _resampled(node, context, taps)


@rule("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d")
def _upsample(node: Node, context: Context) -> Field | None:
    factors = node.arguments["scales_h"], node.arguments["scales_w"]
    corners = bool(node.arguments.get("align_corners"))

    def taps(i: int, inputs: int, outputs: int) -> tuple[Ints, float]:
        factor = factors[i]
        scale = 1 / factor if factor else inputs / outputs  # a factor that was given wins over the sizes
        if corners:
            scale = (inputs - 1) / max(1, outputs - 1)
        return _resize_taps(node.op, inputs, outputs, scale, corners), scale

    return _resampled(node, context, taps)


def _resize_taps(op: str, inputs: int, outputs: int, scale: float, align_corners: bool) -> Ints:
    cells = np.arange(outputs)
    if "nearest" in op:
        middle = 0.5 if "exact" in op else 0.0
        place = np.float32(scale) * (cells + middle).astype(np.float32)  # in single precision, as PyTorch does
        nearest: Ints = np.floor(place).astype(np.int64)[:, None].clip(0, inputs - 1)
        return nearest
    place = cells * scale if align_corners else (cells + 0.5) * scale - 0.5
    place = place.clip(0) if op == "upsample_bilinear2d" and not align_corners else place
    first = np.floor(place + 1e-6).astype(np.int64)
    between = (place - first > 1e-6)[:, None]  # a place on a cell takes that cell alone
    reach = np.array([0, 1] if op == "upsample_bilinear2d" else [-1, 0, 1, 2])
    taps: Ints = np.where(between, first[:, None] + reach, first[:, None]).clip(0, inputs - 1)
    return taps


@rule("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")
def _smooth_resize(node: Node, context: Context) -> Field | None:
    """A resize that averages where it shrinks: a kernel as wide as its scale."""
    factors, radius = (node.arguments["scales_h"], node.arguments["scales_w"]), 1 if "bilinear" in node.op else 2

    def taps(i: int, inputs: int, outputs: int) -> tuple[Ints, float]:
        scale = 1 / factors[i] if factors[i] else inputs / outputs
        if node.arguments["align_corners"]:
            scale = (inputs - 1) / max(1, outputs - 1)
        centre, support = (np.arange(outputs) + 0.5) * scale, radius * max(1.0, scale)
        low = (centre - support + 0.5).astype(np.int64).clip(0)
        high = (centre + support + 0.5).astype(np.int64).clip(max=inputs)
        return np.stack([low, high - 1], 1), scale

    return _resampled(node, context, taps)


@rule("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]
    coarse, fine = (before, after) if node.op == "pixel_shuffle" else (after, before)
    factor, lead = fine[-1] // coarse[-1], coarse[:-3]
    folded = (*lead, fine[-3], factor, factor, *coarse[-2:])
    at = len(lead)
    order = [*range(at), at, at + 3, at + 1, at + 4, at + 2]  # c, h, factor, w, factor
    between = tuple(folded[dim] for dim in order)

    def shuffle(axis: Axis) -> Axis:
        if node.op == "pixel_shuffle":
            return reshaped(permuted(reshaped(axis, before, folded), order), between, after)
        return reshaped(
            permuted(reshaped(axis, before, between), [order.index(d) for d in range(at + 5)]), folded, after
        )

    return along(context.field(node.arguments["self"]), shuffle)
