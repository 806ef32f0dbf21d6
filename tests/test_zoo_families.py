"""The families of the zoo: their published sizes and fields, torchvision's names, and what can be chosen of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from convscope import zoo
from convscope.errors import NetworkError, TrainingError
from convscope.graph import Graph
from convscope.images import open_images
from convscope.network import load, untrained
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from convscope.training import Recipe
from convscope.zoo import layers
from convscope.zoo.heads import cam_head
from convscope.zoo.resnet import Basic, Bottleneck

pytestmark = pytest.mark.usefixtures("one_thread")


def built(text: str, size: tuple[int, int] | None = None, classes: int | None = None) -> Any:
    """A network on the meta device, where it costs nothing, in evaluation mode."""
    variant = zoo.find(text)
    preprocess = variant.architecture.preprocess
    with torch.device("meta"):
        return variant.build(preprocess.planes, size or preprocess.size, classes).eval()


def parameters(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def recorded(text: str) -> Graph:
    return record(built(text), torch.empty(1, *zoo.find(text).architecture.preprocess.shape, device="meta"))


# --- published numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 60_965_224),
        ("alexnet-one", 61_100_840),
        ("alexnet-star-gap", 5_133_800),
        ("alexnet:head=gap", 5_719_400),
        ("alexnet:head=gmp", 5_719_400),
        ("zfnet", 62_357_608),
        ("zfnet-wide", 107_627_624),
        ("nin", 7_595_176),
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("vgg16:head=gap", 14_714_688 + (512 * 9 + 1) * 1024 + 1025 * 1000),
        ("googlenet", 6_998_552),
        ("googlenet-torchvision", 6_624_904),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("alphago-policy", 3_882_793),
    ],
)
def test_published_numbers_of_parameters(name: str, count: int) -> None:
    assert parameters(built(name)) == count


def test_the_surgery_makes_googlenet_larger_and_the_others_smaller() -> None:
    """METHODS 2.8, millions: AlexNet 60.97 to 5.72, VGG-16 138.4 to 20.5, GoogLeNet 7.00 to 12.18."""
    for name, before, after in [("alexnet", 60.97, 5.72), ("vgg16", 138.36, 20.46), ("googlenet", 7.00, 12.18)]:
        found = [round(parameters(built(text)) / 1e6, 2) for text in (name, f"{name}:head=gap", f"{name}:head=gmp")]
        assert found == [before, after, after]
    # With two groups in the new convolution, as the authors released it: 4.54 and 8.35.
    halved = cam_head(256, 1000, "gap", 1.0)["cam_conv"].weight.numel() / 2
    assert round((parameters(built("alexnet:head=gap")) - halved) / 1e6, 2) == 4.54


def outputs(text: str) -> dict[str, tuple[int, ...]]:
    """The shape (c, h, w) or (c,) that each module gives for one image."""
    module, found = built(text), {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, __, value, name=name: found.__setitem__(name, tuple(value.shape[1:])))
    module(torch.empty(1, *zoo.find(text).architecture.preprocess.shape, device="meta"))
    return found


SIZES = {
    "alexnet": {
        "conv1": (96, 55), "pool1": (96, 27), "conv2": (256, 27), "pool2": (256, 13), "conv3": (384, 13),
        "conv4": (384, 13), "conv5": (256, 13), "pool5": (256, 6),
    },
    "alexnet:head=gap": {"relu5": (256, 13), "cam_relu": (1024, 13)},
    "alexnet-star-gap": {"conv5": (384, 13), "pool5": (384, 11), "conv7": (512, 11)},
    "alexnet-one": {"features.0": (64, 55), "features.12": (256, 6)},
    "zfnet": {
        "conv1": (96, 110), "pool1": (96, 55), "conv2": (256, 26), "pool2": (256, 13), "conv3": (384, 13),
        "conv4": (384, 13), "conv5": (256, 13), "pool5": (256, 6),
    },
    "zfnet-wide": {"conv3": (512, 13), "conv4": (1024, 13), "conv5": (512, 13)},
    "nin": {"conv1": (96, 54), "pool1": (96, 27), "pool2": (256, 13), "conv4": (1024, 6), "cccp8_relu": (1000, 6)},
    "vgg16": {f"features.{i}": (c, s) for i, c, s in
              [(3, 64, 224), (4, 64, 112), (9, 128, 56), (16, 256, 28), (23, 512, 14), (30, 512, 7)]},
    "vgg16:head=gap": {"features.29": (512, 14), "cam_relu": (1024, 14)},
    "googlenet": {
        "maxpool1": (64, 56), "maxpool2": (192, 28), "inception3a": (256, 28), "inception3b": (480, 28),
        "inception4a": (512, 14), "inception4b": (512, 14), "inception4c": (512, 14), "inception4d": (528, 14),
        "inception4e": (832, 14), "inception5a": (832, 7), "inception5b": (1024, 7),
    },
    "googlenet:head=gmp": {"inception4e": (832, 14), "cam_relu": (1024, 14)},
    "resnet18": {"maxpool": (64, 56), "layer1": (64, 56), "layer2": (128, 28), "layer3": (256, 14), "layer4": (512, 7)},
    "resnet50": {"layer1": (256, 56), "layer4": (2048, 7)},
    "resnet18:stem=small": {"relu": (64, 224), "layer1": (64, 224), "layer4": (512, 28)},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes_of_maps(name: str) -> None:
    found = outputs(name)
    assert {part: found[part][::2] for part in SIZES[name]} == SIZES[name]


def test_nin_gives_maps_of_6_cells_for_both_usual_sizes() -> None:
    for side in (224, 227):
        assert layers.output_shape(built("nin")[:-2], (3, side, side)) == (1000, 6, 6)


def geometry(text: str, part: str) -> tuple[int, float, int, float]:
    """(field, jump, start, centre of cell 0) of what a part of the network gives, read by filters of one pixel."""
    chain, *inner = part.split(".")
    net = built(text)
    names = [name for name, _ in net.named_children()]
    before = list(net[: names.index(chain)])
    last = net[names.index(chain)]
    before += list(last[: int(inner[0]) + 1]) if inner else [last]
    with torch.device("meta"):
        probe = nn.Conv2d(outputs(text)[part][0], 1, 1)
    shape = zoo.find(text).architecture.preprocess.shape
    graph = record(nn.Sequential(*before, probe), torch.empty(1, *shape, device="meta"))
    grid = receptive_fields(graph).grid(graph.layers()[-1])
    assert grid.rows == grid.columns
    steps = grid.rows.steps()
    assert steps is not None
    return steps.size, steps.stride, steps.start, grid.box(0, 0).centre[0]


FIELDS = {  # METHODS 2.11
    "alexnet": {
        "conv1": (11, 4, 0, 5), "pool1": (19, 8, 0, 9), "conv2": (51, 8, -16, 9), "pool2": (67, 16, -16, 17),
        "conv3": (99, 16, -32, 17), "conv4": (131, 16, -48, 17), "conv5": (163, 16, -64, 17),
        "pool5": (195, 32, -64, 33),
    },
    "alexnet-one": {
        "features.0": (11, 4, -2, 3), "features.10": (163, 16, -66, 15), "features.12": (195, 32, -66, 31),
    },
    "zfnet": {
        "conv1": (7, 2, -1, 2), "pool1": (11, 4, -1, 4), "conv2": (27, 8, -1, 12), "pool2": (43, 16, -1, 20),
        "conv3": (75, 16, -17, 20), "conv4": (107, 16, -33, 20), "conv5": (139, 16, -49, 20),
        "pool5": (171, 32, -49, 36),
    },
    "vgg16": {"features.28": (196, 16, -90, 7.5), "features.30": (212, 32, -90, 15.5)},
    "vgg19": {"features.34": (252, 16, -118, 7.5), "features.36": (268, 32, -118, 15.5)},
    "googlenet": {
        "inception3b": (91, 8, -39, 6), "inception4e": (427, 16, -199, 14), "inception5b": (715, 32, -327, 30),
    },
    "googlenet:head=gap": {"cam_conv": (459, 16, -215, 14)},
    "alexnet-star-gap": {"conv7": (259, 16, -96, 33)},
    "nin": {"conv4": (195, 32, -64, 33), "cccp8": (195, 32, -64, 33)},
    "resnet18": {"layer4": (435, 32, -217, 0)},
    "resnet34": {"layer4": (899, 32, -449, 0)},
    "resnet50": {"layer4": (427, 32, -213, 0)},
    "resnet101": {"layer4": (971, 32, -485, 0)},
    "resnet152": {"layer4": (1451, 32, -725, 0)},
    "alphago-policy": {"conv13": (5 + 11 * 2, 1, -13, 0)},
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_published_fields(name: str) -> None:
    assert {part: geometry(name, part) for part in FIELDS[name]} == FIELDS[name]


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("lenet5", 5), ("alexnet", 8), ("alexnet-one", 8), ("alexnet:head=gap", 7), ("alexnet-star-gap", 8),
        ("zfnet", 8), ("nin", 12), ("vgg11", 11), ("vgg13", 13), ("vgg16", 16), ("vgg19", 19), ("googlenet", 22),
        ("googlenet-torchvision", 22), ("resnet18", 18), ("resnet34", 34), ("resnet50", 50), ("resnet101", 101),
        ("resnet152", 152), ("squeezenet1_0", 18), ("alphago-policy", 13), ("dioramanet", 6), ("dioramanet-fc", 8),
    ],
)  # fmt: skip
def test_the_depth_of_a_network_is_what_its_name_and_its_paper_say(name: str, depth: int) -> None:
    assert recorded(name).depth == depth


# --- torchvision's names ---------------------------------------------------------------------------------------------

TORCHVISION = {
    "alexnet-one": "alexnet", "googlenet-torchvision": "googlenet",
    **{f"vgg{depth}": f"vgg{depth}" for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}:norm=batch": f"vgg{depth}_bn" for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
}  # fmt: skip
HUGE = {name for name in TORCHVISION if name.startswith("vgg")} | {"resnet34", "resnet101", "resnet152"}


def theirs(torchvision: Any, name: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    module: nn.Module = torchvision.models.get_model(name, weights=None, **options).eval()
    return module


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_are_torchvisions(torchvision: Any, name: str) -> None:
    with torch.device("meta"):
        expected = theirs(torchvision, TORCHVISION[name])
    assert shapes(built(name)) == shapes(expected)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in HUGE else ()) for name in TORCHVISION]
)
def test_weights_go_both_ways_to_torchvision(torchvision: Any, name: str) -> None:
    """The same logits, with their weights here, and with these weights there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = theirs(torchvision, TORCHVISION[name])
        for module in expected.modules():  # statistics that a wrong epsilon, or a norm left out, would show
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        scores = expected(images)
        ours = built(name)
        ours.load_state_dict(expected.state_dict(), assign=True)
        assert scores.std() > 1e-6
        torch.testing.assert_close(ours(images), scores)
        with torch.device("meta"):
            back = theirs(torchvision, TORCHVISION[name])
        back.load_state_dict(ours.state_dict(), assign=True)
        torch.testing.assert_close(back(images), scores)


