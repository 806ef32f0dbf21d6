"""The drawing of a network: nothing overlaps, every edge goes right, and blocks are links to their layers."""

from __future__ import annotations

import itertools
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from convscope.outline import outline
from convscope.recorder import record
from convscope.render.drawing import draw
from convscope.render.layout import Block, Layout, layout, side
from odd_nets import ODD_NETS

SVG = "{http://www.w3.org/2000/svg}"


class Made:
    """A graph made by hand: `add` gives the id of a new node."""

    def __init__(self, size: int = 224) -> None:
        self.graph: dict[str, Any] = {"nodes": [], "edges": []}
        self.layers = 0
        self.add("input", [], [3, size, size])

    def add(self, kind: str, before: list[int], shape: list[int], name: str = "") -> int:
        id, layer = len(self.graph["nodes"]), None
        if kind in ("conv", "linear"):
            layer, self.layers = self.layers, self.layers + 1
        node = {"id": id, "kind": kind, "op": kind, "name": name or f"{kind}{id}", "shape": shape, "layer": layer}
        self.graph["nodes"].append(node)
        self.graph["edges"] += [[source, id] for source in before]
        return id

    def chain(self, at: int, kinds: str, shape: list[int], stage: str = "") -> int:
        for kind in kinds.split():
            at = self.add(kind, [at], shape, f"{stage}.{len(self.graph['nodes'])}" if stage else "")
        return at


def resnet(blocks: tuple[int, ...]) -> Made:
    net = Made()
    at = net.chain(0, "conv", [64, 112, 112], "conv1")
    for stage, count in enumerate(blocks):
        for block in range(count):
            shape, name = [256 << stage, 56 >> stage, 56 >> stage], f"layer{stage + 1}.{block}"
            skip = at if block else net.add("conv", [at], shape, f"{name}.downsample")
            at = net.add("add", [net.chain(at, "conv conv conv", shape, name), skip], shape)
            at = net.chain(at, "activation", shape)
    net.chain(at, "pool linear output", [1000])
    return net


def densenet() -> Made:
    net = Made()
    features = [net.chain(0, "conv pool", [64, 56, 56])]
    for layer in range(24):
        joined = net.add("concat", features, [64 + 32 * layer, 56, 56]) if layer else features[0]
        features.append(net.chain(joined, "norm activation conv conv", [32, 56, 56], "block"))
    net.chain(net.add("concat", features, [832, 56, 56]), "pool linear output", [1000])
    return net


def inception() -> Made:
    net = Made()
    at = net.chain(0, "conv pool", [64, 56, 56])
    for i in range(9):
        ways = ("conv", "conv conv", "conv conv conv", "pool conv")
        at = net.add("concat", [net.chain(at, way, [64, 28, 28], f"mixed{i}") for way in ways], [256, 28, 28])
    net.chain(at, "pool linear output", [1000])
    return net


def unet() -> Made:
    net, at, skips = Made(), 0, []
    for level in range(4):
        at = net.chain(at, "conv conv", [64 << level, 224 >> level, 224 >> level])
        skips.append(at)
        at = net.chain(at, "pool", [64 << level, 112 >> level, 112 >> level])
    for level in reversed(range(4)):
        shape = [64 << level, 224 >> level, 224 >> level]
        at = net.chain(net.add("concat", [net.chain(at, "op", shape), skips.pop()], shape), "conv conv", shape)
    net.chain(at, "output", [2, 224, 224])
    return net


MADE = {"resnet50": resnet((3, 4, 6, 3)), "densenet": densenet(), "inception": inception(), "unet": unet(),
        "resnet152": resnet((3, 8, 36, 3))}  # fmt: skip


def odd_graph(name: str) -> dict[str, Any]:
    odd = ODD_NETS[name]
    graph = record(odd.make(), odd.images(2))
    return outline(graph, graph.layers())


def graphs() -> list[Any]:
    odd = [pytest.param(lambda name=name: odd_graph(name), id=name) for name in ODD_NETS]
    return odd + [pytest.param(lambda net=net: net.graph, id=name) for name, net in MADE.items()]


def box(block: Block) -> tuple[float, float, float, float]:
    return (
        block.x - block.width / 2, block.y - block.height / 2, block.x + block.width / 2, block.y + block.height / 2,
    )  # fmt: skip


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("width", [358, 1240])
@pytest.mark.parametrize("make", graphs())
def test_every_layout(make: Any, width: int) -> None:
    graph = make()
    plan = layout(graph, width)
    absorbed = sum(len(block.part.absorbed) for block in plan.blocks.values())
    assert len(plan.blocks) + absorbed == len(graph["nodes"])
    blocks = list(plan.blocks.values())
    for one, other in itertools.combinations(blocks, 2):
        assert not overlap(box(one), box(other))
    for block in blocks:
        x0, y0, x1, y1 = box(block)
        assert 0 <= x0 < x1 <= plan.width
        row = plan.rows[block.row]
        assert row.top - 1e-6 <= y0 < y1 <= row.bottom + 1e-6
    for row, later in itertools.pairwise(plan.rows):
        assert row.bottom + 46 < later.top
    _check_lines(plan)


