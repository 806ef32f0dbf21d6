"""Sets of images: their order, their labels, what they look like when read, and what is said where one cannot be."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torch import nn

from convscope import digits
from convscope.errors import ImagesError, NetworkError, UnreadableImage
from convscope.images import Arrays, ImageSet, decode, open_images
from convscope.network import Network, wrap

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 20, 3), np.uint8)


def touch(root: Path, *names: str) -> Path:
    """A small grey PNG under each name, whatever the name ends in."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2)).save(path, "PNG")
    return root


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(ImagesError) as caught:
        call()
    return str(caught.value)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_class_subfolders_give_labels(image_folder: Path) -> None:
    images = open_images(image_folder)
    assert list(images.names) == ["cat/a.png", "cat/b.png", "cat/c.png", "dog/a.png", "dog/b.png"]
    assert list(images.labels) == ["cat", "cat", "cat", "dog", "dog"]
    assert len(images) == 5
    assert images.spec == str(image_folder)
    for i in range(5):
        picture = images.read(i)
        assert isinstance(picture, Image.Image)
        assert np.asarray(picture).tolist() == np.full((10, 12, 3), 40 * i).tolist()


def test_ids_are_ranks_of_relative_paths_part_by_part(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.png", "a/b/c.png", "a-b/a.png", "a.png", "B.png", "10.png", "9.png")
    expected = ["10.png", "9.png", "B.png", "a/b/c.png", "a/z.png", "a-b/a.png", "a.png", "b.png"]
    assert list(open_images(tmp_path).names) == expected


@pytest.mark.parametrize(
    "names", [["a.png", "b.png"], ["one/a.png", "one/b.png"], ["a.png", "one/b.png", "two/c.png"]], ids=str
)
def test_other_folders_have_no_labels(tmp_path: Path, names: list[str]) -> None:
    assert list(open_images(touch(tmp_path, *names)).labels) == [None] * len(names)


def test_the_first_subfolder_is_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/black/a.png", "cat/b.png", "dog/white/c.png")
    assert list(open_images(tmp_path).labels) == ["cat", "cat", "dog"]


def test_images_beside_their_label_maps_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/train/b.png", "labels/a.png", "Masks/b.png")
    images = open_images(tmp_path)
    assert (list(images.names), list(images.labels)) == (["images/a.png", "images/train/b.png"], [None, None])
    said = "the 2 files in Masks, labels were taken for label maps and left out"
    assert images.remark == said
    assert images.class_indices(classifier(), 2)[1] == said
    touch(tmp_path, "dogs/c.png")
    assert set(open_images(tmp_path).labels) == {"Masks", "dogs", "images", "labels"}, "these may be classes after all"


def test_label_maps_are_no_images_where_a_table_gives_the_labels(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/object/a.png", "masks/b.png")
    (tmp_path / "labels.csv").write_text("file,label\nimages/a.png,cat\n")
    images = open_images(tmp_path)
    assert (list(images.names), list(images.labels)) == (["images/a.png", "images/b.png"], ["cat", None])
    assert images.remark == "the 2 files in masks were taken for label maps and left out"
    (tmp_path / "labels.csv").write_text("file,label\nmasks/b.png,cat\nmasks/object/a.png,dog\n")
    images = open_images(tmp_path)  # what it lists is wanted
    assert list(images.labels) == [None, None, "cat", "dog"]
    assert images.remark is None


def test_splits_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path / "plain", "train/a.png", "test/b.png")
    assert set(open_images(tmp_path / "plain").labels) == {None}
    touch(tmp_path / "classes", "train/cat/a.png", "val/cat/b.png", "val/dog/c/d.png")
    assert list(open_images(tmp_path / "classes").labels) == ["cat", "cat", "dog"]
    touch(tmp_path / "vehicles", "train/a.png", "boat/b.png")
    assert list(open_images(tmp_path / "vehicles").labels) == ["boat", "train"]


def test_hidden_files_and_unknown_suffixes_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.png", ".cache/a.png", "x/.b/a.png", "notes.txt", "a.png.part", "README", "x/._a.jpg")
    touch(tmp_path, "a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.bmp", "g.ppm")
    assert list(open_images(tmp_path).names) == ["a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.bmp", "g.ppm"]


def test_an_empty_folder(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "sub/.hidden.png")
    text = complaint(lambda: open_images(tmp_path))
    assert text.startswith(f"{tmp_path}: no image files in it; expected names that end in .apng")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(elsewhere, "a.png")
    touch(root, "cat/b.png")
    (root / "dog").symlink_to(elsewhere)
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    (elsewhere / "back").symlink_to(root)
    images = open_images(root)
    assert list(images.names) == ["cat/b.png", "dog/a.png"]
    assert list(images.labels) == ["cat", "dog"]


def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/a.png", "b/b.png")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    text = complaint(lambda: open_images(tmp_path))
    assert text == f"{tmp_path / 'b'}: the folder cannot be listed (Permission denied)"


@pytest.mark.parametrize(
    "content",
    [
        "file,class_index\nsub/b.png,7\na.png,3\n",
        "class_index,more,file\n7,x,./sub/b.png\n 3,y,a.png\n",
        "\ufefffile,class_index,label\nsub/b.png,7,other\na.png,3,\n",
    ],
)
def test_labels_from_a_table(tmp_path: Path, content: str) -> None:
    touch(tmp_path, "a.png", "sub/b.png", "c.png")
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    images = open_images(tmp_path)
    assert list(images.names) == ["a.png", "c.png", "sub/b.png"]
    assert list(images.labels) == [3, None, 7]


def test_a_table_comes_before_class_subfolders_and_may_name_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.png", "dog/b.png", "odd.suffix")
    (tmp_path / "labels.csv").write_text("file,class_index,label\ncat/a.png,,wolf\nodd.suffix,5,x\nmissing.png,,\n")
    images = open_images(tmp_path)
    assert list(images.names) == ["cat/a.png", "dog/b.png", "missing.png", "odd.suffix"]
    assert list(images.labels) == ["wolf", None, None, 5]
    assert images.read(3)
    with pytest.raises(UnreadableImage, match=r"^there is no such file$"):
        images.read(2)


def test_a_csv_lists_its_files_only(tmp_path: Path) -> None:
    touch(tmp_path, "pictures/b.png", "pictures/a.png", "pictures/c.png")
    path = tmp_path / "list.CSV"
    path.write_text("file,label\npictures/b.png,dog\npictures/a.png,cat\n")
    images = open_images(str(path))
    assert (list(images.names), list(images.labels)) == (["pictures/a.png", "pictures/b.png"], ["cat", "dog"])
    assert images.read(0)
    path.write_text("file,label\n")
    assert complaint(lambda: open_images(path)) == f"{path}: it lists no images"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected columns 'file' and 'class_index' or 'label', found none"),
        ("image,label\na.png,1\n", "found image, label"),
        ("file,class\na.png,1\n", "found file, class"),
        ("file,class_index\na.png,one\n", "line 2: class_index 'one' is not a whole number"),
        ("file,class_index\na.png,1.5\n", "line 2: class_index '1.5' is not a whole number"),
        ("file,label\na.png,x\n./a.png,y\n", "line 3: file 'a.png' is empty or listed twice"),
        ("file,label\n,x\n", "line 2: file '.' is empty or listed twice"),
        ('file,label\n"a.png,x\n', "not readable as CSV"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "csv"])
