"""The drivers of the group loop on integers: encoding and decoding one tile, and how symbols are chosen.

What both share, predicting a group from the groups before it, stands once in ``_Pass``; so a decoder can only
agree with its encoder. The third driver, which estimates the rate in training, is in
``learn/nets/entropy/coding.py``.

The drivers ask a :class:`Contexts` for the means and tables of a group and put in what the group decodes to.
:class:`MapContexts` serves every engine, with one int32 map. An engine that keeps these values in another
form, or computes only where a group has symbols, brings its own (:class:`ContextEngine`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError
from bifocal.stream.coder import FREQUENCY_BITS, Tables, TileDecoder
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine
from bifocal.stream.limits import MAX_SYMBOL
from bifocal.stream.plan import Group, collect, place, positions


class Contexts(Protocol):
    """The state of one tile. ``size`` is that of y, ``(h, w)``.

    Values of a group are flat ``[n]``, one for each of its symbols, in C order of ``[channels, h, w]``.
    """

    size: tuple[int, int]

    def predict(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Means, in fixed point, and table indexes of group ``k``: new arrays, the caller's own."""

    def put(self, k: int, values: NDArray[np.int32]) -> None:
        """Let later groups see the contexts of group ``k``, within ±``plan.context_max``."""


@runtime_checkable
class ContextEngine(Protocol):
    """An engine with contexts of its own."""

    def contexts(self, model: EntropyModel, z: NDArray[np.int32], quality: int) -> Contexts:
        """The contexts of a tile with hyper-latent ``z``, nothing decoded yet."""


def make_contexts(model: EntropyModel, engine: ExactEngine, z: NDArray[np.int32], quality: int) -> Contexts:
    """The contexts of a tile with hyper-latent ``z`` int32 ``[c, h, w]``: the engine's own, or a map."""
    if isinstance(engine, ContextEngine):
        return engine.contexts(model, z, quality)
    return MapContexts(model, engine, z, quality)


