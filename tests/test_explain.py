"""Explanations: what is asked of whom, the check by random weights, and what is written and shown of it."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

import convscope
from convscope.attribution import CAM, RISE, Attribution, GradCAM, Occlusion, Saliency
from convscope.attribution.base import Answer, Question
from convscope.cli import main
from convscope.errors import AttributionError, ImagesError, TargetError
from convscope.explanation import Explanation, explain
from convscope.explanation.methods import label, read_methods
from convscope.explanation.randomization import MAGNITUDES, RANKS, top_layer, with_random_weights
from convscope.images import choose
from convscope.network import Network
from convscope.recorder import record
from convscope.render import maps, overlays, views
from convscope.render.figures import sheet
from convscope.render.figures.explanation import draw, draw_overview
from convscope.report.explanations import write_explanations
from convscope.targets import understand
from explaining import network_of, state
from reading import check

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("cat", "dog", "emu", "fox")


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.eval()


def pooled(**options: Any) -> Network:
    """A network whose class maps are exact."""
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    module = seeded(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *head))
    return network_of(module, (3, 12, 12), **{"classes": CLASSES} | options)


def flat() -> Network:
    """One that has no class maps."""
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4)))
    return network_of(module, (3, 12, 12), classes=CLASSES)


def pictures(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Said(nn.Module):
    """The outputs are the first pixels of the image: what the network says is planted."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :4]


def saying(*scores: float, **options: Any) -> tuple[Network, Tensor]:
    image = torch.zeros(1, 1, 4, 4)
    image.view(-1)[: len(scores)] = torch.tensor(scores)
    return network_of(Said(), (1, 4, 4), **{"classes": CLASSES} | options), image


# --- what the network says -------------------------------------------------------------------------------------------


def test_several_classes_are_true_where_outputs_are_sigmoids() -> None:
    network, image = saying(
        9.0, math.log(0.39 / 0.61), -3.0, -4.0, classes=("bird", "person", "cat", "dog"), output="sigmoid"
    )
    found = explain(network, image, "saliency", "top2")[0]
    assert [(str(each), each.said) for each in found.predictions[:2]] == [("bird", "100 %"), ("person", "39 %")]
    assert [each.value for each in found.predictions] == pytest.approx(
        [1 / (1 + math.exp(-x)) for x in (9, math.log(0.39 / 0.61), -3, -4)]
    )
    assert [cell.found.targets for cell in found["saliency"]] == [("class 0 (bird)",), ("class 1 (person)",)]
    assert "bird 100 %, person 39 %" in repr(found)


def test_probabilities_sum_to_one_and_real_values_are_none() -> None:
    network, image = saying(2.0, 1.0, 3.0, -1.0)
    found = explain(network, image, "saliency")[0].predictions
    powers = {index: math.exp(score) for index, score in enumerate((2, 1, 3, -1))}
    assert [each.index for each in found] == [2, 0, 1, 3]
    assert [each.value for each in found] == pytest.approx([powers[i] / sum(powers.values()) for i in (2, 0, 1, 3)])
    network, image = saying(2.0, 1.0, -3.0, 1.0, output="real")
    explained = explain(network, image, "saliency")
    assert [(each.name, each.value, each.said) for each in explained[0].predictions] == [
        ("cat", 2.0, "2"), ("dog", 1.0, "1"), ("fox", 1.0, "1"), ("emu", -3.0, "−3"),
    ]  # fmt: skip
    assert explained[0].cells[0].found.score == ("output",)
    assert explained.to_json()["images"][0]["predictions"][0] == {"class": 0, "name": "cat", "value": 2.0}


def test_a_network_that_ends_in_a_softmax_gets_no_second_one() -> None:
    network, image = saying(2.0, 1.0, 3.0, -1.0)
    ended = dataclasses.replace(network, module=nn.Sequential(Said(), nn.Softmax(1)))
    one, other = (explain(each, image, "saliency")[0].predictions for each in (network, ended))
    assert [each.value for each in one] == pytest.approx([each.value for each in other])


def test_without_classes_units_can_be_explained_and_nothing_is_predicted() -> None:
    network = network_of(seeded(nn.Sequential(nn.Conv2d(3, 4, 3))), (3, 12, 12))
    found = explain(network, pictures(2), "saliency", "0:1")
    assert found.about.outputs is None
    assert found[0].predictions == ()
    assert found.map("saliency").score == ("response", "response")
    for targets in (None, "top3"):
        with pytest.raises(TargetError, match="no classes to explain"):
            explain(network, pictures(1), "saliency", targets)


