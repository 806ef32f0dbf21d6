"""Receptive fields: against the support of the gradient, published tables, and detectors with a known place."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convscope.address import Layer
from convscope.capture import run
from convscope.geometry import Box, Grid, Steps
from convscope.receptive_field import receptive_fields
from convscope.recorder import _apart, _region, record
from odd_nets import ODD_NETS, Net, OddNet, conv

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)

# --- the oracle: which pixels have a gradient ------------------------------------------------------------------------

_LAYERS = {"conv2d", "conv_transpose2d", "linear", "matmul"}
_POINTWISE = {
    "relu", "threshold", "clamp", "clamp_min", "silu", "gelu", "hardswish", "hardtanh", "relu6", "leaky_relu", "prelu",
    "elu", "sigmoid", "tanh", "mish", "batch_norm", "local_response_norm",
}  # fmt: skip


def _whole(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """What a norm with statistics over `dims` is to the support of a gradient."""
    return x + x.sum(dims, keepdim=True)


def _pooled(x: Tensor, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False,
            **_: Any) -> Tensor:  # fmt: skip
    assert dilation in (1, (1, 1), [1, 1])
    return F.avg_pool2d(x, size, stride or size, padding, ceil_mode)


_POSITIVE: dict[str, Any] = {
    "max_pool2d": lambda x, *args, **kwargs: _pooled(x, *args, **kwargs),
    "group_norm": lambda x, *_, **__: _whole(x, (1, 2, 3)),
    "instance_norm": lambda x, *_, **__: _whole(x, (2, 3)),
    "layer_norm": lambda x, shape, *_, **__: _whole(x, tuple(range(-len(shape), 0))),
    "amax": lambda x, dims: x.sum(dims),
    "maximum": lambda x, y: x + y,
    "max": lambda x, y, keepdim=False: x + y if isinstance(y, Tensor) else (x.sum(y, keepdim=keepdim), None),
}


class Positive(TorchFunctionMode):
    """Makes a network of positive weights linear, with each window as it was, and keeps what its layers gave."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__.strip("_"), kwargs or {}
        if name in _POINTWISE:
            return args[0]
        result = _POSITIVE.get(name, func)(*args, **kwargs)
        if name in _LAYERS:
            self.outputs.append(result)
            return result.clone()  # so that nothing is written over the original
        return result


def supports(net: nn.Module, shape: tuple[int, int, int], channels: list[int], cells: int) -> list[list[Box | None]]:
    """For each layer, for each cell: the bounding box of the pixels that have a gradient, None where there are none.

    One image a cell: image i is only asked for cell i, so that one backward pass gives the gradients of all cells.
    """
    net = copy.deepcopy(net).double().requires_grad_(False)
    for parameter in net.parameters():
        parameter.fill_(1)
    pixels = torch.ones(cells, *shape, dtype=torch.float64, requires_grad=True)
    with Positive() as positive:
        net(pixels * 1)
    found = []
    for output, channel in zip(positive.outputs, channels, strict=True):
        places = output.sum(channel).reshape(cells, -1)
        gradient = torch.autograd.grad(places.diagonal().sum(), pixels, retain_graph=True)[0].abs().sum(1)
        found.append([_bounding_box(image) for image in gradient[: places.shape[1]]])
    return found


def _bounding_box(gradient: Tensor) -> Box | None:
    seen = gradient > 1e-9 * gradient.max()  # an interpolation between cells may leave 1e-17 of a cell it does not use
    if not seen.any():
        return None
    rows, columns = (seen.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)


def boxes(grid: Grid, clipped: bool = True) -> list[Box | None]:
    """The box of each cell, rows first; None where it is empty."""
    found = [grid.box(row, column) for row in range(grid.cells[0]) for column in range(grid.cells[1])]
    found = [box.clip(*grid.image) for box in found] if clipped else found
    return [box if box.height and box.width else None for box in found]


def holds(outer: Box | None, inner: Box | None) -> bool:
    if inner is None or outer is None:
        return inner is None
    return (outer.y0 <= inner.y0 and outer.x0 <= inner.x0) and (outer.y1 >= inner.y1 and outer.x1 >= inner.x1)


