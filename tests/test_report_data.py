"""What the pages of a report say, against definitions written out, and planted networks whose faults are known."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import convscope
from convscope.render.text import figure
from convscope.report.contents import Contents
from convscope.report.pages import attention, classes, layer, network, search
from convscope.report.selection import select
from convscope.report.strips import Strips
from convscope.report.terms import TERMS, of_flag
from test_report import scripted, units_of

Atlas = convscope.Atlas


def contents_of(atlas: Atlas) -> Contents:
    shown = select(atlas)
    strips = {each.slug: Strips(each, atlas.run["strips"][each.slug]["files"]) for each in shown}
    return Contents(atlas, shown, strips, {image: about["place"] for image, about in atlas.pictures.items()})


@pytest.fixture(scope="module")
def contents(full_atlas: Atlas) -> Contents:
    return contents_of(full_atlas)


def planted(folder: Path) -> Atlas:
    """Three units behind a rectifier, dead, always on and right; and three that are not rectified. Labels by twos."""
    convs = [torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(3, 3, 1)]
    for conv in convs:
        conv.weight.data.fill_(0)
    convs[0].weight.data[2] = 1
    convs[0].bias.data.copy_(torch.tensor([-1.0, 1.0, -0.4]))
    convs[1].bias.data.fill_(-1)
    module = torch.nn.Sequential(convs[0], torch.nn.ReLU(), convs[1], torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    wrapped = convscope.wrap(module, preprocess={"size": [8, 8], "channels": "L"}, classes=["ant", "bee", "cow"])
    pixels = np.zeros((6, 8, 8), np.float32)
    pixels[2:4] = 0.5
    return convscope.scan(wrapped, convscope.Arrays(pixels, [0, 0, 1, 1, 2, 2]), folder)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    return contents_of(planted(tmp_path_factory.mktemp("planted") / "atlas"))


def test_faults_are_found_where_they_were_planted(faulty: Contents) -> None:
    assert faulty.flags == {"dead": {"0": [0]}, "always on": {"0": [1]}}
    assert attention.counts(faulty) == {"dead": 1, "always on": 1}
    found = attention.context(faulty)["found"]
    assert [(each["name"], each["layers"][0]["units"]) for each in found] == [("dead", [0]), ("always on", [1])]
    assert network.context(faulty)["dead"] == 1
    assert all(attention.ADVICE[name] for name in faulty.flags)


def test_every_fault_is_a_term_and_has_advice() -> None:
    for name in attention.ADVICE:
        assert TERMS[of_flag(name)].line


def test_faults_can_be_searched_for(faulty: Contents) -> None:
    entries = {entry[1]: entry for entry in search.entries(faulty) if entry[0] != "term"}
    assert entries["dead"][3] == "attention.html#dead"
    assert entries["always on"][2].startswith("1 unit")
    assert entries["bee"][3] == "classes.html#c1"
    assert "nearly dead" not in {entry[1] for entry in search.entries(faulty) if entry[0] == "units"}


def test_a_network_without_rectifiers_has_no_number_of_dead_units(contents: Contents, full_report: Path) -> None:
    assert network.context(contents)["dead"] is None  # LeNet-5 has tanh
    assert "no layer is rectified" in (full_report / "index.html").read_text()
    home = full_report / "layers" / "000-c1"
    assert "not rectified: zero is an answer like any other" in (home / "index.html").read_text()


def test_favourite_classes_are_those_of_the_largest_mean(full_atlas: Atlas, faulty: Contents) -> None:
    for each in full_atlas.layers:
        expected = [full_atlas.classes[int(np.argmax(row))] for row in each.class_means]
        assert layer.favourites(each).tolist() == expected
    assert layer.favourites(faulty.atlas.layers[0])[2] == 1


def test_selective_units_of_a_class_are_the_most_selective_of_those_that_like_it_best(contents: Contents) -> None:
    found = classes.most_selective(contents)
    expected: dict[int, list[tuple[float, int, int]]] = {}
    for number, each in enumerate(contents.atlas.layers):
        for unit in range(each.units):
            value, liked = each.summary["selectivity"][unit], int(layer.favourites(each)[unit])
            if value > 0:  # NaN is not
                expected.setdefault(liked, []).append((-value, number, unit))
    assert found.keys() == expected.keys()
    for index, units in found.items():
        best = sorted(expected[index])[:4]
        assert [(address, unit) for address, unit, _ in units] == [
            (str(contents.atlas.layers[n].address), u) for _, n, u in best
        ]


def test_planted_selectivity_leads_to_the_unit(faulty: Contents) -> None:
    assert classes.most_selective(faulty)[1][0] == ("0", 2, 1.0)


def test_confusions_are_those_of_a_plain_loop(contents: Contents) -> None:
    context = classes.context(contents)
    rows = {row["class"]: row for row in context["rows"]}
    assert sum(row["images"] for row in rows.values()) == 359
    assert sum(row["top1"] for row in rows.values()) == 358
    matrix = context["matrix"]
    assert [name for _, name in matrix["columns"]] == [str(digit) for digit in range(10)]
    wrong = [
        (true, predicted, n)
        for true, _, cells in matrix["rows"]
        for predicted, n, _ in cells
        if n and true != predicted
    ]
    assert len(wrong) == 1
    assert [(t, p) for t, p, _ in wrong] == [
        (t, p) for t, p, n in contents.atlas.run["results"]["confusions"] if t != p
    ]


def test_columns_of_a_layer_are_its_summary(full_atlas: Atlas, full_report: Path) -> None:
    each = full_atlas.layer("c3")
    (data,) = scripted(full_report / "layers" / "001-c3" / "layer.js")
    assert data["units"] == list(range(16))
    for name in ("maximum", "mean", "nonpositive"):
        np.testing.assert_allclose(data["columns"][name], each.summary[name], rtol=1e-3)
    standing = (np.array(each.summary["maximum"]) - each.summary["mean"]) / each.summary["std"]
    assert np.argsort(data["columns"]["standing"]).tolist() == np.argsort(-standing, kind="stable").tolist()


def test_a_unit_has_all_of_its_best_images_and_its_maps(full_atlas: Atlas, full_report: Path) -> None:
    for unit, found in zip(full_atlas.layer("c3"), units_of(full_report, "001-c3"), strict=True):
        assert len(found["top"]) == 25
        expected = [[top.id, figure(top.value), top.row * 10 + top.column] for top in unit.top]
        assert [top[:3] for top in found["top"]] == expected
        shares = [top.value / unit.top[0].value for top in unit.top]
        np.testing.assert_allclose([top[3] for top in found["top"]], shares, atol=6e-4)
        maps = np.frombuffer(zlib.decompress(base64.b64decode(found["maps"])), np.uint8).reshape(9, 10, 10)
        for rank in range(9):
            np.testing.assert_allclose(maps[rank] / np.float32(255), unit.map(rank))
        best, least = found["classes"]["best"], found["classes"]["least"]
        order = np.argsort(-unit.layer.class_means[unit.index], kind="stable").tolist()
        assert [index for index, _, _ in best] == order[:5]
        assert [index for index, _, _ in least] == order[-3:]


def test_connections_lead_to_the_units_of_the_atlas(full_atlas: Atlas, full_report: Path) -> None:
    addresses = [str(each.address) for each in full_atlas.layers]
    found = units_of(full_report, "001-c3")[4]
    unit = full_atlas["c3:4"]
    assert unit.inputs
    assert unit.outputs
    for name in ("inputs", "outputs"):
        expected = [(each.layer, each.unit) for each in getattr(unit, name)]
        assert [(addresses[number], index) for number, index, _, _ in found[name]] == expected
        strengths = [strength for _, _, _, strength in found[name]]
        assert strengths == sorted(strengths, reverse=True)


def test_crops_are_those_of_the_grid(full_atlas: Atlas, full_report: Path) -> None:
    (data,) = scripted(full_report / "layers" / "001-c3" / "geometry.js")
    grid = full_atlas.layer("c3").grid
    for row in range(10):
        for column in range(10):
            (y0, y1), (x0, x1) = data["crops"][0][row], data["crops"][1][column]
            assert (y0, x0, y1, x1) == grid.crop(row, column).as_tuple()
    assert tuple(data["fields"]["field"]) == grid.box(5, 5).as_tuple()
    assert data["fields"]["exact"] is None


def test_a_gate_makes_the_exact_field_differ(tmp_path: Path) -> None:
    """Behind squeeze-and-excitation every position sees the whole image, and patches are one pixel all the same."""

    class Gated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.last = (torch.nn.Conv2d(a, b, 1) for a, b in ((1, 2), (2, 2), (2, 2)))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values = torch.relu(self.first(images))
            return self.last(values * torch.sigmoid(self.gate(values.mean((2, 3), keepdim=True)))).mean((2, 3))

    wrapped = convscope.wrap(Gated(), preprocess={"size": [8, 8], "channels": "L"})
    pixels = np.random.default_rng(0).random((5, 8, 8), np.float32)
    atlas = convscope.scan(wrapped, convscope.Arrays(pixels), tmp_path / "atlas")
    facts = {str(each.layer.address): layer.facts(each)["exact"] for each in select(atlas)}
    assert facts == {"first": None, "gate": None, "last": "whole image"}
    report = convscope.write_report(atlas, tmp_path / "report").parent
    assert "exact field" in (report / "layers" / "002-last" / "index.html").read_text()
