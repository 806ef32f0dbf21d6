"""The network as a picture: its graph drawn to scale, as SVG whose colours are those of the page around it.

A block is a layer, as high as the square root of its map's side and as wide as the logarithm of its channels would
have it; branches, additions and concatenations are lines and small signs between. Blocks are links.

>>> svg = draw(atlas.run["graph"], hrefs=[f"layers/{layer['slug']}/index.html" for layer in atlas.run["layers"]])
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from convscope.render.labels import groups, legend
from convscope.render.layout import LAYERS, SYMBOLS, Block, Layout, Line, Row, layout, side

_STYLE = """
.network{display:block;font:11px system-ui,sans-serif}
.network text{fill:var(--ink)}.network .soft{fill:var(--soft)}
.network .edge,.network .sign,.network .turn{fill:none;stroke:var(--soft);stroke-width:1.1}
.network .edge{stroke-opacity:.75}.network .turn{stroke-dasharray:3 3}
.network .tip{fill:var(--soft)}
.network .ring{fill:var(--paper);stroke:var(--soft);stroke-width:1.1}
.network .ring.op{fill:var(--card)}
.network .conv{fill:color-mix(in srgb,var(--accent) 34%,var(--card));stroke:var(--accent)}
.network .linear{fill:color-mix(in srgb,var(--accent) 78%,var(--card));stroke:var(--accent)}
.network .input{fill:var(--card);stroke:var(--ink)}
.network .pool{fill:color-mix(in srgb,var(--soft) 30%,var(--card));stroke:var(--soft)}
.network .concat,.network .output{fill:var(--soft)}
.network .unseen{fill:var(--card);stroke-dasharray:2 2}
.network .hit{fill:transparent}
.network a:hover .conv,.network a:hover .linear,.network a:focus .conv,.network a:focus .linear{fill:var(--accent)}
.network a{outline:none;cursor:pointer}
.network a:focus-visible .hit{stroke:var(--accent);stroke-width:2}
.network .brace{stroke:var(--line);stroke-width:1.5;fill:none}
"""
_WORDS = {"add": "addition", "multiply": "gating product", "concat": "concatenation", "op": "operation"}


def draw(
    graph: dict[str, Any],
    hrefs: Sequence[str | None] = (),
    fields: Sequence[str | None] = (),
    width: float = 1240,
    name: str = "The network",
) -> str:
    """The SVG of `run["graph"]`.

    Args:
        hrefs: of each layer, by its index in `run["layers"]`, where its block leads to.
        fields: of each layer, what its title says of its field, such as "35 × 35 px".
        width: px of the place it is for; rows are as long, longer ones only where the network cannot be cut.
        name: what a screen reader calls the picture.
    """
    plan = layout(graph, width)
    wide, height, key = legend(plan, plan.height + 62, width)
    shown = [_line(line) for line in plan.lines]
    shown += [_turn(one, other) for one, other in pairwise(plan.rows)]
    shown += [_block(block, plan, _at(hrefs, block), _at(fields, block)) for block in plan.blocks.values()]
    shown += groups(plan)
    size = f'width="{wide:.0f}" height="{height:.0f}" viewBox="0 0 {wide:.0f} {height:.0f}"'
    said = f"{name}: {sum(block.part.node['kind'] in LAYERS for block in plan.blocks.values())} layers"
    return "\n".join(
        [
            f'<svg class="network" xmlns="http://www.w3.org/2000/svg" {size} role="group" aria-label="{escape(said)}">',
            f"<style>{_STYLE}</style>",
            *shown,
            key,
            "</svg>",
        ]
    )


def _at(values: Sequence[str | None], block: Block) -> str | None:
    index = block.part.node["layer"]
    return values[index] if index is not None and index < len(values) else None


def _block(block: Block, plan: Layout, href: str | None, field: str | None) -> str:
    node = block.part.node
    title = _title(block, field)
    shape = _shape(block, plan)
    if node["kind"] not in LAYERS:
        return f"<g><title>{escape(title)}</title>{shape}</g>"
    data = "" if node["layer"] is None else f' data-layer="{node["layer"]}"'
    hit = _rectangle(block, "hit", max(block.width + 4, 16), max(block.height + 4, 24))
    inside = f"<title>{escape(title)}</title>{hit}{shape}"
    if href is None:
        return f"<g{data}>{inside}</g>"
    return f'<a href="{escape(href)}"{data} aria-label="{escape(title)}">{inside}</a>'


def _title(block: Block, field: str | None) -> str:
    node = block.part.node
    words = [node["name"] if node["kind"] in LAYERS else _WORDS.get(node["kind"], node["kind"])]
    if node["kind"] in LAYERS | {"pool", "op"}:
        words.append(node["op"].replace("_", " "))
    words.append(" × ".join(map(str, node["shape"])) or "one number")
    if field:
        words.append(f"field {field}")
    if block.part.absorbed:
        words.append("then " + ", ".join(each.replace("_", " ") for each in dict.fromkeys(block.part.absorbed)))
    return " · ".join(words)


def _shape(block: Block, plan: Layout) -> str:
    node, x, y, r = block.part.node, block.x, block.y, block.width / 2
    kind = node["kind"]
    if kind in SYMBOLS:
        arm = r * 0.5
        signs = {
            "add": f"M{x - arm:.1f} {y:.1f}h{2 * arm:.1f}M{x:.1f} {y - arm:.1f}v{2 * arm:.1f}",
            "multiply": f"M{x - arm * 0.75:.1f} {y - arm * 0.75:.1f}l{1.5 * arm:.1f} {1.5 * arm:.1f}"
            f"m0 {-1.5 * arm:.1f}l{-1.5 * arm:.1f} {1.5 * arm:.1f}",
        }
        sign = signs.get(kind, f"M{x - 0.5:.1f} {y:.1f}h1")
        return f'<circle class="ring {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/><path class="sign" d="{sign}"/>'
    if kind == "pool":
        left, right = block.height / 2, plan.rise(side(node["shape"])) / 2
        return (
            f'<path class="pool" d="M{x - r:.1f} {y - left:.1f}L{x + r:.1f} {y - right:.1f}V{y + right:.1f}'
            f'L{x - r:.1f} {y + left:.1f}Z"/>'
        )
    unseen = " unseen" if kind in LAYERS and node["layer"] is None else ""
    return _rectangle(block, kind + unseen, block.width, block.height, 2.0)


def _rectangle(block: Block, kind: str, width: float, height: float, round: float = 3.0) -> str:
    return (
        f'<rect class="{kind}" x="{block.x - width / 2:.1f}" y="{block.y - height / 2:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" rx="{round:g}"/>'
    )


def _line(line: Line) -> str:
    points = [line.start, *(line.middle or ()), line.end]
    d = f"M{line.start[0]:.1f} {line.start[1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (x + to_x) / 2
        d += f"H{to_x:.1f}" if y == to_y else f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path class="edge" d="{d}"/>'


def _turn(one: Row, other: Row) -> str:
    """From the end of a row to the beginning of the next one."""
    right, left, between, r = one.right + 14, other.left - 14, other.top - 12, 8
    d = (
        f"M{one.right:.1f} {one.line:.1f}H{right - r:.1f}q{r} 0 {r} {r}V{between - r:.1f}q0 {r} {-r} {r}"
        f"H{left + r:.1f}q{-r} 0 {-r} {r}V{other.line - r:.1f}q0 {r} {r} {r}H{other.left:.1f}"
    )
    tip = f"M{other.left + 1:.1f} {other.line:.1f}l-6 -3.5v7z"
    return f'<path class="turn" d="{d}"/><path class="tip" d="{tip}"/>'