# Layers of which a grid of rows and columns cannot say what each cell sees, and the operation after which that is so:
# maps with different columns above each other, also where one is written into the other, and tokens in a row.
BOUNDED = {
    ("writes_a_part", "c"): "written_through", ("stacked_maps", "b"): "cat", ("stacked_maps", "c"): "cat",
    ("tokens", "norm_to"): "view",
}  # fmt: skip


@every_odd_net
def test_the_exact_field_is_the_support_of_the_gradient(odd: OddNet) -> None:
    net = odd.make()
    graph = record(net, odd.images(2))
    fields, layers = receptive_fields(graph), graph.layers()
    cells = max(math.prod(layer.shape[1:]) for layer in layers)
    expected = supports(net, odd.shape, [layer.channel for layer in layers], cells)
    for layer, support in zip(layers, expected, strict=True):
        key = odd.name, str(layer.address)
        found = boxes(fields.grid(layer, "exact", at="output"))
        assert fields.exact_bounds.get(layer.output) == BOUNDED.get(key)
        if key in BOUNDED:
            assert all(holds(*pair) for pair in zip(found, support, strict=True)), key
            assert found != support, f"{key} is exact, and need not be listed"
        else:
            assert found == support, key


# Where the convolutional field, cut off at the border, is not the exact one, and why.
NOT_ALIKE = {
    "squeeze_excite": "the gate is left out",
    "statistics_norms": "the statistics are left out",
    "dilated": "a window with its outer tap in the padding sees nothing between there and the next tap",
    "reflection_padding": "reflected pixels are real ones, which the padding of the other field is not",
}


@every_odd_net
def test_the_convolutional_field_is_the_exact_one_inside_the_image(odd: OddNet) -> None:
    graph = record(odd.make(), odd.images(1))
    fields = receptive_fields(graph)
    alike = [
        boxes(fields.grid(layer, "convolutional", at)) == boxes(fields.grid(layer, "exact", at))
        for layer in graph.layers()
        for at in ("output", "response")
    ]
    assert all(alike) == (odd.name not in NOT_ALIKE)


def test_the_convolutional_field_is_inside_the_exact_one_behind_a_gate() -> None:
    odd = ODD_NETS["squeeze_excite"]
    graph = record(odd.make(), odd.images(1))
    fields, last = receptive_fields(graph), graph.layer(Layer("last"))
    assert set(boxes(fields.grid(last, "exact"))) == {Box(0, 0, 12, 14)}
    assert fields.grid(last).rows.steps() == Steps(-2, 1.0, 5)
    assert fields.grid(last).columns.steps() == Steps(-2, 1.0, 5)
    # An added context is no gate.
    odd = ODD_NETS["added_context"]
    graph = record(odd.make(), odd.images(1))
    last = graph.layer(Layer("last"))
    assert set(boxes(receptive_fields(graph).grid(last))) == {Box(0, 0, 12, 14)}


