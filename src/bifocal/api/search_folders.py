"""What the index of a search compares to notice changes: names, sizes and times of the files of a folder."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from bifocal.storage import filesystem


def merged(folders: Mapping[str, Sequence[str]]) -> dict[bytes, tuple[str, list[str]]]:
    """By the path from the root, each folder once: as it is named first, and the names of all files in it."""
    found: dict[bytes, tuple[str, list[str]]] = {}
    for folder, names in folders.items():
        path = _absolute(folder)
        first, before = found.get(path, (folder, []))
        found[path] = first, [*dict.fromkeys([*before, *names])] if before else list(names)
    return found


def _absolute(folder: str) -> bytes:
    whole = folder.rstrip("/") if filesystem.is_url(folder) else os.path.abspath(folder)
    return os.fsencode(os.path.join(whole, ""))


def name_bytes(name: str) -> bytes:
    """A name as it is kept: any that a file can have."""
    return name.encode("utf-8", "surrogateescape")


def name_text(name: bytes) -> str:
    """A kept name as Python has it."""
    return name.decode("utf-8", "surrogateescape")


def exists(folder: str, name: bytes) -> bool:
    """Whether a file is there; at a URL it is."""
    path = folder + name_text(name)
    return filesystem.is_url(path) or os.path.lexists(path)


def state_of(file: str) -> tuple[int, int]:
    """The bytes and the time of change of a file; (-1, 0) if it is not there or at a URL."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return -1, 0
    return state.st_size, state.st_mtime_ns


def states_of(folder: str, names: Sequence[str]) -> list[tuple[int, int]]:
    """:func:`state_of` of each file of a folder."""
    try:
        states = _at_once(folder, names)
    except (OSError, ValueError):
        return [state_of(folder + name) for name in names]
    return [(state.st_size, state.st_mtime_ns) for state in states]


def _at_once(folder: str, names: Sequence[str]) -> list[os.stat_result]:
    if os.stat not in os.supports_dir_fd:
        return [os.stat(folder + name) for name in names]
    opened = os.open(folder or ".", os.O_RDONLY)  # so that its path is walked once
    try:
        return [os.stat(name, dir_fd=opened) for name in names]
    finally:
        os.close(opened)


def digest_of(names: Sequence[str], states: Sequence[tuple[int, int]]) -> bytes:
    """What differs as soon as a name, a size or a time does.

    >>> digest_of(["a", "b"], [(1, 2), (3, 4)]) == digest_of(["a", "b"], [(1, 2), (3, 5)])
    False
    """
    numbers = array("q", [number for state in states for number in state])
    return blake2b(numbers.tobytes() + name_bytes("\0".join(names)), digest_size=16).digest()
