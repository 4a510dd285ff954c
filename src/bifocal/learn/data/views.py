"""What a head learns from: augmented views of each picture, as latents, and real streams to be judged on.

The codec is frozen, so its analysis of a view never changes: each view is analysed once, before quality
enters, and kept in float16 on disk. A quality is drawn for each picture of a batch, and what coding at that
quality does to the latents is done to them there (:func:`coded`); so a step costs the head and nothing else.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bifocal.errors import BifocalError, TrainingError
from bifocal.learn.data.labelled import Labelled, read_rgb
from bifocal.learn.data.pooling import pooled_to
from bifocal.runtime.analysis import transform
from bifocal.runtime.decoding import decode_pixels
from bifocal.runtime.encoding import EFFORT, Encoder
from bifocal.runtime.model import Model
from bifocal.storage.filesystem import write_atomically
from bifocal.storage.paths import is_stream_name
from bifocal.stream import container
from bifocal.stream.latents import check_model
from bifocal.stream.limits import DEFAULT_LIMITS, TILE_UNIT

#: Accuracy is reported at these qualities.
QUALITIES = (10, 30, 60, 90)
#: Streams that are given are judged as they are, at whatever quality they have.
GIVEN = "given"
#: Pictures to be judged on are scaled down to so many times the side of a view.
LARGEST = 4
TILE = 2048

Pixels = NDArray[np.uint8]
#: Streams to be judged on: by quality (or ``GIVEN``), pairs of stream and label.
Streams = Mapping[str, list[tuple[bytes, int]]]


@dataclass(frozen=True, eq=False)
class Views:
    """Latents before gains, float16 ``[n, views, c, h, w]``, and their labels int64 ``[n]``, -1 for none.

    The first view is the plain picture, the others are random. Pixels of decoded views do as well.
    ``features`` float16 ``[n, views, f]`` are what a teacher made of each. The last ``large`` views are of
    larger pictures: coded, and then pooled with their magnitudes, when they were made (:func:`large_view`).
    """

    y: NDArray[Any]
    labels: NDArray[np.int64]
    features: NDArray[np.float16] | None = None
    large: int = 0

    def choose_large(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Which of the large views to take of each of ``rows``."""
        return rng.integers(self.y.shape[1] - self.large, self.y.shape[1], len(rows))

    def choose(self, rows: NDArray[np.int64], rng: np.random.Generator, plain: float) -> NDArray[np.int64]:
        """Which of the other views to take of each of ``rows``: in a share ``plain`` the plain one."""
        chosen = rng.integers(0, self.y.shape[1] - self.large, len(rows))
        chosen[rng.random(len(rows)) < plain] = 0
        return chosen

    def take(self, rows: NDArray[np.int64], chosen: NDArray[np.int64]) -> Tensor:
        """These views: float32 ``[b, c, h, w]``."""
        return torch.from_numpy(self.y[rows, chosen]).float()


def check_streams(labelled: Labelled, model: Model) -> None:
    """Refuse streams of another model than ``model``, from their headers alone; damage shows later.

    :raises TrainingError: if there are any.
    """
    for file in labelled.files:
        if is_stream_name(file):
            try:
                stream = container.read(_read_stream(file))
            except (BifocalError, OSError):
                continue
            try:
                check_model(stream, model.entropy)
            except BifocalError as error:
                raise TrainingError(
                    f"{file} is a stream of another model than {model.name}, which the head is to read. Name "
                    "that model with --base, or leave such files out."
                ) from error


class Watcher(Protocol):
    """What looks at views beside the codec, such as a teacher: pixels to features ``[n, size]``."""

    name: str
    size: int

    def __call__(self, views: Sequence[Pixels]) -> NDArray[np.float16]: ...


