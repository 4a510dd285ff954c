"""A picture is turned once, whatever kind of number its orientation is, and not again by the next reader."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

import bifocal
from bifocal.pictures.exif import orientation_of, upright_exif
from bifocal.pictures.pillow_images import as_picture
from bifocal.pictures.reading import read_picture
from bifocal.pictures.writing import write_picture
from tests.conftest import made_picture
from tests.promises.test_pictures import XMP

UPRIGHT = made_picture(30, 20)
STORED = np.ascontiguousarray(np.rot90(UPRIGHT))  # orientation 6: turn clockwise to view

KINDS = {
    "BYTE": (1, "B", 1),
    "ASCII": (2, "2s", 2),
    "SHORT": (3, "H", 1),
    "LONG": (4, "I", 1),
    "RATIONAL": (5, "II", 1),
    "SBYTE": (6, "b", 1),
    "UNDEFINED": (7, "B", 1),
    "SSHORT": (8, "h", 1),
    "SLONG": (9, "i", 1),
    "SRATIONAL": (10, "ii", 1),
    "FLOAT": (11, "f", 1),
    "DOUBLE": (12, "d", 1),
    "IFD": (13, "I", 1),
    "LONG8": (16, "Q", 1),
    "two SHORTs": (3, "HH", 2),
    "three SHORTs": (3, "HHH", 3),
    "no SHORT": (3, "H", 0),
    "unknown type": (99, "H", 1),
    "SHORT, endless": (3, "H", 2**31),
}


def exif_with(kind: str, order: str = ">", header: bytes = b"", value: int = 6) -> bytes:
    """EXIF with a maker, and an orientation of a certain type, in a value of its own if it is long."""
    number, form, count = KINDS[kind]
    header = header or (b"MM\0*" if order == ">" else b"II*\0")
    values = {"RATIONAL": (value, 1), "SRATIONAL": (value, 1), "two SHORTs": (value, 1)}.get(kind, (value,))
    values = (value, 1, 3) if kind == "three SHORTs" else (b"6",) if kind == "ASCII" else values
    packed = struct.pack(order + form, *values)
    at = 8 + 2 + 2 * 12 + 4
    short = packed if len(packed) <= 4 else struct.pack(f"{order}I", at)
    entries = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0")
    entries += struct.pack(f"{order}HHI4s", 0x0112, number, count, short)
    return header + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4) + packed


def shown(data: bytes | io.BytesIO) -> np.ndarray:
    """What a viewer shows: Pillow's is ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            try:
                return np.asarray(ImageOps.exif_transpose(image))
            except (IndexError, TypeError):  # a count of 0, in some releases
                return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("order", "header"), [(">", b"MM*\0"), ("<", b"II*\0")], ids=["MM, swapped", "II"])
def test_viewers_show_of_the_result_what_they_showed_of_the_source(
    kind: str, order: str, header: bytes, tmp_path: Path
) -> None:
    exif = exif_with(kind, order, header)
    buffer = io.BytesIO()
    Image.fromarray(STORED).save(buffer, "PNG", exif=exif)
    picture = read_picture(buffer)
    assert np.array_equal(picture.pixels, shown(buffer))
    assert picture.metadata["exif"] == exif
    assert (orientation_of(exif) or 1) == (6 if picture.width == 20 else 1)
    for name in ("a.png", "a.webp", "a.tif"):
        write_picture(picture, tmp_path / name)
        assert np.array_equal(shown((tmp_path / name).read_bytes()), picture.pixels)
        assert np.array_equal(read_picture(tmp_path / name).pixels, picture.pixels)
    handed_out = bifocal.to_pillow(picture)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(handed_out)), picture.pixels)
    assert handed_out.getexif()[0x010F] == "abc"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_one_function_neutralises_every_type(kind: str, order: str) -> None:
    exif = exif_with(kind, order)
    upright = upright_exif(exif)
    assert len(upright) == len(exif) and orientation_of(upright) == 1
    tags = Image.Exif()
    tags.load(upright)
    assert tags[0x0112] == 1 and tags[0x010F] == "abc"
    assert upright_exif(upright) == upright


def test_every_orientation_tag_is_neutralised() -> None:
    """A block with two: readers disagree on which one counts."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, 6)
    exif = b"II*\0" + struct.pack("<IH", 8, 2) + entry + entry.replace(b"\6", b"\x08") + bytes(4)
    tags = Image.Exif()
    tags.load(upright_exif(exif))
    assert tags[0x0112] == 1 and upright_exif(exif).count(b"\1\0\0\0\1\0\0\0") == 2


@pytest.mark.parametrize("prefixes", [0, 1, 2])
def test_prefixes_before_exif_do_not_matter(prefixes: int) -> None:
    exif = b"Exif\0\0" * prefixes + exif_with("SHORT")
    assert orientation_of(exif) == 6 and orientation_of(upright_exif(exif)) == 1


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt"])
def test_exif_as_text_of_png_turns_once(chunk: str, tmp_path: Path) -> None:
    exif = b"Exif\0\0" + exif_with("SLONG")
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=chunk == "zTXt")
    Image.fromarray(STORED).save(buffer, "PNG", pnginfo=info)
    picture = read_picture(buffer)
    assert np.array_equal(picture.pixels, UPRIGHT)
    write_picture(picture, tmp_path / "a.png")
    assert np.array_equal(shown((tmp_path / "a.png").read_bytes()), UPRIGHT)


@pytest.mark.parametrize(
    "xmp",
    [
        XMP,
        XMP.replace(b'tiff:Orientation="6"/>', b"><tiff:Orientation>6</tiff:Orientation></rdf:Description>"),
        XMP.replace(b'tiff:Orientation="6"', b'tiff:Orientation="6" x:tiff:Orientation="8"'),
    ],
)
@pytest.mark.parametrize("exif", [b"", exif_with("SHORT", value=1), exif_with("ASCII")])
def test_exif_counts_before_xmp_and_both_are_neutralised(xmp: bytes, exif: bytes, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(STORED).save(buffer, "WEBP", lossless=True, xmp=xmp, exif=exif)
    picture = read_picture(buffer)
    assert np.array_equal(picture.pixels, shown(buffer))
    for name in ("a.png", "a.webp", "a.tif"):
        write_picture(picture, tmp_path / name)
        assert np.array_equal(shown((tmp_path / name).read_bytes()), picture.pixels)


def test_what_the_program_did_to_an_image_counts() -> None:
    """A program that says 'it is upright' in the image's EXIF has its reasons."""
    buffer = io.BytesIO()
    Image.fromarray(STORED).save(buffer, "PNG", exif=exif_with("SHORT"))
    with Image.open(buffer) as image:
        assert np.array_equal(as_picture(image).pixels, UPRIGHT)
        image.getexif()[0x0112] = 1
        assert np.array_equal(as_picture(image).pixels, STORED)
        image.getexif()[0x0112] = 6
        turned = ImageOps.exif_transpose(image)
        assert np.array_equal(as_picture(turned).pixels, UPRIGHT)
