"""The words in a drawing of a network: names of its stages under the rows, and what the signs and sizes mean."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from convscope.render.layout import LAYERS, Block, Layout

_LETTER = 6.7  # px of an average letter


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text at a baseline."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def groups(plan: Layout) -> list[str]:
    """Under each row its stages: a brace, its name and the shape that it gives; what has no room is left out."""
    blocks = [block for block in plan.blocks.values() if block.part.node["kind"] in LAYERS]
    stages = _stages([block.part.node["name"] for block in blocks])
    shown: list[str] = []
    for index, row in enumerate(plan.rows):
        runs: list[tuple[str, list[Block]]] = []
        for block in sorted((each for each in blocks if each.row == index), key=lambda each: (each.x, each.y)):
            stage = stages[block.part.node["name"]]
            if runs and runs[-1][0] == stage:
                runs[-1][1].append(block)
            else:
                runs.append((stage, [block]))
        ends = [row.right + 8] * 2
        for stage, run in reversed(runs):
            shown += _stage(stage, run, plan, row.bottom + 12, ends)
    return shown


def _stage(stage: str, run: Sequence[Block], plan: Layout, y: float, ends: list[float]) -> list[str]:
    """A brace and its two lines of text, which end before `ends`; these are moved to where the text begins."""
    left = min(block.x - block.width / 2 for block in run)
    right = max(block.x + block.width / 2 for block in run)
    middle = (left + right) / 2
    shown = [f'<path class="brace" d="M{left:.1f} {y:.1f}H{max(right, left + 4):.1f}"/>']
    shape = "×".join(map(str, _given(run, plan)))
    for i, words in enumerate((stage.rpartition(".")[2] if len(stage) > 14 else stage, shape)):
        half = len(words) * _LETTER / 2
        at = max(middle, half + 2)
        if at + half > ends[i]:
            break
        shown.append(text(at, y + 15 + 14 * i, words, "soft" if i else "", "middle"))
        ends[i] = at - half - 8
    return shown


def _given(run: Sequence[Block], plan: Layout) -> list[int]:
    """The shape that a stage gives: of its last layer, or of what that is joined with right after it."""
    last = max(run, key=lambda block: block.part.id).part
    after = (block.part.node for block in plan.blocks.values() if last.id in block.part.before)
    joint = next((node for node in after if node["kind"] in ("add", "concat")), last.node)
    return list(joint["shape"])


def _stages(names: Sequence[str]) -> dict[str, str]:
    """The stage of each layer: the start of its name, cut where that makes a fair number of stages."""
    found: dict[str, str] = {}

    def split(inside: Sequence[str], depth: int) -> None:
        parts: dict[str, list[str]] = {}
        for name in inside:
            parts.setdefault(".".join(name.split(".")[: depth + 1]), []).append(name)
        for stage, members in parts.items():
            deeper = any(name != stage for name in members)
            if deeper and (len(members) > max(0.6 * len(names), 4) or len(names) <= 10):
                split(members, depth + 1)
            else:
                found.update(dict.fromkeys(members, stage))

    split(names, 0)
    return found


def legend(plan: Layout, y: float, room: float) -> tuple[float, float, str]:
    """What sizes and signs mean, from y on; width and height of all, and the SVG."""
    kinds = {block.part.node["kind"] for block in plan.blocks.values()}
    signs = {"pool": "pooling", "add": "addition", "multiply": "gating", "concat": "concatenation",
             "op": "other operation"}  # fmt: skip
    items = [(kind, words) for kind, words in signs.items() if kind in kinds]
    whole = max(1, round(plan.side))
    sides = list(dict.fromkeys(max(1, whole // part) for part in (8, 16, 32)))
    x, shown, base = 20.0, [], y + plan.rise(sides[0]) / 2
    most = 0.0
    room = max(plan.width, room) - 20
    step = max(34.0, plan.rise(sides[0]) + 8)

    def place(width: float) -> float:
        nonlocal x, base, most
        if x + width > room and x > 20:
            x, base = 20.0, base + step
        at, x = x, x + width
        most = max(most, x)
        return at

    for each in sides:
        high = plan.rise(each)
        at = place(12 + 8 + len(f"{each} px") * _LETTER + 14)
        shown.append(
            f'<rect class="conv" x="{at:.1f}" y="{base - high / 2:.1f}" width="9" height="{high:.1f}" rx="2"/>'
        )
        shown.append(text(at + 15, base + 4, str(each), "soft"))
    words = "height: √ side of the map"
    shown.append(text(place(len(words) * _LETTER + 26), base + 4, words, "soft"))
    for each in (8, 64, 512):
        wide = plan.breadth(each)
        at = place(wide + 8 + len(str(each)) * _LETTER + 12)
        shown.append(f'<rect class="conv" x="{at:.1f}" y="{base - 7:.1f}" width="{wide:.1f}" height="14" rx="2"/>')
        shown.append(text(at + wide + 6, base + 4, str(each), "soft"))
    words = "width: log of the channels"
    shown.append(text(place(len(words) * _LETTER + 26), base + 4, words, "soft"))
    for kind, words in items:
        at = place(20 + len(words) * _LETTER + 14)
        shown += [_sign(kind, at + 6, base), text(at + 17, base + 4, words, "soft")]
    return max(plan.width, most + 6), base + 34, f'<g aria-hidden="true">{"".join(shown)}</g>'


def _sign(kind: str, x: float, y: float) -> str:
    signs = {
        "add": f"M{x - 3} {y:.1f}h6M{x} {y - 3:.1f}v6",
        "multiply": f"M{x - 2.3} {y - 2.3:.1f}l4.6 4.6m0 -4.6l-4.6 4.6",
    }
    if kind == "pool":
        return f'<path class="pool" d="M{x - 3:.1f} {y - 9:.1f}l7 4v10l-7 4z"/>'
    if kind == "concat":
        return f'<rect class="concat" x="{x - 2:.1f}" y="{y - 9:.1f}" width="4" height="18" rx="2"/>'
    sign = signs.get(kind, f"M{x - 0.5:.1f} {y:.1f}h1")
    return f'<circle class="ring {kind}" cx="{x:.1f}" cy="{y:.1f}" r="6"/><path class="sign" d="{sign}"/>'
