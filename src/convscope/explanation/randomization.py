"""The check by random weights: whether a map depends on what the network has learned in the layer at the top.

The last layer with weights on the way to the target gets random ones in a copy of the network, the target stays, and
the map is made again. A map that stays the same is no explanation of the prediction, as it does not depend on what
makes one class differ from the others (Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity checks for saliency
maps", NeurIPS 2018, the first step of their cascade).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from convscope.attribution import AttributionMap
from convscope.errors import AttributionError
from convscope.graph import Graph, LayerNode
from convscope.network import Network
from convscope.scored import Fixed
from convscope.targets import Target

RANKS = "rank correlation with random weights at the top"
MAGNITUDES = "rank correlation of magnitudes with random weights at the top"
ALIKE = 0.9  # from which on a map is called the same
_DRAWS = 4  # of weights, where a map with random ones is zero everywhere

_KNOWN = {
    "guided_backprop": "as is known of guided backpropagation",
    "deconvnet": "as is known of deconvnets",
    "guided_gradcam": "as is known of guided backpropagation",
}


@dataclass(frozen=True)
class Check:
    """How the check was made.

    Args:
        layer: that had random weights; None where it could not be made.
        seed: of these.
        reason: why it could not be made.
    """

    layer: str | None
    seed: int
    reason: str | None = None


@dataclass(eq=False)
class Checker:
    """Makes the check for maps of one network; `graph` is that of a pass on it."""

    network: Network
    graph: Graph
    seed: int
    _copies: dict[LayerNode, list[Network]] = field(default_factory=dict)

    def __call__(
        self, found: AttributionMap, images: Tensor, written: Sequence[Target], fixed: Sequence[Fixed]
    ) -> list[tuple[AttributionMap, Check]]:
        """The map of each image with the result of its check: among its evidence, and in a note if it is bad.

        Args:
            images: (n, c, h, w) that it explains.
            written: (n,) the target of each image with its class or position, as users write it.
            fixed: (n,) the same as they are understood.
        """
        by_layer = defaultdict(list)
        for row, target in enumerate(fixed):
            by_layer[top_layer(self.graph, target)].append(row)
        checked: dict[int, tuple[AttributionMap, Check]] = {}
        for layer, rows in by_layer.items():
            one = [found.only(row) for row in rows]
            try:
                numbers, check = self._compare(layer, one, images[rows], [written[row] for row in rows])
            except AttributionError as error:
                numbers, check = np.full((len(rows), 2), np.nan), Check(None, self.seed, str(error))
            for row, each, pair in zip(rows, one, numbers, strict=True):
                checked[row] = _with(each, pair, check), check
        return [checked[row] for row in range(len(found))]

    def _compare(
        self, layer: LayerNode | None, found: Sequence[AttributionMap], images: Tensor, written: Sequence[Target]
    ) -> tuple[NDArray[np.float64], Check]:
        """Both correlations of each map (n, 2); NaN where one of the two maps is the same everywhere."""
        numbers = np.full((len(found), 2), np.nan)
        if layer is None:
            return numbers, Check(None, self.seed, "no layer with weights is on the way to the target")
        open_ = [row for row, each in enumerate(found) if each.blank[0] is None]
        for draw in range(_DRAWS):
            if not open_:
                break
            other = found[0].method(self._copy(layer, draw), images[open_], [written[row] for row in open_])
            for row, values in zip(open_, other.values.numpy(), strict=True):
                numbers[row] = correlations(found[row].values[0].numpy(), values)
            open_ = [row for row in open_ if np.isnan(numbers[row]).any()]
        return numbers, Check(str(layer.address), self.seed)

    def _copy(self, layer: LayerNode, draw: int) -> Network:
        """The network with random weights in a layer, the n-th draw of them."""
        copies = self._copies.setdefault(layer, [])
        while len(copies) <= draw:
            copies.append(with_random_weights(self.network, self.graph, layer, self.seed + len(copies)))
        return copies[draw]


def top_layer(graph: Graph, target: Fixed) -> LayerNode | None:
    """The last layer on the way to a target; None where there is none."""
    ran = {node.index for node in graph.ancestors(target.ends(graph))}
    return next((layer for layer in reversed(graph.layers()) if layer.node in ran), None)


def with_random_weights(network: Network, graph: Graph, layer: LayerNode, seed: int) -> Network:
    """A copy of a network in which the weights of a layer are drawn from a normal distribution around zero.

    Their root mean square is that of the trained ones; its bias stays. All other tensors are those of the network
    itself, so that the copy takes no memory; the network is not changed.

    Raises:
        AttributionError: the module cannot be copied, or the weights are not among its parameters and buffers.
    """
    tensors = _tensors(network.module)
    names = [name for name in _names_of_weights(graph, layer) if tensors[name].is_floating_point()]
    if not names:
        raise AttributionError(f"the weights of {layer.address} are not among the parameters of the network")
    drawn = {id(tensors[name]) for name in names}
    try:
        module = copy.deepcopy(network.module, {id(each): each for each in tensors.values() if id(each) not in drawn})
    except Exception as error:  # modules of users, which may hold anything
        raise AttributionError(f"the network cannot be copied ({type(error).__name__}: {error})") from error
    generator = torch.Generator().manual_seed(seed)
    copied = _tensors(module)
    with torch.no_grad():
        for name in names:
            size = tensors[name].double().square().mean().sqrt().cpu()
            numbers = torch.randn(tensors[name].shape, generator=generator, dtype=torch.float64) * size
            copied[name].copy_(numbers)
    return dataclasses.replace(network, module=module)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _names_of_weights(graph: Graph, layer: LayerNode) -> list[str]:
    """The parameters and buffers that the weights of a layer are computed from."""
    node = graph.nodes[layer.node]
    bias = node.arguments.get("bias" if node.op != "addmm" else "self")
    values = [value for value in node.inputs if value not in graph.dependent and value != getattr(bias, "value", None)]
    names = []
    while values:
        value = values.pop()
        if value in graph.names:
            names.append(graph.names[value])
        elif value in graph.producers:
            values += graph.producers[value].inputs
    return sorted(set(names))


def correlations(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Spearman's rank correlation of all values of two maps (c, h, w), and of their magnitudes summed over channels.

    Where both are zero they do not count: what a unit does not see would make all its maps alike. Both numbers are NaN
    where nothing is left that differs.
    """
    return _spearman(one, other), _spearman(np.abs(one).sum(0), np.abs(other).sum(0))


def _spearman(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    seen = (one != 0) | (other != 0)
    ranks = [rankdata(values[seen]) for values in (one, other)]
    if any(np.ptp(each) == 0 for each in ranks if len(each)) or not seen.any():
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _with(found: AttributionMap, numbers: NDArray[np.float64], check: Check) -> AttributionMap:
    """A map with the result of its check."""
    evidence = {name: torch.tensor([number]) for name, number in zip((RANKS, MAGNITUDES), numbers, strict=True)}
    note = caveat(found.method.name, check, float(numbers[0]))
    notes = found.notes + ((note,) if note else ())
    return dataclasses.replace(found, evidence={**found.evidence, **evidence}, notes=notes)


def caveat(method: str, check: Check, correlation: float) -> str | None:
    """What must be said of a map that stays the same; None where it does not."""
    if not correlation >= ALIKE:  # also NaN
        return None
    return (
        f"the map is nearly the same with random weights in {check.layer}, "
        f"{_KNOWN.get(method, 'so it hardly depends on what that layer has learned')}: it shows what the layers below "
        "see, and says little of why the target is what it is (Adebayo et al. 2018)"
    )
