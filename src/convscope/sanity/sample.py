"""A few images of a set, through the network once: what arrives at it, what it makes of that, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from convscope import capture
from convscope.errors import ConvscopeError, NetworkError, UnreadableImage
from convscope.graph import Graph
from convscope.images import ImageSet
from convscope.network import Network, logits
from convscope.preprocess import Picture, Preprocess
from convscope.recorder import evaluating

BATCH = 8  # images prepared and run at once: large pictures are not kept


class Spread:
    """Count, mean, standard deviation and maximum of each channel of all tensors (n, c, ...) that were added."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.largest: NDArray[np.float64] | float = -np.inf  # (c,)

    def add(self, values: Tensor) -> None:
        """Take in a batch."""
        channels = values.detach().cpu().double().transpose(0, 1).flatten(1)
        self.count += channels.shape[1]
        self.sums = self.sums + channels.sum(1)
        self.squares = self.squares + (channels**2).sum(1)
        self.largest = np.maximum(self.largest, channels.amax(1).numpy())

    @property
    def mean(self) -> NDArray[np.float64]:
        """(c,)."""
        return np.asarray(self.sums) / self.count

    @property
    def std(self) -> NDArray[np.float64]:
        """(c,)."""
        return np.sqrt(np.maximum(np.asarray(self.squares) / self.count - self.mean**2, 0))


@dataclass(frozen=True, eq=False)
class Look:
    """What the first images show.

    Args:
        sizes: (height, width) of the pictures, px.
        inputs: of the network, as declared.
        taps: of the values of the graph that were asked for.
        scores: (n, classes); None where the network gives no score for each class.
        ids: (n,) images that could be read.
    """

    sizes: list[tuple[int, int]] = field(default_factory=list)
    inputs: Spread = field(default_factory=Spread)
    taps: dict[int, Spread] = field(default_factory=dict)
    scores: Tensor | None = None
    ids: tuple[int, ...] = ()


Prepare = Callable[[Picture], Tensor]


def inverted(picture: Picture) -> Picture:
    """Black for white."""
    return ImageOps.invert(picture) if isinstance(picture, Image.Image) else 1 - picture


def look(network: Network, graph: Graph, images: ImageSet, ids: Sequence[int], values: Sequence[int]) -> Look:
    """Run the network as declared, and take in its inputs and some values of its graph.

    Raises:
        NetworkError: the network does not run on the images.
    """
    sizes: list[tuple[int, int]] = []
    inputs, taps = Spread(), {value: Spread() for value in values}
    scores, read = [], []
    for part in _batches(ids):
        pictures = _read(images, part)
        prepared, kept = _prepared([picture for _, picture in pictures], network.preprocess)
        if not len(prepared):
            continue
        sizes += [_size(pictures[i][1]) for i in kept]
        read += [pictures[i][0] for i in kept]
        inputs.add(prepared)
        result = _captured(network, graph, prepared, taps)
        if len(graph.shapes[graph.outputs[0]]) == 2:
            scores.append(logits(result).detach().float().cpu())
    return Look(sizes, inputs, taps, torch.cat(scores) if scores else None, tuple(read))


def scores_of(
    network: Network, images: ImageSet, ids: Sequence[int], ways: Sequence[Prepare]
) -> tuple[list[Tensor | None], tuple[int, ...]]:
    """The scores (n, classes) of the images that can be read, prepared in several ways, and their ids.

    A way on which the network does not run, such as a size that it cannot take, gives None.
    """
    found: list[list[Tensor] | None] = [[] for _ in ways]
    read: list[int] = []
    for part in _batches(ids):
        pictures = _read(images, part)
        read += [image for image, _ in pictures]
        for i, way in enumerate(ways):
            parts = found[i]
            if parts is not None and pictures:
                scores = _scores(network, [picture for _, picture in pictures], way)
                found[i] = None if scores is None else [*parts, scores]
    return [torch.cat(parts) if parts else None for parts in found], tuple(read)


def evenly(ids: Sequence[int], count: int) -> list[int]:
    """So many of `ids`, evenly spaced; all of them where there are fewer."""
    count = min(count, len(ids))
    return [ids[i * len(ids) // count] for i in range(count)]


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def _read(images: ImageSet, ids: Sequence[int]) -> list[tuple[int, Picture]]:
    found = []
    for image in ids:
        try:
            found.append((image, images.read(image)))
        except UnreadableImage:  # the scan lists it
            continue
    return found


def _prepared(pictures: Sequence[Picture], preprocess: Preprocess) -> tuple[Tensor, list[int]]:
    """Inputs (n, c, h, w), and which of the pictures they are."""
    inputs, kept = [], []
    for i, picture in enumerate(pictures):
        try:
            inputs.append(preprocess(picture))
            kept.append(i)
        except UnreadableImage:
            continue
    return torch.stack(inputs) if inputs else torch.empty(0), kept


def _captured(network: Network, graph: Graph, inputs: Tensor, taps: dict[int, Spread]) -> object:
    inputs = inputs.to(network.device).to(memory_format=torch.channels_last)
    with torch.no_grad():
        try:
            return capture.run(network.module, inputs, graph, {value: each.add for value, each in taps.items()})
        except (ConvscopeError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise NetworkError(f"the network failed in the sanity check: {error}") from error


def _scores(network: Network, pictures: Sequence[Picture], way: Prepare) -> Tensor | None:
    try:
        inputs = torch.stack([way(picture) for picture in pictures]).to(network.device)
        with torch.no_grad(), evaluating(network.module):
            return logits(network.module(inputs.to(memory_format=torch.channels_last))).detach().float().cpu()
    except Exception:  # it was never asked for: a network may refuse another size in any way
        return None


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return picture.shape[1], picture.shape[2]