# --- what is special in each -----------------------------------------------------------------------------------------


def response_norm(maps: Tensor, k: float, alpha: float, beta: float) -> Tensor:
    """As in the AlexNet paper, number by number: b_i = a_i / (k + alpha · sum of squares of 5 neighbours) ** beta."""
    result = torch.empty_like(maps)
    count = maps.shape[1]
    for i in range(count):
        total = sum(maps[:, j] ** 2 for j in range(max(0, i - 2), min(count - 1, i + 2) + 1))
        result[:, i] = maps[:, i] / (k + alpha * total) ** beta
    return result


@pytest.mark.parametrize("count", [1, 3, 9])
def test_response_normalisation_is_the_papers_and_caffes(count: int) -> None:
    maps = torch.randn(2, count, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100
    torch.testing.assert_close(layers.lrn()(maps), response_norm(maps, 2, 1e-4, 0.75))
    torch.testing.assert_close(layers.caffe_lrn()(maps), response_norm(maps, 1, 1e-4 / 5, 0.75))


def test_the_order_of_pools_and_norms() -> None:
    names = {text: [name for name, _ in built(text).named_children()][:8] for text in ("alexnet", "alexnet-star-gap")}
    one = ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]
    other = ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]
    assert list(names.values()) == [one, other]
    assert [name for name, _ in built("zfnet").named_children()][:4] == other[:4]


