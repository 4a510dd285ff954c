"""What the predictors of one tile see, hyper features and what is decoded so far, and what they say.

The drivers of the group loop ask a :class:`Contexts` for the means and tables of a group and put in what the
group decodes to. :class:`MapContexts` serves every engine, with one int32 map. An engine that keeps these
values in another form, or computes only where a group has symbols, brings its own (:class:`ContextEngine`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine
from bifocal.stream.plan import Group, group_mask, phase_channels, phase_views


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


def place(values: NDArray[Any], maps: NDArray[Any], group: Group) -> None:
    """Write a group's values ``[n]`` to where its symbols stand in ``maps`` ``[group.channels, h, w]``."""
    if (views := _at_phases(maps, group)) is None:
        maps.reshape(-1)[positions(group, *maps.shape[1:])] = values
        return
    for view, part in zip(views, phase_views(values, group, *maps.shape[1:]), strict=True):
        view[...] = part


def collect(maps: NDArray[Any], group: Group) -> NDArray[Any]:
    """What stands in ``maps`` ``[group.channels, h, w]`` at a group's symbols, ``[n]``: a new array."""
    if (views := _at_phases(maps, group)) is None:
        chosen: NDArray[Any] = maps.reshape(-1)[positions(group, *maps.shape[1:])]
        return chosen
    values = np.empty(maps.size // group.steps, maps.dtype)
    for view, part in zip(views, phase_views(values, group, *maps.shape[1:]), strict=True):
        part[...] = view
    return values


def _at_phases(maps: NDArray[Any], group: Group) -> list[NDArray[Any]] | None:
    """A group's positions as views ``[m, h/2, w/2]``, several times faster than single positions; None where
    sides are odd or phases unequal."""
    firsts = phase_channels(group)
    if firsts is None or maps.shape[1] % 2 or maps.shape[2] % 2:
        return None
    return [maps[first :: group.steps, phase >> 1 :: 2, phase & 1 :: 2] for phase, first in enumerate(firsts)]


@lru_cache(maxsize=16)  # two shapes of tile at once; up to 19 MiB each
def positions(group: Group, h: int, w: int) -> NDArray[np.intp]:
    """Flat positions of a group's symbols in ``[group.channels, h, w]``, in C order, read-only."""
    where = np.flatnonzero(group_mask(group, h, w))
    where.flags.writeable = False
    return where
