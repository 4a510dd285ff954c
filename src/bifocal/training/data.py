"""Training pictures from folders or tar shards, decoded once into uint8 arrays, and random crops of them."""

from __future__ import annotations

import io
import queue
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bifocal.errors import TrainingError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm"}
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures, uint8 ``[h, w, 3]`` each: those to train on and those to validate on."""

    train: tuple[Pixels, ...]
    validation: tuple[Pixels, ...]
    names: tuple[str, ...]  # of the training pictures


def _members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every picture in a folder: loose files first, then tar shards, both in name order."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        yield str(path.relative_to(folder)), path.read_bytes()
    for shard in sorted(folder.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    stream = tar.extractfile(member)
                    if stream is not None:
                        yield member.name, stream.read()


def _twins(folder: Path) -> dict[str, list[str]]:
    """From ``index.tsv``, if there is one: for every file, the other files cut from the same picture."""
    index = folder / "index.tsv"
    if not index.exists():
        return {}
    rows = [line.split("\t") for line in index.read_text(encoding="utf-8").splitlines()]
    file, repo, path = (rows[0].index(name) for name in ("file", "repo", "path"))
    same: dict[tuple[str, str], list[str]] = {}
    for row in rows[1:]:
        same.setdefault((row[repo], row[path]), []).append(row[file])
    return {name: names for names in same.values() if len(names) > 1 for name in names}


def load_corpus(
    folder: Path, *, exclude: tuple[str, ...] = (), validation: int = 64, smallest: int = 128
) -> Corpus:
    """Decode every picture of ``folder``; the last ``validation`` of them are kept for validation.

    ``exclude`` drops training pictures by the beginning of their name. A validation picture of which another
    crop exists is dropped, and its twin is not trained on either. Pictures smaller than ``smallest`` and
    unreadable ones are left out. Raises :class:`TrainingError` when fewer than two pictures remain.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder. Give --data a folder of pictures or of tar shards.")
    members = list(_members(folder))
    twins = _twins(folder)
    held = {Path(name).name for name, _ in members[len(members) - validation :]}
    barred = held | {twin for name in held for twin in twins.get(name, [])}

    def decode(member: tuple[str, bytes]) -> Pixels | None:
        try:
            with Image.open(io.BytesIO(member[1])) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        return pixels if min(pixels.shape[:2]) >= smallest else None

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(decode, members))
    train: list[Pixels] = []
    names: list[str] = []
    valid: list[Pixels] = []
    for (name, _), pixels in zip(members, decoded, strict=True):
        base = Path(name).name
        if pixels is None:
            continue
        if base in held:
            if base not in twins:
                valid.append(pixels)
        elif base not in barred and not base.startswith(exclude or ("\0",)):
            train.append(pixels)
            names.append(name)
    if not train or not valid:
        raise TrainingError(
            f"{folder} holds {len(train)} usable training and {len(valid)} validation pictures "
            f"(at least {smallest} pixels on the shorter side). Add pictures or lower [data] validation."
        )
    return Corpus(tuple(train), tuple(valid), tuple(names))


def crops(corpus: Corpus, *, size: int, batch: int, seed: int, gray: float = 0.04) -> Iterator[Pixels]:
    """Endless batches ``[batch, size, size, 3]`` of random crops, flipped and turned; made in a thread.

    Pictures are drawn in proportion to their area. A share ``gray`` of the crops loses its colour, because
    gray pictures travel through the same networks.
    """
    usable = [p for p in corpus.train if min(p.shape[:2]) >= size]
    if not usable:
        raise TrainingError(f"No training picture is {size} pixels wide and high. Lower [data] crop.")
    area = np.array([p.shape[0] * p.shape[1] for p in usable], dtype=np.float64)
    chance = area / area.sum()
    rng = np.random.default_rng(seed)

    def crop() -> Pixels:
        picture = usable[rng.choice(len(usable), p=chance)]
        i = rng.integers(picture.shape[0] - size + 1)
        j = rng.integers(picture.shape[1] - size + 1)
        part = np.rot90(picture[i : i + size, j : j + size], k=int(rng.integers(4)))
        if rng.random() < 0.5:
            part = part[:, ::-1]
        if rng.random() < gray:
            part = np.repeat(part.mean(2, keepdims=True).round().astype(np.uint8), 3, axis=2)
        return part

    ready: queue.Queue[Pixels] = queue.Queue(8)

    def produce() -> None:
        while True:
            ready.put(np.stack([crop() for _ in range(batch)]))

    threading.Thread(target=produce, daemon=True).start()
    while True:
        yield ready.get()
