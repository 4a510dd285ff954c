"""The best that any grouping of channels can do: scales of any size, groups found by dynamic programming.

With nearest or stochastic rounding, the error of a channel is proportional to the square of its scale, and
the scale of a group is that of its largest channel. A grouping of n channels into G groups costs
``Σ_g n_g r_g²``. In the best one, groups are runs of the channels sorted by range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_ranges(ranges: Array, groups: int) -> Array:
    """The range of the group of each channel, in the grouping of least ``Σ n_g r_g²``.

    >>> best_ranges(np.array([1.0, 8.0, 7.0, 1.5]), 2).tolist()
    [1.5, 8.0, 8.0, 1.5]
    """
    order = np.argsort(-ranges)
    cost = ranges[order] ** 2
    count = len(cost)
    starts = np.arange(count)
    best = np.full(count + 1, np.inf)  # of the first j channels with the groups so far
    best[0] = 0.0
    chosen = np.zeros((groups, count + 1), np.int64)
    for group in range(groups):
        following = np.full(count + 1, np.inf)
        following[0] = 0.0
        for end in range(1, count + 1):
            totals = best[:end] + cost[:end] * (end - starts[:end])
            chosen[group, end] = int(np.argmin(totals))
            following[end] = totals[chosen[group, end]]
        best = following
    found = np.empty(count)
    end = count
    for group in reversed(range(groups)):
        start = int(chosen[group, end])
        found[order[start:end]] = ranges[order[start]]
        end = start
    return found


def grouping_cost(ranges: Array) -> float:
    """What a grouping costs, given the range of each channel's group: the sum of their squares."""
    return float(np.square(ranges).sum())
