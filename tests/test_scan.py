"""The scan against a slow definition: images one by one through the plain module, and NumPy."""

from __future__ import annotations

import json
import math
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convscope
from convscope import capture, shards
from convscope.atlas import Atlas, AtlasLayer
from convscope.errors import AtlasError, ImagesError, NetworkError
from convscope.geometry import Box
from convscope.images import Arrays, ImageSet
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.recorder import record
from convscope.scanner import Progress, scan
from convscope.scanner.tally import rank
from odd_nets import ODD_NETS
from slow_scan import assert_layer, evenly, noisy_photos, one_by_one

TANH = {"c1": "tanh1", "c3": "tanh3", "c5": "tanh5", "f6": "tanh6", "output": "output"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits_atlas(lenet: Network, digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """60 digits in batches of 7: two shards, of 56 and of 4 images."""
    return scan(lenet, digits, tmp_path_factory.mktemp("digits") / "atlas", limit=60, batch_size=7)


# --- what is measured ------------------------------------------------------------------------------------------------


def test_digits_are_what_plain_hooks_and_numpy_say(digits_atlas: Atlas, lenet: Network, digits: ImageSet) -> None:
    ids = evenly(digits, 60)
    maps = one_by_one(lenet, digits, ids, TANH)
    assert [str(layer.address) for layer in digits_atlas.layers] == list(TANH)
    for layer in digits_atlas.layers:
        assert_layer(layer, maps[str(layer.address)], ids)


def test_outputs_are_read_before_the_nonlinearity(tmp_path: Path, lenet: Network, digits: ImageSet) -> None:
    ids = evenly(digits, 30)
    atlas = scan(lenet, digits, tmp_path / "raw", limit=30, batch_size=16, at="output")
    maps = one_by_one(lenet, digits, ids, {layer: layer for layer in TANH})
    for layer in atlas.layers:
        assert_layer(layer, maps[str(layer.address)], ids)
        assert layer.record["nonlinearity"] is None
    assert max(atlas.layer("c1").summary["maximum"]) > 1  # no tanh
    response = scan(lenet, digits, tmp_path / "response", limit=30, batch_size=16)
    assert response.layer("c1").record["nonlinearity"] == "tanh"
    assert max(response.layer("c1").summary["maximum"]) <= 1


def test_a_negative_scale_turns_the_ranking_of_raw_outputs_around(tmp_path: Path) -> None:
    norm = nn.BatchNorm2d(1)
    nn.init.constant_(norm.weight, -1.0)
    nn.init.constant_(norm.bias, 5.0)
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    network = convscope.wrap(
        nn.Sequential(layer, norm, nn.ReLU()), preprocess=Preprocess(size=(2, 2), channels=1), name="negative"
    )
    images = Arrays(np.full((5, 1, 2, 2), 0.1, np.float32) * np.arange(1, 6, dtype=np.float32)[:, None, None, None])
    response, output = (scan(network, images, tmp_path / at, at=at) for at in ("response", "output"))  # type: ignore[arg-type]
    assert [entry.id for entry in response.layer("0")[0].top] == [0, 1, 2, 3, 4]
    assert [entry.id for entry in output.layer("0")[0].top] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("name", ODD_NETS)
def test_odd_nets_are_what_single_images_say(tmp_path: Path, name: str) -> None:
    odd = ODD_NETS[name]
    channels, height, width = odd.shape
    network = convscope.wrap(odd.make(), preprocess=Preprocess(size=(height, width), channels=channels), name=name)
    pixels = torch.rand(11, *odd.shape, generator=torch.Generator().manual_seed(0)).numpy()
    images = Arrays(pixels)
    graph = record(network.module, torch.from_numpy(pixels[:1]))
    maps: dict[str, list[Tensor]] = {address: [] for address in odd.reads}

    def keep(to: list[Tensor], channel: int) -> capture.Tap:
        return lambda values: to.append(values.movedim(channel, 1).clone())

    for i in range(11):  # what is tapped is tested elsewhere; here, what becomes of it
        taps = {layer.response: keep(maps[str(layer.address)], layer.channel) for layer in graph.layers()}
        with torch.no_grad():
            capture.run(network.module, torch.from_numpy(pixels[i : i + 1]), graph, taps)
    atlas = scan(network, images, tmp_path / "atlas", batch_size=3)
    assert [str(layer.address) for layer in atlas.layers] == list(odd.reads)
    for layer in atlas.layers:
        assert_layer(layer, torch.cat(maps[str(layer.address)]).numpy(), range(11), tolerance=2e-5)
        for unit in layer:
            assert unit.patch(0).size == (unit.top[0].box.width, unit.top[0].box.height)


def test_another_batch_size_agrees_to_rounding(
    digits_atlas: Atlas, tmp_path: Path, lenet: Network, digits: ImageSet
) -> None:
    other = scan(lenet, digits, tmp_path / "atlas", limit=60, batch_size=32)
    assert other.run["job"] != digits_atlas.run["job"]
    assert other.run["results"] == digits_atlas.run["results"]
    for one, two in zip(other.layers, digits_atlas.layers, strict=True):
        scale = max(np.abs(one.summary["maximum"]).max(), np.abs(one.summary["minimum"]).max())
        for key in ("mean", "std", "minimum", "maximum"):
            np.testing.assert_allclose(one.summary[key], two.summary[key], rtol=0, atol=1e-5 * scale)
        np.testing.assert_allclose(one.state("topk")["values"], two.state("topk")["values"], rtol=0, atol=1e-5 * scale)


def test_a_layer_alone_is_as_it_is_among_all(
    digits_atlas: Atlas, tmp_path: Path, lenet: Network, digits: ImageSet
) -> None:
    alone = scan(lenet, digits, tmp_path / "atlas", limit=60, batch_size=7, layers=["c3"])
    assert [str(layer.address) for layer in alone.layers] == ["c3"]
    assert alone.states.keys() == {name for name in digits_atlas.states if name.startswith("c3|")}
    for name, state in alone.states.items():
        np.testing.assert_equal(state, digits_atlas.states[name])


def test_top1_and_top5_are_those_of_a_plain_loop(digits_atlas: Atlas, lenet: Network, digits: ImageSet) -> None:
    right1 = right5 = 0
    for image in evenly(digits, 60):
        with torch.no_grad():
            scores = lenet.module(lenet.preprocess(digits.read(image))[None])[0].tolist()
        order = sorted(range(10), key=lambda c: (-scores[c], c))
        right1 += order[0] == digits.labels[image]
        right5 += digits.labels[image] in order[:5]
    results = digits_atlas.run["results"]
    assert (results["top1_right"], results["top5_right"]) == (right1, right5)
    assert (results["top1"], results["top5"]) == (right1 / 60, right5 / 60)
    assert results["labelled"] == results["images"] == 60
    assert 50 < right1 < 60 or right1 == 60


def test_equal_scores_are_ranked_by_the_lower_class_and_nan_is_never_right() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [torch.nan, 1.0, 0.0, 0.0]])
    assert [int(rank(scores[:1], torch.tensor([c]))[0]) for c in range(4)] == [3, 0, 1, 2]
    assert [int(rank(scores[1:2], torch.tensor([c]))[0]) for c in range(4)] == [0, 1, 2, 3]
    assert int(rank(scores[2:], torch.tensor([0]))[0]) == 4
    assert int(rank(scores[2:], torch.tensor([1]))[0]) >= 1


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_labels_count_only_where_outputs_are_scores_of_classes(tmp_path: Path, image_folder: Path, output: str) -> None:
    module = nn.Conv2d(3, 2, 3) if output == "softmax" else nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    network = convscope.wrap(module, preprocess={"size": [8, 8]}, classes=["cat", "dog"], output=output)
    atlas = scan(network, convscope.open_images(image_folder), tmp_path / "atlas")
    results = atlas.run["results"]
    assert (results["labelled"], results["top1"], results["top5"]) == (0, None, None)
    assert "no score for each class, so labels do not count" in results["remark"]
    assert {picture["label"] for picture in atlas.pictures.values()} == {"cat", "dog"}


