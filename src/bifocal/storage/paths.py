"""Which file becomes which: inputs, folders and ``--out`` to pairs of paths, before any work begins.

A path is a string here, since it may be a URL. Names are kept, not paths: a million files take a few hundred
megabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from functools import lru_cache
from hashlib import blake2b
from pathlib import PurePath

from bifocal.errors import OptionError
from bifocal.storage import filesystem
from bifocal.storage.filesystem import holds_data
from bifocal.storage.folders import FileKind, LeftOut, search, walk


@dataclass(frozen=True, slots=True)
class Pair:
    """One input file and the file it becomes; ``name`` is what the input is called within its folder."""

    name: str
    source: str
    target: str


@dataclass(frozen=True)
class InputFiles:
    """The files that one input stands for: ``names`` with slashes under ``root``. Their results go under
    ``output_root``."""

    root: str
    output_root: str
    names: Sequence[str]
    is_folder: bool


@dataclass(frozen=True)
class Pairs:
    """All pairs of a run, made one by one while it goes.

    ``output`` is the folder of the results, or None where they go beside their sources or the only one has
    a name of its own, ``target``. ``left_out`` is what folders hold that is not of the kind asked for.
    """

    inputs: tuple[InputFiles, ...]
    suffix: str
    output: str | None = None
    target: str | None = None
    keep_suffix: bool = False
    shard: tuple[int, int] = (1, 1)
    left_out: LeftOut = field(default_factory=LeftOut)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        count = sum(self._is_in_shard(name) for files in self.inputs for name in files.names)
        object.__setattr__(self, "count", count)

    def __len__(self) -> int:
        return self.count

    @property
    def many(self) -> bool:
        """Whether a folder or several files were asked for."""
        return len(self.inputs) > 1 or self.inputs[0].is_folder

    def __iter__(self) -> Iterator[Pair]:
        for files in self.inputs:
            source_of, target_of = filesystem.joiner(files.root), filesystem.joiner(files.output_root)
            for name in files.names:
                if self._is_in_shard(name):
                    result = name + self.suffix if self.keep_suffix else with_suffix(name, self.suffix)
                    yield Pair(name, source_of(name), self.target or target_of(result))

    def _is_in_shard(self, name: str) -> bool:
        part, parts = self.shard
        return parts == 1 or shard_of(name, parts) == part


def is_stream_name(path: PurePath) -> bool:
    """Whether a file's name says that it is a stream."""
    return path.suffix.lower() == ".bfc"


def with_suffix(name: str, suffix: str) -> str:
    """A name with slashes, its last suffix replaced.

    >>> with_suffix("holiday/a.b.jpg", ".bfc"), with_suffix("v1.2/IMG", ".bfc")
    ('holiday/a.b.bfc', 'v1.2/IMG.bfc')
    """
    return os.path.splitext(name)[0] + suffix


def shard_of(name: str, parts: int) -> int:
    """Which of ``parts`` shards, counted from 1, works on a name: a hash of the name alone, so that every
    machine agrees and a file stays where it is when others come or go.

    >>> shard_of("holiday/a.jpg", 4)
    4
    """
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % parts + 1


