"""The plan of a latent and the one loop that codes it.

A learned codec codes an ordered list of latent groups, each given the hyper features and the groups before
it. A :class:`Plan` says how the latent is split into groups; :func:`code_groups` is the only loop over them.
What is done with a group (estimating its rate in training, encoding it, decoding it) is the business of a
*driver*. The same loop therefore runs on NumPy integers and on torch tensors; nothing here imports torch.

The masks inside bands follow the four-step spatial-channel prior of DCVC-DC (arXiv 2302.14402); the order
low band first, then the rest given it, is WeConvene's (arXiv 2407.09983). The combination is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: Spatial phase (2·(row&1) + (column&1)) that channel quarter 0 codes in each of four steps. The second step
#: is the diagonal neighbour of the first, so every later symbol has decoded neighbours on two sides at least.
PHASE_ORDER = (0, 3, 1, 2)


@dataclass(frozen=True)
class Group:
    """Channels ``start`` to ``stop - 1`` at the positions of step ``step`` out of ``steps`` (1, 2 or 4)."""

    start: int
    stop: int
    steps: int
    step: int

    @property
    def channels(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """How a latent is split into groups, and the fixed-point formats of what passes between them.

    ``fraction`` is the number of fraction bits of a decoded latent (``y_hat = q·2^fraction + mu``, and with
    reconstruction points a little less: SPEC.md, section 11).
    Predictors see ``clip((y_hat + 2^(context_shift-1)) >> context_shift, ±context_max)``.
    Where the table index is below ``skip`` the symbol is certain: zero, and not coded.
    """

    y_channels: int
    z_channels: int
    groups: tuple[Group, ...]
    y_stride: int = 16
    z_stride: int = 64
    fraction: int = 4
    context_shift: int = 2
    context_max: int = 1023
    skip: int = 0


@lru_cache(maxsize=16)  # a few shapes of six groups; a mask may take 3 MB
def group_mask(group: Group, h: int, w: int) -> NDArray[np.bool_]:
    """Where a group's symbols stand: bool ``[group.channels, h, w]``, read-only.

    >>> int(group_mask(Group(0, 4, 4, 0), 2, 2).sum())
    4
    """
    i = np.arange(h)[None, :, None]
    j = np.arange(w)[None, None, :]
    c = np.arange(group.start, group.stop)[:, None, None]
    if group.steps == 1:
        mask = np.ones((group.channels, h, w), dtype=bool)
    elif group.steps == 2:
        mask = ((i + j + c) & 1) == group.step
    elif group.steps == 4:
        mask = ((((i & 1) << 1) | (j & 1)) ^ PHASE_ORDER[group.step]) == (c & 3)
    else:
        raise ValueError(f"a group is coded in 1, 2 or 4 steps, not {group.steps}")
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=64)
def phase_channels(group: Group) -> tuple[int, ...] | None:
    """For each of the phases 2·(row&1) + (column&1), the first of the group's channels with symbols there.

    Counted from ``group.start``; every ``group.steps``-th channel from it has symbols there too, and no
    other. None if the phases have different numbers of channels.

    >>> phase_channels(Group(0, 4, 4, 0)), phase_channels(Group(1, 4, 2, 0))
    ((0, 1, 2, 3), None)
    """
    if group.channels % group.steps:
        return None
    mask = group_mask(group, 2, 2)[: group.steps].reshape(group.steps, 4)
    return tuple(int(first) for first in mask.argmax(axis=0))


def phase_views(values: NDArray[Any], group: Group, h: int, w: int) -> tuple[NDArray[Any], ...]:
    """Views ``[m, h/2, w/2]`` of a group's values ``[n]``, in C order of its positions, one for each phase.

    ``h`` and ``w`` are even, and :func:`phase_channels` of the group is not None.
    """
    firsts = phase_channels(group)
    assert firsts is not None
    rows, columns = (1 if group.steps == 4 else 2), (2 if group.steps == 1 else 1)
    split = values.reshape(-1, group.steps, h // 2, rows, w // 2, columns)
    return tuple(
        split[:, first, :, phase >> 1 if rows == 2 else 0, :, phase & 1 if columns == 2 else 0]
        for phase, first in enumerate(firsts)
    )


def symbol_positions(
    numbers: NDArray[np.intp], group: Group, h: int, w: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The channels, counted from ``group.start``, and flat positions in ``[h, w]`` of some symbols of a
    group, given by their numbers in C order of its positions.

    ``h`` and ``w`` are even, and :func:`phase_channels` of the group is not None.

    >>> channels, where = symbol_positions(np.array([0, 3, 7]), Group(0, 4, 2, 1), 2, 4)
    >>> channels.tolist(), where.tolist()
    ([0, 0, 1], [1, 6, 7])
    """
    rows, columns = (h // 2 if group.steps == 4 else h), (w if group.steps == 1 else w // 2)
    channel, rest = np.divmod(numbers, rows * columns)
    i, j = np.divmod(rest, columns)
    if group.steps == 2:
        j = 2 * j + ((group.step - i - channel - group.start) & 1)
    elif group.steps == 4:
        phase = (channel + group.start & 3) ^ PHASE_ORDER[group.step]
        i, j = 2 * i + (phase >> 1), 2 * j + (phase & 1)
    return channel, i * w + j


class Driver(Protocol):
    """What a pass over the groups does with each: estimate its rate, encode it or decode it.

    Arrays are NumPy or torch; the loop never looks inside them.
    """

    def start(self) -> Any:
        """Return the canvas of decoded latents, all zero."""

    def predict(self, k: int, group: Group, decoded: Any) -> tuple[Any, Any]:
        """Return (mu, index) for group ``k``, each ``[..., group.channels, h, w]``."""

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> Any:
        """Code the group's symbols; return the canvas with their decoded values at its positions."""


def low_groups(plan: Plan) -> int:
    """How many groups, from the first, make up the first band: all that a thumbnail needs.

    >>> low_groups(Plan(16, 4, (Group(0, 4, 2, 0), Group(0, 4, 2, 1), Group(4, 16, 1, 0))))
    2
    """
    first = plan.groups[0]
    other = (
        k for k, group in enumerate(plan.groups) if (group.start, group.stop) != (first.start, first.stop)
    )
    return next(other, len(plan.groups))


def groups_of(plan: Plan, channels: int) -> int:
    """How many groups, from the first, hold the first ``channels`` channels whole.

    >>> groups_of(Plan(16, 4, (Group(0, 4, 2, 0), Group(0, 4, 2, 1), Group(4, 16, 1, 0))), 4)
    2
    """
    return max(k + 1 for k, group in enumerate(plan.groups) if group.start < channels)


def seen_channels(plan: Plan, k: int) -> int:
    """How many channels, from the first, hold all that any group before group ``k`` has decoded.

    >>> seen_channels(Plan(16, 4, (Group(0, 4, 2, 0), Group(0, 4, 2, 1), Group(4, 16, 1, 0))), 1)
    4
    """
    return max((group.stop for group in plan.groups[:k]), default=0)


def code_groups(plan: Plan, driver: Driver, count: int | None = None) -> Any:
    """Code every group in order, each given the ones before it; return the decoded latents.

    This is the only group loop of the project: training, encoding and decoding differ in their driver. With
    ``count`` it stops after so many groups.
    """
    decoded = driver.start()
    for k, group in enumerate(plan.groups[:count]):
        mu, index = driver.predict(k, group, decoded)
        decoded = driver.code(group, mu, index, decoded)
    return decoded


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
