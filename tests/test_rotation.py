"""Rotated bases and random directions: against algebra, plain dissections and planted axes [METHODS 4.3, 6.4]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.concepts import Labels
from convscope.dissection import DissectedLayer, Dissection, dissect
from convscope.dissection.run import carry_out
from convscope.dissection.task import Task
from convscope.network import Network
from dissecting import Planted, planted

pytestmark = pytest.mark.usefixtures("one_thread")

UNITS, SIDE = 9, 24


@pytest.fixture(scope="module")
def world() -> tuple[Network, Planted]:
    """Unit k answers where concept k is; concepts are squares of chance that overlap, each with a map of its own."""
    rng = np.random.default_rng(2)
    maps = np.zeros((30, UNITS, SIDE, SIDE), np.int32)
    for each in maps:
        for unit in range(UNITS):
            y, x = rng.integers(0, SIDE - 8, 2)
            each[unit, y : y + 8, x : x + 8] = unit + 1
    channels = (maps > 0) * rng.uniform(0.8, 1.2, maps.shape) + rng.uniform(0, 0.1, maps.shape)
    concepts = [(f"thing {unit}", "object") for unit in range(UNITS)]
    return planted(channels, concepts, [Labels(each) for each in maps])


def task(world: tuple[Network, Planted], **options: Any) -> Task:
    given: dict[str, Any] = {
        "layers": None, "at": "response", "limit": None, "batch_size": 8, "threads": 1, "quantile": 0.05,
        "upsampling": "anchored", "threshold": "exact",
    }  # fmt: skip
    return Task.of(*world, **given | options)


def same(one: DissectedLayer, other: DissectedLayer, order: list[int]) -> bool:
    """Whether every IoU, threshold and interval of one layer are those of the units `order` of the other."""
    facts = [[(unit.label, unit.iou, unit.threshold, unit.interval) for unit in layer] for layer in (one, other)]
    return facts[0] == [facts[1][unit] for unit in order] and bool((one.iou == other.iou[order]).all())


def test_a_mixed_layer_is_dissected_as_one_of_the_network(world: tuple[Network, Planted], tmp_path: Path) -> None:
    plain = dissect(*world, tmp_path, quantile=0.05, batch_size=8)
    order = np.random.default_rng(1).permutation(UNITS).tolist()
    doubled = np.eye(UNITS)[:3] * 2
    matrices = {"same": np.eye(UNITS), "other": np.eye(UNITS)[order], "double": doubled}
    mixed = carry_out(task(world).mixed(matrices, {"by": "hand"}), tmp_path / "mixed", lambda progress: None)
    layer, same_again, permuted, some = mixed.layers
    assert [each.address for each in mixed.layers] == ["0", "0.same", "0.other", "0.double"]
    assert len(some) == 3
    (base,) = plain.layers
    assert base.counts(0.3).unique == UNITS
    assert same(layer, base, list(range(UNITS)))
    assert same(same_again, base, list(range(UNITS)))
    assert same(permuted, base, order)
    assert (some.iou == base.iou[:3]).all()
    assert [unit.threshold for unit in some] == [2 * unit.threshold for unit in base][:3]
    assert mixed["0.other:2"].label == plain["0"][order[2]].label
    again = Dissection.open(tmp_path / "mixed")
    assert again.run["job"]["mixing"] == {"by": "hand"}
