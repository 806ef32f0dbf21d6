"""Pictures in every form that files take: what `decode` gives for bytes written by hand, or what it says of them."""

from __future__ import annotations

import errno
import io
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from convscope.errors import UnreadableImage
from convscope.images import SUFFIXES, decode, open_images

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (6, 4, 3), np.uint8)


def png(values: Any, colour: int, bits: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of values (h, w, channels) below 2**bits; `colour` is 0 grey, 2 RGB, 3 palette, 4 with alpha, 6 RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.asarray(values)
    height, width = values.shape[:2]
    single = (values.reshape(height, -1, 1) >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in single)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(
    data: bytes, shape: tuple[int, int], tags: dict[int, Sequence[int]], order: str = "<", strips: int = 1
) -> bytes:
    """An uncompressed TIFF of strips that are equally long; `tags` are short numbers."""
    height, width = shape
    length = len(data) // strips
    tags = {256: [width], 257: [height], 259: [1], 278: [height], 273: [0] * strips, 279: [length] * strips, **tags}
    first = 8 + 2 + 12 * len(tags) + 4
    place = first + sum(2 * len(values) for values in tags.values() if len(values) > 2)
    tags[273] = [place + i * length for i in range(strips)]
    entries = far = b""
    for tag, values in sorted(tags.items()):
        numbers = struct.pack(f"{order}{len(values)}H", *values)
        if len(values) > 2:
            entries += struct.pack(f"{order}HHII", tag, 3, len(values), first + len(far))
            far += numbers
        else:
            entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + numbers.ljust(4, b"\0")
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return start + entries + bytes(4) + far + data


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> NDArray[Any]:
    return np.asarray(decode(data)).astype(int)


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    return str(caught.value)


def on_white(colour: Any, alpha: Any) -> NDArray[np.float64]:
    """Straight alpha over white, as PNG defines it; `alpha` from 0 to 1."""
    return np.asarray(colour) * alpha + 255 * (1 - np.asarray(alpha))


# --- bits and transparency -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_of_any_depth(bits: int) -> None:
    values = np.unique(np.linspace(0, 2**bits - 1, 16).astype(int))[None, :, None]
    expected = np.round(values[..., 0] * 255 / (2**bits - 1))
    assert decode(png(values, 0, bits)).mode == "L"
    assert np.array_equal(pixels(png(values, 0, bits)), expected)
    transparent = int(values[0, 1, 0])
    expected[0, 1] = 255
    with_transparent = pixels(png(values, 0, bits, (b"tRNS", struct.pack(">H", transparent))))
    assert np.array_equal(with_transparent.reshape(1, values.shape[1], -1)[..., 0], expected)


def test_deep_colours_are_those_of_their_upper_byte() -> None:
    """Within one of 255, and the same as libpng gives when it is told to strip 16 bits to 8."""
    values = RNG.integers(0, 65536, (5, 7, 3))
    for data in (
        png(values, 2, 16),
        tiff(values.astype("<u2").tobytes(), (5, 7), {258: [16] * 3, 262: [2], 277: [3]}),
        tiff(values.astype(">u2").tobytes(), (5, 7), {258: [16] * 3, 262: [2], 277: [3]}, ">"),
    ):
        assert np.array_equal(pixels(data), values >> 8)
        assert np.abs(pixels(data) - values / 257).max() < 1


def test_deep_colours_with_alpha() -> None:
    values = RNG.integers(0, 65536, (5, 7, 4))
    expected = on_white(values[..., :3] / 257, values[..., 3:] / 65535)
    assert np.abs(pixels(png(values, 6, 16)) - expected).max() < 2
    grey = values[..., 2:]
    expected = on_white(grey[..., :1] / 257, grey[..., 1:] / 65535)
    assert np.abs(pixels(png(grey, 4, 16)) - expected).max() < 2


def test_a_transparent_colour() -> None:
    values = np.array([[[1, 2, 3], [1, 2, 4], [255, 0, 0]]])
    assert pixels(png(values, 2, 8, (b"tRNS", struct.pack(">3H", 1, 2, 3)))).tolist() == [
        [[255, 255, 255], [1, 2, 4], [255, 0, 0]]
    ]
    assert "16-bit colours is transparent" in reason(png(values, 2, 16, (b"tRNS", struct.pack(">3H", 300, 300, 300))))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_depth(bits: int) -> None:
    colours = RNG.integers(0, 256, (2**bits, 3), np.uint8)
    alpha = RNG.integers(0, 256, 2**bits, np.uint8)
    values = RNG.integers(0, 2**bits, (3, 9, 1))
    palette = (b"PLTE", colours.tobytes())
    assert np.array_equal(pixels(png(values, 3, bits, palette)), colours[values[..., 0]])
    expected = on_white(colours[values[..., 0]], alpha[values] / 255)
    assert np.abs(pixels(png(values, 3, bits, palette, (b"tRNS", alpha.tobytes()))) - expected).max() <= 1


def test_a_transparent_gif() -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 128, 0, 1, 2, 3])
    assert pixels(saved(picture, "GIF", transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255], [1, 2, 3]]]


