"""COCO: things as polygons and run lengths, and stuff where it is there.

T.-Y. Lin et al., "Microsoft COCO: common objects in context", ECCV 2014; H. Caesar et al., "COCO-Stuff", CVPR 2018::

    annotations/instances_val2017.json   images, annotations (image_id, category_id, segmentation), categories
    annotations/stuff_val2017.json       likewise; it may be missing
    val2017/000000000139.jpg             the images; those of train2017 may be there as well, or instead

A segmentation is a list of polygons (x, y, x, y, ...), or of the size [height, width] and run lengths down the columns,
of which the first are not in the mask: numbers, or text into which these are packed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from convscope.concepts.base import Concept, ConceptSet, Labels
from convscope.concepts.masks import PlainFiles, picture_size
from convscope.errors import ImagesError
from convscope.images import ImageSet
from convscope.images.files import file_state

INSTANCES, STUFF = "annotations/instances_*.json", "annotations/stuff_*.json"
_OTHER = "other"  # the stuff that things lie on
_MATERIALS = "raw-material"  # supercategory of stuff: cardboard, metal, paper, plastic

T = TypeVar("T")
Mask = NDArray[np.bool_]  # (h, w)


@dataclass(frozen=True)
class Region:
    """One annotation.

    Args:
        where: file and annotation, for messages.
        number: of the concept.
        segmentation: as it is written.
    """

    where: str
    number: int
    segmentation: Any

    def mask(self, height: int, width: int) -> Mask:
        """Its pixels.

        Raises:
            ImagesError: it is written wrongly.
        """
        try:
            if isinstance(self.segmentation, Mapping):
                if list(self.segmentation["size"]) != [height, width]:
                    raise ValueError(f"its size is {self.segmentation['size']}, and its image's {[height, width]}")
                return _of_runs(self.segmentation["counts"], height, width)
            mask = np.zeros((height, width), np.bool_)
            for points in self.segmentation:
                mask |= _of_polygon(points, height, width)
            return mask
        except (ValueError, TypeError, LookupError) as error:
            raise ImagesError(f"{self.where}: the segmentation cannot be read ({error}); take it out") from error


@dataclass(frozen=True, eq=False)
class Coco(ConceptSet):
    """Images with regions of things and stuff; a pixel that is in several has them all.

    Args:
        files: the annotations.
        sizes: (height, width) of each image.
        regions: of each image.
    """

    spec: str
    images: ImageSet
    concepts: tuple[Concept, ...]
    files: tuple[Path, ...] = field(repr=False)
    sizes: Sequence[tuple[int, int]] = field(repr=False)
    regions: Sequence[Sequence[Region]] = field(repr=False)

    def labels(self, index: int) -> Labels:
        """See `ConceptSet.labels`."""
        height, width = self.sizes[index]
        if (picture := picture_size(self.images, index)) not in (None, (height, width)):
            raise ImagesError(
                f"{self.images.names[index]}: it has {picture} px (height, width), and {(height, width)} in the "
                "annotations; take the image that was annotated"
            )
        masks: dict[int, Mask] = {}
        for region in self.regions[index]:
            masks[region.number] = region.mask(height, width) | masks.get(region.number, False)
        maps: list[NDArray[np.int32]] = []
        for number, mask in sorted(masks.items()):
            place = next((each for each in maps if not each[mask].any()), None)
            if place is None:
                maps.append(place := np.zeros((height, width), np.int32))
            place[mask] = number
        return Labels(np.stack(maps) if maps else np.zeros((0, 1, 1), np.int32))

    def state(self, start: int, stop: int) -> str:
        """See `ConceptSet.state`: size and time of change of the annotations."""
        return "\0".join(f"{path.name}\0{file_state(path)}" for path in self.files)


def open_coco(root: Path, spec: str) -> Coco:
    """The set in a folder with annotations, of all images whose folder is there.

    Raises:
        ImagesError: no folder of images is there, or annotations are written wrongly.
    """
    files = [path for kind in (INSTANCES, STUFF) for path in sorted(root.glob(kind)) if (root / _split(path)).is_dir()]
    if not files:
        expected = ", ".join(f"{_split(path)}/" for path in sorted(root.glob(INSTANCES)))
        raise ImagesError(f"{root}: the images are missing; expected them in {expected}")
    tables = {path: _Table.read(path) for path in files}
    categories: dict[int, tuple[str, str]] = {}
    for path, table in tables.items():
        for key, category in table.categories.items():
            if categories.setdefault(key, category) != category:
                raise ImagesError(f"{path}: category {key} is {category}, but {categories[key]} in another file")
    keys = sorted(categories)
    concepts = tuple(Concept(number, *categories[key]) for number, key in enumerate(keys, 1))
    if same := _twice(categories.values()):
        raise ImagesError(f"{root}: {same[0]!r} ({same[1]}) is the name of two categories; rename one of them")
    numbers = {key: number for number, key in enumerate(keys, 1)}
    sizes: dict[str, tuple[int, int]] = {}
    regions: dict[str, list[Region]] = {}
    for path, table in tables.items():
        sizes |= table.sizes
        for where, image, key, segmentation in table.regions:
            if key in numbers:
                regions.setdefault(image, []).append(Region(f"{path}, {where}", numbers[key], segmentation))
    names = sorted(sizes)
    images = PlainFiles(spec, root, names, [None] * len(names))
    each = [regions.get(name, []) for name in names]
    return Coco(spec, images, concepts, tuple(files), [sizes[name] for name in names], each)


def _twice(values: Iterable[T]) -> T | None:
    """The first value that is there more than once."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def _split(path: Path) -> str:
    """The folder of the images that a file annotates."""
    return path.stem.partition("_")[2]


