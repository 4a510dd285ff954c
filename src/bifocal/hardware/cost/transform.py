"""A matrix over channels before the quantiser and its inverse behind it, as 1×1 convolutions.

The paper (arXiv 2309.02855) learns both. :func:`decorrelating` is ours and needs no training: for each tensor
the principal axes of its channels on calibration pictures, an orthogonal matrix, so the second is its
transpose and errors keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.cost.graph import Array, Graph
from bifocal.hardware.cost.layers import plan_layers, run_layers

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Transforms:
    """For tensors by name a matrix ``[c, c]`` and its inverse, and a mean ``[c, 1, 1]`` taken off first."""

    matrices: Mapping[str, tuple[Floats, Floats, Floats]]

    def forward(self, name: str, x: Floats) -> Floats:
        """The tensor ``[c, h, w]`` as it is quantised."""
        if name not in self.matrices:
            return x
        matrix, _, mean = self.matrices[name]
        return _times(matrix, x - mean)

    def backward(self, name: str, x: Floats) -> Floats:
        """The inverse of :meth:`forward`."""
        if name not in self.matrices:
            return x
        _, inverse, mean = self.matrices[name]
        turned: Floats = _times(inverse, x) + mean
        return turned

    def macs(self, name: str, shape: Sequence[int]) -> int:
        """Multiply–adds of one direction on a tensor of this shape."""
        return len(self.matrices[name][0]) * math.prod(shape) if name in self.matrices else 0


def decorrelating(graph: Graph, feeds: Sequence[Mapping[str, Array]], *, threads: int = 0) -> Transforms:
    """Principal axes of the channels of every activation map that a graph writes, on calibration feeds."""
    sums: dict[str, NDArray[np.float64]] = {}
    means: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for feed in feeds:
        plan = plan_layers(graph, feed)
        read = plan.last_uses()
        for _, made, _ in run_layers(plan, feed, threads=threads):
            for name, array in made.items():
                if name in read and array.ndim == 4 and array.dtype.kind == "f":
                    flat = array.reshape(array.shape[1], -1).astype(np.float64)
                    sums[name] = sums.get(name, 0.0) + flat @ flat.T
                    means[name] = means.get(name, 0.0) + flat.sum(1)
                    counts[name] = counts.get(name, 0) + flat.shape[1]
    made_of = {}
    for name, total in sums.items():
        mean = means[name] / counts[name]
        _, axes = np.linalg.eigh(total / counts[name] - np.outer(mean, mean))
        matrix = np.ascontiguousarray(axes.T[::-1], np.float32)
        made_of[name] = (matrix, matrix.T.copy(), mean.astype(np.float32)[:, None, None])
    return Transforms(made_of)


def _times(matrix: Floats, x: Floats) -> Floats:
    product: Floats = (matrix @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])
    return product
