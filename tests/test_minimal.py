"""Minimal images: superpixels by a slow definition, removal by least squares, and planted evidence that must stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from convscope import Network
from convscope.cli import main
from convscope.errors import AttributionError, TargetError
from convscope.studies.minimal import minimal, without
from convscope.studies.superpixels import superpixels
from explaining import classifier, images_of, network_of, state
from odd_nets import conv

pytestmark = pytest.mark.usefixtures("one_thread")
QUARTERS = np.arange(4).reshape(2, 2).repeat(12, 0).repeat(12, 1)  # regions of 12 × 12 px


# --- superpixels -----------------------------------------------------------------------------------------------------


def slow_superpixels(picture: NDArray[np.uint8], scale: float, least: int) -> set[frozenset[tuple[int, int]]]:
    """Felzenszwalb and Huttenlocher's rule, with sets of pixels."""
    smooth = gaussian_filter(picture.astype(float), (0.8, 0.8, 0))
    height, width = picture.shape[:2]
    edges = []
    for kind, (dy, dx) in enumerate([(0, 1), (1, 0), (1, 1), (1, -1)]):
        for y in range(height):
            for x in range(width):
                if y + dy < height and 0 <= x + dx < width:
                    one, other = (y, x), (y + dy, x + dx)
                    edges.append((float(np.linalg.norm(smooth[one] - smooth[other])), kind, y, x, one, other))
    part: dict[tuple[int, int], set[tuple[int, int]]] = {(y, x): {(y, x)} for y in range(height) for x in range(width)}
    inner: dict[int, float] = {}
    for small in (False, True):
        for weight, *_, one, other in sorted(edges):
            a, b = part[one], part[other]
            if a is b:
                continue
            bound = min(inner.get(id(each), 0) + scale / len(each) for each in (a, b))
            if min(len(a), len(b)) < least if small else weight <= bound:
                joined = a | b
                inner[id(joined)] = weight
                part.update(dict.fromkeys(joined, joined))
    return {frozenset(each) for each in part.values()}


def test_superpixels_are_those_of_the_slow_definition() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (14, 11, 3), np.uint8)
    picture[4:10, 3:9] //= 8
    found = superpixels(picture, 6)
    partition = {frozenset(map(tuple, np.argwhere(found == k).tolist())) for k in range(int(found.max()) + 1)}
    least = 14 * 11 // (6 * 8)
    scale = 50.0
    while len(truth := slow_superpixels(picture, scale, least)) > 6:
        scale *= 2
    assert partition == truth
    firsts = [np.flatnonzero(found == k)[0] for k in range(len(partition))]
    assert firsts == sorted(firsts)


def test_flat_patches_are_regions() -> None:
    picture = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)[QUARTERS]
    found = superpixels(picture, 12)
    cores = [found[y : y + 8, x : x + 8] for y in (2, 14) for x in (2, 14)]  # borders are smoothed
    assert all((core == core[0, 0]).all() for core in cores)
    assert len({int(core[0, 0]) for core in cores}) == 4
    assert (superpixels(np.zeros((9, 9, 3), np.uint8)) == 0).all()


# --- removal ---------------------------------------------------------------------------------------------------------


def test_removal_in_the_gradient_domain_is_a_least_squares_problem() -> None:
    image = images_of(1, 2, 5, 6)[0]
    mask = np.random.default_rng(3).uniform(size=(5, 6)) < 0.6
    rows, wanted = [], []
    for y in range(5):
        for x in range(6):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < 5 and other[1] < 6:
                    row = np.zeros((5, 6))
                    row[other], row[y, x] = 1, -1
                    rows.append(row.ravel())
                    both = mask[y, x] and mask[other]
                    wanted.append((image[:, other[0], other[1]] - image[:, y, x]).numpy() * both)
    truth = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0].T.reshape(2, 5, 6)
    truth += (image.numpy()[:, mask].mean(1) - truth[:, mask].mean(1))[:, None, None]
    np.testing.assert_allclose(without(image, mask).numpy(), truth, atol=1e-9)


@pytest.mark.parametrize("removal", ["gradient", "fill"])
def test_all_is_the_image_and_nothing_is_the_mean_colour(removal: Any) -> None:
    image = images_of(1, 3, 24, 24)[0]
    assert torch.equal(without(image, np.ones((24, 24), np.bool_), removal), image)
    assert not without(image, np.zeros((24, 24), np.bool_), removal).any()


def test_what_is_filled_fades_at_the_border() -> None:
    image, mask = torch.ones(1, 24, 24), QUARTERS == 3
    left = without(image, mask, "fill")[0].numpy()
    assert not left[~mask].any()
    assert left[20, 12:18].tolist() == [0.25, 0.5, 0.75, 1, 1, 1]


# --- what stays ------------------------------------------------------------------------------------------------------