def test_a_wrong_table_is_named(tmp_path: Path, content: str, said: str, form: str) -> None:
    touch(tmp_path, "a.png")
    path = tmp_path / "labels.csv"
    path.write_text(content)
    text = complaint(lambda: open_images(tmp_path if form == "folder" else path))
    assert text.startswith(str(path))
    assert said in text


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe,x\n")
    assert "not readable as CSV" in complaint(lambda: open_images(tmp_path))


def test_what_is_no_set_of_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert "not a set of images; expected a folder" in complaint(lambda: open_images(tmp_path / "a.png"))
    for name in ("none", "none.csv", "none.npy"):
        assert f"{name}: there is no such folder or file" in complaint(lambda name=name: open_images(tmp_path / name))


def test_the_signature_follows_files_and_labels_of_its_range(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png")

    def signatures() -> list[str]:
        images = open_images(tmp_path)
        return [images.signature(i, i + 1) for i in range(3)] + [images.signature(0, 3)]

    def changed() -> list[bool]:
        before, after = now.copy(), signatures()
        now[:] = after
        return [old != new for old, new in zip(before, after, strict=True)]

    now = signatures()
    assert changed() == [False] * 4
    Image.new("L", (30, 20)).save(tmp_path / "b.png")
    assert changed() == [False, True, False, True]
    os.utime(tmp_path / "c.png", (1, 1))
    assert changed() == [False, False, True, True]
    (tmp_path / "labels.csv").write_text("file,label\na.png,x\n")
    assert changed() == [True, False, False, True]
    (tmp_path / "labels.csv").write_text("file,label\na.png,y\ngone.png,z\n")
    assert changed() == [True, False, False, True]


def test_names_need_not_be_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/a.png")
    try:
        touch(tmp_path, name)
    except OSError:
        pytest.skip("the file system takes Unicode names only")
    touch(tmp_path, "dog/a.png")
    images = open_images(tmp_path)
    assert list(images.names) == ["caf\\xe9/a.png", "dog/a.png"], "what can be written and printed"
    assert list(images.labels) == ["caf\\xe9", "dog"]
    assert len(images.signature(0, 1)) == 64
    assert images.read(0)


# --- files that cannot be read ---------------------------------------------------------------------------------------


def encoded(form: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture or Image.fromarray(PIXELS)).save(buffer, form, **options)
    return buffer.getvalue()


FRAMES: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (20, 24), "red")]}
DAMAGED = {
    "corrupt.jpg": (encoded("JPEG")[:-300], "truncated"),
    "header only.jpg": (encoded("JPEG")[:20], "cannot be decoded|no picture"),
    "truncated.png": (encoded("PNG")[:-200], "truncated"),
    "broken.png": (encoded("PNG")[:60] + bytes(40) + encoded("PNG")[100:], "broken"),
    "zero.jpg": (b"", "^the file is empty$"),
    "text.jpg": (b"this is no picture", "^its content is no picture that Pillow knows$"),
    "animated.gif": (encoded("GIF", **FRAMES), "^it has 2 frames; a still picture is expected$"),
    "animated.png": (encoded("PNG", **FRAMES), "^it has 2 frames"),
    "pages.tif": (encoded("TIFF", **FRAMES), "^it has 2 frames"),
    "floats.tif": (encoded("TIFF", Image.new("F", (4, 4))), "^its pixels are of mode 'F', whose white is not known$"),
    "integers.tif": (encoded("TIFF", Image.new("I", (4, 4))), "^its numbers have a sign"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_unreadable_for_a_reason(tmp_path: Path, name: str) -> None:
    data, reason = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    images = open_images(tmp_path)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        images.read(0)
    assert str(tmp_path) not in str(caught.value), "the reason goes into the atlas, where a path means nothing"
    assert len(str(caught.value)) > 10


def test_a_folder_named_like_a_picture_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UnreadableImage, match="directory") as caught:
        decode(tmp_path / "a.png")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "error", [struct.error("odd"), IndexError("odd"), zlib.error("odd"), SyntaxError("odd")], ids=repr
)
def test_whatever_pillow_raises_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(self: ImageFile.ImageFile) -> None:
        raise error

    touch(tmp_path, "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(UnreadableImage, match=r"it cannot be decoded .*odd"):
        decode(tmp_path / "a.png")


def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(UnreadableImage, match=r"^it is too large"):
        decode(tmp_path / "a.png")


# --- what pictures look like when read -------------------------------------------------------------------------------


def reread(tmp_path: Path, form: str, picture: Image.Image, **options: Any) -> Image.Image:
    path = tmp_path / f"picture.{form.lower()}"
    picture.save(path, form, **options)
    return decode(path)


TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),  # the camera was turned to the left, so the picture is turned to the right
    7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PIXELS, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = reread(tmp_path, "PNG", Image.fromarray(PIXELS), exif=exif)
    assert np.array_equal(np.asarray(picture), TURNED[orientation])


