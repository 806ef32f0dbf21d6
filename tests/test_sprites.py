"""Sheets of pictures and strips: every tile is the crop that it stands for, and no neighbour shows through."""

from __future__ import annotations

import errno
import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from convscope import sprites
from convscope.errors import UnreadableImage
from convscope.geometry import Grid, Spans
from convscope.images import Arrays
from convscope.preprocess import Picture, Preprocess
from convscope.sprites import NOBODY, Likes, write_pictures

MEAN, STD = (0.5, 0.25, 0.75), (0.2, 0.3, 0.4)
PADDING = (128, 64, 191)  # what the network sees as zero


def spans(cells: int, extent: int, start: int, stride: int, size: int) -> Spans:
    low = start + stride * np.arange(cells, dtype=np.int64)
    return Spans(low, low + size, extent, stride)


def noise(count: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8)


def flat(count: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Every image of one colour, far from that of its neighbours."""
    colours = np.random.default_rng(1).integers(0, 2, (count, 3), np.uint8) * 255
    return np.broadcast_to(colours[:, :, None, None], (count, 3, height, width)).copy()


def liking(slug: str, grid: Grid, units: int, images: int, ranks: int = 3) -> Likes:
    generator = np.random.default_rng(2)
    cells = grid.cells[0] * grid.cells[1]
    ids = np.stack([generator.choice(images, ranks, replace=False) for _ in range(units)]).astype(np.int64)
    return Likes(slug, grid, ids, generator.integers(0, cells, (units, ranks)))


def written(
    folder: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]], likes: list[Likes], **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    preprocess = Preprocess(size=(pixels.shape[2], pixels.shape[3]), mean=MEAN, std=STD)
    return write_pictures(folder, Arrays(pixels), preprocess, likes, **options)


def picture_of(pixels: np.ndarray[Any, np.dtype[np.uint8]], image: int) -> Image.Image:
    return Image.fromarray(pixels[image].transpose(1, 2, 0))


def crop_of(picture: Image.Image, likes: Likes, position: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The definition: the field pixel by pixel, padding outside, then made as large as a tile."""
    row, column = divmod(position, likes.grid.cells[1])
    box = likes.grid.crop(row, column)
    pixels = np.asarray(picture)
    out = np.empty((box.height, box.width, 3), np.uint8)
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            inside = 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]
            out[y - box.y0, x - box.x0] = pixels[y, x] if inside else PADDING
    if (box.height, box.width) == likes.tile:
        return out
    return np.asarray(Image.fromarray(out).resize(likes.tile[::-1], Image.Resampling.BICUBIC))


