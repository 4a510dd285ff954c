"""``Image.save``: every mode that ``encode`` takes, the same bytes, and no option that is ignored."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.errors import PictureWarning
from tests.apps.plugins.test_pillow import KINDS, PIXELS, registered, stream
from tests.pictures.test_convert import in_mode

__all__ = ["registered"]  # the fixture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa"])
def test_every_mode_that_holds_eight_bits_is_saved(mode: str) -> None:
    image = Image.fromarray(np.dstack([PIXELS, np.full((70, 90), 200, np.uint8)]))
    image = image.convert("LA").convert("L") if mode == "1" else image
    image = in_mode(image, mode)
    buffer = io.BytesIO()
    image.save(buffer, "BIFOCAL", model="tiny", quality=90)
    with Image.open(buffer) as back:
        alpha = mode in ("LA", "P", "PA", "RGBA", "RGBa")  # Pillow gives such a palette alpha
        assert back.mode == ("L" if mode in ("1", "L", "LA") else "RGB") + "A" * alpha
        assert back.size == image.size
        if alpha:
            assert back.getchannel("A").getextrema() == (200, 200)


def test_modes_that_cannot_be_saved_say_so(tmp_path: Path) -> None:
    for mode in ("CMYK", "F", "HSV"):
        with pytest.raises(OSError, match="cannot write this image as BIFOCAL"):
            Image.new(mode, (4, 4)).save(tmp_path / "a.bfc", model="tiny")
    assert not list(tmp_path.iterdir())  # no half file stays
    with pytest.raises(ValueError, match="quality"):
        Image.new("RGB", (4, 4)).save(tmp_path / "a.bfc", model="tiny", quality=101)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lossless": "yes"}, "lossless is 'yes'; say True or False"),
        ({"qualty": 50}, r"no option 'qualty'. Did you mean quality\? Options are"),
        ({"optimize": True}, r"no option 'optimize'.*effort, exif, icc_profile"),
        ({"exif": "text"}, "exif is a str; give bytes"),
        ({"icc_profile": 5}, "icc_profile is a int; give bytes"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        Image.fromarray(PIXELS).save(tmp_path / "a.bfc", model="tiny", **options)
    assert not list(tmp_path.iterdir())


def test_lossless_keeps_every_pixel(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.bfc", model="tiny", lossless=True)
    with Image.open(tmp_path / "a.bfc") as image:
        assert np.array_equal(np.asarray(image), PIXELS)


def test_only_one_frame_is_saved(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.bfc", model="tiny", save_all=True)
    assert (tmp_path / "a.bfc").read_bytes() == stream(PIXELS)
    with pytest.raises(ValueError, match="2 frames do not fit"):
        image.save(tmp_path / "b.bfc", model="tiny", save_all=True, append_images=[image])
    with pytest.raises(ValueError, match="append_images is a int"):
        image.save(tmp_path / "b.bfc", model="tiny", save_all=True, append_images=3)


def test_sixteen_bits_are_saved_as_encode_codes_them() -> None:
    """Gray of 16 bits, in each way that Pillow holds it: the same bytes from the image and its file."""
    values = (np.arange(48 * 64, dtype=np.uint16) * 20).reshape(48, 64)
    files = {"pgm": b"P5 64 48 65535\n" + values.astype(">u2").tobytes()}
    for kind in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, kind)
        files[kind] = buffer.getvalue()
    wanted = stream(np.rint(values / 257).astype(np.uint8))
    for data in files.values():
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(data)) as image:
            with pytest.warns(PictureWarning, match="16 bits"):
                image.save(buffer, "BIFOCAL", model="tiny")
            with pytest.raises(OSError, match="strict=True"):
                image.save(io.BytesIO(), "BIFOCAL", model="tiny", strict=True)
        assert buffer.getvalue() == wanted
        with pytest.warns(PictureWarning, match="16 bits"):
            assert stream(bifocal.read_picture(io.BytesIO(data))) == wanted
        with Image.open(io.BytesIO(data)) as image, pytest.warns(PictureWarning):
            assert stream(image) == wanted


def test_saving_is_encoding(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.bfc", quality=33, model="tiny", tile=64)
    assert (tmp_path / "a.bfc").read_bytes() == bifocal.encode(PIXELS, 33, model="tiny", tile=64)
    Image.fromarray(PIXELS).save(tmp_path / "b.bfc", model="tiny")
    assert (tmp_path / "b.bfc").read_bytes() == stream(PIXELS)
    image = bifocal.to_pillow(KINDS["RGBA"])
    image.save(tmp_path / "c.bfc", model="tiny", size=2000)
    assert (tmp_path / "c.bfc").stat().st_size <= 2000
    weights = np.linspace(0, 1, 6300).reshape(70, 90)
    image.save(tmp_path / "d.bfc", model="tiny", effort=2, quality_map=weights)
    wanted = bifocal.encode(KINDS["RGBA"], model="tiny", effort=2, quality_map=weights)
    assert (tmp_path / "d.bfc").read_bytes() == wanted
