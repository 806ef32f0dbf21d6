"""A tour through the layers: of some units of each the best patches, and what of these excites the unit.

Figure 2 of Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, from an atlas alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.address import matching
from convscope.atlas import Atlas, AtlasLayer, AtlasUnit
from convscope.diagnosis import outstanding
from convscope.errors import AddressError, AtlasError, nearest
from convscope.render.facts import layer_facts
from convscope.render.figures.sheet import GREY, LARGE, NORMAL, SMALL, WIDTH, Sheet, caption_height, text_width

SIDE = 3  # tiles along a block
_TILE, _GAP, _MIDDLE = 76, 3, 12  # px: a tile, between tiles, between the two blocks of a unit
_BLOCK = SIDE * (_TILE + _GAP) - _GAP
_UNIT = 2 * _BLOCK + _MIDDLE
_COLUMNS = 4
_BETWEEN = (WIDTH - _COLUMNS * _UNIT) // (_COLUMNS - 1)
_HEADING, _LABEL, _BELOW = 40, 28, 24  # px: room for the name of a layer, of a unit, and below a row
_ROW = _LABEL + _BLOCK + _BELOW
_TITLE, _APART = 70, 16  # px: room for the title, and between two layers
MOST = 10  # layers, where none are named
_FEW = 5  # layers that have room for two rows each

Picture = NDArray[np.uint8]  # (h, w, 3)


def draw(
    atlas: Atlas, layers: Sequence[str] | None = None, units: int | None = None
) -> tuple[Sheet, dict[str, list[int]]]:
    """The figure, and which units of which layers it shows.

    Args:
        layers: addresses, modules (all layers inside) or patterns; default all that are projected, or `MOST` of them,
            evenly spread.
        units: so many of each layer, those whose best image stands out most; default 8, or 4 of more than five layers.

    Raises:
        AddressError: `layers` names something that the atlas does not have.
        AtlasError: the atlas has no projections of these layers.
    """
    chosen = _chosen(atlas, layers)
    count = units or _COLUMNS * (2 if len(chosen) <= _FEW else 1)
    shown = {str(layer.address): _best(layer, count) for layer in chosen}
    caption = [_caption(atlas, len(chosen), shown)]
    rows = [-(-len(found) // _COLUMNS) for found in shown.values()]
    end = _TITLE + sum(_HEADING + many * _ROW + _APART for many in rows)
    sheet = Sheet(end + caption_height(caption))
    sheet.text(0, 0, f"From layer to layer through {atlas.run['network']['name']}", LARGE, weight="bold")
    top = _TITLE
    for layer, many in zip(chosen, rows, strict=True):
        _layer(sheet, layer, shown[str(layer.address)], top)
        top += _HEADING + many * _ROW + _APART
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet, shown


def _chosen(atlas: Atlas, wanted: Sequence[str] | None) -> list[AtlasLayer]:
    """The layers of the figure, in the order of the network."""
    known = [layer.address for layer in atlas.layers]
    asked = {str(address) for address in known} if wanted is None else set[str]()
    for pattern in wanted or ():
        found = matching(pattern, known)
        if not found:
            raise AddressError(f"{atlas.path} has no layer {pattern!r}{nearest(pattern, map(str, known))}")
        asked |= found
    layers = [layer for layer in atlas.layers if str(layer.address) in asked]
    projected = [layer for layer in layers if (layer.projections or {}).get("units")]
    if not projected:
        raise AtlasError(f"{atlas.path} has no projections: {_reason(layers)}")
    if wanted is None and len(projected) > MOST:
        places = np.linspace(0, len(projected) - 1, MOST).round().astype(int)
        return [projected[place] for place in places]
    return projected


def _reason(layers: Sequence[AtlasLayer]) -> str:
    reasons = [layer.projections["reason"] for layer in layers if layer.projections and "reason" in layer.projections]
    return reasons[0] if reasons else "scan again, of layers that see patches of the image, and not with projections=0"


def _best(layer: AtlasLayer, count: int) -> list[int]:
    """The units that are shown, those that stand out most first; a dead one has nothing to show."""
    kept = set((layer.projections or {})["units"])
    alive = [unit for unit in outstanding(layer.summary) if unit in kept and layer.summary["maximum"][unit] > 0]
    return alive[:count]


def _layer(sheet: Sheet, layer: AtlasLayer, units: Sequence[int], top: int) -> None:
    """The name of a layer, and below it rows of its units."""
    size = layer_facts(layer)["field"]["size"]
    name = str(layer.address)
    sheet.text(0, top, name, weight="bold")
    sees = f"sees the {size}" if size == "whole image" else f"field {size} px"
    beside = 1.15 * text_width(name, NORMAL) + 24  # bold letters are wider
    sheet.text(beside, top + 4, f"{layer.units} units, {sees}", SMALL, color=GREY)
    for start in range(0, len(units), _COLUMNS):
        y = top + _HEADING + start // _COLUMNS * _ROW
        some = units[start : start + _COLUMNS]
        canvas = np.full((_BLOCK, WIDTH, 3), 255, np.uint8)
        for column, unit in enumerate(some):
            x = column * (_UNIT + _BETWEEN)
            sheet.text(x, y + _LABEL - 4, str(layer[unit].address), SMALL, color=GREY, va="bottom")
            canvas[:, x : x + _UNIT] = both(layer[unit])
        sheet.image(canvas, 0, y + _LABEL)


def both(unit: AtlasUnit) -> Picture:
    """The projections of a unit's best patches, and the patches, as two blocks beside each other."""
    canvas = np.full((_BLOCK, _UNIT, 3), 255, np.uint8)
    for top in unit.best(SIDE * SIDE):
        y, x = (place * (_TILE + _GAP) for place in divmod(top.rank, SIDE))
        patch = unit.patch(top.rank) if top.id in unit.layer.atlas.pictures else unit.tile(top.rank)
        for left, picture in ((0, unit.projection(top.rank)), (_BLOCK + _MIDDLE, patch)):
            tile = _fitted(picture)
            height, width = tile.shape[:2]
            down, right = y + (_TILE - height) // 2, left + x + (_TILE - width) // 2
            canvas[down : down + height, right : right + width] = tile
    return canvas


def _fitted(picture: Image.Image) -> Picture:
    """As large as fits into a tile; few pixels are shown as squares."""
    larger = max(picture.size)
    width, height = (max(1, round(side * _TILE / larger)) for side in picture.size)
    smooth = Image.Resampling.LANCZOS if larger > _TILE // 2 else Image.Resampling.NEAREST
    return np.asarray(picture.resize((width, height), smooth))


def _caption(atlas: Atlas, layers: int, shown: Mapping[str, Sequence[int]]) -> str:
    projected = sum(bool((layer.projections or {}).get("units")) for layer in atlas.layers)
    some = f"{layers} of {projected} layers" if layers < projected else "Every layer that sees patches of the image"
    most = max(len(units) for units in shown.values())
    images = f"{atlas.run['results']['images']} images of {atlas.source}"
    return (
        f"{some}, and of each the {most} units whose best image stands out most from its usual response, of "
        f"{images}. Right: the nine patches that excite the unit most, best first, cut to its field; the plain colour "
        "is outside the image. Left: what of each patch excites the unit, its strongest response projected back to the "
        "pixels by a deconvnet (Zeiler and Fergus 2014); mid-grey is zero, and every tile has its own scale. "
        "Deconvnets hardly depend on the layers above: they show what the filters below can draw, and are read beside "
        "the patches."
    )