# --- TIFF, in which nearly anything can stand ------------------------------------------------------------------------

GREY = np.array([[0, 300, 32768, 65535]])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_deep_grey_tiff(compression: str, white_is_zero: bool) -> None:
    """In some files, scans of films above all, zero is white; Pillow forgets it where there are 16 bits."""
    expected = np.round(GREY / 257)
    picture = Image.fromarray(GREY.astype(np.uint16))
    data = saved(picture, "TIFF", compression=compression, tiffinfo={262: 0 if white_is_zero else 1})
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[262] == (0 if white_is_zero else 1)  # type: ignore[attr-defined]
    assert np.array_equal(pixels(data), 255 - expected if white_is_zero else expected)


def test_grey_tiff_by_hand() -> None:
    for order, kind in [("<", "<u2"), (">", ">u2")]:
        data = tiff(GREY.astype(kind).tobytes(), (1, 4), {258: [16], 262: [1], 277: [1]}, order)
        assert np.array_equal(pixels(data), np.round(GREY / 257))
    data = tiff(bytes([0, 5, 255]), (1, 3), {258: [8], 262: [0], 277: [1]})
    assert pixels(data).tolist() == [[255, 250, 0]]
    twelve = tiff(bytes([0xFF, 0xF0, 0x10, 0x80, 0x00, 0x00]), (1, 3), {258: [12], 262: [1], 277: [1]})
    assert pixels(twelve).tolist() == [[255, 1, round(2048 / 4095 * 255)]], "12 bits, of which 4095 is white"


@pytest.mark.parametrize("bits", [8, 16])
def test_numbers_with_a_sign_are_refused(bits: int) -> None:
    """With 8 bits, Pillow would take -1 for white."""
    data = tiff(bytes(range(0, 256, 32)), (2, 32 // bits), {258: [bits], 262: [1], 277: [1], 339: [2]})
    assert reason(data) == "its numbers have a sign, so their black is not known; convert it"


def test_channels_one_after_the_other() -> None:
    values = RNG.integers(0, 256, (2, 3, 3))
    planes = values.transpose(2, 0, 1)
    tags = {258: [8] * 3, 262: [2], 277: [3], 284: [2]}
    assert np.array_equal(pixels(tiff(planes.astype(np.uint8).tobytes(), (2, 3), tags, strips=3)), values)
    deep = tiff(planes.astype("<u2").tobytes(), (2, 3), tags | {258: [16] * 3}, strips=3)
    with Image.open(io.BytesIO(deep)) as image:
        assert not np.array_equal(image, values >> 8), "Pillow has learned it, so it need not be refused any more"
    assert reason(deep) == "its 16-bit channels lie one after the other, which Pillow reads wrongly; convert it"


def test_alpha_of_tiff() -> None:
    """ExtraSamples: 0 is no alpha, 1 is premultiplied, 2 is straight."""
    values = np.array([[[100, 50, 20, 128], [0, 0, 0, 0], [255, 0, 0, 255]]])
    alpha = values[..., 3:] / 255
    straight = on_white(values[..., :3], alpha)
    for extra, expected in [(0, values[..., :3]), (1, values[..., :3] + 255 * (1 - alpha)), (2, straight)]:
        data = tiff(values.astype(np.uint8).tobytes(), (1, 3), {258: [8] * 4, 262: [2], 277: [4], 338: [extra]})
        assert np.abs(pixels(data) - expected).max() <= 2, extra


def test_colours_of_other_kinds() -> None:
    three = np.array([[[128, 10, 200]]], np.uint8)
    assert "L*a*b*" in reason(tiff(three.tobytes(), (1, 1), {258: [8] * 3, 262: [8], 277: [3]}))
    ycbcr = pixels(tiff(three.tobytes(), (1, 1), {258: [8] * 3, 262: [6], 277: [3]}))
    y, cb, cr = 128, 10 - 128, 200 - 128
    expected = np.clip([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 0, 255)
    assert np.abs(ycbcr - expected).max() <= 2
    inks = np.array([[[255, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 0], [255, 255, 0, 0]]], np.uint8)
    data = tiff(inks.tobytes(), (1, 4), {258: [8] * 4, 262: [5], 277: [4]})
    assert pixels(data).tolist() == [[[0, 255, 255], [0, 0, 0], [255, 255, 255], [0, 0, 255]]]
    raw = tiff(GREY.astype("<u2").tobytes(), (1, 4), {258: [16], 262: [1], 277: [1], 50706: [1, 4]})
    assert "only a thumbnail" in reason(raw)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5 3 1 65535\n" + struct.pack(">3H", 0, 300, 65535), [[0, 1, 255]]),
        (b"P5 2 1 1000\n" + struct.pack(">2H", 300, 1000), [[76, 255]]),
        (b"P5 2 1 100\n" + bytes([30, 100]), [[76, 255]]),
        (b"P4 2 1\n\x40", [[255, 0]]),
        (b"P6 1 1 1000\n" + struct.pack(">3H", 300, 1000, 0), [[[76, 255, 0]]]),
    ],
)
def test_portable_maps(data: bytes, expected: Any) -> None:
    assert np.abs(pixels(data) - expected).max() <= 1


# --- JPEG ------------------------------------------------------------------------------------------------------------

INKS = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [255, 255, 0, 0], [0, 0, 0, 255]])
COLOURS = [[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 255], [0, 0, 0]]


