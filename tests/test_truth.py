"""What measures whether maps lie where the evidence is, on networks and maps of which that is known [METHODS 8.5]."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import toolkits, truth, two_objects
from torch import nn

import convscope
from convscope.attribution import CAM, RISE, GradCAM, GradientTimesInput, Saliency, registered
from convscope.images.diorama import Diorama
from convscope.network import Network
from explaining import network_of, state

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 48


@pytest.fixture(scope="module")
def colours() -> Network:
    """Two classes, red and green: how much of the image is so. All evidence is in pixels of that colour."""
    module = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])[:, :, None, None])
        module[0].bias.fill_(-0.5)
        module[5].weight.copy_(torch.eye(2) * 300)
        module[5].bias.zero_()
    return network_of(module, (3, SIDE, SIDE))


RED, GREEN = (10, 8, 20, 18), (28, 26, 40, 40)  # boxes


@pytest.fixture(scope="module")
def pair() -> two_objects.Pair:
    picture, masks = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((2, SIDE, SIDE), np.bool_)
    for k, (y0, x0, y1, x1) in enumerate((RED, GREEN)):
        picture[y0:y1, x0:x1, k] = 255
        masks[k, y0:y1, x0:x1] = True
    return two_objects.Pair(picture, torch.from_numpy(picture).permute(2, 0, 1) / 255, (0, 1), masks)


@pytest.mark.parametrize("entry", toolkits.ours(), ids=lambda entry: entry.method)
def test_the_map_of_a_colour_lies_on_it(entry: toolkits.Entry, colours: Network, pair: two_objects.Pair) -> None:
    """Every method, and for each of the two classes on its own; but a deconvnet finds its place by switches alone."""
    maps = entry.maps(colours, torch.stack([pair.image] * 2), [0, 1])
    if entry.method == "deconvnet":
        assert float(maps.std()) < 1e-6 * float(maps.mean())
        return
    found = two_objects.look(maps[None], two_objects.masks_of([pair]))
    assert found.nearer.all()
    blurred = entry.method in {"occlusion", "rise"}  # by the size of what hides the image
    assert blurred or found.own.all()
    assert not found.other.any()
    assert found.share.min() > 0.95
    true = truth.Truth(torch.stack([pair.image] * 2), [0, 1], torch.from_numpy(pair.masks), np.array([RED, GREEN]))
    scores = truth.score(maps, true)
    assert scores.energy.min() > (0.15 if blurred else 0.6)
    assert blurred or scores.overlap.min() > 0.5


def test_every_method_is_measured() -> None:
    assert [entry.method for entry in toolkits.ours()] == list(registered())
    assert set(truth.FEWER) <= set(registered())


def test_a_map_that_is_the_object_is_right_and_one_that_is_beside_it_is_wrong() -> None:
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    masks[:, 2:5, 3:9] = True
    true = truth.Truth(torch.zeros(2, 3, 10, 10), [0, 0], masks, np.array([(2, 3, 5, 9)] * 2))
    scores = truth.score(torch.stack([masks[0], masks[0].roll(5, 0)]).float() - 0.1, true)
    for each in scores.all():
        assert each.tolist() == [1, 0]
    everywhere = truth.everywhere(true)
    assert everywhere.energy.tolist() == everywhere.overlap.tolist() == [0.18, 0.18]


def test_the_centred_box_is_the_best_of_all_sizes() -> None:
    boxes = np.array([(20, 10, 40, 30), (25, 15, 45, 55), (28, 20, 36, 40)])
    height, width = truth.best_size(boxes, (64, 60))

    def overlap(size: tuple[int, int]) -> float:
        mine = np.zeros((64, 60), bool)
        y, x = (64 - size[0]) // 2, (60 - size[1]) // 2
        mine[y : y + size[0], x : x + size[1]] = True
        shares = []
        for y0, x0, y1, x1 in boxes:
            other = np.zeros_like(mine)
            other[y0:y1, x0:x1] = True
            shares.append((mine & other).sum() / (mine | other).sum())
        return float(np.mean(shares))

    sizes = product(range(2, 65, 6), range(2, 61, 6))
    assert overlap((height, width)) >= max(map(overlap, sizes))
    masks = torch.ones(3, 64, 60, dtype=torch.bool)
    scores = truth.centred(truth.Truth(torch.zeros(3, 3, 64, 60), [0] * 3, masks, boxes), (height, width))
    assert scores.overlap.mean() == pytest.approx(overlap((height, width)))
    assert scores.pointing.tolist() == scores.energy.tolist() == [1, 1, 1]


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = truth.bootstrap(values)
    margin = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.1 * margin)


def test_channels_become_one_number_by_what_they_mean(colours: Network, pair: two_objects.Pair) -> None:
    images = pair.image[None] + 0.2
    found = GradientTimesInput()(colours, images, 0)
    torch.testing.assert_close(toolkits.flat(found), found.values.sum(1))
    found = Saliency(signed=True)(colours, images, 0)
    torch.testing.assert_close(toolkits.flat(found), found.values.abs().amax(1))
    found = RISE(masks=200, tolerance=0)(colours, images, 0)
    moved = toolkits.flat(found)
    assert float(moved.flatten().median()) == 0
    torch.testing.assert_close(moved - moved.amin(), found.values[:, 0] - found.values.amin())


@pytest.fixture(scope="module")
def network() -> Network:
    return convscope.load("diorama:objects")


def test_the_truth_is_that_of_the_scenes(network: Network) -> None:
    images = Diorama.open("diorama:objects/test")
    true = truth.truth(network, images, 3)
    for index in range(3):
        (thing,) = [thing for thing in images.scene(index).things if thing.main]
        assert thing.kind == (network.classes or ())[true.classes[index]]
        assert np.array_equal(true.masks[index].numpy(), thing.mask)
        assert tuple(true.boxes[index]) == thing.box
    assert network.module(true.images).argmax(1).tolist() == true.classes
    assert len(true.first(2).images) == len(true.first(2).masks) == 2


def test_pairs_are_two_kinds_that_are_there_and_come_first(network: Network) -> None:
    images = Diorama.open("diorama:scenes/test")
    found = next(two_objects.pairs(network, images))
    assert network.module(found.image[None])[0].argsort(descending=True)[:2].tolist() == list(found.classes)
    scene = next(each for each in map(images.scene, range(9)) if np.array_equal(each.image, found.picture))
    for index, mask in zip(found.classes, found.masks, strict=True):
        kind = (network.classes or ())[index]
        assert mask.any()
        assert np.array_equal(mask, np.any([thing.mask for thing in scene.things if thing.kind == kind], 0))


def test_a_map_that_does_not_depend_on_the_class_is_found_out() -> None:
    masks = torch.zeros(2, 1, 2, 8, 8, dtype=torch.bool).amax(0)
    masks[0, 0, 1, 1], masks[0, 1, 6, 6] = True, True
    same = torch.zeros(1, 2, 8, 8)
    same[0, :, 1, 1], same[0, :, 6, 6] = 2, 1
    found = two_objects.look(same, masks)
    assert found.nearer.tolist() == found.own.tolist() == [[True, False]]
    assert found.other.tolist() == [[False, True]]
    assert found.share.mean() == pytest.approx(0.5)
    assert two_objects.away(same[0], masks[0]).tolist() == pytest.approx([0, 50**0.5])


def test_the_others_have_the_same_methods(network: Network, torchvision: Any) -> None:
    """Equal where nothing is placed; where a coarse map is, they resize it. Captum's SmoothGrad averages magnitudes."""
    pytest.importorskip("captum", reason="missing: the package captum, an oracle")
    pytest.importorskip("pytorch_grad_cam", reason="missing: the package grad-cam, an oracle")
    before, true = state(network.module), truth.truth(network, Diorama.open("diorama:objects/test"), 1)
    mine = {entry.method: entry for entry in toolkits.ours()}
    equal = {"saliency", "gradient_times_input", "integrated_gradients", "deconvnet", "guided_backprop", "occlusion"}
    for entry in toolkits.theirs():
        theirs, own = (each.maps(network, true.images, true.classes) for each in (entry, mine[entry.method]))
        assert theirs.shape == own.shape
        if entry.method in equal:
            theirs, own = theirs / theirs.abs().max(), own / own.abs().max()  # ours of gradients is by pixel values
            torch.testing.assert_close(theirs, own, rtol=0, atol=1e-3, msg=entry.method)
        elif entry.method == "gradcam":
            kind = CAM if "Captum" in entry.toolkit else GradCAM  # without and with a rectifier before it is placed
            naive = kind()(network, true.images, true.classes).on_image("naive")
            torch.testing.assert_close(theirs / theirs.max(), naive / naive.max(), rtol=0, atol=1e-3)
        else:
            assert float(torch.corrcoef(torch.stack([theirs.flatten(), own.flatten()]))[0, 1]) > 0.6, entry
    assert state(network.module) == before
