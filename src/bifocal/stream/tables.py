"""How probability tables are made: once, when a model is packed, from a family of densities.

Nothing is rebuilt from a density when a model is loaded, so no two machines can disagree about a boundary.
Gaussians on a ladder of log-spaced scales are Ballé et al. (arXiv 1802.01436) and Minnen et al. (arXiv
1809.02736); the symmetric integer rounding and the wide radius are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.coder import TOTAL, Tables


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
