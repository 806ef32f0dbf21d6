"""Agreement of sources of labels: shares that are known, kappa against scikit-learn, and the published annotations."""

from __future__ import annotations

import csv
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import cohen_kappa_score

import convscope
from convscope.annotation import read
from convscope.annotation.agreement import alpha
from convscope.annotation.record import NAMES
from convscope.annotation.words import content, label
from convscope.cli import main
from convscope.concepts import CATEGORIES
from convscope.concepts import Labels as PixelLabels
from convscope.errors import AnnotationError, AtlasError
from convscope.render.figures.agreement import draw
from convscope.studies.agreement import ALL, Label, Labels, compare, of_dissection, open_labels
from dissecting import planted
from hand_made import hand_made, pixels

pytestmark = pytest.mark.usefixtures("one_thread")


def labels(name: str, said: dict[str, Any], weights: str | None = None) -> Labels:
    """A source from "name/category" of each unit, or a list of them."""
    units = {
        address: tuple(Label(*each.split("/")) for each in ([one] if isinstance(one, str) else one))
        for address, one in said.items()
    }
    return Labels(name, units, weights)


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, ["annotations", "agreement", *map(str, words)])


# --- two sources -----------------------------------------------------------------------------------------------------

MACHINE = {"c1:0": "red/colour", "c1:1": "striped/texture", "c5:0": "car/object", "c5:1": "wheel/part",
           "c5:2": "grass/object", "c5:3": "wood/material", "c5:9": "cat/object"}  # fmt: skip
PEOPLE = {"c1:0": "colour red/element", "c1:1": "Stripes/texture", "c5:0": "Cars/object",
          "c5:1": "the wheels of cars/part", "c5:2": "grass/region", "c5:3": "planks/texture",
          "c5:8": "dogs/object"}  # fmt: skip


def test_shares_by_hand() -> None:
    found = compare(labels("machine", MACHINE), labels("people", PEOPLE))
    assert [row.layer for row in found.rows] == ["c1", "c5", ALL]
    first, fifth, every = found.rows
    assert (first.first, first.second, first.both) == (2, 2, 2)
    assert (fifth.first, fifth.second, fifth.both) == (5, 5, 4)
    assert (every.first, every.second, every.both) == (7, 7, 6)
    assert (first.name.share, first.word.share, first.category.share) == (
        0,
        0.5,
        1,
    )  # striped and stripe are other words
    assert (fifth.name.share, fifth.word.share, fifth.category.share) == (0.5, 0.75, 0.75)
    assert every.category.share == pytest.approx(5 / 6)
    # Drawn at random: an object is 2 of 4 and 1 of 4, a part 1 and 1, a texture (of wood) 1 and 1.
    assert fifth.category.chance == pytest.approx(2 / 16 + 1 / 16 + 1 / 16)
    assert fifth.category.kappa == pytest.approx((0.75 - 0.25) / 0.75)
    # car and grass are in 1 of 4 of both; the wheels of cars have a word in common with the car as well.
    assert fifth.name.chance == pytest.approx(2 / 16)
    assert fifth.word.chance == pytest.approx((2 + 1 + 1) / 16)
    assert fifth.confusions == {("object", "object"): 1, ("part", "part"): 1, ("object", "region"): 1,
                                ("material", "texture"): 1}  # fmt: skip
    assert found.categories == (
        ["object", "part", "material", "texture", "colour"],
        ["object", "part", "texture", "region", "element"],
    )
    assert found.row("c5") is fifth
    with pytest.raises(AnnotationError, match=re.escape("machine and people both label no unit of 'c4'")):
        found.row("c4")


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_cohens(seed: int) -> None:
    draws = np.random.default_rng(seed)
    one = draws.choice(NAMES, 60)
    other = np.where(draws.random(60) < 0.4, one, draws.choice(NAMES[:4], 60))
    sources = [{f"c:{unit}": f"{each}/{each}" for unit, each in enumerate(said)} for said in (one, other)]
    found = compare(labels("one", sources[0]), labels("other", sources[1])).rows[-1]
    truth = cohen_kappa_score(one, other)
    assert found.category.kappa == pytest.approx(truth)
    assert found.name.kappa == pytest.approx(truth)
    assert found.word.kappa == pytest.approx(truth)
    low, high = found.category.interval
    assert low < found.category.share < high
    width = 2 * 1.96 * (found.category.share * (1 - found.category.share) / 60) ** 0.5
    assert high - low == pytest.approx(width, rel=0.2)


def test_chance_alone_makes_no_kappa() -> None:
    same = {f"c:{unit}": "car/object" for unit in range(3)}
    measure = compare(labels("one", same), labels("other", same)).rows[-1].category
    assert (measure.share, measure.chance) == (1, 1)
    assert measure.to_json() == {"units": 3, "share": 1.0, "chance": 1.0, "kappa": None, "interval": [1.0, 1.0]}


