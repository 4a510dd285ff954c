"""A decoder of latents written from src/bifocal/stream/SPEC.md alone, in plain Python.

It shares no code with the package and was written without a look at the package's source: that it gives the
golden latents shows that the specification suffices. It is for reading, made for clarity and not for speed.
Sections are those of SPEC.md. Refusals are `Refused`; a reader's own limits (section 15) are not set.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, product
from operator import mul
from typing import Any
from zlib import crc32

Array = list[list[list[int]]]  # [channel][row][column], section 1
Tensor = tuple[list[int], list[int]]  # shape and elements, section 13
Network = tuple[list[int], "list[Layer]"]  # input_max and layers, section 12


class Refused(ValueError):
    """The stream or the model breaks a rule of SPEC.md."""


def require(condition: bool, rule: str) -> None:
    """Refuse unless the rule is kept."""
    if not condition:
        raise Refused(rule)


def clip(a: int, lo: int, hi: int) -> int:
    """Section 1."""
    return min(max(a, lo), hi)


def zeros(channels: int, rows: int, columns: int) -> Array:
    """An array of zeros, section 1."""
    return [[[0] * columns for _ in range(rows)] for _ in range(channels)]


def latent_bytes(*arrays: Array) -> bytes:
    """Little-endian two's-complement 32-bit integers in C order, sections 1 and 5."""
    values = [v for array in arrays for plane in array for row in plane for v in row]
    return struct.pack(f"<{len(values)}i", *values)


@dataclass(frozen=True)
class Layer:
    """One layer of an exact network, section 12; a row of `weight` is flat over [i, k, k]."""

    kernel: int
    relu: bool
    lo: int
    hi: int
    shuffle: bool
    weight: list[list[int]]
    bias: list[list[int]]
    shift: list[int]