def test_the_first_frame_of_a_telephones_picture(tmp_path: Path) -> None:
    """Many telephones write a second frame, such as a depth map, into a .jpg; that is no animation."""
    path = tmp_path / "photo.jpg"
    first = Image.new("RGB", (16, 16), (200, 100, 50))
    first.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    assert np.abs(np.asarray(decode(path), int) - (200, 100, 50)).max() <= 3


def test_cmyk(tmp_path: Path) -> None:
    inks = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK")
    expected = [[[255, 255, 255], [0, 255, 255], [255, 0, 255], [0, 0, 0]]]
    assert np.asarray(reread(tmp_path, "TIFF", inks)).tolist() == expected
    large = inks.resize((64, 16), Image.Resampling.NEAREST)
    assert np.abs(np.asarray(reread(tmp_path, "JPEG", large, quality=100), int)[8, 8::16] - expected[0]).max() <= 4


def test_palettes(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 128, 0, 1, 2, 3])
    for form in ("PNG", "GIF", "BMP"):
        assert np.asarray(reread(tmp_path, form, picture)).tolist() == [[[255, 0, 0], [0, 128, 0], [1, 2, 3]]]
    transparent = reread(tmp_path, "PNG", picture, transparency=1)
    assert np.asarray(transparent).tolist() == [[[255, 0, 0], [255, 255, 255], [1, 2, 3]]]


