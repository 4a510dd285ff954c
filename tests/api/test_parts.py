"""Boxes and scales: the pixels of the whole, from the tiles that matter, in memory or in a file."""

from __future__ import annotations

import io
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bifocal
from bifocal.errors import DamagedStream, ModelError, OptionError, StreamError
from bifocal.runtime import model as runtime_model
from bifocal.stream import container
from tests.conftest import made_picture


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows so small that pictures of a test need several; the tiny model's networks reach 16 pixels."""
    monkeypatch.setattr(runtime_model, "CORE", 64)
    monkeypatch.setattr(runtime_model, "HALO", dict.fromkeys(runtime_model.HALO, 16))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 260),
    st.integers(1, 260),
    st.sampled_from([64, 128, 2048]),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_a_box_holds_the_pixels_of_the_whole(
    tiny_model: bifocal.Model,
    small_windows: None,
    h: int,
    w: int,
    tile: int,
    reduction: int,
    gray: bool,
    transparent: bool,
    data: st.DataObject,
) -> None:
    pixels = made_picture(h, w)
    alpha = np.random.default_rng(w).integers(0, 256, (h, w), dtype=np.uint8) if transparent else None
    made = bifocal.Picture(pixels[:, :, 0] if gray else pixels, alpha=alpha)
    stream = bifocal.encode(made, 40, model=tiny_model, tile=tile)
    scale = Fraction(1, reduction)
    whole = bifocal.decode(stream, model=tiny_model, scale=scale)
    assert whole.pixels.shape[:2] == (-(-h // reduction), -(-w // reduction))
    (left, right), (top, bottom) = (
        sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
        for size in (w, h)
    )
    part = bifocal.decode(stream, model=tiny_model, box=(left, top, right, bottom), scale=scale)
    rows = slice(top // reduction, -(-bottom // reduction))
    columns = slice(left // reduction, -(-right // reduction))
    assert np.array_equal(part.pixels, whole.pixels[rows, columns])
    assert (part.alpha is None) == (alpha is None or bool((alpha == 255).all()))
    if part.alpha is not None and whole.alpha is not None:
        assert np.array_equal(part.alpha, whole.alpha[rows, columns])


@pytest.mark.parametrize("reduction", [2, 4, 8, 16])
def test_a_smaller_picture_is_the_average_of_the_full_one(tiny_model: bifocal.Model, reduction: int) -> None:
    h, w = 192, 320
    stream = bifocal.encode(made_picture(h, w), 90, model=tiny_model)
    full = bifocal.decode(stream, model=tiny_model).pixels.astype(float)
    small = bifocal.decode(stream, model=tiny_model, scale=1 / reduction)
    mean = full.reshape(h // reduction, reduction, w // reduction, reduction, 3).mean(axis=(1, 3))
    assert np.abs(small.pixels - mean).mean() < 8
    assert small.metadata == {}


def test_only_the_smallest_scale_stops_after_the_low_groups(tiny_folder: Path) -> None:
    model = bifocal.Model.load(tiny_folder, threads=1)
    stream = bifocal.encode(made_picture(64, 64), model=model)
    for scale, last in ((1 / 8, 1), (1 / 16, 0)):
        model.engine.layers_run.clear()
        bifocal.decode(stream, model=model, scale=scale)
        assert model.engine.layers_run["predict.0.0"] == 1
        assert model.engine.layers_run["predict.5.0"] == last


def damage_tiles(stream: bytes, *spared: int) -> bytes:
    parsed, damaged = container.read(stream), bytearray(stream)
    for number, tile in enumerate(parsed.tiles):
        if number not in spared:
            damaged[tile.offset] ^= 0xFF
    return bytes(damaged)


def test_damage_elsewhere_does_not_reach_a_box(tiny_model: bifocal.Model, small_windows: None) -> None:
    stream = bifocal.encode(made_picture(320, 320), model=tiny_model, tile=64)
    box = (90, 90, 100, 100)  # in tile 6, whose halo of 16 pixels touches the eight around it
    whole = bifocal.decode(stream, model=tiny_model)
    damaged = damage_tiles(stream, 0, 1, 2, 5, 6, 7, 10, 11, 12)
    part = bifocal.decode(damaged, model=tiny_model, box=box)
    assert np.array_equal(part.pixels, whole.pixels[90:100, 90:100])
    with pytest.raises(DamagedStream, match="tile 3 of 25"):
        bifocal.decode(damaged, model=tiny_model)
    with pytest.raises(DamagedStream, match="tile 6 of 25"):
        bifocal.decode(damage_tiles(stream, 0, 1, 2, 5), model=tiny_model, box=(64, 64, 65, 65))


@pytest.mark.parametrize("scale", [1 / 2, 1 / 16])
def test_a_damaged_tile_is_found_at_every_scale(tiny_model: bifocal.Model, scale: float) -> None:
    stream = bifocal.encode(made_picture(64, 64), model=tiny_model)
    with pytest.raises(DamagedStream):
        bifocal.decode(damage_tiles(stream), model=tiny_model, scale=scale)


def test_a_file_is_read_where_it_is_needed(
    tiny_model: bifocal.Model, small_windows: None, tmp_path: Path
) -> None:
    path = tmp_path / "a.bfc"
    stream = bifocal.encode(made_picture(256, 256), 95, model=tiny_model, tile=64)
    path.write_bytes(stream)
    box = (10, 10, 40, 40)
    part = bifocal.decode(stream, model=tiny_model, box=box)
    assert bifocal.decode_file(path, tmp_path / "a.png", model=tiny_model, box=box) == part
    assert bifocal.read_picture(tmp_path / "a.png") == part
    with path.open("rb") as file:
        assert bifocal.info(file) == bifocal.info(stream)
        assert bifocal.decode(file, model=tiny_model) == bifocal.decode(stream, model=tiny_model)
    ranges: list[tuple[int, int]] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            ranges.append((self.tell(), size or 0))
            return super().read(size)

    assert bifocal.decode(Counted(stream), model=tiny_model, box=box) == part
    tiles = container.read(stream).tiles
    needed = {tiles[0].offset, tiles[1].offset, tiles[4].offset, tiles[5].offset}
    assert {start for start, _ in ranges if start >= tiles[0].offset} == needed


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 51, 10),
        (-1, 0, 5, 5),
        (5, 0, 5, 5),
        (6, 0, 5, 5),
        (0, 0, 5, 41),
        (0, 0, 5),
        (0.5, 0, 5, 5),
        7,
        "abcd",
    ],
)
def test_boxes_outside_the_picture_are_refused(tiny_model: bifocal.Model, box: object) -> None:
    stream = bifocal.encode(made_picture(40, 50), model=tiny_model)
    with pytest.raises(OptionError, match="box"):
        bifocal.decode(stream, model=tiny_model, box=box)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scale", [0, 2, -1, 0.3, 1 / 3, 1 / 32, True, "1/3", "half", "1e-999999999", "", None]
)
def test_scales_that_do_not_exist_are_refused(tiny_model: bifocal.Model, scale: object) -> None:
    stream = bifocal.encode(made_picture(40, 50), model=tiny_model)
    with pytest.raises(OptionError, match="scale"):
        bifocal.decode(stream, model=tiny_model, scale=scale)  # type: ignore[arg-type]


def test_a_model_without_small_networks_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    shutil.copytree(tiny_folder, folder)
    for name in ("half", "thumb"):
        (folder / f"{name}.onnx").unlink()
    model = bifocal.Model.load(folder, threads=1)
    stream = bifocal.encode(made_picture(40, 50), model=model)
    assert bifocal.decode(stream, model=model).width == 50
    for scale in (1 / 2, 1 / 8, 1 / 16):
        with pytest.raises(ModelError, match="cannot decode at this scale"):
            bifocal.decode(stream, model=model, scale=scale)


@pytest.mark.parametrize("size", [(2, 9000), (9000, 2), (1, 4096), (65, 3000)])
@pytest.mark.parametrize("tile", [64, 2048, 1 << 15])
def test_strips_of_any_length(tiny_model: bifocal.Model, size: tuple[int, int], tile: int) -> None:
    pixels = made_picture(*size)
    stream = bifocal.encode(pixels, 80, model=tiny_model, tile=tile)
    whole = bifocal.decode(stream, model=tiny_model)
    assert np.abs(whole.pixels.astype(int) - pixels).mean() < 25
    h, w = size
    box = (w // 2, h // 2, w, h)
    assert np.array_equal(
        bifocal.decode(stream, model=tiny_model, box=box).pixels, whole.pixels[h // 2 :, w // 2 :]
    )


def test_what_is_no_stream_is_refused(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="decode_file"):
        bifocal.decode(tmp_path / "a.bfc", model=tiny_model)  # type: ignore[arg-type]
    with pytest.raises(StreamError):
        bifocal.decode(io.BytesIO(b"not a stream"), model=tiny_model)