# --- targets ----------------------------------------------------------------------------------------------------------


def test_the_best_classes_each_have_their_map() -> None:
    network, images = pooled(), pictures()
    found = explain(network, images, "gradcam, cam", "top3", check="none")
    best = network.module(images).topk(3).indices
    assert found.about.columns == ("top 1", "top 2", "top 3")
    for rank in range(3):
        for method in (GradCAM(), CAM()):
            assert torch.equal(found.map(method.name, rank).values, method(network, images, best[:, rank]).values)


def test_targets_are_one_for_all_one_for_each_or_several() -> None:
    network, images = pooled(), pictures()
    given = explain(network, images, "saliency", ("emu", ["cat", "0:2", 3], "0:1@4,5", lambda out: out[:, 0] * 2))
    columns = [given.map("saliency", column) for column in range(4)]
    assert columns[0].targets == ("class 2 (emu)",) * 3
    assert columns[1].targets[::2] == ("class 0 (cat)", "class 3 (fox)")
    assert columns[1].targets[1].startswith("0:2@")
    for column, target in zip(columns[1:3], (["cat", "0:2", 3], "0:1@4,5"), strict=True):
        assert torch.equal(column.values, Saliency()(network, images, target).values)
    torch.testing.assert_close(columns[3].values, 2 * Saliency()(network, images, "cat").values)


def test_a_class_of_that_name_is_no_number_of_classes() -> None:
    network = pooled(classes=("top1", "top2", "top3", "bottom"))
    assert explain(network, pictures(1), "cam", "top3").map("cam").targets == ("class 2 (top3)",)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["cat", "dog"], "2 targets are given in a list for 3 images"),
        ((), "no target is given"),
        ("top5", "the best 5 classes are to be explained, and .* has 4"),
        ("cta", "has no class 'cta'; did you mean 'cat'"),
    ],
)
def test_a_wrong_target_is_an_error(targets: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        explain(pooled(), pictures(), "cam", targets)


# --- methods ----------------------------------------------------------------------------------------------------------


def test_methods_are_read_with_their_parameters() -> None:
    text = "CAM, occlusion:window=6,stride=2,fill=0.5, rise:masks=20,visible=0.8, guided-backprop,saliency:signed=true"
    methods = read_methods([text, GradCAM("0")], pooled(), seed=7)
    assert methods[:3] == (CAM(), Occlusion(6, 2, 0.5), RISE(masks=20, visible=0.8, seed=7))
    assert [label(method) for method in methods[3:]] == ["guided_backprop", "saliency:signed=True", "gradcam:layer=0"]
    again = read_methods([label(method).lower() for method in methods], pooled())
    assert again == methods


def test_windows_fit_the_image_unless_they_are_given() -> None:
    for side, window, stride in ((224, 32, 8), (96, 14, 4), (28, 4, 1), (4, 1, 1)):
        network = network_of(nn.Conv2d(1, 1, 1), (1, side, side))
        assert read_methods("occlusion", network) == (Occlusion(window, stride),)
    assert read_methods("occlusion:window=8", network) == (Occlusion(8, 2),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gradcm", "no method 'gradcm'; did you mean 'gradcam'.*known are cam, "),
        ("", "no method is named"),
        ("cam:layer=1", "cam has no parameter 'layer'; it has no parameters"),
        ("rise:mask=3", "no parameter 'mask'; did you mean 'masks'.*its parameters are masks, cells"),
        ("rise:masks=many", "masks is 'many'; expected a whole number"),
        ("saliency:signed=maybe", "signed is 'maybe'; expected true or false"),
        ("rise:masks=3,masks=4", "'masks' stands twice"),
        ("rise:masks", "'masks' is no parameter, which is written name=value"),
        ("cam,cam", "the method cam stands twice"),
    ],
)
def test_a_wrong_method_is_an_error(text: str, message: str) -> None:
    with pytest.raises(AttributionError, match=message):
        read_methods(text, pooled())


def test_by_default_the_class_map_is_the_one_that_the_network_has() -> None:
    for network, expected in ((pooled(), "cam"), (flat(), "gradcam")):
        found = explain(network, pictures(1))
        assert [method.name for method in found.about.methods] == [expected, "occlusion", "saliency", "guided_backprop"]
        assert all(cell.refused is None for cell in found[0].cells)
    assert explain(pooled(), pictures(1), targets="0:1").about.methods[0].name == "gradcam"