def test_labels_without_a_category_agree_by_name_alone() -> None:
    bare = Labels("bare", {"c:0": (Label("car", None),), "c:1": (Label("dog", None),)})
    row = compare(bare, labels("people", {"c:0": "cars/object", "c:1": "cat/object"})).row("c")
    assert row.name.share == 0.5
    assert row.category.units == 0
    assert row.confusions == {}
    json.dumps(row.to_json(), allow_nan=False)


# --- several people a unit -------------------------------------------------------------------------------------------


def test_pairs_of_people() -> None:
    """Of two people one agrees with the machine, and they do not with each other; of three all pairs but two do."""
    machine = labels("machine", {"c:0": "car/object", "c:1": "dog/object"})
    people = labels("people", {"c:0": ["car/object", "wheel/part"], "c:1": ["dog/object", "dog/object", "fur/texture"]})
    found = compare(machine, people).row("c")
    assert found.name.share == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.confusions["object", "object"] == pytest.approx(1 / 2 + 2 / 3)
    alone = compare(people).row("c")
    assert alone.name.share == pytest.approx((0 + 1 / 3) / 2)
    assert alone.confusions["object", "part"] == alone.confusions["part", "object"] == 1 / 2


def test_among_themselves_kappa_is_that_of_fleiss() -> None:
    """With as many answers for every unit; alpha is 1 - (1 - kappa) (N - 1) / N for N answers."""
    draws = np.random.default_rng(1)
    said = [draws.choice(NAMES[:3], 4, p=draws.dirichlet([1, 1, 1])).tolist() for _ in range(20)]
    people = labels("people", {f"c:{unit}": [f"{each}/{each}" for each in four] for unit, four in enumerate(said)})
    kappa = compare(people).rows[-1].category.kappa
    assert 1 - (1 - kappa) * 79 / 80 == pytest.approx(alpha(said))


@pytest.mark.parametrize(
    ("description", "words"),
    [("The Wheels of a car", {"wheel", "car"}), ("legs", {"leg"}), ("...", set()), ("of the", set())],
)
def test_words_that_say_something(description: str, words: set[str]) -> None:
    assert content(description) == words


# --- where they lie --------------------------------------------------------------------------------------------------


def test_a_dissection_labels_its_detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = np.zeros((4, 3, 8, 8), np.float32)
    maps = np.zeros((4, 1, 8, 8), np.int32)
    channels[:, 0, :4, :4], maps[:, :, :4, :4] = 1, 1
    channels[:, 1, 6:, 6:], maps[:, :, 6:, 6:] = 1, 2
    channels[:, 2, 0, 7] = channels[0, 2, 0, 0] = 1  # where nothing is labelled, and on one pixel of 64 of the cars
    network, concepts = planted(channels, [("car", "object"), ("wheel", "part")], [PixelLabels(each) for each in maps])
    found: Any = convscope.dissect(network, concepts, tmp_path / "atlas", quantile=0.25)
    source, weak = of_dissection(found), found["0"][2]
    assert weak.label == found["0"][0].label
    assert 0 < weak.iou < 0.04
    assert source.units == {"0:0": (Label("car", "object"),), "0:1": (Label("wheel", "part"),)}
    assert source.weights == network.fingerprint
    assert open_labels(tmp_path / "atlas").units == source.units
    monkeypatch.chdir(tmp_path / "atlas")
    assert open_labels(".").name == "atlas"
    (tmp_path / "said.csv").write_text("unit,label,category\n0:0,Cars,object\n0:1,,\n0:2,sky,region\n")
    row = compare(open_labels(tmp_path / "atlas"), open_labels(tmp_path / "said.csv")).rows[-1]
    assert (row.first, row.second, row.both, row.name.share) == (2, 2, 1, 1)


