"""Batches of images, read and prepared in the background while the network computes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from convscope.errors import ImagesError, UnreadableImage
from convscope.images import ImageSet
from convscope.preprocess import Picture, Preprocess
from convscope.scanner.plan import channels_last

Made = TypeVar("Made")
Whole = TypeVar("Whole")

_AHEAD = 2  # batches that wait, so that memory does not grow with the number of images


@dataclass(frozen=True)
class Batch:
    """The images of a batch that could be read, and what is known of the others.

    Args:
        ids: (n,) ids of the images, int64, ascending.
        inputs: (n, c, h, w) in the network's form, float32, channels last in memory.
        digests: a hash of each input, if they were asked for.
        skipped: id, name and reason of the images that could not be read.
    """

    ids: Tensor
    inputs: Tensor
    digests: list[bytes]
    skipped: list[dict[str, Any]]


def batches(
    images: ImageSet, preprocess: Preprocess, ids: Sequence[int], size: int, *, digests: bool = True
) -> Iterator[Batch]:
    """The images `ids` in batches of `size`, in order; an image that cannot be read leaves its batch smaller."""

    def make(picture: Picture) -> tuple[Tensor, bytes]:
        values = preprocess(picture)
        return values, hashlib.sha256(values.numpy().tobytes()).digest() if digests else b""

    def assemble(made: dict[int, tuple[Tensor, bytes]], skipped: list[dict[str, Any]]) -> Batch:
        inputs = channels_last(torch.empty(len(made), *preprocess.shape))
        for i, (values, _) in enumerate(made.values()):
            inputs[i] = values
        return Batch(
            torch.tensor(list(made), dtype=torch.int64), inputs, [digest for _, digest in made.values()], skipped
        )

    return read_ahead(images, ids, size, make, assemble)


def read_ahead(
    images: ImageSet,
    ids: Sequence[int],
    size: int,
    make: Callable[[Picture], Made],
    assemble: Callable[[dict[int, Made], list[dict[str, Any]]], Whole],
) -> Iterator[Whole]:
    """The images `ids`, `size` at a time and in order, read in the background.

    Args:
        make: from a picture what is wanted of it; it may raise `UnreadableImage` as well.
        assemble: from that by id, and from id, name and reason of the images that could not be read, what is given.
    """
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    # Pillow decodes and resizes without the interpreter's lock, so threads are enough.
    readers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="convscope-images")
    with readers, ThreadPoolExecutor(1, thread_name_prefix="convscope-batches") as assembler:

        def whole(part: Sequence[int]) -> Whole:
            return assemble(*_read(readers, images, part, make))

        ahead = [assembler.submit(whole, part) for part in parts[:_AHEAD]]
        try:
            for i in range(len(parts)):
                result = ahead.pop(0).result()
                ahead += [assembler.submit(whole, part) for part in parts[i + _AHEAD : i + _AHEAD + 1]]
                yield result
        finally:
            for future in ahead:
                future.cancel()


def _read(
    readers: ThreadPoolExecutor, images: ImageSet, ids: Sequence[int], make: Callable[[Picture], Made]
) -> tuple[dict[int, Made], list[dict[str, Any]]]:
    """What is made of each image that can be read, and what there is to say of the others."""

    def read(image: int) -> Made | UnreadableImage:
        try:
            return make(images.read(image))
        except UnreadableImage as error:
            return error

    found = dict(zip(ids, readers.map(read, ids), strict=True))
    skipped = [
        {"id": image, "name": images.names[image], "reason": str(result)}
        for image, result in found.items()
        if isinstance(result, UnreadableImage)
    ]
    return {image: result for image, result in found.items() if not isinstance(result, UnreadableImage)}, skipped


def nothing_read(spec: str, skipped: Sequence[Mapping[str, Any]]) -> ImagesError:
    """What to raise where not a single image of a set could be read."""
    reasons = "; ".join(f"{each['name']}: {each['reason']}" for each in skipped[:3])
    return ImagesError(f"{spec}: none of {len(skipped)} images could be read ({reasons})")
