"""A decoder of latents written from src/bifocal/stream/SPEC.md alone, in plain Python.

It shares no code with the package and was written without a look at the package's source: that it gives the
golden latents shows that the specification suffices. It is for reading, made for clarity and not for speed.
Sections are those of SPEC.md. Refusals are `Refused`; a reader's own limits (section 15) are not set.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from zlib import crc32

from tests.conformance.spec_model import (
    Array,
    Model,
    Refused,
    clip,
    in_group,
    load_model,
    require,
    run_network,
    zeros,
)

__all__ = ["Model", "Refused", "decode", "load_model", "parse", "require"]


def latent_bytes(*arrays: Array) -> bytes:
    """Little-endian two's-complement 32-bit integers in C order, sections 1 and 5."""
    values = [v for array in arrays for plane in array for row in plane for v in row]
    return struct.pack(f"<{len(values)}i", *values)


@dataclass
class Reader:
    """Bytes from the front, section 1; nothing is taken that is not there."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        require(size <= len(self.data) - self.at, "cut off")
        self.at += size
        return self.data[self.at - size : self.at]

    def u32(self) -> int:
        """A 4-byte integer."""
        return int.from_bytes(self.take(4), "little")

    def varint(self, lowest: int, highest: int) -> int:
        """A varint within a range: at most 5 bytes, in its shortest form."""
        value = 0
        for n in range(5):
            (byte,) = self.take(1)
            value |= (byte & 127) << 7 * n
            if byte < 128:
                require(byte > 0 or n == 0, "a varint is not in its shortest form")
                require(lowest <= value <= highest, "a number is out of its range")
                return value
        raise Refused("a varint of more than 5 bytes")

    def crc(self, start: int) -> None:
        """A CRC-32 of everything from `start` up to it."""
        covered = self.data[start : self.at]
        require(self.u32() == crc32(covered), "a CRC differs")


@dataclass(frozen=True)
class Tile:
    """A tile: its place in units of 64 pixels (section 6), its latent CRC and payload (section 5), and its
    coding (section 4)."""

    place: tuple[int, int, int, int]  # first row, first column, rows, columns
    latent_crc: int
    payload: bytes
    coding: int = 0


@dataclass(frozen=True)
class Stream:
    """A stream, taken apart and checked as far as that goes without a network."""

    fingerprint: bytes
    rows: int  # R and C of section 6
    columns: int
    quality: int
    metadata: dict[str, bytes]
    tiles: list[Tile]
    size: tuple[int, int, int]  # width, height, wire id
    gray: bool


def parse(data: bytes) -> Stream:
    """Header, chunks, index and payloads, sections 2 to 6, all checked."""
    reader = Reader(data)
    require(reader.take(5) == b"\x89BFC\x01", "not a Bifocal stream of version 1")
    (flags,) = reader.take(1)
    wire_id = reader.varint(0, 2**32 - 1)
    fingerprint, _release = reader.take(8), reader.take(3)
    width, height = reader.varint(1, 2**24 - 1), reader.varint(1, 2**24 - 1)
    (quality,) = reader.take(1)
    side = reader.varint(1, 1024)
    reader.crc(0)
    require(flags < 4 and wire_id in (1, 2) and 1 <= quality <= 100, "flags, wire id or quality")
    R, C = -(-height // 64), -(-width // 64)
    require(64 * min(side, R) * 64 * min(side, C) <= 2**22, "the tiles are too large")
    metadata: dict[str, bytes] = {}
    for _ in range(reader.varint(1, 32) if flags & 2 else 0):  # section 4
        start, name = reader.at, reader.take(4).decode("latin-1")
        value = reader.take(reader.varint(0, 2**35))
        reader.crc(start)
        named = name == "Code" or re.fullmatch(r"[a-z][a-z0-9]{0,3} *", name)
        require(bool(named), "a critical chunk, or no name")
        require(not metadata or max(metadata) < name.rstrip(" "), "chunks are not in ascending order")
        metadata[name.rstrip(" ")] = value
    require(10 * -(-R // side) * -(-C // side) <= len(data) - reader.at, "fewer bytes than the tiles need")
    start, entries = reader.at, []
    for i, j in product(range(0, R, side), range(0, C, side)):
        place = i, j, min(side, R - i), min(side, C - j)
        largest = 32 * 64 * place[2] * 64 * place[3]
        entries.append((place, reader.varint(1, largest), reader.u32(), reader.u32()))
    reader.crc(start)
    codings, tiles = metadata.pop("Code", None), []
    if codings is None:
        codings = bytes(len(entries))
    else:
        require(len(codings) == len(entries) and set(codings) in ({1}, {0, 1}), "codings")
    for (place, size, payload_crc, latent_crc), coding in zip(entries, codings, strict=True):
        tiles.append(Tile(place, latent_crc, reader.take(size), coding))
        payload = tiles[-1].payload
        require(crc32(payload) == payload_crc, "a payload's CRC differs")
        require(not coding or payload[:4] + payload[8:16] == b"RIFFWEBPVP8L", "no lossless WebP file")
    require(reader.at == len(data), "bytes after the last payload")
    return Stream(fingerprint, R, C, quality, metadata, tiles, (width, height, wire_id), bool(flags & 1))


def plane(stream: Stream) -> bytes:
    """The stream of one more plane, section 4, checked against the picture's; cut out as it stands."""
    value = stream.metadata["plne"]
    beside = parse(value)
    same = stream.size == beside.size and stream.fingerprint == beside.fingerprint
    require(same and beside.gray, "a plane is gray, of the picture's size and model")
    require(not {"alph", "plne"} & set(beside.metadata), "a plane has no parts of its own")
    return value


