"""Regions that excite a unit: proposals that cover the picture, suppression by its law, and a planted detector."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch import nn

from convscope import Arrays, Network, Preprocess, wrap
from convscope.cli import main
from convscope.errors import AddressError, NetworkError, TargetError
from convscope.studies.regions import CONTEXT, OVERLAP, proposals, regions, suppressed, warp
from explaining import network_of
from odd_nets import conv

pytestmark = pytest.mark.usefixtures("one_thread")


def iou(one: Any, other: Any) -> float:
    """Of two boxes, counted pixel by pixel."""
    masks = np.zeros((2, 100, 100), np.bool_)
    for mask, (y0, x0, y1, x1) in zip(masks, (one, other), strict=True):
        mask[y0:y1, x0:x1] = True
    return float(masks.all(0).sum() / masks.any(0).sum())


corners = arrays(np.int64, (12, 4), elements=st.integers(0, 19))


@given(corners, arrays(np.int64, 12, elements=st.integers(0, 5)))
def test_of_boxes_that_overlap_the_weaker_goes(corners: Any, values: Any) -> None:
    low, size = corners[:, :2], corners[:, 2:] + 1
    boxes = np.concatenate([low, low + size], 1)
    kept = suppressed(boxes, values.astype(np.float32))
    assert kept == sorted(set(kept), key=lambda i: (-values[i], i))
    assert all(iou(boxes[i], boxes[j]) <= OVERLAP for i, j in itertools.combinations(kept, 2))
    for gone in set(range(12)) - set(kept):
        stronger = [i for i in kept if (-values[i], i) < (-values[gone], gone)]
        assert any(iou(boxes[gone], boxes[i]) > OVERLAP for i in stronger)


@pytest.mark.parametrize("size", [(96, 96), (60, 200), (7, 5)])
def test_proposals_are_windows_inside_that_cover_the_picture_at_every_scale(size: tuple[int, int]) -> None:
    boxes = proposals(*size)
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()
    assert [0, 0, *size] in boxes.tolist()
    sizes = boxes[:, 2:] - boxes[:, :2]
    for each in np.unique(sizes, axis=0):
        same = boxes[(sizes == each).all(1)]
        covered = np.zeros(size, np.int64)
        for y0, x0, y1, x1 in same:
            covered[y0:y1, x0:x1] += 1
        assert covered.min() >= 1
        for axis in (0, 1):
            starts = np.unique(same[:, axis])
            assert (np.diff(starts) <= -(-each[axis] // 2) + 1).all()


def test_a_region_is_warped_with_its_rim_and_the_mean_outside() -> None:
    card = Preprocess(size=(227, 227), mean=(0.2, 0.4, 0.6))
    planes = np.random.default_rng(0).uniform(size=(3, 400, 400)).astype(np.float32)
    inside = warp(
        planes, np.array([100, 100, 295, 295]), card
    )  # 195 px and 16 on each side are 227: nothing is resized
    torch.testing.assert_close(
        inside, torch.from_numpy(planes[:, 84:311, 84:311]) - torch.tensor(card.mean)[:, None, None]
    )
    assert round(195 * CONTEXT / (1 - 2 * CONTEXT)) == 16
    corner = warp(planes, np.array([0, 0, 195, 195]), card)
    assert float(corner[:, :16].abs().max()) < 1e-6
    assert float(corner[:, :, :16].abs().max()) < 1e-6
    assert float(corner[:, 16:, 16:].abs().mean()) > 0.2
    stretched = warp(np.ones((3, 100, 50), np.float32), np.array([0, 0, 100, 50]), card)
    assert stretched.shape == (3, 227, 227)
    blue = Preprocess(size=(40, 40), mean=(200.0, 100.0, 0.0), channels="BGR", range=(0, 255))
    assert float(warp(planes, np.array([0, 0, 400, 400]), blue)[:, 0].abs().max()) < 1e-3


def spots() -> Network:
    """Unit 0 answers to red at a cell of 8 px, unit 1 to green, of 24 px images."""
    net = nn.Sequential(nn.Conv2d(3, 2, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
        net[0].weight[0, 0] = net[0].weight[1, 1] = 1 / 64
    return network_of(net, (3, 24, 24))


def pictures() -> Arrays:
    """Six of 96 px; in two of them there is a red patch of 30 px, in the last one a paler one far off as well."""
    images = np.zeros((6, 3, 96, 96), np.float32)
    images[2, 0, 40:70, 10:40] = 1
    images[4, 0, 0:30, 66:96] = 0.9
    images[4, 0, 66:96, 0:30] = 0.5
    images[:, 1] = np.random.default_rng(0).uniform(0, 0.2, (6, 96, 96))
    return Arrays(images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_response_that_is_no_number_is_an_error(value: float) -> None:
    network = spots()
    with torch.no_grad():
        network.module[0].weight[1, 1, 0, 0] = value
    regions(network, pictures(), ["0:0"], limit=1)
    with pytest.raises(NetworkError, match=r"response of 0:1 is not finite .* for a region of 0;"):
        regions(network, pictures(), ["0:0", "0:1"], limit=1)


def contains(box: tuple[int, int, int, int], y: int, x: int) -> bool:
    """Whether a place is in a box, or in the rim that is seen around it."""
    y0, x0, y1, x1 = box
    rim_y, rim_x = 0.1 * (y1 - y0), 0.1 * (x1 - x0)
    return y0 - rim_y <= y <= y1 + rim_y and x0 - rim_x <= x <= x1 + rim_x


def test_a_planted_detector_finds_its_patches() -> None:
    found = regions(spots(), pictures(), ["0:0", "0:0@1,1"], top=12)
    largest, central = found.units
    assert found.looked_at == 6 * len(proposals(96, 96))
    for unit in (largest, central):
        values = [region.value for region in unit.best]
        assert values == sorted(values, reverse=True)
        assert unit.best[0].image == 2
        assert 0 < unit.share(unit.best[-1]) < unit.share(unit.best[0]) <= 1
        of = {image: [region for region in unit.best if region.image == image] for image in range(6)}
        assert contains(of[2][0].box, 55, 25)
        assert contains(of[4][0].box, 15, 81)
        assert any(contains(region.box, 81, 15) for region in of[4])
        assert not any(of[image] for image in (0, 1, 3, 5) if of[image] and of[image][0].value >= of[4][0].value)
        assert all(
            iou(one.box, other.box) <= OVERLAP
            for those in of.values()
            for one, other in itertools.combinations(those, 2)
        )
    assert largest.best[0].value >= central.best[0].value
    assert {region.cell for region in central.best} == {(1, 1)}
    assert central.maximum == largest.maximum
    assert (str(largest.address), str(central.address)) == ("0:0", "0:0@1,1")


def test_a_value_is_the_units_response_to_the_warped_region() -> None:
    network = network_of(nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5, stride=2), nn.ReLU()), (3, 24, 24))
    images = Arrays(np.random.default_rng(1).integers(0, 256, (3, 3, 40, 60), np.uint8))
    found = regions(network, images, ["2:3", "0:1@4,7"], batch_size=7)
    for unit, layers, channel in zip(found.units, (4, 2), (3, 1), strict=True):
        everything = []
        for image in range(3):
            planes = images.read(image)
            own = [warp(np.asarray(planes), box, network.preprocess) for box in proposals(40, 60)]
            everything.append(network.module[:layers](torch.stack(own))[:, channel].detach())
        assert unit.maximum == pytest.approx(float(torch.stack(everything).max()), rel=1e-5)
        for region in unit.best[:5]:
            map_ = network.module[:layers](found.warped(region)[None])[0, channel]
            assert float(map_[region.cell].detach()) == pytest.approx(region.value, rel=1e-4)
        first = unit.best[0]
        where = (slice(None), 4, 7) if channel == 1 else ()
        assert first.value == pytest.approx(float(torch.stack(everything)[(slice(None), *where)].max()), rel=1e-4)


def test_a_unit_that_is_never_on_has_no_regions() -> None:
    network = spots()
    with torch.no_grad():
        network.module[0].bias[1] = -5
    [unit] = regions(network, pictures(), ["0:1"]).units
    assert (unit.best, unit.maximum) == ((), 0)


def test_pictures_in_files_and_greys() -> None:
    module = nn.Sequential(conv(1, 2), nn.ReLU())
    network = wrap(module.eval(), preprocess={"size": [12, 12], "channels": "L"})
    images = Arrays(np.random.default_rng(0).integers(0, 256, (2, 3, 30, 30), np.uint8))
    found = regions(network, images, ["0:0"])
    assert found.warped(found.units[0].best[0]).shape == (1, 12, 12)


def test_what_is_no_unit_is_said() -> None:
    for unit, error in (("0:7", AddressError), ("nothing:1", AddressError), ("4:0", TargetError), ("1", TargetError)):
        with pytest.raises(error):
            regions(spots(), pictures(), [unit])


def test_the_command_draws_them(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 256, (2, 8, 8), np.uint8))
    words = ["regions", "digits:lenet5", tmp_path / "few.npy", "c1:0", "c3:2@2,3", "-o", tmp_path / "r.png", "--json"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.output.splitlines()[-1])
    assert [unit["unit"] for unit in found["units"]] == ["c1:0", "c3:2@2,3"]
    assert all(each["cell"] == [2, 3] for each in found["units"][1]["best"])
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.width > 2000
