"""Projections of many neurons to the pixels: what comes back from one activation, all others of its layer zero.

>>> found = project(network, images, [(0, parse("features.10:7@4,5")), (1, parse("features.10:7@6,6"))], DECONVNET)
>>> found[0].values, found[0].box

The signal starts at the activation's own value, and goes down by the gradient or by a rule of `backward_rules`: with
`DECONVNET` it is the figure of Zeiler and Fergus, with `GUIDED` that of Springenberg et al. (METHODS 7.1, 7.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope import gradients
from convscope.address import Neuron
from convscope.backward_rules import Rule
from convscope.cones import Cones, Image
from convscope.crops import Places
from convscope.errors import AttributionError, NotFiniteError
from convscope.geometry import Box
from convscope.graph import Graph
from convscope.network import Network
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.scored import UnitTarget
from convscope.targets import understand


@dataclass(frozen=True, eq=False)
class Projection:
    """What one activation gives back at the pixels that it sees; it is zero at all others.

    Args:
        values: (c, height, width) float32, on the CPU, in the units of the network's input.
        box: (y0, x0, y1, x1) where they lie on the image, half-open: the neuron's exact field.
        start: the signal at the start, the activation's value; 0 where it is below, and then so are the values.
        whole: why it took a full backward pass, much slower than one on windows; None where it did not.
    """

    values: Tensor
    box: tuple[int, int, int, int]
    start: float
    whole: str | None = None


def project(
    network: Network, images: Tensor, neurons: Sequence[tuple[int, Neuron]], rule: Rule | None = None
) -> list[Projection]:
    """The projections of neurons, each on one of the images.

    Divided by `start` they are the gradient of the response, or its guided gradient.

    Args:
        images: (n, c, h, w), as the network takes them.
        neurons: the number of an image and a neuron of any layer, for each projection.
        rule: what non-linearities do to the signal; None for the gradient.

    Raises:
        AddressError: there is no such layer, unit or position.
        AttributionError: the rule cannot be applied to the network, or something is not finite.
    """
    if not neurons:
        return []
    rows = [row for row, _ in neurons]
    if min(rows) < 0 or max(rows) >= len(images):
        raise AttributionError(
            f"projections are asked for on images {min(rows)} to {max(rows)}, and there are {len(images)}"
        )
    gradients.check_finite(images, "the input")
    images = images.detach().to(network.device)
    with gradients.untouched(network):
        graph = record(network.module, images[:1])
        targets = understand([neuron for _, neuron in neurons], network, graph, len(neurons))
        job = _Job(network, graph, images, [target for target in targets if isinstance(target, UnitTarget)], rows, rule)
        return job.run()


class _Job:
    """Neurons of a network, and the images that they are projected on."""

    def __init__(
        self, network: Network, graph: Graph, images: Tensor, targets: Sequence[UnitTarget], rows: list[int],
        rule: Rule | None,
    ) -> None:  # fmt: skip
        self.network, self.graph, self.images, self.rule = network, graph, images, rule
        self.targets, self.rows = targets, rows
        fields = receptive_fields(graph)
        grids = {target.layer.response: fields.grid(target.layer, "exact") for target in targets}
        self.boxes = [
            grids[target.layer.response].box(*divmod(target.place or 0, target.columns)) for target in targets
        ]
        self.cones = Cones(network, graph, list(grids), images[:1], rule)

    def run(self) -> list[Projection]:
        """In the order of the neurons."""
        found: dict[int, Projection] = {}
        for row in dict.fromkeys(self.rows):
            mine = [i for i, each in enumerate(self.rows) if each == row]
            try:
                if self.cones.obstacle is None:
                    found |= self._by_cones(row, mine)
                else:
                    found |= {i: self._by_a_full_pass(row, i) for i in mine}
            except NotFiniteError as error:
                raise NotFiniteError(error.what, row) from error
        return [found[i] for i in range(len(self.rows))]

    def _by_a_full_pass(self, row: int, i: int) -> Projection:
        passed = gradients.run(self.network, self.graph, self.images[row : row + 1], [self.targets[i]], self.rule)
        start = passed.scores.clamp(min=0)
        whole = passed.gradient(start)[0]
        box = self.boxes[i]
        values = whole[:, box.y0 : box.y1, box.x0 : box.x1].to("cpu", torch.float32, copy=True)
        return Projection(values, box.as_tuple(), float(start), self.cones.obstacle)

    def _by_cones(self, row: int, numbers: list[int]) -> dict[int, Projection]:
        image = self.cones.values_of(self.images[row : row + 1])
        found: dict[int, Projection] = {}
        size = self.cones.batch
        for value in dict.fromkeys(self.targets[i].layer.response for i in numbers):
            mine = [i for i in numbers if self.targets[i].layer.response == value]
            mine.sort(key=lambda i: (self.boxes[i].height, self.boxes[i].width))  # windows of a batch have one size
            for first in range(0, len(mine), size):
                found |= self._batch(image, value, mine[first : first + size])
        return found

    def _batch(self, image: Image, value: int, numbers: Sequence[int]) -> dict[int, Projection]:
        """Neurons of one layer."""
        places = [_place(self.targets[i]) for i in numbers]
        scores = torch.stack([image.tensors[value][place] for place in places])
        gradients.check_finite(scores, "the score")
        starts = scores.clamp(min=0)
        signal = self.cones.down(image, value, places, starts)
        if signal is None:
            raise AttributionError(gradients.UNCONNECTED)
        gradients.check_finite(signal.rows, "the gradient")
        rows = signal.rows.to("cpu", torch.float32)
        return {
            i: Projection(_cut(signal.places, rows, n, self.boxes[i]), self.boxes[i].as_tuple(), float(starts[n]))
            for n, i in enumerate(numbers)
        }


def _place(target: UnitTarget) -> tuple[int, ...]:
    """Of a neuron in the response of its layer, for one image."""
    layer = target.layer
    cell = [int(each) for each in np.unravel_index(target.place or 0, layer.shape[1:])] if layer.shape[1:] else []
    cell.insert(layer.channel - 1 if layer.channel > 0 else len(cell), target.unit)
    return (0, *cell)


def _cut(places: Places, rows: Tensor, number: int, box: Box) -> Tensor:
    """What of a signal is in the box, (c, height, width)."""
    top, left = int(places.top[number]), int(places.left[number])
    inner = Box(max(box.y0, top), max(box.x0, left), min(box.y1, top + places.height), min(box.x1, left + places.width))
    values = rows.new_zeros(rows.shape[3], box.height, box.width)
    part = rows[number, inner.y0 - top : inner.y1 - top, inner.x0 - left : inner.x1 - left].movedim(-1, 0)
    values[:, inner.y0 - box.y0 : inner.y1 - box.y0, inner.x0 - box.x0 : inner.x1 - box.x0] = part
    return values