def test_each_tower_of_alexnet_sees_itself_but_in_the_third_layer() -> None:
    net = load("alexnet:width=0.25,head=gap").module
    for number, own in {2: True, 3: False, 4: True, 5: True}.items():
        conv = net.get_submodule(f"conv{number}")
        inputs, units = conv.in_channels // 2, conv.out_channels // 2
        maps = torch.randn(1, conv.in_channels, 7, 7, generator=torch.Generator().manual_seed(number))
        if not own:
            assert conv.groups == 1
            continue
        pairs = zip(maps.split(inputs, 1), conv.weight.split(units), conv.bias.split(units), strict=True)
        halves = [F.conv2d(part, weight, bias, padding=conv.padding) for part, weight, bias in pairs]
        torch.testing.assert_close(conv(maps), torch.cat(halves, 1))


def test_the_class_maps_of_nin_are_nowhere_negative_and_their_means_are_the_logits() -> None:
    network = load("nin:width=0.25")
    with torch.no_grad():
        images = network.example(2)
        maps = network.module[:-2](images)
        torch.testing.assert_close(network.module(images), maps.mean((2, 3)))
    assert maps.min() == 0
    assert maps.max() > 0


def test_the_policy_network_of_alphago_has_a_class_for_each_position_and_its_own_bias() -> None:
    network = load("alphago-policy:width=0.1")
    hidden = {shape[1:] for name, shape in outputs("alphago-policy").items() if name.startswith(("conv", "relu"))}
    assert hidden == {(19, 19)}
    with torch.no_grad():
        before = network.module(network.example(2)).softmax(1)
        network.module.board.bias[5 * 19 + 7] += 1.5
        after = network.module(network.example(2)).softmax(1)
    torch.testing.assert_close(after.sum(1), torch.ones(2))
    change = (after / before).log()
    torch.testing.assert_close(change[:, 5 * 19 + 7] - change[:, 0], torch.full((2,), 1.5))
    others = torch.arange(361) != 5 * 19 + 7
    torch.testing.assert_close(change[:, others], change[:, :1].expand(2, 360))
    with pytest.raises(NetworkError, match="its classes are the 81 positions of a board of 9 × 9, and 2 are named"):
        load("alphago-policy", preprocess={"size": [9, 9], "channels": 48, "classes": ["a", "b"]})
    assert built("alphago-policy:width=1.3333").conv12.weight.shape == (256, 256, 3, 3)
    assert built("alphago-policy", (9, 9)).board.bias.shape == (81,)


