"""People's words for units: the record and its files, agreement, shares and detectors, and the published data."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.annotation import CATEGORIES, Annotation, Annotations, read, summarize
from convscope.annotation.agreement import alpha, pairs_alike
from convscope.annotation.files import text
from convscope.annotation.record import NAMES
from convscope.annotation.words import label
from convscope.cli import main
from convscope.errors import AnnotationError

ABOUT: dict[str, Any] = {"layer": "conv5", "unit": 7, "annotator": "ann", "description": "wheels", "category": "part"}


def answer(**changed: Any) -> Annotation:
    return Annotation.of(**({"n": 60, "rejected": [], **ABOUT} | changed))


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, ["annotations", *map(str, words)])


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("marks", "precision"), [(0, 1.0), (7, 0.8833), (60, 0.0)])
def test_precision_is_the_share_of_images_that_fit(marks: int, precision: float) -> None:
    assert round(answer(rejected=range(marks)).precision, 4) == precision


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category": "animal"}, "category 'animal' is none of scene, object, region, part, texture, element"),
        ({"category": "objects"}, "did you mean 'object'"),
        ({"rejected": [60]}, "rejected image 60 is out of range: 60 were shown, 0 to 59"),
        ({"rejected": [-1]}, "rejected image -1 is out of range"),
        ({"rejected": [3, 3]}, "has an image twice"),
        ({"n": 0}, "at least one image"),
        ({"unit": -1}, "unit -1 is negative"),
        ({"description": "  "}, "the description is empty"),
        ({"annotator": ""}, "the annotator is empty"),
        ({"seconds": math.nan}, "seconds are nan"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        answer(**changed)


def test_there_are_six_categories_in_the_published_order() -> None:
    assert NAMES == ("scene", "object", "region", "part", "texture", "element")
    assert len({category.colour for category in CATEGORIES}) == 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([answer(unit=16)], "conv5:16, annotated by 'ann': conv5 has units 0 to 15"),
        ([answer(layer="conv6")], "there is no layer 'conv6'; did you mean 'conv5'"),
        ([answer(), answer(category="object")], "'ann' has annotated conv5:7 twice"),
    ],
)
def test_units_that_are_not_there_and_answers_twice_are_refused(rows: list[Annotation], message: str) -> None:
    with pytest.raises(AnnotationError, match=re.escape(message)):
        Annotations(tuple(rows), {"conv1": 4, "conv5": 16})


# --- files ------------------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda word: word.strip() == word)


@st.composite
def answers(draw: st.DrawFn) -> Annotations:
    people = draw(st.lists(WORDS, min_size=1, max_size=3, unique=True))
    rows = []
    for unit, person in itertools.product(range(draw(st.integers(1, 3))), people):
        n = draw(st.integers(1, 60))
        about = {"layer": "0", "unit": unit, "annotator": person, "description": draw(WORDS)}
        kind, seconds = draw(st.sampled_from(NAMES)), draw(st.none() | st.integers(0, 900))
        rejected = draw(st.sets(st.integers(0, n - 1)))
        rows.append(Annotation.of(**about, category=kind, n=n, rejected=rejected, seconds=seconds))
    return Annotations(tuple(rows), {"3": 8, "0": 4}, "net", "abc")


@given(answers())
@settings(max_examples=40)
def test_files_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, said: Annotations) -> None:
    folder = tmp_path_factory.mktemp("said")
    for suffix in (".json", ".csv"):
        (folder / f"a{suffix}").write_text(text(said, suffix), encoding="utf-8", newline="")
    again = read([folder / "a.json"])
    assert again == said
    assert list(again.layers) == ["3", "0"]
    assert read([folder / "a.csv"]).rows == said.rows


def saved(path: Path, *rows: Annotation, weights: str = "abc", **changed: Any) -> Path:
    content = json.loads(text(Annotations(rows, {"conv1": 4, "conv5": 16}, "net", weights), ".json"))
    path.write_text(json.dumps(content | changed))
    return path


def test_files_of_several_people_become_one(tmp_path: Path) -> None:
    one = saved(tmp_path / "ann.json", answer(rejected=[2, 5], seconds=30))
    two = saved(tmp_path / "bob.json", answer(annotator="bob", category="object"))
    result = run("import", one, two, "-o", tmp_path / "all.json", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["annotations"], found["units"], found["annotators"]) == (2, 1, ["ann", "bob"])
    kept = json.loads((tmp_path / "all.json").read_text())
    record = {**ABOUT, "rejected": [2, 5], "n": 60, "seconds": 30}
    assert kept["annotations"][0] == record  # the record of METHODS 5.5
    assert run("import", tmp_path / "all.json", "-o", tmp_path / "all.csv").exit_code == 0
    assert read([tmp_path / "all.csv"]).rows == read([tmp_path / "all.json"]).rows


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"unit": 99}, "conv5:99, annotated by 'ann': conv5 has units 0 to 15"),
        ({"category": "colour"}, "annotation 1: category 'colour' is none of"),
        ({"rejected": [60]}, "annotation 1: rejected image 60 is out of range"),
        ({"rejected": [True]}, "annotation 1: expected 'rejected', a list of whole numbers"),
        ({"unit": "7"}, "annotation 1: unit is '7'; expected a whole number"),
        ({"description": None}, "annotation 1: description is None; expected text"),
    ],
)
def test_a_wrong_record_is_one_clear_line(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "a.json", annotations=[{**ABOUT, "rejected": [], "n": 60} | record])
    result = run("import", path, "-o", tmp_path / "all.json")
    assert result.exit_code == 1
    assert message in result.stderr
    assert "a.json" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "all.json").exists()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.json", answer())
    other = saved(tmp_path / "b.json", answer(annotator="bob"), weights="def")
    for files, message in ([(one, one), "'ann' has annotated conv5:7 twice"], [(one, other), "different networks"]):
        with pytest.raises(AnnotationError, match=message):
            read(files)
    for name, content in (("x.json", "{}"), ("y.json", "nothing"), ("z.csv", "layer,unit\n"), ("w.txt", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(AnnotationError, match=name):
            read([tmp_path / name])
    with pytest.raises(AnnotationError, match="there are no annotations"):
        summarize(read([saved(tmp_path / "none.json")]))


# --- agreement --------------------------------------------------------------------------------------------------------

# Fleiss (1971), as in his example: 14 people sort 10 things into 5 categories, kappa 0.210.
FLEISS = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
          [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip


def test_alpha_of_published_tables() -> None:
    units = [[i for i, count in enumerate(row) for _ in range(count)] for row in FLEISS]
    assert 1 - (1 - alpha(units)) * 140 / 139 == pytest.approx(0.210, abs=5e-4)  # Fleiss' kappa


def test_alpha_is_one_where_all_agree_and_zero_as_by_chance() -> None:
    assert alpha(["aa", "bbb", "c", "bb"]) == 1
    assert alpha(["ab", "ba"]) < 0
    everybody = ["".join(pair) for pair in itertools.product("abc", repeat=2)] * 400
    assert abs(alpha(everybody)) < 1e-3
    assert math.isnan(alpha(["a", "b"]))
    assert math.isnan(alpha(["aa", "aa"]))  # nothing else was ever said: no chance to agree by


def test_alpha_by_its_definition() -> None:
    """Observed against expected disagreement, pair by pair."""
    units = ["aab", "ab", "bbcc", "a", "cc", "abc"]
    compared = [unit for unit in units if len(unit) > 1]
    every = "".join(compared)
    observed = sum(
        sum(one != other for one, other in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in compared
    ) / len(every)
    pairs = list(itertools.permutations(every, 2))
    expected = sum(one != other for one, other in pairs) / len(pairs)
    assert alpha(units) == pytest.approx(1 - observed / expected)
    same = [one == other for unit in units for one, other in itertools.permutations(unit, 2)]
    assert pairs_alike(units) == pytest.approx(sum(same) / len(same))


# --- shares and detectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [("The Ceiling Lamps.", "ceiling lamp"), ("grass", "grass"), ("glasses", "glasses"), ("  Bus ", "bus"),
     ("buses", "bus"), ("branches", "branch"), ("cities", "city"), ("shelves", "shelf"), ("boxes", "box"),
     ("houses", "house"), ("horses", "horse"), ("a car", "car"), ("Cars", "car"), ("eyes", "eye"),
     ("waves", "wave"), ("men", "man"),
     ("!?", "!?"), ("A", "a")],
)  # fmt: skip
def test_labels_are_alike_where_words_are(words: str, expected: str) -> None:
    assert label(words) == expected


def test_shares_of_a_layer_add_up_to_one_and_a_unit_counts_once() -> None:
    rows = [
        answer(unit=0, annotator="a", category="object"),
        answer(unit=0, annotator="b", category="object", rejected=range(30)),
        answer(unit=0, annotator="c", category="scene"),
        answer(unit=1, annotator="a", category="texture"),
    ]
    everyone = summarize(Annotations(tuple(rows))).row("conv5").shares
    assert everyone == pytest.approx(dict.fromkeys(NAMES, 0) | {"none": 0, "object": 1 / 3, "scene": 1 / 6,
                                                                   "texture": 1 / 2})  # fmt: skip
    precise = summarize(Annotations(tuple(rows)), 0.75).row("conv5").shares
    assert sum(precise.values()) == pytest.approx(1)
    assert (precise["object"], precise["none"]) == pytest.approx((1 / 6, 1 / 6))


def test_a_detector_is_what_most_say_precisely() -> None:
    said = {
        0: [("cars", "object", 0), ("car", "object", 0), ("wheel", "part", 0)],
        1: [("a car", "object", 5), ("bus", "object", 20), ("street", "scene", 20)],  # two are not precise enough
        2: [("dog", "object", 15), ("street", "scene", 0)],  # one against one: the more precise one
        3: [("bed", "object", 0)],
        4: [("bike", "object", 16)],
        5: [("tree", "object", 0), ("plant", "object", 0)],  # by alphabet
    }
    rows = [
        answer(unit=unit, annotator=str(i), description=word, category=category, rejected=range(marks))
        for unit, answers in said.items()
        for i, (word, category, marks) in enumerate(answers)
    ]
    row = summarize(Annotations(tuple(rows))).row("conv5")
    assert row.detectors == (("car", 2), ("bed", 1), ("plant", 1))
    assert row.object_detectors == 4
    assert summarize(Annotations(tuple(rows[::-1]))).row("conv5").detectors == row.detectors


def test_summary_as_a_table_as_json_and_as_a_figure(tmp_path: Path) -> None:
    one = saved(tmp_path / "one.json", answer(layer="conv1", unit=3, category="element"), answer(category="object"))
    two = saved(tmp_path / "two.json", answer(annotator="bob", category="object", description="cars"), weights="def")
    result = run("summary", one, two, "--json", "--figure", tmp_path / "figure.svg")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["series"]
    assert [row["layer"] for row in first["layers"]] == ["conv1", "conv5"]  # as in the network
    assert (second["alpha"], second["layers"][0]["detectors"]) == (None, {"car": 1})
    drawn = (tmp_path / "figure.svg").read_text()
    for words in ("region or surface", "one, conv5: 1 of 1 units detect 1 objects", ">car<", ">wheel<", "conv1"):
        assert words in drawn, words
    assert "element" in run("summary", one).output
    assert run("summary", one, "--layer", "conv9", "--figure", tmp_path / "b.png").exit_code == 1


@pytest.mark.real
def test_published_annotations_show_the_trend(shared_data: Path) -> None:
    """../shared/data/README.md: simple elements 0.79 of pool1 and 0.11 of pool5, objects 0.03 and 0.38."""
    found = summarize(read([shared_data / "unit_annotations" / "places205-alexnet.csv"]))
    assert len(found.annotations.rows) == 4128
    assert [(row.layer, row.units, row.annotators) for row in found.rows] == [
        ("pool1", 96, 3), ("pool2", 256, 3), ("conv3", 384, 3), ("conv4", 384, 3), ("pool5", 256, 3)]  # fmt: skip
    shares = {row.layer: row.shares for row in found.rows}
    assert [round(shares[layer]["element"], 2) for layer in ("pool1", "pool5")] == [0.79, 0.11]
    assert [round(shares[layer]["object"], 2) for layer in ("pool1", "pool5")] == [0.03, 0.38]
    elements = [row.shares["element"] for row in found.rows]
    objects = [row.shares["object"] for row in found.rows]
    assert elements == sorted(elements, reverse=True)
    assert objects == sorted(objects)
    detectors = [row.object_detectors for row in found.rows[:4]]
    assert detectors == sorted(detectors)