@dataclass(frozen=True)
class _Table:
    """What a file of annotations says.

    Args:
        categories: name and category of every one that is a concept, by its number there.
        sizes: (height, width) of every image, by its path.
        regions: annotation, image, number of the category, and segmentation.
    """

    categories: dict[int, tuple[str, str]]
    sizes: dict[str, tuple[int, int]]
    regions: list[tuple[str, str, int, Any]]

    @classmethod
    def read(cls, path: Path) -> _Table:
        """The file at `path`."""
        try:
            data = json.loads(path.read_bytes())
            for kind in ("images", "categories"):
                if (same := _twice(each["id"] for each in data[kind])) is not None:
                    raise ValueError(f"two of its {kind} have the number {same}")
            known = {int(each["id"]) for each in data["categories"]}
            categories = {int(each["id"]): _concept(each) for each in data["categories"] if each["name"] != _OTHER}
            names = {each["id"]: f"{_split(path)}/{each['file_name']}" for each in data["images"]}
            sizes = {names[each["id"]]: (int(each["height"]), int(each["width"])) for each in data["images"]}
            regions = []
            for each in data["annotations"]:
                where = f"annotation {each['id']}"
                if each["category_id"] not in known or each["image_id"] not in names:
                    raise ValueError(f"{where} is of an image or a category that the file does not list")
                regions.append((where, names[each["image_id"]], int(each["category_id"]), each["segmentation"]))
        except OSError as error:
            raise ImagesError(f"{path}: it cannot be read ({error.strerror})") from error
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ImagesError(f"{path}: not written as COCO's annotations are ({what})") from error
        return cls(categories, sizes, regions)


def _concept(category: Mapping[str, Any]) -> tuple[str, str]:
    """Name and category: stuff is an object as things are, but for the raw materials."""
    return str(category["name"]), "material" if category.get("supercategory") == _MATERIALS else "object"


def _of_polygon(points: Sequence[float], height: int, width: int) -> Mask:
    """The pixels whose middles lie in it, by the even-odd rule."""
    x, y = np.array(points, np.float64).reshape(-1, 2).T
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a coordinate is no number")
    middles, to_x, to_y = np.arange(height) + 0.5, np.roll(x, -1), np.roll(y, -1)
    row, edge = np.nonzero((y <= middles[:, None]) != (to_y <= middles[:, None]))
    crossing = x[edge] + (middles[row] - y[edge]) / (to_y[edge] - y[edge]) * (to_x[edge] - x[edge])
    flips = np.zeros((height, width + 1), np.bool_)
    np.logical_xor.at(flips, (row, np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)), True)
    mask: Mask = np.logical_xor.accumulate(flips, 1)[:, :width]
    return mask


def _of_runs(counts: str | Sequence[int], height: int, width: int) -> Mask:
    """The pixels of run lengths."""
    runs = _unpacked(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its run lengths do not add up to {height} × {width} pixels")
    mask: Mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    return mask


def _unpacked(text: str) -> NDArray[np.int64]:
    """Numbers of five bits a character, the lowest first; from the fourth on, differences from the last but one."""
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or ends[-1] != len(codes) - 1:
        raise ValueError("its run lengths are packed in another way")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    values: NDArray[np.int64] = np.add.reduceat((codes & 31) << 5 * places, starts)
    values -= (codes[ends] & 16 > 0) << 5 * lengths  # of negative ones the highest bit is set
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values
