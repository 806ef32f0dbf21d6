"""Rotated bases and random directions: against algebra, plain dissections and planted axes [METHODS 4.3, 6.4]."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import kstest
from torch import nn

import convscope
from convscope.cli import main
from convscope.concepts import Labels
from convscope.dissection import DissectedLayer, Dissection, dissect
from convscope.dissection.run import carry_out
from convscope.dissection.task import Task
from convscope.errors import AddressError, AtlasError, ImagesError
from convscope.images import Arrays
from convscope.network import Network, wrap
from convscope.preprocess import Preprocess
from convscope.studies import detectors
from convscope.studies import directions as study
from convscope.studies.directions import TOP, Group, directions, random_directions
from convscope.studies.rotation import Powers, Rotation, random_rotation, rotate
from dissecting import Planted, planted

pytestmark = pytest.mark.usefixtures("one_thread")

UNITS, SIDE = 9, 24
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> tuple[Network, Planted]:
    """Unit k answers where concept k is; concepts are squares of chance that overlap, each with a map of its own."""
    rng = np.random.default_rng(2)
    maps = np.zeros((30, UNITS, SIDE, SIDE), np.int32)
    for each in maps:
        for unit in range(UNITS):
            y, x = rng.integers(0, SIDE - 8, 2)
            each[unit, y : y + 8, x : x + 8] = unit + 1
    channels = (maps > 0) * rng.uniform(0.8, 1.2, maps.shape) + rng.uniform(0, 0.1, maps.shape)
    concepts = [(f"thing {unit}", "object") for unit in range(UNITS)]
    return planted(channels, concepts, [Labels(each) for each in maps])


def task(world: tuple[Network, Planted], **options: Any) -> Task:
    given: dict[str, Any] = {
        "layers": None, "at": "response", "limit": None, "batch_size": 8, "threads": 1, "quantile": 0.05,
        "upsampling": "anchored", "threshold": "exact",
    }  # fmt: skip
    return Task.of(*world, **given | options)


def same(one: DissectedLayer, other: DissectedLayer, order: list[int]) -> bool:
    """Whether every IoU, threshold and interval of one layer are those of the units `order` of the other."""
    facts = [[(unit.label, unit.iou, unit.threshold, unit.interval) for unit in layer] for layer in (one, other)]
    return facts[0] == [facts[1][unit] for unit in order] and bool((one.iou == other.iou[order]).all())


def test_a_mixed_layer_is_dissected_as_one_of_the_network(world: tuple[Network, Planted], tmp_path: Path) -> None:
    plain = dissect(*world, tmp_path, quantile=0.05, batch_size=8)
    order = np.random.default_rng(1).permutation(UNITS).tolist()
    doubled = np.eye(UNITS)[:3] * 2
    matrices = {"same": np.eye(UNITS), "other": np.eye(UNITS)[order], "double": doubled}
    mixed = carry_out(task(world).mixed(matrices, {"by": "hand"}), tmp_path / "mixed", lambda progress: None)
    layer, same_again, permuted, some = mixed.layers
    assert [each.address for each in mixed.layers] == ["0", "0.same", "0.other", "0.double"]
    assert len(some) == 3
    (base,) = plain.layers
    assert base.counts(0.3).unique == UNITS
    assert same(layer, base, list(range(UNITS)))
    assert same(same_again, base, list(range(UNITS)))
    assert same(permuted, base, order)
    assert (some.iou == base.iou[:3]).all()
    assert [unit.threshold for unit in some] == [2 * unit.threshold for unit in base][:3]
    assert mixed["0.other:2"].label == plain["0"][order[2]].label
    again = Dissection.open(tmp_path / "mixed")
    assert again.run["job"]["mixing"] == {"by": "hand"}


# --- rotations -------------------------------------------------------------------------------------------------------


def householder(units: int, seed: int) -> Floats:
    normal = random_directions(1, units, seed)[0]
    return np.eye(units) - 2 * np.outer(normal, normal)


def turning_over(units: int) -> Floats:
    """A rotation with two eigenvalues -1, in planes of chance."""
    return householder(units, 3) @ householder(units, 4) @ np.diag([-1.0, -1.0, *np.ones(units - 2)])


ROTATIONS = {
    **{f"drawn {units}": random_rotation(units) for units in (1, 2, 3, 8, 33, 128)},
    "still": np.eye(5),
    "half": -np.eye(4),
    "half of an odd space": np.diag([-1.0, -1.0, -1.0, -1.0, 1.0]),
    "turned over": turning_over(7),
    "a cycle": np.eye(9)[np.roll(np.arange(9), 1)],
    "two swaps": np.eye(4)[[1, 0, 3, 2]],
}


@pytest.mark.parametrize("name", ROTATIONS)
def test_powers_of_a_rotation_are_rotations_that_add_up(name: str) -> None:
    rotation = ROTATIONS[name]
    units = len(rotation)
    power = Powers.of(rotation)
    assert power(1) == pytest.approx(rotation, abs=1e-12)
    assert power(0) == pytest.approx(np.eye(units), abs=1e-12)
    assert power(-1) == pytest.approx(rotation.T, abs=1e-12)
    for one, other in ((0.1, 0.2), (0.3, 0.7), (0.5, 0.5)):
        assert power(one) @ power(other) == pytest.approx(power(one + other), abs=1e-12)
        assert power(one) @ power(one).T == pytest.approx(np.eye(units), abs=1e-12)
        assert np.linalg.det(power(one)) == pytest.approx(1)
    # The shortest way: no angle is more than half a turn, so that a tenth of it is at most 18 degrees.
    assert np.abs(np.angle(np.linalg.eigvals(power(0.1)))).max() <= math.pi / 10 + 1e-9


def test_a_plane_turns_by_the_part_of_its_angle() -> None:
    def turn(angle: float) -> Floats:
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    for angle in (0.3, 2.5, -1.1, math.pi):
        assert Powers.of(turn(angle))(0.4) == pytest.approx(turn(0.4 * angle), abs=1e-12) or angle == math.pi
    assert np.abs(Powers.of(turn(math.pi))(0.5)) == pytest.approx(np.array([[0, 1], [1, 0]]), abs=1e-12)


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1.0]), 2 * np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]])])
def test_what_is_no_rotation_is_refused(matrix: Floats) -> None:
    with pytest.raises(ValueError, match="no rotation"):
        Powers.of(matrix)


def test_rotations_are_drawn_evenly_from_all() -> None:
    """Of SO(3) the mean is 0, that of the squares 1/3, and the angle has the density (1 - cos) / pi."""
    drawn = np.stack([random_rotation(3, seed) for seed in range(4000)])
    assert (np.linalg.det(drawn) > 0).all()
    assert np.abs(drawn.mean(0)).max() < 0.04
    assert np.abs((drawn**2).mean(0) - 1 / 3).max() < 0.03
    angles = np.arccos(np.clip((np.trace(drawn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angles, lambda angle: (angle - np.sin(angle)) / math.pi).pvalue > 0.01


def test_the_next_layer_can_undo_a_rotation() -> None:
    torch.manual_seed(0)
    first, then = nn.Conv2d(3, 7, 3), nn.Conv2d(7, 5, 3)
    images = torch.randn(4, 3, 12, 12)
    rotation = torch.tensor(Powers.of(random_rotation(7))(0.3), dtype=torch.float32)
    with torch.no_grad():
        features = first(images).relu()
        rotated = torch.einsum("ij,njhw->nihw", rotation, features)
        undone = torch.einsum("oihw,ij->ojhw", then.weight, rotation.T)
        assert torch.allclose(F.conv2d(rotated, undone, then.bias), then(features), atol=1e-5)
        assert not torch.allclose(then(rotated), then(features), atol=0.1)


# --- the study -------------------------------------------------------------------------------------------------------


def test_detectors_vanish_as_axes_that_are_concepts_turn(world: tuple[Network, Planted], tmp_path: Path) -> None:
    found = rotate(*world, tmp_path, "0", quantile=0.05, batch_size=8, seeds=2)
    base = dissect(*world, tmp_path / "plain", quantile=0.05, batch_size=8).layers[0]
    assert same(found.rotated(0), base, list(range(UNITS)))
    for seed in (0, 1):
        unique = [found.rotated(power, seed).counts(0.4).unique for power in found.powers]
        assert unique[:3] == [UNITS] * 3  # by so little that every axis is still nearest to its concept
        assert unique[3] >= unique[4] >= unique[5] > 0
        assert max(unique[5:]) < UNITS / 2
        assert found.random(seed).counts(0.4).unique < UNITS / 2
    assert detectors.count(found.dissection, found.rotated(0).address, 0.4).by_label["object"] == (UNITS, UNITS)


def test_concepts_that_exclude_each_other_survive_every_rotation(tmp_path: Path) -> None:
    """Any direction is highest on one concept, the one with its largest entry, and detects it perfectly."""
    rng = np.random.default_rng(4)
    maps = np.zeros((30, 1, 24, 24), np.int32)  # squares of 25 of 576 pixels, in places of their own
    for each in maps:
        for unit, cell in enumerate(rng.permutation(UNITS)):
            y, x = 8 * np.array(divmod(cell, 3)) + rng.integers(0, 4, 2)
            each[0, y : y + 5, x : x + 5] = unit + 1
    channels = maps == 1 + np.arange(UNITS)[:, None, None]
    set_of = planted(channels, [(f"thing {unit}", "object") for unit in range(UNITS)], [Labels(each) for each in maps])
    found = rotate(*set_of, tmp_path, "0", quantile=0.05)
    matrices = [(found.rotated(power), Powers.of(random_rotation(UNITS))(power)) for power in (0, 0.3, 0.7, 1)]
    for layer, matrix in [*matrices, (found.random(), random_directions(UNITS, UNITS))]:
        positive = matrix.max(1) > 0
        assert positive.sum() >= UNITS - 1
        for unit in np.flatnonzero(positive).tolist():
            assert layer[unit].iou == 1
            assert layer[unit].label is not None
            assert layer[unit].label.number == 1 + matrix[unit].argmax()


def test_every_step_is_a_dissection_of_the_network_with_that_step_in_it(
    world: tuple[Network, Planted], tmp_path: Path
) -> None:
    found = rotate(*world, tmp_path, "0", quantile=0.05, batch_size=8, seeds=2)
    turned = Powers.of(random_rotation(UNITS, 1))(0.4)
    for layer, matrix in ((found.rotated(0.4, 1), turned), (found.random(1), random_directions(UNITS, UNITS, 1))):
        module = nn.Conv2d(UNITS, UNITS, 1, bias=False)
        module.weight.data = torch.tensor(matrix, dtype=torch.float32)[:, :, None, None]
        network = wrap(nn.Sequential(module), preprocess=world[0].preprocess, output="real")
        (there,) = dissect(network, world[1], tmp_path / layer.address, quantile=0.05, batch_size=8).layers
        assert layer.iou == pytest.approx(there.iou, abs=2e-3)  # a pixel may be on either side of a threshold


def test_a_rotation_that_was_stopped_goes_on(world: tuple[Network, Planted], tmp_path: Path) -> None:
    def stopped(progress: Any) -> None:
        if progress.phase == "masks" and progress.done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(*world, tmp_path / "stopped", "0", batch_size=1, progress=stopped)
    begun = []
    rotate(
        *world, tmp_path / "stopped", "0", batch_size=1, progress=lambda step: begun.append((step.phase, step.begun))
    )
    assert {phase for phase, _ in begun} == {"masks"}
    assert begun[0][1] == 8  # the shard in which it was stopped is done again
    rotate(*world, tmp_path / "whole", "0", batch_size=1)
    one, other = (tmp_path / each / "rotation" / "0" / "counts.safetensors" for each in ("stopped", "whole"))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(AtlasError, match="another dissection"):
        rotate(*world, tmp_path / "whole", "0", batch_size=1, seeds=2)
    assert (
        Rotation.open(tmp_path / "whole", "0").to_json()
        == rotate(*world, tmp_path / "whole", "0", batch_size=1).to_json()
    )
    with pytest.raises(AtlasError, match="no rotation of 1; 'convscope rotation' makes one"):
        Rotation.open(tmp_path / "whole", "1")


def test_what_was_not_rotated_is_not_another_layer(world: tuple[Network, Planted], tmp_path: Path) -> None:
    found = rotate(*world, tmp_path, "0", quantile=0.05, batch_size=8, seeds=2)
    for ask in (found.random, lambda seed: found.rotated(0.5, seed), lambda seed: found.rotated(0, seed)):
        for seed in (-1, 2):
            with pytest.raises(ValueError, match=f"2 rotations were drawn, .* no seed {seed}"):
                ask(seed)
    flat = nn.Sequential(*world[0].module, nn.Flatten(), nn.Linear(UNITS * SIDE**2, 2))
    with pytest.raises(AddressError, match=r"2 has no map of rows and columns, .*; name layers that have one"):
        rotate(wrap(flat, preprocess=world[0].preprocess), world[1], tmp_path / "flat", "2")
    with pytest.raises(ValueError, match=r"no power 0\.25 was dissected; expected 0, 0\.1, 0\.2"):
        found.rotated(0.25)


def test_a_rotation_is_not_put_into_another_networks_atlas(world: tuple[Network, Planted], tmp_path: Path) -> None:
    other, concepts = planted(np.zeros((1, UNITS, SIDE, SIDE)), [("thing", "object")], [])
    other.module[0].weight.data *= 2
    convscope.scan(other, concepts.images, tmp_path / "atlas")
    with pytest.raises(AtlasError, match="with other weights"):
        rotate(*world, tmp_path / "atlas", "0", quantile=0.05)
    assert not (tmp_path / "atlas" / "rotation").exists()


# --- random directions -----------------------------------------------------------------------------------------------


def pictures(count: int = 40) -> tuple[Network, Arrays]:
    """A small network with three classes, and images of noise with labels."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 3),
    )  # fmt: skip
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    images = torch.rand(count, 3, 15, 13, generator=generator).numpy()
    network = wrap(module, preprocess=Preprocess((15, 13)), classes=["a", "b", "c"])
    return network, Arrays(images, [("a", "b", "c")[i % 3] for i in range(count)])


