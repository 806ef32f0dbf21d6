"""A contact sheet: images above, their label maps below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.colours import PAINTS
from convscope.diorama.names import TABLES
from convscope.diorama.scene import Map, Scene

GROUND = (24, 26, 34)  # where a map has no label
SHOWN = ("object", "part", "surface", "colour")


def sheet(scenes: Sequence[Scene], columns: int = 8, maps: Sequence[str] = SHOWN, gap: int = 4) -> NDArray[np.uint8]:
    """A sheet (h, w, 3), with `columns` images a row and below each row a band of its label maps, each half as large.

    Args:
        maps: categories of label maps, or ``surface``: materials and textures in one.
    """
    bands = []
    for start in range(0, len(scenes), columns):
        row = scenes[start : start + columns]
        bands.append(_row([scene.image for scene in row], columns, gap))
        if maps:
            bands.append(_row([_answers(scene, maps) for scene in row], columns, gap))
    width = max(band.shape[1] for band in bands)
    return np.concatenate(
        [np.pad(band, ((0, gap), (0, width - band.shape[1]), (0, 0)), constant_values=255) for band in bands]
    )


def _row(pictures: Sequence[NDArray[np.uint8]], columns: int, gap: int) -> NDArray[np.uint8]:
    height, width = pictures[0].shape[:2]
    blank = [np.full((height, width, 3), 255, np.uint8)] * (columns - len(pictures))
    return np.concatenate(
        [np.pad(each, ((0, 0), (0, gap), (0, 0)), constant_values=255) for each in (*pictures, *blank)], 1
    )


def _answers(scene: Scene, maps: Sequence[str]) -> NDArray[np.uint8]:
    """The maps of an image two a row, each half as large as the image."""
    small = [np.pad(_tinted(scene, name)[::2, ::2], ((0, 1), (0, 1), (0, 0)), constant_values=255) for name in maps]
    if len(small) % 2:
        small.append(np.full_like(small[0], 255))
    picture = np.concatenate([np.concatenate(small[k : k + 2], 1) for k in range(0, len(small), 2)])
    side = scene.size
    return np.pad(picture, ((0, 0), (0, max(0, side - picture.shape[1])), (0, 0)), constant_values=255)[:, :side]


def _tinted(scene: Scene, name: str) -> NDArray[np.uint8]:
    if name == "surface":
        material, texture = scene.maps["material"], scene.maps["texture"]
        return _wheel(len(TABLES["material"]) + len(TABLES["texture"])).take(
            np.where(texture > 0, texture + len(TABLES["material"]) - 1, material), axis=0
        )
    if name == "colour":
        table = np.array([GROUND, *(PAINTS[each][0] for each in TABLES["colour"][1:])], np.uint8)
        return table.take(scene.maps["colour"], axis=0)
    picture = _wheel(len(TABLES[name])).take(scene.maps[name], axis=0)
    if name == "object":  # places darker, so that things stand out
        picture = np.where((scene.instances > 0)[..., None], picture, (picture * 0.42).astype(np.uint8))
    return picture


def _wheel(count: int) -> Map:
    """A colour for each index, far from those of its neighbours; index 0 is the ground."""
    hue = (np.arange(count) * 0.61803398875) % 1 * 6
    light = 0.62 + 0.3 * (np.arange(count) % 3) / 2
    channels = [np.clip(np.abs((hue + shift) % 6 - 3) - 1, 0, 1) * 0.62 + 0.3 for shift in (0, 4, 2)]
    table = np.round(255 * np.stack(channels, 1) * light[:, None]).astype(np.uint8)
    table[0] = GROUND
    return table
