"""Which images the fields are measured on: as few as give every unit enough of those that excite it most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.atlas import AtlasLayer
from convscope.geometry import Ints
from convscope.statistics.topk import NOBODY


@dataclass(frozen=True, eq=False)
class Candidates:
    """The images that excite the units of a layer, (units, k) each, best first.

    Args:
        ids: of the images.
        positions: of the maximum, among the cells of the map in raster order.
        values: the maximum.
        usable: whether there is such an image, and its maximum is positive.
    """

    ids: Ints
    positions: Ints
    values: NDArray[np.float32]
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, layer: AtlasLayer) -> Candidates:
        """From an atlas."""
        ids, positions, values = (layer.state("topk")[name] for name in ("ids", "positions", "values"))
        return cls(ids, positions, values, (ids != NOBODY) & (values > 0))

    @property
    def dead(self) -> int:
        """Units that no image excites."""
        return int((~self.usable.any(1)).sum())


@dataclass(frozen=True, eq=False)
class Readings:
    """Where units of a layer are read, (n,) each, by image and then by unit.

    Args:
        values: what the atlas says of them.
    """

    images: Ints
    units: Ints
    positions: Ints
    values: NDArray[np.float32]

    def of(self, image: int) -> NDArray[np.intp]:
        """The numbers of an image's readings."""
        return np.arange(*np.searchsorted(self.images, [image, image + 1]))


def choose(layers: Sequence[Candidates], top: int, limit: int) -> tuple[Readings, ...]:
    """Of each layer what is read: of every unit up to `top` images, at most `limit` in all.

    These are the best of each unit where they are few enough. Else the next image is always the one that is wanted by
    the most units, the first of equals; a unit wants all images in its list until it has enough of them.
    """
    best = np.unique(np.concatenate([each.ids[:, :top][each.usable[:, :top]] for each in layers]))
    chosen = best if len(best) <= limit else _wanted(layers, top, limit)
    return tuple(_readings(each, chosen, top) for each in layers)


def _wanted(layers: Sequence[Candidates], top: int, limit: int) -> Ints:
    firsts = np.cumsum([0, *(len(each.ids) for each in layers[:-1])])
    units = [first + np.nonzero(each.usable)[0] for first, each in zip(firsts, layers, strict=True)]
    ids, images = np.unique(np.concatenate([each.ids[each.usable] for each in layers]), return_inverse=True)
    return np.asarray(ids[_greedy(np.concatenate(units), images.ravel(), top, limit)])


def _greedy(units: Ints, images: Ints, top: int, limit: int) -> list[int]:
    """The images that are taken of those in pairs of a unit and an image it wants."""
    lists, fans = _grouped(units, images), _grouped(images, units)
    need = np.minimum([len(each) for each in lists], top)
    gain = np.bincount(images, minlength=len(fans))
    taken = np.zeros(len(fans), bool)
    found: list[int] = []
    while len(found) < limit and gain.max() > 0:
        image = int(gain.argmax())
        found.append(image)
        taken[image], gain[image] = True, 0
        for unit in fans[image].tolist():
            need[unit] -= 1
            if need[unit] == 0:
                others = lists[unit]
                gain[others[~taken[others]]] -= 1
    return found


def _grouped(keys: Ints, values: Ints) -> list[Ints]:
    """The values of each key from 0 on."""
    return np.split(values[np.argsort(keys, kind="stable")], np.cumsum(np.bincount(keys))[:-1])


def _readings(layer: Candidates, chosen: NDArray[Any], top: int) -> Readings:
    """Of each unit the best of the chosen images."""
    # Where all are chosen that are among the best of any unit, these are a unit's own best.
    usable = layer.usable & np.isin(layer.ids, chosen)
    usable &= usable.cumsum(1) <= top
    units, ranks = np.nonzero(usable)
    order = np.lexsort((units, layer.ids[units, ranks]))
    units, ranks = units[order], ranks[order]
    return Readings(layer.ids[units, ranks], units, layer.positions[units, ranks], layer.values[units, ranks])
