"""Decoded latents to the windows that a head sees: in order, of the picture's true size, never across a tile.

A picture larger than a head's window is read in about equal windows; a head with a grid sees all of it in
one, pooled (:mod:`bifocal.runtime.heads.pooling`), once its last tile is there. Latents beyond the true size,
which exist only because the picture was padded, are cut off. What is made of the answers is the business of
each kind of head (:mod:`bifocal.runtime.heads.classify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError, LatentsError
from bifocal.runtime.heads.file import HeadSpec
from bifocal.runtime.heads.pooling import GridMean, with_magnitudes
from bifocal.runtime.lossless import latents_of_stored
from bifocal.runtime.model import Model
from bifocal.runtime.windows import padded_size, spans
from bifocal.stream import container
from bifocal.stream.coder import COST_UNIT
from bifocal.stream.container import Container, Header
from bifocal.stream.latents import check_model, decode_tile, pack, tile_cuts
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.plan import groups_of
from bifocal.types import Latents


class Tile(NamedTuple):
    """A decoded tile: its number, ``y`` int32 ``[c, h, w]`` and, where it was counted, what each group of
    channels cost at each position, ``spent`` int64 ``[groups, h, w]``."""

    number: int
    y: NDArray[np.int32]
    spent: NDArray[np.int64] | None = None


class Window(NamedTuple):
    """What a head sees at once: ``values`` float32 ``[c, h, w]``, ``bits`` ``[h, w]`` for a head that reads
    them, the ``row`` and ``column`` of its corner among the picture's latents, and the ``size`` that it
    covers there, rows and columns: more than h and w where it is pooled."""

    values: NDArray[np.float32]
    bits: NDArray[np.float32] | None
    row: int
    column: int
    size: tuple[int, int]


class HeadInput(NamedTuple):
    """Latents as a head takes them, of the picture's true size ``⌈H/16⌉ × ⌈W/16⌉`` at the default stride:
    ``y`` float32 ``[c, h, w]`` after the inverse gain, and ``bits`` float32 ``[h, w]``, what the symbols of
    these channels' groups cost at each position."""

    y: NDArray[np.float32]
    bits: NDArray[np.float32]