def test_a_method_that_does_not_apply_says_so_and_the_others_go_on() -> None:
    found = explain(flat(), pictures(2), "cam, saliency")
    assert found[1]["cam"][0].found is None
    assert "Take GradCAM" in str(found[1]["cam"][0].refused)
    assert "convscope convert" in str(found[1]["cam"][0].refused)
    assert torch.equal(found.map("saliency").values, Saliency()(flat(), pictures(2)).values)
    with pytest.raises(KeyError, match="cam gave no map"):
        found.map("cam")
    with pytest.raises(AttributionError, match="Take GradCAM"):
        explain(flat(), pictures(2), "cam")
    mixed = explain(pooled(), pictures(1), "cam", ("cat", "0:1"))[0]["cam"]
    assert [cell.refused is None for cell in mixed] == [True, False]


# --- the check by random weights --------------------------------------------------------------------------------------


class Looking(Saliency):
    """A map of the image alone: nothing that the network has learned is in it."""

    def explain(self, question: Question) -> Answer:
        return Answer(question.images.mean(1, keepdim=True), question.run())


class Listening(Saliency):
    """The score, where the first channel responds, and elsewhere its negative: all of it depends on the top layer."""

    def explain(self, question: Question) -> Answer:
        passed = question.run()
        where = torch.linspace(-1, 1, 144).reshape(1, 1, 12, 12)
        weight = passed.gradient(by=None).sum((1, 2, 3))[:, None, None, None]
        return Answer(torch.sin(40 * where * weight), passed)


def test_a_map_that_does_not_depend_on_the_top_layer_gets_a_caveat_and_one_that_does_gets_none() -> None:
    network, images = pooled(), pictures()
    for cell in (explain(network, images, Looking())[row].cells[0] for row in range(3)):
        assert cell.found.evidence[RANKS].tolist() == pytest.approx([1])
        assert [note for note in cell.found.notes if "random weights in 4, " in note]
    for cell in (explain(network, images, Listening())[row].cells[0] for row in range(3)):
        assert abs(float(cell.found.evidence[RANKS])) < 0.8
        assert not [note for note in cell.found.notes if "random weights" in note]


def test_the_published_caveat_of_guided_backpropagation_comes_when_the_check_shows_it() -> None:
    found = explain(
        convscope.load("diorama:objects-fc"), "diorama:objects/test@3", "guided_backprop, gradient_times_input"
    )
    guided, times = found[0].cells
    assert float(guided.found.evidence[RANKS]) > 0.9
    assert any("as is known of guided backpropagation" in note and "Adebayo" in note for note in guided.found.notes)
    assert not any("Adebayo" in note for note in times.found.notes)


