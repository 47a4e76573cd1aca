from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.image_files import (
    ORIENTATION,
    Picture,
    image_files,
    image_size,
    read_picture,
    write_picture,
)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_formats_come_back_as_they_were(tmp_path, draw, suffix):
    path = tmp_path / f"image{suffix}"
    write_picture(path, Picture(draw()))
    np.testing.assert_array_equal(read_picture(path).pixels, draw())


def test_jpeg_comes_back_nearly_as_it_was(tmp_path, draw):
    write_picture(tmp_path / "image.jpg", Picture(draw()))
    error = read_picture(tmp_path / "image.jpg").pixels.astype(int) - draw()
    assert np.abs(error).mean() < 5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("transparent", [False, True])
def test_sixteen_bits_are_kept(tmp_path, draw, suffix, transparent):
    deep = draw().astype(np.uint16) * 257 + 3
    alpha = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) if transparent else None
    path = tmp_path / f"deep{suffix}"
    write_picture(path, Picture(deep, alpha))
    found = read_picture(path)
    assert found.pixels.dtype == np.uint16 and found.mode.endswith("16 bit")
    np.testing.assert_array_equal(found.pixels, deep)
    if transparent:
        np.testing.assert_array_equal(found.alpha, alpha)
    write_picture(tmp_path / "shallow.jpg", found)
    assert read_picture(tmp_path / "shallow.jpg").pixels.dtype == np.uint8


def test_sixteen_bit_grey(tmp_path, draw):
    grey = draw()[..., 0].astype(np.uint16) * 200
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    found = read_picture(tmp_path / "grey.png")
    np.testing.assert_array_equal(found.pixels, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, draw, mode):
    image = Image.fromarray(draw()).convert("RGB" if mode == "LA" else mode)
    image = image.convert("LA") if mode == "LA" else image
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    found = read_picture(path)
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(found.pixels, expected)
    assert (found.alpha is not None) == (mode in ("LA", "RGBA")) and found.mode == mode


def test_transparency_is_set_aside_and_joined_again(tmp_path, draw):
    alpha = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)
    Image.fromarray(np.dstack([draw(), alpha])).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, draw())
    write_picture(tmp_path / "b.png", found.with_unit(1 - found.unit))
    written = np.array(Image.open(tmp_path / "b.png"))
    np.testing.assert_array_equal(written[..., 3], alpha)
    np.testing.assert_array_equal(written[..., :3], 255 - draw())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, draw, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Maker"
    Image.fromarray(draw()).save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(found.pixels, np.array(ImageOps.exif_transpose(opened)))
    assert image_size(tmp_path / "turned.png") == found.pixels.shape[:2]
    write_picture(tmp_path / "again.png", found)
    with Image.open(tmp_path / "again.png") as again:
        assert ORIENTATION not in again.getexif() and again.getexif()[0x010F] == "Maker"


def test_colour_profiles_are_kept(tmp_path, draw):
    Image.fromarray(draw()).save(tmp_path / "a.png", icc_profile=b"a profile")
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.png"))
    assert Image.open(tmp_path / "b.jpg").info["icc_profile"] == b"a profile"


# === What cannot be used ===


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 40000 x 40000 pixels."""
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        both = kind + content
        return struct.pack(">I", len(content)) + both + struct.pack(">I", zlib.crc32(both))

    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def cut_jpeg(draw, tmp_path: Path) -> bytes:
    Image.fromarray(draw(0, 200, 200)).save(tmp_path / "whole.jpg")
    return (tmp_path / "whole.jpg").read_bytes()[:2000]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty (0 bytes)"),
        (b"just some text", "is no image"),
        (bomb(), "100 megapixels allowed by data.max_megapixels"),
        (b"\x89PNG\r\n\x1a\n" + b"garbage" * 9, "damaged|no image"),
    ],
)
def test_files_that_are_no_images_say_why(tmp_path, content, words):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_picture(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert any(word in str(error.value) for word in words.split("|"))


def test_a_cut_off_jpeg_is_refused(tmp_path, draw):
    path = tmp_path / "cut.jpg"
    path.write_bytes(cut_jpeg(draw, tmp_path))
    with pytest.raises(DataError, match=r"cut.jpg: is damaged: .*truncated"):
        read_picture(path)


def test_the_limit_on_pixels_is_a_setting(tmp_path, draw, save):
    path = save(tmp_path / "a.png", draw(0, 100, 200))
    assert read_picture(path, 0.02).pixels.shape == (100, 200, 3)
    with pytest.raises(DataError, match=r"200 x 100 pixels .* more than the 0.019 allowed"):
        read_picture(path, 0.019)


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="'F' pixels"):
        read_picture(tmp_path / "float.tif")


def test_unknown_suffixes_are_not_written(tmp_path, draw):
    with pytest.raises(DataError, match=r"expected one of \.png"):
        write_picture(tmp_path / "image.gif", Picture(draw()))
    assert list(tmp_path.iterdir()) == []


def test_tiny_images_are_images(tmp_path, draw, save):
    for height, width in ((1, 1), (7, 5)):
        path = save(tmp_path / f"{height}.png", draw(0, height, width))
        assert read_picture(path).pixels.shape == (height, width, 3)


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path, draw, save):
    wanted = save(tmp_path / "b" / "a.PNG", draw(), format="png")
    save(tmp_path / ".hidden" / "a.png", draw())
    (tmp_path / "notes.txt").write_text("no image")
    assert list(image_files(tmp_path)) == [wanted]