def test_what_broden_marks_as_a_scene_or_colour_is_its_word(tmp_path: Path) -> None:
    named = [("street-s", "scene"), ("red-c", "colour"), ("catch-s", "object")]
    ious = {unit: {name: 0.2} for unit, (name, _) in enumerate(named)}
    found = of_dissection(hand_made(tmp_path, named, {"conv": 3}, pixels(ious, named, 3), job={"network": "x"}))
    assert [label.name for (label,) in found.units.values()] == ["street", "red", "catch-s"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit,label\nconv5,car\n", "line 2: 'conv5' names a layer, where a unit is expected"),
        ("unit,label\nc:1,car\nc:01,bus\n", "line 3: c:1 stands twice"),
        ("unit,label,category\nc:1,car,objects\n", "line 2: category 'objects' is none of object, part"),
        ("unit,word\nc:1,car\n", "expected the columns layer, unit, annotator, description, category"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(AnnotationError, match=re.escape(message)):
        open_labels(tmp_path / "labels.csv")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    one, other = labels("one", {"conv1:0": "red/colour"}, "abc"), labels("other", {"conv5:0": "car/object"}, "abc")
    with pytest.raises(AnnotationError, match="no unit in common: one labels units of conv1, the other of conv5"):
        compare(one, other)
    with pytest.raises(AnnotationError, match=r"about different networks, .*; give labels of the same network"):
        compare(one, labels("third", {"conv1:0": "red/colour"}, "xyz"))
    with pytest.raises(AnnotationError, match="one has one label a unit"):
        compare(one)
    with pytest.raises(AtlasError, match="no dissection"):
        open_labels(tmp_path)


def test_categories_of_people_and_of_concepts_can_all_be_compared() -> None:
    """Each has a counterpart but people's region."""
    kinds = {Label("x", category).kind for category in CATEGORIES}
    assert kinds == {*NAMES} - {"region"}


# --- the command and the figure --------------------------------------------------------------------------------------


def test_the_figure_is_blue_where_kinds_are_alike() -> None:
    sheet = draw([compare(labels("machine", MACHINE), labels("people", PEOPLE))])
    texts = [text.get_text() for text in sheet.figure.texts]
    assert "c5, 4 units" in texts
    assert "0.75   κ 0.67" in texts
    matrices = [axes for axes in sheet.figure.axes if axes.patches]
    assert len(matrices) == 2
    rows, columns = compare(labels("machine", MACHINE), labels("people", PEOPLE)).categories
    colours = np.array([patch.get_facecolor()[:3] for patch in matrices[1].patches]).reshape(len(rows), len(columns), 3)
    blue, red = colours[rows.index("material"), columns.index("texture")], colours[0, columns.index("region")]
    assert blue[2] > blue[0] + 0.1
    assert red[0] > red[2] + 0.1
    assert np.ptp(colours[1, 0]) < 0.01  # no part is called an object


def test_without_categories_there_is_no_matrix() -> None:
    sources = [Labels(name, {"c5:1": (Label(name, None),)}) for name in ("car", "cars")]
    sheet = draw([compare(*sources)])
    assert not sheet.figure.axes
    assert "1.00   κ 1.00" not in (texts := [text.get_text() for text in sheet.figure.texts])  # chance alone makes 1
    assert texts.count("1.00") == 2


def test_the_command(tmp_path: Path) -> None:
    for name, said in (("machine", MACHINE), ("people", PEOPLE)):
        lines = [f"{unit},{each.replace('/', ',')}" for unit, each in said.items()]
        (tmp_path / f"{name}.csv").write_text("\n".join(["unit,label,category", *lines]))
    files = [tmp_path / "machine.csv", tmp_path / "people.csv"]
    shown = run(*files, "--figure", tmp_path / "figure.png")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"c5 +5 +5 +4 +0.50 \(0.43\) +0.75 \(0.67\) +0.75 \(0.67\)", shown.stdout)
    assert (tmp_path / "figure.png").stat().st_size > 5000
    told = json.loads(run(*files, "--json").stdout)
    [found] = told["comparisons"]
    twice = run(files[0], tmp_path / "." / "machine.csv")
    assert twice.exit_code == 2
    assert "a SOURCE is given twice" in twice.output
    assert [row["both"] for row in found["rows"]] == [2, 4, 6]
    alone = run(files[0])
    assert alone.exit_code == 1
    assert "machine has one label a unit" in alone.output
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "people.csv").write_bytes(files[1].read_bytes())
    same = json.loads(run(files[1], tmp_path / "more" / "people.csv", "--json").stdout)["comparisons"][0]
    assert same["first"] != same["second"]
    assert same["rows"][-1]["name"]["share"] == 1


# --- the published annotations ---------------------------------------------------------------------------------------


@pytest.mark.real
def test_published_annotators_agree_as_far_as_is_known(shared_data: Path, tmp_path: Path) -> None:
    """Two of them as two sources have Cohen's kappa; all three among themselves the mean of the three pairs."""
    path = shared_data / "unit_annotations" / "places205-alexnet.csv"
    said = read([path]).rows
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    sources = []
    for number in "012":
        with (tmp_path / f"{number}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *(line for line in lines if line[2] == number)])
        sources.append(open_labels(tmp_path / f"{number}.csv"))
    pairs = [compare(*pair) for pair in combinations(sources, 2)]
    for (first, second), found in zip(combinations("012", 2), pairs, strict=True):
        one, other = ({row.address: row for row in said if row.annotator == each} for each in (first, second))
        mine = [[row.category for row in (one[unit], other[unit])] for unit in one if unit.startswith("pool5:")]
        assert len(mine) == found.row("pool5").both == 256
        assert found.row("pool5").category.kappa == pytest.approx(cohen_kappa_score(*zip(*mine, strict=True)))
        alike = [label(one[unit].description) == label(other[unit].description) for unit in one]
        assert found.rows[-1].name.share == pytest.approx(np.mean(alike))
    among = compare(open_labels(path))
    for name in ("name", "word", "category"):
        shares = [getattr(each.rows[-1], name).share for each in pairs]
        assert getattr(among.rows[-1], name).share == pytest.approx(np.mean(shares))
    trend = [row.category.kappa for row in among.layers]
    assert trend[0] == min(trend)  # people agree least on the first layer, where nearly all is a simple element
    assert [round(row.name.share, 2) for row in among.layers] == [0.09, 0.09, 0.15, 0.19, 0.22]
