"""The pass of `localize`: planted networks with known maps, the transformation to the picture, files, and commands."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import convscope
from convscope.attribution import CAM, GradientTimesInput
from convscope.cli import main
from convscope.diorama.export import export
from convscope.errors import AttributionError, ImagesError, NetworkError
from convscope.evaluation.intervals import wilson
from convscope.images import Arrays
from convscope.localization.boxes import LargestComponent
from convscope.localization.frame import Frame
from convscope.localization.localizer import Centre, Localizer, maps_of, one_each, parse, two_two_one
from convscope.localization.truth import true_boxes
from convscope.network import Network
from convscope.preprocess import Preprocess

pytestmark = pytest.mark.usefixtures("one_thread")

K = 6  # classes, and channels


def planted_network(height: int = 24, width: int = 32, **preprocess: Any) -> Network:
    """A network whose map of class k is channel k of the image, and whose logit is its mean."""
    module = nn.Sequential(nn.Conv2d(K, K, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module.append(nn.Linear(K, K))
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(K)[:, :, None, None])
        module[4].weight.copy_(torch.eye(K))
        module[4].bias.zero_()
    return convscope.wrap(module.eval(), preprocess={"size": [height, width], "channels": K, **preprocess})


def image(*objects: tuple[int, tuple[int, int, int, int], float], height: int = 24, width: int = 32) -> np.ndarray:
    """Of each object its channel is set in its box."""
    planes = np.zeros((K, height, width), np.float32)
    for channel, (y0, x0, y1, x1), value in objects:
        planes[channel, y0:y1, x0:x1] = value
    return planes


def listed(path: Path, rows: Sequence[Sequence[Any]], columns: str = "file,y0,x0,y1,x1") -> Path:
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


ONE, OTHER = (4, 6, 12, 20), (14, 22, 22, 31)


# --- predictions -----------------------------------------------------------------------------------------------------


def test_a_planted_object_is_found_exactly(tmp_path: Path) -> None:
    images = Arrays(np.stack([image((2, ONE, 1.0)), image((3, OTHER, 1.0))]), [2, 3])
    boxes = listed(tmp_path / "boxes.csv", [(0, *ONE), (1, *OTHER)])
    found = convscope.localize(planted_network(), images, boxes, methods=["cam"])
    (row,) = found.rows
    assert (row.top1.wrong, row.top5.wrong, found.top1.wrong) == (0, 0, 0)
    assert row.overlaps[:, 0].tolist() == [1, 1]
    assert row.boxes[:, 0].tolist() == [list(ONE), list(OTHER)]
    assert row.maps.energy.tolist() == [1, 1]
    assert row.maps.pointing.wrong == 0
    assert row.maps.max_box_accuracy[0].wrong == 0


def test_of_two_objects_in_one_image_each_class_has_its_own_map_and_box(tmp_path: Path) -> None:
    both = image((1, ONE, 1.0), (4, OTHER, 1.1))  # class 1 has more pixels, and the larger mean
    images = Arrays(np.stack([both, both]), [1, 4])
    boxes = listed(tmp_path / "boxes.csv", [(0, *ONE), (1, *OTHER)])
    found = convscope.localize(planted_network(), images, boxes, methods=["cam", "cam/heuristics", "centre"])
    plain, heuristics, _ = found.rows
    assert found.ranked[:, :2].tolist() == [[1, 4], [1, 4]]
    assert plain.boxes[0, :2].tolist() == [list(ONE), list(OTHER)]
    assert plain.right.tolist() == [[True] + [False] * 4, [False, True] + [False] * 3]
    assert (plain.top1.wrong, plain.top5.wrong, found.top1.wrong, found.top5.wrong) == (1, 0, 1, 0)
    assert plain.maps.energy.tolist() == [1, 1]  # of the true classes
    assert heuristics.classes.tolist() == [[1, 1, 4, 4, 0]] * 2


def test_a_class_that_is_not_among_the_best_five_still_has_its_map(tmp_path: Path) -> None:
    others = [(channel, (0, 0, 2, 2), 9.0) for channel in range(5)]
    images = Arrays(image((5, ONE, 0.01), *others)[None], [5])
    found = convscope.localize(planted_network(), images, listed(tmp_path / "b.csv", [(0, *ONE)]), methods=["cam"])
    assert found.top5.wrong == found.rows[0].top5.wrong == 1
    assert found.rows[0].maps.energy.tolist() == [1]
    assert found.rows[0].maps.max_box_accuracy[0].wrong == 0


def test_a_box_that_overlaps_by_exactly_half_is_right(tmp_path: Path) -> None:
    images = Arrays(np.stack([image((2, (4, 6, 8, 20), 1.0))] * 2), [2, 2])
    boxes = listed(tmp_path / "boxes.csv", [(0, 4, 6, 12, 20), (1, 4, 6, 12.01, 20)])
    row = convscope.localize(planted_network(), images, boxes, methods=["cam"]).rows[0]
    assert row.overlaps[:, 0].tolist() == [0.5, pytest.approx(4 / 8.01)]
    assert row.right[:, 0].tolist() == [True, False]


def test_any_of_several_true_boxes_will_do(tmp_path: Path) -> None:
    images = Arrays(image((2, OTHER, 1.0))[None], [2])
    boxes = listed(tmp_path / "boxes.csv", [(0, *ONE), (0, *OTHER)])
    row = convscope.localize(planted_network(), images, boxes, methods=["cam"]).rows[0]
    assert row.right[0, 0]
    assert row.maps.energy.tolist() == [1]


@pytest.mark.parametrize("seed", range(4))
def test_localisation_errs_at_least_as_often_as_classification_and_five_guesses_less_than_one(
    seed: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(seed)
    corners = [sorted(random.choice(24, 2, replace=False)) + sorted(random.choice(32, 2, replace=False))
               for _ in range(20)]  # fmt: skip
    boxes = listed(tmp_path / "boxes.csv", [(f"{i:02}", y0, x0, y1, x1) for i, (y0, y1, x0, x1) in enumerate(corners)])
    smooth = random.random((20, K, 6, 8)).repeat(4, 2).repeat(4, 3).astype(np.float32)
    images = Arrays(smooth, random.integers(0, K, 20).tolist())
    found = convscope.localize(planted_network(), images, boxes, methods=["cam", "cam/heuristics", "saliency/graphcut"])
    for row in found.rows:
        assert row.top1.wrong >= found.top1.wrong
        assert row.top5.wrong >= found.top5.wrong
        assert row.top5.wrong <= row.top1.wrong
    alone = convscope.localize(planted_network(), images, boxes, methods=["cam", "cam/heuristics"], batch_size=3)
    assert [row.boxes.tolist() for row in alone.rows] == [row.boxes.tolist() for row in found.rows[:2]]
    assert [row.to_json() for row in alone.rows] == [row.to_json() for row in found.rows[:2]]


def test_of_two_classes_there_are_two_predictions_or_four(tmp_path: Path) -> None:
    network = planted_network()
    network.module[4] = nn.Linear(K, 2, bias=False).requires_grad_(False)
    network.module[4].weight.copy_(torch.eye(2, K))
    images = Arrays(image((0, ONE, 1.0), (1, OTHER, 0.5))[None], [0])
    boxes = listed(tmp_path / "boxes.csv", [(0, *ONE)])
    plain, heuristics = convscope.localize(network, images, boxes, methods=["cam", "cam/heuristics"]).rows
    assert plain.boxes.tolist() == [[list(ONE), list(OTHER)]]
    assert heuristics.classes.tolist() == [[0, 0, 1, 1]]


def test_images_that_cannot_be_read_are_left_out_and_listed(tmp_path: Path) -> None:
    planes = np.stack([image((2, ONE, 1.0)), image((2, ONE, np.nan)), image((2, ONE, 1.0))])
    boxes = listed(tmp_path / "boxes.csv", [(i, *ONE) for i in range(3)])
    found = convscope.localize(planted_network(), Arrays(planes, [2, 2, 2]), boxes, methods=["cam"], batch_size=1)
    assert found.ids == (0, 2)
    assert found.rows[0].overlaps[:, 0].tolist() == [1, 1]
    assert [(each["id"], each["reason"]) for each in found.skipped] == [(1, "it has values that are not finite")]
    with pytest.raises(ImagesError, match="none of 2 images could be read"):
        convscope.localize(planted_network(), Arrays(planes[[1, 1]], [2, 2]), listed(boxes, [(0, *ONE), (1, *ONE)]))


def test_maps_that_are_nowhere_positive_give_the_whole_image_and_that_is_said(tmp_path: Path) -> None:
    images = Arrays(np.stack([image((1, ONE, 1.0)), image((2, ONE, 1.0))]), [2, 2])
    boxes = listed(tmp_path / "boxes.csv", [(0, *ONE), (1, *ONE)])
    found = convscope.localize(planted_network(), images, boxes, methods=["cam", "centre"])
    assert found.remarks == (
        "cam: 1 of 2 maps of the true class are nowhere positive; such a map gives the whole image as its box",
    )
    assert found.rows[0].boxes[0, 1].tolist() == [0, 0, 24, 32]
    assert found.rows[0].maps.pointing.right == 1
    assert found.rows[0].maps.energy.tolist() == [0, 1]


def test_heuristics_take_two_two_and_one_and_repeat_the_box_of_a_class_that_has_only_one() -> None:
    boxes = [np.arange(4 * n).reshape(n, 4) + 100 * i for i, n in enumerate((3, 1, 2, 5, 1))]
    pairs = two_two_one(boxes)
    assert [rank for rank, _ in pairs] == [0, 0, 1, 1, 2]
    expected = [boxes[0][0], boxes[0][1], boxes[1][0], boxes[1][0], boxes[2][0]]
    assert [box.tolist() for _, box in pairs] == [box.tolist() for box in expected]
    assert [(rank, box.tolist()) for rank, box in one_each(boxes)] == [
        (i, each[0].tolist()) for i, each in enumerate(boxes)
    ]


def test_the_centre_is_a_box_of_half_the_sides() -> None:
    maps = Centre().maps(torch.zeros(2, 3, 16, 24))
    assert LargestComponent().boxes(maps)[1].tolist() == [[4, 6, 12, 18]]


def test_a_map_of_several_channels_gives_the_largest_magnitude() -> None:
    network, images = planted_network(), torch.rand(2, K, 24, 32)
    found = maps_of(GradientTimesInput(), network, images, [1, 3])
    assert torch.allclose(found, torch.stack([images[0, 1], images[1, 3]]) / (24 * 32), atol=1e-7)


def test_methods_and_protocols_are_named() -> None:
    assert parse("cam") == Localizer(CAM(), "largest")
    assert parse("cam", "graphcut") == Localizer(CAM(), "graphcut")
    assert parse("cam/heuristics", "graphcut").name == "cam/heuristics"
    with pytest.raises(AttributionError, match="no method 'gradcan'; did you mean 'gradcam'"):
        parse("gradcan")
    with pytest.raises(AttributionError, match="no protocol 'largets'; did you mean 'largest'"):
        parse("cam/largets")


# --- from the input to the picture -----------------------------------------------------------------------------------


PREPARED = [
    {},
    {"crop": [20, 24]},
    {"crop": [90, 70]},  # black is put around
    {"resize": 30},
    {"resize": 40, "crop": [36, 20]},
    {"resize": [50, 40], "crop": [30, 31]},
]


@pytest.mark.parametrize("options", PREPARED)
@pytest.mark.parametrize(("height", "width"), [(60, 80), (81, 47)])
def test_the_region_is_where_the_pixels_of_the_input_come_from(options: Any, height: int, width: int) -> None:
    """A picture whose values are its coordinates, prepared by Pillow, says where each pixel of the input lies."""
    prepared = Preprocess.from_json({"size": [25, 28], "channels": 3, **options})
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    input_ = prepared(np.stack([y, x, np.ones_like(y)]))
    frame = Frame.of(prepared, height, width)
    y0, x0, y1, x1 = frame.region
    rows, columns = y0 + (np.arange(25) + 0.5) * (y1 - y0) / 25, x0 + (np.arange(28) + 0.5) * (x1 - x0) / 28
    inner = [
        (line > 4) & (line < side - 4) for line, side in ((rows, height), (columns, width))
    ]  # at borders filters are cut off
    assert inner[0].sum() > 5
    assert inner[1].sum() > 5
    window = np.ix_(*inner)
    for away in (input_[0].numpy()[window] - rows[inner[0], None], input_[1].numpy()[window] - columns[inner[1]]):
        assert np.abs(away).max() < 0.3  # px of the picture: filters have whole pixels
        assert abs(away.mean()) < 0.02


def test_boxes_go_to_the_picture_and_back() -> None:
    frame = Frame(60, 80, (10.0, -5.0, 50.0, 75.0), (20, 40))  # 2 px of the picture for one of the input
    assert frame.to_picture([[3, 4, 8, 20]]).tolist() == [[16, 3, 26, 35]]
    assert frame.to_input([[16, 3, 26, 35]]).tolist() == [[3, 4, 8, 20]]
    assert frame.to_picture([[0, 0, 20, 1]]).tolist() == [[10, 0, 50, 1]]  # what is beside the picture is left out


@pytest.mark.parametrize("options", [{}, {"resize": 32, "crop": [32, 32]}, {"resize": [30, 48], "crop": [24, 40]}])
def test_boxes_are_found_in_pixels_of_the_picture(options: Any, tmp_path: Path) -> None:
    truth = (24, 40, 56, 88)
    images = Arrays(image((3, truth, 1.0), height=96, width=120)[None], [3])
    network = planted_network(32, 32, **options)
    found = convscope.localize(network, images, listed(tmp_path / "b.csv", [(0, *truth)]), methods=["cam"])
    assert np.abs(found.rows[0].boxes[0, 0] - truth).max() <= 4  # at most a pixel of the input
    assert found.rows[0].overlaps[0, 0] > 0.85
    assert found.rows[0].maps.pointing.wrong == 0
    assert found.rows[0].maps.energy[0] > 0.9


# --- true boxes ------------------------------------------------------------------------------------------------------


IMAGES = Arrays(np.zeros((3, K, 24, 32), np.float32), [2, 2, 3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,y0,x0,y1\n0,1,1,2\n", "columns x1 are missing.*found file, y0, x0, y1"),
        ("file,y0,x0,y1,x1\n0,1,1,2,2\n7,1,1,2,2\n", r"line 3: .* has no image '7'"),
        ("file,y0,x0,y1,x1\n0,1,1,nan,2\n", r"line 2: y1 is 'nan'; expected a number of pixels"),
        ("file,y0,x0,y1,x1\n0,1,,3,2\n", r"line 2: x0 is ''"),
        ("file,y0,x0,y1,x1\n0,1,1,inf,2\n", r"line 2: y1 is 'inf'"),
        ("file,y0,x0,y1,x1\n0,5,1,5,9\n", r"line 2: the box \(y0 5, x0 1, y1 5, x1 9\) is empty or inverted"),
        ("file,y0,x0,y1,x1\n0,5,9,8,1\n", r"line 2: .* is empty or inverted; y1 and x1 lie just outside"),
        ("file,y0,x0,y1,x1\n0,-1,1,5,9\n", r"line 2: .* reaches beyond the picture; it begins at 0"),
        ("file,y0,x0,y1,x1\n0,1,1,9,33\n", r"line 2: .* reaches beyond 0, which has 24 × 32 px"),
        ("file,y0,x0,y1,x1\n", "it lists no boxes"),
        ("file,label,y0,x0,y1,x1\n0,cat,1,1,2,2\n", "labels of boxes are written as 'cat', and those of .* as '2'"),
        ("file,y0,x0,y1,x1\n0,1,1,2,2,3\n", "not readable as CSV .*line 2 has 6 cells for 5 columns"),
        (None, "not readable as CSV .*there is no such file"),
    ],
)
def test_a_file_of_boxes_that_is_written_wrongly_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ImagesError, match=message):
        convscope.localize(planted_network(), IMAGES, path, methods=["centre"])


def test_images_without_a_box_of_their_class_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    path = listed(tmp_path / "b.csv", [(0, 2, *ONE), (1, 5, *ONE), (0, 3, *OTHER)], "file,class_index,y0,x0,y1,x1")
    found = convscope.localize(planted_network(), IMAGES, path, methods=["centre"])
    assert found.ids == (0,)
    assert [boxes.tolist() for boxes in found.truths] == [[list(ONE)]]
    assert found.remarks == ("2 of 3 images have no box of their class in b.csv, such as 1; they are left out",)


def test_one_column_says_of_all_boxes_which_class_they_are_of(tmp_path: Path) -> None:
    images = Arrays(np.stack([image((2, ONE, 1.0)), image((3, OTHER, 1.0))]), [2, 3])  # named as the digits 2 and 3
    columns, rows = "file,label,class_index,y0,x0,y1,x1", [(0, 2, 3, *ONE), (1, 2, 3, *ONE), (1, 3, 4, *OTHER)]
    by_name = convscope.localize(planted_network(), images, listed(tmp_path / "b.csv", rows, columns))
    assert [boxes.tolist() for boxes in by_name.truths] == [[list(ONE)], [list(OTHER)]]
    columns = columns.replace("label,class_index", "class_index,label")
    rows = [(i, index, f"digit {index}", *corners) for i, index, _, *corners in rows]
    by_index = convscope.localize(planted_network(), images, listed(tmp_path / "b.csv", rows, columns))
    assert [boxes.tolist() for boxes in by_index.truths] == [[list(ONE)], [list(OTHER)]]


def test_sets_without_boxes_and_networks_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"true boxes of its images are not known; give a CSV .*\(--boxes\)"):
        convscope.localize(planted_network(), IMAGES)
    with pytest.raises(ImagesError, match="its classes are places"):
        convscope.localize(convscope.load("diorama:scenes"), "diorama:scenes/test")
    maps = convscope.wrap(nn.Conv2d(K, K, 1), preprocess={"size": [8, 8], "channels": K})
    with pytest.raises(NetworkError, match=r"\(images, classes\) are expected"):
        convscope.localize(maps, IMAGES, listed(tmp_path / "b.csv", [(0, *ONE)]), methods=["centre"])


@pytest.mark.parametrize("method", ["cam", "centre"])
def test_an_image_whose_scores_are_not_finite_is_named(method: str, tmp_path: Path) -> None:
    planes = np.stack([image((2, ONE, 1.0)), image((2, ONE, 3e38))])
    boxes = listed(tmp_path / "b.csv", [(0, *ONE), (1, *ONE)])
    with pytest.raises(AttributionError, match="of 1 is not finite"):
        convscope.localize(planted_network(), Arrays(planes, [2, 2]), boxes, methods=[method])


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0; it must be at least 1"):
        convscope.localize(planted_network(), IMAGES, limit=0)


# --- the diorama, files and the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diorama") / "objects"
    export("objects", "test", folder, limit=6)
    return folder


def test_the_diorama_knows_the_boxes_that_it_exports(exported: Path) -> None:
    drawn = convscope.open_images("diorama:objects/test")
    images = convscope.open_images(exported)
    known, read = true_boxes(drawn, None), true_boxes(images, exported / "boxes.csv")
    assert list(read.ids) == list(range(6))
    for i in range(6):
        boxes = [thing.box for thing in drawn.scene(i).things if thing.kind == drawn.labels[i]]
        assert known.boxes(i, 96, 96).tolist() == [list(box) for box in boxes]
        assert sorted(map(tuple, read.boxes(i, 96, 96))) == sorted(boxes)


def run(*words: Any) -> str:
    result = CliRunner().invoke(main, ["localize", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_counts_what_its_files_say(exported: Path, tmp_path: Path) -> None:
    output, figure = tmp_path / "found.csv", tmp_path / "found.png"
    words = ("--method", "cam,cam/heuristics,centre", "-o", output, "--figure", figure, "--json")
    said = json.loads(run("diorama:objects", exported, "--boxes", exported / "boxes.csv", *words))
    labels = {row["file"]: row["label"] for row in table(exported / "labels.csv")}
    truths, rows = table(exported / "boxes.csv"), table(output)
    assert len(rows) == 3 * 6 * 5
    for method in said["methods"]:
        right = {1: 0, 5: 0}
        for file, label in labels.items():
            mine = [row for row in rows if row["method"] == method["name"] and row["file"] == file]
            assert [row["rank"] for row in mine] == list("12345")
            hits = [row["label"] == label and best(row, file, label, truths) >= 0.5 for row in mine]
            assert [int(row["right"]) for row in mine] == hits
            right[1] += hits[0]
            right[5] += any(hits)
        for k in (1, 5):
            assert method[f"top{k}_right"] == right[k]
            assert method[f"top{k}_error"] == pytest.approx(1 - right[k] / 6)
            assert method[f"top{k}_interval"] == list(wilson(6 - right[k], 6))
    assert (said["images"], said["skipped"]) == (6, 0)
    with Image.open(figure) as picture:
        assert picture.size[0] > 2000


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def best(row: dict[str, str], file: str, label: str, truths: list[dict[str, str]]) -> float:
    """The largest share of common pixels, counted."""
    mine = pixels(row)
    of_class = [pixels(each) for each in truths if each["file"] == file and each["label"] == label]
    return max(len(mine & true) / len(mine | true) for true in of_class)


def pixels(row: dict[str, str]) -> set[tuple[int, int]]:
    y0, x0, y1, x1 = (int(row[name]) for name in ("y0", "x0", "y1", "x1"))
    return {(y, x) for y in range(y0, y1) for x in range(x0, x1)}


def test_without_methods_the_command_prints_the_table_of_the_paper() -> None:
    lines = run("diorama:objects", "diorama:objects/test", "--limit", 4).splitlines()
    assert lines[0].startswith("diorama:objects on diorama:objects/test: 4 images")
    names = [line.split("  ")[0] for line in lines[2:8]]
    assert names == ["the class alone", "cam/largest", "cam/heuristics", "saliency/largest", "saliency/graphcut",
                     "centre/largest"]  # fmt: skip


def test_a_network_without_a_pooled_map_is_sent_to_gradcam() -> None:
    result = CliRunner().invoke(main, ["localize", "diorama:objects-fc", "diorama:objects/test", "--limit", "2"])
    assert result.exit_code == 1
    assert "Take GradCAM" in result.output
    assert run("diorama:objects-fc", "diorama:objects/test", "--limit", 2, "--method", "gradcam")


@pytest.mark.parametrize("words", [("--protocol", "largest"), ("-o", "no/such/folder.csv"), ("--figure", "boxes.txt")])
def test_wrong_usage_is_refused_before_anything_is_computed(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["localize", "diorama:objects", "diorama:objects/test", *words]).exit_code == 2
