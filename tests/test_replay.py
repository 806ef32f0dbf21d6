"""Graphs run again with windows of the image changed: the same as running the network on each changed image."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convscope import capture, replay
from convscope.crops import Patches, Places, by_position, cut
from convscope.errors import CaptureError
from convscope.reach import MOST, Reach, batches
from convscope.recorder import record
from convscope.replay import Replay
from odd_nets import ODD_NETS, Net, OddNet, conv

pytestmark = pytest.mark.usefixtures("one_thread")

Boxes = np.ndarray[Any, np.dtype[np.int64]]


def windows_of(height: int, width: int) -> Boxes:
    """Windows on a grid that does not divide the image, in all corners, of a pixel, and all of it."""
    grid = [(y, x, y + 3, x + 4) for y in range(0, height - 2, 4) for x in range(0, width - 3, 5)]
    corners = [(y, x, y + 2, x + 2) for y in (0, height - 2) for x in (0, width - 2)]
    return np.array([*grid, *corners, (height // 2, 1, height // 2 + 1, 2), (0, 0, height, width)], np.int64)


def tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


@torch.no_grad()
def by_loop(net: nn.Module, image: Tensor, boxes: Boxes, content: Tensor) -> list[list[Tensor]]:
    """The definition: what the network gives for each changed image."""
    found = []
    for y0, x0, y1, x1 in boxes:
        changed = image.clone()
        changed[:, y0:y1, x0:x1] = content
        found.append(tensors(net(changed[None])))
    return found


def replayed(again: Replay, image: Tensor, boxes: Boxes, content: Tensor, batch: int = 7) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    seen: list[int] = []
    for numbers, values in again.windows(image, boxes, content, batch):
        seen += numbers.tolist()
        for value, tensor in values.items():
            rows = tensor.reshape(len(numbers), *again.graph.shapes[value])
            found.setdefault(value, rows.new_empty(len(boxes), *rows.shape[1:]))[torch.from_numpy(numbers)] = rows
    assert sorted(seen) == list(range(len(boxes)))
    return found


def check(net: nn.Module, image: Tensor, boxes: Boxes | None = None, tolerance: float = 1e-10) -> Replay:
    """A replay of all outputs, after it was found to do the same as the loop."""
    boxes = windows_of(*image.shape[1:]) if boxes is None else boxes
    other = torch.randn(image.shape, generator=torch.Generator().manual_seed(9), dtype=image.dtype)
    content = torch.linspace(-1, 2, len(image), dtype=image.dtype)[:, None, None]
    graph = record(net, other[None])
    again = Replay(net, graph, graph.outputs)
    for each in (other, image):  # the second must not see anything of the first
        found = replayed(again, each, boxes, content)
        for number, truths in enumerate(by_loop(net, each, boxes, content)):
            for value, truth in zip(graph.outputs, truths, strict=True):
                torch.testing.assert_close(
                    found[value][number],
                    truth,
                    rtol=0,
                    atol=tolerance * float(truth.abs().max()),
                    msg=str(boxes[number]),
                )
    return again


# --- every network ---------------------------------------------------------------------------------------------------

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)


@every_odd_net
def test_it_is_the_same_as_the_loop(odd: OddNet) -> None:
    check(odd.make(), odd.images(1, seed=1)[0], tolerance=1e-5)
    check(odd.make().double(), odd.images(1, seed=1)[0].double())


@every_odd_net
def test_the_responses_of_all_layers(odd: OddNet) -> None:
    net, image = odd.make().double(), odd.images(1, seed=1)[0].double()
    graph = record(net, image[None])
    values = list(dict.fromkeys(layer.response for layer in graph.layers()))
    boxes, content = windows_of(*odd.shape[1:])[::3], torch.zeros(odd.shape[0], 1, 1)
    found = replayed(Replay(net, graph, values), image, boxes, content)
    for number, (y0, x0, y1, x1) in enumerate(boxes):
        changed = image.clone()
        changed[:, y0:y1, x0:x1] = 0
        seen: dict[int, Tensor] = {}
        taps = {value: replay._keeping(seen, value) for value in values}
        with torch.no_grad():
            capture.run(net, changed[None], graph, taps)
        for value, truth in seen.items():
            torch.testing.assert_close(found[value][number], truth, rtol=0, atol=1e-10 * float(truth.abs().max()))


def check_readings(net: nn.Module, image: Tensor, values: list[int], share: float) -> Replay:
    """A share of the numbers of some maps, read, is what stands in these maps."""
    graph, generator = record(net, image[None]), np.random.default_rng(4)
    again, boxes, content = Replay(net, graph, values), windows_of(*image.shape[1:]), torch.rand(len(image), 1, 1)
    truth = replayed(again, image, boxes, content)
    cells = []
    for value in [*values, values[-1]]:  # the last one twice
        count = truth[value][0].numel()
        cells.append((value, generator.choice(count, max(1, round(share * count)), replace=False)))
    seen = []
    for numbers, found in again.readings(image, boxes, content, cells, batch=7):
        seen += numbers.tolist()
        for (value, places), each in zip(cells, found, strict=True):
            expected = truth[value][torch.from_numpy(numbers)].flatten(1)[:, torch.from_numpy(places)]
            torch.testing.assert_close(each, expected, rtol=0, atol=1e-10 * float(truth[value].abs().max()))
    assert sorted(seen) == list(range(len(boxes)))
    return again


@every_odd_net
@pytest.mark.parametrize("share", [1, 0.01])
def test_single_numbers_of_all_maps(odd: OddNet, share: float) -> None:
    net, image = odd.make().double(), odd.images(1, seed=1)[0].double()
    maps = [layer.response for layer in record(net, image[None]).layers() if len(layer.shape) == 3]
    if maps:
        check_readings(net, image, list(dict.fromkeys(maps)), share)


def test_what_only_one_map_needs_is_computed_where_it_is_read() -> None:
    net = between(nn.ReLU(inplace=True), conv(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), channels=6)
    image = torch.randn(3, 26, 30, generator=torch.Generator().manual_seed(2)).double()
    layers = record(net, image[None]).layers()
    for count, op in ((3, "convolution"), (2, "relu")):
        values = [layer.response for layer in layers[:count]]
        for share in (1, 0.3, 0.02):
            again = check_readings(net, image, values, share)
            assert list(again.tails) == values[-1:]
            assert again.tails[values[-1]][-1].op == op


@pytest.mark.parametrize("last", [nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.ZeroPad2d(1)])
def test_cells_that_look_at_their_neighbours_are_not_computed_alone(last: nn.Module) -> None:
    """Of those behind the last convolution, as where a pool is what is read."""
    net = nn.Sequential(conv(3, 4, 3), nn.ReLU(), last).double()
    image = torch.randn(3, 26, 30, generator=torch.Generator().manual_seed(2)).double()
    check_readings(net, image, [record(net, image[None]).outputs[0]], 0.01)


@every_odd_net
def test_nothing_is_written_to(odd: OddNet) -> None:
    """Neither into the image and the network, nor, with one window at a time, into the maps that all windows share."""
    net, image = odd.make(), odd.images(1, seed=1)[0]
    graph = record(net, odd.images(1, seed=2))
    boxes, content = windows_of(*odd.shape[1:]), torch.ones(odd.shape[0], 1, 1)
    before, pixels = [parameter.clone() for parameter in net.parameters()], image.clone()
    many = replayed(Replay(net, graph, graph.outputs), image, boxes, content, batch=len(boxes))
    one = replayed(Replay(net, graph, graph.outputs), image, boxes, content, batch=1)
    assert torch.equal(image, pixels)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    for value, truth in many.items():
        torch.testing.assert_close(one[value], truth, rtol=0, atol=1e-5 * float(truth.abs().max()))


# --- operations, in a network where little is computed in full -------------------------------------------------------


def between(*middle: nn.Module, channels: int = 4) -> nn.Module:
    """Some layers between two convolutions."""
    torch.manual_seed(0)
    return nn.Sequential(conv(3, 4, bias=True), *middle, conv(channels, 2)).double().eval()


def function(run: Callable[[Tensor], Tensor]) -> nn.Module:
    return Net(lambda _, x: run(x))


def branches(net: Any, x: Tensor) -> Tensor:
    """Maps that differ in boxes of other sizes, joined and taken apart: the first part has the smallest box."""
    y = F.relu(net.a(x))
    first, second, third = torch.cat([x, net.b(y), net.c(y)], 1).split([4, 4, 4], 1)
    return first * second.sigmoid() + third


def read_before(net: Any, x: Tensor) -> Tensor:
    """A map that is read, rectified in place, and read again; what reads it first has no rule for crops."""
    y = net.a(x)
    flipped = y.flip(2).clone()
    y.relu_()
    return net.b(y) + net.c(flipped)


def padded_and_rectified(net: Any, x: Tensor) -> Tensor:
    """Padded behind only, so that positions stay; what is rectified in place is not the map that is read afterwards."""
    y = net.a(x)
    z = F.pad(y, (0, 1, 0, 1)).relu_()
    return net.b(z)[:, :, :-1, :-1] + net.c(y)


def written_twice(net: Any, x: Tensor) -> Tensor:
    y = net.a(x)
    z = y * 2
    return net.b(y.add_(z).relu_()) + net.c(z.mul_(y))


def ramp(x: Tensor) -> Tensor:
    """A constant of the shape of a map."""
    return torch.linspace(0, 1, x[0].numel(), dtype=x.dtype).view(1, *x.shape[1:])


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


THREE = {"a": conv(4, 4), "b": conv(4, 4), "c": conv(4, 4, 5)}
OPERATIONS: dict[str, Callable[[], nn.Module]] = {
    "strided convolution": lambda: nn.Conv2d(4, 4, (3, 5), stride=(2, 3), padding=(0, 2)),
    "dilated convolution": lambda: nn.Conv2d(4, 4, 3, padding=(3, 1), dilation=(3, 2)),
    "grouped convolution": lambda: nn.Conv2d(4, 4, 2, groups=2, padding=1),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
    "response normalisation": lambda: nn.LocalResponseNorm(3, alpha=1),
    "max pool": lambda: nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
    "dilated max pool": lambda: nn.MaxPool2d(2, (1, 2), dilation=(3, 2)),
    "average pool": lambda: nn.AvgPool2d(3, 2, padding=1),
    "average pool, ceil mode": lambda: nn.AvgPool2d((3, 2), 2, padding=1, ceil_mode=True),
    "average pool, padding not counted": lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
    "average pool, own divisor": lambda: nn.AvgPool2d(3, 2, padding=1, divisor_override=5),
    "asymmetric padding": lambda: nn.ConstantPad2d((1, 0, -2, 3), 1.5),
    "padded channels": lambda: function(lambda x: F.pad(x, (0, 0, 0, 0, 1, 0), value=2.0)[:, :4]),
    "slices": lambda: function(lambda x: x[:, 1:, 1:-2:2, 3:].repeat(1, 2, 1, 1)[:, :4]),
    "joined and split": lambda: Net(branches, **THREE),
    "read before it is rectified": lambda: Net(read_before, **THREE),
    "written twice": lambda: Net(written_twice, **THREE),
    "padded and rectified": lambda: Net(padded_and_rectified, **THREE),
    "softmax over channels": lambda: nn.Softmax(1),
    "softmax over a row": lambda: nn.Softmax(3),
    "mean over channels": lambda: function(lambda x: x - x.mean(1, keepdim=True) * x.amax((1,), keepdim=True)),
    "position embedding": lambda: function(lambda x: x * ramp(x)),
    "row and column": lambda: function(lambda x: x * ramp(x)[0, 0, 1] + ramp(x)[0, 1, :, :1]),
    "constant in between": lambda: function(lambda x: torch.cat([x[:, 1:], ramp(x)[:, :1]], 1)),
    "permuted": lambda: function(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)),
    "shuffled": lambda: nn.Sequential(nn.ChannelShuffle(2), function(lambda x: x[:, [3, 0, 2, 1]])),
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "attention": lambda: function(attention),
    "batch dimension in the middle": lambda: function(lambda x: x.transpose(0, 1).cumsum(1).transpose(0, 1)),
    "other numbers of the same bits": lambda: function(lambda x: (x.view(torch.int64) & -(1 << 48)).view(x.dtype)),
    "along the images": lambda: function(lambda x: x.cumsum(0).flip(0)),
    "of all elements": lambda: function(lambda x: x / x.std()),
}  # fmt: skip


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)
def test_operations(make: Callable[[], nn.Module]) -> None:
    image = torch.randn(3, 16, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    check(between(make()), image)


class Counting(TorchDispatchMode):
    """How many numbers the convolutions give."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.numbers += result.numel()
        return result


