"""Latents for run.py: views of pictures from zip files, coded exactly, in mixed batches.

``CACHE/v{k}.npy`` are latents before gains of view ``k`` of every training picture (view 0 is the picture),
``CACHE/coded{k}.npz`` what a decoder sees of it at one quality: latents of the low band and bits for each.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import bifocal
from bifocal.learn.data.views import recoloured
from bifocal.learn.nets.codec import Codec, quality_anchors
from bifocal.learn.nets.entropy.coding import Estimate
from bifocal.learn.nets.entropy.exact import round_ste
from bifocal.learn.training.pruning.objective import Batch
from bifocal.learn.training.soft_labels import mixed
from bifocal.runtime.analysis import transform
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model
from bifocal.stream.plan import code_groups

CHANNELS, GROUPS, SIDE, GRID, HELD = 64, 2, 128, 8, 950
Member = tuple[zipfile.ZipFile, str]


@dataclass(frozen=True)
class Coded:
    """What a decoder sees: ``y [n, c, h, w]`` after inverse gains, ``bits [n, h, w]``, labels ``[n]``."""

    y: NDArray[np.float16]
    bits: NDArray[np.float16]
    labels: NDArray[np.int64]


def members(data: Path, part: str) -> list[Member]:
    """Pictures of ``imagenette128-{part}*.zip`` in order of their names (part, class, file)."""
    found = []
    for path in sorted(data.glob(f"imagenette128-{part}*.zip")):
        archive = zipfile.ZipFile(path)
        found += [(archive, name) for name in archive.namelist() if name.endswith(".JPEG")]
    return sorted(found, key=lambda member: member[1])


def labels_of(found: list[Member]) -> NDArray[np.int64]:
    names = sorted({name.split("/")[1] for _, name in found})
    return np.array([names.index(name.split("/")[1]) for _, name in found], np.int64)


def split(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training pictures to learn from, and held-out ones to choose by; val is for the report alone."""
    order = np.random.default_rng(7).permutation(n)
    return np.sort(order[HELD:]), np.sort(order[:HELD])


def view(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random crop of a quarter to all of the area, mirrored or not, with other colours: uint8, square."""
    w, h = picture.size
    for _ in range(10):
        area, ratio = rng.uniform(0.25, 1) * w * h, math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        cw, ch = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if cw <= w and ch <= h:
            break
    else:
        cw, ch = w, h
    x, y = rng.uniform(0, w - cw), rng.uniform(0, h - ch)
    picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(x, y, x + cw, y + ch))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return recoloured(np.asarray(picture, np.float32), rng)


def make_view(path: Path, found: list[Member], number: int, model: Model) -> NDArray[np.float16]:
    """Latents ``[n, 256, 8, 8]`` before gains of view ``number``, made once and kept at ``path``."""
    if not path.exists():
        shape = (len(found), model.entropy.plan.y_channels, GRID, GRID)
        partial = path.with_suffix(".part")
        made = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        for i, (archive, name) in enumerate(found):
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            pixels = view(picture, np.random.default_rng([number, i])) if number else np.asarray(picture)
            made[i] = transform(model, pixels, (0, 0, SIDE, SIDE)).y
        made.flush()
        os.replace(partial, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


@torch.no_grad()
def code(codec: Codec, y: Tensor, quality: int) -> tuple[Tensor, Tensor]:
    """The low band as a decoder sees it ``[b, 64, h, w]`` and bits ``[b, h, w]``, on exact networks."""
    anchors = quality_anchors(torch.full((len(y),), quality), codec.config.anchors)
    gain, inverse = codec.gains(anchors)
    y = y * gain
    features = codec.hyper_features(round_ste(codec.hyper_latent(y)), anchors, True)
    driver = Estimate(codec.plan, codec.group_predictors, features, y, anchors, True)
    parts = code_groups(codec.plan, driver, GROUPS)
    return driver.whole(parts)[:, :CHANNELS] * inverse[:, :CHANNELS], driver.bit_maps().sum(1)


def make_coded(
    path: Path, y: NDArray[np.float16], labels: NDArray[np.int64], codec: Codec, quality: int
) -> Coded:
    """A view as decoded at ``quality``, made once and kept at ``path``."""
    if not path.exists():
        parts = [
            code(codec, torch.from_numpy(y[i : i + 128].astype(np.float32)), quality)
            for i in range(0, len(y), 128)
        ]
        latents, bits = (torch.cat(p).numpy().astype(np.float16) for p in zip(*parts, strict=True))
        partial = path.with_suffix(".part.npz")
        np.savez(partial, y=latents, bits=bits, labels=labels)
        os.replace(partial, path)
    with np.load(path, allow_pickle=False) as file:
        return Coded(file["y"], file["bits"], file["labels"])


def make_streamed(path: Path, found: list[Member], model: Model, quality: int) -> Coded:
    """Pictures as read from real streams of them, made once and kept at ``path``."""
    if not path.exists():
        latents, bits = [], []
        for archive, name in found:
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            read = read_latents(bifocal.encode(pixels, quality, model=model), model, CHANNELS)
            latents.append(read.y)
            bits.append(read.bits)
        partial = path.with_suffix(".part.npz")
        y, spent = (np.stack(values).astype(np.float16) for values in (latents, bits))
        np.savez(partial, labels=labels_of(found), y=y, bits=spent)
        os.replace(partial, path)
    with np.load(path, allow_pickle=False) as file:
        return Coded(file["y"], file["bits"], file["labels"])


def rounded(y: Tensor, codec: Codec, quality: int) -> Tensor:
    """Latents ``[b, 64, h, w]`` rounded at a quality: nearly what a decoder sees, at no cost."""
    gain, inverse = codec.gains(quality_anchors(torch.tensor([quality]), codec.config.anchors))
    return torch.round(y * gain[:, :CHANNELS].detach()) * inverse[:, :CHANNELS].detach()


def batches(
    views: list[Coded], rows: NDArray[np.int64], *, batch: int, seed: int, classes: int, mix: float = 0.5
) -> Iterator[Batch]:
    """Endless batches of random views of the pictures ``rows``; a share ``mix`` of them mixed."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    while True:
        if len(order) < batch:
            order = np.concatenate([order, rng.permutation(rows)])
        chosen, order = order[:batch], order[batch:]
        which = [views[k] for k in rng.integers(0, len(views), batch)]
        y, bits = (
            torch.from_numpy(np.stack([get(v)[i] for i, v in zip(chosen, which, strict=True)])).float()
            for get in (lambda v: v.y, lambda v: v.bits)
        )
        target = F.one_hot(torch.from_numpy(views[0].labels[chosen]), classes).float()
        if rng.random() < mix:
            both, target = mixed(torch.cat([y, bits[:, None]], 1), target, rng)  # bits like latents
            y, bits = both[:, :-1], both[:, -1]
        yield Batch(y, bits, 0.9 * target + 0.1 / classes)
