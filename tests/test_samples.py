"""Sample images: which they are, what every unit does to them, what is predicted, and which units answer unusually."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope
from convscope import capture, shards
from convscope.atlas import Atlas, Sample
from convscope.atlas.run import SAMPLES, sealed
from convscope.errors import AddressError, AtlasError, UnreadableImage
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.recorder import record
from convscope.scanner import samples, scan
from convscope.scanner.plan import Plan
from convscope.scanner.tally import Tally
from odd_nets import ODD_NETS
from running import OPTIONS, contents, network, photos
from slow_scan import noisy_photos

pytestmark = pytest.mark.usefixtures("one_thread")

Values = np.ndarray[Any, np.dtype[np.float32]]


def network_of(module: nn.Module, shape: Sequence[int], **options: Any) -> Network:
    """Pixels reach the network as they are."""
    size = (shape[1], shape[2])
    return convscope.wrap(module.eval(), preprocess=Preprocess(size=size, channels=shape[0]), **options)


def planted(weights: list[list[float]], bias: list[float] | None = None, *after: nn.Module) -> nn.Sequential:
    """A convolution of one cell, whose units are sums of channels as `weights` (units, channels) say."""
    layer = nn.Conv2d(len(weights[0]), len(weights), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights)[:, :, None, None])
        layer.bias.copy_(torch.tensor([0.0] * len(weights) if bias is None else bias))  # type: ignore[union-attr]
    return nn.Sequential(layer, *after)


def shown(maps: Values, block: int, signed: bool) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], float]:
    """The definition, cell by cell: maps (units, h, w) in 8 bits, and their scale."""
    finite = [abs(float(value)) for value in maps.ravel() if math.isfinite(value) and (signed or value > 0)]
    scale = max(finite, default=0.0)
    units, height, width = maps.shape
    out = np.zeros((units, math.ceil(height / block), math.ceil(width / block)), np.uint8)
    for unit, row, column in np.ndindex(*out.shape):
        cells = maps[unit, row * block : (row + 1) * block, column * block : (column + 1) * block].ravel()
        values = [0.0 if math.isnan(value) else float(value) for value in cells]
        value = max(values, key=lambda each: (abs(each), each)) if signed else max(0.0, *values)
        share = min(1.0, max(-1.0, value / (scale or 1.0)))
        out[unit, row, column] = round(127.5 * (1 + share) if signed else 255 * share)
    return out, scale


def assert_shown(sample: Sample, layer: str, maps: Values) -> None:
    """The sample says of a layer what its maps (units, h, w) say, up to the rounding of another batch."""
    expected, scale = shown(maps, sample.block(layer), sample.signed(layer))
    rows = maps.reshape(len(maps), -1)
    slack = 1e-5 * max(1e-3, float(np.nan_to_num(np.abs(rows)).max()))
    assert sample.maps(layer).shape == expected.shape
    assert np.abs(sample.maps(layer).astype(int) - expected.astype(int)).max() <= 1
    assert sample.scale(layer) == pytest.approx(scale, abs=slack)
    np.testing.assert_allclose(sample.maxima(layer), rows.max(1), atol=slack, rtol=0)
    for unit, position in enumerate(sample.positions(layer).tolist()):
        assert rows[unit, position] >= rows[unit].max() - slack
    zeros = sample.zeros(layer)
    assert ((rows <= -slack).mean(1) <= zeros + 1e-6).all()
    assert (zeros <= (rows <= slack).mean(1) + 1e-6).all()
    assert not sample.nans(layer).any()


# --- maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NETS)
def test_odd_nets_are_what_single_images_say(tmp_path: Path, name: str) -> None:
    odd = ODD_NETS[name]
    pixels = torch.rand(5, *odd.shape, generator=torch.Generator().manual_seed(0))
    net = network_of(odd.make(), odd.shape)
    atlas = scan(net, Arrays(pixels.numpy()), tmp_path / "atlas", batch_size=3, samples=4)
    graph = record(net.module, pixels[:1])
    assert [sample.id for sample in atlas.samples] == [0, 1, 2, 3]
    lowest = {str(layer.address): min(layer.summary["minimum"]) for layer in atlas.layers}
    for sample in atlas.samples:
        found: dict[str, Values] = {}

        def keep(address: str, channel: int, into: dict[str, Values] = found) -> capture.Tap:
            return lambda values: into.update({address: values.movedim(channel, 1)[0].numpy().copy()})

        with torch.no_grad():
            for layer in graph.layers():  # one by one, because two of them can be read at the same value
                tap = {layer.response: keep(str(layer.address), layer.channel)}
                result = capture.run(net.module, pixels[sample.id : sample.id + 1], graph, tap)
        assert list(found) == list(odd.reads)
        for layer in graph.layers():
            address = str(layer.address)
            maps = found[address]
            assert sample.signed(address) == (layer.nonlinearity is None or lowest[address] < 0)
            assert_shown(sample, address, maps if maps.ndim == 3 else maps.reshape(len(maps), 1, -1))
        first = next(iter(result.values())) if isinstance(result, dict) else result
        first = first[0] if isinstance(first, tuple | list) else first
        assert bool(sample.prediction) == (first.ndim == 2)
        assert sample.truth is None
        assert sample.right is None
        assert sample.picture().size == (odd.shape[2], odd.shape[1])
        assert sample.unusual_everywhere(3) == sample.unusual_everywhere(None)[:3]


def test_planted_maps_are_known_to_the_byte(tmp_path: Path) -> None:
    pixels = np.zeros((2, 1, 4, 5), np.float32)
    pixels[0, 0, 1, 3], pixels[0, 0, 2, 0] = 0.5, 0.25
    pixels[1, 0, 3, 4] = pixels[1, 0, 3, 2] = 1.0
    net = network_of(planted([[1.0], [2.0], [-1.0]], None, nn.ReLU()), (1, 4, 5))
    one, two = scan(net, Arrays(pixels), tmp_path / "response").samples
    assert (one.signed("0"), one.scale("0"), two.scale("0")) == (False, 1.0, 2.0)
    expected = np.zeros((3, 4, 5), np.uint8)
    expected[0, 1, 3], expected[0, 2, 0] = 128, 64  # of the layer's largest, which is 1.0 for this image
    expected[1, 1, 3], expected[1, 2, 0] = 255, 128
    np.testing.assert_array_equal(one.maps("0"), expected)
    assert one.maxima("0").tolist() == [0.5, 1.0, 0.0]
    assert one.positions("0").tolist() == [8, 8, 0]
    assert one.zeros("0").tolist() == pytest.approx([18 / 20, 18 / 20, 1.0])
    assert two.positions("0").tolist() == [17, 17, 0]  # the first of two equal ones
    raw, _ = scan(net, Arrays(pixels), tmp_path / "output", at="output").samples
    assert raw.signed("0")
    levels = raw.maps("0")
    assert (levels[0, 0, 0], levels[1, 1, 3], levels[2, 1, 3], levels[2, 2, 0]) == (128, 255, 64, 96)


@pytest.mark.parametrize(("side", "block", "kept"), [(56, 1, 56), (57, 2, 29), (112, 2, 56), (113, 3, 38)])
@pytest.mark.parametrize("after", [(), (nn.ReLU(),)], ids=["signed", "rectified"])
def test_large_maps_keep_the_extreme_of_each_block(
    tmp_path: Path, side: int, block: int, kept: int, after: tuple[nn.Module, ...]
) -> None:
    pixels = np.random.default_rng(0).random((1, 1, side, 40), np.float32)
    net = network_of(planted([[1.0], [-2.0]], [-0.5, 1.1], *after), (1, side, 40))
    (sample,) = scan(net, Arrays(pixels), tmp_path / "atlas").samples
    assert (sample.block("0"), sample.signed("0")) == (block, not after)
    assert sample.maps("0").shape == (2, kept, math.ceil(40 / block))
    maps = np.concatenate([pixels[0] - 0.5, 1.1 - 2 * pixels[0]])
    assert_shown(sample, "0", np.maximum(maps, 0) if after else maps)


def layer_of(units: int, *places: int) -> Any:
    return SimpleNamespace(units=units, shape=(units, *places))


def test_a_deep_network_gives_up_detail_in_its_large_layers_first() -> None:
    small = [layer_of(64, 56, 56), layer_of(10), layer_of(8, 3136), layer_of(4, 5, 6, 7)]
    assert samples.blocks(small) == [1, 1, 56, 4]  # the last two in one row, of 3136 and 210 cells
    many = small + [layer_of(256, 56, 56)] * 20 + [layer_of(2048, 7, 7)] * 20
    blocks = samples.blocks(many)
    cells = [each.units * math.prod(samples._cells(each, block)) for each, block in zip(many, blocks, strict=True)]
    assert sum(cells) <= samples.CELLS
    assert (blocks[1], blocks[-1]) == (1, 1)
    assert blocks[4] > 1
    huge = [layer_of(1_000_000, 14, 14)] * 5  # nothing is left to give up
    assert samples.blocks(huge) == [14] * 5


def test_nan_and_infinity_do_not_spread() -> None:
    nan, infinity = np.float32("nan"), np.float32("inf")
    maps = np.array([[nan, 2.0], [infinity, -1.0], [-infinity, 0.5]], np.float32).T.reshape(1, 1, 2, 3)
    maps = np.ascontiguousarray(maps.transpose(0, 1, 3, 2))  # (1, 1, 3, 2)
    levels, scale = samples.picture(maps, 1, True)
    assert scale.tolist() == [2.0]
    assert levels[0, :, 0].tolist() == [[128, 255, 0], [255, 64, 159]]
    levels, scale = samples.picture(maps, 1, False)
    assert levels[0, :, 0].tolist() == [[0, 255, 0], [255, 0, 64]]
    for signed, level in ((True, 128), (False, 0)):  # a constant map is a constant picture
        levels, scale = samples.picture(np.zeros((2, 3, 3, 1), np.float32), 2, signed)
        assert (levels == level).all()
        assert scale.tolist() == [0.0, 0.0]


def test_units_that_give_nan_are_counted(tmp_path: Path) -> None:
    net = planted([[1.0, 0.0], [math.nan, 0.0], [0.0, 1.0]], None, nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    pixels = np.random.default_rng(0).random((6, 2, 2, 2), np.float32)
    atlas = scan(network_of(net, (2, 2, 2)), Arrays(pixels, [0, 1] * 3), tmp_path / "atlas", samples=3)
    for sample in atlas.samples:
        assert sample.nans("0").tolist() == [0, 4, 0]
        assert np.isnan(sample.maxima("0")).tolist() == [False, True, False]
        assert np.isnan(sample.zeros("0")).tolist() == [False, True, False]
        assert sample.scale("0") == pixels[sample.id].max()
        assert (sample.maps("0")[1] == 0).all()
        assert sample.prediction == ()
        assert sample.right is False
        assert {each.unit for each in sample.unusual("0")} <= {0, 2}
        assert sample.unusual("3") == []
    assert any(sample.unusual("0") for sample in atlas.samples)
    assert {pair[1] for pair in atlas.run["results"]["confusions"]} == {-1}
    json.dumps(atlas.run, allow_nan=False)


# --- predictions -----------------------------------------------------------------------------------------------------


def scores_of(tmp_path: Path, output: str, *after: nn.Module, scores: Sequence[float]) -> Sample:
    """A network whose outputs are `scores`, then `after`, of the one image."""
    net = nn.Sequential(*planted([[0.0]] * len(scores), list(scores)), nn.Flatten(), *after)
    names = [f"class {i}" for i in range(len(scores))]
    atlas = scan(network_of(net, (1, 1, 1), output=output, classes=names), Arrays(np.ones((1, 1, 1, 1), np.float32)),
                 tmp_path / "atlas")  # fmt: skip
    (sample,) = atlas.samples
    assert sample.score == output
    return sample


SCORES = [0.5, 2.0, -1.0, 2.0, 0.0, -3.0, 1.0]
BEST = [1, 3, 6, 0, 4]  # of equal scores the lower class first


@pytest.mark.parametrize(
    ("output", "after", "of"),
    [
        ("softmax", (), lambda value: math.exp(value) / sum(map(math.exp, SCORES))),
        ("softmax", (nn.Softmax(1),), lambda value: math.exp(value) / sum(map(math.exp, SCORES))),
        ("softmax", (nn.LogSoftmax(1),), lambda value: math.exp(value) / sum(map(math.exp, SCORES))),
        ("sigmoid", (), lambda value: 1 / (1 + math.exp(-value))),
        ("sigmoid", (nn.Sigmoid(), nn.Unflatten(1, (7, 1)), nn.Flatten()), lambda value: 1 / (1 + math.exp(-value))),
        ("real", (), lambda value: value),
    ],
)
def test_scores_are_what_the_output_is(
    tmp_path: Path, output: str, after: tuple[nn.Module, ...], of: Callable[[float], float]
) -> None:
    sample = scores_of(tmp_path, output, *after, scores=SCORES)
    assert [guess.class_index for guess in sample.prediction] == BEST
    assert [guess.name for guess in sample.prediction] == [f"class {i}" for i in BEST]
    assert [guess.score for guess in sample.prediction] == pytest.approx([of(SCORES[i]) for i in BEST], rel=1e-6)
    index, name, score = sample.prediction[0]
    assert (index, name) == (1, "class 1")
    assert score == sample.prediction[0].score


def test_a_score_that_is_not_finite_is_none(tmp_path: Path) -> None:
    sample = scores_of(tmp_path, "real", scores=[0.0, math.inf])
    assert [(guess.class_index, guess.score) for guess in sample.prediction] == [(1, None), (0, 0.0)]


# --- which images ----------------------------------------------------------------------------------------------------


def plan_of(truth: Sequence[int], count: int) -> Plan:
    """As much of a plan as choosing needs; the ids are even numbers."""
    labels = torch.full((2 * len(truth),), -1)
    labels[::2] = torch.tensor(truth)
    return SimpleNamespace(ids=tuple(range(0, 2 * len(truth), 2)), truth=labels, job={"samples": count})  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("truth", "count", "expected"),
    [
        ([-1] * 12, 4, [0, 6, 12, 18]),
        ([-1], 8, [0]),
        ([-1] * 3, 0, []),
        ([0] * 4 + [1] * 4, 4, [0, 4, 8, 12]),
        ([0] * 7 + [3], 3, [0, 6, 14]),  # the class of one image is there
        (list(range(12)), 4, [0, 6, 12, 18]),  # classes evenly
        ([-1, 5, -1, -1, 2, -1], 4, [0, 2, 6, 8]),  # first those with a class, then others evenly
    ],
)
def test_samples_are_spread_over_classes(truth: Sequence[int], count: int, expected: Sequence[int]) -> None:
    assert samples.choose(plan_of(truth, count), Tally()) == tuple(expected)


def test_a_wrong_one_takes_the_place_of_another_of_its_class() -> None:
    truth = [0] * 4 + [1] * 4
    assert samples.choose(plan_of(truth, 4), Tally(wrong=14)) == (0, 4, 12, 14)
    assert samples.choose(plan_of(truth, 4), Tally(wrong=12)) == (0, 4, 8, 12)  # there already
    assert samples.choose(plan_of(truth, 1), Tally(wrong=14)) == (0,)
    assert samples.choose(plan_of(list(range(12)), 2), Tally(wrong=22)) == (0, 22)


def test_skipped_images_are_no_samples() -> None:
    skipped = [{"id": 0}, {"id": 12}]
    assert samples.choose(plan_of([-1] * 12, 4), Tally(skipped=skipped)) == (2, 6, 14, 18)
    assert samples.choose(plan_of([-1] * 2, 4), Tally(skipped=skipped)) == (2,)


def test_digits_of_different_classes_one_of_them_wrong(tmp_path: Path, lenet: Network) -> None:
    atlas = scan(lenet, "digits:test", tmp_path / "atlas")
    assert len(atlas.samples) == 8
    assert len({sample.truth for sample in atlas.samples}) == 8
    assert False in [sample.right for sample in atlas.samples]
    for sample in atlas.samples:
        with torch.no_grad():
            inputs = lenet.preprocess(convscope.open_images("digits:test").read(sample.id))
            shares = lenet.module(inputs[None]).softmax(1)[0]
        guess = sample.prediction[0]
        assert guess.class_index == int(shares.argmax())
        assert guess.score == pytest.approx(float(shares.max()), rel=1e-5)
        assert sample.right == (guess.name == sample.label)
        assert sample.name == atlas.images[sample.id]["name"]


# --- units that answer unusually -------------------------------------------------------------------------------------


@pytest.fixture
def unusual(tmp_path: Path) -> Atlas:
    """40 images of one cell and five channels: 0 alike for all, 1 the image's number, 2 only image 20, 3 nothing, and
    4 falls with the number; every unit looks at one channel.
    """
    pixels = np.zeros((40, 5, 1, 1), np.float32)
    pixels[:, 0] = 0.5
    pixels[:, 1, 0, 0] = np.arange(40) / 40
    pixels[20, 2] = 1.0
    pixels[:, 4, 0, 0] = 1 - np.arange(40) / 40
    net = planted(np.eye(5).tolist(), None, nn.ReLU(), nn.Conv2d(5, 2, 1))
    nn.init.zeros_(net[2].weight)  # type: ignore[arg-type]
    with torch.no_grad():
        net[2].weight[1, 2] = 1.0  # type: ignore[index]
    return scan(network_of(net, (5, 1, 1)), Arrays(pixels), tmp_path / "atlas", samples=4)


def test_the_planted_unit_is_the_most_unusual_one(unusual: Atlas) -> None:
    sample = unusual.samples[2]
    assert sample.id == 20
    found = sample.unusual("0")
    assert [each.unit for each in found] == [2, 1]  # 0 and 3 never vary, and 4 lies below its mean
    best = found[0]
    assert (best.layer, best.value, best.share, best.rank) == ("0", 1.0, 1.0, 0)
    values = np.zeros(40)
    values[20] = 1.0
    assert best.z == pytest.approx((1 - values.mean()) / values.std())
    assert found[1].rank == 19
    assert found[1].share == pytest.approx(20 / 39)
    everywhere = sample.unusual_everywhere(2)
    assert [(each.layer, each.unit) for each in everywhere] == [("0", 2), ("2", 1)]
    assert sample.unusual("0", 1) == found[:1]
    assert sample.unusual("0", None) == found


def test_who_lies_below_the_mean_is_not_unusual(unusual: Atlas) -> None:
    first, late = unusual.samples[0], unusual.samples[3]
    assert (first.id, late.id) == (0, 30)
    assert [each.unit for each in first.unusual("0")] == [4]
    assert [each.unit for each in late.unusual("0")] == [1]


def test_an_image_that_is_not_among_the_best_has_no_rank(tmp_path: Path) -> None:
    pixels = np.zeros((60, 1, 1, 1), np.float32)
    pixels[30:, 0, 0, 0] = 0.5 + np.arange(30) / 100
    atlas = scan(network_of(planted([[1.0]]), (1, 1, 1)), Arrays(pixels), tmp_path / "atlas", samples=60)
    (late,), (best,) = (atlas.samples[image].unusual("0") for image in (30, 59))
    assert (late.rank, best.rank) == (None, 0)
    assert late.z > 0
    assert late.share == pytest.approx(0.5 / 0.79)


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_no_samples_are_no_file(tmp_path: Path, tiny_network: Network) -> None:
    atlas = scan(tiny_network, noisy_photos_in(tmp_path), tmp_path / "atlas", samples=0)
    assert atlas.samples == ()
    assert SAMPLES not in atlas.run["files"]
    with pytest.raises(ValueError, match="samples is -1; it must be at least 0"):
        scan(tiny_network, tmp_path / "photos", tmp_path / "other", samples=-1)


def noisy_photos_in(folder: Path) -> Path:
    return noisy_photos(folder / "photos")


def test_an_atlas_without_the_section_opens(tmp_path: Path, tiny_network: Network) -> None:
    atlas = scan(tiny_network, noisy_photos_in(tmp_path), tmp_path / "atlas")
    run = {name: value for name, value in atlas.run.items() if name != "samples"}
    (atlas.path / "run.json").write_bytes(sealed(run))
    assert Atlas.open(atlas.path).samples == ()


def test_another_number_of_samples_is_another_job(tmp_path: Path, tiny_network: Network) -> None:
    pictures = noisy_photos_in(tmp_path)
    scan(tiny_network, pictures, tmp_path / "atlas", samples=3)
    with pytest.raises(AtlasError, match="samples: 3 there, 4 here"):
        scan(tiny_network, pictures, tmp_path / "atlas", samples=4)


def test_what_is_not_there_is_said(tmp_path: Path, tiny_network: Network) -> None:
    sample = scan(tiny_network, noisy_photos_in(tmp_path), tmp_path / "atlas").samples[0]
    for ask in (sample.maps, sample.scale, sample.maxima, sample.unusual):
        with pytest.raises(AddressError, match="has no layer '1'"):
            ask("1")
    assert repr(sample) == "<sample 0: 00.png>"
    sample.atlas.sample_arrays["0"]["maps0"] = np.zeros(9, np.uint8)
    with pytest.raises(AtlasError, match=f"the maps of 0 in {SAMPLES} cannot be read"):
        sample.maps("0")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moment", ["the network", "the file"])
def test_a_scan_that_ends_while_samples_are_made_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, workers: int
) -> None:
    pictures = photos(tmp_path / "photos")
    options = OPTIONS | {"batch_size": 4, "threads": 1}
    alone = scan(network(), pictures, tmp_path / "alone", **options)
    assert len(alone.samples) == 8
    original = samples.forward
    calls: list[int] = []

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    def write(path: Path, data: bytes) -> None:
        path.with_name(path.name + ".tmp").write_bytes(data[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "the network":
            patch.setattr(samples, "forward", interrupted)
        else:
            patch.setattr(samples, "shards", SimpleNamespace(write=write))
        with pytest.raises(KeyboardInterrupt):
            scan(network(), pictures, tmp_path / "atlas", workers=workers, **options)
    assert samples.shards is shards
    assert not (tmp_path / "atlas").exists()
    scan(network(), pictures, tmp_path / "atlas", **options)
    assert contents(tmp_path / "atlas") == contents(tmp_path / "alone")


def test_a_sample_that_is_gone_is_named(tmp_path: Path, tiny_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = noisy_photos_in(tmp_path)
    original = samples.batches

    def later(*args: Any) -> Any:
        (pictures / "05.png").write_bytes(b"")
        return original(*args)

    monkeypatch.setattr(samples, "batches", later)
    with pytest.raises(UnreadableImage, match=r"05\.png: changed during the scan, now"):
        scan(tiny_network, convscope.open_images(pictures), tmp_path / "atlas")


def test_pictures_of_samples_that_nobody_likes_are_kept(tmp_path: Path, lenet: Network) -> None:
    atlas = scan(lenet, "digits:test", tmp_path / "atlas", layers=["c1"], limit=200)
    liked = {entry.id for unit in atlas.units() for entry in unit.best(9)}
    assert {sample.id for sample in atlas.samples} - liked
    for sample in atlas.samples:
        expected = lenet.preprocess.display(lenet.preprocess(convscope.open_images("digits:test").read(sample.id)))
        np.testing.assert_array_equal(np.asarray(sample.picture()), np.asarray(Image.fromarray(expected)))


def test_the_command_has_the_option(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from convscope.cli import main

    words = ["scan", "digits:lenet5", "digits:test", "--limit", "20", "--samples", "3", "-o", str(tmp_path / "atlas")]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert len(Atlas.open(tmp_path / "atlas").samples) == 3
