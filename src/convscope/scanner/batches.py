"""Batches of images, read and prepared in the background while the network computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UnreadableImage
from convscope.images import ImageSet
from convscope.preprocess import Preprocess

_AHEAD = 2  # batches that wait, so that memory does not grow with the number of images


@dataclass(frozen=True)
class Batch:
    """The images of a batch that could be read, and what is known of the others.

    Args:
        ids: (n,) ids of the images, int64, ascending.
        inputs: (n, c, h, w) in the network's form, float32.
        skipped: id, name and reason of the images that could not be read.
    """

    ids: Tensor
    inputs: Tensor
    skipped: list[dict[str, Any]]


def batches(images: ImageSet, preprocess: Preprocess, ids: Sequence[int], size: int) -> Iterator[Batch]:
    """The images `ids` in batches of `size`, in order; an image that cannot be read leaves its batch smaller."""
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="convscope-images") as pool:

        def submitted(parts: Sequence[Sequence[int]]) -> list[Future[Batch]]:
            return [pool.submit(_prepare, images, preprocess, part) for part in parts]

        ahead = submitted(parts[:_AHEAD])
        try:
            for i in range(len(parts)):
                batch = ahead.pop(0).result()
                ahead += submitted(parts[i + _AHEAD : i + _AHEAD + 1])
                yield batch
        finally:
            for future in ahead:
                future.cancel()


def _prepare(images: ImageSet, preprocess: Preprocess, ids: Sequence[int]) -> Batch:
    inputs, read, skipped = [], [], []
    for image in ids:
        try:
            inputs.append(preprocess(images.read(image)))
            read.append(image)
        except UnreadableImage as error:
            skipped.append({"id": image, "name": images.names[image], "reason": str(error)})
    stacked = torch.stack(inputs) if inputs else torch.empty(0, *preprocess.shape)
    return Batch(torch.tensor(read, dtype=torch.int64), stacked, skipped)
