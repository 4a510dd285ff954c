"""The directories inside an EXIF block: read, and changed in place.

EXIF is a small TIFF file: a header, and directories of entries that point to values elsewhere in the block.
Maker notes hold offsets into the whole block, so nothing here moves a value: an orientation is overwritten in
place, and what is removed leaves zeros.

Layout: TIFF 6.0, section 2, and the Exif standard (CIPA DC-008), 4.6.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bifocal.pictures.xmp import without_gps_properties

#: What JPEG puts before EXIF; streams hold EXIF without it.
EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION, _GPS, _XMP = 0x0112, 0x8825, 0x02BC
_CHILDREN = (0x8769, 0xA005, 0x014A)  # directories of their own: Exif, interoperability, further images
_PREFIXES = re.compile(rb"(?:Exif\0\0)*")
#: The two headers of the standard, and the two with a swapped 42 that some writers make and readers take.
_HEADERS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}
#: Most directories that are followed; more than a few are a block made to cost time.
_MOST = 64
#: Bytes of one value by its type, and how ``struct`` reads it where it is a number.
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_FORMATS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}
_FRACTIONS = {5: "II", 10: "ii"}


class _Entry(NamedTuple):
    """One entry: where it is, its tag, the type and number of its values, and where they are."""

    at: int
    tag: int
    kind: int
    values: int
    start: int
    size: int


class _Directory(NamedTuple):
    """A directory: its first byte and its end, the entries that are complete, the offset of the next or 0."""

    at: int
    end: int
    entries: list[_Entry]
    next: int


def orientation_of(exif: bytes) -> int | None:
    """The orientation, 1 to 8, in the main directory, whatever kind of number holds it; None without.

    >>> exif = b"II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0"
    >>> orientation_of(exif)
    6
    """
    for entry, order in _orientations(exif):
        value = _number(exif, entry, order)
        if value is not None:
            return int(value) if value in range(2, 9) else 1
    return None


def text_of(exif: bytes, tag: int) -> bytes:
    """The bytes of a tag in any directory, empty if it is not there or not all there."""
    order, base = _header(exif) or ("", 0)
    directories = _directories(exif, order, base) if order else []
    entries = (entry for directory in directories for entry in directory.entries if entry.tag == tag)
    return next((exif[e.start : e.start + e.size] for e in entries if e.start + e.size <= len(exif)), b"")


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF with orientation 1, of the type that the standard prescribes; nothing is moved.

    Without that tag, or if it is no EXIF, it comes back as it is.

    >>> exif = b"II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0"
    >>> upright_exif(exif) == exif.replace(b"\\x06\\0\\0\\0\\0", b"\\x01\\0\\0\\0\\0")
    True
    """
    changed = bytearray(exif)
    for entry, order in _orientations(exif):
        struct.pack_into(f"{order}HIHH", changed, entry.at + 2, 3, 1, 1, 0)  # SHORT, one value, 1, padding
    return bytes(changed)


def without_gps(exif: bytes) -> bytes | None:
    """The same EXIF without its GPS directory, whose bytes become zeros, and without XMP in which there is a
    position; None if it is not readable as EXIF.

    Maker notes are kept as they are: what a maker writes into them is not known.
    """
    head = _header(exif)
    if head is None:
        return None
    order, base = head
    directories = _directories(exif, order, base)
    entries = [entry for directory in directories for entry in directory.entries]
    if sum(entry.size for entry in entries if entry.tag == _XMP) > len(exif):
        return None  # made to cost time
    removed = {entry for entry in entries if _holds_position(exif, entry)}
    spans = [span for entry in removed for span in _spans(exif, entry, order, base)]
    if not directories or sum(end - start for start, end in spans) > len(exif):
        return None
    changed = bytearray(exif)
    for start, end in spans:
        changed[start:end] = bytes(end - start)
    changed[: base + 8] = exif[: base + 8]  # in a damaged block, what is kept may have stood in between
    for directory in directories:
        changed[directory.at : directory.end] = exif[directory.at : directory.end]
    for directory in directories:
        for entry in reversed(directory.entries):
            if entry in removed:
                _remove(changed, directory, entry, order)
    return bytes(changed)


