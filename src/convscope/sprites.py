"""The pictures of an atlas: the images that units like, and for every unit a strip of the patches it likes best.

Pictures lie in sheets, so that the number of files goes with the layers and not with the units. They are read again
from the image set, each image once, and tiles wait on disk until their layer's sheets are written. A sheet that is
there is not made again, so a kill loses at most one.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap, write_array_header_1_0
from numpy.typing import NDArray
from PIL import Image

from convscope.errors import UnreadableImage
from convscope.geometry import Box, Grid
from convscope.images import ImageSet
from convscope.preprocess import Preprocess
from convscope.shards import write
from convscope.statistics.topk import NOBODY

TILE = 56  # px, the longer side of a patch in a strip, at most
_ROWS = 128  # units in one sheet of strips
_SHEET = 1536  # px, the longer side of a sheet of pictures, about; a browser decodes all of one to show a patch
_ROOM, _ROOM_A_UNIT = 100_000_000, 6_000  # px of pictures at most: in any atlas, or for each unit where that is more
_QUALITY = {"strips": 70, "projections": 70, "pictures": 75, "samples": 85}  # of JPEGs; patches are many


@dataclass(frozen=True, eq=False)
class Likes:
    """What the units of one layer like best.

    Args:
        slug: a name of the layer that can be part of a file's name.
        ids, positions: (units, ranks), from the top-k statistic.
    """

    slug: str
    grid: Grid
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]

    def crop(self, position: int) -> Box:
        """What to cut out for a position of the map."""
        if position not in self._crops:
            self._crops[position] = self.grid.crop(*divmod(position, self.grid.cells[1]))
        return self._crops[position]

    @functools.cached_property
    def _crops(self) -> dict[int, Box]:
        return {}

    @functools.cached_property
    def tile(self) -> tuple[int, int]:
        """(height, width) of a patch in the strip, px: the field itself where it is small."""
        box = self.crop((self.grid.cells[0] // 2) * self.grid.cells[1] + self.grid.cells[1] // 2)
        shrink = min(1.0, TILE / max(box.height, box.width, 1))
        return max(1, round(box.height * shrink)), max(1, round(box.width * shrink))


def write_pictures(
    folder: Path,
    images: ImageSet,
    preprocess: Preprocess,
    likes: Sequence[Likes],
    keep: Collection[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write ``pictures/`` and ``strips/`` into `folder`; what goes into ``run.json`` about them comes back.

    Of every picture: its sheet, and the pixel (y, x) of the sheet where it begins.

    Args:
        likes: whose patches go into strips.
        keep: ids of the images of which pictures are kept; by default all of `likes`.
    """
    wanted = _wanted(likes)
    kept = sorted(wanted if keep is None else keep)
    padding = preprocess.display(torch.zeros(preprocess.planes, 1, 1))[0, 0]
    height, width = (_cell(side, preprocess.size) for side in preprocess.size)
    columns, rows = max(1, _SHEET // width), max(1, _SHEET // height)
    if not (_all_whole(folder, likes) or all(_kept(folder / name) for like in likes for name in _strip_names(like))):
        clear(folder)  # tiles that are lost are cut again, while pictures are made
    tiles = _Tiles(folder, likes, padding)
    files, places = [], {}
    for sheet, (chosen, passing) in enumerate(_sheets(kept, wanted, rows * columns)):
        name = f"pictures/{sheet:04}.{_suffix(*preprocess.size)}"
        files.append(name)
        places.update({image: (sheet, i // columns * height, i % columns * width) for i, image in enumerate(chosen)})
        if not _kept(folder / name):
            canvas = Image.new(
                "RGB", (columns * width, math.ceil(len(chosen) / columns) * height), tuple(padding.tolist())
            )
            for image, picture in _read(images, preprocess, sorted([*chosen, *passing])):
                if image in places:
                    _, y, x = places[image]
                    canvas.paste(_continued(picture, (height, width)), (x, y))
                tiles.cut(picture, wanted.get(image, []))
            tiles.flush()
            _save(canvas, folder / name)
        advance(len(chosen) + len(passing))
    strips = tiles.write_sheets()
    about = {"size": list(preprocess.size), "padding": padding.tolist(), "files": files}
    return about | {"places": places}, strips


Wish = tuple[int, int, int, int]  # layer, unit, rank, position


def _wanted(likes: Sequence[Likes]) -> dict[int, list[Wish]]:
    """For every image that is among somebody's best: who wants which patch of it."""
    wanted: dict[int, list[Wish]] = defaultdict(list)
    for layer, like in enumerate(likes):
        for unit, rank in np.argwhere(like.ids != NOBODY):
            wanted[int(like.ids[unit, rank])].append((layer, int(unit), int(rank), int(like.positions[unit, rank])))
    return wanted


def _sheets(kept: Sequence[int], wanted: Collection[int], size: int) -> Iterator[tuple[Sequence[int], list[int]]]:
    """The pictures of each sheet, and the images that are read with them for their patches alone."""
    others = sorted(set(wanted) - set(kept))
    starts = range(0, len(kept), size)
    for start in starts:
        first = kept[start] if start else -1
        last = kept[start + size] if start + size < len(kept) else math.inf
        yield kept[start : start + size], [image for image in others if first <= image < last]


def best_images(lists: Sequence[NDArray[np.int64]], side: tuple[int, int]) -> list[int]:
    """The images whose pictures are worth their room, ascending: all in anybody's list, or else the highest in lists.

    Args:
        lists: (units, ranks) ids of each layer.
        side: (height, width) of a picture, px.
    """
    units = sum(len(each) for each in lists)
    room = max(_ROOM, _ROOM_A_UNIT * units) // math.prod(side)
    ranks: dict[int, int] = {}  # the best that anybody gives each image
    for rank in range(max((each.shape[1] for each in lists), default=0)):
        for each in lists:
            for image in np.unique(each[:, rank]) if rank < each.shape[1] else ():
                ranks.setdefault(int(image), rank)
    ranks.pop(NOBODY, None)
    return sorted(sorted(ranks, key=lambda image: (ranks[image], image))[: max(1, room)])


def _read(images: ImageSet, preprocess: Preprocess, ids: Sequence[int]) -> Iterator[tuple[int, Image.Image]]:
    for image in ids:
        try:
            yield image, Image.fromarray(preprocess.display(preprocess(images.read(image))))
        except UnreadableImage as error:  # it was readable in the scan a moment ago
            raise UnreadableImage(f"{images.names[image]}: changed during the scan, now {error}") from error


class _Tiles:
    """The patches of all layers, in memory-mapped files until they are encoded."""

    def __init__(self, folder: Path, likes: Sequence[Likes], padding: NDArray[np.uint8]) -> None:
        self.folder, self.likes, self.padding = folder, likes, padding
        (folder / "pictures").mkdir(exist_ok=True)
        (folder / "strips").mkdir(exist_ok=True)
        self.maps = [self._map(like) for like in likes]
        # Pictures are padded once so that every crop lies inside; the widest reach of any layer decides how far.
        self.reach = max((_reach(like.grid) for like in likes), default=0)

    def _map(self, like: Likes) -> NDArray[np.uint8]:
        path = self.folder / _tiles_name(like)
        if not path.exists():
            reserve(path, _tiles_shape(like), self.padding)
        array: NDArray[np.uint8] = open_memmap(path, "r+")
        return array

    def cut(self, picture: Image.Image, wishes: Sequence[Wish]) -> None:
        reach = self.reach
        padded = Image.new("RGB", (picture.width + 2 * reach, picture.height + 2 * reach), tuple(self.padding.tolist()))
        padded.paste(picture, (reach, reach))
        done: dict[tuple[Box, tuple[int, int]], NDArray[np.uint8]] = {}  # layers that see the whole image share it
        for layer, unit, rank, position in wishes:
            wish = self.likes[layer].crop(position), self.likes[layer].tile
            if wish not in done:
                done[wish] = self._patch(padded, *wish)
            self.maps[layer][unit, rank] = done[wish]

    def _patch(self, padded: Image.Image, box: Box, tile: tuple[int, int]) -> NDArray[np.uint8]:
        if not (box.height and box.width):  # a cell that sees nothing
            return np.broadcast_to(self.padding, (*tile, 3))
        y0, x0, y1, x1 = (side + self.reach for side in box.as_tuple())
        patch = padded.crop((x0, y0, x1, y1))  # cut first: a resize with a box also mixes in what is around it
        return np.asarray(patch if patch.size == tile[::-1] else patch.resize(tile[::-1], Image.Resampling.BICUBIC))

    def flush(self) -> None:
        for array in self.maps:
            if isinstance(array, np.memmap):
                array.flush()

    def write_sheets(self) -> dict[str, Any]:
        """Encode every layer's strips."""
        return {
            like.slug: write_strips(self.folder, f"strips/{like.slug}", array)
            for like, array in zip(self.likes, self.maps, strict=True)
        }


def write_strips(folder: Path, name: str, tiles: NDArray[np.uint8]) -> dict[str, Any]:
    """Encode tiles (units, columns, height, width, 3): a row a unit, `_ROWS` units a sheet.

    Args:
        name: of the sheets but for their numbers, as ``strips/000-c1``.

    Returns:
        What must be known to find a tile again.
    """
    tile = tiles.shape[2], tiles.shape[3]
    cell = [_cell(side, tile) for side in tile]
    files = _sheet_names(name, len(tiles), tile)
    for sheet, file in enumerate(files):
        if not _kept(folder / file):
            _save(_sheet(tiles[sheet * _ROWS : (sheet + 1) * _ROWS], cell), folder / file)
    return {"tile": list(tile), "cell": cell, "rows": _ROWS, "files": files}


def _tiles_name(like: Likes) -> str:
    return f"tiles-{like.slug}.npy"


def _tiles_shape(like: Likes) -> tuple[int, ...]:
    return *like.ids.shape, *like.tile, 3


def _strip_names(like: Likes) -> list[str]:
    return _sheet_names(f"strips/{like.slug}", len(like.ids), like.tile)


def _sheet_names(name: str, units: int, tile: tuple[int, int]) -> list[str]:
    return [f"{name}-{sheet:03}.{_suffix(*tile)}" for sheet in range(math.ceil(units / _ROWS))]


def _all_whole(folder: Path, likes: Sequence[Likes]) -> bool:
    """Whether the tiles of every layer are there, in files of the right form."""
    return all(is_reserved(folder / _tiles_name(like), _tiles_shape(like)) for like in likes)


def is_reserved(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether there is a file of tiles of this shape, as `reserve` writes it."""
    header = _header(shape)
    if not path.is_file() or path.stat().st_size != len(header) + math.prod(shape):
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _kept(path: Path) -> bool:
    """Whether a sheet is there, and is what was written: its checksum goes into ``run.json`` as that of a right one."""
    note = _note(path)
    return path.is_file() and note.is_file() and note.read_bytes() == _checksum(path.read_bytes())


def _note(path: Path) -> Path:
    return path.parents[1] / f"{path.parent.name}-{path.name}.sum"


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def clear_tiles(folder: Path) -> None:
    """Remove the tiles that waited for their sheets, what says which are there, and the checksums of the sheets."""
    for path in [*folder.glob("tiles-*.npy"), *folder.glob("projected-*.json"), *folder.glob("*.sum")]:
        path.unlink()


def clear(folder: Path) -> None:
    """Remove all pictures, finished or not."""
    clear_tiles(folder)
    for name in ("pictures", "strips", "projections"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def reserve(path: Path, shape: tuple[int, ...], padding: NDArray[np.uint8]) -> None:
    """Write a file of plain tiles. Written, not mapped: on a full disk a write fails, and a map kills the process."""
    temporary = path.with_name(path.name + ".tmp")
    row = np.broadcast_to(padding, shape[1:]).tobytes()
    try:
        with temporary.open("wb") as file:
            file.write(_header(shape))
            for _ in range(shape[0]):
                file.write(row)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _reach(grid: Grid) -> int:
    """How far beyond the image the crops of a layer go, px."""
    rows, columns = grid.cells
    height, width = grid.image
    # Rows and columns are independent of each other. All are looked at: where fields differ in size, those at the
    # border can be cut to the whole image, and one further in reach out of it.
    boxes = [grid.crop(row, 0) for row in range(rows)] + [grid.crop(0, column) for column in range(columns)]
    return max(0, *(max(-box.y0, -box.x0, box.y1 - height, box.x1 - width) for box in boxes))


def _cell(side: int, tile: tuple[int, int]) -> int:
    """Room for a tile: whole blocks of 8 px in a JPEG, so that neighbours do not show through."""
    return side if _suffix(*tile) == "png" else math.ceil(side / 8) * 8


def _continued(picture: Image.Image, cell: tuple[int, int]) -> Image.Image:
    """The last row and column go on into the rest of the cell; an edge there would ring in the picture itself."""
    beyond = ((0, cell[0] - picture.height), (0, cell[1] - picture.width), (0, 0))
    return Image.fromarray(np.pad(np.asarray(picture), beyond, "edge"))


def _sheet(tiles: NDArray[np.uint8], cell: Sequence[int]) -> Image.Image:
    units, ranks, height, width, _ = tiles.shape
    canvas = np.pad(tiles, ((0, 0), (0, 0), (0, cell[0] - height), (0, cell[1] - width), (0, 0)), "edge")
    flat = canvas.transpose(0, 2, 1, 3, 4).reshape(units * cell[0], ranks * cell[1], 3)
    return Image.fromarray(np.ascontiguousarray(flat))


def _suffix(height: int, width: int) -> str:
    """Small pictures are kept exactly; a JPEG would smear their few pixels."""
    return "png" if max(height, width) <= 32 else "jpg"


def _save(picture: Image.Image, path: Path) -> None:
    data = encoded(picture, f"{path.parent.name}/{path.name}")
    write(path, data)
    write(_note(path), _checksum(data))


def encoded(sheet: Image.Image, name: str) -> bytes:
    """The file of a sheet that is called so, as in ``strips/000-c1-000.jpg``."""
    buffer = io.BytesIO()
    if name.endswith(".png"):
        sheet.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    options = {"quality": _QUALITY[name.partition("/")[0]], "subsampling": 0}
    try:
        sheet.save(buffer, "JPEG", optimize=True, **options)
    except OSError:  # Pillow has room for a byte a pixel where it optimises, and noise takes more
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def likes_of(slug: str, grid: Grid, topk: Mapping[str, Any], ranks: int) -> Likes:
    """What a layer's top-k state says, cut to the first `ranks` places."""
    ids, positions = (np.asarray(topk[name])[:, :ranks] for name in ("ids", "positions"))
    return Likes(slug, grid, ids, positions)