IN_FULL = {
    "slices", "read before it is rectified", "softmax over a row", "permuted", "instance norm", "attention",
    "batch dimension in the middle", "along the images", "of all elements", "other numbers of the same bits",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in IN_FULL])
def test_only_what_can_change_is_computed(name: str) -> None:
    """Windows of 4 px reach less than 10 px beyond themselves, in an image of 48."""
    net, image = between(OPERATIONS[name]()), torch.randn(3, 48, 48, dtype=torch.float64)
    again = Replay(net, graph := record(net, image[None]), graph.outputs)
    boxes = np.array([(y, x, y + 4, x + 4) for y in range(0, 45, 4) for x in range(0, 45, 4)], np.int64)
    with Counting() as plain, torch.no_grad():
        net(image[None])
    with Counting() as counted:
        replayed(again, image, boxes, torch.zeros(3, 1, 1))
    assert counted.numbers - plain.numbers < 0.2 * plain.numbers * len(boxes)


def test_what_a_network_can_look_at_is_all_that_changes() -> None:
    """A network of the corner: exactly the windows there change it, and the others give the very same bits."""
    weights = torch.zeros(1, 1, 3, 3)
    weights[0, 0, 1, 1] = 1
    stem = conv(1, 1, bias=False)
    stem.weight = nn.Parameter(weights)
    net = Net(lambda net, x: F.relu(net.stem(x))[:, :, :2, :2].sum((1, 2, 3))[:, None], stem=stem)
    image = torch.rand(1, 12, 14) + 0.5
    again = Replay(net, record(net, image[None]))
    boxes = np.array([(y, x, y + 3, x + 3) for y in range(10) for x in range(12)], np.int64)
    found = replayed(again, image, boxes, torch.zeros(1, 1, 1))[again.values[0]][:, 0, 0]
    corner = (boxes[:, 0] < 2) & (boxes[:, 1] < 2)
    whole = image[0, :2, :2].sum()
    for (y, x, _, _), value, near in zip(boxes, found, corner, strict=True):
        if near:
            torch.testing.assert_close(value, whole - image[0, y:2, x:2].sum())
        else:
            assert value == found[-1]
    assert len(set(found[corner].tolist())) == 4


