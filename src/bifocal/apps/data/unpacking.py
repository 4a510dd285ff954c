"""Packed datasets as folders again, one for each class, for trainers that take files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path

from bifocal.apps.data.manifest import MANIFEST
from bifocal.apps.data.sources import Sample, index_shards, open_source, read_part
from bifocal.errors import DamagedStream, OptionError
from bifocal.stream.limits import DEFAULT_LIMITS

_UNSAFE = re.compile(r"[^\w .+-]")
_LONGEST = 80


def is_packed(path: Path) -> bool:
    """Whether this is a ``.tar`` or ``.zip`` file, a pattern of such, or a folder of tar shards."""
    if path.suffix.lower() in (".tar", ".zip"):
        return path.is_file() or has_magic(str(path))
    return path.is_dir() and ((path / MANIFEST).is_file() or any(path.glob("*.tar")))


@contextmanager
def unpacked(path: Path, where: Path | None = None) -> Iterator[Path]:
    """A folder with one subfolder of ``.bfc`` files a class, while it is needed; other paths as they are.

    Classes have the names of the dataset, or their numbers where it has none. Files come in the order of
    their keys, as in the folder that was packed; of a sample with several qualities the best is taken.

    :param where: the folder to make it in, by default the one for temporary files.
    :raises OptionError: if there is no dataset, or it has no classes.
    :raises StreamError: if a shard is damaged, cut short or missing, or the name of a class is no name.
    """
    if not is_packed(path):
        yield path
        return
    source = open_source(path)
    found = [*source.samples, *index_shards(source.shards)]
    labelled = sorted((one for one in found if one.label >= 0), key=lambda one: f"{one.key}.bfc".split("/"))
    if not labelled:
        raise OptionError(f"no sample of {path} has a class. Pack a folder that has a subfolder for each.")
    with tempfile.TemporaryDirectory(dir=where, prefix="bifocal-streams-") as made:
        for number, sample in enumerate(labelled):
            folder = Path(made, _class_of(sample, source.classes, path))
            folder.mkdir(exist_ok=True)
            _, part = max(sample.streams, key=lambda stream: stream[0])
            name = _UNSAFE.sub("_", os.path.basename(sample.key))[:_LONGEST]
            (folder / f"{number:07} {name}.bfc").write_bytes(read_part(part, DEFAULT_LIMITS.stream_bytes))
        yield Path(made)


def _class_of(sample: Sample, classes: tuple[str, ...], path: Path) -> str:
    """The folder of a class: its name, which is text from strangers."""
    if not classes:
        return f"{sample.label:09}"
    if sample.label >= len(classes):
        raise DamagedStream(
            f"{path}: {sample.key} is of class {sample.label}, and there are {len(classes)}. Pack it again."
        )
    name = classes[sample.label]
    if (
        name.startswith(".")
        or not name.strip()
        or re.search(r"[/\\\0]", name)
        or len(os.fsencode(name)) > 255
    ):
        raise DamagedStream(f"{path}: {name[:40]!r} cannot be the name of a class. Pack it again.")
    return name
