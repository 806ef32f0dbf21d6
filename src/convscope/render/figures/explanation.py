"""The comparison sheet: an image, what the network says of it, and what each method makes of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Rectangle

from convscope.explanation.randomization import ALIKE, RANKS
from convscope.explanation.result import About, Cell, Explained
from convscope.render import maps
from convscope.render.figures.sheet import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    line_height,
    lines,
    shortened,
    text_width,
)
from convscope.render.overlays import enlarged

_SIDE, _BETWEEN, _GAP, _APART = 430, 60, 20, 60  # px: of the image, then to the maps, between tiles, and between groups
_ROOM = WIDTH - _SIDE - _BETWEEN
_ACROSS, _FEW = 6, 4  # tiles beside each other at most, and where one target is explained
_TOP, _LINE, _BAR = 124, 32, 44  # px: above the image, a line of small text, and a prediction
OVERVIEW, _MAPS = 10, 6  # images in an overview, and maps of each
_FAINT = "#dfe9f2"  # bars behind text


@dataclass(frozen=True)
class _Plan:
    """Where tiles are.

    Args:
        across: tiles of a group beside each other.
        beside: groups beside each other.
        titled: whether each group has a title, and its tiles none.
        side: px of a tile's larger side.
        height: px from one row of tiles to the next.
    """

    across: int
    beside: int
    titled: bool
    side: int
    height: float

    @classmethod
    def of(cls, image: Explained, about: About) -> _Plan:
        """With one target all methods are one group; with several each method is one."""
        methods, columns = len(about.methods), len(about.columns)
        if columns == 1:
            rows = -(-methods // _FEW)
            across, beside = -(-methods // rows), 1
        else:
            across = min(columns, _ACROSS)
            beside = min(methods, max(1, _ACROSS // across))
        gaps = (across - 1) * _GAP * beside + (beside - 1) * _APART
        side = min(_SIDE, (_ROOM - gaps) // (across * beside))
        return cls(across, beside, columns > 1, side, _height(image, side) + 3 * _LINE + 26)

    def group(self, cells: int) -> float:
        """How high a group of so many cells is."""
        return -(-cells // self.across) * self.height + (1.5 * line_height(NORMAL) + 6 if self.titled else 0)


def draw(image: Explained, about: About) -> Sheet:
    """The sheet of an image: with one target a map for each method, with several a group for each method."""
    plan = _Plan.of(image, about)
    groups = _groups(image, about)
    rows = [groups[start : start + plan.beside] for start in range(0, len(groups), plan.beside)]
    right = _TOP + sum(plan.group(len(row[0])) for row in rows)
    left = _TOP + _height(image, _SIDE) + 24 + len(image.predictions) * _BAR
    end = round(max(left, right)) + 30
    captions = _captions(image)
    sheet = Sheet(end + caption_height(captions, size=SMALL))
    _heading(sheet, image, about)
    _image(sheet, image)
    y: float = _TOP
    for row in rows:
        for number, cells in enumerate(row):
            x = _SIDE + _BETWEEN + number * (plan.across * (plan.side + _GAP) - _GAP + _APART)
            _group(sheet, image, about, cells, plan, (x, y))
        y += plan.group(len(row[0]))
    sheet.paragraphs(0, end, WIDTH, captions, SMALL)
    return sheet


def draw_overview(images: Sequence[Explained], about: About, count: int) -> Sheet:
    """The first images, each with its first maps, as rows; `count` of them were explained."""
    shown = images[:OVERVIEW]
    chosen = [_first_maps(image, about) for image in shown]
    across = max(map(len, chosen)) + 1
    side = min(_SIDE, (WIDTH - (across - 1) * _GAP) // across)
    step = max(_height(image, side) for image in shown) + 3 * _LINE + 50
    captions = [_overview_caption(shown, about, count), *_captions(*shown)]
    end = round(84 + len(shown) * step)
    sheet = Sheet(end + caption_height(captions, size=SMALL))
    sheet.text(0, 0, f"{count} images, explained by {about.network}", LARGE, weight="bold")
    for row, (image, cells) in enumerate(zip(shown, chosen, strict=True)):
        y = 84 + row * step
        sheet.text(0, y, _end(image.name, side), SMALL, color=GREY)
        sheet.text(0, y + _LINE, shortened(_said(image), side, SMALL), SMALL)
        sheet.image(enlarged(image.picture, side), 0, round(y + 2 * _LINE + 6))
        for column, cell in enumerate(cells, 1):
            _tile(sheet, image, about, cell, (column * (side + _GAP), y), side, True)
    sheet.paragraphs(0, end, WIDTH, captions, SMALL)
    return sheet


def _groups(image: Explained, about: About) -> list[list[Cell]]:
    size = len(image.cells) if len(about.columns) == 1 else len(about.columns)
    return [list(image.cells[start : start + size]) for start in range(0, len(image.cells), size)]


def _height(image: Explained, side: int) -> int:
    """Of the image where its larger side is `side` px."""
    height, width = image.picture.shape[:2]
    return max(1, round(int(height) * side / int(max(height, width))))


def _heading(sheet: Sheet, image: Explained, about: About) -> None:
    sheet.text(0, 0, shortened(image.name, WIDTH, LARGE), LARGE, weight="bold")
    kinds = {
        "softmax": "one class is true, and the probabilities of all sum to 100 %",
        "sigmoid": "several classes can be true at once, each has a probability of its own",
        "real": "its outputs are real values",
    }
    said = [f"network {about.network}: {kinds.get(str(about.outputs), 'its outputs are no scores of classes')}"]
    if image.truth is not None and image.rank is not None:
        said.append(f"the label of the image is {image.truth}, ranked {image.rank + 1} of {about.classes}")
    sheet.text(0, 52, shortened("; ".join(said), WIDTH, NORMAL), color=GREY)


def _image(sheet: Sheet, image: Explained) -> None:
    """The image, and below it what the network says; the class of its label is in bold."""
    sheet.image(enlarged(image.picture, _SIDE), 0, _TOP)
    top = _TOP + _height(image, _SIDE) + 24
    bars = sheet.canvas(0, top, _SIDE, max(1, len(image.predictions)) * _BAR)
    for number, each in enumerate(image.predictions):
        if each.kind == "probability" and np.isfinite(each.value):
            place = (0, number * _BAR), min(1.0, each.value) * _SIDE, _BAR - 6
            bars.add_patch(Rectangle(*place, color=_FAINT, lw=0))
        right = image.truth is not None and each.index == image.truth.index
        weight = "bold" if right else "normal"
        middle, room = top + number * _BAR + (_BAR - 6) / 2, _SIDE - text_width(each.said, NORMAL) - 40
        sheet.text(8, middle, shortened(str(each), room, NORMAL), va="center_baseline", weight=weight)
        sheet.text(_SIDE - 8, middle, each.said, ha="right", va="center_baseline", weight=weight)


def _group(
    sheet: Sheet, image: Explained, about: About, cells: Sequence[Cell], plan: _Plan, place: tuple[float, float]
) -> None:
    """Tiles, below the method's name if they are of one."""
    x, y = place
    if plan.titled:
        room = plan.across * (plan.side + _GAP)
        sheet.text(x, y, shortened(cells[0].label, room, NORMAL), weight="bold")
        y += 1.5 * line_height(NORMAL)
    for number, cell in enumerate(cells):
        corner = x + number % plan.across * (plan.side + _GAP), y + number // plan.across * plan.height
        _tile(sheet, image, about, cell, corner, plan.side, not plan.titled)


