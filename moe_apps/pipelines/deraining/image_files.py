"""Image files: PNG, JPEG, BMP, TIFF and WebP, read and written by stated rules.

- 8 and 16 bits a channel are kept; other depths are refused.
- Grey becomes RGB with three equal channels; a palette becomes its colours; CMYK is converted.
- An alpha channel is set aside, and joined to the result again.
- The image is turned as its EXIF orientation says, and the tag removed.
- ICC profile and EXIF data are kept in 8-bit results.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from moe_apps.errors import DataError
from moe_apps.pipelines.atomic_files import written_whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_MEGAPIXELS = 100.0
DEEP_FORMATS = (".png", ".tif", ".tiff")
"""Suffixes of formats that hold 16 bits a channel."""
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """An image as it is in a file.

    Attributes:
        pixels: `[height, width, 3]` uint8 or uint16, RGB.
        alpha: `[height, width]` of the same type, or None.
        mode: what the file holds, such as "RGB", "L", "CMYK", "RGB 16 bit".
        exif: EXIF data without orientation; empty if there are none.
        icc_profile: colour profile; empty if there is none.
    """

    pixels: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None = None
    mode: str = "RGB"
    exif: bytes = b""
    icc_profile: bytes = b""

    @property
    def unit(self) -> npt.NDArray[np.float32]:
        """Pixels in [0, 1]."""
        return (self.pixels / np.float32(np.iinfo(self.pixels.dtype).max)).astype(np.float32)

    def with_unit(self, image: npt.NDArray[np.floating]) -> Picture:
        """The same picture with other pixels, given in [0, 1]; depth and the rest stay."""
        largest = np.iinfo(self.pixels.dtype).max
        rounded = np.floor(np.clip(image, 0, 1) * np.float64(largest) + 0.5)
        return replace(self, pixels=rounded.astype(self.pixels.dtype))


def image_files(folder: Path) -> Iterator[Path]:
    """Image files in a folder and its subfolders, sorted, hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def read_picture(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Read an image file by the rules of this module.

    Raises:
        DataError: the file cannot be read, is no image of a known format, is cut off, or has more
            pixels than allowed (found out before they are unpacked).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not content:
        raise DataError(f"{path}: is empty (0 bytes); expected an image")
    return decode_picture(content, str(path), max_megapixels)


def decode_picture(content: bytes, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """As `read_picture`, from the bytes of a file; `name` is for messages."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_size(opened.size, name, max_megapixels)
            return _decoded(opened, content, name)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(
                f"{name}: has more than the {max_megapixels:g} megapixels allowed by "
                f"data.max_megapixels ({error})"
            ) from None
        except UnidentifiedImageError:
            kinds = ", ".join(FORMATS)
            raise DataError(
                f"{name}: is no image: expected {kinds}, found a file that begins with "
                f"{content[:8]!r}"
            ) from None
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{name}: is damaged: {_one_line(error)}") from None


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            width, height = opened.size
            turned = opened.getexif().get(ORIENTATION, 1) >= 5
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is no image that can be read: {_one_line(error)}") from None
    return (width, height) if turned else (height, width)


def write_picture(path: Path, picture: Picture) -> None:
    """Write an image, whole or not at all; the suffix says the format.

    16 bits a channel are kept in PNG and TIFF (without EXIF and colour profile) and rounded to 8
    in the others; JPEG and BMP have no alpha channel.

    Raises:
        DataError: the suffix is of no known format, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: cannot be written: expected one of {', '.join(SUFFIXES)}")
    deep = picture.pixels.dtype == np.uint16
    if deep and suffix not in DEEP_FORMATS:
        alpha = picture.alpha
        picture = replace(
            picture,
            pixels=_in_8_bit(picture.pixels),
            alpha=None if alpha is None else _in_8_bit(alpha),
        )
        deep = False
    joined = picture.pixels
    if picture.alpha is not None and suffix not in (".jpg", ".jpeg", ".bmp"):
        joined = np.dstack([joined, picture.alpha])
    try:
        with written_whole(path) as temporary:
            if deep:
                order = cv2.COLOR_RGBA2BGRA if joined.shape[2] == 4 else cv2.COLOR_RGB2BGR
                cv2.imwrite(str(temporary), cv2.cvtColor(joined, order))
            else:
                _save_8_bit(joined, picture, temporary)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _save_8_bit(joined: npt.NDArray[Any], picture: Picture, path: Path) -> None:
    settings: dict[str, Any] = {}
    if path.suffix.lower() != ".bmp":
        if picture.exif:
            settings["exif"] = picture.exif
        if picture.icc_profile:
            settings["icc_profile"] = picture.icc_profile
    if path.suffix.lower() in (".jpg", ".jpeg"):
        settings.update(quality=95, subsampling=0)
    if path.suffix.lower() == ".webp":
        settings.update(lossless=True)
    Image.fromarray(joined).save(path, **settings)


def _decoded(opened: Any, content: bytes, name: str) -> Picture:
    mode = opened.mode
    exif = opened.getexif()
    orientation = exif.pop(ORIENTATION, 1)
    kept = {
        "exif": exif.tobytes() if len(exif) else b"",
        # A CMYK profile does not fit the RGB that comes out.
        "icc_profile": (opened.info.get("icc_profile") or b"") if mode != "CMYK" else b"",
    }
    deep = _deep_pixels(opened, content)
    if deep is not None:
        pixels, alpha = deep
        # OpenCV leaves the orientation of 16-bit files to us.
        pixels = _turned(pixels, orientation)
        alpha = None if alpha is None else _turned(alpha, orientation)
        return Picture(pixels, alpha, f"{mode} 16 bit", **kept)
    if mode in ("F", "I") or mode.startswith("I;"):
        raise DataError(f"{name}: has {mode!r} pixels; expected 8 or 16 bits a channel")
    transparent = mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in opened.info
    if transparent:
        both = _turned(np.array(opened.convert("RGBA")), orientation)
        return Picture(both[..., :3].copy(), both[..., 3].copy(), mode, **kept)
    return Picture(_turned(np.array(opened.convert("RGB")), orientation), None, mode, **kept)


def _deep_pixels(
    opened: Any, content: bytes
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16] | None] | None:
    """Pixels and alpha of a file with 16 bits a channel, which Pillow would cut to 8; or None."""
    png = opened.format == "PNG" and len(content) > 24 and content[24] == 16
    if not png and opened.format != "TIFF":
        return None
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if found is None or found.dtype != np.uint16:
        return None
    if found.ndim == 2:
        return np.repeat(found[..., None], 3, axis=2), None
    if found.shape[2] == 4:
        both = cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA)
        return both[..., :3].copy(), both[..., 3].copy()
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB), None


def _turned(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Upright, from an EXIF orientation of 1 to 8."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    down = orientation in (3, 4, 7, 8)
    left = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if down else 1, :: -1 if left else 1])


def _check_size(size: tuple[int, int], name: str, max_megapixels: float) -> None:
    width, height = size
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise DataError(
            f"{name}: has {width} x {height} pixels ({megapixels:.0f} megapixels), more than the "
            f"{max_megapixels:g} allowed by data.max_megapixels"
        )


def _in_8_bit(deep: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    return ((deep.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
