"""Signals on their way back through a recorded graph, each computed only on the cone that its neuron sees.

A signal on a map is kept in a window outside of which it is zero. From its neuron to the image, each operation gives
the windows of its inputs from that of its output: what `crop_rules` says that it looks at, by autograd on crops of the
values that the image gave. So the forward pass is shared by all neurons, and what pads a map inside the network pads
the crop: a crop of the image would not do. An operation without a rule for crops passes signals on in full.

>>> cones = Cones(network, record(network.module, images[:1]), [layer.response], images[:1], DECONVNET)
>>> cones.down(cones.values_of(images[:1]), layer.response, places, starts)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convscope.backward_rules import Rule
from convscope.constants import call
from convscope.crops import Patches, Places, by_position, cut, maps
from convscope.execution import alone, tensors_in, together, written_by
from convscope.geometry import Ints
from convscope.graph import Graph, Node, sources
from convscope.network import Network
from convscope.replay import Base, Replay, Values
from convscope.steps import LINEAR, Step, steps

_BYTES, _MOST = 1 << 24, 64  # of the largest map of a batch, if all of it were needed; and signals
_FEW = 8  # channels: a strided convolution of fewer goes back much faster as one that is not strided

# Of n neurons: on a map (1, ..., height, width), or in full, (n, *shape), where a value is no map.
Signal = Patches | Tensor
Signals = dict[int, Signal]


class Image(Base):
    """All values of an image (1, c, h, w), and the derivatives of what works on every number by itself."""

    def __init__(self, replay: Replay, image: Tensor) -> None:
        super().__init__(replay, image)
        self.slopes: dict[int, Tensor] = {}


class Images:
    """The images of some signals.

    Args:
        owners: the image of each signal.
    """

    def __init__(self, owners: Sequence[Image]) -> None:
        starts = [i for i in range(len(owners)) if i == 0 or owners[i] is not owners[i - 1]]
        self.runs = [(owners[a], slice(a, b)) for a, b in itertools.pairwise([*starts, len(owners)])]
        """An image, and which signals are of it, one after the other."""

    def constant(self, value: int) -> Tensor:
        """A value that is the same for all images, or has the same shape where that is all that is asked for."""
        return self.runs[0][0].tensors[value].detach()

    def cut(self, places: Places, of: Callable[[Image], Tensor], fill: float = 0.0) -> Tensor:
        """Windows, each of its own image, (n, height, width, ...); `of` an image is a map by positions."""
        parts = [
            cut(of(image), None, Places(places.top[mine], places.left[mine], places.height, places.width), fill)
            for image, mine in self.runs
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class Cones:
    """A recorded graph, through which signals of neurons go back to the image.

    `obstacle` says why they cannot, if so: then nothing else here is to be used.

    Args:
        graph: of one image.
        values: where signals start.
        image: (1, c, h, w), on which is seen what the rule does.
        rule: what non-linearities do to the signal; None for the gradient.

    Raises:
        AttributionError: the rule cannot be applied to the network.
    """

    def __init__(self, network: Network, graph: Graph, values: Sequence[int], image: Tensor, rule: Rule | None) -> None:
        self.graph, self.rule = graph, rule
        self.replay = Replay(network.module, graph, values)
        self.steps, self.obstacle = steps(network, self.replay, image, rule)
        self.weights: dict[int, Tensor] = {}  # by node, in memory as signals are
        self.zeros: dict[tuple[int, ...], Tensor] = {}

    @property
    def batch(self) -> int:
        """How many signals are best passed on at once: few enough that they stay near the processor."""
        values = [self.graph.input, *(value for node in self.replay.varying for value in node.outputs)]
        return max(1, min(_MOST, _BYTES // max(4 * math.prod(self.graph.shapes[value]) for value in values)))

    def values_of(self, image: Tensor) -> Image:
        """What an image (1, c, h, w) gives, to be shared by its neurons."""
        with torch.no_grad():
            return Image(self.replay, image)

    @property
    def bytes(self) -> int:
        """What an image gives takes so many, about."""
        values = {value for node in self.replay.nodes for value in node.outputs}
        return 4 * sum(math.prod(self.graph.shapes[value]) for value in values)

    def down(
        self, owners: Image | Sequence[Image], value: int, places: Sequence[tuple[int, ...]], starts: Tensor
    ) -> Patches | None:
        """What is left at the image of signals (n,) at one place (0, ...) of a value each.

        None where no operations that have a gradient lead there.

        Args:
            owners: the image of each signal, or of all; it is fastest if those of one image are side by side.
        """
        images = Images([owners] * len(places) if isinstance(owners, Image) else owners)
        signals = {value: self._start(value, np.array(places, np.int64), starts)}
        for step in reversed(self.steps):
            found = {value: signals.pop(value) for node in step.nodes for value in node.outputs if value in signals}
            if found:
                self._add(signals, self._passed(step, found, images))
        at_image = signals.get(self.graph.input)
        assert not isinstance(at_image, Tensor)
        return at_image

    def _start(self, value: int, where: Ints, starts: Tensor) -> Signal:
        shape, number = self.graph.shapes[value], np.arange(len(where))
        if not _is_map(shape):
            whole = starts.new_zeros(len(where), *shape)
            whole[(number, *where.T)] = starts
            return whole
        rows = starts.new_zeros(len(where), 1, 1, *shape[1:-2])
        rows[(number, 0 * number, 0 * number, *where.T[1:-2])] = starts
        return Patches(Places(where[:, -2].copy(), where[:, -1].copy(), 1, 1), rows)

    def _passed(self, step: Step, found: Signals, images: Images) -> Signals:
        if step.how == "gradient":
            return self._back(step.nodes[0], found, images)
        signal = found[step.output]
        numbers = _numbers(signal)
        if step.how == "slope":
            numbers = numbers * self._slope(step, signal, images)
        elif step.how == "rule":
            assert self.rule is not None
            numbers = self.rule.signal(numbers, lambda: self._slope(step, signal, images))
        return {step.inputs[0]: _with(signal, numbers)}

    def _slope(self, step: Step, signal: Signal, images: Images) -> Tensor:
        """The derivative of a step that works on every number by itself, where a signal is."""
        every = len(images.runs) * images.constant(step.output).numel()
        known = all(step.output in image.slopes for image, _ in images.runs)
        if not known and _numbers(signal).numel() < every:  # so it is not worth while for all of each image
            return self._derivative(step, signal, images)
        if isinstance(signal, Patches):
            return images.cut(signal.places, lambda image: self._slope_of(step, image))
        runs = [(self._slope_of(step, image), mine.stop - mine.start) for image, mine in images.runs]
        return torch.cat([_repeated(slope, many) for slope, many in runs])

    def _slope_of(self, step: Step, image: Image) -> Tensor:
        """The same of all of an image, which its signals share."""
        if step.output not in image.slopes:
            everywhere = self._signal(step.output, image.tensors[step.output][None])
            image.slopes[step.output] = self._derivative(step, everywhere, Images([image]))
        return image.slopes[step.output]

    def _derivative(self, step: Step, where: Signal, images: Images) -> Tensor:
        signals = {step.output: _with(where, torch.ones_like(_numbers(where)))}
        for node in reversed(step.nodes):
            mine = {value: signals.pop(value) for value in node.outputs if value in signals}
            self._add(signals, self._back(node, mine, images) if mine else {})
        value = step.inputs[0]
        found = signals.get(value)
        if found is None:
            return torch.zeros_like(_numbers(where))
        if isinstance(found, Patches) and isinstance(where, Patches):
            return self._moved(value, found, where.places)  # it is everywhere, if the step has no rule for crops
        return _numbers(found)

    def _add(self, signals: Signals, more: Signals) -> None:
        for value, signal in more.items():
            before = signals.get(value)
            if before is None:
                signals[value] = signal
            elif isinstance(before, Patches) and isinstance(signal, Patches):
                places = _union([before.places, signal.places], self._size(value))
                rows = [self._moved(value, each, places) for each in (before, signal)]
                signals[value] = Patches(places, rows[0] + rows[1])
            else:
                signals[value] = _numbers(before) + _numbers(signal)

    # --- one operation on windows -------------------------------------------------------------------------------------

    def _back(self, node: Node, found: Signals, images: Images) -> Signals:
        """The gradient of an operation: signals at its inputs from those at its outputs."""
        if node.index not in self.replay.rules:
            return self._back_in_full(node, found, images)
        patches = {value: signal for value, signal in found.items() if isinstance(signal, Patches)}
        places = _union([each.places for each in patches.values()], self._size(node.outputs[0]))
        rows = {value: self._moved(value, each, places) for value, each in patches.items()}
        signals: Signals = {}
        for value, seen in self._back_on_crops(node, rows, places, images):
            self._add(signals, {value: self._inside(value, seen)})
        return signals

    def _back_on_crops(
        self, node: Node, found: dict[int, Tensor], places: Places, images: Images
    ) -> Iterator[tuple[int, Patches]]:
        """Windows at the inputs, which may reach beyond the map, from rows at the outputs."""
        if node.op == "convolution":
            yield node.arguments["input"].value, self._unconvolved(node, found[node.outputs[0]], places, images)
            return
        if node.op == "avg_pool3d":
            yield node.inputs[0], Patches(places, self._mixed(node, found[node.outputs[0]]))
            return
        crops = _Crops(self.graph, images, node.op.removesuffix("_") in LINEAR)
        results = dict(zip(node.outputs, tensors_in(self.replay.rules[node.index](node, crops, places)), strict=True))
        gradients = _gradients(results, {value: maps(rows) for value, rows in found.items()}, crops.leaves)
        for (value, where), gradient in zip(crops.where, gradients, strict=True):
            if gradient is not None:
                yield value, Patches(where, by_position(gradient))

    def _unconvolved(self, node: Node, rows: Tensor, places: Places, images: Images) -> Patches:
        """A convolution is linear: the signal alone goes through the transposed one."""
        arguments = node.arguments
        weight = images.constant(arguments["weight"].value)
        stride, dilation, groups = arguments["stride"], arguments["dilation"], arguments["groups"]
        reach = [1 + step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=True)]
        seen = places.seen(stride, arguments["padding"], reach)
        if weight.shape[1] < _FEW and max(stride) > 1 and groups == max(dilation) == 1:
            phases = self._weight(node, lambda: _phases(weight, stride))
            fine = F.conv2d(maps(rows), phases, padding=[size - 1 for size in phases.shape[2:]])
            found = _interleaved(fine, stride)[..., : seen.height, : seen.width]
        else:
            laid_out = self._weight(node, lambda: weight.contiguous(memory_format=torch.channels_last))
            found = F.conv_transpose2d(maps(rows), laid_out, stride=stride, groups=groups, dilation=dilation)
        return Patches(seen, by_position(found))

    def _mixed(self, node: Node, rows: Tensor) -> Tensor:
        """A mean over channels, as in a local response normalisation, is a matrix: PyTorch's own is very slow."""
        before = self.graph.shapes[node.inputs[0]]
        count = math.prod(before[:-2])

        def matrix() -> Tensor:
            every = torch.eye(count, dtype=rows.dtype, device=rows.device).reshape(count, *before[1:-2], 1, 1)
            mixed: Tensor = call(node, node.arguments | {"self": every})
            return mixed.reshape(count, -1).T

        mixed = rows.flatten(3) @ self._weight(node, matrix)
        return mixed.reshape(*rows.shape[:3], *before[1:-2])

    def _weight(self, node: Node, make: Callable[[], Tensor]) -> Tensor:
        if node.index not in self.weights:
            self.weights[node.index] = make()
        return self.weights[node.index]

    # --- one operation in full ----------------------------------------------------------------------------------------

    def _back_in_full(self, node: Node, found: Signals, images: Images) -> Signals:
        wholes = {value: self._whole(value, signal) for value, signal in found.items()}
        runs = [
            self._back_of(image, node, {value: whole[mine] for value, whole in wholes.items()})
            for image, mine in images.runs
        ]
        return {value: self._signal(value, torch.cat([run[value] for run in runs])) for value in runs[0]}

    def _back_of(self, image: Image, node: Node, wholes: Values) -> Values:
        """The same for signals of one image, each in full, (n, *shape)."""
        count, at_once = len(next(iter(wholes.values()))), node.index in self.replay.together
        own = {value: image.tensors[value].detach() for value in node.inputs}
        varying = [value for value in dict.fromkeys(sources(node)) if value in self.graph.dependent]
        leaves = {value: own[value] for value in varying if own[value].is_floating_point()}
        if at_once:  # the same for each signal, one after the other
            own |= {value: _repeated(own[value], count) for value in own if value in self.graph.dependent}
            leaves = {value: own[value] for value in leaves}
        for leaf in leaves.values():
            leaf.requires_grad_()
        own |= {value: own[value].clone() for value in written_by(node)}
        made = together(node, self.graph, own, count) if at_once else alone(node, self.graph, own)
        results = dict(zip(node.outputs, made, strict=True))
        if at_once:
            parts = [{value: whole.reshape(results[value].shape) for value, whole in wholes.items()}]
        else:
            parts = [{value: whole[i] for value, whole in wholes.items()} for i in range(count)]
        gradients = [_gradients(results, part, list(leaves.values())) for part in parts]
        signals: Values = {}
        for value, each in zip(leaves, zip(*gradients, strict=True), strict=True):
            known = [gradient for gradient in each if gradient is not None]
            if known:
                signals[value] = torch.cat(known).reshape(count, *self.graph.shapes[value])
        return signals

    def _whole(self, value: int, signal: Signal) -> Tensor:
        """A signal in full, (n, *shape)."""
        if isinstance(signal, Tensor):
            return signal
        rows = self._moved(value, signal, self._everywhere(value, len(signal.rows)))
        # Contiguous: PyTorch 2 takes the strides of a single image amiss in the backward pass of a batch norm.
        return maps(rows).reshape(-1, *self.graph.shapes[value]).contiguous()

    def _signal(self, value: int, whole: Tensor) -> Signal:
        """A signal from what it is in full."""
        shape = self.graph.shapes[value]
        if not _is_map(shape):
            return whole
        return Patches(self._everywhere(value, len(whole)), by_position(whole.reshape(-1, *shape[1:])))

    # --- windows ------------------------------------------------------------------------------------------------------

    def _size(self, value: int) -> tuple[int, int]:
        height, width = self.graph.shapes[value][-2:]
        return height, width

    def _everywhere(self, value: int, count: int) -> Places:
        nowhere = np.zeros(count, np.int64)
        return Places(nowhere, nowhere, *self._size(value))

    def _inside(self, value: int, patches: Patches) -> Patches:
        """What of some windows lies on the map; padding passes nothing on."""
        places, (height, width) = patches.places, self._size(value)
        top, rows = _clipped(places.top, places.height, height)
        left, columns = _clipped(places.left, places.width, width)
        inner = Places(top, left, rows, columns)
        return Patches(inner, self._moved(value, patches, inner))

    def _moved(self, value: int, patches: Patches, places: Places) -> Tensor:
        """The rows of windows in other places, zero where nothing is known."""
        if patches.places.same(places):
            return patches.rows
        shape = self.graph.shapes[value]
        if shape not in self.zeros:
            self.zeros[shape] = patches.rows.new_zeros(1, *shape[-2:], *shape[1:-2])
        return cut(self.zeros[shape], patches, places)


