"""What is read out of deep features, and where: images of each label, cluster or end of a scale [METHODS 8.10]."""

from __future__ import annotations

from convscope.images.base import source
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
    shortened,
)
from convscope.render.overlays import enlarged, greyed, veiled
from convscope.render.text import figure as written
from convscope.render.text import percent
from convscope.sanity.sample import evenly
from convscope.studies.generic_localization import SHOWN, Found, Row

ROWS = 8  # at most
_TOP, _LEFT, _GAP, _UNDER = 70, 250, 22, 44  # px
_PAIR = (WIDTH - _LEFT - (SHOWN - 1) * _GAP) // SHOWN
_SIDE = (_PAIR - 4) // 2


def draw(found: Found, network: str) -> Sheet:
    """The figure."""
    rows = [found.rows[i] for i in evenly(range(len(found.rows)), ROWS)]
    shown = [found.maps(row) for row in rows]
    height, width = shown[0][0].shape[2:]
    tall = round(_SIDE * height / max(height, width))
    end = _TOP + len(rows) * (tall + _UNDER) + 20
    caption = _caption(found, len(rows))
    sheet = Sheet(end + caption_height([caption]))
    sheet.text(0, 0, shortened(_title(found, network), WIDTH, LARGE), LARGE, weight="bold")
    for place, (row, (inputs, maps)) in enumerate(zip(rows, shown, strict=True)):
        y = _TOP + place * (tall + _UNDER)
        _name(sheet, found, row, y)
        largest = float(maps.abs().max())
        for column in range(len(row.ids)):
            x = _LEFT + column * (_PAIR + _GAP)
            picture = found.features.network.preprocess.display(inputs[column])
            shares = maps[column].numpy() / (largest or 1)
            sheet.image(enlarged(picture, _SIDE), x, y)
            sheet.image(enlarged(veiled(shares, greyed(picture)), _SIDE), x + _SIDE + 4, y)
            _truth(sheet, row, column, found.readout.kind == "labels", (x, y + tall + 4))
    sheet.paragraphs(0, end, WIDTH, [caption])
    return sheet


def _title(found: Found, network: str) -> str:
    what = {"labels": "Labels", "values": f"{found.readout.names[0]}", "clusters": "Clusters"}[found.readout.kind]
    return (
        f"{what} of {source(found.features.images.spec)}, read out of {found.features.map.layer.address} of {network}"
    )


def _name(sheet: Sheet, found: Found, row: Row, y: int) -> None:
    y = int(sheet.paragraph(0, y, _LEFT - 20, row.name, NORMAL))
    counted = found.judged.get("labels", found.judged.get("clusters", {})).get(row.name)
    if counted is None:
        return
    if "right" in counted:
        said = [f"{counted['right']} of {counted['images']} right"]
    else:
        said = [f"{counted['images']} images"]
        said += [f"{counted['label']}: {percent(counted['share'])}"] if "label" in counted else []
    for text in said:
        y = int(sheet.paragraph(0, y + 4, _LEFT - 20, text, SMALL, color=GREY))


def _truth(sheet: Sheet, row: Row, column: int, judged: bool, place: tuple[int, int]) -> None:
    """The score, and what is true of the image; red where it has another label than the row, if that is `judged`."""
    (x, y), truth, score = place, row.truths[column], written(row.scores[column])
    if isinstance(truth, str) or truth is None:
        wrong = judged and truth != row.name
        sheet.text(x, y, score, SMALL, color=GREY)
        sheet.text(
            x + _PAIR, y, shortened(truth or "", _PAIR - 120, SMALL), SMALL, color=RED if wrong else INK, ha="right"
        )
    else:
        sheet.text(x, y, f"read {score}, true {written(truth)}", SMALL, color=GREY)


def _caption(found: Found, rows: int) -> str:
    judged, kind = found.judged, found.readout.kind
    chosen = ", ".join(f"{name} {written(value)}" for name, value in found.readout.chosen.items())
    some = f"{rows} of {len(found.rows)} {kind}" if rows < len(found.rows) else f"All {len(found.rows)} {kind}"
    low, high = (written(round(end, 3)) for end in judged.get("interval", (0, 0)))
    if kind == "labels":
        text = f"{some}, each with the images that have its largest scores; a true label that is another one is red. "
        text += f"Linear SVMs on {found.fitted} images ({chosen}); on {judged['images']} others "
        text += f"{percent(judged['accuracy'])} are right (95 % interval {low} to {high}); the most frequent label "
        text += f"is that of {percent(judged['most_frequent'])}. "
    elif kind == "values":
        text = f"The images with the largest and the smallest values that are read. Ridge regression on {found.fitted} "
        text += (
            f"images ({chosen}); on {judged['images']} others R² is {written(judged['r2'])} (95 % interval {low} to "
        )
        text += f"{high}), error {written(judged['rmse'])} where the values spread by {written(judged['std'])}. "
    else:
        text = f"{some}, each with the images that belong to it most clearly, by k-means of {found.fitted} images. "
        shared = judged.get("adjusted_mutual_information")
        text += "" if shared is None else f"Adjusted mutual information with the labels: {written(shared)}. "
    mean = "how far the value is from the mean" if kind == "values" else "the score"
    return text + f"Red adds to the score, blue takes from it; a row has one scale, and the mean of a map is {mean}."
