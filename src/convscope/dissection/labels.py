"""Batches of images with their labels, read and prepared in the background while the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convscope.concepts import Labels
from convscope.dissection.task import Sizes, Task
from convscope.errors import UnreadableImage
from convscope.preprocess import Picture
from convscope.scanner.batches import Batch, read_ahead
from convscope.scanner.plan import channels_last


@dataclass(frozen=True)
class Local:
    """The labels of an image as far as its input shows them, numbered from 1 in the order of the concepts.

    Args:
        sizes: of the picture and of the label maps.
        concepts: (d,) the concept of each number.
        maps: (pixels, m), in raster order; 0 is none, and a pixel has no number twice.
        whole: numbers that every pixel has.
        covered: (1 + d,) all pixels, and those of each number.
    """

    sizes: Sizes
    concepts: NDArray[np.int64]
    maps: NDArray[np.int32]
    whole: list[int]
    covered: NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """A batch, and of each of its images the labels: its own, and as a control those of another image."""

    batch: Batch
    own: list[Local]
    control: list[Local]


def labelled(task: Task, ids: tuple[int, ...]) -> Iterator[Labelled]:
    """The images `ids` with their labels; one that cannot be read, or whose labels cannot, leaves its batch smaller."""
    preprocess = task.network.preprocess

    def make(picture: Picture) -> tuple[torch.Tensor, tuple[int, int]]:
        return preprocess(picture), _size(picture)

    def assemble(made: dict[int, tuple[torch.Tensor, tuple[int, int]]], skipped: list[dict[str, Any]]) -> Labelled:
        own: dict[int, Local] = {}
        for image, (_, size) in made.items():
            try:
                own[image] = local(task, task.concepts.labels(image), size)
            except UnreadableImage as error:
                skipped.append({"id": image, "name": task.images.names[image], "reason": str(error)})
        inputs = channels_last(torch.empty(len(own), *preprocess.shape))
        for i, image in enumerate(own):
            inputs[i] = made[image][0]
        batch = Batch(torch.tensor(list(own), dtype=torch.int64), inputs, [], skipped)
        return Labelled(batch, list(own.values()), [_of_stranger(task, image, made[image][1]) for image in own])

    return read_ahead(task.images, ids, task.batch_size, make, assemble)


def local(task: Task, labels: Labels, picture: tuple[int, int]) -> Local:
    """Labels as far as the input shows them, of a picture of so many (rows, columns)."""
    # Labels of whole images have no resolution of their own: that of the picture is as good as any.
    size: tuple[int, int] = labels.maps.shape[1:] if len(labels.maps) else picture
    sizes = (picture, size)
    window = task.window(sizes)
    maps = labels.maps[:, window.rows, window.columns]
    pixels = len(window.y) * len(window.x)
    present = np.bincount(maps.ravel(), minlength=1 + len(task.concepts.concepts)) > 0
    present[list(labels.whole)] = True
    present[0] = False
    concepts = np.flatnonzero(present) if pixels else np.empty(0, np.int64)
    whole = (1 + np.searchsorted(concepts, labels.whole)).tolist() if pixels else []
    table = np.zeros(len(present), np.int32)
    table[concepts] = np.arange(1, len(concepts) + 1)
    numbered = table[maps]
    for later in range(1, len(numbered)):
        for earlier in range(later):
            numbered[later][numbered[later] == numbered[earlier]] = 0
    covered = np.bincount(numbered.ravel(), minlength=1 + len(concepts))
    covered[[0, *whole]] = pixels
    return Local(sizes, concepts, np.ascontiguousarray(numbered.reshape(len(numbered), pixels).T), whole, covered)


def _of_stranger(task: Task, image: int, picture: tuple[int, int]) -> Local:
    """The labels of the image's stranger, stretched over the image; none if it has none, or they cannot be read."""
    labels, stranger = Labels(np.zeros((0, 1, 1), np.int32)), task.strangers[image]
    if stranger != image:
        with suppress(UnreadableImage):
            labels = task.concepts.labels(stranger)
    return local(task, labels, picture)


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return picture.shape[1], picture.shape[2]