def test_transparency_is_on_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 64, 128, 255]])
    rgba = np.concatenate([np.full((1, 4, 3), (200, 100, 0)), alpha[..., None]], 2).astype(np.uint8)
    expected = (200, 100, 0) * alpha[..., None] / 255 + 255 * (1 - alpha[..., None] / 255)
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True, "exact": True} if form == "WEBP" else {}
        picture = reread(tmp_path, form, Image.fromarray(rgba), **options)
        assert picture.mode == "RGB"
        assert np.abs(np.asarray(picture) - expected).max() <= 1
    grey = Image.merge("LA", [Image.new("L", (4, 1), 100), Image.fromarray(alpha.astype(np.uint8))])
    assert (
        np.abs(np.asarray(reread(tmp_path, "PNG", grey)) - (100 * alpha + 255 * (255 - alpha))[..., None] / 255).max()
        <= 1
    )


def test_grey_with_16_bits_and_with_one(tmp_path: Path) -> None:
    values = np.array([[0, 128, 257, 30_000, 65_535]], np.uint16)
    picture = reread(tmp_path, "PNG", Image.fromarray(values))
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == np.round(values / 257).astype(int).tolist()
    assert np.asarray(reread(tmp_path, "TIFF", Image.fromarray(values))).tolist() == np.asarray(picture).tolist()
    bits = Image.fromarray(np.array([[True, False, True]]))
    for form in ("PNG", "TIFF", "BMP"):
        picture = reread(tmp_path, form, bits)
        assert picture.mode == "L"
        assert np.asarray(picture).tolist() == [[255, 0, 255]]


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_arrays_of_bytes_and_of_floats() -> None:
    array = RNG.integers(0, 256, (4, 3, 5, 6), np.uint8)
    for images in (Arrays(array), Arrays(array / 255), Arrays((array / 255).astype(np.float16))):
        assert len(images) == 4
        picture = images.read(2)
        assert isinstance(picture, np.ndarray)
        assert picture.dtype == np.float32
        np.testing.assert_allclose(picture, array[2] / 255, atol=1e-3)
    assert np.asarray(Arrays(array[:, 0]).read(1)).shape == (1, 5, 6)