def maps_of(network: Network, images: Arrays, end: int) -> Floats:
    """What the first layers of the network give, (n, k, h, w)."""
    with torch.no_grad():
        inputs = torch.stack([network.preprocess(images.read(i)) for i in range(len(images))])
        return network.module[:end](inputs).double().numpy()


def ranked(maps: Floats, direction: Floats) -> list[tuple[int, int]]:
    """The best images for a direction with the place of the maximum, by the definition."""
    values = np.einsum("k,nkhw->nhw", direction, maps).reshape(len(maps), -1)
    order = sorted(range(len(values)), key=lambda image: -values[image].max())
    return [(image, int(values[image].argmax())) for image in order[:TOP]]


def found_in(group: Group, number: int) -> list[tuple[int, int]]:
    return list(zip(group.ids[number].tolist(), group.positions[number].tolist(), strict=True))


def test_axes_find_what_a_scan_finds_and_directions_what_the_definition_says(tmp_path: Path) -> None:
    network, images = pictures()
    found = directions(network, images, "2", count=4, batch_size=7)
    layer = convscope.scan(network, images, tmp_path, layers=["2"], batch_size=7)["2"]
    for unit in range(5):
        best = [(each.id, each.row * 4 + each.column) for each in layer[unit].top[:TOP]]
        assert found_in(found.units, unit) == best
    maps, drawn = maps_of(network, images, 4), random_directions(4, 5)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(1)
    for number, direction in enumerate(drawn):
        assert found_in(found.random, number) == ranked(maps, direction)
        assert found_in(found.absolute, number) == ranked(maps, np.abs(direction))


