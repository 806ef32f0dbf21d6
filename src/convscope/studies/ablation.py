"""What units are good for: which classes lose accuracy when a unit, or all units of a concept, are set to zero.

Dissection says what a unit responds to; whether the network makes use of it only an intervention says. B. Zhou, Y. Sun,
D. Bau and A. Torralba, "Revisiting the importance of individual units in CNNs via ablation", 2018; A. Morcos et al.,
"On the importance of single directions for generalization", ICLR 2018.

>>> found = convscope.ablate(network, "diorama:objects/test", "conv5", dissection="atlas")
>>> row = found.rows[0]  # the unit that does most damage
>>> row.name, row.label, row.accuracy.change, row.accuracy.interval, found.classes[row.worst()]

The way to the layer is run once an image, and for each unit only the rest again (`convscope.rest`); where a unit is
silent on an image, nothing changes and nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from convscope.address import Layer, Unit, parse
from convscope.concepts import Concept
from convscope.dissection import DissectedUnit, Dissection
from convscope.dissection.section import CUT
from convscope.errors import AddressError, AtlasError, NetworkError
from convscope.graph import Graph, LayerNode
from convscope.images import ImageSet, open_images
from convscope.network import Network
from convscope.recorder import record
from convscope.rest import Entered, Rest
from convscope.sanity.sample import evenly
from convscope.scanner.batches import Batch, batches, nothing_read
from convscope.scanner.compute import failures_named
from convscope.scanner.plan import channels_last
from convscope.scanner.progress import Report, counter
from convscope.scanner.scores import last_operation, log_probabilities
from convscope.scanner.tally import rank
from convscope.studies.ablation_effects import Ablated, Ablation, Bools, Control, Fill, Floats

CONTROLS = 20  # sets of random units for each size that was asked for
_LEAST = -100.0  # nats: no probability is taken for less likely, so that a softmax in float32 has no 0


def ablate(
    network: Network,
    images: ImageSet | str | Path,
    units: str | Sequence[str],
    *,
    dissection: Dissection | str | Path | None = None,
    by: Literal["unit", "concept"] = "unit",
    fill: Fill = "zero",
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Report = lambda progress: None,
) -> Ablation:
    """Set units of a layer to a value, and see which classes of `network` lose accuracy (top-1).

    A unit is set at its response, after the batch norm and the rectifier that follow it alone [METHODS 0.3].

    Args:
        images: a set, or what `open_images` understands; each image has a class of the network.
        units: a layer's address for all its units, or the addresses of some.
        dissection: of the network, or its atlas: what the units are called.
        by: "unit" sets one at a time, "concept" all at once that detect the same concept (IoU above 0.04).
        fill: "zero", or "mean": to the unit's mean over all positions of all these images.
        limit: use so many images, evenly spaced over the set.
        batch_size: images in one forward pass.
        seed: of the random units that are the control; of all units one at a time, these are themselves the control.
        progress: called after every batch.

    Raises:
        AddressError: there is no such layer or unit, they are of several layers, the dissection has none of them, or
            concepts are asked for and none of them detects one.
        AtlasError: the dissection is missing, or of other weights.
        ImagesError: an image has no label, a label is no class of the network, or no image could be read.
        NetworkError: the network does not run on such images, or does not tell one class from the others.
        ValueError: concepts are asked for without a dissection, or an argument is out of range.
    """
    for name, given, known in (("by", by, ("unit", "concept")), ("fill", fill, ("zero", "mean"))):
        if given not in known:
            raise ValueError(f"{name} is {given!r}; expected {known[0]!r} or {known[1]!r}")
    for name, number in (("limit", limit), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    images = open_images(images) if isinstance(images, str | Path) else images
    graph = record(network.module, channels_last(network.example()))
    layer, chosen = _chosen(graph, units)
    classes = _classes(network, graph.shapes[graph.outputs[0]])
    sets = _sets(layer, chosen, _dissected(network, layer, dissection), by)
    controls = [] if by == "unit" and len(chosen) == layer.units else _random(layer, sets, seed)
    truth, remark = images.truth(network, len(classes))
    ids = evenly(range(len(images)), len(images) if limit is None else limit)
    rest = Rest(network.module, graph, layer)
    read = _Reader(network, images, ids, batch_size, rest)
    value = _means(read, layer, progress) if fill == "mean" else torch.zeros(layer.units)
    tally = _Tally([*sets, *controls], layer.units, torch.from_numpy(truth), len(classes), value)
    advance = counter(progress, "ablating", len(ids))
    for batch, entered in read:
        if entered is not None:
            with failures_named(batch.ids):
                tally.add(batch.ids, entered, rest, last_operation(graph))
        advance(len(batch.ids) + len(batch.skipped))
    rows = tally.rows()
    asked, random = rows[: len(sets)], rows[len(sets) :]
    sizes = sorted({len(row.units) for row in asked})
    return Ablation(
        network.name, images, str(layer.address), fill, classes, tally.right,
        tuple(sorted(asked, key=lambda row: (row.accuracy.change, row.evidence.change))),
        tuple(Control(size, tuple(row for row in random or asked if len(row.units) == size)) for size in sizes),
        tally.runs, tally.pairs, _share(rest), read.skipped, remark,
    )  # fmt: skip


# --- which units -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Set:
    """Units that are set together."""

    name: str
    units: tuple[int, ...]
    label: Concept | None = None
    iou: float = np.nan


def _chosen(graph: Graph, units: str | Sequence[str]) -> tuple[LayerNode, list[int]]:
    """The layer, and those of its units that are meant."""
    addresses = [parse(text) for text in ([units] if isinstance(units, str) else units)]
    if not addresses:
        raise AddressError("no unit is named; give one layer, or units of one layer, such as conv5:41")
    if len(addresses) == 1 and isinstance(addresses[0], Layer):
        layer = graph.layer(addresses[0])
        return layer, list(range(layer.units))
    for text, address in zip(units, addresses, strict=False):
        if not isinstance(address, Unit):
            raise AddressError(f"{text!r} is no unit; give one layer, or units of one layer, such as conv5:41")
    found = [(graph.layer(address.layer), address.index) for address in addresses if isinstance(address, Unit)]
    if len({layer.node for layer, _ in found}) != 1:
        names = ", ".join(dict.fromkeys(str(layer.address) for layer, _ in found))
        raise AddressError(f"the units are of several layers ({names}); ablate one layer at a time")
    layer = found[0][0]
    for _, unit in found:
        if unit >= layer.units:
            raise AddressError(f"{layer.address} has units 0 to {layer.units - 1}, not {unit}")
    return layer, list(dict.fromkeys(unit for _, unit in found))


def _dissected(
    network: Network, layer: LayerNode, dissection: Dissection | str | Path | None
) -> Sequence[DissectedUnit] | None:
    """The dissected units of the layer."""
    if dissection is None:
        return None
    found = Dissection.open(dissection) if isinstance(dissection, str | Path) else dissection
    if found.run["job"]["network"] != network.fingerprint:
        raise AtlasError(
            f"{found.path}: a dissection of {found.run['network']} with other weights or preprocessing than those of "
            f"{network.name}; dissect this network, or leave the dissection out"
        )
    units = found[str(layer.address)]
    assert not isinstance(units, DissectedUnit)
    return units.units


def _sets(layer: LayerNode, chosen: Sequence[int], dissected: Sequence[DissectedUnit] | None, by: str) -> list[_Set]:
    """What is set together: each unit, or the detectors of each concept."""
    if by == "unit":
        names = {unit: str(Unit(layer.address, unit)) for unit in chosen}
        if dissected is None:
            return [_Set(name, (unit,)) for unit, name in names.items()]
        return [_Set(name, (unit,), dissected[unit].label, dissected[unit].iou) for unit, name in names.items()]
    if dissected is None:
        raise ValueError("units can be set by concept where a dissection says which they detect; give one")
    groups: dict[Concept, list[DissectedUnit]] = {}
    for each in (dissected[unit] for unit in chosen):
        if each.label is not None and each.iou > CUT:
            groups.setdefault(each.label, []).append(each)
    if not groups:
        raise AddressError(
            f"none of these units of {layer.address} detects a concept (IoU above {CUT}); set them by unit"
        )
    return [
        _Set(concept.name, tuple(each.address.index for each in group), concept, max(each.iou for each in group))
        for concept, group in groups.items()
    ]


def _random(layer: LayerNode, sets: Sequence[_Set], seed: int) -> list[_Set]:
    """For each size of a set as many random units of the layer, `CONTROLS` times."""
    draw = np.random.default_rng(seed)
    return [
        _Set("random", tuple(sorted(draw.choice(layer.units, size, replace=False).tolist())))
        for size in sorted({len(each.units) for each in sets})
        for _ in range(CONTROLS)
    ]


def _classes(network: Network, shape: tuple[int, ...]) -> tuple[str, ...]:
    if network.output != "softmax" or len(shape) != 2:
        raise NetworkError(
            f"{network.name}: its output is {network.output!r} of shape {shape}; which classes lose accuracy is a "
            "question to networks that tell one class from the others ('softmax')"
        )
    return tuple(map(str, range(shape[1]))) if network.classes is None else network.classes


# --- the passes ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Reader:
    """The images on their way through the layer, batch by batch; None where none of a batch could be read."""

    network: Network
    images: ImageSet
    ids: Sequence[int]
    size: int
    rest: Rest

    def __iter__(self) -> Iterator[tuple[Batch, Entered | None]]:
        self.skipped: list[dict[str, Any]] = []
        for batch in batches(self.images, self.network.preprocess, self.ids, self.size):
            self.skipped += batch.skipped
            if not len(batch.ids):
                yield batch, None
                continue
            with failures_named(batch.ids):
                entered = self.rest.enter(batch.inputs.to(self.network.device))
            yield batch, entered
        if len(self.skipped) == len(self.ids):
            raise nothing_read(self.images.spec, self.skipped)


def _means(read: _Reader, layer: LayerNode, progress: Report) -> Tensor:
    """(units,) over all positions of all images."""
    sums, seen, advance = torch.zeros(layer.units, dtype=torch.float64), 0, counter(progress, "means", len(read.ids))
    for batch, entered in read:
        if entered is not None:
            values = entered.units.movedim(1, 0).flatten(1).double()
            sums += values.sum(1).cpu()
            seen += values.shape[1]
        advance(len(batch.ids) + len(batch.skipped))
    return sums / seen


class _Tally:
    """Counts what each set does to the images of each class.

    Args:
        truth: of every image of the whole set.
        fill: (units,) what units are set to.
    """

    def __init__(self, sets: Sequence[_Set], units: int, truth: Tensor, classes: int, fill: Tensor) -> None:
        self.sets, self.truth, self.fill = sets, truth, fill
        self.masks = torch.zeros(len(sets), units, dtype=torch.bool)
        for row, each in enumerate(sets):
            self.masks[row, list(each.units)] = True
        self.images, self.right = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self.lost, self.gained = (np.zeros((len(sets), classes), np.int64) for _ in range(2))
        self.nats, self.squares = (np.zeros((len(sets), classes)) for _ in range(2))
        self.touched = np.zeros(len(sets), np.int64)

    @property
    def runs(self) -> int:
        """Of the rest of the network."""
        return int(self.touched.sum())

    @property
    def pairs(self) -> int:
        """Of an image and a set."""
        return len(self.sets) * int(self.images.sum())

    def add(self, ids: Tensor, entered: Entered, rest: Rest, last: str) -> None:
        """Take in a batch."""
        true, device = self.truth[ids], entered.units.device
        masks, fill = self.masks.to(device), self.fill.to(entered.units)

        def judged(numbers: Tensor, rows: Tensor) -> tuple[Bools, Floats]:
            """Whether images are right with these units set, and the log-probabilities of their classes."""
            scores = rest.leave(entered, numbers.to(device), rows, fill).cpu()
            logs, classes = log_probabilities(scores, last), true[numbers]
            own = logs.gather(1, classes[:, None])[:, 0].nan_to_num(_LEAST).clamp(min=_LEAST)
            return (rank(logs, classes) == 0).numpy(), own.numpy()

        everyone = torch.arange(len(ids))
        right, before = judged(everyone, masks.new_zeros(len(ids), masks.shape[1]))
        np.add.at(self.images, true.numpy(), 1)
        np.add.at(self.right, true.numpy(), right)
        changed = (entered.units != fill.reshape(1, -1, *(1,) * (entered.units.ndim - 2))).flatten(2).any(2)
        pairs = (masks.float() @ changed.float().T).cpu().nonzero()
        for start in range(0, len(pairs), rest.batch):
            sets, numbers = pairs[start : start + rest.batch].T
            now, after = judged(numbers, masks[sets.to(device)])
            places, was = (sets.numpy(), true[numbers].numpy()), right[numbers.numpy()]
            np.add.at(self.lost, places, was & ~now)
            np.add.at(self.gained, places, ~was & now)
            nats = after - before[numbers.numpy()]
            np.add.at(self.nats, places, nats)
            np.add.at(self.squares, places, nats**2)
            np.add.at(self.touched, places[0], 1)

    def rows(self) -> list[Ablated]:
        """What was counted, in the order of the sets."""
        return [
            Ablated(
                each.name, each.units, each.label, each.iou, int(self.touched[row]), self.images, self.lost[row],
                self.gained[row], self.nats[row], self.squares[row],
            )
            for row, each in enumerate(self.sets)
        ]  # fmt: skip


def _share(rest: Rest) -> float:
    """Of the multiplications of all layers, those of the layers behind."""
    after = {node.index for node in rest.after}
    flops = {layer.node: layer.flops for layer in rest.graph.layers()}
    return sum(count for node, count in flops.items() if node in after) / sum(flops.values())