def _tile(
    sheet: Sheet, image: Explained, about: About, cell: Cell, place: tuple[float, float], side: int, named: bool
) -> None:
    """A map with what it explains above it, and its scale and its check below.

    Args:
        named: give the method, and the target in the second line.
    """
    x, y = place
    target, score = (cell.column, "") if cell.found is None else maps.target(cell)
    first, second = (_name(cell, about), f"{target}, {score}" if score else target) if named else (target, score)
    sheet.text(x, y, shortened(first, 0.95 * side, SMALL), SMALL, weight="bold")
    sheet.text(x, y + _LINE, shortened(second, side, SMALL), SMALL, color=GREY)
    top = round(y + 2 * _LINE + 6)
    height = _height(image, side)
    if cell.found is None or cell.found.blank[0] is not None:
        _nothing(sheet, (round(x), top, side, height), cell)
        return
    view = maps.view(cell.found, about.channels)
    sheet.image(maps.drawn(view, image.picture, side), round(x), top)
    below = top + height + 8
    sheet.text(x, below, view.scale, SMALL, color=GREY)
    if RANKS in cell.found.evidence:
        number = float(cell.found.evidence[RANKS][0])
        colour = RED if number >= ALIKE else INK
        sheet.text(x + side, below, f"ρ {maps.correlation(number)}", SMALL, color=colour, ha="right")


