"""Ablation: the rest of a network against hooks, planted units whose classes are known, and pruned networks."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import multinomial, ttest_1samp
from torch import Tensor, nn
from torch.nn import functional as F

import convscope
from convscope import capture
from convscope.cli import main
from convscope.concepts import Concept, Labels
from convscope.errors import AddressError, AtlasError, ImagesError, NetworkError
from convscope.evaluation.intervals import paired
from convscope.execution import tensors_in
from convscope.graph import Graph, LayerNode
from convscope.images import Arrays
from convscope.network import Network
from convscope.preprocess import Preprocess
from convscope.recorder import record
from convscope.render.figures.ablation import draw
from convscope.rest import Rest
from convscope.studies.ablation import CONTROLS, ablate
from convscope.studies.ablation_effects import MEASURES
from dissecting import Planted
from explaining import network_of, state
from odd_nets import ODD_NETS, Net, OddNet, conv

pytestmark = pytest.mark.usefixtures("one_thread")

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)

# --- the rest of a network -------------------------------------------------------------------------------------------


def by_tap(net: nn.Module, graph: Graph, layer: LayerNode, image: Tensor, unit: int, value: float) -> Tensor:
    """The definition: the whole network runs, and the layer's response is replaced on the way."""

    def replaced(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.select(layer.channel, unit)[:] = value
        return changed

    return tensors_in(capture.run(net, image[None], graph, {layer.response: replaced}))[0]


@every_odd_net
def test_the_rest_is_the_network_with_a_unit_replaced(odd: OddNet) -> None:
    net, images = odd.make().double(), odd.images(3, seed=1).double()
    graph = record(net, odd.images(1, seed=2).double())
    before = state(net)
    for layer in graph.layers():
        if graph.shapes[layer.response][0] != 1:
            continue  # several of its rows are one image; see the test below
        rest = Rest(net, graph, layer)
        entered = rest.enter(images)
        numbers, unit = torch.tensor([2, 0, 2]), layer.units - 1
        masks = torch.zeros(3, layer.units, dtype=torch.bool)
        masks[:2, unit] = True
        for value in (0.0, 0.7):  # the second must not see what the first has written
            given = rest.leave(entered, numbers, masks, torch.full((layer.units,), value, dtype=torch.float64))
            with torch.no_grad():
                whole = tensors_in(net(images[2:].clone()))[0]
                truth = torch.cat([by_tap(net, graph, layer, images[i], unit, value) for i in (2, 0)] + [whole])
            torch.testing.assert_close(given, truth, rtol=0, atol=1e-10 * float(truth.abs().max()), msg=str(layer))
    assert state(net) == before


def test_a_layer_that_sees_an_image_in_several_rows() -> None:
    """Patches of an image are a batch of their own: a unit is set in all of them."""

    def run(net: Any, x: Tensor) -> Tensor:
        rows = F.relu(net.conv(x.reshape(len(x) * 2, 1, 8, 10)))
        scores: Tensor = net.head(rows.reshape(len(x), -1))
        return scores

    net: Any = Net(run, conv=conv(1, 3), head=nn.Linear(480, 4)).double().eval()
    images = torch.randn(3, 2, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = record(net, images[:1])
    rest = Rest(net, graph, graph.layers()[0])
    masks = torch.eye(3, dtype=torch.bool)
    given = rest.leave(rest.enter(images), torch.tensor([1, 2, 0]), masks, torch.zeros(3, dtype=torch.float64))
    for unit, number in enumerate((1, 2, 0)):
        hook = net.conv.register_forward_hook(lambda module, inputs, output, unit=unit: zeroed(output, unit))
        with torch.no_grad():
            torch.testing.assert_close(given[unit], net(images[number : number + 1])[0])
        hook.remove()


def zeroed(tensor: Tensor, unit: int) -> Tensor:
    changed = tensor.clone()
    changed[:, unit] = 0
    return changed


# --- counts against hooks --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A block with a skip, and two branches that are put together."""

    stem: Any
    a: Any
    b: Any
    c: Any
    head: Any

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.a = nn.Sequential(conv(6, 6), nn.ReLU(inplace=True))
        self.b = conv(6, 6)
        self.c = nn.Sequential(conv(6, 4, 1), nn.ReLU())
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.b(self.a(x))
        y += x
        scores: Tensor = self.head(torch.cat([F.relu_(y), self.c(x)], 1).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def residual(one_thread: None) -> tuple[Network, Arrays, list[int]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = Residual().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, 0.6)
            module.c[0].weight[1], module.c[0].bias[1] = 0, -1  # a dead unit
            module.c[0].weight[2], module.c[0].bias[2] = 0, 0.37  # and a constant one
    images = np.random.default_rng(0).random((40, 3, 8, 8), np.float32)
    with torch.no_grad():
        module.head.bias -= module(torch.from_numpy(images)).mean(0)  # so that each class is predicted
        given = module(torch.from_numpy(images)).argmax(1).tolist()
    truth = [each if number % 4 else (each + 1) % 4 for number, each in enumerate(given)]  # a quarter is wrong
    return network_of(module, (3, 8, 8), name="residual"), Arrays(images, truth), truth


def slow(network: Network, images: Arrays, where: str, units: list[int], value: float) -> Tensor:
    """The logits of all images, one by one, with a hook that sets some channels."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, units] = value
        return changed

    handle = network.module.get_submodule(where).register_forward_hook(hook)
    try:
        with torch.no_grad():
            inputs = [network.preprocess(images.read(number))[None] for number in range(len(images))]
            return torch.cat([network.module(each) for each in inputs]).double()
    finally:
        handle.remove()


@pytest.mark.parametrize(("layer", "module"), [("stem.0", "stem"), ("a.0", "a"), ("b", "b"), ("c.0", "c")])
def test_counts_are_those_of_a_hook(residual: tuple[Network, Arrays, list[int]], layer: str, module: str) -> None:
    network, images, labels = residual
    truth = torch.tensor(labels)
    with torch.no_grad():
        inputs = torch.stack([network.preprocess(images.read(number)) for number in range(len(images))])
        before = network.module(inputs).double()
    found = ablate(network, images, layer, batch_size=7)
    assert found.count == 40
    assert found.right.sum() == (before.argmax(1) == truth).sum() == 30
    assert [row.accuracy.change for row in found.rows] == sorted(row.accuracy.change for row in found.rows)
    assert any(row.lost.any() for row in found.rows)
    for row in found.rows:
        after = slow(network, images, module, list(row.units), 0.0)
        right, now = before.argmax(1) == truth, after.argmax(1) == truth
        nats = (after.log_softmax(1) - before.log_softmax(1)).gather(1, truth[:, None])[:, 0].numpy()
        for index in range(4):
            mine = truth == index
            assert row.lost[index] == (right & ~now & mine).sum()
            assert row.gained[index] == (~right & now & mine).sum()
            test = ttest_1samp(nats[mine.numpy()], 0)
            np.testing.assert_allclose(row.evidence.changes[index], nats[mine.numpy()].mean(), atol=1e-5)
            if row.touched:
                np.testing.assert_allclose(row.evidence.ps[index], test.pvalue, rtol=1e-2, atol=1e-6)
                ends = test.confidence_interval(0.95)
                np.testing.assert_allclose(row.evidence.intervals[index], [ends.low, ends.high], atol=1e-4)
        assert row.accuracy.change == pytest.approx(((now.sum() - right.sum()) / 40).item())
        np.testing.assert_allclose(row.evidence.change, nats.mean(), atol=1e-5)


def test_a_unit_that_has_the_value_already_changes_nothing(residual: tuple[Network, Arrays, list[int]]) -> None:
    network, images, _ = residual
    rows = {row.units[0]: row for row in ablate(network, images, "c.0").rows}
    means = {row.units[0]: row for row in ablate(network, images, "c.0", fill="mean").rows}
    for still in (rows[1], means[1], means[2]):
        assert still.touched == 0
        assert not still.lost.any()
        assert not still.gained.any()
        assert not still.nats.any()
        assert still.accuracy.p == still.evidence.p == 1
    assert rows[2].touched == 40
    assert rows[2].nats.any()


def test_the_mean_is_over_all_positions_of_all_images(residual: tuple[Network, Arrays, list[int]]) -> None:
    network, images, labels = residual
    seen: list[Tensor] = []
    handle = network.module.get_submodule("a").register_forward_hook(
        lambda module, inputs, output: seen.append(output.clone())
    )
    with torch.no_grad():
        before = torch.cat(
            [network.module(network.preprocess(images.read(i))[None]) for i in range(len(images))]
        ).double()
    handle.remove()
    mean = torch.cat(seen)[:, 4].mean().item()
    [row] = ablate(network, images, ["a.0:4"], fill="mean", batch_size=11).rows
    after = slow(network, images, "a", [4], mean)
    truth = torch.tensor(labels)
    nats = (after.log_softmax(1) - before.log_softmax(1)).gather(1, truth[:, None])[:, 0]
    assert row.evidence.change == pytest.approx(nats.mean().item(), abs=1e-5)


def test_a_pruned_network_is_as_good_as_it_says(residual: tuple[Network, Arrays, list[int]]) -> None:
    """Zero weights of the next layer for a unit are the same, and `evaluate` knows nothing of ablation."""
    network, images, _ = residual
    found = ablate(network, images, ["a.0:1", "a.0:3", "a.0:3"])
    assert sorted(row.name for row in found.rows) == ["a.0:1", "a.0:3"]
    for row in found.rows:
        weight = network.module.get_parameter("b.weight")
        kept = weight.detach().clone()
        with torch.no_grad():
            weight[:, list(row.units)] = 0
            pruned = convscope.evaluate(network, images).rows[0]
            weight[:] = kept
        assert row.accuracy.change == pytest.approx((pruned.top1.right - found.right.sum()) / 40)


# --- planted units ---------------------------------------------------------------------------------------------------

OWN = [3, 0, 4, 1, 2]  # the class that each unit decides
SIZES = [4, 6, 8, 5, 7, 3]  # images of each class; the last one is "nothing", for which no unit speaks
NAMES = ("lamp", "dog", "car", "bus", "cat", "nothing")
CALLED = ("Lamps", "dogs", "the car", "buses", "cats")


def decided(side: int = 8) -> tuple[Network, Planted]:
    """Class OWN[u] is recognised by unit u alone, and its images are labelled as an object where they are bright."""
    layer = nn.Conv2d(5, 5, 1, bias=False)
    layer.weight.data = torch.eye(5)[:, :, None, None]
    head = nn.Linear(5, 6)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[OWN, range(5)] = 8.0
        head.bias[:] = torch.tensor([0, 0, 0, 0, 0, 0.5])
    module = nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    network = convscope.wrap(module, preprocess=Preprocess((side, side), channels=5), classes=NAMES, name="decided")
    truth = [index for index, size in enumerate(SIZES) for _ in range(size)]
    images, labels = np.zeros((len(truth), 5, side, side), np.float32), []
    concepts = [Concept(1 + index, name, "object") for index, name in enumerate(CALLED)]
    for number, index in enumerate(truth):
        maps = np.zeros((1, side, side), np.int32)
        if index < 5:
            part = slice(number % 3, number % 3 + 4)
            images[number, OWN.index(index), part, 2:6] = 1
            maps[0, part, 2:6] = 1 + index
        labels.append(Labels(maps))
    return network, Planted(Arrays(images, truth), concepts, labels)


@pytest.fixture(scope="module")
def dissected(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[Network, Planted, Any]:
    network, concepts = decided()
    found = convscope.dissect(network, concepts, tmp_path_factory.mktemp("decided") / "atlas", quantile=0.1)
    return network, concepts, found


def test_a_class_that_rests_on_one_unit_is_lost_with_it(dissected: tuple[Network, Planted, Any]) -> None:
    network, concepts, atlas = dissected
    found = ablate(network, concepts.images, "0", dissection=atlas)
    assert found.accuracy == 1
    assert [OWN[row.units[0]] for row in found.rows] == [2, 4, 1, 3, 0]  # the largest class first
    for row in found.rows:
        own = OWN[row.units[0]]
        assert row.lost.tolist() == [SIZES[own] if index == own else 0 for index in range(6)]
        assert not row.gained.any()
        assert row.touched == SIZES[own]
        assert row.worst() == row.worst("evidence") == own
        assert row.accuracy.change == -SIZES[own] / 33
        assert row.accuracy.interval[0] < row.accuracy.change < row.accuracy.interval[1]
        assert row.accuracy.ps[own] == pytest.approx(2 * 0.5 ** SIZES[own])
        assert row.label is not None
        assert found.class_of(row.label) == own
    assert found.class_of(Concept(1, "lamps-s", "scene")) == NAMES.index("lamp")  # as Broden writes a scene
    assert found.runs == 30
    assert found.pairs == 5 * 33
    assert vars(found.matches()) == {"named": 5, "hit": 5, "chance": 1.0}
    [control] = found.controls
    assert control.change("accuracy") == -6 / 33  # the median of 4, 5, 6, 7 and 8 images
    assert control.changes("accuracy").tolist() == [0] * 6
    assert found.significant().sum() == 0  # eight images of one class are p = 0.008, and there are 30 of these


def test_units_of_one_concept_are_set_together(dissected: tuple[Network, Planted, Any], tmp_path: Path) -> None:
    """A second unit for the same class: one alone does no harm, both together do."""
    network, concepts, _ = dissected
    single: Any = network.module
    twin: Any = nn.Sequential(nn.Conv2d(5, 6, 1, bias=False), *single[1:-1], nn.Linear(6, 6)).eval()
    with torch.no_grad():
        twin[0].weight[:5], twin[0].weight[5] = single[0].weight, single[0].weight[2]
        twin[-1].weight[:, :5], twin[-1].weight[:, 5] = single[-1].weight, single[-1].weight[:, 2]
        twin[-1].bias[:] = single[-1].bias
    double = convscope.wrap(twin, preprocess=network.preprocess, classes=NAMES, name="double")
    atlas: Any = convscope.dissect(double, concepts, tmp_path / "atlas", quantile=0.1)
    alone = {row.units: row for row in ablate(double, concepts.images, "0").rows}
    assert not alone[2,].lost.any()
    assert not alone[5,].lost.any()
    found = ablate(double, concepts.images, "0", dissection=tmp_path / "atlas", by="concept")
    cats = next(row for row in found.rows if row.name == "cats")
    assert cats.units == (2, 5)
    assert cats.lost.tolist() == [0, 0, 0, 0, 7, 0]
    assert cats.iou == max(atlas["0"][2].iou, atlas["0"][5].iou)
    assert {each.size: len(each.rows) for each in found.controls} == {1: CONTROLS, 2: CONTROLS}
    again = ablate(double, concepts.images, "0", dissection=atlas, by="concept", seed=0)
    other = ablate(double, concepts.images, "0", dissection=atlas, by="concept", seed=1)
    drawn = [[row.units for each in one.controls for row in each.rows] for one in (found, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    blind = convscope.dissect(double, concepts, tmp_path / "blind", quantile=0.1, limit=2)  # two lamps
    with pytest.raises(AddressError, match="none of these units of 0 detects a concept"):
        ablate(double, concepts.images, ["0:2", "0:5"], dissection=blind, by="concept")


def test_json_is_plain_and_a_class_without_images_has_nothing(dissected: tuple[Network, Planted, Any]) -> None:
    network, concepts, _ = dissected
    found = ablate(network, concepts.images, ["0:1"], limit=11)  # evenly spaced: some of each class
    one = Arrays(concepts.images.images[:4], [0] * 4)
    alone = json.loads(json.dumps(ablate(network, one, "0:1").to_json(), allow_nan=False))
    assert alone["rows"][0]["accuracy"]["classes"]["change"] == [-1.0, None, None, None, None, None]
    assert alone["rows"][0]["lost"] == [4, 0, 0, 0, 0, 0]
    assert alone["rows"][0]["label"] is None
    assert alone["rows"][0]["iou"] is None
    single = ablate(network, Arrays(concepts.images.images[:1], [0]), "0:1")  # of one image no interval is known
    json.dumps(single.to_json(), allow_nan=False)
    assert (found.tested(), ablate(network, one, "0:1").tested(), single.tested("evidence")) == (6, 1, 0)
    assert "of 1 changes of classes" in " ".join(text.get_text() for text in draw(single).figure.texts)
    draw(single, "evidence")
    assert found.count == 11


# --- what chance can do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1), (0.3, 0.05)])
@pytest.mark.parametrize("images", [20, 40])
def test_intervals_of_changes_cover_the_truth(shares: tuple[float, float], images: int) -> None:
    """Over all outcomes, by their probability."""
    lost, gained = map(np.array, zip(*itertools.product(range(images + 1), repeat=2), strict=True))
    there = lost + gained <= images
    lost, gained = lost[there], gained[there]
    chances = multinomial.pmf(np.stack([lost, gained, images - lost - gained], 1), images, [*shares, 1 - sum(shares)])
    low, high = paired(lost, gained, images).T
    truth = shares[1] - shares[0]
    covered = float(chances[(low <= truth) & (truth <= high)].sum())
    assert chances.sum() == pytest.approx(1)
    assert covered > 0.95
    assert covered < 0.985 or images * min(shares) < 2  # where hardly any image flips one way, it is too wide


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "options", "error", "message"),
    [
        ("1", {}, AddressError, "no convolution or linear layer '1'"),
        (["0:5"], {}, AddressError, "0 has units 0 to 4, not 5"),
        (["0:1", "4:1"], {}, AddressError, r"several layers \(0, 4\); ablate one layer at a time"),
        (["0", "4"], {}, AddressError, "'0' is no unit"),
        (["0:1@2,3"], {}, AddressError, "'0:1@2,3' is no unit"),
        ([], {}, AddressError, "no unit is named; give one layer"),
        ("0", {"limit": 0}, ValueError, "limit is 0; it must be at least 1"),
        ("0", {"batch_size": 0}, ValueError, "batch_size is 0; it must be at least 1"),
        ("0", {"by": "concept"}, ValueError, "where a dissection says which they detect"),
        ("0", {"fill": "one"}, ValueError, "fill is 'one'; expected 'zero' or 'mean'"),
        ("0", {"dissection": "nowhere"}, AtlasError, "no dissection"),
    ],
)
def test_what_cannot_be_is_said(units: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    network, concepts = decided()
    with pytest.raises(error, match=message):
        ablate(network, concepts.images, units, **options)


def test_another_networks_dissection_is_refused(
    dissected: tuple[Network, Planted, Any], residual: tuple[Network, Arrays, list[int]]
) -> None:
    with pytest.raises(AtlasError, match="a dissection of decided with other weights or preprocessing than those of"):
        ablate(residual[0], residual[1], "b", dissection=dissected[2])


def test_images_without_labels_and_other_outputs_are_refused() -> None:
    network, concepts = decided()
    with pytest.raises(ImagesError, match="33 of 33 images have no label"):
        ablate(network, Arrays(concepts.images.images), "0")
    real = convscope.wrap(network.module, preprocess=network.preprocess, output="real")
    with pytest.raises(NetworkError, match="its output is 'real'"):
        ablate(real, concepts.images, "0")


# --- the figure and the command --------------------------------------------------------------------------------------


def test_the_figure_has_a_red_cell_where_a_class_is_lost(dissected: tuple[Network, Planted, Any]) -> None:
    network, concepts, atlas = dissected
    found = ablate(network, concepts.images, "0", dissection=atlas)
    for measure in MEASURES:
        figure = draw(found, measure).figure
        cells: Any = next(axes.images[0].get_array() for axes in figure.axes if axes.images)
        height, width = cells.shape[0] // 5, cells.shape[1] // 6
        for row, column in itertools.product(range(5), range(6)):
            red, green, blue = cells[row * height + height // 2, column * width + width // 2].tolist()
            assert (red - green > 60) == (row == column)  # classes are in the order of the rows that hurt them
            assert row == column or (red, green, blue) == (255, 255, 255) or measure == "evidence"
        texts = [text.get_text() for text in figure.texts]
        assert {"cats", "cat", "nothing", "random units (median)"} <= {*texts}
        assert "Of 5 labelled as a class, 5 hurt this class most" in " ".join(texts)


def test_units_of_layers_with_long_names_are_told_apart(tmp_path: Path) -> None:
    network, concepts = decided()
    module = nn.Sequential()
    for name, child in zip(("longer_than_there_is_room", *"abcd"), network.module, strict=True):
        module.add_module(name, child)
    long = convscope.wrap(module, preprocess=network.preprocess, classes=NAMES)
    atlas = convscope.dissect(long, concepts, tmp_path, quantile=0.1)
    found = ablate(long, concepts.images, "longer_than_there_is_room", dissection=atlas)
    ends = {text.get_text()[-2:] for text in draw(found).figure.texts}
    assert {f":{unit}" for unit in range(5)} <= ends


def test_the_command(tmp_path: Path) -> None:
    words = ["ablate", "digits:lenet5", "digits:test", "--limit", "40", "--figure", str(tmp_path / "figure.png")]
    runner = CliRunner()
    asked = runner.invoke(main, [*words, "--units", "c3:7, c3:2,", "--units", "c3:3", "--json"])
    assert asked.exit_code == 0, asked.output
    told = json.loads(asked.stdout)
    assert {row["name"] for row in told["rows"]} == {"c3:7", "c3:2", "c3:3"}
    assert sum(told["class_images"]) == told["images"] == 40
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    shown = runner.invoke(main, [*words, "--layer", "c3", "--measure", "evidence", "--fill", "mean"])
    assert shown.exit_code == 0, shown.output
    assert "random: the median of random units" in shown.stdout
    assert "c3:" in shown.stdout
    one = runner.invoke(main, ["ablate", "digits:lenet5", "digits:test", "--limit", "1", "--units", "c3:7",
                               "--measure", "evidence"])  # fmt: skip
    assert "nan" not in one.stdout  # one image has no interval


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --layer for all units of a layer, or --units for some"),
        (["--layer", "c3", "--units", "c3:1"], "give --layer for all units of a layer, or --units for some"),
        (["--layer", "c3", "--by", "concept"], "--by concept needs --dissection"),
    ],
)
def test_wrong_usage(words: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["ablate", "digits:lenet5", "digits:test", *words])
    assert result.exit_code == 2
    assert message in result.output


def test_math_is_finite_where_a_softmax_is_zero() -> None:
    """A network that ends in a softmax can give the right class a probability of 0."""
    head = nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[500.0, 0], [0, 500.0]])
    module = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    module.append(nn.Softmax(1)).eval()
    module[0].weight.data = torch.eye(2)[:, :, None, None]
    network = convscope.wrap(module, preprocess=Preprocess((4, 4), channels=2))
    images = np.zeros((2, 2, 4, 4), np.float32)
    images[0, 0], images[1, 1], images[:, 0] = 1, 2, 1
    found = ablate(network, Arrays(images, [0, 1]), "0:1")
    assert math.isfinite(found.rows[0].evidence.change)
    assert found.rows[0].lost.tolist() == [0, 1]
    assert found.rows[0].nats[1] == -100
