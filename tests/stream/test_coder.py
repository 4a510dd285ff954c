"""The tile coder: as short as theory allows, exact for any symbol, and safe on any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.errors import BifocalError, DamagedStream, LatentsError, TruncatedStream
from bifocal.stream.coder import TileDecoder, TileEncoder
from bifocal.stream.limits import MAX_SYMBOL
from bifocal.stream.tables import gaussian_tables, scale_ladder

SCALES = scale_ladder(16, 0.11, 20.0)
TABLES = gaussian_tables(SCALES)

Groups = list[tuple[np.ndarray, np.ndarray]]


def encode(groups: Groups) -> bytes:
    encoder = TileEncoder(TABLES)
    for values, index in groups:
        encoder.put(values, index)
    return encoder.finish()


def decode(payload: bytes, groups: Groups) -> list[np.ndarray]:
    decoder = TileDecoder(payload, TABLES)
    taken = [decoder.take(index) for _, index in groups]
    decoder.finish()
    return taken


def random_groups(seed: int, sizes: list[int], scale: float = 1.0) -> Groups:
    rng = np.random.default_rng(seed)
    groups = []
    for size in sizes:
        index = rng.integers(0, len(SCALES), size).astype(np.uint8)
        values = np.rint(rng.standard_normal(size) * SCALES[index] * scale).astype(np.int32)
        groups.append((values, index))
    return groups


symbols = st.one_of(st.integers(-5, 5), st.integers(-1000, 1000), st.integers(-MAX_SYMBOL, MAX_SYMBOL))
group = st.lists(st.tuples(symbols, st.integers(0, len(SCALES) - 1)), max_size=40)


@given(st.lists(group, max_size=5))
@settings(deadline=None)
def test_any_symbols_come_back(drawn: list[list[tuple[int, int]]]) -> None:
    groups = [
        (np.array([v for v, _ in g], dtype=np.int32), np.array([i for _, i in g], dtype=np.uint8))
        for g in drawn
    ]
    taken = decode(encode(groups), groups)
    assert all(np.array_equal(a, b) for a, (b, _) in zip(taken, groups, strict=True))


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_length_is_the_ideal_one(scale: float) -> None:
    groups = random_groups(1, [5000, 1, 0, 20000], scale)
    bits = sum(TABLES.bits(values, index) for values, index in groups)
    assert bits <= 8 * len(encode(groups)) <= bits * 1.0002 + 80


def test_nothing_costs_one_byte() -> None:
    assert encode([]) == b"\0"
    assert decode(b"\0", []) == []


@pytest.mark.parametrize("value", [MAX_SYMBOL, -MAX_SYMBOL])
def test_the_largest_symbol_comes_back(value: int) -> None:
    groups = [(np.array([value], np.int32), np.array([0], np.uint8))]
    assert decode(encode(groups), groups)[0].tolist() == [value]


def test_a_larger_symbol_is_refused_not_clipped() -> None:
    for value in (MAX_SYMBOL + 1, -(2**31)):
        with pytest.raises(LatentsError, match="beyond"):
            encode([(np.array([value], np.int32), np.array([0], np.uint8))])


def ans_encode(entries: list[tuple[int, int]]) -> bytes:
    """Section 8 of SPEC.md, from (table, entry) pairs."""
    state, words = 0, []
    for t, e in reversed(entries):
        row = TABLES.frequency[t].tolist()
        frequency, before = 256 * row[e], 256 * sum(row[:e])
        if state >> 40 >= frequency:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = ((state // frequency) << 24) + before + state % frequency
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return np.array(words, dtype="<u4").tobytes().rstrip(b"\0")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 50, 400])
def test_the_words_are_those_of_the_specification(size: int) -> None:
    ((values, index),) = random_groups(size, [size], 0.5)
    entries = [(int(t), int(v) + int(TABLES.radius[t])) for v, t in sorted_by_table(values, index)]
    assert encode([(values, index)]) == b"\0" + ans_encode(entries)


def sorted_by_table(values: np.ndarray, index: np.ndarray) -> list[tuple[int, int]]:
    return sorted(zip(values.tolist(), index.tolist(), strict=True), key=lambda pair: pair[1])


def test_escapes_are_those_of_the_specification() -> None:
    radius = int(TABLES.radius[3])
    values = np.array([radius + 1, -radius - 6], dtype=np.int32)
    payload = encode([(values, np.array([3, 3], np.uint8))])
    # sign 0, m = 1; sign 1, m = 6 = 110 after two zeros; padding
    assert payload[:2] == bytes([1, 0b01100110])


@given(st.binary(max_size=80), st.integers(0, 3))
@settings(deadline=None, max_examples=400)
def test_any_bytes_are_decoded_or_refused(payload: bytes, seed: int) -> None:
    groups = random_groups(seed, [10, 200])
    try:
        taken = decode(payload, groups)
    except BifocalError:
        return
    again = [(values, index) for values, (_, index) in zip(taken, groups, strict=True)]
    assert encode(again) == payload


def test_every_change_of_a_payload_is_seen_or_changes_symbols() -> None:
    groups = random_groups(5, [60, 60], 3.0)
    payload = encode(groups)
    for position in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[position // 8] ^= 1 << position % 8
        try:
            taken = decode(bytes(damaged), groups)
        except BifocalError:
            continue
        assert not all(np.array_equal(a, b) for a, (b, _) in zip(taken, groups, strict=True))


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", TruncatedStream),  # not even the size of the escapes
        (b"\5ab", DamagedStream),  # fewer escapes than declared
        (b"\0abc\0", DamagedStream),  # words end in a zero byte
        (b"\1\0", DamagedStream),  # escapes that no symbol uses
        (b"\0\1", DamagedStream),  # words that no symbol uses
        (b"\x80\0", DamagedStream),  # a long zero
        (b"\xff\xff\xff\xff\xff\xff", BifocalError),  # an endless integer
    ],
)
def test_payloads_that_no_encoder_writes(payload: bytes, error: type[BifocalError]) -> None:
    with pytest.raises(error):
        decode(payload, [])


def test_an_escape_longer_than_any_symbol_is_refused() -> None:
    radius = int(TABLES.radius[0])
    groups = [(np.array([radius + 1], np.int32), np.array([0], np.uint8))]
    words = encode(groups)[2:]
    for section in (bytes(9), b"\0\0\0\x40" + bytes(4), b"\0\0\0\x7f\xff\xff\xff"):
        with pytest.raises(DamagedStream, match="escaped symbol"):
            decode(bytes([len(section)]) + section + words, groups)
