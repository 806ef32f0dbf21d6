"""Views of networks, atlases, layers and units: what they say, what they weigh, and that nothing in them is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

import convscope
from convscope.panel import Bars, Scatter
from convscope.render import charts, facts, inline, views
from odd_nets import ODD_NETS
from reading import Reader, check, decoded, flagged_atlas

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def atlas(lenet, digits, tmp_path_factory):
    return convscope.scan(lenet, digits, tmp_path_factory.mktemp("digits") / "atlas", limit=120)


# --- what the views say -----------------------------------------------------------------------------------------------


def test_network_view(lenet):
    read = check(views.network(lenet))
    assert "convscope.load('digits:lenet5')" in read.words
    assert "softmax over 10 classes: 0, 1, 2, 3, 4, 5, …" in read.words
    assert "0 to 1, minus mean 0.3, divided by 0.35" in read.words
    for expected in ("c1", "c3", "c5", "f6", "output", "61.7 k", "6 × 28 × 28", "48,120", "whole image"):
        assert expected in read.words, expected


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"size": [8, 8]}, ["3 × 8 × 8 (RGB)", "warped to 8 × 8 px (bilinear)"]),
        ({"size": [8, 6], "resize": 9, "crop": [8, 6]},
         ["shorter side to 9 px, 8 × 6 px cut from the centre (bilinear)"]),
        ({"size": [8, 8], "resize": [9, 10]}, ["resized to 9 × 10 px, 8 × 8 px cut from the centre"]),
        ({"size": [8, 8], "crop": [6, 6], "interpolation": "nearest"},
         ["6 × 6 px cut from the centre, resized to 8 × 8 px (nearest)"]),
        ({"size": [8, 8], "channels": 5, "range": [0, 255]}, ["5 × 8 × 8prepared", "0 to 255, minus"]),
    ],
)  # fmt: skip
def test_network_view_says_how_images_are_prepared(card, expected):
    channels = card.get("channels", 3)
    network = convscope.wrap(torch.nn.Conv2d(channels, 2, 1), preprocess=card, output="real")
    read = check(views.network(network))
    for text in [*expected, "wrapped from a module of this session", "the names of its classes are not known"]:
        assert re.sub(r"\s+", "", text) in re.sub(r"\s+", "", read.words), text


def test_network_view_gives_remarks_and_what_goes_wrong():
    read = check(views.network(convscope.load("squeezenet1_0")))
    assert "its weights are random." in read.words
    network = convscope.wrap(torch.nn.Linear(3, 2), preprocess={"size": [8, 8], "channels": "L"}, name="<b>odd</b>")
    read = check(views.network(network))
    assert "Its layers are not known." in read.words
    assert "does not run on images of shape (1, 1, 8, 8)" in read.words
    assert "<b>odd</b>" in read.words  # as text


@pytest.mark.parametrize("name", ODD_NETS)
def test_every_odd_network_shows_itself(name):
    odd = ODD_NETS[name]
    network = convscope.wrap(odd.make(), preprocess={"size": list(odd.shape[1:]), "channels": odd.shape[0]})
    read = check(views.network(network))
    for address in odd.reads:
        assert address in read.words


def test_atlas_view(atlas):
    html = views.atlas(atlas)
    read = check(html)
    results = atlas.run["results"]
    assert f"{results['top1_right']} of 120" in read.words
    assert str(atlas.path) in read.words
    assert "no layer is rectified" in read.words
    pictures = [attrs for tag, attrs in read.tags if tag == "img"]
    assert len(pictures) == 5
    assert pictures[0]["title"] == "c1: units 0, 1, 2, 3, 4, 5"
    assert len(html) < 300_000


def test_the_strip_of_an_atlas_view_holds_the_best_patches_of_the_chosen_units(atlas):
    """Pixel by pixel: tiles of 14 px are enlarged four times, with a clear gap of 4 px between."""
    layer = atlas.layer("c3")
    chosen = facts.outstanding(layer, 12)
    uri = next(
        attrs["src"]
        for tag, attrs in Reader(views.atlas(atlas)).tags
        if tag == "img" and attrs["title"].startswith("c3:")
    )
    seen = np.asarray(decoded(uri).convert("RGBA"))
    assert seen.shape == (56, 12 * 60 - 4, 4)
    for place, unit in enumerate(chosen):
        tile = np.asarray(layer[unit].patch(0))
        assert (seen[::4, 60 * place : 60 * place + 56 : 4, :3] == tile).all()
    assert (seen[:, 56:60, 3] == 0).all()
    assert (seen[:, :56, 3] == 255).all()


def test_outstanding_units_by_the_definition(atlas):
    layer = atlas.layer("c5")
    summary = layer.summary
    distance = [(summary["maximum"][u] - summary["mean"][u]) / summary["std"][u] for u in range(layer.units)]
    best = sorted(range(layer.units), key=lambda unit: (-distance[unit], unit))[:7]
    assert facts.outstanding(layer, 7) == sorted(best)
    assert facts.outstanding(layer, 1000) == list(range(120))


def test_a_tile_is_the_patch_as_small_as_the_strip(atlas):
    for address in ("c3:3", "c5:100", "output:9"):
        unit = atlas[address]
        for rank in (0, 8):
            assert (np.asarray(unit.tile(rank)) == np.asarray(unit.patch(rank))).all(), (address, rank)
    with pytest.raises(convscope.ConvscopeError, match="unit c3:3 has a strip of 9 images, ranks 0 to 8, not 9"):
        atlas["c3:3"].tile(9)


def test_layer_view_is_bounded_to_its_most_outstanding_units(atlas):
    html = views.layer(atlas.layer("c5"))
    read = check(html)
    strips = [attrs["alt"] for tag, attrs in read.tags if tag == "img"]
    assert strips == [f"best patches of unit {unit}" for unit in facts.outstanding(atlas.layer("c5"), 64)]
    assert "64 of 120 units, those whose best image stands out most" in read.words
    assert len(html) < 300_000
    assert "Every unit." in check(views.layer(atlas.layer("c3"))).words


def test_unit_view_says_what_the_atlas_says(atlas):
    unit = atlas["c3:3"]
    html = views.unit(unit)
    read = check(html)
    captions = re.findall(r"<figcaption[^>]*><b>(.*?)</b> (.*?)</figcaption>", html)
    assert captions == [(views.text.figure(top.value), top.label) for top in unit.top[:9]]
    patches = [attrs["src"] for tag, attrs in read.tags if tag == "img"]
    times = 96 // 14
    for rank, uri in enumerate(patches):
        assert (np.asarray(decoded(uri).convert("RGB"))[::times, ::times] == np.asarray(unit.patch(rank))).all()
    frames = [attrs for tag, attrs in read.tags if tag == "rect" and attrs.get("class") == "inner"]
    boxes = [tuple(int(frame[name]) for name in ("y", "x", "height", "width")) for frame in frames]
    truth = [top.box.clip(32, 32) for top in unit.top[:9]]
    assert boxes == [(box.y0, box.x0, box.height, box.width) for box in truth]
    assert views.text.figure(unit.summary["mean"]) in read.words
    assert "Mean response by class" in read.words
    assert "least: " in read.words
    assert len(html) < 150_000


@pytest.fixture(scope="module")
def flagged(tmp_path_factory):
    return flagged_atlas(tmp_path_factory.mktemp("flagged"))


def test_what_needs_attention_is_said_and_names_are_text(flagged):
    dead, lit, broken, _ = (check(views.unit(unit)) for unit in flagged.layers[0])
    assert "dead: never above zero." in dead.words
    assert "always on: above zero" in lit.words
    assert "Nothing to show: every response was NaN." in broken.words
    whole, layer = check(views.atlas(flagged)), check(views.layer(flagged.layers[0]))
    assert "1 unreadable" in whole.words
    assert "1 image could not be read, the first of them broken<b id=injected>.png" in whole.words
    assert "1 unit NaN (gave NaN at least once)" in re.sub(r"\s+", " ", whole.words)
    assert "no patches: every response was NaN" in layer.words
    strip = next(attrs for tag, attrs in whole.tags if tag == "img")
    assert strip["title"] == "0: units 0, 1, 3"  # three patches: unit 2 gave only NaN
    for read in (dead, lit, broken, whole, layer):
        assert not any(attrs.get("id") == "injected" for _, attrs in read.tags)


@pytest.mark.parametrize("name", ODD_NETS)
def test_atlases_of_odd_networks_show_themselves(name, tmp_path):
    odd = ODD_NETS[name]
    network = convscope.wrap(odd.make(), preprocess={"size": list(odd.shape[1:]), "channels": odd.shape[0]})
    images = convscope.Arrays(odd.images(3).sigmoid().numpy())
    atlas = convscope.scan(network, images, tmp_path / "atlas")
    check(views.atlas(atlas))
    for layer in atlas.layers:
        check(views.layer(layer))
        check(views.unit(layer[0]))


# --- pictures and charts ----------------------------------------------------------------------------------------------


def test_strips_stay_within_their_budget():
    rng = np.random.default_rng(0)
    rows = [[Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(12)] for _ in range(20)]
    wide = inline.strips(rows, 10**7)
    tight = inline.strips(rows, 100_000)
    assert sum(len(strip.uri) for strip in tight) <= 100_000 < sum(len(strip.uri) for strip in wide)
    assert decoded(wide[0].uri).height == 64  # nothing is enlarged but what is tiny
    assert decoded(tight[0].uri).height < 64
    assert inline.strips([[], rows[0]], 10**7)[0] is None


def test_the_veil_is_clear_where_the_unit_answers(atlas):
    """By a slow definition: at the centre of each cell's field the alpha is that of the cell."""
    layer = atlas.layer("c3")
    shares = layer[3].map(0)
    veil = inline.veil(layer, shares)
    alpha = np.asarray(decoded(veil.uri).convert("RGBA"))[..., 3]
    rows, columns = alpha.shape
    for row in range(shares.shape[0]):
        for column in range(shares.shape[1]):
            y, x = layer.grid.box(row, column).centre
            i = int((y + 0.5 - veil.y) / veil.height * rows)
            j = int((x + 0.5 - veil.x) / veil.width * columns)
            assert alpha[i, j] == int(170 * (1 - np.sqrt(shares[row, column])))
    assert inline.veil(layer, np.zeros_like(shares)) is None
    assert inline.veil(atlas.layer("f6"), np.zeros((0, 0), np.float32)) is None


