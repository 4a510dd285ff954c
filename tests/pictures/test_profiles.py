"""A colour profile is kept beside pixels of its kind, and left out beside others, with a warning."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal.errors import PictureWarning
from bifocal.pictures.metadata import profile_space
from bifocal.pictures.pillow_images import as_picture
from bifocal.pictures.reading import read_picture
from bifocal.pictures.writing import write_picture
from bifocal.types import Picture
from tests.conftest import made_picture
from tests.pictures.test_convert import profile_for

PIXELS = made_picture(8, 9)


def test_the_space_of_a_profile_is_read_from_its_header() -> None:
    for space in ("RGB", "GRAY", "CMYK", "Lab"):
        assert profile_space(profile_for(space)) == space
    assert profile_space(b"profile") == profile_space(bytes(200)) == ""


@pytest.mark.parametrize(("mode", "space"), [("RGB", "RGB"), ("RGBA", "RGB"), ("L", "GRAY"), ("LA", "GRAY")])
def test_a_profile_of_the_same_space_is_kept(mode: str, space: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.info["icc_profile"] = profile_for(space)
    assert as_picture(image).metadata == {"icc": profile_for(space)}


@pytest.mark.parametrize(
    ("mode", "space"),
    [
        ("RGB", "GRAY"),
        ("RGB", "CMYK"),
        ("RGB", "Lab"),
        ("L", "RGB"),
        ("1", "RGB"),
        ("P", "GRAY"),
        ("YCbCr", "CMYK"),
    ],
)
def test_a_profile_of_another_space_is_left_out(mode: str, space: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.info["icc_profile"] = profile_for(space)
    with pytest.warns(PictureWarning, match=rf"colour profile is for {space}, and its pixels are (RGB|GRAY)"):
        assert as_picture(image).metadata == {}
    buffer = io.BytesIO()
    image.convert("L" if mode in ("1", "L") else "RGB").save(buffer, "PNG", icc_profile=profile_for(space))
    with pytest.warns(PictureWarning, match="profile is left out"):
        assert read_picture(buffer).metadata == {}


def test_the_usual_way_to_such_a_profile() -> None:
    """``convert`` of Pillow keeps the profile of the pixels that were."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", icc_profile=profile_for("RGB"))
    gray = Image.open(buffer).convert("L")
    with pytest.warns(PictureWarning, match="is for RGB, and its pixels are GRAY"):
        assert as_picture(gray).metadata == {}


def test_a_gray_profile_is_not_written_where_gray_becomes_rgb(tmp_path: Path) -> None:
    picture = Picture(PIXELS[:, :, 0].copy(), {"icc": profile_for("GRAY")})
    for name in ("a.png", "a.jpg", "a.tif"):
        write_picture(picture, tmp_path / name)
        assert read_picture(tmp_path / name).metadata == picture.metadata
    for name in ("a.webp", "a.avif"):
        with pytest.warns(PictureWarning, match="is for GRAY, and its pixels are RGB"):
            write_picture(picture, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert "icc_profile" not in image.info


def test_a_profile_in_a_stream_is_not_written_beside_other_pixels(
    tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    data = bifocal.encode(Picture(PIXELS, {"icc": profile_for("CMYK")}), model=tiny_model)
    picture = bifocal.decode(data, model=tiny_model)
    with pytest.warns(PictureWarning, match="is for CMYK"):
        write_picture(picture, tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").metadata == {}
