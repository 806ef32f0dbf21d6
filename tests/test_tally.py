"""What a scan counts of predictions: against scikit-learn and plain loops, and the laws of merging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

import convscope
from convscope.cli import main
from convscope.images import Arrays
from convscope.preprocess import Preprocess
from convscope.scanner import merge, scan, scan_part
from convscope.scanner.tally import Tally, predicted, rank
from running import OPTIONS, contents, network
from slow_scan import noisy_photos

CLASSES = 7


def scores(count: int, seed: int = 0) -> Tensor:
    """Whole numbers, so that ties are frequent."""
    return torch.randint(-3, 4, (count, CLASSES), generator=torch.Generator().manual_seed(seed)).float()


def labels(count: int, seed: int = 1, unknown: bool = True) -> Tensor:
    """Classes 0 to 4, and -1; the classes 5 and 6 are predicted and never true."""
    low = -1 if unknown else 0
    return torch.randint(low, CLASSES - 2, (count,), generator=torch.Generator().manual_seed(seed))


def tally(given: Tensor, true: Tensor, start: int = 0, batch: int = 1000) -> Tally:
    """The images, which have the ids `start`, `start` + 1, ..., in batches."""
    found = Tally()
    for i in range(0, len(true), batch):
        ids = torch.arange(start + i, start + min(i + batch, len(true)))
        found.count(given[i : i + batch], [bytes([int(image) % 256]) for image in ids], true[i : i + batch], ids)
    return found


def plainly(given: Tensor, true: Tensor) -> dict[str, Any]:
    """The definition, image by image: classes in falling order of score, of equal scores the lower class first."""
    classes: dict[int, list[int]] = {}
    confusions: dict[tuple[int, int], int] = {}
    for row, right in zip(given.tolist(), true.tolist(), strict=True):
        if right < 0:
            continue
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        counts = classes.setdefault(right, [0, 0, 0])
        for place, hit in enumerate((True, order[0] == right, right in order[:5])):
            counts[place] += hit
        confusions[right, order[0]] = confusions.get((right, order[0]), 0) + 1
    names = ("class", "images", "top1", "top5")
    return {
        "classes": [dict(zip(names, (index, *classes[index]), strict=True)) for index in sorted(classes)],
        "confusions": [[*pair, confusions[pair]] for pair in sorted(confusions)],
    }


def told(found: Tally) -> dict[str, Any]:
    return {name: found.results()[name] for name in ("classes", "confusions")}


def test_confusions_are_those_of_scikit_learn() -> None:
    given, true = torch.randn(500, CLASSES, generator=torch.Generator().manual_seed(0)), labels(500, unknown=False)
    results = tally(given, true).results()
    matrix = np.zeros((CLASSES, CLASSES), int)
    for one, other, count in results["confusions"]:
        matrix[one, other] = count
    expected = confusion_matrix(true, given.argmax(1), labels=range(CLASSES))
    np.testing.assert_array_equal(matrix, expected)
    assert expected[:, 5:].sum() > 0  # predicted, and never true
    assert [each["class"] for each in results["classes"]] == [0, 1, 2, 3, 4]
    assert [each["images"] for each in results["classes"]] == expected.sum(1)[:5].tolist()
    assert [each["top1"] for each in results["classes"]] == expected.diagonal()[:5].tolist()


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_ties_and_unknown_labels_are_those_of_a_plain_loop(batch: int) -> None:
    given, true = scores(300), labels(300)
    found = tally(given, true, batch=batch)
    assert told(found) == plainly(given, true)
    results = found.results()
    assert sum(each["images"] for each in results["classes"]) == results["labelled"] == int((true >= 0).sum())
    for name in ("top1", "top5"):
        assert sum(each[name] for each in results["classes"]) == results[f"{name}_right"]
    wrong = [i for i in range(300) if true[i] >= 0 and rank(given[i : i + 1], true[i : i + 1]) > 0]
    assert found.wrong == wrong[0]


def test_of_equal_scores_the_lowest_class_is_predicted_and_nan_predicts_nothing() -> None:
    nan, infinity = float("nan"), float("inf")
    given = torch.tensor(
        [[1, 3, 3], [2, 2, 2], [nan, 1, 0], [0, 1, nan], [nan, nan, nan], [-infinity] * 3, [1, infinity, infinity]]
    )
    assert predicted(given).tolist() == [1, 0, -1, -1, -1, 0, 1]
    given = torch.cat([given, torch.full((7, 4), -infinity)], 1)  # among five classes the true one is always near
    for true in range(7):
        right = rank(given, torch.full((7,), true)) == 0
        assert (right == (predicted(given) == true)).all()
    found = tally(given, torch.tensor([2, 0, 1, 1, 0, 0, 1]))
    assert found.results()["confusions"] == [[0, -1, 1], [0, 0, 2], [1, -1, 2], [1, 1, 1], [2, 1, 1]]
    assert found.results()["classes"] == [
        {"class": 0, "images": 3, "top1": 2, "top5": 2},
        {"class": 1, "images": 3, "top1": 1, "top5": 3},
        {"class": 2, "images": 1, "top1": 0, "top5": 1},
    ]
    assert found.wrong == 0


def test_merging_is_associative_has_an_identity_and_survives_json() -> None:
    given, true = scores(90), labels(90)
    cuts = ((0, 20), (20, 50), (50, 90))
    one, two, three = (tally(given[i:j], true[i:j], start=i) for i, j in cuts)
    left, right = one.merge(two).merge(three), one.merge(two.merge(three))
    for name in ("read", "labelled", "top1", "top5", "confusions", "near", "wrong"):
        assert getattr(left, name) == getattr(right, name) == getattr(tally(given, true), name)
        assert getattr(Tally().merge(one), name) == getattr(one.merge(Tally()), name) == getattr(one, name)
    assert told(left) == plainly(given, true)
    again = [Tally.from_json(json.loads(json.dumps(each.to_json(), sort_keys=True))) for each in (one, two, three)]
    assert again == [one, two, three]
    merged = again[0].merge(again[1]).merge(again[2])
    assert merged == left
    assert again == [one, two, three]  # merging changes neither


def test_without_labels_there_are_no_classes() -> None:
    found = tally(scores(5), torch.full((5,), -1))
    assert told(found) == {"classes": [], "confusions": []}
    assert found.wrong is None


@pytest.mark.usefixtures("one_thread")
def test_workers_and_parts_give_the_same_bytes(tmp_path: Path) -> None:
    pictures = noisy_photos(tmp_path / "photos")
    for i, path in enumerate(sorted(pictures.iterdir())):
        (pictures / "ab"[i % 3 // 2]).mkdir(exist_ok=True)
        path.rename(pictures / "ab"[i % 3 // 2] / path.name)
    alone = scan(network(), pictures, tmp_path / "alone", **OPTIONS)
    assert [(each["class"], each["images"]) for each in alone.run["results"]["classes"]] == [(0, 27), (1, 13)]
    assert sum(count for _, _, count in alone.run["results"]["confusions"]) == 40
    scan(network(), pictures, tmp_path / "workers", workers=2, **OPTIONS)
    parts = [scan_part(network(), pictures, tmp_path / "atlas", part, 3, **OPTIONS) for part in (1, 2, 3)]
    merge(parts, tmp_path / "parts")
    assert contents(tmp_path / "workers") == contents(tmp_path / "parts") == contents(tmp_path / "alone")


class _Echo(nn.Module):
    """The score of a class is the pixel at its place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)[:, 0, 0]


def test_an_atlas_tells_them_and_the_command_does_not(tmp_path: Path) -> None:
    pixels = (scores(50)[:, :3] / 6 + 0.5).reshape(50, 1, 1, 3).numpy()  # from 0 to 1
    true = labels(50).clamp(max=2)
    echo = convscope.wrap(_Echo(), preprocess=Preprocess(size=(1, 3), channels=1), classes=["a", "b", "c"])
    results = scan(echo, Arrays(pixels, true.tolist()), tmp_path / "atlas", batch_size=2).run["results"]
    expected = plainly(torch.from_numpy(pixels).reshape(50, 3), true)
    assert {name: results[name] for name in expected} == expected
    words = ["scan", "digits:lenet5", "digits:test", "--limit", "20", "-o", str(tmp_path / "digits"), "--json"]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0
    assert {"classes", "confusions"}.isdisjoint(json.loads(said.stdout))
    assert len(convscope.Atlas.open(tmp_path / "digits").run["results"]["classes"]) == 10
