"""Detectors compared: counts against their definitions, bars and rankings of planted layers, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import convscope
from convscope.cli import main
from convscope.cli.detectors import named
from convscope.concepts import CATEGORIES, Labels
from convscope.dissection import Dissection
from convscope.errors import AddressError, AtlasError
from convscope.render.categories import COLOURS
from convscope.render.figures import concepts as concepts_figure
from convscope.render.figures import conditions as conditions_figure
from convscope.render.figures import detectors as detectors_figure
from convscope.render.figures import networks as networks_figure
from convscope.render.figures import tokens as tokens_figure
from convscope.studies.conditions import conditions
from convscope.studies.detector_labels import ORDER, histogram, ranking
from convscope.studies.detectors import CUTS, Detectors, check_comparable, count
from dissecting import planted
from hand_made import hand_made, pixels

pytestmark = pytest.mark.usefixtures("one_thread")

KNOWN = [
    ("car", "object"), ("wheel", "part"), ("tree", "object"), ("red", "colour"), ("street", "scene"),
    ("wood", "material"), ("dots", "texture"), ("door", "part"), ("sky", "object"),
]  # fmt: skip

# Of unit k the IoU with some concepts. At 0.04: three trees, two cars (0.30 the best), two skies (0.20 the best), a
# wheel, a red; unit 9 detects nothing, and unit 0 also passes with a wheel and with wood.
UNITS: dict[int, dict[str, float]] = {
    0: {"tree": 0.12, "wheel": 0.11, "wood": 0.05}, 1: {"tree": 0.06}, 2: {"tree": 0.05}, 3: {"car": 0.30},
    4: {"car": 0.05}, 5: {"sky": 0.20}, 6: {"sky": 0.09}, 7: {"wheel": 0.16, "car": 0.15}, 8: {"red": 0.07},
    9: {"red": 0.03},
}  # fmt: skip


def one_layer(folder: Path, units: Mapping[int, Mapping[str, float]] = UNITS, **about: Any) -> Dissection:
    return hand_made(folder, KNOWN, {"conv": 10}, pixels(units, KNOWN, 10), **about)


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


# --- counts ----------------------------------------------------------------------------------------------------------


def by_chance(folder: Path, seed: int) -> Dissection:
    """Two layers with few different counts, so that there are ties, units that detect nothing, and empty masks."""
    rng = np.random.default_rng(seed)
    units, many = 9, len(KNOWN)

    def counts() -> dict[str, np.ndarray[Any, Any]]:
        return {
            "intersections": rng.choice([0, 0, 1, 2, 4, 10], (units, many)),
            "areas": rng.choice([10, 20], (units, len(CATEGORIES))),
            "covered": np.resize([10, 30, 30], many),  # of the images, which are the same for all seeds
        }

    candidates = np.array([rng.permutation(many)[:4] + 1 for _ in range(units)])
    drawn = rng.choice([0, 0.02, 0.04, 0.05, 0.12], (units, 4, 21))
    return hand_made(folder, KNOWN, {"a": 4, "b": 5}, counts(), counts(), (candidates, drawn))


def labels_by_hand(found: Dissection, units: range, cut: str, among: Sequence[int], view: str = "") -> list[int]:
    """Of every unit the place of the concept among these with the highest IoU, if that is above the cut; else -1."""
    labels = []
    for unit in units:
        best, highest = -1, Fraction(cut)
        for place in among:
            both = int(found.arrays[f"{view}intersections"][unit, place])
            mask = int(found.arrays[f"{view}areas"][unit, CATEGORIES.index(KNOWN[place][1])])
            iou = Fraction(both, mask + int(found.arrays[f"{view}covered"][place]) - both)
            if iou > highest:
                best, highest = place, iou
        labels.append(best)
    return labels


def drawn_by_hand(found: Dissection, units: range, cut: float, draw: int) -> list[int]:
    labels = []
    for unit in units:
        best, highest = -1, np.float32(cut)
        for number, values in zip(found.arrays["candidates"][unit], found.arrays["replicates"][unit], strict=True):
            if values[draw] > highest:
                best, highest = int(number) - 1, values[draw]
        labels.append(best)
    return labels


def percentile(values: list[int], share: float) -> float:
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut", ["0.04", "0.10"])
def test_both_ways_of_counting_are_what_their_definitions_say(tmp_path: Path, seed: int, cut: str) -> None:
    found = by_chance(tmp_path, seed)
    for layer, units in (("a", range(4)), ("b", range(4, 9))):
        counted = count(found, layer, float(cut))
        labels = labels_by_hand(found, units, cut, range(len(KNOWN)))
        own = {category: [label for label in labels if label >= 0 and KNOWN[label][1] == category]
               for category in CATEGORIES}  # fmt: skip
        assert counted.by_label == {category: (len(own[category]), len({*own[category]})) for category in CATEGORIES}
        for category in CATEGORIES:
            among = [place for place, (_, of) in enumerate(KNOWN) if of == category]
            passing = [label for label in labels_by_hand(found, units, cut, among) if label >= 0]
            assert counted.counts.by_category[category] == (len(passing), len({*passing}))
            draws = [drawn_by_hand(found, units, float(cut), draw) for draw in range(21)]
            unique = [len({label for label in each if label >= 0 and KNOWN[label][1] == category}) for each in draws]
            assert counted.intervals[category] == pytest.approx((percentile(unique, 0.025), percentile(unique, 0.975)))
        assert counted.counts.unique == sum(unique for _, unique in counted.by_label.values())
        assert counted.counts.detectors == sum(units for units, _ in counted.by_label.values())
        false = [label for label in labels_by_hand(found, units, cut, range(len(KNOWN)), "control.") if label >= 0]
        assert (counted.counts.false_detectors, counted.counts.false_unique) == (len(false), len({*false}))


def test_a_unit_counts_once_by_its_label_and_in_every_category_that_it_passes(tmp_path: Path) -> None:
    counted = count(one_layer(tmp_path))
    nothing = (0, 0)
    assert counted.by_label == {"object": (7, 3), "part": (1, 1), "scene": nothing, "material": nothing,
                                "texture": nothing, "colour": (1, 1)}  # fmt: skip
    assert counted.counts.by_category == {"object": (8, 3), "part": (2, 1), "scene": nothing, "material": (1, 1),
                                          "texture": nothing, "colour": (1, 1)}  # fmt: skip
    assert (counted.counts.detectors, counted.counts.unique, counted.counts.unique_in_categories) == (9, 5, 6)
    assert [count(one_layer(tmp_path / f"{cut}"), cut=cut).counts.unique for cut in CUTS] == [5, 4, 3]


def test_a_layer_is_named_and_there(tmp_path: Path) -> None:
    found = one_layer(tmp_path)
    with pytest.raises(AddressError, match="conv:3 is a unit; give a layer, as conv"):
        count(found, "conv:3")
    with pytest.raises(AddressError, match="did you mean 'conv'"):
        count(found, "cnv")


# --- bars and rankings ------------------------------------------------------------------------------------------------

BARS = [("tree", (0, 1, 2), 0.12), ("car", (3, 4), 0.30), ("sky", (5, 6), 0.20), ("wheel", (7,), 0.16),
        ("red", (8,), 0.07)]  # fmt: skip


def test_bars_stand_by_category_then_count_then_best_detector(tmp_path: Path) -> None:
    bars = histogram(one_layer(tmp_path).layers[0])
    assert [(bar.concept.name, bar.units) for bar in bars] == [(name, units) for name, units, _ in BARS]
    assert [bar.iou for bar in bars] == pytest.approx([iou for *_, iou in BARS], abs=1e-4)
    assert [bar.concept.name for bar in histogram(one_layer(tmp_path / "b").layers[0], 0.15)] == ["car", "sky", "wheel"]


def test_a_ranking_does_not_look_at_categories(tmp_path: Path) -> None:
    units = UNITS | {9: {"red": 0.31}}
    ranked = ranking(one_layer(tmp_path, units).layers[0])
    assert [bar.concept.name for bar in ranked] == ["tree", "red", "car", "sky", "wheel"]
    assert ranked[1].units == (9, 8)


# --- figures ----------------------------------------------------------------------------------------------------------

CATEGORY = {to_hex(colour): category for category, colour in COLOURS.items()}


def test_the_colours_are_those_of_the_paper_in_its_order() -> None:
    assert tuple(COLOURS) == ORDER == ("object", "scene", "part", "material", "texture", "colour")
    assert list(COLOURS.values()) == ["#4B4CBF", "#55B05B", "#50BDAC", "#D4CF24", "#F0883B", "#D92E2B"]


def lengths(axes: Axes, lies: bool) -> dict[float, dict[str, float]]:
    """By the middle of each bar the length of its part of each category; they must touch."""
    found: dict[float, dict[str, float]] = {}
    for patch in axes.patches:
        x, y, width, height = (round(float(value), 6) for value in patch.get_bbox().bounds)
        middle, start, length = (y + height / 2, x, width) if lies else (x + width / 2, y, height)
        bar = found.setdefault(round(middle, 3), {})
        assert start == sum(bar.values())
        bar[CATEGORY[to_hex(patch.get_facecolor())]] = length
    return found


def uniques(found: Detectors) -> dict[str, float]:
    return {category: unique for category, (_, unique) in found.by_label.items()}


def test_a_bar_a_concept_as_high_as_its_units(tmp_path: Path) -> None:
    sheet = concepts_figure.draw(one_layer(tmp_path).layers[0], 0.04, "net", "12 images")
    assert sheet.figure.texts[0].get_text() == "9/10 units covering 5 concepts with IoU ≥ 0.04"
    [axes] = [axes for axes in sheet.figure.axes if axes.get_ylabel() == "units"]
    assert [patch.get_height() for patch in axes.patches] == [3, 2, 2, 1, 1]
    assert [CATEGORY[to_hex(patch.get_facecolor())] for patch in axes.patches] == ["object"] * 3 + ["part", "colour"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [name for name, *_ in BARS]


def test_many_concepts_take_several_rows_and_none_is_left_out(tmp_path: Path) -> None:
    many = [(f"thing {place}", ORDER[place % 6]) for place in range(100)]
    units = {unit: {many[unit][0]: 0.05 + unit / 200} for unit in range(100)}
    found = hand_made(tmp_path, many, {"conv": 100}, pixels(units, many, 100))
    sheet = concepts_figure.draw(found.layers[0], 0.04, "net", "12 images")
    rows = [axes for axes in sheet.figure.axes if axes.get_ylabel() == "units"]
    assert len(rows) == 3
    names = [label.get_text() for axes in rows for label in axes.get_xticklabels()]
    assert names == [f"thing {place}" for start in range(6) for place in range(99, -1, -1) if place % 6 == start]


def test_layers_stand_in_panels_with_their_random_twins(tmp_path: Path) -> None:
    series = [by_chance(tmp_path / f"{seed}", seed) for seed in range(3)]
    panel, *twins = [[count(found, layer) for layer in ("a", "b")] for found in series]
    sheet = detectors_figure.draw([detectors_figure.Panel("net", panel, twins)], "12 images")
    [axes] = [axes for axes in sheet.figure.axes if axes.get_ylabel() == "unique detectors"]
    assert lengths(axes, lies=False) == {0: uniques(panel[0]), 1: uniques(panel[1])}
    *dots, dotted = axes.lines
    assert [line.get_ydata().tolist() for line in dots] == [[layer.counts.unique for layer in twin] for twin in twins]
    assert dotted.get_ydata().tolist() == [layer.counts.false_unique for layer in panel for _ in range(2)]
    upright = [line for lines in axes.collections for line in lines.get_segments() if line[0][0] == line[1][0]]
    assert [(line[0][1], line[1][1]) for line in upright] == [layer.counts.unique_interval for layer in panel]


def test_networks_stand_below_each_other_at_every_cut_counted_both_ways(tmp_path: Path) -> None:
    series = [(f"net {seed}", by_chance(tmp_path / f"{seed}", seed)) for seed in range(3)]
    found = [(name, [count(each, "b", cut) for cut in CUTS]) for name, each in series]
    sheet = networks_figure.draw(found, "12 images")
    charts = [lengths(axes, lies=True) for axes in sheet.figure.axes if axes.axison]
    for place in range(3):
        once = [counted[place] for _, counted in found]
        assert charts[place] == {row: uniques(each) for row, each in enumerate(once)}
        assert charts[3 + place] == {
            row: {category: unique for category, (_, unique) in each.counts.by_category.items()}
            for row, each in enumerate(once)
        }


def test_tokens_are_a_column_a_network_on_one_scale(tmp_path: Path) -> None:
    one, other = one_layer(tmp_path / "one"), one_layer(tmp_path / "other", {0: {"dots": 0.2}, 1: {"dots": 0.1}})
    sheet = tokens_figure.draw([("one", one.layers[0]), ("other", other.layers[0])], 0.04, "12 images")
    _, first, second = sheet.figure.axes
    widths = [patch.get_width() for patch in [*first.patches, *second.patches]]
    assert np.divide(widths, widths[0]) == pytest.approx(np.divide([3, 2, 2, 1, 1, 2], 3))
    written = [text.get_text() for text in sheet.figure.texts]
    assert written.index("tree") < written.index("car") < written.index("sky") < written.index("dots")
    assert "2/10 units covering 1 concept" in written


# --- what can be compared ---------------------------------------------------------------------------------------------


def test_dissections_that_mean_different_things_are_not_compared(tmp_path: Path) -> None:
    whole = one_layer(tmp_path / "a", network="a")
    counts = pixels(UNITS, KNOWN, 10)
    named = [("boat", "object"), *KNOWN[1:]]
    others = {
        "their quantiles are 0.005 and 0.02": one_layer(tmp_path / "b", job={"quantile": 0.02}),
        "their upsamplings are anchored and plain": one_layer(tmp_path / "c", job={"upsampling": "plain"}),
        "their thresholds are exact and lite": one_layer(tmp_path / "f", job={"threshold": "lite"}),
        "their readings of units are response and output": one_layer(tmp_path / "g", job={"at": "output"}),
        "their concepts are 9 of planted and 9 of boats": hand_made(tmp_path / "d", named, {"conv": 10}, counts,
                                                                    job={"concepts": "boats"}),
        "their images are 12 of planted and 12 of elsewhere": hand_made(
            tmp_path / "e", KNOWN, {"conv": 10}, counts | {"covered": counts["covered"] - 1},
            job={"concepts": "elsewhere"}),
        "the labels of their images are not the same": hand_made(
            tmp_path / "h", KNOWN, {"conv": 10}, counts | {"covered": counts["covered"] - 1}),
    }  # fmt: skip
    for message, other in others.items():
        with pytest.raises(AtlasError, match=rf"mine \(.*{whole.path.parent.name}.*\) and theirs \(.*{message}"):
            check_comparable([("mine", whole), ("theirs", other)])


def test_a_set_that_has_moved_is_the_same_and_another_crop_is_said(tmp_path: Path) -> None:
    whole, counts = one_layer(tmp_path / "a"), pixels(UNITS, KNOWN, 10)
    assert check_comparable([("a", whole), ("b", one_layer(tmp_path / "b", job={"concepts": "moved"}))]) == ()
    cut = hand_made(tmp_path / "c", KNOWN, {"conv": 10}, counts | {
        "covered": counts["covered"] - 1, "pixels": np.full(len(CATEGORIES), 49_000_000)
    })  # fmt: skip
    [note] = check_comparable([("a", whole), ("c", cut)])
    assert note == "a and c see other parts of the same images, as their inputs cut them out"


# --- conditions -------------------------------------------------------------------------------------------------------


def test_networks_are_dissected_once_and_stand_by_condition(tmp_path: Path) -> None:
    maps = np.zeros((6, 8, 8), np.int32)
    maps[0, 2, 3], maps[1, 5, 4] = 1, 2  # one pixel each: of 384 values one is above the threshold
    images = np.random.default_rng(0).random((6, 3, 8, 8)) * 0.5
    images[:, 0][maps == 1] += 0.5  # unit 0 detects a car, unit 1 a tree, and unit 2 noise
    images[:, 1][maps == 2] += 0.5
    network, concepts = planted(images, [("car", "object"), ("tree", "object")],
                                [Labels(each[None]) for each in maps])  # fmt: skip
    blind, _ = planted(images, [], [])
    blind.module[0].weight.data[:2] = blind.module[0].weight.data[2]
    steps: list[Any] = []
    given = [("wired", network), ("blind", blind), ("wired", network)]
    found = conditions(given, concepts, tmp_path, progress=steps.append)
    assert [(each.name, len(each.networks)) for each in found] == [("wired", 2), ("blind", 1)]
    wired, blinded = (each.networks[0].detectors.counts for each in found)
    assert (wired.detectors, wired.unique, blinded.detectors) == (2, 2, 0)
    assert found[0].networks[0].dissection["0:1"].iou == 1
    assert {step.phase for step in steps} == {"thresholds", "masks"}
    assert len([*tmp_path.iterdir()]) == 2  # the same weights have one folder
    steps.clear()
    again = conditions(given, concepts, tmp_path, progress=steps.append)
    assert [each.to_json() for each in again] == [each.to_json() for each in found]
    assert not steps
    mixed = conditions([("wired", found[0].networks[0].dissection), ("blind", blind)], concepts, tmp_path)
    assert [each.networks[0].detectors for each in mixed] == [each.networks[0].detectors for each in found]
    with pytest.raises(ValueError, match="give concepts and a folder"):
        conditions([("wired", network)])


def test_conditions_with_other_last_layers_are_compared_with_a_note(tmp_path: Path) -> None:
    counts, told = pixels(UNITS, KNOWN, 10), list[str]()
    series = [(name, hand_made(tmp_path / name, KNOWN, {"conv": 10 - many, name: many}, counts))
              for name, many in (("deep", 1), ("deeper", 2))]  # fmt: skip
    conditions(series, layer="conv", tell=told.append)
    assert told == []
    conditions(series, tell=told.append)
    assert told == ["different layers are compared, deep, deeper, as each is the last that was dissected"]


def test_bars_of_conditions_stand_together(tmp_path: Path) -> None:
    series = [by_chance(tmp_path / f"{seed}", seed) for seed in range(3)]
    found = conditions([("many", series[0]), ("one", series[1]), ("many", series[2])])
    sheet = conditions_figure.draw(found, "12 images")
    left, right = (lengths(axes, lies=True) for axes in sheet.figure.axes if axes.axison)
    counted = [count(series[place]) for place in (0, 2, 1)]
    assert [*left.values()] == [uniques(each) for each in counted]
    assert [*right.values()] == [
        {category: units for category, (units, _) in each.by_label.items()} for each in counted
    ]
    places = [*left]
    assert places[1] - places[0] < places[2] - places[1]


# --- commands ---------------------------------------------------------------------------------------------------------


def test_commands_say_draw_and_name(tmp_path: Path) -> None:
    one_layer(tmp_path / "first", network="net")
    one_layer(tmp_path / "second", {0: {"dots": 0.2}}, network="net")
    one_layer(tmp_path / "third", job={"quantile": 0.02})
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    figure = tmp_path / "figure.svg"
    for words in (("detectors", first, "--random", second), ("networks", first, f"mine={second}"),
                  ("tokens", first, second), ("concepts", first, "--layer", "conv")):  # fmt: skip
        said = run("figure", *words, "-o", figure).stdout
        assert f"figure: {figure}" in said
        assert "tree" in said or "9 (0–0)" in said
        assert figure.read_bytes().startswith(b"<?xml")
        figure.unlink()
    plain = json.loads(run("figure", "networks", first, f"mine={second}", "-o", figure, "--json").stdout)
    assert [each["network"] for each in plain["networks"]] == ["net", "mine"]
    assert [[each["unique"] for each in net["cuts"]] for net in plain["networks"]] == [[5, 4, 3], [1, 1, 1]]
    plain = json.loads(run("figure", "tokens", first, second, "-o", figure, "--json").stdout)
    assert [each["network"] for each in plain["networks"]] == ["first", "second"]
    plain = json.loads(run("figure", "concepts", first, "-o", figure, "--json", "--cut", "0.15").stdout)
    assert [(each["concept"]["name"], each["units"]) for each in plain["concepts"]] == [
        ("car", [3]), ("sky", [5]), ("wheel", [7])
    ]  # fmt: skip
    plain = json.loads(run("figure", "detectors", first, "--random", second, "-o", figure, "--json").stdout)
    assert [each["layers"][0]["detectors"] for each in (*plain["networks"], *plain["random"])] == [9, 1]
    refused = run("figure", "detectors", first, "--random", third, "-o", figure, code=1).stderr
    assert "quantiles are 0.005 and 0.02" in refused
    assert (
        "give it once for all" in run("figure", "tokens", first, *["--layer", "conv"] * 3, "-o", figure, code=2).stderr
    )


def test_networks_of_one_name_are_called_as_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        one_layer(tmp_path / name, network="net")
    (tmp_path / "second" / "dissection").rename(tmp_path / "second" / "third")  # as a rotation lies
    monkeypatch.chdir(tmp_path / "first")
    words = ["networks", ".", tmp_path / "second" / "third", "-o", tmp_path / "figure.svg", "--json"]
    plain = json.loads(run("figure", *words).stdout)
    assert [each["network"] for each in plain["networks"]] == ["first", "third"]


def test_a_name_is_told_from_options_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "rate=0.1"
    assert named(str(path)) == (str(tmp_path / "rate"), "0.1")
    path.mkdir()
    for text in (str(path), "alexnet:head=gap,width=0.5", "diorama:objects", "=atlas", "wide="):
        assert named(text) == (None, text)
    assert named("wide=alexnet:width=2") == ("wide", "alexnet:width=2")
    assert named(f"slow={path}") == ("slow", str(path))


def test_conditions_on_the_command_line(tmp_path: Path) -> None:
    one_layer(tmp_path / "first", remark="a mask is missing")
    one_layer(tmp_path / "second", {0: {"dots": 0.2}}, remark="a mask is missing")
    words = ["conditions", f"long={tmp_path / 'first'}", f"short={tmp_path / 'second'}"]
    figure = tmp_path / "figure.png"
    said = run(*words, "--figure", figure).stdout
    assert said.index("long") < said.index("5 (0–0)") < said.index("short")
    assert figure.exists()
    assert run(*words).stderr == "note: a mask is missing\n"
    plain = json.loads(run(*words, "--json").stdout)
    assert [(each["condition"], each["networks"][0]["unique"]) for each in plain["conditions"]] == [
        ("long", 5), ("short", 1)
    ]  # fmt: skip
    assert "figure" not in plain
    assert "give --concepts" in run(*words, "more=diorama:objects", code=2).stderr


def test_models_on_the_command_line_are_dissected(tmp_path: Path) -> None:
    words = ["conditions", "trained=diorama:objects", "--concepts", "diorama:objects/val:96", "-o", tmp_path / "out",
             "--limit", "4", "--json"]  # fmt: skip
    [condition] = json.loads(run(*words).stdout)["conditions"]
    [network] = condition["networks"]
    assert (network["layer"], network["units"]) == ("conv5", 128)
    assert Dissection.open(network["dissection"]).counts["conv5"].unique == network["unique"]
    assert convscope.load("diorama:objects").fingerprint.startswith(Path(network["dissection"]).parent.name[-8:])