def test_the_check_is_the_rank_correlation_with_a_network_of_random_weights() -> None:
    network, images = pooled(), pictures()
    found = explain(network, images, "cam, gradient_times_input", "dog", seed=5)
    other = pooled()
    weights = other.module[4].weight
    numbers = torch.randn(weights.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        weights.copy_(numbers * weights.double().square().mean().sqrt())
    for name in ("cam", "gradient_times_input"):
        mine, others = found.map(name), found.map(name).method(other, images, "dog")
        for row in range(3):
            one, random = mine.values[row].numpy(), others.values[row].numpy()
            assert float(mine.evidence[RANKS][row]) == pytest.approx(spearmanr(one, random, axis=None).statistic)
            magnitudes = spearmanr(abs(one).sum(0), abs(random).sum(0), axis=None).statistic
            assert float(mine.evidence[MAGNITUDES][row]) == pytest.approx(magnitudes)
    assert found[0].cells[0].check.layer == "4"
    assert found[0].cells[0].check.seed == 5


def test_what_a_unit_does_not_see_makes_its_maps_not_alike() -> None:
    """A unit of the first layer sees 9 of 144 pixels, and its gradient there are its weights."""
    network, images = pooled(), pictures(1)
    cell = explain(network, images, "saliency:signed=true", "0:1@3,4", seed=2)[0].cells[0]
    trained = network.module[0].weight.detach().double()
    draws = [
        torch.randn(trained.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in range(2, 6)
    ]
    seen, bias = images[0, :, 3:6, 4:7].double(), float(network.module[0].bias[1].detach())
    size = trained.square().mean().sqrt()
    drawn = next(each[1] for each in draws if float((each[1] * size * seen).sum()) + bias > 0)  # else its map is zero
    expected = spearmanr(trained[1].flatten(), drawn.flatten()).statistic
    assert float(cell.found.evidence[RANKS]) == pytest.approx(expected)


def test_of_a_unit_its_own_layer_is_the_top() -> None:
    network, images = pooled(), pictures()
    found = explain(network, images, "saliency", ("0:3", "dog"))
    assert [cell.check.layer for cell in found[0].cells] == ["0", "4"]
    graph = record(network.module, images[:1])
    assert top_layer(graph, understand("0:3", network, graph, 1)[0]) == graph.layers()[0]


def test_costly_methods_are_checked_when_that_is_asked_for() -> None:
    network, images = pooled(), pictures(1)
    methods = "occlusion, rise:masks=20,cells=3,visible=0.8, saliency"
    for which, expected in (("cheap", [False, False, True]), ("all", [True] * 3), ("none", [False] * 3)):
        cells = explain(network, images, methods, check=which)[0].cells
        assert [RANKS in cell.found.evidence for cell in cells] == expected
        assert [cell.check is not None for cell in cells] == expected


def test_only_the_weights_of_the_layer_are_new_and_nothing_else_is_copied() -> None:
    module = seeded(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 300))
    )
    network = network_of(module, (3, 12, 12))
    before, graph = state(module), record(module, pictures(1))
    other = with_random_weights(network, graph, graph.layers()[-1], 0).module
    for (name, one), (_, copied) in zip(module.state_dict().items(), other.state_dict().items(), strict=True):
        assert (one.data_ptr() == copied.data_ptr()) == (name != "4.weight")
    new, old = other[4].weight.detach(), module[4].weight.detach()
    assert float(new.mean()) == pytest.approx(0, abs=0.1)
    assert float(new.square().mean()) == pytest.approx(float(old.square().mean()), rel=0.1)
    assert abs(float(torch.corrcoef(torch.stack([new.flatten(), old.flatten()]))[0, 1])) < 0.1
    assert state(module) == before


def test_weights_that_are_computed_are_redrawn_at_their_source() -> None:
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    network = network_of(seeded(module), (3, 12, 12))
    before = state(module)
    cell = explain(network, pictures(1), "cam")[0].cells[0]
    assert cell.check.layer == "4"
    assert abs(float(cell.found.evidence[RANKS])) < 0.999
    assert state(module) == before


class Locked(nn.Module):
    """A module that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.linear = nn.Linear(432, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


def test_where_the_check_cannot_be_made_the_reason_is_said() -> None:
    cell = explain(network_of(seeded(Locked()), (3, 12, 12)), pictures(1), "saliency")[0].cells[0]
    assert "cannot be copied" in cell.check.reason
    network, image = saying(1.0, 2.0, 3.0, 4.0)
    nothing = explain(network, image, "saliency")
    assert nothing[0].cells[0].check.reason == "no layer with weights is on the way to the target"
    assert nothing.to_json()["images"][0]["maps"][0]["evidence"] == {RANKS: None, MAGNITUDES: None}


class Trap(Saliency):
    """Raises on the network with random weights."""

    def explain(self, question: Question) -> Answer:
        if question.network.module[4].weight.data_ptr() != TRAPPED[0]:
            raise ValueError("the trap")
        return super().explain(question)


TRAPPED = [0]


def test_the_network_is_left_as_it_was() -> None:
    network, images = pooled(), pictures()
    for i, module in enumerate(network.module.modules()):
        module.training = i % 2 == 0
    for parameter in network.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, pixels, random = state(network.module), images.clone(), torch.get_rng_state()
    explain(network, images, targets=("top2", "0:1"))
    TRAPPED[0] = network.module[4].weight.data_ptr()
    with pytest.raises(ValueError, match="the trap"):
        explain(network, images, Trap())
    assert state(network.module) == before
    assert torch.equal(images, pixels)
    assert torch.equal(torch.get_rng_state(), random)


# --- images -----------------------------------------------------------------------------------------------------------


def test_batches_change_nothing() -> None:
    network, images = pooled(), pictures(5)
    network.module.double()
    steps: list[int] = []
    one, two = (
        explain(
            network,
            images.double(),
            "cam, guided_backprop",
            "top2",
            batch_size=size,
            progress=lambda step: steps.append(step.done),
        )
        for size in (1, 3)
    )
    for mine, other in zip(one, two, strict=True):
        assert mine.name == other.name
        for cell, same in zip(mine.cells, other.cells, strict=True):
            torch.testing.assert_close(cell.found.values, same.found.values)
            torch.testing.assert_close(cell.found.evidence[RANKS], same.found.evidence[RANKS])
    assert steps == sorted(steps[:20]) + sorted(steps[20:])
    assert steps[-1] == 5 * 4


def test_what_a_method_refuses_does_not_depend_on_the_batch() -> None:
    network, images = pooled(), pictures()
    for size in (1, 3):
        found = explain(network, images, "cam", ["cat", "0:1", "dog"], batch_size=size)
        assert [image["cam"][0].refused is None for image in found] == [True, False, True]
        torch.testing.assert_close(found[2]["cam"][0].found.values, CAM()(network, images[2:], "dog").values)


class Logarithm(nn.Module):
    """NaN for an image that is dark on average."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((2, 3)) + images.mean((1, 2, 3)).log()[:, None]


