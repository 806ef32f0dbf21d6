"""Explanatory factors: a prediction as a sum of the contributions of units, each with its own map [METHODS 6.9].

::

    S = Σ u(k) + b,   u(k) = w(k) F(k),   F(k) = the map of unit k, pooled

Bau et al., "Network Dissection" in its journal version (Zhou, Bau, Oliva, Torralba, TPAMI 2019). A network that ends in
global pooling and a linear layer is such a sum of its last units. In one that pools the maps of the classes themselves
(SqueezeNet, NIN) the units are those that the last convolution reads, and behind its rectifier only the open positions
count. All these are one rule, u(k) = Σ f(k, i, j) ∂S/∂f(k, i, j), and the bias b is what ∂S/∂b gives of the layer's
own. That they make up the logit is no definition but is looked at: `Factors.gap`.

>>> found = factors(network, images, "tabby", names=Dissection.open("atlas"))
>>> found.name(found.units[0, 0]), found.shares[0, found.units[0]]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope import gradients
from convscope.attribution.base import Question, checked, placed
from convscope.attribution.cam import PooledHead, pooled_head
from convscope.attribution.map_layer import MapLayer, map_read_by
from convscope.dissection import DissectedLayer, Dissection
from convscope.dissection.section import CUT
from convscope.errors import AttributionError, NotFiniteError
from convscope.geometry import Grid
from convscope.graph import Graph, LayerNode, Ref
from convscope.network import Network
from convscope.recorder import record
from convscope.targets import Targets, understand

LEVEL = 0.2  # of the largest value of a unit's map: where its region ends
_LOOSE = 0.01  # gap, as a share of all that is added up, above which it is no sum (TF32 alone makes 0.001)


@dataclass(frozen=True, eq=False)
class Factors:
    """The units that n predictions are sums of, k units each; the `top` of them with maps.

    Args:
        targets: (n,) what was explained, as "class 7 (tabby)".
        scores: (n,) float64, the logits.
        score: (n,) what they are: "logit", "output" (a real value) or "response".
        layer: whose channels the units are.
        contributions: (n, k) float64.
        bias: (n,) float64, what the layer's own bias adds.
        gap: (n,) float64, sum of the contributions + bias - score: what rounding makes.
        units: (n, top) int64, those with the largest contributions, the largest first.
        maps: (n, top, rows, columns) float32, what these units answer.
        grid: where the cells of the maps lie on the image.
        names: of units: what they detect, where a dissection says it; None where they have none.
        notes: what else must be known.
        detectors: the units in a dissection, if there is one.
    """

    targets: tuple[str, ...]
    scores: Tensor
    score: tuple[str, ...]
    layer: str
    contributions: Tensor
    bias: Tensor
    gap: Tensor
    units: Tensor
    maps: Tensor
    grid: Grid
    names: Mapping[int, str] | None
    notes: tuple[str, ...]
    detectors: DissectedLayer | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def shares(self) -> Tensor:
        """(n, k): each contribution as a share of all positive ones, which make 1; all 0 where there is none."""
        positive = self.contributions.clamp(min=0).sum(1, keepdim=True)
        return torch.where(positive > 0, self.contributions / positive, 0.0)

    def name(self, unit: int) -> str:
        """What a unit is called."""
        if self.names is None:
            return f"unit {unit}"
        return f"{self.names.get(unit, 'unlabelled')} (unit {unit})"

    def on_image(self) -> Tensor:
        """The maps (n, top, h, w) at the size of the image, each value at the centre of the field of its cell."""
        return placed(self.maps, self.grid, "field")

    def regions(self) -> Tensor:
        """Where a unit answers, (n, top, h, w) bool: above its threshold in the dissection.

        Without one, or where the unit stays below it, at least `LEVEL` of its map's largest value; nowhere if silent.
        """
        answers, largest = self.on_image(), self.maps.amax((2, 3), keepdim=True)
        share = (answers >= LEVEL * largest) & (largest > 0)
        if self.detectors is None:
            return share
        thresholds = torch.tensor([unit.threshold for unit in self.detectors])[self.units][..., None, None]
        above = answers > thresholds
        return torch.where(above.any(3, keepdim=True).any(2, keepdim=True), above, share)

    def to_json(self) -> dict[str, Any]:
        """All but the maps, as plain numbers and text."""
        shares = self.shares
        return {
            "layer": self.layer, "notes": list(self.notes), "grid": self.grid.to_json(),
            "predictions": [
                {
                    "target": self.targets[row], "score": float(self.scores[row]), "kind": self.score[row],
                    "bias": float(self.bias[row]), "gap": float(self.gap[row]),
                    "contributions": self.contributions[row].tolist(),
                    "factors": [
                        {"unit": unit, "name": None if self.names is None else self.names.get(unit),
                         "contribution": float(self.contributions[row, unit]), "share": float(shares[row, unit])}
                        | ({} if self.detectors is None else {"iou": self.detectors[unit].iou})
                        for unit in self.units[row].tolist()
                    ],
                }
                for row in range(len(self))
            ],
        }  # fmt: skip


def factors(
    network: Network,
    images: Tensor,
    target: Targets = None,
    top: int = 5,
    names: Mapping[int, str] | Dissection | None = None,
) -> Factors:
    """Take the logit of each image apart into what the last units contribute.

    Args:
        images: (n, c, h, w), as the network's preprocessing makes them.
        target: a class, or a list of n; see `convscope.targets`. Default: the predicted class of each image.
        top: how many units of each image get a map.
        names: of units; or a dissection of the network, which names those that detect a concept and says where each
            unit answers.

    Raises:
        AttributionError: the network does not end in global pooling and at most one linear layer, what follows the
            units is no sum of them, the target is a probability, or the dissection is of another network or does not
            have these units.
        TargetError: there is no such class.
    """
    images = checked(network, images)
    with gradients.untouched(network):
        graph = record(network.module, images[:1])
        targets = understand(target, network, graph, len(images))
        questions = [
            Question(network, graph, images[row : row + 1], targets[row : row + 1]) for row in range(len(images))
        ]
        sums = [_sum(question) for question in questions]
        whole = sums[0]
        if any((each.units.value, each.layer) != (whole.units.value, whole.layer) for each in sums):
            raise AttributionError("the targets are sums of different units; take them apart in calls of their own")
        detectors = None
        if isinstance(names, Dissection):
            detectors = _detectors(names, network, graph, whole.units)
            names = _labels(detectors)
        # One by one: some networks make what an image gives depend on the others.
        parts = [_taken_apart(question, whole, top, row) for row, question in enumerate(questions)]
    explained = [part.explained.targets[0] for part in parts]
    contributions, bias = (torch.stack([getattr(part, name) for part in parts]) for name in ("contributions", "bias"))
    scores = torch.cat([part.explained.scores for part in parts]).to("cpu", torch.float64)
    gap = contributions.sum(1) + bias - scores
    _check(gap, contributions.abs().sum(1) + bias.abs(), whole)
    notes = dict.fromkeys([*whole.units.notes, *whole.notes, *(each.note for each in explained if each.note)])
    return Factors(
        tuple(map(str, explained)),
        scores,
        tuple(each.kind for each in explained),
        str(whole.units.layer.address),
        contributions,
        bias,
        gap,
        torch.stack([part.units for part in parts]),
        torch.stack([part.maps for part in parts]),
        whole.units.grid,
        names,
        tuple(notes),
        detectors,
    )


def _detectors(dissection: Dissection, network: Network, graph: Graph, units: MapLayer) -> DissectedLayer:
    """The channels of a map in a dissection of the network: they are the responses of one of its layers."""
    job = dissection.run["job"]
    if job["network"] != network.fingerprint:
        raise AttributionError(
            f"{dissection.path}: dissected was {dissection.run['network']} with other weights or preprocessing than "
            f"those of {network.name}; give a dissection of this network"
        )
    if job["at"] != "response":
        raise AttributionError(f"{dissection.path}: units were read at the raw output of their layers; dissect again")
    known = {each.address: each for each in dissection.layers}
    layers = [str(layer.address) for layer in graph.layers() if layer.response == units.value]
    found = next((known[address] for address in layers if address in known), None)
    if found is None:
        what = layers[0] if layers else f"{units.layer.address}, which is no layer of its own,"
        raise AttributionError(
            f"{dissection.path}: the prediction is a sum over the units of {what} and these were not dissected; there "
            f"are {', '.join(known)}"
        )
    return found


def _labels(detectors: DissectedLayer) -> dict[int, str]:
    """What the units detect, of those that do."""
    return {unit.address.index: unit.label.name for unit in detectors if unit.label is not None and unit.iou > CUT}


@dataclass(frozen=True, eq=False)
class _Sum:
    """What the targets are a sum of: the units' maps, and the bias of the layer that adds them up."""

    units: MapLayer
    layer: LayerNode
    notes: tuple[str, ...]