def test_names_of_arrays_are_ranks_of_equal_length() -> None:
    images = Arrays(np.zeros((11, 2, 2), np.uint8))
    assert list(images.names) == [f"{i:02}" for i in range(11)]
    assert images.names is images.names, "made anew for every image of a scan, they take quadratic time"
    assert list(Arrays(np.zeros((10, 2, 2), np.uint8)).names) == list("0123456789")


def test_npy_and_npz(tmp_path: Path) -> None:
    array = RNG.integers(0, 256, (4, 5, 6), np.uint8)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", images=array, labels=np.array([3, 1, 4, 1], np.int16))
    np.savez_compressed(tmp_path / "named.npz", images=array, labels=np.array(["a", "b", "c", "d"]))
    np.savez(tmp_path / "bare.npz", images=array)
    expected: dict[str, list[Any]] = {
        "a.npy": [None] * 4, "a.npz": [3, 1, 4, 1], "named.npz": ["a", "b", "c", "d"], "bare.npz": [None] * 4,
    }  # fmt: skip
    for name, labels in expected.items():
        images = open_images(tmp_path / name)
        assert list(images.labels) == labels
        assert images.spec == str(tmp_path / name)
        np.testing.assert_allclose(np.asarray(images.read(3)), array[3][None] / 255, atol=1e-7)
    assert isinstance(open_images(tmp_path / "a.npy").images, np.memmap)  # type: ignore[attr-defined]


def test_bool_is_black_and_white() -> None:
    array = RNG.integers(0, 2, (3, 3, 5, 6)).astype(bool)
    assert np.array_equal(np.asarray(Arrays(array).read(2)), array[2])


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float16, np.float64])
def test_what_is_no_picture_keeps_its_numbers(tmp_path: Path, kind: Any) -> None:
    """A go board of zeros and ones means the same whatever its type."""
    board = RNG.integers(0, 2, (4, 17, 9, 9)).astype(kind)
    np.save(tmp_path / "board.npy", board)
    for images in (Arrays(board), open_images(tmp_path / "board.npy")):
        found = images.read(3)
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        assert np.array_equal(found, board[3])


def test_labels_beside_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), np.uint8))
    table = tmp_path / "a.labels.csv"
    table.write_text("class_index,label\n4,x\n,y\n,\n")
    before = open_images(tmp_path / "a.npy")
    assert before.labels == [4, "y", None]
    table.write_text("class_index\n4\n4\n4\n")
    assert open_images(tmp_path / "a.npy").signature(0, 3) != before.signature(0, 3)
    for content, said in [
        ("class_index\n4\n", "a.npy: 1 labels for 3 images"),
        ("class_index\n4\nx\n5\n", "a.labels.csv, line 3: class_index 'x' is not a whole number"),
        ("x\n4\n", "a.labels.csv: expected a column 'class_index' or 'label', found x"),
    ]:
        table.write_text(content)
        assert said in complaint(lambda: open_images(tmp_path / "a.npy"))


def test_the_signature_of_an_array_file_does_not_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 4, 4), np.uint8))
    images = open_images(path)
    before = images.signature(0, 2)
    assert before == open_images(path).signature(0, 2) != images.signature(1, 3)
    os.utime(path, (1, 1))
    assert images.signature(0, 2) != before


def test_what_opens_again_elsewhere(tmp_path: Path, image_folder: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), np.uint8))
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=[1, 2, 3])
    (tmp_path / "list.csv").write_text("file,label\nphotos/cat/a.png,x\n")
    for spec in (image_folder, tmp_path / "list.csv", tmp_path / "a.npy", tmp_path / "a.npz", "digits:test"):
        images = open_images(spec)
        again = open_images(images.spec)
        assert images.reopens
        assert type(again) is type(images)
        assert (list(again.names), list(again.labels)) == (list(images.names), list(images.labels))
        assert again.signature(0, len(again)) == images.signature(0, len(images))
        assert np.array_equal(np.asarray(again.read(0)), np.asarray(images.read(0)))
    assert not Arrays(np.zeros((3, 4, 4), np.uint8)).reopens


