"""Broken and awkward files, made by code: coded properly or refused as our own error, never half."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.errors import BifocalError, PictureError
from tests.conftest import made_picture

PIXELS = made_picture(47, 61)


def saved(kind: str, image: Image.Image | None = None, **settings: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(buffer, kind, **settings)
    return buffer.getvalue()


FILES = {
    "png": saved("PNG"),
    "png-gray": saved("PNG", Image.fromarray(PIXELS[:, :, 0])),
    "jpeg": saved("JPEG", quality=90),
    "jpeg-progressive": saved("JPEG", progressive=True),
    "webp": saved("WEBP"),
    "webp-lossless": saved("WEBP", lossless=True),
    "avif": saved("AVIF"),
    "bmp": saved("BMP"),
    "gif": saved("GIF", Image.fromarray(PIXELS).convert("P")),
    "tiff": saved("TIFF"),
    "tiff-lzw": saved("TIFF", compression="tiff_lzw"),
    "tiff-jpeg": saved("TIFF", compression="jpeg"),
    "ppm": saved("PPM"),
    "jp2": saved("JPEG2000"),
    "tga": saved("TGA", compression="tga_rle"),
    "qoi": saved("QOI"),
    "ico": saved("ICO", Image.fromarray(PIXELS).resize((32, 32))),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_whole_or_refused(name: str) -> None:
    """A missing end marker is no loss; a missing pixel is."""
    data = FILES[name]
    whole = bifocal.read_picture(io.BytesIO(data))
    ends = {len(data) - n for n in (1, 2, 3, 4, 8, 12, 13, 20, 40)}
    for cut in sorted(ends | {n * len(data) // 16 for n in range(16)}):
        try:
            picture = bifocal.read_picture(io.BytesIO(data[:cut]))
        except PictureError:
            continue
        assert picture.pixels.shape == whole.pixels.shape and np.array_equal(picture.pixels, whole.pixels)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_a_picture_or_our_error(name: str) -> None:
    data = FILES[name]
    rng = np.random.default_rng(7)
    for _ in range(25):
        bad = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            bad[place] = rng.integers(0, 256)
        try:
            bifocal.read_picture(io.BytesIO(bad))
        except BifocalError:
            pass


def test_a_png_with_one_wrong_bit_in_its_pixels_is_refused() -> None:
    """Pillow takes many of these, and shows garbage: it does not look at the checksums."""
    data = FILES["png"]
    start = data.find(b"IDAT") + 4
    for place in range(start, len(data) - 20, 97):
        bad = bytearray(data)
        bad[place] ^= 4
        with pytest.raises(PictureError, match=r"checksum|cannot be read|cut short"):
            bifocal.read_picture(io.BytesIO(bad))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    def chunk(name: bytes, value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))

    size = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (png(30_000, 30_000), "30000×30000 is 900000000 pixels, above the limit of 134217728"),
        (png(2**31 - 1, 2**31 - 1), "above the limit of 134217728|no picture"),
        (png(12_000, 11_500), "above the limit of 134217728"),
        (png(0, 0), "no picture that can be read"),
        (png(40, 40, body=b"\0" * 100), "cannot be read"),
        (b"", "no picture that can be read"),
        (b"BM" + bytes(60), "."),
        (b"a text that is called photo.jpg", "no picture that can be read"),
        (b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20), "."),
        (FILES["jpeg"][:200], "."),
    ],
)
def test_bombs_and_nonsense_are_refused_before_they_grow(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    with pytest.raises(PictureError, match=says) as refused:
        bifocal.read_picture(tmp_path / "photo.jpg")
    assert "photo.jpg" in str(refused.value)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4096), (4096, 1), (2, 3), (65, 1)])
@pytest.mark.parametrize("gray", [False, True])
def test_any_shape_goes_through(
    width: int, height: int, gray: bool, tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    pixels = made_picture(height, width)
    picture = bifocal.Picture(
        pixels[:, :, 0].copy() if gray else pixels, alpha=np.full((height, width), 9, np.uint8)
    )
    bifocal.write_picture(picture, tmp_path / "a.png")
    bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model)
    back = bifocal.decode_file(tmp_path / "a.bfc", tmp_path / "b.png", model=tiny_model)
    assert (back.width, back.height, back.gray) == (width, height, gray)
    assert bifocal.read_picture(tmp_path / "b.png") == back


def test_other_data_behind_a_picture_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILES["png"] + b"garbage" * 9)
    assert np.array_equal(bifocal.read_picture(tmp_path / "a.png").pixels, PIXELS)
