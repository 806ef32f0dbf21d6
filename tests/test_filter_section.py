"""The section of an atlas with the filters: what is kept of which layer, and that it is the network's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convscope
from convscope.atlas import Atlas
from convscope.atlas.run import FILTERS, sealed
from convscope.filters import colour, noise
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.scanner import scan
from odd_nets import ODD_NETS, OddNet

pytestmark = pytest.mark.usefixtures("one_thread")
STD = (0.5, 0.25, 1.0)


@pytest.fixture(scope="module")
def module() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        convs = [nn.Conv2d(3, 6, 5), nn.Conv2d(6, 12, 3, groups=2), nn.Conv2d(12, 20, 3), nn.Conv2d(20, 4, 1)]
    with torch.no_grad():
        convs[0].weight[2] = 0.1
        convs[2].weight[1] = 0
    layers = [each for conv in convs for each in (conv, nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.fixture(scope="module")
def atlas(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return scan(network(module), images(), tmp_path_factory.mktemp("filters") / "atlas", batch_size=2)


def network(module: nn.Module) -> Network:
    preprocess = Preprocess(size=(14, 16), mean=(0.5,), std=STD, channels="BGR")
    return convscope.wrap(module, preprocess=preprocess, name="four")


def images(shape: tuple[int, ...] = (3, 14, 16)) -> Arrays:
    return Arrays(np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8))


def test_first_layers_are_kept_as_colours(atlas: Atlas, module: nn.Sequential):
    found = atlas.layer("0").filters
    assert found is not None
    assert found.first
    expected = module[0].weight.detach().numpy()[:, ::-1] / np.array(STD, np.float32)[::-1, None, None]
    np.testing.assert_array_equal(found.slices, expected)
    assert found.channels.tolist() == [[2, 1, 0]] * 6
    np.testing.assert_array_equal(found.colour["ratio"], colour.colour_ratio(expected))
    np.testing.assert_array_equal(found.colour["frequency"], colour.dominant_frequency(expected))
    assert found.noise.keys() == {*noise.MEASURES, "noisy", "regular", "flat"}
    assert found.noise["flat"].tolist() == [False, False, True, False, False, False]


def test_deeper_layers_keep_the_strongest_slices_with_their_true_channels(atlas: Atlas, module: nn.Sequential):
    for address, width, groups in (("2", 3, 2), ("4", 8, 1)):
        found = atlas.layer(address).filters
        assert found is not None
        assert not found.first
        assert not found.colour
        kernel = module[int(address)].weight.detach().numpy()
        units, seen = kernel.shape[:2]
        assert found.slices.shape == (units, width, 3, 3)
        for unit in range(units):
            order = sorted(range(seen), key=lambda i: -np.linalg.norm(kernel[unit, i].astype(float)))[:width]
            np.testing.assert_array_equal(found.slices[unit], kernel[unit, order])
            offset = unit // (units // groups) * seen
            assert found.channels[unit].tolist() == [offset + i for i in order]
        assert found.noise["flat"].nonzero()[0].tolist() == ([1] if address == "4" else [])
        # All slices are judged, and not only those that are kept.
        np.testing.assert_allclose(found.noise["entropy"], noise.judge(kernel)["entropy"], rtol=1e-6)


def test_layers_of_one_pixel_have_no_filters(atlas: Atlas):
    assert atlas.layer("6").filters is None
    assert atlas.layer("10").filters is None


def test_the_same_scan_gives_the_same_bytes(atlas: Atlas, module: nn.Module, tmp_path: Path):
    again = scan(network(module), images(), tmp_path / "again", batch_size=2)
    assert again.file(FILTERS) == atlas.file(FILTERS)
    assert FILTERS in atlas.run["files"]


def test_an_atlas_without_the_section_opens(atlas: Atlas, tmp_path: Path, module: nn.Module):
    older = scan(network(module), images(), tmp_path / "older", batch_size=2)
    run = json.loads((older.path / "run.json").read_text())
    del run["files"][FILTERS]
    (older.path / FILTERS).unlink()
    (older.path / "run.json").write_bytes(sealed(run))
    assert all(layer.filters is None for layer in Atlas.open(older.path).layers)


def test_a_scan_of_layers_without_pictures_has_no_section(tmp_path: Path, module: nn.Module):
    found = scan(network(module), images(), tmp_path / "head", layers=["10"], batch_size=2)
    assert FILTERS not in found.run["files"]
    assert found.layer("10").filters is None


@pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
def test_every_odd_net_has_filters_of_its_units(odd: OddNet, tmp_path: Path):
    channels, *size = odd.shape
    found = convscope.wrap(odd.make(), preprocess=Preprocess(size=tuple(size), channels=channels), output="real")
    atlas = scan(found, images(odd.shape), tmp_path / "atlas", batch_size=4)
    kernels = [layer for layer in atlas.layers if layer.filters is not None]
    assert kernels
    for layer in kernels:
        filters = layer.filters
        assert filters is not None
        assert filters.slices.shape[:2] == filters.channels.shape
        assert len(filters.slices) == layer.units
        assert all(column.shape == (layer.units,) for column in {**filters.noise, **filters.colour}.values())
        assert filters.first or max(filters.slices.shape[2:]) > 1