class HeadWindows:
    """The windows of one picture for one head; ``size`` is the height and width of the latents it sees.

    :raises HeadError: if the head is not for streams of ``model``.
    """

    def __init__(
        self, spec: HeadSpec, model: Model, *, width: int, height: int, tile: int, quality: int
    ) -> None:
        check_head(spec, model)
        self._spec, self._model, self._quality = spec, model, quality
        stride = model.entropy.plan.y_stride
        self._corners = [
            (rows.start, columns.start) for rows, columns, *_ in tile_cuts(width, height, tile, model.entropy)
        ]
        # the true size, or what the head's blocks make of it, but never beyond the padded picture
        self.size: tuple[int, int] = (
            min(padded_size(-(-height // stride), spec.multiple), padded_size(height, TILE_UNIT) // stride),
            min(padded_size(-(-width // stride), spec.multiple), padded_size(width, TILE_UNIT) // stride),
        )
        self._groups = groups_of(model.entropy.plan, spec.channels)
        self._kinds = 2 if spec.magnitudes else 1
        self._pool = GridMean(height, width, stride, spec.grid) if spec.grid else None
        self._bits: GridMean | None = None
        if spec.grid and spec.bits:
            self._bits = GridMean(height, width, stride, spec.grid)

    @property
    def single(self) -> bool:
        """Whether the whole picture is one window."""
        whole = len(self._corners) == 1 and max(self.size) <= self._spec.window
        return self._pool is not None or whole

    @classmethod
    def of(cls, header: Header, spec: HeadSpec, model: Model) -> HeadWindows:
        """The windows of the picture that a stream's ``header`` describes."""
        sizes = {"width": header.width, "height": header.height, "tile": header.tile}
        return cls(spec, model, **sizes, quality=header.quality)

    def of_tile(self, tile: Tile) -> Iterator[Window]:
        """The windows of a tile; only the channels that the head reads, and their groups, count."""
        row, column = self._corners[tile.number]
        inside = slice(0, self.size[0] - row), slice(0, self.size[1] - column)
        y = tile.y[: self._spec.channels, *inside]
        bits = None if tile.spent is None else bits_of(tile.spent[: self._groups, *inside])
        if self._pool is not None:  # before the gains: there is less to multiply after
            plain = self._seen(y.astype(np.float32))
            part: NDArray[Any] = self._pool.part(plain, row, column)
            scaled = [self._model.to_float(one, self._quality) for one in np.split(part, self._kinds)]
            return self._collected(self._pool, np.concatenate(scaled), plain, bits, row, column)
        return self.cut(self._model.to_float(y, self._quality), bits, row, column)

    def _seen(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return with_magnitudes(values) if self._spec.magnitudes else values

    def cut(
        self, values: NDArray[np.float32], bits: NDArray[np.float32] | None, row: int, column: int
    ) -> Iterator[Window]:
        """The windows of what a head takes, ``[c, h, w]``, and its bits, whose corner is ``row, column``."""
        if self._pool is not None:
            values = self._seen(values)
            added = self._pool.part(values, row, column)
            yield from self._collected(self._pool, added, values, bits, row, column)
            return
        cut = {"core": self._spec.window, "halo": 0, "multiple": self._spec.multiple}
        for down in spans(values.shape[1], **cut):
            for across in spans(values.shape[2], **cut):
                part = slice(down.start, down.stop), slice(across.start, across.stop)
                cost = None if bits is None else np.ascontiguousarray(bits[part])
                seen = np.ascontiguousarray(values[:, *part])
                corner = row + down.start, column + across.start
                yield Window(seen, cost, *corner, seen.shape[1:])

    def _collected(
        self,
        pool: GridMean,
        part: NDArray[np.float32],
        values: NDArray[Any],
        bits: NDArray[np.float32] | None,
        row: int,
        column: int,
    ) -> Iterator[Window]:
        """The one window of a pooled picture, if the ``part`` of it that ``values`` give was the last."""
        count, cost = values[0].size, None
        whole = pool.add(part, count)
        if self._bits is not None and bits is not None:
            cost = self._bits.add(self._bits.part(bits, row, column), count)
        if whole is not None:
            yield Window(whole, cost, 0, 0, self.size)


def stream_tiles(stream: Container, model: Model, spec: HeadSpec) -> Iterator[Tile]:
    """The tiles of a stream of ``model``, decoded one by one as far as a head reads them.

    :raises StreamError: if a tile is damaged.
    """
    groups = groups_of(model.entropy.plan, spec.channels)
    stored = latents_of_stored(stream, model)
    for number in range(len(stream.tiles)):
        spent = spent_on(stream, number, model) if spec.bits else None
        y, _ = decode_tile(
            stream, number, model.entropy, model.engine, groups=groups, spent=spent, stored_latents=stored
        )
        yield Tile(number, y, spent)


def check_latents(latents: Latents, model: Model) -> None:
    """Raise :class:`LatentsError` unless latents are a model's, and of the shape that it gives them."""
    if latents.fingerprint != model.entropy.fingerprint:
        raise LatentsError(
            f"these latents are of model {latents.model} ({latents.fingerprint.hex()}), not of {model.name} "
            f"({model.entropy.fingerprint.hex()}). Read them with the model that made them."
        )
    rows, columns, *_ = tile_cuts(latents.width, latents.height, latents.tile, model.entropy)[-1]
    if latents.y.shape != (model.entropy.plan.y_channels, rows.stop, columns.stop):
        raise LatentsError(
            f"y is {list(latents.y.shape)}, which is not what model {model.name} has for a picture of "
            f"{latents.width}×{latents.height} pixels. Take latents from unpack()."
        )


def latent_tiles(latents: Latents, model: Model, spec: HeadSpec) -> Iterator[Tile]:
    """The tiles of latents that are decoded already and that :func:`check_latents` accepts."""
    if spec.bits:  # latents do not say what they cost; their stream does
        yield from stream_tiles(container.read(pack(latents, model.entropy, model.engine)), model, spec)
        return
    cuts = tile_cuts(latents.width, latents.height, latents.tile, model.entropy)
    for number, (rows, columns, _, _) in enumerate(cuts):
        yield Tile(number, latents.y[:, rows, columns])


def read_latents(data: bytes | Container, model: Model, channels: int | None = None) -> HeadInput:
    """The first ``channels`` of y of a stream as heads take them, and what each position cost: for training.

    Only the groups that these channels need are decoded. Raises what :func:`bifocal.decode` raises.

    >>> import bifocal
    >>> model = Model.load("bifocal-2")
    >>> data = bifocal.encode(np.full((40, 100, 3), 200, np.uint8), model=model)
    >>> latents = read_latents(data, model, 64)
    >>> latents.y.shape, latents.bits.shape
    ((64, 3, 7), (3, 7))
    """
    stream = data if isinstance(data, Container) else container.read(data)
    check_model(stream, model.entropy)
    header, plan = stream.header, model.entropy.plan
    channels = plan.y_channels if channels is None else channels
    groups = groups_of(plan, channels)
    h, w = (-(-side // plan.y_stride) for side in (header.height, header.width))
    stored = latents_of_stored(stream, model)
    y, bits = np.empty((channels, h, w), np.float32), np.empty((h, w), np.float32)
    for number, (rows, columns, _, _) in enumerate(
        tile_cuts(header.width, header.height, header.tile, model.entropy)
    ):
        spent = spent_on(stream, number, model)
        tile, _ = decode_tile(
            stream, number, model.entropy, model.engine, groups=groups, spent=spent, stored_latents=stored
        )
        inside = slice(0, min(rows.stop, h) - rows.start), slice(0, min(columns.stop, w) - columns.start)
        y[:, rows, columns] = model.to_float(tile[:channels, *inside], header.quality)
        bits[rows, columns] = bits_of(spent[:, *inside])
    return HeadInput(y, bits)


def check_head(spec: HeadSpec, model: Model) -> None:
    """Raise :class:`HeadError` unless a head reads streams of ``model``."""
    entropy = model.entropy
    if spec.reads != "latents":
        raise HeadError(
            f"head {spec.name} reads pixels, not streams: it is the other side of a comparison. Use it with "
            "`bifocal bench --analyse --against`."
        )
    if spec.fingerprint != entropy.fingerprint.hex():
        raise HeadError(
            f"head {spec.name} reads streams of model {spec.codec} ({spec.fingerprint}), and this one is of "
            f"model {entropy.name} ({entropy.fingerprint.hex()}). Name a head that was trained for it, or "
            "train one: bifocal-train head."
        )
    if spec.channels > entropy.plan.y_channels or spec.stride != entropy.plan.y_stride:
        raise HeadError(
            f"head {spec.name} asks for {spec.channels} channels at a stride of {spec.stride} pixels; "
            f"streams of model {entropy.name} have {entropy.plan.y_channels} at {entropy.plan.y_stride}. "
            "The head's file contradicts itself: export it again."
        )


def spent_on(stream: Container, number: int, model: Model) -> NDArray[np.int64]:
    """Zeros ``[groups, h, w]`` for what is spent on a tile."""
    tile, plan = stream.tiles[number], model.entropy.plan
    sides = (tile.bottom - tile.top, tile.right - tile.left)
    h, w = (side * TILE_UNIT // plan.y_stride for side in sides)
    return np.zeros((len(plan.groups), h, w), np.int64)


def bits_of(spent: NDArray[np.int64]) -> NDArray[np.float32]:
    """``[groups, h, w]`` in ``COST_UNIT`` to bits ``[h, w]``."""
    bits: NDArray[np.float32] = (spent.sum(axis=0) * COST_UNIT).astype(np.float32)
    return bits
