"""The pass: every image is read once, and every network says what it takes it for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from convscope.errors import NetworkError
from convscope.evaluation.crops import Crops, one_crop, ten_crops
from convscope.evaluation.ensemble import ensemble_row, mean, order
from convscope.evaluation.result import Evaluation
from convscope.evaluation.row import Row
from convscope.images import ImageSet, open_images
from convscope.network import Network, logits
from convscope.preprocess import Picture
from convscope.recorder import evaluating, record
from convscope.sanity.sample import evenly
from convscope.scanner.batches import nothing_read, read_ahead
from convscope.scanner.compute import failures_named
from convscope.scanner.plan import channels_last
from convscope.scanner.progress import Report, counter
from convscope.scanner.scores import last_operation, log_probabilities


def evaluate(
    networks: Network | Sequence[Network],
    images: ImageSet | str | Path,
    *,
    crops: Literal["one", "ten"] = "one",
    ensemble: bool = False,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Evaluation:
    """How good networks are on labelled images; each prepares them by its own card [METHODS 10.1].

    Args:
        networks: on the devices on which they compute.
        images: a set, or what `open_images` understands. One that any of the networks cannot take is left out for all.
        crops: "ten" averages the probabilities of four corners, the centre and their mirror images.
        ensemble: a last row for the mean of all networks' probabilities, with equal weights.
        limit: use so many images, evenly spaced over the set.
        batch_size: inputs in one forward pass; with ten crops a tenth as many images, and at least one.
        progress: called after every batch.

    Raises:
        ImagesError: an image has no label, a label is no class of a network, or no image could be read.
        NetworkError: a network does not run on such images or does not tell one class from the others, its crops are
            resized after they were cut, or the networks of an ensemble have different classes.
    """
    networks = [networks] if isinstance(networks, Network) else list(networks)
    images = open_images(images) if isinstance(images, str | Path) else images
    for name, number in (("batch_size", batch_size), ("limit", limit), ("networks", len(networks))):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    if crops not in ("one", "ten") or (ensemble and len(networks) < 2):
        raise ValueError(f"crops is {crops!r}, of {len(networks)} networks; expected 'one' or 'ten', and 2 to average")
    members = [_Member.of(network, images, crops) for network in networks]
    rows = [member.row(name) for member, name in zip(members, _names(networks), strict=True)]
    orders = [order(rows[0], row) for row in rows] if ensemble else []
    if ensemble:
        rows.append(ensemble_row(rows))
    ids = evenly(range(len(images)), limit or len(images))
    advance, skipped = counter(progress, "evaluating", len(ids)), []
    for batch in _batches(images, ids, members, batch_size):
        skipped += batch.skipped
        if len(batch.ids):
            _count(batch, members, orders, rows)
        advance(len(batch.ids) + len(batch.skipped))
    if len(skipped) == len(ids):
        raise nothing_read(images.spec, skipped)
    return Evaluation(images, tuple(rows), skipped, members[0].remark)


def _count(batch: _Batch, members: Sequence[_Member], orders: Sequence[Tensor | slice], rows: Sequence[Row]) -> None:
    """Run every network on a batch, and count what it gives; with `orders` the last row is for their mean."""
    given = [member(batch) for member in members]
    for row, logs, member in zip(rows, given, members, strict=False):
        row.add(logs, member.truth[batch.ids], batch.ids)
    if orders:
        aligned = [logs[:, places] for logs, places in zip(given, orders, strict=True)]
        rows[-1].add(mean(torch.stack(aligned)), members[0].truth[batch.ids], batch.ids)


@dataclass(frozen=True)
class _Batch:
    """Ids (n,) of images, the inputs (n · crops, c, h, w) that are made of them, and what could not be read."""

    ids: Tensor
    inputs: Mapping[Crops, Tensor]
    skipped: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class _Member:
    """A network, and what it sees of a picture.

    Args:
        last: the operation that gives its output.
        truth: class index of every image of the set, in its own order of classes.
        remark: what must be known about the labels.
        remarks: the same of the network.
    """

    network: Network
    crops: Crops
    outputs: int
    last: str
    truth: Tensor
    remark: str | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, network: Network, images: ImageSet, crops: str) -> _Member:
        if network.output != "softmax":
            several = "several classes can be true at once" if network.output == "sigmoid" else "values and no classes"
            raise NetworkError(
                f"{network.name}: its card says that its outputs are {network.output!r}, {several}; top-1 and top-5 "
                "error are of networks that tell one class from the others ('softmax')"
            )
        graph = record(network.module, channels_last(network.example()))
        shape = graph.shapes[graph.outputs[0]]
        if len(shape) != 2:
            raise NetworkError(
                f"{network.name}: its first output has shape {shape}, where (images, classes) is expected"
            )
        seen, remark = (one_crop(network), None) if crops == "one" else ten_crops(network)
        truth, said = images.truth(network, shape[1])
        remarks = (*network.remarks, *filter(None, [remark]))
        return cls(network, seen, shape[1], last_operation(graph), torch.from_numpy(truth), said, remarks)

    def __call__(self, batch: _Batch) -> Tensor:
        """The logarithms (n, classes) of the mean probabilities over the crops."""
        inputs = batch.inputs[self.crops].to(self.network.device)
        with torch.no_grad(), evaluating(self.network.module), failures_named(batch.ids):
            raw = logits(self.network.module(inputs.clone())).cpu()  # some networks write into their input
        logs = log_probabilities(raw, self.last)
        return mean(logs.reshape(len(batch.ids), -1, logs.shape[1]).transpose(0, 1))

    def row(self, name: str) -> Row:
        """An empty row for it."""
        parameters = sum(tensor.numel() for tensor in self.network.module.parameters())
        return Row(name, self.crops.count, parameters, self.network.classes, self.outputs, remarks=self.remarks)


def _batches(images: ImageSet, ids: Sequence[int], members: Sequence[_Member], size: int) -> Iterator[_Batch]:
    """The images in batches, prepared once for all networks that see the same of a picture."""
    seen = list(dict.fromkeys(member.crops for member in members))

    def make(picture: Picture) -> list[Tensor]:
        return [crops(picture) for crops in seen]

    def assemble(made: dict[int, list[Tensor]], skipped: list[dict[str, Any]]) -> _Batch:
        inputs = {
            crops: channels_last(torch.cat([each[i] for each in made.values()])) for i, crops in enumerate(seen) if made
        }
        return _Batch(torch.tensor(list(made), dtype=torch.int64), inputs, skipped)

    return read_ahead(images, ids, max(1, size // members[0].crops.count), make, assemble)


def _names(networks: Sequence[Network]) -> list[str]:
    """Of each network its name; where that stands for several, what it was loaded by."""
    counts = Counter(network.name for network in networks)
    return [str((each.spec or {}).get("spec", each.name)) if counts[each.name] > 1 else each.name for each in networks]
