"""Explain predictions: every image is read once, its targets are fixed, and every method is asked about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convscope.attribution import Attribution, AttributionMap
from convscope.attribution.base import checked
from convscope.errors import AttributionError, ImagesError, NotFiniteError
from convscope.explanation.columns import Asked, Column, Prediction, ask, read_columns
from convscope.explanation.methods import Methods, read_methods, suited
from convscope.explanation.randomization import Check, Checker
from convscope.explanation.result import About, Cell, Explained, Explanation
from convscope.graph import Graph
from convscope.images import ImageSet, choose
from convscope.images.base import source
from convscope.network import Network
from convscope.recorder import record
from convscope.sanity.sample import evenly
from convscope.scanner.batches import batches
from convscope.scanner.progress import Progress, Report

Images = ImageSet | str | Path | Sequence[str | Path] | Tensor
Checked = Literal["cheap", "all", "none"]

_PREDICTIONS = 5


def explain(
    network: Network,
    images: Images,
    methods: Methods | None = None,
    targets: Any = None,
    *,
    check: Checked = "cheap",
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 16,
    progress: Report = lambda progress: None,
) -> Explanation:
    """What predictions rest on, by several methods beside each other.

    >>> found = convscope.explain(network, "cat.jpg", "cam, occlusion:window=24", "top3")
    >>> found[0].predictions, found[0]["cam"][0].found.on_image()

    Args:
        network: on the device on which it computes.
        images: an image file, IMAGES@NUMBER as ``digits:test@3``, a set, several of all these, or prepared ones as a
            tensor (n, c, h, w).
        methods: names with their parameters, as ``"cam, rise:masks=2000"``, or methods of `convscope.attribution`;
            without any a class map, occlusion, saliency and guided backpropagation.
        targets: a target as `convscope.targets` has them, default the predicted class; "top3" for the best three
            classes of each image; a list with one for each image; or a tuple of these, a map for each.
        check: compare maps with those of random weights in the top layer: of "all" methods, of those that are "cheap"
            (not of occlusion, RISE and Score-CAM, whose time it would double), or "none".
        seed: of the random weights, and of methods that draw numbers and do not say their own.
        limit: use so many images, evenly spaced over those that are given.
        batch_size: images that are read and explained at once.
        progress: called after every method and target.

    A method that cannot explain a target is in the result with its reason.

    Raises:
        AttributionError: no method can explain the first image, or there is no such method.
        TargetError, AddressError: there is no such class, unit or position.
        ImagesError: there are no such images, or none could be read.
        NetworkError: it does not run on them.
    """
    run = Explaining.of(
        network, images, methods, targets, check=check, seed=seed, limit=limit, batch_size=batch_size, progress=progress
    )
    found = tuple(run)
    return Explanation(run.about, found, tuple(run.skipped))


@dataclass(eq=False)
class Explaining:
    """The same image by image, so that not all maps are in memory at once: ``for image in Explaining.of(...)``.

    Args:
        source: the images; None where they are given as `tensor`.
        ids: of those that are used.
        skipped: images that could not be read or explained, so far.
    """

    network: Network
    source: ImageSet | None
    tensor: Tensor | None
    ids: Sequence[int]
    methods: tuple[Attribution, ...] | None
    columns: tuple[Column, ...]
    check: Checked
    seed: int
    batch_size: int
    progress: Report
    skipped: list[dict[str, Any]] = field(default_factory=list)
    _graph: Graph | None = None
    _ready: _Ready | None = None
    _past: int = 0  # images of the batches that are done
    _reported: int = 0  # maps
    _explains: bool = False  # some method gave a map for the first image

    @classmethod
    def of(
        cls,
        network: Network,
        images: Images,
        methods: Methods | None = None,
        targets: Any = None,
        *,
        check: Checked = "cheap",
        seed: int = 0,
        limit: int | None = None,
        batch_size: int = 16,
        progress: Report = lambda progress: None,
    ) -> Explaining:
        """See `explain`; what is written wrongly is an error here already."""
        for name, value in (("batch_size", batch_size), ("limit", limit)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if check not in ("cheap", "all", "none"):
            raise ValueError(f"check is {check!r}; expected 'cheap', 'all' or 'none'")
        tensor = checked(network, images) if isinstance(images, Tensor) else None
        source = None if isinstance(images, Tensor) else _source(images)
        count = len(tensor if tensor is not None else source)  # type: ignore[arg-type]
        ids = evenly(range(count), limit or count)
        read = None if methods is None else read_methods(methods, network, seed)
        columns = read_columns(targets, network, len(ids))
        return cls(network, source, tensor, ids, read, columns, check, seed, batch_size, progress)

    @property
    def about(self) -> About:
        """What holds for all images, once the first one has been explained."""
        assert self._ready is not None
        return self._ready.about

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Explained]:
        for batch in self._batches():
            self.skipped += batch.skipped
            asked = self._ask(batch)
            if asked and self._ready is None:
                self._ready = self._begin(batch, next(iter(asked)), asked)
            if asked:
                yield from self._explained(batch, asked)
            self._past += len(batch.places) + len(batch.skipped)
            self._report(0)
        if len(self.skipped) == len(self.ids):
            reasons = "; ".join(f"{each['name']}: {each['reason']}" for each in self.skipped[:3])
            where = "" if self.source is None else f"{source(self.source.spec)}: "
            raise ImagesError(f"{where}none of {len(self.skipped)} images could be explained ({reasons})")

    def _batches(self) -> Iterator[_Batch]:
        if self.source is None:
            assert self.tensor is not None
            for start in range(0, len(self.ids), self.batch_size):
                chosen = list(self.ids[start : start + self.batch_size])
                places = list(range(start, start + len(chosen)))
                yield _Batch(places, chosen, [f"image {i}" for i in chosen], self.tensor[chosen], [])
            return
        place = {image: i for i, image in enumerate(self.ids)}
        for read in batches(self.source, self.network.preprocess, self.ids, self.batch_size):
            chosen = read.ids.tolist()
            names = [self.source.names[i] for i in chosen]
            inputs = read.inputs.to(self.network.device)
            yield _Batch([place[i] for i in chosen], chosen, names, inputs, read.skipped)

    def _ask(self, batch: _Batch) -> dict[int, Asked]:
        """What is known of each image of a batch, by its row; one whose scores are NaN or infinite is skipped."""
        found: dict[int, Asked] = {}
        for row, place in enumerate(batch.places):
            image = batch.inputs[row]
            self._graph = self._graph or record(self.network.module, image[None])
            try:
                found[row] = ask(self.network, self._graph, image, self.columns, place)
            except NotFiniteError as error:
                self._skip(batch, row, error)
        return found

    def _begin(self, batch: _Batch, row: int, asked: Mapping[int, Asked]) -> _Ready:
        """What is known as soon as there is an image that can be explained."""
        network, first = self.network, asked[row]
        assert self._graph is not None
        methods = self.methods or suited(network, batch.inputs[row : row + 1], [first.written(0)])
        classes = len(first.predictions) or None
        truth, remark = None, None
        if self.source is not None:
            truth, remark = self.source.class_indices(network, classes or 0)
        about = About(
            network.name,
            network.output if classes else None,
            classes,
            network.fingerprint,
            source(self.source.spec) if self.source is not None else "a tensor",
            methods,
            tuple(column.label for column in self.columns),
            tuple(filter(None, (*network.remarks, remark))),
            network.preprocess.channels,
        )
        return _Ready(about, truth, Checker(network, self._graph, self.seed))

    def _report(self, maps: int) -> None:
        """That so many maps of the batch in work are done, and all of the images before it."""
        if self._ready is not None:
            each = len(self._ready.about.methods) * len(self.columns)
            done = self._past * each + maps
            if done > self._reported:
                self._reported = done
                self.progress(Progress("explaining", done, len(self.ids) * each))

    def _explained(self, batch: _Batch, asked: dict[int, Asked]) -> Iterator[Explained]:
        """The images of a batch; one for which a number is NaN or infinite is skipped, and the others are asked again.

        Such a number stops a method for all images at once.
        """
        cells: list[list[Cell]] = []
        while asked:
            rows = list(asked)
            try:
                cells = self._cells(batch.inputs[rows], [asked[row] for row in rows])
                break
            except NotFiniteError as error:
                self._skip(batch, rows[error.image], error)
                del asked[rows[error.image]]
        for row, own in zip(asked, cells, strict=True):
            yield self._image(batch, row, asked[row], own)

    def _skip(self, batch: _Batch, row: int, error: NotFiniteError) -> None:
        reason = f"{error.what} is not finite (NaN or infinity)"
        self.skipped.append({"id": batch.ids[row], "name": batch.names[row], "reason": reason})

    def _cells(self, images: Tensor, asked: Sequence[Asked]) -> list[list[Cell]]:
        """Of each image (n, c, h, w) the cells."""
        ready = self._ready
        assert ready is not None
        found: list[list[Cell]] = [[] for _ in asked]
        for method in ready.about.methods:
            for number in range(len(self.columns)):
                for cells, cell in zip(found, self._column(method, number, images, asked), strict=True):
                    cells.append(cell)
                self._report(sum(map(len, found)))
        if not self._explains and all(cell.found is None for cell in found[0]):
            raise AttributionError(_refused(found[0]))
        self._explains = True
        return found

    def _column(self, method: Attribution, number: int, images: Tensor, asked: Sequence[Asked]) -> list[Cell]:
        """What a method gives for a target of each image."""
        assert self._ready is not None
        label = self.columns[number].label
        written, fixed = [each.written(number) for each in asked], [each.fixed[number] for each in asked]
        of = [each.explained(number) for each in asked]
        try:
            found = method(self.network, images, written)
        except NotFiniteError:
            raise
        except AttributionError as error:
            if len(asked) > 1:  # the targets of some images can be explained nevertheless
                return self._one_by_one(method, number, images, asked)
            return [Cell(method, label, None, str(error), None, of[0])]
        if self.check == "none" or (self.check == "cheap" and method.costly):
            return [Cell(method, label, found.only(row), None, None, each) for row, each in enumerate(of)]
        pairs: list[tuple[AttributionMap, Check]] = self._ready.checker(found, images, written, fixed)
        return [Cell(method, label, one, None, check, each) for (one, check), each in zip(pairs, of, strict=True)]

    def _one_by_one(self, method: Attribution, number: int, images: Tensor, asked: Sequence[Asked]) -> list[Cell]:
        found: list[Cell] = []
        for row, each in enumerate(asked):
            try:
                found += self._column(method, number, images[row : row + 1], [each])
            except NotFiniteError as error:
                raise NotFiniteError(error.what, row) from error
        return found

    def _image(self, batch: _Batch, row: int, asked: Asked, cells: Sequence[Cell]) -> Explained:
        assert self._ready is not None
        known = -1 if self._ready.truth is None else int(self._ready.truth[batch.ids[row]])
        classes: list[Prediction] = list(asked.predictions)
        rank = next((i for i, each in enumerate(classes) if each.index == known), None)
        return Explained(
            batch.places[row],
            batch.names[row],
            self.network.preprocess.display(batch.inputs[row]),
            asked.predictions[:_PREDICTIONS],
            None if rank is None else classes[rank],
            rank,
            tuple(cells),
        )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Images that could be read.

    Args:
        places: of each one, among those that are used.
        ids: of each one, in its set.
        inputs: (n, c, h, w), where the network is.
        skipped: what could not be read.
    """

    places: Sequence[int]
    ids: Sequence[int]
    names: Sequence[str]
    inputs: Tensor
    skipped: Sequence[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class _Ready:
    """What is known once there is an image.

    Args:
        truth: class index of every image of the set, -1 where it is not known.
    """

    about: About
    truth: NDArray[np.int64] | None
    checker: Checker


def _source(images: ImageSet | str | Path | Sequence[str | Path]) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    return choose([images] if isinstance(images, str | Path) else list(images))


def _refused(cells: Sequence[Cell]) -> str:
    """Why no method gave anything."""
    reasons = dict.fromkeys((cell.label, cell.refused) for cell in cells)
    return "; ".join(str(reason) if len(reasons) == 1 else f"{name}: {reason}" for name, reason in reasons)