CONVOLUTIONS = st.fixed_dictionaries({
    "kernel_size": st.tuples(st.integers(1, 4), st.integers(1, 4)), "stride": st.integers(1, 2),
    "padding": st.integers(0, 2), "dilation": st.integers(1, 2),
})  # fmt: skip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(CONVOLUTIONS, min_size=1, max_size=2), st.lists(CONVOLUTIONS, min_size=1, max_size=2))
def test_random_branches_against_the_oracle(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Two chains of any convolutions, cropped to the same size and added, and a convolution after that."""

    def chain(options: list[dict[str, Any]]) -> nn.Sequential:
        return nn.Sequential(*(nn.Conv2d(1, 1, **each) for each in options))

    def joined(net: Any, x: Tensor) -> Tensor:
        one, other = net.one(x), net.other(x)
        height, width = (min(pair) for pair in zip(one.shape[2:], other.shape[2:], strict=True))
        return net.last(one[:, :, :height, :width] + other[:, :, -height:, -width:])

    net, shape = Net(joined, one=chain(first), other=chain(second), last=conv(1, 1)), (1, 33, 29)
    graph = record(net, torch.randn(1, *shape))
    fields, last = receptive_fields(graph), graph.layers()[-1]
    cells = min(64, last.shape[1] * last.shape[2])
    channels = [layer.channel for layer in graph.layers()]
    found, support = boxes(fields.grid(last, "exact"))[:cells], supports(net, shape, channels, cells)[-1]
    assert all(holds(*pair) for pair in zip(found, support, strict=True))
    # Only where one branch sees nothing but padding is the hull of both no product of rows and columns.
    assert found == support or fields.exact_bounds[last.output] == "add"
    assert not fields.exact_bounds or any(_sees_padding_only(options) for options in first + second)


def _sees_padding_only(options: dict[str, Any]) -> bool:
    return options["padding"] > (min(options["kernel_size"]) - 1) * options["dilation"]


# --- published geometry ----------------------------------------------------------------------------------------------


class Plain(nn.Sequential):
    """A chain of named layers of one channel; behind each a convolution of one pixel, whose field is the layer's."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
            self.add_module(f"{name}_probe", nn.Conv2d(1, 1, 1))


def geometry(net: nn.Module, size: int, name: str) -> tuple[int, float, int, float]:
    """(field, jump, start, centre of cell 0) of a layer of a `Plain` network, as the tables have them."""
    graph = record(net, torch.randn(1, 1, size, size))
    grid = receptive_fields(graph).grid(graph.layer(Layer(f"{name}_probe")))
    assert grid.rows == grid.columns
    steps = grid.rows.steps()
    assert steps is not None
    return steps.size, steps.stride, steps.start, grid.box(0, 0).centre[0]


def pool(size: int, stride: int, **options: Any) -> nn.MaxPool2d:
    return nn.MaxPool2d(size, stride, **options)


def alexnet(padding: int) -> nn.Module:
    def c(size: int, stride: int = 1, padding: int = 0) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 1, size, stride, padding), nn.ReLU(inplace=True))

    return Plain(
        conv1=c(11, 4, padding), pool1=pool(3, 2), conv2=c(5, 1, 2), pool2=pool(3, 2), conv3=c(3, 1, 1),
        conv4=c(3, 1, 1), conv5=c(3, 1, 1), pool5=pool(3, 2),
    )  # fmt: skip


def vgg(*convolutions: int) -> nn.Module:
    layers: dict[str, nn.Module] = {}
    for block, count in enumerate(convolutions, start=1):
        layers |= {f"conv{block}_{i}": conv(1, 1) for i in range(1, count + 1)}
        layers[f"pool{block}"] = pool(2, 2)
    return Plain(**layers)


def inception() -> nn.Module:
    branches = {"a": conv(1, 1, 1), "b": nn.Sequential(conv(1, 1, 1), conv(1, 1)), "d": conv(1, 1, 1)}
    c = nn.Sequential(conv(1, 1, 1), nn.ReLU(), conv(1, 1, 5))
    return Net(
        lambda net, x: net.join(torch.cat([net.a(x), net.b(x), net.c(x), net.d(F.max_pool2d(x, 3, 1, 1))], 1)),
        **branches, c=c, join=nn.Conv2d(4, 1, 1),
    )  # fmt: skip


def googlenet() -> nn.Module:
    def down() -> nn.Module:
        return pool(3, 2, ceil_mode=True)

    layers: dict[str, nn.Module] = {"conv1": conv(1, 1, 7, stride=2), "pool1": down(), "conv2": conv(1, 1)}
    for stage, blocks in {"3": "ab", "4": "abcde", "5": "ab"}.items():
        layers[f"before{stage}"] = down()
        layers |= {f"inception{stage}{block}": inception() for block in blocks}
    return Plain(**layers)


def resnet18() -> nn.Module:
    def block(stride: int) -> nn.Module:
        return Net(
            lambda net, x: F.relu(net.b(F.relu(net.a(x))) + net.down(x)),
            a=conv(1, 1, stride=stride), b=conv(1, 1), down=conv(1, 1, 1, stride=stride),
        )  # fmt: skip

    blocks = {f"block{i}": block(2 if i in (2, 4, 6) else 1) for i in range(8)}
    return Plain(conv1=conv(1, 1, 7, stride=2), pool1=pool(3, 2, padding=1), **blocks)


