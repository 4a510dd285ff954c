"""16 bits a channel are rounded to 8, with a warning; never cut, and never silently."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import PictureError, PictureWarning
from bifocal.pictures.high_bit_depth import bits_per_channel
from bifocal.pictures.pillow_images import as_picture
from bifocal.pictures.reading import read_picture

VALUES = np.random.default_rng(5).integers(0, 65536, (11, 13, 4)).astype(np.uint16)
VALUES[0, :3] = [[0] * 4, [65535] * 4, [128, 129, 65406, 65407]]
ROUNDED = np.rint(VALUES / 257).astype(np.uint8)


def png_chunk(name: bytes, value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))


def png(values: np.ndarray, *, clear: bytes = b"") -> bytes:
    """A 16-bit PNG of ``[h, w, c]``, with 1 to 4 channels."""
    h, w, c = values.shape
    size = struct.pack(">IIBBBBB", w, h, 16, {1: 0, 2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    rows = np.hstack([np.zeros((h, 1), np.uint8), values.astype(">u2").view(np.uint8).reshape(h, -1)])
    chunks = [(b"IHDR", size), (b"tRNS", clear), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(*each) for each in chunks if each[1] or each[0] != b"tRNS"
    )


def tiff(
    values: np.ndarray, order: str, *, photometric: int = 2, extra: int | None = None, planar: int = 1
) -> bytes:
    """An uncompressed 16-bit TIFF of ``[h, w, c]`` in byte order ``<`` or ``>``."""
    h, w, c = values.shape
    tags = {
        256: w,
        257: h,
        258: 0,
        259: 1,
        262: photometric,
        273: 0,
        277: c,
        278: h,
        279: values.size * 2,
        284: planar,
    }
    if extra is not None:
        tags[338] = extra
    end = 8 + 2 + 12 * len(tags) + 4
    depths = struct.pack(f"{order}{c}H", *[16] * c)
    tags[273] = end + len(depths)
    out = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, value in sorted(tags.items()):
        if tag == 258:
            short = depths.ljust(4, b"\0") if c <= 2 else struct.pack(f"{order}I", end)
            out += struct.pack(f"{order}HHI", tag, 3, c) + short
        else:
            out += struct.pack(f"{order}HHII", tag, 4, 1, value)
    pixels = values if planar == 1 else values.transpose(2, 0, 1)
    return out + bytes(4) + depths + np.ascontiguousarray(pixels).astype(f"{order}u2").tobytes()


def read(data: bytes, tmp_path: Path) -> np.ndarray:
    """The picture with its alpha, ``[h, w, c]``; that it warns is part of the promise."""
    (tmp_path / "a").write_bytes(data)
    with pytest.warns(PictureWarning, match=r"16 bits a channel; it is coded at 8, rounded"):
        picture = read_picture(tmp_path / "a")
    with pytest.raises(PictureError, match=r"16 bits a channel.*--strict"):
        read_picture(tmp_path / "a", strict=True)
    return np.dstack([picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_is_rounded(channels: int, tmp_path: Path) -> None:
    values = VALUES[:, :, 4 - channels :]
    assert np.array_equal(read(png(values), tmp_path), ROUNDED[:, :, 4 - channels :])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_is_rounded(channels: int, order: str, tmp_path: Path) -> None:
    data = tiff(
        VALUES[:, :, :channels],
        order,
        photometric=1 if channels == 1 else 2,
        extra=2 if channels == 4 else None,
    )
    assert np.array_equal(read(data, tmp_path), ROUNDED[:, :, :channels])


def test_a_compressed_tiff_is_rounded(tmp_path: Path) -> None:
    gray = Image.fromarray(VALUES[:, :, 0])
    buffer = io.BytesIO()
    gray.save(buffer, "TIFF", compression="tiff_adobe_deflate")
    assert np.array_equal(read(buffer.getvalue(), tmp_path)[:, :, 0], ROUNDED[:, :, 0])


def test_premultiplied_alpha_is_divided_out_in_sixteen_bits(tmp_path: Path) -> None:
    alpha = np.maximum(VALUES[:, :, 3:].astype(np.int64), 20_000)
    colours = VALUES[:, :, :3].astype(np.int64)
    multiplied = np.concatenate([colours * alpha // 65535, alpha], 2).astype(np.uint16)
    found = read(tiff(multiplied, "<", extra=1), tmp_path).astype(int)
    assert np.array_equal(found[:, :, 3], np.rint(alpha[:, :, 0] / 257))
    assert np.abs(found[:, :, :3] - np.rint(colours / 257)).max() <= 1  # cut to integers when multiplied


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    data = tiff(VALUES[:, :, :1], "<", photometric=0)
    assert np.array_equal(read(data, tmp_path)[:, :, 0], 255 - ROUNDED[:, :, 0])


def test_separate_planes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(VALUES[:, :, :3], "<", planar=2))
    with pytest.raises(PictureError, match=r"separate planes.*Save it as PNG|cannot be read"):
        read_picture(tmp_path / "a.tif")


def test_one_transparent_colour_of_sixteen_bits_is_found(tmp_path: Path) -> None:
    """A neighbour that differs in the low byte only stays opaque."""
    values = np.array([[[300, 301, 302], [300, 301, 303], [0, 0, 0]]], np.uint16)
    assert read(png(values, clear=struct.pack(">3H", 300, 301, 302)), tmp_path)[0, :, 3].tolist() == [
        0,
        255,
        255,
    ]
    assert read(png(values[:, :, :1], clear=struct.pack(">H", 300)), tmp_path)[0, :, 1].tolist() == [
        0,
        0,
        255,
    ]


@pytest.mark.parametrize("header", [b"P5 13 11 65535\n", b"P6 13 11 65535\n"])
def test_a_ppm_is_rounded(header: bytes, tmp_path: Path) -> None:
    channels = 1 if header.startswith(b"P5") else 3
    data = header + VALUES[:, :, :channels].astype(">u2").tobytes()
    assert np.array_equal(read(data, tmp_path), ROUNDED[:, :, :channels])


def test_an_open_image_is_not_cut(tmp_path: Path) -> None:
    """An image opened by the user, and not by us: gray is at hand, of colour Pillow would drop half."""
    with (
        Image.open(io.BytesIO(png(VALUES[:, :, :3]))) as image,
        pytest.raises(PictureError, match="read_picture"),
    ):
        as_picture(image)
    with Image.open(io.BytesIO(png(VALUES[:, :, :1]))) as image, pytest.warns(PictureWarning):
        assert np.array_equal(as_picture(image).pixels, ROUNDED[:, :, 0])
    with pytest.raises(PictureError, match="strict"):
        as_picture(Image.fromarray(VALUES[:, :, 0]), strict=True)


def test_bits_of_formats_that_say_it_in_the_file(tmp_path: Path) -> None:
    image = Image.fromarray(ROUNDED[:, :, :3])
    for name, settings in (("a.avif", {}), ("a.jp2", {}), ("a.png", {})):
        image.save(tmp_path / name, **settings)
        with (tmp_path / name).open("rb") as file, Image.open(file) as opened:
            assert bits_per_channel(opened, file) == 8
    data = bytearray((tmp_path / "a.jp2").read_bytes())
    data[data.find(b"\xff\x4f\xff\x51") + 42] = 11  # twelve bits, less one
    with io.BytesIO(data) as file, Image.open(file) as opened:
        assert bits_per_channel(opened, file) == 12
    data = bytearray((tmp_path / "a.avif").read_bytes())
    data[data.find(b"av1C") + 6] |= 0x40
    with (tmp_path / "a.avif").open("rb") as file, Image.open(file) as opened:
        assert bits_per_channel(opened, io.BytesIO(data)) == 10


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=r"known to be white"):
        read_picture(tmp_path / "a.tif")


def test_sixteen_bits_a_pixel_are_not_sixteen_a_channel(tmp_path: Path) -> None:
    """BMP with 5, 6 and 5 bits."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    data = (
        b"BM"
        + struct.pack("<IHHI", 14 + 52 + 4, 0, 0, 14 + 52)
        + header
        + masks
        + struct.pack("<2H", 0xF800, 0x001F)
    )
    (tmp_path / "a.bmp").write_bytes(data)
    assert read_picture(tmp_path / "a.bmp").pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
