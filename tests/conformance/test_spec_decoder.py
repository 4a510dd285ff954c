"""SPEC.md suffices: a decoder written from it alone gives the golden latents, and refuses what is damaged."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest

from tests.conformance import spec_decoder as spec
from tests.conformance import spec_model

GOLDEN = Path(__file__).parent / "golden"
HASHES = {
    folder.name: json.loads((folder / "hashes.json").read_text()) for folder in sorted(GOLDEN.iterdir())
}
STREAMS = [(folder, name) for folder, hashes in HASHES.items() for name in hashes["streams"]]
TINY = GOLDEN / "tiny-1"


@cache
def model_of(folder: str) -> spec.Model:
    files = GOLDEN / folder / "model"
    return spec.load_model((files / "model.json").read_bytes(), (files / "weights.safetensors").read_bytes())


def varint(value: int) -> bytes:
    """Section 1."""
    low = bytes([value & 127])
    return low if value < 128 else bytes([low[0] | 128]) + varint(value >> 7)


def sealed(data: bytes) -> bytes:
    """The bytes, then their CRC-32."""
    return data + crc32(data).to_bytes(4, "little")


def chunk(name: bytes, value: bytes) -> bytes:
    """A metadata chunk, section 4."""
    return sealed(name + varint(len(value)) + value)


def one_tile(
    header: bytes | None = None,
    *,
    chunks: bytes = b"",
    payload: bytes | None = None,
    latent_crc: int | None = None,
    index: bytes | None = None,
) -> bytes:
    """The stream one-pixel with other parts, all CRCs but the latent one made to fit."""
    tile = spec.parse(golden := (TINY / "one-pixel.bfc").read_bytes()).tiles[0]
    header = golden[:22] if header is None else header
    payload = tile.payload if payload is None else payload
    crcs = crc32(payload), tile.latent_crc if latent_crc is None else latent_crc
    if index is None:
        index = varint(len(payload)) + b"".join(crc.to_bytes(4, "little") for crc in crcs)
    return sealed(header) + chunks + sealed(index) + payload


def with_flag(bits: int) -> bytes:
    """The header of one-pixel, without its CRC, with other flags."""
    return edited(5, bytes([bits]))


def edited(at: int, new: bytes, size: int = 1) -> bytes:
    """The header of one-pixel, without its CRC, with other bytes."""
    header = (TINY / "one-pixel.bfc").read_bytes()[:22]
    return header[:at] + new + header[at + size :]


def escapes_of(values: list[tuple[int, int]]) -> bytes:
    """The escapes of symbols q with the radius of their tables, section 10."""
    bits = ""
    for q, radius in values:
        m = abs(q) - radius
        bits += f"{int(q < 0)}{'0' * (m.bit_length() - 1)}{m:b}"
    bits += "0" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def words_of(model: spec.Model, trace: list[tuple[int, int]]) -> bytes:
    """The words of entries, by the encoder of section 8."""
    state, words = 0, []
    for table, entry in reversed(trace):
        low, high = model.cumulative[table][entry : entry + 2]
        F, B = 256 * (high - low), 256 * low
        if state >> 40 >= F:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // F << 24) + B + state % F
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0")


def test_the_decoder_is_independent() -> None:
    names: set[str] = set()
    for module in (spec, spec_model):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or ".")
    names.discard(spec_model.__name__)
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("folder", HASHES)
def test_fingerprint(folder: str) -> None:
    assert model_of(folder).fingerprint.hex() == HASHES[folder]["fingerprint"]


@pytest.mark.parametrize(("folder", "name"), STREAMS)
def test_golden_latents(folder: str, name: str) -> None:
    data = (GOLDEN / folder / f"{name}.bfc").read_bytes()
    expected = HASHES[folder]["streams"][name]
    assert hashlib.sha256(data).hexdigest() == expected["bytes"]
    latents = spec.decode(data, model_of(folder))
    assert hashlib.sha256(spec.latent_bytes(*latents)).hexdigest() == expected["latents"]


@pytest.mark.parametrize(("folder", "name"), STREAMS)
def test_the_encoder_of_the_specification_gives_the_payloads(
    folder: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    escaped: list[tuple[int, int]] = []
    decode_escape = spec.Payload.escape

    def escape(payload: spec.Payload, radius: int) -> int:
        escaped.append((decode_escape(payload, radius), radius))
        return escaped[-1][0]

    monkeypatch.setattr(spec.Payload, "escape", escape)
    model, stream = model_of(folder), spec.parse((GOLDEN / folder / f"{name}.bfc").read_bytes())
    for tile in stream.tiles:
        escaped.clear()
        payload = spec.decode_tile(model, tile, stream.quality)[2]
        escapes = escapes_of(escaped)
        assert varint(len(escapes)) + escapes + words_of(model, payload.trace) == tile.payload


def test_every_cut_and_every_flipped_bit_is_refused() -> None:
    data, model = (TINY / "metadata-40x90.bfc").read_bytes(), model_of("tiny-1")
    for size in range(len(data)):
        with pytest.raises(spec.Refused):
            spec.decode(data[:size], model)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(spec.Refused):
            spec.decode(bytes(damaged), model)


PAYLOAD = spec.parse(one_tile()).tiles[0].payload
ENTRY = one_tile()[26:36]
ESCAPES, WORDS = PAYLOAD[1 : 1 + PAYLOAD[0]], PAYLOAD[1 + PAYLOAD[0] :]
MANY = b"".join(chunk(b"a%-3d" % n, b"") for n in sorted(range(33), key=str))
REFUSED: dict[str, dict[str, bytes]] = {
    "cut off": {
        "empty": b"",
        "more escapes than payload": one_tile(payload=b"\xff\x7f" + PAYLOAD[1:]),
    },
    "bytes after the last payload": {
        "a byte more": one_tile() + b"\0",
    },
    "not a Bifocal stream of version 1": {
        "magic": one_tile(edited(0, b"\x88")),
        "version 2": one_tile(edited(4, b"\2")),
    },
    "flags, wire id or quality": {
        "reserved flag": one_tile(with_flag(4)),
        "wire id 3": one_tile(edited(6, b"\3")),
        "quality 0": one_tile(edited(20, b"\0")),
        "quality 101": one_tile(edited(20, b"\x65")),
    },
    "a stream of another model": {
        "another model": one_tile(edited(7, bytes(8), 8)),
    },
    "a number is out of its range": {
        "width 0": one_tile(edited(18, b"\0")),
        "width 2^24": one_tile(edited(18, varint(2**24))),
        "tile side 0": one_tile(edited(21, b"\0")),
        "tile side 1025": one_tile(edited(21, varint(1025))),
        "no chunks": one_tile(with_flag(2), chunks=b"\0"),
        "33 chunks": one_tile(with_flag(2), chunks=b"\x21" + MANY),
        "payload of 0 bytes": one_tile(payload=b""),
        "payload larger than allowed": one_tile(payload=bytes(32 * 4096 + 1)),
    },
    "a varint is not in its shortest form": {
        "height not in its shortest form": one_tile(edited(19, b"\x81\0")),
    },
    "a varint of more than 5 bytes": {
        "height of six bytes": one_tile(edited(19, b"\x81\x80\x80\x80\x80\1")),
    },
    "fewer bytes than the tiles need": {
        "more tiles than bytes": one_tile(edited(18, varint(2**24 - 1) * 2, 2)),
    },
    "the tiles are too large": {
        "too large a tile": one_tile(edited(18, varint(4097) + varint(4096) + b"\x32" + varint(1024), 4)),
    },
    "the words do not end with the symbols": {
        "another quality": one_tile(edited(20, b"\x33")),
        "a word too many": one_tile(payload=PAYLOAD + b"\0\0\0\1"),
        "a word too few": one_tile(payload=PAYLOAD[:-4]),
    },
    "a critical chunk, or no name": {
        "a critical chunk": one_tile(with_flag(2), chunks=b"\1" + chunk(b"New ", b"")),
        "upper case in a name": one_tile(with_flag(2), chunks=b"\1" + chunk(b"nEW ", b"")),
        "a space in a name": one_tile(with_flag(2), chunks=b"\1" + chunk(b"n w ", b"")),
    },
    "chunks are not in ascending order": {
        "a chunk twice": one_tile(with_flag(2), chunks=b"\2" + 2 * chunk(b"new ", b"")),
        "chunks in disorder": one_tile(
            with_flag(2), chunks=b"\2" + chunk(b"xmp ", b"") + chunk(b"icc ", b"")
        ),
    },
    "the latent CRC differs": {
        "latent CRC": one_tile(latent_crc=0),
        "payload without words": one_tile(payload=b"\0"),
    },
    "a payload's CRC differs": {
        "payload CRC": one_tile(index=ENTRY[:2] + bytes(4) + ENTRY[6:]),
    },
    "the words end in a zero byte": {
        "words that end in 0": one_tile(payload=PAYLOAD + b"\0"),
    },
    "the escapes do not end with the symbols": {
        "escapes of 0 bits": one_tile(payload=bytes([PAYLOAD[0] + 1]) + ESCAPES + b"\0" + WORDS),
    },
}


@pytest.mark.parametrize(
    ("rule", "name"), [(rule, name) for rule, streams in REFUSED.items() for name in streams]
)
def test_refused_by_the_right_rule(rule: str, name: str) -> None:
    with pytest.raises(spec.Refused, match=f"^{rule}$"):
        spec.decode(REFUSED[rule][name], model_of("tiny-1"))


@pytest.mark.parametrize("bit", range(0, 8 * len(PAYLOAD), 61))
def test_flipped_payload_bits_are_refused_although_the_crc_fits(bit: int) -> None:
    flipped = int.from_bytes(PAYLOAD, "little") ^ 1 << bit
    with pytest.raises(spec.Refused):
        spec.decode(one_tile(payload=flipped.to_bytes(len(PAYLOAD), "little")), model_of("tiny-1"))


def test_what_must_not_matter_does_not() -> None:
    data, model = (TINY / "one-pixel.bfc").read_bytes(), model_of("tiny-1")
    assert one_tile() == data
    expected = spec.decode(data, model)
    unknown = b"\2" + chunk(b"n   ", b"\0") + chunk(b"new9", bytes(200))
    for other in (
        one_tile(with_flag(1)),
        one_tile(with_flag(2), chunks=unknown),
        one_tile(edited(15, b"\1\2\3", 3)),
        one_tile(edited(18, b"\x40\x40", 2)),
        one_tile(edited(21, b"\1")),
    ):
        assert other != data and spec.decode(other, model) == expected


def test_another_weight_is_another_model() -> None:
    texts, weights = (
        (TINY / "model/model.json").read_bytes(),
        (TINY / "model/weights.safetensors").read_bytes(),
    )
    text = {key: value for key, value in json.loads(texts).items() if key != "fingerprint"}
    other = spec.load_model(json.dumps(text).encode(), weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(spec.Refused, match="another model"):
        spec.decode((TINY / "one-pixel.bfc").read_bytes(), other)