@pytest.mark.parametrize(("block", "inputs"), [(Basic, 16), (Bottleneck, 64)])
def test_a_residual_block_whose_last_norm_is_zero_is_the_identity(block: Callable[..., Any], inputs: int) -> None:
    net = block(inputs, 16, 1).eval()
    nn.init.zeros_((net.bn2 if block is Basic else net.bn3).weight)
    maps = torch.rand(2, inputs, 5, 5)
    assert torch.equal(net(maps.clone()), maps)
    assert net(-maps).max() == 0  # and then it is rectified
    projected = block(inputs, 16, 2).eval()
    strides = [part.stride[0] for part in projected.modules() if isinstance(part, nn.Conv2d)]
    assert strides == ([2, 1, 2] if block is Basic else [1, 2, 1, 2])  # the last is the shortcut's


# --- heads -----------------------------------------------------------------------------------------------------------

HEADED = ("alexnet", "alexnet-one", "vgg11", "vgg16", "googlenet")
POOLED = [
    *(f"{name}:head={head},width=0.1" for name in HEADED for head in ("gap", "gmp")),
    *(f"{name}:width=0.1" for name in ("alexnet-star-gap", "resnet18", "googlenet", "nin")),
]


def from_the_pool_on(net: Any) -> nn.Sequential:
    parts = list(net.children())
    first = max(i for i, part in enumerate(parts) if isinstance(part, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d))
    return nn.Sequential(*parts[first:])