def test_more_class_names_than_outputs_are_refused(tmp_path: Path, image_folder: Path, tiny_network: Network) -> None:
    network = convscope.wrap(tiny_network.module, preprocess={"size": [8, 8]}, classes=["cat", "dog", "bird"])
    with pytest.raises(NetworkError, match="3 class names for 2 outputs"):
        scan(network, convscope.open_images(image_folder), tmp_path / "atlas")


def test_labels_that_are_no_classes_are_told(tmp_path: Path, image_folder: Path, tiny_network: Network) -> None:
    (image_folder / "dog").rename(image_folder / "dogs")
    atlas = scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas")
    assert atlas.run["results"]["labelled"] == 3
    assert "2 of 5 labels are not classes" in atlas.run["results"]["remark"]
    assert "'dogs'; did you mean 'dog'?" in atlas.run["results"]["remark"]


# --- planted truth [METHODS 4.1, tests] ------------------------------------------------------------------------------


def template_network(template: np.ndarray[Any, Any], stride: int, padding: int, gain: float = 1.0) -> Network:
    """One unit that is a template filter with mean zero, read after a rectifier."""
    layer = nn.Conv2d(1, 1, template.shape, stride=stride, padding=padding, bias=False)
    with torch.no_grad():
        layer.weight[:] = gain * torch.from_numpy(template - template.mean())
    module = nn.Sequential(nn.Identity(), layer, nn.ReLU())
    return convscope.wrap(module, preprocess=Preprocess(size=(40, 52), channels="L"), name="template")


