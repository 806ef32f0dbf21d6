"""CAM and its family against closed forms, pytorch-grad-cam, and planted networks that know the place [METHODS 8]."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convscope
from convscope.attribution import (
    CAM,
    Attribution,
    Class,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    LayerCAM,
    ScoreCAM,
)
from convscope.attribution.base import placed
from convscope.errors import AddressError, AttributionError
from convscope.geometry import Grid, Spans, interpolation
from convscope.network import Network
from convscope.receptive_field import receptive_fields
from convscope.recorder import record
from explaining import classifier, images_of, network_of, odd_network
from odd_nets import ODD_NETS, Net, OddNet, conv
from test_attribution_laws import POOLED, last_unit

every_odd_net = pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
GRADIENT = [GradCAM(), GradCAMPlusPlus(), LayerCAM()]

pytestmark = pytest.mark.usefixtures("one_thread")


def gap(seed: int = 0, pool: nn.Module | None = None) -> tuple[nn.Sequential, Network]:
    """A map of 6 channels, 4 × 5 cells of 2 px, pooled as a whole, and three classes."""
    pool = nn.AdaptiveAvgPool2d(1) if pool is None else pool
    layers = [conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 6), nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 3)]
    module = classifier(*layers, seed=seed)
    return module, network_of(module, (3, 8, 10))


IMAGES = images_of(3, 3, 8, 10)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-6)


# --- CAM (8.1) -------------------------------------------------------------------------------------------------------


def test_the_mean_of_a_cam_and_the_bias_are_the_logit() -> None:
    module, network = gap()
    features, head = module[:5](IMAGES).detach(), module[7]
    with torch.no_grad():
        head.weight[1] -= 0.5
    assert (CAM()(network, IMAGES, 1).values < 0).any()
    for target in range(3):
        found = CAM()(network, IMAGES, target)
        close(found.values, torch.einsum("k,nkhw->nhw", head.weight[target].detach(), features)[:, None])
        close(found.values.mean((1, 2, 3)) + head.bias[target].detach(), module(IMAGES)[:, target].detach())
        close(found.evidence["bias"], head.bias[target].detach().expand(3))
        assert float(found.evidence["mean of the map + bias - score"].abs().max()) < 1e-12
        assert found.notes == ("the map of 4, 6 channels of 4 × 5 cells",)


def test_a_cam_is_what_a_convolution_with_the_weights_of_the_class_gives() -> None:
    module, network = gap()
    maps = F.conv2d(module[:5](IMAGES), module[7].weight[:, :, None, None]).detach()
    for target in range(3):
        close(CAM()(network, IMAGES, target).values, maps[:, target : target + 1])
    with torch.no_grad():
        module[7].weight += torch.arange(6.0)
    shift = CAM()(network, IMAGES, 0).values - maps[:, :1]
    for target in (1, 2):
        close(CAM()(network, IMAGES, target).values - maps[:, target : target + 1], shift)


HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "mean": lambda net, x: net.head(x.mean((2, 3))),
    "negative dims": lambda net, x: net.head(x.mean([-1, -2], keepdim=True).flatten(1)),
    "flattened": lambda net, x: net.head(x.flatten(2).mean(-1)),
    "window": lambda net, x: net.head(F.avg_pool2d(x, x.shape[2:])[:, :, 0, 0]),
    "dropout": lambda net, x: net.head(F.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1), 0.5, net.training)),
    "functional": lambda net, x: torch.addmm(net.head.bias, x.mean((2, 3)), net.head.weight.T),
    "convolution": lambda net, x: F.conv2d(
        F.adaptive_avg_pool2d(x, 1), net.head.weight[:, :, None, None], net.head.bias
    ).flatten(1),
    "logits before a softmax": lambda net, x: net.head(x.mean((2, 3))).softmax(1),
    "channels last": lambda net, x: net.head(net.last(x.permute(0, 2, 3, 1)).relu().mean((1, 2))),
    "sum": lambda net, x: net.head(x.sum((2, 3))),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_spelling_of_the_head_is_found(head: Callable[[Any, Tensor], Tensor]) -> None:
    module = Net(
        lambda net, x: head(net, F.relu(net.stem(x))), stem=conv(3, 4), last=nn.Linear(4, 4), head=nn.Linear(4, 3)
    ).double()  # fmt: skip
    found = CAM()(network_of(module, (3, 8, 10)), IMAGES, 1)
    assert float(next(numbers for name, numbers in found.evidence.items() if "score" in name).abs().max()) < 1e-12
    close(found.evidence["bias"], module.head.bias[1].detach().expand(3))
    assert found.grid.cells == (8, 10)


@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool2d(1), nn.MaxPool2d((4, 5))])
def test_a_network_that_pools_by_maximum_says_so(pool: nn.Module) -> None:
    module, network = gap(pool=pool)
    found = CAM()(network, IMAGES, 1)
    weights = module[7].weight[1].detach()
    close(found.values, torch.einsum("k,nkhw->nhw", weights, module[:5](IMAGES).detach())[:, None])
    close(found.evidence["bias"], module[7].bias[1].detach().expand(3))
    assert "pools by maximum" in found.notes[-1]


def test_class_maps_that_are_pooled_are_cams_themselves() -> None:
    """As in NIN and SqueezeNet."""
    module = classifier(conv(3, 4), nn.ReLU(), conv(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = CAM()(network_of(module, (3, 8, 10)), IMAGES, 2)
    close(found.values, module[:4](IMAGES)[:, 2:3].detach())
    close(found.evidence["bias"], torch.zeros(3))


def test_cells_that_are_moved_move_in_the_cam() -> None:
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    module = Net(
        lambda net, x: net.head(F.relu(net.stem(x.flatten(2)[..., order].reshape(x.shape))).mean((2, 3))),
        stem=conv(3, 4, 1), head=nn.Linear(4, 2),
    ).double()  # fmt: skip
    plain = Net(lambda net, x: net.head(F.relu(net.stem(x)).mean((2, 3))), stem=module.stem, head=module.head)
    moved = CAM()(network_of(module, (3, 8, 10)), IMAGES, 0).values
    close(moved.flatten(2), CAM()(network_of(plain, (3, 8, 10)), IMAGES, 0).values.flatten(2)[..., order])


@every_odd_net
def test_where_there_is_no_such_head_it_is_an_error_by_name(odd: OddNet) -> None:
    network = odd_network(odd)
    if odd.name in POOLED:
        assert CAM()(network, odd.images(2), last_unit(network, odd)).values.any()
        return
    with pytest.raises(AttributionError, match=r"ends in global average or max pooling .* Take GradCAM.*--head gap"):
        CAM()(network, odd.images(2), last_unit(network, odd))


OTHER_HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "two layers": lambda net, x: net.head(net.last(x.mean((2, 3)))),
    "a part": lambda net, x: net.head(F.avg_pool2d(x, 7).flatten(1)),
    "rows": lambda net, x: net.head(x.mean(2)[:, :, 0]),
    "rectified": lambda net, x: net.head(F.relu(x.mean((2, 3)))),
    "normalised": lambda net, x: net.head(F.layer_norm(x.mean((2, 3)), [4])),
    "padded": lambda net, x: net.head(F.avg_pool2d(x, (8, 10), padding=(1, 0), stride=9).flatten(1)),
    "folded": lambda net, x: net.head(x.reshape(len(x), 8, 4, 10).mean((2, 3))[:, :4]),
    "unlike": lambda net, x: net.head(x.reshape(len(x), 4 * 8, 10).mean(2)[:, :4]),
    "joined": lambda net, x: net.head(torch.cat([x[:, :2].mean((2, 3)), x[:, 2:].amax((2, 3))], 1)),
    "channels": lambda net, x: net.head(x.permute(0, 2, 1, 3).mean((2, 3))[:, :4]),
}


@pytest.mark.parametrize("head", OTHER_HEADS.values(), ids=OTHER_HEADS)
def test_what_is_not_linear_in_a_pooled_map_is_refused(head: Callable[[Any, Tensor], Tensor]) -> None:
    module = Net(
        lambda net, x: head(net, F.relu(net.stem(x))), stem=conv(3, 4), last=nn.Linear(4, 4), head=nn.Linear(4, 3)
    ).double()  # fmt: skip
    with pytest.raises(AttributionError, match="CAM needs a network"):
        CAM()(network_of(module, (3, 8, 10)), IMAGES, 1)


@pytest.mark.parametrize("target", [Class(1, "probability"), lambda output: output[:, 0]])
def test_cam_takes_logits_apart_and_nothing_else(target: Any) -> None:
    with pytest.raises(AttributionError, match="CAM takes a logit apart"):
        CAM()(gap()[1], IMAGES, target)


# --- Grad-CAM and its like (8.2, 8.3) --------------------------------------------------------------------------------


def test_gradcam_is_the_positive_cam_over_the_number_of_cells() -> None:
    _, network = gap()
    for target in range(3):
        close(GradCAM()(network, IMAGES, target).values * 20, CAM()(network, IMAGES, target).values.clamp(min=0))


def test_gradcam_by_its_formula() -> None:
    module = classifier(
        conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(100, 3)
    )  # fmt: skip
    network = network_of(module, (3, 8, 10))
    for layer, cut in ((None, 5), ("3", 5), ("0", 2)):
        maps = module[:cut](IMAGES).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(module[cut:](maps.clone())[:, 1].sum(), maps)
        maps = maps.detach()
        total = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
        found = GradCAM(layer)(network, IMAGES, 1)
        close(found.values, total.clamp(min=0))
        below = total.clamp(max=0).abs().sum((1, 2, 3)) / total.abs().sum((1, 2, 3))
        close(found.evidence["share of the map below zero, not shown"], below)
        close(LayerCAM(layer)(network, IMAGES, 1).values, (gradient.clamp(min=0) * maps).sum(1, keepdim=True))
        square, cube = gradient**2, gradient**3 * maps.sum((2, 3), keepdim=True)
        alpha = torch.where(gradient != 0, square / (2 * square + cube), 0)
        for normalize in (False, True):
            if normalize:
                positive = (alpha * (gradient > 0)).sum((2, 3), keepdim=True)
                alpha = alpha / positive.where(positive != 0, 1)
            weights = (alpha * gradient.clamp(min=0)).sum((2, 3), keepdim=True)
            found = GradCAMPlusPlus(layer, normalize=normalize)(network, IMAGES, 1)
            close(found.values, (weights * maps).sum(1, keepdim=True).clamp(min=0))


def test_gradcam_plus_plus_with_global_average_pooling() -> None:
    """g is the same everywhere: w = hw · max(g, 0) / (2 + g · ΣA), and max(g, 0) where α is normalised."""
    module, network = gap()
    maps = module[:5](IMAGES).detach()
    g = (module[7].weight[1].detach() / 20)[None, :, None, None]
    for normalize, weights in (
        (False, 20 * g.clamp(min=0) / (2 + g * maps.sum((2, 3), keepdim=True))),
        (True, g.clamp(min=0)),
    ):
        found = GradCAMPlusPlus(normalize=normalize)(network, IMAGES, 1)
        close(found.values, (weights * maps).sum(1, keepdim=True).clamp(min=0))


def test_scaling_a_channel_and_its_outgoing_weights_changes_no_map() -> None:
    module, network = gap()
    before = [method(network, IMAGES, 1).values for method in GRADIENT]
    with torch.no_grad():
        module[3].weight[2] *= 7
        module[3].bias[2] *= 7
        module[7].weight[:, 2] /= 7
    for method, values in zip(GRADIENT, before, strict=True):
        close(method(network, IMAGES, 1).values, values)


@pytest.mark.parametrize("method", GRADIENT, ids=lambda method: method.name)
def test_a_constant_that_is_added_to_all_logits_changes_no_map(method: Attribution) -> None:
    module, network = gap()
    before = method(network, IMAGES, 1).values
    with torch.no_grad():
        module[7].bias += 5
    close(method(network, IMAGES, 1).values, before)


def test_a_map_that_is_negative_everywhere_says_so() -> None:
    module, network = gap()
    with torch.no_grad():
        module[7].weight[1] = -module[7].weight[1].abs()
    for method in (GradCAM(), GuidedGradCAM()):
        found = method(network, IMAGES, 1)
        assert not found.values.any()
        assert set(found.blank) == {"the weighted sum of the channels is negative everywhere: all cells speak against "
                                    "the target"}  # fmt: skip
        close(found.evidence["share of the map below zero, not shown"], torch.ones(3))


def strided() -> tuple[nn.Sequential, Network]:
    """A map of 6 channels, 4 × 5 cells, the fields of which are not where tiles of the image would be."""
    layers = [conv(3, 4, stride=2), nn.ReLU(), conv(4, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    module = classifier(*layers, nn.Linear(6, 3))
    return module, network_of(module, (3, 8, 10))


def test_guided_gradcam_is_the_product() -> None:
    _, network = strided()
    assert not torch.equal(*(GradCAM()(network, IMAGES, 0).on_image(place) for place in ("field", "naive")))
    for place in ("field", "naive"):
        coarse, fine = GradCAM()(network, IMAGES, 0), GuidedBackprop()(network, IMAGES, 0)
        found = GuidedGradCAM(place=place)(network, IMAGES, 0)
        close(found.values, coarse.on_image(place)[:, None] * fine.values)
        assert found.grid == fine.grid


# --- Score-CAM (8.4) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["field", "naive"])
def test_scorecam_by_its_formula(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, network = strided()
    maps = module[:4](IMAGES).detach()
    grid = GradCAM()(network, IMAGES, 1).grid
    large = placed(maps, grid, place)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    masks = (large - low) / (high - low)
    with torch.no_grad():
        scores = torch.stack([module(IMAGES * masks[:, k : k + 1])[:, 1] for k in range(6)], 1)
    used = (high > low)[:, :, 0, 0]
    weights = scores.where(used, -torch.inf).softmax(1)[:, :, None, None]
    for size in (32, 4):
        monkeypatch.setattr("convscope.attribution.base.PASSES", size)
        found = ScoreCAM(place=place)(network, IMAGES, 1)
        close(found.values, (weights * maps).sum(1, keepdim=True))
    spread = [float(row[mask].max() - row[mask].min()) for row, mask in zip(scores, used, strict=True)]
    assert found.evidence["range of the masked scores"].tolist() == pytest.approx(spread)


def test_scorecam_needs_no_gradient_and_runs_each_channel_that_varies_once() -> None:
    rows: list[int] = []

    def run(net: Any, x: Tensor) -> Tensor:
        rows.append(len(x))
        y = F.relu(net.stem(x))
        y = torch.cat([y, torch.zeros_like(y[:, :1]), torch.full_like(y[:, :1], 0.1), y[:, :1]], 1)  # two that are flat
        with torch.no_grad():
            return y.detach().round().mean((2, 3))

    network = network_of(Net(run, stem=conv(3, 4, stride=3)), (3, 8, 10))
    images = images_of(1, 3, 8, 10).float() * 9
    found = ScoreCAM()(network, images, 1)
    assert found.values.any()
    assert rows == [1, 1, 5]  # recorded, explained, and five masks


def test_a_channel_that_is_flat_but_for_rounding_masks_nothing() -> None:
    module = Net(lambda net, x: (net.stem(x) * 0 + 3.3).mean((2, 3)), stem=conv(3, 1, stride=3))
    found = ScoreCAM()(network_of(module, (3, 8, 10)), IMAGES.float(), 0)
    assert not found.values.any()


def test_a_network_that_always_says_the_same_weighs_channels_alike() -> None:
    module, network = gap()
    with torch.no_grad():
        module[7].weight.zero_()
    maps = module[:5](IMAGES).detach()
    used = (maps.amax((2, 3), keepdim=True) > maps.amin((2, 3), keepdim=True)).double()
    close(ScoreCAM()(network, IMAGES, 0).values, (maps * used).sum(1, keepdim=True) / used.sum(1, keepdim=True))


# --- pytorch-grad-cam ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle(torchvision: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pytorch_grad_cam", reason="missing: the package grad-cam, an oracle")


def scaled(maps: Tensor) -> Tensor:
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)


METHODS = {"GradCAM": GradCAM, "GradCAMPlusPlus": GradCAMPlusPlus, "LayerCAM": LayerCAM, "ScoreCAM": ScoreCAM}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("layer", ["3", "0"])
def test_the_maps_of_pytorch_grad_cam(oracle: Any, name: str, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a naive resize; it enlarges the masks of Score-CAM with aligned corners, the authors without."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    monkeypatch.setattr("torch.nn.UpsamplingBilinear2d", lambda size: nn.Upsample(size=size, mode="bilinear"))
    monkeypatch.setattr(sys.modules["pytorch_grad_cam.score_cam"].tqdm, "tqdm", lambda steps: steps)
    module = classifier(
        conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
    ).float()  # fmt: skip
    images, targets = IMAGES.float(), [1, 2, 0]
    with getattr(oracle, name)(module, [module[int(layer) + 1]]) as theirs:
        expected = torch.from_numpy(theirs(images, [ClassifierOutputTarget(target) for target in targets]))
    module.zero_grad()
    options = {"place": "naive"} if name == "ScoreCAM" else {}
    found = METHODS[name](layer, **options)(network_of(module, (3, 8, 10)), images, targets)
    assert bool(found.values.flatten(1).any(1).all())
    torch.testing.assert_close(scaled(found.on_image("naive")), expected, rtol=1e-3, atol=2e-4)


# --- which map is read -----------------------------------------------------------------------------------------------


def read(network: Network, shape: tuple[int, int, int], target: Any, layer: str | None = None) -> str:
    found = GradCAM(layer)(network, images_of(1, *shape).float(), target)
    return found.notes[0].removeprefix("the map of ")


def test_the_last_map_is_that_of_the_whole_block() -> None:
    """After the addition and the concatenation, and not one of their branches."""
    odds = {
        "residual": ("relu~2, 4 channels of 4 × 5 cells", 0),
        "pooled_head": ("features.2, 5 channels of 8 × 10 cells", 0),
        "fully_connected_head": ("3, 5 channels of 8 × 10 cells", 0),
        "convnext": ("./add, 4 channels of 6 × 8 cells", 0),
        "dict_output": ("stem, 4 channels of 12 × 14 cells", "head:1"),
        "tuple_output": ("stem, 4 channels of 12 × 14 cells", "stem:1"),
        "inception": ("e, 2 channels of 12 × 14 cells", "e:1"),
    }
    for name, (expected, target) in odds.items():
        odd = ODD_NETS[name]
        assert read(odd_network(odd), odd.shape, target) == expected
    blocks = Net(
        lambda net, x: net.head(torch.cat([F.relu(net.a(x)), net.b(x)], 1).mean((2, 3))),
        a=conv(3, 2), b=conv(3, 3), head=nn.Linear(5, 2),
    )  # fmt: skip
    assert read(network_of(blocks, (3, 6, 7)), (3, 6, 7), 0) == "./cat, 5 channels of 6 × 7 cells"
    late = Net(
        lambda net, x: net.head(net.late(F.adaptive_avg_pool2d(F.relu(net.a(x)), 1)).flatten(1)),
        a=conv(3, 4), late=conv(4, 5, 1), head=nn.Linear(5, 2),
    )  # fmt: skip
    assert read(network_of(late, (3, 6, 7)), (3, 6, 7), 0) == "a, 4 channels of 6 × 7 cells"
    assert read(network_of(late, (3, 6, 7)), (3, 6, 7), 0, "late") == "late, 5 channels of 1 × 1 cells"


def test_a_map_is_named_by_its_layer_or_its_module() -> None:
    odd = ODD_NETS["residual"]
    network = odd_network(odd)
    names = {"conv1": "conv1", "stem": "stem", "relu": "relu", "relu~1": "relu~1", "./add": "./add", "n2": "n2"}
    for name, expected in names.items():
        assert read(network, odd.shape, 0, name).partition(",")[0] == expected
    nested = nn.Sequential(
        nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU()), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 2)
    )  # fmt: skip
    assert read(network_of(nested, (3, 6, 7)), (3, 6, 7), 0, "0") == "0.3, 5 channels of 6 × 7 cells"


@pytest.mark.parametrize(
    ("layer", "target", "error", "match"),
    [
        ("conv9", 0, AddressError, "no convolution or linear layer 'conv9'; did you mean 'conv2' or 'conv1'"),
        ("head", 0, AddressError, r"layer head has no map on the image: one image gives it the shape \(3,\)"),
        ("conv2", "conv1:0", AttributionError, "the target does not depend on the map of conv2; leave layer= out"),
        ("stem:1", 0, AddressError, "names a unit, where a layer is expected"),
        (None, ["stem:0", 0], AttributionError, r"the targets rest on different maps \(relu~2, stem\); give layer="),
    ],
)
def test_maps_that_cannot_be_read(layer: str | None, target: Any, error: type[Exception], match: str) -> None:
    odd = ODD_NETS["residual"]
    images = odd.images(2 if isinstance(target, list) else 1)
    for method in (GradCAM(layer), ScoreCAM(layer), GuidedGradCAM(layer)):
        with pytest.raises(error, match=match):
            method(odd_network(odd), images, target)


def test_a_network_without_maps() -> None:
    network = network_of(classifier(nn.Flatten(), nn.Linear(60, 3)), (3, 4, 5))
    for method in (*GRADIENT, ScoreCAM(), GuidedGradCAM()):
        with pytest.raises(AttributionError, match=r"there is no map .* such as Saliency, needs none"):
            method(network, images_of(2, 3, 4, 5), 0)


def test_targets_of_different_maps_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope.attribution.base.BATCH", 1)
    odd = ODD_NETS["residual"]
    with pytest.raises(AttributionError, match="the targets have maps on different grids"):
        GradCAM()(odd_network(odd), odd.images(2), ["stem:0", 0])


# --- where it lies on the image --------------------------------------------------------------------------------------


def grid_of(rows: tuple[int, int, int, int, int], columns: tuple[int, int, int, int, int]) -> Grid:
    """From start, stride, size, cells and extent of each axis."""

    def spans(start: int, stride: int, size: int, cells: int, extent: int) -> Spans:
        low = start + stride * np.arange(cells)
        return Spans(low, low + size, extent, stride)

    return Grid(spans(*rows), spans(*columns))


def test_a_linear_ramp_stays_one_between_the_centres_and_is_constant_beyond() -> None:
    """Fields of 11 px from -3 on: centres 2, 6, ..., 18 in 22 rows; of 4 px from 1 on: 2.5, 5.5, 8.5 in 12 columns."""
    grid = grid_of((-3, 4, 11, 5, 22), (1, 3, 4, 3, 12))
    y, x = 2 + 4.0 * np.arange(5), 2.5 + 3.0 * np.arange(3)
    found = placed(torch.from_numpy(10 * y[:, None] + x), grid, "field")
    rows, columns = np.clip(np.arange(22), 2, 18), np.clip(np.arange(12), 2.5, 8.5)
    np.testing.assert_allclose(found, 10 * rows[:, None] + columns)


def test_the_naive_place_is_a_resize() -> None:
    for cells, image in (((5, 3), (22, 12)), ((1, 4), (7, 4)), ((9, 8), (5, 3))):
        grid = grid_of((0, 1, 1, cells[0], image[0]), (0, 1, 1, cells[1], image[1]))
        maps = images_of(2, *cells)
        expected = F.interpolate(maps[None], size=image, mode="bilinear", align_corners=False)[0]
        close(placed(maps, grid, "naive"), expected)


def test_cells_that_lie_anywhere() -> None:
    """In any order, two at one place, one that sees nothing, and a single one."""
    centres = np.array([6.0, 2.0, np.nan, 2.0])
    np.testing.assert_allclose(
        interpolation(centres, 8) @ np.array([10.0, 1.0, 99.0, 3.0]), [2, 2, 2, 4, 6, 8, 10, 10]
    )  # fmt: skip
    np.testing.assert_allclose(interpolation(np.array([3.3]), 4) @ np.array([7.0]), [7, 7, 7, 7])
    with pytest.raises(ValueError, match="no cell has a centre"):
        interpolation(np.array([np.nan]), 4)


def test_pixels_are_where_they_are() -> None:
    network, images = network_of(nn.Sequential(conv(3, 2), nn.ReLU()), (3, 6, 7)), images_of(2, 3, 6, 7).float()
    found = convscope.attribution.Saliency()(network, images, "0:1")
    assert torch.equal(found.on_image(), found.values[:, 0])
    with pytest.raises(AttributionError, match="'sideways' is no way to place a map; expected one of field, naive"):
        found.on_image("sideways")
    with pytest.raises(AttributionError, match="a map of 3 channels consists of pixels already"):
        GuidedBackprop()(network, images, "0:1").on_image()


@pytest.mark.parametrize("place", [(9, 21), (30, 9), (21, 33)])
def test_the_map_peaks_at_the_one_place_that_is_seen(place: tuple[int, int]) -> None:
    """Three planted layers of stride 2 that hand on the brightest of their window, and one bright spot."""
    layers = [nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.ReLU()) for _ in range(3)]
    for block in layers:
        nn.init.constant_(block[0].bias, 0)
        nn.init.constant_(block[0].weight, 0.1)
        block[0].weight.data[0, 0, 1, 1] = 1
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    nn.init.constant_(module[5].weight, 1)
    image = torch.zeros(1, 1, 40, 48)
    place = tuple(8 * round(at / 8) for at in place)
    image[0, 0, place[0], place[1]] = 1
    network = network_of(module, (1, 40, 48))
    for method in (CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(), ScoreCAM()):
        found = method(network, image, 0)
        assert peak(found.on_image()) == place
        assert peak(found.on_image("naive")) != place


def peak(maps: Tensor) -> tuple[int, ...]:
    return tuple(int(at) for at in np.unravel_index(int(maps[0].argmax()), maps[0].shape))


def test_a_resize_is_off_by_half_the_stride(torchvision: Any) -> None:
    """Of a map that is one in a single cell, the centre of mass on the image, in a network of stride 32."""
    module = convscope.load("torchvision:resnet18").module
    graph = record(module, torch.rand(1, 3, 224, 224))
    layer = graph.layers()[-2]
    grid = receptive_fields(graph).grid(layer)
    for cell in ((2, 3), (3, 4), (4, 1)):
        one = torch.zeros(7, 7, dtype=torch.float64)
        one[cell] = 1
        for how, off in (("field", 0.0), ("naive", 15.5)):
            large = placed(one, grid, how)
            centre = [float((large.sum(1 - axis) * torch.arange(224)).sum() / large.sum()) for axis in (0, 1)]
            assert centre == pytest.approx([at + off for at in grid.box(*cell).centre], abs=1e-6)
    found = GradCAM()(convscope.load("torchvision:resnet18"), images_of(1, 3, 224, 224).float())
    assert found.notes == ("the map of layer4.1.relu~1, 512 channels of 7 × 7 cells",)
    assert found.grid == grid
    named = GradCAM("layer4")(convscope.load("torchvision:resnet18"), images_of(1, 3, 224, 224).float())
    assert torch.equal(named.values, found.values)
