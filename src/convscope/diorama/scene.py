"""An image of the diorama with its exact answers. All of them are read from one map of item numbers, so they agree."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from convscope.diorama import raster
from convscope.diorama.colours import names_of
from convscope.diorama.compose import Plan, plan
from convscope.diorama.names import CATEGORIES, INDEX, TABLES
from convscope.diorama.splits import check
from convscope.diorama.stage import Item
from convscope.diorama.words import Question, caption, questions
from convscope.errors import ImagesError

Map = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SIZES = (32, 1024)  # the least and the largest size, in pixels
VERSION = 2  # goes up whenever an image of the diorama changes


@dataclass(frozen=True, eq=False)
class Thing:
    """An object in an image, of which something is to be seen.

    Args:
        number: its number in the instance map, from 1; things with a larger number are nearer.
        main: whether it is the object that the image of label set ``objects`` is about.
        box: (y0, x0, y1, x1) of its visible pixels, half-open.
        mask: its visible pixels (size, size).
        area: the share of the image that it covers.
        hidden: the share of its own surface that nearer things cover.
        colour: the basic name that most of its visible pixels have.
        one_colour: whether clearly more pixels have that name than the next one.
        material, texture: of its body; None where it is plain or the body is not to be seen.
        parts: the visible pixels of each of its parts.
    """

    number: int
    kind: str
    main: bool
    box: tuple[int, int, int, int]
    mask: Mask = field(repr=False)
    area: float
    hidden: float
    colour: str
    one_colour: bool
    material: str | None
    texture: str | None
    parts: dict[str, Mask] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scene:
    """One image: the picture, label maps, things, a caption, questions with answers; all made when they are asked for.

    Args:
        index: the number of the image in its split.
        size: height and width in pixels.
        seed: of the world.
        category: the scene category.
        light: the time of day.
        label: the class in its label set.
    """

    label_set: str
    split: str
    index: int
    size: int
    seed: int
    category: str
    light: str
    label: str
    _plan: Plan = field(repr=False)

    @functools.cached_property
    def _index(self) -> raster.Index:
        return raster.draw(self._plan.items, self.size)

    @functools.cached_property
    def image(self) -> NDArray[np.uint8]:
        """The picture (size, size, 3), RGB."""
        return raster.paint(self._plan.items, self._index, self._plan.grain, self._plan.patterns)

    @functools.cached_property
    def _labels(self) -> Map:
        """The item of each pixel: its upper left quarter decides."""
        return np.ascontiguousarray(self._index[::2, ::2])

    @functools.cached_property
    def maps(self) -> dict[str, Map]:
        """Label maps (size, size) by category: indices of the names in `TABLES`, 0 where there is no label."""
        items = self._plan.items
        tables = {category: np.zeros(256, np.uint8) for category in CATEGORIES}
        for number, item in enumerate(items):
            names = (item.stuff, item.part, item.material, item.texture, item.colour)
            for category, name in zip(CATEGORIES, names, strict=True):
                if name:
                    tables[category][number] = INDEX[category][name]
        unnamed = [number for number, item in enumerate(items) if not item.colour]
        read = names_of(np.array([items[number].middle for number in unnamed], np.float64).reshape(-1, 3))
        tables["colour"][unnamed] = read + 1
        return {category: table.take(self._labels) for category, table in tables.items()}

    @functools.cached_property
    def instances(self) -> Map:
        """The number of the thing at each pixel (size, size), 0 where there is none."""
        table = np.zeros(256, np.uint8)
        pairs = zip(self._plan.items, self._plan.owners, strict=True)
        table[: len(self._plan.items)] = [0 if item.cast else owner + 1 for item, owner in pairs]
        return table.take(self._labels)

    @functools.cached_property
    def things(self) -> tuple[Thing, ...]:
        """The things of which at least one pixel is seen, from the farthest to the nearest."""
        found = np.unique(self.instances)
        return tuple(self._thing(int(number)) for number in found if number)

    def _thing(self, number: int) -> Thing:
        actor, mask = self._plan.actors[number - 1], self.instances == number
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        seen = {category: self.maps[category][mask] for category in CATEGORIES}
        parts = {TABLES["part"][p]: mask & (self.maps["part"] == p) for p in np.unique(seen["part"])}
        votes = np.bincount(seen["colour"], minlength=len(TABLES["colour"]))
        colour, ranked = TABLES["colour"][int(votes.argmax())], np.sort(votes)
        whole = int(np.count_nonzero(_alone(actor.items, self.size)))
        count = int(np.count_nonzero(mask))
        return Thing(
            number=number,
            kind=actor.kind.name,
            main=actor.main,
            box=(int(ys[0]), int(xs[0]), int(ys[-1]) + 1, int(xs[-1]) + 1),
            mask=mask,
            area=count / mask.size,
            hidden=1 - count / whole,
            colour=colour,
            one_colour=bool(ranked[-1] > 1.25 * ranked[-2]),
            material=_only(seen["material"], "material"),
            texture=_only(seen["texture"], "texture"),
            parts=parts,
        )

    @property
    def caption(self) -> str:
        """The image in a sentence or two."""
        return caption(self.things, self._plan.place.phrase, self.light)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Questions about the image, with their answers."""
        return questions(self.things, self.category)


def _alone(items: Sequence[Item], size: int) -> Mask:
    """The pixels of a thing when nothing is before it; its shadow is not its own."""
    own = [item for item in items if not item.cast]
    return raster.draw([*own[:1], *own], size)[::2, ::2] > 0


def _only(values: Map, category: str) -> str | None:
    names = values[values > 0]
    return TABLES[category][int(names[0])] if len(names) else None


def render(
    label_set: str, split: str, index: int, size: int = 96, *, seed: int = 0, without: Sequence[int] = ()
) -> Scene:
    """An image of the diorama: the same for the same arguments, in any process.

    Args:
        label_set: ``objects`` (one main object) or ``scenes`` (several things in a place).
        split: ``train``, ``val``, ``test``,
            or the transfer sets ``novel`` (other kinds) and ``style`` (prints in one ink).
        index: the number of the image.
        size: its height and width in pixels.
        seed: another seed is another world of the same kinds.
        without: numbers of things that are left out, with their shadows; all else stays as it is.

    Raises:
        ImagesError: there is no such label set or split, or no such size.
    """
    check(label_set, split)
    if not SIZES[0] <= size <= SIZES[1]:
        raise ImagesError(f"diorama: a size of {size} px; expected {SIZES[0]} to {SIZES[1]}")
    if index < 0:
        raise ImagesError(f"diorama: image {index}; expected 0 or more")
    made = plan(label_set, split, seed, index, [number - 1 for number in without])
    label = made.kind if label_set == "objects" else made.place.name
    return Scene(label_set, split, index, size, seed, made.place.name, made.light.name, label, made)
