"""Probability tables: integer frequencies, made once when a model is packed and stored with it.

Table ``t`` covers the symbols ``-radius[t] .. radius[t]`` and then one escape, with integer frequencies that
are at least 1 and sum to 2^16. Nothing is rebuilt from a density when a model is loaded, so no two machines
can disagree about a boundary. Gaussians on a ladder of log-spaced scales are Ballé et al. (arXiv 1802.01436)
and Minnen et al. (arXiv 1809.02736); the symmetric integer rounding and the wide radius are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError

#: Frequencies of a table sum to 2^FREQUENCY_BITS.
FREQUENCY_BITS = 16
TOTAL = 1 << FREQUENCY_BITS
#: Table indexes are sorted as bytes.
MAX_TABLES = 256
#: Costs of symbols are counted in whole parts of a bit, so that sums of them are the same on every machine.
COST_UNIT = 1 / 256


@dataclass(frozen=True, eq=False)
class Tables:
    """``frequency`` int32 ``[n, 2·max(radius)+2]``, zero beyond each escape; ``radius`` int32 ``[n]``.

    Raises :class:`ModelError` unless every table is complete. Symbol ``q`` of table ``t`` is entry
    ``q + radius[t]``; its escape is entry ``2·radius[t] + 1``.

    >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
    >>> round(tables.bits(np.array([0]), np.array([0])), 4)
    0.0118
    """

    frequency: NDArray[np.int32]
    radius: NDArray[np.int32]

    def __post_init__(self) -> None:
        f, r = self.frequency, self.radius
        whole = (
            f.dtype == np.int32 and r.dtype == np.int32 and f.ndim == 2 and r.ndim == 1 and len(f) == len(r)
        )
        if not whole or not 1 <= len(r) <= MAX_TABLES or r.min() < 0 or f.shape[1] != 2 * int(r.max()) + 2:
            raise ModelError("the model's probability tables are misshapen. Pack the model again.")
        inside = np.arange(f.shape[1])[None, :] < (2 * r + 2)[:, None]
        total = f.sum(axis=1, dtype=np.int64)
        if (f[inside] < 1).any() or f[~inside].any() or (total != TOTAL).any():
            bad = int((total != TOTAL).argmax())
            raise ModelError(
                f"the model is damaged: probability table {bad} sums to {int(total[bad])}; entries "
                f"are at least 1 and sum to {TOTAL}. Pack the model again."
            )

    @property
    def count(self) -> int:
        return len(self.radius)

    @cached_property
    def models(self) -> tuple[Any, ...]:
        """The tables as constriction's, which keeps every boundary at ``cumulative frequency · 2^8``.

        The frequencies enter as exact fractions of 2^16; a test reads every boundary back.
        """
        categorical = constriction.stream.model.Categorical
        return tuple(
            categorical(row[: 2 * r + 2].astype(np.float64) / TOTAL, perfect=True)
            for row, r in zip(self.frequency, self.radius, strict=True)
        )

    def bits(self, values: NDArray[Any], index: NDArray[Any]) -> float:
        """Ideal length in bits of symbols ``values`` coded with tables ``index``, escapes included."""
        return float(self._lengths(np.ravel(values), np.ravel(index)).sum())

    def costs(self, values: NDArray[Any], index: NDArray[Any]) -> NDArray[np.int64]:
        """Ideal length of each symbol ``[n]``, coded with tables ``[n]``: int64 in ``COST_UNIT`` of a bit.

        >>> tables = Tables(np.array([[100, 65000, 400, 36]], np.int32), np.array([1], np.int32))
        >>> tables.costs(np.array([-1, 0, 1, 9]), np.zeros(4, np.uint8))
        array([2395,    3, 1883, 4820])
        """
        return np.rint(self._lengths(values, index) / COST_UNIT).astype(np.int64)

    def _lengths(self, values: NDArray[Any], index: NDArray[Any]) -> NDArray[np.float64]:
        values, index = values.astype(np.int64), index.astype(np.int64)
        radius = self.radius[index]
        beyond = np.abs(values) - radius
        outside = beyond > 0
        entry = np.where(outside, 2 * radius + 1, values + radius)
        ideal: NDArray[np.float64] = FREQUENCY_BITS - np.log2(self.frequency[index, entry])
        ideal[outside] += 2.0 * np.floor(np.log2(beyond[outside])) + 2.0  # sign and Exp-Golomb
        return ideal


def scale_ladder(count: int = 64, low: float = 0.11, high: float = 64.0) -> NDArray[np.float64]:
    """``count`` standard deviations from ``low`` to ``high`` at equal ratios.

    >>> scale_ladder(3, 1.0, 4.0).tolist()
    [1.0, 2.0, 4.0]
    """
    ladder = low * (high / low) ** (np.arange(count) / max(count - 1, 1))
    return ladder


def gaussian_tables(scales: Sequence[float] | NDArray[np.float64], max_radius: int = 400) -> Tables:
    """Tables of zero-mean Gaussians with the given standard deviations, in units of a symbol.

    A table reaches 5 deviations and two symbols: beyond 4.2 every entry weighs 1 in 65536, so the reach costs
    next to nothing and spares real latents, whose tails are heavier, the escape.

    >>> gaussian_tables([0.2, 3.0]).radius.tolist()
    [3, 17]
    """
    return _tables_of(_gaussian_beyond, scales, 5.0, max_radius)


def logistic_tables(scales: Sequence[float] | NDArray[np.float64], max_radius: int = 400) -> Tables:
    """Tables of zero-mean logistic distributions with the given standard deviations, in units of a symbol.

    Their tails are heavier, as those of real latents are. A table reaches 7 deviations and two symbols.

    >>> logistic_tables([0.2, 3.0]).radius.tolist()
    [4, 23]
    """
    return _tables_of(_logistic_beyond, scales, 7.0, max_radius)


def _tables_of(
    beyond: Callable[[float], float],
    scales: Sequence[float] | NDArray[np.float64],
    reach: float,
    max_radius: int,
) -> Tables:
    """Tables of a symmetric family: ``beyond(x)``, the chance of more than ``x`` deviations either way."""
    radii = [min(math.ceil(reach * s) + 2, max_radius) for s in scales]
    frequency = np.zeros((len(radii), 2 * max(radii) + 2), dtype=np.int32)
    for row, scale, radius in zip(frequency, scales, radii, strict=True):
        tail = np.array([beyond((k + 0.5) / float(scale)) for k in range(radius + 1)])
        # 0, ±1 together, …, ±radius together, and everything beyond
        half = np.concatenate([[1.0 - tail[0]], tail[:-1] - tail[1:], tail[-1:]])
        row[: 2 * radius + 2] = _symmetric(half)
    return Tables(frequency, np.array(radii, dtype=np.int32))


def _gaussian_beyond(deviations: float) -> float:
    return math.erfc(deviations / math.sqrt(2.0))


def _logistic_beyond(deviations: float) -> float:
    return 2.0 / (1.0 + math.exp(min(deviations * math.pi / math.sqrt(3.0), 700.0)))


def fitted_tables(
    tables: Tables, values: NDArray[Any], index: NDArray[Any], strength: float = 1000.0
) -> Tables:
    """``tables`` refitted to symbols that they really coded; the old table weighs ``strength`` symbols.

    Real latents follow no family quite: on the shipped model's validation pictures fitting saves another
    0.1 % of the bits (studies/entropy_tables), and a decoder pays nothing. Radii and symmetry stay. Take
    ``values`` and ``index`` from :func:`bifocal.stream.latents.coded_symbols`, of pictures that no figure
    reports.

    >>> wide = gaussian_tables([3.0])
    >>> values, index = np.array([0] * 900 + [1, -1] * 50), np.zeros(1000, int)
    >>> fitted_tables(wide, values, index).bits(values, index) < 0.7 * wide.bits(values, index)
    True
    """
    values, index = np.ravel(values).astype(np.int64), np.ravel(index).astype(np.int64)
    beyond = np.minimum(np.abs(values), tables.radius[index] + 1)
    frequency = np.zeros_like(tables.frequency)
    for t, (row, radius) in enumerate(zip(tables.frequency, tables.radius.tolist(), strict=True)):
        symbols = row[radius : 2 * radius + 1]
        prior = np.concatenate([symbols[:1], 2 * symbols[1:], row[2 * radius + 1 : 2 * radius + 2]]) / TOTAL
        half = np.bincount(beyond[index == t], minlength=radius + 2) + strength * prior
        frequency[t, : 2 * radius + 2] = _symmetric(half / half.sum())
    return Tables(frequency, tables.radius)


def _symmetric(half: NDArray[np.float64]) -> NDArray[np.int32]:
    """Integer frequencies of ``-radius .. radius, escape`` from the probabilities of ``0, ±1, …, beyond``.

    Largest remainders, in steps of one pair; a pair's two entries are equal. Zero takes the odd unit.
    """
    unit = np.full(len(half), 2, dtype=np.int64)
    unit[0] = unit[-1] = 1
    # What remains after every entry has its guaranteed 1 is shared in proportion to what is above it.
    above = np.maximum(half * TOTAL - unit, 0.0)
    ideal = above * ((TOTAL - unit.sum()) / above.sum()) / unit
    steps = np.floor(ideal).astype(np.int64)
    left = int(TOTAL - unit.sum() - (steps * unit).sum())
    for k in np.argsort(steps - ideal, kind="stable"):
        if 0 < k < len(half) - 1 and left >= 2:
            steps[k] += 1
            left -= 2
    entries = steps + 1
    entries[0] += left
    pairs = entries[1:-1]
    return np.concatenate([pairs[::-1], entries[:1], pairs, entries[-1:]]).astype(np.int32)
