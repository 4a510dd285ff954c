"""Transparency in a stream: one lossless gray PNG for each tile. SPEC.md, section 4, is normative.

The PNGs are plain ones (8-bit gray, three chunks, filters None, Sub and Up only), which any PNG reader opens
and which NumPy undoes without a loop over pixels. A size of 0 stands for a tile that is opaque everywhere. So
a reader of one box opens only the tiles of that box. All sizes follow from the header of the stream, so a
chunk that would inflate to anything else is refused before it has grown.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream
from bifocal.stream.container import tile_grid, varint
from bifocal.stream.limits import TILE_UNIT, Reader, largest_alpha_png

OPAQUE = 255

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NONE, _SUB, _UP = 0, 1, 2
#: Zlib levels: the quick one chooses, the thorough one writes, a third smaller than 6 does on soft edges.
_QUICK, _THOROUGH = 1, 9


def encode_alpha(alpha: NDArray[np.uint8], tile: int) -> bytes:
    """The value of the chunk ``alph`` for alpha ``[h, w]`` uint8, in tiles of ``tile`` pixels a side.

    An alpha that is 255 everywhere says nothing: the result is empty, and no chunk is written.

    >>> alpha = np.full((3, 5), 255, np.uint8)
    >>> encode_alpha(alpha, 64)
    b''
    >>> alpha[1, 2] = 7
    >>> bool((decode_alpha(encode_alpha(alpha, 64), 5, 3, 64) == alpha).all())
    True
    """
    if alpha.min() == OPAQUE:
        return b""
    out = bytearray()
    for rows, columns in _places(alpha.shape[1], alpha.shape[0], tile):
        plane = alpha[rows, columns]
        png = b"" if plane.min() == OPAQUE else _write_png(plane)
        out += varint(len(png)) + png
    return bytes(out)


def decode_alpha(
    chunk: bytes | memoryview,
    width: int,
    height: int,
    tile: int,
    box: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Alpha uint8 ``[h, w]`` of a picture, or of a ``box`` (left, top, right, bottom) of it, from its chunk.

    Every declared size is checked; only the PNGs of tiles that the box touches are opened. Raises a
    :class:`StreamError` if the chunk is not one of such a picture.
    """
    left, top, right, bottom = box or (0, 0, width, height)
    alpha = np.full((bottom - top, right - left), OPAQUE, np.uint8)
    reader = Reader(memoryview(chunk))
    for rows, columns in _places(width, height, tile):
        shape = rows.stop - rows.start, columns.stop - columns.start
        png = reader.take(reader.varint(largest_alpha_png(*shape), "size of a tile of alpha"), "alpha")
        y0, y1 = max(top, rows.start), min(bottom, rows.stop)
        x0, x1 = max(left, columns.start), min(right, columns.stop)
        if png and y0 < y1 and x0 < x1:
            plane = _read_png(png, *shape)
            part = plane[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
            alpha[y0 - top : y1 - top, x0 - left : x1 - left] = part
    if reader.remaining:
        raise _damaged(f"{reader.remaining} bytes follow its last tile")
    return alpha


def _places(width: int, height: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the visible part of each tile, in pixels, in tile order."""
    for top, bottom, left, right in tile_grid(width, height, tile):
        yield (
            slice(TILE_UNIT * top, min(TILE_UNIT * bottom, height)),
            slice(TILE_UNIT * left, min(TILE_UNIT * right, width)),
        )


def _write_png(plane: NDArray[np.uint8]) -> bytes:
    """Masks are smallest unfiltered, soft edges as differences: try both, write the smaller."""
    rows = min(_plain(plane), _filtered(plane), key=lambda rows: len(zlib.compress(rows, _QUICK)))
    packed = zlib.compress(rows, _THOROUGH)
    size = struct.pack(">IIBBBBB", plane.shape[1], plane.shape[0], 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", size) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _plain(plane: NDArray[np.uint8]) -> bytes:
    return np.pad(plane, ((0, 0), (1, 0))).tobytes()


def _filtered(plane: NDArray[np.uint8]) -> bytes:
    """Every row by the filter with the smallest sum of magnitudes, as the PNG standard advises."""
    sub, up = plane.copy(), plane.copy()
    sub[:, 1:] -= plane[:, :-1]
    up[1:] -= plane[:-1]
    choices = [plane, sub, up]
    costs = [np.abs(rows.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for rows in choices]
    best = np.argmin(costs, 0).astype(np.uint8)[:, None]
    return np.hstack([best, np.select([best == _NONE, best == _SUB], choices[:2], up)]).tobytes()


def _chunk(name: bytes, value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))


def _read_png(png: bytes | memoryview, h: int, w: int) -> NDArray[np.uint8]:
    data = bytes(png)
    start = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
    stop = _chunk(b"IEND", b"")
    packed = data[len(start) + 8 : -len(stop) - 4]
    if data != start + _chunk(b"IDAT", packed) + stop:
        raise _damaged(f"a tile is no plain gray PNG of {w}×{h} pixels")
    rows = np.frombuffer(_inflate(packed, h * (w + 1)), np.uint8).reshape(h, w + 1)
    kinds, plane = rows[:, 0], rows[:, 1:].copy()
    if kinds.max() > _UP:
        raise _damaged(f"a tile uses PNG filter {kinds.max()}")
    across = kinds == _SUB
    plane[across] = np.cumsum(plane[across], axis=1, dtype=np.uint8)
    for row in np.flatnonzero(kinds[1:] == _UP) + 1:
        plane[row] += plane[row - 1]
    return plane


def _inflate(packed: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes; a stream of any other length is refused after that many."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, size)
        more = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise _damaged(f"a tile does not inflate: {error}") from error
    if len(raw) != size or more or not stream.eof or stream.unused_data:
        raise _damaged(f"a tile does not inflate to {size} bytes")
    return raw


def _damaged(what: str) -> DamagedStream:
    return DamagedStream(f"the alpha of this stream is damaged: {what}. Fetch the file again.")
