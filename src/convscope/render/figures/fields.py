"""Measured fields of view: of some units of each layer the map, and the sizes of all beside those of theory.

After figure 3 and the table of Zhou, Khosla, Lapedriza, Oliva and Torralba, "Object detectors emerge in deep scene
CNNs", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from convscope.address import matching, parse_layer
from convscope.empirical_field import EmpiricalField, EmpiricalFields, FieldLayer
from convscope.errors import AddressError, AtlasError, nearest
from convscope.filters import display
from convscope.render.figures.sheet import (
    BLUE,
    GREY,
    LARGE,
    NORMAL,
    RED,
    SMALL,
    WIDTH,
    Sheet,
    caption_height,
    line_height,
    styled,
    text_width,
)

Picture = NDArray[np.uint8]

MOST, UNITS = 8, 7  # layers where none are named, and units of each
_TILE, _GAP = 150, 14  # px: a tile, and between two
_NAMES = 292  # px: room for what is written beside a row
_TITLE, _ROW = 76, 196  # px: above the rows, and from row to row
_CHART = _NAMES + UNITS * (_TILE + _GAP) + 95  # px: where it begins
_TICK = 225  # px: the longest name of a layer below the chart
_AROUND = 1.25  # what a tile shows, in sides of the theoretical field
_UNKNOWN = 225  # the grey where nothing was measured
_MAPS = colormaps["magma"]


def draw(fields: EmpiricalFields, layers: Sequence[str] | None = None) -> tuple[Sheet, dict[str, list[int]]]:
    """The figure, and which units of which layers it shows.

    Args:
        layers: addresses, modules (all layers inside) or patterns; default all, or `MOST` of them, evenly spread.

    Raises:
        AddressError: `layers` names something that was not measured.
        AtlasError: no unit has a field.
    """
    chosen = _chosen(fields, layers)
    shown = {layer.address: _some(layer) for layer in chosen}
    caption = [_caption(fields)]
    end = _TITLE + max(3, len(chosen)) * _ROW
    sheet = Sheet(end + caption_height(caption))
    sheet.text(0, 0, f"What the units of {fields.run['network']} see", LARGE, weight="bold")
    for number, layer in enumerate(chosen):
        _layer(sheet, layer, shown[layer.address], _TITLE + number * _ROW)
    _chart(sheet, chosen, _TITLE + 10, min(end - _TITLE - 185, 760))
    sheet.paragraphs(0, end, WIDTH, caption)
    return sheet, shown


def _chosen(fields: EmpiricalFields, wanted: Sequence[str] | None) -> list[FieldLayer]:
    """The layers of the figure, in the order of the network."""
    known = {layer.address: layer for layer in fields.layers}
    asked = set(known) if wanted is None else set[str]()
    for pattern in wanted or ():
        found = matching(pattern, map(parse_layer, known))
        if not found:
            raise AddressError(f"{fields.path} has no layer {pattern!r}{nearest(pattern, known)}")
        asked |= found
    layers = [layer for address, layer in known.items() if address in asked and layer.measured]
    if not layers:
        raise AtlasError(
            f"{fields.path}: no unit of these layers has a field, because no image excites any, or hiding parts of it "
            "does not move them; name others (--layers)"
        )
    if wanted is None and len(layers) > MOST:
        return [layers[place] for place in np.linspace(0, len(layers) - 1, MOST).round().astype(int)]
    return layers


def _some(layer: FieldLayer) -> list[int]:
    """Units from the smallest to the largest field, evenly spread among those that have one."""
    order = sorted((field.size, field.address.index) for field in layer.measured)
    places = np.linspace(0, len(order) - 1, min(UNITS, len(order))).round().astype(int)
    return [order[place][1] for place in places]


def _layer(sheet: Sheet, layer: FieldLayer, units: Sequence[int], top: int) -> None:
    sheet.text(0, top, _fitting(layer.address, (_NAMES - 20) / 1.15), weight="bold")  # bold letters are wider
    mean, std = layer.empirical
    lines = (f"theory {layer.theoretical:.0f} px", f"gradient {layer.effective:.0f} px",
             f"measured {mean:.1f} ± {std:.1f} px")  # fmt: skip
    for number, (line, colour) in enumerate(zip(lines, (GREY, BLUE, RED), strict=True)):
        sheet.text(0, top + 40 + number * line_height(SMALL), line, SMALL, color=colour)
    for number, unit in enumerate(units):
        left = _NAMES + number * (_TILE + _GAP)
        _tile(sheet, layer, layer[unit], left, top)
        sheet.text(left, top + _TILE + 5, f"{unit}: {layer[unit].size:.0f} px", SMALL, color=GREY)


def _tile(sheet: Sheet, layer: FieldLayer, field: EmpiricalField, left: int, top: int) -> None:
    """A map around its centre, the edge of its mask, the box of theory and the disc of the gradient."""
    extent = _AROUND * max(layer.theoretical, 3)
    axes = sheet.image(_shades(field, extent), left, top)
    middle, scale = (_TILE - 1) / 2, _TILE / extent
    side, radius = layer.theoretical * scale, layer.effective / np.sqrt(np.pi) * scale
    with styled():
        axes.add_patch(Rectangle((middle - side / 2, middle - side / 2), side, side, fill=False, color="white",
                                 linewidth=0.6, path_effects=[withStroke(linewidth=1.2, foreground=GREY)]))  # fmt: skip
        axes.add_patch(Circle((middle, middle), radius, fill=False, color="#7fc4ff", linewidth=0.6, linestyle=":"))
        mask = _resized(field.mask.astype(np.float32), extent)
        if (mask > 0.5).any():
            axes.contour(mask, [0.5], colors=["#66e07a"], linewidths=0.7)


def _shades(field: EmpiricalField, extent: float) -> Picture:
    """A map in colours, (h, w, 3), as a share of its peak; grey where nothing was measured."""
    values, unknown = _resized(field.map, extent), np.isnan(field.discrepancies).astype(np.float32)
    picture = display.to_bytes(_MAPS(np.clip(values / max(float(field.map.max()), 1e-30), 0, 1))[..., :3])
    # What lies beyond the canvas is beyond the field, unless the canvas ends with the image.
    picture[_resized(unknown, extent, fill=float(unknown[0].all())) > 0.5] = _UNKNOWN
    return picture


def _resized(values: NDArray[np.float32], extent: float, fill: float = 0.0) -> NDArray[np.float32]:
    """So many pixels around the middle of a canvas as a tile."""
    height, width = values.shape
    box = (width - extent) / 2, (height - extent) / 2, (width + extent) / 2, (height + extent) / 2
    # Pillow takes no box that reaches beyond the picture.
    margin = int(max(0, np.ceil(-min(box[:2]))))
    padded = Image.fromarray(np.pad(values, margin, constant_values=fill))
    return np.asarray(padded.resize((_TILE, _TILE), Image.Resampling.BILINEAR, box=tuple(x + margin for x in box)))


def _chart(sheet: Sheet, layers: Sequence[FieldLayer], top: int, height: int) -> None:
    """Sizes by layer: of theory, by the gradient, and of every unit as measured."""
    axes = sheet.chart(_CHART, top, WIDTH - _CHART, height, "", "side of the field, px")
    places = np.arange(len(layers))
    generator = np.random.default_rng(0)
    with styled():
        for place, layer in enumerate(layers):
            measured = [field.size for field in layer.measured]
            spread = place + 0.3 * (generator.random(len(measured)) - 0.5)
            axes.scatter(spread, measured, s=2, color=RED, alpha=0.25, linewidths=0)
        _line(axes, places, [layer.theoretical for layer in layers], GREY, "theory")
        _line(axes, places, [layer.effective for layer in layers], BLUE, "gradient")
        means = [layer.empirical for layer in layers]
        axes.errorbar(places, [each.mean for each in means], [each.std for each in means], color=RED, linewidth=0.8,
                      marker="o", markersize=2.5, elinewidth=0.8, capsize=2, label="measured")  # fmt: skip
        names = [_fitting(layer.address, _TICK) for layer in layers]
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", borderaxespad=0)


def _fitting(address: str, width: float) -> str:
    """An address in at most `width` px: of a longer one the end, where those of a network differ."""
    left = address
    while left and text_width(left if left == address else "…" + left, NORMAL) > width:
        left = left[1:]
    return left if left == address else "…" + left


def _line(axes: Any, places: NDArray[Any], sizes: Sequence[float], colour: str, label: str) -> None:
    axes.plot(places, sizes, color=colour, linewidth=0.8, marker="o", markersize=2.5, label=label)


def _caption(fields: EmpiricalFields) -> str:
    job = fields.run["job"]
    return (
        f"How far units move when a square of noise of {job['window']} px hides each part of an image: the mean over "
        f"up to {job['top']} images that excite the unit most, with the unit's own place in the middle; black is not "
        "at all, bright the most, grey is where fewer than half of these images reach. Of each layer units from the "
        "smallest to the largest field, with its side: of a square of as much area as the mask (green: above half of "
        "the peak), less the share of the noise itself. The white box is the field that the architecture gives, the "
        "dotted disc has 95.45 % of the gradient of the layer's central cell; each row has its own scale. Right: sides "
        "by layer; a point is a unit, bars are one standard deviation. After Zhou et al. (2015)."
    )