def make_views(
    labelled: Labelled,
    model: Model,
    folder: Path,
    *,
    views: int,
    side: int,
    channels: int,
    seed: int,
    large: int = 0,
    watcher: Watcher | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Labelled, Views]:
    """Read every file once and analyse ``views`` squares of ``side`` pixels of it: its middle, then random.

    The last ``large`` of them are larger; then all have room for magnitudes behind the channels.
    The latents, and the features of ``watcher``, lie in new files of ``folder``; where an earlier run left
    the same ones there, nothing is read again. Files that cannot be read are left out and counted.

    :raises TrainingError: if a class is left with fewer than two files, or the disk is full.
    """
    numbers = {"views": views, "side": side, "channels": channels, "seed": seed, "large": large}
    known = folder / f"views-{_digest(labelled, model, watcher, numbers)}"
    done = known.with_suffix(".json")
    grid, count = side // model.entropy.plan.y_stride, len(labelled.files)
    if done.is_file():
        bad = json.loads(done.read_text(encoding="utf-8"))
        made, features = (_kept(known.with_suffix(end)) for end in (".npy", ".features.npy"))
        assert made is not None
    else:
        made = _new(known.with_suffix(".npy"), (count, views, channels * (2 if large else 1), grid, grid))
        features = None
        if watcher is not None:
            features = _new(known.with_suffix(".features.npy"), (count, views, watcher.size))
        bad = []
        for row, file in enumerate(labelled.files):
            pixels = read_pixels(file, model)
            if pixels is None:
                bad.append(row)
            else:
                shown = _shown(pixels, views, side, seed, row, large)
                for view, square in enumerate(shown[: views - large]):
                    made[row, view, :channels] = transform(model, square, (0, 0, side, side)).y[:channels]
                for view in range(views - large, views):
                    made[row, view] = large_view(model, shown[view], channels, grid, [seed, row, view])
                if watcher is not None and features is not None:
                    features[row] = watcher(shown)
            progress(row + 1, count)
        for to, row in enumerate(np.setdiff1d(np.arange(count), bad)):
            if to != row:  # close the gaps in place, from the front
                made[to] = made[row]
                if features is not None:
                    features[to] = features[row]
        write_atomically(done, json.dumps(bad).encode(), overwrite=True)
    kept, rows = labelled.without({"unreadable": bad}), count - len(bad)
    return kept, Views(made[:rows], kept.labels, None if features is None else features[:rows], large)


def _shown(pixels: Pixels, views: int, side: int, seed: int, row: int, large: int) -> list[Pixels]:
    """The squares of picture number ``row``: its middle, then random ones, the last ``large`` of them two or
    three times as wide."""
    picture = Image.fromarray(pixels)
    sides = [side] * (views - large) + [side * (2 + k % 2) for k in range(large)]
    random = (random_view(picture, np.random.default_rng([seed, row, k]), sides[k]) for k in range(1, views))
    return [middle(picture, side), *random]


def large_view(
    model: Model, pixels: Pixels, channels: int, grid: int, seed: Sequence[int]
) -> NDArray[np.float32]:
    """What a head with a ``grid`` sees of a larger picture coded at a random quality: ``[2·channels, g, g]``.

    Pooling follows coding, so this cannot be left for later, as it is for views that are not pooled.
    """
    side = pixels.shape[0]
    y = torch.from_numpy(np.asarray(transform(model, pixels, (0, 0, side, side)).y[:channels], np.float32))
    quality = torch.tensor([int(np.random.default_rng(seed).integers(0, 100))])
    gains = torch.from_numpy(model.gains["gain"]), torch.from_numpy(model.gains["inverse_gain"])
    seen = pooled_to(coded(y[None], quality, gains, 0), grid, magnitudes=True)
    return np.asarray(seen[0].numpy(), np.float32)


def _digest(labelled: Labelled, model: Model, watcher: Watcher | None, numbers: Mapping[str, int]) -> str:
    """Names what views are made of: files, analysis, watcher and numbers."""
    files = [(str(file), state.st_size, state.st_mtime_ns) for file, state in _states(labelled)]
    noise = np.random.default_rng(0).integers(0, 256, (TILE_UNIT, TILE_UNIT, 3), dtype=np.uint8)
    analysed = transform(model, noise, (0, 0, TILE_UNIT, TILE_UNIT)).y
    about = [files, labelled.labels.tolist(), numbers, watcher and watcher.name]
    return blake2b(json.dumps(about).encode() + analysed.tobytes(), digest_size=8).hexdigest()


def _states(labelled: Labelled) -> Iterator[tuple[Path, os.stat_result]]:
    for file in labelled.files:
        try:
            yield file, file.stat()
        except OSError:
            continue  # it is found to be unreadable when it is read


