"""Captions in streams: what they may be, and that damage in one costs nothing else."""

from __future__ import annotations

import zlib

import pytest

import bifocal
from bifocal.errors import DamagedStream, OptionError, PictureError, PictureWarning
from bifocal.stream import container
from bifocal.stream.chunks.caption import decode_caption, encode_caption
from bifocal.types import MAX_CAPTION, Caption
from tests.conftest import made_picture


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a cup \r\n\ton a table ", "a cup on a table"),
        ("bell\x07 and \x1b[31mred\x1b[0m\x9b2J", "bell and [31mred[0m2J"),
        ("half \ud83d pair", "half pair"),
        ("кот и 猫 قط", "кот и 猫 قط"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
    ],
)
def test_a_caption_is_one_line_of_clean_text(text: str, clean: str) -> None:
    caption = Caption.of(text, "zh-Hant")
    assert caption.text == clean
    assert decode_caption(encode_caption(caption)) == caption


@pytest.mark.parametrize(
    ("text", "language", "why"),
    [
        ("", "", "empty"),
        (" \x00\n", "", "empty"),
        ("x" * (MAX_CAPTION + 1), "", "65537 bytes"),
        ("ü" * 2_000_000, "", "Shorten it"),
        ("x", "en us", "no language tag"),
        ("x", "e" * 36, "no language tag"),
    ],
)
def test_what_is_no_caption_is_refused(text: str, language: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        Caption.of(text, language)


@pytest.mark.parametrize(
    "chunk",
    [
        b"",
        b"\0",
        b"\2\0text",
        b"\0\5en",
        b"\0\2entext\xff",
        b"\0\0",
        b"\0\0 \t",
        b"\0\0a\x1b[2J",
        b"\0\2??text",
        b"\1\0text",
        b"\1\0" + zlib.compress(b"text")[:-1],
        b"\1\0" + zlib.compress(b"text") + b"x",
        b"\1\0" + zlib.compress(bytes(10_000_000)),
    ],
)
def test_a_chunk_that_is_no_caption_costs_the_caption_alone(tiny_model: bifocal.Model, chunk: bytes) -> None:
    with pytest.raises(DamagedStream):
        decode_caption(chunk)
    data = bifocal.encode(made_picture(40, 60), model=tiny_model)
    stream = container.read(data)
    tiles = [(bytes(stream.payload(k)), tile.latent_crc) for k, tile in enumerate(stream.tiles)]
    damaged = container.write(stream.header, {"capt": chunk}, tiles)
    with pytest.warns(PictureWarning, match="left out"):
        assert bifocal.decode(damaged, model=tiny_model) == bifocal.decode(data, model=tiny_model)
    with pytest.warns(PictureWarning, match="left out"):
        assert bifocal.info(damaged).caption is None


def test_a_picture_opens_whatever_bit_of_its_caption_is_flipped(tiny_model: bifocal.Model) -> None:
    data = bifocal.encode(made_picture(40, 60), model=tiny_model, caption="a red cup", strip="all")
    plain = bifocal.decode(bifocal.encode(made_picture(40, 60), model=tiny_model), model=tiny_model)
    at = data.index(b"a red cup")
    for place in (at - 1, at, at + 8, at + 10):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.warns(PictureWarning, match="damaged and is left out"):
            assert bifocal.decode(bytes(damaged), model=tiny_model) == plain


def test_a_caption_goes_with_its_picture(tiny_model: bifocal.Model) -> None:
    picture = bifocal.Picture(made_picture(40, 60), {"xmp": b"<x/>"}, caption=bifocal.Caption("Tasse", "de"))
    for caption, strip, kept in (
        (None, (), "Tasse"),
        ("a cup", (), "a cup"),
        (None, "caption", None),
        (None, "all", None),
        ("a cup", "all", "a cup"),
    ):
        data = bifocal.encode(picture, 50, model=tiny_model, caption=caption, strip=strip)
        for found in (bifocal.decode(data, model=tiny_model).caption, bifocal.info(data).caption):
            assert (found and found.text) == kept
    assert bifocal.info(bifocal.encode(picture, model=tiny_model)).metadata == {"capt": 9, "xmp": 4}
    with pytest.raises(PictureError, match="taken"):
        bifocal.Picture(made_picture(8, 8), {"capt": b"x"})
    with pytest.raises(PictureError, match=r"bifocal\.Caption"):
        bifocal.Picture(made_picture(8, 8), caption="x")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="give text"):
        bifocal.encode(picture, caption=b"x", model=tiny_model)  # type: ignore[arg-type]