def test_the_length_of_a_direction_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = pictures()
    plain = directions(network, images, "2")
    monkeypatch.setattr(study, "random_directions", lambda *args: 4 * random_directions(*args))
    assert (directions(network, images, "2").random.ids == plain.random.ids).all()


def test_features_and_directions_turned_together_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = pictures()
    rotation = random_rotation(5)
    turn = nn.Conv2d(5, 5, 1, bias=False)
    turn.weight.data = torch.tensor(rotation, dtype=torch.float32)[:, :, None, None]
    turned = wrap(nn.Sequential(*network.module[:4], turn), preprocess=network.preprocess, output="real")
    plain = directions(network, images, "2")
    monkeypatch.setattr(study, "random_directions", lambda *args: random_directions(*args) @ rotation.T)
    assert (directions(turned, images, "4").random.ids == plain.random.ids).all()


def test_coherence_is_that_of_the_definition() -> None:
    network, images = pictures()
    found = directions(network, images, "0", count=3)
    active = (maps_of(network, images, 2).max((2, 3)) > 0).sum(0)
    assert (found.units.silent == (active < TOP)).all()
    scores = maps_of(network, images, 7)
    scores = scores - scores.mean(0)
    for group in found.groups:
        assert group.different == len({image for ids in group.ids[~group.silent].tolist() for image in ids})
        heard = ~group.silent
        assert np.isnan(group.purity[~heard]).all()
        measured = zip(group.ids[heard], group.purity[heard], group.cosine[heard], strict=True)
        for ids, purity, cosine in list(measured)[:6]:
            labels = [images.labels[i] for i in ids]
            assert purity == max(labels.count(label) for label in labels) / TOP
            pairs = [scores[i] @ scores[j] / np.linalg.norm(scores[i]) / np.linalg.norm(scores[j])
                     for i, j in itertools.combinations(ids, 2)]  # fmt: skip
            assert cosine == pytest.approx(np.mean(pairs), abs=1e-6)
    assert len({tuple(sorted(ids)) for ids in found.chance.ids.tolist()}) > 900
    assert all(len(set(ids)) == TOP for ids in found.chance.ids.tolist())
    # Nine of 40 images: 14, 13 and 13 of a class. The exact mean of the largest count, over all ways to draw them.
    ways = {(a, b, 9 - a - b): math.comb(14, a) * math.comb(13, b) * math.comb(13, 9 - a - b)
            for a in range(10) for b in range(10 - a)}  # fmt: skip
    mean = sum(max(counts) * many for counts, many in ways.items()) / math.comb(40, 9) / TOP
    assert found.chance.purity.mean() == pytest.approx(mean, abs=0.015)


