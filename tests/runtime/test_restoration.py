"""Restoration filters in streams: they lower the error, and parts of a picture are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

import bifocal
from bifocal.errors import DamagedStream, PictureError
from bifocal.runtime import encoding, restoration
from bifocal.runtime.model import Model
from bifocal.stream import container
from tests.conftest import made_picture


@pytest.fixture(autouse=True)
def small_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is of wire id 1, whose streams have no filters outside of tests."""
    monkeypatch.setattr(encoding, "RESTORED", {1})
    monkeypatch.setattr(encoding, "REGION", ((128, 0.5), (64, 1.0)))
    monkeypatch.setattr(restoration, "WINDOW", 64)


def filters(data: bytes) -> int:
    return len(container.read(data).metadata.get("filt", b""))


@pytest.mark.parametrize(("effort", "tile"), [(1, 128), (2, 64)])
def test_filters_lower_the_error_for_their_bytes(tiny_model: Model, effort: int, tile: int) -> None:
    pixels = made_picture(130, 200)
    data = bifocal.encode(pixels, 60, model=tiny_model, effort=effort, tile=tile)
    stream = container.read(data)
    assert filters(data) > 12
    kept = {key: value for key, value in stream.metadata.items() if key != "filt"}
    tiles = [(bytes(stream.payload(n)), tile.latent_crc) for n, tile in enumerate(stream.tiles)]
    plain = container.write(stream.header, kept, tiles)
    cost = [
        8 * len(d)
        + tiny_model.price(60)
        / 3
        * np.square(bifocal.decode(d, model=tiny_model).pixels - pixels.astype(float)).sum()
        for d in (data, plain)
    ]
    assert cost[0] < cost[1]


def test_a_box_and_windows_give_the_pixels_of_the_whole(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bifocal.encode(made_picture(200, 330), 70, model=tiny_model, effort=1, tile=128)
    assert filters(data)
    whole = bifocal.decode(data, model=tiny_model).pixels
    box = 61, 3, 150, 135
    part = bifocal.decode(data, model=tiny_model, box=box).pixels
    assert np.array_equal(part, whole[box[1] : box[3], box[0] : box[2]])
    monkeypatch.setattr(Model, "window", lambda *_: (128, 64))
    in_windows = bifocal.decode(data, model=tiny_model).pixels
    assert np.abs(in_windows.astype(int) - whole).max() <= 1


def test_filters_are_no_metadata_and_gray_pictures_and_smaller_ones_decode(tiny_model: Model) -> None:
    data = bifocal.encode(made_picture(90, 130)[:, :, 0], 70, model=tiny_model, effort=1)
    assert filters(data)
    picture = bifocal.decode(data, model=tiny_model)
    assert picture.metadata == {} and picture.pixels.shape == (90, 130)
    assert bifocal.info(data).metadata == {}
    assert bifocal.decode(data, model=tiny_model, scale="1/2").pixels.shape == (45, 65)
    with pytest.raises(PictureError, match="filt"):
        bifocal.Picture(picture.pixels, {"filt": b""})


def test_no_effort_and_other_wire_ids_have_none(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = made_picture(90, 130)
    assert not filters(bifocal.encode(pixels, 70, model=tiny_model, effort=0))
    monkeypatch.setattr(encoding, "RESTORED", {2})
    assert not filters(bifocal.encode(pixels, 70, model=tiny_model, effort=1))


def test_a_damaged_filter_is_an_error(tiny_model: Model) -> None:
    data = bifocal.encode(made_picture(90, 130), 70, model=tiny_model, effort=1)
    stream = container.read(data)
    tiles = [(bytes(stream.payload(n)), tile.latent_crc) for n, tile in enumerate(stream.tiles)]
    with pytest.raises(DamagedStream, match="restoration"):
        bifocal.decode(container.write(stream.header, {"filt": b"\4\7"}, tiles), model=tiny_model)
