"""RISE against the exact expectation over all masks, and the curves of deletion and insertion [METHODS 7.8, 7.9]."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope.attribution import RISE, Class
from convscope.attribution.curves import blurred, deletion, insertion
from convscope.errors import AttributionError, TargetError
from explaining import classifier, images_of, network_of
from odd_nets import Net, conv

SHAPE = (2, 5, 6)  # a cell of a 2 × 2 grid has 3 × 3 px
pytestmark = pytest.mark.usefixtures("one_thread")


def bumpy() -> nn.Sequential:
    return classifier(conv(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(120, 3))


def every_mask(cells: int, height: int, width: int) -> Tensor:
    """All of them, (2^(cells²) · offsets, height, width), as the paper makes them."""
    tall, wide = math.ceil(height / cells), math.ceil(width / cells)
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=cells**2)), dtype=torch.float64)
    size = ((cells + 1) * tall, (cells + 1) * wide)
    large = F.interpolate(bits.reshape(-1, 1, cells, cells), size=size, mode="bilinear", align_corners=False)[:, 0]
    return torch.cat([large[:, y : y + height, x : x + width] for y in range(tall) for x in range(wide)])


def weights_of(masks: Tensor, cells: int, visible: float) -> Tensor:
    """The probability of each of `every_mask`."""
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=cells**2)), dtype=torch.float64).sum(1)
    each = visible**bits * (1 - visible) ** (cells**2 - bits)
    return each.repeat(len(masks) // len(each)) / (len(masks) // len(each))


@pytest.mark.parametrize("visible", [0.5, 0.2])
def test_the_map_is_the_expectation_over_all_masks(visible: float) -> None:
    """Within four standard errors at every pixel, and they are small."""
    module, image = bumpy(), images_of(1, *SHAPE)
    masks = every_mask(2, *SHAPE[1:])
    weights = weights_of(masks, 2, visible)
    with torch.no_grad():
        scores = module(image * masks[:, None])[:, 1]
    mean_mask = torch.einsum("m,mhw->hw", weights, masks)
    torch.testing.assert_close(mean_mask, torch.full_like(mean_mask, visible))
    exact = torch.einsum("m,m,mhw->hw", weights, scores, masks) / visible
    method = RISE(masks=3000, cells=2, visible=visible, tolerance=0)
    found = method(network_of(module, SHAPE), image, 1)
    assert found.evidence["masks"].tolist() == [3000]
    assert found.error is not None
    off = ((found.values - exact) / found.error).abs()
    assert float(off.max()) < 4
    assert float(found.error.max()) < 0.1 * float(exact.max() - exact.min())


def test_the_standard_error_is_that_of_repetitions() -> None:
    network, image = network_of(bumpy(), SHAPE), images_of(1, *SHAPE)
    runs = [RISE(masks=100, cells=2, seed=seed)(network, image, 1) for seed in range(60)]
    spread = torch.stack([run.values for run in runs]).std(0)
    told = torch.stack([run.error for run in runs if run.error is not None]).mean(0)
    assert len(told) == 1
    torch.testing.assert_close(told.mean(), spread.mean(), rtol=0.15, atol=0)


def test_the_masks_are_those_of_the_paper() -> None:
    """All are crops of enlarged grids, and every offset of less than a cell occurs, and no other."""
    known = every_mask(2, 5, 6).flatten(1)
    drawn = torch.cat(list(RISE(masks=2000, cells=2).draw(images_of(1, *SHAPE)[0], 32))).flatten(1)
    distances = torch.cdist(drawn, known, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(distances.amin(1).max()) < 1e-12
    hit = torch.zeros(len(known), dtype=torch.bool)
    hit[(distances < 1e-12).nonzero()[:, 1]] = True
    assert bool(hit.all())


@pytest.mark.parametrize("number", [3.7, -0.1])
def test_a_network_that_always_says_the_same_has_a_constant_map(number: float) -> None:
    module = classifier(conv(2, 4), nn.Flatten(), nn.Linear(120, 2))
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.fill_(number)
    found = RISE(cells=2, visible=0.1, masks=1000)(network_of(module, SHAPE), images_of(2, *SHAPE), 0)
    assert torch.equal(found.values, torch.full((2, 1, 5, 6), number))
    assert found.evidence["masks"].tolist() == [500, 500]  # it has settled at once
    assert not found.evidence["standard error"].any()


def test_where_all_is_visible_the_map_is_the_score() -> None:
    found = RISE(cells=3, visible=1.0, masks=10)(network_of(bumpy(), SHAPE), images_of(2, *SHAPE), 1)
    torch.testing.assert_close(found.values, found.scores.float()[:, None, None, None].expand(2, 1, 5, 6))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = network_of(bumpy(), SHAPE), images_of(2, *SHAPE)
    method = RISE(cells=2, masks=700, tolerance=0.001)
    whole = method(network, images, 1)
    assert whole.evidence["masks"].tolist() == [700, 700]
    for size in (7, 1000):
        monkeypatch.setattr("convscope.attribution.base.PASSES", size)
        parts = method(network, images, 1)
        torch.testing.assert_close(parts.values, whole.values, rtol=1e-6, atol=1e-7)
        assert parts.evidence["masks"].tolist() == [700, 700]
    assert torch.equal(
        torch.cat(list(method.draw(images_of(1, *SHAPE)[0], 1000))),
        torch.cat(list(RISE(cells=2, masks=700).draw(images_of(1, *SHAPE)[0], 32))),
    )
    other = RISE(cells=2, masks=700, tolerance=0.001, seed=1)(network, images, 1)
    assert not torch.allclose(other.values, whole.values)


def test_it_is_linear_in_the_score() -> None:
    network, images, method = network_of(bumpy(), SHAPE), images_of(2, *SHAPE), RISE(cells=2, masks=50, tolerance=0)
    one, other = (method(network, images, target).values for target in (0, 1))
    both = method(network, images, lambda output: 2 * output[:, 0] - 3 * output[:, 1] + 5)
    torch.testing.assert_close(both.values, 2 * one - 3 * other + 5, rtol=1e-4, atol=1e-5)


def test_it_finds_the_pixels_of_a_linear_score() -> None:
    """Only the upper left quarter counts; a probability is explained where one is asked for."""
    module = classifier(nn.Flatten(), nn.Linear(256, 2))
    with torch.no_grad():
        module[1].weight.zero_()
        module[1].weight[0].view(1, 16, 16)[:, :8, :8] = 1
    network, image = network_of(module, (1, 16, 16)), torch.ones(1, 1, 16, 16, dtype=torch.float64) / 20
    for target in (0, Class(0, "probability")):
        found = RISE(cells=4, masks=1000)(network, image, target)
        maps = found.values[0, 0]
        assert float(maps[:8, :8].min()) > float(maps[10:, 10:].max())
        assert found.score == (("logit",) if target == 0 else ("probability",))


def test_it_stops_when_the_map_has_settled() -> None:
    network, images = network_of(bumpy(), SHAPE), images_of(1, *SHAPE)
    ratio = "standard error / deviation of the map"
    counts = []
    for tolerance in (0.3, 0.05, 0.02):
        found = RISE(cells=2, tolerance=tolerance)(network, images, 1)
        counts.append(int(found.evidence["masks"]))
        settled = float(found.evidence[ratio]) <= tolerance
        assert settled == (not any("has not settled" in note for note in found.notes))
        assert settled or counts[-1] == 4000
        assert found.error is not None
        expected = float(found.error.double().square().mean().sqrt() / found.values.double().std(correction=0))
        assert float(found.evidence[ratio]) == pytest.approx(expected, rel=1e-4)
    assert counts[0] == 500
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("visible", [0.5, 0.2])
def test_the_map_of_a_linear_score_has_no_noise(visible: float) -> None:
    module, image = classifier(nn.Flatten(), nn.Linear(60, 2)), images_of(1, *SHAPE)
    masks = every_mask(2, *SHAPE[1:])
    with torch.no_grad():
        scores = module(image * masks[:, None])[:, 1]
    exact = torch.einsum("m,m,mhw->hw", weights_of(masks, 2, visible), scores, masks) / visible
    found = RISE(masks=300, cells=2, visible=visible, tolerance=0)(network_of(module, SHAPE), image, 1)
    torch.testing.assert_close(found.values[0, 0], exact.float(), rtol=0, atol=1e-5 * float(exact.abs().max()))
    assert float(found.evidence["standard error / deviation of the map"]) < 1e-4


def test_fewer_masks_run_at_once_where_maps_are_large() -> None:
    sizes: list[int] = []

    def run(net: Any, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return net.conv(x).mean((2, 3))

    network = network_of(Net(run, conv=nn.Conv2d(2, 64, 1)), (2, 80, 80))
    RISE(cells=2, masks=45)(network, images_of(1, 2, 80, 80).float(), 0)
    assert sizes == [1, 1, 20, 20, 5]  # a map is 1.6 MB, and 20 of them are below 32 MiB


def test_no_more_than_a_batch_of_masks_is_held() -> None:
    sizes: list[int] = []

    def run(net: Any, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return net.head(x.flatten(1).sin())

    network = network_of(Net(run, head=nn.Linear(60, 2)), SHAPE)
    RISE(cells=2, masks=100)(network, images_of(1, *SHAPE).float(), 0)
    assert sizes == [1, 1, 32, 32, 32, 4]


def test_a_function_that_gives_no_number_for_each_image() -> None:
    with pytest.raises(TargetError, match=r"gave a tensor \(1, 3\) for 1 images"):
        RISE(masks=3)(network_of(bumpy(), SHAPE), images_of(1, *SHAPE), lambda output: output)


@pytest.mark.parametrize("options", [{"masks": 1}, {"cells": 0}, {"visible": 0}, {"visible": 1.5}, {"tolerance": -1}])
def test_wrong_parameters_of_rise(options: dict[str, Any]) -> None:
    with pytest.raises(AttributionError, match="masks must be 2 or more, cells 1 or more, visible above 0"):
        RISE(**options)(network_of(bumpy(), SHAPE), images_of(1, *SHAPE), 0)


def test_a_pixel_that_is_never_seen() -> None:
    with pytest.raises(AttributionError, match="some pixels are hidden by all of the 3 masks: take more masks"):
        RISE(masks=3, visible=0.01)(network_of(bumpy(), SHAPE), images_of(1, *SHAPE), 0)


# --- deletion and insertion ------------------------------------------------------------------------------------------


def test_the_ends_of_the_curves() -> None:
    module, images = bumpy(), images_of(3, *SHAPE)
    network, maps = network_of(module, SHAPE), images_of(3, 5, 6, seed=1)
    with torch.no_grad():
        probabilities = [module(each).softmax(1) for each in (images, torch.zeros_like(images), blurred(images))]
    predicted = probabilities[0].argmax(1, keepdim=True)
    whole, nothing, blurry = (each.gather(1, predicted)[:, 0] for each in probabilities)
    falling, rising = deletion(network, images, maps), insertion(network, images, maps)
    torch.testing.assert_close(falling.scores[:, 0], whole)
    torch.testing.assert_close(falling.scores[:, -1], nothing)
    torch.testing.assert_close(rising.scores[:, 0], blurry)
    torch.testing.assert_close(rising.scores[:, -1], whole)
    assert falling.targets == tuple(f"class {index}" for index in predicted[:, 0].tolist())
    for step, pixels in ((None, [0, 6, 12, 18, 24, 30]), (7, [0, 7, 14, 21, 28, 30]), (30, [0, 30]), (99, [0, 30])):
        assert deletion(network, images, maps, step=step).pixels.tolist() == pixels


def test_each_point_of_the_curves() -> None:
    """Written out; two classes and a map of equal values, which go as they lie."""
    module, images = bumpy(), images_of(2, *SHAPE)
    maps = torch.cat([images_of(1, 5, 6, seed=3), torch.zeros(1, 5, 6).double()])
    network, targets = network_of(module, SHAPE), [2, 0]
    for function, start, end in (
        (deletion, images, torch.zeros_like(images)),
        (insertion, blurred(images), images),
    ):
        curve = function(network, images, maps, targets, step=4)
        for row, target in enumerate(targets):
            order = sorted(range(30), key=lambda at, row=row: (-float(maps[row].flatten()[at]), at))
            image = start[row].clone().flatten(1)
            for point, pixels in enumerate(curve.pixels.tolist()):
                image[:, order[:pixels]] = end[row].flatten(1)[:, order[:pixels]]
                with torch.no_grad():
                    expected = module(image.reshape(1, *SHAPE))[0, target]
                assert float(curve.scores[row, point]) == pytest.approx(float(expected))
        scores = curve.scores
        area = (scores[:, 1:] + scores[:, :-1]).sum(1) / 2 / (scores.shape[1] - 1)
        torch.testing.assert_close(curve.area, area)


def test_the_area_of_a_constant_is_the_constant() -> None:
    network = network_of(Net(lambda net, x: x.flatten(1)[:, :2] * 0 + 3), SHAPE)
    for function in (deletion, insertion):
        curve = function(network, images_of(2, *SHAPE), images_of(2, 5, 6), 0)
        torch.testing.assert_close(curve.area, torch.full((2,), 3.0).double())


def test_the_true_order_of_a_linear_score_is_the_best_one() -> None:
    module = classifier(nn.Flatten(), nn.Linear(30, 2))
    with torch.no_grad():
        module[1].weight.abs_()
    network, image = network_of(module, (1, 5, 6)), images_of(1, 1, 5, 6).abs()
    truth = (module[1].weight[1].detach() * image.flatten()).reshape(1, 5, 6)
    best = deletion(network, image, truth, 1, step=3)
    others = [deletion(network, image, images_of(1, 5, 6, seed=seed), 1, step=3) for seed in range(100)]
    assert all(float(best.area) < float(other.area) for other in others)
    again = deletion(network, image, truth.exp() * 5 - 2, 1, step=3)
    assert torch.equal(again.scores, best.scores)


def test_the_blur_is_a_gaussian() -> None:
    images = images_of(2, 3, 14, 13)
    places = torch.arange(-5, 6).double()
    kernel = torch.exp(-(places[:, None] ** 2 + places**2) / 50)
    kernel = (kernel / kernel.sum()).expand(3, 1, 11, 11)
    torch.testing.assert_close(blurred(images), F.conv2d(images, kernel, padding=5, groups=3))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"maps": torch.zeros(2, 5, 5)},
            AttributionError,
            r"maps of shape \(2, 5, 5\) do not belong to 2 images of 5 × 6",
        ),
        ({"step": 0}, AttributionError, "step=0: at least one pixel"),
        ({"target": 9}, TargetError, "there is no class 9"),
    ],
)
def test_wrong_parameters_of_the_curves(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        deletion(network_of(bumpy(), SHAPE), images_of(2, *SHAPE), **({"maps": torch.zeros(2, 5, 6)} | options))
