"""Symbols of one tile ⇄ its payload: an ANS coder over integer tables, and a bit section for escapes.

Table ``t`` covers the symbols ``-radius[t] .. radius[t]`` and then one escape, with integer frequencies that
are at least 1 and sum to 2^16. They are stored with the model (``stream/tables.py`` makes them).

The coder is constriction's ``AnsCoder`` (Bamler, arXiv 2201.01741; ANS is Duda's, arXiv 1311.2540): 32-bit
words, a 64-bit state, 24-bit precision. Within a group, symbols are sorted by table so that each table costs
one call. A symbol outside its table is coded as the table's escape, and its value goes to a bit section
beside the words: sign, then Exp-Golomb of bounded length. No symbols have two payloads.

    payload = varint(bytes of bit section) · bit section · ANS words, little-endian, no trailing zero bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream, LatentsError, ModelError
from bifocal.stream.container import varint
from bifocal.stream.limits import MAX_SYMBOL, Reader

#: Frequencies of a table sum to 2^FREQUENCY_BITS.
FREQUENCY_BITS = 16
TOTAL = 1 << FREQUENCY_BITS
#: Table indexes are sorted as bytes.
MAX_TABLES = 256
#: Costs of symbols are counted in whole parts of a bit, so that sums of them are the same on every machine.
COST_UNIT = 1 / 256

_ESCAPE_ZEROS = MAX_SYMBOL.bit_length() - 1


@dataclass(frozen=True, eq=False)
class Tables:
    """``frequency`` int32 ``[n, 2·max(radius)+2]``, zero beyond each escape; ``radius`` int32 ``[n]``.

    Raises :class:`ModelError` unless every table is complete. Symbol ``q`` of table ``t`` is entry
    ``q + radius[t]``; its escape is entry ``2·radius[t] + 1``.

    >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
    >>> round(tables.bits(np.array([0]), np.array([0])), 4)
    0.0118
    """

    frequency: NDArray[np.int32]
    radius: NDArray[np.int32]

    def __post_init__(self) -> None:
        f, r = self.frequency, self.radius
        whole = (
            f.dtype == np.int32 and r.dtype == np.int32 and f.ndim == 2 and r.ndim == 1 and len(f) == len(r)
        )
        if not whole or not 1 <= len(r) <= MAX_TABLES or r.min() < 0 or f.shape[1] != 2 * int(r.max()) + 2:
            raise ModelError("the model's probability tables are misshapen. Pack the model again.")
        inside = np.arange(f.shape[1])[None, :] < (2 * r + 2)[:, None]
        total = f.sum(axis=1, dtype=np.int64)
        if (f[inside] < 1).any() or f[~inside].any() or (total != TOTAL).any():
            bad = int((total != TOTAL).argmax())
            raise ModelError(
                f"the model is damaged: probability table {bad} sums to {int(total[bad])}; entries "
                f"are at least 1 and sum to {TOTAL}. Pack the model again."
            )

    @property
    def count(self) -> int:
        return len(self.radius)

    @cached_property
    def models(self) -> tuple[Any, ...]:
        """The tables as constriction's, which keeps every boundary at ``cumulative frequency · 2^8``.

        The frequencies enter as exact fractions of 2^16; a test reads every boundary back.
        """
        categorical = constriction.stream.model.Categorical
        return tuple(
            categorical(row[: 2 * r + 2].astype(np.float64) / TOTAL, perfect=True)
            for row, r in zip(self.frequency, self.radius, strict=True)
        )

    def bits(self, values: NDArray[Any], index: NDArray[Any]) -> float:
        """Ideal length in bits of symbols ``values`` coded with tables ``index``, escapes included."""
        return float(self._lengths(np.ravel(values), np.ravel(index)).sum())

    def costs(self, values: NDArray[Any], index: NDArray[Any]) -> NDArray[np.int64]:
        """Ideal length of each symbol ``[n]``, coded with tables ``[n]``: int64 in ``COST_UNIT`` of a bit.

        >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
        >>> tables.costs(np.array([-1, 0, 1, 9]), np.zeros(4, np.uint8))
        array([2395,    3, 1883, 4820])
        """
        return np.rint(self._lengths(values, index) / COST_UNIT).astype(np.int64)

    def _lengths(self, values: NDArray[Any], index: NDArray[Any]) -> NDArray[np.float64]:
        values, index = values.astype(np.int64), index.astype(np.int64)
        radius = self.radius[index]
        beyond = np.abs(values) - radius
        outside = beyond > 0
        entry = np.where(outside, 2 * radius + 1, values + radius)
        ideal: NDArray[np.float64] = FREQUENCY_BITS - np.log2(self.frequency[index, entry])
        ideal[outside] += 2.0 * np.floor(np.log2(beyond[outside])) + 2.0  # sign and Exp-Golomb
        return ideal


class TileEncoder:
    """Collects the groups of a tile in coding order; :meth:`finish` returns the payload.

    >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
    >>> encoder, index = TileEncoder(tables), np.zeros(4, np.uint8)
    >>> encoder.put(np.array([0, -1, 77, 0], np.int32), index)
    >>> decoder = TileDecoder(encoder.finish(), tables)
    >>> decoder.take(index), decoder.finish()
    (array([ 0, -1, 77,  0], dtype=int32), None)
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._groups: list[tuple[NDArray[np.int32], NDArray[np.intp]]] = []
        self._escapes: list[str] = []

    def put(self, values: NDArray[np.int32], index: NDArray[np.uint8]) -> None:
        """Append a group: int32 symbols and the table of each, both ``[n]``."""
        order, counts = _sort(index, self._tables.count)
        ordered = values[order]
        radius = np.repeat(self._tables.radius, counts)
        entries = ordered + radius
        outside = np.flatnonzero(entries.view(np.uint32) > (2 * radius).view(np.uint32))
        if outside.size:
            far = np.abs(ordered[outside].astype(np.int64))
            if far.max() > MAX_SYMBOL:
                raise LatentsError(
                    f"a latent symbol is beyond ±{MAX_SYMBOL}, the format's limit: the analysis diverged. "
                    "Check the model with `bifocal doctor`."
                )
            entries[outside] = 2 * radius[outside] + 1
            signs = (ordered[outside] < 0).tolist()
            for sign, m in zip(signs, (far - radius[outside]).tolist(), strict=True):
                self._escapes.append(f"{sign:d}{m:0{2 * m.bit_length() - 1}b}")
        self._groups.append((entries, counts))

    def finish(self) -> bytes:
        """Code everything, last symbol first, and return the payload."""
        coder = constriction.stream.stack.AnsCoder()
        for entries, counts in reversed(self._groups):
            stops = np.cumsum(counts)
            for t in np.flatnonzero(counts)[::-1].tolist():
                stop = int(stops[t])
                coder.encode_reverse(entries[stop - int(counts[t]) : stop], self._tables.models[t])
        words: NDArray[Any] = coder.get_compressed()
        text = "".join(self._escapes)
        size = (len(text) + 7) // 8
        section = int(text.ljust(8 * size, "0"), 2).to_bytes(size, "big") if text else b""
        return varint(size) + section + words.astype("<u4").tobytes().rstrip(b"\0")