def _new(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """A new array on disk.

    :raises TrainingError: if there is no room for it.
    """
    try:
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    except OSError as error:
        raise TrainingError(
            f"the views of {shape[0]} pictures need {2 * math.prod(shape) / 1e9:.1f} GB in {path.parent}, "
            f"which cannot be had ({error.strerror or error}). Free some space, name another --work folder, "
            "or take fewer views."
        ) from error


def _kept(path: Path) -> NDArray[np.float16] | None:
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None


def readable(labelled: Labelled, model: Model) -> Labelled:
    """These without the files that cannot be read, which are counted.

    :raises TrainingError: if a class is left with fewer than two files.
    """
    bad = [row for row, file in enumerate(labelled.files) if read_pixels(file, model) is None]
    return labelled.without({"unreadable": bad})


def read_pixels(file: Path, model: Model) -> Pixels | None:
    """Pixels uint8 ``[h, w, 3]`` of a picture or a stream; None if it cannot be read."""
    if not is_stream_name(file):
        return read_rgb(file)
    try:
        pixels = decode_pixels(container.read(_read_stream(file)), model)
    except (BifocalError, OSError):
        return None
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def middle(picture: Image.Image, side: int) -> Pixels:
    """The middle square of a picture, as large as fits, scaled to ``side``: uint8."""
    w, h = picture.size
    edge = min(w, h)
    left, top = (w - edge) / 2, (h - edge) / 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def random_view(picture: Image.Image, rng: np.random.Generator, side: int) -> Pixels:
    """A random crop, scaled to ``side``, perhaps mirrored, its colours a little changed: uint8, square.

    A crop holds at least half of each side of the picture, or, where that is more pixels than ``side``, down
    to ``side`` pixels but never less than a fifth: as much as a window of a large picture shows.
    """
    w, h = picture.size
    least = min(max(side / min(w, h), 0.2), 0.5)
    part = math.sqrt(rng.uniform(least**2, 1))
    stretch = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)) / 2)
    edge = min(w, h) * part
    across = min(edge * stretch * rng.uniform(1, max(1.0, w / h)), w)
    down = min(edge / stretch * rng.uniform(1, max(1.0, h / w)), h)
    left, top = rng.uniform(0, w - across), rng.uniform(0, h - down)
    box = (left, top, left + across, top + down)
    cut = picture.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return recoloured(np.asarray(cut, np.float32)[:, :: rng.choice([-1, 1])], rng)


def recoloured(pixels: NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """Pixels ``[h, w, 3]`` of 0..255 as uint8, their colours a little changed, now and then gray."""
    if rng.random() < 0.8:
        brightness, contrast, colour = rng.uniform(0.7, 1.3, 3)
        gray = pixels.mean(2, keepdims=True)
        pixels = gray + (pixels - gray) * colour
        middle = pixels.mean()
        pixels = (middle + (pixels - middle) * contrast) * brightness
    if rng.random() < 0.05:  # gray pictures travel through the same networks
        pixels = np.broadcast_to(pixels.mean(2, keepdims=True), pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def coded(y: Tensor, quality: Tensor, gains: tuple[Tensor, Tensor], mode: int) -> Tensor:
    """What coding at ``quality`` int64 ``[b]`` (0 for quality 1) leaves of latents y ``[b, c, h, w]``.

    ``mode`` 0 rounds, 1 rounds towards zero a little, as an encoder that weighs bits does, and 2 adds uniform
    noise in place of rounding, which also stands for means that are no whole number of steps.
    """
    gain, inverse = (table[quality, : y.shape[1], None, None] for table in gains)
    steps = y * gain
    if mode == 0:
        steps = steps.round()
    elif mode == 1:
        steps = steps.sign() * (steps.abs() + 0.4).floor()
    else:
        steps = steps + torch.rand_like(steps) - 0.5
    return steps * inverse


def encode_held(labelled: Labelled, rows: NDArray[np.int64], model: Model, *, side: int) -> Streams:
    """Real streams of the pictures at ``rows``, at each of ``QUALITIES``; streams that are given stay."""
    made: dict[str, list[tuple[bytes, int]]] = {}
    for row in rows:
        file, label = labelled.files[row], int(labelled.labels[row])
        if is_stream_name(file):
            made.setdefault(GIVEN, []).append((bytes(_read_stream(file)), label))
            continue
        pixels = read_pixels(file, model)
        if pixels is None:  # it was there a moment ago
            raise TrainingError(f"{file} can no longer be read. Start again when nothing changes the folder.")
        encoder = Encoder(_fit(pixels, LARGEST * side), model, tile=TILE, keep=True)
        for quality in QUALITIES:
            stream = encoder.encode(quality, effort=EFFORT).data
            made.setdefault(f"q{quality}", []).append((stream, label))
    return made


def _fit(pixels: Pixels, most: int) -> Pixels:
    h, w = pixels.shape[:2]
    if max(h, w) <= most:
        return pixels
    scale = most / max(h, w)
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _read_stream(file: Path) -> memoryview:
    with open(file, "rb") as source:
        return memoryview(source.read(DEFAULT_LIMITS.stream_bytes + 1))