ALEXNET = {
    "conv1": (11, 4, 0, 5), "pool1": (19, 8, 0, 9), "conv2": (51, 8, -16, 9), "pool2": (67, 16, -16, 17),
    "conv3": (99, 16, -32, 17), "conv4": (131, 16, -48, 17), "conv5": (163, 16, -64, 17), "pool5": (195, 32, -64, 33),
}  # fmt: skip
TORCHVISION_ALEXNET = {"conv1": (11, 4, -2, 3), "conv5": (163, 16, -66, 15), "pool5": (195, 32, -66, 31)}
VGG16 = {"conv5_3": (196, 16, -90, 7.5), "pool5": (212, 32, -90, 15.5)}
VGG19 = {"conv5_4": (252, 16, -118, 7.5), "pool5": (268, 32, -118, 15.5)}
GOOGLENET = {"inception3b": (91, 8, -39, 6), "inception4e": (427, 16, -199, 14), "inception5b": (715, 32, -327, 30)}


@pytest.mark.parametrize(
    ("net", "size", "table"),
    [
        pytest.param(alexnet(0), 227, ALEXNET, id="alexnet"),
        pytest.param(alexnet(2), 224, TORCHVISION_ALEXNET, id="torchvision alexnet"),
        pytest.param(vgg(2, 2, 3, 3, 3), 224, VGG16, id="vgg16"),
        pytest.param(vgg(2, 2, 4, 4, 4), 224, VGG19, id="vgg19"),
        pytest.param(googlenet(), 224, GOOGLENET, id="googlenet"),
        pytest.param(resnet18(), 224, {"block7": (435, 32, -217, 0)}, id="resnet18"),
    ],
)
def test_published_geometry(net: nn.Module, size: int, table: dict[str, tuple[int, float, int, float]]) -> None:
    """METHODS 2.11: field, jump, start and centre."""
    assert {name: geometry(net, size, name) for name in table} == table


def test_two_small_windows_are_one_large_one() -> None:
    fields = {name: geometry(net, 30, name) for name, net in {
        "two": Plain(one=conv(1, 1), two=conv(1, 1)), "large": Plain(large=conv(1, 1, 5)),
        "dilated": Plain(dilated=conv(1, 1, dilation=2, padding=2)),
    }.items()}  # fmt: skip
    assert fields["two"] == fields["large"] == fields["dilated"] == (5, 1, -2, 0)


# --- detectors with a known place ------------------------------------------------------------------------------------


