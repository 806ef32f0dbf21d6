"""A small job for the fuzzing tests of atlases and of unfinished scans, and all that can be read of its atlas."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import convscope
from convscope.atlas import Atlas
from convscope.scanner.executors import Engine
from convscope.scanner.plan import Plan
from convscope.scanner.run import prepare

OPTIONS: dict[str, Any] = {"layers": None, "at": "response", "limit": None, "batch_size": 1, "threads": 1}
SHARDS = 4  # of 8 images


def plan() -> tuple[Plan, Engine]:
    """Two layers of three and two units, and 30 pictures of 8×6 px, some of them labelled."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        module = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), head).eval()
    network = convscope.wrap(module, preprocess={"size": [8, 6]}, classes=["cat", "dog"], name="small")
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 6), np.uint8)
    labels = [None if i % 5 == 0 else i % 2 for i in range(30)]
    return prepare(network, convscope.Arrays(images, labels), OPTIONS, 1, None)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    """Make the folder hold these files and nothing else; what has not changed is not written again."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, data in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def everything(atlas: Atlas) -> str:
    """A hash of all that an atlas says, by each of its methods that read."""
    digest = hashlib.sha256()

    def say(*values: Any) -> None:
        digest.update(repr(values).encode())

    say(atlas.run["network"], atlas.run["images"], atlas.run["results"], atlas.run["job"], atlas.classes)
    say(atlas.graph)
    say(sorted(atlas.images.items()), sorted(atlas.pictures.items()))
    for image in atlas.pictures:
        say(image, np.asarray(atlas.picture(image)).tobytes())
    for layer in atlas.layers:
        say(str(layer.address), len(layer), layer.shape, layer.grid.to_json(), layer.record)
        say(layer.summary, layer.class_means.tolist(), layer.sparsity)
        say({name: flags.tolist() for name, flags in layer.flags.items()})
        for name in atlas.statistics:
            say(sorted((part, array.tolist()) for part, array in layer.state(name).items()))
        if layer.filters is not None:
            say(layer.filters.slices.tolist(), layer.filters.channels.tolist(), layer.filters.first)
            say(sorted((name, column.tolist()) for name, column in layer.filters.noise.items()))
        for unit in layer:
            say(unit.summary, unit.top, unit.quantile(0.5), unit.panels(), unit.inputs, unit.outputs)
            say(unit.map(0).tolist(), unit.patch(0).tobytes(), unit.tile(0).tobytes())
    for sample in atlas.samples:
        say(sample.id, sample.prediction, sample.picture().tobytes(), sample.unusual_everywhere())
        for layer in atlas.layers:
            say(sample.maps(layer.address).tolist(), sample.scale(layer.address), sample.maxima(layer.address).tolist())
    return digest.hexdigest()
