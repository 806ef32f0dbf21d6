"""From the bytes of an image file to a picture, the same whether they lie in a file or in a table.

The numbers are those of the file: colour profiles (ICC) and gamma are not applied, as torchvision, timm and datasets do
not apply them either, so that a network sees what it was trained on.
"""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from convscope.errors import UnreadableImage, is_passing

# By name and not by what Pillow happens to know here: the ids of images must not depend on what is installed.
READ = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
    ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".ico",
}  # fmt: skip
# Images as well, so they are of the set and are listed as skipped. A camera's raw file is a TIFF whose first page is a
# thumbnail, so it would be read wrongly; the first three are read where Pillow has a plugin for them.
FOREIGN = {
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".tga", ".exr", ".hdr", ".pfm", ".fits", ".dcm", ".dng", ".cr2", ".cr3",
    ".nef", ".arw", ".orf", ".rw2", ".raf",
}  # fmt: skip
SUFFIXES = READ | FOREIGN
_BY_PLUGIN = {".heic", ".heif", ".jxl"}
# Of what Pillow knows, the formats of pictures: some of the others run programs, or take any bytes for a picture.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "ICO", "HEIF", "JXL")
_SHORT_GREY = {"L;2": 85, "L;4": 17}  # the grey of a step, in 8 bits
_BITS, _MEANING, _PLANAR, _SIGN, _DNG = 258, 262, 284, 339, 50706  # tags of TIFF


def decode(source: Path | bytes) -> Image.Image:
    """An image file, or its bytes, as grey or RGB with 8 bits.

    It is turned the way its EXIF orientation says; transparency is on white; colour profiles are not applied.

    Raises:
        UnreadableImage: it is missing, damaged, animated, too large, or of a kind whose colours are not known.
    """
    try:
        with Image.open(_stream(source), formats=_formats()) as image:
            _check(image)
            packed = _packed(image)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _eight_bit(image, packed)
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage("there is no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImage(_unidentified(source)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"it is too large ({error}); make it smaller") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything, and one of them must not end a scan
        if is_passing(error):
            raise
        reason = getattr(error, "strerror", None) or error  # without the path, which says nothing elsewhere
        raise UnreadableImage(f"it cannot be decoded ({type(error).__name__}: {reason})") from None


def _stream(source: Path | bytes) -> Path | io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = source.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a pipe is to wait for ever
        raise UnreadableImage("it is a device or a pipe, and no file")
    if source.suffix.lower() in FOREIGN - _BY_PLUGIN:
        raise UnreadableImage(_foreign(source))
    return source


def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _check(image: Image.Image) -> None:
    """Refuse what would be read wrongly, or would take too much memory.

    Pillow itself refuses a bomb at twice its limit only, and reads some kinds of TIFF and JPEG as another picture.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImage(
            f"it is too large (its {image.width}×{image.height} px are more than {limit}, as in a decompression bomb); "
            "make it smaller"
        )
    frames = getattr(image, "n_frames", 1)
    # In an MPO, as many telephones write, the first frame is the photograph and the others belong to it.
    if frames > 1 and image.format != "MPO":
        raise UnreadableImage(f"it has {frames} frames; a still picture is expected")
    tags = _tags(image)
    if _DNG in tags:
        raise UnreadableImage("it is a camera's raw file, of which only a thumbnail could be read; convert it to PNG")
    if tags.get(_PLANAR) == 2 and max(tags.get(_BITS, (1,))) > 8:
        raise UnreadableImage("its 16-bit channels lie one after the other, which Pillow reads wrongly; convert it")
    if 2 in tags.get(_SIGN, ()):
        raise UnreadableImage("its numbers have a sign, so their black is not known; convert it")
    if image.format in {"JPEG", "MPO"} and image.mode == "CMYK" and "adobe" not in image.info:
        raise UnreadableImage("it is in CMYK and does not say whether its inks are inverted; convert it to RGB")


def _packed(image: Image.Image) -> str:
    """How the samples are packed in the file, as Pillow writes it; it forgets that when it loads them."""
    tile = getattr(image, "tile", None)
    args: Any = tile[0][3] if tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _tags(image: Image.Image) -> Any:
    return image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]


def _eight_bit(image: Image.Image, packed: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PPM", "PNG"}):
        return _from_16_bits(image)
    if image.mode in {"I", "F"}:
        raise UnreadableImage(f"its pixels are of mode {image.mode!r}, whose white is not known")
    if image.mode == "LAB":
        raise UnreadableImage("its colours are in L*a*b*; convert it to RGB")
    if image.has_transparency_data:
        if packed == "RGB;16B":
            raise UnreadableImage("one of its 16-bit colours is transparent, which 8 bits cannot tell; convert it")
        if packed in _SHORT_GREY:  # Pillow widens the pixels, and not the grey that is transparent
            image.info["transparency"] *= _SHORT_GREY[packed]
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey, rounded to the nearest of 8 bits. Pillow leaves 12 bits as they are, and black where TIFF has white."""
    tags = _tags(image)
    white = 4095 if 12 in tags.get(_BITS, ()) else 65535
    values: NDArray[Any] = np.asarray(image)
    grey = np.round(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    eight = (grey[::-1] if tags.get(_MEANING) == 0 else grey)[values]
    if image.format == "PNG" and "transparency" in image.info:
        eight[values == image.info["transparency"]] = 255
    return Image.fromarray(eight)


def _unidentified(source: Path | bytes) -> str:
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return "the file is empty"
    if isinstance(source, Path) and source.suffix.lower() in FOREIGN:
        return _foreign(source)
    return "its content is no picture that Pillow knows"


def _foreign(path: Path) -> str:
    return f"pictures of the kind {path.suffix.lower()} are not read here; convert it to PNG or JPEG"
