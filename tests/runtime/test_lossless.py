"""Tiles stored without loss: exact, checked, refused when damaged, known to the independent decoder."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import bifocal
from bifocal.errors import DamagedStream, LatentsError, OptionError, PictureError
from bifocal.pictures.lossless import decode_lossless, encode_lossless
from bifocal.runtime import encoding
from bifocal.runtime.model import Model
from bifocal.stream import container
from bifocal.stream.latents import unpack
from tests.conformance import spec_decoder
from tests.conftest import made_picture


def drawn(h: int, w: int) -> np.ndarray:
    """A chart: flat areas, hard edges, text."""
    image = Image.new("RGB", (w, h), "white")
    pen = ImageDraw.Draw(image)
    for k in range(9):
        pen.rectangle((12 * k, h - 9 * k, 12 * k + 8, h), fill=(200, 25 * k, 30))
        pen.text((5 * k, 11 * k), f"Bar {k}", fill=(0, 0, 255 - 20 * k))
    return np.asarray(image)


@pytest.mark.parametrize("gray", [False, True])
def test_every_pixel_comes_back(gray: bool) -> None:
    pixels = drawn(70, 90)[..., 0] if gray else drawn(70, 90)
    data = encode_lossless(pixels)
    assert np.array_equal(decode_lossless(data, 70, 90, gray=gray), pixels)
    with pytest.raises(PictureError, match="90×70 pixels, not 90×71"):
        decode_lossless(data, 71, 90, gray=gray)
    with pytest.raises(PictureError, match="above the limit"):
        decode_lossless(data, 60, 90, gray=gray)
    with pytest.raises(PictureError, match="cannot be read"):
        decode_lossless(data[:40], 70, 90, gray=gray)


def test_other_pixels_than_were_encoded_are_refused(tiny_model: Model) -> None:
    stream = container.read(bifocal.encode(drawn(64, 64), model=tiny_model, lossless=True))
    other = container.write(stream.header, {}, [(bytes(stream.payload(0)), 7)], [1])
    with pytest.raises(DamagedStream, match="tile 0 of 1, which is stored .* other pixels"):
        bifocal.decode(other)


def test_only_lossless_webp_is_opened() -> None:
    for kind, settings in (("WEBP", {"quality": 90}), ("PNG", {})):
        file = io.BytesIO()
        Image.fromarray(drawn(70, 90)).save(file, kind, **settings)
        with pytest.raises(PictureError, match="no lossless WebP file"):
            decode_lossless(file.getvalue(), 70, 90, gray=False)


@pytest.mark.parametrize("chunk", [b"", b"\1", b"\0\0", b"\0\2", b"\1\1\1"])
def test_codings_are_one_a_tile_and_known(chunk: bytes, tiny_model: Model) -> None:
    data = bifocal.encode(drawn(64, 128), model=tiny_model, tile=64, lossless=True)
    stream = container.read(data)
    tiles = [(bytes(stream.payload(k)), stream.tiles[k].latent_crc) for k in range(2)]
    assert container.write(stream.header, {}, tiles, [1, 1]) == data
    whole, wrong = (b"Code" + container.varint(len(part)) + part for part in (b"\1\1", chunk))
    crcs = [zlib.crc32(part).to_bytes(4, "little") for part in (whole, wrong)]
    with pytest.raises(DamagedStream, match="codings for 2 tiles"):
        container.read(data.replace(whole + crcs[0], wrong + crcs[1]))


def test_the_limit_of_pixels_of_the_program_is_not_ours(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = drawn(64, 128)
    data = bifocal.encode(pixels, model=tiny_model, lossless=True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(bifocal.decode(data).pixels, pixels)


def test_drawn_tiles_are_exact_and_photographed_ones_are_not(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = made_picture(128, 192).copy()
    pixels[:64, :64] = 255  # few bytes, whatever the model
    pixels[10:20, 10:30] = 200, 0, 0
    monkeypatch.setattr(encoding, "WORTH_OF_EXACT", 50.0)  # a random model's latents take few bytes, too
    data = bifocal.encode(pixels, 100, model=tiny_model, tile=64)
    info = bifocal.info(data)
    assert (info.lossless, info.tiles) == (1, 6)
    whole = bifocal.decode(data, model=tiny_model).pixels
    assert np.array_equal(whole[:64, :64], pixels[:64, :64])
    part = bifocal.decode(data, model=tiny_model, box=(30, 20, 130, 100)).pixels
    assert np.array_equal(part, whole[20:100, 30:130])
    half = bifocal.decode(data, model=tiny_model, scale="1/2").pixels
    means = pixels[:64, :64].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(half[:32, :32] - means).max() <= 0.5
    assert bifocal.info(bifocal.encode(pixels, 100, model=tiny_model, tile=64, lossless=False)).lossless == 0


def test_a_stored_picture_needs_no_model(tiny_model: Model) -> None:
    pixels = made_picture(40, 75)
    data = bifocal.encode(pixels, model=tiny_model, lossless=True)
    stream = container.read(data)
    header = replace(stream.header, fingerprint=bytes(8))
    tiles = [(bytes(stream.payload(0)), stream.tiles[0].latent_crc)]
    strange = container.write(header, {}, tiles, [1])
    assert np.array_equal(bifocal.decode(strange).pixels, pixels)
    assert np.array_equal(bifocal.decode(strange, scale=0.5).pixels[:, :37], _means(pixels)[:, :37])


def _means(pixels: np.ndarray) -> np.ndarray:
    sums = pixels[:, : pixels.shape[1] // 2 * 2].astype(int).reshape(20, 2, -1, 2, 3).sum((1, 3))
    return (sums + 2) // 4


def test_transparency_and_metadata_stay(tiny_model: Model) -> None:
    alpha = np.full((40, 75), 255, np.uint8)
    alpha[:9] = 90
    picture = bifocal.Picture(drawn(40, 75), {"xmp": b"<x/>"}, alpha)
    again = bifocal.decode(bifocal.encode(picture, model=tiny_model, lossless=True), model=tiny_model)
    assert again == picture


def test_options_that_contradict_exact_pixels_are_refused(tiny_model: Model) -> None:
    for options in ({"size": 900}, {"psnr": 40.0}):
        with pytest.raises(OptionError, match="leave out size and psnr"):
            bifocal.encode(drawn(64, 64), model=tiny_model, lossless=True, **options)
    with pytest.raises(OptionError, match="leave out the quality map"):
        everywhere = np.ones((64, 64))
        bifocal.encode(drawn(64, 64), model=tiny_model, lossless=True, quality_map=everywhere)
    with pytest.raises(PictureError, match="lossless refuses to round"):
        bifocal.encode(np.full((64, 64), 300, np.uint16), model=tiny_model, lossless=True)
    with pytest.raises(OptionError, match="say True or False"):
        bifocal.encode(drawn(64, 64), model=tiny_model, lossless=1)


def test_there_are_no_latents_to_unpack(tiny_model: Model) -> None:
    data = bifocal.encode(drawn(64, 64), model=tiny_model, lossless=True)
    with pytest.raises(LatentsError, match="holds pixels and no latents"):
        unpack(data, tiny_model.entropy, tiny_model.engine)


def test_the_independent_decoder_reads_the_codings(tiny_model: Model, tmp_path: Path) -> None:
    data = bifocal.encode(drawn(64, 128), model=tiny_model, tile=64, lossless=True)
    stream = spec_decoder.parse(data)
    assert [tile.coding for tile in stream.tiles] == [1, 1] and "Code" not in stream.metadata
    damaged = bytearray(data)
    damaged[-3] ^= 4
    with pytest.raises(spec_decoder.Refused):
        spec_decoder.parse(bytes(damaged))
    with pytest.raises(DamagedStream):
        bifocal.decode(bytes(damaged), model=tiny_model)
