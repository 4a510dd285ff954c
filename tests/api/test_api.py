"""Encode and decode: any size, RGB and gray, arrays and images; bad options and bytes are our own errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import bifocal
from bifocal.errors import (
    LimitExceeded,
    ModelMissing,
    NotAStream,
    OptionError,
    OutputError,
    PictureError,
    StreamError,
)
from bifocal.runtime import model as runtime_model
from tests.conftest import made_picture


@pytest.mark.parametrize("size", [(1, 1), (1, 130), (130, 1), (63, 65), (64, 64), (200, 70)])
@pytest.mark.parametrize("gray", [False, True])
def test_any_size_round_trips(tiny_model: bifocal.Model, size: tuple[int, int], gray: bool) -> None:
    pixels = made_picture(*size)
    pixels = pixels[:, :, 0] if gray else pixels
    for quality in (1, 60, 100):
        data = bifocal.encode(pixels, quality, model=tiny_model)
        picture = bifocal.decode(data, model=tiny_model)
        assert picture.pixels.shape == pixels.shape and picture.pixels.dtype == np.uint8
        assert bifocal.encode(pixels, quality, model=tiny_model) == data


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([64, 128, 2048]), st.booleans())
def test_tiles_change_the_bytes_and_not_the_size(
    tiny_model: bifocal.Model, h: int, w: int, tile: int, gray: bool
) -> None:
    pixels = made_picture(h, w)
    pixels = pixels[:, :, 0] if gray else pixels
    data = bifocal.encode(pixels, 40, model=tiny_model, tile=tile)
    about = bifocal.info(data)
    assert (about.width, about.height, about.gray, about.tile) == (w, h, gray, tile)
    assert about.tiles == -(-h // tile) * -(-w // tile)
    assert bifocal.decode(data, model=tiny_model).pixels.shape == pixels.shape


def test_arrays_images_and_pictures_are_the_same_picture(tiny_model: bifocal.Model) -> None:
    pixels = made_picture(40, 50)
    data = bifocal.encode(pixels, model=tiny_model)
    assert bifocal.encode(Image.fromarray(pixels), model=tiny_model) == data
    assert bifocal.encode(bifocal.Picture(pixels), model=tiny_model) == data
    image = bifocal.to_pillow(bifocal.decode(data, model=tiny_model))
    assert image.size == (50, 40) and image.mode == "RGB"


def test_gray_costs_gray_and_comes_back_gray(tiny_model: bifocal.Model) -> None:
    gray = made_picture(64, 64)[:, :, 0]
    data = bifocal.encode(gray, model=tiny_model)
    assert bifocal.info(data).gray
    assert bifocal.decode(data, model=tiny_model).gray


def test_metadata_travels(tiny_model: bifocal.Model) -> None:
    picture = bifocal.Picture(made_picture(8, 8), {"icc": b"p" * 300})
    data = bifocal.encode(picture, model=tiny_model)
    assert bifocal.info(data).metadata == {"icc": 300}
    assert bifocal.decode(data, model=tiny_model).metadata == {"icc": b"p" * 300}


def test_info_tells_what_was_asked_for(tiny_model: bifocal.Model) -> None:
    about = bifocal.info(bifocal.encode(made_picture(40, 50), 33, model=tiny_model))
    assert (about.quality, about.tiles, about.wire_id, about.release) == (33, 1, 1, "0.1.0")
    assert about.fingerprint == tiny_model.entropy.fingerprint.hex()
    assert about.bpp == pytest.approx(8 * about.bytes / 2000)
    assert about.model is None  # the tiny model is not installed


@pytest.mark.parametrize("quality", [0, 101, 50.0, "60"])
def test_qualities_that_do_not_exist(tiny_model: bifocal.Model, quality: object) -> None:
    with pytest.raises(OptionError, match="quality"):
        bifocal.encode(made_picture(8, 8), quality, model=tiny_model)  # type: ignore[arg-type]
    assert bifocal.encode(made_picture(8, 8), np.int64(7), model=tiny_model)  # type: ignore[arg-type]


@pytest.mark.parametrize("tile", [0, 63, 100, -64, 1 << 20])
def test_tiles_that_do_not_exist(tiny_model: bifocal.Model, tile: int) -> None:
    with pytest.raises(OptionError, match="tile"):
        bifocal.encode(made_picture(8, 8), model=tiny_model, tile=tile)


def test_bad_bytes_are_stream_errors(tiny_model: bifocal.Model) -> None:
    data = bifocal.encode(made_picture(80, 80), model=tiny_model)
    with pytest.raises(NotAStream):
        bifocal.decode(b"\xff\xd8\xff\xe0 JFIF", model=tiny_model)
    with pytest.raises(StreamError):
        bifocal.decode(b"", model=tiny_model)
    for cut in range(0, len(data), 7):
        with pytest.raises(StreamError):
            bifocal.decode(data[:cut], model=tiny_model)
    with pytest.raises(LimitExceeded, match=r"Limits\.pixels"):
        bifocal.decode(data, model=tiny_model, limits=bifocal.Limits(pixels=100))
    with pytest.raises(OptionError, match="decode_file"):
        bifocal.decode("photo.bfc")  # type: ignore[arg-type]


def test_a_stream_finds_its_model_by_fingerprint(
    tiny_model: bifocal.Model, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_model, "MODELS", tmp_path)
    data = bifocal.encode(made_picture(30, 30), model=tiny_model)
    with pytest.raises(ModelMissing, match=r"Bifocal 0\.1\.0 has it"):
        bifocal.decode(data)
    shutil.copytree(tiny_folder, tmp_path / "any-name")
    assert bifocal.decode(data) == bifocal.decode(data, model=tiny_model)
    assert bifocal.info(data).model == "tiny"


def test_files(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(30, 50)), tmp_path / "a.png")
    about = bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", 70, model=tiny_model)
    assert about.bytes == (tmp_path / "a.bfc").stat().st_size
    picture = bifocal.decode_file(tmp_path / "a.bfc", tmp_path / "b.png", model=tiny_model)
    assert bifocal.read_picture(tmp_path / "b.png") == picture
    assert bifocal.decode_file(tmp_path / "a.bfc", model=tiny_model) == picture
    with pytest.raises(OutputError, match="never overwritten"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "." / "a.png", model=tiny_model)
    with pytest.raises(PictureError):
        bifocal.encode_file(tmp_path / "a.bfc", tmp_path / "c.bfc", model=tiny_model)
    assert not (tmp_path / "c.bfc").exists()
