"""Rate–distortion optimised quantisation: symbols chosen by what they cost in the integer tables.

Plain rounding takes the nearest symbol; a symbol nearer to zero may save more bits than its error is worth.
:class:`Thrifty` weighs both against each other for every symbol, with the bits that the coder will really
spend. A decoder cannot tell.

What an error is worth follows from the step, not from the model: where uniform quantisation of step 1 is the
best choice, a further bit must lower the squared error by as much as a finer step would. At high rate the
error is step²/12 and a bit halves the step, so a squared step is worth 6/ln 2 = 8.66 bits (Gish and Pierce,
IEEE Trans. IT 14, 1968). Trained gains keep to it: `studies/effort/run.py --steps` measures lambda times the
energy of a step in decoded pixels, channel by channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.plan import Group
from bifocal.stream.tables import FREQUENCY_BITS, Tables

#: Bits that one squared step of error is worth.
BITS_PER_SQUARE = 6 / math.log(2)


@lru_cache(maxsize=4)
def symbol_bits(tables: Tables) -> NDArray[np.float32]:
    """Bits of the symbols ``-r .. r`` in every table, ``[n, 2r+1]``; ``r`` is the widest table's radius.

    Symbols outside a table cost its escape and their place in the bit section.

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
class Thrifty:
    """A :class:`bifocal.stream.drivers.Quantise` that pays ``worth`` bits for a squared step of error.

    ``worth`` is one number, or one for every place ``[h, w]`` of the tile's y. For each symbol the candidates
    are the nearest, the next towards zero, and zero: tables fall on both sides of zero, so none beyond
    the nearest can win.

    >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
    >>> residual, index, where = np.array([0.55, 0.95]), np.zeros(2, np.uint8), np.arange(2)
    >>> Thrifty(tables, 8.66)(residual, index, Group(0, 1, 1, 0), where).tolist()
    [0.0, 1.0]
    """

    tables: Tables
    worth: float | NDArray[np.float32]

    def __call__(
        self, residual: NDArray[np.float64], index: NDArray[np.uint8], group: Group, where: NDArray[np.intp]
    ) -> NDArray[Any]:
        chosen = np.rint(residual)
        open_ = np.flatnonzero(chosen)
        if not open_.size:
            return chosen
        bits = symbol_bits(self.tables)
        widest = bits.shape[1] // 2
        value, table, nearest = residual[open_], index[open_], chosen[open_]
        worth = self.worth
        if isinstance(worth, np.ndarray):
            worth = worth.reshape(-1)[where[open_] % worth.size]
        best, least = nearest, np.full(len(open_), np.inf)
        for candidate in (nearest, nearest - np.sign(nearest), np.zeros_like(nearest)):
            place = np.clip(candidate, -widest, widest).astype(np.intp) + widest
            cost = bits[table, place] + worth * (value - candidate) ** 2
            best = np.where(cost < least, candidate, best)
            least = np.minimum(cost, least)
        chosen[open_] = best
        return chosen
