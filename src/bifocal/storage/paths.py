"""Which file becomes which: inputs, folders and ``--out`` to pairs of paths, before any work begins.

A path is a string here, since it may be a URL. Names are kept, not paths: a million files take a few hundred
megabytes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from functools import lru_cache
from hashlib import blake2b
from pathlib import PurePath, PurePosixPath

from bifocal.errors import OptionError
from bifocal.storage import remote


@dataclass(frozen=True, slots=True)
class Pair:
    """One input file and the file it becomes; ``name`` is what the input is called within its folder."""

    name: str
    source: str
    target: str


@dataclass(frozen=True)
class Found:
    """What one input stands for: ``names`` with slashes under ``root``, results under ``place``."""

    root: str
    place: str
    names: Sequence[str]
    is_folder: bool


@dataclass(frozen=True)
class Pairs:
    """All pairs of a run, made one by one while it goes.

    ``output`` is the folder of the results, or None where they stand beside their sources or one has a name
    of its own, ``target``.
    """

    found: tuple[Found, ...]
    suffix: str
    output: str | None = None
    target: str | None = None
    keep_suffix: bool = False
    shard: tuple[int, int] = (1, 1)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        count = sum(self._mine(name) for found in self.found for name in found.names)
        object.__setattr__(self, "count", count)

    def __len__(self) -> int:
        return self.count

    @property
    def many(self) -> bool:
        """Whether a folder or several files were asked for."""
        return len(self.found) > 1 or self.found[0].is_folder

    def __iter__(self) -> Iterator[Pair]:
        for found in self.found:
            for name in found.names:
                if self._mine(name):
                    result = name + self.suffix if self.keep_suffix else with_suffix(name, self.suffix)
                    target = self.target or remote.join(found.place, result)
                    yield Pair(name, remote.join(found.root, name), target)

    def _mine(self, name: str) -> bool:
        part, parts = self.shard
        return parts == 1 or shard_of(name, parts) == part


def is_stream_name(path: PurePath) -> bool:
    """Whether a file's name says that it is a stream."""
    return path.suffix.lower() == ".bfc"


def with_suffix(name: str, suffix: str) -> str:
    """A name with slashes, its last suffix replaced.

    >>> with_suffix("holiday/a.b.jpg", ".bfc")
    'holiday/a.b.bfc'
    """
    return str(PurePosixPath(name).with_suffix(suffix))


def shard_of(name: str, parts: int) -> int:
    """Which of ``parts`` shards, counted from 1, works on a name: a hash of the name alone, so that every
    machine agrees and a file stays where it is when others come or go.

    >>> shard_of("holiday/a.jpg", 4)
    4
    """
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % parts + 1


def part_prefix(name: str) -> str:
    """How the names of unfinished files begin that are to become ``name``; they end in ``.part``."""
    return f".{name[:40]}.{zlib.crc32(os.fsencode(name)):08x}."


def pair_paths(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None,
    *,
    wanted: Callable[[PurePath], bool],
    suffix: str,
    keep_suffix: bool = False,
    replace: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> Pairs:
    """Pair every input with its output.

    A folder stands for the files under it for which ``wanted`` says yes. Without ``output`` a result stands
    beside its source with ``suffix``. One file may name its ``output`` file, and then replaces what is there;
    for several, or for a folder, ``output`` is a folder, made if need be, where subfolders are kept. With
    ``keep_suffix`` a.jpg becomes a.jpg.bfc, so that an a.png may stand beside it. A name
    that we derive never replaces an existing file unless ``replace``; no output ever replaces an input.
    Inputs and ``output`` may be URLs (``s3://bucket/photos``, with the ``remote`` extra). ``shard`` (i, n)
    keeps the i-th of n parts, and is applied last.

    :raises OptionError: if an input does not exist, nothing is found, or two results would share a name.
    """
    sources = _existing(inputs)
    place = None if output is None else remote.plain(output)
    folders = [remote.is_folder(path) for path in sources]
    if folders == [False] and place is not None and not remote.is_folder(place):
        found = _found(sources[0], False, None, wanted)
        pairs, replace = Pairs((found,), suffix, target=place), True
    else:
        if place is not None and remote.exists(place) and not remote.is_folder(place):
            raise OptionError(f"{place} is a file; several results need a folder after --out.")
        each = (
            _found(path, is_folder, place, wanted) for path, is_folder in zip(sources, folders, strict=True)
        )
        pairs = Pairs(tuple(each), suffix, output=place, keep_suffix=keep_suffix)
    if not pairs:
        raise OptionError(f"no files to work on under {', '.join(sources)}.")
    _refuse_collisions(pairs, replace)
    return replace_fields(pairs, shard=shard)


def find_files(inputs: Sequence[str | os.PathLike[str]], wanted: Callable[[PurePath], bool]) -> list[str]:
    """The files among ``inputs``, each once, and those under folders for which ``wanted`` says yes.

    :raises OptionError: if an input does not exist, or nothing is found.
    """
    sources = _existing(inputs)
    found: list[str] = []
    for path in sources:
        one = _found(path, remote.is_folder(path), None, wanted)
        found += [remote.join(one.root, name) for name in one.names]
    if not found:
        raise OptionError(f"no files to work on under {', '.join(sources)}.")
    return list(dict.fromkeys(found))


def _existing(inputs: Sequence[str | os.PathLike[str]]) -> list[str]:
    sources = [remote.plain(path) for path in inputs]
    for path in sources:
        if not remote.exists(path):
            raise OptionError(f"{path} does not exist. Check the spelling.")
    return sources


def _found(path: str, is_folder: bool, place: str | None, wanted: Callable[[PurePath], bool]) -> Found:
    if is_folder:
        names = [name for name in remote.find(path) if wanted(PurePosixPath(name))]
        return Found(path, place or path, names, True)
    root, name = remote.split(path)
    return Found(root, place or root, [name], False)


def _refuse_collisions(pairs: Pairs, replace: bool) -> None:
    """No result takes the place of an input, of another result or, without ``replace``, of anything else."""
    sources = {hash(_true_path(pair.source)) for pair in pairs}
    targets: set[int] = set()
    there = None if pairs.output is None else remote.known(pairs.output)
    for pair in pairs:
        path = _true_path(pair.target)
        key = hash(path)  # numbers, not paths: they are many. A match is looked at again.
        if key in sources and any(_true_path(other.source) == path for other in pairs):
            raise OptionError(
                f"{pair.target} is an input and would be overwritten. Name another output with --out."
            )
        if key in targets:
            for other in pairs:
                if other.source != pair.source and _true_path(other.target) == path:
                    raise OptionError(
                        f"{other.source} and {pair.source} would both become {pair.target}. Rename one, or "
                        "say --keep-suffix: results are then called as in a.jpg.bfc."
                    )
        targets.add(key)
        if there is not None and not there(pair.target):
            continue
        if remote.is_folder(pair.target):
            raise OptionError(f"{pair.target} is a folder. Name another output with --out.")
        if not replace and remote.exists(pair.target):
            raise OptionError(
                f"{pair.target} exists already. Say --force to replace it, --resume to go on with a run that "
                "was stopped, or name another output with --out."
            )


def _true_path(path: str) -> str:
    """A path with its links followed; a URL as it is."""
    if remote.is_url(path):
        return path
    if os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return os.path.join(_true_folder(folder), os.path.normpath(name))


@lru_cache(maxsize=1024)
def _true_folder(folder: str) -> str:
    return os.path.realpath(folder)
