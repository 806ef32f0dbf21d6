"""Sample images: a few of the set, run through the network once more, with the map of every unit [METHODS 3.3].

The maps are small and in 8 bits, on one scale for all units of a layer, so that strong units look strong. Behind a
non-linearity where nothing is negative 0 is black (`pos` of METHODS 1.3), elsewhere 0 is mid-grey (`sym`).
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.utils._pytree import tree_flatten

from convscope import shards
from convscope.atlas.run import SAMPLES
from convscope.capture import Tap
from convscope.errors import UnreadableImage
from convscope.graph import LayerNode
from convscope.scanner.batches import Batch, batches
from convscope.scanner.compute import forward, part
from convscope.scanner.plan import Plan
from convscope.scanner.scores import last_operation, probabilities
from convscope.scanner.tally import Tally
from convscope.scanner.worker import threads
from convscope.shards import ShardState
from convscope.statistics import Activations

SIDE = 56  # cells of a map along its longer side, at most
CELLS = 4_000_000  # of all maps of one sample, at most; compressed they are 2 to 3 MB
_GUESSES = 5
_LEVEL = 6  # of zlib


def choose(plan: Plan, tally: Tally) -> tuple[int, ...]:
    """The ids of the sample images, ascending: some of each class where there are labels, else evenly spaced.

    One that is predicted wrongly is among them, if there are any and more than one sample is wanted.
    """
    skipped = {skip["id"] for skip in tally.skipped}
    ids = [image for image in plan.ids if image not in skipped]
    count = min(int(plan.job["samples"]), len(ids))
    truth = {image: int(plan.truth[image]) for image in ids}
    chosen = _of_every_class(truth, count)
    there = set(chosen)
    chosen += _evenly([image for image in ids if image not in there], count - len(chosen))
    if tally.wrong is not None and tally.wrong not in chosen and count > 1:
        of_its_class = [i for i, image in enumerate(chosen) if truth[image] == truth[tally.wrong]]
        chosen[of_its_class[0] if of_its_class else -1] = tally.wrong
    return tuple(sorted(chosen))


def _of_every_class(truth: Mapping[int, int], count: int) -> list[int]:
    """At most `count` images whose class is known: one of each class, another one of each, and so on.

    Args:
        truth: the class of every image, -1 where it is not known.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for image, index in truth.items():
        if index >= 0:
            by_class[index].append(image)
    each = math.ceil(count / max(1, len(by_class)))
    picked = [_evenly(by_class[index], each) for index in sorted(by_class)]
    chosen: list[int] = []
    for place in range(each):
        chosen += _evenly([some[place] for some in picked if place < len(some)], count - len(chosen))
    return chosen