@pytest.mark.parametrize(("stride", "padding", "place"), [(1, 0, (13, 29)), (3, 2, (10, 25)), (2, 3, (-3, 47))])
def test_the_planted_template_is_found_and_cut_out(
    tmp_path: Path, stride: int, padding: int, place: tuple[int, int]
) -> None:
    generator = np.random.default_rng(0)
    template = generator.random((9, 7)).astype(np.float32).round()
    images = 0.5 + 0.2 * (generator.random((20, 40, 52)).astype(np.float32) - 0.5)
    y, x = place
    inside = images[13, max(0, y) : y + 9, max(0, x) : x + 7]
    inside[:] = template[max(0, -y) :, :][: inside.shape[0], : inside.shape[1]]
    network = template_network(template, stride, padding)
    atlas = scan(network, Arrays(images), tmp_path / "atlas")
    unit = atlas["1:0"]
    best = unit.top[0]
    assert best.id == 13
    assert best.box == Box(y, x, y + 9, x + 7)
    assert (best.row, best.column) == ((y + padding) // stride, (x + padding) // stride)
    for entry in unit.top:  # as wide as the field everywhere, also at borders
        assert (entry.box.height, entry.box.width) == (9, 7)
    patch = np.asarray(unit.patch(0))[:, :, 0] / 255
    shown = patch[max(0, -y) :, :][: inside.shape[0], : inside.shape[1]]
    np.testing.assert_allclose(shown, inside, atol=40 / 255)  # a JPEG


def test_a_positive_gain_does_not_change_the_ranking(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    template = generator.random((5, 5)).astype(np.float32)
    images = Arrays(generator.random((30, 40, 52)).astype(np.float32))
    tops = [
        scan(template_network(template, 1, 0, gain), images, tmp_path / str(gain))["1:0"].top for gain in (1.0, 4.0)
    ]
    assert [(entry.id, entry.row, entry.column) for entry in tops[0]] == [
        (entry.id, entry.row, entry.column) for entry in tops[1]
    ]
    assert [4 * entry.value for entry in tops[0]] == [entry.value for entry in tops[1]]


def test_nan_in_the_weights_is_counted_and_not_spread(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1, groups=1), nn.Flatten(), nn.Linear(72, 2))
    with torch.no_grad():
        module[0].weight[1, 0, 0, 0] = torch.nan
    images = Arrays(np.random.default_rng(0).random((9, 3, 8, 8)).astype(np.float32), [0, 1, 0, 1, 0, 1, 0, 1, 0])
    network = convscope.wrap(module, preprocess={"size": [8, 8]}, name="nan")
    atlas = scan(network, images, tmp_path / "atlas", batch_size=4)
    summary = atlas.layer("0").summary
    assert summary["nans"] == [0, 9 * 36, 0]
    assert summary["count"] == [9 * 36, 0, 9 * 36]
    maps = one_by_one(network, images, range(9), {"0": "1"})["0"]
    for unit in (0, 2):
        assert summary["mean"][unit] == pytest.approx(maps[:, unit].mean(), rel=1e-5)
        assert summary["maximum"][unit] == pytest.approx(maps[:, unit].max(), rel=1e-6)
        assert len(atlas.layer("0")[unit].top) == 9
    assert atlas["0:1"].top == []
    assert math.isnan(atlas["0:1"].quantile(0.5))
    assert atlas.layer("4").summary["nans"] == [9, 9]  # the network itself spreads it from there
    assert atlas.run["results"]["top1"] == 0
    assert all(json.loads(json.dumps(panel.title)) for panel in atlas["0:1"].panels())


# --- which images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 359, 360, 1000])
def test_a_limit_takes_images_evenly_from_the_whole_set(
    tmp_path: Path, lenet: Network, digits: ImageSet, limit: int
) -> None:
    class Noting(Arrays):
        def read(self, index: int) -> Any:
            read.append(index)
            return super().read(index)

    read: list[int] = []
    count = len(digits)
    atlas = scan(lenet, Noting(np.zeros((count, 4, 4), np.uint8)), tmp_path / "atlas", limit=limit, layers=["output"])
    used = read[: min(limit, count)]
    assert used == [math.floor(i * count / min(limit, count)) for i in range(min(limit, count))]
    assert atlas.run["results"]["images"] == min(limit, count)
    assert atlas.run["job"]["images"]["used"] == min(limit, count)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("batch_size", 0), ("batch_size", -3), ("at", "input")])
