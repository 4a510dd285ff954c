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


@pytest.mark.parametrize("quality", [0, 101, 50.0, "60", True])
def test_qualities_that_do_not_exist(tiny_model: bifocal.Model, quality: object) -> None:
    with pytest.raises(OptionError, match="quality"):
        bifocal.encode(made_picture(8, 8), quality, model=tiny_model)  # type: ignore[arg-type]
    assert bifocal.encode(made_picture(8, 8), np.int64(7), model=tiny_model)  # type: ignore[arg-type]


@pytest.mark.parametrize("tile", [0, 63, 100, -64, 1 << 20, 64.0, "64", True, None])
def test_tiles_that_do_not_exist(tiny_model: bifocal.Model, tile: object) -> None:
    with pytest.raises(OptionError, match="tile"):
        bifocal.encode(made_picture(8, 8), model=tiny_model, tile=tile)  # type: ignore[arg-type]


def test_true_is_not_a_number_of_anything(tiny_model: bifocal.Model) -> None:
    pixels = made_picture(8, 8)
    for name in ("effort", "size", "psnr"):
        with pytest.raises(OptionError, match=name):
            bifocal.encode(pixels, model=tiny_model, **{name: True})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="box"):
        bifocal.decode(bifocal.encode(pixels, model=tiny_model), model=tiny_model, box=(False, 0, 8, 8))


def test_a_path_is_not_a_picture_but_the_message_says_what_takes_one() -> None:
    for path in ("photo.jpg", Path("photo.jpg")):
        with pytest.raises(PictureError, match="encode_file"):
            bifocal.encode(path)  # type: ignore[arg-type]


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
    (tmp_path / "circle.bfc").symlink_to("circle.bfc")
    with pytest.raises(OutputError, match="cannot be written"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "circle.bfc", model=tiny_model)
    with pytest.raises(PictureError):
        bifocal.encode_file(tmp_path / "a.bfc", tmp_path / "c.bfc", model=tiny_model)
    assert not (tmp_path / "c.bfc").exists()


def test_a_file_is_never_replaced_unasked(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    photo, stream, other = (tmp_path / name for name in ("a.png", "a.bfc", "b.png"))
    bifocal.write_picture(bifocal.Picture(made_picture(30, 50)), photo)
    for path in (stream, other):
        path.write_bytes(b"somebody's only copy")
    for refused in (
        lambda: bifocal.encode_file(photo, stream, model=tiny_model),
        lambda: bifocal.decode_file(stream, other, model=tiny_model),
    ):
        with pytest.raises(OutputError, match="exists already.*overwrite=True"):
            refused()
    assert stream.read_bytes() == other.read_bytes() == b"somebody's only copy"
    about = bifocal.encode_file(photo, stream, model=tiny_model, overwrite=True)
    assert about.bytes == stream.stat().st_size
    bifocal.decode_file(stream, other, model=tiny_model, overwrite=True)
    assert bifocal.read_picture(other).width == 50


def test_metadata_is_stripped_or_replaced_on_request(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    own = {"icc": b"profile", "xmp": b"<x/>", "exif": b"II*\0"}
    picture = bifocal.Picture(made_picture(8, 8), own, np.full((8, 8), 9, np.uint8))

    def kept(**options: object) -> dict[str, bytes]:
        data = bifocal.encode(picture, model=tiny_model, **options)  # type: ignore[arg-type]
        back = bifocal.decode(data, model=tiny_model)
        assert back.alpha is not None and back.alpha.max() == 9
        return dict(back.metadata)

    assert kept() == own
    assert kept(strip="all") == {} and kept(metadata={}) == {}
    assert kept(strip=["exif", "icc"]) == {"xmp": b"<x/>"}
    assert kept(metadata={"note": b"new"}) == {"note": b"new"}
    assert kept(metadata={"note": b"new", "xmp": b"<y/>"}, strip="xmp") == {"note": b"new"}
    for wrong in ({"strip": "colours"}, {"metadata": {"NOTE": b""}}, {"metadata": {"xmp": "text"}}):
        with pytest.raises(bifocal.BifocalError):
            kept(**wrong)
    bifocal.write_picture(bifocal.Picture(made_picture(8, 8), {"icc": b"profile"}), tmp_path / "a.png")
    about = bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model, strip="all")
    assert about.metadata == {}


def test_how_large_a_picture_file_may_be_is_asked_of_the_caller(
    tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(30, 50)), tmp_path / "a.png")
    with pytest.raises(PictureError, match="max_pixels"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model, max_pixels=1499)
    assert not (tmp_path / "a.bfc").exists()
    bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model, max_pixels=1500)


@pytest.mark.parametrize("scale", ["1/2", " 0.5 ", ".5", 0.5, np.float32(0.5)])
def test_a_scale_may_be_text(tiny_model: bifocal.Model, scale: str | float) -> None:
    data = bifocal.encode(made_picture(40, 50), model=tiny_model)
    assert bifocal.decode(data, model=tiny_model, scale=scale).pixels.shape == (20, 25, 3)


def test_representations_are_short(tiny_model: bifocal.Model) -> None:
    about = bifocal.info(bifocal.encode(made_picture(40, 50), 33, model=tiny_model))
    for thing in (tiny_model, about, bifocal.Head.load("imagenette")):
        assert len(repr(thing)) < 120 and repr(thing).startswith(f"<bifocal.{type(thing).__name__} ")
    assert "50×40" in repr(about) and "quality 33" in repr(about) and "tiny" in repr(tiny_model)


@pytest.mark.parametrize("wrong", [7, b"name", [], object()])
def test_arguments_of_no_use_at_all_are_our_own_errors(tiny_model: bifocal.Model, wrong: object) -> None:
    pixels = made_picture(8, 8)
    data = bifocal.encode(pixels, model=tiny_model)
    for refused in (
        lambda: bifocal.encode(pixels, model=wrong),  # type: ignore[arg-type]
        lambda: bifocal.encode(pixels, metadata=wrong),  # type: ignore[arg-type]
        lambda: bifocal.decode(data, model=wrong),  # type: ignore[arg-type]
        lambda: bifocal.decode(data, model=tiny_model, backend=wrong),  # type: ignore[arg-type]
        lambda: bifocal.decode(data, model=tiny_model, limits=wrong),  # type: ignore[arg-type]
        lambda: bifocal.analyse(data, model=tiny_model, head=wrong),  # type: ignore[arg-type]
        lambda: bifocal.Limits(pixels=[wrong]),  # type: ignore[arg-type]
    ):
        with pytest.raises(bifocal.BifocalError):
            refused()
    for path in (7, None, "a\0b", []):
        with pytest.raises(OptionError, match="source|target"):
            bifocal.encode_file(path, "x.bfc")  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="source|target"):
            bifocal.encode_file("a.png", path)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="source"):
            bifocal.decode_file(path)  # type: ignore[arg-type]