@dataclass(frozen=True)
class Model:
    """What section 13 says a decoder of latents needs."""

    plan: dict[str, Any]
    networks: list[Network]  # hyper, predict.0, predict.1, ...
    radius: list[int]
    cumulative: list[list[int]]  # c[e] of section 8 for e = 0 .. 2R+2, for every table
    z_index: list[list[int]]
    points: list[list[int]]  # the reconstruction of wire id 2, section 11; zeros for wire id 1
    wire_id: int
    fingerprint: bytes


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """The I8 and I32 tensors of `weights.safetensors`, section 13."""
    size = int.from_bytes(data[:8], "little")
    require(size <= len(data) - 8, "the weights are cut off")
    body, tensors = data[8 + size :], {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__" or entry["dtype"] not in ("I8", "I32"):
            continue
        form, width = ("b", 1) if entry["dtype"] == "I8" else ("i", 4)
        count = math.prod(entry["shape"])
        begin, end = entry["data_offsets"]
        require(0 <= begin and end - begin == count * width and end <= len(body), f"{name}: offsets")
        require((width == 1) == name.endswith(".weight"), f"{name}: dtype")
        tensors[name] = (entry["shape"], list(struct.unpack_from(f"<{count}{form}", body, begin)))
    return tensors


def record(shape: Sequence[int], elements: Sequence[int], size: int = 4) -> bytes:
    """A record of the fingerprint, section 14."""
    head = struct.pack(f"<BB{len(shape)}I", size, len(shape), *shape)
    return head + struct.pack(f"<{len(elements)}{'b' if size == 1 else 'i'}", *elements)


def split_rows(tensor: Tensor) -> list[list[int]]:
    """The elements of a tensor by its first dimension."""
    shape, elements = tensor
    size = math.prod(shape[1:])
    return [elements[n * size : (n + 1) * size] for n in range(shape[0])]


def check_bound(network: Network) -> None:
    """The bound of section 12 and the ranges of section 15, with the shapes that they need."""
    limit, layers = network
    require(all(0 <= most <= 2**24 for most in limit), "input_max")
    for layer in layers:
        require(layer.kernel in (1, 3) and len(layer.bias) in (1, 100), "kernel or rows of biases")
        require(-(2**24) <= layer.lo <= layer.hi <= 2**24 and (layer.hi >= 0 or not layer.relu), "lo and hi")
        require(len(layer.weight) == len(layer.shift) == len(layer.bias[0]), "a layer's shapes")
        require(set(layer.shift) <= set(range(25)), "shift is 0 to 24")
        taps, outputs = layer.kernel**2, len(layer.weight)
        for r, row in enumerate(layer.weight):
            require(len(row) == taps * len(limit), "a layer's input channels")
            total = sum(abs(w) * limit[n // taps] for n, w in enumerate(row))
            require(total + max(abs(bias[r]) for bias in layer.bias) <= 2**24, "the bound of section 12")
        largest = max(abs(max(layer.lo, 0) if layer.relu else layer.lo), abs(layer.hi))
        require(not layer.shuffle or outputs % 4 == 0, "shuffle takes channels by fours")
        limit = [largest] * (outputs // 4 if layer.shuffle else outputs)


def check_wire_2(network: Network, hyper: bool) -> None:
    """What section 12 asks of networks of wire id 2."""
    limit, layers = network
    require(not hyper or max(limit) <= 127, "z within 127")
    for n, layer in enumerate(layers):
        require(all(abs(w) <= 63 for row in layer.weight for w in row), "weights within 63")
        require(not hyper and n + 1 == len(layers) or layer.relu and layer.hi <= 255, "activations 0 to 255")


def in_group(i: int, j: int, c: int, steps: int, step: int) -> bool:
    """The conditions of section 11, y, step 3."""
    if steps == 1:
        return True
    if steps == 2:
        return (i + j + c) & 1 == step
    require(steps == 4, "steps is 1, 2 or 4")
    return (2 * (i & 1) + (j & 1)) ^ (0, 3, 1, 2)[step] == c & 3


def check_plan(plan: dict[str, Any]) -> None:
    """Every position of y is in one group (section 11), and the ranges of section 15."""
    for c, i, j in product(range(plan["y_channels"]), (0, 1), (0, 1)):
        held = [in_group(i, j, c, *rest) for start, stop, *rest in plan["groups"] if start <= c < stop]
        require(sum(held) == 1, "the groups hold every position once")
    require(plan["z_stride"] % plan["y_stride"] == 0 == 64 % plan["z_stride"], "strides")
    for key, lowest, highest in (("fraction", 0, 6), ("context_shift", 0, 8), ("context_max", 1, 32767)):
        require(lowest <= plan[key] <= highest, key)


def load_model(model_json: bytes, weights: bytes) -> Model:
    """A packed model from its two files (section 13), with its fingerprint (section 14)."""
    text = json.loads(model_json)
    wire_id = text["wire_id"]
    require(text["format"] == 1 and wire_id in (1, 2), "format is 1, wire id 1 or 2")
    plan, tensors = text["plan"], read_tensors(weights)
    check_plan(plan)
    keys = "y_channels z_channels y_stride z_stride fraction context_shift context_max skip"
    numbers = [wire_id, *(plan[key] for key in keys.split())]
    count, groups = len(plan["groups"]), list(chain.from_iterable(plan["groups"]))
    records = [record([9], numbers), record([count, 4], groups)]
    networks = []
    for name in ["hyper", *(f"predict.{k}" for k in range(count))]:
        described = text["exact"][name]
        records.append(record([len(described["input_max"])], described["input_max"]))
        layers = []
        for n, entry in enumerate(described["layers"]):
            five = [entry[key] for key in ("kernel", "relu", "lo", "hi", "shuffle")]
            records.append(record([5], [int(number) for number in five]))
            weight, bias, shift = (tensors[f"exact.{name}.{n}.{key}"] for key in ("weight", "bias", "shift"))
            records += [record(*weight, size=1), record(*bias), record(*shift)]
            layers.append(Layer(*[*five, split_rows(weight), split_rows(bias), shift[1]]))
        networks.append((described["input_max"], layers))
        check_bound(networks[-1])
        if wire_id == 2:
            check_wire_2(networks[-1], name == "hyper")
        require(name == "hyper" or max(-layers[-1].lo, layers[-1].hi) <= 32767, "means within 32767")
    radius, frequency, z_index = (tensors[name] for name in ("tables.radius", "tables.frequency", "z_index"))
    records += [record(*radius), record(*frequency), record(*z_index)]
    cumulative = []
    require(frequency[0] == [len(radius[1]), 2 * max(radius[1]) + 2], "the shape of the frequencies")
    for R, row in zip(radius[1], split_rows(frequency), strict=True):
        used = 2 * R + 2
        require(min(row[:used]) >= 1 and sum(row) == 2**16 and not any(row[used:]), "a table of section 9")
        cumulative.append(list(accumulate(row[:used], initial=0)))
    require(1 <= len(cumulative) <= 256 and 0 <= plan["skip"] <= len(cumulative), "number of tables, skip")
    require(z_index[0] == [100, plan["z_channels"]], "the shape of z_index")
    require(set(z_index[1]) <= set(range(len(cumulative))), "z_index names tables")
    points = [[0] * 3 for _ in cumulative]
    if wire_id == 2:
        records.append(record(*tensors["tables.reconstruction"]))
        points = split_rows(tensors["tables.reconstruction"])
        require(
            tensors["tables.reconstruction"][0] == [len(cumulative), 3], "the shape of the reconstruction"
        )
        require(all(2 * abs(s) < 2 ** plan["fraction"] for row in points for s in row), "half a step or more")
    digest = hashlib.sha256(b"bifocal entropy model 1\n" + b"".join(records)).digest()
    require(text.get("fingerprint", digest[:8].hex()) == digest[:8].hex(), "the fingerprint of model.json")
    return Model(plan, networks, radius[1], cumulative, split_rows(z_index), points, wire_id, digest[:8])


def run_layer(layer: Layer, x: Array, quality: int) -> Array:
    """One layer, section 12."""
    rows, columns, k = len(x[0]), len(x[0][0]), layer.kernel
    if k == 3:  # X of section 12: zero outside the tile
        edge = [0] * (columns + 2)
        x = [[edge, *([0, *row, 0] for row in plane), edge] for plane in x]
    bias = layer.bias[quality - 1 if len(layer.bias) == 100 else 0]
    parts = list(zip(layer.weight, bias, layer.shift, strict=True))
    lo = max(layer.lo, 0) if layer.relu else layer.lo  # one clip does both: check_bound saw to hi >= 0
    n = 2 if layer.shuffle else 1
    out = zeros(len(parts) // n**2, n * rows, n * columns)
    for i in range(rows):
        for j in range(columns):
            patch = [v for plane in x for row in plane[i : i + k] for v in row[j : j + k]]
            for r, (weight, b, shift) in enumerate(parts):
                v = (b + sum(map(mul, weight, patch))) >> shift
                out[r // n**2][n * i + r // n % n][n * j + r % n] = clip(v, lo, layer.hi)
    return out


def run_network(network: Network, x: Array, quality: int) -> Array:
    """An exact network, section 12."""
    x = [[[clip(v, -m, m) for v in row] for row in p] for p, m in zip(x, network[0], strict=True)]
    for layer in network[1]:
        x = run_layer(layer, x, quality)
    return x


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
    """A tile: its place in units of 64 pixels (section 6), its latent CRC and payload (section 5)."""

    place: tuple[int, int, int, int]  # first row, first column, rows, columns
    latent_crc: int
    payload: bytes


@dataclass(frozen=True)
class Stream:
    """A stream, taken apart and checked as far as that goes without a network."""

    fingerprint: bytes
    rows: int  # R and C of section 6
    columns: int
    quality: int
    metadata: dict[str, bytes]
    tiles: list[Tile]


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
        require(bool(re.fullmatch(r"[a-z][a-z0-9]{0,3} *", name)), "a critical chunk, or no name")
        require(not metadata or max(metadata) < name.rstrip(" "), "chunks are not in ascending order")
        metadata[name.rstrip(" ")] = value
    require(10 * -(-R // side) * -(-C // side) <= len(data) - reader.at, "fewer bytes than the tiles need")
    start, entries = reader.at, []
    for i, j in product(range(0, R, side), range(0, C, side)):
        place = i, j, min(side, R - i), min(side, C - j)
        largest = 32 * 64 * place[2] * 64 * place[3]
        entries.append((place, reader.varint(1, largest), reader.u32(), reader.u32()))
    reader.crc(start)
    tiles = []
    for place, size, payload_crc, latent_crc in entries:
        tiles.append(Tile(place, latent_crc, reader.take(size)))
        require(crc32(tiles[-1].payload) == payload_crc, "a payload's CRC differs")
    require(reader.at == len(data), "bytes after the last payload")
    return Stream(fingerprint, R, C, quality, metadata, tiles)


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
        arrays = decode_tile(model, tile, stream.quality)[:2]
        for picture, array, stride in zip(pictures, arrays, strides, strict=True):
            top, left = (n * 64 // stride for n in tile.place[:2])
            for target, plane in zip(picture, array, strict=True):
                for i, row in enumerate(plane):
                    target[top + i][left : left + len(row)] = row
    return pictures[0], pictures[1]