def _sum(question: Question) -> _Sum:
    head = pooled_head(question, "a sum over units")
    if head.linear is not None:
        notes = ("the network pools by maximum: a unit contributes where it is largest",)
        return _Sum(head.map, head.linear, notes if head.how == "maximum" else ())
    return _before(question.graph, head)


def _before(graph: Graph, head: PooledHead) -> _Sum:
    """Where the maps of the classes are pooled: the maps that the convolution reads which made them."""
    ran = {node.index for node in graph.ancestors([head.map.value])}
    last = [layer for layer in graph.layers() if layer.node in ran][-1]
    units = map_read_by(graph, last)
    if units is None:
        raise AttributionError(
            f"the maps that are pooled are those of the target itself, and {last.address}, the {last.kind} layer "
            "before them, does not add up maps of other units; explain it by a map, as CAM or GradCAM"
        )
    note = f"{last.address} gives each class a map, which is pooled: units contribute where its response is not cut off"
    return _Sum(units, last, (note,))


@dataclass(frozen=True, eq=False)
class _Part:
    """One image: contributions (k,), bias (), the units with the largest, (top,), and their maps (top, h, w)."""

    explained: gradients.Pass
    contributions: Tensor
    bias: Tensor
    units: Tensor
    maps: Tensor


def _taken_apart(question: Question, whole: _Sum, top: int, row: int) -> _Part:
    try:
        explained = question.run(keep=(whole.units.value, whole.layer.output))
    except NotFiniteError as error:
        raise NotFiniteError(error.what, row) from error
    maps = whole.units.activations(explained)[0].to("cpu", torch.float64)
    slopes = whole.units.first(explained.gradient(by=whole.units.value))[0].to("cpu", torch.float64)
    contributions = (maps * slopes).sum((1, 2))
    bias = _bias(question.graph, whole.layer, explained)
    units = torch.sort(contributions, descending=True, stable=True).indices[:top]
    return _Part(explained, contributions, bias, units, maps[units].float())


def _bias(graph: Graph, layer: LayerNode, explained: gradients.Pass) -> Tensor:
    """What the bias of a layer adds to the score, ()."""
    node = graph.nodes[layer.node]
    given = node.arguments.get("self" if node.op == "addmm" else "bias")
    bias = graph.constants.get(given.value) if isinstance(given, Ref) else None
    if bias is None:
        return torch.zeros((), dtype=torch.float64)
    slopes = explained.gradient(by=layer.output).movedim(layer.channel, 0).flatten(1).sum(1)
    return (slopes.to("cpu", torch.float64) * bias.detach().to("cpu", torch.float64).reshape(-1)).sum()


def _check(gap: Tensor, size: Tensor, whole: _Sum) -> None:
    """Raise where the contributions do not make up the score."""
    worst = int((gap.abs() - _LOOSE * size).argmax())
    if gap[worst].abs() > _LOOSE * size[worst]:
        raise AttributionError(
            f"the prediction for image {worst} is no sum over the units of {whole.units.layer.address}: contributions "
            f"and bias miss the logit by {float(gap[worst]):.4g}, because what follows them is not linear; explain it "
            "by a map, as GradCAM"
        )
