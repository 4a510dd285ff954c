"""Where the samples of a dataset are: a folder of streams, a zip file, or tar shards; here or at a URL.

A sample is one picture under a key, as one stream ``KEY.bfc`` or as several of different quality,
``KEY.q30.bfc`` and so on. In a folder or a zip file its class is the first folder of the key. In tar shards,
which have the layout of WebDataset, files with the same key follow each other, and ``KEY.cls`` holds the
number of the class. Nothing is ever unpacked to disk, and no member is read beyond the limits.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob, has_magic
from typing import IO

from bifocal.apps.batch.kinds import STREAMS
from bifocal.apps.data.manifest import MANIFEST, Manifest, read_manifest
from bifocal.errors import DamagedStream, OptionError, StreamError, TruncatedStream
from bifocal.storage import filesystem
from bifocal.storage.folders import LeftOut, search

#: A stream of a sample: its key and, where there are several, its quality.
_STREAM = re.compile(r"(?P<key>.+?)(?:\.q(?P<quality>[1-9]\d?|100))?\.bfc", re.IGNORECASE | re.DOTALL)
#: Most bytes of a ``.cls`` file: it holds one number.
_LABEL_BYTES = 64
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Part:
    """Where one stream is: ``size`` bytes at ``offset`` of a file, or the ``member`` of a zip file."""

    path: str
    offset: int = 0
    size: int = -1
    member: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture: its key, the number of its class (-1 without one) and its streams by quality.

    The quality is 0 where the name does not say one.
    """

    key: str
    label: int
    streams: tuple[tuple[int, Part], ...]


@dataclass(frozen=True)
class Record:
    """A sample that is read already: its streams by quality, as bytes."""

    key: str
    label: int
    streams: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Source:
    """A dataset that was found: tar ``shards``, or ``samples`` that are listed; its classes, if they have
    names."""

    shards: tuple[str, ...]
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]


