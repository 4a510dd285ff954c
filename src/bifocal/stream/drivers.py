"""The drivers of the group loop on integers: encoding and decoding one tile.

What both share, predicting a group from the groups before it, stands once in ``_Pass``; so a decoder can only
agree with its encoder. The third driver, which estimates the rate in training, is in
``learn/nets/entropy/coding.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError
from bifocal.stream.coder import TileDecoder
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import Backend
from bifocal.stream.limits import MAX_SYMBOL
from bifocal.stream.plan import Group, group_mask


class Quantise(Protocol):
    """Chooses the symbols of a group, the encoder's only freedom: any choice decodes."""

    def __call__(
        self, residual: NDArray[np.float64], index: NDArray[np.uint8], group: Group, where: NDArray[np.intp]
    ) -> NDArray[Any]:
        """Return whole numbers ``[n]``, at most 2^24 in magnitude, for the symbols of a group.

        ``residual`` ``[n]`` is the latent less its predicted mean, in steps; ``index`` ``[n]`` the table that
        codes each symbol, where one below ``plan.skip`` is certain to be zero whatever is returned; ``where``
        ``[n]`` the flat position of each in ``[group.channels, h, w]`` of the tile.
        """


def nearest(
    residual: NDArray[np.float64], index: NDArray[np.uint8], group: Group, where: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Plain rounding, half to even."""
    return np.rint(residual)


class _Pass:
    """What encoding and decoding share: the hyper features, and predicting a group from those before it."""

    def __init__(self, model: EntropyModel, backend: Backend, quality: int, z: NDArray[np.int32]) -> None:
        self.model, self.backend, self.quality = model, backend, quality
        features = backend(model.hyper, z, quality)
        self._features = len(features)
        # One canvas of predictor inputs: features, then contexts, zero until their group is decoded.
        self._inputs = np.zeros((self._features + model.plan.y_channels, *features.shape[1:]), dtype=np.int32)
        self._inputs[: self._features] = features

    def start(self) -> NDArray[np.int32]:
        return np.zeros((self.model.plan.y_channels, *self._inputs.shape[1:]), dtype=np.int32)

    def predict(self, k: int, group: Group, decoded: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        outputs = self.backend(self.model.predictors[k], self._inputs, self.quality)
        index = np.clip(outputs[group.channels :], 0, self.model.tables.count - 1).astype(np.uint8)
        return outputs[: group.channels], index

    def _settle(
        self, group: Group, decoded: NDArray[np.int32], q: NDArray[np.int32], mu: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Write the group's ``q·2^f + mu`` onto the canvas and its context into the predictors' input."""
        plan = self.model.plan
        where = _positions(group, *decoded.shape[1:])
        channels = decoded[group.start : group.stop]
        channels.reshape(-1)[where] = (q << plan.fraction) + mu
        half = (1 << plan.context_shift) >> 1
        context = np.clip((channels + half) >> plan.context_shift, -plan.context_max, plan.context_max)
        first = self._features + group.start
        self._inputs[first : first + group.channels] = context
        return decoded


class Encode(_Pass):
    """Puts z, then chooses and puts the symbols of each group, with their tables."""

    def __init__(
        self,
        model: EntropyModel,
        backend: Backend,
        quality: int,
        z: NDArray[np.int32],
        y: NDArray[Any],
        put: Callable[[NDArray[np.int32], NDArray[np.uint8]], None],
        quantise: Quantise,
    ) -> None:
        super().__init__(model, backend, quality, z)
        self._y, self._put, self._quantise = y, put, quantise
        put(z.reshape(-1), _z_index(z.shape, model, quality))

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        where = _positions(group, *decoded.shape[1:])
        y = self._y[group.start : group.stop].reshape(-1)[where]
        mu, index = mu.reshape(-1)[where], index.reshape(-1)[where]
        residual = y.astype(np.float64) - mu / float(1 << self.model.plan.fraction)
        q = self._quantise(residual, index, group, where)
        if q.size and np.abs(q).max() > MAX_SYMBOL:
            raise LatentsError(
                f"a latent is beyond ±{MAX_SYMBOL}: the analysis diverged. Run bifocal doctor."
            )
        coded = index >= self.model.plan.skip
        symbols = np.where(coded, q, 0).astype(np.int32)
        self._put(symbols[coded], index[coded])
        return self._settle(group, decoded, symbols, mu)


class Decode(_Pass):
    """Takes the symbols of each group from the coder.

    ``spent``, int64 ``[groups, h, w]`` if it is given, is where the cost of every symbol of y is added up, by
    group and place, in ``tables.COST_UNIT`` of a bit: the decoder knows it for nothing. No decoded value
    depends on it.
    """

    def __init__(
        self,
        model: EntropyModel,
        backend: Backend,
        quality: int,
        z: NDArray[np.int32],
        coder: TileDecoder,
        spent: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(model, backend, quality, z)
        self._coder, self._spent = coder, spent

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        where = _positions(group, *decoded.shape[1:])
        mu, index = mu.reshape(-1)[where], index.reshape(-1)[where]
        coded = index >= self.model.plan.skip
        symbols = np.zeros(len(where), dtype=np.int32)
        symbols[coded] = self._coder.take(index[coded])
        if self._spent is not None:
            costs = self.model.tables.costs(symbols[coded], index[coded])
            places = self._spent[self.model.plan.groups.index(group)].reshape(-1)
            np.add.at(places, where[coded] % places.size, costs)
        return self._settle(group, decoded, symbols, mu)


@lru_cache(maxsize=16)  # two shapes of tile at once; up to 6 MiB each
def _positions(group: Group, h: int, w: int) -> NDArray[np.intp]:
    """Flat positions of a group's symbols in ``[group.channels, h, w]``, in C order."""
    where = np.flatnonzero(group_mask(group, h, w))
    where.flags.writeable = False
    return where


def _z_index(shape: tuple[int, ...], model: EntropyModel, quality: int) -> NDArray[np.uint8]:
    return np.repeat(model.z_index[quality - 1].astype(np.uint8), shape[1] * shape[2])


def decode_z(
    coder: TileDecoder, shape: tuple[int, ...], model: EntropyModel, quality: int
) -> NDArray[np.int32]:
    return coder.take(_z_index(shape, model, quality)).reshape(shape)
