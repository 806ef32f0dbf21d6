"""What was found: a row a method and protocol, and what was predicted of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.evaluation.intervals import Errors, wilson
from convscope.images import ImageSet
from convscope.localization.scores import HALF, THRESHOLDS

COLUMNS = ("file", "method", "rank", "class_index", "label", "y0", "x0", "y1", "x1", "iou", "right")


@dataclass(frozen=True, eq=False)
class MapScores:
    """How right the maps of the true classes are, whatever boxes are made of them.

    Args:
        hits: (thresholds,) images whose box of the sweep is right.
        pointed: (n,) whether the maximum lies in a true box.
        energy: (n,) share of the map's positive part in the true boxes.
    """

    hits: NDArray[np.int64]
    pointed: NDArray[np.bool_]
    energy: NDArray[np.float64]

    @property
    def max_box_accuracy(self) -> tuple[Errors, float]:
        """The images whose box is wrong at the best threshold, and that threshold, the least of several."""
        best = int(self.hits.argmax())
        return Errors(len(self.pointed) - int(self.hits[best]), len(self.pointed)), float(THRESHOLDS[best])

    @property
    def pointing(self) -> Errors:
        """Images in which the maximum lies outside."""
        return Errors(int((~self.pointed).sum()), len(self.pointed))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        errors, threshold = self.max_box_accuracy
        return {
            "max_box_accuracy": _right(errors) | {"threshold": threshold},
            "pointing": _right(self.pointing),
            "energy": float(self.energy.mean()),
        }


@dataclass(frozen=True, eq=False)
class Row:
    """What one method and protocol predicted: at most five pairs of a class and a box an image, best first.

    Args:
        name: METHOD/PROTOCOL.
        classes: (n, k) class indices.
        boxes: (n, k, 4) half-open, in pixels of the picture.
        overlaps: (n, k) IoU with the nearest true box.
        right: (n, k) the class is the true one and the box overlaps by half.
        maps: of the method.
    """

    name: str
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    right: NDArray[np.bool_]
    maps: MapScores

    @property
    def top1(self) -> Errors:
        """Images whose first pair is wrong."""
        return Errors(int((~self.right[:, 0]).sum()), len(self.right))

    @property
    def top5(self) -> Errors:
        """Images in which all pairs are wrong."""
        return Errors(int((~self.right.any(1)).sum()), len(self.right))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, **_wrong("top1", self.top1), **_wrong("top5", self.top5), **self.maps.to_json()}


@dataclass(frozen=True, eq=False)
class Localization:
    """How well a network finds the objects of its classes, which it was told by labels only.

    Args:
        network: its name.
        ids: (n,) of the images that were looked at.
        true: (n,) their class indices.
        truths: of each image the true boxes (m, 4), half-open, in pixels of the picture.
        ranked: (n, k) the best classes, best first.
        classes: names of the class indices; None where they are not known.
        rows: one a method and protocol, in their order.
        skipped: id, name and reason of each image that could not be read.
        remarks: what must be known beside.
    """

    network: str
    images: ImageSet
    ids: tuple[int, ...]
    true: NDArray[np.int64]
    truths: tuple[NDArray[np.float64], ...]
    ranked: NDArray[np.int64]
    classes: tuple[str, ...] | None
    rows: tuple[Row, ...]
    skipped: list[dict[str, Any]]
    remarks: tuple[str, ...] = ()

    @property
    def top1(self) -> Errors:
        """Images whose class is not the best one."""
        return Errors(int((self.ranked[:, 0] != self.true).sum()), len(self.true))

    @property
    def top5(self) -> Errors:
        """Images whose class is not among the best five."""
        return Errors(int((self.ranked != self.true[:, None]).all(1).sum()), len(self.true))

    def label(self, index: int) -> str:
        """The name of a class, or its index."""
        return str(index) if self.classes is None else self.classes[index]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the boxes: these are in `predictions`."""
        return {
            "network": self.network,
            "source": self.images.spec,
            "images": len(self.ids),
            "skipped": len(self.skipped),
            "skipped_files": self.skipped,
            "classification": {**_wrong("top1", self.top1), **_wrong("top5", self.top5)},
            "methods": [row.to_json() for row in self.rows],
            "remarks": list(self.remarks),
        }

    def predictions(self) -> Iterator[Sequence[Any]]:
        """The predicted boxes in the form of `COLUMNS`."""
        for row in self.rows:
            for i, image in enumerate(self.ids):
                for rank, (index, box) in enumerate(
                    zip(row.classes[i].tolist(), row.boxes[i].tolist(), strict=True), 1
                ):
                    overlap, right = round(float(row.overlaps[i, rank - 1]), 6), int(row.right[i, rank - 1])
                    yield self.images.names[image], row.name, rank, index, self.label(index), *box, overlap, right


def is_right(classes: NDArray[np.int64], true: int, overlaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether pairs of class and box are right (k,) [METHODS 8.8]: exactly a half is enough."""
    right: NDArray[np.bool_] = (classes == true) & (overlaps >= HALF)
    return right


def _wrong(name: str, errors: Errors) -> dict[str, Any]:
    return {
        f"{name}_right": errors.right, f"{name}_error": errors.error, f"{name}_interval": list(errors.interval),
    }  # fmt: skip


def _right(errors: Errors) -> dict[str, Any]:
    interval = list(wilson(errors.right, errors.images))
    return {"right": errors.right, "share": errors.right / errors.images, "interval": interval}
