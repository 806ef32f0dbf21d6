"""The confusion matrix: a planted network errs as it is told to, and the figure says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import convscope
from convscope.atlas import Atlas
from convscope.cli import main
from convscope.images import Arrays
from convscope.preprocess import Preprocess
from convscope.render.figures import confusion, sheet
from convscope.scanner import scan

# True class, prediction, how many; class 3 occurs nowhere.
PLANTED = [(0, 0, 7), (0, 2, 1), (1, 1, 4), (2, 0, 3), (2, 2, 9), (4, 4, 1), (5, 1, 2)]
NAMES = ["cat", "dog", "a very long name of a class that nobody can read", "nothing", "owl", "fish & <chips>"]


def planted(path: Path, pairs: list[tuple[int, int, int]], classes: int, labelled: bool = True) -> Atlas:
    """A network that reads its answer from the grey of the image."""
    given = np.array([predicted for _, predicted, count in pairs for _ in range(count)])
    truth = [true for true, _, count in pairs for _ in range(count)]
    images = np.repeat(np.repeat((given * 255 // classes)[:, None, None, None], 4, 2), 4, 3).astype(np.uint8)
    head = nn.Linear(16, classes)
    levels = torch.tensor([k * 255 // classes for k in range(classes)]) / 255
    with torch.no_grad():  # the nearest level has the largest 2·x·level - level²
        head.weight[:] = (2000 * levels / 16)[:, None]
        head.bias[:] = -1000 * levels**2
    module = nn.Sequential(nn.Flatten(), head).eval()
    names = NAMES if classes == len(NAMES) else [f"class {k}" for k in range(classes)]
    network = convscope.wrap(module, preprocess=Preprocess((4, 4), channels="L"), classes=names, name="planted")
    return scan(network, Arrays(images, truth if labelled else ()), path, batch_size=64)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Atlas:
    return planted(tmp_path_factory.mktemp("planted") / "atlas", PLANTED, len(NAMES))


def colour(count: int, row: int, right: bool) -> list[int]:
    """By hand: from light grey towards blue or red by the square root of the share of the row."""
    full = (44, 111, 166) if right else (192, 57, 43)
    return [round(246 + (each - 246) * (count / row) ** 0.5) for each in full]


def test_rows_are_true_classes_and_columns_predictions(atlas: Atlas) -> None:
    counts, classes = confusion.matrix(atlas.run["results"]["confusions"])
    assert classes == [0, 1, 2, 4, 5]
    for true, predicted, count in PLANTED:
        assert counts[classes.index(true), classes.index(predicted)] == count
    assert counts.sum() == sum(count for *_, count in PLANTED)


def test_cells_have_the_colour_of_their_share(atlas: Atlas, tmp_path: Path) -> None:
    confusion.draw_atlas(atlas).save(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as file:
        picture = np.asarray(file.convert("RGB")).astype(int)
    assert picture.shape[1] == sheet.WIDTH + 2 * sheet.BORDER
    rows = {0: 8, 1: 4, 2: 12, 4: 1, 5: 2}
    order = list(rows)
    # The first cell's upper left corner: the first pixel of blue that is one of the scale's.
    first = np.argwhere((np.abs(picture - colour(7, 8, True)) <= 1).all(-1))[0]
    for true in rows:
        for predicted in rows:
            count = sum(n for t, p, n in PLANTED if (t, p) == (true, predicted))
            corner = first + 66 * np.array([order.index(true), order.index(predicted)])
            y, x = corner + 9  # beside the number, inside the line
            np.testing.assert_allclose(picture[y, x], colour(count, rows[true], true == predicted), atol=1)


def test_names_and_counts_can_be_read(atlas: Atlas, tmp_path: Path) -> None:
    confusion.draw_atlas(atlas).save(tmp_path / "figure.svg")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "figure.svg").read_text())
    assert texts.count("cat") == texts.count("owl") == texts.count("fish &amp; &lt;chips&gt;") == 2
    assert "nothing" not in texts
    assert sorted(int(text) for text in texts if text.isdigit()) == sorted(count for *_, count in PLANTED)
    words = " ".join(texts)
    assert "21 of 27 images" in words
    assert "top-1 77.8%" in words
    assert "59.2% to 89.4%" in words  # Wilson's interval by hand, in `test_the_interval`
    assert any(text.startswith("a very long") and text.endswith("…") for text in texts)


def test_what_is_predicted_where_a_score_is_nan_is_no_class(tmp_path: Path) -> None:
    confusion.draw([(0, -1, 2), (0, 0, 1)], ["cat", "dog"], "NaN").save(tmp_path / "figure.svg")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "figure.svg").read_text())
    assert texts.count("none (NaN)") == texts.count("cat") == 2
    assert "dog" not in texts


def test_the_interval() -> None:
    """The ends p of the interval are where the normal test of p against 21 of 27 is at 1.96."""
    for p in (0.5924, 0.8939):
        assert abs(abs(21 / 27 - p) / (p * (1 - p) / 27) ** 0.5 - 1.96) < 0.01


def test_many_classes_are_a_picture_without_names(tmp_path: Path) -> None:
    many = planted(tmp_path / "atlas", [(k, (k * 7) % 120, 1) for k in range(120)], 120)
    drawn = confusion.draw_atlas(many)
    drawn.save(tmp_path / "figure.svg")
    assert "class 7<" not in (tmp_path / "figure.svg").read_text()
    assert drawn.height < 2500


def test_without_labels_there_is_nothing_to_say(tmp_path: Path) -> None:
    planted(tmp_path / "atlas", [(0, 1, 2)], 2, labelled=False)
    result = run("confusion", tmp_path / "atlas", "-o", tmp_path / "x.png")
    assert result.exit_code == 1
    assert "its images have no labels" in result.stderr


def test_the_command_tells_the_numbers(atlas: Atlas, tmp_path: Path) -> None:
    result = run("confusion", atlas.path, "-o", tmp_path / "c.pdf", "--json")
    about = json.loads(result.stdout)
    assert (about["labelled"], about["top1_right"]) == (27, 21)
    assert about["confusions"] == [list(each) for each in PLANTED]
    assert (tmp_path / "c.pdf").read_bytes()[:5] == b"%PDF-"


def run(*words: Any) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])