@pytest.mark.parametrize("content", ["one for each", "one for all"])
def test_windows_can_hold_pictures(content: str) -> None:
    net, image = between(nn.ReLU()), torch.randn(3, 12, 14, dtype=torch.float64)
    boxes = np.array([(y, x, y + 3, x + 5) for y in range(0, 10, 3) for x in range(0, 10, 3)], np.int64)
    pictures = torch.randn(len(boxes) if content == "one for each" else 1, 3, 3, 5, dtype=torch.float64)
    again = Replay(net, record(net, image[None]))
    found = replayed(again, image, boxes, pictures)[again.values[0]]
    for number, box in enumerate(boxes):
        truth = by_loop(net, image, box[None], pictures[number % len(pictures)])[0][0]
        torch.testing.assert_close(found[number], truth)


# --- networks that look at numbers -----------------------------------------------------------------------------------


def by_its_maximum(net: Any, x: Tensor) -> Tensor:
    return net.b(F.relu(net.a(x / x.max().item())))


def where_it_is_positive(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).flatten(1)
    return y[y > 0].mean().view(1, 1) + net.b(x).mean((2, 3))


def in_another_order(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).flatten(1)
    return y[:, y[0].argsort()]


def addressed(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).contiguous()
    return y.as_strided((1, 4, 5, 5), (4 * 168, 168, 14, 1)) + 1


