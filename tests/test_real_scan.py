"""The main job on real input: SqueezeNet's ImageNet weights on real photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convscope
from convscope.atlas import Atlas
from convscope.images import ImageSet
from convscope.network import Network
from convscope.scanner import scan

pytestmark = pytest.mark.real

BATCH = 32


@pytest.fixture(scope="module")
def squeezenet(shared_data: Path) -> Network:
    return convscope.load(shared_data / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> ImageSet:
    return convscope.open_images(shared_data / "imagenet_val227")


def test_exactly_216_and_271_of_300_are_right(tmp_path: Path, squeezenet: Network, photographs: ImageSet) -> None:
    atlas = scan(squeezenet, photographs, tmp_path / "atlas", batch_size=BATCH)
    results = atlas.run["results"]
    assert (results["images"], results["labelled"], results["skipped"]) == (300, 300, [])
    assert (results["top1_right"], results["top5_right"]) == (216, 271)
    assert (results["top1"], results["top5"]) == (0.72, 271 / 300)
    assert len(atlas.layers) == 26
    assert sum(len(layer) for layer in atlas.layers) == 96 + 2 * (16 + 128 + 32 + 256 + 48 + 384 + 64 + 512) + 1000
    for layer in atlas.layers:
        assert layer.summary["count"] == [300 * layer.shape[1] * layer.shape[2]] * len(layer)
        assert set(layer.summary["nans"]) == {0}
        assert min(layer.summary["minimum"]) >= 0  # everything is read after a rectifier
        assert (layer.state("histogram")["counts"].sum(1) == 300 * 16).all()
    for entry in atlas["features.0:5"].top:
        assert (entry.box.y0, entry.box.x0) == (2 * entry.row, 2 * entry.column)
        assert (entry.box.height, entry.box.width) == (7, 7)


@pytest.fixture(scope="module")
def hundred(squeezenet: Network, photographs: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return scan(squeezenet, photographs, tmp_path_factory.mktemp("hundred") / "atlas", limit=100, batch_size=BATCH)


@pytest.fixture(scope="module")
def stored(squeezenet: Network, photographs: ImageSet) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Maximum (100, units) and its first position of every rectified convolution, from plain forward hooks."""
    rectifiers = _rectifiers(squeezenet.module)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in rectifiers}

    def keep(layer: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            flat = output.flatten(2)
            largest = flat.amax(2)
            first = (flat == largest[:, :, None]).int().argmax(2)
            found[layer].append((largest, first))

        return hook

    modules = dict(squeezenet.module.named_modules())
    handles = [modules[name].register_forward_hook(keep(layer)) for layer, name in rectifiers.items()]
    for start in range(0, 100, BATCH):  # as the scan does, so that the floats agree
        ids = [3 * i for i in range(start, min(start + BATCH, 100))]
        inputs = torch.stack([squeezenet.preprocess(photographs.read(i)) for i in ids])
        with torch.no_grad():
            squeezenet.module.eval()(inputs.to(memory_format=torch.channels_last))
    for handle in handles:
        handle.remove()
    return {
        layer: (torch.cat([one for one, _ in parts]).numpy(), torch.cat([two for _, two in parts]).numpy())
        for layer, parts in found.items()
    }


def _rectifiers(module: nn.Module) -> dict[str, str]:
    """Every convolution, and the rectifier that follows it by torchvision's names."""
    pairs = {"features.0": "features.1", "classifier.1": "classifier.2"}
    for name, child in module.named_modules():
        if isinstance(child, nn.Conv2d) and name not in pairs:
            pairs[name] = f"{name}_activation"
    return pairs


def test_topk_is_a_sort_of_all_stored_responses(
    hundred: Atlas, stored: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
) -> None:
    assert {str(layer.address) for layer in hundred.layers} == stored.keys()
    ties = 0
    for layer in hundred.layers:
        maxima, positions = stored[str(layer.address)]
        state = layer.state("topk")
        for unit in range(len(layer)):
            order = sorted(range(100), key=lambda image: (-maxima[image, unit], image))[:25]
            assert state["ids"][unit].tolist() == [3 * image for image in order], (layer.address, unit)
            assert state["values"][unit].tolist() == maxima[order, unit].tolist(), (layer.address, unit)
            assert state["positions"][unit].tolist() == positions[order, unit].tolist(), (layer.address, unit)
            ties += len(order) - len(set(maxima[order, unit].tolist()))
    assert ties > 100  # mostly images without a response: the order of equals was tested


def test_the_best_image_of_a_class_is_often_of_that_class(hundred: Atlas) -> None:
    """Values, ids, names and labels belong together: by chance it would be 1 in 100; measured is 0.35."""
    layer, classes = hundred.layer("classifier.1"), hundred.run["network"]["classes"]
    labels = {picture["label"] for picture in hundred.pictures.values()}
    best = [unit.top[0].label == classes[unit.index] for unit in layer if classes[unit.index] in labels]
    assert len(best) > 80
    assert np.mean(best) > 0.25
