"""Generic localisation: labels, numbers or clusters of images, read out of deep features, and where [METHODS 8.10].

>>> found = read_labels(network, "photos/train", "photos/test")
>>> found.judged["accuracy"], found.judged["interval"]
>>> found.rows[0].name, found.rows[0].ids, found.maps(found.rows[0])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convscope.attribution.base import placed
from convscope.errors import ImagesError
from convscope.images import ImageSet
from convscope.network import Network
from convscope.studies.features import Features, deep_features
from convscope.studies.readouts import (
    Numbers,
    Readout,
    fit_clusters,
    fit_labels,
    fit_values,
    judge_clusters,
    judge_labels,
    judge_values,
    split,
)

SHOWN = 4  # images of a row
Images = ImageSet | str | Path


@dataclass(frozen=True)
class Row:
    """Images of the judging part: those with the largest scores; of a cluster those that are its most clearly.

    Args:
        name: of the label or cluster, or which end of the numbers.
        index: of the score.
        ids: of the images, the first one first.
        scores: theirs.
        truths: what is true of each; None where that is not known.
    """

    name: str
    index: int
    ids: tuple[int, ...]
    scores: tuple[float, ...]
    truths: tuple[str | float | None, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """What was read out.

    Args:
        features: of the images that judge.
        fitted: how many images it was fitted on.
        readout: the scores.
        judged: how good they are on images that they have not seen; see `convscope.studies.readouts`.
        rows: examples, as they are drawn.
        notes: what else must be known.
    """

    features: Features
    fitted: int
    readout: Readout
    judged: Mapping[str, Any]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def maps(self, row: Row) -> tuple[Tensor, Tensor]:
        """The network's inputs (n, c, h, w) for a row, and maps (n, h, w) of what places of them say of its score.

        The bias is in them, and of numbers their mean is taken off, so that red and blue have a meaning: the mean over
        the cells of a map is the score, or how far it is from the mean number.
        """
        inputs, maps = self.features.maps(row.ids)
        values = self.readout.maps(maps)[:, row.index] + float(self.readout.bias[row.index]) - self.readout.zero
        return inputs, placed(values, self.features.map.grid, "field")

    def to_json(self) -> dict[str, Any]:
        """All but the weights, as plain numbers and text."""
        names = self.features.images.names
        return {
            "source": self.features.images.spec, "kind": self.readout.kind,
            "layer": str(self.features.map.layer.address),
            "features": self.features.values.shape[1], "fitted": self.fitted, "chosen": dict(self.readout.chosen),
            **self.judged, "notes": list(self.notes),
            "rows": [
                {"name": row.name, "images": [names[image] for image in row.ids], "scores": list(row.scores),
                 "truths": list(row.truths)}
                for row in self.rows
            ],
        }  # fmt: skip


def read_labels(
    network: Network, images: Images, test: Images | None = None, *, seed: int = 0, **options: Any
) -> Found:
    """A linear SVM for each label of the images: how many get theirs, and where it is read.

    Args:
        images: with labels; those without one are left out.
        test: other images, which judge; without them a quarter of each label is held out.
        seed: of what is held out, and of the folds.
        options: `layer`, `limit`, `batch_size` and `progress` of `deep_features`.

    Raises:
        ImagesError: there are too few images with labels.
        AddressError, AttributionError, NetworkError: as in `deep_features`.
    """
    features = _with(deep_features(network, images, **options), _labels, "label")
    parts = _parts(features, test, network, _labels, "label", seed, options)
    known = [_labels(part.images) for part in parts]
    truths = [[str(labels[i]) for i in part.ids] for labels, part in zip(known, parts, strict=True)]
    (train, judging), (fitted, asked) = parts, truths
    readout = fit_labels(train.values, fitted, seed)
    scores = readout.scores(judging.values)
    rows = [_row(name, index, scores[:, index], judging, asked) for index, name in enumerate(readout.names)]
    return _found(parts, readout, judge_labels(readout, judging.values, asked), rows)


def read_values(
    network: Network,
    images: Images,
    values: Mapping[str, float],
    test: Images | None = None,
    *,
    name: str = "value",
    seed: int = 0,
    **options: Any,
) -> Found:
    """Ridge regression of a number: how much of it is read, and where.

    Args:
        values: name of an image -> its number; images without one are left out.
        name: what the number is called.
        test, seed, options: as in `read_labels`; the numbers of `test` are in `values` too.

    Raises:
        ImagesError: there are too few images with numbers.
        AddressError, AttributionError, NetworkError: as in `deep_features`.
    """

    def numbers(images: ImageSet) -> list[float | None]:
        return [values.get(each) for each in images.names]

    features = _with(deep_features(network, images, **options), numbers, "number")
    parts = _parts(features, test, network, numbers, "number", seed, options)
    known = [np.array(numbers(part.images), np.float64)[part.ids] for part in parts]
    readout = fit_values(parts[0].values, known[0], name, seed)
    scores = readout.scores(parts[1].values)[:, 0]
    truths = known[1].tolist()
    rows = [
        _row(f"{end} {name}", 0, scores, parts[1], truths, sign * scores)
        for end, sign in (("largest", 1), ("smallest", -1))
    ]
    return _found(parts, readout, judge_values(readout, parts[1].values, known[1], seed), rows)


def read_clusters(network: Network, images: Images, count: int, *, seed: int = 0, **options: Any) -> Found:
    """k-means of the images: which ones it puts together, and what in them makes it do so. Labels are only compared.

    Args:
        count: of clusters.
        seed: of the first centres.
        options: as in `read_labels`.

    Raises:
        ImagesError: there are fewer images than clusters.
        AddressError, AttributionError, NetworkError: as in `deep_features`.
    """
    features = deep_features(network, images, **options)
    readout = fit_clusters(features.values, count, seed)
    labels = [_labels(features.images)[i] for i in features.ids]
    known = None if None in labels else [str(label) for label in labels]
    scores = readout.scores(features.values)
    others = np.stack([np.delete(scores, k, 1).max(1) for k in range(count)], 1)
    rows = [
        _row(name, k, scores[:, k], features, labels, scores[:, k] - others[:, k])
        for k, name in enumerate(readout.names)
    ]
    return _found((features, features), readout, judge_clusters(readout, features.values, known), rows)


def _labels(images: ImageSet) -> list[str | None]:
    """The labels as text, with the names of class indices where the set has names."""
    names = images.classes or ()
    named = [names[label] if isinstance(label, int) and 0 <= label < len(names) else label for label in images.labels]
    return [None if label is None else str(label) for label in named]


def _with(features: Features, truths: Callable[[ImageSet], Sequence[Any]], what: str) -> Features:
    """Of the images of which the truth is known.

    Raises:
        ImagesError: it is of none.
    """
    known = np.array([each is not None for each in truths(features.images)], np.bool_)[features.ids]
    if not known.any():
        raise ImagesError(f"{features.images.spec}: none of {len(known)} images has a {what}; give one for each image")
    return features.part(np.flatnonzero(known))


def _parts(
    features: Features,
    test: Images | None,
    network: Network,
    truths: Callable[[ImageSet], Sequence[Any]],
    what: str,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[Features, Features]:
    """What is fitted on, and what judges."""
    if test is not None:
        return features, _with(deep_features(network, test, **options), truths, what)
    known = truths(features.images)
    labels = [str(known[i]) for i in features.ids] if what == "label" else None
    train, judging = split(labels, len(features.ids), seed)
    return features.part(train), features.part(judging)


def _row(
    name: str, index: int, scores: Numbers, features: Features, truths: Sequence[Any], order: Numbers | None = None
) -> Row:
    """The images with the largest `order`, or the largest scores; all (n,)."""
    first: NDArray[np.int64] = np.argsort(-(scores if order is None else order), kind="stable")[:SHOWN]
    ids = tuple(int(features.ids[i]) for i in first)
    return Row(name, index, ids, tuple(float(scores[i]) for i in first), tuple(truths[i] for i in first))


def _found(parts: tuple[Features, Features], readout: Readout, judged: Mapping[str, Any], rows: Sequence[Row]) -> Found:
    skipped = sum({id(part.skipped): len(part.skipped) for part in parts}.values())  # parts of one set share theirs
    notes = [*parts[1].map.notes, *([f"{skipped} images could not be read"] if skipped else [])]
    return Found(parts[1], len(parts[0].ids), readout, judged, tuple(rows), tuple(notes))
