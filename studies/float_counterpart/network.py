"""The float counterpart of an exact network: the same weights with real activations, as usual codecs have.

Biases lose the rounding half they carry, nothing is floored between layers, and only the last outputs are
rounded. Fed with the inputs of an exact decoder, it shows how often two engines would have chosen different
tables, that is, where the float codec's stream would have been lost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.exact import ExactLayer, ExactNet

#: One convolution with zeros beyond the edge: (float32 weight [o, i, k, k], float32 [i, h, w]) -> [o, h, w].
Convolve = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
Real = NDArray[np.float32]


def numpy_convolve(seed: int | None = None) -> Convolve:
    """Unfold and one matrix product; ``seed`` permutes the order of every sum."""

    def convolve(weight: Real, x: Real) -> Real:
        o, i, k, _ = weight.shape
        h, w = x.shape[1:]
        padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        taps = [padded[:, a : a + h, b : b + w] for a in range(k) for b in range(k)]
        columns = np.stack(taps, axis=1).reshape(i * k * k, h * w)
        matrix = weight.reshape(o, -1)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(columns))
            matrix, columns = np.ascontiguousarray(matrix[:, order]), columns[order]
        return (matrix @ columns).reshape(o, h, w)

    return convolve


def torch_convolve() -> Convolve:
    """torch's own convolution, with whatever kernel it chooses."""
    import torch

    @torch.no_grad()
    def convolve(weight: Real, x: Real) -> Real:
        kernel = torch.from_numpy(weight)
        return torch.nn.functional.conv2d(torch.from_numpy(x)[None], kernel, padding=weight.shape[2] // 2)[
            0
        ].numpy()

    return convolve


def run_float(net: ExactNet, x: Real, quality: int, convolve: Convolve) -> Real:
    """Real outputs of the counterpart of ``net`` for real inputs ``[i, h, w]``."""
    limit = net.input_max.astype(np.float32)[:, None, None]
    x = np.clip(x, -limit, limit)
    for layer in net.layers:
        x = _layer(layer, x, quality, convolve)
    return x


def _layer(layer: ExactLayer, x: Real, quality: int, convolve: Convolve) -> Real:
    half = np.where(layer.shift > 0, np.ldexp(0.5, layer.shift), 0.0)
    bias = (layer.bias_row(quality) - half).astype(np.float32)
    scale = np.ldexp(1.0, -layer.shift).astype(np.float32)
    y = convolve(layer.weight.astype(np.float32), x) + bias[:, None, None]
    y *= scale[:, None, None]
    np.clip(y, max(layer.lo, 0) if layer.relu else layer.lo, layer.hi, out=y)
    if layer.shuffle:
        c, (h, w) = len(y) // 4, y.shape[1:]
        y = y.reshape(c, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c, 2 * h, 2 * w)
    return y