def test_bars_by_hand():
    chart = charts.bars(Bars("Title", (0.0, 1.0, 2.0, 3.0), (10.0, 0.0, 1.0), "x", "values"))
    left, right, top, bottom = (chart["frame"][name] for name in ("left", "right", "top", "bottom"))
    third = (right - left) / 3
    ten, one = chart["bars"]  # an empty bin has no bar
    assert (ten["x"], ten["width"]) == (left, pytest.approx(third, abs=0.01))
    assert one["x"] == pytest.approx(left + 2 * third, abs=0.01)
    assert ten["y"] + ten["height"] == pytest.approx(bottom)
    tall = np.log10(14) - np.log10(0.7)  # the axis reaches from just below one to just above the highest bar
    for bar, value in ((ten, 10), (one, 1)):
        assert bar["height"] == pytest.approx((bottom - top) * np.log10(value / 0.7) / tall, abs=0.02)
    assert [label for _, label in chart["rows"]] == ["1", "10"]
    assert [label for _, label in chart["columns"]] == ["0", "1", "2", "3"]
    assert chart["y"] == "values (log)"
    assert chart["about"] == "11 values, x from 0 to 3"


def test_bars_without_a_logarithm_are_in_proportion():
    chart = charts.bars(Bars("Title", (0.0, 1.0, 2.0), (10.0, 5.0), "x", "units", log=False))
    ten, five = chart["bars"]
    assert ten["height"] == pytest.approx(2 * five["height"], abs=0.02)
    assert [label for _, label in chart["rows"]] == ["0", "5", "10"]
    assert chart["y"] == "units"


