"""Filters: weights out of a graph, how they are shown, their colour and their frequencies [METHODS 1.3, 1.4, 3]."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convscope.constants import constant
from convscope.filters import colour, display
from convscope.filters.weights import Weights, in_pixels, weights
from convscope.preprocess import Preprocess
from convscope.recorder import record
from odd_nets import ODD_NETS, Net, OddNet


def taken(module: nn.Module, shape: tuple[int, ...], index: int = 0) -> Weights | None:
    """The filters of a network's layer number `index`."""
    graph = record(module.eval(), torch.rand(2, *shape))
    return weights(graph, graph.layers()[index])


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
def test_filters_predict_how_a_change_of_one_input_channel_is_answered(odd: OddNet):
    """Whatever the layer is: of a linear map, the column of a channel is what is added when that channel grows."""
    module = odd.make()
    graph = record(module, odd.images(2))
    for layer in graph.layers():
        found = weights(graph, layer)
        assert found is not None
        assert len(found.slices) == len(found.channels) == layer.units
        assert found.channels.shape == found.slices.shape[:2]
        node = graph.nodes[layer.node]
        name = {"addmm": "mat1", "mm": "self"}.get(node.op, "input")
        data = graph.shapes[node.arguments[name].value]
        assert found.channels.max() == (data[1] if "conv" in layer.kind else data[-1]) - 1
        if node.op != "convolution" or node.arguments["transposed"]:
            continue
        kernel = torch.zeros(layer.units, data[1], *found.slices.shape[2:])
        for unit in range(layer.units):  # the convolution without groups that does the same
            kernel[unit, found.channels[unit]] = torch.from_numpy(found.slices[unit])
        images = torch.randn(data, generator=torch.Generator().manual_seed(1))
        options = {name: node.arguments[name] for name in ("stride", "padding", "dilation")}
        original = constant(graph, node.arguments["weight"].value)
        expected = F.conv2d(images, original, groups=node.arguments["groups"], **options)
        torch.testing.assert_close(F.conv2d(images, kernel, **options), expected)


def test_a_transposed_convolution_paints_its_slices():
    module = nn.ConvTranspose2d(4, 6, (3, 2), groups=2, bias=False)
    found = taken(module, (4, 5, 5))
    assert found is not None
    assert found.channels.tolist() == [[0, 1]] * 3 + [[2, 3]] * 3
    for channel in range(4):
        delta = torch.zeros(1, 4, 1, 1)
        delta[0, channel] = 1
        painted = module(delta)[0].detach().numpy()
        for unit in range(6):
            place = np.flatnonzero(found.channels[unit] == channel)
            expected = found.slices[unit, place[0]] if len(place) else np.zeros((3, 2))
            np.testing.assert_array_equal(painted[unit], expected)


@pytest.mark.parametrize(
    ("prepare", "first"),
    [
        (lambda x: x, True),
        (lambda x: x.clone().contiguous(memory_format=torch.channels_last), True),
        (lambda x: F.pad(x, (1, 2, 0, 1)), True),
        (lambda x: F.pad(x[:, :, 1:], (1, 1, 1, 1), mode="reflect"), True),
        (lambda x: (x - 0.5) / 0.2, False),
        (lambda x: x[:, [2, 1, 0]], False),
        (lambda x: x.flip(1), False),
        (lambda x: F.relu(x), False),
        (lambda x: F.avg_pool2d(x, 2), False),
    ],
)
def test_a_first_layer_sees_the_image_itself(prepare, first):
    found = taken(Net(lambda net, x: net.conv(prepare(x)), conv=nn.Conv2d(3, 4, 3)), (3, 8, 8))
    assert found is not None
    assert found.first == first


