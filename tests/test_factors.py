"""Predictions as sums of units: exact sums on every head, planted units that are known, and errors that say why not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

import convscope
from convscope.cli import main
from convscope.concepts import Concept, Labels
from convscope.dissection import Dissection
from convscope.errors import AttributionError, NotFiniteError
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.studies.factors import LEVEL, factors
from dissecting import Planted
from explaining import classifier, images_of, network_of, state
from odd_nets import ODD_NETS, Net, conv

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = images_of(3, 3, 8, 10)


def gap(pool: nn.Module | None = None, bias: bool = True) -> tuple[nn.Sequential, Network]:
    """6 units with maps of 4 × 5 cells, pooled, and three classes."""
    pool = nn.AdaptiveAvgPool2d(1) if pool is None else pool
    layers = [conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 3, bias)]
    module = classifier(*layers)
    return module, network_of(module, (3, 8, 10))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one.double(), other.double().detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)])
@pytest.mark.parametrize("bias", [True, False])
def test_contributions_are_weight_times_pooled_value(pool: nn.Module, bias: bool) -> None:
    module, network = gap(pool, bias)
    maps, head = module[:5](IMAGES), module[7]
    pooled = maps.amax((2, 3)) if isinstance(pool, nn.AdaptiveMaxPool2d) else maps.mean((2, 3))
    before = state(module)
    for target in range(3):
        found = factors(network, IMAGES, target, top=2)
        close(found.contributions, pooled * head.weight[target])
        close(found.bias, head.bias[target].expand(3) if bias else torch.zeros(3))
        close(found.contributions.sum(1) + found.bias, module(IMAGES)[:, target])
        assert float(found.gap.abs().max()) < 1e-12
        assert found.layer == "4"
        order = found.contributions.argsort(1, descending=True)[:, :2]
        assert torch.equal(found.units, order)
        close(found.maps, torch.stack([maps[row, units] for row, units in enumerate(order)]).float())
        assert any("maximum" in note for note in found.notes) == isinstance(pool, nn.AdaptiveMaxPool2d)
    assert state(module) == before


def test_a_network_that_pools_the_maps_of_classes_is_a_sum_over_the_units_before() -> None:
    module = classifier(conv(3, 4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.AvgPool2d((8, 10)),
                        nn.Flatten())  # fmt: skip
    features, head = module[:2](IMAGES), module[3]
    found = factors(network_of(module, (3, 8, 10)), IMAGES, 1)
    weights, raw = head.weight[1, :, 0, 0], head(features)[:, 1:2]
    assert (raw < 0).any()
    open_ = (raw > 0).double()  # where the rectifier lets the class's map through
    close(found.contributions, (features * weights[:, None, None] * open_).mean((2, 3)))
    close(found.bias, head.bias[1] * open_.mean((1, 2, 3)))
    close(found.contributions.sum(1) + found.bias, module(IMAGES)[:, 1])
    assert found.layer == "1"


@pytest.mark.parametrize("name", ["pooled_head", "residual", "functional_layers"])
def test_odd_networks_are_sums_too(name: str) -> None:
    odd = ODD_NETS[name]
    module, images = odd.make(), odd.images(2)
    found = factors(network_of(module, odd.shape), images)
    assert float(found.gap.abs().max()) < 1e-5
    assert float(found.contributions.abs().sum()) > 0.01
    given = module(images)
    scores = given if isinstance(given, Tensor) else next(iter(given.values()))
    close(found.scores, scores.max(1).values)


def test_silencing_the_first_unit_lowers_the_logit_by_its_contribution() -> None:
    module, network = gap()
    found = factors(network, IMAGES[:1], 0)
    unit = int(found.units[0, 0])
    lost = float(found.contributions[0, unit])
    assert lost > 0.01
    with torch.no_grad():
        module[7].weight[0, unit] = 0
    assert module(IMAGES[:1])[0, 0].item() == pytest.approx(float(found.scores[0]) - lost, abs=1e-9)


def test_another_order_of_the_units_changes_only_their_numbers() -> None:
    module, network = gap()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    before = factors(network, IMAGES, 2)
    with torch.no_grad():
        for tensor in (module[3].weight, module[3].bias):
            tensor.copy_(tensor[order])
        module[7].weight.copy_(module[7].weight[:, order])
    after = factors(network, IMAGES, 2)
    close(after.contributions, before.contributions[:, order])
    close(after.maps, before.maps)


def test_shares_of_what_speaks_for_a_class_make_one() -> None:
    _, network = gap()
    found = factors(network, IMAGES, 2)
    assert (found.contributions < 0).any()
    close(found.shares.clamp(min=0).sum(1), torch.ones(3))
    none = dataclasses.replace(found, contributions=-found.contributions.abs())
    assert not none.shares.any()


def test_a_planted_unit_is_found_where_it_is() -> None:
    """Unit 2 answers to red, and class 1 rests on it alone; red is in one corner."""
    module = classifier(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module[0].weight[:3, :, 0, 0] = torch.eye(3)[[1, 2, 0]]
        module[4].weight[1, 2] = 5
    image = torch.zeros(1, 3, 8, 10, dtype=torch.float64)
    image[0, 0, 1:4, 6:9] = 1
    image[0, 1] = 1  # green everywhere, which unit 0 answers to, and nobody asks
    found = factors(network_of(module, (3, 8, 10)), image, 1, top=2, names={2: "red"})
    assert found.units[0, 0] == 2
    assert found.name(2) == "red (unit 2)"
    assert found.name(3) == "unlabelled (unit 3)"
    assert float(found.shares[0, 2]) == 1
    truth = image[0, 0] > 0
    assert torch.equal(found.regions()[0, 0], truth)
    assert torch.equal(found.on_image()[0, 0], image[0, 0].float())
    silent = factors(network_of(module, (3, 8, 10)), image, 1, top=4)
    assert not silent.regions()[0, silent.units[0].tolist().index(3)].any()


def test_a_region_ends_at_a_share_of_the_largest_value() -> None:
    _, network = gap()
    found = factors(network, IMAGES)
    for row in range(len(found)):
        for place in range(found.units.shape[1]):
            map_, shown = found.maps[row, place], found.on_image()[row, place]
            assert torch.equal(found.regions()[row, place], (shown >= LEVEL * map_.max()) & (map_.max() > 0))


def test_what_is_no_sum_is_an_error() -> None:
    odd = ODD_NETS["fully_connected_head"]
    with pytest.raises(AttributionError, match=r"a sum over units needs a network that ends in global .* GradCAM"):
        factors(network_of(odd.make(), odd.shape), odd.images(1))
    curved = Net(lambda net, x: net.b(net.a(x)).sigmoid().mean((2, 3)), a=conv(3, 4), b=conv(4, 3)).double()
    with pytest.raises(AttributionError, match=r"is no sum over the units of a: .* not linear"):
        factors(network_of(curved, (3, 8, 10), output="real"), IMAGES, 0)
    alone = Net(lambda net, x: net.a(x).mean((2, 3)), a=conv(3, 4)).double()
    with pytest.raises(AttributionError, match="maps of other units"):
        factors(network_of(alone, (3, 8, 10)), IMAGES, 0)
    _, network = gap()
    with pytest.raises(AttributionError, match="is a probability"):
        factors(network, IMAGES, convscope.attribution.Class(0, "probability"))


def test_the_image_that_breaks_is_named() -> None:
    _, network = gap()
    images = IMAGES.clone()
    images[1] = images[1].sign() * 1e308
    with pytest.raises(NotFiniteError, match="of image 1 "):
        factors(network, images, 0)


# --- units in a dissection --------------------------------------------------------------------------------------------


def dissected(folder: Path) -> tuple[Network, Dissection]:
    """Three units that are the colours of the image: one is the door, one the door and half as much again, one not."""
    module = classifier(
        nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    module.float()[0].weight.data = torch.eye(3)[:, :, None, None]
    module[4].weight.data = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    network = convscope.wrap(module, preprocess=Preprocess((8, 10)))
    pictures = np.full((4, 3, 8, 10), 0.2, np.float32)
    maps = np.zeros((4, 1, 8, 10), np.int32)
    for image, (picture, labels) in enumerate(zip(pictures, maps, strict=True)):
        door = (slice(2, 4), slice(image, image + 3))
        picture[0][door], picture[1][door], labels[0][door] = 0.9, 0.7, 1
        picture[1, 4, image : image + 3] = 0.8
        picture[2, 7, image : image + 6] = 0.8
    concepts = Planted(Arrays(pictures), [Concept(1, "door", "object")], [Labels(each) for each in maps])
    return network, convscope.dissect(network, concepts, folder, quantile=0.12)


def test_a_dissection_names_units_and_says_where_they_answer(tmp_path: Path) -> None:
    network, dissection = dissected(tmp_path)
    image = torch.full((1, 3, 8, 10), 0.1)
    image[0, :2, 5, 3:6] = 0.85
    found = factors(network, image, 1, top=3, names=dissection)
    assert [unit.iou for unit in dissection["0"]] == [1, 6 / 9, 0]
    assert [found.name(unit) for unit in range(3)] == ["door (unit 0)", "door (unit 1)", "unlabelled (unit 2)"]
    order = found.units[0].tolist()
    for place, unit in enumerate(order):
        threshold = dissection["0"][unit].threshold
        above = image[0, unit] > threshold
        # Nothing of the last unit's map is above its threshold: then it is a share of its largest value.
        expected = above if above.any() else image[0, unit] >= LEVEL * image[0, unit].max()
        assert torch.equal(found.regions()[0, place], expected)
    assert [(image[0, unit] > dissection["0"][unit].threshold).any().item() for unit in range(3)] == [True, True, False]
    told = found.to_json()["predictions"][0]["factors"]
    assert [each["name"] for each in told] == ["door" if unit < 2 else None for unit in order]
    assert [each["iou"] for each in told] == [dissection["0"][unit].iou for unit in order]


def test_a_dissection_must_be_of_this_network_and_have_the_units(tmp_path: Path) -> None:
    network, dissection = dissected(tmp_path)
    image = torch.full((1, 3, 8, 10), 0.5)
    with torch.no_grad():
        network.module[4].weight += 1
    other = convscope.wrap(network.module, preprocess=Preprocess((8, 10)))
    with pytest.raises(AttributionError, match="other weights or preprocessing"):
        factors(other, image, 1, names=dissection)
    deep = classifier(
        conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)
    )
    network = convscope.wrap(deep.float(), preprocess=Preprocess((8, 10)))
    concepts = Planted(Arrays(np.ones((1, 3, 8, 10), np.float32)), [Concept(1, "door", "object")],
                       [Labels(np.ones((1, 8, 10), np.int32))])  # fmt: skip
    first = convscope.dissect(network, concepts, tmp_path / "deep", layers=["0"])
    with pytest.raises(AttributionError, match="units of 2 and these were not dissected; there are 0"):
        factors(network, image, 1, names=first)


# --- the command -----------------------------------------------------------------------------------------------------


def run(*words: Any, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_the_command_draws_and_says_the_sum(tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("unit,name\n51,wing\n")
    figure = tmp_path / "factors.png"
    said = run("factors", "diorama:objects", "diorama:objects/test@3", "--names", names, "-o", figure, "--json")
    found = json.loads(said.splitlines()[-1])
    assert sum(found["contributions"]) + found["bias"] == pytest.approx(found["score"], abs=1e-5)
    contributions = [each["contribution"] for each in found["factors"]]
    assert contributions == sorted(found["contributions"], reverse=True)[:5]
    assert found["factors"][0] == {"unit": 51, "name": "wing"} | {
        key: found["factors"][0][key] for key in ("contribution", "share")
    }
    with Image.open(figure) as picture:
        assert picture.width > 2000
    both = ("--names", names, "--concepts", tmp_path)
    message = run("factors", "diorama:objects", "diorama:objects/test@3", *both, "-o", figure, code=2)
    assert "give one of them" in " ".join(message.split())
    names.write_text("unit\n51\n")
    message = run("factors", "diorama:objects", "diorama:objects/test@3", "--names", names, "-o", figure, code=2)
    assert "expected the columns 'unit' and 'name'" in " ".join(message.split())


@pytest.mark.real
def test_squeezenet_is_a_sum_over_the_last_fire_module(shared_data: Path) -> None:
    network = convscope.load(shared_data / "weights" / "squeezenet1_0.safetensors", arch="squeezenet1_0")
    files = sorted((shared_data / "imagenet_val227" / "images").glob("*.jpg"))[:3]
    images = torch.stack([network.preprocess(Image.open(file)) for file in files])
    found = factors(network, images)
    assert found.layer == "features.12"
    assert [round(score, 4) for score in found.scores.tolist()] == [27.8045, 17.9201, 35.9009]
    assert float(found.gap.abs().max()) < 1e-4
