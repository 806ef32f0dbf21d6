"""Fields of the field's networks against an oracle: the networks themselves, run on single bright rows and columns."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import positive
from convscope.geometry import Grid
from convscope.graph import Graph, LayerNode
from convscope.receptive_field import ReceptiveFields, receptive_fields
from convscope.recorder import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of other people's networks
    pytest.mark.usefixtures("one_thread", "torchvision"),
]

TORCHVISION = [
    "alexnet", "vgg11", "vgg16_bn", "googlenet", "inception_v3", "resnet18", "resnet50", "resnext50_32x4d",
    "wide_resnet50_2", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0",
    "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "efficientnet_b0", "regnet_y_400mf", "regnet_x_400mf",
    "convnext_tiny",
]  # fmt: skip
TIMM = [
    "resnetv2_50", "res2net50_26w_4s", "seresnet50", "legacy_seresnet18", "skresnet18", "dpn68", "dla34",
    "hrnet_w18_small", "ghostnet_100", "repvgg_a0", "xception41", "legacy_xception", "cspresnet50", "darknet53",
    "vovnet39a", "rexnet_100", "mixnet_s", "lcnet_050", "hardcorenas_a", "selecsls42b", "resnest14d", "ecaresnet26t",
    "gernet_s", "convnextv2_atto", "tf_efficientnet_b0", "resnetblur50", "tresnet_m", "mobileone_s0", "resnet50_gn",
    "inception_next_atto",
]  # fmt: skip
NAMES = [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in TIMM]


def make(name: str) -> nn.Module:
    """A network with random weights."""
    library, name = name.split(":")
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    if library == "timm":
        net: nn.Module = importlib.import_module("timm").create_model(name, pretrained=False)
    else:
        net = importlib.import_module("torchvision.models").get_model(name, weights=None, **options)
    return net.eval()


def followed(net: nn.Module, height: int, width: int) -> tuple[Graph, ReceptiveFields]:
    graph = record(net, torch.randn(1, 3, height, width))
    return graph, receptive_fields(graph)


def reached(net: nn.Module, images: Tensor, graph: Graph, *, gates: bool = True) -> list[np.ndarray]:
    """For every layer, (images, cells): whether the bright pixels of an image reach a cell."""
    found = []
    for output, layer in zip(positive.reach(net, images, gates=gates), graph.layers(), strict=True):
        found.append((output.amax(layer.channel) > 0).reshape(len(images), -1).numpy())
    return found


# --- exact fields, every cell of every layer -------------------------------------------------------------------------

SIZE, BATCH = 224, 56


def ends(net: nn.Module, graph: Graph, axis: int) -> list[np.ndarray]:
    """For every layer, (2, cells): the first pixel along an axis that reaches a cell, and the one after the last."""
    rows: list[list[np.ndarray]] = [[] for _ in graph.layers()]
    for start in range(0, SIZE, BATCH):
        images = torch.zeros(BATCH, 3, SIZE, SIZE)
        for i in range(BATCH):
            images[i].select(1 + axis, start + i).fill_(1)
        for row, found in zip(rows, reached(net, images, graph), strict=True):
            row.append(found)
    seen = (np.concatenate(row) for row in rows)
    return [np.where(each.any(0), (each.argmax(0), SIZE - each[::-1].argmax(0)), 0) for each in seen]


def boxes(grid: Grid) -> np.ndarray:
    """(4, cells): y0, y1, x0, x1 of each cell; 0 where it sees nothing."""
    rows, columns = grid.cells
    found = np.stack([
        grid.rows.low.repeat(columns), grid.rows.high.repeat(columns),
        np.tile(grid.columns.low, rows), np.tile(grid.columns.high, rows),
    ])  # fmt: skip
    return np.where((found[1] <= found[0]) | (found[3] <= found[2]), 0, found)


@pytest.mark.parametrize("name", NAMES)
def test_exact_fields(name: str) -> None:
    """Every cell of every convolution and linear layer, at 224 px."""
    net = make(name)
    graph, fields = followed(net, SIZE, SIZE)
    vertical, horizontal = ends(net, graph, 0), ends(net, graph, 1)
    for layer, *axes in zip(graph.layers(), vertical, horizontal, strict=True):
        np.testing.assert_array_equal(
            boxes(fields.grid(layer, "exact", at="output")), np.concatenate(axes), str(layer.address)
        )
    assert not fields.bounds
    assert not fields.exact_bounds


# --- convolutional fields, far from every border ---------------------------------------------------------------------

# Left out of the list: networks whose cells are not all alike (hrnet, which enlarges maps, so that neighbours see the
# same; resnest and gcnet, whose attention adds a context; resnet50_gn, whose statistics are not left out by the oracle;
# convnext, whose layer norms likewise), and linear layers and those of gates, which have no positions.
CENTRED = [
    "torchvision:alexnet", "torchvision:vgg16", "torchvision:googlenet", "torchvision:inception_v3",
    "torchvision:resnet18", "torchvision:resnet50", "torchvision:resnet152", "torchvision:resnext50_32x4d",
    "torchvision:densenet121", "torchvision:mobilenet_v2", "torchvision:mobilenet_v3_small", "torchvision:mnasnet1_0",
    "torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_0", "torchvision:efficientnet_b0",
    "torchvision:regnet_y_400mf", "timm:res2net50_26w_4s", "timm:seresnet50", "timm:dpn68", "timm:dla34",
    "timm:repvgg_a0", "timm:xception41", "timm:cspresnet50", "timm:darknet53", "timm:rexnet_100", "timm:mixnet_s",
    "timm:lcnet_050", "timm:selecsls42b", "timm:resnetblur50", "timm:tf_efficientnet_b0", "timm:tresnet_m",
]  # fmt: skip
THIN = {"torchvision:inception_v3": 96, "torchvision:alexnet": 96}  # px, where 64 are too few for the strides


def middle(layer: LayerNode, grid: Grid, axis: int) -> dict[int, tuple[int, int]]:
    """Two neighbouring cells in the middle of the map, and what the convolutional field says of them."""
    spans = (grid.rows, grid.columns)[axis]
    steps = spans.steps()
    assert steps is not None, layer.address
    place, other = len(spans) // 2, grid.cells[1 - axis] // 2
    found = {}
    for cell in (place, place + 1):
        start = int(steps.start + cell * steps.stride)
        assert 0 < start < start + steps.size < spans.extent, (layer.address, "the input is too small")
        assert grid.box(*((cell, other), (other, cell))[axis]).centre[axis] == start + (steps.size - 1) / 2
        found[cell * grid.cells[1] + other if axis == 0 else other * grid.cells[1] + cell] = (start, start + steps.size)
    return found


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize("name", CENTRED)
def test_convolutional_fields_in_the_middle_of_a_large_input(name: str, axis: int) -> None:
    """Of two cells of every layer: the first and the last pixel of the field reach it, and none before or after."""
    net = make(name)
    graph, fields = followed(net, 224, 224)
    largest = max(int((spans.high - spans.low).max()) for spans in _spans(graph, fields, axis))
    long, thin = math.ceil((2 * largest + 192) / 64) * 64, THIN.get(name, 64)
    size = (long, thin) if axis == 0 else (thin, long)
    graph, fields = followed(net, *size)
    wanted = {
        i: middle(layer, fields.grid(layer, at="output"), axis)
        for i, layer in enumerate(graph.layers())
        if _has_positions(layer, axis)
    }
    for low, high in sorted({interval for cells in wanted.values() for interval in cells.values()}):
        images = torch.zeros(4, 3, *size)
        for image, (first, last) in zip(
            images, ((0, low), (low, low + 1), (high - 1, high), (high, long)), strict=True
        ):
            image.narrow(1 + axis, first, last - first).fill_(1)
        found = reached(net, images, graph, gates=False)
        for i, cells in wanted.items():
            for cell in (cell for cell, interval in cells.items() if interval == (low, high)):
                assert found[i][:, cell].tolist() == [False, True, True, False], (str(graph.layers()[i].address), low)


def _has_positions(layer: LayerNode, axis: int) -> bool:
    return len(layer.shape) == 3 and layer.shape[1 + axis] > 3


def _spans(graph: Graph, fields: ReceptiveFields, axis: int) -> list[Any]:
    grids = (fields.grid(layer, at="output") for layer in graph.layers() if _has_positions(layer, axis))
    return [(grid.rows, grid.columns)[axis] for grid in grids]
