"""What a user may call a picture, and what comes back."""

from __future__ import annotations

import io
import os
import shlex
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from bifocal.errors import PictureError, PictureWarning
from bifocal.pictures.pillow_images import as_picture, to_pillow
from bifocal.pictures.reading import read_picture
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


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An RGBA image in another mode; old releases of Pillow lose alpha on the straight way to PA."""
    if mode == "PA":
        palette = image.convert("RGB").convert("P")
        palette.putalpha(image.getchannel("A"))
        return palette
    return image.convert({"La": "LA"}.get(mode, mode)).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_is_alpha(mode: str) -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("RGBA")
    image.putpixel((1, 2), (255, 255, 255, 100))
    image = in_mode(image, mode)
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


@pytest.mark.parametrize(
    ("kind", "clear"),
    [
        *((kind, None) for kind in ("RGB", "RGBX", "BGRX", "RGBA", "BGRA", "LA")),
        *((kind, clear) for kind in ("RGB", "RGBA", "BGRA", "LA") for clear in (3, bytes([255, 0, 100]))),
    ],
)
def test_a_palette_keeps_its_alpha(kind: str, clear: int | bytes | None) -> None:
    image = Image.new("P", (16, 16))
    image.putdata(list(range(256)))
    table = np.random.default_rng(1).integers(0, 256, (256, len(kind)), np.uint8)
    image.putpalette(table.tobytes(), kind)
    alpha = table[:, -1].copy() if kind.endswith("A") else np.full(256, 255, np.uint8)
    if clear is not None:
        image.info["transparency"] = clear
        alpha[range(3) if isinstance(clear, bytes) else clear] = (
            list(clear) if isinstance(clear, bytes) else 0
        )
    picture = as_picture(image)
    found = np.full((16, 16), 255) if picture.alpha is None else picture.alpha
    assert np.array_equal(found.ravel(), alpha)
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGBA"))[:, :, :3])


def test_a_quantised_picture_keeps_its_alpha(tmp_path: Path) -> None:
    rgba = np.dstack([made_picture(20, 30), np.zeros((20, 30), np.uint8)])
    rgba[:, 10:, 3] = 255
    rgba[:5, :5, 3] = 100
    image = Image.fromarray(rgba).quantize(32)
    wanted = np.asarray(image.convert("RGBA"))
    image.save(tmp_path / "a.png")
    for picture in (as_picture(image), read_picture(tmp_path / "a.png")):
        assert np.array_equal(picture.alpha, wanted[:, :, 3])
        seen = wanted[:, :, 3] > 0
        assert np.array_equal(picture.pixels[seen], wanted[:, :, :3][seen])


def test_a_palette_of_inks_is_refused_or_converted_by_pillow() -> None:
    image = Image.new("P", (4, 4))
    image.putpalette(bytes(4 * 256), "CMYK")
    image.load()
    if image.im.getpalettemode() == "CMYK":
        with pytest.raises(PictureError, match="palette is of mode CMYK"):
            as_picture(image)
    else:
        assert as_picture(image).pixels.min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "YCbCr"])
@pytest.mark.parametrize(
    "clear", [b"\0\1", 5, 999, -1, (1, 2, 3), (1, 2), (1, 2, "3"), "5", 1.5, [1, 2, 3], object], ids=repr
)
def test_a_transparency_that_means_nothing_is_no_accident(mode: str, clear: object) -> None:
    """Conversions leave values behind in ``info``: a warning, and never an error of Pillow's."""
    image = Image.new(mode, (4, 3))
    plain = np.asarray(image)
    image.info["transparency"] = clear
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        picture = as_picture(image)
    assert (picture.width, picture.height) == (4, 3)
    assert "transparency" in image.info and np.array_equal(
        np.asarray(image), plain
    )  # the image is left alone
    meant = mode in ("LA", "PA", "RGBA", "YCbCr") or (clear in (5, 999, -1) and mode not in ("RGB", "P"))
    meant |= (clear == (1, 2, 3) and mode == "RGB") or (mode == "P" and clear in (b"\0\1", 5))
    warned = any("means nothing in mode" in str(warning.message) for warning in seen)
    assert warned is not meant


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


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_arrays_of_16_bits_are_rounded_like_their_images(channels: int, order: str) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (6, 9, 4)).astype(order)[:, :, : channels or 1]
    values = values[:, :, 0] if channels == 0 else values
    with pytest.warns(PictureWarning, match="this picture has 16 bits a channel; it is coded at 8, rounded"):
        picture = as_picture(values)
    assert picture == as_picture(np.rint(values / 257).astype(np.uint8))
    with pytest.raises(PictureError, match="strict=True"):
        as_picture(values, strict=True)
    if channels == 0:
        with pytest.warns(PictureWarning):
            assert as_picture(Image.fromarray(values.astype("<u2"))) == picture