def test_an_image_whose_numbers_are_none_is_left_out_by_name() -> None:
    network, images = network_of(seeded(Logarithm()), (3, 12, 12)), pictures(4)
    images[1] -= 5
    found = explain(network, images, "saliency")
    assert [image.name for image in found] == ["image 0", "image 2", "image 3"]
    assert found.skipped == ({"id": 1, "name": "image 1", "reason": "the score is not finite (NaN or infinity)"},)
    assert torch.equal(found.map("saliency").values, Saliency()(network, images[[0, 2, 3]]).values)
    with pytest.raises(ImagesError, match=r"none of 1 images could be explained .image 0: the score is not finite"):
        explain(network, images[1:2], "saliency")


def test_images_come_from_files_sets_and_numbers(image_folder: Path, tiny_network: Network) -> None:
    chosen = choose([image_folder / "cat" / "b.png", f"{image_folder}@3", image_folder])
    assert chosen.names == ["b.png", "photos@3", "cat/a.png", "cat/b.png", "cat/c.png", "dog/a.png", "dog/b.png"]
    assert chosen.labels == [None, "dog", "cat", "cat", "cat", "dog", "dog"]
    found = explain(tiny_network, [image_folder / "cat" / "b.png", f"{image_folder}@3"], "saliency")
    assert [image.name for image in found] == ["b.png", "photos@3"]
    assert [None if image.truth is None else str(image.truth) for image in found] == [None, "dog"]
    assert (found[0].picture == 40).all()
    assert (found[1].picture == 120).all()
    with pytest.raises(ImagesError, match="no image is named"):
        explain(tiny_network, [], "saliency")


def test_a_damaged_image_is_left_out_by_name(image_folder: Path, tiny_network: Network) -> None:
    (image_folder / "cat" / "b.png").write_bytes(b"nothing")
    found = explain(tiny_network, image_folder, "saliency", ["cat", "dog", "dog", "cat", "dog"])
    assert [each["name"] for each in found.skipped] == ["cat/b.png"]
    assert [image["saliency"][0].found.targets[0][9:12] for image in found] == ["cat", "dog", "cat", "dog"]
    with pytest.raises(ImagesError, match=r"none of 1 images could be explained .b.png: its content"):
        explain(tiny_network, image_folder / "cat" / "b.png", "saliency")


# --- pictures ---------------------------------------------------------------------------------------------------------


def planted_map(values: Tensor, method: Attribution) -> Any:
    """A map of `pooled` with planted values."""
    found = explain(pooled(), pictures(1), method, check="none")[0].cells[0].found
    return dataclasses.replace(found, values=values)


def test_signed_maps_are_red_and_blue_over_the_image_which_is_grey_at_zero() -> None:
    values, picture = torch.zeros(1, 1, 12, 12), np.full((12, 12, 3), (10, 200, 90), np.uint8)
    values[0, 0, 0, 0], values[0, 0, 11, 11] = 2, -1
    view = maps.view(planted_map(values, Occlusion(3, 1)), "RGB")
    drawn = maps.drawn(view, picture, 12).astype(int)
    assert view.scale == "±2"
    assert view.values[0, 0] == 1
    assert view.values[11, 11] == -0.5
    red, green, blue = drawn[0, 0]
    assert red > blue + 100 > green
    red, green, blue = drawn[11, 11]
    assert blue > red + 30
    assert len(np.unique(drawn[5:7, 5:7])) == 1  # grey