def _header(exif: bytes) -> tuple[str, int] | None:
    """Byte order, ``<`` or ``>``, and where offsets count from."""
    match = _PREFIXES.match(exif)
    base = match.end() if match else 0
    order = _HEADERS.get(exif[base : base + 4])
    return None if order is None or len(exif) < base + 8 else (order, base)


def _orientations(exif: bytes) -> Iterator[tuple[_Entry, str]]:
    head = _header(exif)
    if head is None:
        return
    order, base = head
    main = _directory(exif, order, base, struct.unpack_from(f"{order}I", exif, base + 4)[0])
    for entry in main.entries if main else ():
        if entry.tag == _ORIENTATION:
            yield entry, order


def _directory(exif: bytes, order: str, base: int, offset: int) -> _Directory | None:
    at = base + offset
    if offset < 8 or at + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    entries = []
    for start in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", exif, start)
        size = _SIZES.get(kind, 1) * values
        where = start + 8 if size <= 4 else base + struct.unpack_from(f"{order}I", exif, start + 8)[0]
        entries.append(_Entry(start, tag, kind, values, where, size))
    end = at + 2 + 12 * count
    following = struct.unpack_from(f"{order}I", exif, end)[0] if end + 4 <= len(exif) else 0
    return _Directory(at, min(end + 4, len(exif)), entries, following)


def _directories(exif: bytes, order: str, base: int) -> list[_Directory]:
    """Every directory that is reached from the header, except GPS, each once; none if they are too many."""
    waiting = [struct.unpack_from(f"{order}I", exif, base + 4)[0]]
    seen: dict[int, _Directory | None] = {}
    while waiting:
        offset = waiting.pop()
        if offset in seen:
            continue
        if len(seen) == _MOST:
            return []
        seen[offset] = directory = _directory(exif, order, base, offset)
        if directory is not None:
            children = (entry for entry in directory.entries if entry.tag in _CHILDREN)
            waiting += [
                directory.next,
                *(child for entry in children for child in _offsets(exif, entry, order)),
            ]
    return [directory for directory in seen.values() if directory is not None]


def _offsets(exif: bytes, entry: _Entry, order: str) -> tuple[int, ...]:
    """The directories that an entry points to."""
    if entry.kind not in (3, 4, 13) or entry.values > _MOST or entry.start + entry.size > len(exif):
        return ()
    return struct.unpack_from(f"{order}{entry.values}{_FORMATS[entry.kind]}", exif, entry.start)


def _number(exif: bytes, entry: _Entry, order: str) -> float | None:
    """The first value of an entry, if it is a number that is there."""
    if entry.values < 1 or entry.start + entry.size > len(exif):
        return None
    if entry.kind in _FRACTIONS:
        over, under = struct.unpack_from(order + _FRACTIONS[entry.kind], exif, entry.start)
        return over / under if under else None
    if entry.kind in _FORMATS:
        value: float = struct.unpack_from(order + _FORMATS[entry.kind], exif, entry.start)[0]
        return value
    return None


def _holds_position(exif: bytes, entry: _Entry) -> bool:
    if entry.tag == _XMP:
        packet = exif[entry.start : entry.start + entry.size]
        return without_gps_properties(packet) != packet
    return entry.tag == _GPS


def _spans(exif: bytes, pointer: _Entry, order: str, base: int) -> Iterator[tuple[int, int]]:
    """Where the directories that an entry points to, and their values, begin and end; for XMP, its value."""
    if pointer.tag == _XMP:
        if pointer.size > 4 and pointer.start < len(exif):
            yield pointer.start, min(pointer.start + pointer.size, len(exif))
        return
    for offset in _offsets(exif, pointer, order):
        directory = _directory(exif, order, base, offset)
        if directory is not None:
            yield directory.at, directory.end
            for entry in directory.entries:
                if entry.start < len(exif):
                    yield entry.start, min(entry.start + entry.size, len(exif))


def _remove(changed: bytearray, directory: _Directory, entry: _Entry, order: str) -> None:
    """Close the gap of one entry: those behind it and the link to the next directory move up by one."""
    (count,) = struct.unpack_from(f"{order}H", changed, directory.at)
    struct.pack_into(f"{order}H", changed, directory.at, count - 1)
    rest = changed[entry.at + 12 : directory.end]
    changed[entry.at : directory.end] = rest + bytes(12)
