"""Latents of a picture of any size to a fixed grid: what a resize to a square is for pixels.

A head with a grid sees the whole picture at once, at a cost that does not grow with the picture. Where an
axis has more positions than the grid, each cell is the mean over its equal share of the picture, with the
exact share of every position that it cuts; positions count only as far as the picture reaches into them. As
with a resize of pixels to a square, the two axes are scaled on their own, so the proportions are not kept. An
axis of no more positions than the grid is left alone. ``learn/data/pooling.py`` does it in torch.

Most latents have either sign, and their means over a large part of a picture say little. So a head may ask
for the means of their magnitudes, too: how much there is of each pattern, as texture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def pooling_weights(size: int, stride: int, grid: int) -> NDArray[np.float32]:
    """Weights ``[cells, positions]``, read-only, for one axis of ``size`` pixels, ``stride`` a position.

    Every row sums to 1. There are ``⌈size/stride⌉`` positions, and ``grid`` cells or, if fewer, as many.

    >>> (6 * pooling_weights(48, 16, 2)).round().tolist()
    [[4.0, 2.0, 0.0], [0.0, 2.0, 4.0]]
    >>> pooling_weights(40, 16, 3).tolist() == np.eye(3).tolist()
    True
    """
    positions = -(-size // stride)
    if positions <= grid:
        weights = np.eye(positions, dtype=np.float32)
    else:
        edges = np.linspace(0, size / stride, grid + 1)
        starts = np.arange(positions)
        ends = np.minimum(starts + 1, size / stride)
        shared = np.minimum(edges[1:, None], ends) - np.maximum(edges[:-1, None], starts)
        weights = (np.maximum(shared, 0) * grid * stride / size).astype(np.float32)
    weights.flags.writeable = False
    return weights


def with_magnitudes(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values ``[c, h, w]``, and behind them their magnitudes: ``[2c, h, w]``."""
    made = np.empty((2 * len(values), *values.shape[1:]), np.float32)
    made[: len(values)] = values
    np.abs(values, out=made[len(values) :])
    return made


def pooled(
    values: NDArray[np.float32], height: int, width: int, stride: int, grid: int
) -> NDArray[np.float32]:
    """Latents ``[..., ⌈height/stride⌉, ⌈width/stride⌉]`` of a whole picture, at most ``grid`` a side.

    >>> pooled(np.arange(4, dtype=np.float32).reshape(1, 1, 4), 16, 64, 16, 2).tolist()
    [[[0.5, 2.5]]]
    """
    down, across = pooling_weights(height, stride, grid), pooling_weights(width, stride, grid)
    made: NDArray[Any] = down @ values @ across.T
    return made


class GridMean:
    """The pooled latents of one picture, collected from parts that cover it once: tiles, as they are decoded.

    ``size`` is how many positions the picture has, ``(h, w)``.
    """

    def __init__(self, height: int, width: int, stride: int, grid: int) -> None:
        self._down, self._across = (pooling_weights(side, stride, grid) for side in (height, width))
        self.size = self._down.shape[1], self._across.shape[1]
        self._missing = self.size[0] * self.size[1]
        self._sum: NDArray[np.float32] | None = None

    def part(self, values: NDArray[np.float32], row: int, column: int) -> NDArray[np.float32]:
        """What positions ``[..., h, w]`` from ``row``, ``column`` on add to the grid ``[..., r, c]``."""
        h, w = values.shape[-2:]
        added: NDArray[Any] = self._down[:, row : row + h] @ values @ self._across[:, column : column + w].T
        return added

    def add(self, part: NDArray[np.float32], positions: int) -> NDArray[np.float32] | None:
        """Add the part of so many positions; the whole, once the last is there."""
        self._missing -= positions
        self._sum = part if self._sum is None else self._sum + part
        return None if self._missing else self._sum