@pytest.mark.parametrize("run", [by_its_maximum, where_it_is_positive, in_another_order, addressed])
def test_networks_that_look_at_numbers(run: Callable[[Any, Tensor], Tensor]) -> None:
    net = Net(run, a=conv(3, 4), b=conv(3 if run is where_it_is_positive else 4, 4)).double().eval()
    again = check(net, torch.randn(3, 12, 14, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    assert not again.repeatable


def test_a_network_that_takes_another_way_is_an_error() -> None:
    net = Net(lambda net, x: F.relu(net.a(x)) if x.mean().item() > 0 else net.a(x).sigmoid(), a=conv(1, 1)).eval()
    again = Replay(net, record(net, torch.ones(1, 1, 6, 6)))
    with pytest.raises(CaptureError, match="'sigmoid', where the recorded pass ran 'relu'"):
        replayed(again, torch.ones(1, 6, 6), np.array([(0, 0, 6, 6)], np.int64), torch.full((1, 1, 1), -1.0))


# --- batches ---------------------------------------------------------------------------------------------------------


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch holds no value of more bytes than it may, unless a single window does."""
    net, image = between(nn.ReLU()).float(), torch.randn(3, 24, 24)
    again = Replay(net, graph := record(net, image[None]), graph.outputs)
    boxes = np.array([(y, x, y + 4, x + 4) for y in range(0, 20, 2) for x in range(0, 20, 2)], np.int64)
    whole = 4 * 2 * 24 * 24  # bytes of the output, the largest value
    monkeypatch.setattr(replay, "_HEAD", 1)  # so that each batch comes by itself
    for limit, most in ((3 * whole, 3), (whole // 2, 1)):
        monkeypatch.setattr(replay, "_BATCH_BYTES", limit)
        sizes = [len(numbers) for numbers, _ in again.windows(image, boxes, torch.zeros(3, 1, 1))]
        assert max(sizes) == most
        assert sum(sizes) == len(boxes)


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_batches_cost_least_among_all_cuts(most: int) -> None:
    generator = np.random.default_rng(most)
    costs, size = [3, 5], (9, 9)

    def some() -> Reach:
        top, left, height, width = generator.integers((0, 0, 1, 1), (3, 3, 7, 7), (7, 4)).T
        return Reach(top, left, top + height, left + width, size)

    reaches = [some(), some()]

    def cost(numbers: Any) -> float:
        total = 0.6 * 81 * sum(costs)
        for each, weight in zip(reaches, costs, strict=True):
            area = max((each.bottom - each.top)[numbers]) * max((each.right - each.left)[numbers])
            total += len(numbers) * weight * (area if area < MOST * 81 else 81)
        return total

    found = batches(reaches, costs, most)
    order = np.concatenate(found)
    assert sorted(order) == list(range(7))
    every = []
    for cuts in itertools.product([False, True], repeat=6):
        ends = [0, *(i + 1 for i, here in enumerate(cuts) if here), 7]
        parts = [order[a:b] for a, b in itertools.pairwise(ends)]
        if max(map(len, parts)) <= most:
            every.append(sum(map(cost, parts)))
    assert sum(map(cost, found)) == pytest.approx(min(every))


# --- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("seed", range(20))
def test_crops(seed: int, dtype: torch.dtype) -> None:
    """The definition: put the patch into the map, pad it, and cut; also where the crop lies beyond the map."""
    generator = np.random.default_rng(seed)
    shape = (1, 5, 6, 3) if seed % 3 else (1, 5, 6)
    base = torch.from_numpy(generator.normal(size=shape)).to(dtype)
    height, width = generator.integers(1, 5, 2)
    inner = Places(generator.integers(0, 6 - height, 4), generator.integers(0, 7 - width, 4), int(height), int(width))
    rows = torch.from_numpy(generator.normal(size=(4, height, width, *shape[3:]))).to(dtype)
    outer = Places(generator.integers(-9, 9, 4), generator.integers(-9, 9, 4), *map(int, generator.integers(1, 12, 2)))
    for patches in (Patches(inner, rows), None):
        found = cut(base, patches, outer, fill=7.5)
        for i in range(4):
            whole = base[0].clone()
            if patches is not None:
                whole[inner.top[i] : inner.top[i] + height, inner.left[i] : inner.left[i] + width] = rows[i]
            padded = torch.full((40, 40, *shape[3:]), 7.5, dtype=dtype)
            padded[15:20, 15:21] = whole
            y, x = 15 + outer.top[i], 15 + outer.left[i]
            assert torch.equal(found[i], padded[y : y + outer.height, x : x + outer.width])


def test_positions_first_and_last() -> None:
    maps = torch.randn(2, 3, 4, 5, 6)
    rows = by_position(maps)
    assert rows.shape == (2, 5, 6, 3, 4)
    assert rows.is_contiguous()
    assert torch.equal(Patches(Places(np.zeros(2, int), np.zeros(2, int), 5, 6), rows).maps, maps)


def test_wrong_shapes_are_errors() -> None:
    net = between(nn.ReLU()).float()
    with pytest.raises(ValueError, match="recorded with 2 images"):
        Replay(net, record(net, torch.zeros(2, 3, 8, 8)))
    again = Replay(net, record(net, torch.zeros(1, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"of shape \(3, 8, 9\), the recorded one of \(3, 8, 8\)"):
        replayed(again, torch.zeros(3, 8, 9), np.array([(0, 0, 1, 1)], np.int64), torch.zeros(3, 1, 1))
