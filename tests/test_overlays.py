"""Where maps lie on images: the table of docs/correctness.md, on networks of torchvision and timm.

A map that is one in a single cell is laid over the image, as every map is. Its centre of mass there is compared with
the centre of what the cell sees, found by running the network itself on bright rows (`positive`), without any geometry:
on an image so long that no border is met, and by whole strides back from there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import convscope
from convscope.attribution import AttributionMap, GradCAM
from convscope.network import Network
from convscope.recorder import record
from positive import reach
from test_field_oracle import CENTRED, THIN

QUICK = {"torchvision:mobilenet_v2", "timm:lcnet_050"}
PAGE = (Path(__file__).parents[1] / "docs" / "correctness.md").read_text()

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread", "torchvision")]


def centres(module: nn.Module, layer: int, cells: tuple[int, int], long: int, thin: int) -> list[float]:
    """The middle between the first and the last row of the image that each of two rows of a layer's map sees."""
    searches = [(cell, last) for cell in cells for last in (False, True)]
    low, high = [-1] * len(searches), [long] * len(searches)  # the border is above the one, and not above the other
    while any(above - below > 1 for below, above in zip(low, high, strict=True)):
        rows = [(below + above) // 2 for below, above in zip(low, high, strict=True)]
        images = torch.zeros(len(searches), 3, long, thin)
        for image, row, (_, last) in zip(images, rows, searches, strict=True):
            (image[:, row:] if last else image[:, : row + 1]).fill_(1)
        lit = reach(module, images, gates=False)[layer].amax((1, 3)) > 0
        for i, (cell, last) in enumerate(searches):
            if bool(lit[i, cell]) != last:
                high[i] = rows[i]
            else:
                low[i] = rows[i]
    assert all(0 < above < long for above in high), "the image is too short"
    return [(high[i] + high[i + 1] - 1) / 2 for i in (0, 2)]


def seen(network: Network, cells: int, thin: int) -> NDArray[np.float64]:
    """(cells,): the centre of what each row of the last convolution's map sees, in rows of an image of usual size.

    It is that of columns too: the networks are the same along both.
    """
    module, size = network.module, network.preprocess.size[0]
    shapes = [layer.shape for layer in record(module, torch.randn(1, 3, size, size)).layers()]
    layer = max(i for i, shape in enumerate(shapes) if len(shape) == 3 and min(shape[1:]) > 1)
    long = size + 32 * 64
    middle = reach(module, torch.zeros(1, 3, long, thin), gates=False)[layer].shape[2] // 2
    here, below = centres(module, layer, (middle, middle + 1), long, thin)
    return here + (below - here) * (np.arange(cells) - middle)


def laid(found: AttributionMap, how: str) -> NDArray[np.float64]:
    """(cells, cells, 2): row and column of the centre of mass on the image of a map that is one in a cell."""
    cells = found.grid.cells
    ones = torch.eye(cells[0] * cells[1]).reshape(-1, 1, *cells)
    large = dataclasses.replace(found, values=ones).on_image(how).double()
    mass = large.sum((1, 2))
    at = [(large.sum(2 - axis) * torch.arange(large.shape[1 + axis])).sum(1) / mass for axis in (0, 1)]
    return torch.stack(at, 1).reshape(*cells, 2).numpy()


def offsets(name: str) -> tuple[tuple[int, int], float, float, float]:
    """Cells of the map, their stride, and how far ours and a naive resize are off at most, in pixels."""
    network = convscope.load(name)
    height, width = network.preprocess.size
    found = GradCAM()(network, torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)), 0)
    assert len(set(found.grid.cells)) == 1
    true = seen(network, found.grid.cells[0], THIN.get(name, 64))
    inner = [i for i in range(1, len(true) - 1) if true[i - 1] >= 0 and true[i + 1] <= height - 1]
    assert len(inner) >= 2
    off = []
    for how in ("field", "naive"):
        apart = laid(found, how) - np.stack(np.meshgrid(true, true, indexing="ij"), -1)
        off.append(float(np.abs(apart[np.ix_(inner, inner)]).max()))
    return found.grid.cells, true[1] - true[0], off[0], off[1]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CENTRED])
def test_the_overlay_is_where_the_cell_looks(name: str) -> None:
    cells, stride, ours, naive = offsets(name)
    assert ours <= 0.5
    assert f"| `{name}` | {cells[0]} × {cells[1]} | {stride:g} | {ours:.1f} | {naive:.1f} |" in PAGE
