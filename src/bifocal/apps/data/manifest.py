"""What ``bifocal pack-dataset`` says of the shards that it wrote, in ``dataset.json`` beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bifocal.errors import DamagedStream
from bifocal.storage import filesystem

MANIFEST = "dataset.json"
FORMAT = 1
#: No manifest is larger: a name of a class takes a few dozen bytes, a shard a few hundred.
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Shard:
    """A shard: its file, how many samples and bytes it has, and the SHA-256 of these bytes."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A packed dataset. ``options`` are those of encoding, by which a later run knows its own shards;
    ``failed`` are pictures that are not in it, with the reason."""

    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    options: Mapping[str, Any]
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    def as_json(self) -> bytes:
        about = {
            "format": FORMAT,
            "classes": self.classes,
            "samples": self.samples,
            "options": self.options,
            "failed": [{"file": file, "error": error} for file, error in self.failed],
            "shards": [asdict(shard) for shard in self.shards],
        }
        return (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def read_manifest(folder: str) -> Manifest | None:
    """The manifest of a folder; None if there is none.

    :raises DamagedStream: if it is not one of ours.
    """
    path = filesystem.join(folder, MANIFEST)
    if not filesystem.exists(path):
        return None
    with filesystem.opened(path) as file:
        data = file.read(_MOST_BYTES)
    try:
        about = json.loads(data)
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, and {FORMAT} is read")
        shards = tuple(_shard(row) for row in about["shards"])
        classes = tuple(str(name) for name in about["classes"])
        failed = tuple((str(row["file"]), str(row["error"])) for row in about["failed"])
        return Manifest(classes, shards, dict(about["options"]), failed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedStream(
            f"{path} is no list of shards by bifocal pack-dataset ({error}). Pack the dataset again, or take "
            "this file away: the shards can be read without it."
        ) from error


def _shard(row: Mapping[str, Any]) -> Shard:
    name = str(row["name"])
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is no name of a shard")
    return Shard(name, int(row["samples"]), int(row["bytes"]), str(row["sha256"]))