class MapContexts:
    """Contexts as one int32 map, channels first, on which an engine runs whole networks."""

    def __init__(self, model: EntropyModel, engine: ExactEngine, z: NDArray[np.int32], quality: int) -> None:
        features = engine(model.hyper, z, quality)
        self.size = features.shape[1], features.shape[2]
        self._model, self._engine, self._quality, self._first = model, engine, quality, len(features)
        # one map of predictor inputs: features, then contexts, zero until their group is decoded
        self._inputs = np.zeros((self._first + model.plan.y_channels, *self.size), dtype=np.int32)
        self._inputs[: self._first] = features

    def predict(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        group = self._model.plan.groups[k]
        outputs = self._engine(self._model.predictors[k], self._inputs, self._quality)
        mu, index = (collect(part, group) for part in np.split(outputs, [group.channels]))
        return mu, np.clip(index, 0, self._model.tables.count - 1).astype(np.uint8)

    def put(self, k: int, values: NDArray[np.int32]) -> None:
        group = self._model.plan.groups[k]
        first = self._first + group.start
        place(values, self._inputs[first : first + group.channels], group)


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


#: Bits that one squared step of error is worth. It follows from the step, not from the model: where uniform
#: quantisation of step 1 is the best choice, a further bit must lower the squared error by as much as a finer
#: step would. At high rate the error is step²/12 and a bit halves the step, so a squared step is worth
#: 6/ln 2 = 8.66 bits (Gish and Pierce, IEEE Trans. IT 14, 1968). Trained gains keep to it:
#: `benchmarks/effort.py --steps` measures lambda times the energy of a step in decoded pixels, by channel.
BITS_PER_SQUARE = 6 / math.log(2)


@lru_cache(maxsize=4)
def symbol_bits(tables: Tables) -> NDArray[np.float32]:
    """Bits of the symbols ``-r .. r`` in every table, ``[n, 2r+1]``; ``r`` is the widest table's radius.

    Symbols outside a table cost its escape and their bits in the bit section.

    >>> tables = Tables(np.array([[16384, 16384, 16384, 16384]], np.int32), np.array([1], np.int32))
    >>> symbol_bits(tables).tolist()
    [[2.0, 2.0, 2.0]]
    """
    widest = int(tables.radius.max())
    values = np.arange(-widest, widest + 1)
    bits = np.empty((tables.count, len(values)), np.float32)
    for row, frequency, radius in zip(bits, tables.frequency, tables.radius.tolist(), strict=True):
        beyond = np.abs(values) - radius
        entry = np.where(beyond > 0, 2 * radius + 1, values + radius)
        row[:] = FREQUENCY_BITS - np.log2(frequency[entry])
        row[beyond > 0] += 2 * np.floor(np.log2(beyond[beyond > 0])) + 2
    return bits


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """A :class:`Quantise` that weighs error against bits: a squared step of error counts as ``worth`` bits.

    Plain rounding takes the nearest symbol; a symbol nearer to zero may save more bits than its error is
    worth. The bits are those that the coder will really spend. A decoder cannot tell the difference.

    ``worth`` is one number, or one for every position ``[h, w]`` of the tile's y. For each symbol the
    candidates are the nearest, the next towards zero, and zero: tables fall on both sides of zero, so none
    beyond the nearest can win.

    >>> model = EntropyModel.load("tests/conformance/golden/tiny-1/model")
    >>> residual, index, where = np.array([0.55, 0.95]), np.full(2, 12, np.uint8), np.arange(2)
    >>> RateDistortion(model, 8.66)(residual, index, model.plan.groups[0], where).tolist()
    [0.0, 1.0]
    """

    model: EntropyModel
    worth: float | NDArray[np.float32]

    def __call__(
        self, residual: NDArray[np.float64], index: NDArray[np.uint8], group: Group, where: NDArray[np.intp]
    ) -> NDArray[Any]:
        chosen = np.rint(residual)
        open_ = np.flatnonzero(chosen)
        if not open_.size:
            return chosen
        bits = symbol_bits(self.model.tables)
        widest = bits.shape[1] // 2
        value, table, nearest = residual[open_], index[open_], chosen[open_]
        worth = self.worth
        if isinstance(worth, np.ndarray):
            worth = worth.reshape(-1)[where[open_] % worth.size]
        best, least = nearest, np.full(len(open_), np.inf)
        for candidate in (nearest, nearest - np.sign(nearest), np.zeros_like(nearest)):
            entry = np.clip(candidate, -widest, widest).astype(np.intp) + widest
            decoded = self.model.offsets(candidate.astype(np.int32), table) / float(
                1 << self.model.plan.fraction
            )
            cost = bits[table, entry] + worth * (value - decoded) ** 2
            best = np.where(cost < least, candidate, best)
            least = np.minimum(cost, least)
        chosen[open_] = best
        return chosen


class _Pass:
    """What encoding and decoding share: predicting a group from the hyper features and the groups before it.

    What passes through the loop is the map of decoded values, int32 ``[c, h, w]``; means and table indexes
    are flat, one for each symbol of their group.
    """

    def __init__(self, model: EntropyModel, engine: ExactEngine, quality: int, z: NDArray[np.int32]) -> None:
        self.model = model
        self._contexts = make_contexts(model, engine, z, quality)
        self._unseen: tuple[Group, NDArray[np.int32]] | None = None  # decoded, for the next predictor to see

    def start(self) -> NDArray[np.int32]:
        return np.zeros((self.model.plan.y_channels, *self._contexts.size), dtype=np.int32)

    def predict(self, k: int, group: Group, decoded: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        if self._unseen is not None:
            self._see(*self._unseen)
            self._unseen = None
        return self._contexts.predict(k)

    def _settle(
        self, group: Group, decoded: NDArray[np.int32], values: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Write the group's decoded values onto the map, and keep them for later predictors, if any comes."""
        place(values, decoded[group.start : group.stop], group)
        self._unseen = group, values
        return decoded

    def _see(self, group: Group, values: NDArray[np.int32]) -> None:
        plan = self.model.plan
        half = (1 << plan.context_shift) >> 1
        context = values + np.int32(half)
        context >>= plan.context_shift
        np.clip(context, -plan.context_max, plan.context_max, out=context)
        self._contexts.put(plan.groups.index(group), context)


class Encode(_Pass):
    """Puts z, then chooses and puts the symbols of each group, with their tables."""

    def __init__(
        self,
        model: EntropyModel,
        engine: ExactEngine,
        quality: int,
        z: NDArray[np.int32],
        y: NDArray[Any],
        put: Callable[[NDArray[np.int32], NDArray[np.uint8]], None],
        quantise: Quantise,
    ) -> None:
        super().__init__(model, engine, quality, z)
        self._y, self._put, self._quantise = y, put, quantise
        put(z.reshape(-1), _z_index(z.shape, model, quality))

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        where = positions(group, *self._contexts.size)
        y = collect(self._y[group.start : group.stop], group)
        residual = y.astype(np.float64) - mu / float(1 << self.model.plan.fraction)
        q = self._quantise(residual, index, group, where)
        if q.size and np.abs(q).max() > MAX_SYMBOL:
            raise LatentsError(
                f"a latent is beyond ±{MAX_SYMBOL}: the analysis diverged. Run bifocal doctor."
            )
        coded = np.flatnonzero(index >= self.model.plan.skip)
        symbols, tables = q[coded].astype(np.int32), index[coded]
        self._put(symbols, tables)
        mu[coded] += self.model.offsets(symbols, tables)  # those not coded are zero: at their means
        return self._settle(group, decoded, mu)


class Decode(_Pass):
    """Takes the symbols of each group from the coder.

    ``spent``, int64 ``[groups, h, w]`` if it is given, is where the cost of every symbol of y is added up, by
    group and position, in ``coder.COST_UNIT`` of a bit: the decoder knows it for nothing. No decoded value
    depends on it.
    """

    def __init__(
        self,
        model: EntropyModel,
        engine: ExactEngine,
        quality: int,
        z: NDArray[np.int32],
        coder: TileDecoder,
        spent: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(model, engine, quality, z)
        self._coder, self._spent = coder, spent

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        coded = np.flatnonzero(index >= self.model.plan.skip)
        tables = index[coded]
        symbols = self._coder.take(tables)
        if self._spent is not None:
            costs = self.model.tables.costs(symbols, tables)
            spent = self._spent[self.model.plan.groups.index(group)].reshape(-1)
            where = positions(group, *self._contexts.size)
            np.add.at(spent, where[coded] % spent.size, costs)
        mu[coded] += self.model.offsets(symbols, tables)  # those not coded are zero: at their means
        return self._settle(group, decoded, mu)


def _z_index(shape: tuple[int, ...], model: EntropyModel, quality: int) -> NDArray[np.uint8]:
    return np.repeat(model.z_index[quality - 1].astype(np.uint8), shape[1] * shape[2])


def decode_z(
    coder: TileDecoder, shape: tuple[int, ...], model: EntropyModel, quality: int
) -> NDArray[np.int32]:
    return coder.take(_z_index(shape, model, quality)).reshape(shape)