class TileDecoder:
    """Takes the groups of a tile from its payload, in coding order; :meth:`finish` says whether all was used.

    Any bytes may be decoded: wrong ones give wrong symbols or :class:`DamagedStream`, and nothing is ever
    read beyond them.
    """

    def __init__(self, payload: bytes | memoryview, tables: Tables) -> None:
        reader = Reader(payload)
        size = reader.varint((1 << 32) - 1, "size of a tile's escapes")
        if size > reader.remaining:
            raise DamagedStream("a tile declares more escapes than it has bytes: the tile is damaged.")
        section = bytes(reader.take(size, "escapes of a tile"))
        words = bytes(reader.take(reader.remaining, "words of a tile"))
        if words and not words[-1]:
            raise DamagedStream(
                "the words of a tile end in a zero byte, which no encoder writes: it is damaged."
            )
        padded = words + b"\0" * (-len(words) % 4)
        array = np.frombuffer(padded, dtype="<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(array)
        self._tables = tables
        self._bits = 8 * size
        self._section = section + bytes(8)  # so that a window of 64 bits may begin at any bit
        self._position = 0

    def take(self, index: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Decode the next group: int32 ``[n]`` for table indexes ``[n]``."""
        order, counts = _sort(index, self._tables.count)
        decode, models = self._coder.decode, self._tables.models
        parts = [decode(models[t], count) for t, count in enumerate(counts.tolist()) if count]
        values = np.empty(len(index), dtype=np.int32)
        if parts:
            ordered = np.concatenate(parts)
            radius = np.repeat(self._tables.radius, counts)
            ordered -= radius
            for k in np.flatnonzero(ordered > radius).tolist():
                ordered[k] = self._escape(int(radius[k]))
            values[order] = ordered
        return values

    def _escape(self, radius: int) -> int:
        byte, bit = self._position >> 3, self._position & 7
        window = int.from_bytes(self._section[byte : byte + 8], "big") << bit
        zeros = 63 - (window & ((1 << 63) - 1)).bit_length()
        self._position += 2 + 2 * zeros
        if zeros > _ESCAPE_ZEROS or self._position > self._bits:
            raise DamagedStream("an escaped symbol runs past the escapes of its tile: the tile is damaged.")
        magnitude = radius + (window >> (62 - 2 * zeros) & ((2 << zeros) - 1))
        if magnitude > MAX_SYMBOL:
            raise DamagedStream(f"an escaped symbol is beyond ±{MAX_SYMBOL}: the tile is damaged.")
        return -magnitude if window >> 63 & 1 else magnitude

    def finish(self) -> None:
        """Raise :class:`DamagedStream` unless the coder is empty and only padding is left of the escapes."""
        left = self._bits - self._position
        padding = left < 8 and not (left and self._section[self._bits // 8 - 1] & ((1 << left) - 1))
        if not self._coder.is_empty() or not padding:
            raise DamagedStream("a tile holds more than its symbols: it is damaged, or of another stream.")


def _sort(index: NDArray[np.uint8], tables: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(order by table, symbols of each table): a stable sort, radix for bytes."""
    return np.argsort(index, kind="stable"), np.bincount(index, minlength=tables)