def inked(samples: NDArray[Any], transform: int) -> bytes:
    """A JPEG with four channels: (n, 4) `samples` as they stand in the file, in blocks of 16 px, and Adobe's marker."""
    blocks = np.repeat(np.repeat(255 - samples[None].astype(np.uint8), 16, 0), 16, 1)  # Pillow inverts what it writes
    data = saved(Image.fromarray(np.ascontiguousarray(blocks), "CMYK"), "JPEG", quality=100)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    return data[:place] + bytes([transform]) + data[place + 1 :]


def test_inverted_inks() -> None:
    """Adobe writes full ink as 0."""
    found = pixels(inked(255 - INKS, 0))[8, 8::16]
    assert np.abs(found - COLOURS).max() <= 4


def test_inverted_inks_as_luma_and_chroma() -> None:
    """YCCK: the first three inks, which are inverted, are taken for 255 minus RGB and turned into luma and chroma."""
    red, green, blue = INKS[:, :3].T.astype(float)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    samples = np.stack([luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128, 255 - INKS[:, 3]], 1)
    found = pixels(inked(np.clip(np.round(samples), 0, 255), 2))[8, 8::16]
    assert np.abs(found - COLOURS).max() <= 4


def test_inks_of_unknown_sign_are_refused() -> None:
    data = inked(255 - INKS, 0)
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4])
    assert "whether its inks are inverted" in reason(data[:start] + data[start + 2 + length :])


def test_a_jpeg_of_red_green_and_blue() -> None:
    """Without luma and chroma, as Adobe's marker says with 0."""
    picture = Image.new("RGB", (16, 16), (200, 100, 50))
    assert np.abs(pixels(saved(picture, "JPEG", keep_rgb=True, quality=100)) - (200, 100, 50)).max() <= 2


