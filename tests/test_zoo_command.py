"""``convscope zoo``: the table, the chart whose lines can be counted, and stacks in which no box hides another."""

from __future__ import annotations

import json
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from convscope import zoo
from convscope.cli import main
from convscope.errors import ConvscopeError
from convscope.graph import Graph
from convscope.recorder import record
from convscope.render.figures import depth, sheet, stacks
from odd_nets import ODD_NETS

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*words: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["zoo", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def graph(text: str) -> Graph:
    variant = zoo.find(text)
    preprocess = variant.architecture.preprocess
    with torch.device("meta"):
        return record(variant.build(preprocess.planes, preprocess.size), torch.empty(1, *preprocess.shape))


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_lists_every_architecture_in_full() -> None:
    table = run().stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(zoo.ARCHITECTURES)
    assert "…" not in table
    (line,) = [line for line in table.splitlines() if line.startswith("vgg16 ")]
    assert "2014     16  138,357,544  30.9 G  3×224×224" in line
    assert "head=fc|gap|gmp, norm=none|batch, width=FACTOR" in line


def test_what_is_said_of_some() -> None:
    """VGG-16 by hand: a product and a sum for each weight and position."""
    alexnet, vgg = json.loads(run("alexnet:head=gap", "vgg16", "--json").stdout)["architectures"]
    assert (alexnet["name"], alexnet["depth"], alexnet["parameters"]) == ("alexnet:head=gap", 7, 5_719_400)
    assert alexnet["field"] == 163 + 2 * 16
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    flops = sum(2 * 9 * a * b * side**2 for a, b, side in zip(widths, widths[1:], sides, strict=False))
    assert vgg["flops"] == flops + 2 * (25088 * 4096 + 4096 * 4096 + 4096 * 1000)
    assert (vgg["title"], vgg["year"], vgg["field"], vgg["input"]) == ("VGG-16", 2014, 196, [3, 224, 224])
    assert vgg["options"] == ["head=fc|gap|gmp", "norm=none|batch", "width=FACTOR"]


def test_wrong_names_and_words() -> None:
    assert "there is no architecture 'vgg15' in the zoo; did you mean 'vgg1" in run("vgg15", code=1).output
    assert "norm is 'x'; expected none or batch" in run("vgg16:norm=x", code=1).output
    for words in (["--chart"], ["-o", "a.png"], ["vgg16", "--chart", "-o", "a.png"], ["--stack", "-o", "a.png"],
                  ["vgg16", "--stack", "--chart", "-o", "a.png"], ["vgg16", "--stack", "-o", "a.jpg"]):  # fmt: skip
        run(*words, code=2)


# --- the chart -------------------------------------------------------------------------------------------------------


def runs(line: np.ndarray[Any, Any]) -> list[int]:
    """The lengths of the stretches that are true."""
    return [len(list(group)) for value, group in groupby(line.tolist()) if value]


def test_the_chart_has_a_line_for_each_layer_and_columns_as_high_as_the_errors(tmp_path: Path) -> None:
    result = json.loads(run("--chart", "-o", tmp_path / "chart.png", "--json").stdout)
    assert [(each["year"], each["error"], each["depth"]) for each in result["entries"]] == [
        (2010, 28.2, None), (2011, 25.8, None), (2012, 16.4, 8), (2013, 11.7, 8), (2014, 7.3, 19), (2014, 6.7, 22),
        (2015, 3.57, 152),
    ]  # fmt: skip
    with Image.open(tmp_path / "chart.png") as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    red, blue = ((abs(pixels - colour).sum(-1) < 12) for colour in ([192, 57, 43], [44, 111, 166]))
    step = (sheet.WIDTH - 60) / 7
    columns = [round(sheet.BORDER + 60 + (k + 0.5) * step) - 50 for k in range(7)]
    assert [len(runs(red[:, x])) for x in columns] == [0, 0, 8, 8, 19, 22, 152]
    heights = [max(runs(blue[:, x])) for x in columns]
    np.testing.assert_allclose(np.divide(heights, heights[0]), [e.error / 28.2 for e in depth.HISTORY], atol=0.006)


# --- stacks ----------------------------------------------------------------------------------------------------------


def test_a_chain_is_a_column_of_boxes() -> None:
    boxes = stacks.stack(graph("alexnet")).boxes
    assert [box.texts[0] for box in boxes] == [
        "11×11 conv, 96, /4", "local response norm", "max pool", "5×5 conv, 256", "local response norm", "max pool",
        "3×3 conv, 384", "3×3 conv, 384", "3×3 conv, 256", "max pool", "fc, 4096", "fc, 4096", "fc, 1000",
    ]  # fmt: skip
    assert [box.top for box in boxes] == [0, 1, 1.5, 2, 3, 3.5, 4, 5, 6, 7, 7.5, 8.5, 9.5]
    assert {(box.lane, box.lanes) for box in boxes} == {(0, 1)}
    assert [box.size for box in boxes][-4:] == ["6×6", "", "", ""]


def test_branches_stand_beside_each_other() -> None:
    boxes = stacks.stack(graph("googlenet")).boxes[7:14]  # of module 3a, behind the stem
    places = [(box.texts[-1], box.lane, box.top - boxes[0].top, box.reach - boxes[0].top) for box in boxes]
    assert places == [
        ("1×1", 0, 0, 2), ("1×1", 1, 0, 1), ("3×3", 1, 1, 2), ("1×1", 2, 0, 1), ("5×5", 2, 1, 2), ("max", 3, 0, 0.5),
        ("1×1", 3, 0.5, 2),
    ]  # fmt: skip
    assert {box.lanes for box in boxes} == {4}


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 8 - 3), ("resnet50", 16 - 4), ("vgg11", 0), ("nin", 0)])
def test_every_block_that_adds_its_input_has_a_shortcut(name: str, blocks: int) -> None:
    found = stacks.stack(graph(name)).shortcuts
    assert len(found) == blocks
    assert all(end - start in (2, 3) for start, end in found)


