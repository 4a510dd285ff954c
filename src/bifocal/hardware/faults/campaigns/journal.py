"""An append-only file of finished units, so that a campaign that is killed loses none of them.

    file    = "BFFJ" · length u32 · header (JSON) · crc32 u32 · record*
    record  = "UNIT" · number u32 · faults u32 · crc32 u32 · columns
    columns = wrong_cycles i32[] · wrong_bits i64[] · first_wrong i32[] · latent u8[]

All little-endian. A record that is cut off or damaged ends what is read; its unit is simulated again.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from bifocal.errors import CampaignError
from bifocal.hardware.faults.effects import Effects

_MAGIC, _MARK = b"BFFJ", b"UNIT"
_FIELDS = (("wrong_cycles", "<i4"), ("wrong_bits", "<i8"), ("first_wrong", "<i4"), ("latent", "u1"))
_BYTES_PER_FAULT = 17


class Journal:
    """The journal of one campaign; ``done`` holds the effects that were in it when it was opened.

    :raises CampaignError: if the file exists without ``resume``, is another campaign's, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], header: dict[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        self.done: dict[int, Effects] = {}
        try:
            if not resume:
                refuse_journal(self.path)
            if self.path.exists() and self.path.stat().st_size:
                end = self._read(header)
                self._file: BinaryIO = self.path.open("r+b")
                self._file.truncate(end)
                self._file.seek(end)
            else:
                self._file = self.path.open("wb")
                self._write(_frame_header(header))
        except OSError as error:
            raise CampaignError(
                f"the journal {self.path} cannot be used: {error.strerror or error}. Name another folder."
            ) from error

    def append(self, number: int, effects: Effects) -> None:
        """Write one finished unit, and wait until the disk has it."""
        payload = b"".join(getattr(effects, name).astype(kind).tobytes() for name, kind in _FIELDS)
        head = struct.pack("<4sII", _MARK, number, len(effects))
        try:
            self._write(head + struct.pack("<I", crc32(head + payload)) + payload)
        except OSError as error:
            raise CampaignError(
                f"the journal {self.path} cannot be written: {error.strerror or error}. Make room, then"
                " continue with --resume: what is finished is kept."
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, header: dict[str, Any]) -> int:
        """Fill ``done`` and return where the last whole record ends."""
        data = self.path.read_bytes()
        expected = _frame_header(header)
        if not data.startswith(_MAGIC):
            raise CampaignError(f"{self.path} is not a journal of a fault campaign. Name another file.")
        if not data.startswith(expected):
            raise CampaignError(
                f"{self.path} belongs to another campaign: netlist, stimulus, faults, budget or seed differ."
                " Run with the same options as before, or remove the file to start again."
            )
        at = len(expected)
        while len(data) >= at + 16:
            mark, number, count, checksum = struct.unpack_from("<4sIII", data, at)
            end = at + 16 + count * _BYTES_PER_FAULT
            if (
                mark != _MARK
                or end > len(data)
                or crc32(data[at : at + 12] + data[at + 16 : end]) != checksum
            ):
                break
            self.done[number] = _unpack(data[at + 16 : end], count)
            at = end
        return at


def refuse_journal(path: Path) -> None:
    """Refuse to begin a campaign where an earlier one was stopped.

    :raises CampaignError: if there is a journal.
    """
    if path.exists():
        raise CampaignError(
            f"{path} exists: an earlier campaign was stopped. Resume it (--resume), or remove the file."
        )


def _frame_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, sort_keys=True).encode()
    return _MAGIC + struct.pack("<I", len(text)) + text + struct.pack("<I", crc32(text))


def _unpack(payload: bytes, count: int) -> Effects:
    arrays = []
    at = 0
    for _, kind in _FIELDS:
        array = np.frombuffer(payload, kind, count, at)
        at += array.nbytes
        arrays.append(array)
    cycles, bits, first, latent = arrays
    return Effects(
        cycles.astype(np.int32), bits.astype(np.int64), first.astype(np.int32), latent.astype(np.bool_)
    )
