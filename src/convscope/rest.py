"""The rest of a network behind a layer, run again for images in which some of the layer's units are set to a value.

The way to the layer is run once for a batch of images; what the rest looks at beside the layer (the other branch of a
residual block) is kept with it. Whatever runs is the recorded operation itself, as in `convscope.replay`.

>>> rest = Rest(network.module, record(network.module, network.example()), layer)
>>> entered = rest.enter(images)
>>> rest.leave(entered, numbers, masks, fill)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from convscope import capture
from convscope.execution import tensors_in
from convscope.graph import Graph, LayerNode, Node
from convscope.replay import Base, Replay, Values

_MOST, _BATCH_BYTES = 128, 1 << 24  # runs at a time, and what the largest value of these may take


@dataclass(frozen=True, eq=False)
class Entered:
    """A batch of images on their way through the layer.

    Args:
        images: (n, c, h, w).
        values: of the graph, of n images: the layer's, and what the rest looks at beside.
        units: the layer's, (n, units, ...).
    """

    images: Tensor
    values: Values
    units: Tensor


class Rest:
    """What a network does behind the response of a layer.

    Args:
        graph: of one image; its first output is what the rest gives.
    """

    def __init__(self, module: nn.Module, graph: Graph, layer: LayerNode) -> None:
        self.module, self.graph, self.layer = module, graph, layer
        self.cut, self.output = layer.response, graph.outputs[0]
        self.replay = Replay(module, graph, (self.output, self.cut))
        self._known: Base | None = None
        self.after = _behind(self.replay.varying, self.cut)
        inside = {node.index for node in self.after}
        self.before = [node for node in self.replay.varying if node.index not in inside]
        made = {value for node in self.after for value in node.outputs}
        used = [self.cut, self.output, *(value for node in self.after for value in node.inputs)]
        self.kept = [value for value in dict.fromkeys(used) if value in graph.dependent and value not in made]

    @cached_property
    def batch(self) -> int:
        """How many runs are best made at once."""
        values = [*self.kept, *(value for node in self.after for value in node.outputs)]
        return max(1, min(_MOST, _BATCH_BYTES // max(4 * math.prod(self.graph.shapes[value]) for value in values)))

    @torch.no_grad()
    def enter(self, images: Tensor) -> Entered:
        """Run images (n, c, h, w) up to the layer.

        Raises:
            CaptureError: the network looks at numbers, and does something else than in the recorded pass.
        """
        if self.replay.repeatable:
            given = {self.graph.input: images}
            values = self.replay.in_full(self._base(images), self.before, given, len(images), self.kept)
        else:
            values = {self.cut: torch.cat([self._response(image) for image in images])}
        return Entered(images, values, self._units(values[self.cut], len(images)))

    @torch.no_grad()
    def leave(self, entered: Entered, numbers: Tensor, masks: Tensor, fill: Tensor) -> Tensor:
        """The network's first output, (k, classes), for k runs.

        Args:
            numbers: (k,) of an image of the batch for each run.
            masks: (k, units) bool, the units that are set.
            fill: (units,) to what.
        """
        if not self.replay.repeatable:
            runs = zip(entered.images[numbers], masks, strict=True)
            return torch.cat([self._by_definition(image, mask, fill) for image, mask in runs])
        given = {value: self._of(entered, value, numbers) for value in self.kept}
        self._set(given[self.cut], masks, fill)
        base = self._base(entered.images)
        return self.replay.in_full(base, self.after, given, len(numbers), [self.output])[self.output]

    def _base(self, images: Tensor) -> Base:
        """What does not depend on the image, computed with the first one."""
        if self._known is None:
            self._known = Base(self.replay, images[:1].clone())
            self._known.lay_weights_out()
        return self._known

    def _of(self, entered: Entered, value: int, numbers: Tensor) -> Tensor:
        """A value of chosen images, in memory of its own."""
        tensor, each = entered.values[value], self.graph.shapes[value][:1]
        if each in ((), (1,)):
            return tensor[numbers]
        count = len(entered.images)
        return tensor.reshape(count, len(tensor) // count, *tensor.shape[1:])[numbers].flatten(0, 1)

    def _units(self, tensor: Tensor, count: int) -> Tensor:
        """The layer's value with the units behind the images, (count, units, ...); a view."""
        channel = self.layer.channel + (self.layer.channel > 0)
        return tensor.view(count, len(tensor) // count, *tensor.shape[1:]).movedim(channel, 1)

    def _set(self, tensor: Tensor, masks: Tensor, fill: Tensor) -> None:
        """Set units in the memory of the layer's value."""
        units = self._units(tensor, len(masks))
        runs, chosen = masks.nonzero(as_tuple=True)
        units[runs, chosen] = fill[chosen].reshape(-1, *(1,) * (units.ndim - 2))

    def _response(self, image: Tensor) -> Tensor:
        found: list[Tensor] = []
        capture.run(self.module, image[None], self.graph, {self.cut: lambda tensor: found.append(tensor.clone())})
        return found[0]

    def _by_definition(self, image: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
        """For networks that look at numbers: the whole network, with the layer's value replaced on the way."""

        def replaced(tensor: Tensor) -> Tensor:
            changed = tensor.clone()
            self._set(changed, mask[None], fill)
            return changed

        return tensors_in(capture.run(self.module, image[None], self.graph, {self.cut: replaced}))[0]


def _behind(nodes: list[Node], value: int) -> list[Node]:
    """The nodes that a value leads to, in the order in which they ran."""
    changed, found = {value}, []
    for node in nodes:
        if not changed.isdisjoint(node.inputs):
            changed.update(node.outputs)
            found.append(node)
    return found