def test_patterns_lie_around_mid_grey_in_the_order_of_colours() -> None:
    values = torch.zeros(1, 3, 12, 12)
    values[0, 0] = 1.0
    values[0, 1, :, :6] = -1.0
    for channels, first in (("RGB", 0), ("BGR", 2)):
        drawn = maps.drawn(
            maps.view(planted_map(values, Saliency(signed=True)), channels), np.zeros((12, 12, 3), np.uint8), 12
        )
        assert (drawn[..., first] == 255).all()
        assert (drawn[..., 2 - first] == 128).all()
        assert (drawn[:, :6, 1] == 0).all()
        assert (drawn[:, 6:, 1] == 128).all()


def contains(picture: np.ndarray[Any, Any], part: np.ndarray[Any, Any]) -> bool:
    height, width = part.shape[:2]
    ys, xs = np.nonzero((picture[: 1 - height or None, : 1 - width or None] == part[0, 0]).all(-1))
    for y, x in np.random.default_rng(0).integers(0, (height, width), (40, 2)):
        fits = (picture[ys + y, xs + x] == part[y, x]).all(-1)
        ys, xs = ys[fits], xs[fits]
    return any((picture[y : y + height, x : x + width] == part).all() for y, x in zip(ys, xs, strict=True))


def drawn_sheet(drawn: sheet.Sheet, place: Path) -> np.ndarray[Any, Any]:
    drawn.save(place)
    with Image.open(place) as file:
        return np.asarray(file.convert("RGB"))


def test_the_sheet_shows_image_and_maps_pixel_by_pixel(tmp_path: Path) -> None:
    found = explain(pooled(), pictures(2), "cam, saliency, guided_backprop", "top2")
    image, about = found[0], found.about
    seen = drawn_sheet(draw(image, about), tmp_path / "one.png")
    assert contains(seen, overlays.enlarged(image.picture, 430))
    assert len(image.cells) == 6
    for cell in image.cells:
        assert contains(seen, maps.drawn(maps.view(cell.found, "RGB"), image.picture, 233))
    overview = drawn_sheet(draw_overview(found, about, 2), tmp_path / "two.png")
    assert overview.shape[1] == seen.shape[1]


def test_sheet_and_view_say_why_there_is_no_map(tmp_path: Path) -> None:
    network = flat()
    with torch.no_grad():
        network.module[3].weight[:] = -network.module[3].weight.abs()  # no positive path
    found = explain(network, pictures(1), "cam, guided_backprop, saliency")
    assert found[0]["guided_backprop"][0].found.blank[0] is not None
    path = tmp_path / "sheet.svg"
    draw(found[0], found.about).save(path)
    text = " ".join(path.read_text().split())
    for expected in ("CAM needs", "Zero everywhere", "convscope convert"):
        assert expected in text, expected
    read = check(views.explanation(found))
    for expected in ("no map: CAM needs", "zero everywhere: the signal is zero", "one class is true"):
        assert expected in read.words


def test_the_view_of_a_notebook_is_whole() -> None:
    network, image = saying(
        9.0, math.log(0.39 / 0.61), -3.0, -4.0, classes=("<b>bird</b>", "person", "cat", "dog"), output="sigmoid"
    )
    read = check(views.explanation(explain(network, image, "saliency", "top2")))
    for expected in ("several classes can be true at once", "<b>bird</b>", "100 %", "person", "39 %"):
        assert expected in read.words
    assert sum(tag == "img" for tag, _ in read.tags) == 3


def test_text_is_a_few_lines() -> None:
    found = explain(pooled(), pictures(8), "cam")
    assert isinstance(found, Explanation)
    assert len(repr(found).splitlines()) == 7
    assert "and 3 more" in repr(found)
    assert repr(found[0]).splitlines()[1].startswith("  cam: class ")
    assert len(found[:2]) == 2


