"""24,000 damaged streams: each raises one of Bifocal's errors or decodes to the identical latents.

Every case is made from a golden stream, deterministically. In fewer than half of them only the bytes are
damaged, as a disk or a network would. In the others the damage is done to a field, and the checksums of
header, chunks, index and payloads are recomputed, so that it reaches the parsers and the coder; only the
checksum of the latents stays behind.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import BifocalError
from bifocal.stream import container
from bifocal.stream.container import varint
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import EntropyModel, unpack
from bifocal.stream.limits import Limits
from bifocal.types import Latents

GOLDEN = Path(__file__).parents[1] / "conformance" / "golden" / "tiny-1"
#: What a case may ask for at most: it bounds the time of those that declare more pixels than they hold.
LIMITS = Limits(pixels=1 << 16, metadata_bytes=1 << 12, stream_bytes=1 << 16)
SMALL = ["one-pixel", "thin-65x3", "gray-64x64", "metadata-40x90", "escapes-96x64", "huge-escapes-64x64"]
HOSTILE = [0, 1, 63, 64, 127, 128, 255, 2**14, 2**16, 2**21, 2**24 - 1, 2**24, 2**31, 2**32 - 1, 2**35 - 1]

Rng = np.random.Generator


@dataclass
class Parts:
    """A stream taken apart, so that a field can be damaged and the rest written correctly around it."""

    fields: list[bytes]  # of the header, without its checksum
    count: bytes
    chunks: list[list[bytes]]  # name, size, value
    entries: list[list[bytes]]  # size, latent checksum
    payloads: list[bytes]
    latents: Latents = field(repr=False)

    def copy(self) -> Parts:
        chunks, entries = [list(c) for c in self.chunks], [list(e) for e in self.entries]
        return Parts(list(self.fields), self.count, chunks, entries, list(self.payloads), self.latents)

    def stream(self) -> bytes:
        """Everything put together, every checksum but those of the latents recomputed."""
        front = b"".join(self.fields)
        out = [front, _crc(front)]
        if self.chunks:
            out.append(self.count)
            out += [b"".join(chunk) + _crc(b"".join(chunk)) for chunk in self.chunks]
        entries = zip(self.entries, self.payloads, strict=False)
        index = b"".join(size + _crc(payload) + latent for (size, latent), payload in entries)
        return b"".join([*out, index, _crc(index), *self.payloads])


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def take_apart(data: bytes, latents: Latents) -> Parts:
    box = container.read(data)
    h = box.header
    flags = h.gray | 2 * bool(box.metadata)
    sides = [varint(h.width), varint(h.height), bytes([h.quality]), varint(h.tile // 64)]
    fields = [b"\x89BFC", b"\1", bytes([flags]), varint(h.wire_id), h.fingerprint, bytes(h.release), *sides]
    chunks = [[key.encode().ljust(4), varint(len(value)), value] for key, value in box.metadata.items()]
    entries = [[varint(t.length), t.latent_crc.to_bytes(4, "little")] for t in box.tiles]
    payloads = [bytes(data[t.offset : t.offset + t.length]) for t in box.tiles]
    parts = Parts(fields, varint(len(chunks)), chunks, entries, payloads, latents)
    assert parts.stream() == data
    return parts


# What may happen to bytes.


def flip(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if out:
            out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def scribble(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    length = int(rng.integers(1, 17))
    return data[:at] + rng.bytes(length) + data[at + length :]


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def drop(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + data[at + int(rng.integers(1, 9)) :]


def grow(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]


def noise(data: bytes, rng: Rng) -> bytes:
    return rng.bytes(len(data))


def number(data: bytes, rng: Rng) -> bytes:
    return varint(int(rng.choice(HOSTILE)) + int(rng.integers(-1, 2)) % 2**35)


CHANGES: list[Callable[[bytes, Rng], bytes]] = [flip, scribble, cut, drop, grow, noise]


def any_change(data: bytes, rng: Rng) -> bytes:
    return CHANGES[int(rng.integers(len(CHANGES)))](data, rng)


# Where it may happen: each returns a damaged stream of which the rest is sound.


def damage_bytes(parts: Parts, others: list[Parts], rng: Rng) -> bytes:
    data = parts.stream()
    kind = int(rng.integers(8))
    if kind == 0:  # two streams joined
        other = others[int(rng.integers(len(others)))].stream()
        return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]
    if kind == 1:  # something else behind our magic
        return data[: int(rng.integers(0, 24))] + rng.bytes(int(rng.integers(200)))
    return any_change(data, rng)


def damage_header(parts: Parts, rng: Rng) -> None:
    at = int(rng.integers(1, len(parts.fields)))
    one = parts.fields[at]
    parts.fields[at] = number(one, rng) if rng.random() < 0.5 else any_change(one, rng)


def damage_chunks(parts: Parts, rng: Rng) -> None:
    parts.fields[2] = bytes([parts.fields[2][0] | 2])
    parts.chunks = parts.chunks or [[b"icc ", b"\3", b"abc"]]
    kind = int(rng.integers(5))
    chunk = parts.chunks[int(rng.integers(len(parts.chunks)))]
    if kind == 0:
        parts.count = number(parts.count, rng)
    elif kind == 1:
        parts.chunks = [parts.chunks[i] for i in rng.integers(0, len(parts.chunks), int(rng.integers(1, 5)))]
        parts.count = varint(len(parts.chunks))
    else:
        at = kind - 2
        chunk[at] = number(chunk[at], rng) if at == 1 else any_change(chunk[at], rng)


def damage_index(parts: Parts, rng: Rng) -> None:
    entry = parts.entries[int(rng.integers(len(parts.entries)))]
    at = int(rng.integers(2))
    entry[at] = number(entry[at], rng) if at == 0 else any_change(entry[at], rng)
    if rng.random() < 0.2:
        parts.entries = parts.entries[: int(rng.integers(len(parts.entries) + 1))]


def damage_payload(parts: Parts, others: list[Parts], rng: Rng) -> None:
    at = int(rng.integers(min(2, len(parts.payloads))))
    payload = parts.payloads[at]
    kind = int(rng.integers(8))
    if kind == 0:  # another tile's
        other = others[int(rng.integers(len(others)))].payloads
        payload = other[int(rng.integers(len(other)))]
    elif kind == 1:  # a hostile size of the escapes
        payload = number(payload, rng) + payload[1:]
    elif kind == 2:  # only the words, from the end: the decoder's first state
        payload = payload[:-4] + rng.bytes(int(rng.integers(0, 9)))
    else:
        payload = any_change(payload, rng)
    parts.payloads[at] = payload
    parts.entries[at][0] = varint(len(payload))


def make_case(names: list[str], seed: int, kind: str) -> tuple[bytes, Parts]:
    rng = np.random.default_rng([seed, *kind.encode()])
    parts = _parts(names[seed % len(names)]).copy()
    others = [_parts(name) for name in SMALL]
    if kind == "bytes":
        return damage_bytes(parts, others, rng), parts
    if kind == "payload":
        damage_payload(parts, others, rng)
    else:
        {"header": damage_header, "chunks": damage_chunks, "index": damage_index}[kind](parts, rng)
    return parts.stream(), parts


MODEL = EntropyModel.load(GOLDEN / "model")


@cache
def _parts(name: str) -> Parts:
    data = (GOLDEN / f"{name}.bfc").read_bytes()
    return take_apart(data, unpack(data, MODEL, NumpyEngine()))


@pytest.mark.parametrize(
    ("kind", "names", "cases"),
    [
        ("bytes", [*SMALL, "tiles-200x130"], 11000),
        ("header", [*SMALL, "tiles-200x130"], 3000),
        ("chunks", [*SMALL, "tiles-200x130"], 2000),
        ("index", [*SMALL, "tiles-200x130"], 2500),
        ("payload", SMALL, 5500),
    ],
)
def test_damage_is_an_error_or_harmless(kind: str, names: list[str], cases: int) -> None:
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(cases):
        data, parts = make_case(names, seed, kind)
        engine = NumpyEngine()
        began = time.process_time()
        try:
            latents = unpack(data, MODEL, engine, LIMITS)
        except BifocalError as error:
            assert len(str(error)) > 30, f"{kind} {seed}: {error!r} says too little"
            outcomes[type(error).__name__] += 1
        else:
            # Who rewrites a header with its checksum makes another stream, which may name another size of
            # picture.
            same = np.array_equal(latents.y, parts.latents.y) and np.array_equal(latents.z, parts.latents.z)
            assert same, f"{kind} {seed} decoded to other latents"
            assert kind != "bytes" or latents == parts.latents, f"{kind} {seed} decoded to another picture"
            outcomes["identical"] += 1
        slowest = max(slowest, time.process_time() - began)
        if not _reads(data):
            assert not engine.layers_run, f"{kind} {seed}: a network ran before the container was checked"
    assert slowest < 2.0
    assert outcomes["DamagedStream"] > cases / 20
    if kind == "payload":  # the coder itself saw garbage
        assert outcomes["identical"] < cases / 10


def _reads(data: bytes) -> bool:
    try:
        container.read(data, LIMITS)
    except BifocalError:
        return False
    return True


def test_the_kinds_add_up() -> None:
    (mark,) = test_damage_is_an_error_or_harmless.pytestmark
    cases = {kind: count for kind, _, count in mark.args[1]}
    assert sum(cases.values()) >= 20_000
    assert sum(cases.values()) - cases["bytes"] >= sum(cases.values()) / 2