def test_points_become_rows():
    panel = views._panel(Scatter("Cloud", (1.0, 2.0), (0.5, 0.25), ("a", "b"), "width", "height"))
    assert panel["title"] == "Cloud (width, height)"
    assert panel["rows"] == (("a", "1, 0.5"), ("b", "2, 0.25"))


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 3e-7), (-2e6, 5.5e6), (0.999, 1.001), (-0.3, 17)])
def test_labels_of_an_axis_are_round_and_inside(low, high):
    columns = charts.bars(Bars("", (low, (low + high) / 2, high), (1.0, 1.0), "", ""))["columns"]
    assert 3 <= len(columns) <= 6
    assert all(charts._LEFT <= x <= charts.WIDTH - charts._RIGHT for x, _ in columns)


def test_a_map_without_a_place_on_the_image_is_not_drawn(tmp_path):
    """After circular padding every cell sees the whole image."""
    odd = ODD_NETS["circular_padding"]
    network = convscope.wrap(odd.make(), preprocess={"size": list(odd.shape[1:]), "channels": odd.shape[0]})
    atlas = convscope.scan(network, convscope.Arrays(odd.images(3).sigmoid().numpy()), tmp_path / "atlas")
    lost = [layer for layer in atlas.layers if not facts.lattice(layer.grid.rows)[1]]
    assert lost
    for layer in lost:
        assert inline.veil(layer, layer[0].map(0)) is None