# --- the command ------------------------------------------------------------------------------------------------------


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["explain", *(str(word) for word in words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_writes_sheet_maps_and_evidence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (
        "digits:lenet5",
        "digits:test@3",
        "--method",
        "gradcam,rise:masks=40,cells=4,visible=0.7,saliency,cam",
        "--target",
        "top2",
    )
    printed = json.loads(run(*words, "--target", "c3:2", "--seed", 4, "-o", out, "--json").stdout)
    told = json.loads((out / "explanation.json").read_text())
    assert {name: printed[name] for name in told} == told
    network = convscope.load("digits:lenet5")
    found = explain(network, "digits:test@3", words[3], ("top2", "c3:2"), seed=4)
    image = told["images"][0]
    assert image["name"] == "digits:test@3"
    assert image["predictions"][0]["class"] == found[0].predictions[0].index
    assert image["truth"]["rank"] == 0
    assert told["network"]["fingerprint"] == network.fingerprint
    assert len(image["maps"]) == 4 * 3
    for each, cell in zip(image["maps"], found[0].cells, strict=True):
        assert each["label"] == cell.label
        if cell.found is None:
            assert each["method"] == "cam"
            assert "GradCAM" in each["refused"]
            continue
        assert each["target"] == cell.found.targets[0]
        assert each["score"] == pytest.approx(float(cell.found.scores[0]))
        assert each["parameters"] == vars(cell.method)
        assert each["seed"] == (4 if cell.method.name == "rise" else None)
        assert each["grid"] == cell.found.grid.to_json()
        assert each["check"] is None or each["check"]["layer"] == ("c3" if cell.column == "c3:2" else "output")
        values = np.load(out / each["files"]["values"])
        assert np.array_equal(values, cell.found.values[0, 0].numpy())
        if cell.method.name == "gradcam":
            assert np.array_equal(np.load(out / each["files"]["on_image"]), cell.found.on_image()[0].numpy())
        assert ("error" in each["files"]) == (cell.method.name == "rise")
    assert sorted(path.name for path in out.iterdir()) == told["files"]
    with Image.open(out / "explanation.png") as picture:
        assert picture.width > 2000


def test_several_images_have_folders_and_a_sheet_together(tmp_path: Path, image_folder: Path) -> None:
    (image_folder / "cat" / "b.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    result = run("diorama:objects", image_folder, "--method", "cam", "-o", out, "--limit", 4, "--batch-size", 2)
    told = json.loads((out / "explanation.json").read_text())
    assert [image["folder"] for image in told["images"]] == ["0-a", "2-c", "3-a"]
    assert [each["name"] for each in told["skipped"]] == ["cat/b.png"]
    assert "skipped cat/b.png" in result.stderr
    for image in told["images"]:
        own = json.loads((out / image["folder"] / "explanation.json").read_text())
        assert own["images"][0]["maps"] == image["maps"]
        assert (out / image["folder"] / image["maps"][0]["files"]["values"]).is_file()
    assert (out / "explanation.png").is_file()
    assert "sheet:" in result.stdout


def test_targets_of_one_name_have_files_and_maps_of_their_own(tmp_path: Path) -> None:
    found = explain(pooled(), pictures(2), "saliency", ([0, 1], [2, 3]), check="none")
    told = write_explanations(found, tmp_path / "out")
    for image, said in zip(found, told["images"], strict=True):
        for cell, each in zip(image.cells, said["maps"], strict=True):
            assert cell.found is not None
            values = np.load(tmp_path / "out" / said["folder"] / each["files"]["values"])
            np.testing.assert_array_equal(values, cell.found.values[0, 0].numpy())


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("digits:lenet5", "digits:test@3", "--method", "saliency", "-o", out)
    run(*words)
    run(*words, "--target", "c3:2")  # ours is replaced
    kept = json.loads((out / "explanation.json").read_text())
    assert kept["columns"] == ["c3:2"]
    assert "no class 'nine'" in run(*words, "--target", "nine", code=1).output
    assert json.loads((out / "explanation.json").read_text()) == kept
    (out / "mine.txt").write_text("mine")
    assert "something else than an explanation (mine.txt)" in run(*words, code=1).output
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits:test@3", "--method", "gradcm"), "did you mean 'gradcam'"),
        (("digits:test@3", "--method", "cam"), "convscope convert --head gap"),
        (("digits:test@3", "--target", "c9:1"), "no convolution or linear layer 'c9'"),
        (("digits:test@999",), "has images 0 to 358"),
        (("nowhere.png",), "nowhere.png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = run("digits:lenet5", *words, "-o", tmp_path / "out", code=1)
    assert message in result.output
    assert not list(tmp_path.iterdir())