class _Crops:
    """Crops of the values of images for the rules of `crop_rules`; those by which is differentiated are `leaves`.

    Args:
        linear: their numbers do not matter.
    """

    def __init__(self, graph: Graph, images: Images, linear: bool) -> None:
        self.graph, self.images, self.linear = graph, images, linear
        self.leaves: list[Tensor] = []
        self.where: list[tuple[int, Places]] = []

    def tensor(self, value: int) -> Tensor:
        return self.images.constant(value)

    def crop(self, value: int, places: Places, *, fill: float = 0.0, shape: tuple[int, ...] = ()) -> Tensor:
        shape = shape or self.graph.shapes[value]
        if value not in self.graph.dependent:
            return self._cut(value, places, fill, shape)
        if self.linear:
            any_number = self.tensor(value).new_zeros(())
            crop = any_number.expand(len(places.top), *shape[1:-2], places.height, places.width)
        else:
            crop = self._cut(value, places, fill, shape)
        if crop.is_floating_point():
            self.leaves.append(crop.requires_grad_())
            self.where.append((value, places))
        return crop

    def to_write(self, value: int, places: Places) -> Tensor:
        return self.crop(value, places).clone()

    def _cut(self, value: int, places: Places, fill: float, shape: tuple[int, ...]) -> Tensor:
        return maps(self.images.cut(places, lambda image: image.by_position(value, shape).detach(), fill))


