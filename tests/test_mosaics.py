"""Maps of classes on 2×2 mosaics of real images, by the protocol of benchmarks/mosaics.py."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import mosaics
from torch import nn

import convscope
from convscope.attribution import CAM, RISE, Class, GradCAM, Occlusion
from convscope.evaluation.intervals import wilson
from convscope.network import Network
from explaining import network_of
from odd_nets import conv

MOSAICS, QUESTIONS = 54, 216


def test_a_mosaic_has_its_tiles_in_rows_and_a_map_hits_the_one_that_was_asked_for() -> None:
    tiles = torch.arange(4.0)[:, None, None, None].expand(4, 2, 3, 5)
    image = mosaics.assembled(tiles)
    assert image.shape == (2, 6, 10)
    for tile, (y, x) in enumerate([(0, 0), (2, 5), (3, 4), (5, 9)]):
        assert image[0, y, x] == tile
    mosaic = mosaics.Mosaic(image, np.array([7, 3, 7, 5]))
    maps = torch.zeros(4, 6, 10)
    for each, place in zip(maps, [(3, 4), (2, 4), (5, 0), (3, 5)], strict=True):
        each[place] = 1
    assert mosaics.hits(maps, mosaic).tolist() == [True, False, True, True]  # tiles 2 and 0 are both of class 7


@pytest.mark.usefixtures("one_thread")
def test_four_classes_at_once_have_the_maps_that_they_have_one_by_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = nn.Sequential(conv(3, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
        image = torch.randn(3, 16, 20)
    network, classes = network_of(module, (3, 16, 20)), [3, 0, 3, 1]
    mosaic = mosaics.Mosaic(image, np.array(classes))
    occlusion, rise = Occlusion(6, 4), RISE(masks=70, tolerance=0)
    together = mosaics.by_occlusion(occlusion, network, mosaic)
    for score, maps in zip(("logit", "probability"), together.split(4), strict=True):
        alone = occlusion(network, image.expand(4, -1, -1, -1), [Class(index, score) for index in classes]).on_image()
        torch.testing.assert_close(maps.float(), alone, rtol=1e-4, atol=1e-6)
    masks = torch.cat(list(rise.draw(image, 70))).double()
    with torch.no_grad():
        logits = torch.cat([module((image * mask.float())[None]) for mask in masks]).double()
    for scores, maps in zip((logits, logits.softmax(1)), mosaics.by_rise(rise, network, mosaic).split(4), strict=True):
        for index, found in zip(classes, maps, strict=True):
            slow = sum(float(score) * mask for score, mask in zip(scores[:, index], masks, strict=True)) / masks.sum(0)
            torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def squeezenet(shared_data: Path) -> Network:
    return mosaics.squeezenet()


@pytest.fixture(scope="module")
def drawn(shared_data: Path, squeezenet: Network) -> list[mosaics.Mosaic]:
    return list(mosaics.mosaics(squeezenet, convscope.open_images(shared_data / "imagenet_val227")))


@pytest.mark.real
def test_class_maps_of_squeezenet_find_their_image_in_a_mosaic(
    squeezenet: Network, drawn: list[mosaics.Mosaic]
) -> None:
    assert len(drawn) == MOSAICS
    assert drawn[0].image.shape == (3, 454, 454)
    for method in (CAM(), GradCAM()):
        assert mosaics.by_method(method, squeezenet, drawn[:6]).mean() >= 0.85


@pytest.mark.real
@pytest.mark.slow
def test_nine_of_ten_class_maps_find_their_image(squeezenet: Network, drawn: list[mosaics.Mosaic]) -> None:
    for method in (CAM(), GradCAM()):
        found = mosaics.by_method(method, squeezenet, drawn)
        assert len(found) == QUESTIONS
        assert found.mean() >= 0.9


@pytest.mark.real
@pytest.mark.slow
def test_occlusion_and_rise_find_the_image_of_a_class_too(squeezenet: Network, drawn: list[mosaics.Mosaic]) -> None:
    """Of three mosaics: all twelve of the protocol take half an hour."""
    for maps in (
        lambda each: mosaics.by_occlusion(Occlusion(), squeezenet, each),
        lambda each: mosaics.by_rise(RISE(masks=1000), squeezenet, each),
    ):
        found = np.array([[mosaics.hits(four, each) for four in maps(each).split(4)] for each in islice(drawn, 3)])
        for score in found.swapaxes(0, 1).reshape(2, -1):
            assert wilson(int(score.sum()), len(score))[0] > 0.25  # more than chance
