"""What a real network detects in real images: SqueezeNet on driving scenes, 11 classes, two quantiles [METHODS 0.3]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convscope
from convscope.concepts import open_concepts
from convscope.dissection import Dissection, dissect
from convscope.network import Network
from convscope.studies.segments import segments

pytestmark = [pytest.mark.real, pytest.mark.slow]

LAYERS = [f"features.{number}.{part}" for number in (10, 12) for part in ("expand1x1", "expand3x3")]


@pytest.fixture(scope="module")
def squeezenet(shared_data: Path) -> Network:
    return convscope.load(shared_data / "weights/squeezenet1_0.safetensors", arch="squeezenet1_0")


@pytest.fixture(scope="module")
def dissected(
    squeezenet: Network, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[float, Dissection]:
    """By quantile."""
    folder, driving = tmp_path_factory.mktemp("driving"), shared_data / "camvid"
    return {q: dissect(squeezenet, driving, folder / str(q), layers=LAYERS, quantile=q) for q in (0.005, 0.02)}


def detected(found: Dissection, above_chance: float = 0.0) -> set[str]:
    """Labels of detectors whose IoU is so many times that with the labels of other images."""
    return {
        unit.label.name
        for layer in found.layers
        for unit, chance in zip(layer, layer.control, strict=True)
        if unit.label and unit.iou > max(0.04, above_chance * chance[unit.label.number - 1])
    }


def test_a_small_quantile_finds_small_things(dissected: dict[float, Dissection]) -> None:
    found = dissected[0.005]
    assert {"sign_symbol", "car", "pedestrian", "bicyclist"} <= detected(found, 2)
    assert {each.concept.name for each in found.unreachable()} == {"road", "sky", "building"}
    assert not {"road", "sky", "building"} & detected(found)


def test_a_larger_quantile_finds_large_things_as_well(dissected: dict[float, Dissection]) -> None:
    found = dissected[0.02]
    assert {"road", "sky", "tree", "building"} <= detected(found)
    assert {"tree", "building", "car", "pavement"} <= detected(found, 2)
    assert {"sky"} <= detected(found, 1.5)
    assert "road" not in detected(found, 1.5)  # it is below in every frame, so other frames' labels do as well
    assert not found.unreachable()


def test_what_is_lit_in_the_best_images_of_the_best_car_detector_is_cars(
    squeezenet: Network, dissected: dict[float, Dissection], shared_data: Path
) -> None:
    concepts = open_concepts(shared_data / "camvid")
    car = next(concept.number for concept in concepts.concepts if concept.name == "car")
    units = [unit for layer in dissected[0.02].layers for unit in layer if unit.label and unit.label.number == car]
    best = max(units, key=lambda unit: unit.iou)
    found = segments(squeezenet, dissected[0.02].path, str(best.address))
    lit, cars = 0, 0
    for each in found.units[0].images:
        truth = Image.fromarray((concepts.labels(each.id).maps[0] == car).astype(np.uint8))
        truth = np.asarray(truth.resize((227, 227), Image.Resampling.NEAREST), bool)
        assert (each.mask & truth).any()
        lit, cars = lit + each.mask.sum(), cars + (each.mask & truth).sum()
    assert cars > 0.8 * lit
