"""What can be explained, how it is written, and what is said of it; wrong targets and images are errors by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import convscope
from convscope import attribution, capture, gradients
from convscope.address import Layer, Unit
from convscope.attribution import Class, Deconvnet, Saliency, registered
from convscope.errors import AddressError, AttributionError, NetworkError, TargetError
from convscope.network import Network
from convscope.recorder import record
from convscope.targets import understand
from explaining import classifier, images_of, network_of, odd_network
from odd_nets import ODD_NETS, Net, OddNet, conv

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
SIGNED = Saliency(signed=True)
NAMES = ["cat", "dog", "7"]

pytestmark = pytest.mark.usefixtures("one_thread")


def three(*end: nn.Module, **options: Any) -> tuple[Network, nn.Sequential]:
    """A network of three classes, with what may come behind its logits, and the part before that."""
    body = classifier(conv(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    return network_of(nn.Sequential(body, *end), (3, 4, 5), **options), body


IMAGES = images_of(3, 3, 4, 5)


def by_autograd(score: Callable[[Tensor], Tensor], images: Tensor = IMAGES) -> Tensor:
    pixels = images.clone().requires_grad_()
    return torch.autograd.grad(score(pixels).sum(), pixels)[0].float()


# --- what can be explained -------------------------------------------------------------------------------------------


def test_the_predicted_class_is_explained_by_default() -> None:
    network, body = three(classes=["a", "b", "c"])
    found = SIGNED(network, IMAGES)
    logits = body(IMAGES).detach()
    best = logits.argmax(1)
    assert found.targets == tuple(f"class {i} ({'abc'[i]})" for i in best)
    assert found.score == ("logit",) * 3
    torch.testing.assert_close(found.scores, logits.amax(1))
    torch.testing.assert_close(found.values, by_autograd(lambda x: body(x)[range(3), best]))


@pytest.mark.parametrize(
    ("target", "index"),
    [(1, 1), ("1", 1), ("dog", 1), ("7", 2), ("n02", 0), (np.int64(2), 2), (Class("dog"), 1), (Class(2), 2), ("01", 1)],
)
def test_a_class_is_given_by_index_name_or_synonym(target: Any, index: int) -> None:
    """A name that is a number is the name."""
    network, body = three(classes=NAMES)
    network = Network(network.module, network.preprocess, "net", network.classes, synonyms={"n02": 0})
    found = SIGNED(network, IMAGES, target)
    assert found.targets == (f"class {index} ({NAMES[index]})",) * 3
    torch.testing.assert_close(found.values, by_autograd(lambda x: body(x)[:, index]))


@pytest.mark.parametrize("takes_it", [True, False])
def test_images_have_their_channels_last_where_the_network_takes_it(takes_it: bool) -> None:
    """As fast as that is, and the same; a view of a map as a row is impossible then."""
    formats: list[bool] = []

    def run(net: Any, x: Tensor) -> Tensor:
        maps = net.conv(x)
        rows = maps.flatten(1) if takes_it else maps.view(len(x), -1)
        formats.append(x.is_contiguous(memory_format=torch.channels_last))
        return net.head(rows)

    net = Net(run, conv=nn.Conv2d(2, 3, 3, bias=False), head=nn.Linear(36, 2))
    images = images_of(2, 2, 5, 6).float()
    before = images.clone()
    found = Saliency(signed=True)(network_of(net, (2, 5, 6)), images, 1)
    assert set(formats) == {takes_it}
    assert torch.equal(images, before)
    assert images.is_contiguous()
    assert found.values.is_contiguous()
    weights = net.head.weight[1].view(1, 3, 3, 4).expand(2, -1, -1, -1)
    torch.testing.assert_close(found.values, F.conv_transpose2d(weights, net.conv.weight).detach())


def test_a_list_has_a_target_for_each_image() -> None:
    network, body = three(classes=NAMES)
    found = SIGNED(network, IMAGES, ["dog", "0.0:2", lambda output: output.square().sum(1)])
    assert found.targets[0] == "class 1 (dog)"
    assert found.targets[1].startswith("0.0:2@")
    assert found.score == ("logit", "response", "function")
    stem = torch.relu(body[0](IMAGES[1:2]))[0, 2]
    row, column = divmod(int(stem.argmax()), 5)
    expected = [
        by_autograd(lambda x: body(x)[:, 1]),
        by_autograd(lambda x: torch.relu(body[0](x))[:, 2, row, column]),
        by_autograd(lambda x: body(x).square().sum(1)),
    ]
    torch.testing.assert_close(found.values, torch.stack([each[i] for i, each in enumerate(expected)]))
    for labels in ([2, 0, 1], torch.tensor([2, 0, 1]), np.array([2, 0, 1])):
        each = SIGNED(network, IMAGES, labels)
        torch.testing.assert_close(each.values, by_autograd(lambda x: body(x)[range(3), [2, 0, 1]]))


def test_a_neuron_and_a_unit_are_read_at_their_response() -> None:
    """After batch norm and rectifier, which run in place; a unit where it is largest."""
    odd = ODD_NETS["negative_scale"]
    net, images = odd.make().double(), odd.images(3).double()
    response = lambda x: F.relu(net[1](net[0](x)))  # noqa: E731
    network = network_of(net, odd.shape)
    found = SIGNED(network, images, "0:2@3,5")
    assert found.targets == ("0:2@3,5",) * 3
    torch.testing.assert_close(found.scores, response(images)[:, 2, 3, 5].detach())
    torch.testing.assert_close(found.values, by_autograd(lambda x: response(x)[:, 2, 3, 5], images))
    unit = SIGNED(network, images, "0:2")
    maps = response(images)[:, 2].detach()
    assert unit.targets == tuple("0:2@{},{}".format(*divmod(int(each.argmax()), 14)) for each in maps)
    torch.testing.assert_close(unit.scores, maps.amax((1, 2)))
    torch.testing.assert_close(SIGNED(network, images, Unit(Layer("0"), 2)).values, unit.values)


@every_odd_net
def test_a_function_of_whatever_the_network_returns(odd: OddNet) -> None:
    def energy(output: Any) -> Tensor:
        return sum((leaf.square().flatten(1).sum(1) for leaf in tree_leaves(output)), torch.zeros(()))

    network, images = odd_network(odd), odd.images(2)
    pixels = images.clone().requires_grad_()
    expected = torch.autograd.grad(energy(network.module(pixels * 1)).sum(), pixels)[0]
    found = SIGNED(network, images, energy)
    torch.testing.assert_close(found.values, expected)
    assert found.targets == ("energy",) * 2
    assert found.score == ("function",) * 2


@every_odd_net
def test_gradients_by_values_inside_the_network(odd: OddNet) -> None:
    """Also by those that are written over later on: a small change of one moves the score as the gradient says."""
    network, images = odd_network(odd), odd.images(2).double()
    network.module.double()
    graph = record(network.module, images)
    layers = graph.layers()
    value = layers[0].response
    with gradients.untouched(network):
        targets = understand(f"{layers[-1].address}:0", network, graph, 2)
        found = gradients.run(network, graph, images, targets, keep=[value])
        gradient = found.gradient(by=value)
    assert gradient.shape == found.seen.values[value].shape
    step = 1e-6 * images_of(*gradient.shape, seed=3) * (found.seen.values[value] != 0)  # zeros are ties in a pooling
    rises = [scored(network, graph, found, value, sign * step) for sign in (1, -1)]
    expected = (rises[0] - rises[1]) / 2
    torch.testing.assert_close((gradient * step).flatten(1).sum(1), expected, rtol=1e-3, atol=1e-12)


def test_gradients_by_a_value_that_is_a_view_and_by_the_one_that_it_is_a_view_of() -> None:
    """Both are read when the one has been computed. A linear layer on (n, h, w, c) gives rows of all images."""
    network, _ = three(nn.Unflatten(1, (3, 1)), nn.Softmax(1), nn.Flatten())
    graph = record(network.module, IMAGES[:1])
    view = next(node for node in graph.nodes if node.op == "_softmax").inputs[0]
    base = graph.producers[view].inputs[0]
    with gradients.untouched(network):
        found = gradients.run(network, graph, IMAGES, understand(1, network, graph, 3), keep=[base, view])
        assert found.gradient(by=base).tolist() == [[0, 1, 0]] * 3
        assert found.gradient(by=view).tolist() == [[[0], [1], [0]]] * 3
    network, images = odd_network(ODD_NETS["convnext"]), ODD_NETS["convnext"].images(2)
    graph = record(network.module, images[:1])
    layer = next(layer for layer in graph.layers() if str(layer.address) == "down")
    rows = graph.producers[layer.response].inputs[0]
    with gradients.untouched(network):
        targets = understand(1, network, graph, 2)
        assert gradients.run(network, graph, images, targets, keep=[layer.response]).gradient(by=layer.response).any()
        with pytest.raises(AttributionError, match="gave 96 results for 2 images"):
            gradients.run(network, graph, images, targets, keep=[rows])


def scored(network: Network, graph: Any, found: gradients.Pass, value: int, step: Tensor) -> Tensor:
    """The scores where a value of the graph is moved."""
    kept: dict[int, Tensor] = {}
    taps: dict[int, Any] = {value: lambda tensor: tensor + step.reshape(tensor.shape)}
    for end in {end for target in found.targets for end in target.values}:
        taps[end] = partial(_kept, kept, end, step if end == value else None)
    with torch.no_grad():
        capture.run(network.module, found._pixels.detach(), graph, taps)
    seen = type(found.seen)(2, None, kept)
    return torch.stack([target.score(seen, row) for row, target in enumerate(found.targets)])


def _kept(kept: dict[int, Tensor], value: int, step: Tensor | None, tensor: Tensor) -> Tensor:
    kept[value] = (tensor if step is None else tensor + step).clone()
    return kept[value]


# --- logits and probabilities ----------------------------------------------------------------------------------------

ENDS: dict[str, tuple[list[nn.Module], Callable[[Tensor], Tensor]]] = {
    "logits": ([], lambda z: z.softmax(1)),
    "softmax": ([nn.Softmax(1)], lambda z: z.softmax(1)),
    "softmax -1": ([nn.Softmax(-1)], lambda z: z.softmax(1)),
    "log_softmax": ([nn.LogSoftmax(1)], lambda z: z.softmax(1)),
    "sigmoid": ([nn.Sigmoid()], lambda z: z.sigmoid()),
    "reshaped": ([nn.Unflatten(1, (3, 1)), nn.Softmax(1), nn.Flatten()], lambda z: z.softmax(1)),
}


@pytest.mark.parametrize("end", ENDS)
def test_logits_are_explained_whatever_the_network_ends_in(end: str) -> None:
    layers, probabilities = ENDS[end]
    network, body = three(*layers)
    numbers: dict[str, Callable[[Tensor], Tensor]] = {
        "logit": body,
        "probability": lambda x: probabilities(body(x)),
        "logprob": lambda x: probabilities(body(x)).log(),
    }
    for of, number in numbers.items():
        found = SIGNED(network, IMAGES, Class(1, of))
        assert found.score == (of,) * 3
        torch.testing.assert_close(found.scores, number(IMAGES)[:, 1].detach())
        torch.testing.assert_close(found.values, by_autograd(lambda x, number=number: number(x)[:, 1]))
        assert any("computed from the logits before it" in note for note in found.notes) == bool(layers)
    torch.testing.assert_close(SIGNED(network, IMAGES, 1).values, by_autograd(lambda x: body(x)[:, 1]))


def test_probabilities_of_classes_that_do_not_exclude_each_other() -> None:
    network, body = three(output="sigmoid")
    found = SIGNED(network, IMAGES, Class(2, "probability"))
    torch.testing.assert_close(found.values, by_autograd(lambda x: body(x)[:, 2].sigmoid()))
    logprob = SIGNED(network, IMAGES, Class(2, "logprob"))
    torch.testing.assert_close(logprob.values, by_autograd(lambda x: body(x)[:, 2].sigmoid().log()))


def test_probabilities_without_readable_logits_are_explained_as_such_and_said() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        powers = net.body(x).exp()
        return powers / powers.sum(1, keepdim=True)

    _, body = three()
    network = network_of(Net(run, body=body), (3, 4, 5))
    found = SIGNED(network, IMAGES, 1)
    assert found.score == ("probability",) * 3
    assert found.notes == (
        "the network gives each class a probability and no logit that can be read, so that is explained",
    )
    torch.testing.assert_close(found.values, by_autograd(lambda x: body(x).softmax(1)[:, 1]))
    assert torch.equal(SIGNED(network, IMAGES, Class(1, "probability")).values, found.values)
    logprob = SIGNED(network, IMAGES, Class(1, "logprob"))
    torch.testing.assert_close(logprob.values, by_autograd(lambda x: body(x).log_softmax(1)[:, 1]))


def test_real_outputs_are_explained_as_they_are() -> None:
    network, body = three(nn.Sigmoid(), output="real")
    found = SIGNED(network, IMAGES, 1)
    assert found.score == ("output",) * 3
    torch.testing.assert_close(found.values, by_autograd(lambda x: body(x)[:, 1].sigmoid()))
    with pytest.raises(TargetError, match="are real values, so class 1 has no probability"):
        SIGNED(network, IMAGES, Class(1, "probability"))


# --- what is wrong is an error by name -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        (3, TargetError, "there is no class 3: the network has 3 classes, 0 to 2"),
        (-1, TargetError, "there is no class -1"),
        ("3", TargetError, "there is no class '3'"),
        ("bog", TargetError, r"net has no class 'bog'; did you mean 'dog'\?"),
        ("0.0", TargetError, "no class '0.0'.*a unit is written 'LAYER:UNIT'"),
        (Class(0, "loss"), TargetError, "of='loss' is no number of a class; expected one of logit, "),
        ([0, 1], TargetError, "2 targets are given for 3 images"),
        (True, TargetError, "True cannot be explained"),
        (1.0, TargetError, "1.0 cannot be explained"),
        ([0, 1, None, 2], TargetError, "4 targets are given for 3 images"),
        ("9:0", AddressError, "no convolution or linear layer '9'"),
        ("0.0:4", AddressError, "0.0:4: layer 0.0 has 4 units, 0 to 3"),
        ("0.0:1@4,0", AddressError, "the map of layer 0.0 has 4 rows and 5 columns"),
        ("0.0:1@0,5", AddressError, "the map of layer 0.0 has 4 rows and 5 columns"),
        ("0.3:1@0,1", AddressError, "the map of layer 0.3 has 1 rows and 1 columns"),
        ("0.0:x", AddressError, "is not an address"),
        (lambda output: output, TargetError, r"the target <lambda> gave a tensor \(3, 3\) for 3 images.*\(3,\)"),
        (lambda output: 1.0, TargetError, "gave a float for 3 images"),
        (lambda output: output[:, 0].detach(), TargetError, "does not depend on the output of the network"),
    ],
)  # fmt: skip
def test_wrong_targets(target: Any, error: type[Exception], match: str) -> None:
    network, _ = three(classes=NAMES, name="net")
    for name, kind in registered().items():
        if callable(target) and name in {"cam", "rise", "scorecam", "occlusion"}:
            continue  # the first takes no functions, the others need no gradient
        with pytest.raises(error, match=match):
            kind()(network, IMAGES, target)


def test_names_that_several_classes_have() -> None:
    network, _ = three(classes=["crane", "dog", "crane"])
    with pytest.raises(TargetError, match=r"'crane' is the name of several classes; give one of the indices \[0, 2\]"):
        SIGNED(network, IMAGES, "crane")


def test_a_network_without_classes() -> None:
    network = network_of(conv(3, 2), (3, 4, 5))
    with pytest.raises(TargetError, match=r"first output has shape \(1, 2, 4, 5\).*so it has no classes"):
        SIGNED(network, IMAGES.float())


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(3, 4, 5), r"real numbers \(n, c, h, w\), not torch.float32 \(3, 4, 5\)"),
        (torch.zeros(0, 3, 4, 5), r"not torch.float32 \(0, 3, 4, 5\)"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "not torch.uint8"),
        (np.zeros((1, 3, 4, 5), np.float32), "not ndarray"),
    ],
)
def test_wrong_images(images: Any, match: str) -> None:
    with pytest.raises(AttributionError, match=match):
        SIGNED(three()[0], images)


def test_what_is_no_network_and_what_does_not_run() -> None:
    with pytest.raises(AttributionError, match=r"not a Sequential; make one with convscope.load\(...\) or"):
        SIGNED(nn.Sequential(), IMAGES)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"does not run on images of shape \(1, 3, 9, 9\)"):
        SIGNED(three()[0], images_of(1, 3, 9, 9))


@pytest.mark.parametrize(
    "run",
    [
        lambda net, x: net.body(x).detach() * 2,
        lambda net, x: net.body(x.detach()),
        lambda net, x: F.one_hot(net.body(x).argmax(1), 3).double(),
    ],
)
def test_a_target_that_is_cut_off_is_an_error_and_no_blank_map(run: Any) -> None:
    network = network_of(Net(run, body=three()[1]), (3, 4, 5))
    with pytest.raises(AttributionError, match="not connected with the image by differentiable operations"):
        SIGNED(network, IMAGES, 0)


def test_an_infinite_gradient_is_an_error() -> None:
    network = network_of(Net(lambda net, x: x.sum((2, 3)).sqrt()), (3, 4, 5))
    with pytest.raises(AttributionError, match="the gradient of image 1 is not finite"):
        SIGNED(network, torch.stack([torch.ones(3, 4, 5), torch.zeros(3, 4, 5)]), 0)


# --- the package -----------------------------------------------------------------------------------------------------


def test_methods_are_found_by_name() -> None:
    assert list(registered()) == sorted(registered())
    assert {"saliency", "deconvnet", "guided_backprop", "smoothgrad"} <= registered().keys()
    for kind in registered().values():
        assert getattr(convscope.attribution, kind.__name__) is kind
        assert kind.__name__ in dir(attribution)
        assert kind() == kind()
        assert kind.sign
    with pytest.raises(AttributeError, match="has no attribute 'Salience'"):
        attribution.Salience  # noqa: B018


def test_the_page_on_attributions_has_every_method() -> None:
    page = (Path(__file__).parents[1] / "docs" / "attribution.md").read_text(encoding="utf-8")
    for kind in registered().values():
        assert f"| `{kind.__name__}` |" in page


def test_what_belongs_to_a_map() -> None:
    network, _ = three(classes=NAMES)
    found = Deconvnet()(network, IMAGES, "0.0:1@2,3")
    assert len(found) == 3
    assert found.seed is None
    box = found.grid.box(3, 4)
    assert (box.as_tuple(), found.grid.image) == ((3, 4, 4, 5), (4, 5))
    told = found.to_json()
    assert told["targets"] == ["0.0:1@2,3"] * 3
    assert told["evidence"]["signal at the start"] == [max(score, 0) for score in told["scores"]]