def _gradients(results: dict[int, Tensor], signals: dict[int, Tensor], leaves: list[Tensor]) -> Sequence[Tensor | None]:
    """By the leaves; None where nothing comes."""
    ends = [value for value in signals if results[value].requires_grad]
    if not ends or not leaves:
        return [None] * len(leaves)
    found: Sequence[Tensor | None] = torch.autograd.grad(
        [results[value] for value in ends], leaves, [signals[value] for value in ends],
        retain_graph=True, allow_unused=True,
    )  # fmt: skip
    return found


def _phases(weight: Tensor, stride: Sequence[int]) -> Tensor:
    """The weight of a convolution whose interleaved result is that of the transposed one with a stride.

    The cells between two steps have each a kernel of their own, of every stride-th weight.
    """
    outputs, inputs, *kernel = weight.shape
    taps = [-(-size // step) for size, step in zip(kernel, stride, strict=True)]
    padded = F.pad(weight, (0, taps[1] * stride[1] - kernel[1], 0, taps[0] * stride[0] - kernel[0]))
    split = padded.reshape(outputs, inputs, taps[0], stride[0], taps[1], stride[1]).permute(1, 3, 5, 0, 2, 4)
    return split.reshape(-1, outputs, *taps).flip(-2, -1).contiguous(memory_format=torch.channels_last)


def _interleaved(fine: Tensor, stride: Sequence[int]) -> Tensor:
    count, _, height, width = fine.shape
    cells = fine.reshape(count, -1, *stride, height, width).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(count, -1, height * stride[0], width * stride[1])


def _clipped(start: Ints, extent: int, size: int) -> tuple[Ints, int]:
    """Intervals of one length within a map, with all of others that lies on it."""
    low, high = np.clip(start, 0, size), np.clip(start + extent, 0, size)
    longest = max(1, int((high - low).max()))
    return np.minimum(low, size - longest), longest


def _union(places: Sequence[Places], size: tuple[int, int]) -> Places:
    """Windows of one size that hold all of some others, on a map of `size` (height, width)."""
    if all(each.same(places[0]) for each in places):
        return places[0]
    top, left = np.min([(each.top, each.left) for each in places], 0)
    bottom, right = np.max([(each.top + each.height, each.left + each.width) for each in places], 0)
    height, width = int((bottom - top).max()), int((right - left).max())
    return Places(np.minimum(top, size[0] - height), np.minimum(left, size[1] - width), height, width)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) > 2 and shape[0] == 1


def _numbers(signal: Signal) -> Tensor:
    return signal.rows if isinstance(signal, Patches) else signal


def _with(signal: Signal, numbers: Tensor) -> Signal:
    return Patches(signal.places, numbers) if isinstance(signal, Patches) else numbers


def _repeated(tensor: Tensor, count: int) -> Tensor:
    """So many times, one after the other in the first dimension."""
    return tensor.repeat(count, *(1,) * (tensor.ndim - 1))
