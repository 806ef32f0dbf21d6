"""The slow definition of a scan: images one by one through the plain module, and NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.atlas import AtlasLayer
from convscope.images import ImageSet
from convscope.network import Network
from convscope.statistics.base import sampled_positions

Maps = dict[str, np.ndarray[Any, Any]]  # by layer: (n, units, ...)


def evenly(images: ImageSet, limit: int) -> list[int]:
    return [int(np.floor(i * len(images) / limit)) for i in range(limit)]


def one_by_one(network: Network, images: ImageSet, ids: Sequence[int], modules: dict[str, str]) -> Maps:
    """What each module gave, image by image, by plain forward hooks; `modules` are layer -> module that is read."""
    found: dict[str, list[np.ndarray[Any, Any]]] = {layer: [] for layer in modules}
    children = dict(network.module.named_modules())
    handles = [
        children[name].register_forward_hook(lambda _m, _i, output, to=found[layer]: to.append(output.numpy().copy()))
        for layer, name in modules.items()
    ]
    with torch.no_grad():
        for image in ids:
            network.module(network.preprocess(images.read(image))[None])
    for handle in handles:
        handle.remove()
    return {layer: np.concatenate(maps) for layer, maps in found.items()}


def assert_layer(layer: AtlasLayer, maps: np.ndarray[Any, Any], ids: Sequence[int], tolerance: float = 1e-5) -> None:
    """The atlas says of a layer what NumPy says of its maps (n, units, ...), up to the rounding of other batches."""
    rows = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    slack = tolerance * max(1e-3, np.abs(rows).max())
    assert layer.units == rows.shape[1]
    assert tuple(layer.shape) == maps.shape[1:]
    for unit in layer:
        cells, summary = rows[:, unit.index], unit.summary
        assert summary["count"] == cells.size
        assert summary["nans"] == 0
        assert summary["mean"] == pytest.approx(cells.mean(), abs=slack)
        assert summary["std"] == pytest.approx(cells.std(), abs=slack)
        assert summary["minimum"] == pytest.approx(cells.min(), abs=slack)
        assert summary["maximum"] == pytest.approx(cells.max(), abs=slack)
        assert (cells <= -slack).mean() <= summary["nonpositive"] <= (cells <= slack).mean()
        maxima = cells.max(1)
        assert (maxima > slack).sum() <= summary["active_images"] <= (maxima > -slack).sum()
        assert_top(unit.top, cells, ids, slack, layer.grid.cells)
        assert_histogram(layer, unit.index, rows, ids, slack)


def assert_top(top: Any, cells: np.ndarray[Any, Any], ids: Sequence[int], slack: float, shape: tuple[int, int]) -> None:
    """The list is a sort by (-maximum, id); where two maxima are closer than rounding, either may come first."""
    maxima = cells.max(1)
    expected = sorted(range(len(ids)), key=lambda i: (-maxima[i], ids[i]))[:25]
    assert len(top) == len(expected)
    assert len({entry.id for entry in top}) == len(top)
    place = {image: i for i, image in enumerate(ids)}
    for i, entry in zip(expected, top, strict=True):
        assert entry.value == pytest.approx(maxima[i], abs=slack)
        here = cells[place[entry.id]]
        assert here[entry.row * shape[1] + entry.column] == pytest.approx(here.max(), abs=slack)
        clear = np.abs(np.delete(maxima, i) - maxima[i]).min(initial=np.inf) > 2 * slack
        assert not clear or entry.id == ids[i]
        first = np.sort(here)[-2] < here.max() - 2 * slack if len(here) > 1 else True
        assert not (clear and first) or entry.row * shape[1] + entry.column == here.argmax()
    for one, two in itertools.pairwise(top):
        assert (one.value, -one.id) > (two.value, -two.id)


def assert_histogram(
    layer: AtlasLayer, unit: int, rows: np.ndarray[Any, Any], ids: Sequence[int], slack: float
) -> None:
    """As many values lie below any bound as in the sampled ones, but for those that rounding puts beside it."""
    counts = layer.state("histogram")["counts"][unit]
    positions = rows.shape[2]
    index = np.tile(np.arange(positions), (len(ids), 1))
    if positions > 16:
        index = sampled_positions(torch.tensor(ids), str(layer.address), 16, positions).numpy()
    values = np.take_along_axis(rows[:, unit], index, 1)
    edges = layer.atlas.statistics["histogram"].edges()  # type: ignore[attr-defined]
    below = counts.cumsum()
    assert counts.sum() == values.size
    for i in range(0, len(edges) - 2, 7):
        bound = edges[i + 1]
        assert (values < bound - slack).sum() <= below[i] <= (values <= bound + slack).sum()


def noisy_photos(folder: Path) -> Path:
    """40 pictures of noise, 10×10 px, in `folder`."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for i in range(40):
        pixels = generator.integers(0, 256, (10, 10, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder
