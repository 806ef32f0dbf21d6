"""What is read out of deep features: exact maps, planted truth with its place, and judges that nobody has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from convscope import Arrays, Network
from convscope.cli import main
from convscope.errors import AddressError, ImagesError, NetworkError
from convscope.render.figures.features import draw
from convscope.render.figures.sheet import RED
from convscope.studies import generic_localization as generic
from convscope.studies.features import deep_features
from convscope.studies.readouts import Readout, fit_clusters, fit_labels, fit_values, judge_labels, judge_values, split
from explaining import network_of
from odd_nets import conv

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 20


def colours_seen() -> Network:
    """Four units: red, green, blue, and one that is never on; a map of 10 × 10 cells of 2 px."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, 2))  # fmt: skip
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0]))
        net[0].weight[:3, :, 0, 0] = torch.eye(3)
    return network_of(net, (3, SIDE, SIDE))


def patches(count: int, colours: int = 3, seed: int = 0) -> tuple[Arrays, NDArray[np.bool_]]:
    """Pictures with noise and one patch of a colour, which is the label; and where the patch is."""
    dice = np.random.default_rng(seed)
    pictures = dice.uniform(0, 0.3, (count, 3, SIDE, SIDE)).astype(np.float32)
    places = np.zeros((count, SIDE, SIDE), np.bool_)
    for i, (y, x) in enumerate(2 * dice.integers(0, 7, (count, 2))):
        places[i, y : y + 6, x : x + 6] = True
        pictures[i, i % colours][places[i]] = 1
    return Arrays(pictures, ["red", "green", "blue"][:colours] * (count // colours)), places


def features_of(count: int, names: int = 3, seed: int = 0) -> tuple[NDArray[np.float64], list[str]]:
    """Features with labels that overlap; the units differ in scale and offset, and one is constant."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, names, count)
    values = dice.normal(size=(count, 6))
    values[:, :names] += 1.5 * np.eye(names)[labels]
    values[:, 5] = 0
    return values * [1, 100, 0.01, 5, 1, 1] + [0, 50, 3, -2, 1, 7], [f"label {label}" for label in labels]


def mean_of(readout: Readout, maps: torch.Tensor) -> NDArray[np.float64]:
    means: NDArray[np.float64] = readout.maps(maps).mean((2, 3)).numpy() + readout.bias
    return means


# --- the features ----------------------------------------------------------------------------------------------------


def test_features_are_the_means_of_the_last_map() -> None:
    network, (images, _) = colours_seen(), patches(9)
    found = deep_features(network, images, batch_size=4)
    inputs = torch.stack([network.preprocess(images.read(i)) for i in range(9)])
    truth = network.module[:3](inputs).double().mean((2, 3))
    np.testing.assert_allclose(found.values, truth.detach(), rtol=1e-6)
    assert found.ids.tolist() == list(range(9))
    given, maps = found.maps([7, 2])
    torch.testing.assert_close(given, inputs[[7, 2]])
    torch.testing.assert_close(maps, network.module[:3](inputs[[7, 2]]).double().detach())
    assert found.map.grid.box(1, 2).as_tuple() == (2, 4, 4, 6)


def test_the_map_that_classes_are_made_of_is_read_and_any_layer_can_be() -> None:
    module = nn.Sequential(conv(3, 5), nn.ReLU(), nn.Conv2d(5, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network, (images, _) = network_of(module, (3, SIDE, SIDE)), patches(3)
    assert deep_features(network, images).values.shape == (3, 5)
    assert deep_features(network, images, layer="2").values.shape == (3, 3)
    with pytest.raises(AddressError, match="third"):
        deep_features(network, images, layer="third")


def test_numbers_that_are_none_are_named() -> None:
    network, (images, _) = colours_seen(), patches(3)
    with torch.no_grad():
        network.module[0].weight *= 1e38
        network.module[0].bias -= 1e38
        network.module[0].weight[3] = torch.tensor([3e38, 3e38, 3e38])[:, None, None]
    with pytest.raises(NetworkError, match=r"not finite .* image 0"):
        deep_features(network, images)


# --- three things that are linear in them ----------------------------------------------------------------------------


def test_a_linear_svm_on_features_as_they_are() -> None:
    values, labels = features_of(200)
    readout = fit_labels(values, labels)
    own = make_pipeline(StandardScaler(), LinearSVC(C=readout.chosen["C"], dual="auto", random_state=0, tol=1e-3))
    own.fit(values, labels)
    np.testing.assert_allclose(readout.scores(values), own.decision_function(values), rtol=1e-6, atol=1e-9)
    assert [readout.names[i] for i in readout.scores(values).argmax(1)] == own.predict(values).tolist()


def test_two_labels_have_a_score_each() -> None:
    values, labels = features_of(120, 2)
    readout = fit_labels(values, labels)
    assert readout.names == ("label 0", "label 1")
    np.testing.assert_allclose(readout.scores(values).sum(1), 0, atol=1e-12)
    assert judge_labels(readout, values, labels)["accuracy"] > 0.8


def test_ridge_regression_on_features_as_they_are() -> None:
    values, _ = features_of(200)
    numbers = values @ [1, 0.02, 50, 0, 0, 9.0] + np.random.default_rng(1).normal(size=200)
    readout = fit_values(values, numbers, "weight")
    own = make_pipeline(StandardScaler(), Ridge(readout.chosen["alpha"])).fit(values, numbers)
    np.testing.assert_allclose(readout.scores(values)[:, 0], own.predict(values), rtol=1e-9)
    judged = judge_values(readout, values, numbers)
    assert judged["r2"] == pytest.approx(own.score(values, numbers))
    assert judged["interval"][0] < judged["r2"] < judged["interval"][1]


def test_an_image_belongs_to_the_nearest_centre() -> None:
    values, _ = features_of(150)
    readout = fit_clusters(values, 4, seed=3)
    z = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1)
    own = KMeans(4, n_init=10, random_state=3).fit(z)
    assert np.array_equal(readout.scores(values).argmax(1), own.predict(z))
    distances = np.square(z[:, None] - own.cluster_centers_[None]).sum(2)
    scores = readout.scores(values)
    np.testing.assert_allclose(scores - scores[:, :1], (distances[:, :1] - distances) / 2, atol=1e-9)


def test_the_mean_of_a_map_and_the_bias_are_the_score() -> None:
    maps = torch.rand(7, 6, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values, labels = features_of(60)
    for readout in (
        fit_labels(values, labels),
        fit_values(values, values[:, 1] + values[:, 2]),
        fit_clusters(values, 3),
    ):
        np.testing.assert_allclose(mean_of(readout, maps), readout.scores(maps.mean((2, 3)).numpy()), rtol=1e-9)


# --- planted, and found in its place ---------------------------------------------------------------------------------


def test_a_planted_label_is_read_where_it_is() -> None:
    images, places = patches(60)
    found = generic.read_labels(colours_seen(), images)
    assert found.fitted == 45
    assert found.judged["images"] == 15
    assert found.judged["accuracy"] == 1
    assert found.judged["interval"][0] == pytest.approx(0.796, abs=1e-3)  # Wilson, 15 of 15
    assert [row.name for row in found.rows] == ["blue", "green", "red"]
    for row in found.rows:
        _, maps = found.maps(row)
        assert set(row.truths) == {row.name}
        for image, map_ in zip(row.ids, maps.numpy(), strict=True):
            assert map_[places[image]].mean() > 3 * abs(map_[~places[image]].mean())
            assert places[image].ravel()[map_.argmax()]


def test_a_planted_number_is_read_where_it_is() -> None:
    """The number is how green the patch is."""
    images, places = patches(60, 1)
    dice = np.random.default_rng(2).uniform(0, 1, 60)
    images.images[:, 0] = images.images[:, 1]
    images.images[:, 1] = np.where(places, dice[:, None, None], 0.3)
    values = dict(zip(images.names, dice.tolist(), strict=True))
    found = generic.read_values(colours_seen(), images, values, name="green")
    assert found.judged["r2"] > 0.99
    largest, smallest = found.rows
    assert list(largest.scores) == sorted(largest.scores, reverse=True)
    assert list(smallest.scores) == sorted(smallest.scores)
    assert min(largest.scores) > max(smallest.scores)
    _, maps = found.maps(largest)
    inputs, cells = found.features.maps(largest.ids)
    means = found.readout.maps(cells)[:, 0].mean((1, 2)) + found.readout.bias[0]
    np.testing.assert_allclose(means, largest.scores, rtol=1e-9)
    for image, map_ in zip(largest.ids, maps.numpy(), strict=True):
        assert map_[places[image]].mean() > map_[~places[image]].mean() + 0.1
        assert places[image].ravel()[map_.argmax()]
    assert len(inputs) == generic.SHOWN


def test_clusters_are_those_of_the_planted_colours() -> None:
    found = generic.read_clusters(colours_seen(), patches(60)[0], 3)
    assert found.judged["adjusted_mutual_information"] == pytest.approx(1)
    assert sorted(each["label"] for each in found.judged["clusters"].values()) == ["blue", "green", "red"]
    unlabelled = Arrays(patches(60)[0].images)
    assert "adjusted_mutual_information" not in generic.read_clusters(colours_seen(), unlabelled, 3).judged


# --- honest judges ---------------------------------------------------------------------------------------------------


def test_labels_by_chance_are_judged_as_chance() -> None:
    labels = [f"{i % 4}" for i in range(160)]
    seen, judged, validated = [], [], []
    for seed in range(6):
        values = np.random.default_rng(seed).normal(size=(160, 40))
        train, test = split(labels, 160, seed)
        readout = fit_labels(values[train], [labels[i] for i in train])
        seen.append(judge_labels(readout, values[train], [labels[i] for i in train])["accuracy"])
        judged.append(judge_labels(readout, values[test], [labels[i] for i in test])["accuracy"])
        validated.append(readout.chosen["cross-validated accuracy"])
    assert np.mean(seen) > 0.5
    assert np.mean(judged) == pytest.approx(0.25, abs=0.08)
    assert np.mean(validated) < 0.35


def test_a_quarter_of_each_label_is_held_out() -> None:
    labels = ["a"] * 40 + ["b"] * 80
    train, test = split(labels, 120, seed=5)
    assert sorted([*train, *test]) == list(range(120))
    assert [sum(labels[i] == each for i in test) for each in "ab"] == [10, 20]
    assert not np.array_equal(test, split(labels, 120, seed=6)[1])


def test_other_images_can_judge() -> None:
    found = generic.read_labels(colours_seen(), patches(30)[0], patches(21, seed=9)[0])
    assert (found.fitted, found.judged["images"]) == (30, 21)


def test_what_cannot_be_read_is_said() -> None:
    network, (images, _) = colours_seen(), patches(6)
    with pytest.raises(ImagesError, match="none of 6 images has a label"):
        generic.read_labels(network, Arrays(images.images))
    with pytest.raises(ImagesError, match="cannot be held out"):
        generic.read_labels(network, images)
    with pytest.raises(ImagesError, match="told apart by two or more"):
        generic.read_labels(network, Arrays(images.images, ["a"] * 6), images)
    with pytest.raises(ImagesError, match="values that differ"):
        fit_values(np.ones((20, 3)), np.ones(20))
    readout = fit_values(np.arange(20.0)[:, None], np.arange(20.0))
    with pytest.raises(ImagesError, match="all 3 images to judge on have the number 5"):
        judge_values(readout, np.ones((3, 1)), np.full(3, 5.0))
    with pytest.raises(ImagesError, match="7 clusters of 6 images"):
        generic.read_clusters(network, images, 7)


def test_other_labels_are_red_also_where_labels_are_called_as_clusters_are() -> None:
    images, _ = patches(24)
    found = generic.read_labels(colours_seen(), Arrays(images.images, [f"cluster {each}" for each in images.labels]))
    red = [text.get_text() for text in draw(found, "colours").figure.texts if text.get_color() == RED]
    assert sorted(red) == sorted(str(truth) for row in found.rows for truth in row.truths if truth != row.name) != []


# --- the command -----------------------------------------------------------------------------------------------------


def run(*words: Any, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_the_command_reads_labels_numbers_and_clusters(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("file,size\n" + "".join(f"{i:04},{i % 7}\n" for i in range(1001)))
    cases: list[tuple[list[Any], str]] = [
        ([], "labels"),
        (["--clusters", 3], "clusters"),
        (["--values", numbers], "values"),
    ]
    for words, kind in cases:
        figure = tmp_path / f"{kind}.png"
        images = "digits:test" if kind != "values" else _digits(tmp_path)
        said = run("features", "digits:lenet5", images, *words, "--limit", 120, "-o", figure, "--json")
        found = json.loads(said.splitlines()[-1])
        assert found["kind"] == kind
        assert figure.stat().st_size > 10_000
        if kind == "labels":
            assert found["accuracy"] > 0.6
            assert found["most_frequent"] < 0.3
    assert "neither --values nor --test" in run(
        "features", "digits:lenet5", "digits:test", "--clusters", 3, "--test", "digits:all", "-o", figure, code=2
    )
    numbers.write_text("file,size\n0001,nan\n")
    assert "not finite" in run(
        "features", "digits:lenet5", "digits:test", "--values", numbers, "-o", figure, code=2
    )  # fmt: skip


def _digits(folder: Path) -> Path:
    """Forty pictures in a file, with names of four digits."""
    path = folder / "few.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (1001, 8, 8), np.uint8))
    return path


@pytest.mark.slow
def test_kinds_that_a_network_has_never_seen_are_read_on_them() -> None:
    from convscope import load

    found = generic.read_labels(load("diorama:objects"), "diorama:objects/novel")
    assert found.judged["accuracy"] > 0.8
    assert found.judged["most_frequent"] < 0.1
    inside = []
    for row in found.rows:
        _, maps = found.maps(row)
        for image, map_ in zip(row.ids, maps, strict=True):
            main_thing = next(thing for thing in found.features.images.scene(image).things if thing.main)
            y0, x0, y1, x1 = main_thing.box
            y, x = divmod(int(map_.argmax()), map_.shape[1])
            inside.append(y0 - 4 <= y < y1 + 4 and x0 - 4 <= x < x1 + 4)
    assert np.mean(inside) > 0.75