def test_equal_values_go_by_the_order_of_the_images() -> None:
    network, images = pictures()
    same_images = Arrays(np.repeat(np.stack([images.read(i) for i in range(6)]), 7, 0))
    found = directions(network, same_images, "2", count=2, batch_size=5)
    for ids in [*found.units.ids.tolist(), *found.random.ids.tolist()]:
        assert ids[:7] == list(range(ids[0], ids[0] + 7))
        assert ids[0] % 7 == 0
    assert np.isnan(found.units.purity).all()  # there are no labels


def test_a_dead_unit_has_no_best_images_and_one_that_is_nan_spoils_no_other() -> None:
    network, images = pictures()
    images = Arrays(np.stack([images.read(i) for i in range(40)]), ["a"] * 20 + ["b"] * 10 + ["c"] * 10)
    network.module[2].bias.data += 3  # no unit is silent
    plain = directions(network, images, "2", count=2)
    network.module[2].bias.data[1] = -1000.0
    dead = directions(network, images, "2", count=2)
    network.module[2].bias.data[3] = torch.nan
    broken = directions(network, images, "2", count=2)
    assert plain.units.silent.tolist() == [False] * 5
    assert dead.units.silent.tolist() == [False, True, False, False, False]
    assert broken.units.silent.tolist() == [False, True, False, True, False]
    for found, left in ((dead, [0, 2, 3, 4]), (broken, [0, 2, 4])):
        assert (found.units.ids[left] == plain.units.ids[left]).all()
        assert (np.isnan(found.units.purity) == found.units.silent).all()
        assert (np.isnan(found.units.cosine) | ~found.units.silent).all()
        about = found.to_json()
        assert about["groups"][0]["silent"] == 5 - len(left)
        assert about["groups"][0]["purity"]["mean"] == pytest.approx(plain.units.purity[left].mean())
        assert [len(each["images"]) for each in about["each"][:5]] == [TOP * (unit in left) for unit in range(5)]
    assert broken.random.silent.all()  # they look at every unit
    assert np.isnan(broken.random.purity).all()


