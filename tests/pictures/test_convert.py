"""What a user may call a picture, and what comes back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import PictureError
from bifocal.pictures.convert import as_picture, to_pillow
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


@pytest.mark.parametrize("mode", ["CMYK", "I", "F", "I;16", "LAB", "HSV", "YCbCr"])
def test_other_modes_are_refused_with_advice(mode: str) -> None:
    with pytest.raises(PictureError, match=r"mode .*(convert|scale)"):
        as_picture(Image.new(mode, (4, 4)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_refused(mode: str) -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("RGBA")
    image.putpixel((1, 1), (1, 2, 3, 100))
    with pytest.raises(PictureError, match="transparent"):
        as_picture(image.convert(mode))


def test_a_palette_with_a_transparent_entry_is_refused() -> None:
    image = Image.fromarray(made_picture(6, 9)).convert("P")
    image.info["transparency"] = int(np.asarray(image)[0, 0])
    with pytest.raises(PictureError, match="transparent"):
        as_picture(image)


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
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_of_other_kinds_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(PictureError):
        as_picture(pixels)
