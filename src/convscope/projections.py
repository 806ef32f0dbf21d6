"""Projections of many neurons to the pixels: what comes back from one activation, all others of its layer zero.

>>> found = project(network, images, [(0, parse("features.10:7@4,5")), (1, parse("features.10:7@6,6"))], DECONVNET)
>>> found[0].values, found[0].box

The signal starts at the activation's own value, and goes down by the gradient or by a rule of `backward_rules`: with
`DECONVNET` it is the figure of Zeiler and Fergus, with `GUIDED` that of Springenberg et al. (METHODS 7.1, 7.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

_ROOM = 1 << 28  # bytes of what images gave that are kept at once


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
    return project_by(network, images, neurons, [rule])[0]


def project_by(
    network: Network, images: Tensor, neurons: Sequence[tuple[int, Neuron]], rules: Sequence[Rule | None]
) -> list[list[Projection]]:
    """The same by several rules: the images are run once. The other arguments and the errors are those of `project`."""
    if not neurons:
        return [[] for _ in rules]
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
        units = [target for target in targets if isinstance(target, UnitTarget)]
        return _Job(network, graph, images, units, rows, rules).run()


class _Job:
    """Neurons of a network, and the images that they are projected on."""

    def __init__(
        self, network: Network, graph: Graph, images: Tensor, targets: Sequence[UnitTarget], rows: list[int],
        rules: Sequence[Rule | None],
    ) -> None:  # fmt: skip
        self.network, self.graph, self.images = network, graph, images
        self.targets, self.rows = targets, rows
        fields = receptive_fields(graph)
        grids = {target.layer.response: fields.grid(target.layer, "exact") for target in targets}
        self.boxes = [
            grids[target.layer.response].box(*divmod(target.place or 0, target.columns)) for target in targets
        ]
        self.cones = [Cones(network, graph, list(grids), images[:1], rule) for rule in rules]

    def run(self) -> list[list[Projection]]:
        """By each rule, in the order of the neurons."""
        found: list[dict[int, Projection]] = [{} for _ in self.cones]
        rows = list(dict.fromkeys(self.rows))
        together = max(1, _ROOM // max(1, self.cones[0].bytes))
        for first in range(0, len(rows), together):
            some = set(rows[first : first + together])
            mine = [i for i, row in enumerate(self.rows) if row in some]
            given = {} if all(each.obstacle for each in self.cones) else {row: self._given(row) for row in some}
            for cones, done in zip(self.cones, found, strict=True):
                done |= self._by_cones(cones, given, mine) if cones.obstacle is None else self._in_full(cones, mine)
        return [[done[i] for i in range(len(self.rows))] for done in found]

    def _given(self, row: int) -> Image:
        return self.cones[0].values_of(self.images[row : row + 1])

    def _in_full(self, cones: Cones, numbers: Sequence[int]) -> dict[int, Projection]:
        """A full pass for each neuron."""
        found = {}
        for i in numbers:
            row = self.rows[i]
            try:
                image = self.images[row : row + 1]
                passed = gradients.run(self.network, self.graph, image, [self.targets[i]], cones.rule)
                start = passed.scores.clamp(min=0)
                whole = passed.gradient(start)[0]
            except NotFiniteError as error:
                raise NotFiniteError(error.what, row) from error
            box = self.boxes[i]
            values = whole[:, box.y0 : box.y1, box.x0 : box.x1].to("cpu", torch.float32, copy=True)
            found[i] = Projection(values, box.as_tuple(), float(start), cones.obstacle)
        return found

    def _by_cones(self, cones: Cones, given: Mapping[int, Image], numbers: Sequence[int]) -> dict[int, Projection]:
        """Neurons of a layer together, also where they are on different images."""
        found: dict[int, Projection] = {}
        for value in dict.fromkeys(self.targets[i].layer.response for i in numbers):
            mine = [i for i in numbers if self.targets[i].layer.response == value]
            mine.sort(key=lambda i: (self.boxes[i].height, self.boxes[i].width))  # windows of a batch have one size
            for first in range(0, len(mine), cones.batch):
                some = sorted(mine[first : first + cones.batch], key=lambda i: self.rows[i])
                found |= self._batch(cones, given, value, some)
        return found

    def _batch(
        self, cones: Cones, given: Mapping[int, Image], value: int, numbers: Sequence[int]
    ) -> dict[int, Projection]:
        """Neurons of one layer, those of an image side by side."""
        places, owners = [_place(self.targets[i]) for i in numbers], [given[self.rows[i]] for i in numbers]
        scores = torch.stack([image.tensors[value][place] for image, place in zip(owners, places, strict=True)])
        self._check(scores, "the score", numbers)
        starts = scores.clamp(min=0)
        signal = cones.down(owners, value, places, starts)
        if signal is None:
            raise AttributionError(gradients.UNCONNECTED)
        self._check(signal.rows, "the gradient", numbers)
        rows = signal.rows.to("cpu", torch.float32)
        return {
            i: Projection(_cut(signal.places, rows, n, self.boxes[i]), self.boxes[i].as_tuple(), float(starts[n]))
            for n, i in enumerate(numbers)
        }

    def _check(self, values: Tensor, what: str, numbers: Sequence[int]) -> None:
        try:
            gradients.check_finite(values, what)
        except NotFiniteError as error:
            raise NotFiniteError(error.what, self.rows[numbers[error.image]]) from error


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