def test_the_figure_leaves_out_what_is_silent() -> None:
    pytest.importorskip("matplotlib")
    from convscope.render.figures.directions import draw

    network, images = pictures()
    network.module[2].bias.data += 3  # no unit is silent
    network.module[2].bias.data[[0, 1, 4]] = -1000.0
    said = [text.get_text() for text in draw(directions(network, images, "2", count=2)).figure.texts]
    assert any(text.startswith("5 × 9, 3 silent, ") for text in said)
    assert [text for text in said if text.startswith("2:")] in (["2:2", "2:3"], ["2:3", "2:2"])


def test_linear_layers_have_directions_and_too_few_images_none() -> None:
    network, images = pictures()
    found = directions(network, images, "6", count=2)
    scores = maps_of(network, images, 7)
    for unit in range(3):
        assert found.units.ids[unit].tolist() == np.argsort(-scores[:, unit], kind="stable")[:TOP].tolist()
    with pytest.raises(ImagesError, match="9 images, and the best 9"):
        directions(network, images, "6", limit=9)  # all of them would be the best of everything
    with pytest.raises(AddressError, match="names 2 layers"):
        directions(network, images, "[02]")


# --- commands --------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def width(figure: Path) -> int:
    with Image.open(figure) as picture:
        return picture.width


