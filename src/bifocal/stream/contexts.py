"""What the predictors of one tile see, hyper features and what is decoded so far, and what they say.

The drivers of the group loop ask a :class:`Contexts` for the means and tables of a group and put in what the
group decodes to. :class:`MapContexts` serves every engine, with one int32 map. An engine that keeps these
values in another form, or computes only where a group has symbols, brings its own (:class:`ContextEngine`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine
from bifocal.stream.plan import Group, group_mask


class Contexts(Protocol):
    """The state of one tile. ``size`` is that of y, ``(h, w)``.

    Values of a group are flat ``[n]``, one for each of its symbols, in C order of ``[channels, h, w]``.
    """

    size: tuple[int, int]

    def predict(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Means, in fixed point, and table indexes of group ``k``."""

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
        where = positions(group, *self.size)
        mu, index = (part.reshape(-1)[where] for part in np.split(outputs, [group.channels]))
        return mu, np.clip(index, 0, self._model.tables.count - 1).astype(np.uint8)

    def put(self, k: int, values: NDArray[np.int32]) -> None:
        group = self._model.plan.groups[k]
        first = self._first + group.start
        self._inputs[first : first + group.channels].reshape(-1)[positions(group, *self.size)] = values


@lru_cache(maxsize=16)  # two shapes of tile at once; up to 19 MiB each
def positions(group: Group, h: int, w: int) -> NDArray[np.intp]:
    """Flat positions of a group's symbols in ``[group.channels, h, w]``, in C order, read-only."""
    where = np.flatnonzero(group_mask(group, h, w))
    where.flags.writeable = False
    return where