@pytest.mark.parametrize("name", POOLED)
def test_the_logits_do_not_depend_on_where_things_are_in_the_last_map(name: str) -> None:
    head = from_the_pool_on(load(name).module)
    units = next((part.in_features for part in head if isinstance(part, nn.Linear)), 1000)
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, units, 4, 5, generator=generator)
    order = torch.randperm(20, generator=generator)
    shuffled = maps.flatten(2)[:, :, order].unflatten(2, (4, 5))
    with torch.no_grad():
        torch.testing.assert_close(head(maps), head(shuffled))
        constant = head(maps[:, :, :1, :1].expand(1, units, 4, 5))
        torch.testing.assert_close(constant, head(maps[:, :, :1, :1]))


@pytest.mark.parametrize("name", [name for name in POOLED if "head" in name])
def test_a_maximum_has_one_place_and_a_mean_has_all(name: str) -> None:
    net = load(name).module
    head = from_the_pool_on(net)
    maps = torch.rand(1, net.output.in_features, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(head(maps)[0, 3], maps)
    places = (gradient != 0).sum((0, 2, 3)).unique().tolist()
    assert places == ([1] if "gmp" in name else [20])


# --- width, size, channels, classes ----------------------------------------------------------------------------------

WIDE = [name for name, entry in zoo.ARCHITECTURES.items() if zoo.WIDTH in entry.options]


@pytest.mark.parametrize("name", sorted(set(WIDE) - {"resnet34", "resnet101", "resnet152"}))
def test_a_width_is_a_factor_on_all_channel_counts_but_the_classes(name: str) -> None:
    full, half = (shapes(built(text)) for text in (name, f"{name}:width=0.5"))
    assert full == shapes(built(f"{name}:width=1"))
    assert list(full) == list(half)
    counted = 0
    for key, shape in full.items():
        if key.endswith("weight") and len(shape) > 1:
            units, expected = half[key][0], shape[0] / 2
            assert units == shape[0] in (1, 1000) or (units % 8 == 0 and abs(units - expected) <= 4), key
            counted += 1
    assert counted >= 8
    least = {shape[0] for shape in shapes(built(f"{name}:width=0.01")).values() if len(shape) == 4}
    assert least <= {1, 8, 32, 1000}  # a bottleneck gives four times as many, NIN one map a class, AlphaGo one in all


@pytest.mark.parametrize(("channels", "width", "units"), [(96, 1, 96), (96, 0.25, 24), (112, 0.5, 56), (16, 0.1, 8)])
def test_channel_counts_are_multiples_of_eight(channels: int, width: float, units: int) -> None:
    assert layers.scaled(channels, width) == units


@pytest.mark.parametrize("name", [name for name in zoo.ARCHITECTURES if name != "alphago-policy"])
@pytest.mark.parametrize("size", [(96, 96), (96, 136)], ids=str)
def test_a_network_is_built_for_the_size_channels_and_classes_of_its_card(name: str, size: tuple[int, int]) -> None:
    text = f"{name}:width=0.1" if name in WIDE else name
    card = {"size": list(size), "channels": 5, "classes": ["cat", "dog", "owl"]}
    network = load(text, preprocess=card)
    with torch.no_grad():
        assert network.module(network.example(2)).shape == (2, 3)


@pytest.mark.parametrize("name", [*zoo.ARCHITECTURES, "alexnet:head=gap", "vgg16:head=gmp", "resnet18:stem=small"])
def test_what_is_too_small_is_refused_with_the_least_size(name: str) -> None:
    text = name if ":" in name or name not in WIDE else f"{name}:width=0.1"
    text = f"{text},width=0.1" if ":" in name else text

    def build(side: int) -> None:
        built(text, (side, side))

    if name.startswith(("resnet", "alphago")):  # padded everywhere, so that one pixel is enough
        build(1)
        return
    said = r"images of 3 × 3 px are too small for it; the least that it takes are (\d+) × \1 px"
    with pytest.raises(NetworkError, match=said) as caught:
        build(3)
    least = int(str(caught.value).split()[-2])
    build(least)
    with pytest.raises(NetworkError):
        build(least - 1)


def test_lenet_needs_the_padding_of_its_digits() -> None:
    """METHODS 2.1: without it C5 has no position left."""
    with pytest.raises(NetworkError, match="28 × 28 px are too small for it; the least that it takes are 32 × 32 px"):
        load("lenet5", preprocess={"size": [28, 28], "channels": "L"})


def test_torchvisions_weights_fit_larger_images_as_well() -> None:
    for name in ("vgg11", "alexnet-one"):
        assert shapes(built(name, (320, 288))) == shapes(built(name))


# --- options in names ------------------------------------------------------------------------------------------------


def message(text: str, **options: Any) -> str:
    with pytest.raises(NetworkError) as caught:
        load(text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alexnet:hed=gap", "alexnet:hed=gap: there is no option 'hed'; did you mean 'head'?; its options are "
                            "head=fc|gap|gmp, norm=lrn|batch, width=FACTOR"),
        ("alexnet:head=gab", "alexnet:head=gab: head is 'gab'; did you mean 'gap'?; expected fc or gap or gmp"),
        ("vgg16:norm=lrn", "vgg16:norm=lrn: norm is 'lrn'; expected none or batch"),
        ("vgg16:head=gap,head=fc", "the option 'head' stands twice"),
        ("vgg16:gap", "'gap' is no option, which is written name=value; its options are "),
        ("vgg16:", "'' is no option"),
        ("vgg16:width=0", "width is '0'; expected a factor on the channel counts, from 0.01 to 8"),
        ("vgg16:width=nan", "width is 'nan'; expected a factor"),
        ("vgg16:width=half", "width is 'half'; expected a factor"),
        ("lenet5:width=2", "there is no option 'width'; it has no options"),
        ("alexnett:head=gap", "there is no network 'alexnett'; did you mean 'alexnet'"),
        ("resnet19", "there is no network 'resnet19'; did you mean 'resnet18'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_what_there_is(text: str, said: str) -> None:
    assert said in message(text)


def test_options_belong_to_the_architecture_of_a_checkpoint(tmp_path: Path) -> None:
    card = {"size": [96, 96], "classes": ["cat", "dog"]}
    network = untrained("alexnet:head=gap, width=0.1", card, seed=3)
    save_file(network.module.state_dict(), tmp_path / "mine.safetensors")
    again = load(tmp_path / "mine.safetensors", arch="alexnet:head=gap,width=0.1", preprocess=card)
    assert again.fingerprint == network.fingerprint
    assert load(**again.spec).fingerprint == again.fingerprint
    said = message(str(tmp_path / "mine.safetensors"), arch="alexnet:head=gap,width=0.2", preprocess=card)
    assert "the weights do not fit the architecture" in said


def test_options_stand_in_a_recipe() -> None:
    data: dict[str, Any] = {
        "epochs": 1, "batch_size": 8, "network": {"arch": "resnet18:stem=small,width=0.25"},
        "images": {"train": "digits:train", "val": "digits:test"}, "optimizer": {"kind": "sgd", "rate": 0.1},
    }  # fmt: skip
    assert Recipe.read(data, "mine").preprocess == zoo.ARCHITECTURES["resnet18"].preprocess
    data["network"] = {"arch": "resnet18:stem=tiny"}
    with pytest.raises((NetworkError, TrainingError), match="stem is 'tiny'; expected paper or small"):
        Recipe.read(data, "mine")


def test_the_weights_of_the_dioramas_network_are_drawn_in_the_order_of_those_that_come_with_convscope() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = nn.Linear(128 * 5 * 5, 384).weight
    assert torch.equal(load("dioramanet-fc").module.fc6.weight, expected)


# --- learning --------------------------------------------------------------------------------------------------------

SMALL = [
    "alexnet:norm=batch,width=0.1", "alexnet:width=0.1", "alexnet:head=gmp,norm=batch,width=0.1",
    "alexnet-one:norm=batch,width=0.1", "alexnet-star-gap:norm=batch,width=0.1", "zfnet:norm=batch,width=0.1",
    "zfnet-wide:norm=batch,width=0.1", "nin:norm=batch,width=0.1", "vgg11:width=0.1", "vgg16:norm=batch,width=0.1",
    "vgg19:head=gap,norm=batch,width=0.1", "googlenet:norm=batch,width=0.1", "googlenet:head=gap,norm=batch,width=0.1",
    "googlenet-torchvision:width=0.1", "resnet18:width=0.1", "resnet50:width=0.1",
]  # fmt: skip


def loss_and_gradients(net: nn.Module, images: Tensor, truth: Tensor) -> Tensor:
    net.zero_grad()
    loss = F.cross_entropy(net(images), truth)
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("name", SMALL)
def test_a_small_version_takes_a_step_downhill(name: str) -> None:
    """Every weight has a gradient, and a small step along all of them lowers the loss of the same images."""
    network = untrained(name, {"size": [96, 96], "classes": [str(i) for i in range(5)]})
    net = network.module.train()
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 96, 96, generator=generator)
    truth = torch.arange(10) % 5
    before = loss_and_gradients(net, images, truth)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in net.parameters()))  # type: ignore[union-attr]
    assert norm > 1e-4
    torch.optim.SGD(net.parameters(), 0.003 / norm).step()
    after = loss_and_gradients(net, images, truth)
    assert after < before < 10 * math.log(5)