def test_channels_last_is_refused_with_the_remedy() -> None:
    array = np.zeros((2, 28, 28, 3), np.uint8)
    text = complaint(lambda: Arrays(array))
    assert "(2, 28, 28, 3) looks like channels last" in text
    assert "numpy.transpose(images, (0, 3, 1, 2))" in text
    assert np.asarray(Arrays(np.transpose(array, (0, 3, 1, 2))).read(0)).shape == (3, 28, 28)
    for shape in [(2, 7, 28, 1), (2, 28, 20, 4)]:
        assert "channels last" in complaint(lambda shape=shape: Arrays(np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("shape", [(2, 9, 3, 3), (2, 17, 4, 4), (2, 3, 32, 3), (2, 12, 19, 19), (2, 2, 1, 1)], ids=str)
def test_small_boards_with_many_channels_are_no_channels_last(shape: tuple[int, ...]) -> None:
    assert np.asarray(Arrays(np.zeros(shape, np.float32)).read(1)).shape == shape[1:]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 2, 2), object), "images of type object; expected uint8 (to 255, which is white), bool"),
        (np.zeros((2, 5, 2, 2), object), "images of type object"),
        (np.zeros((2, 5, 2, 2), complex), "images of type complex128"),
        (np.zeros((2, 3, 2, 2), np.int8), "images of type int8"),
        (np.zeros((2, 2, 2), np.int64), "images of type int64"),
        (np.zeros((2, 2, 2), np.uint16), "images of type uint16"),
        (np.zeros((2, 2, 2), "datetime64[s]"), "images of type datetime64[s]"),
        (np.zeros((2, 2, 2), complex), "images of type complex128"),
        (np.zeros((2, 2)), "shape (2, 2); expected (images, height, width)"),
        (np.zeros((1, 2, 3, 4, 5)), "shape (1, 2, 3, 4, 5)"),
        (np.zeros((0, 3, 4, 4)), "shape (0, 3, 4, 4)"),
        (np.zeros((2, 0, 4)), "shape (2, 0, 4)"),
        ([[[1.0]]], "images are a list; expected a NumPy array"),
    ],
)
def test_arrays_that_are_no_images(array: Any, said: str) -> None:
    assert complaint(lambda: Arrays(array)).startswith(f"arrays: {said}")


