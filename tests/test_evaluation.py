"""How good networks are: against definitions written out slowly, and the laws of METHODS 10.1."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import convscope
from convscope.cli import main
from convscope.errors import ImagesError, NetworkError
from convscope.evaluation import Calibration, Evaluation, evaluate
from convscope.evaluation.crops import ten_crops
from convscope.evaluation.intervals import mcnemar, wilson
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Picture, Preprocess
from convscope.scanner import scan

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 7


class Said(nn.Module):
    """The outputs are numbers of the image, from `start` on: what the network says is planted in the image."""

    def __init__(self, start: int = 0, classes: int = CLASSES) -> None:
        super().__init__()
        self.chosen = slice(start, start + classes)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, self.chosen]


def said(module: nn.Module, channels: int = CLASSES, **about: Any) -> Network:
    return convscope.wrap(module, preprocess=Preprocess((1, 1), channels=channels), **{"name": "said", **about})


def planted(scores: Tensor, true: Sequence[int | str | None]) -> Arrays:
    """Images that say these scores (n, channels)."""
    return Arrays(scores[:, :, None, None].numpy(), true)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, seed: int = 1, classes: int = CLASSES) -> list[int]:
    found: list[int] = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return found


def softmax(row: Sequence[float]) -> list[float]:
    largest = max(row)
    powers = [math.exp(each - largest) for each in row]
    return [each / sum(powers) for each in powers]


def slowly(probabilities: Sequence[Sequence[float]], true: Sequence[int]) -> dict[str, float]:
    """Errors and calibration by their definitions, image by image and bin by bin."""
    count = len(true)
    orders = [sorted(range(len(row)), key=lambda index: (-row[index], index)) for row in probabilities]
    right = [order[0] == one for order, one in zip(orders, true, strict=True)]
    confidence = [max(row) for row in probabilities]
    error = 0.0
    for low, high in pairwise(k / 15 for k in range(16)):
        inside = [i for i in range(count) if low < confidence[i] <= high]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            error += len(inside) / count * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return {
        "top1": sum(not each for each in right) / count,
        "top5": sum(one not in order[:5] for order, one in zip(orders, true, strict=True)) / count,
        "ece": error,
        "nll": -sum(math.log(row[one]) for row, one in zip(probabilities, true, strict=True)) / count,
    }


def found_by(result: Evaluation, row: int = 0) -> dict[str, float | None]:
    chosen = result.rows[row]
    assert chosen.top5 is not None
    calibration = chosen.calibration
    return {
        "top1": chosen.top1.error,
        "top5": chosen.top5.error,
        "ece": calibration.expected_error,
        "nll": calibration.nll,
    }


# --- one network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_errors_and_calibration_are_those_of_the_slow_definitions(batch: int) -> None:
    scores, true = 3 * noise(200, CLASSES), labels(200)
    result = evaluate(said(Said()), planted(scores, true), batch_size=batch)
    assert found_by(result) == pytest.approx(slowly([softmax(row) for row in scores.tolist()], true), rel=1e-12)
    row = result.rows[0]
    assert row.top5 is not None
    assert row.top5.error <= row.top1.error
    assert row.hits.tolist() == [max(range(CLASSES), key=each.__getitem__) == one
                                 for each, one in zip(scores.tolist(), true, strict=True)]  # fmt: skip


def test_classes_and_confusions_are_those_of_a_scan(lenet: Network, digits: Any, tmp_path: Path) -> None:
    found = evaluate(lenet, digits, limit=60).rows[0].to_json(digits.names)
    results = scan(lenet, digits, tmp_path / "atlas", limit=60, layers=["c1"]).run["results"]
    assert (found["top1_right"], found["top5_right"]) == (results["top1_right"], results["top5_right"])
    assert found["confusions"] == results["confusions"]
    by_class = {each["class"]: each for each in found["classes"]}
    assert len(by_class) == 10
    for each in results["classes"]:
        mine = by_class[each["class"]]
        assert (mine["images"], mine["top1_right"], mine["top5_right"]) == (each["images"], each["top1"], each["top5"])
        assert mine["name"] == str(each["class"])


def test_the_embedded_digits_are_known_but_for_one() -> None:
    result = evaluate(convscope.load("digits:lenet5"), "digits:test")
    assert (result.count, result.rows[0].top1.wrong) == (359, 1)
    assert result.rows[0].parameters == 61_706
    assert sum(count for true, given, count in result.rows[0].confusions if true == given) == 358


@pytest.mark.real
def test_squeezenet_has_its_known_errors(shared_data: Path) -> None:
    """../shared/data/README.md; the scan has the same, in test_real_scan.py."""
    network = convscope.load(shared_data / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")
    row = evaluate(network, shared_data / "imagenet_val227").rows[0]
    assert row.top5 is not None
    assert (row.top1.wrong, row.top5.wrong, row.top1.images) == (300 - 216, 300 - 271, 300)
    low, high = row.top1.interval
    assert low < 1 - 0.72 < high


def test_five_classes_have_no_top_5_error() -> None:
    scores, true = noise(20, CLASSES), labels(20, classes=5)
    for classes, some in [(5, False), (6, True)]:
        row = evaluate(said(Said(classes=classes)), planted(scores, true)).rows[0]
        assert (row.top5 is not None) == some
        written = row.to_json([])
        assert (written["top5_error"] is not None) == (written["classes"][0]["top5_error"] is not None) == some


def test_a_network_that_ends_in_a_softmax_does_not_get_another() -> None:
    images = planted(noise(50, CLASSES), labels(50))
    raw = found_by(evaluate(said(Said()), images))
    assert found_by(evaluate(said(nn.Sequential(Said(), nn.Softmax(1))), images)) == pytest.approx(raw, rel=1e-5)
    assert found_by(evaluate(said(nn.Sequential(Said(), nn.LogSoftmax(1))), images)) == pytest.approx(raw, rel=1e-5)


def test_probabilities_too_small_for_a_number_keep_their_order() -> None:
    """As in a scan, which goes by the outputs themselves: exp(-2000) is 0 in every format."""
    scores = torch.tensor([[-3000.0, -2000, -2500, 0, -2900, -2100, -2200]])
    result = evaluate(said(Said()), planted(scores, [2]))
    assert found_by(result)["nll"] == 2500
    assert found_by(result)["top5"] == 0
    result = evaluate(said(Said()), planted(scores, [0]))
    assert found_by(result)["top5"] == 1


def test_no_probability_at_all_is_an_infinite_surprise_and_no_json() -> None:
    class Masked(Said):
        def forward(self, images: Tensor) -> Tensor:
            outputs = super().forward(images).clone()
            outputs[:, 2] = -math.inf
            return outputs

    calibration = evaluate(said(Masked()), planted(noise(1, CLASSES), [2])).rows[0].calibration
    assert calibration.nll == math.inf
    assert calibration.to_json()["nll"] is None


def test_calibration_by_hand() -> None:
    """Four images at confidence 0.6 of which two are right, one at 1 that is: 4/5 · |0.5 - 0.6| is 0.08."""
    found = Calibration()
    found.add(torch.tensor([[0.6, 0.4]] * 4, dtype=torch.float64).log(), torch.tensor([0, 0, 1, 1]))
    found.add(torch.tensor([[1.0, 0.0]], dtype=torch.float64).log(), torch.tensor([0]))
    assert found.expected_error == pytest.approx(0.08)
    assert found.nll == pytest.approx(-(2 * math.log(0.6) + 2 * math.log(0.4)) / 5)
    assert [(each["images"], each["right"]) for each in found.to_json()["bins"]] == [(4, 2), (1, 1)]
    assert found.to_json()["bins"][-1]["high"] == 1


# --- what chance can do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (1, 359), (84, 300), (3, 3), (216, 300)])
def test_the_interval_has_the_ends_of_wilson(hits: int, count: int) -> None:
    """The shares p at which the normal test of p against hits / count is at 1.96."""
    for end, p in zip(("low", "high"), wilson(hits, count), strict=True):
        if (hits, end) in {(0, "low"), (count, "high")}:
            assert p == pytest.approx(hits / count, abs=1e-12)
        else:
            assert abs(hits / count - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / count), rel=1e-5)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 6), (10, 2), (3, 4), (20, 20), (25, 41)])
def test_mcnemars_test_is_a_sum_of_binomials(first: int, second: int) -> None:
    count, fewer = first + second, min(first, second)
    tail = sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(min(1, 2 * tail))


def test_networks_are_compared_on_the_same_images() -> None:
    """The first network has 0 to 29 right, the second 10 to 49, the third what the first has."""
    true = labels(50)
    scores = torch.zeros(50, 3 * CLASSES)
    for start, right in [(0, range(30)), (CLASSES, range(10, 50)), (2 * CLASSES, range(30))]:
        for i, one in enumerate(true):
            scores[i, start + (one if i in right else (one + 1) % CLASSES)] = 5
    networks = [said(Said(k * CLASSES), 3 * CLASSES, name=name) for k, name in enumerate("abc")]
    result = evaluate(networks, planted(scores, true))
    pairs = [(each.first, each.second, each.only_first, each.only_second) for each in result.comparisons]
    assert pairs == [("a", "b", 10, 20), ("a", "c", 0, 0)]
    tail = sum(math.comb(30, k) for k in range(11)) / 2**30
    assert [each.p for each in result.comparisons] == pytest.approx([2 * tail, 1])


# --- ten crops -------------------------------------------------------------------------------------------------------


class Weighed(nn.Module):
    """A linear network, with random weights that are always the same; it sees where things are."""

    def __init__(self, side: int, seed: int = 0) -> None:
        super().__init__()
        self.head = nn.Linear(3 * side * side, CLASSES)
        with torch.no_grad():
            self.head.weight[:] = noise(CLASSES, 3 * side * side, seed=seed)
            self.head.bias[:] = 0

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def weighed(side: int, resize: Any, seed: int = 0, **about: Any) -> Network:
    preprocess = Preprocess((side, side), mean=(0.5,), std=(0.25,), resize=resize)
    return convscope.wrap(Weighed(side, seed), preprocess=preprocess, **{"name": "weighed", **about})


def pictures(count: int, height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 3, height, width), np.float32)


def by_hand(picture: NDArray[np.float32], whole: int, crop: int) -> list[NDArray[np.float32]]:
    """METHODS 10.1 of a picture of (whole, whole)."""
    crops = []
    for row in (0, whole - crop):
        for column in (0, whole - crop):
            crops.append(picture[:, row : row + crop, column : column + crop])  # noqa: PERF401 — as it is written
    middle = math.floor((whole - crop) / 2)
    crops.append(picture[:, middle : middle + crop, middle : middle + crop])
    return crops + [crop[:, :, ::-1] for crop in crops]


@pytest.mark.parametrize(("whole", "crop", "resize"), [(16, 12, 16), (16, 11, (16, 16)), (32, 28, None), (16, 16, 16)])
def test_ten_crops_are_in_the_order_of_the_papers(whole: int, crop: int, resize: Any) -> None:
    """Of pictures that need not be resized; without a length on the card it is 256/224 of the crop."""
    picture = pictures(1, whole, whole)[0]
    crops, remark = ten_crops(weighed(crop, resize))
    assert crops.count == 10
    expected = (np.stack(by_hand(picture, whole, crop)) - 0.5) / 0.25
    np.testing.assert_allclose(crops(picture), expected, atol=1e-6)
    assert (remark is not None and "a shorter side of 32 px, 256/224" in remark) == (resize is None)


def test_ten_crops_lie_in_the_square_in_the_middle() -> None:
    crops, _ = ten_crops(weighed(12, 16))
    for shape, inside in [((16, 24), np.s_[:, :, 4:20]), ((22, 16), np.s_[:, 3:19, :])]:
        picture = pictures(1, *shape)[0]
        np.testing.assert_array_equal(crops(picture), crops(np.ascontiguousarray(picture[inside])))
    tall = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 32, 3), np.uint8))
    middle = tall.resize((16, 32), Image.Resampling.BILINEAR).crop((0, 8, 16, 24))  # the shorter side is 16 px
    np.testing.assert_array_equal(crops(tall), crops(middle))


def test_what_is_smaller_than_a_crop_has_black_around_it() -> None:
    crops, _ = ten_crops(weighed(12, 8))
    assert crops(pictures(1, 8, 8)[0]).shape == (10, 3, 12, 12)
    assert float(crops(pictures(1, 8, 8)[0])[4, 0, 0, 0]) == (0 - 0.5) / 0.25


@pytest.mark.parametrize("batch", [1, 32, 100])
def test_the_probabilities_of_ten_crops_are_averaged(batch: int) -> None:
    images, true = pictures(9, 16, 16), labels(9)
    network = weighed(12, 16)
    expected = []
    for picture in images:
        inputs = torch.from_numpy((np.stack(by_hand(picture, 16, 12)) - 0.5) / 0.25)
        with torch.no_grad():
            rows = [softmax(row) for row in network.module(inputs).tolist()]
        expected.append([sum(each) / 10 for each in zip(*rows, strict=True)])
    result = evaluate(network, Arrays(images, true), crops="ten", batch_size=batch)
    assert found_by(result) == pytest.approx(slowly(expected, true), rel=1e-5)
    assert result.rows[0].crops == 10


def test_pictures_in_a_mirror_give_the_same() -> None:
    """Where the room is even, so that there is a middle."""
    images, true, network = pictures(9, 16, 16), labels(9), weighed(12, 16)
    here, there = (evaluate(network, Arrays(each, true), crops="ten") for each in (images, images[..., ::-1].copy()))
    assert found_by(there) == pytest.approx(found_by(here), rel=1e-6)
    once, mirrored = (evaluate(network, Arrays(each, true)) for each in (images, images[..., ::-1].copy()))
    assert found_by(once)["nll"] != pytest.approx(found_by(mirrored)["nll"], rel=1e-3)


def test_of_a_constant_network_ten_crops_are_one() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (torch.arange(CLASSES) / 3).expand(len(images), -1) + 0 * images.sum()

    network = convscope.wrap(Constant(), preprocess=Preprocess((12, 12), resize=16))
    images = Arrays(pictures(9, 16, 16), labels(9))
    one, ten = (found_by(evaluate(network, images, crops=crops)) for crops in ("one", "ten"))
    assert ten == pytest.approx(one, rel=1e-14)


def test_a_forward_pass_has_no_more_inputs_than_it_may() -> None:
    sizes: list[int] = []

    class Watched(Weighed):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return super().forward(images)

    network = convscope.wrap(Watched(12), preprocess=Preprocess((12, 12), resize=16))
    evaluate(network, Arrays(pictures(7, 16, 16), labels(7)), crops="ten", batch_size=32)
    assert sizes == [1, 30, 30, 10]  # the first is of the recording


def test_crops_that_are_resized_afterwards_are_refused() -> None:
    network = convscope.wrap(Weighed(12), preprocess=Preprocess((12, 12), resize=20, crop=(14, 14)), name="cut")
    with pytest.raises(NetworkError, match=r"cut: its card cuts 14 × 14 px and resizes that to 12 × 12 px.*one crop"):
        evaluate(network, Arrays(pictures(2, 16, 16), [0, 1]), crops="ten")


# --- ensembles -------------------------------------------------------------------------------------------------------


def test_an_ensemble_of_identical_networks_is_the_single_one() -> None:
    images = Arrays(pictures(30, 16, 16), labels(30))
    result = evaluate([weighed(16, None)] * 3, images, ensemble=True)
    assert len(result.rows) == 4
    assert found_by(result, 3) == pytest.approx(found_by(result), rel=1e-14)
    assert result.rows[3].confusions == result.rows[0].confusions
    assert result.rows[3].parameters == 3 * result.rows[0].parameters
    assert result.rows[3].members == ("weighed",) * 3


def test_an_ensemble_averages_probabilities() -> None:
    scores, true = 2 * noise(60, 2 * CLASSES), labels(60)
    networks = [said(Said(start), 2 * CLASSES) for start in (0, CLASSES)]
    rows = [(softmax(row[:CLASSES]), softmax(row[CLASSES:])) for row in scores.tolist()]
    expected = [[(p + q) / 2 for p, q in zip(one, other, strict=True)] for one, other in rows]
    result = evaluate(networks, planted(scores, true), ensemble=True)
    assert found_by(result, 2) == pytest.approx(slowly(expected, true), rel=1e-12)


def test_classes_in_another_order_are_put_into_the_same() -> None:
    order = [3, 0, 6, 1, 2, 5, 4]
    names = [f"class {k}" for k in range(CLASSES)]

    class Permuted(Said):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, order]

    networks = [said(Said(), classes=names), said(Permuted(), classes=[names[k] for k in order], name="other")]
    result = evaluate(networks, planted(noise(60, CLASSES), [names[k] for k in labels(60)]), ensemble=True)
    assert found_by(result, 1) == pytest.approx(found_by(result, 0), rel=1e-12)
    assert found_by(result, 2) == pytest.approx(found_by(result, 0), rel=1e-12)
    assert result.rows[2].confusions == result.rows[0].confusions != result.rows[1].confusions


NAMES = list("abcdefg")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"classes": [*"abcdefz"]}, "first and other have different classes, such as 'g', which only first has"),
        ({"classes": None}, "other has no names of its classes, and outputs that may be in another order"),
        ({"classes": [*"abcdeff"]}, "other has several classes of one name"),
        ({"module": Said(classes=6), "classes": [*"abcdef"]}, "first has 7 classes and other 6; an ensemble"),
    ],
)
def test_networks_that_cannot_be_averaged(other: dict[str, Any], message: str) -> None:
    networks = [said(Said(), classes=NAMES, name="first"), said(**{"module": Said(), "name": "other", **other})]
    images = planted(noise(2, CLASSES), [0, 1])
    assert len(evaluate(networks, images).rows) == 2
    with pytest.raises(NetworkError, match=message):
        evaluate(networks, images, ensemble=True)


# --- one pass for all ------------------------------------------------------------------------------------------------


def test_every_image_is_read_once_for_all_networks_and_crops() -> None:
    read: list[int] = []

    class Counted(Arrays):
        def read(self, index: int) -> Picture:
            read.append(index)
            return super().read(index)

    networks = [weighed(16, 20), weighed(12, 14), weighed(12, 14, seed=1)]
    images, true = pictures(9, 24, 24), labels(9)
    together = evaluate(networks, Counted(images, true), crops="ten", batch_size=20)
    assert sorted(read) == list(range(9))
    for i, network in enumerate(networks):
        alone = evaluate(network, Arrays(images, true), crops="ten", batch_size=20)
        assert found_by(together, i) == found_by(alone)
    assert len({found_by(together, i)["nll"] for i in range(3)}) == 3


def test_networks_stay_as_they_were_and_do_not_disturb_each_other() -> None:
    class Greedy(Said):
        def forward(self, images: Tensor) -> Tensor:
            images.zero_()
            return super().forward(images)

    images = planted(noise(20, CLASSES), labels(20))
    networks = [said(Greedy().train()), said(Said())]
    assert found_by(evaluate(networks, images), 1) == found_by(evaluate(networks[1], images))
    assert networks[0].module.training


def test_some_of_the_images_are_evenly_spaced() -> None:
    scores, true = noise(20, CLASSES), labels(20)
    some = evaluate(said(Said()), planted(scores, true), limit=5)
    chosen = [0, 4, 8, 12, 16]
    assert some.count == 5
    assert found_by(some) == found_by(evaluate(said(Said()), planted(scores[chosen], [true[i] for i in chosen])))


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_left_out_and_listed() -> None:
    scores, true = noise(9, CLASSES), labels(9)
    broken = scores.clone()
    broken[4, 0] = math.nan  # not a number in the image
    result = evaluate(said(Said()), planted(broken, true), batch_size=4)
    assert [(each["id"], each["name"]) for each in result.skipped] == [(4, "4")]
    assert "not finite" in result.skipped[0]["reason"]
    rest = [i for i in range(9) if i != 4]
    assert result.count == 8
    alone = evaluate(said(Said()), planted(scores[rest], [true[i] for i in rest]))
    assert found_by(result) == pytest.approx(found_by(alone))
    with pytest.raises(ImagesError, match=r"arrays: none of 2 images could be read \(0: .*not finite"):
        evaluate(said(Said()), planted(torch.full((2, CLASSES), math.nan), [0, 1]))


def test_outputs_that_are_no_numbers_are_named_and_count_as_wrong() -> None:
    class Broken(Said):
        def forward(self, images: Tensor) -> Tensor:
            outputs = super().forward(images).clone()
            outputs[outputs[:, 0] > 90, 3] = math.nan
            outputs[outputs[:, 0] < -90, 3] = math.inf
            return outputs

    scores = noise(20, CLASSES)
    true = scores.argmax(1).tolist()
    scores[7, 0], scores[12, 0], true[7] = 99, -99, 0
    result = evaluate([said(Broken(), name="broken"), said(Said())], planted(scores, true))
    row = result.rows[0]
    assert row.broken == [7, 12]
    assert row.to_json(result.images.names)["not_finite"] == ["07", "12"]
    assert [i for i, hit in enumerate(row.hits) if not hit] == [7, 12]
    assert sum(count for _, given, count in row.confusions if given == -1) == 2
    rest = [i for i in range(20) if i not in (7, 12)]
    alone = evaluate(said(Said()), planted(scores[rest], [true[i] for i in rest]))
    assert row.calibration.nll == pytest.approx(alone.rows[0].calibration.nll)
    assert (result.comparisons[0].only_first, result.comparisons[0].only_second) == (0, 2)


def test_images_without_labels_and_labels_that_are_no_class() -> None:
    scores = noise(3, CLASSES)
    network = said(Said(), classes=["cat", "dog", "owl", "cow", "hen", "pig", "bee"])
    with pytest.raises(ImagesError, match="arrays: 1 of 3 images have no label, such as 1; give them"):
        evaluate(network, planted(scores, ["cat", None, "dog"]))
    with pytest.raises(ImagesError, match=r"arrays: 2 of 3 labels are no class.*such as 'cats'; did you mean 'cat'"):
        evaluate(network, planted(scores, ["cat", "cats", "horse"]))
    with pytest.raises(ImagesError, match=r"labels are no class.*such as 7; said has 7 without names"):
        evaluate(said(Said()), planted(scores, [0, 6, 7]))


class Map(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


class Picky(Said):
    def forward(self, images: Tensor) -> Tensor:
        if (images[:, 0] > 90).any():
            raise ValueError("that is too much")
        return super().forward(images)


def test_networks_that_cannot_be_judged() -> None:
    images = planted(noise(4, CLASSES), labels(4))
    with pytest.raises(NetworkError, match=r"said: .* are 'sigmoid', several classes can be true at once"):
        evaluate(said(Said(), output="sigmoid"), images)
    with pytest.raises(NetworkError, match=r"said: .* are 'real', values and no classes"):
        evaluate(said(Said(), output="real"), images)
    with pytest.raises(NetworkError, match=r"map: its first output has shape \(1, 7, 1, 1\)"):
        evaluate(said(Map(), name="map"), images)
    with pytest.raises(NetworkError, match=r"the network failed on images 2 to 3: that is too much"):
        evaluate(said(Picky()), planted(torch.full((4, CLASSES), 99.0).index_fill(0, torch.tensor([0, 1]), 1), [0] * 4),
                 batch_size=2)  # fmt: skip


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"batch_size": 0}, {"crops": "five"}, {"ensemble": True}])
def test_arguments_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|must be at least 1"):
        evaluate(said(Said()), planted(noise(2, CLASSES), [0, 1]), **wrong)


# --- the command -----------------------------------------------------------------------------------------------------


def run(*words: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_prints_a_table() -> None:
    said_ = run("evaluate", "digits:lenet5", "digits:test")
    lines = said_.stdout.splitlines()
    assert lines[0].startswith("digits:test: 359 images")
    assert lines[1].split() == ["network", "crops", "parameters", "top-1", "error", "top-5", "error", "ECE", "NLL"]
    low, high = (100 * p for p in wilson(1, 359))
    assert lines[2].split()[:5] == ["digits:lenet5", "1", "61,706", "0.3", "%"]
    assert f"({low:.1f}–{high:.1f})" in lines[2]
    assert [line.split()[0] for line in lines[6:16]] == [str(k) for k in range(10)]
    assert sum(int(line.split()[1]) for line in lines[6:16]) == 359
    assert "evaluating: 359 of 359" in said_.stderr


def test_the_command_prints_json_and_draws(tmp_path: Path) -> None:
    words = ["evaluate", "digits:lenet5", "digits:lenet5", "digits:test", "--limit", 40, "--ten-crop", "--ensemble"]
    found = json.loads(run(*words, "--json", "--figure", tmp_path / "figure.svg").stdout)
    assert (found["images"], found["skipped"], found["source"]) == (40, 0, "digits:test")
    assert [each["name"] for each in found["networks"]] == ["digits:lenet5", "digits:lenet5", "ensemble of 2"]
    assert [each["crops"] for each in found["networks"]] == [10, 10, 10]
    assert any("256/224" in remark for remark in found["networks"][0]["remarks"])
    assert [each["p"] for each in found["comparisons"]] == [1, 1]
    first = found["networks"][0]
    assert first["top1_right"] == sum(n for true, given, n in first["confusions"] if true == given)
    assert sum(each["images"] for each in first["calibration"]["bins"]) == 40
    assert {"seconds", "images_per_second"} <= found.keys()
    text = (tmp_path / "figure.svg").read_text()
    for part in ("digits:lenet5 on digits:test", "confidence", "accuracy", f"{first['top1_right']} of 40 images"):
        assert part in text


def checkpoint(path: Path, module: nn.Module, card: dict[str, Any]) -> Path:
    save_file(module.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_every_checkpoint_has_its_architecture_or_all_have_one(tmp_path: Path) -> None:
    import running

    names = ["cat", "dog"]
    card = {"size": [8, 8], "classes": names}
    (tmp_path / "b").mkdir()
    one, two = (checkpoint(tmp_path / name, running.Tiny(), card) for name in ("a.safetensors", "b/a.safetensors"))
    seven = checkpoint(tmp_path / "w.safetensors", Weighed(8), {"size": [8, 8]})
    np.savez(tmp_path / "images.npz", images=pictures(6, 8, 8), labels=np.array([0, 1] * 3))
    images = tmp_path / "images.npz"

    def names_of(*words: Any) -> list[str]:
        return [each["name"] for each in json.loads(run("evaluate", *words, "--json").stdout)["networks"]]

    assert names_of(one, two, images, "--arch", "running:tiny") == [str(one), str(two)]  # both are called a
    assert names_of(one, seven, images, "--arch", "running:tiny", "--arch", "test_evaluation:seven") == ["a", "w"]
    digits = ["running:tiny", one, images, "--arch", "running:tiny", "--preprocess", one.with_suffix(".json")]
    assert names_of(*digits) == ["running:tiny", "a"]
    wrong = run("evaluate", one, two, seven, images, "--arch", "running:tiny", "--arch", "running:tiny", code=2)
    assert "--arch is given 2 times for 3 checkpoints; give it once for all, or once for each" in wrong.stderr
    assert "1 times for 0" in run("evaluate", "digits:lenet5", "digits:test", "--arch", "lenet5", code=2).stderr


def seven() -> nn.Module:
    return Weighed(8)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    assert "more than one MODEL" in run("evaluate", "digits:lenet5", "digits:test", "--ensemble", code=2).stderr
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert "1 of 1 images have no label, such as a.png" in run("evaluate", "digits:lenet5", tmp_path, code=1).stderr
    for name in "01":
        (tmp_path / name).mkdir()
    (tmp_path / "a.png").rename(tmp_path / "1" / "a.png")
    (tmp_path / "0" / "b.png").write_bytes(b"no picture")
    done = run("evaluate", "digits:lenet5", tmp_path)
    assert "skipped 0/b.png" in done.stderr
    assert "1 images" in done.stdout


def test_few_classes_have_no_top_5_error_in_the_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=pictures(6, 8, 8), labels=np.array([0, 1] * 3))
    (tmp_path / "card.json").write_text(json.dumps({"size": [8, 8], "classes": ["[red]cat", "dog"]}))
    shown = run("evaluate", "running:tiny", tmp_path / "images.npz", "--preprocess", tmp_path / "card.json").stdout
    assert shown.splitlines()[2].split()[-3] == "–"
    assert "No top-5 error with five classes or fewer" in shown
    assert "[red]cat" in shown