def linear(parts: list[float], threshold: float, output: str = "softmax") -> Network:
    """Class 0 scores the mean of each quarter's middle, times a part, less a threshold; class 1 always scores 0."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 2))
    weights = np.zeros((24, 24))
    for k, part in enumerate(parts):
        y, x = divmod(k, 2)
        weights[12 * y + 4 : 12 * y + 8, 12 * x + 4 : 12 * x + 8] = part / 16
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.from_numpy(weights).flatten(), torch.zeros(576)]))
        module[1].bias.copy_(torch.tensor([-threshold, 0.0]))
    return network_of(module, (1, 24, 24), output=output)


ONES = torch.ones(1, 1, 24, 24)


def test_of_a_linear_scorer_the_smallest_contributions_go_first() -> None:
    found = minimal(linear([3, -1, 2, 0.5], 2.5), ONES, regions=QUARTERS, removal="fill")
    assert found.removed == (1, 3, 2)  # of 3 + 2 + 0.5 - 1; 3 alone is above 2.5
    assert np.array_equal(found.mask, QUARTERS == 0)
    assert found.area == 0.25
    logits = [4.5, 5.5, 5, 3]
    truth = [1 / (1 + np.exp(-(each - 2.5))) for each in logits]
    assert found.probabilities == pytest.approx(truth, rel=1e-5)
    assert minimal(linear([3, -1, 2, 0.5], 3.5), ONES, regions=QUARTERS, removal="fill").removed == (1, 3)


def slow_minimal(network: Network, image: Tensor, regions: NDArray[Any], removal: Any) -> list[int]:
    """Try everything anew, one image at a time."""

    def run(kept: set[int]) -> Tensor:
        mask = np.isin(regions, list(kept))
        return network.module(without(image, mask, removal)[None])[0].detach().double().log_softmax(0)

    kept, removed = set(np.unique(regions).tolist()), []
    target = int(run(kept).argmax())
    while kept:
        scores = {each: float(run(kept - {each})[target]) for each in sorted(kept)}
        best = max(scores, key=lambda each: (scores[each], -each))
        if int(run(kept - {best}).argmax()) != target:
            return removed
        kept -= {best}
        removed.append(best)
    return removed


@pytest.mark.parametrize("removal", ["gradient", "fill"])
def test_each_step_is_the_best_of_all(removal: Any) -> None:
    module = classifier(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                        nn.Linear(20, 4), seed=5)  # fmt: skip
    with torch.no_grad():
        module[6].bias -= module[6].bias  # what is empty is predicted by the first bias of the convolutions alone
    network = network_of(module, (3, 18, 24))
    regions = np.arange(6).reshape(2, 3).repeat(9, 0).repeat(8, 1)
    lengths = set()
    for seed in range(4):
        image = 3 * images_of(1, 3, 18, 24, seed=seed)
        before = state(module)
        empty = int(module(torch.zeros_like(image)).argmax())
        found = minimal(network, image, regions=regions, removal=removal)
        assert state(module) == before
        if int(module(image).argmax()) == empty:
            assert not found.mask.any()
            continue
        assert list(found.removed) == slow_minimal(network, image[0], regions, removal)
        assert int(module(found.image[None]).argmax()) == int(module(image).argmax())
        torch.testing.assert_close(found.image, without(image[0], found.mask, removal))
        lengths.add(len(found.removed))
    assert lengths


def test_where_nothing_is_needed_nothing_is_left() -> None:
    found = minimal(linear([1, 1, 1, 1], -1), ONES, regions=QUARTERS)
    assert (found.area, found.removed) == (0, (0, 1, 2, 3))
    assert not found.image.any()
    assert "nothing of the image is needed" in found.notes[0]
    assert len(found.probabilities) == 2


def test_classes_that_are_true_at_once_have_an_image_each() -> None:
    network = linear([3, 0, 0, 0], 1, "sigmoid")
    with torch.no_grad():
        network.module[1].weight[1] = network.module[1].weight[0].reshape(24, 24).flip(0, 1).flatten()
        network.module[1].bias[1] = -1
    assert np.array_equal(minimal(network, ONES, 0, QUARTERS, "fill").mask, QUARTERS == 0)
    found = minimal(network, ONES, 1, QUARTERS, "fill")
    assert np.array_equal(found.mask, QUARTERS == 3)
    assert found.probabilities[-1] == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-5)


def test_numbers_of_regions_may_have_gaps() -> None:
    network = linear([3, -1, 2, 0.5], 2.5)
    spread = minimal(network, ONES, regions=10 * QUARTERS - 7, removal="fill")
    assert np.array_equal(spread.mask, QUARTERS == 0)
    assert spread.count == 4


def test_what_makes_no_sense_is_said() -> None:
    network = linear([3, -1, 2, 0.5], 2.5)
    for words, error, message in (
        ((ONES, 1), AttributionError, "does not predict class 1"),
        ((ONES, 7), TargetError, "no class 7"),
        ((ONES, lambda output: output[:, 0]), AttributionError, "is no class"),
        ((ONES.repeat(2, 1, 1, 1),), AttributionError, "expected one image"),
        ((ONES, None, QUARTERS[:5]), AttributionError, "expected regions"),
        ((ONES, None, QUARTERS, "cut"), AttributionError, "'gradient' or 'fill'"),
    ):
        with pytest.raises(error, match=message):
            minimal(network, *words)
    with pytest.raises(AttributionError, match="real values"):
        minimal(linear([1, 1, 1, 1], 0, "real"), ONES)


def test_the_command_draws_it(tmp_path: Path) -> None:
    figure = tmp_path / "minimal.png"
    words = ["minimal", "digits:lenet5", "digits:test@3", "-o", figure, "--json"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.output.splitlines()[-1])
    assert sorted(found["kept"] + found["removed"]) == list(range(found["regions"]))
    assert len(found["probabilities"]) in (2, len(found["removed"]) + 1)
    assert figure.stat().st_size > 10_000
