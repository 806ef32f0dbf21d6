"""Labelled images in the order of an epoch, read ahead in the background, and kept in memory where they fit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convscope.errors import TrainingError
from convscope.images import ImageSet
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.scanner.batches import batches, nothing_read
from convscope.scanner.progress import Report, counter
from convscope.training.recipe import Recipe

KEPT = 2 << 30  # bytes of inputs that stay in memory; more are read again in every epoch, with the same result


@dataclass(eq=False)
class Examples:
    """The images of one set, with their classes.

    Args:
        truth: class index of every image, int64.
        skipped: id, name and reason of the images that could not be read so far.
    """

    images: ImageSet
    preprocess: Preprocess
    truth: Tensor
    skipped: dict[int, dict[str, Any]] = field(default_factory=dict)
    _kept: Tensor | None = None
    _there: Tensor | None = None

    @classmethod
    def of(cls, images: ImageSet, network: Network, outputs: int) -> Examples:
        """The images, whose labels must all be classes of the network.

        Raises:
            ImagesError: there are images without a label, or labels that are no class of it.
        """
        indices, _ = images.truth(network, outputs)
        return cls(images, network.preprocess, torch.from_numpy(indices))

    def __len__(self) -> int:
        return len(self.truth)

    def fingerprint(self) -> dict[str, Any]:
        """What changes when the images do, as plain values."""
        labels = hashlib.sha256(self.truth.numpy().astype("<i8").tobytes()).hexdigest()
        return {
            "spec": self.images.spec,
            "count": len(self),
            "labels": labels,
            "files": self.images.signature(0, len(self)),
        }

    def batches(self, order: Sequence[int], size: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Inputs (n, c, h, w), their classes (n,), and how many images the batch was to have.

        An image that cannot be read leaves its batch smaller.
        """
        if self._kept is None or self._there is None:
            for batch in batches(self.images, self.preprocess, order, size):
                self._skip(batch.skipped)
                yield batch.inputs.contiguous(), self.truth[batch.ids], len(batch.ids) + len(batch.skipped)
            return
        for start in range(0, len(order), size):
            wanted = torch.tensor(order[start : start + size])
            ids = wanted[self._there[wanted]]
            yield self._kept[ids], self.truth[ids], len(wanted)

    def keep(self, progress: Report) -> None:
        """Read all of them now, if there is room for them in memory."""
        if self._kept is not None or 4 * len(self) * math.prod(self.preprocess.shape) > KEPT:
            return
        advance = counter(progress, "reading", len(self))
        kept, there = torch.empty(len(self), *self.preprocess.shape), torch.zeros(len(self), dtype=torch.bool)
        for batch in batches(self.images, self.preprocess, range(len(self)), 64):
            kept[batch.ids] = batch.inputs
            there[batch.ids] = True
            self._skip(batch.skipped)
            advance(len(batch.ids) + len(batch.skipped))
        self._kept, self._there = kept, there

    def _skip(self, skipped: Sequence[dict[str, Any]]) -> None:
        self.skipped |= {each["id"]: each for each in skipped}

    def check_read(self, seen: int) -> None:
        """Raise where not a single image of an epoch could be read.

        Raises:
            ImagesError: it says why.
        """
        if not seen:
            raise nothing_read(self.images.spec, list(self.skipped.values()))


def classes(recipe: Recipe, images: ImageSet) -> tuple[str, ...]:
    """The names of the classes: those of the recipe, of the set, or its labels.

    Raises:
        TrainingError: there are fewer than two.
    """
    found = tuple(recipe.net.classes or images.classes or _of_labels(images))
    if len(found) < 2:
        raise TrainingError(
            f"{images.spec}: its labels name {len(found)} classes, and to tell apart takes two; label the images, by "
            "class subfolders or a labels.csv, or give [network] classes"
        )
    return found


def _of_labels(images: ImageSet) -> list[str]:
    """Names in alphabetical order; class indices, also where they are text, from 0 to the largest."""
    labels = {label for label in images.labels if label is not None}
    numbers = [int(label) for label in labels if isinstance(label, int) or (label.isascii() and label.isdigit())]
    if len(numbers) < len(labels):
        return sorted(map(str, labels))
    largest = max(numbers, default=-1)
    if largest >= 100_000 or min(numbers, default=0) < 0:
        raise TrainingError(
            f"{images.spec}: its class indices go from {min(numbers)} to {largest}; they count the classes from 0"
        )
    return [str(index) for index in range(largest + 1)]
