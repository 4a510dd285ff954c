"""Alpha comes back exactly, tile by tile, as a PNG that others read; what is not one is refused unopened."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bifocal.errors import DamagedStream, LimitExceeded, OptionError, StreamError
from bifocal.stream import container
from bifocal.stream.chunks.alpha import decode_alpha, encode_alpha
from bifocal.stream.container import Header, tile_grid, varint
from bifocal.stream.limits import Limits, Reader, largest_alpha_chunk
from tests.conformance.spec_alpha import read_alpha


def made_alpha(height: int, width: int, kind: str = "soft", *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    radius = min(height, width) / 2.3
    edge = 1 if kind == "mask" else 40
    reach = (radius - np.hypot(rows - height / 2, columns - width / 2)) * 255 / edge
    return np.clip(reach, 0, 255).astype(np.uint8)


def stream_of(alpha: np.ndarray, tile: int, *, chunk: bytes | None = None) -> bytes:
    height, width = alpha.shape
    header = Header(1, b"model-id", (0, 1, 0), width, height, False, 60, tile)
    tiles = [(b"payload", 7)] * len(tile_grid(width, height, tile))
    return container.write(header, {"alph": encode_alpha(alpha, tile) if chunk is None else chunk}, tiles)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([64, 128, 2048]),
    st.sampled_from(["soft", "mask", "noise"]),
    st.data(),
)
def test_alpha_comes_back_exactly_in_whole_and_in_boxes(
    h: int, w: int, tile: int, kind: str, data: st.DataObject
) -> None:
    alpha = made_alpha(h, w, kind)
    alpha[0, 0] = 254
    chunk = encode_alpha(alpha, tile)
    assert np.array_equal(decode_alpha(chunk, w, h, tile), alpha)
    left, top = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    right, bottom = data.draw(st.integers(left + 1, w)), data.draw(st.integers(top + 1, h))
    part = decode_alpha(chunk, w, h, tile, (left, top, right, bottom))
    assert np.array_equal(part, alpha[top:bottom, left:right])
    assert len(chunk) <= largest_alpha_chunk(w, h, tile)


@pytest.mark.parametrize("kind", ["soft", "mask", "noise"])
def test_the_decoder_written_from_the_specification_agrees(kind: str) -> None:
    alpha = made_alpha(130, 200, kind)
    alpha[64:, 128:] = 255  # tiles of size 0, too
    assert read_alpha(stream_of(alpha, 64)) == alpha.tolist()


def test_an_opaque_picture_has_no_chunk_and_an_opaque_tile_costs_a_byte() -> None:
    alpha = np.full((64, 640), 255, np.uint8)
    assert encode_alpha(alpha, 64) == b""
    alpha[5, 5] = 0
    chunk = encode_alpha(alpha, 64)
    assert chunk.endswith(b"\0" * 9) and np.array_equal(decode_alpha(chunk, 640, 64, 64), alpha)


def test_a_tile_is_a_png_that_others_read() -> None:
    alpha = made_alpha(70, 50)
    reader = Reader(encode_alpha(alpha, 128))
    png = reader.take(reader.varint(1 << 20, "size"), "png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), alpha)


def test_a_box_opens_only_its_own_tiles() -> None:
    alpha = made_alpha(128, 128, "noise")
    chunk = bytearray(encode_alpha(alpha, 64))
    chunk[-20] ^= 0xFF  # inside the last tile
    assert np.array_equal(decode_alpha(chunk, 128, 128, 64, (0, 0, 128, 64)), alpha[:64])
    with pytest.raises(DamagedStream):
        decode_alpha(chunk, 128, 128, 64)


def test_big_alpha_is_not_metadata() -> None:
    """Sixteen megabytes of limit are for colour profiles and the like; noise is honest alpha."""
    alpha = made_alpha(64, 300, "noise")
    data = stream_of(alpha, 64)
    parsed = container.read(data, Limits(metadata_bytes=10))
    assert np.array_equal(decode_alpha(parsed.metadata["alph"], 300, 64, 64), alpha)


def test_a_chunk_larger_than_any_alpha_of_its_picture_is_refused() -> None:
    room = largest_alpha_chunk(3, 2, 64)
    alpha = np.zeros((2, 3), np.uint8)
    assert container.read(stream_of(alpha, 64, chunk=bytes(room)))
    with pytest.raises(LimitExceeded, match="size of alpha"):
        container.read(stream_of(alpha, 64, chunk=bytes(room + 1)))


def test_more_metadata_than_readers_open_is_not_written() -> None:
    header = Header(1, b"model-id", (0, 1, 0), 8, 8, False, 60, 64)
    with pytest.raises(OptionError, match=r"16777217 bytes of metadata \(exif, icc\)"):
        container.write(header, {"icc": bytes(1 << 24), "exif": b"1"}, [(b"payload", 7)])


def png_of(
    rows: bytes,
    width: int,
    height: int,
    *,
    depth: int = 8,
    colour: int = 0,
    after: bytes = b"",
    level: int = 6,
) -> bytes:
    def chunk(name: bytes, value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))

    size = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(rows, level) + after
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


GOOD = bytes([0, 1, 2, 3, 2, 4, 5, 6])


@pytest.mark.parametrize(
    "png",
    [
        png_of(GOOD, 3, 2)[:-1],
        png_of(GOOD, 3, 2)[:20],
        png_of(GOOD, 3, 2) + b"x",
        png_of(GOOD, 3, 2).replace(b"IHDR", b"IHDX"),
        png_of(GOOD, 2, 3),  # another size
        png_of(GOOD, 3, 2, depth=16),
        png_of(GOOD, 3, 2, colour=2),
        png_of(GOOD + b"\0", 3, 2),  # more rows than declared
        png_of(GOOD[:-1], 3, 2),
        png_of(bytes([3, *GOOD[1:]]), 3, 2),  # Average
        png_of(bytes([4, *GOOD[1:]]), 3, 2),  # Paeth
        png_of(GOOD, 3, 2, after=b"\0"),
        b"\x89PNG",
        b"x",
    ],
)
def test_what_is_no_plain_png_of_the_tile_is_damaged(png: bytes) -> None:
    assert decode_alpha(varint(len(png_of(GOOD, 3, 2))) + png_of(GOOD, 3, 2), 3, 2, 64)[1].tolist() == [
        5,
        7,
        9,
    ]
    with pytest.raises(DamagedStream):
        decode_alpha(varint(len(png)) + png, 3, 2, 64)


@pytest.mark.parametrize("chunk", [b"", b"\x80\x00", b"\x05", b"\0\0", varint(1 << 20) + bytes(1 << 20)])
def test_bad_framing_is_a_stream_error(chunk: bytes) -> None:
    with pytest.raises(StreamError):
        decode_alpha(chunk, 3, 2, 64)


def test_a_bomb_is_refused_before_it_has_grown() -> None:
    """16 MiB of zeros in 16 kB: not one byte more than the tile has is inflated."""
    bomb = png_of(bytes(1 << 24), 128, 128, level=9)
    assert len(bomb) < 17_000
    with pytest.raises(DamagedStream, match="does not inflate to 16512 bytes"):
        decode_alpha(varint(len(bomb)) + bomb, 128, 128, 128)


def test_a_changed_byte_never_passes_unseen() -> None:
    alpha = made_alpha(40, 40)
    good = encode_alpha(alpha, 64)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        with pytest.raises(StreamError):
            decode_alpha(bad, 40, 40, 64)