def wire_detectors(net: nn.Module) -> None:
    """Every convolution passes the middle of its window on, the two middle ones where its size is even."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 2:
            parameter.fill_(1)
        elif parameter.ndim == 4:
            rows, columns = (slice((size - 1) // 2, size // 2 + 1) for size in parameter.shape[2:])
            parameter.zero_()[:, :, rows, columns] = 1
        else:
            parameter.zero_()


# Nets of convolutions, rectifiers and poolings, in which a unit that looks at the middle of its windows looks at the
# middle of its field: branches have the same centre there, and nothing is enlarged to an even number of cells.
DETECTORS = ["single_conv", "inplace_relu", "functional_relu", "dense", "inception", "called_twice", "even_kernels",
             "asymmetric_padding", "ceil_pooling", "dilated", "grouped", "cropped", "linear_on_a_permuted_map",
             "tuple_output", "frozen"]  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_the_centre_of_a_field_is_where_a_detector_looks(name: str) -> None:
    """One bright pixel goes over the image; the pixels that excite a unit most lie around the centre of its box."""
    odd = ODD_NETS[name]
    net = odd.make()
    wire_detectors(net)
    graph = record(net, odd.images(1))
    fields, (_, height, width) = receptive_fields(graph), odd.shape
    spots = torch.eye(height * width).reshape(-1, 1, height, width).expand(-1, odd.shape[0], -1, -1)
    checked = 0
    for layer in graph.layers():
        values: list[Tensor] = []
        with torch.no_grad():
            run(net, spots, graph, {layer.response: lambda value, values=values: values.append(value.clone())})
        response = values[0].movedim(layer.channel, 1).sum(1)
        grid = fields.grid(layer)
        for row in range(grid.cells[0]):
            for column in range(grid.cells[1]):
                box = grid.box(row, column)
                if box != box.clip(height, width):  # near the border half of the middle may be missing
                    continue
                brightest = (response[:, row, column] == response[:, row, column].max()).nonzero().flatten()
                found = (brightest // width).double().mean(), (brightest % width).double().mean()
                assert max(abs(a - b) for a, b in zip(found, box.centre, strict=True)) <= 0.5, (layer.address, box)
                assert 0 < len(brightest) < height * width
                checked += 1
    assert checked > 0


# --- operations without a rule ---------------------------------------------------------------------------------------


def test_an_unknown_operation_is_taken_to_see_everything_and_is_named() -> None:
    def patches(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(F.relu(net.b(F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1))))

    net = Net(patches, a=conv(3, 4), b=conv(4, 4), c=conv(4, 2))
    graph = record(net, torch.randn(1, 3, 9, 11))
    fields, (a, b, c) = receptive_fields(graph), graph.layers()
    assert set(boxes(fields.grid(b, "exact"))) == set(boxes(fields.grid(c, "exact"))) == {Box(0, 0, 9, 11)}
    assert set(boxes(fields.grid(b))) == {Box(0, 0, 9, 11)}
    assert [fields.bounds.get(layer.output) for layer in (a, b, c)] == [None, "col2im", "col2im"]
    assert fields.bounds == fields.exact_bounds
    assert fields.grid(a).rows.steps() == Steps(-1, 1.0, 3)


@pytest.mark.parametrize(
    ("blame", "reorder"),
    [
        ("add", lambda x: x + x.transpose(2, 3)),
        ("index", lambda x: x[:, :, torch.arange(8).flip(0)]),
        ("view", lambda x: x.view(-1, 3, 64).roll(13, 2).view(x.shape)),
        ("as_strided", lambda x: x.as_strided(x.shape, (192, 64, 1, 8))),
    ],
)
def test_what_cannot_be_followed_is_a_bound_and_named(blame: str, reorder: Any) -> None:
    """Never a wrong field: a box around it, and the name of what moved the pixels about."""
    net = Net(lambda net, x: net.a(reorder(x)), a=conv(3, 2))
    graph = record(net, torch.randn(1, 3, 8, 8))
    fields, (layer,) = receptive_fields(graph), graph.layers()
    assert fields.exact_bounds[layer.output] == blame
    (support,) = supports(net, (3, 8, 8), [1], 64)
    found = boxes(fields.grid(layer, "exact"))
    assert all(holds(*pair) for pair in zip(found, support, strict=True))
    assert found != support


def _written(x: Tensor, write: Any) -> Tensor:
    x = x.clone()
    write(x)
    return x


def _assign(targets: list[Tensor], maps: list[Tensor]) -> None:
    for target, each in zip(targets, maps, strict=True):
        target.copy_(each)


MOVED = {
    "rolled as one row": lambda x: torch.stack([each.roll(12 * 8) for each in x]),
    "halves swapped": lambda x: torch.cat(x.split([8, 4], dim=3)[::-1], 3),
    "blocks mirrored": lambda x: x.view(-1, 4, 4, 2, 12).flip(3).reshape(x.shape),
    "space to depth": lambda x: F.pixel_shuffle(
        x.view(-1, 4, 4, 2, 6, 2).permute(0, 3, 5, 1, 2, 4).reshape(-1, 16, 4, 6)[:, 4:8], 2
    ),
    "space to depth by slices": lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1)[:, 3:7],
    "windows and back": lambda x: (
        x.view(-1, 4, 2, 4, 3, 4).transpose(3, 4).contiguous().transpose(3, 4).reshape(x.shape)
    ),
    "known indices": lambda x: x[:, :, torch.tensor([5, 0, 3, 3])],
    "known indices of two dimensions": lambda x: x[:, :, torch.tensor([[5], [2]]), torch.tensor([[1, 7, 4]])],
    "one of the channels that were joined": lambda x: torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], 1)[:, :4],
    "split after joining": lambda x: torch.cat([F.avg_pool2d(x, 3, 1, 1), x], 1).chunk(2, 1)[1],
    "tokens and back": lambda x: x.flatten(2).transpose(1, 2).transpose(1, 2).reshape(x.shape),
    "unfolded": lambda x: x.unfold(2, 3, 2).amax(-1),
    "columns of windows": lambda x: F.unfold(x, (3, 2), padding=1, stride=2).view(-1, 4, 6, 4, 7).sum(2),
    "rolled windows": lambda x: x.roll((1, 2), (2, 3)).view(-1, 4, 2, 4, 3, 4).sum(3).repeat(1, 1, 1, 1, 2).flatten(3),
    "a row of zeros written": lambda x: _written(x, lambda y: y[:, :, :2].zero_()),
    "every second row written": lambda x: _written(x.new_zeros(x.shape), lambda y: y[:, :, ::2].copy_(x[:, :, :4])),
    "written through two views": lambda x: _written(
        x.flip(2), lambda y: _assign([y[:, :, :3], y[:, :, 3:]], [x[:, :, 5:], x[:, :, :5]])
    ),
    "one row written": lambda x: _written(x, lambda y: y[:, :, 3].copy_(x[:, :, 6])),
    "all channels of a few rows written": lambda x: _written(x, lambda y: y[:, 1:, 2:6].copy_(x[:, 1:, 4:8])),
    "a view of what is written": lambda x: (lambda y: (lambda part: (y.copy_(x.flip(2)), part)[1])(y[:, :, 2:7]))(
        torch.zeros_like(x)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_moved_pixels_are_followed_exactly(name: str) -> None:
    """Through any views, slices and writes, each cell of the map and each of its channels."""
    net = Net(lambda net, x: net.b(MOVED[name](net.a(x))), a=conv(3, 4), b=nn.LazyConv2d(3, 3, padding=1))
    images = torch.randn(2, 3, 8, 12)
    net(images)
    graph = record(net, images)
    fields, (_, last) = receptive_fields(graph), graph.layers()
    support = supports(net, (3, 8, 12), [1, 1], max(96, last.shape[1] * last.shape[2]))[1]
    assert not fields.exact_bounds
    assert boxes(fields.grid(last, "exact")) == support


SLICES = st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(1, n), st.integers(1, 2)) for n in (2, 3, 6, 7)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SLICES, SLICES, st.booleans())
def test_where_a_view_lies_in_another_one(one: Any, other: Any, permuted: bool) -> None:
    base = torch.arange(2 * 3 * 6 * 7).view(2, 3, 6, 7)
    views = [base[tuple(slice(a, max(a + 1, b), step) for a, b, step in each)] for each in (one, other)]
    if permuted:
        views = [view.transpose(1, 3) for view in views]
    common = set(views[0].flatten().tolist()) & set(views[1].flatten().tolist())
    assert not (common and _apart(*views))
    for part, whole in (views, (views[0], base), (views[1][:, 0], base)):
        region = _region(part, whole)
        assert region is not None or whole is not base
        if region is not None:
            counts = [1 if dim is None else part.shape[dim] for _, _, dim in region]
            cut = whole[tuple(slice(a, a + step * n, step) for (a, step, _), n in zip(region, counts, strict=True))]
            assert sorted(cut.flatten().tolist()) == sorted(part.flatten().tolist())


def test_a_layer_that_does_not_see_the_image_has_no_grid() -> None:
    """Its input has the shape of the image only, so that it is a constant, and no layer."""
    graph = record(Net(lambda net, x: net.b(x) + net.a(torch.ones_like(x)), a=conv(3, 2), b=conv(3, 2)),
                   torch.randn(1, 3, 8, 8))  # fmt: skip
    (layer,) = graph.layers()
    assert layer.address == Layer("b")
    constant = next(node for node in graph.nodes if node.module[0] == "a" and node.op == "convolution")
    assert constant.outputs[0] not in receptive_fields(graph).exact