def test_the_command_says_what_the_study_finds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["rotation", "diorama:objects", "diorama:objects/val:96", "--layer", "conv5", "--limit", "6", "-o"]
    figure = tmp_path / "turned.png"
    said = run(*arguments, str(tmp_path / "there"), "--figure", str(figure), "--seeds", "2", "--json")
    found = Rotation.open(tmp_path / "there", "conv5")
    rows = json.loads(said.stdout)["rows"]
    assert [(row["power"], row["seed"]) for row in rows] == [
        (power, seed) for seed in (0, 1) for power in (*(i / 10 for i in range(11)), None)
    ]
    assert rows[15]["unique"] == found.rotated(0.3, 1).counts().unique
    assert rows[15]["unique"] == sum(unique for _, unique in rows[15]["by_label"].values())
    assert rows[-1]["unique"] == found.random(1).counts().unique
    assert width(figure) == 2118
    text = run(*arguments, str(tmp_path / "there"), "--seeds", "2").stdout  # from what is there
    assert len(re.findall(r"^(?:units|0\.\d|1|random directions) ", text, re.MULTILINE)) == 23
    refused = run("rotation", "diorama:objects", "diorama:objects/val:96", "--layer", "conv*", "-o", str(tmp_path))
    assert refused.exit_code == 1
    assert "one is rotated at a time" in refused.stderr


def test_the_command_draws_what_directions_find(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "found.png"
    arguments = ["directions", "digits:lenet5", "digits:test", "--layer", "c3", "--limit", "40", "-o", str(figure)]
    said = run(*arguments, "--count", "3").stdout
    found = directions(convscope.load("digits:lenet5"), "digits:test", "c3", limit=40, count=3)
    assert width(figure) == 2118
    for name, group in zip(("units", "directions", "|direction|s", "chance"), found.groups, strict=True):
        row = next(line for line in said.splitlines() if line.startswith(name))
        assert row.split()[1:4] == [str(len(group)), "0", str(group.different)]
        assert f"{group.purity.mean():.3f} ±" in row
    facts = json.loads(json.dumps(found.to_json()))
    assert (facts["source"], facts["images"]) == ("digits:test", 40)
    assert [each["number"] for each in facts["each"]] == [*range(16), *range(3), *range(3)]
    assert facts["each"][17]["images"] == found.random.ids[1].tolist()
