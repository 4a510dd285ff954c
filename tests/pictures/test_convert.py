"""What a user may call a picture, and what comes back."""

from __future__ import annotations

import io
import shlex
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from bifocal.errors import PictureError
from bifocal.pictures.convert import as_picture, to_pillow
from bifocal.pictures.files import read_picture
from bifocal.types import Picture
from tests.conftest import made_picture


def test_arrays_are_taken_without_a_copy() -> None:
    pixels = made_picture(5, 7)
    assert as_picture(pixels).pixels is pixels
    assert as_picture(pixels[:, :, :1]).gray


def test_a_picture_is_an_array_and_an_image() -> None:
    pixels = made_picture(5, 7)
    picture = Picture(pixels, {"icc": b"profile"})
    assert np.array_equal(np.asarray(picture), pixels)
    assert np.array_equal(np.asarray(to_pillow(picture)), pixels)
    assert to_pillow(picture).info["icc_profile"] == b"profile"


@pytest.mark.parametrize(
    ("mode", "gray"), [("RGB", False), ("L", True), ("1", True), ("P", False), ("RGBA", False), ("LA", True)]
)
def test_modes_that_lose_nothing_are_taken(mode: str, gray: bool) -> None:
    image = Image.fromarray(made_picture(6, 9)).convert(mode)
    picture = as_picture(image)
    assert picture.gray is gray
    assert np.array_equal(picture.pixels, np.asarray(image.convert("L" if gray else "RGB")))
    assert picture.alpha is None  # opaque everywhere: it says nothing


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "HSV"])
def test_other_modes_are_refused_with_advice(mode: str) -> None:
    with pytest.raises(PictureError, match=r"mode .*(convert|scale)"):
        as_picture(Image.new(mode, (4, 4)))


def profile_for(space: str) -> bytes:
    """A colour profile whose header says another colour space."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return icc[:16] + space.encode().ljust(4) + icc[20:]


@pytest.mark.parametrize("profile", [False, True])
def test_cmyk_is_refused_with_a_command_that_converts_it(profile: bool, tmp_path: Path) -> None:
    """The command in the message is run, as the user would."""
    icc = {}
    if profile:
        icc = {"icc_profile": profile_for("CMYK")}
    path = tmp_path / "ink.jpg"
    Image.fromarray(made_picture(20, 30)).convert("CMYK").save(path, **icc)
    with pytest.raises(PictureError, match=r"CMYK, ink and not light") as refused:
        read_picture(path)
    command = shlex.split(str(refused.value).partition("Convert it: ")[2])
    assert command[0] == "python" and ("profileToProfile" in command[2]) is profile
    if not profile:  # the made-up profile has no inks in it
        subprocess.run([sys.executable, *command[1:]], check=True)
        assert read_picture(tmp_path / "ink-rgb.png").width == 30
    with pytest.raises(PictureError, match=r"Convert it: python -c"):
        as_picture(Image.new("CMYK", (4, 4)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_is_alpha(mode: str) -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("RGBA")
    image.putpixel((1, 2), (255, 255, 255, 100))
    image = image.convert({"La": "LA"}.get(mode, mode)).convert(mode)
    picture = as_picture(image)
    wanted = np.asarray(image.convert("LA" if mode in ("LA", "La") else "RGBA"))
    assert picture.gray is (mode in ("LA", "La"))
    assert picture.alpha is not None and picture.alpha[2, 1] == 100 and picture.alpha.min() == 100
    assert np.array_equal(np.dstack([picture.pixels, picture.alpha]), wanted)
    assert to_pillow(picture).mode == ("LA" if picture.gray else "RGBA")
    assert as_picture(to_pillow(picture)) == picture


@pytest.mark.parametrize("clear", [3, bytes([255, 0, 100])])
def test_transparent_palette_entries_are_alpha(clear: int | bytes) -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    image.info["transparency"] = clear
    index = np.asarray(image)
    picture = as_picture(image)
    table = np.full(256, 255)
    table[range(len(clear)) if isinstance(clear, bytes) else clear] = (
        list(clear) if isinstance(clear, bytes) else 0
    )
    assert np.array_equal(picture.alpha, table[index])
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGBA"))[:, :, :3])


@pytest.mark.parametrize(("mode", "clear"), [("RGB", (9, 8, 7)), ("L", 9), ("1", 255), ("1", 0)])
def test_one_transparent_colour_is_alpha(mode: str, clear: object) -> None:
    image = Image.new(mode, (4, 3), 255 if mode == "1" else "white")
    image.putpixel((2, 1), clear)
    image.info["transparency"] = clear
    alpha = as_picture(image).alpha
    assert alpha is not None and alpha[1, 2] == 0
    assert (alpha == 0).sum() == (12 if clear == 255 else 1)


@pytest.mark.parametrize(("depth", "spread"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_a_transparent_gray_of_few_bits_is_found(depth: int, spread: int, tmp_path: Path) -> None:
    """Pillow spreads 4-bit gray to 0..255 but leaves the transparent value at 0..15."""
    rows = [[0, 1, 1, 0, 1, 0, 0, 1]]
    (tmp_path / "a.png").write_bytes(gray_png(rows, depth, transparent=1))
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == [[value * spread for value in rows[0]]]
    assert picture.alpha is not None and picture.alpha.tolist() == [[255 * (1 - value) for value in rows[0]]]


def gray_png(rows: list[list[int]], depth: int, *, transparent: int) -> bytes:
    def chunk(name: bytes, value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))

    size = struct.pack(">IIBBBBB", len(rows[0]), len(rows), depth, 0, 0, 0, 0)
    bits = ["".join(f"{value:0{depth}b}" for value in row) for row in rows]
    packed = b"".join(b"\0" + int(row, 2).to_bytes(len(row) // 8) for row in bits)
    chunks = [(b"IHDR", size), (b"tRNS", struct.pack(">H", transparent)), (b"IDAT", zlib.compress(packed))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks) + chunk(b"IEND", b"")


def test_arrays_may_have_alpha() -> None:
    rgba = np.dstack([made_picture(5, 7), np.arange(35, dtype=np.uint8).reshape(5, 7)])
    picture = as_picture(rgba)
    assert np.array_equal(picture.pixels, rgba[:, :, :3]) and np.array_equal(picture.alpha, rgba[:, :, 3])
    assert as_picture(rgba[:, :, 2:]).gray
    rgba[:, :, 3] = 255
    assert as_picture(rgba).alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int) -> None:
    upright = made_picture(6, 9)
    # how the sensor would have stored it: undo each orientation
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "PNG", exif=exif)
    picture = as_picture(Image.open(buffer))
    assert np.array_equal(picture.pixels, upright)
    assert np.array_equal(as_picture(to_pillow(picture)).pixels, upright)


@pytest.mark.parametrize("wrong", ["photo.jpg", b"bytes", None, [[1, 2]]])
def test_what_is_no_picture_is_refused(wrong: object) -> None:
    with pytest.raises(PictureError, match=r"read_picture"):
        as_picture(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.int16),
        np.zeros((4, 4, 4), np.uint32),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 5), np.uint16),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_of_other_kinds_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(PictureError):
        as_picture(pixels)
