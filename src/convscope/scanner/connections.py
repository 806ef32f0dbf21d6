"""Which units feed which most strongly, from the weights and from how much the feeding units vary over the images.

The strength of a connection is the norm of the kernel between two units times the standard deviation of the response
that it weighs [METHODS 4.6]: a large weight on a channel that hardly varies says little. Several input channels from
one unit, as after a flattened map, are one kernel. Units whose way to the layer is not known have no connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from convscope import shards
from convscope.atlas.run import CONNECTIONS
from convscope.constants import constant
from convscope.graph import Graph, LayerNode
from convscope.scanner.compute import part
from convscope.scanner.plan import Plan
from convscope.scanner.strongest import KEPT, keep
from convscope.shards import ShardState
from convscope.statistics.moments import summary
from convscope.wiring import Wires, wiring

_ROOM = 1 << 21  # numbers at most in a block of weights or strengths: 16 MB

Floats = NDArray[np.float64]


def write_connections(plan: Plan, folder: Path, state: ShardState) -> None:
    """Write the strongest inputs and outputs of every unit to the atlas in `folder`."""
    stds = {
        str(layer.address): np.array(summary(part(state, str(layer.address), "moments"))["std"])
        for layer in plan.layers
    }
    tensors = connections(plan.graph, plan.layers, wiring(plan.graph, plan.fields), stds)
    shards.write(folder / CONNECTIONS, save(tensors))


def connections(
    graph: Graph, layers: tuple[LayerNode, ...], wires: tuple[Wires, ...], stds: dict[str, Floats]
) -> dict[str, Tensor]:
    """The arrays of the strongest connections between units of `layers`.

    Args:
        stds: standard deviation of the response of every unit, by address of the layer.

    Returns:
        For each layer ``address|inputs`` and ``address|outputs`` (units, 8, 2), int32: layer, as its index in
        `layers`, and unit, strongest first, -1 where there are fewer; ``address|input_weights`` and so on (units, 8)
        float32, the sum of the kernel; ``address|input_strengths`` and so on; ``address|total`` (units,), the sum of
        the strengths of all inputs.
    """
    starts = np.cumsum([0, *(layer.units for layer in layers)])
    every = int(starts[-1])
    table = _Table(graph, layers, wires, stds, starts)
    inputs, outputs, totals = _Best(every), _Best(every), np.zeros(every)
    for index in range(len(layers)):
        for rows, feeding, strengths, weights in table.blocks(index):
            who = starts[index] + rows
            keep(strengths, weights, who, feeding, inputs.strengths, inputs.weights, inputs.who)
            turned = np.ascontiguousarray(strengths.T), np.ascontiguousarray(weights.T)
            keep(*turned, feeding, who, outputs.strengths, outputs.weights, outputs.who)
            totals[who] += np.nansum(strengths, 1)
    found: dict[str, Tensor] = {}
    for index, layer in enumerate(layers):
        mine, name = slice(starts[index], starts[index + 1]), str(layer.address)
        for kind, best in (("input", inputs), ("output", outputs)):
            found[f"{name}|{kind}s"] = torch.from_numpy(best.named(mine, starts))
            found[f"{name}|{kind}_weights"] = torch.from_numpy(best.weights[mine].astype(np.float32))
            found[f"{name}|{kind}_strengths"] = torch.from_numpy(best.strengths[mine].astype(np.float32))
        found[f"{name}|total"] = torch.from_numpy(totals[mine].astype(np.float32))
    return found


class _Best:
    """The strongest connections of every unit so far, (units, 8) each; units have one number over all layers."""

    def __init__(self, units: int) -> None:
        self.strengths, self.weights = np.zeros((units, KEPT)), np.zeros((units, KEPT))
        self.who = np.full((units, KEPT), -1, np.int64)

    def named(self, mine: slice, starts: NDArray[np.int64]) -> NDArray[np.int32]:
        """Layer and unit of each, (units, 8, 2)."""
        who = self.who[mine]
        layer = np.searchsorted(starts, who, "right") - 1
        unit = np.where(who >= 0, who - starts[layer], -1)
        return np.stack([np.where(who >= 0, layer, -1), unit], -1).astype(np.int32)


class _Table:
    """The kernels between units, in blocks."""

    def __init__(
        self,
        graph: Graph,
        layers: tuple[LayerNode, ...],
        wires: tuple[Wires, ...],
        stds: dict[str, Floats],
        starts: NDArray[np.int64],
    ) -> None:
        self.graph, self.layers, self.starts = graph, layers, starts
        places = {layer.node: index for index, layer in enumerate(layers)}
        self.chosen = {at: places[layer.node] for at, layer in enumerate(graph.layers()) if layer.node in places}
        self.wires = {each.layer.node: each for each in wires}
        self.std = np.concatenate([stds[str(layer.address)] for layer in layers]) if layers else np.zeros(0)

    def blocks(self, index: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]]:
        """Of some units of a layer, ascending: these, the units that feed them, ascending, and for each pair strength
        and weight.
        """
        layer = self.layers[index]
        wires = self.wires[layer.node]
        found = _weights(self.graph, layer)
        if found is None:
            return
        weight, groups = found
        units, inputs = weight.shape[0] // groups, weight.shape[1]
        for group in range(groups):
            channels, feeding = self._feeding(wires, group * inputs, inputs)
            if not len(feeding):
                continue
            who, place = np.unique(feeding, return_inverse=True)
            place = place.reshape(-1)
            step = max(1, _ROOM // max(inputs * weight.shape[2], len(who), len(feeding)))
            for start in range(group * units, (group + 1) * units, step):
                rows = np.arange(start, min(start + step, (group + 1) * units))
                block = weight[rows[0] : rows[-1] + 1].detach().cpu().double().contiguous()
                squares, sums = (
                    _gathered(each, channels, place, len(who)) for each in (block.square().sum(2), block.sum(2))
                )
                yield rows, who, np.sqrt(squares) * self.std[who], np.ascontiguousarray(sums)

    def _feeding(self, wires: Wires, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of some input channels, each with each of its sources that are scanned: channel, from 0 on, and unit."""
        units = {
            number: [int(self.starts[self.chosen[at]]) + unit for at, unit in sources if at in self.chosen]
            for number in np.unique(wires.channels[first : first + count]).tolist()
            if not isinstance(sources := wires.sets[number], str)
        }
        numbers = wires.channels[first : first + count].tolist()
        pairs = [(place, unit) for place, number in enumerate(numbers) for unit in units.get(number, ())]
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def _gathered(values: Tensor, channels: NDArray[np.int64], place: NDArray[np.int64], count: int) -> Floats:
    """Sums of the columns `channels` into `count` columns, at `place`."""
    order = np.argsort(place, kind="stable")
    columns = channels[order]
    times = len(place) // count
    if (np.bincount(place, minlength=count) == times).all():
        if len(columns) != values.shape[1] or (np.diff(columns) != 1).any():
            values = values[:, torch.from_numpy(columns)]
        alike: Floats = values.reshape(len(values), count, times).sum(2).numpy()  # so many channels from each unit
        return alike
    result = torch.zeros(len(values), count, dtype=torch.float64)
    result.index_add_(1, torch.from_numpy(place), values[:, torch.from_numpy(channels)])
    gathered: Floats = result.numpy()
    return gathered


def _weights(graph: Graph, layer: LayerNode) -> tuple[Tensor, int] | None:
    """The weights of a layer as (units, input channels of a group, cells of the kernel), and its groups; None where
    they are not to be had.
    """
    node = graph.nodes[layer.node]
    weight = constant(graph, node.arguments["mat2" if node.op in {"addmm", "mm"} else "weight"].value)
    if weight is None:
        return None
    if node.op != "convolution":
        return (weight if node.op == "linear" else weight.T)[:, :, None], 1
    groups = int(node.arguments["groups"])
    if node.arguments["transposed"]:  # (inputs, units of a group, ...)
        grouped = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2)
        weight = grouped.reshape(-1, *grouped.shape[2:])
    return weight.flatten(2), groups
