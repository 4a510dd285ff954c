"""The bytes around the payloads: header, metadata chunks, tile index. SPEC.md is normative; this follows it.

Reading checks every declared size against the format, the reader's limits and the bytes that are there, in
that order, before anything is allocated and before any network runs. Every field has one spelling, so what
reads back from a stream is written to the same bytes.

    magic 89 'BFC' · version · header · CRC-32 · [chunks] · index · CRC-32 · payloads
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bifocal.errors import (
    DamagedStream,
    LimitExceeded,
    NotAStream,
    OptionError,
    PictureWarning,
    TruncatedStream,
    UnsupportedStream,
)
from bifocal.stream.limits import (
    DEFAULT_LIMITS,
    MAX_CHUNKS,
    MAX_PAYLOAD_PER_PIXEL,
    MAX_SIDE,
    MAX_TILE_PIXELS,
    MAX_TILE_SIDE,
    TILE_UNIT,
    Limits,
    Reader,
    largest_alpha_chunk,
)
from bifocal.stream.source import Source

#: The high bit catches seven-bit channels; no text begins so.
MAGIC = b"\x89BFC"
VERSION = 1
#: The chunk of transparency: see chunks/alpha.py.
ALPHA = "alph"
#: The chunk of the filter that restores decoded pixels: see chunks/restoration.py.
RESTORATION = "filt"
#: The chunk of one more plane: see chunks/plane.py.
PLANE = "plne"
#: The chunk of a caption: see chunks/caption.py. Nothing depends on it: damage in it costs the caption alone.
CAPTION = "capt"
#: Chunks that are part of the picture and not of its metadata.
PARTS = frozenset({ALPHA, RESTORATION, PLANE})
#: The chunk that names the codings of tiles, a byte for each: latents of the model, or a WebP file, which
#: runtime/lossless.py reads.
CODINGS = "Code"
LATENTS, WEBP = 0, 1
_GRAY, _CHUNKS = 1, 2
_KEY = re.compile("[a-z][a-z0-9]{0,3}")


@dataclass(frozen=True)
class Header:
    """What a stream says of itself: the model that made it, and the picture.

    ``release`` (major, minor, patch) is the Bifocal release that first shipped the model with this
    ``fingerprint``. Sizes are in pixels.
    """

    wire_id: int
    fingerprint: bytes
    release: tuple[int, int, int]
    width: int
    height: int
    gray: bool
    quality: int
    tile: int


@dataclass(frozen=True)
class Tile:
    """One tile: the units of 64 pixels that it covers (``top:bottom``, ``left:right``), where its payload
    lies in the stream, and its checksums: of the payload, and of the latents that it must decode to.

    A ``lossless`` tile is stored as pixels (runtime/lossless.py), and its second checksum is theirs."""

    top: int
    bottom: int
    left: int
    right: int
    offset: int
    length: int
    payload_crc: int
    latent_crc: int
    lossless: bool = False


@dataclass(frozen=True)
class Container:
    """A stream whose header, chunks and index are sound; ``overhead`` is the size of header and index."""

    header: Header
    metadata: Mapping[str, bytes]
    tiles: tuple[Tile, ...]
    data: Source
    overhead: int

    def payload(self, number: int) -> bytes | memoryview:
        """The bytes of tile ``number``. Raises :class:`DamagedStream` if they are not those written."""
        tile = self.tiles[number]
        payload = self.data[tile.offset : tile.offset + tile.length]
        if zlib.crc32(payload) != tile.payload_crc:
            raise DamagedStream(
                f"tile {number} of {len(self.tiles)} is damaged: its checksum differs. Fetch the file again."
            )
        return payload


def tile_grid(width: int, height: int, tile: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) of every tile in coding order, in units of 64 pixels of the padded picture.

    >>> tile_grid(200, 130, 128)
    [(0, 2, 0, 2), (0, 2, 2, 4), (2, 3, 0, 2), (2, 3, 2, 4)]
    """
    rows, columns, step = -(-height // TILE_UNIT), -(-width // TILE_UNIT), tile // TILE_UNIT
    return [
        (top, min(top + step, rows), left, min(left + step, columns))
        for top in range(0, rows, step)
        for left in range(0, columns, step)
    ]


def check_options(width: int, height: int, quality: int, tile: int) -> None:
    """Raise :class:`OptionError` unless a picture can be written so."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise OptionError(
            f"a picture of {width}×{height} pixels cannot be written: sides are 1 to {MAX_SIDE}."
        )
    if not 1 <= quality <= 100:
        raise OptionError(f"quality {quality} does not exist: choose 1 (small) to 100 (good).")
    if (
        tile % TILE_UNIT
        or not TILE_UNIT <= tile <= MAX_TILE_SIDE
        or _tile_area(width, height, tile) > MAX_TILE_PIXELS
    ):
        raise OptionError(
            f"a tile side of {tile} pixels cannot be written: choose a multiple of {TILE_UNIT} whose tiles "
            f"have at most {MAX_TILE_PIXELS} pixels, such as 2048."
        )


def _tile_area(width: int, height: int, tile: int) -> int:
    return min(tile, -(-width // TILE_UNIT) * TILE_UNIT) * min(tile, -(-height // TILE_UNIT) * TILE_UNIT)


def write(
    header: Header,
    metadata: Mapping[str, bytes],
    tiles: Sequence[tuple[bytes, int]],
    codings: Sequence[int] = (),
) -> bytes:
    """The stream of a header, metadata and tiles (payload, latent CRC-32), in the order of :func:`tile_grid`.

    ``codings`` say how each tile is coded, if not all as latents.

    Raises :class:`OptionError` for a header or metadata that the format cannot hold.

    >>> header = Header(1, b"8 bytes!", (0, 1, 0), 768, 512, False, 60, 2048)
    >>> data = write(header, {"icc": b"profile"}, [(b"payload", 0)])
    >>> read(data).header == header, bytes(read(data).payload(0))
    (True, b'payload')
    """
    check_options(header.width, header.height, header.quality, header.tile)
    if len(tiles) != len(tile_grid(header.width, header.height, header.tile)):
        raise OptionError(f"{len(tiles)} tiles do not cover the picture. Code every tile of its grid once.")
    front = bytearray(MAGIC)
    front.append(VERSION)
    stored = bytes(codings) if any(codings) else b""
    front.append(header.gray * _GRAY | bool(metadata or stored) * _CHUNKS)
    front += varint(header.wire_id) + header.fingerprint + bytes(header.release)
    front += varint(header.width) + varint(header.height)
    front.append(header.quality)
    front += varint(header.tile // TILE_UNIT)
    chunks = _write_chunks(metadata, stored) if metadata or stored else b""
    index = bytearray()
    for payload, latent_crc in tiles:
        index += varint(len(payload)) + _crc(payload) + latent_crc.to_bytes(4, "little")
    payloads = [payload for payload, _ in tiles]
    return b"".join([front, _crc(front), chunks, index, _crc(index), *payloads])


def _write_chunks(metadata: Mapping[str, bytes], codings: bytes) -> bytes:
    count = len(metadata) + bool(codings)
    if count > MAX_CHUNKS:
        raise OptionError(f"{len(metadata)} metadata chunks are too many: at most {MAX_CHUNKS} are written.")
    total = sum(len(value) for key, value in metadata.items() if key != ALPHA)
    if total > DEFAULT_LIMITS.metadata_bytes:
        raise OptionError(
            f"the picture carries {total} bytes of metadata ({', '.join(sorted(metadata))}); streams hold "
            f"{DEFAULT_LIMITS.metadata_bytes}. Leave some out: Picture(pixels, metadata={{}}, alpha=alpha)."
        )
    out = bytearray(varint(count))
    if codings:  # upper case comes first
        chunk = CODINGS.encode() + varint(len(codings)) + codings
        out += chunk + _crc(chunk)
    for key in sorted(metadata):
        if not _KEY.fullmatch(key):
            raise OptionError(
                f"metadata key {key!r} cannot be written: use up to four of a-z and 0-9, such as icc."
            )
        chunk = key.encode().ljust(4) + varint(len(metadata[key])) + metadata[key]
        out += chunk + _crc(chunk)
    return bytes(out)


def varint(value: int) -> bytes:
    """LEB128 in its shortest form, the inverse of :meth:`~bifocal.stream.limits.Reader.varint`.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def read(data: Source, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Parse and check everything but the payloads; nothing of a declared size is allocated.

    Of a :class:`~bifocal.stream.source.FileBytes`, payloads are not even read until they are asked for.

    Raises a :class:`StreamError` that says what is wrong. Time and memory are bounded by the bytes present.
    """
    if len(data) > limits.stream_bytes:
        raise LimitExceeded(
            f"the stream has {len(data)} bytes; this reader opens {limits.stream_bytes}: Limits.stream_bytes."
        )
    reader = Reader(data)
    if bytes(reader.data[:4]) != MAGIC[: len(reader.data)] or not len(data):
        raise NotAStream(
            "this is not a Bifocal stream: it does not begin with 89 'BFC'. Is it another format?"
        )
    reader.take(4, "magic")
    version = reader.byte("version")
    if version != VERSION:
        raise UnsupportedStream(
            f"the stream has format version {version}; this release reads version {VERSION}. Update Bifocal."
        )
    header, flags = _read_header(reader, limits)
    before = reader.position
    metadata, stored = _read_chunks(reader, header, limits) if flags & _CHUNKS else ({}, None)
    chunk_bytes = reader.position - before
    tiles = _read_index(reader, header)
    if stored is not None:
        codings = _check_codings(stored, len(tiles))
        tiles = tuple(replace(tile, lossless=bool(c)) for tile, c in zip(tiles, codings, strict=True))
    overhead = reader.position - chunk_bytes
    end = tiles[-1].offset + tiles[-1].length
    if end > len(data):
        raise TruncatedStream(
            f"the stream ends inside its tiles: {end} bytes are declared, {len(data)} there. Fetch it again."
        )
    if end < len(data):
        raise DamagedStream(f"{len(data) - end} bytes follow the last tile: the stream is damaged or padded.")
    return Container(header, metadata, tiles, reader.data, overhead)


def _read_header(reader: Reader, limits: Limits) -> tuple[Header, int]:
    flags = reader.byte("flags")
    if flags > _GRAY | _CHUNKS:
        raise UnsupportedStream(f"the stream sets unknown flags ({flags:#04x}). Update Bifocal to read it.")
    wire_id = reader.varint((1 << 32) - 1, "wire id")
    fingerprint = bytes(reader.take(8, "model fingerprint"))
    major, minor, patch = reader.take(3, "model release")
    width, height = reader.varint(MAX_SIDE, "width"), reader.varint(MAX_SIDE, "height")
    quality = reader.byte("quality")
    tile = TILE_UNIT * reader.varint(MAX_TILE_SIDE // TILE_UNIT, "tile side in units of 64 pixels")
    _check_crc(reader, 0, "header")
    if not (width and height and tile and 1 <= quality <= 100):
        raise DamagedStream(
            f"the header declares {width}×{height} pixels, quality {quality}, tiles of {tile}: impossible."
        )
    padded = -(-width // TILE_UNIT) * -(-height // TILE_UNIT) * TILE_UNIT**2
    if padded > limits.pixels:
        raise LimitExceeded(
            f"the stream declares {width}×{height} pixels, {padded} with padding; this reader opens "
            f"{limits.pixels} (Limits.pixels)."
        )
    if _tile_area(width, height, tile) > MAX_TILE_PIXELS:
        raise LimitExceeded(
            f"tiles of {tile} pixels a side are larger than the format's {MAX_TILE_PIXELS} pixels."
        )
    return Header(
        wire_id, fingerprint, (major, minor, patch), width, height, bool(flags & _GRAY), quality, tile
    ), flags


def _read_chunks(reader: Reader, header: Header, limits: Limits) -> tuple[dict[str, bytes], bytes | None]:
    """Ancillary chunks by key, known or not, and the codings of tiles, if they are named; an unknown critical
    chunk (capital first letter) is refused."""
    metadata: dict[str, bytes] = {}
    codings: bytes | None = None
    room, last = limits.metadata_bytes, ""
    count = reader.varint(MAX_CHUNKS, "number of metadata chunks")
    if count == 0:
        raise DamagedStream("the stream declares metadata and has none: it is damaged.")
    for _ in range(count):
        start = reader.position
        name = bytes(reader.take(4, "name of a metadata chunk"))
        key = name.decode("latin-1").rstrip(" ")
        if key == ALPHA:
            size = reader.varint(
                largest_alpha_chunk(header.width, header.height, header.tile), "size of alpha"
            )
        else:
            size = reader.varint(room, "size of a metadata chunk")
            room -= size
        value = reader.take(size, "metadata")
        if not _is_sound(reader, start, key):
            last = key
            continue
        if key == CODINGS and not last:
            codings, last = bytes(value), key
            continue
        if name[:1].isupper():
            raise UnsupportedStream(
                f"the stream needs chunk {key!r}, which this release does not know. Update Bifocal."
            )
        if not _KEY.fullmatch(key) or key <= last:
            raise DamagedStream(
                f"metadata chunk {key!r} is misnamed, repeated or out of order: it is damaged."
            )
        metadata[key], last = bytes(value), key
    return metadata, codings


def _is_sound(reader: Reader, start: int, key: str) -> bool:
    """Whether a chunk is as it was written; a warning if not, and it is a caption, without which all is well.

    :raises DamagedStream: if another chunk is damaged.
    """
    try:
        _check_crc(reader, start, "metadata chunk")
    except DamagedStream:
        if key != CAPTION:
            raise
        warnings.warn(
            "the caption of this stream is damaged and is left out; its picture is sound.",
            PictureWarning,
            stacklevel=4,
        )
        return False
    return True


def _check_codings(chunk: bytes, tiles: int) -> bytes:
    """The coding of every tile: one that is known, and at least one tile is stored."""
    if len(chunk) != tiles or set(chunk) | {LATENTS} != {LATENTS, WEBP}:
        raise DamagedStream(
            f"the stream names {len(chunk)} codings for {tiles} tiles, or one that does not exist."
        )
    return chunk


def _read_index(reader: Reader, header: Header) -> tuple[Tile, ...]:
    rows, columns = (-(-side // header.tile) for side in (header.height, header.width))
    if rows * columns * 10 > reader.remaining:  # an entry and its payload take ten bytes at least
        raise TruncatedStream(
            f"the stream ends inside its index: {rows * columns} tiles are declared, {reader.remaining} "
            "bytes are left. Fetch the file again; it is incomplete."
        )
    start, offset = reader.position, 0
    entries = []
    for top, bottom, left, right in tile_grid(header.width, header.height, header.tile):
        most = (bottom - top) * (right - left) * TILE_UNIT**2 * MAX_PAYLOAD_PER_PIXEL
        length = reader.varint(most, "size of a tile")
        entries.append(
            (top, bottom, left, right, offset, length, reader.uint32("index"), reader.uint32("index"))
        )
        offset += length
        if not length:
            raise DamagedStream("a tile of no bytes is declared: the index is damaged.")
    _check_crc(reader, start, "index")
    base = reader.position
    return tuple(Tile(*entry[:4], base + entry[4], *entry[5:]) for entry in entries)


def _check_crc(reader: Reader, start: int, what: str) -> None:
    computed = zlib.crc32(reader.data[start : reader.position])
    if reader.uint32(what) != computed:
        raise DamagedStream(f"the {what} is damaged: its checksum differs. Fetch the file again.")