class Payload:
    """Symbols from a tile's payload, sections 7 to 10; `trace` keeps the table and entry of each."""

    def __init__(self, model: Model, data: bytes) -> None:
        self.model, self.trace = model, list[tuple[int, int]]()
        reader = Reader(data)
        self.bits = "".join(f"{byte:08b}" for byte in reader.take(reader.varint(0, 2**35)))
        self.bit_at, padded = 0, data[reader.at :]
        require(not padded.endswith(b"\0"), "the words end in a zero byte")
        padded += bytes(-len(padded) % 4)
        self.words = list(struct.unpack(f"<{len(padded) // 4}I", padded))
        self.state = self.words.pop() if self.words else 0
        if self.words:
            self.state = self.state << 32 | self.words.pop()

    def entry(self, table: int) -> int:
        """One entry of a table, section 8."""
        c = self.model.cumulative[table]
        quantile = self.state & (2**24 - 1)
        e = bisect_right(c, quantile >> 8) - 1
        B, F = 256 * c[e], 256 * (c[e + 1] - c[e])
        self.state = (self.state >> 24) * F + (quantile - B)
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        self.trace.append((table, e))
        return e

    def escape(self, R: int) -> int:
        """A symbol outside -R .. R, section 10."""
        first = self.bit_at + 1
        one = self.bits.find("1", first, first + 25)  # after at most 24 zero bits
        self.bit_at = end = 2 * one - first + 1
        require(first <= one and end <= len(self.bits), "an escape is cut off or has too many zero bits")
        size = R + int(self.bits[one:end], 2)
        require(size <= 2**24, "an escape is too large")
        return -size if self.bits[first - 1] == "1" else size

    def symbols(self, tables: Sequence[int]) -> list[int]:
        """A group of symbols, given the tables of its positions, section 11."""
        symbols = [0] * len(tables)
        for position in sorted(range(len(tables)), key=tables.__getitem__):
            R = self.model.radius[tables[position]]
            e = self.entry(tables[position])
            symbols[position] = e - R if e <= 2 * R else self.escape(R)
        return symbols


def decode_tile(model: Model, tile: Tile, quality: int) -> tuple[Array, Array, Payload]:
    """z and y_hat of a tile, section 11, and its payload after the last symbol."""
    plan, payload = model.plan, Payload(model, tile.payload)
    zr, zc, rows, columns = (n * 64 // plan[s] for s in ("z_stride", "y_stride") for n in tile.place[2:])
    coded = payload.symbols([t for t in model.z_index[quality - 1] for _ in range(zr * zc)])
    z = [[coded[(c * zr + i) * zc :][:zc] for i in range(zr)] for c in range(plan["z_channels"])]
    features = run_network(model.networks[0], z, quality)
    y_hat, context = (zeros(plan["y_channels"], rows, columns) for _ in range(2))
    half, high = 2 ** plan["context_shift"] >> 1, plan["context_max"]
    for (start, stop, steps, step), network in zip(plan["groups"], model.networks[1:], strict=True):
        out = run_network(network, features + context, quality)
        mu, index = out[: stop - start], out[stop - start :]
        every = product(range(start, stop), range(rows), range(columns))
        places = [(c, i, j) for c, i, j in every if in_group(i, j, c, steps, step)]
        tables = [clip(index[c - start][i][j], 0, len(model.radius) - 1) for c, i, j in places]
        read = iter(payload.symbols([t for t in tables if t >= plan["skip"]]))
        for (c, i, j), t in zip(places, tables, strict=True):
            q = next(read) if t >= plan["skip"] else 0
            nearer = model.points[t][min(abs(q), 3) - 1] if q else 0
            v = (q << plan["fraction"]) + mu[c - start][i][j] - (nearer if q > 0 else -nearer)
            y_hat[c][i][j] = v
            context[c][i][j] = clip((v + half) >> plan["context_shift"], -high, high)
    require(payload.state == 0 and not payload.words, "the words do not end with the symbols")
    rest = payload.bits[payload.bit_at :]
    require(len(rest) < 8 and "1" not in rest, "the escapes do not end with the symbols")
    require(crc32(latent_bytes(z, y_hat)) == tile.latent_crc, "the latent CRC differs")
    return z, y_hat, payload


def decode(data: bytes, model: Model) -> tuple[Array, Array]:
    """z and y_hat of the whole picture: the tiles put in their places, section 6."""
    stream, plan = parse(data), model.plan
    require(stream.fingerprint == model.fingerprint, "a stream of another model")
    strides = plan["z_stride"], plan["y_stride"]
    pictures = [
        zeros(channels, stream.rows * 64 // stride, stream.columns * 64 // stride)
        for channels, stride in zip((plan["z_channels"], plan["y_channels"]), strides, strict=True)
    ]
    for tile in stream.tiles:
        require(tile.coding == 0, "a tile without latents")
        arrays = decode_tile(model, tile, stream.quality)[:2]
        for picture, array, stride in zip(pictures, arrays, strides, strict=True):
            top, left = (n * 64 // stride for n in tile.place[:2])
            for target, plane in zip(picture, array, strict=True):
                for i, row in enumerate(plane):
                    target[top + i][left : left + len(row)] = row
    return pictures[0], pictures[1]