def open_source(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Source:
    """Find the samples of a folder, a ``.zip`` or ``.tar`` file, a pattern such as ``shards/*.tar``, a list
    of shards, or a URL of any of these. Only names are read here, and the manifest where there is one.

    :raises OptionError: if there is nothing of the kind.
    :raises StreamError: if a shard of the manifest is missing or not as long as it was written.
    """
    if not isinstance(source, str | os.PathLike):
        paths = [filesystem.plain(path) for path in source]
        return _shards(paths, None)
    path = filesystem.plain(source)
    if path.lower().endswith(".zip"):
        return _labelled(_zip_names(path), lambda name: Part(path, member=name), path)
    if path.lower().endswith(".tar"):
        paths = sorted(glob(path)) if has_magic(path) and not filesystem.is_url(path) else [path]
        return _shards(paths, None, path)
    if not filesystem.exists(path):
        raise OptionError(f"{path} does not exist. Name a folder, a .zip file, or .tar shards.")
    if not filesystem.is_folder(path):
        raise OptionError(f"{path} is no dataset. Name a folder, a .zip file, or .tar shards.")
    manifest = read_manifest(path)
    if manifest is not None:
        return _shards([filesystem.join(path, shard.name) for shard in manifest.shards], manifest)
    if tars := _tars_in(path):
        return _shards(tars, None)
    join = filesystem.joiner(path)
    return _labelled(search(path, STREAMS, LeftOut()), lambda name: Part(join(name)), path)


def read_part(part: Part, most: int) -> bytes:
    """The bytes of a stream, not more than ``most``.

    :raises StreamError: if they are gone, cut short, or too many.
    """
    try:
        if part.member:
            return _read_member(part, most)
        with filesystem.opened(part.path) as file:
            if part.size >= 0:
                _check_size(part.size, most, part.path)
                file.seek(part.offset)
                data = file.read(part.size)
                if len(data) != part.size:
                    raise TruncatedStream(f"{part.path} is cut short. Copy this shard again.")
                return data
            data = file.read(most + 1)
            _check_size(len(data), most, part.path)
            return data
    except FileNotFoundError as error:
        raise StreamError(
            f"{part.path} is gone since the dataset was opened. Open it again, or put the file back."
        ) from error


def index_shards(shards: Sequence[str]) -> Iterator[Sample]:
    """The samples of tar shards, in order, from their headers and labels alone.

    :raises StreamError: if a shard is damaged or cut short.
    """
    for shard in shards:
        with _opened(shard) as file:
            parts: list[tuple[int, Part]] = []
            key, label = "", -1
            for member in _members(file, shard):
                name, quality = _named(member.name)
                if name != key:
                    if parts:
                        yield Sample(key, label, tuple(parts))
                    key, label, parts = name, -1, []
                if quality is not None:
                    parts.append((quality, Part(shard, member.offset_data, member.size)))
                elif member.name.endswith(".cls"):
                    back = file.tell()
                    file.seek(member.offset_data)
                    label = _label(file.read(min(member.size, _LABEL_BYTES)), shard, member.name)
                    file.seek(back)
            if parts:
                yield Sample(key, label, tuple(parts))


def read_shard(shard: str, most: int) -> Iterator[Record]:
    """The samples of a tar shard, read from front to back.

    :raises StreamError: if it is damaged or cut short, when that point is reached.
    """
    with _opened(shard) as file:
        streams: list[tuple[int, bytes]] = []
        key, label = "", -1
        for member in _members(file, shard):
            name, quality = _named(member.name)
            if name != key:
                if streams:
                    yield Record(key, label, tuple(streams))
                key, label, streams = name, -1, []
            is_label = member.name.endswith(".cls")
            if quality is None and not is_label:
                continue
            _check_size(member.size, most if quality is not None else _LABEL_BYTES, f"{shard}: {member.name}")
            back = file.tell()
            file.seek(member.offset_data)
            data = file.read(member.size)
            file.seek(back)
            if len(data) != member.size:
                raise _cut_short(shard)
            if quality is not None:
                streams.append((quality, data))
            else:
                label = _label(data, shard, member.name)
        if streams:
            yield Record(key, label, tuple(streams))


def read_sample(sample: Sample, most: int) -> Record:
    """A listed sample with its bytes."""
    return Record(sample.key, sample.label, tuple((q, read_part(part, most)) for q, part in sample.streams))


def _opened(path: str) -> IO[bytes]:
    try:
        return filesystem.opened(path)  # type: ignore[return-value]
    except FileNotFoundError as error:
        raise StreamError(f"{path} does not exist. Check the name, or pack the dataset again.") from error


def _members(file: IO[bytes], shard: str) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar file, in order; at its end its end mark has to be there."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            end = 0
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # they are not needed again
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK if member.isreg() else end
                if member.isreg():
                    yield member
            file.seek(max(end, 0))
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise _cut_short(shard)
    except tarfile.TarError as error:
        if "end of data" in str(error):
            raise _cut_short(shard) from error
        raise DamagedStream(f"{shard} is no tar file, or damaged ({error}). Copy it again.") from error


def _cut_short(shard: str) -> TruncatedStream:
    return TruncatedStream(f"{shard} is cut short. Copy this shard again, or pack the dataset again.")


def _named(name: str) -> tuple[str, int | None]:
    """The key of a file in a shard, and the quality if it is a stream.

    >>> _named("dog/0001.q30.bfc"), _named("dog/0001.bfc"), _named("dog/0001.cls")
    (('dog/0001', 30), ('dog/0001', 0), ('dog/0001', None))
    """
    if match := _STREAM.fullmatch(name):
        return match["key"], int(match["quality"] or 0)
    return os.path.splitext(name)[0], None


def _label(data: bytes, shard: str, name: str) -> int:
    text = data.strip()
    if not re.fullmatch(rb"\d{1,9}", text):
        raise DamagedStream(f"{shard}: {name} holds no number of a class. Pack the dataset again.")
    return int(text)


def _check_size(size: int, most: int, name: str) -> None:
    if size > most:
        raise StreamError(f"{name} is larger than {most:,} bytes, which is the limit. Raise it with limits=.")


def _labelled(names: Sequence[str], part_of: Callable[[str], Part], where: str) -> Source:
    """The samples of a folder or zip file, by the names of their streams with slashes."""
    found: dict[str, list[tuple[int, Part]]] = {}
    for name in sorted(names):
        key, quality = _named(name)
        if quality is not None:
            found.setdefault(key, []).append((quality, part_of(name)))
    if not found:
        raise OptionError(
            f"there are no .bfc files in {where}. Make some: bifocal pack-dataset {where} SHARDS, or "
            "bifocal encode."
        )
    folders = {key: key.partition("/")[0] for key in found if "/" in key}
    classes = tuple(sorted(set(folders.values())))
    number = {name: index for index, name in enumerate(classes)}
    samples = (
        Sample(key, number[folders[key]] if key in folders else -1, tuple(streams))
        for key, streams in found.items()
    )
    return Source((), tuple(samples), classes)


def _shards(paths: Sequence[str], manifest: Manifest | None, where: str = "") -> Source:
    if not paths:
        raise OptionError(f"there are no .tar shards: {where or 'the list is empty'}.")
    missing = [path for path in paths if not filesystem.exists(path)]
    if missing:
        raise StreamError(f"{missing[0]} does not exist. Check the name, or pack the dataset again.")
    if manifest is not None:
        for path, shard in zip(paths, manifest.shards, strict=True):
            if (size := filesystem.size(path)) != shard.bytes:
                raise TruncatedStream(
                    f"{path} has {size:,} bytes, and {MANIFEST} says {shard.bytes:,}. Copy this shard again."
                )
    return Source(tuple(paths), (), manifest.classes if manifest else ())


def _tars_in(folder: str) -> list[str]:
    if filesystem.is_url(folder):
        from bifocal.storage import remote

        names = remote.find(folder)
    else:
        names = sorted(os.listdir(folder))
    return [filesystem.join(folder, name) for name in names if name.endswith(".tar") and "/" not in name]


def _zip_names(path: str) -> list[str]:
    try:
        return [info.filename for info in _zip(path, os.getpid()).infolist() if not info.is_dir()]
    except FileNotFoundError as error:
        raise OptionError(f"{path} does not exist. Check the spelling.") from error


def _read_member(part: Part, most: int) -> bytes:
    archive = _zip(part.path, os.getpid())
    name = f"{part.path}: {part.member}"
    try:
        info = archive.getinfo(part.member)
        _check_size(info.file_size, most, name)
        with archive.open(info) as file:  # reads no more than it declares, and checks its checksum
            return file.read(info.file_size)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedStream(f"{name} cannot be read ({error}). Copy the zip file again.") from error


@lru_cache(maxsize=8)
def _zip(path: str, process: int) -> zipfile.ZipFile:
    """A zip file, opened once in each process: after a fork two would move one position."""
    del process
    try:
        if filesystem.is_url(path):
            return zipfile.ZipFile(filesystem.opened(path).__enter__())
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DamagedStream(f"{path} is no zip file, or cut short ({error}). Copy it again.") from error
