"""Latents of any part of a stream, decoded tile by tile as they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.container import Container
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine
from bifocal.stream.latents import StoredLatents, check_model, decode_tile, tile_cuts

#: Takes the number of a tile, its y, and its ``spent`` if that is counted.
Watch = Callable[[int, NDArray[np.int32], NDArray[np.int64] | None], None]


class TileReader:
    """Calling it with rows and columns of y gives y there, int32 ``[c, h, w]``; only tiles that lie there are
    read and decoded.

    Ask from top to bottom: tiles above the rows asked for last are forgotten, so memory holds a few rows of
    tiles whatever the height of the picture. With ``groups``, only so many groups from the first are decoded,
    and of y only the ``channels`` that these fill are kept. ``watch`` is shown every tile when it is
    decoded: its number, its y and, with ``count``, its ``spent`` (see
    :func:`~bifocal.stream.latents.decode_tile`, which also says what ``stored_latents`` is).
    """

    def __init__(
        self,
        stream: Container,
        model: EntropyModel,
        engine: ExactEngine,
        *,
        groups: int | None = None,
        channels: int | None = None,
        watch: Watch | None = None,
        count: bool = False,
        stored_latents: StoredLatents | None = None,
    ) -> None:
        check_model(stream, model)
        self._stored_latents = stored_latents
        self._stream, self._model, self._engine = stream, model, engine
        self._groups, self._channels, self._watch, self._count = groups, channels, watch, count
        header = stream.header
        self._cuts = [cut[:2] for cut in tile_cuts(header.width, header.height, header.tile, model)]
        self._side, self._in_row = header.tile // model.plan.y_stride, -(-header.width // header.tile)
        self._kept: dict[int, NDArray[np.int32]] = {}

    def __call__(self, rows: slice, columns: slice) -> NDArray[np.int32]:
        """Raises a :class:`StreamError` if a tile that is needed is damaged."""
        self._kept = {k: y for k, y in self._kept.items() if self._cuts[k][0].stop > rows.start}
        channels = self._channels or self._model.plan.y_channels
        out = np.empty((channels, rows.stop - rows.start, columns.stop - columns.start), dtype=np.int32)
        for row in _reach(rows, self._side):
            for column in _reach(columns, self._side):
                number = row * self._in_row + column
                (into_rows, of_rows), (into_columns, of_columns) = (
                    _meet(tile, wanted)
                    for tile, wanted in zip(self._cuts[number], (rows, columns), strict=True)
                )
                out[:, into_rows, into_columns] = self._tile(number)[:, of_rows, of_columns]
        return out

    def _tile(self, number: int) -> NDArray[np.int32]:
        if number not in self._kept:
            rows, columns = self._cuts[number]
            groups = len(self._model.plan.groups)
            shape = (groups, rows.stop - rows.start, columns.stop - columns.start)
            spent = np.zeros(shape, np.int64) if self._count else None
            y, _ = decode_tile(
                self._stream,
                number,
                self._model,
                self._engine,
                groups=self._groups,
                spent=spent,
                stored_latents=self._stored_latents,
            )
            if self._watch is not None:
                self._watch(number, y, spent)
            self._kept[number] = y if self._channels is None else y[: self._channels].copy()
        return self._kept[number]


def _reach(wanted: slice, side: int) -> range:
    """The rows, or columns, of tiles that a stretch touches."""
    return range(wanted.start // side, (wanted.stop - 1) // side + 1)


def _meet(tile: slice, wanted: slice) -> tuple[slice, slice]:
    """Where two stretches meet, counted from the start of the wanted one and from that of the tile."""
    start, stop = max(tile.start, wanted.start), min(tile.stop, wanted.stop)
    return slice(start - wanted.start, stop - wanted.start), slice(start - tile.start, stop - tile.start)