def check(net: Graph) -> None:
    """Each layer has a box, no box hides another, and each stands below those that it comes from."""
    drawn = stacks.stack(net)
    weighted = [box for box in drawn.boxes if box.kind not in ("pool", "norm")]
    assert len(weighted) == len(net.layers())
    for one, other in combinations(drawn.boxes, 2):
        apart = one.end <= other.top or other.end <= one.top
        assert apart or (one.lane != other.lane and one.lanes == other.lanes)
    assert all(box.lane < box.lanes and box.top < box.end <= box.reach for box in drawn.boxes)


@pytest.mark.parametrize("name", [name for name in zoo.ARCHITECTURES if name not in ("resnet101", "resnet152")])
def test_no_box_hides_another(name: str) -> None:
    net = graph(name)
    check(net)
    assert stacks.stack(net).height >= net.depth


@pytest.mark.parametrize("odd", ODD_NETS.values(), ids=ODD_NETS)
def test_any_network_can_be_drawn(odd: Any, tmp_path: Path) -> None:
    net = record(odd.make(), odd.images(1))
    check(net)
    stacks.draw([stacks.Stacked("odd", ["about it"], net)]).save(tmp_path / "odd.svg")


def test_the_figure_of_stacks(tmp_path: Path) -> None:
    names = ["lenet5", "alexnet:head=gap", "googlenet", "resnet152"]
    result = json.loads(run(*names, "--stack", "-o", tmp_path / "a.svg", "--json").stdout)
    assert [each["name"] for each in result["architectures"]] == names
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for said in ("LeNet-5", "152 layers, 2015", "5.72 M weights", "head=gap", "fully connected"):
        assert f">{said}<" in text, said
    run("alexnet", "vgg16", "--stack", "-o", tmp_path / "b.svg")
    assert ">11×11 conv, 96, /4<" in (tmp_path / "b.svg").read_text(encoding="utf-8")
    with pytest.raises(ConvscopeError, match="11 networks do not fit beside each other; give at most 10"):
        stacks.draw([stacks.Stacked("a", [], graph("lenet5"))] * 11)
