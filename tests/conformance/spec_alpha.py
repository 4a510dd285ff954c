"""A reader of alpha written from section 4 of SPEC.md, in plain Python, beside ``spec_decoder.py``."""

from __future__ import annotations

import struct
from zlib import crc32, decompressobj

from tests.conformance.spec_decoder import Reader, parse, require


def read_alpha(data: bytes) -> list[list[int]]:
    """Alpha of a stream's picture, the chunk `alph` of section 4; 255 everywhere without one."""
    reader = Reader(data, 18)  # magic, version, flags, wire id 1 and fingerprint, release: read by `parse`
    width, height = reader.varint(1, 2**24 - 1), reader.varint(1, 2**24 - 1)
    alpha, stream = [[255] * width for _ in range(height)], parse(data)
    reader = Reader(stream.metadata.get("alph", b"\0" * len(stream.tiles)))
    for tile in stream.tiles:
        top, left, rows, columns = (64 * n for n in tile.place)
        h, w = min(rows, height - top), min(columns, width - left)
        size = reader.varint(0, 2 * h * (w + 1) + 128)
        png = reader.take(size)
        if size == 0:
            continue
        head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
        tail = chunk(b"IEND", b"")
        packed = png[len(head) + 8 : -len(tail) - 4]
        require(png == head + chunk(b"IDAT", packed) + tail, "three chunks of the right size")
        inflate = decompressobj()
        raw = inflate.decompress(packed, h * (w + 1) + 1)
        require(len(raw) == h * (w + 1) and inflate.eof and not inflate.unused_data, "the rows of a PNG")
        above = [0] * w
        for i in range(h):
            kind, row, before = raw[i * (w + 1)], list(raw[i * (w + 1) + 1 :][:w]), 0
            require(kind <= 2, "filter 0, 1 or 2")
            for j in range(w):
                row[j] = before = (row[j] + (0, before, above[j])[kind]) % 256
            alpha[top + i][left : left + w] = above = row
    require(reader.at == len(reader.data), "bytes after the last tile's alpha")
    return alpha


def chunk(name: bytes, value: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(value)) + name + value + struct.pack(">I", crc32(name + value))