def test_colour_profiles_are_not_applied() -> None:
    """As torchvision, timm and datasets do not: the network gets the numbers that it was trained on."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = Image.fromarray(PIXELS)
    assert np.array_equal(pixels(saved(picture, "PNG", icc_profile=profile)), PIXELS)


# --- orientation -----------------------------------------------------------------------------------------------------

TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, -1),
    7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PIXELS, 1),
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff, compressed": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg": ("JPEG", {"quality": 100}),
    "avif": ("AVIF", {"quality": 100}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", TURNED)
def test_orientation_in_every_format(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    name, options = FORMS[form]
    factor = 8 if form in {"jpeg", "avif"} else 1  # blocks of one colour survive the loss
    stored = PIXELS.repeat(factor, 0).repeat(factor, 1)
    expected = TURNED[orientation].repeat(factor, 0).repeat(factor, 1).astype(int)
    found = pixels(saved(Image.fromarray(stored), name, exif=exif, **options))
    assert found.shape == expected.shape
    middle = slice(factor // 2, None, factor)
    assert np.abs(found - expected)[middle, middle].max() <= (0 if factor == 1 else 30)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_deep_grey_is_turned_too(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = RNG.integers(0, 65536, (5, 3), np.uint16)
    found = pixels(saved(Image.fromarray(values), form, exif=exif))
    assert np.array_equal(found, np.round(np.rot90(values, -1) / 257))


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0", b"no exif"])
def test_a_photograph_with_damaged_exif_is_a_photograph(exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's
        assert pixels(saved(Image.fromarray(PIXELS), "JPEG", exif=exif)).shape == PIXELS.shape


# --- what is skipped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_and_pages_are_skipped(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    assert reason(data) == "it has 3 frames; a still picture is expected"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("alarm", ["error", "ignore"])
def test_a_bomb_is_skipped_whatever_becomes_of_warnings(form: str, alarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns from its limit on, and refuses from twice the limit on."""
    data = saved(Image.new("L" if form != "AVIF" else "RGB", (20, 20)), form)
    for limit, bomb in [(150, True), (300, True), (400, False), (None, False)]:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter(alarm)
            if bomb:
                assert reason(data).startswith("it is too large ("), limit
                assert reason(data).endswith("; make it smaller"), limit
            else:
                assert decode(data).size == (20, 20)


def test_a_bomb_takes_no_memory() -> None:
    import tracemalloc

    rows = zlib.compress(bytes(1 << 20) * 64, 9)
    header = struct.pack(">IIBBBBB", 60_000, 2_000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    )
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "60000×2000 px are more than" in reason(data)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
def test_a_truncated_file_is_skipped(form: str) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    data = saved(noise, form)
    for part in (0.9, 0.5, 0.1):
        assert reason(data[: int(len(data) * part)])


def test_what_is_called_an_image_is_never_left_out_without_a_word(tmp_path: Path) -> None:
    names = [f"picture{suffix}" for suffix in sorted(SUFFIXES)]
    for name in names:
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    images = open_images(tmp_path)
    assert list(images.names) == names
    for i, name in enumerate(names):
        with pytest.raises(UnreadableImage) as caught:
            images.read(i)
        if name.endswith((".heic", ".jxl", ".psd", ".nef", ".svg")):
            kind = Path(name).suffix
            assert str(caught.value) == f"pictures of the kind {kind} are not read here; convert it to PNG or JPEG"


def test_raw_files_of_cameras_are_not_read_as_their_thumbnail(tmp_path: Path) -> None:
    path = tmp_path / "a.nef"
    Image.new("RGB", (4, 4)).save(path, "TIFF")
    with pytest.raises(UnreadableImage, match=r"kind .nef are not read"):
        decode(path)


@pytest.mark.parametrize("form", ["EPS", "TGA", "PCX", "SGI"])
def test_formats_that_run_programs_or_take_any_bytes_are_not_opened(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, form)
    with pytest.raises(UnreadableImage, match=r"no picture that Pillow knows"):
        decode(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    images = open_images(tmp_path)
    for i, said in enumerate(["there is no such file", "it is a device or a pipe, and no file"]):
        with pytest.raises(UnreadableImage, match=f"^{said}$"):
            images.read(i)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.png"))

    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UnreadableImage, match=r"^it cannot be decoded \(PermissionError: Permission denied\)$"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["naïve – 猫.png", "new\nline.png", "tab\t'quote\".png", " .png", "%20&.png"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name)
    images = open_images(tmp_path)
    assert list(images.names) == [name]
    assert np.array_equal(np.asarray(images.read(0)), PIXELS)
    assert len(images.signature(0, 1)) == 64


@pytest.mark.slow
def test_a_huge_picture_below_the_limit(tmp_path: Path) -> None:
    Image.new("RGBA", (12_000, 7_000), (200, 100, 0, 128)).save(tmp_path / "a.png", compress_level=1)
    picture = decode(tmp_path / "a.png")
    assert picture.size == (12_000, 7_000)
    assert np.abs(np.array(picture.getpixel((11_999, 6_999))) - on_white((200, 100, 0), 128 / 255)).max() <= 1


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_what_the_machine_runs_out_of_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Such an image must not be listed as unreadable: the same scan would give another atlas another time."""
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(type(error)):
        decode(path)