class Bomb:
    """Pickled, it makes a folder wherever it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_arrays_are_refused_and_never_executed(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"a{suffix}", tmp_path / "executed"
    array = np.empty(1, object)
    array[0] = Bomb(mark)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, images=array)
    assert f"{path}: not readable as an array" in complaint(lambda: open_images(path))
    assert not mark.exists()


def archive(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD = archive(images=RNG.integers(0, 256, (9, 8, 8), np.uint8), labels=np.arange(9))
BROKEN = {
    "empty.npy": b"",
    "text.npy": b"no array",
    "short.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9, 8, 8), }".ljust(127)
    + b"\n",
    "header.npy": b"\x93NUMPY\x01\x00\x05\x00{'a(\n",
    "empty.npz": b"",
    "text.npz": b"no array",
    "truncated.npz": GOOD[:-100],
    "damaged.npz": GOOD[:90] + bytes(60) + GOOD[150:],
    "other.npz": archive(x=np.zeros(3)),
    "many.npz": archive(images=np.zeros((2, 4, 4)), labels=np.arange(3)),
    "onehot.npz": archive(images=np.zeros((2, 4, 4)), labels=np.eye(2, dtype=int)),
    "float.npz": archive(images=np.zeros((2, 4, 4)), labels=np.array([0.5, 1.0])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_array_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    assert complaint(lambda: open_images(path)).startswith(f"{path}: ")


def test_labels_that_are_neither_indices_nor_names() -> None:
    array = np.zeros((2, 4, 4))
    assert complaint(lambda: Arrays(array, [0, 1, 2])) == "arrays: 3 labels for 2 images"
    for label in (1.5, [1], float("nan"), b"cat"):
        assert "is not a class index (a whole number) or a name" in complaint(
            lambda label=label: Arrays(array, [0, label])
        )
    assert Arrays(array, np.array([1, 0])).labels == [1, 0]
    assert Arrays(array, ["cat", None]).labels == ["cat", None]


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5, 255.0])
def test_floats_out_of_range_are_unreadable(value: float) -> None:
    array = np.zeros((2, 3, 4, 4), np.float32)
    array[1, 2, 3, 3] = value
    images = Arrays(array)
    assert not np.asarray(images.read(0)).any()
    said = "it has values that are not finite" if not np.isfinite(value) else "where 0 .black. to 1 .white. is expected"
    with pytest.raises(UnreadableImage, match=said):
        images.read(1)


def test_numbers_too_large_for_32_bits_are_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="not finite"):
        Arrays(np.full((1, 5, 2, 2), 1e300)).read(0)


def test_other_channels_may_have_any_floats() -> None:
    planes = RNG.normal(0, 100, (2, 5, 4, 4)).astype(np.float32)
    assert np.array_equal(np.asarray(Arrays(planes).read(1)), planes[1])
    planes[1, 0, 0, 0] = np.nan
    with pytest.raises(UnreadableImage, match="not finite"):
        Arrays(planes).read(1)


def test_the_signature_of_arrays_follows_values_labels_and_shape() -> None:
    array = np.zeros((3, 4, 6), np.uint8)
    other = array.copy()
    other[2, 3, 5] = 1
    assert Arrays(array).signature(0, 3) == Arrays(array.copy()).signature(0, 3)
    assert Arrays(array).signature(0, 2) == Arrays(other).signature(0, 2)
    changed = [Arrays(other), Arrays(array, [0, 0, 1]), Arrays(array.reshape(3, 6, 4)), Arrays(array.view(np.float16))]
    signatures = {images.signature(0, 3) for images in [Arrays(array), *changed]}
    assert len(signatures) == 5


# --- labels and the classes of a network -----------------------------------------------------------------------------


def classifier(*classes: str, **synonyms: int) -> Network:
    network = wrap(nn.Flatten(), preprocess={"size": 4}, classes=classes or None)
    return replace(network, synonyms=synonyms or None)


def labelled(labels: Sequence[Any]) -> ImageSet:
    return Arrays(np.zeros((len(labels), 2, 2), np.uint8), labels)


def indices(labels: Sequence[Any], network: Network, outputs: int) -> tuple[list[int], str | None]:
    found, remark = labelled(labels).class_indices(network, outputs)
    assert found.dtype == np.int64
    return found.tolist(), remark


def test_labels_by_index() -> None:
    assert indices([2, 0, None], classifier(), 3) == ([2, 0, -1], None)
    assert indices([2, 0, 1], classifier("a", "b", "c"), 3) == ([2, 0, 1], None)
    found, remark = indices([2, 3, -1, None], classifier(), 3)
    assert found == [2, -1, -1, -1]
    assert remark is not None
    assert remark.startswith("2 of 4 labels are not classes of the network, such as 3;")


def test_labels_by_name_and_by_wordnet_id() -> None:
    network = classifier("cat", "dog", "bird", n01=0, n02=1)
    assert indices(["dog", "n01", "bird", None, 1], network, 3) == ([1, 0, 2, -1, 1], None)
    found, remark = indices(["dogg", "dog"], network, 3)
    assert found == [-1, 1]
    assert remark is not None
    assert "1 of 2 labels are not classes of the network, such as 'dogg'; did you mean 'dog'" in remark


def test_the_first_of_several_names_of_a_class_counts() -> None:
    assert indices(["dog, domestic dog", "wolf, dog"], classifier("cat", "dog"), 2)[0] == [1, -1]


def test_a_name_that_two_classes_share_is_none() -> None:
    """ImageNet has two cranes and two maillots."""
    found, remark = indices(["crane", "n02", "dog"], classifier("crane", "dog", "crane", n01=0, n02=2), 3)
    assert found == [-1, 2, 1]
    assert remark is not None
    assert "'crane'" in remark


def test_sorted_names_are_the_classes_of_a_network_without_names() -> None:
    found, remark = indices(["dog", "cat", "dog", None], classifier(), 2)
    assert found == [1, 0, 1, -1]
    assert remark is not None, "nothing is guessed silently"
    assert "sorted" in remark
    found, remark = indices(["dog", "cat", "dog", None], classifier(), 3)
    assert found == [-1] * 4
    assert remark is not None
    assert remark.startswith("3 of 4 labels are not classes of the network, such as 'dog'")
    assert "3 classes without names, and there are 2 different labels" in remark


def test_another_number_of_names_than_outputs_is_an_error() -> None:
    for labels in ([1, 0], [None, None]):
        with pytest.raises(NetworkError, match="2 class names for 3 outputs; give a name for each, or none"):
            indices(labels, classifier("cat", "dog"), 3)


def test_a_synonym_beyond_the_outputs_is_no_class() -> None:
    assert indices(["n09", "cat"], classifier("cat", "dog", n09=9), 2)[0] == [-1, 0]


def test_labels_do_not_count_where_the_output_is_no_score_of_classes() -> None:
    found, remark = indices(["cat", 1], classifier("cat", "dog"), 0)
    assert found == [-1, -1]
    assert remark is not None
    assert "no score for each class" in remark
    assert indices([None, None], classifier("cat", "dog"), 0) == ([-1, -1], None)


def test_class_subfolders_meet_the_classes_of_a_network(image_folder: Path, tiny_network: Network) -> None:
    found, remark = open_images(image_folder).class_indices(tiny_network, 2)
    assert (found.tolist(), remark) == ([0, 0, 0, 1, 1], None)


# --- the digits ------------------------------------------------------------------------------------------------------


def test_the_parts_of_the_digits_are_disjoint_and_complete() -> None:
    images, labels = digits.read("all")
    parts = {part: digits.read(part) for part in ("train", "test")}
    assert (len(images), len(parts["train"][0]), len(parts["test"][0])) == (1797, 1438, 359)
    # Put back in their places, the two give the whole: so none is in both, and none is lost.
    place = np.arange(len(images))
    whole, again = np.empty_like(images), np.empty_like(labels)
    for part, chosen in [("train", place % 5 != 4), ("test", place % 5 == 4)]:
        whole[chosen], again[chosen] = parts[part]
    assert np.array_equal(whole, images)
    assert np.array_equal(again, labels)
    assert (images.min(), images.max(), images.dtype) == (0, 1, np.float32)
    assert np.bincount(parts["test"][1]).min() > 20


def test_digits_as_images() -> None:
    images = open_images("digits:test")
    assert (len(images), images.spec) == (359, "digits:test")
    assert sorted(set(images.labels)) == list(range(10))  # type: ignore[type-var]
    assert np.asarray(images.read(0)).shape == (1, 8, 8)
    for wrong in ("digits:tets", "digits:"):
        text = complaint(lambda wrong=wrong: open_images(wrong))
        assert text.endswith("expected one of train, test, all")
    assert "did you mean 'test'" in complaint(lambda: open_images("digits:tets"))


@pytest.mark.real
def test_real_folders(shared_data: Path) -> None:
    images = open_images(shared_data / "imagenet_val227")
    assert len(images) == 300
    assert images.names[0] == "images/ILSVRC2012_val_00000363.jpg"
    assert images.labels[0] == 133
    for folder in ("camvid/images", "camvid"):
        frames = open_images(shared_data / folder)
        assert (len(frames), set(frames.labels)) == (120, {None})
    categories = open_images(shared_data / "caltech101")
    assert (len(categories), len(set(categories.labels))) == (400, 10)


def test_class_indices_written_as_text_are_indices(tmp_path: Path) -> None:
    """Sorted as text, "10" would come before "2"."""
    images = Arrays(np.zeros((12, 8, 8), np.float32), [str(i) for i in range(12)])
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    network = wrap(module, preprocess={"size": [8, 8], "channels": "L"})
    found, remark = images.class_indices(network, 12)
    assert (found.tolist(), remark) == (list(range(12)), None)
