"""HEIC, through pillow-heif where it is installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import PictureError, PictureWarning
from bifocal.pictures.formats import is_picture_name
from bifocal.pictures.reading import read_picture
from tests.conftest import made_picture
from tests.promises.test_pictures import made_exif

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
PIXELS = made_picture(12, 16)


class Stored:
    """One picture of a file, as pillow-heif gives it."""

    def __init__(self, pixels: np.ndarray, bits: int = 8, multiplied: bool = False, **info: bytes) -> None:
        self.pixels, self.premultiplied_alpha = pixels, multiplied
        self.info: dict[str, Any] = {"bit_depth": bits, "exif": None, **info}
        self.size = pixels.shape[1], pixels.shape[0]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.pixels.__array_interface__


class File(list[Stored]):
    primary_index = 0

    @property
    def size(self) -> tuple[int, int]:
        return self[0].size


def installed(monkeypatch: pytest.MonkeyPatch, *pictures: Stored) -> None:
    """As if pillow-heif were installed, and any file held these pictures."""
    module = ModuleType("pillow_heif")
    module.open_heif = lambda file, convert_hdr_to_8bit: File(pictures)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", module)


def test_without_pillow_heif_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    with pytest.raises(PictureError, match=r"IMG_1\.HEIC: .*pip install pillow-heif"):
        read_picture(tmp_path / "IMG_1.HEIC")
    assert is_picture_name(tmp_path / "IMG_1.HEIC")


def test_pixels_are_upright_already_and_metadata_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = made_exif(6)
    installed(monkeypatch, Stored(PIXELS, exif=b"Exif\0\0" + exif, xmp=b"<x/>", icc_profile=b"profile"))
    picture = read_picture(io.BytesIO(HEIC))
    assert np.array_equal(picture.pixels, PIXELS)
    assert picture.metadata == {"exif": exif, "xmp": b"<x/>", "icc": b"profile"}
    with pytest.raises(PictureError, match="above the limit of 191"):
        read_picture(io.BytesIO(HEIC), max_pixels=191)


@pytest.mark.parametrize("bits", [10, 12])
def test_more_bits_are_rounded(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0, (1 << bits) - 1, 12 * 16).astype(np.uint16).reshape(12, 16)
    installed(monkeypatch, Stored(values << 16 - bits, bits))
    with pytest.warns(PictureWarning, match=f"{bits} bits a channel"):
        picture = read_picture(io.BytesIO(HEIC))
    exact = values.astype(float) * 255 / ((1 << bits) - 1)
    assert np.abs(picture.pixels - exact).max() < 0.51 and picture.pixels.max() == 255
    with pytest.raises(PictureError, match="strict"):
        read_picture(io.BytesIO(HEIC), strict=True)


def test_multiplied_alpha_is_divided_out(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.full((12, 16, 1), 100, np.uint8)
    multiplied = np.rint(PIXELS * (100 / 255)).astype(np.uint8)
    installed(monkeypatch, Stored(np.concatenate([multiplied, alpha], 2), multiplied=True))
    picture = read_picture(io.BytesIO(HEIC))
    assert picture.alpha is not None and (picture.alpha == 100).all()
    assert np.abs(picture.pixels.astype(int) - PIXELS).max() <= 2


def test_several_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Stored(PIXELS), Stored(PIXELS))
    with pytest.raises(PictureError, match="it holds 2 pictures"):
        read_picture(io.BytesIO(HEIC))


@pytest.mark.parametrize("turned", [False, True])
def test_a_real_file_is_read(turned: bool) -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    exif = b"Exif\0\0" + made_exif(6 if turned else 1)
    heif.from_pillow(Image.fromarray(PIXELS)).save(buffer, quality=-1, chroma=444, exif=exif)
    picture = read_picture(buffer)
    upright = np.rot90(PIXELS, -1) if turned else PIXELS
    assert np.abs(picture.pixels.astype(int) - upright).max() <= 3
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(PictureError):
            read_picture(io.BytesIO(buffer.getvalue()[: int(part * len(buffer.getvalue()))]))