def pair_paths(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None,
    *,
    kind: FileKind,
    suffix: str,
    keep_suffix: bool = False,
    replace: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> Pairs:
    """Pair every input with its output.

    A folder means the files of ``kind`` under it. Without ``output`` a result goes beside its source
    with ``suffix``. ``output`` is the file to write where one file is given and ``output`` has a suffix, or
    exists and is no folder; else it is a folder, made if need be, where subfolders are kept. With
    ``keep_suffix`` a.jpg becomes a.jpg.bfc, so that an a.png may be there, too. No result replaces an
    existing file unless ``replace``; none ever replaces an input. Inputs and ``output`` may be URLs
    (``s3://bucket/photos``, with the ``remote`` extra). ``shard`` (i, n) keeps the i-th of n parts, and is
    applied last.

    :raises OptionError: if an input does not exist, nothing is found, a result exists or two would share a
        name.
    """
    sources = _existing(inputs)
    out = _checked(output)
    folders = [filesystem.is_folder(path) for path in sources]
    left_out = LeftOut()
    if out is not None and folders == [False] and _names_file(out):
        files = _input_files(sources[0], False, None, kind, left_out)
        pairs = Pairs((files,), suffix, target=out)
    else:
        if out is not None:
            _check_output_folder(out, suffix)
        each = (
            _input_files(path, is_folder, out, kind, left_out)
            for path, is_folder in zip(sources, folders, strict=True)
        )
        pairs = Pairs(tuple(each), suffix, output=out, keep_suffix=keep_suffix, left_out=left_out)
    if not pairs:
        raise OptionError(nothing_found(sources, kind, left_out))
    _refuse_collisions(pairs, replace)
    return with_changes(pairs, shard=shard)


def pair_file(
    source: str, output: str | None, *, suffix: str, keep_suffix: bool = False, replace: bool = False
) -> Pair:
    """Pair one file with its output, by the rules of :func:`pair_paths`.

    :raises OptionError: if it does not exist, or its result does.
    """
    (source,) = _existing([source])
    out = _checked(output)
    root, name = filesystem.split(source)
    files = InputFiles(root, root if out is None else out, [name], False)
    target = out if out is not None and _names_file(out) else None
    pairs = Pairs((files,), suffix, target=target, keep_suffix=keep_suffix)
    _refuse_collisions(pairs, replace)
    return next(iter(pairs))


def find_files(
    inputs: Sequence[str | os.PathLike[str]], kind: FileKind, *, missing: bool = False
) -> tuple[list[str], LeftOut]:
    """The files among ``inputs``, each once, and those of ``kind`` under folders; and what was left out.

    With ``missing`` an input that does not exist is taken for a file.

    :raises OptionError: if an input does not exist, or nothing is found.
    """
    sources = [filesystem.plain(path) for path in inputs] if missing else _existing(inputs)
    left_out = LeftOut()
    found: list[str] = []
    for path in sources:
        files = _input_files(path, filesystem.is_folder(path), None, kind, left_out)
        found += map(filesystem.joiner(files.root), files.names)
    if not found:
        raise OptionError(nothing_found(sources, kind, left_out))
    return list(dict.fromkeys(found)), left_out


def find_by_folder(
    inputs: Sequence[str | os.PathLike[str]], kind: FileKind
) -> tuple[dict[str, list[str]], LeftOut]:
    """What :func:`find_files` finds, by folder: "" or a name that ends in a slash, and names of files there.
    Folders that have no such files are there, too. Quicker than it for many files.

    :raises OptionError: if an input does not exist, or nothing is found.
    """
    sources = _existing(inputs)
    left_out = LeftOut()
    found: dict[str, dict[str, None]] = {}
    for path in sources:
        if filesystem.is_folder(path) and not filesystem.is_url(path):
            joined, skipped = filesystem.joiner(path), list[str]()
            for prefix, names in walk(path, kind, left_out.unreadable, skipped):
                found.setdefault(joined(prefix), {}).update(dict.fromkeys(names))
            for name in sorted(skipped):
                left_out.skipped.add(joined(name))
        else:
            files = _input_files(path, filesystem.is_folder(path), None, kind, left_out)
            for file in map(filesystem.joiner(files.root), files.names):
                folder, name = split_file(file)
                found.setdefault(folder, {})[name] = None
    if not any(found.values()):
        raise OptionError(nothing_found(sources, kind, left_out))
    return {folder: list(names) for folder, names in found.items()}, left_out


def split_file(file: str) -> tuple[str, str]:
    """The folder of a file, with what ends it, and its name: together they are the file.

    >>> split_file("s3://bucket/a.bfc"), split_file("a.bfc")
    (('s3://bucket/', 'a.bfc'), ('', 'a.bfc'))
    """
    start = max(file.rfind("/"), file.rfind(os.sep)) + 1
    return file[:start], file[start:]


def nothing_found(inputs: Sequence[str], kind: FileKind, left_out: LeftOut) -> str:
    """Why there is nothing to do."""
    parts = [f"no {kind.plural} found in {', '.join(inputs)}."]
    if left_out.skipped.count:
        parts.append(f"Skipped, since they are none: {left_out.skipped}.")
    if left_out.unreadable.count:
        parts.append(f"Not readable: {left_out.unreadable}.")
    return " ".join(parts)


def _existing(inputs: Sequence[str | os.PathLike[str]]) -> list[str]:
    sources = list(dict.fromkeys(filesystem.plain(path) for path in inputs))
    for path in sources:
        if not filesystem.exists(path):
            raise OptionError(f"{path} does not exist. Check the spelling.")
    return sources


def _checked(output: str | os.PathLike[str] | None) -> str | None:
    if output is not None and not os.fspath(output):
        raise OptionError("--out is empty. Name a file or a folder, or leave it out.")
    return None if output is None else filesystem.plain(output)


def _names_file(output: str) -> bool:
    """Whether ``--out`` is the file to write for a single input."""
    if filesystem.is_folder(output):
        return False
    return bool(os.path.splitext(output)[1]) or filesystem.exists(output)


def _check_output_folder(output: str, suffix: str) -> None:
    if filesystem.is_folder(output):
        return
    if filesystem.exists(output):
        raise OptionError(f"{output} is a file; several results need a folder after --out.")
    if os.path.splitext(output)[1].lower() == suffix:
        raise OptionError(
            f"{output} is named like a file, and there are several results. Name a folder after --out, or "
            f"give {output}/ for a folder of that name."
        )


def _input_files(
    path: str, is_folder: bool, output: str | None, kind: FileKind, left_out: LeftOut
) -> InputFiles:
    if is_folder:
        return InputFiles(path, output or path, search(path, kind, left_out), True)
    root, name = filesystem.split(path)
    return InputFiles(root, output or root, [name], False)


def _refuse_collisions(pairs: Pairs, replace: bool) -> None:
    """No result takes the name of an input, of another result or, without ``replace``, of anything else."""
    targets: set[int] = set()
    sources: set[object] | None = None
    may_exist = None if pairs.output is None else filesystem.known(pairs.output)
    for pair in pairs:
        exists = (may_exist is None or may_exist(pair.target)) and filesystem.exists(pair.target)
        if exists:  # only what exists can be an input
            sources = sources if sources is not None else {_identity(other.source) for other in pairs}
            if _identity(pair.target) in sources:
                raise OptionError(
                    f"{pair.target} is an input and would be overwritten. Name another output with --out."
                )
        key = hash(_true_path(pair.target, exists))  # numbers, not paths: they are many
        if key in targets:
            _refuse_same_target(pairs, pair)
        targets.add(key)
        if exists:
            _check_existing(pair.target, replace)


def _refuse_same_target(pairs: Pairs, pair: Pair) -> None:
    """Name the two files that would both become the target of ``pair``, if it is so."""
    path = _true_path(pair.target, True)
    same = [other for other in pairs if _true_path(other.target, True) == path]
    for other in same:
        if other.source != pair.source:
            raise OptionError(
                f"{other.source} and {pair.source} would both become {pair.target}. Rename one, or "
                "use --keep-suffix: results are then called as in a.jpg.bfc."
            )
    if len(same) > 1:
        raise OptionError(f"{pair.source} is named twice, by itself and in a folder. Leave one out.")


def _check_existing(target: str, replace: bool) -> None:
    if filesystem.is_folder(target):
        raise OptionError(f"{target} is a folder. Name another output with --out.")
    if not replace and holds_data(target):
        raise OptionError(
            f"{target} exists already. Use --force to replace it, --resume to go on with a run that "
            "was stopped, or name another output with --out."
        )


def _identity(path: str) -> object:
    """What two paths of one file have in common, links followed."""
    if filesystem.is_url(path):
        return path
    try:
        state = os.stat(path)
    except OSError:
        return path
    return state.st_dev, state.st_ino


def _true_path(path: str, exists: bool) -> str:
    """A path with its links followed; a URL as it is."""
    if filesystem.is_url(path):
        return path
    if exists and os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return os.path.join(_true_folder(folder), name)


@lru_cache(maxsize=1024)
def _true_folder(folder: str) -> str:
    return os.path.realpath(folder)
