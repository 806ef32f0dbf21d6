"""The pass: every image is read once, every method makes maps of its best classes, every protocol boxes of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convscope.attribution import Attribution
from convscope.errors import AttributionError, NetworkError, NotFiniteError
from convscope.images import ImageSet, open_images
from convscope.localization import scores
from convscope.localization.frame import Frame
from convscope.localization.localizer import TOP, Centre, Localizer, maps_of, parse
from convscope.localization.result import Localization, MapScores, Row, is_right
from convscope.localization.truth import Truth, true_boxes
from convscope.network import Network, logits
from convscope.preprocess import Picture
from convscope.recorder import evaluating, record
from convscope.sanity.sample import evenly
from convscope.scanner.batches import nothing_read, read_ahead
from convscope.scanner.compute import failures_named
from convscope.scanner.progress import Report, counter

TABLE = ("cam/largest", "cam/heuristics", "saliency/largest", "saliency/graphcut", "centre/largest")


def localize(
    network: Network,
    images: ImageSet | str | Path,
    boxes: str | Path | None = None,
    *,
    methods: Sequence[str | Localizer] = TABLE,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Report = lambda progress: None,
) -> Localization:
    """How well a network finds the objects of its classes, of which it was told labels only [METHODS 8.8].

    A prediction is a class and a box, and right if the class is and the box overlaps a true box of it by half.

    Args:
        images: a set, or what `open_images` understands, with a class for each image.
        boxes: a CSV with the true boxes; not needed for the diorama, which knows them.
        methods: METHOD/PROTOCOL, or localizers; the default is the counterpart of the table of the CAM paper.
        limit: use so many images, evenly spaced over those that have boxes.
        batch_size: images in a forward pass; maps are made of at most 16 at once.
        progress: called after every batch.

    Raises:
        ImagesError: an image has no label, labels are no classes of the network, boxes are not known or are written
            wrongly, or no image could be read.
        NetworkError: the network does not run on such images, or has no score for each class.
        AttributionError: there is no such method or protocol, the method cannot explain this network, or it gives NaN.
    """
    for name, number in (("batch_size", batch_size), ("limit", limit), ("methods", len(methods))):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    localizers = [parse(each) if isinstance(each, str) else each for each in methods]
    images = open_images(images) if isinstance(images, str | Path) else images
    truth = true_boxes(images, boxes)
    true, remark = images.truth(network, _classes(network))
    state = _State(network, localizers, truth, true)
    ids = evenly(truth.ids, limit or len(truth.ids))
    advance, skipped = counter(progress, "localizing", len(ids)), []
    for batch in _batches(network, images, ids, batch_size):
        skipped += batch.skipped
        if batch.ids:
            _take(state, batch, images)
        advance(len(batch.ids) + len(batch.skipped))
    if len(skipped) == len(ids):
        raise nothing_read(images.spec, skipped)
    return state.result(images, skipped, tuple(filter(None, (*network.remarks, remark, truth.remark))))


def _classes(network: Network) -> int:
    """How many classes the network tells apart.

    Raises:
        NetworkError: it gives no score for each class.
    """
    graph = record(network.module, network.example())
    shape = graph.shapes[graph.outputs[0]]
    if len(shape) != 2 or network.output == "real":
        raise NetworkError(
            f"{network.name}: its first output has shape {shape} and holds {network.output!r} values; scores "
            "(images, classes) are expected, of which the best are localised"
        )
    return int(shape[1])


@dataclass(frozen=True)
class _Batch:
    """Ids (n,) of images, their inputs (n, c, h, w), where these lie on the pictures, and what could not be read."""

    ids: list[int]
    inputs: Tensor
    frames: list[Frame]
    skipped: list[dict[str, Any]]


def _batches(network: Network, images: ImageSet, ids: Sequence[int], size: int) -> Iterator[_Batch]:
    def make(picture: Picture) -> tuple[Tensor, Frame]:
        height, width = picture.size[::-1] if isinstance(picture, Image.Image) else picture.shape[1:]
        return network.preprocess(picture), Frame.of(network.preprocess, height, width)

    def assemble(made: dict[int, tuple[Tensor, Frame]], skipped: list[dict[str, Any]]) -> _Batch:
        inputs = torch.stack([input_ for input_, _ in made.values()]) if made else torch.empty(0)
        return _Batch(list(made), inputs, [frame for _, frame in made.values()], skipped)

    return read_ahead(images, ids, size, make, assemble)


# Of an image: classes (k,), boxes (k, 4), overlaps with true boxes (k,), and whether class and box are right (k,).
_Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(eq=False)
class _Maps:
    """What is counted of a method's maps of the true classes; `blank` ones are nowhere positive."""

    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(scores.THRESHOLDS), np.int64))
    blank: int = 0
    pointed: list[bool] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)

    def result(self) -> MapScores:
        return MapScores(self.hits, np.array(self.pointed), np.array(self.energy))