def test_a_linear_layer_on_the_image_has_filters_of_its_size():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2), nn.ReLU(), nn.Linear(2, 3))
    found, second = taken(module, (3, 4, 5)), taken(module, (3, 4, 5), 1)
    assert found is not None
    assert found.first
    assert found.slices.shape == (2, 3, 4, 5)
    image = torch.rand(1, 3, 4, 5)
    answer = (found.slices * image.numpy()).sum((1, 2, 3)) + module[1].bias.detach().numpy()
    np.testing.assert_allclose(answer, module[1](image.flatten(1))[0].detach(), rtol=1e-5)
    assert second is not None
    assert not second.first
    assert second.slices.shape == (3, 2, 1, 1)
    turned = Net(lambda net, x: net.head(x.transpose(2, 3).flatten(1)), head=nn.Linear(60, 2))
    found = taken(turned, (3, 4, 5))
    assert found is not None
    assert not found.first  # its pixels are in another order


class Standardised(nn.Conv2d):
    """A convolution whose weights are computed anew each time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / std)


def test_computed_weights_are_computed_again():
    module = Standardised(3, 4, 3)
    found = taken(module, (3, 8, 8))
    assert found is not None
    values = module.weight.detach().numpy().reshape(4, -1)
    expected = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True, ddof=1)
    np.testing.assert_allclose(found.slices.reshape(4, -1), expected, rtol=1e-4, atol=1e-6)


def test_weights_that_were_written_in_place_are_none():
    def run(net, x):
        kernel = torch.zeros(2, 3, 3, 3)
        kernel[:, 0] = 1
        return F.conv2d(x, kernel)

    assert taken(Net(run), (3, 8, 8)) is None


def test_kernels_of_three_dimensions_are_no_pictures():
    assert taken(Net(lambda net, x: net.conv(x[:, None]), conv=nn.Conv3d(1, 2, 3)), (3, 8, 8)) is None


def test_a_running_statistic_that_weights_are_made_with_stays_as_it_is():
    norm = nn.BatchNorm2d(4)

    def run(net, x):
        batch = F.batch_norm(net.kernel.transpose(0, 1), net.norm.running_mean, net.norm.running_var, training=True)
        return F.conv2d(x, batch.transpose(0, 1))

    module = Net(run, norm=norm, kernel=nn.Parameter(torch.randn(4, 3, 3, 3)))
    graph = record(module.eval(), torch.rand(2, 3, 8, 8))
    before = module.norm.running_mean.clone()
    assert weights(graph, graph.layers()[0]) is not None
    assert torch.equal(module.norm.running_mean, before)


def test_colours_are_in_rgb_order_and_divided_by_the_standard_deviation():
    slices = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    found = Weights(slices, np.tile(np.arange(3), (2, 1)), True)
    bgr = in_pixels(found, Preprocess((8, 8), std=(1.0, 2.0, 4.0), channels="BGR"))
    for place, channel in enumerate((2, 1, 0)):
        np.testing.assert_array_equal(bgr.slices[:, place], slices[:, channel] / (1, 2, 4)[channel])
    assert bgr.channels.tolist() == [[2, 1, 0]] * 2
    rgb = in_pixels(found, Preprocess((8, 8), std=(0.5,)))
    np.testing.assert_array_equal(rgb.slices, slices * 2)
    grey = in_pixels(Weights(slices[:, :1], np.zeros((2, 1), int), True), Preprocess((8, 8), std=(4.0,), channels="L"))
    np.testing.assert_array_equal(grey.slices, slices[:, :1] / 4)


def test_with_groups_each_filter_is_divided_by_the_standard_deviation_of_what_it_sees():
    found = taken(nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8))
    assert found is not None
    divided = in_pixels(found, Preprocess((8, 8), mean=(0.0,) * 4, std=(1.0, 2.0, 4.0, 8.0), channels=4))
    np.testing.assert_array_equal(divided.slices, found.slices / np.array([1, 2, 4, 8])[:, None, None, None])


def test_strongest_slices_equal_a_sort():
    rng = np.random.default_rng(0)
    slices = rng.normal(size=(5, 12, 3, 3)).astype(np.float32)
    slices[:, 7] = slices[:, 2]  # equal ones in their order
    found = Weights(slices, np.tile(np.arange(12) + 100, (5, 1)), False).strongest(4)
    for unit in range(5):
        norms = [float(np.linalg.norm(each.astype(np.float64))) for each in slices[unit]]
        expected = sorted(range(12), key=lambda i: (-np.float32(norms[i]), i))[:4]
        assert (found.channels[unit] - 100).tolist() == expected
        np.testing.assert_array_equal(found.slices[unit], slices[unit, expected])


# --- display ---------------------------------------------------------------------------------------------------------


def test_minmax_does_not_see_an_affine_map():
    template = np.random.default_rng(0).normal(size=(3, 5, 5))
    filters = np.stack([template, 7.5 * template + 3, 0.001 * template - 9])
    shown = display.to_bytes(display.minmax(filters, each=1))
    np.testing.assert_array_equal(shown[1], shown[0])
    np.testing.assert_array_equal(shown[2], shown[0])
    assert (shown[0].min(), shown[0].max()) == (0, 255)


def test_scaling_one_filter_changes_one_tile_or_all():
    filters = np.random.default_rng(0).normal(size=(4, 3, 5, 5))
    scaled = filters.copy()
    scaled[2] *= 10
    for normalise in (display.minmax, display.sym):
        np.testing.assert_allclose(normalise(scaled, each=1), normalise(filters, each=1))
        together, before = normalise(scaled), normalise(filters)
        assert all(not np.allclose(together[i], before[i]) for i in range(4))


def test_normalisers_by_their_definitions():
    v = np.array([[-2.0, 0.0], [1.0, 6.0]])
    np.testing.assert_allclose(display.minmax(v), [[0, 0.25], [3 / 8, 1]])
    np.testing.assert_allclose(display.sym(v), [[0.5 - 2 / 12, 0.5], [0.5 + 1 / 12, 1]])
    np.testing.assert_allclose(display.pos(v), [[0, 0], [1 / 6, 1]])


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_constant_array_is_a_constant_picture(value):
    constant = np.full((2, 3, 3), value)
    assert (display.minmax(constant) == 0).all()
    assert (display.pos(constant) == (value > 0)).all()
    assert (display.sym(constant) == 0.5 + np.sign(value) / 2).all()


def test_numbers_that_are_none_leave_a_picture():
    v = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    for normalise in (display.minmax, display.sym, display.pos):
        shown = normalise(v)
        assert np.isfinite(shown).all()
        assert ((shown >= 0) & (shown <= 1)).all()


def test_grids_place_tiles_in_rows():
    tiles = np.arange(1, 6, dtype=np.float64)[:, None, None] * np.ones((5, 2, 3))
    picture = display.grid(tiles, gap=1, background=9)
    assert picture.shape == (2 * 3 - 1, 3 * 4 - 1)  # ceil(sqrt(5)) = 3 columns
    for index in range(5):
        y, x = index // 3 * 3, index % 3 * 4
        assert (picture[y : y + 2, x : x + 3] == index + 1).all()
        picture[y : y + 2, x : x + 3] = 9
    assert (picture == 9).all()
    np.testing.assert_array_equal(display.grid(tiles[:1]), tiles[0])
    assert display.grid(tiles[:0]).size == 0


def test_magnified_pixels_are_squares():
    tile = np.random.default_rng(0).random((1, 3, 4, 3))
    np.testing.assert_array_equal(display.magnify(tile, 3)[0, ::3, ::3], tile[0])
    np.testing.assert_array_equal(display.magnify(tile, 3), np.kron(tile, np.ones((1, 3, 3, 1))))


@pytest.mark.parametrize("alone", [True, False])
def test_grids_of_torchvision(torchvision, alone):
    """make_grid lays a frame around the grid and is told the number of columns; else it is the same."""
    from torchvision.utils import make_grid

    filters = np.random.default_rng(0).normal(size=(10, 3, 5, 7)).astype(np.float32)
    expected = make_grid(torch.from_numpy(filters), nrow=4, padding=1, normalize=True, scale_each=alone)
    shown = display.minmax(filters, each=1 if alone else 0).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(
        display.grid(shown, columns=4), expected.numpy().transpose(1, 2, 0)[1:-1, 1:-1], atol=2e-5
    )


# --- colour and frequency --------------------------------------------------------------------------------------------


def test_colour_ratio_of_grey_and_of_pure_colour():
    pattern = np.random.default_rng(0).normal(size=(7, 7))
    grey = np.stack([pattern] * 3)
    pure = np.stack([pattern, -pattern / 2, -pattern / 2])
    filters = np.stack([grey, pure, grey + pure, np.zeros_like(grey)]).astype(np.float32)
    # Of the sum: |grey|² = 3 p², |pure|² = 1.5 p², and they are orthogonal.
    np.testing.assert_allclose(colour.colour_ratio(filters), [0, 1, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(colour.colour_ratio(filters * -1e-30), colour.colour_ratio(filters), atol=1e-6)


def test_colour_ratio_by_projection():
    filters = np.random.default_rng(0).normal(size=(6, 3, 4, 5)).astype(np.float32)
    axis = np.ones(3) / math.sqrt(3)
    for unit, ratio in enumerate(colour.colour_ratio(filters)):
        grey = sum((filters[unit, :, y, x] @ axis) ** 2 for y in range(4) for x in range(5))
        assert ratio == pytest.approx(1 - grey / float((filters[unit].astype(np.float64) ** 2).sum()), abs=1e-6)


@pytest.mark.parametrize("cycles", [4 / 32, 8 / 32, 12 / 32])
def test_dominant_frequency_of_a_grating(cycles):
    x = np.arange(16) - 7.5
    grating = np.cos(2 * np.pi * cycles * x)[None] * np.exp(-(x[:, None] ** 2 + x**2) / 30)
    filters = np.stack([np.stack([grating] * 3), np.stack([grating.T] * 3)]).astype(np.float32)
    np.testing.assert_allclose(colour.dominant_frequency(filters), cycles, atol=1.01 / 32)
    np.testing.assert_array_equal(colour.dominant_frequency(-5 * filters), colour.dominant_frequency(filters))


def test_dominant_frequency_by_its_definition():
    filters = np.random.default_rng(0).normal(size=(4, 2, 5, 6)).astype(np.float32)
    for unit, found in enumerate(colour.dominant_frequency(filters)):
        rings: dict[int, float] = {}
        power = np.zeros((32, 32))
        for each in filters[unit].astype(np.float64):
            power += np.abs(np.fft.fft2(each - each.mean(), s=(32, 32))) ** 2
        for u in range(32):
            for v in range(32):
                radius = math.hypot(min(u, 32 - u), min(v, 32 - v))
                rings[round(radius)] = rings.get(round(radius), 0) + power[u, v]
        assert found == max(rings, key=rings.__getitem__) / 32
    assert colour.dominant_frequency(np.ones((1, 3, 5, 5), np.float32)).tolist() == [0]


def test_spectrum_by_its_definition():
    filters = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    found = colour.spectrum(filters)
    assert found.shape == (2, 32, 32)
    y, x = np.mgrid[:5, :4]
    for unit in range(2):
        amplitude = np.zeros((32, 32))
        for u in range(-16, 16):
            for v in range(-16, 16):
                wave = np.exp(-2j * np.pi * (u * y + v * x) / 32)
                amplitude[u + 16, v + 16] = math.sqrt(sum(abs((each * wave).sum()) ** 2 for each in filters[unit]))
        expected = np.maximum(np.log10(amplitude / amplitude.max()), -3)
        np.testing.assert_allclose(found[unit], expected, atol=1e-4)
    assert (colour.spectrum(np.zeros((1, 3, 5, 5), np.float32)) == -3).all()
    assert colour.spectrum(np.ones((1, 1, 40, 36), np.float32)).shape == (1, 40, 36)
