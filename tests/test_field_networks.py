"""The networks of the field, from a name to a report: random weights, eight photos, and not one argument more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import convscope
from convscope.cli import main
from convscope.errors import ConvscopeError
from convscope.network import Network, logits
from convscope.recorder import record
from field_networks import NETWORKS, REFUSED


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> convscope.ImageSet:
    """Eight coloured clouds of 320×240 px."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(8):
        cloud = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        cloud.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return convscope.open_images(str(folder))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test: hundreds of megabytes for each network."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def listed(name: str) -> list[str]:
    """The layers that ``convscope layers`` prints."""
    done = CliRunner().invoke(main, ["layers", name, "--json"])
    assert done.exit_code == 0, done.output
    return [layer["name"] for layer in json.loads(done.stdout)["layers"]]


def best_scores(network: Network, photos: convscope.ImageSet) -> np.ndarray:
    """The highest output of each class over the photos, in the network's plain forward pass."""
    batch = torch.stack([network.preprocess(photos.read(i)) for i in range(len(photos))])
    with torch.no_grad():
        return logits(network.module(batch)).amax(0).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in REFUSED])
def test_from_a_name_to_a_report(name: str, photos: convscope.ImageSet, place: Path) -> None:
    network = convscope.load(name)
    layers = listed(name)
    atlas = convscope.scan(network, photos, place / "atlas")
    assert [str(layer.address) for layer in atlas.layers] == layers
    assert atlas.run["results"]["images"] == 8
    convscope.write_report(atlas, place / "report")
    pages = {path.parent.name for path in place.glob("report/layers/*/index.html")}
    assert pages == {layer.record["slug"] for layer in atlas.layers}
    graph = record(network.module, network.example())
    head = graph.layers()[-1]
    if head.response == graph.outputs[0]:  # as nearly everywhere; its units are the scores then
        expected = best_scores(network, photos)
        found = [atlas[f"{head.address}:{unit}"].top[0].value for unit in range(0, len(expected), 50)]
        np.testing.assert_allclose(found, expected[::50], rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_by_name(name: str, photos: convscope.ImageSet, place: Path) -> None:
    with pytest.raises(ConvscopeError, match=REFUSED[name]):
        convscope.scan(convscope.load(name), photos, place / "atlas")


def test_the_list_is_long_and_hardly_any_is_refused() -> None:
    assert len(set(NETWORKS)) == len(NETWORKS) >= 60
    assert set(REFUSED) <= set(NETWORKS)
    assert len(REFUSED) <= 0.02 * len(NETWORKS)