def _name(cell: Cell, about: About) -> str:
    """The method, with its parameters only where several differ in these."""
    return cell.label if sum(each.name == cell.method.name for each in about.methods) > 1 else cell.method.name


def _nothing(sheet: Sheet, place: tuple[int, int, int, int], cell: Cell) -> None:
    """Why there is no map, where it would be."""
    x, y, width, height = place
    reason = cell.refused if cell.found is None else f"Zero everywhere: {cell.found.blank[0]}."
    canvas = sheet.canvas(x, y, width, height)
    canvas.add_patch(Rectangle((1, 1), width - 2, height - 2, fill=False, ec=GREY, lw=0.5, ls=(0, (4, 3))))
    room = max(1, int((height - 20) // line_height(SMALL)))
    broken = lines(str(reason), width - 28, SMALL)
    if len(broken) > room:
        broken = [*broken[: room - 1], "… (all of it below)"]
    for number, line in enumerate(broken):
        sheet.text(x + 14, y + 12 + number * line_height(SMALL), line, SMALL, color=GREY)


def _first_maps(image: Explained, about: About) -> list[Cell]:
    """What an overview has room for: all targets of one method, or all methods with the first target."""
    if len(about.methods) == 1:
        return list(image.cells[:_MAPS])
    return list(image.cells[:: len(about.columns)][:_MAPS])


def _said(image: Explained) -> str:
    """The best class, and the one of the label where it is another one."""
    best = "".join(f"{each} {each.said}" for each in image.predictions[:1])
    return best if image.truth is None or image.rank == 0 else f"{best}, labelled {image.truth}"


def _captions(*images: Explained) -> list[str]:
    """What colours mean, what was checked, and what must be known."""
    cells = [cell for image in images for cell in image.cells]
    drawn = [cell for cell in cells if cell.found is not None]
    kinds = defaultdict(list)
    for cell in drawn:
        assert cell.found is not None
        if cell.found.blank[0] is None:
            kinds[maps.view(cell.found, "RGB").kind].append(cell.label)
    scale = "Each map has its own scale: the number below it is that of full colour."
    texts = [scale] + [f"{', '.join(dict.fromkeys(names))}: {maps.MEANING[kind]}" for kind, names in kinds.items()]
    found = [" ".join(texts)] if kinds else []
    layers = dict.fromkeys(cell.check.layer for cell in drawn if cell.check is not None and cell.check.layer)
    if layers:
        found.append(
            f"ρ: rank correlation with the map of the same network with random weights in {', '.join(layers)}; red "
            f"from {ALIKE} on: the map hardly depends on what the network has learned there (Adebayo et al. 2018)."
        )
    said = [f"{cell.label}: no map. {cell.refused}" for cell in cells if cell.found is None]
    for cell in drawn:
        assert cell.found is not None
        if cell.found.blank[0] is not None:
            said.append(f"{cell.label}: {cell.found.blank[0]}")
        said += [f"{cell.label}: {note}" for note in cell.found.notes if "Adebayo" not in note]  # ρ says that
    return found + list(dict.fromkeys(said))


def _end(name: str, width: float) -> str:
    """The end of a file's name, which tells it from others, if it is too wide."""
    shown = name
    while len(shown) > 1 and text_width(shown if shown == name else f"…{shown}", SMALL) > width:
        shown = shown[1:]
    return shown if shown == name else f"…{shown}"


def _overview_caption(shown: Sequence[Explained], about: About, count: int) -> str:
    some = f"The first {len(shown)} of {count} images" if len(shown) < count else f"All {count} images"
    every = len(about.methods) == 1 or len(about.columns) == 1
    which = "" if every else f", for the first of {len(about.columns)} targets"
    return f"{some}{which}; the folder of each image has all of its maps."
