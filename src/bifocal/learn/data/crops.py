"""Training pictures from folders or tar shards, decoded once into uint8 arrays, and random crops of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bifocal.errors import TrainingError
from bifocal.learn.data.drawn import SIDE, drawn_picture

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm"}
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures, uint8 ``[h, w, 3]`` each: those to train on and those to validate on."""

    train: tuple[Pixels, ...]
    validation: tuple[Pixels, ...]
    names: tuple[str, ...]  # of the training pictures

    def varied(self, *, smallest: float, drawn: float, side: int, seed: int) -> Corpus:
        """The same validation; every training picture scaled by its own factor, pictures made by code added.

        Scaling hides how the pictures were coded before. ``smallest`` (0..1) bounds the factors; none makes a
        picture smaller than ``side``. ``drawn`` (0..1) is the share of pixels made by code.
        """
        rng = np.random.default_rng(seed)
        factors = rng.uniform(smallest, 1, len(self.train)) if smallest < 1 else np.ones(len(self.train))
        with ThreadPoolExecutor(4) as pool:
            scaled = list(
                pool.map(lambda picture, factor: _scaled(picture, factor, side), self.train, factors)
            )
        pixels = sum(picture.shape[0] * picture.shape[1] for picture in scaled)
        number = round(pixels * drawn / (1 - drawn) / SIDE**2)
        made = [drawn_picture(int(s)) for s in rng.integers(2**31, size=number)]
        names = (*self.names, *(f"drawn {i}" for i in range(number)))
        return Corpus((*scaled, *made), self.validation, names)


def _scaled(picture: Pixels, factor: float, side: int) -> Pixels:
    factor = max(factor, side / min(picture.shape[:2]))
    if factor >= 1:
        return picture
    size = tuple(max(side, round(s * factor)) for s in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


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


def _other_crops(folder: Path) -> dict[str, list[str]]:
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
    crop exists is dropped, and that crop is not trained on either. Pictures smaller than ``smallest`` and
    unreadable ones are left out. Raises :class:`TrainingError` when fewer than two pictures remain.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder. Give --data a folder of pictures or of tar shards.")
    members = list(_members(folder))
    others = _other_crops(folder)
    held = {Path(name).name for name, _ in members[len(members) - validation :]}
    barred = held | {other for name in held for other in others.get(name, [])}

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
            if base not in others:
                valid.append(pixels)
        elif base not in barred and not base.startswith(exclude or ("\0",)):
            train.append(pixels)
            names.append(name)
    if not train or not valid:
        raise TrainingError(
            f"{folder} holds {len(train)} usable training and {len(valid)} validation pictures "
            f"(at least {smallest} pixels on the shorter side). Add some, or lower validation in the recipe."
        )
    return Corpus(tuple(train), tuple(valid), tuple(names))


def crops(
    corpus: Corpus, *, size: int, batch: int, seed: int, gray: float = 0.04, device: str = "cpu"
) -> Iterator[Tensor]:
    """Endless batches of random crops: see :func:`numbered_crops`, without the numbers."""
    made = numbered_crops(corpus, size=size, batch=batch, seed=seed, gray=gray, device=device)
    return (part for part, _ in made)


def numbered_crops(
    corpus: Corpus, *, size: int, batch: int, seed: int, gray: float = 0.04, device: str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of random crops, float ``[batch, 3, size, size]`` in 0..255, in channels-last memory,
    and the numbers ``[batch]`` of their pictures in ``corpus.train``.

    Pictures are drawn in proportion to their area, crops flipped and turned. A share ``gray`` of them loses
    its colour, because gray pictures travel through the same networks. All pixels lie on ``device`` once, as
    uint8, and a batch is one gather there: a GPU does not wait for the host.
    """
    numbers = [n for n, p in enumerate(corpus.train) if min(p.shape[:2]) >= size]
    usable = [corpus.train[n] for n in numbers]
    if not usable:
        raise TrainingError(f"No training picture is {size} pixels wide and high. Lower crop in the recipe.")
    pixels = torch.cat([torch.from_numpy(np.array(p)).reshape(-1, 3) for p in usable]).to(device)
    height, width = (torch.tensor([p.shape[axis] for p in usable]) for axis in (0, 1))
    area = height * width
    begin = area.cumsum(0) - area
    up = torch.arange(size, device=device)
    down = up.flip(0)
    shares = torch.tensor([[0.5], [0.5], [0.5], [gray]])
    rng = torch.Generator().manual_seed(seed)
    while True:
        k = torch.multinomial(area.double(), batch, replacement=True, generator=rng)
        chance = torch.rand((6, batch), generator=rng)
        top = (chance[0] * (height[k] - size + 1)).long()
        left = (chance[1] * (width[k] - size + 1)).long()
        corner = torch.stack([begin[k] + top * width[k] + left, width[k]]).to(device)
        start, stride = corner[:, :, None, None]
        upside, mirrored, turned, plain = (chance[2:] < shares).to(device)[:, :, None, None]
        rows = torch.where(upside, down[:, None], up[:, None])  # [batch, size, 1]
        columns = torch.where(mirrored, down, up)  # [batch, 1, size]
        i, j = torch.where(turned, columns, rows), torch.where(turned, rows, columns)
        part = pixels[start + i * stride + j].float()
        part = torch.where(plain[..., None], part.mean(3, keepdim=True).round(), part)
        yield part.permute(0, 3, 1, 2), torch.tensor(numbers)[k]