def _check_lines(plan: Layout) -> None:
    for line in plan.lines:
        one, other = plan.blocks[line.source], plan.blocks[line.target]
        assert one.rank < other.rank
        assert one.row <= other.row
        points = [line.start, *(line.middle or ()), line.end]
        assert all(a[0] <= b[0] + 1e-6 for a, b in itertools.pairwise(points))
        if line.middle is not None:  # what is level touches no block
            (x0, y), (x1, _) = line.middle
            for block in plan.blocks.values():
                if block.part.id not in (line.source, line.target) and block.row == other.row:
                    assert not overlap((x0, y - 0.5, x1, y + 0.5), box(block))
    for index in range(len(plan.rows) - 1):  # all that goes on comes from one node
        leaving = {
            line.source for line in plan.lines if plan.blocks[line.source].row <= index < plan.blocks[line.target].row
        }
        assert len(leaving) == 1


def test_sizes_are_to_scale() -> None:
    plan = layout(MADE["resnet50"].graph)
    for block in plan.blocks.values():
        if block.part.node["kind"] == "conv":
            assert block.height == pytest.approx(max(12, 118 * (side(block.part.node["shape"]) / 224) ** 0.5))
            assert block.width == plan.breadth(block.part.node["shape"][0])
    assert plan.breadth(512) - plan.breadth(256) == pytest.approx(plan.breadth(128) - plan.breadth(64))


def test_the_main_path_is_straight() -> None:
    plan = layout(MADE["resnet152"].graph)
    assert len(plan.rows) > 2
    for block in plan.blocks.values():
        name, line = block.part.node["name"], plan.rows[block.row].line
        assert (block.y == line) == ("downsample" not in name)


def test_dense_concatenations_go_on_from_the_one_before() -> None:
    plan = layout(densenet().graph)
    feeds = [len(block.part.before) for block in plan.blocks.values() if block.part.node["kind"] == "concat"]
    assert feeds == [2] * 24


def test_long_networks_are_cut_into_rows_that_fit() -> None:
    for net in (MADE["resnet50"], MADE["resnet152"], MADE["densenet"]):
        assert layout(net.graph, 1240).width < 1264


def test_short_networks_stay_in_one_row() -> None:
    net = Made(32)
    net.chain(0, "conv pool conv pool conv linear linear output", [16, 8, 8])
    for width in (358, 1240):
        assert len(layout(net.graph, width).rows) == 1
        assert layout(net.graph, width).width <= width


def test_blocks_are_links_with_titles() -> None:
    graph = odd_graph("residual")
    hrefs = [f"layers/{i}/?a&b" for i in range(5)]
    root = ET.fromstring(draw(graph, hrefs, ["7 × 7 px", None], name="a <net>"))
    links = root.findall(f"{SVG}a")
    assert [link.get("href") for link in links] == hrefs
    assert [link.get("data-layer") for link in links] == ["0", "1", "2", "3", "4"]
    assert links[0].get("aria-label") == "stem · conv2d · 4 × 8 × 10 · field 7 × 7 px"
    assert links[1].find(f"{SVG}title").text == "conv1 · conv2d · 4 × 4 × 5"  # type: ignore[union-attr]
    assert root.get("aria-label") == "a <net>: 5 layers"
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert "addition · 4 × 4 × 5 · then relu" in titles


def test_layers_without_a_page_are_no_links() -> None:
    graph = odd_graph("residual")
    graph["nodes"][1]["layer"] = None
    root = ET.fromstring(draw(graph, ["a", "b"]))
    assert len(root.findall(f"{SVG}a")) == 1  # the layers 2 to 4 have no address, and stem was not scanned
    assert "unseen" in draw(graph)


def test_no_text_overlaps() -> None:
    for net in MADE.values():
        root = ET.fromstring(draw(net.graph))
        texts = root.findall(f"{SVG}text")
        spans = []
        for each in texts:
            half = len(each.text or "") * 6.7 / 2
            x, y = float(each.get("x", 0)), float(each.get("y", 0))
            spans.append((x - half, y - 9, x + half, y + 3))
        assert texts
        assert not any(overlap(one, other) for one, other in itertools.combinations(spans, 2))


def test_the_same_graph_gives_the_same_picture_at_once() -> None:
    begun = time.perf_counter()
    first = draw(MADE["resnet152"].graph)
    assert time.perf_counter() - begun < 1
    assert first == draw(resnet((3, 8, 36, 3)).graph)


def test_colours_are_those_of_the_page() -> None:
    style = draw(MADE["unet"].graph).split("<style>")[1].split("</style>")[0]
    assert "#" not in style
    assert {"--ink", "--soft", "--line", "--accent", "--card", "--paper"} == {
        part.split(")")[0] for part in style.split("var(")[1:]
    }
