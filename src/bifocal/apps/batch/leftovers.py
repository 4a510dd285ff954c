"""Unfinished files of processes that were killed: they are known by their names, and removed."""

from __future__ import annotations

import os
from pathlib import Path

from bifocal.storage import filesystem
from bifocal.storage.filesystem import PART_NAME, part_prefix
from bifocal.storage.paths import Pairs


def remove_leftovers(target: str) -> None:
    """Remove what was to become ``target``; nobody may be writing it now."""
    if target and not filesystem.is_url(target):
        folder, name = os.path.split(target)
        _remove(folder or ".", {part_prefix(name)})


def remove_all_leftovers(pairs: Pairs) -> None:
    """Remove what was to become any result of a run. Results of others in the same folder stay untouched."""
    if pairs.output is None or filesystem.is_url(pairs.output):
        return
    found: dict[str, set[str]] = {}
    for folder, _, names in os.walk(pairs.output):
        for name in names:
            if match := PART_NAME.fullmatch(name):
                found.setdefault(os.path.normpath(folder), set()).add(match[1])
    if found:
        for pair in pairs:
            folder, name = os.path.split(os.path.normpath(pair.target))
            if part_prefix(name) in found.get(folder or ".", ()):
                _remove(folder or ".", {part_prefix(name)})


def _remove(folder: str, prefixes: set[str]) -> None:
    try:
        for entry in list(os.scandir(folder)):
            match = PART_NAME.fullmatch(entry.name)
            if match and match[1] in prefixes:
                Path(entry.path).unlink(missing_ok=True)
    except OSError:
        pass  # what cannot be removed does no harm: no reader takes it for a result
