"""Batches of images, read and prepared in the background while the network computes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UnreadableImage
from convscope.images import ImageSet
from convscope.preprocess import Preprocess
from convscope.scanner.plan import channels_last

_AHEAD = 2  # batches that wait, so that memory does not grow with the number of images


@dataclass(frozen=True)
class Batch:
    """The images of a batch that could be read, and what is known of the others.

    Args:
        ids: (n,) ids of the images, int64, ascending.
        inputs: (n, c, h, w) in the network's form, float32, channels last in memory.
        digests: a hash of each input.
        skipped: id, name and reason of the images that could not be read.
    """

    ids: Tensor
    inputs: Tensor
    digests: list[bytes]
    skipped: list[dict[str, Any]]


def batches(images: ImageSet, preprocess: Preprocess, ids: Sequence[int], size: int) -> Iterator[Batch]:
    """The images `ids` in batches of `size`, in order; an image that cannot be read leaves its batch smaller."""
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    # Pillow decodes and resizes without the interpreter's lock, so threads are enough.
    readers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="convscope-images")
    with readers, ThreadPoolExecutor(1, thread_name_prefix="convscope-batches") as assembler:

        def submitted(parts: Sequence[Sequence[int]]) -> list[Future[Batch]]:
            return [assembler.submit(_prepare, readers, images, preprocess, part) for part in parts]

        ahead = submitted(parts[:_AHEAD])
        try:
            for i in range(len(parts)):
                batch = ahead.pop(0).result()
                ahead += submitted(parts[i + _AHEAD : i + _AHEAD + 1])
                yield batch
        finally:
            for future in ahead:
                future.cancel()


def _prepare(readers: ThreadPoolExecutor, images: ImageSet, preprocess: Preprocess, ids: Sequence[int]) -> Batch:
    def read(image: int) -> tuple[Tensor, bytes] | str:
        try:
            values = preprocess(images.read(image))
        except UnreadableImage as error:
            return str(error)
        return values, hashlib.sha256(values.numpy().tobytes()).digest()

    found = dict(zip(ids, readers.map(read, ids), strict=True))
    skipped = [
        {"id": image, "name": images.names[image], "reason": result}
        for image, result in found.items()
        if isinstance(result, str)
    ]
    good = {image: result for image, result in found.items() if not isinstance(result, str)}
    inputs = channels_last(torch.empty(len(good), *preprocess.shape))
    for i, (values, _) in enumerate(good.values()):
        inputs[i] = values
    return Batch(torch.tensor(list(good), dtype=torch.int64), inputs, [digest for _, digest in good.values()], skipped)
