"""A prediction as a sum of units: the image, where its strongest units answer, and what each adds [METHODS 6.9]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convscope.dissection.section import CUT
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    INK,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    shortened,
    styled,
)
from convscope.render.overlays import enlarged, lit
from convscope.render.text import figure as written
from convscope.render.text import percent
from convscope.studies.factors import LEVEL, Factors

SHOWN = 5  # units
_GAP, _TOP, _UNDER = 22, 62, 66  # px: between pictures, above them, and for two lines of text below one
_SIDE = (WIDTH - SHOWN * _GAP) // (SHOWN + 1)
_BAR, _NAMES = 52, 520  # px: height of a bar's row, and room for its name


def draw(found: Factors, picture: NDArray[np.uint8], name: str, network: str) -> Sheet:
    """The figure of the first prediction.

    Args:
        picture: (h, w, 3), what the network saw, and `name` what it is called.
    """
    target, score, kind = found.targets[0], float(found.scores[0]), found.score[0]
    steps = _steps(found)
    shown = enlarged(picture, _SIDE)
    below = _TOP + shown.shape[0] + _UNDER + 30
    end = below + 44 + len(steps) * _BAR + 130
    caption = _caption(found)
    sheet = Sheet(end + caption_height([caption]))
    sheet.text(0, 0, shortened(f"{target} of {network}: {kind} {written(score)}", WIDTH, LARGE), LARGE, weight="bold")
    sheet.image(shown, 0, _TOP)
    sheet.text(0, _TOP + shown.shape[0] + 6, shortened(name, _SIDE, SMALL), SMALL, color=GREY)
    regions, shares = found.regions()[0].numpy(), found.shares[0]
    for place, unit in enumerate(found.units[0, :SHOWN].tolist()):
        x, y = (place + 1) * (_SIDE + _GAP), _TOP + shown.shape[0] + 6
        sheet.image(enlarged(lit(picture, regions[place]), _SIDE), x, _TOP)
        sheet.text(x, y, shortened(found.name(unit), _SIDE, NORMAL))
        value = f"{_signed(float(found.contributions[0, unit]))}, {percent(float(shares[unit]))}"
        if found.detectors is not None and found.detectors[unit].iou > CUT:
            value += f", IoU {found.detectors[unit].iou:.2f}"
        sheet.text(x, y + 30, value, SMALL, color=GREY)
    sheet.text(0, below, f"what makes up the {kind}")
    _bars(sheet, below + 44, steps, kind)
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _steps(found: Factors) -> list[tuple[str, float]]:
    """What is added up: the units that are shown, all others, and the bias."""
    contributions = found.contributions[0].numpy()
    units = found.units[0, :SHOWN].tolist()
    others = np.delete(contributions, units)
    named = [(found.name(unit), float(contributions[unit])) for unit in units]
    rest = [(others[others > 0], "positive"), (others[others < 0], "negative")]
    return [
        *named,
        *(
            (f"{len(values)} more {sign} unit{'s' if len(values) > 1 else ''}", float(values.sum()))
            for values, sign in rest
            if len(values)
        ),
        ("bias", float(found.bias[0])),
    ]


def _bars(sheet: Sheet, y: int, steps: list[tuple[str, float]], kind: str) -> None:
    """Each step as a bar from where the last one ended."""
    axes = sheet.chart(_NAMES, y, WIDTH - _NAMES - 120, (len(steps) + 1) * _BAR, "", "")
    ends = np.cumsum([value for _, value in steps])
    total = float(ends[-1])
    with styled():
        for row, ((name, value), end) in enumerate(zip(steps, ends, strict=True)):
            axes.barh(row, value, left=end - value, color=RED if value >= 0 else BLUE, height=0.62, linewidth=0)
            axes.plot([end, end], [row, row + 1], color=GREY, linewidth=0.4)
            _label(sheet, y, row, name, value)
        axes.barh(len(steps), total, color=INK, height=0.62, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=0.5)
        axes.set_ylim(len(steps) + 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
    _label(sheet, y, len(steps), kind, total)


def _label(sheet: Sheet, y: int, row: int, name: str, value: float) -> None:
    middle = y + (row + 0.5) * _BAR
    sheet.text(_NAMES - 170, middle, shortened(name, _NAMES - 180, NORMAL), ha="right", va="center_baseline")
    sheet.text(_NAMES - 16, middle, _signed(value), ha="right", va="center_baseline", color=GREY)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + written(value)


def _caption(found: Factors) -> str:
    shown = min(SHOWN, found.units.shape[1])
    where = f"at least {LEVEL:g} of its largest value"
    if found.detectors is not None:
        where = f"above its threshold in the dissection, or where it stays below that {where}"
    under = "its contribution and its share of all positive contributions"
    if found.detectors is not None:
        under += f", and its IoU with what it detects; a unit that detects nothing, above {CUT:g}, is unlabelled"
    text = f"The {shown} units of {found.layer} that contribute most, lit where a unit answers {where}; under each "
    text += f"{under}. Contributions "
    gap = float(found.gap[0].abs())
    return text + f"and bias make up the score but for {written(gap)}. Units: {'; '.join(found.notes)}."