def test_numbers_that_make_no_sense(tmp_path: Path, lenet: Network, digits: ImageSet, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        scan(lenet, digits, tmp_path / "atlas", **{name: value})


BROKEN = [0, 8, 9, 10, 11, 17, 39]  # one batch of 4 has none that can be read


def test_unreadable_images_are_counted_listed_and_in_no_top_list(tmp_path: Path, tiny_network: Network) -> None:
    photos = noisy_photos(tmp_path / "photos")
    whole = scan(tiny_network, convscope.open_images(photos), tmp_path / "whole", batch_size=4)
    for image in BROKEN:
        (photos / f"{image:02}.png").write_bytes(b"no picture")
    seen: list[Progress] = []
    images = convscope.open_images(photos)
    atlas = scan(tiny_network, images, tmp_path / "atlas", batch_size=4, progress=seen.append)
    results = atlas.run["results"]
    assert results["images"] == 33
    assert [(skip["id"], skip["name"]) for skip in results["skipped"]] == [(i, f"{i:02}.png") for i in BROKEN]
    assert all(skip["reason"].startswith("it") for skip in results["skipped"])
    assert [each.done for each in seen if each.phase == "scanning"] == list(range(4, 41, 4))
    for unit in atlas.units():
        ids = [entry.id for entry in unit.top]
        assert not set(ids) & set(BROKEN)
        assert all(entry.name == f"{entry.id:02}.png" for entry in unit.top)
        # The ids of all others are as they were, and so is their order: a prefix of the whole list without the broken.
        before = [entry.id for entry in whole[str(unit.address)].top if entry.id not in BROKEN]  # type: ignore[union-attr]
        assert ids[: len(before)] == before
    assert atlas["0:0"].summary["count"] == 33 * 36


def test_where_no_image_can_be_read_the_reasons_are_told(
    tmp_path: Path, image_folder: Path, tiny_network: Network
) -> None:
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(ImagesError, match=r"none of 5 images could be read \(cat/a\.png: its? "):
        scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()
    assert not (tmp_path / "atlas.partial").exists()  # it would stand in the way of a better try, which is another job
    Image.new("RGB", (9, 9)).save(image_folder / "dog" / "a.png")
    atlas = scan(tiny_network, convscope.open_images(image_folder), tmp_path / "atlas")
    assert [entry.id for entry in atlas["0:0"].top] == [3]


# --- what the atlas says of the scan ----------------------------------------------------------------------------------


def test_an_atlas_holds_only_what_it_lists(digits_atlas: Atlas) -> None:
    names = {path.relative_to(digits_atlas.path).as_posix() for path in digits_atlas.path.rglob("*") if path.is_file()}
    assert names == {"run.json", "written.json", *digits_atlas.run["files"]}


def test_an_atlas_names_its_images_without_the_folders_above(digits_atlas: Atlas, tmp_path: Path) -> None:
    assert digits_atlas.source == "digits:test"
    run = dict(digits_atlas.run)
    for spec, name in ((str(tmp_path / "photos"), "photos"), ("photos/cats", "photos/cats"), ("hub:a/b", "hub:a/b")):
        assert Atlas(tmp_path, run | {"images": run["images"] | {"spec": spec}}).source == name


def test_an_atlas_knows_the_day_of_its_scan(digits_atlas: Atlas, tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    assert digits_atlas.date in {str(today), str(today - timedelta(days=1))}
    copy = Path(shutil.copytree(digits_atlas.path, tmp_path / "copy"))
    for text in ("", "{}", '{"date": 5}', '{"date": "<b>"}', "[" * 100_000):
        (copy / "written.json").write_text(text)
        assert Atlas.open(copy).date is None
    (copy / "written.json").unlink()
    assert Atlas.open(copy).date is None


def test_progress_counts_up_to_the_total(tmp_path: Path, lenet: Network, digits: ImageSet) -> None:
    calls: list[Progress] = []
    atlas = scan(lenet, digits, tmp_path / "atlas", limit=30, batch_size=8, progress=calls.append)
    scanning = [each for each in calls if each.phase == "scanning"]
    assert scanning == [Progress("scanning", done, 30) for done in (8, 16, 24, 30)]
    pictures = [each for each in calls if each.phase == "pictures"]
    projecting = [each for each in calls if each.phase == "projecting"]
    assert calls == scanning + pictures + projecting
    assert projecting[-1] == Progress("projecting", projecting[-1].total, projecting[-1].total)
    assert pictures[-1] == Progress("pictures", len(atlas.pictures), len(atlas.pictures))


def test_the_job_says_what_determines_the_result(digits_atlas: Atlas, lenet: Network) -> None:
    job = digits_atlas.run["job"]
    assert job["network"] == lenet.fingerprint
    assert job["batch_size"] == 7
    assert job["shard_size"] == 56
    assert job["threads"] == torch.get_num_threads()
    assert job["device"] == "cpu"
    assert job["layers"] == list(TANH)
    assert job["statistics"]["topk"]["k"] == 25
    assert len({shards.key(job | {name: None}) for name in job}) == len(job)


# --- what a scan says of its preparation -----------------------------------------------------------------------------


def test_a_likely_mistake_in_the_preparation_is_in_the_atlas(tmp_path: Path, lenet: Network, digits: ImageSet) -> None:
    right = convscope.scan(lenet, digits, tmp_path / "right", layers=["c1"])
    assert right.run["results"]["warnings"] == []
    assert isinstance(digits, convscope.Arrays)
    inverted = convscope.Arrays(digits.images.max() - digits.images, digits.labels)
    (warning,) = convscope.scan(lenet, inverted, tmp_path / "inverted", layers=["c1"]).run["results"]["warnings"]
    assert warning["kind"] == "preprocess"
    assert "black and white are exchanged" in warning["message"]
    page = convscope.write_report(convscope.Atlas.open(tmp_path / "inverted"), tmp_path / "report").read_text()
    assert "Look at this first." in page
    assert "black and white are exchanged" in page


def test_exact_quantiles_count_all_positions_and_are_another_job(tmp_path: Path, lenet: Network) -> None:
    atlas = convscope.scan(lenet, "digits:test", tmp_path / "atlas", layers=["c1"], limit=20, exact_quantiles=True)
    layer = atlas["c1"]
    assert isinstance(layer, AtlasLayer)
    positions = math.prod(layer.shape[1:])
    assert (layer.state("histogram")["counts"].sum(1) == 20 * positions).all()
    assert "all positions of each image" in repr(layer[0].panels())
    with pytest.raises(AtlasError, match=r"another job already .*positions: None there, 16 here"):
        convscope.scan(lenet, "digits:test", tmp_path / "atlas", layers=["c1"], limit=20)
