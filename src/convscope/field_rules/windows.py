"""Rules of operations that look through windows, or change the resolution."""

from __future__ import annotations

import numpy as np

from convscope.field_rules.axes import NOTHING_HIGH, NOTHING_LOW, Axis, Context, Field, along, rule, take, windows
from convscope.geometry import Ints, Spans
from convscope.graph import Node


@rule("convolution")
def _convolution(node: Node, context: Context) -> Field | None:
    arguments = node.arguments
    kernel = context.shape(arguments["weight"])[2:]
    before, after = context.shape(arguments["input"]), context.graph.shapes[node.outputs[0]]

    def convolve(axis: Axis) -> Axis:
        if axis.dimension in (None, 0):
            return axis
        i = axis.dimension - 2
        if i < 0:
            return axis.collapse() if arguments["groups"] == 1 else context.inside(axis)
        size, stride, padding = kernel[i], arguments["stride"][i], arguments["padding"][i]
        dilation, cells = arguments["dilation"][i], after[i + 2]
        if arguments["transposed"]:
            taps, seen = _transposed_taps(before[i + 2], cells, size, stride, padding, dilation)
            low = np.where(seen, axis.spans.low[taps], NOTHING_LOW).min(1)
            high = np.where(seen, axis.spans.high[taps], NOTHING_HIGH).max(1)
            return Axis(axis.dimension, Spans(low, high, axis.spans.extent, axis.spans.stride / stride))
        taps = windows(cells, size, stride, padding, dilation)
        return Axis(axis.dimension, take(axis.spans, taps, axis.spans.stride * stride, context.exact))

    return along(context.field(arguments["input"]), convolve)


def _transposed_taps(
    inputs: int, outputs: int, size: int, stride: int, padding: int, dilation: int
) -> tuple[Ints, np.ndarray]:
    """For each output the inputs that may reach it (outputs, size), and which of them do."""
    reach = np.arange(outputs)[:, None] + padding - np.arange(size)[None] * dilation
    taps = reach // stride
    seen = (reach % stride == 0) & (taps >= 0) & (taps < inputs)
    return np.clip(taps, 0, inputs - 1), seen


@rule("max_pool2d_with_indices", "avg_pool2d", "max_pool3d_with_indices", "avg_pool3d", "avg_pool1d", "max_pool2d")
def _pool(node: Node, context: Context) -> Field | None:
    arguments = node.arguments
    after = context.graph.shapes[node.outputs[0]]
    first = len(after) - int(node.op.split("pool")[1][0])
    kernel = arguments["kernel_size"]

    def pool(axis: Axis) -> Axis:
        if axis.dimension is None or axis.dimension < first:
            return axis
        i = axis.dimension - first
        size, stride = _each(kernel, i), _each(arguments["stride"] or kernel, i)
        padding, dilation = _each(arguments["padding"], i), _each(arguments.get("dilation", 1), i)
        taps = windows(after[axis.dimension], size, stride, padding, dilation)
        return Axis(axis.dimension, take(axis.spans, taps, axis.spans.stride * stride, context.exact))

    return along(context.field(arguments["self"]), pool)


def _each(value: int | list[int], i: int) -> int:
    if isinstance(value, int):
        return value
    return value[i] if len(value) > 1 else value[0]


@rule("_adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool3d")
def _adaptive_pool(node: Node, context: Context) -> Field | None:
    before, after = context.shape(node.arguments["self"]), context.graph.shapes[node.outputs[0]]

    def pool(axis: Axis) -> Axis:
        if axis.dimension is None:
            return axis
        inputs, outputs = before[axis.dimension], after[axis.dimension]
        cells = np.arange(outputs)
        low, high = cells * inputs // outputs, -(-(cells + 1) * inputs // outputs)
        taps = np.stack([low, high - 1], 1)
        return Axis(axis.dimension, take(axis.spans, taps, axis.spans.stride * inputs / outputs, exact=True))

    return along(context.field(node.arguments["self"]), pool)


@rule("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d")
def _upsample(node: Node, context: Context) -> Field | None:
    ref, arguments = node.arguments["self"], node.arguments
    before, after = context.shape(ref), context.graph.shapes[node.outputs[0]]
    factors = arguments["scales_h"], arguments["scales_w"]

    def upsample(axis: Axis) -> Axis:
        if axis.dimension is None or axis.dimension < 2:
            return axis
        inputs, outputs = before[axis.dimension], after[axis.dimension]
        factor = factors[axis.dimension - 2]
        scale = 1 / factor if factor else inputs / outputs  # a factor that was given wins over the sizes
        if arguments.get("align_corners"):
            scale = (inputs - 1) / max(1, outputs - 1)
        taps = _resize_taps(node.op, inputs, outputs, scale, bool(arguments.get("align_corners")))
        return Axis(axis.dimension, take(axis.spans, taps, axis.spans.stride * scale, exact=True))

    return along(context.field(ref), upsample)


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


@rule("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(node: Node, context: Context) -> Field | None:
    factor = node.arguments.get("upscale_factor") or node.arguments["downscale_factor"]
    after = context.graph.shapes[node.outputs[0]]

    def shuffle(axis: Axis) -> Axis:
        if axis.dimension is None:
            return axis
        if axis.dimension < len(after) - 2:
            return context.inside(axis) if axis.dimension == len(after) - 3 else axis
        cells = np.arange(after[axis.dimension])
        if node.op == "pixel_shuffle":
            taps, stride = (cells // factor)[:, None], axis.spans.stride / factor
        else:
            taps, stride = cells[:, None] * factor + np.arange(factor)[None], axis.spans.stride * factor
        return Axis(axis.dimension, take(axis.spans, taps, stride, exact=True))

    return along(context.field(node.arguments["self"]), shuffle)
