"""How far single neurons move when an occluder hides each part of an image: of all layers in one go [METHODS 5.3]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.capture import Tap
from convscope.empirical_field.effective import gradient_sums
from convscope.empirical_field.task import Task
from convscope.errors import ImagesError
from convscope.geometry import Ints
from convscope.replay import Replay
from convscope.scanner.batches import Batch, batches
from convscope.scanner.compute import failures_named, forward
from convscope.scanner.progress import Advance
from convscope.shards import ShardState

_SAME = 0.01  # a response as the atlas has it, up to this share: batches of other sizes round differently
Floats = NDArray[np.float32]


def measure(task: Task, index: int, advance: Advance, replays: dict[int, Replay]) -> ShardState:
    """What the images of a shard give: of each layer the discrepancies of its readings, and sums of gradients.

    Discrepancies are kept of the occluders that can change the cell, row by row, one reading after the other.
    """
    found: list[list[Floats]] = [[] for _ in task.layers]
    numbers: list[list[Ints]] = [[] for _ in task.layers]
    gradients = [torch.zeros(task.network.preprocess.size, dtype=torch.float64) for _ in task.layers]
    skipped = []
    ids = task.shard(index)
    for batch in batches(task.images, task.network.preprocess, ids, len(ids)):
        skipped += batch.skipped
        if not len(batch.ids):
            continue
        before = _responses(task, batch)
        images = batch.inputs.to(task.network.device)
        with failures_named(batch.ids):
            for total, each in zip(
                gradients, gradient_sums(task.network, task.graph, task.layers, task.at, images), strict=True
            ):
                total += each
            for row, image in enumerate(batch.ids.tolist()):
                mine = [readings.of(image) for readings in task.readings]
                for layer, moved in enumerate(_moved(task, image, images[row], mine, before[row], replays)):
                    found[layer] += moved
                    numbers[layer].append(mine[layer])
                advance(1)
    if skipped:
        advance(len(skipped))
    tensors: dict[str, Tensor] = {}
    for layer in range(len(task.layers)):
        tensors[f"{layer}|discrepancies"] = torch.from_numpy(np.concatenate([np.empty(0, np.float32), *found[layer]]))
        tensors[f"{layer}|readings"] = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *numbers[layer]]))
        tensors[f"{layer}|gradient"] = gradients[layer]
    return ShardState(tensors, {"skipped": skipped})


def discrepancies(task: Task, layer: int, state: ShardState) -> Iterator[tuple[int, Floats]]:
    """The readings of a layer in a shard by number, with the discrepancies (rows, columns) of occluders in reach."""
    values, start = state.tensors[f"{layer}|discrepancies"].numpy(), 0
    for number in state.tensors[f"{layer}|readings"].tolist():
        (top, bottom), (left, right) = _reach(task, layer, number)
        stop = start + (bottom - top) * (right - left)
        yield number, values[start:stop].reshape(bottom - top, right - left)
        start = stop


def cell(task: Task, layer: int, number: int) -> tuple[int, int]:
    """Row and column of a reading."""
    return divmod(int(task.readings[layer].positions[number]), task.layers[layer].shape[2])


def _reach(task: Task, layer: int, number: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the occluders that can change what is read."""
    canvas = task.canvases[layer]
    row, column = cell(task, layer, number)
    rows, columns = canvas.rows, canvas.columns
    return (int(rows.first[row]), int(rows.last[row])), (int(columns.first[column]), int(columns.last[column]))


def _responses(task: Task, batch: Batch) -> list[dict[int, Floats]]:
    """Of each image and layer what is read of the image as it is.

    Raises:
        ImagesError: it is not what the atlas says.
    """
    found: list[dict[int, Floats]] = [{} for _ in batch.ids]

    def tap(layer: int) -> Tap:
        def consume(values: Tensor) -> None:
            for row, image in enumerate(batch.ids.tolist()):
                cells = torch.from_numpy(_cells(task, layer, task.readings[layer].of(image)))
                found[row][layer] = values[row].reshape(-1)[cells].cpu().numpy()

        return consume

    forward(task, batch, [tap(layer) for layer in range(len(task.layers))])
    for image, each in zip(batch.ids.tolist(), found, strict=True):
        there = [task.readings[layer].values[task.readings[layer].of(image)] for layer in range(len(task.layers))]
        here, expected = (np.concatenate(parts) for parts in ([each[i] for i in range(len(there))], there))
        if np.median(np.abs(here - expected) / expected) > _SAME:
            raise ImagesError(
                f"{task.images.spec}: image {image} does not excite the network as the atlas says; give the images of "
                "the atlas, or scan again"
            )
    return found


def _cells(task: Task, layer: int, numbers: NDArray[np.intp]) -> Ints:
    """Where readings stand among the numbers of one image's map, as the network gives it."""
    node, readings = task.layers[layer], task.readings[layer]
    units, positions = readings.units[numbers], readings.positions[numbers]
    cells = node.shape[1] * node.shape[2]
    return units * cells + positions if node.channel == 1 else positions * node.units + units


def _moved(
    task: Task,
    image: int,
    pixels: Tensor,
    numbers: Sequence[Ints],
    before: dict[int, Floats],
    replays: dict[int, Replay],
) -> list[list[Floats]]:
    """Of each layer and reading of an image the discrepancies (rows, columns) of the occluders in reach.

    Args:
        pixels: (c, h, w).
        numbers: of each layer's readings.
        before: what is read of the image as it is.
        replays: those that were made before, by how many layers they run; others are added.
    """
    layers = task.layers[: 1 + max(layer for layer, each in enumerate(numbers) if len(each))]
    if len(layers) not in replays:
        wanted = dict.fromkeys(layer.value(task.at) for layer in layers)
        replays[len(layers)] = Replay(task.network.module, task.graph, wanted)
    cells = [(layer.value(task.at), _cells(task, i, numbers[i])) for i, layer in enumerate(layers)]
    after = [np.empty((len(task.boxes), len(each)), np.float32) for _, each in cells]
    for windows, values in replays[len(layers)].readings(pixels, task.boxes, task.fill(image), cells):
        for whole, each in zip(after, values, strict=True):
            whole[windows] = each.cpu().numpy()
    found: list[list[Floats]] = [[] for _ in task.layers]
    for layer, whole in enumerate(after):
        moved = np.abs(whole - before[layer]).T.reshape(-1, *task.windows.cells)
        for number, grid in zip(numbers[layer].tolist(), moved, strict=True):
            (top, bottom), (left, right) = _reach(task, layer, number)
            found[layer].append(grid[top:bottom, left:right].ravel())
    return found