LEARNING = [
    "alexnet:norm=batch,width=0.25", "alexnet-one:head=gap,norm=batch,width=0.25",
    "alexnet-star-gap:norm=batch,width=0.25", "zfnet:norm=batch,width=0.25", "nin:norm=batch,width=0.25",
    "vgg11:norm=batch,width=0.125", "googlenet:norm=batch,width=0.25", "googlenet-torchvision:width=0.25",
    "resnet18:width=0.25",
]  # fmt: skip


@pytest.fixture(scope="module")
def objects() -> tuple[Tensor, Tensor]:
    """2,000 images of the diorama (n, 3, 96, 96), and the indices of their classes."""
    images = open_images("diorama:objects/train")
    preprocess = zoo.ARCHITECTURES["dioramanet"].preprocess
    kinds = sorted(set(images.labels[:2000]))
    truth = torch.tensor([kinds.index(label) for label in images.labels[:2000]])
    return torch.stack([preprocess(images.read(i)) for i in range(2000)]), truth


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_a_small_version_learns_from_2000_images(name: str, objects: tuple[Tensor, Tensor]) -> None:
    """The mean loss of the fourth epoch is below that of the first, and well below that of a guess."""
    images, truth = objects
    net = untrained(name, {"size": [96, 96], "classes": [str(i) for i in range(24)]}).module.train()
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    means = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(4):
            losses = []
            for batch in torch.randperm(len(images)).split(20):
                losses.append(float(loss_and_gradients(net, images[batch], truth[batch])))
                optimizer.step()
            means.append(math.fsum(losses) / len(losses))
    assert means[-1] < min(means[0], math.log(24)) - 0.2
