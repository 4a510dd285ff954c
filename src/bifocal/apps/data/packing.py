"""A labelled folder to tar shards in the layout of WebDataset, and a manifest beside them.

Pictures are encoded by a run of workers like any other, into a folder within the target, so that a killed
run can be resumed and a picture that fails stops no other; then shard after shard is written whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bifocal.apps import batch
from bifocal.apps.batch.kinds import PICTURES, STREAMS
from bifocal.apps.batch.runs import OnResult, OnStart
from bifocal.apps.data.manifest import MANIFEST, Manifest, Shard, read_manifest
from bifocal.errors import OptionError
from bifocal.storage.filesystem import write_atomically
from bifocal.storage.folders import LeftOut, search
from bifocal.storage.paths import with_suffix

#: Where streams are until they are in shards, within the target.
WORK = "streams.part"
#: A shard that has so many bytes is full, so that memory is bounded.
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class PackedDataset:
    """What was packed: the ``folder`` of shards, their manifest, and the bytes of the pictures."""

    folder: Path
    manifest: Manifest
    bytes_in: int
    bytes_out: int


def pack_dataset(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    qualities: Sequence[int] = (60,),
    per_shard: int = 1000,
    seed: int = 0,
    model: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    replace: bool = False,
    on_start: OnStart = lambda total, left_out: None,
    on_result: OnResult = lambda result: None,
) -> PackedDataset:
    """Encode the pictures of ``folder``, one subfolder a class, into shards in ``target``.

    Samples are mixed by ``seed``, so that every shard has all classes. With several ``qualities`` a sample
    has a stream of each. ``.bfc`` files in the folder are taken as they are. A picture that fails is named
    in the manifest. ``on_start`` and ``on_result`` follow the encoding; each quality counts.

    :param per_shard: samples of a shard.
    :param resume: go on with a run that was stopped.
    :param replace: replace shards that are there.
    :raises OptionError: if there are no pictures, no class, or ``target`` has a dataset already.
    :raises OutputError: if a shard cannot be written.
    """
    source, out = Path(folder), Path(target)
    _check(source, out, qualities, per_shard, replace or resume)
    options = {"qualities": list(qualities), "per_shard": per_shard, "seed": seed, "model": model}
    pictures = search(os.fspath(source), PICTURES, LeftOut())
    streams = search(os.fspath(source), STREAMS, LeftOut())
    classes = _classes(source, [*pictures, *streams])
    failed: dict[str, str] = {}

    def take(result: batch.FileResult) -> None:
        if result.state == "failed":
            failed[result.pair.name] = result.error
        on_result(result)

    def start(total: int, left_out: LeftOut) -> None:
        on_start(total * len(qualities), left_out)

    work = out / WORK
    _encode_at(qualities if pictures else (), source, work, model, jobs, start, take)
    encoded = set(pictures)
    plan = _Plan(source, work, qualities, classes, per_shard)
    names = sorted({*pictures, *streams} - failed.keys())
    np.random.default_rng(seed).shuffle(names)
    before = read_manifest(os.fspath(out))
    shards = tuple(_write_shards(names, encoded, plan, out, failed))
    manifest = Manifest(classes, shards, options, tuple(sorted(failed.items())))
    write_atomically(out / MANIFEST, manifest.as_json(), overwrite=True)
    for old in {shard.name for shard in (before.shards if before else ())} - {shard.name for shard in shards}:
        (out / old).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    size = sum(os.path.getsize(source / name) for name in names if (source / name).is_file())
    return PackedDataset(out, manifest, size, sum(shard.bytes for shard in shards))


def _encode_at(
    qualities: Sequence[int],
    source: Path,
    work: Path,
    model: str | None,
    jobs: int,
    on_start: OnStart,
    on_result: OnResult,
) -> None:
    """A folder of streams in ``work`` for each quality; one that is there already is gone on with."""
    for count, quality in enumerate(qualities):
        batch.run(
            batch.Worker("encode", {"quality": quality}, model=model),
            [source],
            work / f"q{quality}",
            keep_suffix=True,
            jobs=jobs,
            resume=(work / f"q{quality}").is_dir(),
            on_start=(lambda total, left_out: None) if count else on_start,
            on_result=on_result,
        )


def _check(source: Path, out: Path, qualities: Sequence[int], per_shard: int, may_exist: bool) -> None:
    if not source.is_dir():
        raise OptionError(f"{source} is not a folder. Give one that has one subfolder for each class.")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise OptionError(f"{out} is inside {source}, whose pictures are packed. Name a folder elsewhere.")
    wrong = [quality for quality in qualities if not 1 <= quality <= 100]
    if wrong or not qualities or len(set(qualities)) != len(qualities):
        raise OptionError(f"qualities are {list(qualities)}; give different ones from 1 to 100.")
    if per_shard < 1:
        raise OptionError(f"{per_shard} samples a shard are too few. Choose 1 or more, such as 1000.")
    if not may_exist and (read_manifest(os.fspath(out)) or (out / WORK).exists()):
        raise OptionError(
            f"{out} has a dataset already. Use --resume to go on with a run that was stopped, --force to "
            "replace it, or name another folder."
        )


def _classes(source: Path, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise OptionError(f"there are no pictures in {source}. Put those of each class into a subfolder.")
    classes = tuple(sorted({name.partition("/")[0] for name in names if "/" in name}))
    if not classes:
        raise OptionError(
            f"the pictures of {source} are in no subfolders. Put those of each class into a subfolder."
        )
    return classes


@dataclass(frozen=True)
class _Plan:
    """Where streams are, and how they become shards."""

    source: Path
    work: Path
    qualities: Sequence[int]
    classes: tuple[str, ...]
    per_shard: int

    def files(self, name: str, encoded: bool) -> list[tuple[str, Path]]:
        """The streams of a sample: the end of the name in the shard, and the file."""
        if not encoded:
            return [("bfc", self.source / name)]
        many = len(self.qualities) > 1
        return [
            (f"q{quality}.bfc" if many else "bfc", self.work / f"q{quality}" / f"{name}.bfc")
            for quality in self.qualities
        ]


def _write_shards(
    names: Sequence[str], encoded: set[str], plan: _Plan, out: Path, failed: dict[str, str]
) -> Iterator[Shard]:
    """Write the shards one by one, each whole or not at all; files that are gone join the ``failed``."""
    number = {name: index for index, name in enumerate(plan.classes)}
    keys, waiting, count = _keys(names), iter(names), 0
    while True:
        made, samples = io.BytesIO(), 0
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
            while samples < plan.per_shard and made.tell() < MOST_BYTES:
                name = next(waiting, None)
                if name is None:
                    break
                try:
                    found = [(end, path.read_bytes()) for end, path in plan.files(name, name in encoded)]
                except OSError as error:
                    failed[name] = f"{error.filename or name}: {error.strerror}."
                    continue
                if "/" in name:
                    found.append(("cls", str(number[name.partition("/")[0]]).encode()))
                for end, data in found:
                    _add(archive, f"{keys[name]}.{end}", data)
                samples += 1
        if not samples:
            return
        data, path = made.getvalue(), out / f"{count:06d}.tar"
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data, overwrite=True)
        yield Shard(path.name, samples, len(data), hashlib.sha256(data).hexdigest())
        count += 1


def _keys(names: Sequence[str]) -> dict[str, str]:
    """What samples are called: without suffix and without further dots, at which WebDataset would cut."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        folder, slash, file = with_suffix(name, "").rpartition("/")
        key = wanted = f"{folder}{slash}{file.replace('.', '_') or '_'}"
        while key in taken:
            key = f"{wanted}-{len(taken)}"
        taken.add(key)
        keys[name] = key
    return keys


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: the same pictures give the same bytes
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
