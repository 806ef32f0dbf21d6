"""Fields of view measured from data, as the pages draw them: the section of an atlas, where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.atlas import Atlas
from convscope.empirical_field import EmpiricalField, EmpiricalFields, FieldLayer
from convscope.empirical_field.section import SECTION
from convscope.errors import AtlasError

_AROUND = 1.3  # what a picture shows, in sides of the field that the architecture gives
_CELLS = 32  # of a picture, along a side

# The scale from nothing to the peak: nine colours of magma, written out, as a report needs no library for figures.
PALETTE = [
    [0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121], [231, 82, 99], [252, 137, 97],
    [254, 196, 136], [252, 253, 191],
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measured:
    """The measured fields of an atlas.

    Args:
        layers: those that the atlas has, too, by address.
    """

    found: EmpiricalFields
    layers: Mapping[str, FieldLayer]

    @classmethod
    def of(cls, atlas: Atlas) -> Measured | None:
        """Those of `atlas`; None where it has none.

        Raises:
            AtlasError: they are damaged, or of a network with other weights.
        """
        if not (atlas.path / SECTION.folder).is_dir():
            return None
        found = EmpiricalFields.open(atlas)
        if found.run["job"]["network"] != atlas.run["job"]["network"]:
            raise AtlasError(
                f"{found.path}: measured was {found.run['network']} with other weights or preprocessing than those of "
                "the atlas; delete the folder and measure again"
            )
        known = {str(layer.address) for layer in atlas.layers}
        return cls(found, {each.address: each for each in found.layers if each.address in known})


def about(layer: FieldLayer, box: tuple[int, int]) -> dict[str, Any]:
    """What all pictures of a layer share.

    Args:
        box: height and width of the field that the architecture gives, px.

    Returns:
        ``side`` px that a picture shows around the middle, ``box``, and the colours of the ``palette``.
    """
    return {"side": 2 * _half(layer[0], box) + 1, "box": list(box), "palette": PALETTE}


def picture(field: EmpiricalField, box: tuple[int, int]) -> dict[str, Any] | None:
    """The map of a unit, and the edge of its mask; None where no image excites the unit.

    Returns:
        ``map``, rows of cells from 0 to 255, the peak, and -1 where nothing was measured; ``edge``, a path in px from
        the top left corner of the picture; ``size`` in px, and of how many ``images``.
    """
    if not field.images:
        return None
    half = _half(field, box)
    values = _around(field.discrepancies, half)
    unknown = np.isnan(values)
    peak = max(float(field.map.max()), 1e-30)
    shares = _reduced(np.nan_to_num(values).clip(0) / peak)
    cells = np.where(_reduced(unknown.astype(np.float32)) > 0.5, -1, np.round(255 * shares.clip(0, 1)))
    size = field.size
    return {
        "map": cells.astype(int).ravel().tolist(),
        "edge": edge(_around(field.mask, half)),
        "size": round(size, 1) if math.isfinite(size) else None,
        "images": field.images,
    }


def edge(mask: NDArray[np.bool_]) -> str:
    """The edge of a mask (h, w) as a path of lines between its pixels."""
    padded = np.pad(mask, 1)
    down = [f"M{x} {y}v1" for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist()]
    along = [f"M{x} {y}h1" for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist()]
    return "".join(down + along)


def _half(field: EmpiricalField, box: tuple[int, int]) -> int:
    """How far a picture goes from the middle pixel of the canvas, px: no further than the canvas."""
    return min(math.ceil(_AROUND * max(*box, 3) / 2), *(int(side) // 2 for side in field.discrepancies.shape))


def _around(canvas: NDArray[Any], half: int) -> NDArray[Any]:
    """The pixels around the middle of a canvas."""
    height, width = canvas.shape
    y, x = height // 2, width // 2
    return canvas[y - half : y + half + 1, x - half : x + half + 1]


def _reduced(values: NDArray[Any]) -> NDArray[np.float32]:
    """In as many cells as a picture has, at most."""
    cells = min(_CELLS, len(values))
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((cells, cells), Image.Resampling.BOX))
