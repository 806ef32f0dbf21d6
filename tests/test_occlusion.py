"""Occlusion against the definition, written out, and networks of which is known what they look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convscope
from convscope.attribution import Class
from convscope.attribution.occlusion import Occlusion
from convscope.attribution.zeiler_fergus import GREY, zeiler_fergus
from convscope.errors import AddressError, AttributionError, TargetError
from convscope.network import Network
from explaining import classifier, images_of, network_of
from odd_nets import Net, conv

pytestmark = pytest.mark.usefixtures("one_thread")


def small(seed: int = 0) -> nn.Sequential:
    """A network of maps (4, 12, 14) and (5, 6, 7), and three classes."""
    layers = [
        conv(3, 4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        conv(4, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(210, 3),
    ]
    return classifier(*layers, seed=seed)


def hidden(image: Tensor, box: tuple[int, int, int, int], colour: Any = 0.0) -> Tensor:
    y0, x0, y1, x1 = box
    changed = image.clone()
    changed[:, y0:y1, x0:x1] = torch.as_tensor(colour, dtype=image.dtype).reshape(-1, 1, 1)
    return changed


def by_loop(score: Any, image: Tensor, window: int, stride: int, colour: Any = 0.0) -> Tensor:
    """The definition: of each pixel, the mean drop over the windows that cover it."""
    height, width = image.shape[1:]
    sums, counts = torch.zeros(height, width).double(), torch.zeros(height, width).double()
    tops, lefts = ({*range(0, extent - window + 1, stride), extent - window} for extent in (height, width))
    for y in tops:
        for x in lefts:
            box = (y, x, y + window, x + window)
            sums[y : y + window, x : x + window] += score(image) - score(hidden(image, box, colour))
            counts[y : y + window, x : x + window] += 1
    return sums / counts


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 3), (1, 1), (12, 5), (3, 3)])
@pytest.mark.parametrize("target", [1, Class(2, "probability"), "3:1@2,3", lambda output: output[:, 0] - output[:, 1]])
def test_it_is_the_mean_drop_over_windows(target: Any, window: int, stride: int) -> None:
    """The third stride leaves pixels at the far border, which a last window covers."""
    module, images = small(), images_of(2, 3, 12, 14)
    network = network_of(module, (3, 12, 14))
    found = Occlusion(window, stride)(network, images, target)

    @torch.no_grad()
    def score(image: Tensor) -> Tensor:
        if isinstance(target, str):
            return module[:5](image[None])[0, 1, 2, 3]
        output = module(image[None])
        if callable(target):
            return target(output)[0]
        return output[0, 1] if target == 1 else output.softmax(1)[0, 2]

    assert found.values.shape == (2, 1, 12, 14)
    for image, values in zip(images, found.values, strict=True):
        truth = by_loop(score, image, window, stride)
        torch.testing.assert_close(values[0].double(), truth, rtol=0, atol=1e-6 * float(truth.abs().max()))


def test_a_linear_score_loses_what_the_window_held() -> None:
    weights, images = images_of(1, 2, 9, 11, seed=5)[0], images_of(1, 2, 9, 11)
    module = nn.Sequential(nn.Flatten(), nn.Linear(198, 1, bias=False)).double()
    with torch.no_grad():
        module[1].weight[:] = weights.reshape(1, -1)
    preprocess = {"size": (9, 11), "channels": 2, "mean": (0.4, 0.1), "std": (0.5, 2), "range": (0, 10)}
    network = convscope.wrap(module, preprocess=preprocess, output="real")
    colours = {"mean": (0, 0), 0.3: (2.6 / 0.5, 2.9 / 2), (0.0, 1.0): (-0.4 / 0.5, 9.9 / 2)}
    for fill, (one, other) in colours.items():
        lost = (weights * (images[0] - torch.tensor([one, other], dtype=torch.float64)[:, None, None])).sum(0)
        found = Occlusion(3, 3, fill)(network, images, 0).values[0, 0].double()  # the columns 0, 3, 6 and 8
        for y in (0, 3, 6):
            for x in (0, 3):
                window = found[y : y + 3, x : x + 3]
                truth = lost[y : y + 3, x : x + 3].sum().expand(3, 3)
                torch.testing.assert_close(window, truth, rtol=1e-5, atol=1e-5)


def test_hiding_what_has_that_colour_changes_nothing_at_all() -> None:
    images = images_of(1, 3, 12, 14)
    images[:, :, :, 7:] = 0
    found = Occlusion(3, 2)(network_of(small(), (3, 12, 14)), images)
    assert not found.values[0, 0, :, 9:].any()
    assert found.values[0, 0, :, :7].all()
    blank = Occlusion(3, 2)(network_of(small(), (3, 12, 14)), images * 0, 1)
    assert not blank.values.any()
    assert blank.blank == ("no window changes class 1: the map is zero everywhere",)


def test_a_window_as_large_as_the_image() -> None:
    module, images = small(), images_of(1, 3, 12, 12)
    module[6] = nn.Linear(180, 3).double()
    found = Occlusion(12, 12)(network_of(module, (3, 12, 12)), images, 0)
    drop = module(images)[0, 0] - module(images * 0)[0, 0]
    torch.testing.assert_close(found.values, drop.float().expand(1, 1, 12, 12))


def test_it_finds_what_a_network_looks_at() -> None:
    """The brightest place of a corner: only the windows that reach it matter, and the unit is found again."""
    network = network_of(Net(lambda _, x: x[:, :, :3, :3].amax((2, 3))), (2, 16, 16), output="real")
    images = torch.zeros(1, 2, 16, 16)
    images[0, 0, 1, 2] = 4
    found = Occlusion(4, 2)(network, images, 0)
    covered = torch.zeros(16, 16, dtype=torch.bool)
    covered[:4, :6] = True  # by windows from rows 0 and columns 0 and 2
    assert torch.equal(found.values[0, 0] > 0, covered)
    assert found.evidence["largest drop"].tolist() == [4]
    assert found.evidence["largest rise"].tolist() == [0]
    assert not Occlusion(4, 2)(network, images, 1).values.any()


def test_wrong_parameters_are_errors() -> None:
    network, images = network_of(small(), (3, 12, 14)), images_of(1, 3, 12, 14)
    for window in (0, 13):
        with pytest.raises(AttributionError, match=rf"a window of {window} px does not lie .* give window \(1 to 12\)"):
            Occlusion(window, 1)(network, images)
    for stride in (0, 5):
        with pytest.raises(AttributionError, match=rf"a stride of {stride} px .* give stride \(1 to 4\)"):
            Occlusion(4, stride)(network, images)
    for fill in ("grey", (0.1, 0.2)):
        with pytest.raises(AttributionError, match=r"expected 'mean', a number .* 3 channels"):
            Occlusion(4, 2, fill)(network, images)


# --- the figure of Zeiler and Fergus ---------------------------------------------------------------------------------


@pytest.fixture
def network() -> Network:
    return network_of(small(seed=3), (3, 12, 14), classes=["cat", "dog", "ship"])


def test_the_columns(network: Network) -> None:
    module, image = network.module, images_of(1, 3, 12, 14, seed=2)[0]
    found = zeiler_fergus(network, image, "dog", occlusion=Occlusion(4, 3))
    with torch.no_grad():
        totals = module[:5](image[None])[0].sum((1, 2))
    assert str(found.unit) == f"3:{int(totals.argmax())}"
    assert found.windows.cells == found.probability.shape == found.label.shape == found.activation.shape == (4, 5)
    assert found.windows.rows.low.tolist() == [0, 3, 6, 8]
    assert found.windows.columns.low.tolist() == [0, 3, 6, 9, 10]
    for row, column in np.ndindex(4, 5):
        changed = hidden(image, found.windows.box(row, column).as_tuple())
        with torch.no_grad():
            probabilities, maps = module(changed[None]).softmax(1)[0], module[:5](changed[None])[0]
        assert float(found.probability[row, column]) == pytest.approx(float(probabilities[1]))
        assert int(found.label[row, column]) == int(probabilities.argmax())
        assert float(found.activation[row, column]) == pytest.approx(float(maps[found.unit.index].sum()))
    with torch.no_grad():
        probabilities = module(image[None]).softmax(1)[0]
    assert found.whole == pytest.approx((float(totals.max()), float(probabilities[1]), int(probabilities.argmax())))
    assert len(set(found.label.unique().tolist())) > 1
    assert found.target == "class 1 (dog)"
    assert found.projection.targets[0].startswith(f"{found.unit}@")
    assert found.projection.values.shape == (1, 3, 12, 14)


def test_a_network_that_ends_in_a_softmax() -> None:
    module, image = small(seed=3), images_of(1, 3, 12, 14, seed=4)[0]
    one = zeiler_fergus(network_of(module, (3, 12, 14)), image, layer="0", occlusion=Occlusion(4, 3))
    with_end = nn.Sequential(*module, nn.Softmax(1))
    other = zeiler_fergus(network_of(with_end, (3, 12, 14)), image, layer="0", occlusion=Occlusion(4, 3))
    torch.testing.assert_close(one.probability, other.probability)
    assert torch.equal(one.label, other.label)
    assert str(one.unit).startswith("0:")
    assert one.unit == other.unit
    assert one.whole == pytest.approx(other.whole)


def test_what_has_no_figure_is_an_error(network: Network) -> None:
    image = images_of(1, 3, 12, 14)[0]
    with pytest.raises(AttributionError, match="a window of 50 px"):
        zeiler_fergus(network, image)
    assert (GREY.window, GREY.stride, GREY.fill) == (50, 8, "mean")
    quick = Occlusion(4, 4)
    with pytest.raises(AttributionError, match="layer 6 has no maps"):
        zeiler_fergus(network, image, layer="6", occlusion=quick)
    with pytest.raises(AddressError, match="names a unit, where a layer"):
        zeiler_fergus(network, image, layer="3:1", occlusion=quick)
    with pytest.raises(TargetError, match="no class 'bird'"):
        zeiler_fergus(network, image, "bird", occlusion=quick)
    flat = network_of(classifier(nn.Flatten(), nn.Linear(504, 2)), (3, 12, 14))
    with pytest.raises(AttributionError, match="no convolution"):
        zeiler_fergus(flat, image, occlusion=quick)
