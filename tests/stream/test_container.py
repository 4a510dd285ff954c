"""Header, chunks and index: what is written is read, and what is not sound is refused before any work."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.errors import (
    BifocalError,
    DamagedStream,
    LimitExceeded,
    NotAStream,
    OptionError,
    TruncatedStream,
    UnsupportedStream,
)
from bifocal.stream import container
from bifocal.stream.container import Header, tile_grid, varint
from bifocal.stream.limits import MAX_SIDE, Limits, Reader

HEADER = Header(1, b"model-id", (0, 1, 0), 768, 512, False, 60, 2048)

headers = st.builds(
    Header,
    wire_id=st.integers(0, 2**32 - 1),
    fingerprint=st.binary(min_size=8, max_size=8),
    release=st.tuples(*[st.integers(0, 255)] * 3),
    width=st.integers(1, 1000),
    height=st.integers(1, 1000),
    gray=st.booleans(),
    quality=st.integers(1, 100),
    tile=st.integers(1, 32).map(lambda t: 64 * t),
)
keys = st.from_regex("[a-z][a-z0-9]{0,3}", fullmatch=True)


def one_tile(header: Header = HEADER, metadata: dict[str, bytes] | None = None) -> bytes:
    return container.write(header, metadata or {}, [(b"payload", 7)])


@given(headers, st.dictionaries(keys, st.binary(max_size=200), max_size=5), st.data())
@settings(deadline=None)
def test_what_is_written_is_read(header: Header, metadata: dict[str, bytes], data: st.DataObject) -> None:
    grid = tile_grid(header.width, header.height, header.tile)
    seed = data.draw(st.integers(0, 255))
    tiles = [(bytes([seed, i % 256]) * (1 + i % 300), i * 7) for i in range(len(grid))]
    stream = container.write(header, metadata, tiles)
    box = container.read(stream)
    assert box.header == header
    assert dict(box.metadata) == metadata
    assert [(bytes(box.payload(i)), tile.latent_crc) for i, tile in enumerate(box.tiles)] == tiles
    assert [(t.top, t.bottom, t.left, t.right) for t in box.tiles] == grid
    again = container.write(box.header, box.metadata, tiles)
    assert again == stream


@given(width=st.integers(1, 700), height=st.integers(1, 700), tile=st.integers(1, 12))
@settings(deadline=None)
def test_tiles_cover_the_picture_once(width: int, height: int, tile: int) -> None:
    seen = [
        (row, column)
        for top, bottom, left, right in tile_grid(width, height, 64 * tile)
        for row in range(top, bottom)
        for column in range(left, right)
    ]
    assert sorted(seen) == [(r, c) for r in range(-(-height // 64)) for c in range(-(-width // 64))]
    assert len(set(seen)) == len(seen)


def test_one_tile_costs_at_most_48_bytes() -> None:
    box = container.read(container.write(HEADER, {}, [(bytes(5000), 0)]))
    assert box.overhead + 1 <= 48  # and one byte for the size of no escapes


def refix(stream: bytes, end: int) -> bytes:
    """``stream`` with the CRC at ``end`` recomputed over everything before it."""
    return stream[:end] + zlib.crc32(stream[:end]).to_bytes(4, "little") + stream[end + 4 :]


HEADER_END = 4 + 1 + 1 + 1 + 8 + 3 + 2 + 2 + 1 + 1


@pytest.mark.parametrize(
    ("at", "value", "error", "says"),
    [
        (0, b"\x88", NotAStream, "not a Bifocal stream"),
        (4, b"\2", UnsupportedStream, "version 2"),
        (5, b"\4", UnsupportedStream, "flags"),
        (18, b"\x80\0", DamagedStream, "shortest"),
        (18, b"\0\6", DamagedStream, "checksum|cannot|0×"),
        (22, b"\0", DamagedStream, "quality 0"),
        (22, b"\x65", DamagedStream, "quality 101"),
        (23, b"\0", DamagedStream, "tiles of 0"),
    ],
)
def test_header_faults_are_named(at: int, value: bytes, error: type[BifocalError], says: str) -> None:
    stream = bytearray(one_tile())
    stream[at : at + len(value)] = value
    with pytest.raises(error, match=says):
        container.read(refix(bytes(stream), HEADER_END))


def test_flips_anywhere_outside_payloads_are_found() -> None:
    stream = one_tile(metadata={"icc": b"profile", "exif": b"x" * 20})
    for bit in range(8 * (len(stream) - len(b"payload"))):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BifocalError):
            container.read(bytes(damaged))


def test_payload_damage_is_found_when_it_is_reached() -> None:
    stream = bytearray(one_tile())
    stream[-1] ^= 1
    box = container.read(bytes(stream))
    with pytest.raises(DamagedStream, match="tile 0 of 1"):
        box.payload(0)


@pytest.mark.parametrize("metadata", [{}, {"icc": b"profile"}])
def test_every_truncation_says_so(metadata: dict[str, bytes]) -> None:
    stream = one_tile(metadata=metadata)
    for length in range(1, len(stream)):
        with pytest.raises(TruncatedStream, match="Fetch"):
            container.read(stream[:length])
    with pytest.raises(NotAStream):
        container.read(b"")


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(DamagedStream, match="follow the last tile"):
        container.read(one_tile() + b"\0")


def with_chunks(count: int, chunks: list[bytes]) -> bytes:
    """A stream whose chunk section is written by hand, every checksum right."""
    stream = one_tile(metadata={"a": b""})
    front, rest = refix(stream, HEADER_END)[: HEADER_END + 4], stream[HEADER_END + 4 + 1 + 4 + 1 + 4 :]
    return front + varint(count) + b"".join(c + zlib.crc32(c).to_bytes(4, "little") for c in chunks) + rest


@pytest.mark.parametrize(
    ("count", "chunks", "error", "says"),
    [
        (1, [b"ICC \0"], UnsupportedStream, "'ICC'"),
        (0, [], DamagedStream, "has none"),
        (33, [], LimitExceeded, "number of metadata chunks"),
        (2, [b"icc \0", b"exif\0"], DamagedStream, "out of order"),
        (2, [b"icc \0", b"icc \0"], DamagedStream, "repeated"),
        (1, [b"i c \0"], DamagedStream, "misnamed"),
        (1, [b"\xffcc \0"], DamagedStream, "misnamed"),
        (1, [b"icc " + varint(2**32 - 1)], LimitExceeded, "metadata chunk"),
        (1, [b"icc " + varint(2**23)], TruncatedStream, "8388608 bytes are declared"),
    ],
)
def test_chunk_faults_are_named(
    count: int, chunks: list[bytes], error: type[BifocalError], says: str
) -> None:
    with pytest.raises(error, match=says):
        container.read(with_chunks(count, chunks))


def test_unknown_ancillary_chunks_are_kept() -> None:
    assert container.read(with_chunks(1, [b"zz9 \3abc"])).metadata == {"zz9": b"abc"}


def test_limits_are_the_readers() -> None:
    stream = one_tile(metadata={"icc": bytes(100)})
    assert container.read(stream, Limits(pixels=768 * 512, metadata_bytes=100, stream_bytes=len(stream)))
    for limits in (
        Limits(pixels=768 * 512 - 1),
        Limits(metadata_bytes=99),
        Limits(stream_bytes=len(stream) - 1),
    ):
        with pytest.raises(LimitExceeded):
            container.read(stream, limits)


def test_pixels_are_counted_with_padding() -> None:
    thin = replace(HEADER, width=MAX_SIDE, height=1, tile=65536)
    tiles = [(b"x", 0)] * len(tile_grid(thin.width, thin.height, thin.tile))
    with pytest.raises(LimitExceeded, match="with padding"):
        container.read(container.write(thin, {}, tiles), Limits(pixels=MAX_SIDE))


def test_a_huge_picture_in_few_bytes_is_refused_quickly() -> None:
    stream = one_tile()
    front = stream[:18] + varint(MAX_SIDE) + varint(MAX_SIDE) + b"\x3c\1"
    with pytest.raises(LimitExceeded):
        container.read(front + zlib.crc32(front).to_bytes(4, "little") + stream[HEADER_END + 4 :])
    with pytest.raises(TruncatedStream, match="tiles are declared"):
        container.read(
            front + zlib.crc32(front).to_bytes(4, "little") + stream[HEADER_END + 4 :], Limits(pixels=2**60)
        )


@pytest.mark.parametrize(
    ("header", "metadata", "says"),
    [
        (replace(HEADER, width=0), {}, "0×512"),
        (replace(HEADER, height=MAX_SIDE + 1), {}, "sides"),
        (replace(HEADER, quality=101), {}, "quality 101"),
        (replace(HEADER, tile=100), {}, "tile side"),
        (replace(HEADER, tile=0), {}, "tile side"),
        (replace(HEADER, width=5000, height=5000, tile=4096), {}, "tile side"),
        (HEADER, {"Icc": b""}, "'Icc'"),
        (HEADER, {"profile": b""}, "'profile'"),
        (HEADER, {f"a{i}": b"" for i in range(33)}, "33 metadata chunks"),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(
    header: Header, metadata: dict[str, bytes], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        one_tile(header, metadata)


def test_tiles_must_cover_the_picture() -> None:
    with pytest.raises(OptionError, match="2 tiles"):
        container.write(HEADER, {}, [(b"a", 0), (b"b", 0)])


@given(st.integers(0, 2**32 - 1))
def test_varints(value: int) -> None:
    assert Reader(varint(value)).varint(2**32 - 1, "number") == value