def test_boolean_arrays_are_black_and_white() -> None:
    values = np.random.default_rng(3).random((6, 9)) > 0.5
    assert as_picture(values) == as_picture(Image.fromarray(values)) == Picture(values * np.uint8(255))
    assert as_picture(values.T, strict=True).width == 6


def test_ycbcr_is_converted() -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("YCbCr")
    assert np.array_equal(as_picture(image).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LAB", "HSV"])
def test_the_advice_for_a_colour_space_works(mode: str) -> None:
    image = Image.new(mode, (4, 4), (120, 130, 140))
    with pytest.raises(PictureError, match=f"mode {mode}.*: convert it with ") as refused:
        as_picture(image)
    advice = str(refused.value).partition("convert it with ")[2].rstrip(".")
    assert as_picture(eval(advice, {"image": image, "ImageCms": ImageCms})).width == 4


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


@pytest.mark.parametrize("path", ["it's a photo.jpg", Path("photo.jpg")])
def test_a_path_is_refused_with_the_call_to_use(path: str | Path) -> None:
    with pytest.raises(
        PictureError, match=r"is a path.*bifocal\.encode_file\(.*bifocal\.read_picture\("
    ) as said:
        as_picture(path)  # type: ignore[arg-type]
    assert f"read_picture({str(path)!r})" in str(said.value)


def test_an_image_that_cannot_be_loaded_is_our_error(tmp_path: Path) -> None:
    Image.fromarray(made_picture(90, 90)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(PictureError, match="truncated"):
        as_picture(image)
    with pytest.raises(PictureError, match="cannot load this image"):
        as_picture(image)  # closed


@pytest.mark.skipif(os.name != "posix", reason="a command for a shell of POSIX")
@pytest.mark.parametrize(
    "name",
    [
        "it's.jpg",
        "$(touch RUN).jpg",
        "-a b.jpg",
        'say "hi".jpg',
        "two\nlines.jpg",
        "`touch RUN`.jpg",
        "a\\b\x1b'%s\t \udcff.jpg",
    ],
)
@pytest.mark.parametrize("profile", [False, True])
def test_the_command_for_cmyk_is_safe_to_paste(
    name: str, profile: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    icc = {"icc_profile": profile_for("RGB")} if profile else {}  # not for inks: of no use
    Image.new("CMYK", (8, 8)).save(name, "JPEG", **icc)
    with pytest.raises(PictureError) as refused:
        read_picture(name)
    command = str(refused.value).split("Convert it: ")[1]
    assert len(command.splitlines()) == 1
    search = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    subprocess.run(["sh", "-c", command], check=True, env={**os.environ, "PATH": search})
    assert sorted(os.listdir()) == sorted([name, name.removesuffix(".jpg") + "-rgb.png"])
    assert read_picture(name.removesuffix(".jpg") + "-rgb.png").width == 8


@pytest.mark.parametrize("wrong", [b"bytes", None, [[1, 2]]])
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
