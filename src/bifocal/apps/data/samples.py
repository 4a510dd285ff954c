"""From the bytes of a stream to what a network is trained on: latents, pixels, or both, cut alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, OptionError
from bifocal.runtime.cards import find_card
from bifocal.runtime.decoding import decode_pixels
from bifocal.runtime.lossless import latents_of_stored
from bifocal.runtime.model import DEFAULT_MODEL, Model, model_folder
from bifocal.stream import container
from bifocal.stream.container import Container
from bifocal.stream.latents import decode_tile, tile_cuts
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.plan import groups_of

Gives = Literal["latents", "picture", "both"]
#: Rows and columns of the latents that are kept.
_Cut = tuple[slice, slice]


@dataclass(frozen=True)
class SampleReader:
    """Reads streams; picklable, and opens its model in the process where the first stream is read.

    :param gives: ``"latents"``, float32 ``[c, ⌈H/16⌉, ⌈W/16⌉]`` after the inverse gain, so that those of all
        qualities are on one scale; ``"picture"``, uint8 ``[3, H, W]``; or ``"both"``, for one entropy
        decoding.
    :param crop: side in pixels of a square that is cut, the same from both; a multiple of the stride of the
        latents, 16. Of pictures that are smaller the last row and column go on. Everything, unless given.
    :param channels: how many channels of the latents, from the first; by default the low band, which is what
        heads read and the cheapest.
    :param model: whose latents are read, the shipped model's by default. Pictures may be of any installed
        one.
    :param threads: processors that one network may use.
    :param limits: what to refuse of a stream before any work is done.
    """

    gives: Gives = "latents"
    crop: int | None = None
    channels: int | None = None
    model: str | os.PathLike[str] | None = None
    threads: int = 1
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.gives not in get_args(Gives):
            raise OptionError(f"gives is {self.gives!r}; choose {', '.join(get_args(Gives))}.")
        plan = self._model_here().entropy.plan
        crop, channels = self.crop, self.channels
        if crop is not None and (not _is_whole(crop) or crop < 1 or crop % plan.y_stride):
            raise OptionError(f"crop is {crop!r}; give a multiple of {plan.y_stride} pixels, such as 128.")
        if channels is not None and (not _is_whole(channels) or not 1 <= channels <= plan.y_channels):
            raise OptionError(f"channels is {channels!r}; the latents have 1 to {plan.y_channels}.")
        if not _is_whole(self.threads) or self.threads < 1:
            raise OptionError(f"threads is {self.threads!r}; give 1 or more.")

    def read(self, data: bytes, name: str, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """What is asked of one stream, as arrays, beside its ``quality``.

        :param name: what to call it in errors.
        :param rng: draws where the crop is; without it, the middle is taken.
        :raises StreamError: if the stream is damaged, cut short, or beyond the limits.
        :raises LatentsError: if its latents are another model's.
        :raises ModelMissing: if its model is not installed.
        """
        stream = container.read(data, self.limits)
        model = self._model_of(stream, name)
        cut = self._cut(stream, model, rng)
        found: dict[str, Any] = {"quality": stream.header.quality}
        if self.gives == "latents":
            found["latents"] = self._padded(_read_latents(stream, model, self._channels(model), cut), model)
            return found
        stride, header = model.entropy.plan.y_stride, stream.header
        rows, columns = (slice(part.start * stride, part.stop * stride) for part in cut)
        box = columns.start, rows.start, min(columns.stop, header.width), min(rows.stop, header.height)
        kept = _Kept(stream, model, self._channels(model), cut) if self.gives == "both" else None
        pixels = decode_pixels(stream, model, box=box, watch=None if kept is None else kept.add)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        found["picture"] = _to_side(np.ascontiguousarray(pixels.transpose(2, 0, 1)), self.crop)
        if kept is not None:
            found["latents"] = self._padded(model.to_float(kept.y, header.quality), model)
        return found

    def _channels(self, model: Model) -> int:
        plan = model.entropy.plan
        return plan.groups[0].stop if self.channels is None else self.channels

    def _padded(self, latents: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
        side = None if self.crop is None else self.crop // model.entropy.plan.y_stride
        return _to_side(latents, side)

    def _cut(self, stream: Container, model: Model, rng: np.random.Generator | None) -> _Cut:
        stride, header = model.entropy.plan.y_stride, stream.header
        h, w = -(-header.height // stride), -(-header.width // stride)
        if self.crop is None:
            return slice(0, h), slice(0, w)
        side = self.crop // stride
        free = max(0, h - side), max(0, w - side)
        top, left = (one // 2 for one in free) if rng is None else (int(rng.integers(0, n + 1)) for n in free)
        return slice(top, min(top + side, h)), slice(left, min(left + side, w))

    def _model_here(self) -> Model:
        folder = model_folder(DEFAULT_MODEL if self.model is None else self.model)
        return _loaded(folder.resolve(), self.threads, os.getpid())

    def _model_of(self, stream: Container, name: str) -> Model:
        header = stream.header
        if self.gives == "picture" and self.model is None:
            card = find_card(header.wire_id, header.fingerprint, header.release)
            return _loaded(card.folder.resolve(), self.threads, os.getpid())
        model = self._model_here()
        if header.fingerprint != model.entropy.fingerprint:
            raise LatentsError(
                f"{name} is a stream of model {header.fingerprint.hex()}, and the dataset reads those of "
                f"{model.name} ({model.entropy.fingerprint.hex()}). Name its model with model=, or encode "
                "the picture again."
            )
        return model


class _Kept:
    """Collects a part of the latents while the tiles of a stream are decoded."""

    def __init__(self, stream: Container, model: Model, channels: int, cut: _Cut) -> None:
        header, (rows, columns) = stream.header, cut
        self._cuts = tile_cuts(header.width, header.height, header.tile, model.entropy)
        self._rows, self._columns = rows, columns
        self.y = np.zeros((channels, rows.stop - rows.start, columns.stop - columns.start), np.int32)

    def add(self, number: int, y: NDArray[np.int32], spent: NDArray[np.int64] | None = None) -> None:
        rows, columns, *_ = self._cuts[number]
        (from_row, to_row), (from_column, to_column) = (
            _overlap(rows, self._rows),
            _overlap(columns, self._columns),
        )
        self.y[:, to_row, to_column] = y[: len(self.y), from_row, from_column]

    def touches(self, number: int) -> bool:
        rows, columns, *_ = self._cuts[number]
        parts = ((rows, self._rows), (columns, self._columns))
        return all(one.start < other.stop and other.start < one.stop for one, other in parts)


def _read_latents(stream: Container, model: Model, channels: int, cut: _Cut) -> NDArray[np.float32]:
    """A part of the latents; only the tiles and groups that it needs are decoded."""
    kept = _Kept(stream, model, channels, cut)
    groups, stored = groups_of(model.entropy.plan, channels), latents_of_stored(stream, model)
    for number in filter(kept.touches, range(len(stream.tiles))):
        y, _ = decode_tile(stream, number, model.entropy, model.engine, groups=groups, stored_latents=stored)
        kept.add(number, y)
    return model.to_float(kept.y, stream.header.quality)


def _overlap(tile: slice, wanted: slice) -> tuple[slice, slice]:
    """Where two stretches overlap, within the first and within the second.

    >>> _overlap(slice(4, 8), slice(6, 20))
    (slice(2, 4, None), slice(0, 2, None))
    """
    start = max(tile.start, wanted.start)
    stop = max(start, min(tile.stop, wanted.stop))
    inside = slice(start - tile.start, stop - tile.start)
    return inside, slice(start - wanted.start, stop - wanted.start)


def _to_side(values: NDArray[Any], side: int | None) -> NDArray[Any]:
    """``[c, h, w]`` with its last row and column going on until both sides are ``side``."""
    if side is None or values.shape[1:] == (side, side):
        return values
    h, w = values.shape[1:]
    return np.pad(values, ((0, 0), (0, side - h), (0, side - w)), mode="edge")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@lru_cache(maxsize=4)
def _loaded(folder: Path, threads: int, process: int) -> Model:
    """A model of this process: one that was opened before a fork has no threads here."""
    del process
    return Model.load(folder, threads=threads)
