"""What a run has done, in its output folder: one line of JSON for each file begun and each file finished.

Lines are only ever appended, each in one write, so a kill can at most cut the last one; a line that does not
parse is as if it were not there. Nothing is believed that is not checked again: a file counts as finished if
its source, the options and the model are those of its line, and its result is there, byte for byte.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import replace as with_changes
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, BinaryIO

from bifocal.errors import BatchError, OutputError
from bifocal.storage import filesystem, remote
from bifocal.storage.paths import Pair

#: A store elsewhere cannot append: there the whole manifest is put again when this many seconds have passed.
PUT_EVERY = 30.0
#: How many seconds the workers of a killed run are given to end; they need a fraction of one.
LOCK_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """A finished file: its name and its result's, within their folders, what both were, and the run's key."""

    name: str
    target: str
    source: str
    result: str
    key: str

    @classmethod
    def before(cls, pair: Pair, key: str) -> Record:
        """The record of a file before it is worked on: what its source is, and nothing of its result."""
        return cls(pair.name, filesystem.split(pair.target)[1], stamp(pair.source), "", key)

    def after(self, target: str) -> Record:
        """The record of a file that is finished."""
        return with_changes(self, result=stamp(target))


def still_holds(last: Record, now: Record, target: str) -> bool:
    """Whether nothing has changed since a file was finished: source, options, model or result."""
    if with_changes(last, result="") != now or not filesystem.exists(target):
        return False
    return stamp(target) == last.result


def stamp(path: str) -> str:
    """What changes when a file does: here a hash of its bytes, elsewhere the store's own mark."""
    if filesystem.is_url(path):
        mark = remote.state(path)
        if mark:
            return mark
        with filesystem.fetched(path) as copy:
            return stamp(os.fspath(copy))
    with open(path, "rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        return f"{file.tell()} bytes, sha256 {digest}"


class Manifest:
    """The manifest of one run, open and locked, and what all manifests beside it knew when it was opened.

    One shard writes one file; all read all. Use it as a context. ``file`` holds the lock; worker processes
    hold it too, so that a new run waits for those that a killed one has left behind.
    """

    def __init__(self, output: str, verb: str, shard: tuple[int, int], about: Mapping[str, Any]) -> None:
        part = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
        self.name, self._output = f"bifocal-{verb}{part}.jsonl", output
        self._staging: tempfile.TemporaryDirectory[str] | None = None
        self._put_at = time.monotonic()
        filesystem.make_folder(filesystem.join(output, self.name))
        self._paths = self._gather(verb)
        self.file = _open_locked(self._paths[0])
        self._known: dict[int, int] = {}  # offset of the last record × number of paths + number of its path
        for number in reversed(range(len(self._paths))):  # ours last: it is the newest about our files
            self._read(number)
        self._append(about)

    def last_record(self, name: str) -> Record | None:
        """The last finished record of a file, if there is one."""
        position = self._known.get(_number(name), -1)
        if position < 0:
            return None
        offset, number = divmod(position, len(self._paths))
        with self._paths[number].open("rb") as file:
            file.seek(offset)
            record = _parse(file.readline())
        return record if isinstance(record, Record) and record.name == name else None

    def is_ours(self, name: str) -> bool:
        """Whether a run in this folder has begun this file, so that its result is ours to replace."""
        return _number(name) in self._known

    def begin(self, name: str) -> None:
        self._append({"begun": name})

    def finish(self, record: Record) -> None:
        self._append(asdict(record))
        if self._staging and time.monotonic() - self._put_at > PUT_EVERY:
            self._put()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._put()
        self.file.close()
        if self._staging:
            self._staging.cleanup()

    def _gather(self, verb: str) -> list[Path]:
        """Local paths of all manifests of this folder, ours first."""
        if not filesystem.is_url(self._output):
            folder = Path(self._output)
            ours = folder / self.name
            others = sorted(folder.glob(f"bifocal-{verb}*.jsonl"))
            return [ours, *(path for path in others if path != ours)]
        self._staging = tempfile.TemporaryDirectory(prefix="bifocal-")
        folder = Path(self._staging.name)
        names = remote.beside(filesystem.join(self._output, self.name))
        others_there = [n for n in names if n.startswith(f"bifocal-{verb}") and n.endswith(".jsonl")]
        names = [self.name, *sorted(set(others_there) - {self.name})]
        for name in names:
            (folder / name).write_bytes(remote.read(filesystem.join(self._output, name)))
        return [folder / name for name in names]

    def _read(self, number: int) -> None:
        if not self._paths[number].exists():
            return
        with self._paths[number].open("rb") as file:
            offset = 0
            for line in file:
                entry = _parse(line)
                if isinstance(entry, Record):
                    self._known[_number(entry.name)] = offset * len(self._paths) + number
                elif entry is not None:
                    self._known.setdefault(_number(entry), -1)
                offset += len(line)

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":"), default=str) + "\n"
        data = line.encode("ascii")
        cause: OSError | None = None
        try:
            if self.file.write(data) == len(data):  # unbuffered and in append mode: one write
                return
        except OSError as error:
            cause = error
        raise OutputError(
            f"{self._paths[0]} cannot be written: what is done would not be remembered. Make room, then "
            "go on with --resume."
        ) from cause

    def _put(self) -> None:
        if self._staging:
            remote.put(self._paths[0], filesystem.join(self._output, self.name))
            self._put_at = time.monotonic()


def _parse(line: bytes) -> Record | str | None:
    """A finished file, the name of one begun, or None for any other line."""
    try:
        entry = json.loads(line)
        if not all(isinstance(value, str) for value in entry.values()):
            return None
        return str(entry["begun"]) if "begun" in entry else Record(**entry)
    except (ValueError, TypeError, AttributeError):
        return None


def _number(name: str) -> int:
    """Names as numbers: a million of them fit. A clash is found out when the record is read."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _open_locked(path: Path) -> BinaryIO:
    """Open for appending, whole lines first; a second run on the same manifest is refused."""
    try:
        file = open(path, "ab", buffering=0)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    give_up = time.monotonic() + LOCK_WAIT
    while not _lock(file):
        if time.monotonic() > give_up:
            file.close()
            raise BatchError(
                f"another run is working here: {path} is in use. Wait for it, or share the work with --shard."
            )
        time.sleep(0.05)
    with path.open("rb") as reader:
        size = reader.seek(0, os.SEEK_END)
        reader.seek(max(0, size - 1))
        if reader.read(1) not in (b"", b"\n"):
            file.write(b"\n")  # the last run was cut off in the middle of a line
    return file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> bool:
        file.seek(1 << 40)  # a byte that is never written: locks there keep nobody from reading
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True