def _evenly(images: Sequence[int], count: int) -> list[int]:
    """At most `count` of the images, evenly spaced."""
    count = min(count, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def write(plan: Plan, folder: Path, state: ShardState, chosen: Sequence[int]) -> dict[str, Any]:
    """Run the images `chosen` and write what they do to every unit; what goes into ``run.json`` comes back.

    Args:
        state: of the whole scan.

    Raises:
        UnreadableImage: one of them has changed since it was scanned.
    """
    signed = [_is_signed(plan, layer, state) for layer in plan.layers]
    looks = [_Look(*each) for each in zip(plan.layers, signed, blocks(plan.layers), strict=True)]
    images: list[dict[str, Any]] = []
    with threads(int(plan.job["threads"])):
        for batch in batches(plan.images, plan.network.preprocess, chosen, plan.batch_size):
            for skip in batch.skipped:  # it was readable in the scan a moment ago
                raise UnreadableImage(f"{skip['name']}: changed during the scan, now {skip['reason']}")
            result = forward(plan, batch, [look.at(batch) for look in looks])
            for image, guesses in zip(batch.ids.tolist(), _guesses(plan, result, len(batch.ids)), strict=True):
                truth = int(plan.truth[image])
                images.append({"id": image, "truth": None if truth < 0 else truth, "prediction": guesses})
    if images:
        arrays = {f"{look.name}|{array}": tensor for look in looks for array, tensor in look.arrays().items()}
        shards.write(folder / SAMPLES, save(arrays))
    layers = [{"signed": look.signed, "block": look.block, "map": list(look.cells)} for look in looks]
    return {"score": plan.network.output, "images": images, "layers": layers}


def _is_signed(plan: Plan, layer: LayerNode, state: ShardState) -> bool:
    """Whether a layer's zero is in the middle: it is read before any non-linearity, or was negative somewhere."""
    minimum = part(state, str(layer.address), "moments")["minimum"]
    return plan.at == "output" or layer.nonlinearity is None or bool((minimum < 0).any())


def blocks(layers: Sequence[LayerNode]) -> list[int]:
    """For every layer how many cells of its maps, along each side, become one of the kept ones.

    No map is longer than `SIDE`, and no layer has more cells than a limit, the same for all: the largest power of two
    with which all maps together have at most `CELLS`. So a deep, wide network gives up detail in its large layers.
    """
    found: list[int] = []
    for exponent in range(22, 0, -1):
        found = [_block(layer, 2**exponent) for layer in layers]
        kept = [layer.units * math.prod(_cells(layer, block)) for layer, block in zip(layers, found, strict=True)]
        if sum(kept) <= CELLS:
            break
    return found


def _block(layer: LayerNode, limit: int) -> int:
    """The smallest one with which the layer's maps have at most `limit` cells, if any has."""
    longest = max(_cells(layer, 1))
    block = max(1, math.ceil(longest / SIDE))
    while block < longest and layer.units * math.prod(_cells(layer, block)) > limit:
        block += 1
    return block


def _cells(layer: LayerNode, block: int) -> tuple[int, int]:
    """(rows, columns) of the layer's kept maps."""
    places = layer.shape[1:]
    rows, columns = places if len(places) == 2 else (1, math.prod(places))
    return math.ceil(rows / block), math.ceil(columns / block)


class _Look:
    """What the sample images do to the units of one layer.

    Layers without rows and columns have maps of one row: of one cell, or of all their positions in raster order.
    """

    def __init__(self, layer: LayerNode, signed: bool, block: int) -> None:
        self.layer, self.signed, self.block = layer, signed, block
        self.name = str(layer.address)
        self.cells = _cells(layer, block)
        self.found: dict[str, list[Tensor]] = defaultdict(list)
        self.maps: list[bytes] = []

    def at(self, batch: Batch) -> Tap:
        """What takes in the layer's values for a batch."""

        def consume(values: Tensor) -> None:
            activations = Activations(values, self.layer.channel, batch.ids, self.name)
            each = activations.per_image
            maps, scale = picture(activations.maps(), self.block, self.signed)
            self.maps += [zlib.compress(image.tobytes(), _LEVEL) for image in maps]
            new = {
                "scale": torch.from_numpy(scale),
                "maxima": each.maximum.masked_fill(each.count == 0, torch.nan),
                "positions": each.position.int(),
                "zeros": (each.nonpositive / each.count).float(),  # NaN where there is no other value
                "nans": each.nans.int(),
            }
            for name, tensor in new.items():
                self.found[name].append(tensor)

        return consume

    def arrays(self) -> dict[str, Tensor]:
        """By name: (samples,) or (samples, units) each, and of every sample its compressed maps."""
        arrays = {name: torch.cat(tensors).contiguous() for name, tensors in self.found.items()}
        if not arrays["nans"].any():
            del arrays["nans"]
        packed = {f"maps{i}": torch.frombuffer(bytearray(data), dtype=torch.uint8) for i, data in enumerate(self.maps)}
        return arrays | packed


def picture(maps: NDArray[np.float32], block: int, signed: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Maps (n, units, h / block, w / block) in 8 bits, and of every image the scale (n,).

    The scale is the largest finite magnitude in any of the image's maps: ``value = byte / 255 · scale``, or
    ``(byte - 127.5) / 127.5 · scale`` where they are signed. NaN is shown as 0.

    Args:
        maps: (n, h, w, units).
        block: of so many cells along each side the largest value is kept, or where signed that of largest magnitude.
    """
    values = np.where(np.isnan(maps), np.float32(0), maps)
    values = _blocks(values if signed else np.maximum(values, 0), block)
    scale = np.abs(values).max(axis=(1, 2, 3), initial=0, where=np.isfinite(values))
    shares = np.clip(values / np.where(scale > 0, scale, 1)[:, None, None, None], -1, 1)
    levels = 127.5 + 127.5 * shares if signed else 255 * shares
    return np.ascontiguousarray(np.rint(levels).astype(np.uint8).transpose(0, 3, 1, 2)), scale


def _blocks(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Of every block of cells the value of largest magnitude; values is (n, h, w, units) without NaN."""
    if block == 1:
        return values
    count, height, width, units = values.shape
    beyond = [(0, 0), (0, -height % block), (0, -width % block), (0, 0)]
    padded = np.pad(values, beyond).reshape(count, math.ceil(height / block), block, -1, block, units)
    high, low = padded.max(axis=(2, 4)), padded.min(axis=(2, 4))
    largest: NDArray[np.float32] = np.where(high >= -low, high, low)
    return largest


def _guesses(plan: Plan, result: Any, count: int) -> list[list[list[Any]]]:
    """Of every image the best classes, each with its score, best first; none where there is no score for each class.

    Of equal scores the lower class comes first, and an image with a NaN among its scores has none.
    """
    tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
    if not tensors or tensors[0].dim() != 2 or len(tensors[0]) != count:
        return [[] for _ in range(count)]
    raw = tensors[0].cpu().double()
    scores = probabilities(raw, plan.network.output, last_operation(plan.graph))
    order = torch.sort(raw, dim=1, descending=True, stable=True).indices[:, :_GUESSES]
    return [
        [] if torch.isnan(raw[i]).any() else [[index, _finite(float(scores[i, index]))] for index in order[i].tolist()]
        for i in range(count)
    ]


def _finite(score: float) -> float | None:
    """A number that JSON has."""
    return score if math.isfinite(score) else None