@dataclass(eq=False)
class _State:
    """All that the pass knows and has found."""

    network: Network
    localizers: list[Localizer]
    truth: Truth
    true: NDArray[np.int64]
    ids: list[int] = field(default_factory=list)
    truths: list[NDArray[np.float64]] = field(default_factory=list)
    ranked: list[NDArray[np.int64]] = field(default_factory=list)
    maps: dict[Attribution | Centre, _Maps] = field(init=False)
    pairs: list[list[_Pairs]] = field(init=False)

    def __post_init__(self) -> None:
        self.maps = {localizer.method: _Maps() for localizer in self.localizers}
        self.pairs = [[] for _ in self.localizers]

    def result(self, images: ImageSet, skipped: list[dict[str, Any]], remarks: tuple[str, ...]) -> Localization:
        rows = []
        for localizer, pairs in zip(self.localizers, self.pairs, strict=True):
            classes, boxes, overlaps, right = (np.array(each) for each in zip(*pairs, strict=True))
            maps = self.maps[localizer.method].result()
            rows.append(Row(localizer.name, classes, boxes, overlaps, right, maps))
        remarks += tuple(
            f"{method.name}: {kept.blank} of {len(self.ids)} maps of the true class are nowhere positive; such a map "
            "gives the whole image as its box"
            for method, kept in self.maps.items()
            if kept.blank
        )
        return Localization(
            self.network.name, images, tuple(self.ids), self.true[self.ids], tuple(self.truths),
            np.concatenate(self.ranked), self.network.classes, tuple(rows), skipped, remarks,
        )  # fmt: skip


def _take(state: _State, batch: _Batch, images: ImageSet) -> None:
    """Run everything on a batch, and keep what is found."""
    network, inputs = state.network, batch.inputs.to(state.network.device)
    truths = [state.truth.boxes(i, frame.height, frame.width) for i, frame in zip(batch.ids, batch.frames, strict=True)]
    with torch.no_grad(), evaluating(network.module), failures_named(torch.tensor(batch.ids)):
        given = logits(network.module(inputs.clone())).double().cpu()  # some networks write into their input
    _check(given, network, [images.names[i] for i in batch.ids])
    ranked = given.argsort(dim=1, descending=True, stable=True)[:, :TOP].numpy()
    true = state.true[batch.ids]
    colours = torch.stack([torch.from_numpy(network.preprocess.display(each)) for each in batch.inputs]).movedim(-1, 1)
    for method, kept in state.maps.items():
        try:
            best, own = _maps(method, network, inputs, ranked, true)
        except NotFiniteError as error:
            name = images.names[batch.ids[error.image]]
            raise AttributionError(f"{method.name}: {error.what} of {name} is not finite (NaN or infinity)") from error
        _score(kept, own, batch.frames, truths)
        for localizer, pairs in zip(state.localizers, state.pairs, strict=True):
            if localizer.method == method:
                pairs += _predicted(localizer, best, colours, ranked, true, batch.frames, truths)
    state.ids += batch.ids
    state.truths += truths
    state.ranked.append(ranked)


def _check(scores: Tensor, network: Network, names: Sequence[str]) -> None:
    """Raise where scores (n, classes) cannot be ranked; NaN would be the best class."""
    for name, finite in zip(names, torch.isfinite(scores).all(1).tolist(), strict=True):
        if not finite:
            raise AttributionError(
                f"{network.name}: a score of {name} is not finite (NaN or infinity); look at the network's weights and "
                "its input"
            )


def _maps(
    method: Attribution | Centre, network: Network, inputs: Tensor, ranked: NDArray[np.int64], true: NDArray[np.int64]
) -> tuple[list[Tensor], Tensor]:
    """The maps (n, h, w) of each rank, and those of the true classes."""
    best = [maps_of(method, network, inputs, classes.tolist()) for classes in ranked.T]
    is_true = ranked == true[:, None]
    if not is_true.any(1).all():
        return best, maps_of(method, network, inputs, true.tolist())
    return best, torch.stack([best[rank][i] for i, rank in enumerate(is_true.argmax(1))])


def _score(kept: _Maps, own: Tensor, frames: Sequence[Frame], truths: Sequence[NDArray[np.float64]]) -> None:
    """Count what the maps of the true classes are worth."""
    height, width = own.shape[1:]
    places = zip(frames, truths, strict=True)
    inside = [scores.box_masks(frame.to_input(boxes), height, width).any(0) for frame, boxes in places]
    masks = torch.from_numpy(np.stack(inside))
    kept.blank += int((own.amax((1, 2)) <= 0).sum())
    kept.pointed += scores.pointing(own, masks).tolist()
    kept.energy += scores.energy(own, masks).tolist()
    for found, frame, boxes in zip(scores.sweep(own), frames, truths, strict=True):
        kept.hits += _overlaps(frame.to_picture(found), boxes) >= scores.HALF


def _predicted(
    localizer: Localizer,
    best: Sequence[Tensor],
    colours: Tensor,
    ranked: NDArray[np.int64],
    true: NDArray[np.int64],
    frames: Sequence[Frame],
    truths: Sequence[NDArray[np.float64]],
) -> Iterator[_Pairs]:
    """What a localizer says of each image of a batch."""
    found = [localizer.made.boxes.boxes(maps, colours) for maps in best]
    for i, (frame, boxes) in enumerate(zip(frames, truths, strict=True)):
        pairs = localizer.made.select([each[i] for each in found])
        classes = ranked[i, [rank for rank, _ in pairs]]
        placed = frame.to_picture(np.stack([box for _, box in pairs]))
        overlaps = _overlaps(placed, boxes)
        yield classes, placed, overlaps, is_right(classes, int(true[i]), overlaps)


def _overlaps(boxes: NDArray[np.int64], truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (k,) of boxes (k, 4) with the nearest of the true ones (m, 4)."""
    overlaps: NDArray[np.float64] = scores.iou(boxes[:, None], truths[None]).max(1)
    return overlaps