def tile_in(folder: Path, strip: dict[str, Any], unit: int, rank: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The tile that ``run.json`` says is that of a unit's rank."""
    sheet, row = divmod(unit, strip["rows"])
    (height, width), (down, right) = strip["tile"], strip["cell"]
    with Image.open(folder / strip["files"][sheet]) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels[row * down : row * down + height, rank * right : rank * right + width]


def compressed(tile: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The tile after a JPEG of its own; blocks of 8 px are independent of each other."""
    height, width, _ = tile.shape
    whole = np.pad(tile, ((0, -height % 8), (0, -width % 8), (0, 0)), "edge")
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "JPEG", quality=70, subsampling=0)
    return np.asarray(Image.open(buffer))[:height, :width]


def grid_reach(grid: Grid) -> int:
    """The definition: how far the crop of any cell goes beyond the image."""
    boxes = [grid.crop(*cell) for cell in np.ndindex(*grid.cells)]
    return max(max(-box.y0, -box.x0, box.y1 - grid.image[0], box.x1 - grid.image[1]) for box in boxes)


def distance(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> int:
    return int(np.abs(one.astype(int) - two.astype(int)).max())


SMALL = Grid(spans(7, 24, -3, 4, 7), spans(8, 28, -2, 4, 5))  # reaches beyond the image at all sides
LARGE = Grid(spans(5, 24, -6, 6, 13), spans(6, 28, -20, 10, 27))  # not square, and still as large as the field
TALL = Grid(spans(4, 200, -30, 60, 150), spans(5, 100, -10, 20, 41))  # must be made smaller
WHOLE = Grid(spans(1, 24, -50, 1, 200), spans(1, 28, -50, 1, 200))  # a linear layer: the image itself


@pytest.mark.parametrize(
    ("grid", "exact"),
    [(SMALL, True), (WHOLE, False), (LARGE, False), (TALL, False)],
    ids=["small", "whole", "large", "tall"],
)
def test_every_tile_is_the_crop_of_its_image(tmp_path: Path, grid: Grid, exact: bool) -> None:
    height, width = grid.image
    # A JPEG cannot hold noise; colour ramps say as well where a tile comes from.
    ramps = np.stack(
        np.broadcast_arrays(np.arange(height)[:, None] * 250 // height, np.arange(width) * 250 // width, 90)
    )
    pixels = noise(9, height, width) if exact else np.stack([np.roll(ramps, i, 0) for i in range(9)]).astype(np.uint8)
    likes = liking("000-layer", grid, 10, 9)
    _, strips = written(tmp_path, pixels, [likes])
    assert strips["000-layer"]["tile"] == list(likes.tile)
    for unit, rank in np.ndindex(*likes.ids.shape):
        expected = crop_of(picture_of(pixels, likes.ids[unit, rank]), likes, likes.positions[unit, rank])
        found = tile_in(tmp_path, strips["000-layer"], unit, rank)
        blocks = strips["000-layer"]["files"][0].endswith(".jpg")
        assert distance(found, compressed(expected) if blocks else expected) == 0
        assert np.abs(found.astype(int) - expected).mean() <= (0 if exact else 5)


def test_a_tile_is_the_field_where_that_is_small_and_never_above_56_px() -> None:
    assert [liking("x", grid, 1, 3).tile for grid in (SMALL, LARGE, TALL, WHOLE)] == [
        (7, 5),
        (13, 27),
        (56, 15),
        (24, 28),
    ]


def test_neighbours_in_a_jpeg_do_not_show_through(tmp_path: Path) -> None:
    grid = Grid(spans(1, 45, 0, 1, 45), spans(1, 45, 0, 1, 45))  # 45 px is no multiple of a JPEG's blocks of 8 px
    pixels = flat(40, 45, 45)
    likes = liking("000-layer", grid, 30, 40, ranks=9)
    _, strips = written(tmp_path, pixels, [likes])
    (name,) = strips["000-layer"]["files"]
    assert name.endswith(".jpg")
    for unit, rank in np.ndindex(*likes.ids.shape):
        found = tile_in(tmp_path, strips["000-layer"], unit, rank)
        assert distance(found, pixels[likes.ids[unit, rank], :, 0, 0]) <= 3


def test_layers_of_many_units_go_on_in_further_sheets(tmp_path: Path) -> None:
    likes = liking("004-many", SMALL, 130, 12)
    pixels = noise(12, 24, 28)
    _, strips = written(tmp_path, pixels, [likes])
    strip = strips["004-many"]
    assert strip["rows"] == 128
    assert strip["files"] == [f"strips/004-many-{i:03}.png" for i in range(2)]
    heights = []
    for name in strip["files"]:
        with Image.open(tmp_path / name) as image:
            assert image.width == 3 * strip["cell"][1]
            heights.append(image.height // strip["cell"][0])
    assert heights == [128, 2]
    for unit in (0, 63, 64, 127, 128, 129):
        expected = crop_of(picture_of(pixels, likes.ids[unit, 1]), likes, likes.positions[unit, 1])
        assert distance(tile_in(tmp_path, strip, unit, 1), expected) == 0


def test_pictures_go_on_in_further_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "_SHEET", 70)
    pixels = noise(11, 16, 20)  # 4 rows by 3 columns a sheet
    grid = Grid(spans(16, 16, 0, 1, 1), spans(20, 20, 0, 1, 1))
    ids = np.array([[9, 0, 3], [10, 4, 5], [8, 2, 1], [7, 6, NOBODY]])
    seen: list[int] = []
    pictures, _ = written(tmp_path, pixels, [Likes("000-x", grid, ids, np.zeros_like(ids))], advance=seen.append)
    assert pictures["files"] == ["pictures/0000.png"]
    more = noise(40, 16, 20)
    ids = np.arange(40).reshape(20, 2)[::-1].copy()
    seen.clear()
    likes = Likes("000-x", grid, ids, np.zeros_like(ids))
    pictures, _ = written(tmp_path / "more", more, [likes], advance=seen.append)
    assert pictures["files"] == [f"pictures/{i:04}.png" for i in range(4)]
    assert pictures["size"] == [16, 20]
    assert pictures["padding"] == list(PADDING)
    assert seen == [12, 12, 12, 4]
    assert sorted(pictures["places"]) == list(range(40))
    for image, (sheet, y, x) in pictures["places"].items():
        with Image.open(tmp_path / "more" / pictures["files"][sheet]) as opened:
            found = np.asarray(opened.convert("RGB"))[y : y + 16, x : x + 20]
        assert distance(found, more[image].transpose(1, 2, 0)) == 0


def test_pictures_in_a_jpeg_do_not_show_through_into_their_neighbours(tmp_path: Path) -> None:
    pixels = np.zeros((9, 3, 50, 45), np.float32)  # whole blocks of a JPEG are 8 px
    pixels[1::2] = 1
    grid = Grid(spans(50, 50, 0, 1, 1), spans(45, 45, 0, 1, 1))
    ids = np.arange(9).reshape(3, 3)
    pictures, _ = written(tmp_path, pixels, [Likes("000-x", grid, ids, np.zeros_like(ids))])
    for image, (sheet, y, x) in pictures["places"].items():
        assert pictures["files"][sheet].endswith(".jpg")
        with Image.open(tmp_path / pictures["files"][sheet]) as opened:
            found = np.asarray(opened.convert("RGB"), int)[y : y + 50, x : x + 45]
        assert abs(found - 255 * (image % 2)).max() <= 1


def test_noise_is_kept_as_well(tmp_path: Path) -> None:
    """It takes more than a byte a pixel as a JPEG."""
    pixels = noise(30, 96, 96)
    grid = Grid(spans(1, 96, 0, 1, 96), spans(1, 96, 0, 1, 96))
    pictures, _ = written(tmp_path, pixels, [liking("000-x", grid, 9, 30)])
    assert (tmp_path / pictures["files"][0]).stat().st_size > len(pictures["places"]) * 96 * 96
    for image, (sheet, y, x) in pictures["places"].items():
        with Image.open(tmp_path / pictures["files"][sheet]) as opened:
            found = np.asarray(opened.convert("RGB"), int)[y : y + 96, x : x + 96]
        assert np.abs(found - pixels[image].transpose(1, 2, 0)).mean() < 25


def test_only_images_that_somebody_likes_are_kept_and_each_is_read_once(tmp_path: Path) -> None:
    class Counting(Arrays):
        reads: list[int] = []  # noqa: RUF012 — one list for the test

        def read(self, index: int) -> Picture:
            self.reads.append(index)
            return super().read(index)

    ids = np.array([[5, 3, NOBODY], [3, 8, 5]])
    likes = [Likes(f"00{i}-x", SMALL, ids, np.full_like(ids, i)) for i in range(2)]
    preprocess = Preprocess(size=(24, 28), mean=MEAN, std=STD)
    pictures, strips = write_pictures(tmp_path, Counting(noise(10, 24, 28)), preprocess, likes)
    assert sorted(Counting.reads) == [3, 5, 8]
    assert sorted(pictures["places"]) == [3, 5, 8]
    empty = tile_in(tmp_path, strips["000-x"], 0, 2)  # nobody is third
    assert distance(empty, np.broadcast_to(PADDING, empty.shape)) == 0


def test_pictures_that_are_not_kept_still_give_their_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "_SHEET", 56)  # 2 × 2 pictures a sheet
    pixels, likes = noise(20, 24, 28), liking("000-x", SMALL, 6, 20)
    keep, seen = [1, 4, 5, 9, 11, 12, 15], list[int]()
    pictures, strips = written(tmp_path, pixels, [likes], keep=keep, advance=seen.append)
    assert sorted(pictures["places"]) == keep
    assert len(pictures["files"]) == 2
    assert sum(seen) == len(set(likes.ids.ravel()) | set(keep))
    for unit, rank in np.ndindex(*likes.ids.shape):
        expected = crop_of(picture_of(pixels, likes.ids[unit, rank]), likes, likes.positions[unit, rank])
        assert distance(tile_in(tmp_path, strips["000-x"], unit, rank), expected) == 0


def test_pictures_are_kept_by_the_best_rank_until_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [np.array([[7, 3, 9], [7, 2, NOBODY]]), np.array([[5, 9]])]
    assert sprites.best_images(lists, (10, 10)) == [2, 3, 5, 7, 9]
    monkeypatch.setattr(sprites, "_ROOM", 400)
    monkeypatch.setattr(sprites, "_ROOM_A_UNIT", 100)
    assert sprites.best_images(lists, (10, 10)) == [2, 3, 5, 7]  # first 5 and 7, then 2, 3 and 9 come second
    monkeypatch.setattr(sprites, "_ROOM_A_UNIT", 0)
    assert sprites.best_images(lists, (20, 10)) == [5, 7]
    assert sprites.best_images([np.empty((0, 3), np.int64)], (10, 10)) == []


def test_fields_that_reach_furthest_in_the_middle(tmp_path: Path) -> None:
    """Fields at the border are as large as the image, so they are cut to it; one further in is not, and reaches out."""
    rows = Spans(np.array([-30, -6, -30]), np.array([30, 9, 30]), 16, 1)
    columns = Spans(np.array([-30, 5, -30]), np.array([30, 24, 30]), 20, 1)
    pixels = noise(4, 16, 20)
    ids = np.array([[0, 1, 2], [1, 2, 3]])
    likes = Likes("000-x", Grid(rows, columns), ids, np.array([[4, 0, 1], [3, 4, 8]]))
    assert grid_reach(likes.grid) == 6
    strips = written(tmp_path, pixels, [likes])[1]["000-x"]
    for unit, rank in np.ndindex(2, 3):
        expected = crop_of(picture_of(pixels, ids[unit, rank]), likes, likes.positions[unit, rank])
        assert distance(tile_in(tmp_path, strips, unit, rank), expected) == 0


def test_a_cell_that_sees_nothing_gets_padding(tmp_path: Path) -> None:
    rows = Spans(np.array([0, 0, 5]), np.array([3, 0, 8]), 16, 4)
    likes = Likes("000-x", Grid(rows, rows), np.array([[0, 1]]), np.array([[4, 0]]))
    _, strips = written(tmp_path, noise(2, 16, 16), [likes])
    assert likes.tile == (1, 1)
    assert distance(tile_in(tmp_path, strips["000-x"], 0, 0), np.array([[PADDING]])) == 0


def test_a_sheet_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "_SHEET", 30)  # one picture a sheet
    pixels, likes = noise(6, 24, 28), [liking("000-x", SMALL, 5, 6)]
    written(tmp_path / "alone", pixels, likes)

    class Failing(Arrays):
        def read(self, index: int) -> Picture:
            if index == 3:
                raise KeyboardInterrupt
            return super().read(index)

    folder = tmp_path / "killed"
    folder.mkdir()
    preprocess = Preprocess(size=(24, 28), mean=MEAN, std=STD)
    with pytest.raises(KeyboardInterrupt):
        write_pictures(folder, Failing(pixels), preprocess, likes)
    done = sorted((folder / "pictures").iterdir())
    assert 0 < len(done) < 6
    stamps = [path.stat().st_mtime_ns for path in done]
    write_pictures(folder, Arrays(pixels), preprocess, likes)
    assert [path.stat().st_mtime_ns for path in done] == stamps
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 7
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_an_image_that_has_gone_is_named(tmp_path: Path) -> None:
    class Gone(Arrays):
        def read(self, index: int) -> Picture:
            raise UnreadableImage("there is no such file")

    likes = [liking("000-x", SMALL, 2, 10)]
    preprocess = Preprocess(size=(24, 28), mean=MEAN, std=STD)
    with pytest.raises(UnreadableImage, match=r"^\d: changed during the scan, now there is no such file"):
        write_pictures(tmp_path, Gone(noise(10, 24, 28)), preprocess, likes)


def test_a_full_disk_is_an_error_that_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: BinaryIO, header: object) -> None:
        file.write(b"\x93NUMPY")
        raise OSError(errno.ENOSPC, "No space left on device")

    pixels, likes = noise(6, 24, 28), [liking("000-x", SMALL, 5, 6)]
    with monkeypatch.context() as patch:
        patch.setattr(sprites, "write_array_header_1_0", full)
        with pytest.raises(OSError, match="No space left"):
            written(tmp_path, pixels, likes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    _, strips = written(tmp_path, pixels, likes)
    expected = crop_of(picture_of(pixels, likes[0].ids[4, 2]), likes[0], likes[0].positions[4, 2])
    assert distance(tile_in(tmp_path, strips["000-x"], 4, 2), expected) == 0


def test_clearing_removes_pictures_and_waiting_tiles_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, noise(6, 24, 28), [liking("000-x", SMALL, 5, 6)])
    (tmp_path / "job.json").write_text("{}")
    sums = {"pictures-0000.png.sum", "strips-000-x-000.png.sum"}
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "strips", "tiles-000-x.npy", "job.json"} | sums
    sprites.clear_tiles(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "strips", "job.json"}
    sprites.clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"job.json"}
    sprites.clear(tmp_path)


def test_disk_for_waiting_tiles_is_reserved_before_anything_is_read(tmp_path: Path) -> None:
    """A map that grows on a full disk kills the process with SIGBUS; a write fails with an error."""
    likes = liking("000-x", SMALL, 50, 6)

    class First(Arrays):
        def read(self, index: int) -> Picture:
            path = tmp_path / "tiles-000-x.npy"
            tiles = 50 * 3 * math.prod(likes.tile) * 3
            assert path.stat().st_blocks * 512 >= tiles  # holes would be found here
            return super().read(index)

    written_ = write_pictures(tmp_path, First(noise(6, 24, 28)), Preprocess(size=(24, 28), mean=MEAN, std=STD), [likes])
    assert written_[0]["files"] == ["pictures/0000.png"]
